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

struct fair_queue {
	u64 vtime;
	u64 weight; /* of all in the queue, the running one too */
	u32 nr;
	struct fair_entity *curr; /* the one that runs, if this queue's turn it is */
	bool give_way;            /* curr's request is over, or somebody is to preempt it */
	struct rb_root ready, waiting;
	struct fair_entity *first_ready, *first_waiting;
};

extern u64 fair_request; /* cycles; [I] after the clock is calibrated */

#define FAIR_WEIGHT_IDLE 3

u32 fair_weight_of_nice(int nice);
void fair_set_weight(struct fair_entity *e, u32 weight); /* not in a queue */

/* curr has run `delta` cycles more. */
void fair_charge(struct fair_queue *q, u64 delta);

/* e comes into the queue; here: it left this very queue the last time. */
void fair_join(struct fair_queue *q, struct fair_entity *e, bool here);
/* e goes, from wherever in the queue it is. Charge first if it runs. */
void fair_leave(struct fair_queue *q, struct fair_entity *e);

/* curr has stopped running, and stays in the queue. */
void fair_put(struct fair_queue *q);
/* Takes the one that should run out of its tree: it is curr. There is one, and no curr. */
struct fair_entity *fair_take(struct fair_queue *q);
/* curr, not alone, gives way: forgoes what it is owed, and another one is curr. */
struct fair_entity *fair_yield(struct fair_queue *q);

/* Should e, in the queue, run instead of curr? */
bool fair_preempts(const struct fair_queue *q, const struct fair_entity *e);
/* curr has used up its request. Gives it the next one. */
bool fair_request_over(struct fair_queue *q);

/* Calls fn for those in the trees, waiting ones first, until it returns true: that one, or NULL. */
struct fair_entity *fair_find(struct fair_queue *q, bool (*fn)(struct fair_entity *e, void *arg),
			      void *arg);
