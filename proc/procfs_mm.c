/*
 * /proc/<pid>/maps, smaps, statm, pagemap, and the memory's part of status: walks over the page
 * table, region by region. The format is Linux's, to the column.
 *
 * maps and smaps are made in parts, as they are read: each begins at the address where the one before it ended, so
 * who changes the space meanwhile may be seen in the second half and not in the first, as on Linux.
 */
#include "proc/internal.h"

#include "fs/file.h"
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/uapi/mman.h"
#include "lib/uio.h"
#include "mm/aspace.h"
#include "mm/large.h"
#include "mm/slab.h"

#define NAME_COLUMN 73 /* of maps: where a region's name starts */
#define KB(pages)   ((pages) * (PAGE_SIZE / KiB))

struct view;
typedef void show_fn(struct textbuf *t, const struct vm_region *r, const struct view *v);

/* A process's memory, as it is looked at. */
struct view {
	struct textbuf *t;
	show_fn *show;              /* of a text in parts, */
	struct procfs_cursor *next; /* and where the next one begins */
	struct aspace *as;          /* a reference */
	struct aspace_stats mem;
	uaddr_t stack_top;
	bool thp_disabled; /* with the sums */

	/* Sums over the regions, in bytes. */
	u64 data, stack, exe, lib, locked, rss_file, rss_shmem, rss_anon, shared;
};

/* 0, and of the figures those of the heap; -ESRCH. A zombie has no memory: 0, and v->as is NULL. */
static int look(int id, struct textbuf *t, struct view *v)
{
	u64 flags = proc_lock();
	struct process *p = procfs_process(id);

	*v = (struct view){ .t = t };
	if (p && p->as) {
		v->as = p->as;
		aspace_get(v->as);
		v->stack_top = p->stack_top;
	}
	proc_unlock(flags);
	if (v->as)
		aspace_heap(v->as, &v->mem);
	return p ? 0 : -ESRCH;
}

static void name_of(const struct view *v, const struct vm_region *r, char *name, size_t size)
{
	name[0] = 0;
	if (r->obj)
		r->obj->ops->name(r->obj, name, size);
	else if (r->start < v->mem.brk && r->end > v->mem.brk_start)
		kstrlcpy(name, "[heap]", size);
	else if (r->end == v->stack_top)
		kstrlcpy(name, "[stack]", size);
}

static void maps_line(struct textbuf *t, const struct vm_region *r, const struct view *v)
{
	size_t start = t->len;
	char name[256];
	u64 ino = 0;
	u32 dev = 0;
	int len;

	name_of(v, r, name, sizeof(name));
	if (r->obj) {
		ino = r->obj->ops->inode_number(r->obj);
		dev = r->obj->ops->device ? r->obj->ops->device(r->obj) : 1;
	}
	textbuf_printf(t, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", r->start, r->end,
		       r->prot & PROT_READ ? 'r' : '-', r->prot & PROT_WRITE ? 'w' : '-',
		       r->prot & PROT_EXEC ? 'x' : '-', r->flags & MAP_SHARED ? 's' : 'p',
		       r->offset, dev >> 8 & 0xfff, (dev & 0xff) | (dev >> 12 & 0xfff00), ino);
	len = (int)(t->len - start);
	textbuf_printf(t, "%*s%s\n", name[0] ? MAX(NAME_COLUMN - len, 0) : 0, "", name);
}

/* A region's lines, if there is room for them all; the next part begins behind it then. */
static int add_region(const struct vm_region *r, void *arg)
{
	struct view *v = arg;
	size_t before = v->t->len;

	v->show(v->t, r, v);
	if (v->t->overflow) {
		v->t->len = before;
		return 1;
	}
	v->next->at = r->end;
	return v->t->size - v->t->len < v->t->len - before; /* no room for another such one */
}

/* A part of maps or smaps. Whose program has been replaced since the first one has nothing more to show, as on Linux. */
static int add_regions(int id, struct procfs_cursor *next, struct textbuf *t, show_fn *show)
{
	struct view v;
	int err = look(id, t, &v);

	if (err || !v.as)
		return err;
	if (!next->whose)
		next->whose = v.as;
	v.show = show;
	v.next = next;
	if (next->whose == v.as)
		aspace_walk(v.as, next->at, add_region, &v);
	aspace_put(v.as);
	return 0;
}

int procfs_add_maps(int id, struct procfs_cursor *next, struct textbuf *t)
{
	return add_regions(id, next, t, maps_line);
}

static void smaps_flags(struct textbuf *t, const struct vm_region *r)
{
	textbuf_printf(t, "VmFlags: %s%s%s%s", r->prot & PROT_READ ? "rd " : "",
		       r->prot & PROT_WRITE ? "wr " : "", r->prot & PROT_EXEC ? "ex " : "",
		       r->flags & MAP_SHARED ? "sh " : "");
	textbuf_printf(t, "mr mw me %s%s%s%s%s%s%s%s\n", r->flags & MAP_SHARED ? "ms " : "",
		       r->flags & MAP_GROWSDOWN ? "gd " : "", r->flags & MAP_LOCKED ? "lo " : "",
		       r->dontfork ? "dc " : "", r->flags & MAP_NORESERVE ? "nr " : "",
		       r->wipe ? "wf " : "", r->huge ? "hg " : "", r->nohuge ? "nh " : "");
}

static void smaps_region(struct textbuf *t, const struct vm_region *r, const struct view *v)
{
	struct vm_usage u;
	u64 shared, i;
	bool fits;

	vm_usage(v->as, r->start, r->end, &u);
	shared = u.clean[1] + u.dirty[1];
	const struct {
		const char *name;
		u64 kb;
	} line[] = {
		{ "Size:", (r->end - r->start) / KiB },
		{ "KernelPageSize:", PAGE_SIZE / KiB },
		{ "MMUPageSize:", PAGE_SIZE / KiB },
		{ "Rss:", KB(u.resident) },
		{ "Pss:", KB(u.resident - shared) + KB(shared) / 2 },
		{ "Shared_Clean:", KB(u.clean[1]) },
		{ "Shared_Dirty:", KB(u.dirty[1]) },
		{ "Private_Clean:", KB(u.clean[0]) },
		{ "Private_Dirty:", KB(u.dirty[0]) },
		{ "Referenced:", KB(u.resident) },
		{ "Anonymous:", KB(u.anon) },
		{ "LazyFree:", 0 },
		{ "AnonHugePages:", KB(u.large) },
		{ "ShmemPmdMapped:", 0 },
		{ "FilePmdMapped:", 0 },
		{ "Shared_Hugetlb:", 0 },
		{ "Private_Hugetlb:", 0 },
		{ "Swap:", 0 },
		{ "SwapPss:", 0 },
		{ "Locked:", KB(u.locked) },
	};

	maps_line(t, r, v);
	for (i = 0; i < ARRAY_SIZE(line); i++)
		textbuf_printf(t, "%-16s%8lu kB\n", line[i].name, line[i].kb);
	/* Linux: a range that has 2 MiB, aligned, and may get them. */
	fits = ALIGN_UP(r->start, LARGE_SIZE) + LARGE_SIZE <= r->end;
	textbuf_printf(t, "THPeligible:           %d\n", fits && r->large_wanted);
	smaps_flags(t, r);
}

int procfs_add_smaps(int id, struct procfs_cursor *next, struct textbuf *t)
{
	return add_regions(id, next, t, smaps_region);
}

static int sum_region(const struct vm_region *r, void *arg)
{
	struct view *v = arg;
	u64 len = r->end - r->start;
	struct vm_usage u;
	bool shmem;

	vm_usage(v->as, r->start, r->end, &u);
	shmem = r->obj && (!r->obj->ops->is_shmem || r->obj->ops->is_shmem(r->obj));
	v->rss_anon += u.anon;
	*(shmem ? &v->rss_shmem : &v->rss_file) += u.resident - u.anon;
	v->locked += r->flags & MAP_LOCKED ? len : 0;
	v->shared += u.resident - u.anon;
	if (r->flags & MAP_GROWSDOWN)
		v->stack += len;
	else if ((r->prot & PROT_WRITE) && !(r->flags & MAP_SHARED))
		v->data += len;
	else if ((r->prot & PROT_EXEC) && r->obj)
		*(r->start < v->mem.brk_start ? &v->exe : &v->lib) += len;
	return 0;
}

static int sums(int id, struct textbuf *t, struct view *v)
{
	int err = look(id, t, v);

	if (err || !v->as)
		return err;
	aspace_stats(v->as, &v->mem);
	aspace_note_peak(v->as, &v->mem);
	aspace_walk(v->as, 0, sum_region, v);
	v->thp_disabled = aspace_large_disabled(v->as);
	aspace_put(v->as);
	return 0;
}

int procfs_show_statm(int id, struct textbuf *t)
{
	struct view v;
	int err = sums(id, t, &v);

	if (err)
		return err;
	textbuf_printf(t, "%lu %lu %lu %lu 0 %lu 0\n", v.mem.mapped / PAGE_SIZE, v.mem.resident,
		       v.shared, v.exe / PAGE_SIZE, (v.data + v.stack) / PAGE_SIZE);
	return 0;
}

void procfs_show_status_memory(int id, struct textbuf *t)
{
	struct view v;

	if (sums(id, t, &v) || !v.as)
		return;
	const struct {
		const char *name;
		u64 kb;
	} line[] = {
		{ "VmPeak", v.mem.peak_mapped / KiB },
		{ "VmSize", v.mem.mapped / KiB },
		{ "VmLck", v.locked / KiB },
		{ "VmPin", 0 },
		{ "VmHWM", KB(v.mem.peak_resident) },
		{ "VmRSS", KB(v.mem.resident) },
		{ "RssAnon", KB(v.rss_anon) },
		{ "RssFile", KB(v.rss_file) },
		{ "RssShmem", KB(v.rss_shmem) },
		{ "VmData", v.data / KiB },
		{ "VmStk", v.stack / KiB },
		{ "VmExe", v.exe / KiB },
		{ "VmLib", v.lib / KiB },
		{ "VmPTE", KB(v.mem.tables) },
		{ "VmSwap", 0 },
	};

	for (u32 i = 0; i < ARRAY_SIZE(line); i++)
		textbuf_printf(t, "%s:\t%8lu kB\n", line[i].name, line[i].kb);
	textbuf_printf(t, "THP_enabled:\t%d\n", !v.thp_disabled);
}

/* Eight bytes for each page, from page 0 on. Frame numbers are root's to see. */
ssize_t procfs_read_pagemap(int id, struct uio *dst, u64 *pos)
{
	bool root = current_proc()->euid == 0;
	size_t done = 0;
	struct view v;
	u64 buf[32];
	int err = look(id, NULL, &v);

	if (!err && !v.as)
		return 0;
	if (!err && (*pos % 8 || dst->left % 8))
		err = -EINVAL;
	while (!err && dst->left && *pos / 8 < USER_TOP >> PAGE_SHIFT && !thread_is_ending()) {
		size_t n = MIN(dst->left / 8, ARRAY_SIZE(buf)), moved;

		n = MIN(n, (USER_TOP >> PAGE_SHIFT) - *pos / 8);
		vm_pagemap(v.as, *pos / 8 << PAGE_SHIFT, n, buf);
		for (size_t i = 0; i < n && !root; i++)
			buf[i] &= ~((1ul << 55) - 1);
		moved = uio_put(dst, buf, n * 8);
		done += moved;
		*pos += moved;
		if (moved < n * 8)
			err = -EFAULT;
	}
	if (v.as)
		aspace_put(v.as);
	return done ? (ssize_t)done : err;
}
