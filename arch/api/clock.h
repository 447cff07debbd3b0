/*
 * Clock sources (what time is it) and clock events (wake me at a time), as the machine offers
 * them to time/.
 */
#pragma once

#include "lib/types.h"

struct clock_source {
	const char *name;  /* "tsc", "hpet", "pit" */
	u64 (*read)(void); /* a counter that goes up; any context */
	u64 mask;          /* of its valid bits; it wraps */
	u64 hz;            /* measured or known; 0: not usable */
	unsigned rating;   /* higher is better */
	bool trusted;      /* false: use only under a watch against another source */
	bool exact;        /* hz is known, not measured */
};

struct clock_event {
	const char *name; /* "tsc-deadline", "lapic", "hpet", "pit": the values of timer= */
	/* Fires timer_interrupt() once on this CPU, delta ns (min to max) from now. Interrupts off. */
	void (*arm)(u64 delta_ns);
	void (*stop)(void);
	/* Starts it on this CPU. 0 or -ENODEV. */
	int (*start)(void);
	u64 min_delta_ns, max_delta_ns;
	unsigned rating;
	bool per_cpu;
};

/*
 * Finds and calibrates what is there (calibration takes below 1 ms). Then the tables, ending
 * with NULL, best first. After irq_arch_init.
 */
void clock_arch_init(void);
extern const struct clock_source *const *clock_arch_sources(void);
extern const struct clock_event *const *clock_arch_events(void);

/* Seconds since 1970 by the machine's battery clock at boot; 0 if there is none. */
u64 clock_arch_wall_seconds(void);

/*
 * Ratios of frequencies in 32.32 fixed point, so that no division is left where it counts:
 * num / den, which must be below 2^32; num % den must be, too (one of them is at most 10^9, or den
 * is small).
 */
static inline u64 clock_factor(u64 num, u64 den)
{
	return (num / den << 32) + (num % den << 32) / den;
}

/* n times a factor, rounded down; the result fits 64 bits. */
static inline u64 clock_scale(u64 n, u64 factor)
{
	return (u64)((unsigned __int128)n * factor >> 32);
}
