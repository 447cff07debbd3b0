/*
 * Policies on simulated CPUs: shares by nice, real-time throttling, affinity, stealing, placement,
 * the tick. sched/ is booted as it is (sched_host.h); the naive model is the fluid one: at each
 * moment each thread has had its part of the time.
 */
#include "sched_host.h"

#include "lib/uapi/sched.h"

#define LEVEL   SCHED_LEVEL_NORMAL
#define MAX_RUN 8
#define MS      NSEC_PER_MSEC

static volatile bool stop;
static u64 ran[MAX_RUN]; /* ns that each runner counted itself */

/* Counts its own time. The turn around it takes some more, less than a hundredth. */
static int runner(void *arg)
{
	while (!stop) {
		ran[(u64)arg] += 20000;
		sim_spend(20000);
	}
	return 0;
}

static struct sim_setup prompt = { .density = 20, .step_ns = 20, .prompt = true };

static void run_prompt(u64 seeds, u32 max_cpus, int (*fn)(void *arg))
{
	host_setup = prompt;
	sched_run_seeds(seeds, max_cpus, fn);
	host_setup = (struct sim_setup){ 0 };
}

static void start_run(void)
{
	sched_set_level(current(), 1, true); /* above all that is judged */
	stop = false;
	memset(ran, 0, sizeof(ran));
}

static void end_run(struct thread **t, u32 n)
{
	stop = true;
	for (u32 i = 0; i < n; i++)
		thread_join(t[i]);
}

/* |a - b| <= limit */
static bool near(u64 a, u64 b, u64 limit)
{
	return a > b ? a - b <= limit : b - a <= limit;
}

/* ---- shares ---- */

/* Nice values at random, one of SCHED_IDLE: every 10 ms each has had its share, but for one request. */
static int shares_main(void *arg)
{
	struct thread *t[5];
	u64 weight = 0;

	start_run();
	for (u64 i = 0; i < 5; i++) {
		t[i] = thread_create("share", runner, (void *)i, LEVEL);
		sched_set_nice(t[i], (int)sim_random(40) - 20);
		if (i == 4)
			sched_set_policy(t[i], SCHED_IDLE, 0);
		weight += t[i]->fair.weight;
	}
	sim_check_eq(t[4]->fair.weight, FAIR_WEIGHT_IDLE);
	u64 start = clock_ns();
	for (u32 step = 0; step < 100; step++) {
		sched_sleep_until(clock_ns() + 10 * MS);
		u64 time = clock_ns() - start;

		for (u32 i = 0; i < 5; i++)
			sim_check(near(ran[i], time * t[i]->fair.weight / weight,
				       SCHED_SLICE_NS + MS + time / 100));
	}
	end_run(t, 5);
	return 0;
}

static void test_shares_by_nice(void **state)
{
	run_prompt(24, 1, shares_main);
}

static bool stall_now;

/* As runner; once, the host takes the whole machine away for a while, interrupts and all. */
static int stalled_runner(void *arg)
{
	while (!stop) {
		if (READ_ONCE(stall_now)) {
			WRITE_ONCE(stall_now, false);
			irq_disable();
			sim_spend(5 * NSEC_PER_SEC);
			irq_enable();
		}
		sim_spend(200000);
	}
	return 0;
}

/* Who seemed to run meanwhile has had that time: the others catch up, however long it was. */
static int stall_main(void *arg)
{
	struct thread *t[3];
	u64 sum = 0;

	start_run();
	for (u64 i = 0; i < 3; i++)
		t[i] = thread_create("stall", stalled_runner, (void *)i, LEVEL);
	sched_sleep_until(clock_ns() + 100 * MS);
	WRITE_ONCE(stall_now, true);
	sched_sleep_until(clock_ns() + 5 * NSEC_PER_SEC); /* over before it is noticed */
	sched_sleep_until(clock_ns() + 11 * NSEC_PER_SEC);
	for (u32 i = 0; i < 3; i++)
		sum += READ_ONCE(t[i]->run_cycles);
	for (u32 i = 0; i < 3; i++)
		sim_check(near(READ_ONCE(t[i]->run_cycles), sum / 3, sum / 100));
	end_run(t, 3);
	return 0;
}

static void test_time_that_the_host_took_counts(void **state)
{
	run_prompt(4, 1, stall_main);
}

/* A change of nice counts from then on, for the one that runs as for those that wait. */
static int renice_main(void *arg)
{
	struct thread *t[2];

	start_run();
	for (u64 i = 0; i < 2; i++)
		t[i] = thread_create("renice", runner, (void *)i, LEVEL);
	sched_sleep_until(clock_ns() + 500 * MS);
	sim_check(near(ran[0], ran[1], 10 * MS));
	sched_set_nice(t[0], 5); /* 335 to 1024 */
	u64 from0 = ran[0], from1 = ran[1];
	sched_sleep_until(clock_ns() + 1000 * MS);
	sim_check(near((ran[0] - from0) * 1024, (ran[1] - from1) * 335, 10 * MS * 1024));
	end_run(t, 2);
	return 0;
}

static void test_renice_takes_effect(void **state)
{
	run_prompt(6, 1, renice_main);
}

/* ---- wake-ups in the fair queue ---- */

static bool woken_ran;

static int note_wakeup(void *arg)
{
	sched_sleep_until(clock_ns() + 20 * MS);
	WRITE_ONCE(woken_ran, true);
	return 0;
}

/* A hog of policy `hog`, a sleeper of policy `sleeper`: does the sleeper run at once when it wakes? */
static bool wakes_at_once(unsigned hog, unsigned sleeper)
{
	struct thread *t[2];

	stop = false;
	WRITE_ONCE(woken_ran, false);
	t[1] = thread_create("sleeper", note_wakeup, NULL, 50);
	u64 end = clock_ns() + 20 * MS;
	sched_sleep_until(end - 15 * MS);
	sched_set_policy(t[1], sleeper, 0);
	t[0] = thread_create("hog", runner, (void *)0ul, LEVEL);
	sched_set_policy(t[0], hog, 0);
	sched_sleep_until(end + 100 * NSEC_PER_USEC);
	bool at_once = READ_ONCE(woken_ran);
	end_run(t, 2);
	return at_once;
}

static int idle_policy_main(void *arg)
{
	start_run();
	sim_check(wakes_at_once(SCHED_IDLE, SCHED_NORMAL));
	sim_check(wakes_at_once(SCHED_IDLE, SCHED_BATCH));
	sim_check(!wakes_at_once(SCHED_NORMAL, SCHED_IDLE));
	sim_check(!wakes_at_once(SCHED_NORMAL, SCHED_BATCH));
	return 0;
}

static void test_idle_gives_way_and_batch_does_not_push(void **state)
{
	host_setup = prompt;
	sched_run(1, unit_seed(), idle_policy_main);
	host_setup = (struct sim_setup){ 0 };
}

/* ---- real time ---- */

/* Of 4 seconds ran[0], the real-time thread, has 95 parts in 100, ran[1] the others. */
static void check_throttled(void)
{
	u64 fifo = ran[0], other = ran[1];

	sched_sleep_until(clock_ns() + 4000 * MS);
	sim_check(near(ran[0] - fifo, 3800 * MS, 60 * MS));
	sim_check(near(ran[1] - other, 200 * MS, 60 * MS));
}

/* A runaway FIFO thread leaves 5 % of each second; alone it keeps everything. */
static int throttle_main(void *arg)
{
	struct thread *t[2];

	start_run();
	t[0] = thread_create("fifo", runner, (void *)0ul, LEVEL);
	sched_set_policy(t[0], SCHED_FIFO, 50);
	u64 start = clock_ns();
	sched_sleep_until(start + 3000 * MS);
	sim_check(near(ran[0], 3000 * MS, 30 * MS)); /* nobody else wants it */
	t[1] = thread_create("other", runner, (void *)1ul, LEVEL);
	sched_sleep_until(clock_ns() + 2000 * MS); /* the period under way ends */
	check_throttled();
	end_run(t, 2);
	return 0;
}

static void test_runaway_real_time_thread_is_throttled(void **state)
{
	run_prompt(3, 1, throttle_main);
}

/* Also for a service of the kernel, with nobody in the fair queue: the terminals' thread carries Ctrl-C. */
static int throttle_for_service_main(void *arg)
{
	struct thread *t[2];

	start_run();
	t[0] = thread_create("fifo", runner, (void *)0ul, LEVEL);
	sched_set_policy(t[0], SCHED_FIFO, 50);
	t[1] = thread_create("service", runner, (void *)1ul, SCHED_LEVEL_KERNEL);
	sched_sleep_until(clock_ns() + 1000 * MS);
	check_throttled();
	end_run(t, 2);
	return 0;
}

static void test_throttle_lets_services_run(void **state)
{
	run_prompt(3, 1, throttle_for_service_main);
}

static int at_once(void *arg)
{
	return 0;
}

/* For whom it was throttled has gone after a moment: the FIFO thread goes on, the CPU does not idle. */
static int throttle_for_nobody_main(void *arg)
{
	struct thread *t[2];

	start_run();
	t[0] = thread_create("fifo", runner, (void *)0ul, LEVEL);
	sched_set_policy(t[0], SCHED_FIFO, 50);
	t[1] = thread_create("brief", at_once, NULL, LEVEL);
	sched_sleep_until(clock_ns() + 2000 * MS); /* long enough for its twentieth */
	sim_check_eq(READ_ONCE(t[1]->state), T_DEAD);
	u64 fifo = ran[0];
	sched_sleep_until(clock_ns() + 2000 * MS);
	sim_check(near(ran[0] - fifo, 2000 * MS, 30 * MS));
	end_run(t, 2);
	return 0;
}

static void test_throttle_ends_with_who_waits(void **state)
{
	run_prompt(3, 1, throttle_for_nobody_main);
}

/* Round robin of equals by slices of 100 ms; the better priority takes all. */
static int rr_main(void *arg)
{
	struct thread *t[3];

	start_run();
	for (u64 i = 0; i < 3; i++) {
		t[i] = thread_create("rr", runner, (void *)i, 60);
		sched_set_policy(t[i], SCHED_RR, i == 2 ? 9 : 10);
	}
	sched_sleep_until(clock_ns() + 2000 * MS);
	sim_check(near(ran[0], ran[1], 105 * MS));
	sim_check(near(ran[0] + ran[1], 2000 * MS, 30 * MS)); /* nobody to throttle them for */
	sim_check_eq(ran[2], 0);
	end_run(t, 3);
	return 0;
}

static void test_round_robin(void **state)
{
	run_prompt(4, 1, rr_main);
}

/* ---- several CPUs ---- */

/* What the model allows each thread while its affinity is being changed: the old set and the new. */
static struct {
	struct cpuset allowed;
	u32 moves;
} roamer[4];

static void check_place(u32 i)
{
	preempt_disable();
	u32 cpu = cpu_id();
	bool ok = cpuset_has(&roamer[i].allowed, cpu);
	preempt_enable();
	sim_check(ok);
}

static int roam(void *arg)
{
	u32 i = (u32)(u64)arg;

	for (u32 k = 0; k < 60; k++) {
		check_place(i);
		switch (sim_random(4)) {
		case 0: sched_yield(); break;
		case 1: sched_sleep_until(clock_ns() + sim_random(4000)); break;
		default: sim_spend(sim_random(3000));
		}
	}
	return 0;
}

static struct cpuset random_set(void)
{
	u64 all = (1ul << host_run.cpus) - 1;

	return (struct cpuset){ { 1 + sim_random(all) } };
}

static void change_affinity(struct thread *t, u32 i)
{
	struct cpuset set = random_set();

	WRITE_ONCE(roamer[i].allowed.word[0], roamer[i].allowed.word[0] | set.word[0]);
	sched_set_affinity(t, &set);
	WRITE_ONCE(roamer[i].allowed.word[0], set.word[0]);
}

static int affinity_main(void *arg)
{
	struct thread *t[4], *me = current();

	for (u64 i = 0; i < 4; i++) {
		cpuset_fill(&roamer[i].allowed);
		t[i] = thread_create("roam", roam, (void *)i, i == 3 ? 60 : LEVEL);
	}
	for (u32 k = 0; k < 30; k++) {
		u32 i = (u32)sim_random(4);

		change_affinity(t[i], i);
		if (sim_random(3) == 0) { /* the changer itself */
			struct cpuset set = random_set();

			sched_set_affinity(me, &set);
			sim_check(cpuset_has(&set, READ_ONCE(me->cpu)));
		}
		sim_spend(sim_random(4000));
	}
	for (u32 i = 0; i < 4; i++)
		thread_join(t[i]);
	return 0;
}

static bool toggled;

static int toggle(void *arg)
{
	struct cpuset all;

	cpuset_fill(&all);
	for (u32 i = 0; i < 20; i++)
		sched_set_affinity(arg, i % 2 ? &all : &(struct cpuset){ { 1 } });
	WRITE_ONCE(toggled, true);
	return 0;
}

/* What a child gets is of one moment, though another thread changes the parent's set. */
static int heir_main(void *arg)
{
	static struct thread child;
	struct thread *t;

	WRITE_ONCE(toggled, false);
	t = thread_create("toggle", toggle, current(), LEVEL);
	while (!READ_ONCE(toggled)) {
		child = (struct thread){ 0 };
		sched_inherit(&child, current());
		sim_check_eq(child.bound, cpuset_is_one(&child.affinity));
		sim_spend(100);
	}
	thread_join(t);
	return 0;
}

static void test_affinity_is_honoured_at_once(void **state)
{
	sched_run_seeds(1500, 4, affinity_main);
	sched_run_seeds(200, 2, heir_main);
}

/*
 * Endless loops on several CPUs: what each has got, in hundredths of a CPU, whatever CPU it began on. A thread has one
 * CPU at most; the others share what is left by their weights, if single threads can be moved so that they do.
 */
static const struct {
	u32 cpus, threads;
	s8 nice[MAX_RUN];
	u8 percent[MAX_RUN];
} mix[] = {
	{ 2, 3, { 0 }, { 67, 67, 67 } },
	{ 3, 4, { 0 }, { 75, 75, 75, 75 } },
	{ 4, 6, { 0 }, { 67, 67, 67, 67, 67, 67 } },
	{ 4, 5, { 5, 5, 5, 5, 5 }, { 80, 80, 80, 80, 80 } },
	{ 2, 4, { 0, 0, 19, 19 }, { 99, 99, 1, 1 } },
	{ 2, 4, { 0, 19, 0, 19 }, { 99, 1, 99, 1 } },
	{ 2, 4, { 0, 0, 0, 19 }, { 66, 66, 66, 1 } },
	{ 2, 4, { -5, 0, 0, 0 }, { 100, 33, 33, 33 } },
	{ 3, 8, { -20, -20, 5, 5, 5, 5, 5, 5 }, { 100, 100, 17, 17, 17, 17, 17, 17 } },
};
static u32 mixed;

static int mix_main(void *arg)
{
	const u64 time = 20 * NSEC_PER_SEC; /* in 5 s chance may cost one six hundredths */
	struct thread *t[MAX_RUN];
	u64 before[MAX_RUN];
	u32 n = mix[mixed].threads;

	start_run();
	for (u64 i = 0; i < n; i++) {
		t[i] = thread_create_on(0, "mixed", runner, (void *)i, LEVEL);
		sched_set_nice(t[i], mix[mixed].nice[i]);
		sched_set_affinity(t[i], &(struct cpuset){ { UINT64_MAX } });
	}
	sched_sleep_until(clock_ns() + NSEC_PER_SEC); /* until they have found their places */
	for (u32 i = 0; i < n; i++)
		before[i] = READ_ONCE(t[i]->run_cycles);
	sched_sleep_until(clock_ns() + time);
	for (u32 i = 0; i < n; i++) {
		u64 got = (READ_ONCE(t[i]->run_cycles) - before[i]) * 100;

		if (!near(got, mix[mixed].percent[i] * time, 5 * time))
			panic("mix %u, thread %u: %lu %%, not %u (seed %lu)", mixed, i, got / time,
			      mix[mixed].percent[i], host_run.seed);
	}
	end_run(t, n);
	return 0;
}

static void test_shares_on_several_cpus(void **state)
{
	host_setup = (struct sim_setup){ .density = 100, .step_ns = 1000, .prompt = true };
	for (mixed = 0; mixed < ARRAY_SIZE(mix); mixed++)
		for (u64 i = 0; i < 3; i++)
			sched_run(mix[mixed].cpus, unit_seed() + i, mix_main);
	host_setup = (struct sim_setup){ 0 };
}

static u64 done_at[MAX_RUN];

/* A fixed amount of work, in small pieces with or without sleeps in between. */
static int worker(void *arg)
{
	u64 i = (u64)arg;

	for (u32 k = 0; k < 400; k++)
		sim_spend(100 * NSEC_PER_USEC);
	done_at[i] = clock_ns();
	return 0;
}

/*
 * Eight threads of 40 ms of work on n CPUs. Simulated time stands for all CPUs together: a CPU that
 * idles while others have work makes the whole take longer.
 */
static int work_main(void *arg)
{
	struct thread *t[MAX_RUN];
	u64 start = clock_ns(), halts = sim_counts.halts;

	for (u64 i = 0; i < MAX_RUN; i++)
		t[i] = thread_create("work", worker, (void *)i, LEVEL);
	for (u64 i = 0; i < MAX_RUN; i++)
		thread_join(t[i]);
	sim_check(clock_ns() - start < MAX_RUN * 40 * MS + 60 * MS);
	sim_check(sim_counts.halts - halts < 200);
	return 0;
}

static void test_cpus_share_the_work(void **state)
{
	run_prompt(8, 4, work_main);
}

/* New threads, when no CPU idles: they spread, though their maker looks at two CPUs only. */
static int spread_main(void *arg)
{
	struct thread *hog[4], *t[4 * 6];
	u32 cpus = host_run.cpus, least = UINT32_MAX, most = 0;

	start_run();
	sched_set_affinity(current(), &(struct cpuset){ { 1 } });
	for (u32 i = 1; i < cpus; i++)
		hog[i] = thread_create_on(i, "hog", runner, (void *)(u64)i, 50);
	for (u32 i = 1; i < cpus; i++)
		while (READ_ONCE(*per_cpu_ptr(&current_thread, i)) != hog[i])
			sim_spend(10000);
	for (u64 i = 0; i < cpus * 6; i++)
		t[i] = thread_create("new", runner, (void *)0ul, LEVEL);
	for (u32 i = 0; i < cpus; i++) {
		u32 n = READ_ONCE(per_cpu_ptr(&runqueue, i)->runnable);

		least = MIN(least, n);
		most = MAX(most, n);
	}
	sim_check(least >= 5 && most <= 9); /* 7 is the mean */
	end_run(hog + 1, cpus - 1);
	for (u32 i = 0; i < cpus * 6; i++)
		thread_join(t[i]);
	return 0;
}

static void test_new_threads_spread(void **state)
{
	run_prompt(12, 4, spread_main);
}

/* All threads begin on one CPU, bound there; set free, the idle CPUs take them. */
static int steal_main(void *arg)
{
	struct thread *t[4];
	struct cpuset all;

	cpuset_fill(&all);
	start_run();
	for (u64 i = 0; i < 4; i++)
		t[i] = thread_create_on(0, "steal", runner, (void *)i, LEVEL);
	sched_sleep_until(clock_ns() + 10 * MS);
	for (u32 i = 0; i < 4; i++)
		sim_check_eq(READ_ONCE(t[i]->cpu), 0);
	for (u32 i = 0; i < 4; i++)
		sched_set_affinity(t[i], &all);
	sched_sleep_until(clock_ns() + 100 * MS);
	for (u32 i = 0; i < host_run.cpus; i++)
		sim_check(READ_ONCE(per_cpu_ptr(&runqueue, i)->runnable) > 0);
	end_run(t, 4);
	return 0;
}

static void test_idle_cpus_steal(void **state)
{
	run_prompt(12, 4, steal_main);
}

/* Behind a thread that never ends and is bound: who waits there is fetched when it may go elsewhere. */
static int freed_main(void *arg)
{
	struct thread *hog, *t;
	struct cpuset all;

	if (host_run.cpus == 1)
		return 0;
	cpuset_fill(&all);
	start_run();
	sched_set_affinity(current(), &(struct cpuset){ { 1 } });
	hog = thread_create_on(1, "hog", runner, (void *)0ul, 50);
	t = thread_create_on(1, "behind", worker, (void *)1ul, LEVEL);
	sched_sleep_until(clock_ns() + 5 * MS);
	sched_set_affinity(t, &all);
	for (u32 i = 0; i < 500; i++)
		sim_spend(10000); /* this CPU does not go idle, and fetches nothing */
	sim_check(host_run.cpus == 2 || READ_ONCE(t->cpu) > 1);
	thread_join(t);

	end_run(&hog, 1);
	return 0;
}

/* A bound and better thread comes to where a free one runs: that one goes to a CPU that is idle. */
static int chased_main(void *arg)
{
	if (host_run.cpus < 3)
		return 0;
	start_run();
	sched_set_affinity(current(), &(struct cpuset){ { 1 } });
	struct thread *t = thread_create("chased", worker, (void *)1ul, LEVEL);
	for (u32 i = 0; i < 100; i++)
		sim_spend(10000);
	u32 cpu = READ_ONCE(t->cpu);
	sim_check(cpu != 0);
	struct thread *hog = thread_create_on(cpu, "hog", runner, (void *)0ul, 50);
	for (u32 i = 0; i < 500; i++)
		sim_spend(10000);
	sim_check(READ_ONCE(t->cpu) != cpu);
	thread_join(t);
	end_run(&hog, 1);
	return 0;
}

static void test_who_waits_is_fetched(void **state)
{
	host_setup = prompt;
	sched_run_seeds(40, 4, freed_main);
	sched_run_seeds(40, 4, chased_main);
	host_setup = (struct sim_setup){ 0 };
}

/* ---- real time on several CPUs ---- */

/* The last CPU is for who looks; the others are for those who are looked at. */
static struct cpuset others(void)
{
	u32 last = host_run.cpus - 1;

	sched_set_affinity(current(), &(struct cpuset){ { 1ul << last } });
	return (struct cpuset){ { (1ul << last) - 1 } };
}

static bool runs(const struct thread *t)
{
	return READ_ONCE(*per_cpu_ptr(&current_thread, READ_ONCE(t->cpu))) == t;
}

static bool runs_soon(const struct thread *t)
{
	for (u32 i = 0; i < 20; i++) {
		if (runs(t))
			return true;
		sched_sleep_until(clock_ns() + 20 * NSEC_PER_USEC);
	}
	return false;
}

/* Two CPUs with a hog each. */
static int push_main(void *arg)
{
	struct thread *fair[2], *a, *b, *c;
	struct cpuset all;

	start_run();
	all = others();
	for (u32 i = 0; i < 2; i++)
		fair[i] = thread_create_on(i, "fair", runner, (void *)(u64)i, LEVEL);
	a = thread_create_on(0, "a", runner, (void *)2ul, 60);
	sim_check(runs_soon(a));
	sched_set_affinity(a, &all);
	/* A better one comes to its CPU: it goes on elsewhere. */
	b = thread_create_on(0, "b", runner, (void *)3ul, 50);
	sim_check(runs_soon(b) && runs_soon(a));
	sim_check_eq(READ_ONCE(a->cpu), 1);
	/* Nowhere to go, until it may: then at once. */
	c = thread_create_on(0, "c", runner, (void *)4ul, 55);
	sim_check(!runs_soon(c));
	sched_set_affinity(c, &all);
	sim_check(runs_soon(c));
	sim_check_eq(READ_ONCE(c->cpu), 1);
	sim_check(!runs_soon(a));
	/* The CPU of c loses its urgency: a, wherever it waits, runs there. */
	sched_set_affinity(a, &(struct cpuset){ { 1 } });
	sched_set_affinity(a, &all);
	sim_check(!runs_soon(a));
	sched_set_policy(c, SCHED_NORMAL, 0);
	sim_check(runs_soon(a));
	sim_check_eq(READ_ONCE(a->cpu), 1);
	end_run((struct thread *[]){ fair[0], fair[1], a, b, c }, 5);
	return 0;
}

/* Sleeps in between: whoever waits meanwhile has its CPU then. */
static int sleeper(void *arg)
{
	while (!stop)
		sched_sleep_until(clock_ns() + MS);
	return 0;
}

static bool napping;

static int run_then_sleep(void *arg)
{
	sim_spend(3 * MS);
	WRITE_ONCE(napping, true);
	return sleeper(arg);
}

static int pull_main(void *arg)
{
	struct thread *fair[2], *a, *b, *c;
	struct cpuset all;

	start_run();
	all = others();
	WRITE_ONCE(napping, false);
	for (u32 i = 0; i < 2; i++)
		fair[i] = thread_create_on(i, "fair", runner, (void *)(u64)i, LEVEL);
	a = thread_create_on(0, "a", runner, (void *)2ul, 50);
	b = thread_create_on(1, "b", run_then_sleep, NULL, 50);
	c = thread_create_on(0, "c", runner, (void *)3ul, 60);
	sched_set_affinity(c, &all);
	while (!READ_ONCE(napping)) {
		sim_check(!runs(c) || READ_ONCE(napping));
		sched_sleep_until(clock_ns() + 100 * NSEC_PER_USEC);
	}
	sim_check(runs_soon(c));
	sim_check_eq(READ_ONCE(c->cpu), 1);
	end_run((struct thread *[]){ fair[0], fair[1], a, b, c }, 5);
	return 0;
}

static bool closed, opened;

static int close_and_open(void *arg)
{
	preempt_disable();
	WRITE_ONCE(closed, true);
	while (!READ_ONCE(opened))
		sim_spend(NSEC_PER_USEC);
	preempt_enable();
	return runner(arg);
}

/* The CPU that is asked for c looks late, and has become urgent: it sends c to another one, less urgent than c. */
static int asked_main(void *arg)
{
	struct thread *a, *b, *c, *shut, *u;

	start_run();
	struct cpuset all = others();
	closed = opened = false;
	a = thread_create_on(0, "a", runner, (void *)0ul, 30);
	b = thread_create_on(1, "b", runner, (void *)1ul, 50);
	c = thread_create_on(0, "c", runner, (void *)2ul, 40);
	shut = thread_create_on(2, "shut", close_and_open, (void *)3ul, LEVEL);
	while (!runs(a) || !runs(b) || !READ_ONCE(closed))
		sched_sleep_until(clock_ns() + 20 * NSEC_PER_USEC);
	sched_set_affinity(c, &all);
	sim_check(READ_ONCE(per_cpu_ptr(&runqueue, 2)->rt_asked));
	u = thread_create_on(2, "u", runner, (void *)4ul, 35);
	sim_check(!runs_soon(c));
	WRITE_ONCE(opened, true);
	sim_check(runs_soon(c));
	sim_check_eq(READ_ONCE(c->cpu), 1);
	sim_check(runs_soon(u));
	end_run((struct thread *[]){ a, b, c, shut, u }, 5);
	return 0;
}

static struct waitq gate[2];
static bool called[2];

static int come_when_called(void *arg)
{
	u64 i = (u64)arg;

	wait_event(&gate[i], READ_ONCE(called[i]));
	return runner(arg);
}

static void call_in(u32 i)
{
	WRITE_ONCE(called[i], true);
	waitq_wake_all(&gate[i]);
}

static bool relaxed;

static int run_until_relaxed(void *arg)
{
	while (!READ_ONCE(relaxed))
		sim_spend(10 * NSEC_PER_USEC);
	return sleeper(arg);
}

static enum { BETTER_COMES, BETTER_CAME, BETTER_IS_THERE, PROMISES } promise;

/*
 * `free` comes to a CPU that cannot switch yet, and is to run there at once; so is a better one that comes behind or
 * before, or the one that is there becomes better. The other CPU has something more urgent to do. So `free` waits. It
 * called nobody when it came, but when the other CPU has nothing urgent to do any more it must know.
 */
static int promised_main(void *arg)
{
	struct thread *fair, *free, *better, *busy, *shut;

	start_run();
	struct cpuset all = others();
	closed = opened = called[0] = called[1] = relaxed = false;
	for (u32 i = 0; i < 2; i++)
		waitq_init(&gate[i]);
	free = thread_create_on(0, "free", come_when_called, (void *)0ul, 50);
	better = thread_create_on(0, "better", come_when_called, (void *)1ul, 40);
	sched_sleep_until(clock_ns() + MS); /* until both sleep */
	sched_set_affinity(free, &all);
	fair = thread_create_on(1, "fair", runner, (void *)2ul, LEVEL);
	busy = thread_create_on(1, "busy", run_until_relaxed, NULL, 30);
	shut = thread_create_on(0, "shut", close_and_open, (void *)3ul, LEVEL);
	while (!runs(busy) || !READ_ONCE(closed))
		sched_sleep_until(clock_ns() + 20 * NSEC_PER_USEC);
	if (promise == BETTER_CAME)
		call_in(1);
	call_in(0);
	if (promise == BETTER_COMES)
		call_in(1);
	if (promise == BETTER_IS_THERE)
		sched_set_level(shut, 20, true);
	sim_check_eq(READ_ONCE(free->cpu), 0);
	WRITE_ONCE(opened, true);
	sim_check(!runs_soon(free));
	WRITE_ONCE(relaxed, true);
	sim_check(runs_soon(free));
	sim_check_eq(READ_ONCE(free->cpu), 1);
	if (promise == BETTER_IS_THERE)
		call_in(1);
	end_run((struct thread *[]){ fair, free, better, busy, shut }, 5);
	return 0;
}

static void test_real_time_threads_find_a_cpu(void **state)
{
	host_setup = prompt;
	for (u64 seed = unit_seed(); seed < unit_seed() + 30; seed++) {
		sched_run(3, seed, push_main);
		sched_run(3, seed, pull_main);
		sched_run(4, seed, asked_main);
		for (promise = 0; promise < PROMISES; promise++)
			sched_run(3, seed, promised_main);
	}
	host_setup = (struct sim_setup){ 0 };
}

#define RT_THREADS 12

static atomic_t rt_left;

static int rt_at_random(void *arg)
{
	for (u32 i = 0; i < 12; i++) {
		for (u64 n = sim_random(200); n > 0; n--)
			sim_spend(500); /* in small steps: others get on meanwhile */
		if (sim_random(2))
			sched_sleep_until(clock_ns() + sim_random(30000));
	}
	atomic_fetch_sub(&rt_left, 1u);
	return 0;
}

/* It is runnable, and waits although a CPU that it may use runs something less urgent. */
static bool rt_waits_in_vain(const struct thread *t)
{
	if (READ_ONCE(t->on_rq) != ON_RQ || runs(t))
		return false;
	for (u32 cpu = 0; cpu < host_run.cpus; cpu++)
		if (cpuset_has(&t->affinity, cpu) &&
		    READ_ONCE(per_cpu_ptr(&runqueue, cpu)->top) > READ_ONCE(t->level))
			return true;
	return false;
}

static int rt_random_main(void *arg)
{
	struct thread *t[RT_THREADS];
	u64 switches[RT_THREADS] = { 0 };
	u32 looks[RT_THREADS] = { 0 };

	start_run();
	if (host_run.cpus == 1)
		return 0;
	struct cpuset all = others();
	atomic_store(&rt_left, (u32)RT_THREADS);
	for (u32 i = 0; i < RT_THREADS; i++) {
		t[i] = thread_create("rt", rt_at_random, NULL, 20 + 10 * (u32)sim_random(7));
		struct cpuset set = { { 1 + sim_random(all.word[0]) } };
		sched_set_affinity(t[i], sim_random(3) ? &all : &set);
	}
	/* Things are on their way at any moment, but not for long. */
	while (atomic_load(&rt_left)) {
		sched_sleep_until(clock_ns() + 2000);
		for (u32 i = 0; i < RT_THREADS; i++) {
			/* A thread that ran meanwhile waits anew. */
			u64 now = READ_ONCE(t[i]->switches);

			looks[i] = rt_waits_in_vain(t[i]) && now == switches[i] ? looks[i] + 1 : 0;
			switches[i] = now;
			sim_check(looks[i] < 12);
		}
	}
	for (u32 i = 0; i < RT_THREADS; i++)
		thread_join(t[i]);
	return 0;
}

static void test_no_real_time_thread_waits_in_vain(void **state)
{
	host_setup = (struct sim_setup){ .density = 20, .step_ns = 20 };
	sched_run_seeds(600, 8, rt_random_main);
	host_setup = (struct sim_setup){ 0 };
}

/* ---- placement ---- */

static struct waitq doze_queue = WAITQ_INIT(doze_queue);
static u32 posts;
static u32 went_elsewhere;

static int doze(void *arg)
{
	u32 cpu = READ_ONCE(current()->cpu);

	for (u32 i = 1; i <= 20; i++) {
		wait_event(&doze_queue, READ_ONCE(posts) >= i);
		if (READ_ONCE(current()->cpu) != cpu)
			went_elsewhere++;
	}
	return 0;
}

/* With idle CPUs everywhere a thread wakes where its cache is warm. */
static int warm_main(void *arg)
{
	WRITE_ONCE(posts, 0);
	went_elsewhere = 0;
	struct thread *t = thread_create("doze", doze, NULL, LEVEL);

	for (u32 i = 1; i <= 20; i++) {
		sched_sleep_until(clock_ns() + MS);
		WRITE_ONCE(posts, i);
		waitq_wake_all(&doze_queue);
	}
	thread_join(t);
	sim_check(host_run.cpus == 1 || went_elsewhere <= 1);
	return 0;
}

/* A busy warm CPU and an idle one: the idle one, at once. */
static int busy_main(void *arg)
{
	struct thread *hog, *t;
	struct cpuset all;

	if (host_run.cpus == 1)
		return 0;
	cpuset_fill(&all);
	start_run();
	WRITE_ONCE(posts, 0);
	sched_set_affinity(current(), &(struct cpuset){ { 1 } });
	t = thread_create_on(1, "doze", doze, NULL, LEVEL);
	do
		sched_sleep_until(clock_ns() + MS);
	while (READ_ONCE(t->on_rq) != OFF_RQ);
	hog = thread_create_on(1, "hog", runner, (void *)0ul, 50);
	sched_sleep_until(clock_ns() + MS);
	sched_set_affinity(t, &all);
	u64 start = clock_ns();
	WRITE_ONCE(posts, 20);
	waitq_wake_all(&doze_queue);
	sim_check(host_run.cpus == 2 ||
		  READ_ONCE(t->cpu) > 1); /* with two this one has to sleep first */
	thread_join(t); /* it would wait for ever behind the hog of a better level */
	sim_check(clock_ns() - start < 100 * MS);
	end_run(&hog, 1);
	return 0;
}

static int doze_then_run(void *arg)
{
	wait_event(&doze_queue, READ_ONCE(posts) >= 1);
	return runner(arg);
}

/* Two that are warm on one CPU are woken at once: each has a CPU, for others are idle, too. */
static int burst_main(void *arg)
{
	struct thread *t[2];
	struct cpuset all;
	bool both = false;

	if (host_run.cpus < 3)
		return 0;
	cpuset_fill(&all);
	start_run();
	WRITE_ONCE(posts, 0);
	sched_set_affinity(current(), &(struct cpuset){ { 1 } });
	for (u64 i = 0; i < 2; i++)
		t[i] = thread_create_on(1, "doze", doze_then_run, (void *)i, LEVEL);
	do
		sched_sleep_until(clock_ns() + MS);
	while (READ_ONCE(t[0]->on_rq) != OFF_RQ || READ_ONCE(t[1]->on_rq) != OFF_RQ);
	for (u32 i = 0; i < 2; i++)
		sched_set_affinity(t[i], &all);
	WRITE_ONCE(posts, 1);
	waitq_wake_all(&doze_queue);
	/* This CPU does not go idle, and fetches nothing. */
	for (u32 i = 0; i < 1000 && !both; i++) {
		sim_spend(10000);
		both = runs(t[0]) && runs(t[1]);
	}
	sim_check(both);
	end_run(t, 2);
	return 0;
}

static void test_wakeups_go_where_it_is_idle_and_warm(void **state)
{
	host_setup = prompt;
	sched_run_seeds(20, 4, warm_main);
	sched_run_seeds(20, 4, busy_main);
	sched_run_seeds(40, 4, burst_main);
	host_setup = (struct sim_setup){ 0 };
}

/* ---- the tick ---- */

static int tickless_main(void *arg)
{
	struct thread *t[2];
	u64 before = timer_interrupts();

	start_run();
	sched_sleep_until(clock_ns() + 1000 * MS);
	sim_check(timer_interrupts() - before <= 4); /* idle: the sleep itself, the last tick */
	t[0] = thread_create_on(0, "alone", runner, (void *)0ul, LEVEL);
	before = timer_interrupts();
	sched_sleep_until(clock_ns() + 1000 * MS);
	sim_check(timer_interrupts() - before <= 14); /* one thread: ten a second */
	t[1] = thread_create_on(0, "second", runner, (void *)1ul, LEVEL);
	before = timer_interrupts();
	sched_sleep_until(clock_ns() + 1000 * MS);
	sim_check(timer_interrupts() - before >= 990); /* two */
	sim_check(near(ran[1], 500 * MS, 10 * MS));
	end_run(t, 2);
	return 0;
}

static void test_tick_only_when_there_is_a_choice(void **state)
{
	run_prompt(6, 1, tickless_main);
}

/* run_cycles, which the kernel charges, is what the threads themselves count. */
static int charge_main(void *arg)
{
	struct thread *t[3];

	start_run();
	for (u64 i = 0; i < 3; i++) {
		t[i] = thread_create("charge", runner, (void *)i, LEVEL);
		if (i == 2)
			sched_set_policy(t[i], SCHED_IDLE, 0);
	}
	u64 told = 0, user, kernel;
	for (u32 i = 0; i < 30; i++) { /* sched_times counts up to the present, and never back */
		sched_sleep_until(clock_ns() + 10 * MS);
		sched_times(t[0], &user, &kernel);
		sim_check(user + kernel >= told);
		told = user + kernel;
		sim_check(near(told, ran[0], ran[0] / 50 + MS));
	}
	stop = true;
	for (u32 i = 0; i < 3; i++) {
		wait_event(&t[i]->exited, load_acquire(&t[i]->state) == T_DEAD);
		sim_check(near(t[i]->run_cycles, ran[i], ran[i] / 50 + MS));
		thread_put(t[i]);
	}
	return 0;
}

static void test_time_is_charged_to_who_ran(void **state)
{
	run_prompt(6, 1, charge_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares_by_nice),
		cmocka_unit_test(test_time_that_the_host_took_counts),
		cmocka_unit_test(test_renice_takes_effect),
		cmocka_unit_test(test_idle_gives_way_and_batch_does_not_push),
		cmocka_unit_test(test_runaway_real_time_thread_is_throttled),
		cmocka_unit_test(test_throttle_lets_services_run),
		cmocka_unit_test(test_throttle_ends_with_who_waits),
		cmocka_unit_test(test_round_robin),
		cmocka_unit_test(test_affinity_is_honoured_at_once),
		cmocka_unit_test(test_shares_on_several_cpus),
		cmocka_unit_test(test_cpus_share_the_work),
		cmocka_unit_test(test_new_threads_spread),
		cmocka_unit_test(test_idle_cpus_steal),
		cmocka_unit_test(test_who_waits_is_fetched),
		cmocka_unit_test(test_real_time_threads_find_a_cpu),
		cmocka_unit_test(test_no_real_time_thread_waits_in_vain),
		cmocka_unit_test(test_wakeups_go_where_it_is_idle_and_warm),
		cmocka_unit_test(test_tick_only_when_there_is_a_choice),
		cmocka_unit_test(test_time_is_charged_to_who_ran),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
