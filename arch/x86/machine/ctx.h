/*
 * A thread's machine state, and the switch.
 *
 * A switched-out thread's stack holds, from arch.sp up: the address to continue at, and rbp. All
 * other callee-saved registers are clobbered by the switch, so that the compiler saves in the
 * function around it what is alive there. The next thread continues by `pop; jmp` and not by `ret`:
 * the return predictor's stack holds the chain of the thread that was left and would mispredict.
 */
#pragma once

#include "arch/api/percpu.h"
#include "machine/hook.h"

struct fpu_area;

struct arch_thread {
	u64 sp;               /* [o] while it does not run; first: ctx_switch */
	u64 stack_top;        /* [I] */
	struct fpu_area *fpu; /* [I] NULL: a kernel thread */
	u64 fs_base, gs_base; /* [o] valid while it does not own the CPU's user registers */
	u32 loaded_on;        /* [o] the CPU that loaded the user registers last; NR_CPUS: none */
};

/*
 * Returns, in the thread that was switched to, the thread that was left. why: enum switch_why, a
 * constant. The instruction at 771 is where a trace jumps out of line and back (arch/api/hook.h); at
 * that point the two struct arch_thread are the beginnings of their threads.
 */
static __always_inline struct thread *ctx_switch(struct thread *prev, struct arch_thread *from,
						 const struct arch_thread *to, const unsigned why)
{
	__asm__ volatile("pushq %%rbp\n"
			 "771:\tpushq $1f\n"
			 "772:\tmovq %%rsp, (%[from])\n\t"
			 "movq (%[to]), %%rsp\n\t"
			 "popq %%rdx\n\t"
			 "jmp *%%rdx\n"
			 "1:\tpopq %%rbp\n\t"
			 ".pushsection .text.hook, \"ax\"\n"
			 "773:\tpushq %%rax\n\t"
			 "pushq %%rdi\n\t"
			 "pushq %%rsi\n\t"
			 "movl %[why], %%edx\n\t"
			 "call hook_switch\n\t"
			 "popq %%rsi\n\t"
			 "popq %%rdi\n\t"
			 "popq %%rax\n\t"
			 "pushq $1b\n\t"
			 "jmp 772b\n\t"
			 ".popsection\n\t" HOOK_SITE("771b", "772b - 771b", "773b", "0xe9", "2")
			 : "+a"(prev), [from] "+D"(from), [to] "+S"(to)
			 : [why] "i"(why)
			 : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
			   "r15", "memory", "cc");
	return prev;
}

/*
 * FS, GS, FPU and TSS.rsp0 belong to one user thread a CPU, the owner. Kernel threads leave them
 * alone, so that a switch to a kernel thread and back costs nothing here.
 *
 * With several CPUs a thread may go on elsewhere, so what it leaves for a kernel thread is saved at
 * once. It stays in the registers all the same, and the owner has CTX_SAVED: if it comes back and
 * has not been loaded on another CPU (loaded_on), nothing is restored.
 */
#define CTX_SAVED 1ul

DECLARE_PER_CPU(struct arch_thread *, ctx_user_owner);

void ctx_load_user_state(struct arch_thread *next);
void ctx_save_user_state(struct arch_thread *prev);

/* next is a user thread. */
static inline void ctx_switch_user(struct arch_thread *next)
{
	if (this_cpu_read(ctx_user_owner) != next)
		ctx_load_user_state(next);
}

/* next is a kernel thread, prev anything, there are several CPUs. */
static inline void ctx_leave_user(struct arch_thread *prev)
{
	if (prev->fpu)
		ctx_save_user_state(prev);
}
