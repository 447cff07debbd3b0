/*
 * Sleeping mutexes where there is no scheduler: who waits spins, and others go on. For the tests of mm/; those of
 * sched/ have the real ones, those of fs/ their own.
 */
#include "arch/api/cpu.h"
#include "arch/api/preempt.h"
#include "lib/atomic.h"
#include "lib/kassert.h"

struct thread;
struct mutex {
	atomic64_t owner;
};
DECLARE_PER_CPU(struct thread *, current_thread);

void mutex_init(struct mutex *m);
void mutex_lock_slowly(struct mutex *m);
void mutex_lock_in_turn(struct mutex *m);
void mutex_unlock_slowly(struct mutex *m);
void might_sleep(void);

void mutex_init(struct mutex *m)
{
	atomic_store(&m->owner, 0ul);
}

void mutex_lock_slowly(struct mutex *m)
{
	u64 me = (u64)this_cpu_read(current_thread), word = 0;

	while (!atomic_cas(&m->owner, &word, me)) {
		kassert(word != me); /* a deadlock */
		word = 0;
		cpu_relax();
	}
}

void mutex_lock_in_turn(struct mutex *m)
{
	mutex_lock_slowly(m);
}

void mutex_unlock_slowly(struct mutex *m)
{
	panic("a mutex of %#lx is given up by somebody else", atomic_load(&m->owner));
}

void might_sleep(void)
{
	kassert_eq(preempt_count(), 0);
}
