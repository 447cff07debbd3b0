/*
 * The child's copy of an address space.
 *
 * Today each table of the parent is copied for the child: marks as they are (one entry for 1 GiB),
 * frames shared and counted. Private frames lose the right to write on both sides; who writes first
 * gets a copy, who is left alone with the frame takes it back (mm/fault.c). One flush of the parent
 * at the end makes the lost rights true.
 *
 * The child's tables are built apart, each filled before the entry above it is written: the child
 * runs nowhere yet, so nobody needs its locks. When memory runs out the half-built child is torn
 * down; the parent keeps frames that it may write but must fault for once, which is invisible.
 *
 * The parent is locked as a whole (its root, then each table on the way): another thread of it sees
 * all of the fork or nothing.
 */
#include "arch/api/page.h"
#include "lib/err.h"
#include "lib/string.h"
#include "mm/pt.h"

struct fork {
	struct pt_cursor c; /* the parent */
	struct vm_mapping *get;
	u64 get_n;  /* references that the child's slots have of `get` */
	bool flush; /* a right to write went */
};

static void get_flush(struct fork *f)
{
	if (f->get_n)
		mapping_get(f->get, f->get_n);
	f->get_n = 0;
}

/* One more slot names the mapping of this mark. The parent's slot keeps it alive meanwhile. */
static inline void get_mark(struct fork *f, pte_t mark)
{
	if (!mark_has_mapping(mark))
		return;
	if (f->get != mark_mapping(mark)) {
		get_flush(f);
		f->get = mark_mapping(mark);
	}
	f->get_n++;
}

/* What the child's slot says; the parent's loses PTE_WRITE where the frame becomes shared. */
static inline pte_t fork_slot(struct fork *f, struct frame *table, struct frame *copy, unsigned i,
			      pte_t *slot, pte_t e)
{
	pte_t mark = mark_of_slot(e, table->side, i);
	pfn_t pfn;

	if (e.v & VM_SIDE)
		copy->side->mark[i] = table->side->mark[i];
	get_mark(f, mark);
	if (pte_is_present(e)) {
		pfn = pte_pfn(e);
		if ((e.v & PTE_WRITE) && mark_kind(mark) != MARK_SHARED) {
			e = pte_clear_bits(slot, PTE_WRITE);
			e.v &= ~PTE_WRITE;
			f->flush = true;
		}
	} else if (mark_kind(e) == MARK_HELD) {
		pfn = mark_pfn(e);
	} else {
		return e;
	}
	if (!pfn_is_zero_page(pfn))
		frame_get(pfn_frame(pfn));
	return e;
}

static struct frame *new_table(struct frame *like)
{
	struct frame *t = frame_alloc(FRAME_TABLE, FRAME_ZERO | FRAME_ATOMIC);

	if (!t)
		return NULL;
	t->side = NULL;
	t->lock = 0;
	t->used = 0;
	t->level = like->level;
	t->stale = 0;
	t->flags = 0;
	if (like->side) {
		t->side = pt_alloc_side();
		if (!t->side) {
			frame_put(t);
			return NULL;
		}
	}
	return t;
}

/* Fills `copy`, an empty table of the child, from the parent's. -ENOMEM: it is filled in part. */
static int fork_table(struct fork *f, struct frame *table, struct frame *copy)
{
	pte_t *from = frame_virt(table), *to = frame_virt(copy);
	unsigned n = table->level == PT_LEVELS ? PT_USER_ROOT_SLOTS : PT_ENTRIES;
	unsigned left = table->used;

	for (unsigned i = 0; i < n && left > 0; i++) {
		pte_t e = pte_load(&from[i]);

		if (pte_is_none(e))
			continue;
		left--;
		if (pte_is_table(e, table->level)) {
			struct frame *child = pte_table(e, table->level);
			struct frame *child_copy;
			int err;

			pt_lock_table(&f->c, child);
			child_copy = new_table(child);
			if (!child_copy)
				return -ENOMEM;
			pte_store(&to[i], pte_make(frame_pa(child_copy), PTE_TABLE));
			copy->used++;
			err = fork_table(f, child, child_copy);
			if (err)
				return err;
		} else {
			pte_store(&to[i], fork_slot(f, table, copy, i, &from[i], e));
			copy->used++;
		}
	}
	return 0;
}

int aspace_fork(struct aspace *parent, struct aspace **child)
{
	struct fork f = { .get = NULL };
	struct aspace *as = aspace_create();
	int err;

	if (!as)
		return -ENOMEM;
	pt_lock(&f.c, parent, 0, 0, PT_LEVELS);
	err = fork_table(&f, f.c.table, as->root_frame);
	get_flush(&f);
	if (f.flush)
		tlb_flush_space(parent);
	else
		tlb_note_avoided();
	pt_unlock(&f.c);
	if (err) {
		aspace_put(as);
		return err;
	}
	aspace_copy_limits(as, parent);
	*child = as;
	return 0;
}
