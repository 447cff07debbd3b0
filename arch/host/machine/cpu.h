/* A simulated CPU's interrupt flag; there are no interrupts. */
#pragma once

#include "lib/types.h"

extern _Thread_local bool host_irqs_on;

static inline bool irqs_enabled(void)
{
	return host_irqs_on;
}
static inline void irq_enable(void)
{
	host_irqs_on = true;
}
static inline void irq_disable(void)
{
	host_irqs_on = false;
}
static inline u64 irq_save(void)
{
	u64 flags = host_irqs_on;

	host_irqs_on = false;
	return flags;
}
static inline void irq_restore(u64 flags)
{
	host_irqs_on = flags;
}
static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}
static inline void cpu_wait_for_interrupt(void)
{
	host_irqs_on = true;
}
static inline void cpu_stop(void)
{
}
static inline u64 cpu_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

static inline bool cpu_hw_random(u64 *out)
{
	*out = 0;
	return false;
}
