/* CLI and STI are not for user mode: compiler barriers stand in their place, which the figures say. */
#pragma once

#include "lib/types.h"

static inline bool irqs_enabled(void)
{
	return true;
}
static inline void irq_enable(void)
{
	barrier();
}
static inline void irq_disable(void)
{
	barrier();
}
static inline u64 irq_save(void)
{
	barrier();
	return 0;
}
static inline void irq_restore(u64 flags)
{
	barrier();
}
static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}
static inline void cpu_wait_for_interrupt(void)
{
}
static inline u64 cpu_cycles(void)
{
	return __builtin_ia32_rdtsc();
}
static inline u64 irq_save_raw(void)
{
	return irq_save();
}
static inline void irq_restore_raw(u64 flags)
{
	irq_restore(flags);
}
