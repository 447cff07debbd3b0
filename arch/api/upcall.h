/*
 * The closed list of functions that the machine may call. Everything else flows downward.
 * All run with interrupts off unless said otherwise.
 */
#pragma once

#include "arch/api/boot.h"
#include "arch/api/regs.h"

/* First C of the portable kernel: boot_info is filled, interrupts are off, boot stack. init/main.c */
__noreturn void kernel_main(void);

/* One interrupt on a line (legacy IRQ or GSI, see arch/api/irq.h), before its EOI. dev/irq.c */
void irq_dispatch(unsigned line);

/* The clock event fired on this CPU. time/timer.c */
void timer_interrupt(void);

/* Reschedule on the way out of an interrupt: preempt_word is zero. Returns when we run again,
 * interrupts off. sched/core.c */
void sched_preempt_irq(void);

/*
 * Another CPU sent ipi_reschedule. Preemption is off; the interrupt reschedules on its way out if
 * preempt_word says so. sched/core.c
 */
void sched_ipi(void);

/* For tests: the current thread has had its share, and this CPU is to switch as soon as it may. In an
 * interrupt. sched/core.c */
void sched_provoke(void);

/*
 * First C of the portable kernel on every other processor: its per-CPU area is current, interrupts
 * are off, on the stack of its own idle thread. init/smp.c
 */
__noreturn void cpu_secondary_main(void);

/*
 * An NMI, with the registers that it found. Between any two instructions, also with locks held.
 * debug/watchdog.c
 */
void nmi_interrupt(const struct regs *r);

/*
 * This CPU has waited for another one to call fn for that long: reports it with all backtraces,
 * panics in the end. Asked once a second. debug/watchdog.c
 */
void cpu_does_not_answer(u32 cpu, u64 seconds, void (*fn)(void *arg));

/* Debug builds only: a thread is about to go (back) to user mode. sched/mutex.c */
void check_user_return(void);

enum fault_access { FAULT_READ = 0, FAULT_WRITE = 1, FAULT_EXEC = 2 };

/*
 * A page fault at a user address, from a program or from a checked copy in the kernel. Interrupts
 * on, may sleep. Returns 0 when the access may be tried again, else the si_code (SEGV_MAPERR,
 * SEGV_ACCERR, with 0x10000 added for BUS codes). mm/fault.c
 */
#define FAULT_BUS 0x10000
/* Added with FAULT_BUS when memory ran out: the process must die (BUS_ADRERR beside it). */
#define FAULT_OOM 0x20000
int vm_fault_current(uaddr_t va, enum fault_access access);

/* A program's exception that nothing serves: queue the signal for the current thread. Interrupts
 * on. proc/signal.c */
void proc_fault_signal(int sig, int code, u64 addr, u64 trapno, u64 error);

/*
 * System calls: the functions by number, each with up to six arguments in the machine's registers for
 * them, and a result in its register for that. The machine's entry calls them, interrupts on.
 * syscall_interrupted: the result, in r, is one of the ERESTART codes. syscall/dispatch.c
 */
typedef void syscall_fn(void); /* in truth s64 (arguments) */
extern syscall_fn *const syscall_table[];
extern const u64 syscall_count;
s64 syscall_missing(void);
void syscall_interrupted(struct regs *r);

/*
 * Last stop before user mode when the current thread has work pending (THREAD_WORK flags): signals,
 * stops, exit. Interrupts on; may sleep; may not return. proc/signal.c
 */
void proc_user_return(struct regs *r);

/* May a fault in kernel mode at this address be on a guard page of a kernel stack? The name of
 * the stack's thread, else NULL. Any context. mm/kstack.c */
const char *kstack_guard_owner(u64 va);

/* A panic with the registers of the fault at hand. Any context. debug/panic.c */
__noreturn __cold __printf(2, 3) void panic_regs(const struct regs *r, const char *fmt, ...);
