/*
 * A range of a space seen region by region: what the calls need that look before they act, as
 * madvise or mlock. What is seen may change as soon as it is returned: a call that then acts works on
 * whatever is there by then, as if the change had come after it.
 */
#pragma once

#include "mm/mark.h"

struct aspace;

struct region {
	u64 start, end;
	pte_t mark;                 /* of its first slot: kind and VM_BITS count for all of it */
	struct vm_mapping *mapping; /* with a reference, or NULL: anonymous */
};

/*
 * The first region that has something of [from, end), cut to that. False: nothing but a hole, and
 * *r is empty. May sleep. End each true one with region_put, which may sleep, too.
 */
bool region_next(struct aspace *as, u64 from, u64 end, struct region *r);
/* The same for calls, for which a long operation of another thread is one step (mm/claim.c): waits where one is. */
bool region_next_settled(struct aspace *as, u64 from, u64 end, struct region *r);
void region_put(struct region *r);

/* The page of the object that is at va. */
static inline u64 region_page(const struct region *r, u64 va)
{
	return (r->mapping->offset + (va - r->mapping->va)) >> PAGE_SHIFT;
}

static inline bool region_is_shared(const struct region *r)
{
	return mark_kind(r->mark) == MARK_SHARED;
}
