/*
 * What /proc/pid shows of a space: its regions for maps; how much of a range is there, and of what kind, for smaps,
 * status and pagemap.
 *
 * The zero page counts as nothing, as on Linux. A frame is shared if more than its slot (and, for a
 * page of a file, the file) names it; slots in tables that a fork shares count as one.
 *
 * A thread that is to end gets what was counted so far: there may be many pages, and nobody to tell.
 */
#include "arch/api/uaccess.h"
#include "mm/anon_object.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "mm/region.h"
#include "sched/thread.h"

static struct vm_region describe(struct aspace *as, const struct region *r)
{
	u64 bits = r->mark.v;
	struct vm_region out = {
		.start = r->start,
		.end = r->end,
		.prot = bits_to_prot(bits),
		.flags = (region_is_shared(r) ? MAP_SHARED : MAP_PRIVATE) |
			 (bits & VM_GROWSDOWN ? MAP_GROWSDOWN : 0) |
			 (bits & VM_NORESERVE ? MAP_NORESERVE : 0) |
			 (bits & VM_LOCKED ? MAP_LOCKED : 0),
		.dontfork = bits & VM_DONTFORK,
		.wipe = bits & VM_WIPE,
		.huge = bits & VM_HUGE,
		.nohuge = bits & VM_NOHUGE,
		.large_wanted = mark_kind(r->mark) == MARK_ANON && large_wanted(as, r->mark),
	};

	if (r->mapping) {
		out.obj = r->mapping->obj;
		out.offset = r->mapping->offset + (r->start - r->mapping->va);
	}
	if (!out.obj || vm_object_is_anon(out.obj))
		out.flags |= MAP_ANONYMOUS;
	return out;
}

int aspace_walk(struct aspace *as, uaddr_t from, int (*fn)(const struct vm_region *r, void *arg),
		void *arg)
{
	struct region r = { .end = from };
	int ret = 0;

	while (!ret && !thread_is_ending() && region_next(as, r.end, UINT64_MAX, &r)) {
		struct vm_region out = describe(as, &r);

		ret = fn(&out, arg);
		region_put(&r);
	}
	return ret;
}

static int stats_slot(const struct pt_slot *s, void *arg)
{
	struct aspace_stats *out = arg;

	if (pte_is_none(s->mark))
		return 0;
	out->mapped += s->size;
	if (slot_has_frame(s->e) && !pfn_is_zero_page(slot_pfn(s->e)))
		out->resident += s->size >> PAGE_SHIFT;
	return thread_is_ending();
}

void aspace_heap(struct aspace *as, struct aspace_stats *out)
{
	spin_lock(&as->lock);
	out->brk_start = as->brk_start;
	out->brk = as->brk;
	spin_unlock(&as->lock);
}

void aspace_stats(struct aspace *as, struct aspace_stats *out)
{
	*out = (struct aspace_stats){ 0 };
	pt_scan(as, 0, PT_USER_ROOT_SLOTS * pt_span(PT_LEVELS), stats_slot, out);
	out->tables = pt_count_tables(as);
	aspace_heap(as, out);
}

/* Do others name frame i of the slot's, too? */
static bool is_shared(const struct pt_slot *s, u64 i)
{
	const struct frame *f = pfn_frame(slot_pfn(s->e));

	if (s->level > 1)
		return large_refs(f, i) > 1;
	return frame_refs(f) > (f->type == FRAME_ANON ? 1u : 2u);
}

struct usage {
	struct vm_usage *u;
	u64 start, end;
};

static int add_slot(const struct pt_slot *s, void *arg)
{
	const struct usage *range = arg;
	struct vm_usage *u = range->u;
	u64 first, last, pages;
	bool anon, dirty;

	if (pte_is_none(s->mark) || !slot_has_frame(s->e) || pfn_is_zero_page(slot_pfn(s->e)))
		return thread_is_ending();
	first = (MAX(s->va, range->start) - s->va) >> PAGE_SHIFT;
	last = (MIN(s->va + s->size, range->end) - s->va) >> PAGE_SHIFT;
	pages = last - first;
	anon = pfn_frame(slot_pfn(s->e))->type == FRAME_ANON;
	dirty = anon || (s->e.v & PTE_DIRTY);
	u->resident += pages;
	u->anon += anon ? pages : 0;
	u->large += s->level > 1 && pte_is_present(s->e) ? pages : 0;
	u->locked += s->e.v & VM_LOCKED ? pages : 0;
	for (u64 i = first; i < last; i++) {
		bool shared = is_shared(s, i);

		u->dirty[shared] += dirty;
		u->clean[shared] += !dirty;
	}
	return thread_is_ending();
}

void vm_usage(struct aspace *as, u64 start, u64 end, struct vm_usage *out)
{
	struct usage range = { out, start, end };

	*out = (struct vm_usage){ 0 };
	pt_scan(as, start, end, add_slot, &range);
}

struct pagemap {
	u64 *entry;
	u64 start, end;
};

/* Linux's Documentation/admin-guide/mm/pagemap.rst: bits 63 present, 61 not anonymous, 56 ours alone. */
static int pagemap_slot(const struct pt_slot *s, void *arg)
{
	struct pagemap *p = arg;
	u64 from = MAX(s->va, p->start), end = MIN(s->va + s->size, p->end);
	pfn_t pfn;

	if (!slot_has_frame(s->e))
		return 0; /* as vm_pagemap left it */
	pfn = slot_pfn(s->e);
	for (u64 va = from; va < end; va += PAGE_SIZE) {
		u64 i = (va - s->va) >> PAGE_SHIFT, e = 1ul << 63 | (pfn + i);

		if (!pfn_is_zero_page(pfn)) {
			e |= pfn_frame(pfn)->type == FRAME_ANON ? 0 : 1ul << 61;
			e |= is_shared(s, i) ? 0 : 1ul << 56;
		}
		p->entry[(va - p->start) >> PAGE_SHIFT] = e;
	}
	return 0;
}

void vm_pagemap(struct aspace *as, u64 start, u64 n, u64 *entry)
{
	struct pagemap p = { entry, start, start + n * PAGE_SIZE };

	for (u64 i = 0; i < n; i++)
		entry[i] = 0;
	if (start < USER_TOP)
		pt_scan(as, start, MIN(p.end, USER_TOP), pagemap_slot, &p);
}
