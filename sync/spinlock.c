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

/* A wait of n looks so far: polite, and reported when it gets long. */
struct wait {
	u64 n, begun, limit;
};

static void look_again(struct wait *w, const u16 *owner, u16 ticket, const spinlock_t *lock)
{
	w->n++;
	if (w->n % 64 == 0)
		cpu_relax();
	if (w->n % 0x10000 != 0)
		return;
	if (!w->begun)
		w->begun = cpu_cycles();
	if (watchdog_seconds() && cpu_cycles() - w->begun > w->limit) {
		w->limit *= 2;
		report(owner, ticket, lock);
	}
}

void spin_wait(const u16 *owner, u16 ticket, const spinlock_t *lock)
{
	struct wait w = { .n = 1, .limit = STUCK_CYCLES };

	while (__atomic_load_n(owner, __ATOMIC_ACQUIRE) != ticket)
		look_again(&w, owner, ticket, lock);
	lock_count_wait(lock ? lock_class_of_rank(lock->rank) : LOCK_PT, w.n);
}

void spin_await_slowly(spinlock_t *l)
{
	struct wait w = { .n = 1, .limit = STUCK_CYCLES };

	while (spin_is_locked(l))
		look_again(&w, &l->owner, READ_ONCE(l->next), l);
	lock_count_wait(lock_class_of_rank(l->rank), w.n);
}
