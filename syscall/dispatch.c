/*
 * From the machine's entry to the function for a number.
 *
 * This is the hot path of every system call: one comparison, one table, one call, the result; the
 * machine's entry (arch/x86/entry.S) does it. What else a call may need (restarts, signals,
 * rescheduling) is found out by its return path, which looks at the result, at the thread's work flags
 * and at the reschedule request.
 */
#include "arch/api/ctx.h"
#include "arch/api/upcall.h"
#include "sched/thread.h"

/* The program's registers, as the entry saved them. */
static struct regs *syscall_regs(void)
{
	return ctx_user_regs(current()->stack_top);
}

#define SYSCALL_TABLE
#include "syscall/syscalls.h"

#include "lib/atomic.h"
#include "lib/klog.h"
#include "proc/signal.h"

#define WORDS ((SYSCALLS + 31) / 32)

const u64 syscall_count = SYSCALLS;

/* An unknown call: the log tells its name, once each. */
s64 syscall_missing(void)
{
	static atomic_t told[WORDS + 1];
	u64 nr = regs_syscall_nr(syscall_regs());
	bool known = nr < SYSCALLS;
	u64 bit = known ? nr : WORDS * 32;

	if (atomic_fetch_or(&told[bit / 32], 1u << bit % 32) & 1u << bit % 32)
		return -ENOSYS;
	if (known && syscall_names[nr])
		log_warn("%s[%u]: system call %s (%lu) is not there\n", current()->name,
			 current_proc()->nr, syscall_names[nr], nr);
	else
		log_warn("%s[%u]: unknown system call %lu\n", current()->name, current_proc()->nr,
			 nr);
	return -ENOSYS;
}

/* Only calls that waited give these; sigreturn's result is the program's own, and it left no number
 * of a call to do again. */
void syscall_interrupted(struct regs *r)
{
	if ((s64)regs_syscall_nr(r) >= 0)
		signal_note_restart((int)-(s64)regs_return(r));
}
