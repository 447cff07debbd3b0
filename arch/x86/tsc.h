/* The time-stamp counter, and which clocks this machine offers: see arch/api/clock.h. */
#pragma once

#include "arch/api/clock.h"

/* Option tsc.skew=N: puts the counters of the other CPUs N counts apart from the first one's, where
 * the machine lets us (Bochs; QEMU's emulation does not). For tests. */
void tsc_skew_for_test(void);

extern struct clock_source tsc_source; /* hz 0 before clock_arch_init */
