/*
 * mremap: a region grows or shrinks where it is, or moves with its pages.
 *
 * A move happens under one lock, that of the lowest table over the old and the new place. First
 * everything is checked and allocated: tables for the edges of both ranges, tables and side arrays
 * for the pages that move. Then, without a way to fail: the new range gets its mark; what has frames
 * moves from the old slots, which become empty or (MREMAP_DONTUNMAP) the marks that they were, to the
 * new ones; the rest of the old range is unmapped. One flush ends it.
 *
 * A slot of level 2 at a time, and the largest thing that can move does:
 *
 *	a large page	as it is, if its new place is aligned, too; otherwise it is split first
 *	a whole table	of private anonymous memory, if old and new address are the same modulo 2 MiB,
 *			all that it says is in the range, and nothing else is to be said in the new
 *			slot. A shared one, too: the entry is what owns it. aspace_find_gap_like makes
 *			the addresses agree where the choice is ours
 *	leaves		one by one otherwise; a shared table is copied before
 *
 * What is long, or turns out to be much work under the lock (-E2BIG), is done with a claim on both ranges
 * (mm/claim.c) and in pieces, between which others have the CPU: for other calls and for faults it is one step all the
 * same. Nothing changes in the ranges meanwhile, so each step is made for all pieces before the next one begins:
 * the region is looked at; the edges of the old range are split, and what is in the new one goes (MREMAP_FIXED); the new
 * range gets its mark; the tables to come are counted, and taken; and then, without a way to fail, what cannot
 * move as it is is made movable, all moves, and the old range is unmapped.
 *
 * Only tables of level 1 move. A walker without locks that came down to one by its old address waits
 * for its lock, reads the entry above again, which names it no longer, and starts anew (mm/pt.c). It
 * compares that one entry, which is enough only because the table of level 2 with the entry stays
 * where it is. The flush forgets the old leaves and the upper-level entries of the old way before any lock
 * is dropped; a CPU that keeps the space lazily may read ahead by the old way until it comes back,
 * which hurts nobody, and is told when the table ends, like any other.
 *
 * The mark of a mapping says which address its object's offset belongs to, so what moves gets a new
 * struct vm_mapping; the old one's name is in every slot, so such tables do not move as a whole.
 */
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "mm/claim.h"
#include "mm/internal.h"
#include "mm/pt.h"
#include "mm/region.h"

/*
 * More than this is not even tried under one lock; and what is must not be more than so many instructions, or so,
 * beside those of tables that move as a whole.
 */
#define MOVE_AT_ONCE (16 * MiB)
#define WORK_AT_ONCE 16000u

/* What each page costs, roughly, while the locks are held. */
#define WORK_LOOK_TABLE 1100 /* 512 leaves that are alike */
#define WORK_LOOK_ALIKE 7
#define WORK_LOOK       30
#define WORK_LEAF       16
#define WORK_LEAF_SIDE  60
#define WORK_SPLIT      6500  /* of a large page */
#define WORK_TAKE_BACK  6500  /* of a table that was shared */
#define WORK_COPY       16000 /* of one that is */

/* What is at the old place: one region, all of it alike. */
struct old_region {
	u64 start, end; /* [start, end) asked for */
	u64 at;         /* seen up to here */
	u64 work;       /* done, in instructions */
	bool at_once;   /* -E2BIG if that is too much */
	pte_t mark;     /* of its first slot */
	struct vm_mapping *mapping;
};

static int too_much(const struct old_region *r, u64 work)
{
	return r->at_once && work > WORK_AT_ONCE ? -E2BIG : 0;
}

static int region_mark(struct old_region *r, pte_t mark)
{
	struct vm_mapping *m;

	if (pte_is_none(mark))
		return -EFAULT;
	if (r->at == r->start) {
		r->mark = mark;
		r->mapping = mark_has_mapping(mark) ? mark_mapping(mark) : NULL;
	} else if ((r->mark.v ^ mark.v) & (VM_BITS | MARK_KINDS)) {
		return -EFAULT;
	} else if (r->mapping) {
		m = mark_mapping(mark);
		if (m->obj != r->mapping->obj ||
		    m->offset - m->va != r->mapping->offset - r->mapping->va ||
		    m->nowrite != r->mapping->nowrite)
			return -EFAULT;
	}
	return 0;
}

/*
 * Are these all leaves of private anonymous memory, with these VM_BITS? Read by plain loads, and twice: an
 * instruction for each is all that a moved page costs. The hardware may set A and D meanwhile; nothing else
 * changes under the lock.
 */
static __noinline __racy bool leaves_are_alike(const pte_t *slot, u64 n, u64 bits)
{
	u64 any = 0, all = UINT64_MAX;

	for (const pte_t *s = slot; s < slot + n % 32; s++) {
		any |= s->v;
		all &= s->v;
	}
	slot += n % 32;
	for (const pte_t *s = slot, *end = slot + n / 32 * 32; s < end; s += 32) {
#pragma GCC unroll 32
		for (unsigned i = 0; i < 32; i++)
			any |= s[i].v;
	}
	for (const pte_t *s = slot, *end = slot + n / 32 * 32; s < end; s += 32) {
#pragma GCC unroll 32
		for (unsigned i = 0; i < 32; i++)
			all &= s[i].v;
	}
	return (all & PTE_PRESENT) && !(any & VM_SIDE) && (any & VM_BITS) == bits &&
	       (all & VM_BITS) == bits;
}

/* The same, untouched slots among them. Returns how many there are in a row. */
static u64 count_alike(const pte_t *slot, u64 n, u64 bits)
{
	pte_t mark = mark_anon(bits);
	u64 i;

	for (i = 0; i < n; i++) {
		pte_t e = pte_load(&slot[i]);

		if (e.v != mark.v &&
		    (e.v & (PTE_PRESENT | VM_SIDE | VM_BITS)) != (PTE_PRESENT | bits))
			break;
	}
	return i;
}

static int region_leaves(struct old_region *r, struct frame *t, u64 va, u64 end)
{
	const pte_t *entry = frame_virt(t);
	bool seen = false;
	int err = 0;

	if (r->at == r->start) { /* and once more with the others */
		err = region_mark(r, mark_of_slot(pte_load(&entry[pt_index(va, 1)]), t->side,
						  pt_index(va, 1)));
		r->at = va + PAGE_SIZE;
	}
	for (; va < end && !err; va += PAGE_SIZE) {
		unsigned i = pt_index(va, 1);
		pte_t e = pte_load(&entry[i]);

		if (pte_is_present(e) && !(e.v & VM_SIDE)) {
			u64 n = (end - va) >> PAGE_SHIFT, bits = r->mark.v & VM_BITS;

			if (mark_kind(r->mark) != MARK_ANON)
				return -EFAULT;
			r->work += n * WORK_LOOK_TABLE / PT_ENTRIES;
			if (seen || !leaves_are_alike(&entry[i], n, bits)) {
				n = count_alike(&entry[i], n, bits);
				r->work += n * WORK_LOOK_ALIKE;
			}
			if (n == 0)
				return -EFAULT;
			seen = true;
			va += (n - 1) << PAGE_SHIFT;
		} else {
			err = region_mark(r, mark_of_slot(e, t->side, i));
			r->work += WORK_LOOK;
		}
	}
	r->at = end;
	return err ? err : too_much(r, r->work);
}

static int region_slot(const struct pt_slot *s, struct frame *table, void *arg)
{
	struct old_region *r = arg;
	u64 end = MIN(s->va + s->size, r->end);
	int err;

	if (slot_is_table(s))
		return region_leaves(r, pte_table(s->e, 2), r->at, end);
	err = region_mark(r, s->mark);
	r->at = end;
	r->work += WORK_LOOK;
	return err ? err : too_much(r, r->work);
}

struct move {
	struct pt_op op;
	struct old_region old;
	u64 to; /* the new address */
	u64 len, new_len;
	bool replace;               /* MREMAP_FIXED */
	bool keep;                  /* MREMAP_DONTUNMAP */
	struct vm_mapping *mapping; /* of the new place, or NULL */
	pte_t mark;                 /* of the new place */

	u64 last[PT_LEVELS]; /* counting: the table at the new place counted last, per level */
	u64 last_side;
	unsigned tables, sides;
	u64 work, leaves;     /* counted, in instructions: all; of it what moves leaves */
	bool pieces;          /* with a claim; the new place has its mark already */
	u64 from, end;        /* this piece of the old range */
	bool congruent;       /* the old address and the new one are the same modulo 2 MiB */
	bool plain;           /* so are they, and it is private anonymous memory: tables may move */
	bool prepare;         /* something is to be split or unshared first */
	struct vm_side *side; /* spare ones, through their first words */

	struct pt_cursor *spare; /* in pieces: what is at hand for all of them */
};

/* Where an old address goes. */
static inline u64 moved(const struct move *m, u64 va)
{
	return va - m->old.start + m->to;
}

/* What of a slot moves. */
static inline u64 slot_from(const struct move *m, const struct pt_slot *s)
{
	return MAX(s->va, m->from);
}

static inline u64 slot_end(const struct move *m, const struct pt_slot *s)
{
	return MIN(s->va + s->size, m->end);
}

/* Can the large page at this slot stay one? Only as a whole, and to an aligned address. */
static inline bool stays_large(const struct move *m, const struct pt_slot *s)
{
	return m->congruent && slot_end(m, s) - slot_from(m, s) == s->size;
}

/* ---- before: what will be needed ------------------------------------------------------------- */

/* Has the new range all of the slot of this level around `to`? Then that says one mark, to begin with. */
static inline bool fills_slot(const struct move *m, u64 to, unsigned level)
{
	u64 slot = ALIGN_DOWN(to, pt_span(level));

	return slot >= m->to && slot + pt_span(level) <= m->to + m->new_len;
}

/* The lowest table for the new address `to` that is there and will stay; *e: what it says for that. */
static unsigned level_at(struct move *m, u64 to, pte_t *e)
{
	struct frame *table = m->op.c.table;
	unsigned level;

	for (level = table->level; level > 1; level--) {
		*e = pte_load((pte_t *)frame_virt(table) + pt_index(to, level));
		if (fills_slot(m, to, level) || !pte_is_table(*e, level))
			break;
		table = pte_table(*e, level);
		if (!pte_is_shared(*e))
			pt_lock_table(&m->op.c, table);
	}
	return level;
}

/* Tables from there down to `level`. */
static void count_tables_for(struct move *m, u64 to, unsigned level)
{
	pte_t e;

	for (unsigned k = level_at(m, to, &e) - 1; k >= level; k--) {
		if (m->last[k] == to >> pt_shift(k + 1))
			continue;
		m->last[k] = to >> pt_shift(k + 1);
		m->tables++;
	}
}

/* Leaves move: to one table of level 1, or two; `side`: with side marks. */
static void count_leaves(struct move *m, u64 from, u64 end, bool side)
{
	for (u64 to = moved(m, from); to < moved(m, end); to = (to | (pt_span(2) - 1)) + 1) {
		count_tables_for(m, to, 1);
		if (side && m->last_side != to >> pt_shift(2))
			m->sides++;
		if (side)
			m->last_side = to >> pt_shift(2);
	}
}

/* How far the new range goes on in the slot. */
static inline u64 new_end_in(const struct move *m, const struct pt_slot *s)
{
	return MIN(moved(m, s->va) + s->size, m->to + m->new_len);
}

/*
 * May the table of this slot move as a whole, if the new slot says only the new range's mark? All that
 * is in it must move (the range has no holes); what grows is written into it, so it must be ours.
 */
static bool is_movable(const struct move *m, const struct pt_slot *s)
{
	u64 from = slot_from(m, s), end = slot_end(m, s);

	if (!m->plain || pte_table(s->e, 2)->used != (end - from) >> PAGE_SHIFT)
		return false;
	if (unlikely(m->keep) && (m->mark.v & VM_FORK) && end - from < s->size)
		return false; /* no partial mark can say that (mm/pt.c) */
	return likely(!pte_is_shared(s->e)) || new_end_in(m, s) == moved(m, end);
}

/* Will the slot of level 2 around `to` say only that mark? As pt_op_range makes it, or has made it. */
static bool takes_table(struct move *m, u64 to)
{
	pte_t e = PTE_NONE;

	if (fills_slot(m, to, 2))
		return true;
	return !(m->mark.v & VM_FORK) && level_at(m, to, &e) > 1 && (pte_is_none(e) || m->pieces);
}

/* Counts what the frames of this slot may need at their new place, and before they move. */
static int count_slot(const struct pt_slot *s, struct frame *table, void *arg)
{
	struct move *m = arg;
	u64 from = slot_from(m, s), end = slot_end(m, s);
	struct frame *t;

	if (!slot_is_table(s)) {
		if (!slot_has_frame(s->e))
			return 0;
		if (stays_large(m, s)) {
			count_tables_for(m, moved(m, from), 2);
			return 0;
		}
		m->tables++;
		m->prepare = true;
		count_leaves(m, from, end, false);
		m->work += WORK_SPLIT;
		m->leaves += WORK_LEAF * ((end - from) >> PAGE_SHIFT);
		return too_much(&m->old, m->work + m->leaves);
	}
	if (is_movable(m, s) && takes_table(m, moved(m, from))) {
		count_tables_for(m, moved(m, from), 2);
		return 0;
	}
	t = pte_table(s->e, 2);
	if (pte_is_shared(s->e)) {
		m->tables += pt_unshare_needs(&m->op.c, t);
		m->prepare = true;
		m->work += frame_refs(t) > 1 ? WORK_COPY : WORK_TAKE_BACK;
	}
	count_leaves(m, from, end, t->side != NULL);
	m->leaves += (t->side ? WORK_LEAF_SIDE : WORK_LEAF) * ((end - from) >> PAGE_SHIFT);
	return too_much(&m->old, m->work + m->leaves);
}

static int alloc_sides(struct move *m)
{
	for (; m->sides > 0; m->sides--) {
		struct vm_side *side = pt_alloc_side();

		if (!side)
			return -ENOMEM;
		*(struct vm_side **)side = m->side;
		m->side = side;
	}
	return 0;
}

static int move_alloc(struct move *m)
{
	u64 start = m->old.start, end = start + m->len;
	int err;

	m->op.kind = PT_MAP;
	m->tables += pt_op_missing(&m->op, m->to, m->to + m->new_len);
	if (!m->keep) {
		m->op.kind = PT_UNMAP;
		m->tables += pt_op_missing(&m->op, start, end);
	}
	err = pt_visit_tables(&m->op.c, start, end, count_slot, m);
	if (!err)
		err = alloc_sides(m);
	return err ? err : pt_spare(&m->op.c, m->tables);
}

/* ---- the move: cannot fail ------------------------------------------------------------------- */

/* The table of this level for the new address `to`, which is made if it is not there. */
static struct frame *new_table(struct move *m, u64 to, unsigned level)
{
	struct pt_cursor *c = &m->op.c, top = *c;
	struct frame *table;

	pt_descend_to(c, to, level);
	table = c->table;
	c->table = top.table;
	c->entry = top.entry;
	c->level = top.level;
	return table;
}

static pte_t *new_slot(struct move *m, u64 to)
{
	return (pte_t *)frame_virt(new_table(m, to, 2)) + pt_index(to, 2);
}

static bool moves_whole(struct move *m, const struct pt_slot *s)
{
	return is_movable(m, s) &&
	       !pte_is_table(pte_load(new_slot(m, moved(m, slot_from(m, s)))), 2);
}

/* What cannot move as it is becomes a table of our own. */
static int prepare_slot(const struct pt_slot *s, struct frame *table, void *arg)
{
	struct move *m = arg;

	if (!slot_is_table(s)) {
		if (slot_has_frame(s->e) && !stays_large(m, s))
			pt_split(&m->op.c, table, s->va);
	} else if (pte_is_shared(s->e) && !moves_whole(m, s)) {
		pt_unshare(&m->op.c, &m->op.tlb, table, pt_index(s->va, 2), s->va);
	}
	return 0;
}

/* What stays in the old slot, of private anonymous memory. */
static pte_t left_behind(const struct move *m, u64 from, u64 end, unsigned level)
{
	if (!m->keep)
		return PTE_NONE;
	return level > 1 ? mark_cut(m->old.mark, cut_of_range(from, end, level)) : m->old.mark;
}

static void move_entry(struct move *m, const struct pt_slot *s, struct frame *table)
{
	u64 from = slot_from(m, s), end = slot_end(m, s);
	pte_t *slot = (pte_t *)frame_virt(table) + pt_index(s->va, 2),
	      *to = new_slot(m, moved(m, from));

	pte_store(to, pte_exchange(slot, left_behind(m, from, end, 2)));
	table->used -= !m->keep;
	tlb_gather_page(&m->op.tlb, from, end - from);
}

static void move_table(struct move *m, const struct pt_slot *s, struct frame *table)
{
	struct frame *t = pte_table(s->e, 2);
	pte_t *entry = frame_virt(t);

	dassert(!pte_is_shared(s->e) || new_end_in(m, s) == moved(m, slot_end(m, s)));
	for (u64 to = moved(m, slot_end(m, s)); to < new_end_in(m, s); to += PAGE_SIZE) {
		pte_store(&entry[pt_index(to, 1)], m->mark);
		t->used++;
	}
	move_entry(m, s, table);
}

static void need_side(struct move *m, struct frame *table)
{
	struct vm_side *side = m->side;

	if (table->side)
		return;
	kassert(side != NULL);
	m->side = *(struct vm_side **)side;
	*(struct vm_side **)side = NULL;
	table->side = side;
}

/* A leaf or a held frame; what is left behind is a mark in any case. */
static void move_leaf(struct move *m, struct frame *t, unsigned i, struct frame *to, unsigned j)
{
	pte_t *slot = (pte_t *)frame_virt(t) + i, e = pte_load(slot);

	e = pte_exchange(slot, mark_of_slot(e, t->side, i));
	if (e.v & VM_SIDE) { /* its reference is the old slot's again */
		t->side->mark[i] = PTE_NONE;
		need_side(m, to);
		to->side->mark[j].v = m->mark.v & ~VM_BITS;
	}
	pte_store((pte_t *)frame_virt(to) + j, e);
}

/* Those of a table of our own, from `from` on, as far as one new table has them. Returns how far. */
static u64 move_leaves(struct move *m, struct frame *t, u64 from, u64 end)
{
	u64 room = pt_span(2) - (moved(m, from) & (pt_span(2) - 1));
	unsigned n = (unsigned)(MIN(end - from, room) >> PAGE_SHIFT);
	unsigned first = pt_index(from, 1), to_first = pt_index(moved(m, from), 1), gone = 0;
	pte_t *slot = (pte_t *)frame_virt(t) + first, left = left_behind(m, from, end, 1),
	      *new = NULL;
	struct frame *to = NULL;

	dassert(frame_refs(t) == 1);
	for (unsigned i = 0; i < n; i++) {
		pte_t e = pte_load(&slot[i]);

		if (!slot_has_frame(e))
			continue;
		if (!to) {
			to = new_table(m, moved(m, from), 1);
			new = (pte_t *)frame_virt(to) + to_first;
			tlb_gather_page(&m->op.tlb, from + ((u64)i << PAGE_SHIFT),
					(u64)(n - i) << PAGE_SHIFT);
		}
		if (unlikely((e.v & (PTE_PRESENT | VM_SIDE)) != PTE_PRESENT)) {
			move_leaf(m, t, first + i, to, to_first + i);
			continue;
		}
		pte_store(&new[i], pte_exchange(&slot[i], left));
		gone++;
	}
	if (!m->keep)
		t->used -= (u16)gone;
	return from + ((u64)n << PAGE_SHIFT);
}

/* The frames of an old slot go to the new one. */
static int move_slot(const struct pt_slot *s, struct frame *table, void *arg)
{
	struct move *m = arg;
	u64 from = slot_from(m, s), end = slot_end(m, s);

	if (!slot_is_table(s)) {
		if (slot_has_frame(s->e))
			move_entry(m, s, table);
		return 0;
	}
	if (moves_whole(m, s)) {
		move_table(m, s, table);
		return 0;
	}
	while (from < end)
		from = move_leaves(m, pte_table(s->e, 2), from, end);
	return 0;
}

static void move_commit(struct move *m)
{
	u64 start = m->old.start, end = start + m->len;

	m->op.kind = PT_MAP;
	m->op.mark = m->mark;
	pt_op_range(&m->op, m->to, m->to + m->new_len);
	if (m->prepare) {
		pt_visit_tables(&m->op.c, start, end, prepare_slot, m);
		tlb_gather_finish(&m->op.tlb); /* before a copy changes */
	}
	pt_visit_tables(&m->op.c, start, end, move_slot, m);
	if (!m->keep) {
		m->op.kind = PT_UNMAP;
		pt_op_range(&m->op, start, end);
	}
	tlb_gather_finish(&m->op.tlb);
}

static void move_init(struct move *m)
{
	pt_op_init(&m->op, PT_MAP);
	for (unsigned k = 0; k < PT_LEVELS; k++)
		m->last[k] = UINT64_MAX;
	m->last_side = UINT64_MAX;
	m->tables = m->sides = 0;
	m->work = m->leaves = 0;
	m->from = m->old.start;
	m->end = m->from + m->len;
	m->congruent = IS_ALIGNED(m->to - m->from, pt_span(2));
	m->plain = m->congruent && !m->old.mapping;
	m->prepare = false;
	m->side = NULL;
}

/* What was not needed. */
static void free_sides(struct move *m)
{
	while (m->side) {
		struct vm_side *side = m->side;

		m->side = *(struct vm_side **)side;
		pt_free_side(side);
	}
}

/*
 * Locks, checks the old range again, and moves it to m->to. -EEXIST: the new place is taken; -E2BIG: this is too
 * much for one step. The mapping for the new place has been made for what was seen before; -EAGAIN: that has changed.
 */
static __noinline int move_run(struct move *m, struct aspace *as)
{
	struct old_region now = m->old;
	u64 start = now.start, end = start + m->len, new_end = m->to + m->new_len;
	int err;

	move_init(m);
	tlb_gather_init(&m->op.tlb, as);
	pt_prune_kept(as, m->to); /* where a table may come */
	pt_prune_kept(as, new_end - 1);
	pt_lock(&m->op.c, as, MIN(start, m->to), MAX(end, new_end) - 1, 2);
	now.at = start;
	now.end = end;
	err = pt_visit_tables(&m->op.c, start, end, region_slot, &now);
	m->work = now.work;
	if (!err && (now.mark.v != m->old.mark.v || now.mapping != m->old.mapping))
		err = -EAGAIN;
	if (!err && !m->replace && !pt_range_is_empty(&m->op.c, m->to, new_end))
		err = -EEXIST;
	if (!err)
		err = move_alloc(m);
	if (!err)
		move_commit(m);
	pt_unlock(&m->op.c);
	free_sides(m);
	mapping_destroy_all(m->op.dead);
	return err;
}

/* ---- in pieces, with a claim ------------------------------------------------------------------ */

/*
 * Where a piece from va on ends: behind `tables` tables of level 1, or as many slots of higher ones as take as
 * long; in the middle of a table if its pages are much work each.
 */
static u64 piece_end(struct aspace *as, u64 va, u64 end, unsigned tables, bool whole)
{
	preempt_disable();
	for (unsigned work = tables * 16; va < end && work > 0;) {
		unsigned level;
		pte_t above, *table = pt_table_over(as, va, 1, &level, &above);
		pte_t e = pte_load(&table[pt_index(va, level)]);
		u64 step = pt_span(MAX(level, 2u));

		if (level == 1 && page_frame(table)->side)
			step /= 4;
		else if (level == 1 && !whole)
			step /= 2;
		work -= MIN(work, level == 1 || slot_has_frame(e) ? 16u : 1u);
		va = ALIGN_DOWN(va, step) + step;
	}
	preempt_enable();
	return MIN(va, end);
}

/* Looks at the old region, with a reference of its mapping. -EFAULT: a hole, or several regions. */
static int look(struct aspace *as, struct old_region *r, u64 start, u64 end, bool claimed)
{
	int err = 0;

	*r = (struct old_region){ .start = start, .end = end, .at = start, .at_once = !claimed };
	for (u64 at = start, next; at < end && !err; at = next) {
		struct pt_cursor c;

		next = claimed ? piece_end(as, at, end, 1, true) : end;
		pt_lock(&c, as, at, next - 1, 1);
		r->end = next;
		err = pt_visit_tables(&c, at, next, region_slot, r);
		if (!err && next == end && r->mapping)
			mapping_get(r->mapping, 1);
		pt_unlock(&c);
	}
	if (err)
		r->mapping = NULL;
	return err;
}

/* Calls fn for all slots of the old range, a piece at a time or all at once, with the tables that have been
 * taken at hand. */
static void visit_pieces(struct move *m, struct aspace *as, pt_visit_fn *fn, bool at_once)
{
	u64 end = m->old.start + m->len;

	for (u64 at = m->old.start; at < end; at = m->end) {
		u64 to = moved(m, at), last;

		m->from = at;
		m->end = at_once ? end : piece_end(as, at, end, m->plain ? 2 : 1, m->plain);
		last = MAX(m->end, moved(m, m->end)) - 1;
		tlb_gather_init(&m->op.tlb, as);
		pt_lock(&m->op.c, as, MIN(at, to), last, 2);
		m->op.c.spare = m->spare->spare;
		m->op.c.spare_side = m->spare->spare_side;
		pt_visit_tables(&m->op.c, at, m->end, fn, m);
		tlb_gather_finish(&m->op.tlb);
		m->spare->spare = m->op.c.spare;
		m->spare->spare_side = m->op.c.spare_side;
		m->spare->want_sides += m->op.c.want_sides;
		m->op.c.spare = NULL;
		m->op.c.spare_side = NULL;
		pt_unlock(&m->op.c);
		if (m->op.dead && claim_bury(as, m->op.dead))
			m->op.dead = NULL;
	}
}

static int unmap_claimed(struct move *m, struct aspace *as, u64 start, u64 end)
{
	m->op.kind = PT_UNMAP;
	return pt_op_pieces(&m->op, as, start, end);
}

/* The new place says what it will be; what it takes to move there is at hand, or it is as it was. */
static int prepare_pieces(struct move *m, struct aspace *as)
{
	u64 start = m->old.start, new_end = m->to + m->new_len;
	struct pt_cursor reserve = { .as = as };
	int err = pt_reserve(&reserve);

	if (!err && !m->keep)
		err = pt_split_edges(as, start, start + m->len, PT_UNMAP);
	if (!err && m->replace)
		err = unmap_claimed(m, as, m->to, new_end);
	if (!err)
		err = pt_map(as, m->to, new_end, m->mark, true);
	if (!err) {
		visit_pieces(m, as, count_slot, false);
		err = alloc_sides(m);
		if (!err)
			err = pt_spare(m->spare, m->tables);
		m->op.kind = PT_UNMAP;
		if (err)
			pt_op_reserved(&m->op, as, m->to, new_end, &reserve);
	}
	pt_free_spare(&reserve);
	return err;
}

/* move_run with a claim on the old range. */
static __noinline int move_pieces(struct move *m, struct aspace *as)
{
	u64 start = m->old.start, end = start + m->len;
	struct pt_cursor spare = { .as = as };
	int err;

	move_init(m);
	m->spare = &spare;
	if (!m->replace && !claim_also(as, m->to, m->to + m->new_len))
		return -EEXIST;
	pt_prune_kept(as, m->to);
	pt_prune_kept(as, m->to + m->new_len - 1);
	err = prepare_pieces(m, as);
	if (!err) {
		if (m->prepare)
			visit_pieces(m, as, prepare_slot, false);
		/* Mostly it was the looking, or the preparing, that was too much. */
		visit_pieces(m, as, move_slot, m->len <= MOVE_AT_ONCE && m->leaves <= WORK_AT_ONCE);
		if (!m->keep) {
			unmap_claimed(m, as, start, end);
			pt_prune(as, end - PAGE_SIZE);
		}
	}
	free_sides(m);
	pt_free_spare(m->spare);
	return err;
}

/* ---- which of them ---------------------------------------------------------------------------- */

static void look_done(struct old_region *r)
{
	if (r->mapping)
		mapping_put(r->mapping, 1);
}

/* Makes the mark for the new place, then moves. */
static int move_to(struct move *m, struct aspace *as)
{
	struct vm_mapping *from = m->old.mapping;
	u64 before = from ? vm_object_moving(from->obj) : 0;
	int err;

	m->mapping = NULL;
	m->mark = mark_anon(m->old.mark.v & VM_BITS);
	if (from) {
		m->mapping = mapping_create(
			from->obj, m->to, from->offset + (m->old.start - from->va), from->nowrite);
		if (!m->mapping)
			return -ENOMEM;
		m->mark = mark_mapped(mark_kind(m->old.mark), m->mapping, m->old.mark.v & VM_BITS);
	}
	err = m->pieces ? move_pieces(m, as) : move_run(m, as);
	if (m->mapping)
		mapping_put(m->mapping, 1);
	if (!err && from)
		vm_object_moved(from->obj, before, as, m->to, m->to + m->new_len);
	if (!err && !m->keep)
		aspace_gap_freed(as, m->old.start, m->old.start + m->len);
	return err;
}

/* MREMAP_DONTUNMAP: what is left behind is not locked. (Without memory for its edges it stays so.) */
static void unlock_kept(struct move *m, struct aspace *as)
{
	pt_op_init(&m->op, PT_FLAGS);
	m->op.clear = VM_LOCKED;
	pt_op_large(&m->op, as, m->old.start, m->old.start + m->len);
}

/* One attempt at [addr, addr + m->len), to m->to or, if that is 0, to where there is room. */
static __noinline int move_region_once(struct move *m, struct aspace *as, u64 addr)
{
	/* All of it: here, if others may not change it; or under the lock that it moves under (move_run). */
	int err = look(as, &m->old, addr, addr + (m->pieces ? m->len : PAGE_SIZE), m->pieces);
	bool locked = m->keep && (m->old.mark.v & VM_LOCKED);

	if (err)
		return err;
	if (locked && !m->pieces)
		err = -E2BIG; /* two steps, which must be one for others */
	if (!err && !m->to)
		m->to = aspace_find_gap_like(as, m->new_len, addr);
	if (!err)
		err = m->to ? move_to(m, as) : -ENOMEM;
	if (!err && locked)
		unlock_kept(m, as);
	look_done(&m->old);
	return err;
}

/* What is changed: the old range and, if that is known before, the new one. */
static void claim_places(struct aspace *as, u64 start, u64 end, int flags, u64 to, u64 new_len)
{
	bool known = flags & MREMAP_FIXED;

	claim_both(as, start, end, known ? to : 0, known ? to + new_len : 0);
}

/* Moves [addr, addr + len) to where it has new_len bytes. The new address or -errno. */
static s64 move_region(struct aspace *as, u64 addr, u64 len, u64 new_len, int flags, u64 new_addr,
		       bool claimed)
{
	__attribute__((uninitialized)) struct move m;
	bool mine = false;
	int err;

	m.len = len;
	m.new_len = new_len;
	m.replace = flags & MREMAP_FIXED;
	m.keep = flags & MREMAP_DONTUNMAP;
	m.pieces = claimed;
	m.to = m.replace ? new_addr : 0;
	for (;;) {
		err = move_region_once(&m, as, addr);
		if (err == -EEXIST) { /* another thread was faster */
			m.to = m.replace ? new_addr : 0;
		} else if (err == -E2BIG) {
			claim_places(as, addr, addr + len, flags, new_addr, new_len);
			mine = m.pieces = true;
		} else if (err != -EAGAIN) {
			break;
		}
	}
	if (mine)
		claim_end(as);
	return err ? err : (s64)m.to;
}

/*
 * More of the same behind [addr, addr + len), if that is free. Under one lock: the region must still
 * be there when it grows.
 */
static int grow_in_place(struct aspace *as, u64 addr, u64 len, u64 new_len, bool claimed)
{
	__attribute__((uninitialized)) struct pt_op op;
	u64 start = addr + len, end = addr + new_len;
	struct old_region r = { .start = addr, .end = start, .at = addr, .at_once = true };
	unsigned n;
	int err;

	if (end > USER_TOP || end < addr) {
		err = look(as, &r, addr, start, claimed);
		look_done(&r);
		return err ? err : -EEXIST;
	}
	if (claimed) /* the rest has been looked at, and nobody has changed it since */
		addr = r.start = r.at = start - PAGE_SIZE;
	pt_op_init(&op, PT_MAP);
	tlb_gather_init(&op.tlb, as);
	pt_lock(&op.c, as, addr, end - 1, 1);
	err = pt_visit_tables(&op.c, addr, start, region_slot, &r);
	if (!err && !pt_range_is_empty(&op.c, start, end))
		err = -EEXIST;
	if (!err) {
		op.mark = r.mapping ?
				  mark_mapped(mark_kind(r.mark), r.mapping, r.mark.v & VM_BITS) :
				  mark_anon(r.mark.v & VM_BITS);
		n = pt_op_missing(&op, start, end);
		if (n | op.c.want_sides)
			err = pt_spare(&op.c, n);
	}
	if (!err) {
		pt_op_range(&op, start, end);
		tlb_gather_finish(&op.tlb);
	}
	pt_unlock(&op.c);
	mapping_destroy_all(op.dead);
	return err;
}

int vm_mremap_check(uaddr_t addr, u64 old_len, u64 new_len, int flags, uaddr_t new_addr)
{
	u64 len = ALIGN_UP(old_len, PAGE_SIZE);

	new_len = ALIGN_UP(new_len, PAGE_SIZE);
	if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
		return -EINVAL;
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if ((flags & MREMAP_DONTUNMAP) && len != new_len)
		return -EINVAL;
	if (!IS_ALIGNED(addr, PAGE_SIZE) || new_len == 0 || new_len > USER_TOP)
		return -EINVAL;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		return 0; /* new_addr does not count */
	if (!IS_ALIGNED(new_addr, PAGE_SIZE) || new_addr > USER_TOP - new_len)
		return -EINVAL;
	return addr + len > new_addr && new_addr + new_len > addr ? -EINVAL : 0;
}

/*
 * old_len 0: the shared mapping of what is at addr a second time. Without MREMAP_FIXED it must be
 * allowed to move, for it cannot be where it is already.
 */
static s64 duplicate(struct aspace *as, u64 addr, u64 new_len, int flags, u64 new_addr)
{
	struct old_region r;
	s64 ret = look(as, &r, addr, addr + PAGE_SIZE, false);

	if (ret)
		return ret;
	if (mark_kind(r.mark) != MARK_SHARED)
		ret = -EINVAL;
	else if (!(flags & MREMAP_MAYMOVE))
		ret = -ENOMEM;
	else
		ret = vm_mmap(as, new_addr, new_len, bits_to_prot(r.mark.v),
			      MAP_SHARED | (flags & MREMAP_FIXED ? MAP_FIXED : 0) |
				      (r.mark.v & VM_LOCKED ? MAP_LOCKED : 0) |
				      (r.mapping->nowrite ? VM_MMAP_NOWRITE : 0),
			      r.mapping->obj, r.mapping->offset + (addr - r.mapping->va));
	look_done(&r);
	return ret;
}

/* May the region of which [addr, addr + len) is a part get `more` bytes, so many of them locked if it is? */
static int check_growth(struct aspace *as, u64 addr, u64 len, u64 more, u64 locked, bool claimed)
{
	struct old_region r;
	int err = look(as, &r, addr, addr + len, claimed);

	if (err)
		return err;
	if ((r.mark.v & VM_LOCKED) && locked && vm_may_lock(as, locked, 0, 0))
		err = -EAGAIN;
	else if (!vm_may_expand(as, more, mark_kind(r.mark), r.mark.v, 0, 0))
		err = -ENOMEM;
	look_done(&r);
	return err;
}

/* [addr, addr + len) becomes larger, where it is or elsewhere. */
static s64 grow(struct aspace *as, u64 addr, u64 len, u64 new_len, int flags, bool claimed)
{
	int err = grow_in_place(as, addr, len, new_len, claimed);

	if (err != -EEXIST)
		return err ? err : (s64)addr;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	return move_region(as, addr, len, new_len, flags, 0, claimed);
}

/* What is left when the range has been shortened. `claimed`: with a claim on it. -E2BIG: it must have one. */
static s64 resize(struct aspace *as, u64 addr, u64 len, u64 new_len, int flags, u64 new_addr,
		  bool claimed)
{
	u64 longer = new_len - len, more = longer + (flags & MREMAP_DONTUNMAP ? len : 0);
	int err = more ? check_growth(as, addr, len, more, longer, claimed) : 0;

	if (err)
		return err;
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		return move_region(as, addr, len, new_len, flags, new_addr, claimed);
	return len == new_len ? (s64)addr : grow(as, addr, len, new_len, flags, claimed);
}

/*
 * With MREMAP_FIXED Linux asks whether the region may grow as if nothing were replaced; but whether it may be there
 * twice (MREMAP_DONTUNMAP) when what was at the new place has gone, which then stays so.
 */
static int unmap_new_place(struct aspace *as, u64 addr, u64 len, u64 new_addr)
{
	struct old_region r;
	int err;

	claim_begin(as, addr, addr + len);
	err = look(as, &r, addr, addr + len, true);
	look_done(&r);
	claim_end(as);
	return err ? err : vm_munmap(as, new_addr, len);
}

static s64 resize_claimed(struct aspace *as, u64 addr, u64 len, u64 new_len, int flags,
			  u64 new_addr)
{
	bool moves = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);
	u64 end = moves ? addr + len : MIN(MAX(addr + new_len, addr + len), USER_TOP);
	s64 ret;

	claim_places(as, addr, end, flags, new_addr, new_len);
	ret = resize(as, addr, len, new_len, flags, new_addr, true);
	claim_end(as);
	return ret;
}

/* New pages of a locked region are locked, and there. */
static void populate_new(struct aspace *as, u64 start, u64 end)
{
	struct region r;

	if (!READ_ONCE(as->locked) || !region_next_settled(as, start, end, &r))
		return;
	if ((r.mark.v & VM_LOCKED) && !(as->lock_future & MCL_ONFAULT))
		vm_populate(as, start, end, true);
	region_put(&r);
}

/* len becomes to_len. Under vm_limits_begin. */
static s64 remap(struct aspace *as, u64 addr, u64 len, u64 to_len, int flags, u64 new_addr)
{
	bool moves = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);
	struct old_region r;
	s64 ret;

	ret = look(as, &r, addr, addr + PAGE_SIZE, false);
	if (ret)
		return ret;
	look_done(&r);
	if (len > to_len) {
		ret = vm_munmap(as, addr + to_len, len - to_len);
		if (ret)
			return ret;
		len = to_len;
	}
	if (len > USER_TOP - addr && (to_len > len || moves))
		return -EFAULT; /* as it is, it may even stay: Linux looks at the first page alone */
	if ((flags & MREMAP_FIXED) && (flags & MREMAP_DONTUNMAP) && vm_has_limits(as)) {
		ret = unmap_new_place(as, addr, len, new_addr);
		if (ret)
			return ret;
	}
	ret = -E2BIG;
	if (len <= MOVE_AT_ONCE)
		ret = resize(as, addr, len, to_len, flags, new_addr, false);
	if (ret == -E2BIG)
		ret = resize_claimed(as, addr, len, to_len, flags, new_addr);
	return ret;
}

s64 vm_mremap(struct aspace *as, uaddr_t addr, u64 old_len, u64 new_len, int flags,
	      uaddr_t new_addr)
{
	u64 len = ALIGN_UP(old_len, PAGE_SIZE), to_len = ALIGN_UP(new_len, PAGE_SIZE);
	s64 ret = vm_mremap_check(addr, old_len, new_len, flags, new_addr);
	struct vm_limits limits;

	if (ret)
		return ret;
	if (addr >= USER_TOP)
		return -EFAULT;
	if (len == 0)
		return duplicate(as, addr, to_len, flags, new_addr);
	vm_limits_begin(as, &limits);
	ret = remap(as, addr, len, to_len, flags, new_addr);
	vm_limits_end(&limits);
	if (ret > 0 && to_len > len)
		populate_new(as, (u64)ret + len, (u64)ret + to_len);
	return ret;
}
