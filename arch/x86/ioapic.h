/* The IOAPICs: each serves a run of global system interrupts (GSIs). */
#pragma once

#include "acpi.h"
#include "lib/types.h"

#define IOAPIC_MAX_GSI 192 /* exclusive: as many as there are vectors for */

/* Maps every IOAPIC of the MADT and masks all pins. 0, or -ENODEV when none works. */
int ioapic_init(const struct acpi_madt *madt);

bool ioapic_serves(u32 gsi);

/* Sets a served pin up, masked: its vector, its trigger and polarity, the LAPIC it goes to. */
void ioapic_route(u32 gsi, u8 vector, bool level, bool active_low, u8 apic_id);

/* Any context. */
void ioapic_set_masked(u32 gsi, bool masked);
