/*
 * Address spaces against a naive flat model, on the simulated MMU whose caches forget only what was
 * flushed (arch/host/mmu.c).
 *
 * Random sequences of the calls run in several processes. The model has one record for each page
 * of a few windows: mapped or not, protection, flags, object, and a number that says what the page
 * contains. After each call: same result; after each access: same fault or same content; every so
 * often: same /proc/pid/maps, no stale translation, every count right (aspace_audit). At the end
 * everything that was allocated is free again. Allocations fail at random too: then nothing may
 * have changed.
 *
 *	UNIT_SEED=n   the seed (default: a fixed one); printed when a test fails
 *	UNIT_OPS=n    calls per run
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/api/mmu.h"
#include "arch/api/uaccess.h"
#include "arch/host/ram.h"
#include "lib/err.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "mm/slab.h"

#define VM_MMAP_TOP (0x800000000000ul - 64 * MiB)

#define MAX_PROCS  5
#define MAX_FILES  3
#define FILE_PAGES 24
#define MAX_OBJS   4000 /* files, then anonymous shared objects, never reused */

/* ---- random numbers -------------------------------------------------------------------------- */

static u64 rng_state, seed, current_op;

static u64 rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state * 0x2545f4914f6cdd1dul >> 16;
}

static u64 below(u64 n)
{
	return rng() % n;
}

#define check(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("seed %lu, op %lu, line %d: %s: ", seed, current_op, __LINE__,      \
			       #cond);                                                             \
			printf(__VA_ARGS__);                                                       \
			printf("\n");                                                              \
			fflush(stdout);                                                            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void on_panic(const char *message)
{
	printf("seed %lu, op %lu: panic: %s\n", seed, current_op, message);
	fflush(stdout);
}
extern void (*host_panic_hook)(const char *message);

/* ---- files ----------------------------------------------------------------------------------- */

struct test_file {
	struct vm_object obj;
	int refs;
	struct frame *page[FILE_PAGES];
};
static struct test_file files[MAX_FILES];

static int file_get_page(struct vm_object *o, u64 index, struct frame **out)
{
	struct test_file *f = container_of(o, struct test_file, obj);

	if (index >= FILE_PAGES)
		return -ENXIO;
	if (!f->page[index]) {
		f->page[index] = frame_alloc(FRAME_FILE, FRAME_ZERO);
		if (!f->page[index])
			return -ENOMEM;
	}
	frame_get(f->page[index]);
	*out = f->page[index];
	return 0;
}

static void file_get_resident(struct vm_object *o, u64 index, unsigned n, struct frame **out)
{
	struct test_file *f = container_of(o, struct test_file, obj);

	for (unsigned i = 0; i < n; i++) {
		out[i] = index + i < FILE_PAGES ? f->page[index + i] : NULL;
		if (out[i])
			frame_get(out[i]);
	}
}

static void file_get(struct vm_object *o)
{
	container_of(o, struct test_file, obj)->refs++;
}

static void file_put(struct vm_object *o)
{
	container_of(o, struct test_file, obj)->refs--;
}

static const struct vm_object_ops file_ops = { .get_page = file_get_page,
					       .get_resident = file_get_resident,
					       .get = file_get,
					       .put = file_put };

/* ---- the model ------------------------------------------------------------------------------- */

struct page {
	bool mapped, shared, nowrite, own; /* own: private copy of a file page, or anonymous */
	u8 prot;
	u32 flags; /* MAP_GROWSDOWN, MAP_NORESERVE */
	u8 fork;   /* 1: MADV_DONTFORK, 2: MADV_WIPEONFORK */
	u8 huge;   /* 1: MADV_HUGEPAGE, 2: MADV_NOHUGEPAGE */
	u16 obj;   /* 0: none; 1 ... MAX_FILES: files; above: anonymous shared */
	u64 index; /* page of obj, in units of 4 KiB */
	u32 tag;   /* content if private and own, or anonymous */
};

struct window {
	u64 base, unit, n; /* unit: bytes per model page; accesses go to its first 4 KiB */
};

#define WINDOWS 4
static const struct window windows[WINDOWS] = {
	/* five tables of level 1, across a border of 512 GiB */
	{ 0x008000000000ul - 1000 * PAGE_SIZE, PAGE_SIZE, 2100 },
	/* marks and tables of levels 2 and 3 */
	{ 0x018000000000ul - 600 * 2 * MiB, 2 * MiB, 1800 },
	/* the break */
	{ 0x000000800000ul, PAGE_SIZE, 700 },
	/* where mmap puts things */
	{ VM_MMAP_TOP - 1200 * PAGE_SIZE, PAGE_SIZE, 1200 },
};
#define W_BRK 2
#define W_TOP 3

struct proc {
	struct aspace *as;
	struct page *w[WINDOWS];
	u64 brk;
	unsigned hot_w; /* pages touched last */
	u64 hot_at, hot_n;
};
static struct proc procs[MAX_PROCS];

/* Content of shared objects, by object and page; anonymous ones are small. */
#define OBJ_PAGES 2100
static u32 *obj_tag[MAX_OBJS];
static u64 obj_pages[MAX_OBJS];
static unsigned nr_objs;
static u32 next_tag;

static u32 page_tag(const struct page *p)
{
	if (p->obj && !p->own)
		return p->index < obj_pages[p->obj] ? obj_tag[p->obj][p->index] : 0;
	return p->tag;
}

static unsigned new_obj(u64 pages)
{
	check(nr_objs < MAX_OBJS, "too many objects");
	obj_tag[nr_objs] = calloc(pages, sizeof(u32));
	obj_pages[nr_objs] = pages;
	return nr_objs++;
}

/* ---- access through the simulated machine ---------------------------------------------------- */

static void switch_to(struct proc *p)
{
	irq_disable();
	mm_switch(p->as);
	irq_enable();
}

/* 0 and the place, or the si_code. */
static int user_access(struct proc *p, u64 va, enum fault_access access, u32 **where)
{
	paddr_t pa;

	switch_to(p);
	for (int tries = 0; tries < 4; tries++) {
		int ret;

		if (host_mmu_access(va, access, true, &pa) == 0) {
			*where = phys_to_virt(pa);
			return 0;
		}
		if (below(4) == 0)
			host_mmu_speculate(va);
		ret = vm_fault(p->as, va, access);
		if (ret)
			return ret;
		if (below(8) == 0)
			host_mmu_speculate(va);
	}
	check(false, "access %d to %#lx never ends", access, va);
	return -1;
}

static int model_fault(const struct page *p, enum fault_access access)
{
	static const u8 need[] = { PROT_READ | PROT_WRITE | PROT_EXEC, PROT_WRITE, PROT_EXEC };

	if (!p->mapped)
		return SEGV_MAPERR;
	if (!(p->prot & need[access]))
		return SEGV_ACCERR;
	if (p->obj && !p->own && p->index >= obj_pages[p->obj])
		return FAULT_BUS | BUS_ADRERR;
	return 0;
}

#define TAIL (PAGE_SIZE / sizeof(u32) - 1)

static void model_write(struct page *m, u32 tag)
{
	if (m->obj && m->shared) {
		obj_tag[m->obj][m->index] = tag;
	} else {
		m->tag = tag;
		m->own = true;
	}
}

static void touch(struct proc *p, unsigned w, u64 i, enum fault_access access)
{
	struct page *m = &p->w[w][i];
	u64 va = windows[w].base + i * windows[w].unit;
	int expect = model_fault(m, access), got;
	bool inject = below(16) == 0;
	u32 *at;

	if (inject)
		alloc_fail_at = below(4) + 1;
	got = user_access(p, va, access, &at);
	if (got == (FAULT_BUS | FAULT_OOM | BUS_ADRERR)) {
		check(inject && alloc_fail_at == 0, "out of memory at %#lx", va);
		got = user_access(p, va, access, &at);
	}
	alloc_fail_at = 0;
	check(got == expect, "access %d to %#lx: got %#x, expected %#x (prot %d)", access, va, got,
	      expect, m->prot);
	if (got)
		return;
	check(at[0] == page_tag(m) && at[TAIL] == page_tag(m),
	      "content of %#lx (access %d): got %u, %u, expected %u", va, access, at[0], at[TAIL],
	      page_tag(m));
	if (access == FAULT_WRITE) {
		at[0] = at[TAIL] = ++next_tag;
		model_write(m, next_tag);
	}
}

/* The same from outside, by aspace_read and aspace_write. */
static void touch_outside(struct proc *p, unsigned w, u64 i, bool write)
{
	struct page *m = &p->w[w][i];
	u64 va = windows[w].base + i * windows[w].unit;
	int expect = model_fault(m, write ? FAULT_WRITE : FAULT_READ);
	u32 tag = ++next_tag;
	ssize_t n;

	if (write) {
		n = aspace_write(p->as, va, &tag, 4);
		if (n == 4)
			n = aspace_write(p->as, va + TAIL * 4, &tag, 4);
	} else {
		n = aspace_read(p->as, va, &tag, 4);
		if (n == 4)
			check(tag == page_tag(m), "aspace_read(%#lx): %u, expected %u", va, tag,
			      page_tag(m));
	}
	check(n == (expect ? -EFAULT : 4), "outside access to %#lx: %ld, expected fault %#x", va, n,
	      expect);
	if (write && n == 4)
		model_write(m, tag);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int random_prot(void)
{
	static const int prots[] = { PROT_NONE,
				     PROT_READ,
				     PROT_READ | PROT_WRITE,
				     PROT_READ | PROT_WRITE,
				     PROT_READ | PROT_WRITE,
				     PROT_READ | PROT_EXEC,
				     PROT_EXEC,
				     PROT_WRITE,
				     PROT_READ | PROT_WRITE | PROT_EXEC };

	return prots[below(ARRAY_SIZE(prots))];
}

/* A random range of a window: mostly small, sometimes most of it. */
static void random_range(struct proc *p, unsigned w, u64 *at, u64 *n)
{
	u64 max = windows[w].n;

	if (p->hot_n && w == p->hot_w && below(2)) {
		*at = p->hot_at;
		*n = p->hot_n;
		return;
	}

	*n = below(12) == 0 ? below(max) + 1 : below(10) == 0 ? below(600) + 1 : below(20) + 1;
	*n = MIN(*n, max);
	*at = below(max - *n + 1);
	if (windows[w].unit > PAGE_SIZE && below(3) == 0 && max - *at > 512) {
		/* whole GiB */
		*at += 512 - ((windows[w].base / windows[w].unit + *at) % 512);
		*n = 512;
		if (*at + *n > max)
			*at = 0;
	}
}

/* One or two aligned 2 MiB of a window of small pages. */
static void large_range(unsigned w, u64 *at, u64 *n)
{
	u64 first = -(windows[w].base / PAGE_SIZE) % 512;
	u64 there = (windows[w].n - first) / 512;

	*at = first + below(there) * 512;
	*n = below(3) == 0 && *at + 1024 <= windows[w].n ? 1024 : 512;
}

static struct page *none_mapped(struct page *m, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (m[i].mapped)
			return &m[i];
	return NULL;
}

/* Frames in use but for the slab's and caches'. */
static u64 frames_named(void)
{
	struct frame_stats s;

	frame_stats(&s);
	return s.used[FRAME_TABLE] + s.used[FRAME_ANON] + s.used[FRAME_FILE] + s.used[FRAME_KERNEL];
}

/* Makes the k-th allocation of the next call fail, sometimes. */
static u64 injected;
static u64 named_before;

static void maybe_inject(void)
{
	injected = below(12) == 0 ? below(6) + 1 : 0;
	if (injected)
		named_before = frames_named();
	alloc_fail_at = injected;
}

/* Did the call fail for that reason? Then it must have left nothing behind. */
static bool injection_hit(s64 ret)
{
	bool hit = injected && alloc_fail_at == 0 && ret == -ENOMEM;

	alloc_fail_at = 0;
	if (hit)
		check(frames_named() == named_before, "a failed call kept %ld frames",
		      (long)(frames_named() - named_before));
	return hit;
}

struct map_args {
	int prot, flags;
	unsigned obj; /* 0: none */
	u64 offset;
	bool nowrite;
};

static void model_map(struct page *m, u64 n, u64 unit, const struct map_args *a)
{
	unsigned obj = a->obj;

	if (!obj && (a->flags & MAP_TYPE) == MAP_SHARED)
		obj = new_obj(n * unit / PAGE_SIZE);
	for (u64 i = 0; i < n; i++)
		m[i] = (struct page){
			.mapped = true,
			.shared = (a->flags & MAP_TYPE) == MAP_SHARED,
			.nowrite = a->nowrite && (a->flags & MAP_TYPE) == MAP_SHARED,
			.prot = (u8)a->prot,
			.flags = a->flags & (MAP_GROWSDOWN | MAP_NORESERVE),
			.obj = (u16)obj,
			.index = a->offset / PAGE_SIZE + i * (unit / PAGE_SIZE),
		};
}

static void random_map_args(unsigned w, struct map_args *a)
{
	*a = (struct map_args){ .prot = random_prot() };
	switch (below(8)) {
	case 0:
		a->flags = MAP_SHARED | MAP_ANONYMOUS;
		if (nr_objs > MAX_OBJS - 10)
			a->flags = MAP_PRIVATE | MAP_ANONYMOUS;
		break;
	case 1:
	case 2:
		a->obj = 1 + (unsigned)below(MAX_FILES);
		a->offset = below(8) * PAGE_SIZE;
		a->flags = MAP_PRIVATE;
		break;
	case 3:
		a->obj = 1 + (unsigned)below(MAX_FILES);
		a->offset = below(8) * PAGE_SIZE;
		a->flags = MAP_SHARED;
		a->nowrite = !(a->prot & PROT_WRITE) && below(2);
		break;
	default:
		a->flags = MAP_PRIVATE | MAP_ANONYMOUS;
		if (below(6) == 0)
			a->flags |= MAP_NORESERVE;
		if (below(10) == 0)
			a->flags |= MAP_GROWSDOWN;
	}
}

static s64 call_mmap(struct proc *p, u64 va, u64 len, const struct map_args *a, int flags)
{
	return vm_mmap(p->as, va, len, a->prot,
		       a->flags | flags | (a->nowrite ? VM_MMAP_NOWRITE : 0),
		       a->obj ? &files[a->obj - 1].obj : NULL, a->offset);
}

static void op_mmap(struct proc *p)
{
	unsigned w = below(3) == 0 ? 1 : 0;
	struct map_args a;
	u64 at, n, va, len;
	int mode = (int)below(3);
	s64 ret;

	random_range(p, w, &at, &n);
	random_map_args(w, &a);
	va = windows[w].base + at * windows[w].unit;
	len = n * windows[w].unit - (below(3) == 0 ? below(PAGE_SIZE) : 0);
	maybe_inject();
	ret = call_mmap(p, va, len, &a,
			mode == 0 ? MAP_FIXED :
			mode == 1 ? MAP_FIXED_NOREPLACE :
				    0);
	if (injection_hit(ret))
		return;
	if (mode != 0 && none_mapped(&p->w[w][at], n)) {
		if (mode == 1)
			check(ret == -EEXIST, "noreplace: %ld", ret);
		else if (ret > 0) /* went elsewhere; not there */
			check(vm_munmap(p->as, (u64)ret, len) == 0, "unmap");
		return;
	}
	if (mode == 2 && ret > 0 && ret != (s64)va) { /* too near below a stack that grows */
		check(vm_munmap(p->as, (u64)ret, len) == 0, "unmap");
		return;
	}
	check(ret == (s64)va, "mmap(%#lx, %#lx, mode %d): %ld", va, len, mode, ret);
	model_map(&p->w[w][at], n, windows[w].unit, &a);
}

/* Without a wish: near the top. */
static void op_mmap_anywhere(struct proc *p)
{
	const struct window *w = &windows[W_TOP];
	u64 n = below(5) == 0 ? below(100) + 1 : below(6) + 1, at;
	struct map_args a;
	s64 ret;

	random_map_args(W_TOP, &a);
	maybe_inject();
	ret = call_mmap(p, 0, n * PAGE_SIZE, &a, 0);
	if (injection_hit(ret))
		return;
	check(ret > 0 && IS_ALIGNED((u64)ret, PAGE_SIZE), "mmap anywhere: %ld", ret);
	check((u64)ret + n * PAGE_SIZE <= VM_MMAP_TOP, "mmap anywhere: %#lx", ret);
	if ((u64)ret < w->base) {
		check(vm_munmap(p->as, (u64)ret, n * PAGE_SIZE) == 0, "unmap");
		return;
	}
	at = ((u64)ret - w->base) / PAGE_SIZE;
	check(!none_mapped(&p->w[W_TOP][at], n), "mmap anywhere took what was mapped: %#lx", ret);
	model_map(&p->w[W_TOP][at], n, PAGE_SIZE, &a);
}

static void op_munmap(struct proc *p)
{
	unsigned w = (unsigned)below(WINDOWS);
	u64 at, n;
	int ret;

	random_range(p, w, &at, &n);
	maybe_inject();
	ret = vm_munmap(p->as, windows[w].base + at * windows[w].unit, n * windows[w].unit);
	if (injection_hit(ret))
		return;
	check(ret == 0, "munmap: %d", ret);
	memset(&p->w[w][at], 0, n * sizeof(struct page));
}

static void op_mprotect(struct proc *p)
{
	unsigned w = (unsigned)below(WINDOWS);
	int prot = random_prot(), ret, expect = 0;
	u64 at, n;

	random_range(p, w, &at, &n);
	maybe_inject();
	ret = vm_mprotect(p->as, windows[w].base + at * windows[w].unit, n * windows[w].unit, prot);
	if (injection_hit(ret))
		return;
	for (u64 i = at; i < at + n && !expect; i++) {
		struct page *m = &p->w[w][i];

		if (!m->mapped)
			expect = -ENOMEM;
		else if (m->nowrite && (prot & PROT_WRITE))
			expect = -EACCES;
		else
			m->prot = (u8)prot;
	}
	check(ret == expect, "mprotect: %d, expected %d", ret, expect);
}

/* madvise goes region by region, as Linux's does: out of memory for a table that was shared, it has
 * done its work in part. Doing it again makes it whole. */
static int advise_again(struct proc *p, unsigned w, u64 at, u64 n, int advice, int ret)
{
	bool hit = injected && alloc_fail_at == 0 && ret == -ENOMEM;

	alloc_fail_at = 0;
	return hit ? vm_madvise(p->as, windows[w].base + at * windows[w].unit, n * windows[w].unit,
				advice) :
		     ret;
}

static void op_dontneed(struct proc *p)
{
	unsigned w = (unsigned)below(WINDOWS);
	int ret, expect = 0;
	u64 at, n;

	random_range(p, w, &at, &n);
	maybe_inject();
	ret = vm_madvise(p->as, windows[w].base + at * windows[w].unit, n * windows[w].unit,
			 MADV_DONTNEED);
	ret = advise_again(p, w, at, n, MADV_DONTNEED, ret);
	for (u64 i = at; i < at + n; i++) {
		struct page *m = &p->w[w][i];

		if (!m->mapped)
			expect = -ENOMEM;
		m->own = false;
		m->tag = 0;
	}
	check(ret == expect, "madvise: %d, expected %d", ret, expect);
}

static void op_brk(struct proc *p)
{
	const struct window *w = &windows[W_BRK];
	u64 want = w->base + below(w->n * PAGE_SIZE - 1), got;
	u64 old_page = (ALIGN_UP(p->brk, PAGE_SIZE) - w->base) / PAGE_SIZE;
	u64 new_page = (ALIGN_UP(want, PAGE_SIZE) - w->base) / PAGE_SIZE;
	struct map_args a = { .prot = PROT_READ | PROT_WRITE,
			      .flags = MAP_PRIVATE | MAP_ANONYMOUS };

	check(vm_brk(p->as, 0) == p->brk, "brk(0)");
	maybe_inject();
	got = vm_brk(p->as, want);
	if (injected && alloc_fail_at == 0 && got == p->brk && want != p->brk) {
		check(injection_hit(-ENOMEM), "injection");
		return;
	}
	alloc_fail_at = 0;
	if (new_page > old_page && none_mapped(&p->w[W_BRK][old_page], new_page - old_page)) {
		check(got == p->brk, "brk over a mapping: %#lx", got);
		return;
	}
	check(got == want, "brk(%#lx): %#lx", want, got);
	if (new_page > old_page)
		model_map(&p->w[W_BRK][old_page], new_page - old_page, PAGE_SIZE, &a);
	else
		memset(&p->w[W_BRK][new_page], 0, (old_page - new_page) * sizeof(struct page));
	p->brk = want;
}

/* Are the pages one region, as /proc/pid/maps would show it? */
static bool model_uniform(const struct page *m, u64 n, u64 step)
{
	for (u64 i = 0; i < n; i++)
		if (!m[i].mapped || m[i].prot != m->prot || m[i].flags != m->flags ||
		    m[i].fork != m->fork || m[i].huge != m->huge || m[i].obj != m->obj ||
		    m[i].shared != m->shared || m[i].nowrite != m->nowrite ||
		    (m->obj && m[i].index != m->index + i * step))
			return false;
	return true;
}

/* Page i of the region that begins with page `first`, untouched. */
static struct page fresh(const struct page *first, u64 i, u64 step)
{
	struct page p = *first;

	p.own = false;
	p.tag = 0;
	p.index = first->index + i * step;
	return p;
}

/* The model's move of n pages to a place for n2. to NULL: outside of the windows. */
static void model_move(struct page *from, u64 n, struct page *to, u64 n2, u64 step, bool keep)
{
	struct page first = *from;

	for (u64 i = 0; to && i < n2; i++)
		to[i] = i < n ? from[i] : fresh(&first, i, step);
	for (u64 i = 0; i < n; i++)
		from[i] = keep ? fresh(&first, i, step) : (struct page){ 0 };
}

/* What mremap left somewhere near the top, perhaps below the window. */
static struct page *moved_to(struct proc *p, s64 ret, u64 n2)
{
	const struct window *t = &windows[W_TOP];

	if ((u64)ret < t->base) {
		check(vm_munmap(p->as, (u64)ret, n2) == 0, "unmap");
		return NULL;
	}
	return &p->w[W_TOP][((u64)ret - t->base) / PAGE_SIZE];
}

static void op_mremap_fixed(struct proc *p, unsigned w, u64 at, u64 n, u64 n2)
{
	const struct window *win = &windows[w];
	u64 step = win->unit / PAGE_SIZE, to;
	struct page *m = &p->w[w][at];
	s64 ret;

	if (n2 > win->n)
		return;
	to = below(win->n - n2 + 1);
	maybe_inject();
	if (n2 < n)
		alloc_fail_at = injected = 0; /* it shrinks before it can fail */
	ret = vm_mremap(p->as, win->base + at * win->unit, n * win->unit, n2 * win->unit,
			MREMAP_MAYMOVE | MREMAP_FIXED, win->base + to * win->unit);
	if (injection_hit(ret))
		return;
	if (at + n > to && to + n2 > at) {
		check(ret == -EINVAL, "mremap onto itself: %ld", ret);
		return;
	}
	if (!m->mapped) {
		check(ret == -EFAULT, "mremap of a hole: %ld", ret);
		return;
	}
	if (n > n2) {
		memset(m + n2, 0, (n - n2) * sizeof(*m));
		n = n2;
	}
	if (!model_uniform(m, n, step)) {
		check(ret == -EFAULT, "mremap of several regions: %ld", ret);
		return;
	}
	check(ret == (s64)(win->base + to * win->unit), "mremap fixed: %ld", ret);
	model_move(m, n, &p->w[w][to], n2, step, false);
}

static void op_mremap(struct proc *p)
{
	unsigned w = below(4) ? 0 : below(2) ? 1 : W_TOP;
	const struct window *win = &windows[w];
	u64 step = win->unit / PAGE_SIZE, at, n, n2;
	int flags = below(3) ? MREMAP_MAYMOVE : 0;
	struct page *m;
	s64 ret;

	random_range(p, w, &at, &n);
	n2 = below(3) == 0 ? below(2 * n) + 1 : below(30) + 1;
	m = &p->w[w][at];
	if (below(3) == 0) {
		op_mremap_fixed(p, w, at, n, n2);
		return;
	}
	if (at + n2 > win->n || (step > 1 && n2 > n))
		return;
	if (flags && below(4) == 0) {
		flags |= MREMAP_DONTUNMAP;
		n2 = n;
	}
	maybe_inject();
	ret = vm_mremap(p->as, win->base + at * win->unit, n * win->unit, n2 * win->unit, flags, 0);
	if (injection_hit(ret))
		return;
	if (!m->mapped || (!model_uniform(m, n, step) && (n2 > n || (flags & MREMAP_DONTUNMAP)))) {
		check(ret == -EFAULT, "mremap of a hole or several regions: %ld", ret);
	} else if (flags & MREMAP_DONTUNMAP) {
		check(ret > 0, "mremap dontunmap: %ld", ret);
		if (step > 1) {
			check(vm_munmap(p->as, (u64)ret, n2 * win->unit) == 0, "unmap");
			model_move(m, n, NULL, n2, step, true);
		} else {
			struct page *to = moved_to(p, ret, n2 * PAGE_SIZE);

			check(!to || !none_mapped(to, n2), "mremap took what was mapped");
			model_move(m, n, to, n2, step, true);
		}
	} else if (n2 <= n) {
		check(ret == (s64)(win->base + at * win->unit), "mremap shrinks: %ld", ret);
		memset(m + n2, 0, (n - n2) * sizeof(*m));
	} else if (!none_mapped(m + n, n2 - n)) {
		check(ret == (s64)(win->base + at * win->unit), "mremap grows: %ld", ret);
		for (u64 i = n; i < n2; i++)
			m[i] = fresh(m, i, step);
	} else if (!flags) {
		check(ret == -ENOMEM, "mremap without a place: %ld", ret);
	} else {
		struct page *to;

		check(ret > 0, "mremap moves: %ld", ret);
		to = moved_to(p, ret, n2 * PAGE_SIZE);
		check(!to || !none_mapped(to, n2), "mremap took what was mapped");
		model_move(m, n, to, n2, step, false);
	}
}

static void proc_alloc(struct proc *p)
{
	for (unsigned w = 0; w < WINDOWS; w++)
		p->w[w] = calloc(windows[w].n, sizeof(struct page));
}

static void proc_exit(struct proc *p)
{
	if (!p->as)
		return;
	aspace_put(p->as);
	p->as = NULL;
	for (unsigned w = 0; w < WINDOWS; w++)
		free(p->w[w]);
}

static struct page forked_page(struct page p)
{
	if (p.fork & 1)
		return (struct page){ 0 };
	if (p.fork & 2) {
		p.own = false;
		p.tag = 0;
	}
	return p;
}

static void op_fork(struct proc *parent)
{
	struct proc *child = &procs[below(MAX_PROCS)];
	struct aspace *as;
	int ret;

	if (child == parent)
		return;
	proc_exit(child);
	maybe_inject();
	if (injected)
		alloc_fail_at = injected = injected * below(8) + 1;
	ret = aspace_fork(parent->as, &as);
	if (injection_hit(ret))
		return;
	check(ret == 0, "fork: %d", ret);
	child->as = as;
	child->brk = parent->brk;
	child->hot_w = parent->hot_w;
	child->hot_at = parent->hot_at;
	child->hot_n = parent->hot_n;
	proc_alloc(child);
	for (unsigned w = 0; w < WINDOWS; w++)
		for (u64 i = 0; i < windows[w].n; i++)
			child->w[w][i] = forked_page(parent->w[w][i]);
}

/* What fork leaves out. Ranges of private anonymous memory alone may be wiped. */
static void op_fork_flags(struct proc *p)
{
	static const int advices[] = { MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK,
				       MADV_KEEPONFORK };
	unsigned w = (unsigned)below(WINDOWS), which = (unsigned)below(4);
	u8 bit = which < 2 ? 1 : 2;
	u64 at, n;
	int ret;

	random_range(p, w, &at, &n);
	for (u64 i = at; i < at + n; i++)
		if (!p->w[w][i].mapped || (which == 2 && p->w[w][i].obj))
			n = i - at;
	if (n == 0)
		return;
	maybe_inject();
	ret = vm_madvise(p->as, windows[w].base + at * windows[w].unit, n * windows[w].unit,
			 advices[which]);
	ret = advise_again(p, w, at, n, advices[which], ret);
	check(ret == 0, "madvise(%d): %d", advices[which], ret);
	for (u64 i = at; i < at + n; i++)
		p->w[w][i].fork = which % 2 ? p->w[w][i].fork & ~bit : p->w[w][i].fork | bit;
}

/* Who may have pages of 2 MiB. In the window of large units only few: they take real memory. */
static void op_huge_flags(struct proc *p)
{
	unsigned w = (unsigned)below(WINDOWS);
	bool yes = below(3) != 0;
	u64 at, n;
	int ret;

	if (windows[w].unit == PAGE_SIZE && below(2))
		large_range(w, &at, &n);
	else
		random_range(p, w, &at, &n);
	if (windows[w].unit > PAGE_SIZE)
		n = MIN(n, 2ul);
	for (u64 i = at; i < at + n; i++)
		if (!p->w[w][i].mapped)
			n = i - at;
	if (n == 0)
		return;
	maybe_inject();
	ret = vm_madvise(p->as, windows[w].base + at * windows[w].unit, n * windows[w].unit,
			 yes ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	ret = advise_again(p, w, at, n, yes ? MADV_HUGEPAGE : MADV_NOHUGEPAGE, ret);
	check(ret == 0, "madvise(huge): %d", ret);
	for (u64 i = at; i < at + n; i++)
		p->w[w][i].huge = yes ? 1 : 2;
}

/* Memory for large pages, one touched; what follows likes to happen to a part of it. */
static void op_large(struct proc *p)
{
	static const unsigned places[] = { 0, 0, 0, W_TOP };
	unsigned w = places[below(ARRAY_SIZE(places))];
	struct map_args a = { .prot = PROT_READ | PROT_WRITE,
			      .flags = MAP_PRIVATE | MAP_ANONYMOUS };
	u64 at, n, va;

	large_range(w, &at, &n);
	va = windows[w].base + at * PAGE_SIZE;
	check(call_mmap(p, va, n * PAGE_SIZE, &a, MAP_FIXED) == (s64)va, "mmap");
	model_map(&p->w[w][at], n, PAGE_SIZE, &a);
	check(vm_madvise(p->as, va, n * PAGE_SIZE, MADV_HUGEPAGE) == 0, "madvise");
	for (u64 i = at; i < at + n; i++)
		p->w[w][i].huge = 1;
	for (u64 i = 0; i < n; i += 512)
		touch(p, w, at + i + below(512), FAULT_WRITE);
	p->hot_w = w;
	p->hot_n = below(3) ? below(100) + 1 : n;
	p->hot_at = at + below(n - p->hot_n + 1);
}

/* ---- /proc/pid/maps -------------------------------------------------------------------------- */

struct walk {
	struct proc *p;
	unsigned w;
	u64 i; /* next page of the model */
};

/* The model's next region. False: none left. */
static bool model_region(struct walk *k, struct vm_region *r)
{
	static const unsigned order[WINDOWS] = { 2, 0, 1, 3 }; /* by address */

	for (; k->w < WINDOWS; k->w++, k->i = 0) {
		const struct window *w = &windows[order[k->w]];
		struct page *m = k->p->w[order[k->w]], *first;
		u64 step = w->unit / PAGE_SIZE;

		while (k->i < w->n && !m[k->i].mapped)
			k->i++;
		if (k->i == w->n)
			continue;
		first = &m[k->i];
		r->start = w->base + k->i * w->unit;
		for (u64 j = 0; k->i < w->n; k->i++, j++) {
			struct page *q = &m[k->i];

			if (!q->mapped || q->prot != first->prot || q->flags != first->flags ||
			    q->fork != first->fork || q->huge != first->huge ||
			    q->obj != first->obj || q->shared != first->shared ||
			    q->nowrite != first->nowrite ||
			    (q->obj && q->index != first->index + j * step))
				break;
		}
		r->end = w->base + k->i * w->unit;
		r->prot = first->prot;
		r->flags = (first->shared ? MAP_SHARED : MAP_PRIVATE) | (int)first->flags |
			   (first->obj >= 1 && first->obj <= MAX_FILES ? 0 : MAP_ANONYMOUS);
		r->obj = first->obj >= 1 && first->obj <= MAX_FILES ? &files[first->obj - 1].obj :
								      NULL;
		r->offset = first->obj ? first->index * PAGE_SIZE : 0;
		r->huge = first->huge == 1;
		r->nohuge = first->huge == 2;
		return true;
	}
	return false;
}

static int walk_one(const struct vm_region *r, void *arg)
{
	struct walk *k = arg;
	struct vm_region m;

	check(model_region(k, &m), "maps has %#lx-%#lx too much", r->start, r->end);
	check(r->start == m.start && r->end == m.end && r->prot == m.prot && r->flags == m.flags &&
		      r->offset == m.offset && r->huge == m.huge && r->nohuge == m.nohuge &&
		      (!m.obj || m.obj == r->obj),
	      "maps: %#lx-%#lx prot %d flags %#x offset %#lx; expected %#lx-%#lx prot %d flags %#x "
	      "offset %#lx",
	      r->start, r->end, r->prot, r->flags, r->offset, m.start, m.end, m.prot, m.flags,
	      m.offset);
	return 0;
}

static void compare_maps(struct proc *p)
{
	struct walk k = { .p = p };
	struct vm_region m;

	check(aspace_walk(p->as, walk_one, &k) == 0, "walk");
	check(!model_region(&k, &m), "maps lacks %#lx-%#lx", m.start, m.end);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static u64 env(const char *name, u64 def)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : def;
}

static struct frame *kernel_root;

static void machine_start(u64 frames)
{
	host_panic_hook = on_panic;
	host_mmu_reset();
	host_ram_init(frames);
	slab_init();
	kernel_root = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	kmap_set_root(frame_pa(kernel_root), NULL);
	irq_disable();
	mmu_load_root(frame_pa(kernel_root), 0, false);
	irq_enable();
	aspace_init();
	memset(files, 0, sizeof(files));
	nr_objs = 1;
	for (unsigned i = 0; i < MAX_FILES; i++) {
		files[i].obj.ops = &file_ops;
		new_obj(FILE_PAGES);
	}
	/* A content of its own for each page of each file. */
	for (unsigned i = 0; i < MAX_FILES; i++)
		for (unsigned j = 0; j < FILE_PAGES; j++) {
			struct frame *f;
			u32 *at;

			file_get_page(&files[i].obj, j, &f);
			at = frame_virt(f);
			at[0] = at[TAIL] = obj_tag[1 + i][j] = ++next_tag;
			frame_put(f);
		}
}

static void machine_stop(void)
{
	for (unsigned i = 0; i < MAX_FILES; i++) {
		check(files[i].refs == 0, "file %u has %d references", i, files[i].refs);
		for (unsigned j = 0; j < FILE_PAGES; j++)
			if (files[i].page[j]) {
				check(frame_refs(files[i].page[j]) == 1,
				      "a file page is still named");
				frame_put(files[i].page[j]);
			}
	}
	for (unsigned i = 1; i < nr_objs; i++)
		free(obj_tag[i]);
	host_mmu_reset();
	host_ram_exit();
	host_panic_hook = NULL;
}

/* No process, then: nothing in use but what was at the start. */
static void check_slabs_empty(void)
{
	struct slab_stats s;

	for (unsigned i = 0; slab_stats(i, &s); i++)
		if (!strcmp(s.name, "vm_mapping") || !strcmp(s.name, "aspace"))
			check(s.in_use == 0, "%lu objects of %s left", s.in_use, s.name);
}

static void random_touch(struct proc *p)
{
	unsigned w = (unsigned)below(WINDOWS);
	u64 at = below(windows[w].n), n = below(4) == 0 ? below(40) : below(4) + 1;

	if (below(8)) /* mostly where something is */
		while (at + 1 < windows[w].n && !p->w[w][at].mapped)
			at++;
	if (p->hot_n && below(3) == 0) { /* or where something happened lately */
		w = p->hot_w;
		at = p->hot_at + below(p->hot_n);
	}
	p->hot_w = w;
	p->hot_at = at;
	p->hot_n = MIN(n, windows[w].n - at);
	for (u64 i = at; i < at + n && i < windows[w].n; i++)
		touch(p, w, i, below(5) < 3 ? FAULT_WRITE : below(3) ? FAULT_READ : FAULT_EXEC);
}

static void random_op(struct proc *p)
{
	u64 what = below(100);

	if (below(4)) /* mostly the space that the CPU has loaded */
		switch_to(p);
	if (below(2)) { /* the processor reads ahead wherever it likes */
		const struct window *w = &windows[below(WINDOWS)];

		host_mmu_speculate(w->base + below(w->n * w->unit));
	}
	if (what < 14)
		op_mmap(p);
	else if (what < 20)
		op_mmap_anywhere(p);
	else if (what < 26)
		op_munmap(p);
	else if (what < 34)
		op_mprotect(p);
	else if (what < 38)
		op_dontneed(p);
	else if (what < 42)
		op_brk(p);
	else if (what < 45)
		op_fork(p);
	else if (what < 46)
		proc_exit(p);
	else if (what < 47)
		op_fork_flags(p);
	else if (what < 48)
		op_huge_flags(p);
	else if (what < 49)
		op_large(p);
	else if (what < 50) {
		unsigned w = (unsigned)below(WINDOWS);

		u64 i = below(windows[w].n);

		while (i + 1 < windows[w].n && !p->w[w][i].mapped)
			i++;
		if (below(2)) /* the caches know the page */
			touch(p, w, i, FAULT_READ);
		touch_outside(p, w, i, below(2));
	} else if (what < 58) {
		op_mremap(p);
	} else {
		random_touch(p);
	}
}

static void run_random(u64 run_seed, u64 ops, unsigned contexts)
{
	u64 before;

	seed = run_seed;
	rng_state = run_seed * 0x9e3779b97f4a7c15ul | 1;
	host_mmu_set_contexts(contexts);
	machine_start(80000);
	before = frames_named();
	for (current_op = 0; current_op < ops; current_op++) {
		struct proc *p = &procs[below(MAX_PROCS)];

		if (!p->as) {
			p->as = aspace_create();
			check(p->as != NULL, "create");
			p->brk = windows[W_BRK].base;
			aspace_set_brk(p->as, p->brk);
			proc_alloc(p);
		}
		random_op(p);
		if (current_op % 64 == 0) {
			aspace_audit();
			host_mmu_audit();
		}
		if (p->as && current_op % 128 == 0)
			compare_maps(p);
	}
	for (unsigned i = 0; i < MAX_PROCS; i++)
		if (procs[i].as) {
			compare_maps(&procs[i]);
			proc_exit(&procs[i]);
		}
	check(frames_named() == before, "%ld frames lost", (long)(frames_named() - before));
	check_slabs_empty();
	machine_stop();
}

static void test_random(void **state)
{
	u64 first = env("UNIT_SEED", 1), ops = env("UNIT_OPS", 6000), runs = env("UNIT_RUNS", 4);

	for (u64 i = 0; i < runs; i++)
		run_random(first + i, ops, i < runs / 2 ? 1 : 3); /* never fewer again */

	/* It was all there. */
	struct vm_stats v;
	struct tlb_stats t;
	struct large_stats l;

	vm_stats(&v);
	tlb_stats(&t);
	if (getenv("UNIT_VERBOSE"))
		printf("faults %lu: zero page %lu, copied %lu, reused %lu, spurious %lu; "
		       "flushes: page %lu range %lu space %lu, avoided %lu; CR3 %lu, kept %lu\n",
		       v.faults, v.zero_page_faults, v.cow_copied, v.cow_reused, v.spurious, t.page,
		       t.range, t.space, t.avoided, t.cr3_loads, t.cr3_skipped);
	assert_true(v.zero_page_faults && v.cow_copied && v.cow_reused && v.spurious);
	assert_true(v.tables_copied && v.tables_taken_back && v.mapped_around);
	large_stats(&l);
	assert_true(v.large_faults && l.splits && l.fallbacks && l.in_use == 0);
	assert_true(t.page && t.range && t.space && t.avoided && t.cr3_loads && t.cr3_skipped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests_name("aspace", tests, NULL, NULL);
}
