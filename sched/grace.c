/*
 * What drives grace periods (sync/rcu.c): a timer of each CPU that has callbacks, and messages to the
 * CPUs that have not been seen within a period of it. CPUs without callbacks do nothing.
 */
#include "sched/sched.h"

#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "debug/watchdog.h"
#include "lib/atomic.h"
#include "sched/mutex.h"
#include "sched/rq.h"
#include "sync/rcu.h"
#include "time/clock.h"
#include "time/timer.h"

#define POLL_NS NSEC_PER_MSEC
#define SOON_NS (10 * NSEC_PER_USEC) /* while there is something to call */

static DEFINE_PER_CPU(struct timer, poll_timer);

static void poll(struct timer *t)
{
	rcu_quiescent_irq();
	if (!rcu_poll())
		return;
	if (rcu_is_due()) {
		timer_start(t, clock_ns() + SOON_NS);
		return;
	}
	rcu_laggards(ipi_reschedule);
	timer_start(t, clock_ns() + POLL_NS);
}

static void begin(void)
{
	struct timer *t = this_cpu_ptr(&poll_timer);

	if (!t->fn)
		timer_init(t, poll);
	timer_start(t, clock_ns() + POLL_NS);
}

void grace_init(void)
{
	rcu_begin_hook = begin;
}

/* ---- the watchdog's clock ---- */

static DEFINE_PER_CPU(struct timer, watch_timer);

static void watch(struct timer *t)
{
	u64 now = clock_ns();

	rcu_quiescent_irq();
	watchdog_check(now / NSEC_PER_SEC,
		       rcu_moments() + READ_ONCE(this_cpu_ptr(&runqueue)->switches));
	timer_start(t, now + NSEC_PER_SEC);
}

void sched_start_watching(void)
{
	u64 flags = irq_save();
	struct timer *t = this_cpu_ptr(&watch_timer);

	if (watchdog_seconds()) {
		timer_init(t, watch);
		timer_start(t, clock_ns() + NSEC_PER_SEC);
	}
	irq_restore(flags);
}

/* ---- waiting ---- */

/*
 * One waiter at a time. The words are static: who brings `left` to zero still has to wake, and the
 * waiter may have seen the zero already, and gone.
 */
static struct mutex one_at_a_time = MUTEX_INIT(one_at_a_time);
static struct waitq done = WAITQ_INIT(done);
static atomic_t left; /* markers that have not come up */
static DEFINE_PER_CPU(struct rcu_head, marker);

static void marker_up(struct rcu_head *head)
{
	if (atomic_sub_fetch(&left, 1u) == 0)
		waitq_wake_all(&done);
}

static void queue_marker(void *arg)
{
	call_rcu(this_cpu_ptr(&marker), marker_up);
}

static void wait_for_markers(void)
{
	wait_event(&done, atomic_load_acquire(&left) == 0);
}

void synchronize_rcu(void)
{
	mutex_lock(&one_at_a_time);
	atomic_store(&left, 1u);
	u64 flags = irq_save();
	queue_marker(NULL);
	irq_restore(flags);
	wait_for_markers();
	mutex_unlock(&one_at_a_time);
}

void rcu_barrier(void)
{
	mutex_lock(&one_at_a_time);
	atomic_store(&left, nr_cpus);
	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		ipi_call(cpu, queue_marker, NULL);
	wait_for_markers();
	mutex_unlock(&one_at_a_time);
}
