/*
 * Regions: neighbouring slots of a page table that say the same, which is what Linux keeps a
 * structure for. Two marks of different mappings belong together when they continue each other in
 * one object.
 */
#include "mm/region.h"

#include "mm/pt.h"

struct scan {
	struct region *r;
	u64 from;
};

static bool continues(const struct region *r, const struct pt_slot *s)
{
	const struct vm_mapping *a = r->mapping, *b;

	if (s->va > r->end || ((r->mark.v ^ s->mark.v) & (VM_BITS | MARK_KINDS)))
		return false;
	if (!a)
		return true;
	b = mark_mapping(s->mark);
	return a->obj == b->obj && a->offset - a->va == b->offset - b->va &&
	       a->nowrite == b->nowrite;
}

static int add_slot(const struct pt_slot *s, void *arg)
{
	struct scan *scan = arg;
	struct region *r = scan->r;

	if (pte_is_none(s->mark))
		return r->start < r->end;
	if (r->start == r->end) {
		r->start = MAX(s->va, scan->from);
		r->mark = s->mark;
		if (mark_has_mapping(s->mark)) {
			r->mapping = mark_mapping(s->mark);
			mapping_get(r->mapping, 1);
		}
	} else if (!continues(r, s)) {
		return 1;
	}
	r->end = s->va + s->size;
	return 0;
}

static bool next(struct aspace *as, u64 from, u64 end, struct region *r,
		 int (*scan)(struct aspace *as, u64 start, u64 end, pt_scan_fn *fn, void *arg))
{
	struct scan s = { .r = r, .from = from };

	*r = (struct region){ .start = from, .end = from };
	end = MIN(end, PT_USER_ROOT_SLOTS * pt_span(PT_LEVELS));
	if (from < end)
		scan(as, from, end, add_slot, &s);
	r->end = MIN(r->end, end);
	return r->start < r->end;
}

bool region_next(struct aspace *as, u64 from, u64 end, struct region *r)
{
	return next(as, from, end, r, pt_scan);
}

bool region_next_settled(struct aspace *as, u64 from, u64 end, struct region *r)
{
	return next(as, from, end, r, pt_scan_settled);
}

void region_put(struct region *r)
{
	if (r->mapping)
		mapping_put(r->mapping, 1);
	r->mapping = NULL;
}
