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
 * it sees all of the fork or nothing.
 */
#include "lib/err.h"
#include "mm/large.h"
#include "mm/pt.h"

struct fork {
	struct pt_cursor c; /* the parent */
	bool flush;         /* a right to write went */
};

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

/*
 * The child's entry for a table of the parent, at *slot; PTE_NONE if the child gets nothing of it.
 * -ENOMEM: what it points to is filled in part.
 */
static int fork_below(struct fork *f, struct frame *table, pte_t *slot, pte_t *out)
{
	struct frame *t = pte_table(pte_load(slot), table->level), *copy;
	int err = 0;

	*out = PTE_NONE;
	if (table->level == 2) { /* shared already, so that its content stands still */
		copy = new_table(t);
		if (copy)
			pt_copy_table(t, copy, true);
		pt_unref_table(t); /* the parent's reference is left */
	} else {
		pt_lock_table(&f->c, t);
		copy = new_table(t);
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

/* A table of level 2, whose entries are many: little is done for each. */
static int fork_level2(struct fork *f, struct frame *table, struct frame *copy)
{
	pte_t *from = frame_virt(table), *to = frame_virt(copy);
	struct pt_used used = pt_used_of(table);
	unsigned left = table->used, skipped = 0;
	int err = 0;

	for (; left > 0 && !err; left--) {
		u64 i = pt_next_used(&used);
		pte_t e = pte_load(&from[i]);

		if (likely(pte_is_table(e, 2))) {
			struct frame *t = pte_table(e, 2);

			e = pt_share(&from[i], e, &f->flush);
			if (unlikely(t->state & TABLE_FORK) && !pte_is_none(e))
				err = fork_below(f, table, &from[i], &e);
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
	copy->used = (u16)(table->used - left - skipped);
	return err;
}

/* Fills `copy`, an empty upper table of the child, from the parent's. -ENOMEM: in part. */
static int fork_table(struct fork *f, struct frame *table, struct frame *copy)
{
	pte_t *from = frame_virt(table), *to = frame_virt(copy);
	struct pt_used used = pt_used_of(table);
	int err = 0;

	if (table->level == 2)
		return fork_level2(f, table, copy);
	for (unsigned left = table->used; left > 0 && !err; left--) {
		u64 i = pt_next_used(&used);
		pte_t e = pte_load(&from[i]);

		if (pte_is_table(e, table->level)) {
			err = fork_below(f, table, &from[i], &e);
		} else if (e.v & VM_DONTFORK) {
			continue;
		} else if (mark_has_mapping(e)) {
			mapping_get(mark_mapping(e), 1);
		}
		if (pte_is_none(e))
			continue;
		pte_store(&to[i], e);
		copy->used++;
	}
	return err;
}

int aspace_fork(struct aspace *parent, struct aspace **child)
{
	struct fork f = { .flush = false };
	struct aspace *as = aspace_create();
	int err;

	if (!as)
		return -ENOMEM;
	pt_lock(&f.c, parent, 0, 0, PT_LEVELS);
	err = fork_table(&f, f.c.table, as->root_frame);
	if (f.flush)
		tlb_flush_space(parent);
	else
		tlb_note_avoided();
	pt_unlock(&f.c);
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
