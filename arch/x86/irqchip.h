/* Lines, whichever controller serves them: what arch/x86 itself needs beyond arch/api/irq.h. */
#pragma once

#include "lib/types.h"

/*
 * Gives a line to a clock event: fn runs in its interrupts instead of irq_dispatch, interrupts
 * off, before the EOI. Unmasks the line. 0 or -ENODEV.
 */
int irqchip_claim(unsigned line, void (*fn)(void));
/* Masks the line and takes the claim back. */
void irqchip_release(unsigned line);

/* Does an IOAPIC serve the lines? (else the 8259s) */
bool irqchip_has_ioapic(void);

/* Every interrupt vector ends up here: arch/x86/trap.c calls it with interrupts off. */
void x86_irq(unsigned vector);
