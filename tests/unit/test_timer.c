/*
 * time/timer.c on a simulated clock event, against a naive model; and its cancel against a callback
 * on another (simulated) CPU.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "time/timer.c"

/* ---- the simulated machine ---- */

static u64 now;     /* the clock */
static u64 fire_at; /* when the event fires; UINT64_MAX: not armed */
static u64 arms, max_armed;
static s64 fast_ppm; /* by how much the event's frequency is above the clock's */

u64 clock_ns(void)
{
	return now;
}

static void sim_arm(u64 delta)
{
	assert_true(delta >= 1000 && delta <= 50000000);
	fire_at = now + delta - (u64)((s64)delta * fast_ppm / 1000000);
	max_armed = MAX(max_armed, delta);
	arms++;
}

static void sim_stop(void)
{
	fire_at = UINT64_MAX;
}

static int sim_start(void)
{
	return 0;
}

static const struct clock_event sim_event = {
	.name = "sim",
	.arm = sim_arm,
	.stop = sim_stop,
	.start = sim_start,
	.min_delta_ns = 1000,
	.max_delta_ns = 50000000,
};

static int absent_start(void)
{
	return -ENODEV;
}

static const struct clock_event absent_event = { .name = "absent", .start = absent_start };

/* Lets time pass, with the interrupts that come in it. */
static void advance(u64 to)
{
	while (fire_at <= to) {
		now = MAX(now, fire_at);
		fire_at = UINT64_MAX;
		host_irqs_on = false;
		timer_interrupt();
		host_irqs_on = true;
	}
	now = to;
}

static int setup(void **state)
{
	memset(timer_cpus, 0, sizeof(timer_cpus));
	now = 1000;
	fire_at = UINT64_MAX;
	arms = max_armed = 0;
	fast_ppm = 0;
	return timer_set_event(&sim_event);
}

/* ---- random operations against a model ---- */

#define TIMERS 64

static struct {
	struct timer timer;
	bool queued;
	u64 deadline, sequence;
	u64 again; /* the callback starts it again, this much later */
} model[TIMERS];
static u64 sequence, fired;

static bool due_before(int a, int b)
{
	return model[a].deadline < model[b].deadline ||
	       (model[a].deadline == model[b].deadline && model[a].sequence < model[b].sequence);
}

static void model_start(int i, u64 deadline)
{
	model[i].queued = true;
	model[i].deadline = deadline;
	model[i].sequence = sequence++;
	timer_start(&model[i].timer, deadline);
}

static void model_fired(struct timer *t)
{
	int i = (int)(container_of(t, __typeof__(model[0]), timer) - model);

	assert_true(model[i].queued);
	assert_false(t->queued);
	assert_true(now >= model[i].deadline);
	for (int j = 0; j < TIMERS; j++)
		assert_false(model[j].queued && j != i && due_before(j, i));
	model[i].queued = false;
	fired++;
	if (model[i].again)
		model_start(i, model[i].deadline + model[i].again);
}

static u64 random_deadline(void)
{
	switch (rand() % 5) {
	case 0: return now - MIN(now, (u64)(rand() % 1000));
	case 1: return now + (u64)(rand() % 3000);
	case 2: return now + (u64)rand() % 200000000;
	case 3: return now + 5000; /* many equal ones */
	default: return now + (u64)(rand() % 1000000);
	}
}

static void test_random(void **state)
{
	srand(7);
	for (int i = 0; i < TIMERS; i++) {
		memset(&model[i], 0, sizeof(model[i]));
		timer_init(&model[i].timer, model_fired);
	}
	for (u32 step = 0; step < 200000; step++) {
		int i = rand() % TIMERS;

		if (step % 50000 == 0)
			fast_ppm = (rand() % 3 - 1) * 800;
		switch (rand() % 4) {
		case 0:
			model[i].again = rand() % 4 ? 0 : 100000 + (u64)(rand() % 1000000);
			model_start(i, random_deadline());
			break;
		case 1: {
			bool was = model[i].queued;

			model[i].queued = false;
			assert_int_equal(timer_cancel(&model[i].timer), was);
			break;
		}
		default: advance(now + (u64)(rand() % 20000));
		}
		for (int j = 0; j < TIMERS; j++) {
			assert_int_equal(model[j].queued, model[j].timer.queued);
			/* late by no more than the shortest delta and the stretch */
			if (model[j].queued)
				assert_true(model[j].deadline + 2000 + 50000000 / 256 > now);
		}
		u64 first = UINT64_MAX;
		for (int j = 0; j < TIMERS; j++)
			if (model[j].queued)
				first = MIN(first, model[j].deadline);
		assert_true(first == UINT64_MAX || fire_at != UINT64_MAX);
	}
	assert_true(fired > 10000);
	for (int i = 0; i < TIMERS; i++)
		timer_cancel(&model[i].timer);
	assert_null(timer_cpus[0].root.top);
	assert_null(timer_cpus[0].first);
}

/* ---- single points ---- */

static u32 calls;
static u64 called_at;

static void count_call(struct timer *t)
{
	calls++;
	called_at = now;
}

static void test_programs_only_earlier(void **state)
{
	struct timer a, b, c;

	timer_init(&a, count_call);
	timer_init(&b, count_call);
	timer_init(&c, count_call);
	timer_start(&a, 100000);
	assert_int_equal(arms, 1);
	timer_start(&b, 200000);
	assert_int_equal(arms, 1);
	timer_start(&c, 50000);
	assert_int_equal(arms, 2);
	assert_true(timer_cancel(&c)); /* leaves the event as it is */
	assert_false(timer_cancel(&c));
	assert_int_equal(arms, 2);
	timer_start(&c, 60000);
	assert_int_equal(arms, 2);
	calls = 0;
	advance(250000);
	assert_int_equal(calls, 3);
	assert_int_equal(timer_interrupts(), 4);
}

static void test_past_and_far(void **state)
{
	struct timer a;

	calls = 0;
	timer_init(&a, count_call);
	now = 1000000;
	timer_start(&a, 5);
	advance(now + 1000);
	assert_int_equal(calls, 1);
	/* further than the event can reach */
	timer_start(&a, now + 10 * NSEC_PER_SEC);
	u64 deadline = a.deadline;
	advance(deadline - 1);
	assert_int_equal(calls, 1);
	advance(deadline + 1000);
	assert_int_equal(calls, 2);
	assert_true(called_at >= deadline);
	timer_start(&a, UINT64_MAX);
	advance(now + NSEC_PER_SEC);
	assert_int_equal(calls, 2);
	assert_true(timer_cancel(&a));
}

static void test_before_event(void **state)
{
	struct timer a;

	memset(timer_cpus, 0, sizeof(timer_cpus));
	arms = calls = 0;
	timer_init(&a, count_call);
	timer_start(&a, 5000);
	assert_int_equal(arms, 0);
	assert_int_equal(timer_set_event(&absent_event), -ENODEV);
	assert_int_equal(timer_set_event(&sim_event), 0);
	assert_int_equal(arms, 1);
	advance(6000);
	assert_int_equal(calls, 1);
}

/* An event that is 0.1 % fast must not cost two interrupts a tick for ever, nor fire early. */
static void tick(struct timer *t)
{
	assert_true(now >= t->deadline);
	assert_true(now - t->deadline < 10000);
	calls++;
	timer_start(t, t->deadline + NSEC_PER_MSEC);
}

static void test_fast_event(void **state)
{
	struct timer a;

	calls = 0;
	fast_ppm = 1000;
	timer_init(&a, tick);
	timer_start(&a, now + NSEC_PER_MSEC);
	advance(now + NSEC_PER_SEC);
	assert_int_equal(calls, 1000);
	assert_true(timer_interrupts() < 1020);
	timer_cancel(&a);
}

/* A callback that is always due again does not keep the CPU for ever. */
static void always_due(struct timer *t)
{
	calls++;
	timer_start(t, now);
}

static void test_budget(void **state)
{
	struct timer a;

	calls = 0;
	timer_init(&a, always_due);
	timer_start(&a, now);
	fire_at = UINT64_MAX;
	host_irqs_on = false;
	timer_interrupt();
	host_irqs_on = true;
	assert_int_equal(calls, BUDGET);
	assert_true(fire_at <= now + 1001);
	timer_cancel(&a);
}

/* ---- two CPUs ---- */

static struct timer shared;
static bool in_callback, stop;
static u64 callbacks;

static void slow_callback(struct timer *t)
{
	__atomic_store_n(&in_callback, true, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < 200; i++)
		cpu_relax();
	callbacks++;
	if (callbacks % 3 == 0)
		timer_start(t, 0);
	__atomic_store_n(&in_callback, false, __ATOMIC_SEQ_CST);
}

static u32 start_on; /* the CPU that is asked to start the timer; NO_CPU: none */
#define NO_CPU 99

/* One CPU with nothing but timer interrupts. */
static void *interrupts(void *arg)
{
	host_cpu = (u32)(unsigned long)arg;
	host_irqs_on = false;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (__atomic_load_n(&start_on, __ATOMIC_ACQUIRE) == host_cpu) {
			timer_start(&shared, 0);
			__atomic_store_n(&start_on, NO_CPU, __ATOMIC_RELEASE);
		}
		timer_interrupt();
	}
	return NULL;
}

static void quiet_arm(u64 delta)
{
}

static void quiet_stop(void)
{
}

static const struct clock_event quiet_event = {
	.name = "quiet",
	.arm = quiet_arm,
	.stop = quiet_stop,
	.start = sim_start,
	.min_delta_ns = 1000,
	.max_delta_ns = 50000000,
};

static void test_cancel_waits(void **state)
{
	pthread_t thread;
	u64 cancelled = 0;

	memset(timer_cpus, 0, sizeof(timer_cpus));
	for (host_cpu = 0; host_cpu < 2; host_cpu++)
		timer_set_event(&quiet_event);
	host_cpu = 0;
	timer_init(&shared, slow_callback);
	start_on = NO_CPU;
	nr_cpus = 2;
	pthread_create(&thread, NULL, interrupts, (void *)1ul);
	for (u32 round = 0; round < 3000; round++) {
		__atomic_store_n(&start_on, 1, __ATOMIC_RELEASE);
		while (__atomic_load_n(&start_on, __ATOMIC_ACQUIRE) != NO_CPU)
			sched_yield();
		for (u32 i = (u32)rand() % 300; i > 0; i--)
			cpu_relax();
		cancelled += timer_cancel(&shared);
		assert_false(__atomic_load_n(&in_callback, __ATOMIC_SEQ_CST));
		assert_false(shared.queued);
		u64 before = __atomic_load_n(&callbacks, __ATOMIC_RELAXED);
		sched_yield();
		assert_int_equal(__atomic_load_n(&callbacks, __ATOMIC_RELAXED), before);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	nr_cpus = 1;
	assert_true(callbacks > 0);
	assert_true(cancelled + callbacks >= 3000);
}

/* ---- another event for all CPUs ---- */

static u32 started[3], messages[3];

void ipi_timer(u32 cpu)
{
	messages[cpu]++;
}

static int other_start(void)
{
	started[host_cpu]++;
	return 0;
}

static struct clock_event other_event = {
	.name = "other",
	.arm = sim_arm,
	.stop = quiet_stop,
	.start = other_start,
	.min_delta_ns = 1000,
	.max_delta_ns = 50000000,
};

static void interrupt_on(u32 cpu)
{
	host_cpu = cpu;
	host_irqs_on = false;
	timer_interrupt();
	host_irqs_on = true;
}

/* CPU 0 changes; the others follow in their next interrupt, once, with what they had started. */
static void changes(bool per_cpu)
{
	struct timer t;

	nr_cpus = 3;
	memset(timer_cpus, 0, sizeof(timer_cpus));
	memset(started, 0, sizeof(started));
	memset(messages, 0, sizeof(messages));
	for (host_cpu = 0; host_cpu < 3; host_cpu++)
		timer_set_event(&quiet_event);
	host_cpu = 2;
	calls = 0;
	timer_init(&t, tick);
	if (per_cpu) /* a broadcast takes the first CPU's lock: here, not in the kernel, out of order */
		timer_start(&t, now + 5000000);
	other_event.per_cpu = per_cpu;
	host_cpu = 0;
	timer_set_event(&other_event);
	timer_change_events(&other_event);
	assert_true(messages[0] == 0 && messages[1] == 1 && messages[2] == 1);
	for (u32 round = 0; round < 2; round++) {
		interrupt_on(1);
		fire_at = UINT64_MAX;
		interrupt_on(2);
	}
	assert_int_equal(started[0], 1);
	assert_int_equal(started[1], per_cpu);
	assert_int_equal(started[2], per_cpu);
	for (host_cpu = 1; host_cpu < 3; host_cpu++)
		assert_ptr_equal(this_cpu_ptr(&timer_cpus)->event,
				 per_cpu ? &other_event : &broadcast_event);
	/* The new event is set for what CPU 2 had started with the old one. */
	assert_true(!per_cpu || (fire_at > now && fire_at <= now + 5000001));
	host_cpu = 2;
	timer_cancel(&t);
	host_cpu = 0;
	nr_cpus = 1;
}

static void test_change_events(void **state)
{
	changes(true);
	changes(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_random, setup),
		cmocka_unit_test_setup(test_programs_only_earlier, setup),
		cmocka_unit_test_setup(test_past_and_far, setup),
		cmocka_unit_test_setup(test_before_event, setup),
		cmocka_unit_test_setup(test_fast_event, setup),
		cmocka_unit_test_setup(test_budget, setup),
		cmocka_unit_test_setup(test_cancel_waits, setup),
		cmocka_unit_test_setup(test_change_events, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
