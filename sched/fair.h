/*
 * The fair queue of a CPU: SCHED_OTHER, BATCH and IDLE, by the earliest eligible virtual deadline
 * (EEVDF: Stoica and Abdel-Wahab, 1995). docs/scheduling.md has the picture.
 *
 * Virtual time runs for a thread of weight w at 1/w of the speed of the time that it has run, and
 * for the queue at 1/W, W the sum of all weights: it is where each thread would be if the CPU were
 * shared perfectly. The difference, times w, is the thread's lag: what it is owed.
 *
 *   eligible   vruntime <= vtime: it has had no more than its share
 *   deadline   by when it must have had its next request of `fair_request` cycles: vruntime + request/w
 *
 * The eligible thread with the earliest deadline runs, until its request is used up or somebody wakes
 * who is eligible with an earlier one. Then no lag ever
 * exceeds one request, whatever the weights are. A thread that sleeps takes its lag along; while it
 * sleeps, what it owes runs off.
 *
 * Two trees: `ready` by deadline, of threads that have become eligible, and `waiting` by vruntime;
 * the first of each is at hand. Each thread goes from waiting to ready once in each request. The running
 * thread is in neither. vtime is kept as the exact weighted mean of all vruntimes: it advances with
 * what runs, and shifts when a thread with lag comes or goes.
 *
 * Everything here is under the run queue's lock. Times are cycles of cpu_cycles().
 */
#pragma once

#include "lib/rbtree.h"

struct fair_entity {
	struct rb_node node; /* in the tree that `ready` says; not while it runs or sleeps */
	u64 vruntime, deadline;
	s64 lag;        /* virtual, while out of the queue */
	u64 left_vtime; /* the queue's vtime when it left */
	u32 weight;
	u32 inverse; /* 2^32 / weight */
	bool ready;
};

/* A tree of one is the rule (two or three threads, of which one runs), and is none: no node is linked. */
struct fair_tree {
	struct fair_entity *first;
	struct rb_root root; /* empty: `first` is all there is, if it is set */
};

struct fair_queue {
	u64 vtime;
	u64 weight; /* of all in the queue, the running one too */
	u32 nr;
	struct fair_entity *curr; /* the one that runs, if this queue's turn it is */
	bool give_way;            /* curr's request is over, or somebody is to preempt it */
	struct fair_tree ready, waiting;
};

extern u64 fair_request; /* cycles; [I] after the clock is calibrated */

#define FAIR_WEIGHT_IDLE 3
#define FAIR_WEIGHT_MOST 88761 /* nice -20 */

u32 fair_weight_of_nice(int nice);
void fair_set_weight(struct fair_entity *e, u32 weight); /* not in a queue */

/* e goes, from wherever in the queue it is. Charge first if it runs. */
void fair_leave(struct fair_queue *q, struct fair_entity *e);

/* curr has stopped running, and stays in the queue. */
void fair_put(struct fair_queue *q);
/* curr, not alone, gives way: forgoes what it is owed, and another one is curr. */
struct fair_entity *fair_yield(struct fair_queue *q);

/* curr has used up its request. Gives it the next one. */
bool fair_request_over(struct fair_queue *q);

/* Calls fn for those in the trees, waiting ones first, until it returns true: that one, or NULL. */
struct fair_entity *fair_find(struct fair_queue *q, bool (*fn)(struct fair_entity *e, void *arg),
			      void *arg);

/* ---- what each sleep and each wake-up goes through ----------------------------------------------- */

/*
 * Virtual time is cycles * 2^20 / weight: at nice 0 (weight 1024) a cycle is 2^10. Differences of it
 * fit 63 bits as long as nobody is more than some hours of CPU time away from the others.
 */
#define FAIR_SHIFT 20

/* cycles that e runs, in its virtual time. cycles below 2^31. */
static inline u64 fair_virtual(const struct fair_entity *e, u64 cycles)
{
	return cycles * e->inverse >> (32 - FAIR_SHIFT);
}

static inline bool fair_before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

/*
 * curr has run `delta` cycles more, less than 2^31. The mean goes with it, with what the inverse has rounded: by delta / W it
 * would run away from the vruntimes, a little more with each charge until the queue is empty, and newcomers start at the mean.
 */
static inline void fair_charge(struct fair_queue *q, u64 delta)
{
	struct fair_entity *e = q->curr;
	u64 advance = fair_virtual(e, delta);

	e->vruntime += advance;
	q->vtime += advance * e->weight / q->weight;
}

static inline void fair_new_request(struct fair_entity *e)
{
	e->deadline = e->vruntime + fair_virtual(e, fair_request);
}

/* fair.c: e into a tree that has some, in the order of deadlines or of vruntimes. */
void fair_insert_ready(struct fair_queue *q, struct fair_entity *e);
void fair_insert_waiting(struct fair_queue *q, struct fair_entity *e);

static inline void fair_insert(struct fair_queue *q, struct fair_entity *e)
{
	e->ready = !fair_before(q->vtime, e->vruntime);
	if (e->ready) {
		if (likely(!q->ready.first))
			q->ready.first = e;
		else
			fair_insert_ready(q, e);
	} else {
		if (likely(!q->waiting.first))
			q->waiting.first = e;
		else
			fair_insert_waiting(q, e);
	}
}

/*
 * e comes into the queue; here: it left this very queue the last time.
 *
 * vtime is the mean of the vruntimes; one that joins `lag` behind it draws it back by lag * w / W
 * (W without the newcomer), and must then stand that much further back itself to keep its lag.
 */
static inline void fair_join(struct fair_queue *q, struct fair_entity *e, bool here)
{
	s64 lag = e->lag;

	if (lag < 0 && here) /* what it owed has run off meanwhile */
		lag = MIN(0, lag + (s64)(q->vtime - e->left_vtime));
	if (!q->weight)
		lag = 0;
	else if (lag)
		q->vtime -= (u64)(lag * (s64)e->weight / (s64)q->weight);
	e->vruntime = q->vtime - (u64)lag;
	fair_new_request(e);
	q->weight += e->weight;
	q->nr++;
	fair_insert(q, e);
}

/* The others' mean moves by what e was away from it. */
static inline void fair_shift_vtime(struct fair_queue *q, const struct fair_entity *e)
{
	u64 others = q->weight - e->weight;
	s64 lag = (s64)(q->vtime - e->vruntime);

	if (others)
		q->vtime += (u64)(lag * (s64)e->weight / (s64)others);
}

/* What fair_leave does once e is in no tree and is not curr. */
static inline void fair_forget(struct fair_queue *q, struct fair_entity *e)
{
	s64 lag = (s64)(q->vtime - e->vruntime), limit = (s64)fair_virtual(e, fair_request);

	e->lag = MAX(-limit, MIN(limit, lag));
	fair_shift_vtime(q, e);
	e->left_vtime = q->vtime;
	q->weight -= e->weight;
	q->nr--;
}

struct fair_entity *fair_take_best(struct fair_queue *q);

/* As fair_take: n, one or more, are in the trees. */
static inline struct fair_entity *fair_take_of(struct fair_queue *q, u32 n)
{
	struct fair_entity *e = q->ready.first;

	if (unlikely(n != 1))
		return fair_take_best(q);
	if (!e)
		e = q->waiting.first;
	q->ready.first = q->waiting.first = NULL;
	q->curr = e;
	return e;
}

/* Takes the one that should run out of its tree: it is curr. There is one, and no curr. */
static inline struct fair_entity *fair_take(struct fair_queue *q)
{
	return fair_take_of(q, q->nr);
}

/* Should e, in the queue, run instead of curr? */
static inline bool fair_preempts(const struct fair_queue *q, const struct fair_entity *e)
{
	return !fair_before(q->vtime, e->vruntime) && fair_before(e->deadline, q->curr->deadline);
}
