/*
 * What the host tests share: cmocka, random numbers from a seed that is printed and can be given
 * (UNIT_SEED=n), and catching panics.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "arch/api/cpu.h"
#include "arch/api/preempt.h"

#define UNIT_SEED 20261123ul

static u64 unit_random_state;

/* Starts the random numbers anew. Prints the seed, as a TAP comment. */
static inline u64 unit_seed(void)
{
	const char *given = getenv("UNIT_SEED");

	unit_random_state = given ? strtoul(given, NULL, 0) : UNIT_SEED;
	printf("# UNIT_SEED=%lu\n", (unsigned long)unit_random_state);
	return unit_random_state;
}

/* splitmix64: any state is a good one. */
static inline u64 unit_next(u64 *state)
{
	u64 z = *state += 0x9e3779b97f4a7c15ul;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return z ^ z >> 31;
}

/* 0 ... below-1 */
static inline u64 unit_random(u64 below)
{
	return unit_next(&unit_random_state) % below;
}

/* How often a random test loops: UNIT_ROUNDS multiplies, UNIT_PART divides. */
static inline u64 unit_rounds(u64 n)
{
	const char *rounds = getenv("UNIT_ROUNDS"), *part = getenv("UNIT_PART");

	return (rounds ? n * strtoul(rounds, NULL, 0) : n) / (part ? strtoul(part, NULL, 0) : 1);
}

extern void (*host_panic_hook)(const char *message);

static jmp_buf unit_panic_jump __attribute__((unused));
static char unit_panic_message[512] __attribute__((unused));

static inline void unit_panic_caught(const char *message)
{
	snprintf(unit_panic_message, sizeof(unit_panic_message), "%s", message);
	longjmp(unit_panic_jump, 1);
}

/*
 * The statement must panic, with `text` in the message. What it had changed by then stays changed;
 * only the interrupt flag and the preemption count are put back.
 */
#define expect_panic(statement, text)                                                              \
	do {                                                                                       \
		volatile bool panicked_ = true;                                                    \
		bool irqs_ = irqs_enabled();                                                       \
		u32 word_ = this_cpu_read(preempt_word);                                           \
		host_panic_hook = unit_panic_caught;                                               \
		if (setjmp(unit_panic_jump) == 0) {                                                \
			statement;                                                                 \
			panicked_ = false;                                                         \
		}                                                                                  \
		host_panic_hook = NULL;                                                            \
		if (!panicked_)                                                                    \
			fail_msg("no panic from %s", #statement);                                  \
		irq_restore(irqs_);                                                                \
		this_cpu_write(preempt_word, word_);                                               \
		if (!strstr(unit_panic_message, text))                                             \
			fail_msg("panic \"%s\" does not say \"%s\"", unit_panic_message, text);    \
	} while (0)
