/*
 * The local interrupt controller of each CPU: memory-mapped (xAPIC) or by MSRs (x2APIC), and its
 * timer as two kinds of clock event.
 */
#pragma once

#include "arch/api/clock.h"
#include "lib/types.h"

/*
 * Finds the LAPIC by CPUID, prefers x2APIC, and enables it on the first CPU with all local vectors
 * masked. 0, -ENODEV, -ENOMEM. After the memory system.
 */
int lapic_init(void);
/* The same for a CPU that came up later: in the mode of the first. */
void lapic_init_cpu(void);

bool lapic_present(void);
bool lapic_is_x2apic(void);
u32 lapic_id(void); /* of this CPU */

/* An interrupt, or an NMI, for the processor with that id. Any context. */
void lapic_send(u32 apic_id, u8 vector);
void lapic_send_nmi(u32 apic_id);
/* Resets it; and has it start in real mode at page * 4096 (page below 0xa0). */
void lapic_send_init(u32 apic_id);
void lapic_send_startup(u32 apic_id, u8 page);

/* Ends the interrupt in service on this CPU. */
void lapic_eoi(void);

/* Local pin 0 as the wire from the 8259s (virtual wire mode), or off. This CPU. */
void lapic_set_extint(bool on);

/* Calibration: lets this CPU's timer count down from 2^32 - 1 without interrupt, and reads it. */
void lapic_timer_run_free(void);
u32 lapic_timer_count(void);
/* What calibration found; the events below are usable from then on. */
void lapic_timer_set_hz(u64 timer_hz);
void lapic_deadline_set_hz(u64 tsc_hz);

extern struct clock_event lapic_event, tsc_deadline_event;
