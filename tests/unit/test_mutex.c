/*
 * Sleeping mutexes (sched/mutex.c) on simulated CPUs, under thousands of seeds. Who is left asleep
 * shows by itself: all CPUs halt, and the run panics. Under ThreadSanitizer the plain accesses to
 * what the mutex guards prove that lock and unlock order them.
 */
#include "sched_host.h"

#define LEVEL  SCHED_LEVEL_NORMAL
#define ROUNDS 8

static struct mutex mutex;
static u64 guarded, inside;
static atomic_t tries_won, tries_lost;

static void enter(void)
{
	sim_check_eq(inside, 0);
	sim_check(mutex_is_held(&mutex));
	inside++;
	u64 v = guarded;
	if (sim_random(4) == 0)
		sched_yield();
	if (sim_random(8) == 0)
		sched_sleep_until(clock_ns() + sim_random(3000));
	guarded = v + 1;
	inside--;
}

static int lock_and_add(void *arg)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		mutex_lock(&mutex);
		enter();
		mutex_unlock(&mutex);
		sim_check(!mutex_is_held(&mutex));
		if (sim_random(3) == 0)
			sched_yield();
	}
	return 0;
}

static int try_and_add(void *arg)
{
	u64 added = 0;

	for (u32 i = 0; i < ROUNDS; i++) {
		if (mutex_trylock(&mutex)) {
			enter();
			mutex_unlock(&mutex);
			added++;
			atomic_fetch_add(&tries_won, 1u);
		} else {
			atomic_fetch_add(&tries_lost, 1u);
		}
		sched_yield();
	}
	return (int)added;
}

static int exclusion_main(void *arg)
{
	struct thread *t[6];
	u64 sum = 0;

	mutex_init(&mutex);
	guarded = inside = 0;
	for (u64 i = 0; i < 5; i++)
		t[i] = thread_create("lock", lock_and_add, NULL, LEVEL + (unsigned)i % 3);
	t[5] = thread_create("try", try_and_add, NULL, LEVEL);
	for (u64 i = 0; i < 6; i++)
		sum += (u64)thread_join(t[i]);
	sim_check_eq(guarded, 5 * ROUNDS + sum);
	sim_check_eq(atomic_load(&mutex.owner), 0);
	sim_check(!mutex.pi.waiters.top && !mutex.pi.owner);
	return 0;
}

static void test_mutex_excludes_and_leaves_nobody(void **state)
{
	atomic_store(&tries_won, 0u);
	atomic_store(&tries_lost, 0u);
	sched_run_seeds(4000, 4, exclusion_main);
	assert_true(atomic_load(&tries_won) > 500 && atomic_load(&tries_lost) > 500);
}

/* Several mutexes taken in one order, as the mount table's and inodes' are. */
static struct mutex chain[3];
static u64 chain_sum[3];

static int lock_chain(void *arg)
{
	for (u32 i = 0; i < 4; i++) {
		u32 from = (u32)sim_random(3);

		for (u32 k = from; k < 3; k++)
			mutex_lock(&chain[k]);
		for (u32 k = from; k < 3; k++)
			chain_sum[k]++;
		for (u32 k = from; k < 3; k++)
			mutex_unlock(&chain[k]);
	}
	return 0;
}

static int chain_main(void *arg)
{
	struct thread *t[4];

	for (u32 i = 0; i < 3; i++) {
		mutex_init(&chain[i]);
		chain_sum[i] = 0;
	}
	for (u32 i = 0; i < 4; i++)
		t[i] = thread_create("chain", lock_chain, NULL, LEVEL);
	for (u32 i = 0; i < 4; i++)
		thread_join(t[i]);
	sim_check_eq(chain_sum[2], 16); /* everybody takes the last */
	return 0;
}

static void test_chain_of_mutexes_gets_through(void **state)
{
	sched_run_seeds(2000, 4, chain_main);
}

/* ---- preemption of holders ---- */

static volatile bool stop;
static u64 rival_turns;

static int run_until_stopped(void *arg)
{
	while (!stop) {
		rival_turns++;
		sim_spend(1000);
	}
	return 0;
}

/* One CPU, a rival that never yields, 40 ms: ten slices. */
static int preempted_main(void *arg)
{
	static spinlock_t spin = SPINLOCK_INIT("test", RANK_PROC);
	struct thread *me = current();

	mutex_init(&mutex);
	stop = false;
	rival_turns = 0;
	struct thread *t = thread_create("rival", run_until_stopped, NULL, LEVEL);

	spin_lock(&spin);
	u64 forced = me->switches_forced, interrupts = timer_interrupts(), turns = rival_turns;
	sim_spend(40 * NSEC_PER_MSEC);
	sim_check(timer_interrupts() - interrupts >= 20);
	sim_check_eq(me->switches_forced, forced); /* the holder of a spin lock is not preempted */
	sim_check_eq(rival_turns, turns);
	spin_unlock(&spin);

	mutex_lock(&mutex);
	forced = me->switches_forced;
	sim_spend(40 * NSEC_PER_MSEC);
	sim_check(me->switches_forced > forced); /* that of a mutex is */
	sim_check(rival_turns > turns);
	mutex_unlock(&mutex);
	stop = true;
	thread_join(t);
	return 0;
}

static void test_mutex_holder_is_preempted_spinlock_holder_not(void **state)
{
	host_setup = (struct sim_setup){ .density = 200, .step_ns = 2000 };
	sched_run_seeds(40, 1, preempted_main);
	host_setup = (struct sim_setup){ 0 };
}

/* ---- what panics ---- */

static int misuse_main(void *arg)
{
	static spinlock_t spin = SPINLOCK_INIT("test", RANK_PROC);

	mutex_init(&mutex);
	expect_panic(mutex_unlock(&mutex), "owner_of(m) is 0");
	mutex_init(&mutex);
	mutex_lock(&mutex);
	expect_panic(mutex_lock(&mutex), "mutex_is_held");
	mutex_unlock(&mutex);
	u64 flags = irq_save();
	expect_panic(mutex_lock(&mutex), "would sleep");
	irq_restore(flags);
	spin_lock(&spin);
	expect_panic(mutex_lock(&mutex), "would sleep");
	spin_unlock(&spin);
	return 0;
}

static void test_misuse_panics(void **state)
{
	sched_run(1, 1, misuse_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutex_excludes_and_leaves_nobody),
		cmocka_unit_test(test_chain_of_mutexes_gets_through),
		cmocka_unit_test(test_mutex_holder_is_preempted_spinlock_holder_not),
		cmocka_unit_test(test_misuse_panics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
