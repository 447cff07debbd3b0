/*
 * Priority inheritance: who waits for what another thread owns lends that thread its priority. The
 * theory and the protocol are at the top of inherit.c.
 *
 * A struct pi_lock is the part of a lock (struct mutex, a futex of FUTEX_LOCK_PI) that says who owns it
 * and who waits. Everything here but the constructors is called between pi_begin and pi_end.
 */
#pragma once

#include "lib/rbtree.h"
#include "lib/types.h"

struct thread;

struct pi_lock {
	struct thread *owner;   /* [pi] whom the waiters lend to; NULL: nobody has it */
	struct rb_root waiters; /* [pi] struct pi_waiter: the most urgent, then who came first */
	bool brief;             /* [I] no circle leads through it: see pi_wait */
};

/* Lives on the stack of who waits. */
struct pi_waiter {
	struct rb_node node; /* [pi] in lock->waiters */
	struct rb_node lent; /* [pi] in lock->owner->lenders, if it is the first that waits */
	struct thread *thread;
	struct pi_lock *lock; /* [pi] NULL: it does not wait (any more) */
	u64 ticket;           /* [pi] */
	u32 level;            /* [pi] of the thread, as the trees are sorted */
};

/* One lock for all of it: any context but NMI. pi_end may be where the current thread is preempted. */
u64 pi_begin(void);
void pi_end(u64 flags);

static inline struct pi_waiter *pi_first(const struct pi_lock *l)
{
	struct rb_node *n = rb_first(&l->waiters);

	return n ? rb_entry(n, struct pi_waiter, node) : NULL;
}

/*
 * t waits for l from here on; it is not woken or put to sleep here. 0, or -EDEADLK: its owner, or whom
 * that one waits for, and so on, is t (or the chain is longer than PI_CHAIN_MAX); then nothing has changed. A
 * circle through a brief lock is none: its owner may be in the trees as a waiter already, but gives
 * the lock back before it sleeps.
 */
int pi_wait(struct pi_lock *l, struct pi_waiter *w, struct thread *t);
void pi_leave(struct pi_waiter *w); /* which waits */

/* From here on t owns l, and has what l's waiters lend; NULL: nobody has it. */
void pi_set_owner(struct pi_lock *l, struct thread *t);

/* The level that t is to run at, by its own policy and by what it is lent. */
u32 pi_level(const struct thread *t);
/* t's level has changed: whom it waits for, and so on, is told. */
void pi_level_changed(struct thread *t);

#define PI_CHAIN_MAX 1024 /* owners that are followed, as Linux's max_lock_depth */
