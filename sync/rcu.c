/*
 * Grace periods by numbers.
 *
 *	rcu_period	the number of the last grace period begun, one word for all CPUs
 *	cpu.seen	what rcu_period was when the CPU was last seen between two readers
 *
 * A batch of callbacks begins a period: it raises rcu_period (a full barrier) and remembers the
 * number as its target. It is over when each CPU has seen the target. That is all: periods of
 * several CPUs overlap, and nobody coordinates them.
 *
 *	remover			unlink; ...; target = ++rcu_period; all seen >= target?; free
 *	reader's CPU		read, read; seen = rcu_period; read, read
 *
 * A CPU that has seen the target read it behind the barrier, hence behind the unlinking: what it
 * reads from then on does not find the object. What it read before was read before the store to
 * `seen` (release), which the remover has read (acquire): it is done with it.
 *
 * Who is between two readers? Readers have preemption off. So every interrupt that finds the
 * preemption count at its own one has found such a moment: the tick, and the message that is
 * sent to those who are waited for. The switch of threads and the way to user mode need to
 * tell nothing, and cost nothing. A CPU that idles is woken by the message; one that stays in a
 * reader for long holds everybody's memory up, and nothing else.
 *
 * What is due is called a few at a time: interrupts are off meanwhile, and a batch may be of any length.
 */
#include "sync/rcu.h"

#include "arch/api/cpu.h"
#include "lib/atomic.h"

struct rcu_list {
	struct rcu_head *first, **end;
};

/* Callbacks in one poll, some 700 instructions each: too many keep interrupts off for long, too few cost interrupts. */
#define AT_ONCE 24u

struct rcu_cpu {
	u64 seen;                           /* [a] written by the CPU alone */
	struct rcu_list next, waiting, due; /* [o] interrupts off */
	u64 target;                         /* [o] of `waiting` */
	u64 moments;                        /* [o] times that it was seen so */
	u64 queued, done, periods;          /* [o] */
};

static DEFINE_PER_CPU_SHARED(struct rcu_cpu, rcu_cpu);
/* Alone on its cache line. */
static struct {
	u64 now;
} __attribute__((aligned(64))) rcu_period = { 1 };
void (*rcu_begin_hook)(void);

static void list_append(struct rcu_list *l, struct rcu_head *h)
{
	if (!l->first)
		l->end = &l->first;
	h->next = NULL;
	*l->end = h;
	l->end = &h->next;
}

/* All of `from`, behind what is in l. */
static void list_move(struct rcu_list *l, struct rcu_list *from)
{
	if (!from->first)
		return;
	if (!l->first)
		l->end = &l->first;
	*l->end = from->first;
	l->end = from->end;
	from->first = NULL;
}

static bool something_waits(const struct rcu_cpu *c)
{
	return c->next.first || c->waiting.first || c->due.first;
}

void call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head))
{
	u64 flags = irq_save();
	struct rcu_cpu *c = this_cpu_ptr(&rcu_cpu);
	bool first = !something_waits(c);

	head->fn = fn;
	list_append(&c->next, head);
	c->queued++;
	if (first && rcu_begin_hook)
		rcu_begin_hook();
	irq_restore(flags);
}

void rcu_quiescent(void)
{
	struct rcu_cpu *c = this_cpu_ptr(&rcu_cpu);

	store_release(&c->seen, load_acquire(&rcu_period.now));
	c->moments++;
}

u64 rcu_moments(void)
{
	return this_cpu_ptr(&rcu_cpu)->moments;
}

static bool period_over(u64 target)
{
	for (u32 cpu = 0; cpu < READ_ONCE(nr_cpus); cpu++)
		if (load_acquire(&per_cpu_ptr(&rcu_cpu, cpu)->seen) < target)
			return false;
	return true;
}

static void call_some(struct rcu_cpu *c)
{
	struct rcu_head *h;

	for (u32 n = 0; n < AT_ONCE && (h = c->due.first); n++) {
		c->due.first = h->next;
		c->done++;
		h->fn(h);
	}
}

void rcu_go_on(struct rcu_head *head)
{
	struct rcu_cpu *c = this_cpu_ptr(&rcu_cpu);

	head->next = c->due.first;
	if (!head->next)
		c->due.end = &head->next;
	c->due.first = head;
	c->done--;
}

bool rcu_poll(void)
{
	struct rcu_cpu *c = this_cpu_ptr(&rcu_cpu);

	if (c->waiting.first && period_over(c->target))
		list_move(&c->due, &c->waiting);
	if (!c->waiting.first && c->next.first) {
		list_move(&c->waiting, &c->next);
		c->target = __atomic_add_fetch(&rcu_period.now, 1, __ATOMIC_SEQ_CST);
		c->periods++;
	}
	call_some(c);
	return something_waits(c);
}

bool rcu_is_due(void)
{
	return this_cpu_ptr(&rcu_cpu)->due.first != NULL;
}

void rcu_laggards(void (*fn)(u32 cpu))
{
	struct rcu_cpu *c = this_cpu_ptr(&rcu_cpu);

	if (!c->waiting.first)
		return;
	for (u32 cpu = 0; cpu < READ_ONCE(nr_cpus); cpu++)
		if (cpu != cpu_id() && load_acquire(&per_cpu_ptr(&rcu_cpu, cpu)->seen) < c->target)
			fn(cpu);
}

void rcu_stats(struct rcu_stats *out)
{
	*out = (struct rcu_stats){ 0 };
	for (u32 cpu = 0; cpu < READ_ONCE(nr_cpus); cpu++) {
		const struct rcu_cpu *c = per_cpu_ptr(&rcu_cpu, cpu);

		out->queued += READ_ONCE(c->queued);
		out->done += READ_ONCE(c->done);
		out->periods += READ_ONCE(c->periods);
	}
}
