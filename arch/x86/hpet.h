/* The high precision event timer: its counter as clock source, its timer 0 as clock event. */
#pragma once

#include "arch/api/clock.h"

/* Maps it where ACPI says and starts the counter. After irq_arch_init. */
bool hpet_probe(void);

extern struct clock_source hpet_source; /* hz 0: absent */
extern struct clock_event hpet_event;
