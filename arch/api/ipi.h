/*
 * Messages between CPUs. With one CPU none is ever sent, and nothing here costs anything.
 */
#pragma once

#include "arch/api/percpu.h"

/*
 * Has that CPU pass through the end of an interrupt with need_resched looked at: its handler calls the
 * upcall sched_ipi. This CPU too: when interrupts are on again. Any context but NMI. Nothing is waited for.
 */
void ipi_reschedule(u32 cpu);

/* Has that CPU call the upcall timer_interrupt, as if its clock event had fired. Any context but NMI. */
void ipi_timer(u32 cpu);

/*
 * Has each CPU of the mask (bit n of word n / 64; NULL: all that are up; this one is left out) call
 * fn(arg) with interrupts off, and returns when all have. Not from interrupts or NMIs, not with a
 * lock held that anybody takes with interrupts off: that CPU would never answer. The caller's
 * interrupts should be on; if they are off (boot, the end of a thread) it serves what others ask of
 * it while it waits, so that two such callers do not wait for each other.
 *
 * A CPU that does not answer is reported with the backtraces of all CPUs, and panics in the end.
 */
void ipi_call_mask(const u64 *mask, void (*fn)(void *arg), void *arg);

/* The same for one CPU; this one calls fn itself. */
void ipi_call(u32 cpu, void (*fn)(void *arg), void *arg);

/* Of this CPU, since boot. For /proc/interrupts. */
struct ipi_counts {
	u64 reschedule_sent, reschedule_taken, call_sent, call_taken;
};
DECLARE_PER_CPU(struct ipi_counts, ipi_counts); /* [o] */

/*
 * An NMI to each other CPU, whatever it is doing; returns at once. There it calls the upcall
 * nmi_interrupt. False: this machine has no way to send one.
 */
bool ipi_nmi_others(void);
