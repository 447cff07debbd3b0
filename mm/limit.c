/*
 * What a space may have at most: RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_MEMLOCK, and the stacks
 * that grow.
 *
 * Limits are kept in the space, where proc/ puts them, because the fault that makes a stack grow
 * must not ask upward. What counts against them is not kept: it is added up from the page table
 * when a limit that somebody has set is to be checked, which hardly any program does.
 *
 * Adding up, deciding and changing the page table are one step for all that adds to what is counted: the space has
 * a mutex for it, which all that may add something take if there is any limit, or a lock (vm_limits_begin): mlockall says
 * of mappings to come what they are to be. brk, mlockall and fork beside other threads take it always. mremap holds it though the
 * sum stays the same: who adds up meanwhile might see what moves at both places, or at none. What only gives up (munmap,
 * munlock, mprotect that takes the right to write) comes between at any time; a sum that has seen some of it is one
 * between before and after, and what is decided by it would have been decided before, or after. But for what MAP_FIXED is
 * to replace, which need not be there to be missed: that is claimed (mm/claim.c).
 *
 * The mutex comes before claims (mm/claim.c), and before all locks that are needed to change the page table. But a fault may
 * take it (a stack that grows), and faults come also to who holds the mutex of a file. So what may sleep when
 * mappings end under it waits until it is given up (vm_limits_bury); and nobody populates under it.
 *
 * A limit counts for calls that begin after it was set: one that is under way meanwhile goes by the old value or the new
 * one; where there was none before it may have looked already whether there is any: then it goes by none, and is not waited for.
 *
 * A region with VM_GROWSDOWN grows down to the address of a fault below it, if its size stays within
 * the limit and a gap stays free to the accessible region below (Linux: stack_guard_gap, 256
 * pages). New mappings without a fixed place stay that far below such a region, too (pt_find_gap).
 */
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "lib/kassert.h"
#include "mm/claim.h"
#include "mm/pt.h"
#include "mm/region.h"

void aspace_set_limit(struct aspace *as, enum vm_limit which, u64 bytes)
{
	WRITE_ONCE(as->limit[which], bytes);
}

static void raise(u64 *most, u64 now)
{
	if (now > READ_ONCE(*most))
		WRITE_ONCE(*most, now);
}

void aspace_note_peak(struct aspace *as, struct aspace_stats *st)
{
	raise(&as->peak_mapped, st->mapped);
	raise(&as->peak_resident, st->resident);
	st->peak_mapped = READ_ONCE(as->peak_mapped);
	st->peak_resident = READ_ONCE(as->peak_resident);
}

void vm_limits_take(struct aspace *as, struct vm_limits *l)
{
	kassert(!current()->limits);
	mutex_lock(&as->limits);
	*l = (struct vm_limits){ .mutex = &as->limits };
	current()->limits = l;
}

void vm_limits_drop(struct vm_limits *l)
{
	current()->limits = NULL;
	mutex_unlock(l->mutex);
	mapping_destroy_all(l->dead);
}

bool vm_limits_bury(struct vm_mapping *dead)
{
	struct vm_limits *l = current()->limits;

	while (l && dead) {
		struct vm_mapping *m = dead;

		dead = m->dead;
		m->dead = l->dead;
		l->dead = m;
	}
	return l != NULL;
}

/* Does what has these bits count as data? Linux: private, writable, no stack. */
static bool is_data(unsigned kind, u64 bits)
{
	return kind != MARK_SHARED && (bits & (VM_WRITE | VM_GROWSDOWN)) == VM_WRITE;
}

void vm_count(struct aspace *as, u64 start, u64 end, struct vm_totals *out)
{
	struct region r;

	*out = (struct vm_totals){ 0 };
	for (u64 at = start; region_next(as, at, end, &r); at = r.end) {
		u64 len = r.end - r.start;

		out->mapped += len;
		out->locked += r.mark.v & VM_LOCKED ? len : 0;
		out->stack += r.mark.v & VM_GROWSDOWN ? len : 0;
		if (mark_kind(r.mark) == MARK_SHARED)
			out->shared += len;
		else if (is_data(mark_kind(r.mark), r.mark.v))
			out->data += len;
		region_put(&r);
	}
}

/* What is in [start, end), and what is elsewhere; each page is looked at once, for munmap may come between. */
static void count_beside(struct aspace *as, u64 start, u64 end, struct vm_totals *beside,
			 struct vm_totals *there)
{
	struct vm_totals above;

	vm_count(as, 0, start, beside);
	vm_count(as, start, end, there);
	vm_count(as, MAX(start, end), USER_TOP, &above);
	beside->mapped += above.mapped;
	beside->locked += above.locked;
	beside->data += above.data;
}

/* A limit has been set since vm_limits_begin found none: without the mutex what is moving meanwhile would count twice. */
static bool came_late(void)
{
	return !current()->limits;
}

bool vm_may_expand(struct aspace *as, u64 len, unsigned kind, u64 bits, u64 from, u64 end)
{
	u64 limit_as = READ_ONCE(as->limit[VM_LIMIT_AS]);
	u64 limit_data = READ_ONCE(as->limit[VM_LIMIT_DATA]);
	struct vm_totals beside, there;

	if (likely((limit_as & limit_data) == UINT64_MAX) || came_late())
		return true;
	count_beside(as, from, end, &beside, &there);
	if (beside.mapped + len > ALIGN_DOWN(limit_as, PAGE_SIZE))
		return false;
	/* Linux takes what is replaced for data, whatever it was. */
	len = len > there.mapped ? len - there.mapped : 0;
	return !is_data(kind, bits) ||
	       beside.data + there.data + len <= ALIGN_DOWN(limit_data, PAGE_SIZE);
}

bool vm_may_protect(struct aspace *as, u64 len, unsigned kind, u64 bits, u64 new_bits)
{
	u64 limit_as = READ_ONCE(as->limit[VM_LIMIT_AS]);
	u64 limit = READ_ONCE(as->limit[VM_LIMIT_DATA]);
	struct vm_totals all;
	bool room;

	vm_count(as, 0, USER_TOP, &all);
	room = all.data + len <= ALIGN_DOWN(limit, PAGE_SIZE);
	return all.mapped + len > ALIGN_DOWN(limit_as, PAGE_SIZE) || room ||
	       !is_data(kind, new_bits) || is_data(kind, bits);
}

int vm_may_lock(struct aspace *as, u64 len, u64 from, u64 end)
{
	u64 limit = READ_ONCE(as->limit[VM_LIMIT_LOCK]);
	struct vm_totals beside, there;

	if (limit == UINT64_MAX || came_late())
		return 0;
	count_beside(as, from, end, &beside, &there);
	return beside.locked + len > ALIGN_DOWN(limit, PAGE_SIZE) ? -EAGAIN : 0;
}

bool vm_near_stack(struct aspace *as, u64 end)
{
	struct region r;
	bool near;

	if (!READ_ONCE(as->grows) || !region_next(as, end, end + VM_STACK_GAP, &r))
		return false;
	near = r.mark.v & VM_GROWSDOWN;
	region_put(&r);
	return near;
}

/* Is there something accessible, that is no such stack itself, too near below va? */
static bool gap_is_short(struct aspace *as, u64 va)
{
	u64 from = va > VM_STACK_GAP ? va - VM_STACK_GAP : 0;
	struct region r;
	bool is_short = false;

	for (u64 at = from; !is_short && region_next(as, at, va, &r); at = r.end) {
		/* Only the last one below counts. */
		struct region next;
		bool last = !region_next(as, r.end, va, &next);

		region_put(&next);
		is_short = last && bits_accessible(r.mark.v) && !(r.mark.v & VM_GROWSDOWN);
		region_put(&r);
	}
	return is_short;
}

static bool may_grow(struct aspace *as, const struct region *r, u64 va)
{
	return r->end - va <= READ_ONCE(as->limit[VM_LIMIT_STACK]) &&
	       vm_may_expand(as, r->start - va, mark_kind(r->mark), r->mark.v, 0, 0) &&
	       (!(r->mark.v & VM_LOCKED) || !vm_may_lock(as, r->start - va, 0, 0)) &&
	       !gap_is_short(as, va);
}

static int first_slot(const struct pt_slot *s, void *arg)
{
	*(struct pt_slot *)arg = *s;
	return !pte_is_none(s->mark);
}

static bool is_stack(pte_t mark)
{
	return (mark.v & VM_GROWSDOWN) && mark_kind(mark) == MARK_ANON;
}

/*
 * The region above va, where nothing was: true if it may grow; or if something is at va now (r->start == va). Its end
 * costs a walk through all of it, so the last one is remembered; if that has been unmapped in part since, it counts as it
 * was.
 */
static bool stack_above(struct aspace *as, u64 va, struct region *r)
{
	struct pt_slot s = { 0 };
	bool known;

	for (;;) {
		if (!pt_scan(as, va, USER_TOP, first_slot, &s))
			return false;
		*r = (struct region){ .start = MAX(s.va, va), .end = s.va + s.size };
		if (r->start == va)
			return true;
		if (!is_stack(s.mark))
			return false;
		spin_lock(&as->lock);
		known = as->grown == s.va;
		*r = (struct region){ .start = s.va, .end = as->grown_end, .mark = s.mark };
		spin_unlock(&as->lock);
		if (known ||
		    (region_next(as, s.va, USER_TOP, r) && r->start == s.va && is_stack(r->mark)))
			return true;
		region_put(r); /* it has gone meanwhile, and this is another one */
	}
}

/* With a claim on all that it looks at. */
static bool grow_region(struct aspace *as, const struct region *r, u64 va)
{
	if (r->start == va)
		return true; /* as above */
	if (!may_grow(as, r, va) || pt_map(as, va, r->start, mark_anon(r->mark.v & VM_BITS), true))
		return false;
	spin_lock(&as->lock);
	as->grown = va;
	as->grown_end = r->end;
	spin_unlock(&as->lock);
	return true;
}

/* The region, its size, the gap below and the change are one step for others: from the gap to the region's end. */
static bool grow_stack(struct aspace *as, u64 va)
{
	u64 gap = va - MIN(va, VM_STACK_GAP);
	struct region seen, r;
	bool grown;

	for (;;) {
		if (!stack_above(as, va, &seen))
			return false;
		if (seen.start == va)
			return true; /* another thread was faster */
		claim_begin(as, gap, seen.end);
		grown = stack_above(as, va, &r);
		if (!grown || r.start == va || r.end <= seen.end)
			break;
		claim_end(as); /* it is another one now */
	}
	grown = grown && grow_region(as, &r, va);
	claim_end(as);
	return grown;
}

bool vm_grow_stack(struct aspace *as, u64 va)
{
	struct vm_limits limits;
	bool grown;

	va &= PAGE_MASK;
	if (!READ_ONCE(as->grows) || va < VM_STACK_LOWEST || current()->populates)
		return false;
	vm_limits_begin(as, &limits);
	grown = grow_stack(as, va);
	vm_limits_end(&limits);
	return grown;
}

int vm_fault_mapped(struct aspace *as, uaddr_t va, enum fault_access access)
{
	int code;

	current()->populates = true;
	code = vm_fault(as, va, access);
	current()->populates = false;
	return code;
}
