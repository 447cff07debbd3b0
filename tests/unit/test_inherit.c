/*
 * Priority inheritance (sched/inherit.c, sched/mutex.c) on simulated CPUs: the classic inversion, chains
 * of owners, what is left of a loan at unlock, policies that change meanwhile; and at random, with
 * the whole of it compared to a naive computation at each step.
 */
#include "sched_host.h"

#include "lib/uapi/sched.h"

#define MS NSEC_PER_MSEC

static struct mutex m[4];
static volatile bool stop, go;
static atomic_t step;
static atomic_t nr_served;
static u32 served[8];

static void start(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(m); i++)
		mutex_init(&m[i]);
	stop = go = false;
	atomic_store(&step, 0u);
	atomic_store(&nr_served, 0u);
	sched_set_level(current(), 1, true); /* above all that is judged */
}

/* Until the others have come to that step. By sleeping: they may be on our CPU, below us. */
static void await(u32 n)
{
	while (atomic_load_acquire(&step) < n)
		sched_sleep_until(clock_ns() + 20 * NSEC_PER_USEC);
}

static void await_waiter(const struct thread *t)
{
	for (;;) {
		u64 flags = pi_begin();
		bool waits = t->waits != NULL;

		pi_end(flags);
		if (waits)
			return;
		sched_sleep_until(clock_ns() + 20 * NSEC_PER_USEC);
	}
}

static u32 level_of(struct thread *t)
{
	u64 flags = pi_begin();
	u32 level = t->level;

	pi_end(flags);
	return level;
}

static int hog(void *arg)
{
	while (!stop)
		sim_spend(2000);
	return 0;
}

/* Holds m[arg] until `go`, and while it computes for a millisecond more. */
static int hold_and_work(void *arg)
{
	struct mutex *mine = &m[(u64)arg];

	mutex_lock(mine);
	atomic_fetch_add(&step, 1u);
	while (!go)
		sched_sleep_until(clock_ns() + 20 * NSEC_PER_USEC);
	for (u32 i = 0; i < 100; i++)
		sim_spend(10000);
	mutex_unlock(mine);
	return 0;
}

static u64 waited[ARRAY_SIZE(m)]; /* [its mutex] ns */

static int want(void *arg)
{
	u64 from = clock_ns();

	mutex_lock(&m[(u64)arg]);
	waited[(u64)arg] = clock_ns() - from;
	u64 flags = pi_begin();
	served[atomic_fetch_add(&nr_served, 1u)] = current()->base_level;
	pi_end(flags);
	mutex_unlock(&m[(u64)arg]);
	return 0;
}

/* Holds m[arg], and waits for m[arg - 1] then. */
static int hold_and_want(void *arg)
{
	u64 i = (u64)arg;

	mutex_lock(&m[i]);
	atomic_fetch_add(&step, 1u);
	mutex_lock(&m[i - 1]);
	mutex_unlock(&m[i - 1]);
	mutex_unlock(&m[i]);
	return 0;
}

/*
 * A holder below hogs that keep all CPUs, and somebody above them who waits: as long as the holder
 * works, not as long as the hogs. `chain`: over that many owners who themselves wait.
 */
static void inversion(u32 chain)
{
	struct thread *low, *middle[3], *hogs[4], *high;
	u32 cpus = host_run.cpus;

	start();
	low = thread_create("low", hold_and_work, (void *)0ul, SCHED_LEVEL_NORMAL);
	await(1);
	for (u32 i = 0; i < chain; i++) {
		middle[i] = thread_create("middle", hold_and_want, (void *)(i + 1ul), 90 - i);
		await(2 + i);
		await_waiter(middle[i]);
	}
	for (u32 i = 0; i < cpus; i++)
		hogs[i] = thread_create("hog", hog, NULL, 50);
	high = thread_create("high", want, (void *)(u64)chain, 10);
	go = true;
	sched_sleep_until(clock_ns() + 60 * MS);
	sim_check_eq(atomic_load(&nr_served), 1);
	stop = true;
	thread_join(high);
	sim_check(waited[chain] < 12 * MS); /* time passes for one CPU after the other */
	thread_join(low);
	for (u32 i = 0; i < chain; i++)
		thread_join(middle[i]);
	for (u32 i = 0; i < cpus; i++)
		thread_join(hogs[i]);
}

static int inversion_main(void *arg)
{
	inversion(0);
	return 0;
}

static int chain_main(void *arg)
{
	inversion(3);
	return 0;
}

static struct sim_setup prompt = { .density = 50, .step_ns = 50, .prompt = true };

static void test_inversion_is_bounded(void **state)
{
	host_setup = prompt;
	sched_run_seeds(60, 4, inversion_main);
	host_setup = (struct sim_setup){ 0 };
}

static void test_chain_of_owners_is_lent_to(void **state)
{
	host_setup = prompt;
	sched_run_seeds(60, 4, chain_main);
	host_setup = (struct sim_setup){ 0 };
}

/* ---- what is lent, step by step ---- */

static int hold_two(void *arg)
{
	mutex_lock(&m[0]);
	mutex_lock(&m[1]);
	atomic_fetch_add(&step, 1u);
	while (atomic_load_acquire(&step) < 2)
		sched_sleep_until(clock_ns() + 10 * NSEC_PER_USEC);
	mutex_unlock(&m[0]);
	atomic_fetch_add(&step, 1u);
	while (atomic_load_acquire(&step) < 4)
		sched_sleep_until(clock_ns() + 10 * NSEC_PER_USEC);
	mutex_unlock(&m[1]);
	atomic_fetch_add(&step, 1u);
	while (atomic_load_acquire(&step) < 6)
		sched_sleep_until(clock_ns() + 10 * NSEC_PER_USEC);
	return 0;
}

static int loan_main(void *arg)
{
	struct thread *owner, *w[3];

	start();
	owner = thread_create("owner", hold_two, NULL, SCHED_LEVEL_NORMAL);
	await(1);
	sim_check_eq(level_of(owner), SCHED_LEVEL_NORMAL);
	w[0] = thread_create("w0", want, (void *)0ul, 20);
	await_waiter(w[0]);
	sim_check_eq(level_of(owner), 20);
	sim_check(owner->fifo);
	w[1] = thread_create("w1", want, (void *)1ul, 40);
	await_waiter(w[1]);
	sim_check_eq(level_of(owner), 20);
	w[2] = thread_create("w2", want, (void *)1ul, SCHED_LEVEL_NORMAL);
	await_waiter(w[2]);
	/* The waiters' policies change. */
	sched_set_policy(w[0], SCHED_FIFO, 90);
	sim_check_eq(level_of(owner), 10);
	sched_set_policy(w[0], SCHED_NORMAL, 0);
	sim_check_eq(level_of(owner), 40);
	sched_set_policy(w[2], SCHED_RR, 70);
	sim_check_eq(level_of(owner), 30);
	/* The owner's: what it is lent stays until its own is better. */
	sched_set_policy(owner, SCHED_RR, 5);
	sim_check_eq(level_of(owner), 30);
	sched_set_policy(owner, SCHED_RR, 99);
	sim_check_eq(level_of(owner), 1);
	sim_check(!owner->fifo);
	sched_set_policy(owner, SCHED_BATCH, 0);
	sim_check_eq(level_of(owner), 30);
	/* It lets go of one, then of the other. */
	sched_set_policy(w[0], SCHED_FIFO, 95);
	sim_check_eq(level_of(owner), 5);
	atomic_fetch_add(&step, 1u);
	await(3);
	sim_check_eq(level_of(owner), 30);
	atomic_fetch_add(&step, 1u);
	await(5);
	sim_check_eq(level_of(owner), SCHED_LEVEL_NORMAL);
	sim_check(!owner->fifo);
	sim_check_eq(owner->policy, SCHED_BATCH);
	atomic_fetch_add(&step, 1u);
	thread_join(owner);
	for (u32 i = 0; i < 3; i++)
		thread_join(w[i]);
	return 0;
}

static void test_loans_are_what_waiters_justify(void **state)
{
	sched_run_seeds(400, 4, loan_main);
}

/* The most urgent is served first, equals in the order in which they came. */
static int order_main(void *arg)
{
	static const u32 levels[6] = { 70, SCHED_LEVEL_NORMAL, 50, 60, 50, 20 };
	static const u32 expected[6] = { 10, 50, 50, 60, 70, SCHED_LEVEL_NORMAL };
	struct thread *t[6];

	start();
	mutex_lock(&m[0]);
	for (u32 i = 0; i < 6; i++) {
		t[i] = thread_create("order", want, (void *)0ul, levels[i]);
		await_waiter(t[i]);
	}
	sched_set_level(t[5], 10, true);
	mutex_unlock(&m[0]);
	for (u32 i = 0; i < 6; i++)
		thread_join(t[i]);
	for (u32 i = 0; i < 6; i++)
		sim_check_eq(served[i], expected[i]);
	return 0;
}

static void test_waiters_are_served_by_priority(void **state)
{
	sched_run_seeds(400, 4, order_main);
}

/* Who locks in turn comes behind its equals, however often it comes. */
static int in_turn(void *arg)
{
	mutex_lock_in_turn(&m[0]);
	served[atomic_fetch_add(&nr_served, 1u)] = (u32)(u64)arg;
	mutex_unlock(&m[0]);
	return 0;
}

static int turn_main(void *arg)
{
	struct thread *t[3];

	start();
	sched_set_level(current(), SCHED_LEVEL_NORMAL, false);
	mutex_lock_in_turn(&m[0]);
	for (u64 i = 0; i < 3; i++) {
		t[i] = thread_create("turn", in_turn, (void *)i, i == 2 ? 50 : SCHED_LEVEL_NORMAL);
		await_waiter(t[i]);
	}
	mutex_unlock(&m[0]);
	in_turn((void *)3ul);
	for (u32 i = 0; i < 3; i++)
		thread_join(t[i]);
	sim_check_eq(served[0], 2);
	sim_check_eq(served[1], 0);
	sim_check_eq(served[2], 1);
	sim_check_eq(served[3], 3);
	return 0;
}

static void test_turns_are_kept(void **state)
{
	sched_run_seeds(400, 4, turn_main);
}

/* ---- at random ---- */

#define RANDOM_THREADS 6

static struct thread *threads[RANDOM_THREADS];
static u64 loans_seen;

/* The level of a thread by the definition: over all mutexes, with the owners' waiters, to the end. */
static u32 naive_level(const struct thread *t, u32 depth)
{
	u32 level = t->base_level;

	for (u32 i = 0; depth && i < ARRAY_SIZE(m); i++) {
		if ((struct thread *)(atomic_load(&m[i].owner) & ~1ull) != t)
			continue;
		for (u32 k = 0; k < RANDOM_THREADS; k++)
			if (threads[k] && threads[k]->waits &&
			    threads[k]->waits->lock == &m[i].pi) {
				u32 lent = naive_level(threads[k], depth - 1);

				if (lent < SCHED_LEVEL_NORMAL)
					level = MIN(level, lent);
			}
	}
	return level;
}

static void audit(void)
{
	u64 flags = pi_begin();

	for (u32 i = 0; i < RANDOM_THREADS; i++)
		if (threads[i]) {
			sim_check_eq(threads[i]->level, naive_level(threads[i], RANDOM_THREADS));
			loans_seen += threads[i]->level != threads[i]->base_level;
		}
	for (u32 i = 0; i < ARRAY_SIZE(m); i++) {
		u32 last = 0, n = 0;

		for (struct rb_node *r = rb_first(&m[i].pi.waiters); r; r = rb_next(r), n++) {
			struct pi_waiter *w = rb_entry(r, struct pi_waiter, node);

			sim_check(w->level >= last && w->level == w->thread->level);
			last = w->level;
		}
		sim_check(!n || (atomic_load(&m[i].owner) & 1));
		sim_check(!n || m[i].pi.owner == (void *)(atomic_load(&m[i].owner) & ~1ull));
	}
	pi_end(flags);
}

static int lock_at_random(void *arg)
{
	while (!load_acquire(&go)) /* the audit must know all who wait */
		sched_sleep_until(clock_ns() + 10 * NSEC_PER_USEC);
	for (u32 i = 0; i < 6; i++) {
		u32 from = (u32)sim_random(ARRAY_SIZE(m)),
		    to = from + (u32)sim_random(4 - from) + 1;

		for (u32 k = from; k < to; k++) {
			while (sim_random(4) == 0 && !mutex_trylock(&m[k]))
				sched_yield();
			if (!mutex_is_held(&m[k]))
				mutex_lock(&m[k]);
		}
		audit();
		if (sim_random(3) == 0)
			sched_sleep_until(clock_ns() + sim_random(5000));
		for (u32 k = from; k < to; k++) {
			mutex_unlock(&m[k]);
			if (sim_random(4) == 0)
				sched_yield();
		}
		if (sim_random(3) == 0)
			sched_sleep_until(clock_ns() + sim_random(5000));
	}
	return 0;
}

static void change_policy(struct thread *t)
{
	switch (sim_random(4)) {
	case 0: sched_set_policy(t, SCHED_FIFO, 1 + (u32)sim_random(99)); break;
	case 1: sched_set_policy(t, SCHED_RR, 1 + (u32)sim_random(99)); break;
	case 2: sched_set_nice(t, (int)sim_random(40) - 20); break;
	default: sched_set_policy(t, SCHED_NORMAL, 0);
	}
}

static int random_main(void *arg)
{
	u64 flags;

	start();
	memset(threads, 0, sizeof(threads));
	for (u32 i = 0; i < RANDOM_THREADS; i++) {
		u32 level = sim_random(2) ? SCHED_LEVEL_NORMAL : 10 * (1 + (u32)sim_random(9));
		struct thread *t = thread_create("random", lock_at_random, NULL, level);

		flags = pi_begin();
		threads[i] = t;
		pi_end(flags);
	}
	store_release(&go, true);
	for (u32 i = 0; i < 20; i++) {
		change_policy(threads[sim_random(RANDOM_THREADS)]);
		audit();
		sched_sleep_until(clock_ns() + sim_random(3000));
	}
	for (u32 i = 0; i < RANDOM_THREADS; i++) {
		struct thread *t = threads[i];

		while (load_acquire(&t->state) != T_DEAD)
			sched_sleep_until(clock_ns() + 10 * NSEC_PER_USEC);
		flags = pi_begin();
		threads[i] = NULL;
		pi_end(flags);
		thread_join(t);
	}
	for (u32 i = 0; i < ARRAY_SIZE(m); i++)
		sim_check(!m[i].pi.waiters.top && !atomic_load(&m[i].owner) && !m[i].pi.owner);
	return 0;
}

static void test_random_locks_and_policies(void **state)
{
	loans_seen = 0;
	sched_run_seeds(1500, 4, random_main);
	assert_true(loans_seen > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inversion_is_bounded),
		cmocka_unit_test(test_chain_of_owners_is_lent_to),
		cmocka_unit_test(test_loans_are_what_waiters_justify),
		cmocka_unit_test(test_waiters_are_served_by_priority),
		cmocka_unit_test(test_turns_are_kept),
		cmocka_unit_test(test_random_locks_and_policies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
