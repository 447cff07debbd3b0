/*
 * A simulated CPU's interrupt flag. Where the flag changes and where somebody spins, another
 * simulated CPU may come in between, and an interrupt when the flag is set: host_point, which does
 * nothing unless arch/host/sim.c runs.
 */
#pragma once

#include "lib/types.h"

extern _Thread_local bool host_irqs_on;

u64 host_cycles(void);
void host_point(void);              /* others may run here */
void host_relax(void);              /* others must run here: we wait for them */
void host_wait_for_interrupt(void); /* the halt; interrupts off on entry, on at the return */

/* By assembly for ThreadSanitizer's sake: see machine/percpu.h. */
static inline bool irqs_enabled(void)
{
	bool on;

	__asm__ volatile("movb %1, %0" : "=r"(on) : "m"(host_irqs_on));
	return on;
}
static inline void host_set_irqs(bool on)
{
	__asm__ volatile("movb %1, %0" : "=m"(host_irqs_on) : "r"(on) : "memory");
}
static inline void irq_enable(void)
{
	host_set_irqs(true);
	host_point();
}
static inline void irq_disable(void)
{
	host_point();
	host_set_irqs(false);
}
static inline u64 irq_save(void)
{
	host_point();
	u64 flags = irqs_enabled();

	host_set_irqs(false);
	return flags;
}
static inline void irq_restore(u64 flags)
{
	host_set_irqs(flags != 0);
	host_point();
}
static inline void cpu_relax(void)
{
	host_relax();
}
static inline void cpu_wait_for_interrupt(void)
{
	host_wait_for_interrupt();
}
static inline void cpu_stop(void)
{
}
static inline u64 cpu_cycles(void)
{
	return host_cycles();
}

static inline bool cpu_hw_random(u64 *out)
{
	*out = 0;
	return false;
}
static inline u64 irq_save_raw(void)
{
	return irq_save();
}
static inline void irq_restore_raw(u64 flags)
{
	irq_restore(flags);
}
