/*
 * The run queue (sched/rq.h) beside a naive model: for each level an array in FIFO order. After each
 * random operation the pick, the counts, the bitmap and the best level are those of the model, and
 * each ring names its threads in the model's order, forwards and backwards.
 */
#include "tests/unit/unit.h"

#include "lib/string.h"
#include "sched/rq.h"

#define THREADS 40

static struct thread threads[THREADS], idle_thread;
static struct rq rq;

struct model {
	struct thread *queue[SCHED_LEVELS][THREADS];
	u32 n[SCHED_LEVELS];
};
static struct model model;

static void model_remove(struct thread *t)
{
	struct thread **q = model.queue[t->level];
	u32 i = 0;

	while (q[i] != t)
		i++;
	memmove(q + i, q + i + 1, (--model.n[t->level] - i) * sizeof(*q));
}

static void model_append(struct thread *t)
{
	model.queue[t->level][model.n[t->level]++] = t;
}

static struct thread *model_pick(void)
{
	for (u32 level = 0; level < SCHED_LEVELS; level++)
		if (model.n[level])
			return model.queue[level][0];
	return &idle_thread;
}

static void check_ring(u32 level)
{
	struct thread *t = rq.first[level];

	for (u32 i = 0; i < model.n[level]; i++) {
		assert_ptr_equal(t, model.queue[level][i]);
		assert_ptr_equal(t->ring_next->ring_prev, t);
		assert_true(t->on_rq);
		t = t->ring_next;
	}
	assert_ptr_equal(t, rq.first[level]);
}

static void check_against_model(void)
{
	u32 runnable = 0, best = SCHED_LEVELS;

	for (u32 level = SCHED_LEVELS; level-- > 0;) {
		bool any = rq.bitmap[level / 64] >> level % 64 & 1;

		assert_int_equal(any, model.n[level] != 0);
		runnable += model.n[level];
		if (any) {
			best = level;
			check_ring(level);
		}
	}
	assert_int_equal(rq.runnable, runnable);
	assert_int_equal(rq.top, best);
	assert_ptr_equal(rq_pick(&rq), model_pick());
}

static void setup_queue(void)
{
	memset(&rq, 0, sizeof(rq));
	memset(&model, 0, sizeof(model));
	memset(threads, 0, sizeof(threads));
	rq_init(&rq, 0, &idle_thread);
}

static void test_empty_queue_picks_idle(void **state)
{
	setup_queue();
	assert_ptr_equal(rq_pick(&rq), &idle_thread);
	check_against_model();
}

/* What yield does with the thread that runs: the first of the best level. */
static void rotate_best(void)
{
	struct thread *t = model_pick();

	if (t == &idle_thread)
		return;
	model_remove(t);
	model_append(t);
	struct thread *next;
	assert_true(rq_rotate(&rq, t, &next));
	assert_ptr_equal(next, model_pick());
}

static void test_random_operations(void **state)
{
	setup_queue();
	unit_seed();
	for (int i = 0; i < (int)unit_rounds(50000); i++) {
		struct thread *t = &threads[unit_random(THREADS)];

		if (unit_random(3) == 0) {
			rotate_best();
		} else if (t->on_rq) {
			model_remove(t);
			rq_dequeue(&rq, t);
		} else {
			/* Mostly few levels, so that rings are long; both words of the bitmap. */
			u32 r = (u32)unit_random(1u << 30);
			t->level = (u8)(r % 4 ? 60 + r / 4 % 8 : r / 4 % SCHED_LEVELS);
			if (t->level == SLOT_FAIR || t->level == SCHED_LEVEL_NORMAL)
				t->level = 0; /* no rings: test_fair.c */
			model_append(t);
			rq_enqueue(&rq, t, true);
		}
		check_against_model();
	}
}

/* A yield below a better level, which a wake-up brought, goes to that level. */
static void test_rotation_gives_way_to_better_level(void **state)
{
	setup_queue();
	threads[0].level = threads[1].level = 100;
	threads[2].level = 7;
	for (u32 i = 0; i < 3; i++)
		rq_enqueue(&rq, &threads[i], true);
	struct thread *next;
	assert_false(rq_rotate(&rq, &threads[0], &next));
	assert_ptr_equal(rq_pick(&rq), &threads[2]);
	rq_dequeue(&rq, &threads[2]);
	assert_ptr_equal(rq_pick(&rq), &threads[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_queue_picks_idle),
		cmocka_unit_test(test_random_operations),
		cmocka_unit_test(test_rotation_gives_way_to_better_level),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
