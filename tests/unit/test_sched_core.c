/*
 * The scheduler's core (sched/core.c, thread.c) on simulated CPUs: order, preemption, levels, the
 * life of threads, exact counters, under thousands of seeds; a naive model beside it where that is
 * possible.
 */
#include "sched_host.h"

#define LEVEL SCHED_LEVEL_NORMAL

static void make_fifo(struct thread *t, unsigned level)
{
	sched_set_level(t, level, true);
}

/* ---- yield ---- */

static u32 turn;

static int take_turns(void *arg)
{
	for (u32 i = 0; i < 20; i++) {
		sim_check_eq(turn, (u64)arg);
		turn = (turn + 1) % 3;
		sched_yield();
	}
	return 0;
}

/* Without slices yields alone decide, whatever interrupts come. The counters tell each switch. */
static int turns_main(void *arg)
{
	struct thread *t[3];
	struct sched_stats before, after;
	u64 own = 0;

	turn = 0;
	make_fifo(current(), 5); /* above them until all three are there */
	for (u64 i = 0; i < 3; i++) {
		t[i] = thread_create("turn", take_turns, (void *)i, 60);
		make_fifo(t[i], 60);
	}
	sched_stats(&before);
	u64 me = current()->switches;
	for (u32 i = 0; i < 3; i++)
		thread_join(t[i]);
	sched_stats(&after);
	own = current()->switches - me;
	/* 20 yields of three, of which the last of the last alone finds nobody; their first turns and
	 * ours are switches to a thread, too. Each thread ends by a switch. */
	sim_check_eq(after.preemptions, before.preemptions);
	sim_check(after.switches - before.switches >= 60 + own);
	sim_check(after.switches - before.switches <= 66 + own);
	return 0;
}

static void test_yield_takes_turns(void **state)
{
	sched_run_seeds(500, 1, turns_main);
}

/* Switches are counted once by the queue and once by the thread that is switched to. */
static u64 thread_switches, thread_forced;

static int count_own(void *arg)
{
	for (u64 i = sim_random(20); i > 0; i--) {
		if (sim_random(3) == 0)
			sched_sleep_until(clock_ns() + sim_random(5000));
		else
			sched_yield();
	}
	preempt_disable(); /* from here to the end nobody counts us any more, but the last switch */
	__atomic_fetch_add(&thread_switches, current()->switches, __ATOMIC_RELAXED);
	__atomic_fetch_add(&thread_forced, current()->switches_forced, __ATOMIC_RELAXED);
	preempt_enable_no_resched();
	return 0;
}

static int counters_main(void *arg)
{
	struct thread *t[6];
	struct sched_stats s;

	make_fifo(current(), 3);
	__atomic_store_n(&thread_switches, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&thread_forced, 0, __ATOMIC_RELAXED);
	for (u32 i = 0; i < 6; i++)
		t[i] = thread_create("count", count_own, NULL, 1);
	u64 kept = 0, forced = 0;
	for (u32 i = 0; i < 6; i++) {
		wait_event(&t[i]->exited, load_acquire(&t[i]->state) == T_DEAD);
		kept += t[i]->switches;
		forced += t[i]->switches_forced;
		thread_put(t[i]);
	}
	sched_stats(&s);
	struct thread *idle = rq_idle_thread(per_cpu_ptr(&runqueue, 0));
	kept += READ_ONCE(idle->switches);
	forced += READ_ONCE(idle->switches_forced);
	kept += current()->switches;
	forced += current()->switches_forced;
	/* With several CPUs the others may switch while we read. */
	if (host_run.cpus == 1) {
		sim_check_eq(s.switches, kept);
		sim_check_eq(s.preemptions, forced);
	}
	return 0;
}

static void test_counters_are_exact(void **state)
{
	sched_run_seeds(1000, 3, counters_main);
}

/* ---- preemption ---- */

static volatile bool stop;
static u64 turns[3];

static int run_until_stopped(void *arg)
{
	while (!stop) {
		turns[(u64)arg]++;
		sim_spend(1000);
	}
	return 0;
}

static int no_preempt_main(void *arg)
{
	struct thread *me = current();

	stop = false;
	memset(turns, 0, sizeof(turns));
	struct thread *t = thread_create("rival", run_until_stopped, NULL, LEVEL);

	for (u32 depth = 1; depth <= 2; depth++)
		preempt_disable();
	u64 forced = me->switches_forced, interrupts = timer_interrupts(), rival = turns[0];
	sim_spend(30 * NSEC_PER_MSEC);
	preempt_enable(); /* still one left */
	sim_check(timer_interrupts() - interrupts >= 15);
	sim_check(need_resched()); /* it was asked for, and held back */
	sim_check_eq(me->switches_forced, forced);
	sim_check_eq(turns[0], rival);
	preempt_enable(); /* and here it happens at once */
	sim_check_eq(me->switches_forced, forced + 1);
	sim_check(turns[0] > rival);

	u64 flags = irq_save();
	forced = me->switches_forced;
	sim_spend(30 * NSEC_PER_MSEC);
	sim_check_eq(me->switches_forced, forced);
	irq_restore(flags);
	sim_spend(30 * NSEC_PER_MSEC);
	sim_check(me->switches_forced > forced);
	stop = true;
	thread_join(t);
	return 0;
}

static void test_preemption_only_at_count_zero(void **state)
{
	host_setup = (struct sim_setup){ .density = 200, .step_ns = 2000 };
	sched_run_seeds(40, 1, no_preempt_main);
	host_setup = (struct sim_setup){ 0 };
}

/* Three that never yield: each a third of one simulated second, within 2 %. */
static int thirds_main(void *arg)
{
	struct thread *t[3];
	u64 sum = 0, ticks = 0;

	make_fifo(current(), 5);
	stop = false;
	memset(turns, 0, sizeof(turns));
	for (u64 i = 0; i < 3; i++)
		t[i] = thread_create("ABC", run_until_stopped, (void *)i, LEVEL);
	sched_sleep_until(clock_ns() + NSEC_PER_SEC);
	u64 got[3], ticked[3];
	for (u32 i = 0; i < 3; i++) {
		sum += got[i] = turns[i];
		ticks += ticked[i] = t[i]->kernel_ticks;
	}
	stop = true;
	for (u32 i = 0; i < 3; i++) {
		sim_check(got[i] * 300 >= sum * 98 && got[i] * 300 <= sum * 102);
		sim_check(ticked[i] * 300 >= ticks * 98 && ticked[i] * 300 <= ticks * 102);
		thread_join(t[i]);
	}
	return 0;
}

static void test_endless_loops_get_a_third_each(void **state)
{
	host_setup = (struct sim_setup){ .density = 100, .step_ns = 1000, .prompt = true };
	sched_run_seeds(10, 1, thirds_main);
	host_setup = (struct sim_setup){ 0 };
}

/* ---- levels against a model ---- */

#define WORKERS 8
#define STEPS   12

/*
 * One CPU. The workers sleep until they are posted; the director, above them, posts some, changes
 * levels, then waits for all to have run. The model is a list: insertions by level, behind the equals; who gets the level
 * that it has stays where it is.
 */
static struct worker {
	struct thread *thread;
	u32 level, posts;
} worker[WORKERS];
static struct waitq post_queue[WORKERS];
static u32 model[WORKERS], nr_model, ran[WORKERS], nr_ran;
static bool dismiss;

static int work(void *arg)
{
	u32 me = (u32)(u64)arg;

	for (;;) {
		wait_event(&post_queue[me], worker[me].posts > 0 || dismiss);
		if (dismiss)
			return 0;
		worker[me].posts--;
		ran[nr_ran++] = me;
	}
}

static void model_remove(u32 w)
{
	u32 i = 0;

	while (i < nr_model && model[i] != w)
		i++;
	if (i == nr_model)
		return;
	nr_model--;
	memmove(&model[i], &model[i + 1], (nr_model - i) * sizeof(model[0]));
}

static void model_insert(u32 w)
{
	u32 i = nr_model++;

	for (; i > 0 && worker[model[i - 1]].level > worker[w].level; i--)
		model[i] = model[i - 1];
	model[i] = w;
}

static void direct(void)
{
	u32 w = (u32)sim_random(WORKERS);

	if (sim_random(3) == 0) {
		u32 level = 20 + (u32)sim_random(4);
		bool moves = worker[w].posts > 0 && level != worker[w].level;

		if (moves)
			model_remove(w);
		worker[w].level = level;
		if (moves)
			model_insert(w);
		make_fifo(worker[w].thread, level);
	} else if (worker[w].posts == 0) {
		worker[w].posts = 1;
		model_insert(w);
		waitq_wake_one(&post_queue[w]);
	}
}

/* Below all workers, we run again when all of them sleep. */
static void let_all_run(void)
{
	make_fifo(current(), 50);
	make_fifo(current(), 10);
}

static int levels_main(void *arg)
{
	make_fifo(current(), 10);
	dismiss = false;
	for (u64 i = 0; i < WORKERS; i++) {
		waitq_init(&post_queue[i]);
		worker[i] = (struct worker){ .level = 20 };
		worker[i].thread = thread_create("work", work, (void *)i, 20);
		make_fifo(worker[i].thread, 20);
	}
	let_all_run();
	for (u32 round = 0; round < 20; round++) {
		nr_model = nr_ran = 0;
		for (u32 i = 0; i < STEPS; i++)
			direct();
		sim_check_eq(nr_ran, 0); /* we stand above them */
		let_all_run();
		sim_check_eq(nr_ran, nr_model);
		for (u32 i = 0; i < nr_ran; i++)
			sim_check_eq(ran[i], model[i]);
	}
	dismiss = true;
	for (u32 i = 0; i < WORKERS; i++) {
		waitq_wake_all(&post_queue[i]);
		thread_join(worker[i].thread);
	}
	return 0;
}

static void test_levels_and_order_as_in_a_model(void **state)
{
	sched_run_seeds(400, 1, levels_main);
}

/*
 * A better level runs at once when it wakes, and a worse one never while a better one wants to run:
 * `wanting` says who is awake, written by the threads themselves around their sleeps.
 */
static bool wanting[3];

static int urgent(void *arg)
{
	u32 me = (u32)(u64)arg;

	for (u32 i = 0; i < 10; i++) {
		for (u32 k = 0; k < 20; k++) {
			for (u32 better = 0; better < me; better++)
				sim_check(!wanting[better]);
			sim_spend(200);
		}
		wanting[me] = false;
		sched_sleep_until(clock_ns() + sim_random(30000));
		wanting[me] = true;
	}
	wanting[me] = false;
	return 0;
}

static int urgent_main(void *arg)
{
	struct thread *t[3];

	make_fifo(current(), 5);
	for (u64 i = 0; i < 3; i++) {
		wanting[i] = true;
		t[i] = thread_create("urgent", urgent, (void *)i, 20 + (unsigned)i);
	}
	for (u32 i = 0; i < 3; i++)
		thread_join(t[i]);
	return 0;
}

static void test_better_levels_first(void **state)
{
	sched_run_seeds(300, 1, urgent_main);
}

/* ---- threads ---- */

static atomic_t born, ended;

/* Makes up to three children, joins some, leaves others to themselves. */
static int family(void *arg)
{
	u64 depth = (u64)arg;
	struct thread *t[3];
	u64 n = depth ? sim_random(4) : 0;

	atomic_fetch_add(&born, 1u);
	for (u64 i = 0; i < n; i++)
		t[i] = thread_create("child", family, (void *)(depth - 1),
				     LEVEL + (unsigned)sim_random(3));
	if (sim_random(2))
		sched_yield();
	for (u64 i = 0; i < n; i++) {
		if (sim_random(2)) {
			sim_check_eq(thread_join(t[i]), depth - 1);
		} else if (sim_random(2)) {
			thread_get(t[i]);
			thread_put(t[i]);
			thread_put(t[i]);
		} else {
			thread_put(t[i]);
		}
	}
	atomic_fetch_add(&ended, 1u);
	return (int)depth;
}

static int family_main(void *arg)
{
	struct thread *t = thread_create("root", family, (void *)3ul, LEVEL);

	sim_check_eq(thread_join(t), 3);
	return 0;
}

/* host_check_end sees to it that no thread and no stack is left. */
static void test_threads_end_and_leave_nothing(void **state)
{
	atomic_store(&born, 0u);
	atomic_store(&ended, 0u);
	sched_run_seeds(2500, 4, family_main);
	assert_int_equal(atomic_load(&born), atomic_load(&ended));
	assert_true(atomic_load(&born) > 2000);
}

static int count_thread(struct thread *t, void *arg)
{
	++*(u32 *)arg;
	return 0;
}

/* A thread that never starts, threads that cannot be made, and the list of all of them. */
static u32 fail_in;

static void *failing_stack_alloc(const char *owner)
{
	return fail_in-- ? host_stack_alloc(owner) : NULL;
}

static int no_memory_main(void *arg)
{
	struct sched_memory_ops ops = host_memory;
	u32 n = 0;

	struct thread *t = thread_create_user("never");
	thread_for_each(count_thread, &n);
	sim_check_eq(n, 2);
	thread_put(t);
	ops.stack_alloc = failing_stack_alloc;
	fail_in = 1;
	sched_memory = &ops;
	t = thread_create("one", family, NULL, LEVEL);
	sim_check(t && !thread_create("none", family, NULL, LEVEL));
	sched_memory = &host_memory;
	thread_join(t);
	n = 0;
	thread_for_each(count_thread, &n);
	sim_check_eq(n, 1);
	return 0;
}

static void test_no_memory_for_a_thread(void **state)
{
	sched_run_seeds(20, 1, no_memory_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_yield_takes_turns),
		cmocka_unit_test(test_counters_are_exact),
		cmocka_unit_test(test_preemption_only_at_count_zero),
		cmocka_unit_test(test_endless_loops_get_a_third_each),
		cmocka_unit_test(test_levels_and_order_as_in_a_model),
		cmocka_unit_test(test_better_levels_first),
		cmocka_unit_test(test_threads_end_and_leave_nothing),
		cmocka_unit_test(test_no_memory_for_a_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
