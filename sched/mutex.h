/*
 * Sleeping locks. A holder may be preempted and may sleep; a real-time thread that waits lends it its
 * priority. Never in interrupts. Not recursive.
 */
#pragma once

#include "lib/atomic.h"
#include "sched/inherit.h"
#include "sched/thread.h"

struct mutex {
	atomic64_t owner;  /* the holder's struct thread, or 0; bit 0: MUTEX_WAITERS */
	struct pi_lock pi; /* who waits */
};

#define MUTEX_INIT(name)                                                                           \
	{                                                                                          \
		.owner = { 0 }                                                                     \
	}

void mutex_init(struct mutex *m);
bool mutex_trylock(struct mutex *m);
bool mutex_is_held(struct mutex *m); /* by the current thread */

/* When it is not free, or somebody waits. */
void mutex_lock_slowly(struct mutex *m);
void mutex_unlock_slowly(struct mutex *m);
/* Behind all who wait already, but for less urgent ones. For mutexes that are held long: it does not spin. */
void mutex_lock_in_turn(struct mutex *m);

/* Debug builds know how many a thread holds. */
static inline void mutex_note(s32 n)
{
#ifdef CONFIG_DEBUG
	current()->mutexes += n;
#endif
}

/* As far as debug builds know: does t hold any? For audits, while t does not run. */
static inline bool mutex_is_held_by(const struct thread *t)
{
#ifdef CONFIG_DEBUG
	return t->mutexes != 0;
#else
	return false;
#endif
}

static inline void mutex_lock(struct mutex *m)
{
	u64 word = 0;

	might_sleep();
	if (likely(atomic_cas(&m->owner, &word, (u64)current())))
		mutex_note(1);
	else
		mutex_lock_slowly(m);
}

/* Held, or waited for? At a glance: it may be otherwise by now. */
static inline bool mutex_is_wanted(const struct mutex *m)
{
	return atomic_load(&m->owner) != 0;
}

/* If it is free and nobody waits for it, not even somebody whom we might pass. */
static inline bool mutex_try_unwanted(struct mutex *m)
{
	u64 word = 0;
	bool taken = atomic_cas(&m->owner, &word, (u64)current());

	if (taken)
		mutex_note(1);
	return taken;
}

/* By the holder. A full barrier. */
static inline void mutex_unlock(struct mutex *m)
{
	u64 word = (u64)current();

	mutex_note(-1);
	if (unlikely(!atomic_cas(&m->owner, &word, 0ul)))
		mutex_unlock_slowly(m);
}
