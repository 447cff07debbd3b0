/*
 * The child's copy of an address space.
 *
 * The upper tables of the parent are copied: marks as they are, one entry for 1 GiB; the tables of
 * level 1 are shared (mm/share.c), one entry for 2 MiB, whatever is below. Only a table in which
 * something was excepted from fork (MADV_DONTFORK, MADV_WIPEONFORK) is copied for the child. Large
 * pages are entries of level 2: their block gets one count more, and both lose PTE_WRITE. One
 * flush of the parent at the end makes the lost rights to write true.
 *
 * The child's tables are built apart, each filled before the entry above it is written: the child
 * runs nowhere yet, so nobody needs its locks. When memory runs out the half-built child is torn
 * down; the parent keeps tables that it shares with nobody, which is invisible.
 *
 * The parent is locked as a whole (its root, then each upper table on the way): another thread of
 * it sees all of the fork or nothing. Where there is no other thread (aspace_fork_alone) the locks are
 * given up after some tables of level 1, so that whoever waits for the CPU may have it, and the walk goes
 * on where it was: nobody can have changed the space meanwhile but by faults in it, which fork may come
 * before or after.
 */
#include "lib/err.h"
#include "mm/large.h"
#include "mm/pt.h"

struct fork {
	struct pt_cursor c; /* the parent */
	bool flush;         /* a right to write went */
	u64 next;           /* what lies before is done */
	u32 budget;         /* entries of level 2 until the locks are given up */
};

/* Entries of level 2 between two chances to be preempted: some 70 instructions each, twice that in the first fork. */
#define FORK_PIECE 128u

/* The budget is spent: not an error, but as one it leads out of all the loops. */
#define FORK_PAUSE 1

static struct frame *new_table(const struct frame *like)
{
	struct frame *t = frame_alloc(FRAME_TABLE, FRAME_ZERO | FRAME_ATOMIC);

	if (!t)
		return NULL;
	table_init(t, like->level);
	if (like->side) {
		t->side = pt_alloc_side();
		if (!t->side) {
			frame_put(t);
			return NULL;
		}
	}
	return t;
}

static int fork_table(struct fork *f, struct frame *table, struct frame *copy, u64 va);

/* A table of level 1, shared already, so that its content stands still: the child's own copy. */
static struct frame *fork_copied(struct frame *t)
{
	struct frame *copy = new_table(t);

	if (copy)
		pt_copy_table(t, copy, true);
	pt_unref_table(t); /* the parent's reference is left */
	return copy;
}

/*
 * The child's entry for a table of the parent, at *slot, for the memory from va on; `begun`: the
 * child's, if it has one from before a pause. *out is PTE_NONE if the child gets nothing of it. -ENOMEM
 * or FORK_PAUSE: what it points to is filled in part.
 */
static int fork_below(struct fork *f, struct frame *table, pte_t *slot, pte_t begun, u64 va,
		      pte_t *out)
{
	struct frame *t = pte_table(pte_load(slot), table->level), *copy;
	int err = 0;

	*out = PTE_NONE;
	if (table->level == 2) {
		copy = fork_copied(t);
	} else {
		pt_lock_table(&f->c, t);
		copy = pte_is_none(begun) ? new_table(t) : pte_table(begun, table->level);
		if (copy)
			err = fork_table(f, t, copy, va);
	}
	if (!copy)
		return -ENOMEM;
	if (copy->used)
		*out = pte_make(frame_pa(copy), PTE_TABLE);
	else
		pt_free_table(copy);
	return err;
}

/* The child's entry for a large page of the parent's, which from now on nobody may write as it is. */
static pte_t fork_large(struct fork *f, pte_t *slot, pte_t e)
{
	if (e.v & VM_DONTFORK)
		return PTE_NONE;
	if (e.v & VM_WIPE)
		return mark_anon(e.v & VM_BITS);
	large_get(pfn_frame(slot_pfn(e)));
	if (pte_is_present(e) && (e.v & PTE_WRITE)) {
		e = pte_clear_bits(slot, PTE_WRITE);
		f->flush = true;
		e.v &= ~PTE_WRITE;
	}
	return e;
}

/*
 * The used slots of a parent's table from f->next on, in order. Of a table with few they are found from
 * both ends first (pt_used), and sorted: what a small process has lies near the ends of its upper tables.
 * Behind a pause the table may have other slots than before: all are looked at.
 */
#define WALK_FEW 8u

struct walk {
	u64 i; /* this one */
	unsigned left;
	bool resumed;
	u8 next;
	u16 few[WALK_FEW];
};

static void walk_collect(struct walk *w, const struct frame *table)
{
	struct pt_used used = pt_used_of(table);

	for (unsigned n = 0; n < w->left; n++) {
		u16 i = (u16)pt_next_used(&used);
		unsigned at = n;

		for (; at > 0 && w->few[at - 1] > i; at--)
			w->few[at] = w->few[at - 1];
		w->few[at] = i;
	}
}

static void walk_start(struct walk *w, const struct fork *f, const struct frame *table, u64 va)
{
	w->resumed = f->next > va;
	w->i = w->resumed ? pt_index(f->next, table->level) : 0;
	w->left = w->resumed ? PT_ENTRIES : table->used;
	w->next = 0;
	if (w->left <= WALK_FEW)
		walk_collect(w, table);
	else
		w->next = WALK_FEW;
}

/* Moves on to the next one; false: there is none. */
static inline bool walk_next(struct walk *w, const pte_t *entry, unsigned level)
{
	unsigned end = level == PT_LEVELS ? PT_USER_ROOT_SLOTS : PT_ENTRIES;

	if (w->left == 0)
		return false;
	w->left--;
	if (w->next < WALK_FEW) {
		w->i = w->few[w->next++];
		return true;
	}
	while (w->i < end && pte_is_none(pte_load(&entry[w->i])))
		w->i++;
	return w->i < end;
}

/* A table of level 2, whose entries are many: little is done for each. */
static int fork_level2(struct fork *f, struct frame *table, struct frame *copy, u64 va)
{
	pte_t *from = frame_virt(table), *to = frame_virt(copy);
	__attribute__((uninitialized)) struct walk w;
	u32 budget = f->budget, skipped = 0;
	int err = 0;

	walk_start(&w, f, table, va);
	for (; !err && walk_next(&w, from, 2); w.i++) {
		pte_t e = pte_load(&from[w.i]);

		if (unlikely(budget == 0)) {
			f->next = va + (w.i << pt_shift(2));
			err = FORK_PAUSE;
			break;
		}
		budget--;
		if (likely(pte_is_table(e, 2))) {
			struct frame *t = pte_table(e, 2);

			e = pt_share(&from[w.i], e, &f->flush);
			if (unlikely(t->state & TABLE_FORK) && !pte_is_none(e))
				err = fork_below(f, table, &from[w.i], PTE_NONE, 0, &e);
		} else if (slot_has_frame(e)) {
			e = fork_large(f, &from[w.i], e);
		} else if (e.v & VM_DONTFORK) {
			e = PTE_NONE;
		} else if (mark_has_mapping(e)) {
			mapping_get(mark_mapping(e), 1);
		}
		if (unlikely(pte_is_none(e)))
			skipped++;
		pte_store(&to[w.i], e);
	}
	copy->used = (u16)(copy->used + (f->budget - budget) - skipped);
	f->budget = budget;
	return err;
}

/* Fills `copy`, an upper table of the child, from the parent's, at va. -ENOMEM, FORK_PAUSE: in part. */
static int fork_table(struct fork *f, struct frame *table, struct frame *copy, u64 va)
{
	pte_t *from = frame_virt(table), *to = frame_virt(copy);
	__attribute__((uninitialized)) struct walk w;
	int err = 0;

	if (table->level == 2)
		return fork_level2(f, table, copy, va);
	walk_start(&w, f, table, va);
	for (; !err && walk_next(&w, from, table->level); w.i++) {
		pte_t e = pte_load(&from[w.i]), begun = pte_load(&to[w.i]);

		if (pte_is_table(e, table->level)) {
			err = fork_below(f, table, &from[w.i], begun,
					 va + (w.i << pt_shift(table->level)), &e);
		} else if (e.v & VM_DONTFORK) {
			continue;
		} else if (mark_has_mapping(e)) {
			mapping_get(mark_mapping(e), 1);
		}
		if (pte_is_none(e))
			continue;
		pte_store(&to[w.i], e);
		if (pte_is_none(begun))
			copy->used++;
	}
	return err;
}

/* One stretch under the parent's locks. 0: all is done; FORK_PAUSE, -ENOMEM. */
static int fork_piece(struct fork *f, struct aspace *parent, struct aspace *child)
{
	int err;

	f->flush = false;
	pt_lock(&f->c, parent, 0, 0, PT_LEVELS);
	err = fork_table(f, f->c.table, child->root_frame, 0);
	if (f->flush)
		tlb_flush_space(parent);
	else
		tlb_note_avoided();
	pt_unlock(&f->c);
	return err;
}

static int fork_space(struct aspace *parent, u32 budget, struct aspace **child)
{
	struct fork f = { .next = 0 };
	struct aspace *as = aspace_create();
	int err;

	if (!as)
		return -ENOMEM;
	do {
		f.budget = budget;
		err = fork_piece(&f, parent, as);
	} while (err == FORK_PAUSE);
	aspace_copy_limits(as, parent);
	if (!err && READ_ONCE(parent->locked)) /* a child inherits no locks: mlock(2) */
		err = vm_munlockall(as);
	if (err) {
		aspace_put(as);
		return err;
	}
	*child = as;
	return 0;
}

int aspace_fork(struct aspace *parent, struct aspace **child)
{
	return fork_space(parent, UINT32_MAX, child);
}

int aspace_fork_alone(struct aspace *parent, struct aspace **child)
{
	bool shared = refcount_read(&parent->refs) > 1; /* with a child of vfork */

	return fork_space(parent, shared ? UINT32_MAX : FORK_PIECE, child);
}
