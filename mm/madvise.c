/*
 * madvise. As Linux does, it goes through the regions of the range in order, stops at the first that
 * refuses (what came before stays done), and goes around holes, of which it tells at the end: -ENOMEM.
 *
 * Advice about paging has nothing to change here: nothing is paged out. MADV_FREE frees at once,
 * which its definition allows at any time before the next write.
 */
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "mm/region.h"
#include "sched/thread.h"

static int zap(struct aspace *as, u64 start, u64 end, bool *holes)
{
	__attribute__((uninitialized)) struct pt_op op;
	int err;

	pt_op_init(&op, PT_DONTNEED);
	err = pt_op_large(&op, as, start, end);
	*holes |= op.holes;
	return err;
}

static int change_flags(struct aspace *as, const struct region *r, u64 set, u64 clear)
{
	__attribute__((uninitialized)) struct pt_op op;

	pt_op_init(&op, PT_FLAGS);
	op.set = set;
	op.clear = clear;
	return pt_op_large(&op, as, r->start, r->end);
}

/* A hole in the object itself. */
static int punch(const struct region *r)
{
	struct vm_object *obj = r->mapping ? r->mapping->obj : NULL;
	u64 first;

	if (!obj || (r->mark.v & VM_LOCKED))
		return -EINVAL;
	if (!region_is_shared(r) || r->mapping->nowrite)
		return -EACCES;
	if (!obj->ops->punch)
		return -ENOTSUP;
	first = region_page(r, r->start);
	return obj->ops->punch(obj, first, first + ((r->end - r->start) >> PAGE_SHIFT) - 1);
}

static int advise_region(struct aspace *as, const struct region *r, int advice)
{
	bool locked = r->mark.v & VM_LOCKED, anon = mark_kind(r->mark) == MARK_ANON;
	bool holes = false;

	switch (advice) {
	case MADV_FREE: return locked || !anon ? -EINVAL : zap(as, r->start, r->end, &holes);
	case MADV_DONTNEED: return locked ? -EINVAL : zap(as, r->start, r->end, &holes);
	case MADV_DONTNEED_LOCKED: return zap(as, r->start, r->end, &holes);
	case MADV_REMOVE: return punch(r);
	case MADV_COLD:
	case MADV_PAGEOUT: return locked ? -EINVAL : 0;
	case MADV_DONTFORK: return change_flags(as, r, VM_DONTFORK, 0);
	case MADV_DOFORK: return change_flags(as, r, 0, VM_DONTFORK);
	case MADV_WIPEONFORK: return anon ? change_flags(as, r, VM_WIPE, 0) : -EINVAL;
	case MADV_KEEPONFORK: return change_flags(as, r, 0, VM_WIPE);
	case MADV_HUGEPAGE: return change_flags(as, r, VM_HUGE, VM_NOHUGE);
	case MADV_NOHUGEPAGE: return change_flags(as, r, VM_NOHUGE, VM_HUGE);
	default: return 0;
	}
}

static int advise(struct aspace *as, u64 start, u64 end, int advice)
{
	struct region r;
	int err = 0, hole = 0;
	u64 at = start;

	if (advice == MADV_DONTNEED && !READ_ONCE(as->locked)) {
		bool holes = end > USER_TOP;

		err = zap(as, start, MIN(end, USER_TOP), &holes);
		return !err && holes ? -ENOMEM : err;
	}
	for (; at < end && !err && region_next_settled(as, at, end, &r); at = r.end) {
		if (r.start > at)
			hole = -ENOMEM;
		err = advise_region(as, &r, advice);
		region_put(&r);
	}
	if (!err && at < end)
		hole = -ENOMEM;
	return err ? err : hole;
}

/* One fault for each page of a region (or of 2 MiB), as a program would take it. */
static int populate_region(struct aspace *as, u64 start, u64 end, enum fault_access access)
{
	for (u64 at = start; at < end; at = large_next(as, at, at == start)) {
		int code = vm_fault_mapped(as, at, access);

		if (thread_is_ending())
			return -EINTR;
		if (!code)
			continue;
		if (code & FAULT_OOM)
			return -ENOMEM;
		if (code & FAULT_BUS)
			return -EFAULT;
		return code == SEGV_MAPERR ? -ENOMEM : -EINVAL;
	}
	return 0;
}

/* MADV_POPULATE_*, up to the first hole: a stack does not grow for it, as it would by a fault. */
static int advise_populate(struct aspace *as, u64 at, u64 end, int advice)
{
	enum fault_access access = advice == MADV_POPULATE_WRITE ? FAULT_WRITE : FAULT_READ;
	struct region r;
	int err = 0;

	for (; at < end && !err; at = r.end) {
		if (!region_next_settled(as, at, end, &r))
			return -ENOMEM;
		err = r.start > at ? -ENOMEM : populate_region(as, at, r.end, access);
		region_put(&r);
	}
	return err;
}

static bool advice_is_known(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
	case MADV_DONTNEED_LOCKED: return true;
	default: return false; /* MERGEABLE, too: as Linux without KSM */
	}
}

int vm_madvise(struct aspace *as, uaddr_t addr, u64 len, int advice)
{
	u64 size = ALIGN_UP(len, PAGE_SIZE);

	if (!advice_is_known(advice))
		return -EINVAL;
	if (!IS_ALIGNED(addr, PAGE_SIZE) || (len && !size) || addr + size < addr)
		return -EINVAL;
	if (size == 0)
		return 0;
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
		return advise_populate(as, addr, addr + size, advice);
	return addr < USER_TOP ? advise(as, addr, addr + size, advice) : -ENOMEM;
}
