/* The time-stamp counter, and which clocks this machine offers: see arch/api/clock.h. */
#pragma once

#include "arch/api/clock.h"

extern struct clock_source tsc_source; /* hz 0 before clock_arch_init */
