/*
 * mincore and msync: questions about pages, and a wish that is always fulfilled.
 *
 * A page is in core if its slot has a frame (the zero page, too, as on Linux), or if its object has
 * one that would be mapped without making it. Files are in memory, so there is nothing to write back.
 */
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "mm/pt.h"
#include "mm/region.h"
#include "sched/thread.h"

#define ASK_OBJECT 2

struct look {
	u8 *vec;
	u64 at, end; /* bytes; vec[0] is for `at` */
};

static int look_slot(const struct pt_slot *s, void *arg)
{
	struct look *l = arg;
	u64 from = MAX(s->va, l->at), end = MIN(s->va + s->size, l->end);
	u8 what = 0;

	if (pte_is_present(s->e) || mark_is_held(s->e))
		what = 1;
	else if (mark_has_mapping(s->e))
		what = ASK_OBJECT;
	for (u64 va = from; va < end; va += PAGE_SIZE)
		l->vec[(va - l->at) >> PAGE_SHIFT] = what;
	return 0;
}

/* Pages at ... end of one region. */
static void look_region(struct aspace *as, const struct region *r, u64 at, u64 end, u8 *vec)
{
	struct look l = { .vec = vec, .at = at, .end = end };
	struct vm_object *obj = r->mapping ? r->mapping->obj : NULL;

	for (u64 i = 0; i < (end - at) >> PAGE_SHIFT; i++)
		vec[i] = 0;
	pt_scan_settled(as, at, end, look_slot, &l);
	for (u64 va = at; va < end; va += PAGE_SIZE, vec++)
		if (*vec == ASK_OBJECT)
			*vec = obj && obj->ops->has_page &&
			       obj->ops->has_page(obj, region_page(r, va));
}

int vm_mincore(struct aspace *as, uaddr_t addr, u64 len, uaddr_t vec)
{
	u64 end = addr + ALIGN_UP(len, PAGE_SIZE);
	u8 buf[256];

	if (!IS_ALIGNED(addr, PAGE_SIZE))
		return -EINVAL;
	if (!user_range_ok(addr, len))
		return -ENOMEM;
	if (!user_range_ok(vec, (end - addr) >> PAGE_SHIFT))
		return -EFAULT;
	while (addr < end && !thread_is_ending()) {
		u64 part = MIN(end, addr + sizeof(buf) * PAGE_SIZE);
		struct region r;
		bool there = region_next_settled(as, addr, part, &r);

		if (!there || r.start > addr) {
			region_put(&r);
			return -ENOMEM;
		}
		look_region(as, &r, addr, r.end, buf);
		part = (r.end - addr) >> PAGE_SHIFT;
		addr = r.end;
		region_put(&r);
		if (copy_to_user(vec, buf, part))
			return -EFAULT;
		vec += part;
	}
	return 0;
}

int vm_msync(struct aspace *as, uaddr_t addr, u64 len, int flags)
{
	u64 end = addr + ALIGN_UP(len, PAGE_SIZE), at = addr;
	struct region r;
	int err = 0;

	if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || !IS_ALIGNED(addr, PAGE_SIZE) ||
	    ((flags & MS_ASYNC) && (flags & MS_SYNC)))
		return -EINVAL;
	if (end < addr)
		return -ENOMEM;
	for (; at < end && !thread_is_ending() && region_next_settled(as, at, end, &r);
	     at = r.end) {
		bool busy = (flags & MS_INVALIDATE) && (r.mark.v & VM_LOCKED);

		if (r.start > at)
			err = -ENOMEM;
		region_put(&r);
		if (busy)
			return -EBUSY;
	}
	return at < end ? -ENOMEM : err;
}
