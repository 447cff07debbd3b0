/*
 * Sleeping mutexes: a compare-and-swap when free, a short spin while the owner runs on another CPU,
 * a sleep when not. Who waits lends the owner its priority (sched/inherit.c).
 *
 * The word: the owner's address, and bit 0 (MUTEX_WAITERS) if somebody waits. Without the bit lock and
 * unlock are one compare-and-swap each, and touch nothing else: behind the unlock the mutex may be
 * gone. With the bit both go through pi_begin: no owner lets go unseen, so that those who wait
 * know whom to lend to, and that it lives. Whoever changes a word that has the bit, or sets it, does so between pi_begin
 * and pi_end; the bit is set whenever somebody is in pi.waiters.
 *
 *	0            free                            owner        held
 *	WAITERS      free; the first has been woken  owner|WAITERS  held; pi.owner is the owner
 *
 * The unlock wakes the first waiter, the most urgent one, and leaves the mutex free: who comes meanwhile takes it
 * if it is more urgent than all who wait, or, in the fair queue, no less: then a mutex
 * that is wanted often does not cost a switch each time (but is not fair). A real-time thread is never
 * passed by by its equals. mutex_lock_in_turn passes nobody by but the less urgent.
 *
 * Who is about to sleep looks whether the owner, or whom that one waits for, and so on, waits for him:
 * then nobody in the circle will ever run again, and the kernel ends there, with two names, instead
 * of standing still. The last of a circle finds it.
 */
#include "sched/mutex.h"

#include "arch/api/upcall.h"
#include "lib/kassert.h"
#include "sched/sched.h"
#include "sched/thread.h"
#include "sync/lockstat.h"

#define SPINS         2000 /* looks at a running owner before we sleep */
#define MUTEX_WAITERS 1ul

void mutex_init(struct mutex *m)
{
	*m = (struct mutex){ 0 };
}

static struct thread *owner_of(const struct mutex *m)
{
	return (struct thread *)(atomic_load(&m->owner) & ~MUTEX_WAITERS);
}

/* ---- with waiters -------------------------------------------------------------------------------- */

/* May the current thread take a free mutex before its first waiter? in_turn: not before its equals. */
static bool may_pass(const struct pi_waiter *first, bool in_turn)
{
	u32 level = current()->level;

	return level < first->level ||
	       (!in_turn && level == first->level && level >= SCHED_LEVEL_NORMAL);
}

/*
 * Between pi_begin and pi_end. Takes the mutex if it is free and nobody has a better right; me: our place among its
 * waiters, or NULL. Else the word has the bit at the return, and its owner knows who waits.
 */
static bool take(struct mutex *m, struct pi_waiter *me, bool in_turn)
{
	u64 word = atomic_load(&m->owner);

	for (;;) {
		struct pi_waiter *first = pi_first(&m->pi);
		u64 new = (u64)current();

		if (word & ~MUTEX_WAITERS) {
			new = word | MUTEX_WAITERS;
		} else if (first && first != me) {
			if (!may_pass(first, in_turn))
				return false;
			new |= MUTEX_WAITERS;
		} else if (me && rb_next(&me->node)) {
			new |= MUTEX_WAITERS;
		}
		if (atomic_cas(&m->owner, &word, new)) {
			if (word & ~MUTEX_WAITERS) {
				pi_set_owner(&m->pi, owner_of(m));
				return false;
			}
			break;
		}
	}
	if (me)
		pi_leave(me);
	pi_set_owner(&m->pi, pi_first(&m->pi) ? current() : NULL);
	return true;
}

bool mutex_trylock(struct mutex *m)
{
	u64 word = 0;
	bool taken = atomic_cas(&m->owner, &word, (u64)current());

	if (unlikely(!taken && word == MUTEX_WAITERS)) {
		u64 flags = pi_begin();

		taken = atomic_load(&m->owner) == MUTEX_WAITERS && take(m, NULL, false);
		pi_end(flags);
	}
	if (taken)
		mutex_note(1);
	return taken;
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
		if (!now && atomic_load(&m->owner) == MUTEX_WAITERS)
			return false; /* somebody more urgent has been woken for it */
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

static void sleep_for(struct mutex *m, bool in_turn)
{
	struct pi_waiter me = { .lock = NULL };
	u64 flags;

	preempt_disable();
	(*this_cpu_ptr(&lock_stats))[LOCK_MUTEX].slept++;
	preempt_enable();
	flags = pi_begin();
	while (!take(m, me.lock ? &me : NULL, in_turn)) {
		if (!me.lock && pi_wait(&m->pi, &me, current()))
			panic("deadlock: thread %s waits for a mutex of %s, which waits for one of ours",
			      current()->name, owner_of(m)->name);
		WRITE_ONCE(current()->state, T_SLEEPING);
		pi_end(flags);
		sched_block();
		flags = pi_begin();
	}
	pi_end(flags);
	mutex_note(1);
}

static void begin_wait(struct mutex *m)
{
	kassert(!mutex_is_held(m));
	kassert_eq(preempt_count(), 0);
	preempt_disable();
	lock_count_wait(LOCK_MUTEX, 0);
	preempt_enable();
}

void mutex_lock_slowly(struct mutex *m)
{
	begin_wait(m);
	if (nr_cpus == 1 || !spin_for(m))
		sleep_for(m, false);
}

void mutex_lock_in_turn(struct mutex *m)
{
	might_sleep();
	if (mutex_try_unwanted(m))
		return;
	begin_wait(m);
	sleep_for(m, true);
}

bool mutex_is_held(struct mutex *m)
{
	return owner_of(m) == current();
}

/* What the waiters lent goes back, and the first of them is woken. */
void mutex_unlock_slowly(struct mutex *m)
{
	kassert_eq((u64)owner_of(m), (u64)current());
	u64 flags = pi_begin();
	struct pi_waiter *first = pi_first(&m->pi);

	pi_set_owner(&m->pi, NULL);
	atomic_store_release(&m->owner, first ? MUTEX_WAITERS : 0);
	if (first)
		sched_wake(first->thread, T_SLEEPING);
	pi_end(flags);
}

#ifdef CONFIG_DEBUG
void check_user_return(void)
{
	lockcheck_none_held("return to user mode");
	kassert_eq(current()->mutexes, 0);
}
#endif
