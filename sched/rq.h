/*
 * A CPU's run queue: a ring of threads for each level, a bitmap of the levels that have any, and
 * the best of them, so that the pick is two loads. The idle thread stands behind the last level.
 *
 * A ring is circular without a head: first[level] is its oldest thread. The running thread stays in
 * its ring as first[level] of its level; it leaves when it blocks. So yield turns the ring by one,
 * a preempted thread keeps its place at the front (as POSIX wants of SCHED_FIFO), and only sleeping
 * and waking link and unlink.
 */
#pragma once

#include "lib/kassert.h"
#include "sched/sched.h"
#include "time/timer.h"

#define RQ_WORDS (SCHED_LEVELS / 64)

struct rq {
	spinlock_t lock;     /* RANK_RQ; interrupts off; held across ctx_switch */
	u32 top;             /* [lock] the best level with a thread, or SCHED_LEVELS */
	u32 cpu;             /* [I] whose */
	struct thread *curr; /* [lock] who runs there, or is being switched to */
	u64 switches, preemptions, wakeups;     /* [lock] */
	struct thread *first[SCHED_LEVELS + 1]; /* [lock] the last one is the idle thread */
	u64 bitmap[RQ_WORDS];                   /* [lock] levels whose first[] is valid */
	u32 runnable;                           /* [lock] threads in the rings */

	bool ticking;          /* [o] */
	struct timer tick;     /* [o] */
	u64 ticks, idle_ticks; /* [o] */
};

DECLARE_PER_CPU(struct rq, runqueue);

static inline struct thread *rq_idle_thread(const struct rq *rq)
{
	return rq->first[SCHED_LEVELS];
}

static inline void rq_init(struct rq *rq, u32 cpu, struct thread *idle)
{
	rq->cpu = cpu;
	rq->curr = idle;
	spin_init(&rq->lock, "runqueue", RANK_RQ);
	rq->top = SCHED_LEVELS;
	rq->first[SCHED_LEVELS] = idle;
}

/* Puts t behind all others of its level. */
static inline void rq_enqueue(struct rq *rq, struct thread *t)
{
	u64 bit = 1ul << (t->level % 64);
	u64 *word = &rq->bitmap[t->level / 64];

	if (*word & bit) {
		struct thread *first = rq->first[t->level];

		t->ring_next = first;
		t->ring_prev = first->ring_prev;
		first->ring_prev->ring_next = t;
		first->ring_prev = t;
	} else {
		t->ring_next = t;
		t->ring_prev = t;
		rq->first[t->level] = t;
		*word |= bit;
		if (t->level < rq->top)
			rq->top = t->level;
	}
	t->on_rq = true;
	rq->runnable++;
}

static inline u32 rq_best_level(const struct rq *rq)
{
	for (u32 i = 0; i < RQ_WORDS; i++)
		if (rq->bitmap[i])
			return i * 64 + (u32)__builtin_ctzl(rq->bitmap[i]);
	return SCHED_LEVELS;
}

static inline void rq_dequeue(struct rq *rq, struct thread *t)
{
	if (t->ring_next == t) {
		rq->bitmap[t->level / 64] &= ~(1ul << (t->level % 64));
		if (rq->top == t->level)
			rq->top = rq_best_level(rq);
	} else {
		if (rq->first[t->level] == t)
			rq->first[t->level] = t->ring_next;
		t->ring_next->ring_prev = t->ring_prev;
		t->ring_prev->ring_next = t->ring_next;
	}
	t->on_rq = false;
	rq->runnable--;
}

/* The first thread of the best level; the idle thread if there is none. */
static inline struct thread *rq_pick(const struct rq *rq)
{
	return rq->first[rq->top];
}

/*
 * Sends t, the first thread of its ring, to the ring's end, and picks. That the running thread's
 * level is the best one is the rule; where not, a switch is due anyhow.
 */
static inline struct thread *rq_rotate_and_pick(struct rq *rq, struct thread *t)
{
	struct thread *next = t->ring_next;

	rq->first[t->level] = next;
	return likely(t->level == rq->top) ? next : rq_pick(rq);
}
