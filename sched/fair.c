/* See fair.h. */
#include "sched/fair.h"

#include "lib/kassert.h"

/*
 * Virtual time is cycles * 2^20 / weight: at nice 0 (weight 1024) a cycle is 2^10. Differences of it
 * fit 63 bits as long as nobody is more than some hours of CPU time away from the others.
 */
#define VTIME_SHIFT 20

u64 fair_request = 4000000; /* until the clock is calibrated */

/* Linux's weights: each step of nice is a factor of 1.25. */
static const u32 nice_weight[40] = {
	88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, /* -20 */
	9548,  7620,  6100,  4904,  3906,  3121,  2501,  1991,  1586,  1277,  /* -10 */
	1024,  820,   655,   526,   423,   335,   272,   215,   172,   137,   /* 0 */
	110,   87,    70,    56,    45,    36,    29,    23,    18,    15,    /* 10 */
};

u32 fair_weight_of_nice(int nice)
{
	return nice_weight[nice + 20];
}

void fair_set_weight(struct fair_entity *e, u32 weight)
{
	/* What it is owed stays the same: lag in time is virtual lag * weight. */
	if (e->weight)
		e->lag = e->lag * (s64)e->weight / (s64)weight;
	e->weight = weight;
	e->inverse = (u32)((1ull << 32) / weight);
}

/* cycles that e runs, in its virtual time. cycles below 2^31. */
static u64 virtual_of(const struct fair_entity *e, u64 cycles)
{
	return cycles * e->inverse >> (32 - VTIME_SHIFT);
}

static bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

/* ---- trees ---- */

static void insert(struct rb_root *root, struct fair_entity **first, struct fair_entity *e, u64 key,
		   size_t key_at)
{
	struct rb_node **link = &root->top, *parent = NULL;
	bool leftmost = true;

	while (*link) {
		struct fair_entity *at = rb_entry(*link, struct fair_entity, node);

		parent = *link;
		if (before(key, *(u64 *)((char *)at + key_at))) {
			link = &parent->left;
		} else {
			link = &parent->right;
			leftmost = false;
		}
	}
	rb_insert(root, &e->node, parent, link);
	if (leftmost)
		*first = e;
}

static void erase(struct rb_root *root, struct fair_entity **first, struct fair_entity *e)
{
	if (*first == e) {
		struct rb_node *next = rb_next(&e->node);

		*first = next ? rb_entry(next, struct fair_entity, node) : NULL;
	}
	rb_erase(root, &e->node);
}

static void tree_add(struct fair_queue *q, struct fair_entity *e)
{
	e->ready = !before(q->vtime, e->vruntime);
	if (e->ready)
		insert(&q->ready, &q->first_ready, e, e->deadline,
		       offsetof(struct fair_entity, deadline));
	else
		insert(&q->waiting, &q->first_waiting, e, e->vruntime,
		       offsetof(struct fair_entity, vruntime));
}

static void tree_remove(struct fair_queue *q, struct fair_entity *e)
{
	if (e->ready)
		erase(&q->ready, &q->first_ready, e);
	else
		erase(&q->waiting, &q->first_waiting, e);
}

/* ---- time ---- */

void fair_charge(struct fair_queue *q, u64 delta)
{
	struct fair_entity *e = q->curr;

	e->vruntime += virtual_of(e, delta);
	q->vtime += (delta << VTIME_SHIFT) / q->weight;
}

static void new_request(struct fair_entity *e)
{
	e->deadline = e->vruntime + virtual_of(e, fair_request);
}

bool fair_request_over(struct fair_queue *q)
{
	/* What ends within the eighth part of a request ends now: the next tick comes later than that. */
	u64 slack = virtual_of(q->curr, fair_request / 8);

	if (before(q->curr->vruntime + slack, q->curr->deadline))
		return false;
	new_request(q->curr);
	return true;
}

/* ---- coming and going ---- */

/*
 * vtime is the mean of the vruntimes; one that joins `lag` behind it draws it back by lag * w / W
 * (W without the newcomer), and must then stand that much further back itself to keep its lag.
 */
void fair_join(struct fair_queue *q, struct fair_entity *e, bool here)
{
	s64 lag = e->lag;

	if (lag < 0 && here) /* what it owed has run off meanwhile */
		lag = MIN(0, lag + (s64)(q->vtime - e->left_vtime));
	if (q->weight)
		q->vtime -= (u64)(lag * (s64)e->weight / (s64)q->weight);
	else
		lag = 0;
	e->vruntime = q->vtime - (u64)lag;
	new_request(e);
	q->weight += e->weight;
	q->nr++;
	tree_add(q, e);
}

static s64 clamp(s64 x, s64 limit)
{
	return MAX(-limit, MIN(limit, x));
}

/* The others' mean moves by what e was away from it. */
static void shift_vtime(struct fair_queue *q, const struct fair_entity *e)
{
	u64 others = q->weight - e->weight;
	s64 lag = (s64)(q->vtime - e->vruntime);

	if (others)
		q->vtime += (u64)(lag * (s64)e->weight / (s64)others);
}

void fair_leave(struct fair_queue *q, struct fair_entity *e)
{
	e->lag = clamp((s64)(q->vtime - e->vruntime), (s64)virtual_of(e, fair_request));
	shift_vtime(q, e);
	e->left_vtime = q->vtime;
	q->weight -= e->weight;
	q->nr--;
	if (q->curr == e)
		q->curr = NULL;
	else
		tree_remove(q, e);
}

/* ---- whose turn it is ---- */

void fair_put(struct fair_queue *q)
{
	struct fair_entity *e = q->curr;

	if (!before(e->vruntime, e->deadline))
		new_request(e);
	q->curr = NULL;
	tree_add(q, e);
}

/* Rounding may leave nobody eligible, by a hair: then the one that is nearest to it. */
static struct fair_entity *best(struct fair_queue *q)
{
	while (q->first_waiting && !before(q->vtime, q->first_waiting->vruntime)) {
		struct fair_entity *e = q->first_waiting;

		erase(&q->waiting, &q->first_waiting, e);
		tree_add(q, e);
	}
	return q->first_ready ? q->first_ready : q->first_waiting;
}

struct fair_entity *fair_take(struct fair_queue *q)
{
	struct fair_entity *e = best(q);

	dassert(e && !q->curr);
	tree_remove(q, e);
	q->curr = e;
	return e;
}

struct fair_entity *fair_yield(struct fair_queue *q)
{
	struct fair_entity *e = q->curr;

	/* Forgo the claim: as if it left, and came back with nothing owed. Debts stay. */
	if (before(e->vruntime, q->vtime)) {
		shift_vtime(q, e);
		e->vruntime = q->vtime;
	}
	new_request(e);
	q->curr = NULL;
	struct fair_entity *next = fair_take(q);
	tree_add(q, e);
	return next;
}

bool fair_preempts(const struct fair_queue *q, const struct fair_entity *e)
{
	return !before(q->vtime, e->vruntime) && before(e->deadline, q->curr->deadline);
}

static struct fair_entity *find_in(struct rb_root *root,
				   bool (*fn)(struct fair_entity *e, void *arg), void *arg)
{
	for (struct rb_node *n = rb_last(root); n; n = rb_prev(n)) {
		struct fair_entity *e = rb_entry(n, struct fair_entity, node);

		if (fn(e, arg))
			return e;
	}
	return NULL;
}

struct fair_entity *fair_find(struct fair_queue *q, bool (*fn)(struct fair_entity *e, void *arg),
			      void *arg)
{
	struct fair_entity *e = find_in(&q->waiting, fn, arg);

	return e ? e : find_in(&q->ready, fn, arg);
}
