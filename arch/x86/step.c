/*
 * Single steps through the kernel, for the mode "interrupt anywhere" (debug/anywhere.c).
 *
 * TF and IF go together. With HOOK_STEP each STI of the kernel is a call of hook_stub_step, which sets
 * both. From there on a #DB comes behind each instruction. Every gate clears both; IRET brings both back. CLI
 * leaves TF alone: the #DB behind it finds IF clear, and takes TF out of what it returns to. So
 * no instruction with interrupts off is ever stepped, none that runs on a program's stack between
 * SYSCALL or SYSRET and the loads of RSP, no idle CPU between STI and HLT, no handler of a step; and #DB needs no
 * stack of its own. SYSCALL's mask clears a program's TF, SYSRET and IRET give it back: programs
 * that step through themselves do not notice.
 */
#include "arch/api/cpu.h"
#include "arch/api/ctx.h"
#include "arch/api/hook.h"
#include "arch/api/preempt.h"
#include "arch/x86/entry.h"
#include "machine/regs.h"

#define EFLAGS_TF (1u << 8)

/* Of syscall/table.tbl: those that have a path of their own. */
enum {
	NR_rt_sigaction = 13,
	NR_rt_sigprocmask = 14,
	NR_rt_sigreturn = 15,
	NR_clone = 56,
	NR_fork = 57,
	NR_vfork = 58,
	NR_execve = 59,
	NR_exit = 60,
	NR_kill = 62,
	NR_rt_sigqueueinfo = 129,
	NR_rt_sigsuspend = 130,
	NR_tkill = 200,
	NR_exit_group = 231,
	NR_tgkill = 234,
	NR_execveat = 322,
};

u64 step_flags = EFLAGS_IF; /* what hook_stub_step sets */

void hook_step_on(bool on)
{
	WRITE_ONCE(step_flags, on ? EFLAGS_IF | EFLAGS_TF : EFLAGS_IF);
}

static enum step_path path_of_call(u64 nr)
{
	switch (nr) {
	case NR_clone:
	case NR_fork:
	case NR_vfork: return STEP_FORK;
	case NR_execve:
	case NR_execveat: return STEP_EXEC;
	case NR_exit:
	case NR_exit_group: return STEP_EXIT;
	case NR_kill:
	case NR_tkill:
	case NR_tgkill:
	case NR_rt_sigaction:
	case NR_rt_sigprocmask:
	case NR_rt_sigreturn:
	case NR_rt_sigqueueinfo:
	case NR_rt_sigsuspend: return STEP_SIGNAL;
	default: return STEP_CALL;
	}
}

/* By the call of entry.S that the thread is in: its return address lies below the program's registers. */
static enum step_path current_path(void)
{
	const struct arch_thread *a = (const struct arch_thread *)this_cpu_read(current_thread);
	const struct regs *user;
	const char *back;

	if (!a->fpu)
		return STEP_KERNEL;
	user = ctx_user_regs((void *)a->stack_top);
	back = (const char *)((const u64 *)user)[-1];
	if (back == syscall_done)
		return path_of_call(user->orig_rax);
	if (back == exception_done)
		return STEP_FAULT;
	if (back == return_user || back == syscall_again_done)
		return STEP_SIGNAL;
	return STEP_KERNEL;
}

/* As an interrupt that came at this place: trap_interrupt. entry.S preempts behind us. */
bool step_trap(struct regs *r)
{
	if (step_flags == EFLAGS_IF && !(r->rflags & EFLAGS_TF))
		return false;
	if (!(r->rflags & EFLAGS_IF) || step_flags == EFLAGS_IF) {
		r->rflags &= ~(u64)EFLAGS_TF;
		return true;
	}
	preempt_disable();
	this_cpu_write(irq_regs, r);
	hook_step(r, current_path());
	this_cpu_write(irq_regs, NULL);
	preempt_enable_no_resched();
	return true;
}
