/*
 * Read-copy-update: readers that take no lock, and memory that waits until they have gone.
 *
 * A reader has preemption off, or interrupts; that is all. Who takes something out of a structure
 * that such readers walk gives its memory back by call_rcu: fn is called when every CPU has been
 * seen between two readers since. sync/rcu.c says how that is known.
 */
#pragma once

#include "arch/api/preempt.h"
#include "lib/types.h"

struct rcu_head {
	struct rcu_head *next;
	void (*fn)(struct rcu_head *head);
};

#define rcu_read_lock()   preempt_disable()
#define rcu_read_unlock() preempt_enable()

/* Calls fn(head) after a grace period, on this CPU, in its timer interrupt: fn must not sleep. Any
 * context but NMI. */
void call_rcu(struct rcu_head *head, void (*fn)(struct rcu_head *head));

/* Only from within fn, of its own head: there is more to do. fn is called once more, before all that were queued
 * behind it, so that the machine has interrupts on again in between. */
void rcu_go_on(struct rcu_head *head);

/* Waits for a grace period; and until every fn whose call_rcu was before has returned. Both sleep:
 * sched/grace.c */
void synchronize_rcu(void);
void rcu_barrier(void);

/*
 * This CPU is between two readers at this moment: in a thread that may be preempted, or in an
 * interrupt that has found it so. Interrupts off.
 */
void rcu_quiescent(void);
/* How often this CPU was seen so. If that stands still, something keeps it. */
u64 rcu_moments(void);
/* The same for an interrupt handler, which tells by the count: its own interrupt is one. */
static inline void rcu_quiescent_irq(void)
{
	if (preempt_count() == 1)
		rcu_quiescent();
}

/* Calls some of what is due on this CPU, and starts the next grace period if something waits. False: nothing
 * waits any more. Interrupts off. */
bool rcu_poll(void);
/* Would the next rcu_poll call something, whatever the other CPUs do? Interrupts off. */
bool rcu_is_due(void);

/* Calls fn(cpu) for each other CPU that the grace period of this one still waits for. */
void rcu_laggards(void (*fn)(u32 cpu));

/* Something waits on this CPU, and nothing has before: rcu_poll must be called from time to time.
 * Set once at boot; interrupts off. */
extern void (*rcu_begin_hook)(void);

struct rcu_stats {
	u64 queued, done; /* callbacks */
	u64 periods;      /* grace periods begun */
};
void rcu_stats(struct rcu_stats *out);
