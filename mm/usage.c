/*
 * How much of a range is there, and of what kind: for /proc/pid/smaps, status and pagemap.
 *
 * The zero page counts as nothing, as on Linux. A frame is shared if more than its slot (and, for a
 * page of a file, the file) names it; slots in tables that a fork shares count as one.
 */
#include "arch/api/uaccess.h"
#include "mm/pt.h"
#include "mm/region.h"

static void add_frames(struct vm_usage *u, const struct pt_slot *s, pfn_t pfn)
{
	u64 pages = s->size >> PAGE_SHIFT;
	struct frame *f = pfn_frame(pfn);
	bool anon = f->type == FRAME_ANON, dirty = s->e.v & PTE_DIRTY;
	bool shared = frame_refs(f) > (anon ? 1u : 2u);

	u->resident += pages;
	u->anon += anon ? pages : 0;
	u->locked += s->e.v & VM_LOCKED ? pages : 0;
	u->dirty[shared] += dirty || anon ? pages : 0;
	u->clean[shared] += dirty || anon ? 0 : pages;
}

static int add_slot(const struct pt_slot *s, void *arg)
{
	pfn_t pfn;

	if (pte_is_none(s->mark))
		return 0;
	if (pte_is_present(s->e))
		pfn = pte_pfn(s->e);
	else if (mark_is_held(s->e))
		pfn = mark_pfn(s->e);
	else
		return 0;
	if (!pfn_is_zero_page(pfn))
		add_frames(arg, s, pfn);
	return 0;
}

void vm_usage(struct aspace *as, u64 start, u64 end, struct vm_usage *out)
{
	*out = (struct vm_usage){ 0 };
	pt_scan(as, start, end, add_slot, out);
}

struct pagemap {
	u64 *entry;
	u64 start, end;
};

/* Linux's Documentation/admin-guide/mm/pagemap.rst: bits 63 present, 61 not anonymous, 56 ours alone. */
static int pagemap_slot(const struct pt_slot *s, void *arg)
{
	struct pagemap *p = arg;
	u64 e = 0, from = MAX(s->va, p->start), end = MIN(s->va + s->size, p->end);
	pfn_t pfn = 0;

	if (pte_is_present(s->e) || mark_is_held(s->e)) {
		struct frame *f;

		pfn = pte_is_present(s->e) ? pte_pfn(s->e) : mark_pfn(s->e);
		f = pfn_frame(pfn);
		e = 1ul << 63;
		if (!pfn_is_zero_page(pfn)) {
			e |= f->type == FRAME_ANON ? 0 : 1ul << 61;
			e |= frame_refs(f) == (f->type == FRAME_ANON ? 1u : 2u) ? 1ul << 56 : 0;
		}
	}
	for (u64 va = from; va < end; va += PAGE_SIZE)
		p->entry[(va - p->start) >> PAGE_SHIFT] =
			e ? e | (pfn + ((va - s->va) >> PAGE_SHIFT)) : 0;
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
