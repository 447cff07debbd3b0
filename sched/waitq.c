/*
 * Wait queues: see waitq.h for why no wake-up is lost. The barrier between the stores that a waker looks
 * for (the place in the queue, the state) and the second look at the condition is the last of these stores
 * itself: an exchange.
 *
 * A waker wakes first, then takes the waiter out of the queue, and says so by a last store, to `out`. So a
 * waiter that finds itself out needs no lock to be sure that nobody looks at it any more, and its
 * struct waiter may go; one that is faster finds itself in the queue still, and waits for the lock.
 */
#include "sched/waitq.h"

#include "lib/kassert.h"
#include "sched/sched.h"
#include "time/timer.h"

void waitq_init(struct waitq *q)
{
	spin_init(&q->lock, "waitq", RANK_WAITQ);
	list_init(&q->waiters);
}

void waitq_prepare(struct waitq *q, struct waiter *w, unsigned state)
{
	struct thread *t = current();

	if (unlikely(!irqs_enabled()))
		sleep_refused();
	w->thread = t;
	w->out = false;
	irq_disable(); /* so there is no preemption either */
	spin_acquire(&q->lock);
	list_add_tail(&q->waiters, &w->node);
	(void)__atomic_exchange_n(&t->state, state,
				  __ATOMIC_SEQ_CST); /* the barrier: see the top */
	spin_release(&q->lock);
	irq_enable();
}

bool waitq_leave(struct waitq *q, struct waiter *w)
{
	WRITE_ONCE(current()->state, T_RUNNABLE);
	u64 flags = spin_lock_irqsave(&q->lock);
	bool woken = w->out;
	if (!woken)
		list_del(&w->node);
	spin_unlock_irqrestore(&q->lock, flags);
	return woken;
}

/* The last that is done to w: see the top. Lock held. */
static void take_out(struct waiter *w)
{
	list_del(&w->node);
	store_release(&w->out, true);
}

/*
 * Who woke by himself stays in the queue until waitq_finish; one that is awake already does not use up a
 * wake-up of waitq_wake_one.
 */
static __always_inline void wake(struct waitq *q, bool all)
{
	u64 flags = spin_lock_irqsave(&q->lock);
	bool go_on = true;

	while (go_on && !list_empty(&q->waiters)) {
		struct waiter *w = list_first(&q->waiters, struct waiter, node);

		go_on = !sched_wake_nopreempt(w->thread, T_SLEEPING | T_INTERRUPTIBLE) || all;
		take_out(w);
	}
	spin_unlock_irqrestore(&q->lock, flags);
}

void waitq_wake_one(struct waitq *q)
{
	memory_barrier(); /* the condition is out before the queue is read */
	wake(q, false);
}

void waitq_wake_all(struct waitq *q)
{
	memory_barrier();
	wake(q, true);
}

void sleep_refused(void)
{
	panic("thread %s would sleep with preemption %u and interrupts %s", current()->name,
	      preempt_count(), irqs_enabled() ? "on" : "off");
}

#ifdef CONFIG_DEBUG
void might_sleep(void)
{
	if (preempt_count() || !irqs_enabled())
		sleep_refused();
}
#endif

struct sleep_timer {
	struct timer timer;
	struct thread *thread;
};

static void sleep_over(struct timer *t)
{
	struct sleep_timer *s = container_of(t, struct sleep_timer, timer);

	sched_wake(s->thread, T_SLEEPING | T_INTERRUPTIBLE);
}

void sched_block_until(u64 deadline_ns)
{
	struct sleep_timer s = { .thread = current() };

	timer_init(&s.timer, sleep_over);
	timer_start(&s.timer, deadline_ns);
	sched_block();
	timer_cancel(&s.timer);
}

int sched_sleep_until(u64 deadline_ns)
{
	struct waitq nobody = WAITQ_INIT(nobody);
	int ret = wait_event_deadline(&nobody, false, deadline_ns);

	return ret == -ETIMEDOUT ? 0 : ret;
}
