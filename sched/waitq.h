/*
 * Wait queues. Sleeping is only through wait_event(queue, condition): the waiter joins the queue
 * and sets its state, then a full barrier, then looks at the condition again; the waker changes
 * the condition, then wakes. So no wake-up is lost. The condition is evaluated many times, without
 * locks, in the waiter's context.
 *
 * waitq_wake_* may be called in any context but NMI.
 */
#pragma once

#include "lib/err.h"
#include "lib/list.h"
#include "sync/spinlock.h"

struct thread;

struct waitq {
	spinlock_t lock;
	struct list_node waiters; /* struct waiter */
};

struct waiter {
	struct list_node node; /* [q->lock] */
	struct thread *thread;
	bool out; /* [a] woken: no longer in the queue */
};

#define WAITQ_INIT(name)                                                                           \
	{                                                                                          \
		SPINLOCK_INIT(#name, RANK_WAITQ), LIST_INIT((name).waiters)                        \
	}

void waitq_init(struct waitq *q);

/*
 * For everything that sleeps, also when it need not today. Debug builds panic where sleeping is not
 * allowed: preemption or interrupts off. Those that ship do so for who really sleeps (waitq_prepare, sched_block).
 */
#ifdef CONFIG_DEBUG
void might_sleep(void);
#else
static inline void might_sleep(void)
{
}
#endif

/* Nobody waits, as far as can be seen without the lock: what the caller did before must be out. */
static inline bool waitq_empty(const struct waitq *q)
{
	return READ_ONCE(q->waiters.next) == &q->waiters;
}

void waitq_wake_one(struct waitq *q); /* the one that waits longest */
void waitq_wake_all(struct waitq *q);

#define WAIT_FOREVER UINT64_MAX

/* The pieces of wait_event. state: T_SLEEPING or T_INTERRUPTIBLE. A waiter may be on several
 * queues (poll) with a struct waiter for each. What a wait_event needs of sched/thread.h, its user
 * includes: signal_pending_current. */
void waitq_prepare(struct waitq *q, struct waiter *w, unsigned state);
/* The slow way of waitq_finish. */
bool waitq_leave(struct waitq *q, struct waiter *w);
/*
 * True if w had been woken: one who gives up all the same must look at the condition once more, for
 * nobody else is told. (Who was woken is RUNNABLE already.)
 */
static inline bool waitq_finish(struct waitq *q, struct waiter *w)
{
	return likely(load_acquire(&w->out)) ? true : waitq_leave(q, w);
}

void sched_block(void); /* sched/sched.h */
void sched_block_until(u64 deadline_ns);
/* Sleeps until woken or until the monotonic time deadline_ns. */
static inline void sched_sleep(u64 deadline_ns)
{
	if (likely(deadline_ns == WAIT_FOREVER))
		sched_block();
	else
		sched_block_until(deadline_ns);
}
__noreturn void sleep_refused(void); /* panics: with preemption or interrupts off */

/* What wait_event does once the condition was seen not to hold. */
#define wait_event_seen_(q, cond, state, deadline)                                                 \
	({                                                                                         \
		int wait_ret_ = 0;                                                                 \
		u64 wait_deadline_ = (deadline); /* once: `clock_ns() + x` must not move */        \
		struct waiter waiter_ __uninitialized;                                             \
                                                                                                   \
		might_sleep();                                                                     \
		for (;;) {                                                                         \
			waitq_prepare((q), &waiter_, (state));                                     \
			if (cond) {                                                                \
			} else if ((state) == 2 /* T_INTERRUPTIBLE */ &&                           \
				   signal_pending_current()) {                                     \
				wait_ret_ = -ERESTARTSYS;                                          \
			} else if (wait_deadline_ != WAIT_FOREVER &&                               \
				   clock_ns() >= wait_deadline_) {                                 \
				wait_ret_ = -ETIMEDOUT;                                            \
			} else {                                                                   \
				sched_sleep(wait_deadline_);                                       \
				(void)waitq_finish((q), &waiter_);                                 \
				if (cond) /* mostly: no need to queue once more */                 \
					break;                                                     \
				continue;                                                          \
			}                                                                          \
			/* A wake-up that was given to us must not be lost. */                     \
			if (waitq_finish((q), &waiter_) && wait_ret_ && (cond))                    \
				wait_ret_ = 0;                                                     \
			break;                                                                     \
		}                                                                                  \
		wait_ret_;                                                                         \
	})
#define wait_event_(q, cond, state, deadline)                                                      \
	({                                                                                         \
		u64 wait_until_ = (deadline);                                                      \
                                                                                                   \
		(cond) ? 0 : wait_event_seen_(q, cond, state, wait_until_);                        \
	})

/* 0 always. */
#define wait_event(q, cond) ((void)wait_event_(q, cond, 1, WAIT_FOREVER))
/* 0, or -ERESTARTSYS when a signal came first. */
#define wait_event_interruptible(q, cond) wait_event_(q, cond, 2, WAIT_FOREVER)
/* The same for a caller who has just seen that the condition does not hold. */
#define wait_event_interruptible_seen(q, cond) wait_event_seen_(q, cond, 2, WAIT_FOREVER)
/* deadline: monotonic ns. 0, -ERESTARTSYS, or -ETIMEDOUT. */
#define wait_event_deadline(q, cond, deadline) wait_event_(q, cond, 2, deadline)

u64 clock_ns(void); /* time/clock.h */
