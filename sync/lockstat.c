/* The counters of sync/lockstat.h. */
#include "sync/lockstat.h"

#include "lib/kassert.h"
#include "sync/spinlock.h"

DEFINE_PER_CPU(struct lock_stats[LOCK_CLASSES], lock_stats);

static const struct {
	const char *name;
	u32 rank;
} classes[LOCK_CLASSES] = {
	[LOCK_NONE] = { "none", RANK_NONE },
	[LOCK_FILE] = { "file", RANK_FILE },
	[LOCK_TTY] = { "tty", RANK_TTY },
	[LOCK_PT] = { "pt", RANK_PT },
	[LOCK_ASPACE] = { "aspace", RANK_ASPACE },
	[LOCK_KMAP] = { "kmap", RANK_KMAP },
	[LOCK_PROC] = { "proc", RANK_PROC },
	[LOCK_INSIDE] = { "inside", RANK_INSIDE },
	[LOCK_FAMILY] = { "family", RANK_FAMILY },
	[LOCK_SIGNAL] = { "signal", RANK_SIGNAL },
	[LOCK_WAITQ] = { "waitq", RANK_WAITQ },
	[LOCK_TIMER] = { "timer", RANK_TIMER },
	[LOCK_RQ] = { "rq", RANK_RQ },
	[LOCK_SLAB] = { "slab", RANK_SLAB },
	[LOCK_BUDDY] = { "buddy", RANK_BUDDY },
	[LOCK_IRQ] = { "irq", RANK_IRQ },
	[LOCK_IRQCHIP] = { "irqchip", RANK_IRQCHIP },
	[LOCK_CONSOLE] = { "console", RANK_CONSOLE },
	[LOCK_MUTEX] = { "mutex", UINT32_MAX },
};

/* The frequent ones come last. */
enum lock_class lock_class_of_rank(u32 rank)
{
	u32 i = LOCK_CLASSES - 1;

	while (i > LOCK_NONE && classes[i].rank != rank)
		i--;
	return i;
}

const char *lock_class_name(enum lock_class class)
{
	return classes[class].name;
}

void lock_stats_sum(enum lock_class class, struct lock_stats *out)
{
	*out = (struct lock_stats){ 0 };
	for (u32 cpu = 0; cpu < READ_ONCE(nr_cpus); cpu++) {
		const struct lock_stats *s = &(*per_cpu_ptr(&lock_stats, cpu))[class];

		out->acquired += READ_ONCE(s->acquired);
		out->contended += READ_ONCE(s->contended);
		out->looks += READ_ONCE(s->looks);
		out->slept += READ_ONCE(s->slept);
	}
}
