/*
 * time/clock.c with time/timer.c on a simulated machine: a TSC whose frequency is stated wrongly or
 * drifts, a second clock, reads that take time and sometimes very long, as in an emulator that
 * loses its CPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "time/clock.c"
#include "time/timer.c"

/* ---- the simulated machine ---- */

#define TSC_HZ 2000000000ull

static u64 sim;           /* true nanoseconds */
static double tsc_ticks;  /* what the TSC shows */
static double tsc_rate;   /* its true ticks per ns */
static u32 hiccup_one_in; /* a read that takes up to 5 ms: one in so many; 0: none */
static u64 fire_at;       /* of the clock event */
static u64 wall;

static void pass(u64 ns)
{
	sim += ns;
	tsc_ticks += (double)ns * tsc_rate;
}

static void read_cost(u64 ns)
{
	pass(ns);
	if (hiccup_one_in && (u32)rand() % hiccup_one_in == 0)
		pass((u64)(rand() % 5000000));
}

static u64 ticks_of(u64 hz)
{
	return (u64)((unsigned __int128)sim * hz / NSEC_PER_SEC);
}

static u64 tsc_read(void)
{
	read_cost(20);
	return (u64)tsc_ticks;
}

static u64 hpet_read(void)
{
	read_cost(800);
	u64 v = ticks_of(100000000);
	read_cost(800);
	return v;
}

static u64 pit_read(void)
{
	read_cost(1500);
	u64 v = ticks_of(1193182) & 0xffff;
	read_cost(1500);
	return v;
}

static struct clock_source tsc, hpet, pit;
static const struct clock_source *sources[4];

const struct clock_source *const *clock_arch_sources(void)
{
	return sources;
}

static void sim_arm(u64 delta)
{
	fire_at = sim + delta;
}

static void sim_stop(void)
{
	fire_at = UINT64_MAX;
}

static int sim_start(void)
{
	return 0;
}

static int absent(void)
{
	return -ENODEV;
}

static const struct clock_event lapic = { "lapic", sim_arm,  sim_stop, sim_start,
					  1000,    50000000, 3,        1 };
static const struct clock_event gone = { "hpet", sim_arm, sim_stop, absent, 1000, 50000000, 2, 0 };
static const struct clock_event slow = {
	"pit", sim_arm, sim_stop, sim_start, 1000, 50000000, 1, 0
};
static const struct clock_event *const events[] = { &gone, &lapic, &slow, NULL };

const struct clock_event *const *clock_arch_events(void)
{
	return events;
}

u64 clock_arch_wall_seconds(void)
{
	return wall;
}

/* Runs the machine for a while, reading the clock all the time: it must not go back. */
static void run(u64 ns)
{
	static u64 steps;
	u64 end = sim + ns, last = clock_ns();

	while (sim < end) {
		pass(MIN(fire_at > sim ? fire_at - sim : 1, 1 + (u64)(rand() % 3000000)));
		if (fire_at <= sim) {
			fire_at = UINT64_MAX;
			host_irqs_on = false;
			timer_interrupt();
			host_irqs_on = true;
		}
		u64 t = clock_ns();
		assert_true(t >= last);
		last = t;
		steps++;
	}
}

enum { WITH_TSC = 1, WITH_HPET = 2, WITH_PIT = 4 };

static void boot(unsigned with, u64 stated_tsc_hz, const char *source, const char *timer)
{
	u32 n = 0;

	memset(timer_cpus, 0, sizeof(timer_cpus));
	memset(&base, 0, sizeof(base));
	memset(&narrow, 0, sizeof(narrow));
	memset(&watch, 0, sizeof(watch));
	active_event = NULL;
	sim = 5 * NSEC_PER_SEC;
	tsc_ticks = 1e12;
	tsc_rate = TSC_HZ / 1e9;
	fire_at = UINT64_MAX;
	source_option.value = source;
	timer_option.value = timer;
	tsc = (struct clock_source){
		"tsc", tsc_read, UINT64_MAX, stated_tsc_hz, 300, false, false
	};
	hpet = (struct clock_source){ "hpet", hpet_read, UINT64_MAX, 100000000, 250, true, true };
	pit = (struct clock_source){ "pit", pit_read, 0xffff, 1193182, 100, true, true };
	if (with & WITH_TSC)
		sources[n++] = &tsc;
	if (with & WITH_HPET)
		sources[n++] = &hpet;
	if (with & WITH_PIT)
		sources[n++] = &pit;
	sources[n] = NULL;
	clock_init();
}

/* Parts per million by which the clock is off over the next `ns`. */
static double error_ppm(u64 ns)
{
	u64 from = sim, clock_from = clock_ns();

	run(ns);
	u64 clock_took = clock_ns() - clock_from, took = sim - from;
	double off = (double)clock_took - (double)took;
	return (off < 0 ? -off : off) / (double)took * 1e6;
}

/* ---- tests ---- */

static int setup(void **state)
{
	srand(3);
	hiccup_one_in = 0;
	wall = 0;
	memset(&base, 0, sizeof(base));
	return 0;
}

static void test_before_init(void **state)
{
	assert_int_equal(clock_ns(), 0);
	assert_string_equal(clock_source_name(), "none");
}

static void test_choice(void **state)
{
	boot(WITH_TSC | WITH_HPET | WITH_PIT, TSC_HZ, NULL, NULL);
	assert_string_equal(clock_source_name(), "tsc");
	assert_string_equal(clock_event_name(), "lapic"); /* the one before does not start */
	boot(WITH_TSC | WITH_HPET | WITH_PIT, TSC_HZ, "hpet", "pit");
	assert_string_equal(clock_source_name(), "hpet");
	assert_string_equal(clock_event_name(), "pit");
	boot(WITH_TSC | WITH_PIT, TSC_HZ, "hpet", "hpet");
	assert_string_equal(clock_source_name(), "tsc");
	assert_string_equal(clock_event_name(), "lapic");
	boot(WITH_PIT, 0, NULL, "nonsense");
	assert_string_equal(clock_source_name(), "pit");
	assert_string_equal(clock_event_name(), "lapic");
	boot(WITH_TSC, TSC_HZ, NULL, NULL);
	run(NSEC_PER_SEC); /* nothing to watch it with */
	assert_string_equal(clock_source_name(), "tsc");
}

static void test_rate(void **state)
{
	boot(WITH_TSC | WITH_HPET, TSC_HZ, NULL, NULL);
	assert_true(error_ppm(10 * NSEC_PER_SEC) < 1);
	boot(WITH_HPET, 0, NULL, NULL);
	assert_true(error_ppm(10 * NSEC_PER_SEC) < 1);
	boot(WITH_PIT, 0, NULL, NULL);
	assert_true(error_ppm(10 * NSEC_PER_SEC) < 2);
}

/* The narrow source is kept alive by its own timer, also when nobody else reads it. */
static void test_narrow_alone(void **state)
{
	boot(WITH_PIT, 0, NULL, NULL);
	u64 from = sim, clock_from = clock_ns();
	while (sim < from + 10 * NSEC_PER_SEC) {
		assert_true(fire_at != UINT64_MAX);
		pass(fire_at - sim);
		host_irqs_on = false;
		timer_interrupt();
		host_irqs_on = true;
	}
	s64 off = (s64)(clock_ns() - clock_from) - (s64)(sim - from);
	assert_true(off > -20000 && off < 20000);
}

/* A narrow source that was not read in time loses time, and does not go back. */
static void test_narrow_late(void **state)
{
	boot(WITH_PIT, 0, NULL, NULL);
	u64 last = clock_ns();
	for (u32 i = 0; i < 1000; i++) {
		pass(40000000 + (u64)(rand() % 60000000));
		assert_true(clock_ns() >= last);
		last = clock_ns();
	}
}

/* An NMI that finds the lock taken gets the last time. */
static void test_narrow_locked(void **state)
{
	boot(WITH_PIT, 0, NULL, NULL);
	u64 last = clock_ns();
	pass(1000000);
	spin_lock(&narrow.lock);
	assert_int_equal(clock_ns(), last);
	spin_unlock(&narrow.lock);
	assert_true(clock_ns() >= last + 1000000);
}

static void test_refine(void **state)
{
	for (int ppm = -5000; ppm <= 5000; ppm += 1000) {
		for (unsigned with = WITH_HPET; with <= WITH_PIT; with += WITH_PIT - WITH_HPET) {
			u64 stated = TSC_HZ + (u64)((s64)TSC_HZ / 1000000 * ppm);

			boot(WITH_TSC | with, stated, NULL, NULL);
			run(2 * NSEC_PER_SEC);
			assert_true(error_ppm(5 * NSEC_PER_SEC) < 20);
			assert_string_equal(clock_source_name(), "tsc");
			double hz = (double)clock_tsc_hz() / TSC_HZ;
			assert_true(hz > 0.9999 && hz < 1.0001);
			u64 ns = clock_cycles_to_ns(TSC_HZ);
			assert_true(ns > 999900000 && ns < 1000100000);
		}
	}
}

static void test_no_watch_when_trusted(void **state)
{
	boot(WITH_TSC | WITH_HPET, TSC_HZ, NULL, NULL);
	tsc.trusted = true;
	run(3 * NSEC_PER_SEC);
	assert_false(watch.timer.queued);
}

/* A noisy emulator is no reason to give a good clock up. */
static void test_noise(void **state)
{
	for (unsigned with = WITH_HPET; with <= WITH_PIT; with += WITH_PIT - WITH_HPET) {
		for (hiccup_one_in = 2; hiccup_one_in < 50; hiccup_one_in *= 2) {
			boot(WITH_TSC | with, TSC_HZ + TSC_HZ / 1000, NULL, NULL);
			u64 failures = clock_watch_failures();
			run(100 * NSEC_PER_SEC);
			assert_string_equal(clock_source_name(), "tsc");
			assert_int_equal(clock_watch_failures(), failures);
		}
	}
}

static void demotes(unsigned with, double rate, u32 hiccups)
{
	hiccup_one_in = hiccups;
	boot(WITH_TSC | with, TSC_HZ, NULL, NULL);
	run(5 * NSEC_PER_SEC);
	assert_string_equal(clock_source_name(), "tsc");
	tsc_rate = TSC_HZ / 1e9 * rate;
	for (u32 i = 0; i < 100 && strcmp(clock_source_name(), "tsc") == 0; i++)
		run(NSEC_PER_SEC);
	assert_int_equal(clock_watch_failures(), 1);
	assert_string_equal(clock_source_name(), with & WITH_HPET ? "hpet" : "pit");
	hiccup_one_in = 0;
	assert_true(error_ppm(5 * NSEC_PER_SEC) < 5);
}

static void test_drift(void **state)
{
	for (u32 hiccups = 0; hiccups < 20; hiccups += 10) {
		demotes(WITH_HPET, 1.001, hiccups);
		demotes(WITH_HPET, 0.999, hiccups);
		demotes(WITH_HPET, 2.0, hiccups);
		demotes(WITH_HPET, 0.3, hiccups);
		demotes(WITH_PIT, 1.001, hiccups);
		demotes(WITH_PIT, 0.999, hiccups);
		demotes(WITH_PIT, 1.7, hiccups);
		demotes(WITH_PIT | WITH_HPET, 0.5, hiccups);
	}
}

static void test_small_drift_is_fine(void **state)
{
	boot(WITH_TSC | WITH_HPET, TSC_HZ, NULL, NULL);
	run(5 * NSEC_PER_SEC);
	tsc_rate *= 1.0003;
	run(60 * NSEC_PER_SEC);
	assert_string_equal(clock_source_name(), "tsc");
}

static void test_realtime(void **state)
{
	wall = 1700000000;
	boot(WITH_HPET, 0, NULL, NULL);
	u64 t = clock_realtime_ns();
	assert_true(t / NSEC_PER_SEC == 1700000000);
	clock_set_realtime_ns(5);
	run(NSEC_PER_SEC);
	t = clock_realtime_ns();
	assert_true(t >= NSEC_PER_SEC && t < NSEC_PER_SEC + 100000000);
}

/* Slow TSCs (Bochs) and fast ones: no overflow in the factors. */
static void test_extreme_rates(void **state)
{
	static const u64 rates[] = { 1000000,    10000000,      999999999,
				     1000000000, 5000000000ull, 20000000000ull };

	for (u32 i = 0; i < ARRAY_SIZE(rates); i++) {
		boot(WITH_TSC | WITH_HPET, rates[i], NULL, NULL);
		tsc_rate = (double)rates[i] / 1e9;
		run(3 * NSEC_PER_SEC);
		assert_string_equal(clock_source_name(), "tsc");
		assert_true(error_ppm(10 * NSEC_PER_SEC) < 30);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_before_init, setup),
		cmocka_unit_test_setup(test_choice, setup),
		cmocka_unit_test_setup(test_rate, setup),
		cmocka_unit_test_setup(test_narrow_alone, setup),
		cmocka_unit_test_setup(test_narrow_late, setup),
		cmocka_unit_test_setup(test_narrow_locked, setup),
		cmocka_unit_test_setup(test_refine, setup),
		cmocka_unit_test_setup(test_no_watch_when_trusted, setup),
		cmocka_unit_test_setup(test_noise, setup),
		cmocka_unit_test_setup(test_drift, setup),
		cmocka_unit_test_setup(test_small_drift_is_fine, setup),
		cmocka_unit_test_setup(test_realtime, setup),
		cmocka_unit_test_setup(test_extreme_rates, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
