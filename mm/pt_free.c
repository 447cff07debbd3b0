/*
 * The end of page tables.
 *
 * Who walks down a tree without locks (mm/pt.h) may still read a table that was just taken out, and
 * lock it, to find that the slot above has changed. With one CPU nobody can be at that: such walks
 * have preemption off. With several the table keeps its memory, its type and its lock word until
 * a grace period is over.
 *
 * A CPU collects tables in a list through frame.owner, which is free: a late walker only locks and
 * unlocks. One callback a grace period serves the whole list, a table a call.
 */
#include "arch/api/cpu.h"
#include "mm/pt.h"
#include "sync/rcu.h"

struct table_end {
	struct rcu_head head;
	struct frame *next;    /* those that come after */
	struct frame *waiting; /* those that head is for */
};
static DEFINE_PER_CPU(struct table_end, table_end); /* [o] interrupts off */

static void free_now(struct frame *table)
{
	/* The upper half of a root is the kernel's, and not counted. */
	if (table->used == 0 && table->level != PT_LEVELS)
		frame_put_zeroed(table);
	else
		frame_put(table);
}

static void begin(struct table_end *t);

static void period_over(struct rcu_head *head)
{
	struct table_end *t = container_of(head, struct table_end, head);
	struct frame *f = t->waiting;

	t->waiting = (struct frame *)f->owner;
	free_now(f);
	if (t->waiting)
		rcu_go_on(head);
	else if (t->next)
		begin(t);
}

static void begin(struct table_end *t)
{
	t->waiting = t->next;
	t->next = NULL;
	call_rcu(&t->head, period_over);
}

void pt_free_table(struct frame *table)
{
	pt_free_side(table->side);
	table->side = NULL;
	if (likely(nr_cpus == 1)) {
		free_now(table);
		return;
	}
	u64 flags = irq_save();
	struct table_end *t = this_cpu_ptr(&table_end);

	table->owner = (u64)t->next;
	t->next = table;
	if (!t->waiting)
		begin(t);
	irq_restore(flags);
}

void pt_free_wait(void)
{
	if (nr_cpus == 1)
		return;
	rcu_barrier();
	rcu_barrier(); /* the list that the first period's end has passed on */
}
