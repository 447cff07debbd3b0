/*
 * Pages that leave an object while they are mapped: truncation, holes, MADV_REMOVE.
 *
 * An object does not know who maps it; it counts its mappings, and while there are none, as for
 * nearly all files that are cut, there is nothing to do. Otherwise every space is looked through
 * for regions of the object. That is slow with many large spaces, and needs no memory and no lists
 * that mmap, munmap and fork would have to keep.
 *
 * A fault may have got a page from the object just before it went. It compares `cuts`, read before it
 * asked, under the lock of the slot: it either sees that it has to ask again, or has filled the
 * slot before the walk here comes to it. mremap may carry pages from where the walk will come to where it has been: it looks
 * whether there was a walk meanwhile (vm_object_moved).
 */
#include "lib/klog.h"
#include "mm/pt.h"
#include "mm/region.h"

struct zap {
	struct vm_object *obj;
	u64 first, last;
	bool cows;
};

static void zap_region(struct aspace *as, const struct region *r, const struct zap *z)
{
	__attribute__((uninitialized)) struct pt_op op;
	u64 page = region_page(r, r->start), n = (r->end - r->start) >> PAGE_SHIFT, skip;

	if (page > z->last || page + n <= z->first)
		return;
	skip = z->first > page ? z->first - page : 0;
	n = MIN(n - 1, z->last - page) + 1;
	pt_op_init(&op, PT_DONTNEED);
	op.obj = z->obj;
	op.first = z->first;
	op.last = z->last;
	op.cows = z->cows;
	if (pt_op_large(&op, as, r->start + (skip << PAGE_SHIFT), r->start + (n << PAGE_SHIFT)))
		log_warn("out of memory: a page cut off a file stays mapped\n");
}

static void zap_space(struct aspace *as, const struct zap *z)
{
	struct region r;

	for (u64 at = 0; region_next(as, at, UINT64_MAX, &r); at = r.end) {
		if (r.mapping && r.mapping->obj == z->obj)
			zap_region(as, &r, z);
		region_put(&r);
	}
}

/* The space behind `after` in the list (NULL: the first) with a reference, or NULL. */
static struct aspace *next_space(struct aspace *after)
{
	struct aspace *found = NULL;
	struct list_node *n;

	spin_lock(&aspaces_lock);
	for (n = after ? after->all.next : aspaces.next; n != &aspaces && !found; n = n->next) {
		struct aspace *as = container_of(n, struct aspace, all);

		if (refcount_get_unless_zero(&as->refs))
			found = as;
	}
	spin_unlock(&aspaces_lock);
	return found;
}

void vm_object_zap(struct vm_object *obj, u64 first, u64 last, bool cows)
{
	struct zap z = { .obj = obj, .first = first, .last = last, .cows = cows };
	struct aspace *as, *before = NULL;

	atomic_fetch_add(&obj->cuts, ZAP_BEGUN + 1ul);
	/* The one at hand stays in the list while we have a reference. */
	while (atomic_load(&obj->mappings) && (as = next_space(before))) {
		if (before)
			aspace_put(before);
		zap_space(as, &z);
		before = as;
	}
	if (before)
		aspace_put(before);
	atomic_fetch_sub(&obj->cuts, 1ul);
}

u64 vm_object_moving(struct vm_object *obj)
{
	return atomic_load(&obj->cuts);
}

void vm_object_moved(struct vm_object *obj, u64 before, struct aspace *as, u64 start, u64 end)
{
	__attribute__((uninitialized)) struct pt_op op;

	if (likely(before == atomic_load(&obj->cuts) && before % ZAP_BEGUN == 0))
		return;
	pt_op_init(&op, PT_DONTNEED);
	op.obj = obj;
	op.first = 0;
	op.last = UINT64_MAX;
	op.cows = false;
	if (pt_op_large(&op, as, start, end))
		log_warn("out of memory: a page cut off a file may stay mapped\n");
}
