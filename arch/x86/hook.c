/*
 * Hooks on the PC (arch/api/hook.h, machine/hook.h): the patching, and the functions that stand
 * before those that entry.S calls.
 *
 * The patching runs once at boot, on the only CPU, before the final page table makes the text
 * read-only. There is no way to do or undo it later: what may be switched while the kernel runs is
 * what the observers do (debug/latency.c).
 *
 * Interrupts are off from the CPU's own entry to STI, and from CLI to IRET or SYSRET: a few dozen
 * instructions of entry.S at each end that the hooks do not see. What is called in between is seen.
 */
#include "arch/api/hook.h"

#include "arch/api/cpu.h"
#include "arch/api/upcall.h"
#include "arch/x86/entry.h"
#include "lib/string.h"

#define OPCODE_LENGTH 5

struct hook_site {
	s32 at, to; /* from these fields themselves */
	u8 opcode, length, class, unused;
};

extern const struct hook_site __hook_sites_start[], __hook_sites_end[];

static unsigned enabled; /* [I] after boot */

extern char hook_stub_sti[], hook_stub_step[];

static u64 target_of(const struct hook_site *s)
{
	return (u64)&s->to + s->to;
}

static void patch(const struct hook_site *s, u64 to)
{
	static const u8 nops[5][4] = {
		{ 0 }, { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 }, { 0x0f, 0x1f, 0x40, 0x00 },
	};
	u8 *at = (u8 *)&s->at + s->at;
	s32 distance = (s32)(to - (u64)(at + OPCODE_LENGTH));
	unsigned rest = s->length - OPCODE_LENGTH;

	at[0] = s->opcode;
	memcpy(at + 1, &distance, sizeof(distance));
	for (u8 *p = at + OPCODE_LENGTH; rest; p += MIN(rest, 4u), rest -= MIN(rest, 4u))
		memcpy(p, nops[MIN(rest, 4u)], MIN(rest, 4u));
}

void hook_enable(unsigned classes)
{
	for (const struct hook_site *s = __hook_sites_start; s < __hook_sites_end; s++) {
		if (s->class & classes)
			patch(s, target_of(s));
		else if ((classes & HOOK_STEP) && target_of(s) == (u64)hook_stub_sti)
			patch(s, (u64)hook_stub_step);
	}
	enabled |= classes;
}

/* ---- called by entry.S once HOOK_EVENT is on --------------------------------------------------- */

static bool latency_on(void)
{
	return enabled & HOOK_LATENCY;
}

static void irqs_off(const struct regs *r)
{
	if (latency_on())
		hook_irqs_off(r->rip, (u64)__builtin_frame_address(0));
}

/* The interrupted code goes on, perhaps with interrupts off, as they were. */
static void irqs_back(const struct regs *r)
{
	if (latency_on() && (r->rflags & EFLAGS_IF))
		hook_irqs_on(r->rip, (u64)__builtin_frame_address(0));
}

void hooked_trap_interrupt(struct regs *r, unsigned vector);
void hooked_trap_interrupt(struct regs *r, unsigned vector)
{
	irqs_off(r);
	hook_interrupt_enter(r, vector);
	trap_interrupt(r, vector);
	hook_interrupt_exit(vector);
	irqs_back(r);
}

void hooked_trap_exception(struct regs *r, unsigned vector);
void hooked_trap_exception(struct regs *r, unsigned vector)
{
	u64 cr2;

	__asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
	irqs_off(r);
	if (vector == TRAP_PF)
		hook_fault_enter(r, cr2, r->orig_rax);
	else
		hook_trap_enter(r, vector);
	trap_exception(r, vector);
	if (vector == TRAP_PF)
		hook_fault_exit();
	else
		hook_trap_exit(vector);
	irqs_back(r);
}

void hooked_trap_user_work(struct regs *r);
void hooked_trap_user_work(struct regs *r)
{
	irqs_off(r);
	trap_user_work(r);
	irqs_back(r);
}

void hooked_sched_preempt_irq(void);
void hooked_sched_preempt_irq(void)
{
	u64 pc = (u64)__builtin_return_address(0), fp = (u64)__builtin_frame_address(0);

	if (latency_on())
		hook_irqs_off(pc, fp);
	sched_preempt_irq();
	if (latency_on())
		hook_irqs_on(pc, fp);
}
