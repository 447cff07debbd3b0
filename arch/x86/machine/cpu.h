/*
 * Interrupt flag, PAUSE, HLT and the time-stamp counter.
 *
 * CLI and STI carry four prefixes without a meaning: one instruction of five bytes, long enough to
 * become a call that measures (arch/x86/hook.c). The raw ones are for those who measure.
 */
#pragma once

#include "lib/types.h"
#include "arch/api/hook.h"

#define EFLAGS_IF (1u << 9)

static inline u64 cpu_flags(void)
{
	u64 flags;

	__asm__ volatile("pushfq; popq %0" : "=r"(flags) : : "memory");
	return flags;
}

static inline bool irqs_enabled(void)
{
	return cpu_flags() & EFLAGS_IF;
}

static inline void irq_enable(void)
{
	__asm__ volatile(HOOK_INSN(".byte 0x3e, 0x3e, 0x3e, 0x3e, 0xfb", "hook_stub_sti")
			 :
			 :
			 : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile(HOOK_INSN(".byte 0x3e, 0x3e, 0x3e, 0x3e, 0xfa", "hook_stub_cli")
			 :
			 :
			 : "memory");
}

static inline u64 irq_save_raw(void)
{
	u64 flags;

	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
	return flags;
}

static inline void irq_restore_raw(u64 flags)
{
	__asm__ volatile("pushq %0; popfq" : : "r"(flags) : "memory", "cc");
}

static inline u64 irq_save(void)
{
	u64 flags = cpu_flags();

	irq_disable();
	return flags;
}

static inline void irq_restore(u64 flags)
{
	if (flags & EFLAGS_IF)
		irq_enable();
	else
		barrier();
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/*
 * STI holds interrupts off for one more instruction, so none falls between it and HLT: it must stay
 * in its place, and the measurement ends just before.
 */
static inline void cpu_wait_for_interrupt(void)
{
	if (hook_on(HOOK_LATENCY))
		hook_irqs_on((u64)__builtin_return_address(0), (u64)__builtin_frame_address(0));
	__asm__ volatile("sti; hlt" : : : "memory");
}

static inline void cpu_stop(void)
{
	__asm__ volatile("cli; hlt" : : : "memory");
}

static inline u64 cpu_cycles(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

/* A word from the processor's random number generator (RDRAND). False: it has none, or is dry. */
static inline bool cpu_hw_random(u64 *out)
{
	u32 a = 1, b, c = 0, d;
	bool ok = false;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	for (int tries = 0; (c & (1u << 30)) && !ok && tries < 10; tries++)
		__asm__ volatile("rdrand %0" : "=r"(*out), "=@ccc"(ok));
	return ok;
}
