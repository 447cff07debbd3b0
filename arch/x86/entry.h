/* The entry points of entry.S, and the names of the exceptions. */
#pragma once

#include "lib/types.h"

#define VECTOR_STUB_SIZE 16

enum trap {
	TRAP_DE = 0,
	TRAP_DB = 1,
	TRAP_NMI = 2,
	TRAP_BP = 3,
	TRAP_OF = 4,
	TRAP_BR = 5,
	TRAP_UD = 6,
	TRAP_NM = 7,
	TRAP_DF = 8,
	TRAP_TS = 10,
	TRAP_NP = 11,
	TRAP_SS = 12,
	TRAP_GP = 13,
	TRAP_PF = 14,
	TRAP_MF = 16,
	TRAP_AC = 17,
	TRAP_MC = 18,
	TRAP_XM = 19,
	TRAP_VE = 20,
	TRAP_CP = 21,
	NR_TRAPS = 32,
};

extern char vector_stubs[]; /* 256 stubs of VECTOR_STUB_SIZE bytes */
void entry_double_fault(void);
void entry_nmi(void);
void entry_machine_check(void);
void entry_syscall(void);
void entry_syscall32(void);
/* Where the calls of entry.S return to, for step.c. */
extern char syscall_done[], syscall_again_done[], return_user[], exception_done[];

struct regs;
struct thread;

/* Called by entry.S. */
void trap_exception(struct regs *r, unsigned vector); /* returns with interrupts off */
void trap_interrupt(struct regs *r, unsigned vector);
void trap_user_work(struct regs *r);
void trap_paranoid(struct regs *r, unsigned vector);
void trap_bad_return(struct regs *r);

/* step.c: a #DB in the kernel. False: not ours. */
bool step_trap(struct regs *r);

/* A new thread's first instructions: passes prev on to the function in rbx. */
void ctx_thread_start(void);
