/*
 * A deterministic machine of several simulated CPUs in one host thread, for the tests of sched/.
 *
 * Each CPU runs on a fiber. At points between two basic blocks of the code under test (the compiler
 * calls us there, -fsanitize-coverage=trace-pc) and where interrupts are switched or somebody spins,
 * the machine may go on with another CPU or deliver an interrupt. A seed decides, so that the same
 * seed gives the same run. Under ThreadSanitizer the CPUs count as parallel: what orders their
 * accesses is the code's own locks and atomics, never the simulation.
 *
 *	struct sim_setup s = { .cpus = 2, .seed = 7, .boot = boot };
 *	sim_run(&s);             boot(cpu) on each CPU, interrupts off, until all of them sleep
 *
 * Time is simulated: each point takes step_ns, and when all CPUs halt it jumps to the next timer. When
 * all CPUs halt with no timer set the run is over; if finished() denies that, a wake-up was lost: it
 * panics, with the seed.
 */
#pragma once

#include "arch/api/clock.h"

struct sim_setup {
	u32 cpus;
	u64 seed;
	u32 density; /* points between two interferences, on average; 0: the seed chooses */
	u32 step_ns; /* 0: 100 */
	bool prompt; /* interrupts that are due come at the very next point */
	void (*boot)(u32 cpu);
	bool (*finished)(void);
};

void sim_run(const struct sim_setup *setup);

u64 sim_time(void);
u64 sim_random(u64 below); /* from the seed, apart from what the interleaving draws */

/* Time passes on this CPU, with what may come in it. */
void sim_spend(u64 ns);

struct sim_counts {
	u64 points, moves; /* moves: from one CPU to another */
	u64 timer_interrupts, ipis, halts;
};
extern struct sim_counts sim_counts;

extern const struct clock_event sim_clock_event;
