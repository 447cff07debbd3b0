/*
 * The kernel's clocks. clock_ns is monotonic: nanoseconds since boot, never back, on any CPU, in
 * any context.
 */
#pragma once

#include "lib/types.h"

/* After clock_arch_init. Chooses source and event by rating and by clocksource= and timer=. */
void clock_init(void);
void clock_init_cpu(void); /* on a CPU that came up later: its timers. Interrupts off */
u64 clock_ns(void);
u64 clock_realtime_ns(void); /* since 1970 */
void clock_set_realtime_ns(u64 ns);
u64 clock_cycles_to_ns(u64 tsc_cycles); /* for time stamps; 0 if the TSC is not calibrated */
u64 clock_tsc_hz(void);                 /* 0 if not calibrated */
const char *clock_source_name(void);
const char *clock_event_name(void);
/* The counters of several CPUs differ: the clock must not be read from them. Boot, before programs. */
void clock_tsc_out_of_step(void);
u64 clock_watch_failures(void); /* times the watch demoted a source */
