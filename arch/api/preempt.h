/*
 * The preemption count and the reschedule request, in one per-CPU word, so that preempt_enable
 * is one decrement and one branch.
 *
 * Bits 0-30 count the reasons why this CPU must not switch threads (spinlocks held, interrupt
 * nesting, preempt_disable). Bit 31 is set while NO reschedule is wanted: the word is zero exactly
 * when a switch is both allowed and wanted. (The inverted bit is Linux's idea.)
 *
 * An interrupt enters with preempt_count raised and, on its way out, calls the upcall
 * sched_preempt_irq when the word is zero.
 */
#pragma once

#include "arch/api/percpu.h"
#include "machine/call.h" /* call_keeping(fn): a seldom call that changes no register */

#define PREEMPT_NO_RESCHED 0x80000000u

DECLARE_PER_CPU(u32, preempt_word);

/* Called by preempt_enable when the word reaches zero. Reschedules unless interrupts are off. */
void sched_preempt(void);

static inline u32 preempt_count(void)
{
	return this_cpu_read(preempt_word) & ~PREEMPT_NO_RESCHED;
}

static inline bool need_resched(void)
{
	return !(this_cpu_read(preempt_word) & PREEMPT_NO_RESCHED);
}

/* Asks this CPU to reschedule at its next chance. */
static inline void set_need_resched(void)
{
	this_cpu_and(preempt_word, ~PREEMPT_NO_RESCHED);
}

static inline void clear_need_resched(void)
{
	this_cpu_or(preempt_word, PREEMPT_NO_RESCHED);
}

static inline void preempt_disable(void)
{
	preempt_word_inc(preempt_word);
	barrier();
}

/* For code that knows that it reschedules in a moment anyhow, or must not. */
static inline void preempt_enable_no_resched(void)
{
	barrier();
	preempt_word_dec(preempt_word);
}

static inline void preempt_enable(void)
{
	barrier();
	if (unlikely(preempt_word_dec_is_zero(preempt_word)))
		call_keeping(sched_preempt);
}
