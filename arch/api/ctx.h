/*
 * A thread's machine state while it does not run, and the switch.
 *
 *	struct arch_thread            in struct thread: saved stack pointer, FS and GS base, FPU area
 *
 *	ctx_switch(prev, from, to)    saves the callee's registers, changes stacks, continues in next.
 *	                              Returns, when prev runs again, the thread that was left for it.
 *	                              Interrupts off. Always inlined, called in one place only.
 */
#pragma once

#include "arch/api/regs.h"

struct thread;

#include "arch/api/percpu.h"
#include "machine/ctx.h"

/* The thread that this CPU runs. struct thread starts with its struct arch_thread, then its work word. */
DECLARE_PER_CPU(struct thread *, current_thread);

/* Bytes of a kernel stack, without its guard page. */
#define KSTACK_SIZE (16 * KiB)

/* Prepares t so that its first switch-in calls entry(prev) on its own stack, interrupts off. */
void ctx_init(struct arch_thread *a, void *stack_top, void (*entry)(struct thread *prev));

/* The program's registers on the kernel stack with that top. */
static inline struct regs *ctx_user_regs(void *stack_top)
{
	return (struct regs *)((char *)stack_top - ARCH_REGS_OFFSET);
}

/* Leaves the kernel for the program with the registers at the top of the current stack. */
__noreturn void ctx_enter_user(void);

/*
 * The part of a switch that only user threads need: TLS bases, FPU, the stack for the next entry
 * from user mode. ctx_switch_user(next) is called when next is a user thread, ctx_leave_user(prev)
 * when it is not; interrupts off.
 */

/*
 * FPU and TLS for a program's thread, in their initial state: 0 or -ENOMEM. ctx_user_create may be
 * called for the current kernel thread, which thereby becomes a user thread. ctx_user_clone copies
 * the current user thread's state into a child made by ctx_user_create.
 */
int ctx_user_create(struct arch_thread *a);
void ctx_user_clone(struct arch_thread *child);
void ctx_user_reset(
	void); /* execve: FPU to its initial state, TLS bases 0, of the current thread */
void ctx_user_destroy(struct arch_thread *a);

/* Sets the thread's TLS base (FS). The current thread's takes effect at once. -EPERM: not canonical
 * or not a user address. */
int ctx_set_tls(struct arch_thread *a, u64 base);
u64 ctx_get_tls(struct arch_thread *a);
/* The second TLS base (GS on x86, which programs hardly use). Errors as ctx_set_tls. */
int ctx_set_gs(struct arch_thread *a, u64 base);
u64 ctx_get_gs(struct arch_thread *a);
