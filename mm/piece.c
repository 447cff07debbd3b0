/*
 * Long operations in pieces, so that nobody waits long for the CPU: the locks of an operation keep
 * preemption off, and a gigabyte of touched pages is 15 million instructions to unmap.
 *
 * The range is claimed (mm/claim.c): for other calls and for faults it is one step.
 *
 * A piece ends where a slot ends, so only the edges of the whole range may need memory for a split, and
 * shared tables for their copies, and partial marks. All of that is made first, by changes of nothing, which nobody can
 * see: when it fails, nothing has changed; later nothing fails for want of memory, for nobody else shares or changes
 * anything there.
 */
#include "lib/err.h"
#include "mm/claim.h"
#include "mm/pt.h"

/*
 * How much a piece is, in slots with a frame: a quarter of a table, for frames that were taken as
 * a block go back as one, and other CPUs are told once for each piece. UNMAP takes 60 instructions for each if the
 * frames are neighbours, up to 280 if they are not, for they go back one by one; DONTNEED more. The frames of an
 * object mostly stay, but changing its slots takes up to 160. An empty table takes 400.
 */
#define PIECE_WORK 128
#define TABLE_WORK 8

#define RUN 8

/* The first and the last leaf of a run of neighbours in memory, upwards or downwards? */
static bool is_run(pte_t a, pte_t b)
{
	return pte_is_present(a) && pte_is_present(b) &&
	       (pte_pfn(a) + RUN - 1 == pte_pfn(b) || pte_pfn(a) == pte_pfn(b) + RUN - 1);
}

/* Are most of the leaves from this slot on neighbours? Two places are looked at. */
static bool go_as_blocks(const pte_t *slot, unsigned n)
{
	return n < 64 || is_run(pte_load(slot), pte_load(slot + RUN - 1)) ||
	       is_run(pte_load(slot + 32), pte_load(slot + 32 + RUN - 1));
}

/* What each slot from va on counts for. */
static u64 slot_work(const struct frame *table, u64 va, enum pt_op_kind kind)
{
	const pte_t *slot = (const pte_t *)frame_virt(table) + pt_index(va, 1);
	u64 work = kind == PT_DONTNEED ? 2 : 1;

	if (kind == PT_FLAGS)
		return work;
	if (table->side)
		return kind == PT_UNMAP ? work : work * 2;
	if (kind == PT_PROTECT || go_as_blocks(slot, PT_ENTRIES - pt_index(va, 1)))
		return work;
	return work * 3;
}

static bool is_shared(unsigned level, pte_t above)
{
	return level == 1 && !(above.v & PTE_WRITE);
}

/* A shared table that an operation which only gives up (`whole`) drops without looking into it; the
 * last owner takes it apart. */
static bool is_dropped(bool whole, pte_t above, u64 va, u64 end)
{
	return whole && frame_refs(pte_table(above, 2)) > 1 && IS_ALIGNED(va, pt_span(2)) &&
	       end - va >= pt_span(2);
}

/* What an entry above the tables of level 1 takes, if it is none of those. */
static u64 upper_work(pte_t e)
{
	if (pte_is_none(e))
		return 1;
	return slot_has_frame(e) ? PIECE_WORK :
				   4; /* a large page: 512 frames, 6,000 instructions */
}

/* How far from va on in a table of level 1. */
static u64 piece_of_table(const struct frame *table, u64 va, enum pt_op_kind kind, u64 *work)
{
	u64 pages = (pt_span(2) - va % pt_span(2)) >> PAGE_SHIFT;
	u64 each = slot_work(table, va, kind), room = MAX((PIECE_WORK - *work) / each, 1ul);

	if (table->used <= room) {
		*work += table->used * each + TABLE_WORK;
	} else {
		pages = MIN(pages, room);
		*work += pages * each;
	}
	return va + (pages << PAGE_SHIFT);
}

/*
 * Where a piece that begins at va may end: at the end of a slot, or at `end`. A shared table goes as a
 * whole where the operation only gives it up, else it ends the piece.
 */
static u64 piece_end(struct aspace *as, u64 va, u64 end, enum pt_op_kind kind)
{
	bool whole = kind == PT_UNMAP;
	u64 work = 0;

	preempt_disable();
	while (va < end && work < PIECE_WORK) {
		unsigned level;
		pte_t above, e;
		pte_t *table = pt_table_over(as, va, 1, &level, &above);
		u64 more;

		if (is_shared(level, above)) {
			bool dropped = is_dropped(whole, above, va, end);

			if (work > 0 && !dropped)
				break;
			va = ALIGN_DOWN(va, pt_span(2)) + pt_span(2);
			work += dropped ? 4 : PIECE_WORK;
			continue;
		}
		if (level == 1) {
			more = work;
			va = piece_of_table(page_frame(table), va, kind, &work);
			if (work - more > PIECE_WORK / 8)
				break; /* a piece with much in it ends with its table */
			continue;
		}
		e = pte_load(&table[pt_index(va, level)]);
		more = upper_work(e);
		if (work > 0 && work + more > PIECE_WORK)
			break;
		work += more;
		do
			va = ALIGN_DOWN(va, pt_span(level)) + pt_span(level);
		while (pte_is_none(e) && va < end && pt_index(va, level) &&
		       pte_is_none(pte_load(&table[pt_index(va, level)])));
	}
	preempt_enable();
	return MIN(va, end);
}

/* Changes nothing in the range, but what is in the way of a change: a larger slot, a shared table. */
static int make_own(struct aspace *as, u64 start, u64 size)
{
	__attribute__((uninitialized)) struct pt_op op;

	pt_op_init(&op, PT_FLAGS); /* sets and clears none */
	return pt_op_run(&op, as, start, start + size);
}

/*
 * An edge of the range, with the page inside of it: what a slot that reaches over the edge is split
 * for, from the highest table on. Level 1 may only be shared.
 */
static int split_edge(struct aspace *as, u64 edge, u64 page, enum pt_op_kind kind)
{
	unsigned level, k;
	pte_t above, e;

	preempt_disable();
	e = pt_table_over(as, page, 1, &level, &above)[pt_index(page, level)];
	preempt_enable();
	if (IS_ALIGNED(edge, pt_span(MAX(level, 2u))))
		return 0;
	if (level > 1 && (pte_is_none(e) || (kind == PT_DONTNEED && !slot_has_frame(e))))
		return 0; /* nothing to do there */
	for (k = level > 1 ? level - 1 : 1; !IS_ALIGNED(edge, pt_span(k)); k--)
		continue;
	return make_own(as, ALIGN_DOWN(page, pt_span(k)), pt_span(k));
}

int pt_split_edges(struct aspace *as, u64 start, u64 end, enum pt_op_kind kind)
{
	int err = split_edge(as, start, start, kind);

	return err ? err : split_edge(as, end, end - PAGE_SIZE, kind);
}

/* Is what is at va to be made one table of our own first? *next: where the slot that says so ends. */
static bool wants_own(struct aspace *as, u64 va, u64 end, bool whole, u64 *next)
{
	unsigned level;
	pte_t *table, above;
	bool wanted;

	preempt_disable();
	table = pt_table_over(as, va, 1, &level, &above);
	if (level > 1)
		wanted = !whole && mark_is_part(pte_load(&table[pt_index(va, level)]));
	else
		wanted = is_shared(level, above) && !is_dropped(whole, above, va, end);
	level = MAX(level, 2u);
	*next = ALIGN_DOWN(va, pt_span(level)) + pt_span(level);
	preempt_enable();
	return wanted;
}

int pt_own_all(struct aspace *as, u64 start, u64 end)
{
	int err = 0;

	while (start < end && !err) {
		u64 va = start;

		if (wants_own(as, va, end, false, &start))
			err = make_own(as, va, PAGE_SIZE);
	}
	return err;
}

/* What an operation leaves in its struct. */
static void start_anew(struct pt_op *op)
{
	op->shared = false;
	op->drop = NULL;
	op->drop_n = 0;
	op->dead = NULL;
	op->map_n = 0;
}

/* With a claim on the range. */
static int run_pieces(struct pt_op *op, struct aspace *as, u64 start, u64 end)
{
	bool whole = op->kind == PT_UNMAP;
	int err = pt_split_edges(as, start, end, op->kind);
	u64 next;

	op->piece = true;
	if (!err && !whole)
		err = pt_own_all(as, start, end);
	for (; start < end && !err; start = next) {
		/* A table whose other owners have gone goes page by page, too; taking it back needs no memory. */
		if (whole && IS_ALIGNED(start, pt_span(2)) &&
		    wants_own(as, start, end, whole, &next))
			err = make_own(as, start, PAGE_SIZE);
		next = piece_end(as, start, end, op->kind);
		start_anew(op);
		if (!err)
			err = pt_op_run(op, as, start, next);
	}
	return err;
}

bool pt_is_one_piece(struct aspace *as, u64 start, u64 end, enum pt_op_kind kind)
{
	u64 next;

	return !wants_own(as, start, end, kind == PT_UNMAP, &next) &&
	       piece_end(as, start, end, kind) == end;
}

int pt_op_pieces(struct pt_op *op, struct aspace *as, u64 start, u64 end)
{
	int err;

	if (pt_is_one_piece(as, start, end, op->kind))
		return pt_op_run(op, as, start, end);
	if (!claim_begin(as, start, end))
		return run_pieces(op, as, start, end);
	err = run_pieces(op, as, start, end);
	claim_end(as);
	return err;
}
