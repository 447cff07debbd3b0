/*
 * The fair queue (sched/fair.c) beside a naive model: an array whose mean is computed anew each time
 * in floating point, and a pick that looks at everybody. Then what follows from the algorithm: shares
 * by weight, and a lag that no mix of weights, sleeps and yields brings beyond one request.
 */
#include <math.h>
#include <string.h>

#include "sched/fair.h"
#include "unit.h"

#define THREADS 12
#define TICK    1000000u
#define VTIME   1048576.0 /* units of virtual time for one cycle at weight 1 */

static struct fair_queue queue;
static struct fair_entity entity[THREADS];
static bool queued[THREADS];

static void setup_queue(void)
{
	memset(&queue, 0, sizeof(queue));
	memset(entity, 0, sizeof(entity));
	memset(queued, 0, sizeof(queued));
	queue.vtime = UINT64_MAX - 1000000; /* it wraps soon */
	fair_request = 4 * TICK;
	for (u32 i = 0; i < THREADS; i++)
		fair_set_weight(&entity[i], fair_weight_of_nice(0));
}

/* Where e stands to the queue's vtime, as a number. */
static double offset_of(const struct fair_entity *e)
{
	return (double)(s64)(e->vruntime - queue.vtime);
}

/* vtime is the mean: the offsets, weighted, add up to nothing. What rounding leaves is in cycles. */
static double model_error(void)
{
	double sum = 0, weight = 0;

	for (u32 i = 0; i < THREADS; i++)
		if (queued[i]) {
			sum += offset_of(&entity[i]) * entity[i].weight;
			weight += entity[i].weight;
		}
	assert_true(weight == (double)queue.weight);
	return fabs(sum) / VTIME;
}

/* The eligible one with the earliest deadline. ERROR of the mean may tip the scale. */
static bool model_agrees(const struct fair_entity *picked)
{
	const struct fair_entity *best = NULL;

	for (u32 i = 0; i < THREADS; i++) {
		const struct fair_entity *e = &entity[i];

		if (queued[i] && (s64)(e->vruntime - queue.vtime) <= 0 &&
		    (!best || (s64)(e->deadline - best->deadline) < 0))
			best = e;
	}
	/* Who was eligible once stays in the running, though somebody's coming moved the mean back. */
	return !best || picked->deadline == best->deadline ||
	       ((s64)(picked->deadline - best->deadline) < 0 && picked->ready);
}

static u32 index_of(const struct fair_entity *e)
{
	return (u32)(e - entity);
}

static void take(void)
{
	struct fair_entity *e = fair_take(&queue);

	assert_ptr_equal(queue.curr, e);
	assert_true(queued[index_of(e)]);
	assert_true(model_agrees(e));
}

static void random_step(void)
{
	u32 i = (u32)unit_random(THREADS);
	struct fair_entity *e = &entity[i];

	switch (unit_random(6)) {
	case 0:
	case 1: /* it comes or goes */
		if (queued[i])
			fair_leave(&queue, e);
		else
			fair_join(&queue, e, unit_random(2));
		queued[i] = !queued[i];
		break;
	case 2: /* another weight */
		if (queued[i])
			fair_leave(&queue, e);
		fair_set_weight(e, unit_random(8) ? fair_weight_of_nice((int)unit_random(40) - 20) :
						    FAIR_WEIGHT_IDLE);
		if (queued[i])
			fair_join(&queue, e, true);
		break;
	case 3:
		if (queue.curr && queue.nr > 1) {
			struct fair_entity *was = queue.curr;

			assert_ptr_not_equal(fair_yield(&queue), was);
			assert_true((s64)(was->vruntime - queue.vtime) >= -(s64)queue.nr);
		}
		break;
	default:
		if (queue.curr)
			fair_charge(&queue, unit_random(2 * TICK));
		if (queue.curr && fair_request_over(&queue))
			fair_put(&queue);
	}
	if (!queue.curr && queue.nr)
		take();
}

static void test_random_operations_beside_the_model(void **state)
{
	double rounded = 0;

	setup_queue();
	unit_seed();
	for (u64 i = 0; i < unit_rounds(200000); i++) {
		u64 weight = queue.weight;
		u32 n = 0;

		random_step();
		for (u32 k = 0; k < THREADS; k++)
			n += queued[k];
		assert_int_equal(queue.nr, n);
		/* A step moves the mean twice at most, each time to a whole unit. */
		rounded += 2 * (double)MAX(weight, queue.weight) / VTIME;
		assert_true(model_error() <= rounded);
		if (queue.nr == 0) {
			setup_queue();
			rounded = 0;
		}
	}
}

/* ---- what follows ---- */

/* Runs for n ticks, as the kernel's tick does. had[] gets what each had. */
static void run_ticks(u32 n, double had[THREADS])
{
	for (u32 i = 0; i < n; i++) {
		if (!queue.curr)
			take();
		had[index_of(queue.curr)] += TICK;
		fair_charge(&queue, TICK);
		if (fair_request_over(&queue))
			fair_put(&queue);
	}
}

static void join(u32 i, u32 weight)
{
	fair_set_weight(&entity[i], weight);
	fair_join(&queue, &entity[i], false);
	queued[i] = true;
}

/* Any weights: at each moment each has had its share, but for a request (and the tick's grain). */
static void test_lag_is_bounded_by_one_request(void **state)
{
	unit_seed();
	for (u64 round = 0; round < unit_rounds(200); round++) {
		double had[THREADS] = { 0 }, time = 0, weight = 0, limit = fair_request + TICK / 2;
		u32 n = 2 + (u32)unit_random(THREADS - 1);

		setup_queue();
		for (u32 i = 0; i < n; i++) {
			u32 w = unit_random(10) ? fair_weight_of_nice((int)unit_random(40) - 20) :
						  FAIR_WEIGHT_IDLE;

			join(i, w);
			weight += w;
		}
		for (u32 step = 0; step < 3000; step++) {
			run_ticks(1, had);
			time += TICK;
			for (u32 i = 0; i < n; i++)
				assert_true(fabs(had[i] - time * entity[i].weight / weight) <=
					    limit);
		}
	}
}

static void test_shares_are_those_of_the_weights(void **state)
{
	static const int nice[] = { -5, 0, 1, 5, 10 };
	double had[THREADS] = { 0 }, weight = 0;
	u32 ticks = 20000;

	assert_int_equal(fair_weight_of_nice(-20), FAIR_WEIGHT_MOST);
	setup_queue();
	for (u32 i = 0; i < ARRAY_SIZE(nice); i++) {
		join(i, fair_weight_of_nice(nice[i]));
		weight += entity[i].weight;
	}
	run_ticks(ticks, had);
	for (u32 i = 0; i < ARRAY_SIZE(nice); i++) {
		double share = had[i] / ((double)ticks * TICK), want = entity[i].weight / weight;

		assert_true(share > want * 0.97 && share < want * 1.03);
	}
}

/* Who sleeps before its request is over takes its lag along: it neither gains nor loses by that. */
static void test_sleeping_does_not_pay(void **state)
{
	double had[THREADS] = { 0 };

	setup_queue();
	for (u32 i = 0; i < 3; i++)
		join(i, 1024);
	for (u32 i = 0; i < 20000; i++) {
		run_ticks(1, had);
		if (queued[0] &&
		    queue.curr == &entity[0]) { /* after each tick it sleeps a moment */
			fair_leave(&queue, &entity[0]);
			fair_join(&queue, &entity[0], true);
		}
	}
	for (u32 i = 0; i < 3; i++)
		assert_true(had[i] > 20000.0 * TICK / 3 * 0.97 &&
			    had[i] < 20000.0 * TICK / 3 * 1.03);
}

/*
 * However long the others have run, none of them asleep for a moment: who comes has its first request soon. The
 * inverses of these weights are the least exact ones.
 */
static void test_long_runs_do_not_keep_newcomers_waiting(void **state)
{
	double had[THREADS] = { 0 };
	u32 ticks = 1000000, waited = 0;

	setup_queue();
	join(0, fair_weight_of_nice(-18));
	join(1, fair_weight_of_nice(-17));
	run_ticks(ticks, had);
	assert_true(model_error() <= ticks * (double)queue.weight / VTIME);
	join(2, fair_weight_of_nice(-18));
	for (; had[2] == 0; waited++)
		run_ticks(1, had);
	/* For a request of each, and the tick. */
	assert_in_range(waited, 1, 2 * fair_request / TICK + 1);
}

/* A long sleep pays no debts twice, and earns nothing: it comes back with a lag of one request at most. */
static void test_lag_across_a_sleep(void **state)
{
	double had[THREADS] = { 0 };

	setup_queue();
	join(0, 1024);
	join(1, 1024);
	fair_take(&queue);
	u32 debtor = index_of(queue.curr), other = !debtor;
	fair_charge(&queue, 3 * TICK);
	fair_leave(&queue, &entity[debtor]);
	queued[debtor] = false;
	assert_true(entity[debtor].lag < 0);
	run_ticks(1, had);
	struct fair_entity soon = entity[debtor];
	fair_join(&queue, &entity[debtor], true);
	assert_true((s64)(entity[debtor].vruntime - queue.vtime) > 0); /* it still owes */
	fair_leave(&queue, &entity[debtor]);
	entity[debtor] = soon;
	run_ticks(50, had);
	fair_join(&queue, &entity[debtor], true);
	assert_true((s64)(entity[debtor].vruntime - queue.vtime) <= 0); /* that has run off */
	assert_true(had[other] == 51.0 * TICK);
}

/* A yield of equals goes round, however short they run. */
static void test_yield_goes_round(void **state)
{
	u32 turns[4] = { 0 };

	setup_queue();
	for (u32 i = 0; i < 4; i++)
		join(i, 1024);
	fair_take(&queue);
	for (u32 i = 0; i < 4000; i++) {
		fair_charge(&queue, 1 + i % 7);
		turns[index_of(fair_yield(&queue))]++;
	}
	for (u32 i = 0; i < 4; i++)
		assert_in_range(turns[i], 800, 1200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_operations_beside_the_model),
		cmocka_unit_test(test_lag_is_bounded_by_one_request),
		cmocka_unit_test(test_shares_are_those_of_the_weights),
		cmocka_unit_test(test_sleeping_does_not_pay),
		cmocka_unit_test(test_long_runs_do_not_keep_newcomers_waiting),
		cmocka_unit_test(test_lag_across_a_sleep),
		cmocka_unit_test(test_yield_goes_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
