/* The 8254 interval timer: channel 0 as clock event, channel 2 as clock source. */
#pragma once

#include "arch/api/clock.h"

/* Starts channel 2 and sees whether it counts: then both structs are usable. */
bool pit_probe(void);

extern struct clock_source pit_source; /* hz 0: absent */
extern struct clock_event pit_event;
