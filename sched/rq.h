/*
 * A CPU's run queue: a ring of threads for each level, a bitmap of the levels that have any, and
 * the best of them, so that the pick is two loads. The idle thread stands behind the last level.
 *
 * A ring is circular without a head: first[level] is its oldest thread. The running thread stays in
 * its ring as first[level] of its level; it leaves when it blocks. So yield turns the ring by one,
 * a preempted thread keeps its place at the front (as POSIX wants of SCHED_FIFO), and only sleeping
 * and waking link and unlink.
 *
 * Threads of level SCHED_LEVEL_NORMAL are in the fair queue instead (sched/fair.h), which has the
 * bit SLOT_FAIR in the bitmap. Level 0 belongs to the idle thread: its bit is set while it has to
 * push threads to other CPUs (sched/balance.c), before anything else runs.
 */
#pragma once

#include "lib/kassert.h"
#include "sched/fair.h"
#include "sched/sched.h"
#include "time/timer.h"

#define RQ_WORDS  (SCHED_LEVELS / 64)
#define SLOT_FAIR (SCHED_LEVEL_NORMAL - 1)

struct rq {
	spinlock_t lock; /* RANK_RQ; interrupts off; held across ctx_switch */
	u32 top;         /* [lock] the best level with a thread, or SCHED_LEVELS */
	u32 cpu;         /* [I] whose */
	u32 runnable;    /* [lock] threads in the rings and the fair queue */
	u64 switches, preemptions, wakeups;     /* [lock] */
	struct thread *first[SCHED_LEVELS + 1]; /* [lock] the last one is the idle thread */
	u64 bitmap[RQ_WORDS];   /* [lock] levels whose first[] is valid, SLOT_FAIR */
	struct fair_queue fair; /* [lock] */
	u64 stamp;              /* [lock] cpu_cycles() up to which time has been charged */
	bool throttled;         /* [lock] levels 1 ... 99 must wait for the next period */
	bool pushing;           /* [lock] the idle thread is in level 0 */
	bool crowded;           /* [lock] marked as having two threads or more: sched/balance.c */
	u64 migrations;         /* [lock] threads that came from another CPU */
	u64 turns; /* [lock] threads that came, or whose turn to go it was: thread.last_turn */

	bool rt_asked; /* [a] to look for real-time threads that wait elsewhere: sched/rt.c */
	u32 rt_best; /* [lock] the most urgent level that waits, a hint; SCHED_LEVELS: sched/rt.c */

	u32 tick_period;         /* [o] ticks from one to the next; 0: none is due */
	struct timer tick;       /* [o] */
	u64 ticks, idle_ticks;   /* [o] */
	u32 rt_ticks, rt_period; /* [o] what levels 1 ... 99 had of how much of this period */
	u32 company_ticks; /* [o] with two threads or more, since one was to go: sched/balance.c */
	u32 next_other;    /* [o] whose queue was looked at last for a new thread */
};

DECLARE_PER_CPU(struct rq, runqueue);

static inline struct thread *rq_idle_thread(const struct rq *rq)
{
	return rq->first[SCHED_LEVELS];
}

/* Who runs there. Changes under the lock only, at the beginning of the switch. */
static inline struct thread *rq_curr(const struct rq *rq)
{
	return *per_cpu_ptr(&current_thread, rq->cpu);
}

static inline void rq_init(struct rq *rq, u32 cpu, struct thread *idle)
{
	rq->cpu = cpu;
	spin_init(&rq->lock, "runqueue", RANK_RQ);
	rq->top = SCHED_LEVELS;
	rq->rt_best = SCHED_LEVELS;
	rq->first[SCHED_LEVELS] = idle;
}

static inline bool level_is_rt(u32 level)
{
	return level - 1 < SCHED_LEVEL_KERNEL - 1;
}

/* Of bitmap[1]: the levels that real-time threads may keep waiting, the kernel's services and the fair queue among them. */
#define RQ_BEHIND_RT (UINT64_MAX << (SCHED_LEVEL_KERNEL - 64))

static inline u32 rq_first_level(const struct rq *rq, u64 mask0, u64 mask1)
{
	u64 low = rq->bitmap[0] & mask0, high = rq->bitmap[1] & mask1;

	if (low)
		return (u32)__builtin_ctzl(low);
	return high ? 64 + (u32)__builtin_ctzl(high) : SCHED_LEVELS;
}

/*
 * The best level with a thread that may run. If only throttled ones are left there is nobody for whom
 * they would wait: they go on.
 */
static inline u32 rq_best_level(struct rq *rq)
{
	_Static_assert(RQ_WORDS == 2, "rq_first_level");

	if (unlikely(rq->throttled)) {
		u32 level = rq_first_level(rq, 1, RQ_BEHIND_RT);

		if (level != SCHED_LEVELS)
			return level;
		rq->throttled = false;
	}
	return rq_first_level(rq, UINT64_MAX, UINT64_MAX);
}

static inline void rq_set_level(struct rq *rq, u32 level)
{
	rq->bitmap[level / 64] |= 1ul << (level % 64);
	if (level < rq->top && !(unlikely(rq->throttled) && level_is_rt(level)))
		rq->top = level;
}

static inline void rq_clear_level(struct rq *rq, u32 level)
{
	rq->bitmap[level / 64] &= ~(1ul << (level % 64));
	if (rq->top == level)
		rq->top = rq_best_level(rq);
}

/* Puts t behind all others of its level, or into the fair queue; here: it was in this one before. */
static inline void rq_enqueue(struct rq *rq, struct thread *t, bool here)
{
	struct thread *first = rq->first[t->level];

	if (t->level == SCHED_LEVEL_NORMAL) {
		fair_join(&rq->fair, &t->fair, here);
		if (rq->fair.nr == 1)
			rq_set_level(rq, SLOT_FAIR);
	} else if (rq->bitmap[t->level / 64] >> (t->level % 64) & 1) {
		t->ring_next = first;
		t->ring_prev = first->ring_prev;
		first->ring_prev->ring_next = t;
		first->ring_prev = t;
	} else {
		t->ring_next = t;
		t->ring_prev = t;
		rq->first[t->level] = t;
		rq_set_level(rq, t->level);
	}
	t->on_rq = ON_RQ;
	rq->runnable++;
}

/* A thread of the fair queue that runs must have been charged. */
static inline void rq_dequeue(struct rq *rq, struct thread *t)
{
	if (t->level == SCHED_LEVEL_NORMAL) {
		fair_leave(&rq->fair, &t->fair);
		if (rq->fair.nr == 0)
			rq_clear_level(rq, SLOT_FAIR);
	} else if (t->ring_next == t) {
		rq_clear_level(rq, t->level);
	} else {
		if (rq->first[t->level] == t)
			rq->first[t->level] = t->ring_next;
		t->ring_next->ring_prev = t->ring_prev;
		t->ring_prev->ring_next = t->ring_next;
	}
	t->on_rq = OFF_RQ;
	rq->runnable--;
}

/* The first thread of the best level, which is not the fair one; the idle thread if there is none. */
static inline struct thread *rq_pick(const struct rq *rq)
{
	return rq->first[rq->top];
}

/*
 * Sends t, the first thread of its ring, to the ring's end; *next runs next. False if it is not so
 * simple: t's level is not the best one, or it is the fair one. (A fair thread has no ring: the store
 * goes to a slot that nobody reads.)
 */
static inline bool rq_rotate(struct rq *rq, struct thread *t, struct thread **next)
{
	u32 level = t->level;

	*next = t->ring_next;
	rq->first[level] = *next;
	return likely(level == rq->top);
}
