/*
 * Page tables that several spaces name.
 *
 * fork gives the child the parent's tables of level 1 as they are: one count more in the table's
 * frame, and no PTE_WRITE in the two entries above it. Neither the 512 entries nor the frames that
 * they name are touched: the table owns what its slots name, once, for all its owners.
 *
 *	parent        child                parent writes             child writes
 *	L2 entry r-   L2 entry r-          L2 entry rw  L2 entry r-  L2 entry rw
 *	      \       /                       |            |            |
 *	       table (2)             copy (1): 7 r-     table (1): 7 rw    table (1): 7 rw or r-
 *	       7 rw                           \____________/
 *	                                      frame 7 (2)
 *
 * While the count is above one nobody writes an entry of the table: leaves keep PTE_WRITE, which
 * the entry above makes ineffective, and the processor sets A alone. So it can be read without its
 * lock: what is needed is that one's own reference stays, that is, the lock of the level 2 above.
 * An entry of level 2 without PTE_WRITE means just that: do not lock, do not write what is below.
 *
 * The first change in the 2 MiB makes the table one's own (pt_unshare), under the lock of level 2:
 *
 *	count 1		all others have gone: PTE_WRITE is set above. The count cannot rise
 *			meanwhile: a fork of our space needs the lock that we hold
 *	count > 1	a copy takes its place, in which no private leaf has PTE_WRITE, and whose
 *			slots are counted in what they name; then our reference goes
 *
 * A table that was copied (TABLE_COPIED) still has PTE_WRITE in leaves whose frames the copy names
 * as well; who takes such a table back takes that right from leaves that are not his alone.
 *
 * Flushes. fork: the parent forgets its translations with PTE_WRITE. A copy: processors may
 * remember the entry of level 2, and go on reading the old table through it; so the space flushes
 * (one page drops all upper-level entries) before the copy says anything that the old table does
 * not, and before the old one's reference is dropped: its next sole owner may change it. Taking
 * back: none, that is more permission.
 *
 * Tables of levels 2 to 4 are never shared: there is one for each GiB and more.
 */
#include "arch/api/mmu.h"
#include "lib/kassert.h"
#include "mm/pt.h"

pte_t pt_share_first(pte_t *slot, bool *flush)
{
	pte_t e = pte_load(slot);
	struct frame *t = pte_table(e, 2);

	table_lock(t); /* who came down without the lock above must have finished */
	kassert_eq(frame_refs(t), 1);
	if (likely(t->used > 0)) { /* or it waits for pt_prune */
		frame_get(t);
		pte_clear_bits(slot, PTE_WRITE);
		*flush = true;
		e.v &= ~PTE_WRITE;
	} else {
		e = PTE_NONE;
	}
	table_unlock(t);
	return e;
}

/* ---- copying --------------------------------------------------------------------------------- */

/* A run of slots that name the same mapping costs one atomic operation. The original's slots keep
 * it alive meanwhile. */
struct copy {
	struct vm_mapping *get;
	u64 get_n;
};

static void get_flush(struct copy *c)
{
	if (c->get_n)
		mapping_get(c->get, c->get_n);
	c->get_n = 0;
}

static inline void get_mark(struct copy *c, pte_t mark)
{
	if (!mark_has_mapping(mark))
		return;
	if (c->get != mark_mapping(mark)) {
		get_flush(c);
		c->get = mark_mapping(mark);
	}
	c->get_n++;
}

/* What the copy's slot says; its references are counted. */
static inline pte_t copy_slot(struct copy *c, struct frame *t, struct frame *copy, unsigned i,
			      pte_t e)
{
	pte_t mark;
	pfn_t pfn;

	if (likely((e.v & (PTE_PRESENT | VM_SIDE)) == PTE_PRESENT)) {
		if (!pfn_is_zero_page(pte_pfn(e)))
			frame_get(pfn_frame(pte_pfn(e)));
		return (pte_t){ e.v & ~PTE_WRITE };
	}
	mark = mark_of_slot(e, t->side, i);
	get_mark(c, mark);
	if (pte_is_present(e))
		pfn = pte_pfn(e);
	else if (mark_kind(e) == MARK_HELD)
		pfn = mark_pfn(e);
	else
		return e;
	if (e.v & VM_SIDE)
		copy->side->mark[i] = t->side->mark[i];
	if (!pfn_is_zero_page(pfn))
		frame_get(pfn_frame(pfn));
	if (pte_is_present(e) && mark_kind(mark) != MARK_SHARED)
		e.v &= ~PTE_WRITE;
	return e;
}

void pt_copy_table(struct frame *t, struct frame *copy, bool fork)
{
	const pte_t *from = frame_virt(t);
	pte_t *to = frame_virt(copy);
	struct copy c = { .get = NULL };
	struct pt_used used = pt_used_of(t);

	for (unsigned left = t->used; left > 0; left--) {
		u64 i = pt_next_used(&used);
		pte_t e = pte_load(&from[i]);

		if (fork && (e.v & VM_DONTFORK))
			continue;
		if (fork && (e.v & VM_WIPE))
			e = mark_of_slot(e, t->side, (unsigned)i);
		to[i] = copy_slot(&c, t, copy, (unsigned)i, e);
		copy->used++;
	}
	get_flush(&c);
	copy->state |= t->state & TABLE_FORK;
	/* Before our reference goes: whoever finds himself alone with it sees this. */
	__atomic_fetch_or(&t->state, (u8)TABLE_COPIED, __ATOMIC_SEQ_CST);
}

/* ---- making it one's own --------------------------------------------------------------------- */

unsigned pt_unshare_needs(struct pt_cursor *c, const struct frame *shared)
{
	if (frame_refs(shared) == 1)
		return 0;
	c->want_sides += shared->side != NULL;
	return 1;
}

/* The copies may have gone meanwhile: a frame that only this table names keeps its right. */
static void revoke_writes(struct frame *t)
{
	pte_t *entry = frame_virt(t);
	struct pt_used used = pt_used_of(t);

	for (unsigned left = t->used; left > 0; left--) {
		u64 i = pt_next_used(&used);
		pte_t e = pte_load(&entry[i]);

		if (!pte_is_present(e) || !(e.v & PTE_WRITE) ||
		    mark_kind(mark_of_slot(e, t->side, (unsigned)i)) == MARK_SHARED)
			continue;
		if (frame_refs(pfn_frame(pte_pfn(e))) != 1)
			pte_clear_bits(&entry[i], PTE_WRITE);
	}
	__atomic_fetch_and(&t->state, (u8)~TABLE_COPIED, __ATOMIC_SEQ_CST);
}

static struct frame *take_back(struct pt_cursor *c, pte_t *slot, struct frame *t)
{
	pt_lock_table(c, t); /* a walk that saw the entry before the fork may try it */
	if (t->state & TABLE_COPIED)
		revoke_writes(t);
	pte_set_bits(slot, PTE_WRITE);
	tlb_note_avoided();
	return t;
}

struct frame *pt_unshare(struct pt_cursor *c, struct tlb_gather *g, struct frame *table, unsigned i,
			 u64 va)
{
	pte_t *slot = (pte_t *)frame_virt(table) + i;
	struct frame *t = pte_table(pte_load(slot), 2), *copy = c->spare;

	if (__atomic_load_n(&t->refs.v, __ATOMIC_ACQUIRE) == 1)
		return take_back(c, slot, t);
	kassert(copy != NULL);
	c->spare = (struct frame *)copy->owner;
	copy->level = 1;
	if (t->side) {
		struct vm_side *side = c->spare_side;

		kassert(side != NULL);
		c->spare_side = *(struct vm_side **)side;
		*(struct vm_side **)side = NULL;
		copy->side = side;
	}
	pt_copy_table(t, copy, false);
	pt_lock_table(c, copy);
	pte_exchange(slot, pte_make(frame_pa(copy), PTE_TABLE));
	tlb_gather_shared(g, t, va, PAGE_SIZE);
	return copy;
}
