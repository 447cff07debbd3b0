/*
 * Priority inheritance.
 *
 * A thread runs at the most urgent of its own level (base_level, by its policy) and the levels of those
 * who wait for what it owns. Only real-time threads, and the kernel's services, lend: among the
 * threads of the fair queue nobody is kept waiting for ever, and nothing is gained.
 *
 *	W (FIFO 80)  --waits-->  lock A  --owner-->  T (fair)  --waits-->  lock B  --owner-->  U (fair)
 *
 * T's level is W's, so W's is also that of T as it waits for B, and U's. Who waits is sorted in two trees:
 * lock->waiters has all of a lock; the first of each contended lock also is in owner->lenders. So
 * what a thread is lent is the first of its lenders, however many locks it owns and however many wait.
 *
 * The protocol. One spin lock, pi_spin (interrupts off, rank PI), protects all of this: owners, trees,
 * who waits for what, base_level; `level` changes under it and the run queue's lock (taken inside,
 * one at a time, so the order has no circle: PI, then RQ). One lock for all, because a change travels
 * along chains of owners that may join and part at any moment; with a lock for each
 * lock and thread each step would be a protocol of its own. It is taken only where somebody sleeps
 * for a lock, is woken from that, or where a policy changes: never where a lock is free, nor where
 * it comes while we spin.
 *
 * A change at W (it comes, goes, or gets another policy) walks down the chain: the waiter takes its new
 * place; the owner's level is computed anew; if it is the same as before the walk ends, else
 * the owner enters its run queue anew (where a CPU that should switch is sent an IPI), and if it waits
 * itself the walk goes on there. It ends after PI_CHAIN_MAX owners; a circle is refused before it
 * comes to be (pi_wait).
 *
 * At unlock the owner gives back exactly what that lock's waiters lent: its level is computed from those
 * of its other locks, and from its policy, which may have changed meanwhile. Who is boosted has no
 * slice (it is FIFO); for the throttle it counts as what it is lent.
 *
 * A thread is in these trees as a waiter only while it is in the call that waits, and as an owner only
 * while it owns: it can do neither when it is dead (thread_exit looks).
 */
#include "sched/inherit.h"

#include "lib/err.h"
#include "sched/internal.h"
#include "sched/sched.h"

static spinlock_t pi_spin = SPINLOCK_INIT("pi", RANK_PI);
static u64 last_ticket; /* [pi] */

u64 pi_begin(void)
{
	return spin_lock_irqsave(&pi_spin);
}

void pi_end(u64 flags)
{
	spin_unlock_irqrestore(&pi_spin, flags);
}

/* ---- the two trees ------------------------------------------------------------------------------- */

static bool goes_before(const struct pi_waiter *a, const struct pi_waiter *b)
{
	return a->level != b->level ? a->level < b->level : a->ticket < b->ticket;
}

static void add_waiter(struct pi_lock *l, struct pi_waiter *w)
{
	struct rb_node **link = &l->waiters.top, *parent = NULL;

	while (*link) {
		parent = *link;
		link = goes_before(w, rb_entry(parent, struct pi_waiter, node)) ? &parent->left :
										  &parent->right;
	}
	rb_insert(&l->waiters, &w->node, parent, link);
}

static void add_lender(struct thread *owner, struct pi_waiter *w)
{
	struct rb_node **link = &owner->lenders.top, *parent = NULL;

	while (*link) {
		parent = *link;
		link = goes_before(w, rb_entry(parent, struct pi_waiter, lent)) ? &parent->left :
										  &parent->right;
	}
	rb_insert(&owner->lenders, &w->lent, parent, link);
}

/* Around every change of a lock's owner and waiters: the owner's lenders have the first of them. */
static void change_begin(struct pi_lock *l)
{
	struct pi_waiter *first = pi_first(l);

	if (l->owner && first)
		rb_erase(&l->owner->lenders, &first->lent);
}

static void change_end(struct pi_lock *l)
{
	struct pi_waiter *first = pi_first(l);

	if (l->owner && first)
		add_lender(l->owner, first);
}

/* ---- levels -------------------------------------------------------------------------------------- */

u32 pi_level(const struct thread *t)
{
	struct rb_node *n = rb_first(&t->lenders);
	u32 lent = n ? rb_entry(n, struct pi_waiter, lent)->level : SCHED_LEVEL_NORMAL;

	return lent < SCHED_LEVEL_NORMAL ? MIN(lent, (u32)t->base_level) : t->base_level;
}

/* True: it was another one. */
static bool set_level(struct thread *t)
{
	u32 level = pi_level(t);

	if (level == t->level)
		return false;
	sched_change_level(t, level, level != t->base_level || t->base_fifo);
	return true;
}

void pi_level_changed(struct thread *t)
{
	for (u32 hops = 0; hops < PI_CHAIN_MAX; hops++) {
		struct pi_waiter *w = t->waits;

		if (!w || w->level == t->level)
			return;
		struct pi_lock *l = w->lock;
		change_begin(l);
		rb_erase(&l->waiters, &w->node);
		w->level = t->level;
		w->ticket = ++last_ticket;
		add_waiter(l, w);
		change_end(l);
		t = l->owner;
		if (!t) { /* it is free, and who was woken for it may not be the first any more */
			sched_wake(pi_first(l)->thread, T_SLEEPING);
			return;
		}
		if (!set_level(t))
			return;
	}
}

static void adjust(struct thread *t)
{
	if (t && set_level(t))
		pi_level_changed(t);
}

/* ---- waiting and owning -------------------------------------------------------------------------- */

/* From l to its owner to what that one waits for: does the way lead to t? */
static bool leads_to(const struct pi_lock *l, const struct thread *t)
{
	for (u32 hops = 0; l && l->owner && !l->brief; hops++) {
		if (l->owner == t || hops == PI_CHAIN_MAX)
			return true;
		l = l->owner->waits ? l->owner->waits->lock : NULL;
	}
	return false;
}

int pi_wait(struct pi_lock *l, struct pi_waiter *w, struct thread *t)
{
	if (leads_to(l, t))
		return -EDEADLK;
	kassert(!t->waits);
	*w = (struct pi_waiter){
		.thread = t, .lock = l, .ticket = ++last_ticket, .level = t->level
	};
	t->waits = w;
	change_begin(l);
	add_waiter(l, w);
	change_end(l);
	adjust(l->owner);
	return 0;
}

void pi_leave(struct pi_waiter *w)
{
	struct pi_lock *l = w->lock;

	kassert(w->thread->waits == w);
	change_begin(l);
	rb_erase(&l->waiters, &w->node);
	change_end(l);
	w->thread->waits = NULL;
	w->lock = NULL;
	adjust(l->owner);
}

void pi_set_owner(struct pi_lock *l, struct thread *t)
{
	struct thread *old = l->owner;

	change_begin(l);
	l->owner = t;
	change_end(l);
	adjust(old);
	adjust(t);
}
