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
 * The parent's locks (its root, then each upper table on the way) are given up after some tables of level
 * 1, so that whoever waits for the CPU may have it, and the walk goes on where it was. Where others may
 * change the space meanwhile the fork has a claim on all of it (mm/claim.c): another thread sees all of the
 * fork or nothing. What it goes on writing without a fault is what the child gets later: a write to what the
 * child has already takes a fault, and waits. Where there is nobody else (aspace_fork_alone) faults from outside may
 * come between, which the fork may come before or after.
 */
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "mm/claim.h"
#include "mm/large.h"
#include "mm/pt.h"

/* The used slots of one of the parent's tables, in no order: `left` of them are still to be done. */
struct walk {
	struct pt_used used;
	unsigned left;
	u64 at; /* behind a pause: the slot in which it was */
};

struct fork {
	struct pt_cursor c; /* the parent */
	bool flush;         /* a right to write went */
	bool resuming;      /* on the way down to where the pause was */
	u32 budget;         /* entries of level 2 until the locks are given up */
	struct walk walk[PT_LEVELS + 1];
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

static int fork_table(struct fork *f, struct frame *table, struct frame *copy);

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
 * The child's entry for a table of the parent, at *slot; `begun`: the child's, if it has one from
 * before a pause. *out is PTE_NONE if the child gets nothing of it. -ENOMEM
 * or FORK_PAUSE: what it points to is filled in part.
 */
static int fork_below(struct fork *f, struct frame *table, pte_t *slot, pte_t begun, pte_t *out)
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
			err = fork_table(f, t, copy);
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

static struct walk walk_start(const struct fork *f, const struct frame *table)
{
	if (unlikely(f->resuming))
		return f->walk[table->level];
	return (struct walk){ .used = pt_used_of(table), .left = table->used };
}

/* A table of level 2, whose entries are many: little is done for each. */
static int fork_level2(struct fork *f, struct frame *table, struct frame *copy)
{
	pte_t *from = frame_virt(table), *to = frame_virt(copy);
	struct walk w = walk_start(f, table);
	u32 budget = f->budget, skipped = 0;
	int err = 0;

	f->resuming = false;
	for (; w.left > 0 && !err; w.left--) {
		if (unlikely(budget == 0)) {
			f->walk[2] = w;
			err = FORK_PAUSE;
			break;
		}
		budget--;
		u64 i = pt_next_used(&w.used);
		pte_t e = pte_load(&from[i]);

		if (likely(pte_is_table(e, 2))) {
			struct frame *t = pte_table(e, 2);

			e = pt_share(&from[i], e, &f->flush);
			if (unlikely(t->state & TABLE_FORK) && !pte_is_none(e))
				err = fork_below(f, table, &from[i], PTE_NONE, &e);
		} else if (slot_has_frame(e)) {
			e = fork_large(f, &from[i], e);
		} else if (e.v & VM_DONTFORK) {
			e = PTE_NONE;
		} else if (mark_has_mapping(e)) {
			mapping_get(mark_mapping(e), 1);
		}
		if (unlikely(pte_is_none(e)))
			skipped++;
		pte_store(&to[i], e);
	}
	copy->used = (u16)(copy->used + (f->budget - budget) - skipped);
	f->budget = budget;
	return err;
}

/* Fills `copy`, an upper table of the child, from the parent's. -ENOMEM, FORK_PAUSE: in part. */
static int fork_table(struct fork *f, struct frame *table, struct frame *copy)
{
	pte_t *from = frame_virt(table), *to = frame_virt(copy);
	bool again = f->resuming;
	struct walk w;
	int err = 0;

	if (table->level == 2)
		return fork_level2(f, table, copy);
	w = walk_start(f, table);
	for (; w.left > 0 && !err; w.left--, again = false) {
		u64 i = again ? w.at : pt_next_used(&w.used);
		pte_t e = pte_load(&from[i]), begun = again ? pte_load(&to[i]) : PTE_NONE;

		if (pte_is_table(e, table->level)) {
			err = fork_below(f, table, &from[i], begun, &e);
		} else if (e.v & VM_DONTFORK) {
			continue;
		} else if (mark_has_mapping(e)) {
			mapping_get(mark_mapping(e), 1);
		}
		if (unlikely(err == FORK_PAUSE)) {
			w.at = i;
			f->walk[table->level] = w;
		}
		if (pte_is_none(e))
			continue;
		pte_store(&to[i], e);
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
	pt_lock(&f->c, parent, 0, USER_TOP - 1, PT_LEVELS);
	err = fork_table(f, f->c.table, child->root_frame);
	if (f->flush)
		tlb_flush_space(parent);
	else
		tlb_note_avoided();
	pt_unlock(&f->c);
	return err;
}

static int fork_space(struct aspace *parent, struct aspace **child)
{
	__attribute__((uninitialized)) struct fork f;
	struct aspace *as = aspace_create();
	int err;

	if (!as)
		return -ENOMEM;
	f.resuming = false;
	do {
		f.budget = FORK_PIECE;
		err = fork_piece(&f, parent, as);
		f.resuming = true;
	} while (err == FORK_PAUSE);
	aspace_copy_limits(as, parent);
	if (!err && READ_ONCE(parent->locked)) /* a child inherits no locks: mlock(2) */
		err = vm_forget_locks(as);
	if (err) {
		aspace_put(as);
		return err;
	}
	*child = as;
	return 0;
}

int aspace_fork(struct aspace *parent, struct aspace **child)
{
	struct vm_limits limits;
	int err;

	vm_limits_take(parent, &limits); /* the break stays where it is, too */
	claim_begin(parent, 0, USER_TOP);
	err = fork_space(parent, child);
	claim_end(parent);
	vm_limits_drop(&limits);
	return err;
}

int aspace_fork_alone(struct aspace *parent, struct aspace **child)
{
	bool shared = refcount_read(&parent->refs) > 1; /* with a child of vfork */

	return shared ? aspace_fork(parent, child) : fork_space(parent, child);
}
