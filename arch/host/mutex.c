/*
 * Sleeping mutexes where there is no scheduler: who waits spins, and others go on. For the tests of mm/; those of
 * sched/ have the real ones, those of fs/ their own.
 */
#include "arch/api/cpu.h"
#include "arch/api/preempt.h"
#include "lib/atomic.h"
#include "lib/kassert.h"

struct mutex {
	atomic64_t owner; /* its CPU + 1 */
};

void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);

void mutex_lock(struct mutex *m)
{
	u64 free = 0;

	kassert_eq(preempt_count(), 0);
	while (!atomic_cas(&m->owner, &free, host_cpu + 1ul)) {
		kassert(free != host_cpu + 1ul); /* a deadlock */
		free = 0;
		cpu_relax();
	}
}

void mutex_unlock(struct mutex *m)
{
	kassert_eq(atomic_load(&m->owner), host_cpu + 1ul);
	atomic_store_release(&m->owner, 0);
}
