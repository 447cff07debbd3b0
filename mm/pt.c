/*
 * Programs' page tables: see mm/pt.h for ownership and locks, mm/mark.h for what slots say.
 *
 * An operation on a range runs in two steps. First, under the lock of the lowest table that covers
 * the range, it looks at the two edges: only there can a mark (or, for a new mapping, an empty
 * slot) be covered in part, so only there tables must be split, at most three on each side; it
 * takes that many cleared tables. Then it goes through the slots in order, in straight-line code
 * that cannot run out of memory. Splitting changes nothing that a program or a reader of /proc
 * could see.
 *
 * A table that became empty goes as soon as the entry above it is locked by the same operation. If
 * it is the covering table itself, the entry above belongs to somebody else's lock: pt_prune takes
 * that afterwards and looks again.
 *
 * References of mappings are dropped and added in runs: a run of slots that name the same mapping
 * costs one atomic operation.
 */
#include "mm/pt.h"

#include "arch/api/cpu.h"
#include "arch/api/preempt.h"
#include "lib/err.h"
#include "lib/kassert.h"
#include "lib/string.h"
#include "mm/claim.h"
#include "mm/large.h"
#include "mm/slab.h"
#include "sched/thread.h"

struct frame *zero_frame;
pfn_t zero_pfn;

/* ---- locks ----------------------------------------------------------------------------------- */

void pt_lock_table(struct pt_cursor *c, struct frame *table)
{
	if (READ_ONCE(table->flags) == cpu_id() + 1)
		return; /* on the way along an edge */
	table_lock(table);
	kassert(!(table->state & TABLE_STALE)); /* its parent, which we hold, names it */
	cursor_keep(c, table);
}

/*
 * The lowest level whose table covers start ... last; where that is just what one entry covers, the
 * level of the entry's table.
 */
static inline unsigned covering_level(u64 start, u64 last)
{
	u64 differ = start ^ last, edges = start | (last + 1);
	unsigned level;

#pragma GCC unroll 4
	for (level = 1; level < PT_LEVELS; level++)
		if (differ >> pt_shift(level + 1) == 0 && (edges & (pt_span(level + 1) - 1)))
			break;
	return level;
}

/*
 * Walks down to the lowest table for va that is this space's own, but not below level `lowest`, and
 * locks it; *entries are its entries. False: it was taken away meanwhile, or (if `claims` count) somebody
 * has a claim on va ... last: lock_again. Preemption is off.
 *
 * What was read on the way may be old by the time that the lock is ours: so the last entry is read
 * again. Whoever takes a table out of its entry, or PTE_WRITE for sharing, holds the table's lock: if
 * the entry still says the same, the table is ours and stays so. (The table's own count would not do:
 * that is 1 again when the child of a fork has gone, yet the entry above, as it has no PTE_WRITE, lets
 * the next fork share it without this lock.)
 *
 * frame.flags stays 0: nobody comes to the topmost of a cursor's tables a second time.
 */
static __always_inline bool lock_on_the_way(struct aspace *as, u64 va, u64 last, unsigned lowest,
					    bool claims, pte_t **entries)
{
	const pte_t *slot = &as->root_entry;
	pte_t *entry = as->root, *below;

#pragma GCC unroll 3
	for (unsigned level = PT_LEVELS; level > 1 && level > lowest; level--) {
		const pte_t *next = &entry[pt_index(va, level)];

		if (unlikely(!pte_own_table(pte_load(next), &below)))
			break;
		slot = next;
		entry = below;
	}
	*entries = entry;
	table_lock_bare(page_frame(entry));
	if (likely(pte_points_to(pte_load(slot), entry) &&
		   !(claims && claim_excludes(as, va, last))))
		return true;
	table_unlock(page_frame(entry));
	return false;
}

static __noinline pte_t *lock_again(struct aspace *as, u64 start, u64 last, unsigned lowest,
				    bool claims)
{
	struct claim *c;
	pte_t *entry;

	for (;;) {
		if (!lock_on_the_way(as, start, last, lowest, false, &entry)) {
			cpu_relax();
			continue;
		}
		c = claims ? claim_of_others(as, start, last) : NULL;
		if (!c)
			return entry;
		table_unlock(page_frame(entry));
		preempt_enable();
		claim_wait(c);
		preempt_disable();
	}
}

/* The entries of the lowest table that covers the range; it is locked, and preemption goes off. */
static __always_inline pte_t *lock_covering(struct aspace *as, u64 start, u64 last, unsigned lowest)
{
	unsigned level = MAX(covering_level(start, last), lowest);
	pte_t *entry;

	preempt_disable();
	if (unlikely(!lock_on_the_way(as, start, last, level, true, &entry)))
		entry = lock_again(as, start, last, level, true);
	return entry;
}

static inline void cursor_start(struct pt_cursor *c, struct aspace *as, pte_t *entry)
{
	struct frame *table = page_frame(entry);

	c->as = as;
	c->table = table;
	c->entry = entry;
	c->level = table->level;
	c->locked = NULL;
	c->spare = NULL;
	c->spare_side = NULL;
	c->want_sides = 0;
	cursor_keep(c, table);
}

void pt_lock(struct pt_cursor *c, struct aspace *as, u64 start, u64 last, unsigned min_level)
{
	cursor_start(c, as, lock_covering(as, start, last, min_level));
}

/* A table of our own may have come below the one that is locked, before it was: further down. */
static __noinline void lock_below(struct pt_cursor *c, u64 va, bool claims)
{
	pte_t *below;

	while (c->level > 1 && pte_own_table(pte_load(&c->entry[pt_index(va, c->level)]), &below)) {
		table_unlock(c->table);
		cursor_start(c, c->as, lock_again(c->as, va, va, 1, claims));
	}
}

static __noinline void lock_page_again(struct pt_cursor *c, struct aspace *as, u64 va, bool claims)
{
	cursor_start(c, as, lock_again(as, va, va, 1, claims));
	lock_below(c, va, claims);
}

/* pt_lock for one page. */
static __always_inline void lock_page(struct pt_cursor *c, struct aspace *as, u64 va, bool claims)
{
	pte_t *entry;

	preempt_disable();
	if (unlikely(!lock_on_the_way(as, va, va, 1, claims, &entry))) {
		lock_page_again(c, as, va, claims);
		return;
	}
	cursor_start(c, as, entry);
	if (unlikely(c->level > 1))
		lock_below(c, va, claims);
}

/* The way that all faults take. */
void pt_lock_page(struct pt_cursor *c, struct aspace *as, u64 va)
{
	lock_page(c, as, va, true);
}

void pt_lock_read(struct pt_cursor *c, struct aspace *as, u64 va)
{
	lock_page(c, as, va, false);
}

__noinline void pt_free_spare(struct pt_cursor *c)
{
	while (c->spare) {
		struct frame *t = c->spare;

		c->spare = (struct frame *)t->owner;
		frame_put_zeroed(t);
	}
	while (c->spare_side) {
		struct vm_side *side = c->spare_side;

		c->spare_side = *(struct vm_side **)side;
		pt_free_side(side);
	}
}

void pt_unlock(struct pt_cursor *c)
{
	struct frame *t = c->locked;

	while (t) {
		struct frame *next = (struct frame *)t->owner;

		table_unlock(t);
		t = next;
	}
	if (unlikely(c->spare || c->spare_side))
		pt_free_spare(c);
	preempt_enable();
}

/* ---- tables ---------------------------------------------------------------------------------- */

int pt_spare(struct pt_cursor *c, unsigned n)
{
	while (n-- > 0) {
		struct frame *t = frame_alloc(FRAME_TABLE, FRAME_ZERO | FRAME_ATOMIC);

		if (!t)
			return -ENOMEM;
		table_init(t, 0);
		t->owner = (u64)c->spare;
		c->spare = t;
	}
	for (; c->want_sides > 0; c->want_sides--) {
		struct vm_side *side = pt_alloc_side();

		if (!side)
			return -ENOMEM;
		*(struct vm_side **)side = c->spare_side;
		c->spare_side = side;
	}
	return 0;
}

struct frame *pt_split(struct pt_cursor *c, struct frame *table, u64 va)
{
	pte_t *slot = (pte_t *)frame_virt(table) + pt_index(va, table->level);
	pte_t e = pte_load(slot), *entry;
	struct frame *t = c->spare;

	kassert(t && table->level > 1 && !pte_is_table(e, table->level));
	dassert(frame_refs(table) == 1);
	c->spare = (struct frame *)t->owner;
	t->level = table->level - 1;
	if (unlikely(e.v & VM_FORK))
		t->state |= TABLE_FORK;
	table_lock(t);
	cursor_keep(c, t);
	entry = frame_virt(t);
	if (pte_is_none(e)) {
		table->used++;
	} else if (unlikely(slot_has_frame(e))) {
		large_split(c, slot, va, entry);
		t->used = PT_ENTRIES;
	} else {
		unsigned from = pt_index(mark_start(e, 0, table->level), t->level);
		u64 end = mark_end(e, 0, table->level) >> pt_shift(t->level);

		t->used = (u16)(end - from);
		e = mark_whole(e);
		for (pte_t *to = entry + from; to < entry + end; to++)
			*to = e;
		if (mark_has_mapping(e))
			mapping_get(mark_mapping(e), PT_ENTRIES - 1);
	}
	pte_store(slot, pte_make(frame_pa(t), PTE_TABLE));
	return t;
}

void pt_descend_to(struct pt_cursor *c, u64 va, unsigned level)
{
	while (c->level > level) {
		pte_t e = pte_load(&c->entry[pt_index(va, c->level)]);

		if (pte_is_table(e, c->level)) {
			c->table = pte_table(e, c->level);
			pt_lock_table(c, c->table);
		} else {
			c->table = pt_split(c, c->table, va);
		}
		c->entry = frame_virt(c->table);
		c->level--;
	}
}

struct vm_side *pt_alloc_side(void)
{
	struct frame *f = frame_alloc(FRAME_KERNEL, FRAME_ZERO | FRAME_ATOMIC);

	return f ? frame_virt(f) : NULL;
}

void pt_free_side(struct vm_side *side)
{
	if (side)
		frame_put(virt_frame(side));
}

/* Takes an empty table, locked by the cursor, out of its parent's slot, which becomes e. */
static void remove_table(struct pt_op *op, pte_t *slot, pte_t e, struct frame *table, u64 va)
{
	struct frame **link = &op->c.locked;

	kassert_eq(table->used, 0);
	pte_exchange(slot, e);
	table->state |= TABLE_STALE;
	while (*link != table)
		link = (struct frame **)&(*link)->owner;
	*link = (struct frame *)table->owner;
	pt_free_side(table->side);
	table->side = NULL;
	table_unlock(table);
	tlb_gather_table(&op->tlb, table, va);
}

/* ---- mappings -------------------------------------------------------------------------------- */

static struct slab_cache *mapping_cache; /* [I] */

struct vm_mapping *mapping_create(struct vm_object *obj, u64 va, u64 offset, bool nowrite)
{
	struct vm_mapping *m = slab_alloc(mapping_cache);

	if (!m)
		return NULL;
	*m = (struct vm_mapping){ .obj = obj, .va = va, .offset = offset, .nowrite = nowrite };
	atomic_store(&m->refs, 1ul);
	atomic_fetch_add(&obj->mappings, 1ul);
	if (!nowrite)
		atomic_fetch_add(&obj->writers, 1ul);
	obj->ops->get(obj);
	return m;
}

void mapping_put_later(struct vm_mapping *m, u64 n, struct vm_mapping **dead)
{
	u64 old = atomic_fetch_sub(&m->refs, n);

	kassert(old >= n);
	if (old == n) {
		m->dead = *dead;
		*dead = m;
	}
}

void mapping_destroy_all(struct vm_mapping *dead)
{
	if (!dead || vm_limits_bury(dead))
		return;
	while (dead) {
		struct vm_mapping *m = dead;

		dead = m->dead;
		atomic_fetch_sub(&m->obj->mappings, 1ul);
		if (!m->nowrite)
			atomic_fetch_sub(&m->obj->writers, 1ul);
		m->obj->ops->put(m->obj);
		slab_free(mapping_cache, m);
	}
}

void mapping_put(struct vm_mapping *m, u64 n)
{
	struct vm_mapping *dead = NULL;

	mapping_put_later(m, n, &dead);
	mapping_destroy_all(dead);
}

static void drop_flush(struct pt_op *op)
{
	if (op->drop_n)
		mapping_put_later(op->drop, op->drop_n, &op->dead);
	op->drop_n = 0;
}

/* A mark lost its slot. */
static inline void drop_mark(struct pt_op *op, pte_t mark)
{
	struct vm_mapping *m;

	if (!mark_has_mapping(mark))
		return;
	m = mark_mapping(mark);
	if (op->drop != m) {
		drop_flush(op);
		op->drop = m;
	}
	op->drop_n++;
}

void pt_init(void)
{
	_Static_assert(sizeof(struct vm_mapping) == 64, "a mark's payload counts in 64 bytes");
	mapping_cache = slab_cache_create("vm_mapping", sizeof(struct vm_mapping), 64);
	zero_frame = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	if (!zero_frame)
		panic("out of memory at boot: no frame for the zero page");
	zero_pfn = frame_pfn(zero_frame);
}

/* ---- one slot -------------------------------------------------------------------------------- */

/* The frame of a leaf or a held entry of this level goes after the flush. */
static inline void drop_frame(struct pt_op *op, pfn_t pfn, unsigned level)
{
	if (unlikely(level != 1))
		tlb_gather_large(&op->tlb, pfn_frame(pfn));
	else if (!pfn_is_zero_page(pfn))
		tlb_gather_frame(&op->tlb, pfn_frame(pfn));
}

/* The translation of a leaf goes, or allows less. One INVLPG forgets a large one, too. */
static inline void gather_leaf(struct pt_op *op, u64 va)
{
	tlb_gather_page(&op->tlb, va, PAGE_SIZE);
}

/*
 * Empties a slot that is neither empty nor a table, by writing `to`. Drops what it named, but for
 * the side mark if keep_side: that is returned, with its reference.
 */
static __always_inline pte_t slot_take(struct pt_op *op, struct frame *table, unsigned index,
				       u64 va, pte_t e, pte_t to, bool keep_side)
{
	pte_t *slot = (pte_t *)frame_virt(table) + index;
	pte_t mark = e;

	dassert(frame_refs(table) == 1);
	if (pte_is_present(e)) {
		e = pte_exchange(slot, to);
		gather_leaf(op, va);
		drop_frame(op, pte_pfn(e), table->level);
		mark = PTE_NONE;
	} else {
		pte_store(slot, to);
		if (mark_kind(e) == MARK_HELD) {
			drop_frame(op, mark_pfn(e), table->level);
			mark = PTE_NONE;
		}
	}
	if (pte_is_none(mark) && (e.v & VM_SIDE)) {
		mark = table->side->mark[index];
		table->side->mark[index] = PTE_NONE;
	}
	if (!keep_side)
		drop_mark(op, mark);
	return mark;
}

static __always_inline void slot_unmap(struct pt_op *op, struct frame *table, unsigned index,
				       u64 va, pte_t e)
{
	slot_take(op, table, index, va, e, PTE_NONE, false);
	table->used--;
}

static inline void slot_map(struct pt_op *op, struct frame *table, unsigned index, u64 va, pte_t e)
{
	if (unlikely(op->mark.v & VM_FORK))
		table->state |= TABLE_FORK;
	if (pte_is_none(e)) {
		pte_store((pte_t *)frame_virt(table) + index, op->mark);
		table->used++;
	} else {
		slot_take(op, table, index, va, e, op->mark, false);
	}
	op->map_n++;
}

/* Is a slot with a frame one that vm_object_zap is after? */
static bool zap_wants(const struct pt_op *op, pte_t mark, pte_t e, u64 va)
{
	const struct vm_mapping *m = mark_has_mapping(mark) ? mark_mapping(mark) : NULL;
	u64 index;

	if (!m || m->obj != op->obj)
		return false;
	index = (m->offset + (va - m->va)) >> PAGE_SHIFT;
	if (index < op->first || index > op->last)
		return false;
	return op->cows ||
	       pfn_frame(pte_is_present(e) ? pte_pfn(e) : mark_pfn(e))->type != FRAME_ANON;
}

static inline void slot_dontneed(struct pt_op *op, struct frame *table, unsigned index, u64 va,
				 pte_t e)
{
	pte_t mark;

	if (!slot_has_frame(e))
		return;
	/* The reference of the side mark moves into the slot with the mark. */
	mark = mark_of_slot(e, table->side, index);
	if (unlikely(op->obj != NULL) && !zap_wants(op, mark, e, va))
		return;
	slot_take(op, table, index, va, e, mark, true);
}

static inline void slot_flags(struct pt_op *op, struct frame *table, unsigned index)
{
	pte_t *slot = (pte_t *)frame_virt(table) + index;

	dassert(frame_refs(table) == 1);
	if (op->set & VM_FORK)
		table->state |= TABLE_FORK;
	pte_clear_bits(slot, op->clear);
	pte_set_bits(slot, op->set);
}

/* A leaf gets new protection; -EACCES is not possible any more. */
static void leaf_protect(struct pt_op *op, struct frame *table, unsigned index, u64 va, bool shared)
{
	pte_t *slot = (pte_t *)frame_virt(table) + index;
	pte_t old = pte_load(slot), new;

	dassert(frame_refs(table) == 1);
	do {
		if (bits_accessible(op->bits)) {
			new.v = (old.v & ~(VM_PROT | PTE_WRITE)) | op->bits;
			if ((op->bits & VM_WRITE) && (shared || (old.v & PTE_WRITE)))
				new.v |= PTE_WRITE;
		} else if (pfn_is_zero_page(pte_pfn(old))) {
			new = mark_anon((old.v & VM_FLAGS) | op->bits);
		} else {
			new = mark_held(pte_pfn(old), (old.v & (VM_FLAGS | VM_SIDE)) | op->bits);
		}
	} while (!__atomic_compare_exchange_n(&slot->v, &old.v, new.v, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
	if (!pte_is_present(new) || (old.v & ~new.v &PTE_WRITE) || (new.v & ~old.v &PTE_NOEXEC))
		gather_leaf(op, va);
}

static int slot_protect(struct pt_op *op, struct frame *table, unsigned index, u64 va, pte_t e)
{
	pte_t *slot = (pte_t *)frame_virt(table) + index;
	pte_t mark = mark_of_slot(e, table->side, index);
	bool shared = mark_kind(mark) == MARK_SHARED;

	if (shared && (op->bits & VM_WRITE) && mark_mapping(mark)->nowrite)
		return -EACCES;
	if (likely(pte_is_present(e))) {
		leaf_protect(op, table, index, va, shared);
	} else if (mark_kind(e) == MARK_HELD && bits_accessible(op->bits)) {
		pte_t leaf = leaf_make(mark_pfn(e), (e.v & VM_FLAGS) | op->bits);

		leaf.v |= (e.v & VM_SIDE) | (table->level > 1 ? PTE_LARGE : 0);
		if (shared && (op->bits & VM_WRITE))
			leaf.v |= PTE_WRITE;
		pte_store(slot, leaf);
	} else {
		pte_store(slot, (pte_t){ (e.v & ~VM_PROT) | op->bits });
	}
	return 0;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static inline int op_slot(struct pt_op *op, struct frame *table, unsigned index, u64 va, pte_t e)
{
	switch (op->kind) {
	case PT_MAP: slot_map(op, table, index, va, e); return 0;
	case PT_UNMAP:
		if (!pte_is_none(e))
			slot_unmap(op, table, index, va, e);
		return 0;
	case PT_PROTECT:
		if (pte_is_none(e))
			return -ENOMEM;
		return slot_protect(op, table, index, va, e);
	case PT_DONTNEED:
		if (pte_is_none(e))
			op->holes = true;
		else
			slot_dontneed(op, table, index, va, e);
		return 0;
	case PT_FLAGS:
		if (pte_is_none(e))
			op->holes = true;
		else
			slot_flags(op, table, index);
		return 0;
	}
	return 0;
}

/*
 * Leaves of private anonymous memory go, as many as there are in a row. Returns the address of the
 * first slot that is something else.
 */
static u64 unmap_plain(struct pt_op *op, struct frame *table, u64 va, u64 end)
{
	struct tlb_gather *g = &op->tlb;
	s64 n = (s64)MIN((end - va) >> PAGE_SHIFT, (u64)(TLB_GATHER_FRAMES - g->nr));
	pte_t *last = (pte_t *)frame_virt(table) + pt_index(va, 1) + n;
	u64 *to = &g->frame[g->nr], zero = (u64)zero_frame, done;
	u32 nr;
	s64 i;

	dassert(frame_refs(table) == 1);
	for (i = -n; i < 0; i++) {
		u64 e = pte_load(&last[i]).v, f;

		if ((e & (PTE_PRESENT | VM_SIDE)) != PTE_PRESENT)
			break;
		f = (u64)FRAME_ARRAY + ((e & PTE_ADDR) >> (PAGE_SHIFT - FRAME_SHIFT));
		pte_exchange(&last[i], PTE_NONE);
		if (likely(f != zero))
			*to++ = f;
	}
	nr = (u32)(to - g->frame);
	done = (u64)(n + i);
	if (done == 0 && nr < TLB_GATHER_FRAMES)
		return va;
	g->nr = nr;
	if (done)
		tlb_gather_page(g, va, done << PAGE_SHIFT);
	table->used -= (u16)done;
	va += done << PAGE_SHIFT;
	if (nr < TLB_GATHER_FRAMES)
		return va;
	tlb_gather_overflow(g);
	return unmap_plain(op, table, va, end);
}

/*
 * Level 1: all slots are covered as a whole. One loop for each kind, for the sake of long ranges.
 */
static void unmap_leaves(struct pt_op *op, struct frame *table, u64 va, u64 end)
{
	const pte_t *entry = frame_virt(table);

	while (va < end && table->used > 0) {
		pte_t e = pte_load(&entry[pt_index(va, 1)]);

		if ((e.v & (PTE_PRESENT | VM_SIDE)) == PTE_PRESENT) {
			va = unmap_plain(op, table, va, end);
			continue;
		}
		if (!pte_is_none(e))
			slot_unmap(op, table, pt_index(va, 1), va, e);
		va += PAGE_SIZE;
	}
}

/*
 * Leaves of private anonymous memory get new protection: at first what they lose, then, if any
 * lacks it, what they gain, so that two locked instructions can take the place of a loop of
 * compare-and-exchange. The hardware may set A and D meanwhile. Returns the address of the first
 * slot that is something else.
 */
static u64 protect_plain(pte_t *entry, u64 va, u64 end, u64 bits, bool *flush)
{
	pte_t *slot = entry + pt_index(va, 1), *first = slot;
	u64 lose = (VM_PROT | (bits & VM_WRITE ? 0 : PTE_WRITE)) & ~bits;
	u64 any = 0, all = UINT64_MAX;
	pte_t *last = slot + ((end - va) >> PAGE_SHIFT);

	dassert(frame_refs(page_frame(entry)) == 1);
#pragma GCC unroll 4
	for (; slot < last; slot++) {
		u64 e = pte_load(slot).v;

		if (unlikely((e & (PTE_PRESENT | VM_SIDE)) != PTE_PRESENT))
			break;
		any |= e;
		all &= e;
		pte_clear_bits(slot, lose);
	}
	last = slot;
	if (bits & ~all)
		for (slot = first; slot < last; slot++)
			pte_set_bits(slot, bits);
	*flush = (any & lose & PTE_WRITE) || (bits & ~all & PTE_NOEXEC);
	return va + ((u64)(last - first) << PAGE_SHIFT);
}

static int protect_leaves(struct pt_op *op, struct frame *table, u64 va, u64 end)
{
	pte_t *entry = frame_virt(table);
	bool plain = bits_accessible(op->bits), flush;
	int err = 0;

	while (va < end && !err) {
		if (plain) {
			u64 done = protect_plain(entry, va, end, op->bits, &flush);

			if (flush && done > va)
				tlb_gather_page(&op->tlb, va, done - va);
			va = done;
		}
		if (va < end) {
			pte_t e = pte_load(&entry[pt_index(va, 1)]);

			err = pte_is_none(e) ? -ENOMEM :
					       slot_protect(op, table, pt_index(va, 1), va, e);
			va += PAGE_SIZE;
		}
	}
	return err;
}

static inline bool slots_are_empty(const pte_t *slot, unsigned n)
{
	u64 any = 0;

	for (; n >= 8; n -= 8, slot += 8)
		any |= slot[0].v | slot[1].v | slot[2].v | slot[3].v | slot[4].v | slot[5].v |
		       slot[6].v | slot[7].v;
	for (; n > 0; n--)
		any |= (slot++)->v;
	return !any;
}

static inline void slots_fill(pte_t *slot, unsigned n, pte_t mark)
{
	for (; n >= 8; n -= 8, slot += 8) {
#pragma GCC unroll 8
		for (unsigned i = 0; i < 8; i++)
			pte_store(&slot[i], mark);
	}
	for (; n > 0; n--)
		pte_store(slot++, mark);
}

static void map_leaves(struct pt_op *op, struct frame *table, u64 va, u64 end)
{
	pte_t *slot = (pte_t *)frame_virt(table) + pt_index(va, 1);
	unsigned n = (unsigned)((end - va) >> PAGE_SHIFT);

	if (unlikely(op->mark.v & VM_FORK))
		table->state |= TABLE_FORK;
	op->map_n += n;
	if (slots_are_empty(slot, n)) {
		slots_fill(slot, n, op->mark);
		table->used += (u16)n;
		return;
	}
	for (; va < end; va += PAGE_SIZE, slot++) {
		pte_t e = pte_load(slot);

		if (!pte_is_none(e)) {
			slot_take(op, table, pt_index(va, 1), va, e, op->mark, false);
			continue;
		}
		pte_store(slot, op->mark);
		table->used++;
	}
}

static int op_leaves(struct pt_op *op, struct frame *table, u64 va, u64 end)
{
	const pte_t *entry = frame_virt(table);
	int err = 0;

	if (op->kind == PT_MAP) {
		map_leaves(op, table, va, end);
		return 0;
	}
	if (op->kind == PT_UNMAP) {
		unmap_leaves(op, table, va, end);
		return 0;
	}
	if (op->kind == PT_PROTECT)
		return protect_leaves(op, table, va, end);
	for (; va < end && !err; va += PAGE_SIZE)
		err = op_slot(op, table, pt_index(va, 1), va, pte_load(&entry[pt_index(va, 1)]));
	return err;
}

/* May the range be said by partial marks where nothing is? */
static bool may_cut(const struct pt_op *op)
{
	return op->kind == PT_MAP && mark_kind(op->mark) == MARK_ANON && !(op->mark.v & VM_FORK);
}

/* Does the range consist of whole units of a slot of this level, above 1? */
static inline bool in_units(u64 start, u64 end, unsigned level)
{
	return !((start | end) & (pt_span(level - 1) - 1));
}

static void map_part(struct pt_op *op, struct frame *table, u64 va, u64 end)
{
	unsigned level = table->level;

	pte_store((pte_t *)frame_virt(table) + pt_index(va, level),
		  mark_cut(op->mark, cut_of_range(va, end, level)));
	table->used++;
}

static int op_table(struct pt_op *op, struct frame *table, u64 va, u64 end);

/* The slot at index holds a shared table and becomes e: no need to make it ours first. */
static void drop_shared(struct pt_op *op, struct frame *table, unsigned index, u64 va, pte_t e)
{
	pte_t *slot = (pte_t *)frame_virt(table) + index;
	struct frame *child = pte_table(pte_load(slot), table->level);

	dassert(table->level == 2);
	pte_exchange(slot, e);
	tlb_gather_shared(&op->tlb, child, va, pt_span(2));
}

/* The slot at index holds a table, of which [va, end) is concerned. */
static int op_below(struct pt_op *op, struct frame *table, unsigned index, u64 va, u64 end,
		    bool whole)
{
	pte_t *slot = (pte_t *)frame_virt(table) + index;
	struct frame *child = pte_table(pte_load(slot), table->level);
	bool replace = whole && op->kind == PT_MAP;
	int err;

	if (pte_is_shared(pte_load(slot))) {
		kassert(whole && (replace || op->kind == PT_UNMAP));
		drop_shared(op, table, index, va, replace ? op->mark : PTE_NONE);
		if (replace)
			op->map_n++;
		else
			table->used--;
		return 0;
	}
	pt_lock_table(&op->c, child);
	if (replace)
		op->kind = PT_UNMAP; /* empty it, then the mark takes its place */
	err = op_table(op, child, va, end);
	if (replace) {
		op->kind = PT_MAP;
		remove_table(op, slot, op->mark, child, va);
		op->map_n++;
	} else if (child->used == 0) {
		remove_table(op, slot, PTE_NONE, child, va);
		table->used--;
	}
	return err;
}

static int op_table(struct pt_op *op, struct frame *table, u64 va, u64 end)
{
	pte_t *entry = frame_virt(table);
	u64 span = pt_span(table->level);
	int err = 0;

	if (table->level == 1)
		return op_leaves(op, table, va, end);
	while (va < end && !err) {
		unsigned i = pt_index(va, table->level);
		u64 next = MIN((va | (span - 1)) + 1, end);
		bool whole = next - va == span;
		pte_t e = pte_load(&entry[i]);

		if (op->kind == PT_UNMAP && table->used == 0)
			break;
		if (pte_is_none(e) && (op->kind == PT_UNMAP || (op->kind == PT_MAP && whole))) {
			if (op->kind == PT_MAP)
				slot_map(op, table, i, va, e);
			va = next;
			continue;
		}
		if (!pte_is_table(e, table->level)) {
			/* DONTNEED has nothing to do in a mark, nor others in a hole. */
			if (whole || (op->kind == PT_DONTNEED && !slot_has_frame(e)) ||
			    (pte_is_none(e) && op->kind != PT_MAP)) {
				err = op_slot(op, table, i, va, e);
				va = next;
				continue;
			}
			if (pte_is_none(e) && may_cut(op) && in_units(va, next, table->level)) {
				map_part(op, table, va, next);
				va = next;
				continue;
			}
			pt_split(&op->c, table, va);
		}
		err = op_below(op, table, i, va, next, whole);
		va = next;
	}
	return err;
}

/* Bit k: a table of level k is missing on the way to address b, an edge of the range. */
static unsigned edge_missing(struct pt_op *op, u64 b)
{
	struct pt_cursor *c = &op->c;
	enum pt_op_kind kind = op->kind;
	struct frame *table = c->table;
	unsigned level = c->level, missing = 0;
	pte_t e = PTE_NONE;

	for (; !IS_ALIGNED(b, pt_span(level)); level--) {
		if (!missing) {
			pte_t *entry = frame_virt(table);

			e = pte_load(&entry[pt_index(b, level)]);
			if (pte_is_table(e, level)) {
				if (pte_is_shared(e))
					return 0;
				table = pte_table(e, level);
				pt_lock_table(c, table);
				continue;
			}
			if ((kind == PT_DONTNEED && !slot_has_frame(e)) ||
			    (pte_is_none(e) && kind != PT_MAP))
				return 0;
		}
		if (pte_is_none(e) && may_cut(op) && IS_ALIGNED(b, pt_span(level - 1)))
			break; /* a partial mark will do */
		missing |= 1u << (level - 1);
	}
	return missing;
}

/*
 * The tables that must be unshared for op on [va, end): all shared ones; but those that MAP and
 * UNMAP drop as a whole are not, so that only the range's edges count. Partial marks likewise become
 * tables: a slot has one say then. Counts what is needed for that, or (commit) does it.
 */
static unsigned unshare_table(struct pt_op *op, struct frame *table, u64 va, u64 end, bool commit)
{
	pte_t *entry = frame_virt(table);
	u64 span = pt_span(table->level), next;
	bool edges = op->kind == PT_MAP || op->kind == PT_UNMAP;
	unsigned n = 0;

	for (; va < end; va = next) {
		unsigned i = pt_index(va, table->level);
		pte_t e = pte_load(&entry[i]);

		next = MIN((va | (span - 1)) + 1, end);
		if (edges && next - va == span) {
			next = MAX(next, ALIGN_DOWN(end, span));
			continue;
		}
		if (!pte_is_table(e, table->level)) {
			if (mark_is_part(e)) {
				op->shared = true;
				if (commit)
					pt_split(&op->c, table, va);
				n++;
			}
			continue;
		}
		if (table->level > 2) {
			pt_lock_table(&op->c, pte_table(e, table->level));
			n += unshare_table(op, pte_table(e, table->level), va, next, commit);
		} else if (pte_is_shared(e)) {
			op->shared = true;
			if (commit)
				pt_unshare(&op->c, &op->tlb, table, i, va);
			else
				n += pt_unshare_needs(&op->c, pte_table(e, 2));
		}
	}
	return n;
}

void pt_op_unshare(struct pt_op *op, u64 start, u64 end)
{
	if (op->c.level == 1)
		return;
	unshare_table(op, op->c.table, start, end, true);
	tlb_gather_finish(&op->tlb);
}

unsigned pt_op_missing(struct pt_op *op, u64 start, u64 end)
{
	if (IS_ALIGNED(start | end, pt_span(op->c.level)) &&
	    (op->kind == PT_MAP || op->kind == PT_UNMAP))
		return 0; /* no edges */

	unsigned at_start = edge_missing(op, start);
	unsigned at_end = edge_missing(op, end);
	unsigned n = 0;

	for (unsigned k = 1; k < PT_LEVELS; k++) {
		bool a = at_start >> k & 1, b = at_end >> k & 1;

		n += a + b;
		if (a && b && start >> pt_shift(k + 1) == end >> pt_shift(k + 1))
			n--; /* one table for both */
	}
	return n + unshare_table(op, op->c.table, start, end, false);
}

int pt_op_range(struct pt_op *op, u64 start, u64 end)
{
	int err;

	if (unlikely(op->shared))
		pt_op_unshare(op, start, end);
	err = op_table(op, op->c.table, start, end);
	drop_flush(op);
	if (op->map_n && mark_has_mapping(op->mark))
		mapping_get(mark_mapping(op->mark), op->map_n);
	op->map_n = 0;
	return err;
}

static bool table_is_empty(struct pt_cursor *c, struct frame *table, u64 va, u64 end)
{
	pte_t *entry = frame_virt(table);
	u64 span = pt_span(table->level);

	if (table->used == 0)
		return true;
	for (u64 next; va < end; va = next) {
		pte_t e = pte_load(&entry[pt_index(va, table->level)]);
		u64 slot = ALIGN_DOWN(va, span);

		next = slot + span;
		if (pte_is_none(e))
			continue;
		if (pte_is_table(e, table->level)) {
			struct frame *child = pte_table(e, table->level);

			if (!pte_is_shared(e))
				pt_lock_table(c, child);
			if (!table_is_empty(c, child, va, MIN(next, end)))
				return false;
		} else if (!mark_is_part(e) ||
			   (va < mark_end(e, slot, table->level) &&
			    MIN(next, end) > mark_start(e, slot, table->level))) {
			return false;
		}
	}
	return true;
}

bool pt_range_is_empty(struct pt_cursor *c, u64 start, u64 end)
{
	return table_is_empty(c, c->table, start, end);
}

/*
 * Of a slot that is no table, what lies at va: *s is the slot and gets what it says; of a partial mark
 * the mark itself or the hole beside it.
 */
static void slot_look(struct pt_slot *s, const struct frame *table, u64 va)
{
	u64 start, end;

	if (pte_is_none(s->e))
		return;
	s->mark = mark_of_slot(s->e, table->side, pt_index(va, s->level));
	if (likely(!mark_is_part(s->e)))
		return;
	start = mark_start(s->e, s->va, s->level);
	end = mark_end(s->e, s->va, s->level);
	s->e = s->mark = va >= start && va < end ? mark_whole(s->e) : PTE_NONE;
	if (va >= end) {
		s->size -= end - s->va;
		s->va = end;
	} else if (va >= start) {
		s->va = start;
		s->size = end - start;
	} else {
		s->size = start - s->va;
	}
}

/* `lowest`: the level of the tables that are gone into. */
static int visit_table(struct pt_cursor *c, struct frame *table, u64 va, u64 end, unsigned lowest,
		       pt_visit_fn *fn, void *arg)
{
	pte_t *entry = frame_virt(table);
	u64 span = pt_span(table->level);
	int ret = 0;

	for (u64 next; va < end && !ret; va = next) {
		unsigned i = pt_index(va, table->level);
		struct pt_slot s = { .va = ALIGN_DOWN(va, span),
				     .size = span,
				     .level = table->level,
				     .e = pte_load(&entry[i]) };

		if (pte_is_table(s.e, table->level)) {
			struct frame *child = pte_table(s.e, table->level);

			next = MIN(s.va + span, end);
			if (!pte_is_shared(s.e))
				pt_lock_table(c, child);
			ret = table->level > lowest ?
				      visit_table(c, child, va, next, lowest, fn, arg) :
				      fn(&s, table, arg);
		} else {
			slot_look(&s, table, va);
			next = MIN(s.va + s.size, end);
			ret = fn(&s, table, arg);
		}
	}
	return ret;
}

int pt_visit(struct pt_cursor *c, u64 start, u64 end, pt_visit_fn *fn, void *arg)
{
	return visit_table(c, c->table, start, end, 1, fn, arg);
}

int pt_visit_tables(struct pt_cursor *c, u64 start, u64 end, pt_visit_fn *fn, void *arg)
{
	struct pt_slot s = { .va = ALIGN_DOWN(start, pt_span(2)), .size = pt_span(2), .level = 2 };

	if (c->level > 1)
		return visit_table(c, c->table, start, end, 2, fn, arg);
	s.e = pte_make(frame_pa(c->table), PTE_TABLE);
	return fn(&s, NULL, arg);
}

/* A thread's arena keeps its table of level 3: so nobody locks the root for it again. */
void pt_prune(struct aspace *as, u64 va)
{
	unsigned top = aspace_is_arena(as, va) ? PT_LEVELS - 1 : PT_LEVELS;

	for (unsigned level = 2; level <= top; level++) {
		__attribute__((uninitialized)) struct pt_op op;
		bool empty;
		pte_t *slot, e;

		pt_op_init(&op, PT_UNMAP);
		tlb_gather_init(&op.tlb, as);
		pt_lock(&op.c, as, va, va, level);
		slot = &op.c.entry[pt_index(va, op.c.level)];
		e = pte_load(slot);
		if (op.c.level == level && pte_is_table(e, level) && !pte_is_shared(e)) {
			struct frame *child = pte_table(e, level);

			pt_lock_table(&op.c, child);
			if (child->used == 0) {
				remove_table(&op, slot, PTE_NONE, child, va);
				op.c.table->used--;
			}
		}
		empty = op.c.table->used == 0;
		tlb_gather_finish(&op.tlb);
		pt_unlock(&op.c);
		if (!empty)
			break;
	}
}

void pt_prune_kept(struct aspace *as, u64 va)
{
	pte_t *entry = as->root;
	bool empty = true;

	preempt_disable();
	for (unsigned level = PT_LEVELS; level > 1 && empty; level--)
		empty = pte_own_table(pte_load(&entry[pt_index(va, level)]), &entry);
	if (empty)
		empty = READ_ONCE(page_frame(entry)->used) == 0;
	preempt_enable();
	if (unlikely(empty))
		pt_prune(as, va);
}

/*
 * The table that covered an operation has become empty. One of level 1 stays, until the thread leaves another
 * one empty: who maps and unmaps a page again and again needs no table each time, and not the lock above,
 * which others may need. It is the thread that remembers it, one elsewhere and in its arena one of level 1
 * and one of level 2; of those that do not belong to the space the space itself.
 */
static void prune_later(struct aspace *as, u64 va, unsigned level)
{
	struct thread *me = current();
	bool mine = likely(me->as == as);
	bool arena = mine && me->gap.top - va - 1 < pt_span(PT_LEVELS);

	if (level == 1 || (arena && level == 2)) {
		u64 *last = mine ? &me->empty_table[arena ? level : 0] : &as->empty_table;

		va = ALIGN_DOWN(va, pt_span(level + 1)) | 1;
		if (likely(*last == va))
			return;
		va = __atomic_exchange_n(last, va, __ATOMIC_RELAXED);
	} else if (level == PT_LEVELS - 1 && aspace_is_arena(as, va)) {
		return; /* stays, and is what is empty */
	}
	if (va)
		pt_prune(as, va & PAGE_MASK);
}

/*
 * But who unmaps much at once may well map much there again, which is one partial mark where no table is,
 * and hundreds of slots to fill where one is.
 */
#define KEEP_BELOW (512 * KiB)

static void prune_emptied(struct aspace *as, u64 start, u64 end, unsigned level)
{
	if (level == 1 && end - start >= KEEP_BELOW && !READ_ONCE(as->arenas))
		pt_prune(as, start);
	else
		prune_later(as, start, level);
}

void aspace_thread_ends(void)
{
	struct thread *me = current();

	for (unsigned i = 0; i < ARRAY_SIZE(me->empty_table); i++) {
		u64 va = me->empty_table[i];

		me->empty_table[i] = 0;
		if (me->as && va)
			va = __atomic_exchange_n(&me->as->empty_table, va, __ATOMIC_RELAXED);
		if (me->as && va)
			pt_prune(me->as, va & PAGE_MASK);
	}
	me->gap = (struct vm_gap){ 0 };
}

/* Mappings that ended. */
static __noinline void op_bury(struct pt_op *op, struct aspace *as)
{
	if (!claim_bury(as, op->dead))
		mapping_destroy_all(op->dead);
	op->dead = NULL;
}

/* The cursor holds the table that covers the range; it is given up. */
static int op_locked(struct pt_op *op, u64 start, u64 end)
{
	struct aspace *as = op->c.as;
	unsigned level = op->c.level, n;
	bool prune;
	int err = 0;

	if (op->noreplace && !pt_range_is_empty(&op->c, start, end))
		err = -EEXIST;
	if (!err && level > 1) {
		n = pt_op_missing(op, start, end);
		err = n | op->c.want_sides ? pt_spare(&op->c, n) : 0;
	}
	if (!err) {
		err = pt_op_range(op, start, end);
		tlb_gather_finish(&op->tlb);
	}
	prune = op->c.table->used == 0 && level < PT_LEVELS;
	pt_unlock(&op->c);
	if (unlikely(prune) && op->piece)
		pt_prune(as, start);
	else if (unlikely(prune))
		prune_emptied(as, start, end, level);
	if (unlikely(op->dead != NULL))
		op_bury(op, as);
	return err;
}

int pt_reserve(struct pt_cursor *reserve)
{
	return pt_spare(reserve, 2 * (PT_LEVELS - 1));
}

void pt_op_reserved(struct pt_op *op, struct aspace *as, u64 start, u64 end,
		    struct pt_cursor *reserve)
{
	bool empty;

	tlb_gather_init(&op->tlb, as);
	pt_lock(&op->c, as, start, end - 1, 1);
	op->c.spare = reserve->spare;
	reserve->spare = NULL;
	pt_op_range(op, start, end);
	tlb_gather_finish(&op->tlb);
	empty = op->c.table->used == 0 && op->c.level < PT_LEVELS;
	pt_unlock(&op->c);
	if (empty)
		pt_prune(as, start);
	if (op->dead)
		op_bury(op, as);
}

int pt_op_run(struct pt_op *op, struct aspace *as, u64 start, u64 end)
{
	dassert(start < end && IS_ALIGNED(start | end, PAGE_SIZE) && end <= pt_span(4) * 256);
	tlb_gather_init(&op->tlb, as);
	pt_lock(&op->c, as, start, end - 1, 1);
	return op_locked(op, start, end);
}

/* ---- the usual cases, without a cursor ------------------------------------------------------- */

/*
 * mmap and munmap of untouched memory: all slots of the covering table from start to end are empty and
 * become the mark; or all say the same mark and become empty. No decisions on the way, and nothing to
 * flush. The slots are not present, so the hardware does not change them.
 */
/* How many of n slots, from the first on, say `mark`: they become empty. */
static inline unsigned slots_clear(pte_t *slot, unsigned n, pte_t mark)
{
	unsigned left = n;

	for (; left >= 8; left -= 8, slot += 8) {
#pragma GCC unroll 8
		for (unsigned i = 0; i < 8; i++) {
			if (unlikely(slot[i].v != mark.v))
				return n - left + i;
			pte_store(&slot[i], PTE_NONE);
		}
	}
	for (; left > 0; left--) {
		if (unlikely(slot->v != mark.v))
			break;
		pte_store(slot++, PTE_NONE);
	}
	return n - left;
}

static inline void unlock_table(struct frame *table)
{
	spin_word_release(&table->lock);
	preempt_enable();
}

static inline void op_start(struct pt_op *op, struct aspace *as, pte_t *entry, enum pt_op_kind kind)
{
	cursor_start(&op->c, as, entry);
	tlb_gather_init(&op->tlb, as);
	pt_op_init(op, kind);
}

/*
 * Over more than 1 MiB of something. What is there goes in pieces, so that nobody waits long for the CPU; nobody
 * sees the hole in between. The tables for both edges are there before.
 */
static __noinline int map_pieces(struct aspace *as, u64 start, u64 end, pte_t mark)
{
	__attribute__((uninitialized)) struct pt_op op;
	struct pt_cursor reserve = { .as = as };
	bool claimed = claim_begin(as, start, end);
	int err = pt_reserve(&reserve);

	pt_op_init(&op, PT_UNMAP);
	if (!err)
		err = pt_op_pieces(&op, as, start, end);
	if (!err) {
		pt_op_init(&op, PT_MAP);
		op.mark = mark;
		pt_op_reserved(&op, as, start, end, &reserve);
	}
	pt_free_spare(&reserve);
	if (claimed)
		claim_end(as);
	return err;
}

static __noinline int map_slowly(struct aspace *as, pte_t *entry, u64 start, u64 end, pte_t mark,
				 bool noreplace)
{
	__attribute__((uninitialized)) struct pt_op op;

	if (!noreplace && end - start > PT_PIECE && !pt_is_one_piece(as, start, end, PT_UNMAP)) {
		unlock_table(page_frame(entry));
		return map_pieces(as, start, end, mark);
	}
	op_start(&op, as, entry, PT_MAP);
	op.mark = mark;
	op.noreplace = noreplace;
	return op_locked(&op, start, end);
}

/*
 * Ranges that begin or end inside a slot of the covering table: anonymous memory that consists of whole
 * units becomes a partial mark, one in the first and one in the last slot if these are not the same.
 */
static inline bool in_one_slot(u64 start, u64 end, unsigned level)
{
	return (start ^ (end - 1)) >> pt_shift(level) == 0;
}

/* What the slot at va has of [start, end). */
static pte_t cut_mark(pte_t mark, u64 va, u64 start, u64 end, unsigned level)
{
	return mark_cut(mark, cut_of_range(MAX(start, va), MIN(end, va + pt_span(level)), level));
}

/* Do all slots that [start, end) touches say what `mark`, cut to the range, would; or nothing at all? */
static bool slots_say(const pte_t *entry, u64 start, u64 end, unsigned level, pte_t mark)
{
	for (u64 va = ALIGN_DOWN(start, pt_span(level)); va < end; va += pt_span(level)) {
		pte_t want = pte_is_none(mark) ? mark : cut_mark(mark, va, start, end, level);

		if (pte_load(&entry[pt_index(va, level)]).v != want.v)
			return false;
	}
	return true;
}

/* Makes them say so. Returns how many there are. */
static u16 slots_set(pte_t *entry, u64 start, u64 end, unsigned level, pte_t mark)
{
	u16 n = 0;

	for (u64 va = ALIGN_DOWN(start, pt_span(level)); va < end; va += pt_span(level), n++)
		pte_store(&entry[pt_index(va, level)],
			  pte_is_none(mark) ? mark : cut_mark(mark, va, start, end, level));
	return n;
}

static __noinline int map_ends(struct aspace *as, pte_t *entry, u64 start, u64 end, pte_t mark,
			       bool noreplace)
{
	struct frame *table = page_frame(entry);
	unsigned level = table->level;

	if (!in_units(start, end, level) || !slots_say(entry, start, end, level, PTE_NONE))
		return map_slowly(as, entry, start, end, mark, noreplace);
	table->used += slots_set(entry, start, end, level, mark);
	unlock_table(table);
	return 0;
}

static __noinline int map_cut(struct aspace *as, pte_t *entry, u64 start, u64 end, pte_t mark,
			      bool noreplace)
{
	struct frame *table = page_frame(entry);
	unsigned level = table->level;
	pte_t *slot = &entry[pt_index(start, level)];

	if (unlikely((mark.v & (MARK_KINDS | VM_FORK)) != MARK_ANON))
		return map_slowly(as, entry, start, end, mark, noreplace);
	if (unlikely(!in_one_slot(start, end, level)))
		return map_ends(as, entry, start, end, mark, noreplace);
	if (unlikely(!in_units(start, end, level) || !pte_is_none(pte_load(slot))))
		return map_slowly(as, entry, start, end, mark, noreplace);
	pte_store(slot, mark_cut(mark, cut_of_range(start, end, level)));
	table->used++;
	unlock_table(table);
	return 0;
}

/* After a race for the table's lock: by the long way. */
static __noinline int map_again(struct aspace *as, u64 start, u64 end, pte_t mark, bool noreplace)
{
	pte_t *entry = lock_again(as, start, end - 1, covering_level(start, end - 1), true);

	return map_slowly(as, entry, start, end, mark, noreplace);
}

int pt_map(struct aspace *as, u64 start, u64 end, pte_t mark, bool noreplace)
{
	struct frame *table;
	pte_t *entry, *slot;
	unsigned level, n;

	preempt_disable();
	if (unlikely(!lock_on_the_way(as, start, end - 1, covering_level(start, end - 1), true,
				      &entry)))
		return map_again(as, start, end, mark, noreplace);
	table = page_frame(entry);
	level = table->level;
	if ((start | end) & (pt_span(level) - 1))
		return map_cut(as, entry, start, end, mark, noreplace);
	slot = entry + pt_index(start, level);
	n = (unsigned)((end - start) >> pt_shift(level));
	if (unlikely((mark.v & VM_FORK) || !slots_are_empty(slot, n)))
		return map_slowly(as, entry, start, end, mark, noreplace);
	slots_fill(slot, n, mark);
	table->used += (u16)n;
	if (mark_has_mapping(mark))
		mapping_get(mark_mapping(mark), n);
	unlock_table(table);
	return 0;
}

static __noinline int unmap_pieces(struct aspace *as, u64 start, u64 end)
{
	__attribute__((uninitialized)) struct pt_op op;
	int err;

	pt_op_init(&op, PT_UNMAP);
	err = pt_op_pieces(&op, as, start, end);
	if (!err)
		pt_prune(as, end - PAGE_SIZE); /* the last one, and what is above */
	return err;
}

/* With the lock of the table that covers it; dropped. */
static __noinline int unmap_slowly(struct aspace *as, pte_t *entry, u64 start, u64 end)
{
	__attribute__((uninitialized)) struct pt_op op;

	if (end - start > PT_PIECE) {
		unlock_table(page_frame(entry));
		return unmap_pieces(as, start, end);
	}
	op_start(&op, as, entry, PT_UNMAP);
	return op_locked(&op, start, end);
}

/* Untouched slots of a covering table are gone: the locks, and the table if it is empty. */
static inline void unmap_done(struct aspace *as, struct frame *table, u64 start, u64 end)
{
	unsigned level = table->level;
	bool empty = table->used == 0 && level < PT_LEVELS;

	unlock_table(table);
	if (empty)
		prune_emptied(as, start, end, level);
}

static __noinline int unmap_ends(struct aspace *as, pte_t *entry, u64 start, u64 end)
{
	struct frame *table = page_frame(entry);
	unsigned level = table->level;
	pte_t mark = mark_whole(pte_load(&entry[pt_index(start, level)]));

	if (!in_units(start, end, level) || !slots_say(entry, start, end, level, mark))
		return unmap_slowly(as, entry, start, end);
	table->used -= slots_set(entry, start, end, level, PTE_NONE);
	unmap_done(as, table, start, end);
	return 0;
}

static __noinline int unmap_cut(struct aspace *as, pte_t *entry, u64 start, u64 end)
{
	struct frame *table = page_frame(entry);
	unsigned level = table->level;
	pte_t *slot = &entry[pt_index(start, level)], e = pte_load(slot);

	if (unlikely((e.v & (PTE_PRESENT | MARK_KINDS)) != MARK_ANON))
		return unmap_slowly(as, entry, start, end);
	if (unlikely(!in_one_slot(start, end, level)))
		return unmap_ends(as, entry, start, end);
	if (unlikely(!in_units(start, end, level) ||
		     mark_cut_of(e) != cut_of_range(start, end, level)))
		return unmap_slowly(as, entry, start, end);
	pte_store(slot, PTE_NONE);
	table->used--;
	unmap_done(as, table, start, end);
	return 0;
}

/* `done` slots said `mark`, the rest does not. Whole slots only: that needs no memory, so it does not
 * fail half-way. */
static __noinline int unmap_rest(struct aspace *as, pte_t *entry, u64 start, u64 end, pte_t mark,
				 unsigned done)
{
	unsigned level = page_frame(entry)->level;
	int err = 0;

	if (start < end && end - start > PT_PIECE && done > 0) {
		start -= (u64)done << pt_shift(level); /* nobody may see a part of it gone */
		slots_fill(entry + pt_index(start, level), done, mark);
		page_frame(entry)->used += (u16)done;
		return unmap_slowly(as, entry, start, end);
	}
	if (start < end)
		err = unmap_slowly(as, entry, start, end);
	else
		unmap_done(as, page_frame(entry), end - ((u64)done << pt_shift(level)), end);
	if (mark_has_mapping(mark) && done > 0)
		mapping_put(mark_mapping(mark), done);
	return err;
}

static __noinline int unmap_again(struct aspace *as, u64 start, u64 end)
{
	return unmap_slowly(as,
			    lock_again(as, start, end - 1, covering_level(start, end - 1), true),
			    start, end);
}

int pt_unmap(struct aspace *as, u64 start, u64 end)
{
	unsigned level, n, done = 0;
	pte_t *entry, *slot, mark;
	struct frame *table;

	preempt_disable();
	if (unlikely(!lock_on_the_way(as, start, end - 1, covering_level(start, end - 1), true,
				      &entry)))
		return unmap_again(as, start, end);
	table = page_frame(entry);
	level = table->level;
	if ((start | end) & (pt_span(level) - 1))
		return unmap_cut(as, entry, start, end);
	slot = entry + pt_index(start, level);
	n = (unsigned)((end - start) >> pt_shift(level));
	mark = pte_load(slot);
	if (likely(mark_is_untouched(mark)))
		done = slots_clear(slot, n, mark);
	table->used -= (u16)done;
	if (unlikely(done < n || mark_has_mapping(mark)))
		return unmap_rest(as, entry, start + ((u64)done << pt_shift(level)), end, mark,
				  done);
	unmap_done(as, table, start, end);
	return 0;
}

/* [start, done) is done, and has to be flushed if `flush`. */
static __noinline int protect_slowly(struct aspace *as, pte_t *entry, u64 start, u64 done, u64 end,
				     u64 bits, bool flush)
{
	__attribute__((uninitialized)) struct pt_op op;

	op_start(&op, as, entry, PT_PROTECT);
	op.bits = bits;
	if (flush)
		tlb_gather_page(&op.tlb, start, done - start);
	return op_locked(&op, done, end);
}

static __noinline int protect_pieces(struct aspace *as, u64 start, u64 end, u64 bits)
{
	__attribute__((uninitialized)) struct pt_op op;

	pt_op_init(&op, PT_PROTECT);
	op.bits = bits;
	return pt_op_pieces(&op, as, start, end);
}

int pt_protect(struct aspace *as, u64 start, u64 end, u64 bits)
{
	pte_t *entry = lock_covering(as, start, end - 1, 1);
	struct frame *table = page_frame(entry);
	u64 done = start;
	bool flush = false;

	if (likely(table->level == 1 && bits_accessible(bits)))
		done = protect_plain(entry, start, end, bits, &flush);
	if (unlikely(done < end) && end - done <= PT_PIECE)
		return protect_slowly(as, entry, start, done, end, bits, flush);
	if (flush)
		tlb_flush_pages(as, start, done);
	unlock_table(table);
	return likely(done == end) ? 0 : protect_pieces(as, done, end, bits);
}

/* ---- readers --------------------------------------------------------------------------------- */

/* Slots that are looked at under one lock: fn may take a hundred instructions and more for each. */
#define SCAN_AT_ONCE 128u

/* What follows a slot without a frame in its table, up to `end`, and says the very same, is one with it. */
static void add_alike(struct pt_slot *s, const pte_t *entry, u64 end)
{
	u64 span = s->size, next = s->va + span,
	    table_end = ALIGN_DOWN(s->va, span << 9) + (span << 9);

	end = MIN(end, table_end);
	while (next < end && pte_load(++entry).v == s->e.v)
		next += span;
	s->size = next - s->va;
}

/* Slots at once from va on: one, if somebody has a claim on what is behind it, where claims count. */
static unsigned scan_room(const struct pt_cursor *c, u64 va, u64 end, bool claims)
{
	u64 table_end = (va | (pt_span(c->level + 1) - 1)) + 1;

	/* A claim is of whole tables of level 1. */
	return claims && c->level > 1 && claim_excludes(c->as, va, MIN(end, table_end) - 1) ?
		       1 :
		       SCAN_AT_ONCE;
}

static int scan(struct aspace *as, u64 start, u64 end, pt_scan_fn *fn, void *arg, bool claims)
{
	u64 va = start;
	int ret = 0;

	while (va < end && !ret) {
		struct pt_cursor c;
		unsigned room;
		u64 span;

		lock_page(&c, as, va, claims);
		pt_peek_shared(&c, va);
		span = pt_span(c.level);
		room = scan_room(&c, va, end, claims);
		do {
			unsigned i = pt_index(va, c.level);
			pte_t e = pte_load(&c.entry[i]);
			struct pt_slot s = {
				.va = ALIGN_DOWN(va, span), .size = span, .level = c.level, .e = e
			};

			if (pte_is_table(e, c.level))
				break; /* made since, or the next slot: lock that one */
			slot_look(&s, c.table, va);
			if (room > 1 && !slot_has_frame(e) && !mark_is_part(e))
				add_alike(&s, &c.entry[i], end);
			ret = fn(&s, arg);
			va = s.va + s.size;
		} while (!ret && va < end && --room && (va & (pt_span(c.level + 1) - 1)));
		pt_unlock(&c);
	}
	return ret;
}

int pt_scan(struct aspace *as, u64 start, u64 end, pt_scan_fn *fn, void *arg)
{
	return scan(as, start, end, fn, arg, false);
}

int pt_scan_settled(struct aspace *as, u64 start, u64 end, pt_scan_fn *fn, void *arg)
{
	return scan(as, start, end, fn, arg, true);
}

pte_t *pt_table_over(struct aspace *as, u64 va, unsigned lowest, unsigned *level, pte_t *above)
{
	pte_t *entry = as->root;

	*above = as->root_entry;
	for (*level = PT_LEVELS; *level > lowest; (*level)--) {
		pte_t e = pte_load(&entry[pt_index(va, *level)]);

		if (!pte_is_table(e, *level))
			break;
		*above = e;
		entry = phys_to_virt(pte_pa(e, 1));
	}
	return entry;
}

u64 pt_next_table(struct aspace *as, u64 va, unsigned level, pte_t **entry)
{
	pte_t *table, above;
	unsigned at;

	table = pt_table_over(as, va, level, &at, &above);
	*entry = at == level ? table : NULL;
	if (at == level)
		return ALIGN_DOWN(va, pt_span(at + 1)) + pt_span(at + 1);
	do
		va = ALIGN_DOWN(va, pt_span(at)) + pt_span(at);
	while (pt_index(va, at) && pte_is_none(pte_load(&table[pt_index(va, at)])));
	return va;
}

/* A hole in the making, from above. */
struct gap {
	u64 len, align, bottom;
	u64 low, end; /* [low, end) is free */
	u64 largest;  /* of the holes passed by */
	u64 va;       /* the answer, or 0 */
};

/* low may be above end, in the gap below a stack. */
static void gap_passed(struct gap *g)
{
	if (g->end > g->low)
		g->largest = MAX(g->largest, g->end - g->low);
}

/* Does the range fit into [low, end)? */
static bool gap_fits(struct gap *g)
{
	u64 va = ALIGN_DOWN(g->end - g->len, g->align);

	if (va < g->low || va >= g->end)
		return false;
	g->va = va;
	return true;
}

/* The slot at `at` holds a partial mark: the hole above it goes on to its end. *start: the mark's. */
static bool gap_beside(struct gap *g, pte_t e, u64 at, unsigned level, u64 *start)
{
	u64 end = mark_end(e, at, level);

	*start = mark_start(e, at, level);
	if (end >= g->low)
		return false;
	g->low = MAX(end, g->bottom);
	return gap_fits(g);
}

/* Goes down through the slots of one table, to its bottom or to a slot that holds a table. True:
 * found. */
static bool gap_in_table(struct gap *g, const pte_t *entry, unsigned level)
{
	u64 span = pt_span(level);
	int i = (int)pt_index(g->low - 1, level);
	u64 at = ALIGN_DOWN(g->low - 1, span);

	for (; i >= 0 && g->low > g->bottom; i--, at -= span) {
		pte_t e = pte_load(&entry[i]);

		/* Nothing at all, or nothing below where we are. */
		if (likely(pte_is_none(e)) ||
		    (mark_is_part(e) && mark_start(e, at, level) >= g->low)) {
			g->low = MAX(at, g->bottom);
			if (gap_fits(g))
				return true;
		} else if (pte_is_table(e, level)) {
			return false;
		} else {
			u64 start = at;

			if (unlikely(mark_is_part(e)) && gap_beside(g, e, at, level, &start))
				return true;
			gap_passed(g);
			g->low = g->end = start;
			if (unlikely(e.v & VM_GROWSDOWN))
				g->end -= MIN(start, VM_STACK_GAP);
			if (start > at) { /* the hole below goes on with the next slot */
				g->low = MAX(at, g->bottom);
				if (gap_fits(g))
					return true;
			}
		}
	}
	return false;
}

u64 pt_find_gap(struct aspace *as, u64 len, u64 align, u64 bottom, u64 top, u64 *largest)
{
	struct gap g = { .len = len, .align = align, .bottom = bottom, .low = top, .end = top };
	bool found = false;

	while (g.low > bottom && !found) {
		pte_t *entry, above;
		unsigned level;

		preempt_disable();
		entry = pt_table_over(as, g.low - 1, 1, &level, &above);
		found = gap_in_table(&g, entry, level);
		preempt_enable();
	}
	if (found)
		g.low = g.va + len;
	gap_passed(&g);
	*largest = g.largest;
	return g.va;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Eight slots from i on, at once. */
static inline bool eight_are_empty(const pte_t *entry, u64 i)
{
	const pte_t *e = &entry[i];

	return !(e[0].v | e[1].v | e[2].v | e[3].v | e[4].v | e[5].v | e[6].v | e[7].v);
}

u64 pt_search_used(struct pt_used *u)
{
	for (;;) {
		if (u->low % 8 || !eight_are_empty(u->entry, u->low)) {
			if (!pte_is_none(pte_load(&u->entry[u->low])))
				return u->low++;
			u->low++;
		} else {
			u->low += 8;
		}
		if (u->high % 8 || !eight_are_empty(u->entry, u->high - 8)) {
			if (!pte_is_none(pte_load(&u->entry[u->high - 1])))
				return --u->high;
			u->high--;
		} else {
			u->high -= 8;
		}
		kassert(u->low < u->high);
	}
}

static void destroy_slot(struct pt_op *op, struct frame *table, unsigned i, pte_t e)
{
	if (!slot_has_frame(e)) {
		drop_mark(op, e);
		return;
	}
	if (e.v & VM_SIDE)
		drop_mark(op, table->side->mark[i]);
	if (unlikely(table->level > 1))
		large_put(pfn_frame(slot_pfn(e)));
	else if (!pfn_is_zero_page(slot_pfn(e)))
		frame_put(pfn_frame(slot_pfn(e)));
}

static void destroy_table(struct pt_op *op, struct frame *table)
{
	struct pt_used used = pt_used_of(table);
	unsigned level = table->level;

	for (unsigned left = table->used; left > 0; left--) {
		u64 i = pt_next_used(&used);
		pte_t e = pte_load(&used.entry[i]);

		if (!pte_is_table(e, level))
			destroy_slot(op, table, (unsigned)i, e);
		else if (pt_unref_table(pte_table(e, level)))
			destroy_table(op, pte_table(e, level));
	}
	mmu_check_unreachable(frame_pfn(table));
	pt_free_table(table);
}

void pt_destroy(struct aspace *as)
{
	__attribute__((uninitialized)) struct pt_op op;

	pt_op_init(&op, PT_UNMAP);
	destroy_table(&op, as->root_frame);
	drop_flush(&op);
	mapping_destroy_all(op.dead);
}

void pt_put_table(struct frame *t, struct vm_mapping **dead)
{
	__attribute__((uninitialized)) struct pt_op op;

	if (!pt_unref_table(t))
		return;
	pt_op_init(&op, PT_UNMAP);
	op.dead = *dead;
	destroy_table(&op, t);
	drop_flush(&op);
	*dead = op.dead;
}

u64 pt_count_tables(struct aspace *as)
{
	u64 n = 0;

	for (unsigned level = PT_LEVELS; level > 1; level--)
		for (u64 va = 0; va < PT_USER_ROOT_SLOTS * pt_span(PT_LEVELS);) {
			pte_t *entry;

			preempt_disable(); /* for one table: there may be many */
			va = pt_next_table(as, va, level, &entry);
			n += entry != NULL;
			for (unsigned i = 0; entry && level == 2 && i < PT_ENTRIES; i++)
				n += pte_is_table(pte_load(&entry[i]), level);
			preempt_enable();
		}
	return n;
}
