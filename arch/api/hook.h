/*
 * Hooks: places that observers (debug/trace.c, debug/latency.c) may listen at. Until hook_enable
 * they cost nothing, or one NOP where the text below says so; it runs once, while the kernel's text is
 * still writable, and patches the places of the classes that it is given.
 *
 *	static bool hook_on(unsigned class);   a branch that is not taken until its class is enabled:
 *	                                       one NOP
 *
 * The machine provides the other places without any cost: calls in its entry code, the switch,
 * changes of the interrupt flag and of preempt_word are each one instruction long enough to be
 * replaced by a jump or a call. They come back as the functions below, with interrupts off
 * unless it says otherwise.
 */
#pragma once

#include "arch/api/regs.h"
#include "lib/types.h"

#define HOOK_TRACE   1 /* places that only the trace looks at */
#define HOOK_EVENT   2 /* switches, wake-ups, entries: trace and latency */
#define HOOK_LATENCY 4 /* interrupts and preemption off and on */
#define HOOK_STEP                                                                                  \
	8 /* a stop behind each instruction that runs with interrupts on; not with LATENCY */

#include "machine/hook.h" /* hook_on */

void hook_enable(unsigned classes);

/* Why a thread leaves the CPU: the last argument of ctx_switch, a constant. */
enum switch_why { SWITCH_YIELD, SWITCH_BLOCK, SWITCH_PREEMPT };

struct thread;

/* HOOK_EVENT. The current thread is prev; the run queue's lock is held. sched/hook.c */
void hook_switch(struct thread *prev, struct thread *next, unsigned why);

/* HOOK_EVENT: on the way in and out of the kernel. debug/trace.c */
void hook_syscall_enter(const struct regs *r); /* interrupts on */
void hook_syscall_exit(const struct regs *r);  /* likewise; the result is in r */
void hook_interrupt_enter(const struct regs *r, unsigned vector);
void hook_interrupt_exit(unsigned vector);
void hook_fault_enter(const struct regs *r, u64 va, u64 error);
void hook_fault_exit(void);
void hook_fault_failed(u64 va,
		       int code); /* HOOK_TRACE, interrupts on: a signal or a fix-up follows */
void hook_trap_enter(const struct regs *r, unsigned vector); /* any other exception */
void hook_trap_exit(unsigned vector);

/* HOOK_TRACE: CR3 was loaded (the machine's word for the table and how). debug/trace.c */
void hook_cr3(u64 pc, u64 value);

/* HOOK_LATENCY: the flag's, or the count's, changes between "may" and "may not". pc is the place,
 * fp the frame of the function that it is in. debug/latency.c */
void hook_irqs_off(u64 pc, u64 fp);
void hook_irqs_on(u64 pc, u64 fp);
void hook_preempt_off(u64 pc, u64 fp);
void hook_preempt_on(u64 pc, u64 fp);

/*
 * HOOK_STEP: the kernel is stepped through, wherever its interrupts are on, while hook_step_on(true) is in
 * force. At each stop hook_step is called as if a timer interrupt had come there; the interrupted code
 * is preempted behind it if it wants that (set_need_resched) and may be. debug/anywhere.c
 */
enum step_path {
	STEP_FAULT,
	STEP_FORK,
	STEP_EXEC,
	STEP_EXIT,
	STEP_SIGNAL,
	STEP_CALL,   /* any other system call */
	STEP_KERNEL, /* kernel threads, and a thread's first steps */
	STEP_PATHS,
};
void hook_step_on(bool on);
void hook_step(const struct regs *r, enum step_path path);
