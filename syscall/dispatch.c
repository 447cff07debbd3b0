/*
 * From the machine's entry to the function for a number.
 *
 * This is the hot path of every system call: one comparison, one table, one call, the result. What
 * else a call may need (restarts, signals, rescheduling) is found out by the machine's return path,
 * which looks at the thread's work flags and the reschedule request anyhow.
 */
#define SYSCALL_TABLE
#include "syscall/syscalls.h"

#include "arch/api/upcall.h"
#include "lib/atomic.h"
#include "lib/klog.h"
#include "proc/signal.h"

#define WORDS ((SYSCALLS + 31) / 32)

/* An unknown call: the log tells its name, once each. */
static s64 syscall_missing(struct regs *r)
{
	static atomic_t told[WORDS + 1];
	u64 nr = regs_syscall_nr(r);
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

void syscall_dispatch(struct regs *r)
{
	u64 nr = regs_syscall_nr(r);
	s64 ret;

	if (likely(nr < SYSCALLS))
		ret = syscall_table[nr](r);
	else
		ret = syscall_missing(r);
	regs_set_return(r, ret);
	/* Only calls that waited give these; sigreturn's result is the program's own, and it left no
	 * number of a call to do again. */
	if (unlikely((u64)ret + ERESTART_RESTARTBLOCK <= ERESTART_RESTARTBLOCK - ERESTARTSYS) &&
	    regs_syscall_nr(r) == nr)
		signal_note_restart((int)-ret);
}
