/*
 * Who waits for locks, by class (/proc/jiffy/locks, docs/locking.md).
 *
 * A class is a rank (enum lock_rank); sleeping mutexes and spin locks without a rank are classes, too. Only
 * who has to wait counts, on his own CPU, in the way that waits anyhow: taking a free lock costs
 * nothing more than it did. Debug builds, which check each lock in any case, count all acquisitions.
 */
#pragma once

#include "arch/api/percpu.h"
#include "lib/types.h"

enum lock_class {
	LOCK_NONE, /* no rank */
	LOCK_FILE,
	LOCK_TTY,
	LOCK_PT,
	LOCK_ASPACE,
	LOCK_KMAP,
	LOCK_PROC,
	LOCK_INSIDE, /* who wants to be alone in the tree of processes waits for who is inside */
	LOCK_FAMILY,
	LOCK_SIGNAL,
	LOCK_WAITQ,
	LOCK_TIMER,
	LOCK_RQ,
	LOCK_SLAB,
	LOCK_BUDDY,
	LOCK_IRQ,
	LOCK_IRQCHIP,
	LOCK_CONSOLE,
	LOCK_MUTEX, /* sched/mutex.c */
	LOCK_CLASSES,
};

struct lock_stats {
	u64 acquired;  /* debug builds; else 0 */
	u64 contended; /* it was not free */
	u64 looks;     /* at a lock that was not free */
	u64 slept;     /* mutexes: times that looking did not help */
};

/* [o] By one instruction each, so interrupts need not be off. */
DECLARE_PER_CPU(struct lock_stats[LOCK_CLASSES], lock_stats);

static inline void lock_count_wait(enum lock_class class, u64 looks)
{
	struct lock_stats *s = &(*this_cpu_ptr(&lock_stats))[class];

	s->contended++;
	s->looks += looks;
}

#ifdef CONFIG_DEBUG
static inline void lock_count_acquired(enum lock_class class)
{
	(*this_cpu_ptr(&lock_stats))[class].acquired++;
}
#else
#define lock_count_acquired(class) ((void)(class))
#endif

enum lock_class lock_class_of_rank(u32 rank);
const char *lock_class_name(enum lock_class class);
/* The sum over all CPUs. */
void lock_stats_sum(enum lock_class class, struct lock_stats *out);
