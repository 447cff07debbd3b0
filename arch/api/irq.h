/*
 * Interrupt lines. A line is a GSI where an IOAPIC serves it, and 0 ... 15 are always the legacy
 * ISA lines (the MADT's overrides are applied below this interface).
 */
#pragma once

#include "lib/types.h"

#define IRQ_LINES 256

/* Finds and starts the interrupt controllers: IOAPIC and LAPIC by the MADT, else the 8259s.
 * After the memory system, before the first handler. Option pic=8259 forces the old ones. */
void irq_arch_init(void);

/* Unmasks or masks one line. -ENODEV: no controller serves it. Any context. */
int irq_arch_unmask(unsigned line);
int irq_arch_mask(unsigned line);

/* "8259", "IOAPIC, xAPIC" ... for the log and /proc/interrupts. */
const char *irq_arch_name(void);

/* Interrupts of a clock event on this line (8254, HPET): they go past irq_dispatch. */
u64 irq_arch_clock_count(unsigned line);

/* Spurious interrupts so far: IRQ7, IRQ15, the LAPIC's spurious vector. */
struct irq_spurious {
	u64 irq7, irq15, lapic;
};
void irq_arch_spurious(struct irq_spurious *out);
