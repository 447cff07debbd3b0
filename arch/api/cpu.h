/*
 * One CPU: interrupts on and off, waiting, and the ends of the machine.
 */
#pragma once

#include "arch/api/percpu.h"
#include "lib/fmt.h"

/* bool irqs_enabled(void);            are interrupts enabled on this CPU?
 * void irq_enable(void), irq_disable(void);
 * u64  irq_save(void);                disables; returns what irq_restore takes
 * void irq_restore(u64 flags);
 * void cpu_relax(void);               in every spin loop (PAUSE)
 * void cpu_wait_for_interrupt(void);  called with interrupts off: enables them and halts in one
 *                                     step that no interrupt can fall between; returns with them on
 * void cpu_stop(void);                halts with interrupts off; an NMI may end it
 * u64  cpu_cycles(void);              the time-stamp counter: unordered, per CPU
 * bool cpu_hw_random(u64 *out);       a word of the processor's random generator; false: none
 */
#include "machine/cpu.h"

/* The registers that the interrupt being served on this CPU found; NULL outside of interrupts. */
struct regs;
DECLARE_PER_CPU(const struct regs *, irq_regs);

/* The machine's lines of /proc/cpuinfo, the same for each CPU. */
void cpu_describe(struct textbuf *t);

enum machine_end { MACHINE_POWEROFF, MACHINE_RESTART, MACHINE_HALT, MACHINE_PANIC };

/*
 * Ends the machine: by the test device of an emulator when the command line says so
 * (exit=debug: status 33 for POWEROFF and HALT, 35 for PANIC), else by ACPI S5 or the machine's
 * reset, else halts for ever. Any context.
 */
__noreturn void machine_end(enum machine_end how);

/*
 * How machine_end powers off where the test device is absent. Set by the ACPI code during boot
 * (both may be NULL). They return if they could not.
 */
extern void (*machine_poweroff_hook)(void);
extern void (*machine_restart_hook)(void);
