/*
 * Sleeping mutexes: a compare-and-swap when free, a short spin while the owner runs on another CPU,
 * a wait queue when not. Not fair: who comes while the lock is free takes it before those who were
 * woken for it.
 *
 * Who goes to sleep enters a list with what he waits for, and looks whether the owner, or whom that
 * one waits for, and so on, waits for him: then nobody in the circle will ever run again, and the
 * kernel ends there, with two names, instead of standing still. The last of a circle finds it.
 */
#include "sched/mutex.h"

#include "arch/api/upcall.h"
#include "lib/kassert.h"
#include "sched/thread.h"
#include "sync/lockstat.h"

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

/* The CPU that runs that thread at the moment, or nr_cpus. The thread may be gone: only its address
 * counts. */
static u32 runs_on(const struct thread *t)
{
	u32 cpu = 0;

	while (cpu < nr_cpus && READ_ONCE(*per_cpu_ptr(&current_thread, cpu)) != t)
		cpu++;
	return cpu;
}

/* The owner will let go soon, if it runs on another CPU. True: we have the mutex. */
static bool spin_for(struct mutex *m)
{
	struct thread *owner = NULL;
	u32 cpu = 0;

	for (u32 n = 1; n < SPINS && !need_resched(); n++) {
		struct thread *now = owner_of(m);

		if (!now && mutex_trylock(m))
			return true;
		if (now && now != owner) {
			owner = now;
			cpu = runs_on(owner);
			if (cpu == nr_cpus)
				return false;
		}
		if (now && READ_ONCE(*per_cpu_ptr(&current_thread, cpu)) != now)
			return false;
		if (n % 64 == 0)
			cpu_relax();
		else
			barrier();
	}
	return false;
}

/* ---- circles --------------------------------------------------------------------------------- */

struct blocked {
	struct list_node node;
	struct thread *thread;
	struct mutex *mutex;
};

static spinlock_t blocked_lock = SPINLOCK_INIT("blocked", RANK_WAITQ);
static struct list_node all_blocked = LIST_INIT(all_blocked); /* [blocked_lock] */

/* What a thread waits for, or NULL. Its address alone counts: it may be gone. */
static struct mutex *waits_for(const struct thread *t)
{
	struct blocked *b;

	list_for_each(b, &all_blocked, node)
		if (b->thread == t)
			return b->mutex;
	return NULL;
}

/* From m to its owner to what that waits for: does the way lead to us? Who is on it does not run. */
static bool leads_back(struct mutex *m)
{
	for (u32 hop = 0; m && hop < MAX_HOPS; hop++) {
		struct thread *t = owner_of(m);

		if (t == current())
			return true;
		m = t ? waits_for(t) : NULL;
	}
	return false;
}

static void enter_blocked(struct blocked *b, struct mutex *m)
{
	b->thread = current();
	b->mutex = m;
	u64 flags = spin_lock_irqsave(&blocked_lock);

	if (leads_back(m))
		panic("deadlock: thread %s waits for a mutex of %s, which waits for one of ours",
		      current()->name, owner_of(m)->name);
	list_add(&all_blocked, &b->node);
	spin_unlock_irqrestore(&blocked_lock, flags);
}

static void leave_blocked(struct blocked *b)
{
	u64 flags = spin_lock_irqsave(&blocked_lock);

	list_del(&b->node);
	spin_unlock_irqrestore(&blocked_lock, flags);
}

static __noinline void lock_slowly(struct mutex *m)
{
	struct blocked b;

	kassert(!mutex_is_held(m));
	preempt_disable();
	lock_count_wait(LOCK_MUTEX, 0);
	preempt_enable();
	if (nr_cpus > 1 && spin_for(m))
		return;
	preempt_disable();
	(*this_cpu_ptr(&lock_stats))[LOCK_MUTEX].slept++;
	preempt_enable();
	enter_blocked(&b, m);
	wait_event(&m->waiters, mutex_trylock(m));
	leave_blocked(&b);
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
	if (!waitq_empty(&m->waiters))
		waitq_wake_one(&m->waiters);
}

#ifdef CONFIG_DEBUG
void check_user_return(void)
{
	lockcheck_none_held("return to user mode");
	kassert_eq(current()->mutexes, 0);
}
#endif
