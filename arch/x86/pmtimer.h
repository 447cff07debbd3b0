/* The ACPI power management timer as clock source: 3.58 MHz, one port read. */
#pragma once

#include "arch/api/clock.h"

bool pmtimer_probe(void); /* after irq_arch_init */
extern struct clock_source pmtimer_source;
