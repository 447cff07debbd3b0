/*
 * Watchdogs: who does not move, and where it stands. docs/smp.md says what each one sees.
 */
#pragma once

#include "lib/types.h"

/* Seconds after which a CPU, a lock or a thread counts as stuck; 0: never (option watchdog=N). */
u64 watchdog_seconds(void);

/*
 * Logs what every other CPU is doing: an NMI has each note its registers and its backtrace, which
 * the caller then logs. One that takes no NMI either is said to be dead. Any context but NMI;
 * another CPU that is at it is waited for with a bound.
 */
void backtrace_all(void);

/* Logs the report's head line, the caller's backtrace and those of all others; then panics if the
 * option watchdog.panic is given. */
__printf(1, 2) void watchdog_report(const char *fmt, ...);

/*
 * From a timer of each CPU, once a second of the clock: this CPU takes interrupts; do the others? And
 * does its thread ever let go? now: seconds; moments: a count of the times at which this CPU was
 * found preemptible, or switched. Interrupts off.
 */
void watchdog_check(u64 now, u64 moments);
