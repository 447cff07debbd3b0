/*
 * Sleeping mutexes: a compare-and-swap when free, a short spin while the owner runs on another CPU,
 * a wait queue when not. Not fair: who comes while the lock is free takes it before those who were
 * woken for it.
 *
 * Who goes to sleep says for what (thread.blocked_on), and looks whether the owner waits, by a chain
 * of such words, for him: then nobody in the circle will ever run again, and the kernel ends there,
 * with both names, instead of standing still.
 */
/*
 * Sleeping mutexes: a compare-and-swap when free, a wait queue when not. Not fair: who comes while
 * the lock is free takes it before those who were woken for it.
 */
#include "sched/mutex.h"

#include "arch/api/upcall.h"
#include "lib/kassert.h"
#include "sched/thread.h"

#define SPINS    2000 /* looks at a running owner before we sleep */
#define MAX_HOPS 16   /* of a circle of waiters */

void mutex_init(struct mutex *m)
{
	atomic_store(&m->owner, 0ull);
	waitq_init(&m->waiters);
}

static struct thread *owner_of(struct mutex *m)
{
	return (struct thread *)atomic_load(&m->owner);
}

static inline void note_taken(s32 n)
{
#ifdef CONFIG_DEBUG
	current()->mutexes += n;
#endif
}

bool mutex_trylock(struct mutex *m)
{
	u64 free = 0;

	if (!atomic_cas(&m->owner, &free, (u64)current()))
		return false;
	note_taken(1);
	return true;
}

/*
 * Does that thread run at the moment? It may end while we look: its memory may become another
 * thread's or anything else, but is there, and what we read of it only makes us wait a little.
 */
static bool is_running(const struct thread *t)
{
	u32 cpu = READ_ONCE(t->cpu);

	return cpu < nr_cpus && READ_ONCE(*per_cpu_ptr(&current_thread, cpu)) == t;
}

/* The owner will let go soon, if it runs on another CPU. True: we have the mutex. */
static bool spin_for(struct mutex *m)
{
	for (u32 n = 1; n < SPINS && !need_resched(); n++) {
		struct thread *owner = owner_of(m);

		if (!owner && mutex_trylock(m))
			return true;
		if (owner && !is_running(owner))
			return false;
		if (n % 64 == 0)
			cpu_relax();
		else
			barrier();
	}
	return false;
}

/*
 * From waiter to owner to what that waits for: does the way lead back to us? We hold what the last
 * one waits for, so it stands still; a second look makes sure that the others did, too.
 */
static bool leads_back(struct mutex *m)
{
	for (u32 hop = 0; m && hop < MAX_HOPS; hop++) {
		struct thread *t = owner_of(m);

		if (t == current())
			return true;
		m = t ? READ_ONCE(t->blocked_on) : NULL;
	}
	return false;
}

static void check_circle(struct mutex *m)
{
	if (likely(!leads_back(m)) || !leads_back(m))
		return;
	struct thread *t = owner_of(m);

	panic("deadlock: thread %s waits for a mutex of %s, which waits for one of ours",
	      current()->name, t ? t->name : "?");
}

static __noinline void lock_slowly(struct mutex *m)
{
	kassert(!mutex_is_held(m));
	if (nr_cpus > 1 && spin_for(m))
		return;
	WRITE_ONCE(current()->blocked_on, m);
	memory_barrier(); /* of two that close a circle at once, one sees the other */
	check_circle(m);
	wait_event(&m->waiters, mutex_trylock(m));
	WRITE_ONCE(current()->blocked_on, NULL);
}

void mutex_lock(struct mutex *m)
{
	might_sleep();
	if (!mutex_trylock(m))
		lock_slowly(m);
}

bool mutex_is_held(struct mutex *m)
{
	return atomic_load(&m->owner) == (u64)current();
}

void mutex_unlock(struct mutex *m)
{
	u64 old = atomic_exchange(&m->owner, 0ull);

	kassert_eq(old, (u64)current());
	note_taken(-1);
	/* The exchange is a full barrier: a waiter that this look misses sees the lock free. */
	if (!list_empty(&m->waiters.waiters))
		waitq_wake_one(&m->waiters);
}

#ifdef CONFIG_DEBUG
void check_user_return(void)
{
	lockcheck_none_held("return to user mode");
	kassert_eq(current()->mutexes, 0);
}
#endif
