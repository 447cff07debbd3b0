/*
 * The random test of mm/ (tests/mm), briefly, under the sanitizers: calls against the flat model on
 * one simulated CPU, then on several. Here CPUs hand over only where they wait or change the
 * interrupt flag; build-sim/mm_random does so at each atomic operation, and for longer.
 *
 *	UNIT_SEED=n   the first seed; printed with each failure
 *	UNIT_OPS=n    records per run
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/mm/mm.h"

static u64 env(const char *name, u64 def)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : def;
}

static void run_seed(u64 seed, unsigned cpus, unsigned contexts)
{
	u64 n = env("UNIT_OPS", 3000), state = seed;
	struct record *r = calloc(n, sizeof(*r));
	char name[64];
	struct run run = { .name = name, .cpus = cpus, .contexts = contexts, .record = r, .n = n };

	assert_non_null(r);
	for (u64 i = 0; i < n; i++)
		for (unsigned k = 0; k < RECORD_BYTES; k++)
			r[i].byte[k] = (u8)random_next(&state);
	snprintf(name, sizeof(name), "UNIT_SEED=%lu", seed);
	run_records(&run);
	free(r);
}

/* mm/tlb.c remembers which context it took last: never fewer of them than before. */
static void run_cpus(unsigned cpus, unsigned contexts)
{
	u64 seed = env("UNIT_SEED", 1);

	for (u64 i = 0; i < 2; i++)
		run_seed(seed + i, cpus, contexts);
}

static void test_one_cpu(void **state)
{
	run_cpus(1, *(unsigned *)*state);
	assert_true(run_counts.calls[CALL_TOUCH] && run_counts.injected);
}

/* ThreadSanitizer does not know that one thread plays them all. */
static void test_several_cpus(void **state)
{
#ifdef __SANITIZE_THREAD__
	skip();
#else
	run_cpus(2, *(unsigned *)*state);
	run_cpus(3, *(unsigned *)*state);
	assert_true(run_counts.groups && run_counts.handovers);
#endif
}

int main(void)
{
	static unsigned one = 1, three = 3;
	const struct CMUnitTest tests[] = {
		{ "one CPU", test_one_cpu, NULL, NULL, &one },
		{ "several CPUs", test_several_cpus, NULL, NULL, &one },
		{ "one CPU with contexts", test_one_cpu, NULL, NULL, &three },
		{ "several CPUs with contexts", test_several_cpus, NULL, NULL, &three },
	};

	return cmocka_run_group_tests_name("aspace", tests, NULL, NULL);
}
