/*
 * The frame that a signal handler runs on: machine business, Linux's layout (proc/sigdeliver.c
 * decides, the machine builds).
 */
#pragma once

#include "arch/api/regs.h"
#include "lib/uapi/signal.h"

struct signal_delivery {
	int sig;
	u64 handler, restorer;
	u64 flags; /* SA_* */
	struct linux_siginfo info;
	u64 mask;                      /* to come back by sigreturn */
	struct linux_stack altstack;   /* as sigaltstack(2) reports it now */
	bool use_altstack;             /* start at the altstack's top */
	u64 trapno, error, fault_addr; /* of the thread's last exception */
};

/*
 * Builds the frame on the program's stack and turns r to the handler. 0, or -EFAULT: the stack
 * cannot take it, r is unchanged. May sleep.
 */
int signal_frame_push(struct regs *r, const struct signal_delivery *d);

/*
 * Takes the frame at the stack pointer back: the registers (made harmless), the FPU, the mask and
 * the alternate stack. 0 or -EFAULT with r unchanged.
 */
int signal_frame_pop(struct regs *r, u64 *mask, struct linux_stack *altstack);
