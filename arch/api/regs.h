/*
 * The registers of a program at its entry into the kernel. They lie at the top of the thread's
 * kernel stack: user_regs(t) finds them. Portable code reads and changes them through these.
 *
 *	u64  regs_pc(r), regs_sp(r)
 *	u64  regs_syscall_nr(r), regs_syscall_arg(r, n)     n: 0 ... 5
 *	void regs_set_return(r, value)
 *	bool regs_from_user(r)
 *	void regs_init_user(r, pc, sp)                      everything else zero, interrupts on
 *	void regs_restart_syscall(r)                        run the call again on return
 */
#pragma once

#include "lib/types.h"

struct regs;

#include "machine/regs.h"

/* Prints the registers, several to a line. Any context. */
void regs_dump(const struct regs *r, void (*print)(const char *fmt, ...));
/* The frame pointer where a backtrace starts. */
u64 regs_frame_pointer(const struct regs *r);
