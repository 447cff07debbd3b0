/*
 * The wait for a spin lock that is not free. The checks of debug builds are in sync/lockcheck.c.
 */
#include "sync/spinlock.h"

#include "debug/watchdog.h"
#include "sync/lockstat.h"

/* ---- waiting --------------------------------------------------------------------------------- */

/*
 * The wait is polite only after a while: PAUSE ends the turn of an emulated CPU, and most waits are
 * short. By the time-stamp counter, whose frequency this layer does not know: `STUCK` counts are
 * seconds on anything that exists, and the report comes again with each further doubling.
 */
#define STUCK_CYCLES (20ull * 1000 * 1000 * 1000)

static __cold void report(const u16 *owner, u16 ticket, const spinlock_t *lock)
{
	const char *name = "a page table";
	s32 holder = -1;

#ifdef CONFIG_DEBUG
	if (lock) {
		name = lock->name ? lock->name : "unnamed";
		holder = READ_ONCE(lock->holder) - 1;
	}
#else
	if (lock)
		name = "a spin lock";
#endif
	watchdog_report("CPU %u waits for %s at %p: ticket %u, %u is served, held by CPU %d",
			cpu_id(), name, (const void *)owner, ticket, READ_ONCE(*owner), holder);
}

void spin_wait(const u16 *owner, u16 ticket, const spinlock_t *lock)
{
	u64 begun = 0, limit = STUCK_CYCLES, n;

	for (n = 1; __atomic_load_n(owner, __ATOMIC_ACQUIRE) != ticket; n++) {
		if (n % 64 == 0)
			cpu_relax();
		if (n % 0x10000 != 0)
			continue;
		if (!begun)
			begun = cpu_cycles();
		if (watchdog_seconds() && cpu_cycles() - begun > limit) {
			limit *= 2;
			report(owner, ticket, lock);
		}
	}
	lock_count_wait(lock ? lock_class_of_rank(lock->rank) : LOCK_PT, n);
}
DEFINE_KEEPING(spin_wait);
