/*
 * Messages between CPUs: reschedule, call, NMI.
 *
 * A call. Each CPU has one request of its own (it waits for the answer before it makes another), and
 * a mask of the CPUs that ask something of it:
 *
 *	caller		fills its request; sets its bit in the mask of each target; sends the vector
 *	target		takes its whole mask; for each bit: fn(arg) of that CPU's request, then its
 *			count of answers to come goes down
 *	caller		waits for zero
 *
 * The bit is set by a locked instruction after the request was filled, and taken by one before it is
 * read. The count goes down behind fn: the caller may reuse request and argument at once. A target
 * that finds its mask empty was served already, by an earlier vector or while it waited itself.
 *
 * No deadlock. A target answers as soon as its interrupts are on, or when it waits for answers of its
 * own; so the only thing that a caller may not do is hold what a CPU with interrupts off waits for.
 *
 * The wait. At first the caller looks again and again; PAUSE would end an emulated processor's turn, at
 * a price of half a millisecond a message (QEMU's thread=multi). After SPINS looks, some 50 us, the
 * target is not running, as happens to virtual CPUs, or has its interrupts off: the caller halts, and
 * says so (`halted`), and the last one to answer sends it a message.
 *
 *	caller: halted = 1; full barrier; left == 0?  |  target: left--; full barrier; halted?
 */
#include "arch/api/ipi.h"

#include "arch/api/cpu.h"
#include "arch/api/preempt.h"
#include "arch/api/smp.h"
#include "arch/api/upcall.h"
#include "arch/x86/ipi.h"
#include "arch/x86/irqchip.h"
#include "arch/x86/lapic.h"
#include "arch/x86/tsc.h"
#include "arch/x86/vectors.h"
#include "lib/atomic.h"
#include "lib/kassert.h"

#define MASK_WORDS (NR_CPUS / 64)
#define SPINS      10000

struct ipi_request {
	void (*fn)(void *arg); /* [o] while no answer is to come */
	void *arg;
	u32 left;   /* [a] answers to come */
	u32 halted; /* [a] the caller wants to be woken by the last one */
};

DEFINE_PER_CPU_SHARED(u32, cpu_apic_id);
static DEFINE_PER_CPU_SHARED(struct ipi_request, request);
static DEFINE_PER_CPU_SHARED(u64, asked)[MASK_WORDS]; /* [a] CPUs that ask something of this one */
DEFINE_PER_CPU(struct ipi_counts, ipi_counts);

void ipi_reschedule(u32 cpu)
{
	this_cpu_ptr(&ipi_counts)->reschedule_sent++;
	lapic_send(*per_cpu_ptr(&cpu_apic_id, cpu), VEC_IPI_RESCHEDULE);
}

void ipi_timer(u32 cpu)
{
	lapic_send(*per_cpu_ptr(&cpu_apic_id, cpu), VEC_IPI_TIMER);
}

/* Interrupts off. */
static void serve(void)
{
	u64 *mask = *this_cpu_ptr(&asked);

	for (u32 w = 0; w < MASK_WORDS; w++) {
		if (!READ_ONCE(mask[w]))
			continue;
		for (u64 bits = __atomic_exchange_n(&mask[w], 0, __ATOMIC_SEQ_CST); bits;
		     bits &= bits - 1) {
			u32 from = w * 64 + (u32)__builtin_ctzl(bits);
			struct ipi_request *r = per_cpu_ptr(&request, from);

			r->fn(r->arg);
			if (__atomic_sub_fetch(&r->left, 1, __ATOMIC_SEQ_CST) == 0 &&
			    __atomic_load_n(&r->halted, __ATOMIC_SEQ_CST))
				lapic_send(*per_cpu_ptr(&cpu_apic_id, from), VEC_IPI_CALL);
		}
	}
}

void ipi_interrupt(unsigned vector)
{
	if (vector == VEC_IPI_CALL) {
		this_cpu_ptr(&ipi_counts)->call_taken++;
		serve();
	} else if (vector == VEC_IPI_TIMER) {
		timer_interrupt();
	} else {
		this_cpu_ptr(&ipi_counts)->reschedule_taken++;
		sched_ipi();
	}
}

/* A CPU that has not taken our request yet; NR_CPUS: all have, and some have not finished. */
static u32 who_is_missing(void)
{
	u32 self = cpu_id();

	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		if (READ_ONCE((*per_cpu_ptr(&asked, cpu))[self / 64]) >> (self % 64) & 1)
			return cpu;
	return NR_CPUS;
}

/* A look at the time, between two looks at the answers. */
static void complain(struct ipi_request *r, u64 begun, u64 *complained)
{
	u64 seconds = tsc_source.hz ? (cpu_cycles() - begun) / tsc_source.hz : 0;

	if (seconds == *complained)
		return;
	*complained = seconds;
	cpu_does_not_answer(who_is_missing(), seconds, r->fn);
}

/* Until the last answer or any other interrupt. Interrupts are on. */
static void halt_for_answers(struct ipi_request *r)
{
	irq_disable();
	__atomic_store_n(&r->halted, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&r->left, __ATOMIC_SEQ_CST) != 0)
		cpu_wait_for_interrupt();
	else
		irq_enable();
	__atomic_store_n(&r->halted, 0, __ATOMIC_RELAXED);
}

static void wait_for_answers(struct ipi_request *r)
{
	u64 begun, complained = 0;
	bool may_halt = irqs_enabled();

	for (u32 n = 0; n < SPINS; n++)
		if (__atomic_load_n(&r->left, __ATOMIC_ACQUIRE) == 0)
			return;
	begun = cpu_cycles();
	while (__atomic_load_n(&r->left, __ATOMIC_ACQUIRE) != 0) {
		if (may_halt) {
			halt_for_answers(r);
		} else {
			serve();
			cpu_relax();
		}
		complain(r, begun, &complained);
	}
}

static bool mask_has(const u64 *mask, u32 cpu)
{
	return !mask || (__atomic_load_n(&mask[cpu / 64], __ATOMIC_SEQ_CST) >> (cpu % 64) & 1);
}

/* Preemption off. */
static void ask(struct ipi_request *r, u32 cpu)
{
	u32 self = cpu_id();

	__atomic_fetch_add(&r->left, 1, __ATOMIC_RELAXED);
	__atomic_fetch_or(&(*per_cpu_ptr(&asked, cpu))[self / 64], 1ul << (self % 64),
			  __ATOMIC_SEQ_CST);
	lapic_send(*per_cpu_ptr(&cpu_apic_id, cpu), VEC_IPI_CALL);
	this_cpu_ptr(&ipi_counts)->call_sent++;
}

void ipi_call_mask(const u64 *mask, void (*fn)(void *arg), void *arg)
{
	u32 n = READ_ONCE(nr_cpus);

	preempt_disable();
	u32 self = cpu_id();
	struct ipi_request *r = this_cpu_ptr(&request);

	kassert(!this_cpu_read(irq_regs));
	kassert_eq(r->left, 0);
	r->fn = fn;
	r->arg = arg;
	for (u32 cpu = 0; cpu < n; cpu++)
		if (cpu != self && mask_has(mask, cpu))
			ask(r, cpu);
	wait_for_answers(r);
	preempt_enable();
}

void ipi_call(u32 cpu, void (*fn)(void *arg), void *arg)
{
	u64 flags = irq_save();

	if (cpu == cpu_id()) {
		fn(arg);
		irq_restore(flags);
		return;
	}
	preempt_disable();
	irq_restore(flags);
	struct ipi_request *r = this_cpu_ptr(&request);

	kassert_eq(r->left, 0);
	r->fn = fn;
	r->arg = arg;
	ask(r, cpu);
	wait_for_answers(r);
	preempt_enable();
}

bool ipi_nmi_others(void)
{
	if (!lapic_present())
		return false;
	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		if (cpu != cpu_id())
			lapic_send_nmi(*per_cpu_ptr(&cpu_apic_id, cpu));
	return true;
}
