/*
 * Sleeping and waking (sched/waitq.c over sched/core.c) on simulated CPUs, under thousands of seeds.
 * That a wake-up was lost shows by itself: all CPUs halt with no timer set, and the run panics.
 */
#include "sched_host.h"

#define LEVEL SCHED_LEVEL_NORMAL

/* ---- ping-pong ---- */

static struct waitq ping_queue = WAITQ_INIT(ping_queue);
static u32 ping_count;

#define PING_ROUNDS 10

/* Turns `parity` rounds of the count: each waits for the other. */
static int ping(void *arg)
{
	u32 parity = (u32)(u64)arg;

	for (u32 i = 0; i < PING_ROUNDS; i++) {
		wait_event(&ping_queue, READ_ONCE(ping_count) % 2 == parity);
		WRITE_ONCE(ping_count, ping_count + 1);
		if (sim_random(2))
			waitq_wake_all(&ping_queue);
		else
			waitq_wake_one(&ping_queue);
	}
	return 0;
}

static int ping_main(void *arg)
{
	WRITE_ONCE(ping_count, 0);
	struct thread *a = thread_create("ping", ping, (void *)0ul, LEVEL);
	struct thread *b = thread_create("pong", ping, (void *)1ul, LEVEL);

	thread_join(a);
	thread_join(b);
	sim_check_eq(ping_count, 2 * PING_ROUNDS);
	return 0;
}

static void test_no_wakeup_lost_in_ping_pong(void **state)
{
	sched_run_seeds(3000, 4, ping_main);
}

/* ---- tokens: several producers and consumers ---- */

static struct waitq token_queue = WAITQ_INIT(token_queue);
static atomic_t tokens, taken, timeouts;

#define TOKENS_EACH 6

static bool take_token(void)
{
	u32 n = atomic_load(&tokens);

	while (n > 0)
		if (atomic_cas(&tokens, &n, n - 1))
			return true;
	return false;
}

static int produce(void *arg)
{
	for (u32 i = 0; i < TOKENS_EACH; i++) {
		atomic_fetch_add(&tokens, 1u);
		waitq_wake_one(&token_queue);
		if (sim_random(3) == 0)
			sched_yield();
	}
	return 0;
}

static int consume(void *arg)
{
	for (u32 i = 0; i < TOKENS_EACH; i++) {
		wait_event(&token_queue, take_token());
		atomic_fetch_add(&taken, 1u);
	}
	return 0;
}

/* Gives up now and then. One that gave up must not have swallowed another's wake-up. */
static int consume_impatiently(void *arg)
{
	for (u32 i = 0; i < TOKENS_EACH;) {
		u64 deadline = clock_ns() + sim_random(20000);
		int ret = wait_event_deadline(&token_queue, take_token(), deadline);

		if (ret == 0) {
			i++;
			atomic_fetch_add(&taken, 1u);
		} else {
			sim_check_eq(ret, -ETIMEDOUT);
			sim_check(clock_ns() >= deadline);
			atomic_fetch_add(&timeouts, 1u);
		}
	}
	return 0;
}

static int tokens_main(void *arg)
{
	struct thread *t[6];

	atomic_store(&tokens, 0u);
	atomic_store(&taken, 0u);
	t[0] = thread_create("consume", consume, NULL, LEVEL);
	t[1] = thread_create("consume", consume, NULL, LEVEL + 1);
	t[2] = thread_create("impatient", consume_impatiently, NULL, LEVEL);
	for (u32 i = 3; i < 6; i++)
		t[i] = thread_create("produce", produce, NULL, LEVEL);
	for (u32 i = 0; i < 6; i++)
		thread_join(t[i]);
	sim_check_eq(atomic_load(&tokens), 0);
	sim_check_eq(atomic_load(&taken), 3 * TOKENS_EACH);
	return 0;
}

static void test_every_token_is_taken(void **state)
{
	atomic_store(&timeouts, 0u);
	sched_run_seeds(3000, 4, tokens_main);
	assert_true(atomic_load(&timeouts) > 50); /* the race with the time-out was there */
}

/*
 * One token, one who waits for it a short time and one who waits for it for ever: if the first gives
 * up without it, the other gets it, even if the first was the one that was woken.
 */
static int try_once(void *arg)
{
	return wait_event_deadline(&token_queue, take_token(), clock_ns() + sim_random(4000));
}

static int take_one(void *arg)
{
	wait_event(&token_queue, take_token());
	return 0;
}

static int give_up_main(void *arg)
{
	atomic_store(&tokens, 0u);
	struct thread *hasty = thread_create("hasty", try_once, NULL, LEVEL);
	struct thread *patient = thread_create("patient", take_one, NULL, LEVEL);

	for (u64 i = sim_random(4); i > 0; i--)
		sched_yield();
	atomic_fetch_add(&tokens, 1u);
	waitq_wake_one(&token_queue);
	if (thread_join(hasty) == 0) {
		atomic_fetch_add(&tokens, 1u);
		waitq_wake_one(&token_queue);
	} else {
		atomic_fetch_add(&timeouts, 1u);
	}
	thread_join(patient);
	return 0;
}

static void test_who_gives_up_swallows_no_wakeup(void **state)
{
	atomic_store(&timeouts, 0u);
	sched_run_seeds(6000, 3, give_up_main);
	assert_true(atomic_load(&timeouts) > 100);
}

/* ---- order, and who is woken ---- */

static u32 order[8], nr_order;
static bool gate;

static int wait_in_turn(void *arg)
{
	wait_event(&token_queue, take_token());
	order[nr_order++] = (u32)(u64)arg;
	return 0;
}

/* One CPU: they queue up one behind the other, each wake-up serves the one that waits longest. */
static int order_main(void *arg)
{
	struct thread *t[5];

	atomic_store(&tokens, 0u);
	nr_order = 0;
	for (u64 i = 0; i < 5; i++) {
		t[i] = thread_create("turn", wait_in_turn, (void *)i, LEVEL - 2);
		sim_check_eq(t[i]->state, T_SLEEPING); /* a better level: it ran at once */
	}
	for (u32 i = 0; i < 5; i++) {
		atomic_fetch_add(&tokens, 1u);
		waitq_wake_one(&token_queue);
		sim_check_eq(nr_order, i + 1); /* one, and at once */
		sim_check_eq(order[i], i);
	}
	for (u32 i = 0; i < 5; i++)
		thread_join(t[i]);
	return 0;
}

static void test_wake_one_serves_the_longest_waiter(void **state)
{
	sched_run_seeds(300, 1, order_main);
}

static int wait_for_gate(void *arg)
{
	wait_event(&token_queue, READ_ONCE(gate));
	return (int)(u64)arg;
}

static int gate_main(void *arg)
{
	struct thread *t[6];

	WRITE_ONCE(gate, false);
	for (u64 i = 0; i < 6; i++)
		t[i] = thread_create("gate", wait_for_gate, (void *)i, LEVEL);
	sched_yield();
	WRITE_ONCE(gate, true);
	waitq_wake_all(&token_queue);
	for (u64 i = 0; i < 6; i++)
		sim_check_eq(thread_join(t[i]), i);
	sim_check(list_empty(&token_queue.waiters));
	return 0;
}

static void test_wake_all_wakes_all(void **state)
{
	sched_run_seeds(2000, 4, gate_main);
}

/* ---- time ---- */

static int sleep_ms(void *arg)
{
	u64 until = clock_ns() + (u64)arg * 300 * NSEC_PER_USEC;

	sim_check_eq(sched_sleep_until(until), 0);
	sim_check(clock_ns() >= until);
	return 0;
}

static int sleep_main(void *arg)
{
	struct thread *t[4];

	for (u64 i = 0; i < 4; i++)
		t[i] = thread_create("sleep", sleep_ms, (void *)i, LEVEL);
	for (u64 i = 0; i < 4; i++)
		thread_join(t[i]);
	return 0;
}

static void test_sleep_lasts_as_long_as_asked(void **state)
{
	sched_run_seeds(500, 4, sleep_main);
}

/* ---- signals ---- */

static int wait_interruptibly(void *arg)
{
	return wait_event_interruptible(&token_queue, READ_ONCE(gate));
}

/* As proc/signal.c does: mark, then wake. The mark must be seen, whenever it comes. */
static int interrupt_main(void *arg)
{
	WRITE_ONCE(gate, false);
	struct thread *t = thread_create("signalled", wait_interruptibly, NULL, LEVEL);
	struct thread *deaf = thread_create("deaf", wait_for_gate, (void *)0ul, LEVEL);

	for (u64 i = sim_random(4); i > 0; i--)
		sched_yield();
	atomic_fetch_or(&t->work, THREAD_SIGPENDING);
	sched_wake(t, T_INTERRUPTIBLE);
	sim_check_eq(thread_join(t), -ERESTARTSYS);
	sim_check(!sched_wake(deaf, T_INTERRUPTIBLE | T_STOPPED)); /* only its event wakes it */
	WRITE_ONCE(gate, true);
	waitq_wake_all(&token_queue);
	sim_check_eq(thread_join(deaf), 0);
	return 0;
}

static void test_signal_ends_interruptible_sleep_only(void **state)
{
	sched_run_seeds(2000, 3, interrupt_main);
}

/* ---- a waiter on two queues, as poll is ---- */

static struct waitq left_queue = WAITQ_INIT(left_queue), right_queue = WAITQ_INIT(right_queue);
static bool left, right;

static int wait_for_either(void *arg)
{
	struct waiter l, r;

	for (;;) {
		waitq_prepare(&left_queue, &l, T_SLEEPING);
		waitq_prepare(&right_queue, &r, T_SLEEPING);
		bool done = READ_ONCE(left) && READ_ONCE(right);
		if (!done)
			sched_sleep(WAIT_FOREVER);
		waitq_finish(&left_queue, &l);
		waitq_finish(&right_queue, &r);
		if (done)
			return 0;
	}
}

static int set_flag(void *arg)
{
	WRITE_ONCE(*(arg ? &right : &left), true);
	waitq_wake_one(arg ? &right_queue : &left_queue);
	return 0;
}

static int either_main(void *arg)
{
	struct thread *t[3];

	WRITE_ONCE(left, false);
	WRITE_ONCE(right, false);
	t[0] = thread_create("either", wait_for_either, NULL, LEVEL);
	t[1] = thread_create("left", set_flag, (void *)0ul, LEVEL);
	t[2] = thread_create("right", set_flag, (void *)1ul, LEVEL);
	for (u32 i = 0; i < 3; i++)
		thread_join(t[i]);
	return 0;
}

static void test_waiter_on_two_queues_hears_both(void **state)
{
	sched_run_seeds(3000, 4, either_main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_wakeup_lost_in_ping_pong),
		cmocka_unit_test(test_every_token_is_taken),
		cmocka_unit_test(test_who_gives_up_swallows_no_wakeup),
		cmocka_unit_test(test_wake_one_serves_the_longest_waiter),
		cmocka_unit_test(test_wake_all_wakes_all),
		cmocka_unit_test(test_sleep_lasts_as_long_as_asked),
		cmocka_unit_test(test_signal_ends_interruptible_sleep_only),
		cmocka_unit_test(test_waiter_on_two_queues_hears_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
