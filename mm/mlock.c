/*
 * mlock and its kin, and populating. Nothing is ever paged out here, so a locked page is one that is
 * there, and VM_LOCKED a note of the slots: for the limit, for MADV_DONTNEED, which refuses it, for
 * /proc, and for what a locked region grows by.
 */
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "mm/claim.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "mm/region.h"
#include "sched/thread.h"

static int change_flags(struct aspace *as, const struct region *r, u64 set, u64 clear)
{
	__attribute__((uninitialized)) struct pt_op op;

	pt_op_init(&op, PT_FLAGS);
	op.set = set;
	op.clear = clear;
	return pt_op_large(&op, as, r->start, r->end);
}

/* Sets or clears flags up to the first hole: -ENOMEM there. */
static int change_range(struct aspace *as, u64 start, u64 end, u64 set, u64 clear)
{
	struct region r;
	int err = 0;

	for (u64 at = start; at < end && !err; at = r.end) {
		if (!region_next_settled(as, at, end, &r))
			return -ENOMEM;
		err = r.start > at ? -ENOMEM : change_flags(as, &r, set, clear);
		region_put(&r);
	}
	return err;
}

/*
 * Faults one region in as its owner would; if nobody may access it, the first fault says so. Regions may be as large as the
 * space: who is killed stops.
 */
static int populate_region(struct aspace *as, const struct region *r)
{
	bool write = (r->mark.v & VM_WRITE) && !region_is_shared(r);
	int ret = 0;

	for (u64 at = r->start; at < r->end && !ret && !thread_is_ending();
	     at = large_next(as, at, at == r->start))
		ret = vm_fault_mapped(as, at,
				      write                ? FAULT_WRITE :
				      r->mark.v & VM_READ  ? FAULT_READ :
				      r->mark.v & VM_WRITE ? FAULT_WRITE :
							     FAULT_EXEC);
	if (!ret)
		return 0;
	return ret & FAULT_OOM ? -ENOMEM : -EFAULT;
}

int vm_populate(struct aspace *as, u64 start, u64 end, bool stop_at_error)
{
	struct region r;
	int err = 0;

	for (u64 at = start; at < end && (!err || !stop_at_error) && !thread_is_ending();
	     at = r.end) {
		if (!region_next_settled(as, at, end, &r))
			break;
		err = populate_region(as, &r);
		region_put(&r);
	}
	return stop_at_error ? err : 0;
}

/* The pages from start on, len bytes, become locked if the limit allows it. Under vm_limits_begin. */
static int lock_range(struct aspace *as, u64 start, u64 len)
{
	u64 end = start + len;

	if (READ_ONCE(as->limit[VM_LIMIT_LOCK]) == 0)
		return -EPERM;
	if (vm_may_lock(as, len, start, end))
		return -ENOMEM;
	if (end < start)
		return -EINVAL;
	if (end == start)
		return 0;
	WRITE_ONCE(as->locked, true);
	return change_range(as, start, end, VM_LOCKED, 0);
}

int vm_mlock(struct aspace *as, uaddr_t addr, u64 len, int flags)
{
	u64 start = addr & PAGE_MASK, end;
	struct vm_limits limits;
	int err;

	if (flags & ~MLOCK_ONFAULT)
		return -EINVAL;
	len = ALIGN_UP(len + (addr - start), PAGE_SIZE);
	end = start + len;
	vm_limits_begin(as, &limits);
	err = lock_range(as, start, len);
	vm_limits_end(&limits);
	if (err || start == end || (flags & MLOCK_ONFAULT))
		return err;
	err = vm_populate(as, start, end, true);
	return err == -EFAULT ? -ENOMEM : err ? -EAGAIN : 0;
}

int vm_munlock(struct aspace *as, uaddr_t addr, u64 len)
{
	u64 start = addr & PAGE_MASK, end = start + ALIGN_UP(len + (addr - start), PAGE_SIZE);

	if (end < start)
		return -EINVAL;
	return end == start ? 0 : change_range(as, start, end, 0, VM_LOCKED);
}

/* The flags of all that there is. */
static int change_all(struct aspace *as, u64 set, u64 clear)
{
	struct region r;
	int err = 0;

	for (u64 at = 0; !err && region_next_settled(as, at, USER_TOP, &r); at = r.end) {
		err = change_flags(as, &r, set, clear);
		region_put(&r);
	}
	return err;
}

/* What there is, what there will be, if the limit allows it. With a claim on all. */
static int lock_all(struct aspace *as, int flags)
{
	u64 limit = READ_ONCE(as->limit[VM_LIMIT_LOCK]);
	struct vm_totals all;

	if (limit == 0)
		return -EPERM;
	if (limit != UINT64_MAX && (flags & MCL_CURRENT)) {
		vm_count(as, 0, USER_TOP, &all);
		if (all.mapped > ALIGN_DOWN(limit, PAGE_SIZE))
			return -ENOMEM;
	}
	WRITE_ONCE(as->lock_future, (u8)(flags & MCL_FUTURE ? flags : 0));
	return flags & MCL_CURRENT ? change_all(as, VM_LOCKED, 0) : 0;
}

int vm_mlockall(struct aspace *as, int flags)
{
	struct vm_limits limits;
	int err;

	if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
		return -EINVAL;
	WRITE_ONCE(as->locked, true); /* from now on mappings come in turn: vm_limits_begin */
	vm_limits_take(as, &limits);
	claim_begin(as, 0, USER_TOP);
	err = lock_all(as, flags);
	claim_end(as);
	vm_limits_drop(&limits);
	if (!err && (flags & (MCL_CURRENT | MCL_ONFAULT)) == MCL_CURRENT)
		vm_populate(as, 0, USER_TOP, false);
	return err;
}

int vm_forget_locks(struct aspace *as)
{
	WRITE_ONCE(as->lock_future, 0);
	return change_all(as, 0, VM_LOCKED);
}

int vm_munlockall(struct aspace *as)
{
	struct vm_limits limits;
	int err;

	vm_limits_take(as, &limits);
	claim_begin(as, 0, USER_TOP);
	err = vm_forget_locks(as);
	claim_end(as);
	vm_limits_drop(&limits);
	return err;
}
