/*
 * The contract of arch/api on Linux user space: what the host tests of lib, mm and sched link
 * against. Each host thread plays the simulated CPU `host_cpu`.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "arch/api/preempt.h"
#include "lib/kassert.h"
#include "lib/klog.h"

_Thread_local u32 host_cpu;
_Thread_local u32 host_pinned;
_Thread_local bool host_irqs_on = true;
u32 nr_cpus = 1;
DEFINE_PER_CPU(u32, cpu_number);
DEFINE_PER_CPU(const struct regs *, irq_regs);

/*
 * Tests without the scheduler have no threads, but mm/ counts in the current one: memory of zeroes,
 * larger than a struct thread, for each CPU.
 */
struct thread;
__attribute__((weak)) DEFINE_PER_CPU(struct thread *, current_thread);
static u64 nobody[NR_CPUS][512] __attribute__((aligned(64)));

__attribute__((constructor)) static void host_cpus_init(void)
{
	for (u32 i = 0; i < NR_CPUS; i++) {
		cpu_number[i] = i;
		current_thread[i] = (struct thread *)nobody[i];
	}
}

__attribute__((weak)) u64 host_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

/* Without a simulation (arch/host/sim.c) host threads are the CPUs, and the host interleaves them. */
__attribute__((weak)) void host_point(void)
{
}

__attribute__((weak)) void host_relax(void)
{
	__builtin_ia32_pause();
}

__attribute__((weak)) void host_wait_for_interrupt(void)
{
	host_irqs_on = true;
}

/* A test that expects a panic sets this; it must not return. */
void (*host_panic_hook)(const char *message);

void panic(const char *fmt, ...)
{
	char message[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (host_panic_hook)
		host_panic_hook(message);
	fprintf(stderr, "panic: %s\n", message);
	abort();
}

void klog(enum klog_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > KLOG_WARN && !getenv("KLOG"))
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}

/* Nobody to switch to. Weak: a test of the scheduler may bring its own. */
__attribute__((weak)) void sched_preempt(void)
{
}

/*
 * READ_ONCE and WRITE_ONCE mark accesses that race by design: where the build tells ThreadSanitizer
 * volatile accesses apart (Makefile), they are none of its business.
 */
#define TSAN_VOLATILE(n)                                                                           \
	void __tsan_volatile_read##n(void *p);                                                     \
	void __tsan_volatile_read##n(void *p)                                                      \
	{                                                                                          \
	}                                                                                          \
	void __tsan_volatile_write##n(void *p);                                                    \
	void __tsan_volatile_write##n(void *p)                                                     \
	{                                                                                          \
	}
TSAN_VOLATILE(1)
TSAN_VOLATILE(2)
TSAN_VOLATILE(4)
TSAN_VOLATILE(8)
/* Messages: a test that simulates several CPUs brings its own. */
__attribute__((weak)) void ipi_reschedule(u32 cpu)
{
}

__attribute__((weak)) void ipi_timer(u32 cpu)
{
}

/* What lies above the machine, and a test may not bring. */
u64 watchdog_seconds(void);
void watchdog_report(const char *fmt, ...);
void rcu_barrier(void);

/* Watchdogs: a lock that does not come is a test that does not end. */
__attribute__((weak)) u64 watchdog_seconds(void)
{
	return 0;
}

__attribute__((weak)) void watchdog_report(const char *fmt, ...)
{
}

/* A test with grace periods ends them itself (rcu_poll). */
__attribute__((weak)) void rcu_barrier(void)
{
}
