/*
 * Programs' page tables: locking, walking, and the operations on ranges of which the mmap family is
 * made. The marks in the slots are described in mm/mark.h, the theory in docs/memory.md.
 *
 * Ownership. A table owns what its slots name: a present leaf and a held frame own one reference
 * of the frame (the shared zero page is not counted), a mark and a side mark own one of the
 * mapping, an entry that points to a table owns one of the table (frame.refs). Whoever takes a
 * name out of a slot takes over its reference.
 *
 * Locks. Each table has a lock (struct frame.lock). An operation on [start, end) locks the lowest
 * table that covers the range, then tables below it as it comes to them, each before it reads the
 * table's entries, and keeps all until it is done. Since nobody locks a table without holding its
 * parent's lock, except as his first, and then only goes down, there is no cycle. An entry ceases to
 * name a table as this space's own only under that table's lock: who came down without locks looks
 * at the entry again when he has the lock, and starts anew from the root if it has changed. The
 * first walk down takes no locks, with preemption off; a table removed is not freed while such a
 * walk may be on: with several CPUs pt_free_table waits for a grace period.
 *
 * Sharing. After a fork a table of level 1 may have several owners, entries of level 2 in several
 * spaces, all without PTE_WRITE. It is locked by nobody and written by nobody; each space reads it
 * under the lock of its own table of level 2. mm/share.c tells how it becomes one's own again.
 *
 * Under these locks nothing sleeps: memory comes with FRAME_ATOMIC, the pages of files are fetched
 * before, and what is given up waits in the operation until the locks are dropped.
 */
#pragma once

#include "arch/api/cpu.h"
#include "arch/api/mmu.h"
#include "mm/mark.h"
#include "mm/space.h"
#include "mm/tlb.h"
#include "sync/lockstat.h"

/* Where user space ends, in slots of the root. */
#define PT_USER_ROOT_SLOTS 256u

struct pt_cursor {
	struct aspace *as;
	struct frame *table;        /* the table at hand, locked */
	pte_t *entry;               /* its entries */
	unsigned level;             /* its level */
	struct frame *locked;       /* all tables locked by this cursor, through frame.owner */
	struct frame *spare;        /* cleared tables to come, through frame.owner */
	struct vm_side *spare_side; /* and side arrays, through their first words */
	unsigned want_sides;        /* that pt_spare is to get */
};

/* frame.state of a table. */
#define TABLE_STALE 1u /* taken out of its tree: nobody may lock it from above any more */
#define TABLE_COPIED                                                                               \
	2u /* while shared, a copy was made: leaves with PTE_WRITE may not be ours alone */
#define TABLE_FORK 4u /* slots with VM_FORK may be in it: fork copies it */

static inline struct frame *pte_table(pte_t e, unsigned level)
{
	return pfn_frame(pte_pfn(e)); /* never a large leaf, so the level does not matter */
}

/* Given that e points to a table: may other spaces name that too? Only tables of level 1. */
static inline bool pte_is_shared(pte_t e)
{
	return !(e.v & PTE_WRITE);
}

/*
 * Does e point to a table of this space alone? Then it says PTE_TABLE and the address, nothing else, and
 * *entries are the table's. Not for entries of level 1.
 */
static inline bool pte_own_table(pte_t e, pte_t **entries)
{
	u64 page = e.v - PTE_TABLE + DIRECT_MAP;

	*entries = (pte_t *)page;
	return IS_ALIGNED(page, PAGE_SIZE);
}

/* Does e point to that table, which is nobody else's? */
static inline bool pte_points_to(pte_t e, const pte_t *entries)
{
	return e.v == (u64)entries - DIRECT_MAP + PTE_TABLE;
}

static inline void table_init(struct frame *t, unsigned level)
{
	t->side = NULL;
	t->lock = (struct spin_word){ 0 };
	t->used = 0;
	t->level = (u8)level;
	t->state = 0;
	t->flags = 0;
}

/*
 * The spin lock in struct frame.lock. frame.flags tells the holding cursor's CPU + 1: preemption is off while
 * it holds, so the CPU names it.
 */
static inline void table_lock_bare(struct frame *t)
{
	if (unlikely(!spin_word_try(&t->lock)))
		call_keeping2(spin_wait, &t->lock, NULL);
	lock_count_acquired(LOCK_PT);
}

static inline void table_lock(struct frame *t)
{
	table_lock_bare(t);
	WRITE_ONCE(t->flags, (u16)(cpu_id() + 1));
}

static inline void table_unlock(struct frame *t)
{
	WRITE_ONCE(t->flags, 0);
	spin_word_release(&t->lock);
}

static inline void cursor_keep(struct pt_cursor *c, struct frame *table)
{
	table->owner = (u64)c->locked;
	c->locked = table;
}

/*
 * The slots of a table that are not empty, each once, in no order; the caller knows how many there are.
 * What is used is mostly near one end of the table: the search goes on from both.
 */
struct pt_used {
	const pte_t *entry;
	u64 low, high; /* [low, high) is not looked at yet */
};

static inline struct pt_used pt_used_of(const struct frame *table)
{
	return (struct pt_used){
		.entry = frame_virt(table),
		.high = table->level == PT_LEVELS ? PT_USER_ROOT_SLOTS : PT_ENTRIES,
	};
}

u64 pt_search_used(struct pt_used *u);
static inline u64 pt_next_used(struct pt_used *u)
{
	return likely(!pte_is_none(pte_load(&u->entry[u->low]))) ? u->low++ : pt_search_used(u);
}

/*
 * Locks the lowest table, of at least min_level, that covers start ... last; where that is just
 * what one entry covers, the table of the entry, which may then be replaced; and never a shared
 * one, but the table of level 2 above. Preemption is off until pt_unlock. `used` counts a table's
 * slots that are not zero. Waits where another thread has a claim on the range (mm/claim.h), so may sleep.
 */
void pt_lock(struct pt_cursor *c, struct aspace *as, u64 start, u64 last, unsigned min_level);
void pt_lock_page(struct pt_cursor *c, struct aspace *as, u64 va); /* (c, as, va, va, 1) */
/* The same for who only looks, or reads and writes what is there as a program would: no claim concerns him. */
void pt_lock_read(struct pt_cursor *c, struct aspace *as, u64 va);
/* Drops all locks; frees spare tables that were not used. */
void pt_unlock(struct pt_cursor *c);

/* Locks a table below one that the cursor holds, unless it holds it already. */
void pt_lock_table(struct pt_cursor *c, struct frame *table);

/* Adds n cleared tables to the spare ones, and c->want_sides side arrays. -ENOMEM: pt_unlock
 * frees what was added. */
int pt_spare(struct pt_cursor *c, unsigned n);
/* Frees what is left of them: of a cursor that serves for nothing else. */
void pt_free_spare(struct pt_cursor *c);

/*
 * Puts a spare table in the place of the slot of `table` for va (any address in it): of an empty one, a mark or a large page (mm/large.h), whose 512 parts say what it said. Returns the
 * table, locked.
 */
struct frame *pt_split(struct pt_cursor *c, struct frame *table, u64 va);

/* Moves the cursor's table down to this level for va, splitting. The spare tables must suffice. */
void pt_descend_to(struct pt_cursor *c, u64 va, unsigned level);
static inline void pt_descend(struct pt_cursor *c, u64 va)
{
	if (unlikely(c->level > 1))
		pt_descend_to(c, va, 1);
}

/* A cleared side array for a table (struct frame.side). NULL: out of memory. */
struct vm_side *pt_alloc_side(void);
void pt_free_side(struct vm_side *side); /* may be NULL */

/* Frees a table that is out of every tree, with its side array: mm/pt_free.c. */
void pt_free_table(struct frame *table);
/* Waits until every table given up before is free: for those who count frames. Sleeps. */
void pt_free_wait(void);

/* ---- shared tables: mm/share.c --------------------------------------------------------------- */

/* Moves a cursor to a shared table below its table's slot for va, if there is one: for readers. It
 * is not locked, but does not change while the cursor has the lock above. */
static inline void pt_peek_shared(struct pt_cursor *c, u64 va)
{
	pte_t e;

	if (likely(c->level != 2))
		return;
	e = pte_load(&c->entry[pt_index(va, 2)]);
	if (!pte_is_table(e, 2) || !pte_is_shared(e))
		return;
	c->table = pte_table(e, 2);
	c->entry = frame_virt(c->table);
	c->level = 1;
}

/* One more owner of the table that *slot, which says e, points to: the result is the other space's entry.
 * PTE_NONE if the table is empty. *flush: the slot lost PTE_WRITE, its space has to be flushed. */
pte_t pt_share_first(pte_t *slot, bool *flush);
static inline pte_t pt_share(pte_t *slot, pte_t e, bool *flush)
{
	if (!pte_is_shared(e))
		return pt_share_first(slot, flush);
	frame_get(pte_table(e, 2));
	return e;
}

/*
 * Makes the shared table of slot i of `table` (level 2, locked) this space's own: a copy, or taken
 * back by its last owner. It is returned locked; a copy must not change, and the cursor's locks
 * must not go, before g was flushed. Needs what pt_unshare_needs says. Never fails.
 */
struct frame *pt_unshare(struct pt_cursor *c, struct tlb_gather *g, struct frame *table, unsigned i,
			 u64 va);
/* The spare tables (0 or 1) for that; adds to c->want_sides. */
unsigned pt_unshare_needs(struct pt_cursor *c, const struct frame *shared);

/* A copy of t, which is shared or frozen, for the same space or (fork: VM_FORK counts) for a child.
 * `copy` is empty, and has a side array if t has one. */
void pt_copy_table(struct frame *t, struct frame *copy, bool fork);

/* Gives up one of the references of a table. True: it was the last; the caller takes it apart. */
static inline bool pt_unref_table(struct frame *t)
{
	if (atomic_load_acquire(&t->refs) == 1)
		return true;
	if (likely(atomic_fetch_sub(&t->refs, 1u) != 1))
		return false;
	atomic_store(&t->refs, 1u);
	return true;
}

/* ---- operations on ranges -------------------------------------------------------------------- */

enum pt_op_kind {
	PT_MAP,      /* every slot becomes `mark`; what was there goes */
	PT_UNMAP,    /* every slot becomes empty */
	PT_PROTECT,  /* protection becomes `bits`; stops at a hole */
	PT_DONTNEED, /* contents go, mappings stay */
	PT_FLAGS,    /* VM_FLAGS `set` are set, `clear` are cleared */
};

struct pt_op {
	struct pt_cursor c;
	enum pt_op_kind kind;
	pte_t mark;            /* MAP */
	u64 bits;              /* PROTECT: VM_PROT */
	struct vm_object *obj; /* DONTNEED: only pages first ... last of this one, or NULL */
	union {
		struct {
			u64 set, clear; /* FLAGS */
		};
		struct {
			u64 first, last; /* DONTNEED of obj */
		};
	};
	bool noreplace; /* MAP: -EEXIST if something is there */
	bool piece;     /* of something larger: what becomes empty will not be filled again */
	bool cows;      /* DONTNEED of obj: also private copies of its pages */
	bool holes;     /* out: DONTNEED, FLAGS met a hole */
	bool shared;    /* pt_op_missing found shared tables or partial marks in the way */
	struct vm_mapping *drop; /* the mapping of which drop_n references go */
	u64 drop_n;
	struct vm_mapping *dead;
	u64 map_n; /* slots that name mark's mapping now */
	struct tlb_gather tlb;
};

/*
 * Runs op on [start, end), page aligned, inside user space, not empty. The caller fills kind and
 * its arguments and calls pt_op_init before. 0; -ENOMEM, -EEXIST: nothing has changed. PT_PROTECT:
 * -ENOMEM at a hole, -EACCES where a mapping may never be written: what lies before has changed.
 */
static inline void pt_op_init(struct pt_op *op, enum pt_op_kind kind)
{
	op->kind = kind;
	op->mark = PTE_NONE;
	op->bits = 0;
	op->set = op->clear = 0;
	op->noreplace = false;
	op->piece = false;
	op->holes = false;
	op->obj = NULL;
	op->shared = false;
	op->tlb.dead = &op->dead;
	op->drop = NULL;
	op->drop_n = 0;
	op->dead = NULL;
	op->map_n = 0;
}
int pt_op_run(struct pt_op *op, struct aspace *as, u64 start, u64 end);

/*
 * The same in pieces, with preemption between them, for what is larger than PT_PIECE: all but MAP. With a claim on
 * the range, the caller's or its own. -ENOMEM: nothing has changed but, invisibly, splits and copies of shared
 * tables. mm/piece.c
 */
#define PT_PIECE MiB
int pt_op_pieces(struct pt_op *op, struct aspace *as, u64 start, u64 end);
/* Is so little there, as far as can be seen without locks, that one step will do? */
bool pt_is_one_piece(struct aspace *as, u64 start, u64 end, enum pt_op_kind kind);
/*
 * For who must not fail later: tables for both edges of a range, to be freed by pt_free_spare; and op, MAP or UNMAP, with
 * those, of a range in which nothing is shared with it but at its edges.
 */
int pt_reserve(struct pt_cursor *reserve);
void pt_op_reserved(struct pt_op *op, struct aspace *as, u64 start, u64 end,
		    struct pt_cursor *reserve);
/* One or the other, by size. */
static inline int pt_op_large(struct pt_op *op, struct aspace *as, u64 start, u64 end)
{
	return end - start > PT_PIECE ? pt_op_pieces(op, as, start, end) :
					pt_op_run(op, as, start, end);
}
/*
 * What it makes before the first piece, for others that go in pieces, with a claim: splits at the range's edges;
 * copies of shared tables in all of it.
 */
int pt_split_edges(struct aspace *as, u64 start, u64 end, enum pt_op_kind kind);
int pt_own_all(struct aspace *as, u64 start, u64 end);

/*
 * The operations MAP, UNMAP and PROTECT as a whole: quick for untouched memory (MAP, UNMAP) and for
 * touched private memory in one table (PROTECT). With noreplace -EEXIST if something is there.
 */
int pt_map(struct aspace *as, u64 start, u64 end, pte_t mark, bool noreplace);
int pt_unmap(struct aspace *as, u64 start, u64 end);
int pt_protect(struct aspace *as, u64 start, u64 end, u64 bits);

/*
 * The pieces of pt_op_run, for operations that do more under one lock. All under the cursor's lock,
 * on ranges that its table covers.
 *
 * pt_op_missing: the tables to have in spare (pt_spare) for pt_op_range. pt_op_range: the commit;
 * only PT_PROTECT can fail. pt_op_unshare: for those who change slots by pt_visit, before that;
 * they count with the kind PT_PROTECT. The caller ends with tlb_gather_finish, pt_unlock and
 * mapping_destroy_all(op->dead); and if the cursor's own table has become empty, which is not the
 * root, with pt_prune.
 */
unsigned pt_op_missing(struct pt_op *op, u64 start, u64 end);
int pt_op_range(struct pt_op *op, u64 start, u64 end);
void pt_op_unshare(struct pt_op *op, u64 start, u64 end);
bool pt_range_is_empty(struct pt_cursor *c, u64 start, u64 end);

/* Takes empty tables out, from the one that covers va upward. Without locks held. */
void pt_prune(struct aspace *as, u64 va);
/* The same if va has a table of level 1 that is empty, as far as can be seen without locks. */
void pt_prune_kept(struct aspace *as, u64 va);

struct pt_slot {
	u64 va, size;
	pte_t e, mark; /* mark: of mark_of_slot, or 0 */
	unsigned level;
};

/* Calls fn for the slots of the range that are no tables, empty ones too, in order; fn finds the
 * slot in `table`, and may change it after pt_op_unshare. Stops at non-zero, which it returns. */
typedef int pt_visit_fn(const struct pt_slot *s, struct frame *table, void *arg);
int pt_visit(struct pt_cursor *c, u64 start, u64 end, pt_visit_fn *fn, void *arg);
/* The same by slots of level 2 and above: a table of level 1 is one (slot_is_table), locked if it is our own.
 * `table` is NULL if that is the cursor's. */
int pt_visit_tables(struct pt_cursor *c, u64 start, u64 end, pt_visit_fn *fn, void *arg);
static inline bool slot_is_table(const struct pt_slot *s)
{
	return s->level == 2 && pte_is_table(s->e, 2);
}

/* ---- readers without a lock of their own ----------------------------------------------------- */

/*
 * The entries of the lowest table that has va, but not below level `lowest`; its level, and the entry above it.
 * Preemption off: the table stays, what it says may change.
 */
pte_t *pt_table_over(struct aspace *as, u64 va, unsigned lowest, unsigned *level, pte_t *above);
/* The entries of the table of this level that has va, or NULL. Returns where the next one may be. Preemption off. */
u64 pt_next_table(struct aspace *as, u64 va, unsigned level, pte_t **entry);

/*
 * Calls fn for the slots of [start, end) that are no tables, empty ones too, in order, each with the lock of its table
 * held: fn must not sleep. Several in a row that have no frame and say the same count as one. Stops at non-zero, which
 * it returns.
 */
typedef int pt_scan_fn(const struct pt_slot *s, void *arg);
int pt_scan(struct aspace *as, u64 start, u64 end, pt_scan_fn *fn, void *arg);
/* The same for calls: each slot before or after what others have claimed it for. Waits for that, so may sleep. */
int pt_scan_settled(struct aspace *as, u64 start, u64 end, pt_scan_fn *fn, void *arg);

/*
 * The highest free range of len bytes, aligned, below top and not below bottom; 0: none. Without
 * locks: what was free may be taken by the time that the caller locks it. *largest: the largest
 * hole passed by, or left above the range.
 */
u64 pt_find_gap(struct aspace *as, u64 len, u64 align, u64 bottom, u64 top, u64 *largest);

/* Gives up everything of a space that nobody uses any more, the root too. */
void pt_destroy(struct aspace *as);
/* Drops a reference of a table that no CPU of this space reaches any more; the last takes all apart
 * that it names. Mappings that end go to *dead. */
void pt_put_table(struct frame *t, struct vm_mapping **dead);

/* Tables of the space, with the root. */
u64 pt_count_tables(struct aspace *as);

/* ---- mappings -------------------------------------------------------------------------------- */

struct vm_mapping *mapping_create(struct vm_object *obj, u64 va, u64 offset, bool nowrite);
static inline void mapping_get(struct vm_mapping *m, u64 n)
{
	atomic_fetch_add(&m->refs, n);
}
/* Drops n references; at zero destroys it, which may sleep. */
void mapping_put(struct vm_mapping *m, u64 n);
/* As mapping_put for callers that must not sleep: at zero m goes to the list *dead. */
void mapping_put_later(struct vm_mapping *m, u64 n, struct vm_mapping **dead);
void mapping_destroy_all(struct vm_mapping *dead);
/* mm/limit.c: they wait until the current thread has used its limits. False: it uses none. */
bool vm_limits_bury(struct vm_mapping *dead);

void pt_init(void);              /* boot */
extern struct frame *zero_frame; /* [I] the page of zeroes that read faults map */
extern pfn_t zero_pfn;           /* [I] its number */

static inline bool pfn_is_zero_page(pfn_t pfn)
{
	return pfn == zero_pfn;
}
