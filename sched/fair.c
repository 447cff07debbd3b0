/* See fair.h. */
#include "sched/fair.h"

#include "lib/kassert.h"

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

/* ---- trees ---- */

static void link(struct fair_tree *tree, struct fair_entity *e, size_t key_at)
{
	struct rb_node **at = &tree->root.top, *parent = NULL;
	u64 key = *(u64 *)((char *)e + key_at);
	bool leftmost = true;

	while (*at) {
		struct fair_entity *other = rb_entry(*at, struct fair_entity, node);

		parent = *at;
		if (fair_before(key, *(u64 *)((char *)other + key_at))) {
			at = &parent->left;
		} else {
			at = &parent->right;
			leftmost = false;
		}
	}
	rb_insert(&tree->root, &e->node, parent, at);
	if (leftmost)
		tree->first = e;
}

/* The tree has one already, at least. */
static void insert_among(struct fair_tree *tree, struct fair_entity *e, size_t key_at)
{
	if (!tree->root.top)
		link(tree, tree->first, key_at);
	link(tree, e, key_at);
}

void fair_insert_ready(struct fair_queue *q, struct fair_entity *e)
{
	insert_among(&q->ready, e, offsetof(struct fair_entity, deadline));
}

void fair_insert_waiting(struct fair_queue *q, struct fair_entity *e)
{
	insert_among(&q->waiting, e, offsetof(struct fair_entity, vruntime));
}

static void erase(struct fair_tree *tree, struct fair_entity *e)
{
	struct rb_root *root = &tree->root;

	if (!root->top) {
		dassert(tree->first == e);
		tree->first = NULL;
		return;
	}
	if (tree->first == e)
		tree->first = rb_entry(rb_next(&e->node), struct fair_entity, node);
	rb_erase(root, &e->node);
	if (!root->top->left && !root->top->right)
		root->top = NULL; /* one is left */
}

static void tree_remove(struct fair_queue *q, struct fair_entity *e)
{
	erase(e->ready ? &q->ready : &q->waiting, e);
}

/* ---- time ---- */

bool fair_request_over(struct fair_queue *q)
{
	/* What ends within the eighth part of a request ends now: the next tick comes later than that. */
	u64 slack = fair_virtual(q->curr, fair_request / 8);

	if (fair_before(q->curr->vruntime + slack, q->curr->deadline))
		return false;
	fair_new_request(q->curr);
	return true;
}

/* ---- coming and going ---- */

void fair_leave(struct fair_queue *q, struct fair_entity *e)
{
	if (q->curr == e)
		q->curr = NULL;
	else
		tree_remove(q, e);
	fair_forget(q, e);
}

/* ---- whose turn it is ---- */

void fair_put(struct fair_queue *q)
{
	struct fair_entity *e = q->curr;

	if (!fair_before(e->vruntime, e->deadline))
		fair_new_request(e);
	q->curr = NULL;
	fair_insert(q, e);
}

/* Rounding may leave nobody eligible, by a hair: then the one that is nearest to it. */
static struct fair_entity *best(struct fair_queue *q)
{
	struct fair_entity *e;

	while ((e = q->waiting.first) && !fair_before(q->vtime, e->vruntime)) {
		erase(&q->waiting, e);
		fair_insert(q, e);
	}
	return q->ready.first ? q->ready.first : e;
}

struct fair_entity *fair_take_best(struct fair_queue *q)
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
	if (fair_before(e->vruntime, q->vtime)) {
		fair_shift_vtime(q, e);
		e->vruntime = q->vtime;
	}
	fair_new_request(e);
	q->curr = NULL;
	struct fair_entity *next = fair_take_of(q, q->nr - 1);
	fair_insert(q, e);
	return next;
}

static struct fair_entity *find_in(struct fair_tree *tree,
				   bool (*fn)(struct fair_entity *e, void *arg), void *arg)
{
	if (!tree->root.top)
		return tree->first && fn(tree->first, arg) ? tree->first : NULL;
	for (struct rb_node *n = rb_last(&tree->root); n; n = rb_prev(n)) {
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
