/*
 * The lock of an output device that log lines and panics reach in any context: waits for another
 * CPU, but never for itself, and not for ever once a panic is in progress. Interrupts are off while
 * it is held, so that only an NMI or a fault inside the driver can find its own CPU holding it.
 *
 * devlock_acquire says whether the lock was taken. If not, the caller decides: it may go on if its
 * device can bear it (a panic: nobody else will run again), or leave.
 */
#pragma once

#include "arch/api/cpu.h"
#include "debug/panic.h"
#include "lib/atomic.h"

struct devlock {
	atomic_t owner; /* CPU + 1; 0: free */
};

#define DEVLOCK_PANIC_SPINS 1000000

static inline bool devlock_acquire(struct devlock *l, u64 *flags)
{
	u32 me, spins = 0;

	*flags = irq_save();
	me = cpu_id() + 1;
	for (;;) {
		u32 owner = 0;

		if (atomic_cas(&l->owner, &owner, me))
			return true;
		if (owner == me || (panic_in_progress() && ++spins > DEVLOCK_PANIC_SPINS))
			return false;
		cpu_relax();
	}
}

/* taken: what devlock_acquire returned. */
static inline void devlock_release(struct devlock *l, bool taken, u64 flags)
{
	if (taken)
		atomic_store_release(&l->owner, 0u);
	irq_restore(flags);
}
