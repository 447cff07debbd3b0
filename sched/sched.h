/*
 * The scheduler's interface. One queue per CPU: rings by level, and in one level the fair queue
 * (sched/rq.h, sched/fair.h). docs/scheduling.md
 */
#pragma once

#include "sched/thread.h"

#define SCHED_HZ       1000                /* ticks per second while a CPU is not idle */
#define SCHED_SLICE_NS (4 * NSEC_PER_MSEC) /* a request of the fair queue */
#define SCHED_RR_NS    (100 * NSEC_PER_MSEC)

void sched_init(void);            /* this CPU's queue; the caller becomes its first thread */
void sched_start_ticking(void);   /* after the clock is up */
__noreturn void sched_idle(void); /* the boot thread's last call */

void grace_init(void); /* grace periods (sync/rcu.h) end from here on; after the first timers */

void sched_start_watching(void); /* this CPU's watchdog (debug/watchdog.h) */

/* Another CPU: its queue and its idle thread, made by a CPU that is up. 0 or -ENOMEM. */
int sched_cpu_init(u32 cpu);
/* What it calls when it is up, on the idle thread's stack, interrupts off. */
__noreturn void sched_cpu_enter(void);

/* The current thread goes to the end of its level's ring. Returns when it runs again. */
void sched_yield(void);

/* Makes t runnable if its state is one of `states`. True if it did. Any context but NMI. */
bool sched_wake(struct thread *t, unsigned states);
/* The same with interrupts and preemption off already. */
bool sched_wake_nopreempt(struct thread *t, unsigned states);

/* Sets the state and switches away until woken. The lower half of wait_event. */
void sched_block(void);

/* Sleeps until the monotonic time, interruptibly: 0, or -ERESTARTSYS. */
int sched_sleep_until(u64 deadline_ns);

/* Any context but NMI, except for the last one, which may sleep. */
void sched_set_level(struct thread *t, unsigned level, bool fifo);
void sched_set_policy(struct thread *t, unsigned policy, unsigned rt_priority);
void sched_set_nice(struct thread *t, int nice);
/* Of a child that has not started. */
void sched_inherit(struct thread *child, struct thread *parent);
/* At its return t does not run on a CPU outside of set, of which at least one must be up. */
void sched_set_affinity(struct thread *t, const struct cpuset *set);
/* The set as one call of sched_set_affinity made it: not half of one and half of another. */
void sched_affinity(struct thread *t, struct cpuset *set);

/* What t has had of the CPU, in ns: exact in the sum, divided as the ticks hit; never less than at
 * an earlier call. Any context but NMI. */
void sched_times(struct thread *t, u64 *user_ns, u64 *kernel_ns);

struct sched_stats {
	u64 switches;    /* ctx_switch executed, all CPUs */
	u64 preemptions; /* of them, forced */
	u64 ticks, idle_ticks, wakeups;
	u32 runnable; /* threads running or queued, without idle */
	u32 threads;
};
void sched_stats(struct sched_stats *out);
u64 sched_busy_ticks(u32 cpu); /* ticks that found that CPU busy */

/* The queues against the threads, all spin locks free: sched/audit.c. All CPUs
 * stand still. */
struct audit;
void sched_audit(struct audit *a);
