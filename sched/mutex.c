/*
 * Sleeping mutexes: a compare-and-swap when free, a wait queue when not. Not fair: who comes while
 * the lock is free takes it before those who were woken for it.
 */
#include "sched/mutex.h"

#include "lib/kassert.h"
#include "sched/thread.h"

void mutex_init(struct mutex *m)
{
	atomic_store(&m->owner, 0ull);
	waitq_init(&m->waiters);
}

bool mutex_trylock(struct mutex *m)
{
	u64 free = 0;

	return atomic_cas(&m->owner, &free, (u64)current());
}

void mutex_lock(struct mutex *m)
{
	might_sleep();
	if (mutex_trylock(m))
		return;
	kassert(!mutex_is_held(m));
	wait_event(&m->waiters, mutex_trylock(m));
}

bool mutex_is_held(struct mutex *m)
{
	return atomic_load(&m->owner) == (u64)current();
}

void mutex_unlock(struct mutex *m)
{
	u64 old = atomic_exchange(&m->owner, 0ull);

	kassert_eq(old, (u64)current());
	/* The exchange is a full barrier: a waiter that this look misses sees the lock free. */
	if (!waitq_empty(&m->waiters))
		waitq_wake_one(&m->waiters);
}
