/*
 * Time on real silicon: ticks of the time-stamp counter made into cycles of the core.
 *
 * The core's clock is not the counter's, and it changes. So a loop of dependent additions, one cycle
 * each, is timed right before each batch, and the batch is told in its cycles. A batch is ROUNDS
 * operations; of BATCHES batches the quantiles are printed, per operation:
 *
 *	native.NAME.{min,median,p99,max}<TAB>value<TAB>cycles
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <stdint.h>

#define TIMING_BATCHES 101

static inline uint64_t timing_ticks(void)
{
	return __builtin_ia32_rdtsc();
}

/* Cycles of the core in one tick of the counter, times 2^20: the best of five tries of 250 us. */
static uint64_t timing_cycles_per_tick(void)
{
	uint64_t best = ~0ul, n = 1000000;

	for (int i = 0; i < 5; i++) {
		uint64_t x = n, start = timing_ticks(), ticks;

		__asm__ volatile(".balign 64\n1:\tsubq $1, %0\n\tjnz 1b" : "+r"(x) : : "cc");
		ticks = timing_ticks() - start;
		if (ticks < best)
			best = ticks;
	}
	return (n << 20) / best;
}

static int timing_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* batch() does `rounds` operations and returns the ticks that they took. */
static void timing_report(const char *name, uint64_t (*batch)(uint64_t rounds), uint64_t rounds)
{
	static uint64_t sample[TIMING_BATCHES];
	static const struct {
		const char *name;
		int at;
	} which[] = { { "min", 0 },
		      { "median", TIMING_BATCHES / 2 },
		      { "p99", TIMING_BATCHES * 99 / 100 },
		      { "max", TIMING_BATCHES - 1 } };

	batch(rounds); /* caches, predictors, pages */
	for (int i = 0; i < TIMING_BATCHES; i++) {
		uint64_t scale = timing_cycles_per_tick();

		sample[i] = batch(rounds) * scale >> 10; /* cycles, times 2^10 */
	}
	qsort(sample, TIMING_BATCHES, sizeof(sample[0]), timing_compare);
	for (int i = 0; i < 4; i++) {
		uint64_t tenths = (sample[which[i].at] * 10 / rounds) >> 10;

		printf("native.%s.%s\t%lu.%lu\tcycles\n", name, which[i].name,
		       (unsigned long)tenths / 10, (unsigned long)tenths % 10);
	}
	fflush(stdout);
}
