/*
 * sync/spinlock.[ch]: exclusion between host threads, patient and not, the order of who waits, and the debug checks: recursion, order of
 * ranks, unlock by a stranger, too many.
 */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "sync/spinlock.h"

static spinlock_t shared = SPINLOCK_INIT("shared", RANK_FILE);
static u64 counter;

#define THREADS 3
#define WAITERS 3
#define TURNS   20000

static void *count(void *arg)
{
	host_cpu = (u32)(u64)arg;
	for (unsigned i = 0; i < TURNS; i++) {
		if (i % 4 == 0) {
			while (!spin_trylock(&shared))
				cpu_relax();
		} else {
			spin_lock(&shared);
		}
		u64 v = counter;

		if (i % 64 == 0)
			usleep(0);
		counter = v + 1;
		spin_unlock(&shared);
	}
	return NULL;
}

static void exclude(u32 patience)
{
	pthread_t t[THREADS];

	counter = 0;
	spin_set_patience(patience);
	for (u64 i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, count, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(counter, THREADS * TURNS);
	assert_false(spin_is_locked(&shared));
	spin_set_patience(0);
}

static void test_exclusion(void **state)
{
	exclude(0);
}

static void test_patient_exclusion(void **state)
{
	exclude(1000000); /* all by the fast way */
	exclude(20);      /* both ways beside each other */
}

static unsigned order[WAITERS], served;

static void *wait_in_line(void *arg)
{
	host_cpu = (u32)(u64)arg;
	spin_lock(&shared);
	order[served++] = host_cpu;
	spin_unlock(&shared);
	return NULL;
}

static u8 tickets(void)
{
	return __atomic_load_n(&shared.word.next, __ATOMIC_ACQUIRE);
}

/* Served in the order in which they drew; and nobody comes in between once the first in line has closed the lock. */
static void test_order(void **state)
{
	pthread_t t[WAITERS];

	served = 0;
	spin_lock(&shared);
	for (u64 i = 0; i < WAITERS; i++) {
		u8 before = tickets();

		assert_int_equal(pthread_create(&t[i], NULL, wait_in_line, (void *)(i + 1)), 0);
		while (tickets() == before)
			cpu_relax();
	}
	while (READ_ONCE(shared.word.state) != (SPIN_LOCKED | SPIN_CLOSED))
		cpu_relax();
	spin_unlock(&shared);
	for (u64 i = 0; i < WAITERS; i++)
		pthread_join(t[i], NULL);
	for (u32 i = 0; i < WAITERS; i++)
		assert_int_equal(order[i], i + 1);
	assert_int_equal(READ_ONCE(shared.word.state), 0); /* the last one has opened it */
}

/* A lock that is free, but somebody's whose turn it is, is not for a newcomer. */
static void test_closed(void **state)
{
	spinlock_t l;
	u8 ticket;

	spin_init(&l, "closed", RANK_TTY);
	spin_lock(&l);
	ticket = __atomic_fetch_add(&l.word.next, 1, __ATOMIC_RELAXED);
	__atomic_fetch_or(&l.word.state, SPIN_CLOSED, __ATOMIC_RELAXED);
	spin_unlock(&l);
	assert_true(spin_is_locked(&l));
	assert_false(spin_trylock(&l));
	spin_take_in_turn(&l.word, ticket);
	assert_int_equal(l.word.state, SPIN_LOCKED);
	spin_word_release(&l.word);
	assert_true(spin_trylock(&l));
	spin_unlock(&l);
}

/* Whose patience ends draws; until then it has no ticket, and a free lock is taken past it. */
static void test_patience(void **state)
{
	pthread_t t;
	u8 before = tickets();

	spin_set_patience(UINT32_MAX);
	served = 0;
	spin_lock(&shared);
	assert_int_equal(pthread_create(&t, NULL, wait_in_line, (void *)1), 0);
	usleep(20000);
	assert_int_equal(tickets(), before);
	spin_unlock(&shared);
	pthread_join(t, NULL);
	assert_int_equal(served, 1);
	assert_int_equal(tickets(), before);
	spin_set_patience(1000);
	spin_lock(&shared);
	assert_int_equal(pthread_create(&t, NULL, wait_in_line, (void *)1), 0);
	while (tickets() == before)
		cpu_relax();
	spin_unlock(&shared);
	pthread_join(t, NULL);
	spin_set_patience(0);
}

static void test_states(void **state)
{
	spinlock_t l;

	spin_init(&l, "states", RANK_TTY);
	assert_false(spin_is_locked(&l));
	u64 flags = spin_lock_irqsave(&l);

	assert_true(spin_is_locked(&l));
	assert_false(irqs_enabled());
	assert_int_equal(preempt_count(), 1);
	assert_false(spin_trylock(&l));
	assert_int_equal(preempt_count(), 1);
	spin_unlock_irqrestore(&l, flags);
	assert_true(irqs_enabled());
	assert_int_equal(preempt_count(), 0);
	for (unsigned i = 0; i < 70000; i++) { /* tickets wrap */
		spin_lock(&l);
		spin_unlock(&l);
	}
	assert_false(spin_is_locked(&l));
}

static void test_recursion(void **state)
{
	spinlock_t l;

	spin_init(&l, "twice", RANK_NONE);
	spin_lock(&l);
	expect_panic(spin_lock(&l), "recursion");
	assert_non_null(strstr(unit_panic_message, "twice"));
	spin_unlock(&l);
}

static void test_ranks(void **state)
{
	spinlock_t low, high, same, none, queue[2];

	spin_init(&low, "low", RANK_FILE);
	spin_init(&high, "high", RANK_SLAB);
	spin_init(&same, "same", RANK_FILE);
	spin_init(&none, "none", RANK_NONE);
	spin_init(&queue[0], "queue 0", RANK_RQ);
	spin_init(&queue[1], "queue 1", RANK_RQ);
	spin_lock(&low);
	spin_lock(&high);
	spin_lock(&none);
	spin_unlock(&none);
	spin_unlock(&low); /* in any order */
	expect_panic(spin_lock(&low), "taking low (rank 30) while holding high (rank 80)");
	assert_true(spin_trylock(&low)); /* does not wait */
	spin_unlock(&low);
	spin_unlock(&high);
	spin_lock(&low);
	expect_panic(spin_lock(&same), "lock order");
	spin_unlock(&low);
	spin_lock(&queue[0]);
	spin_lock(&queue[1]);
	spin_unlock(&queue[0]);
	expect_panic(spin_lock(&queue[0]), "lock order");
	spin_unlock(&queue[1]);
}

static void test_strangers(void **state)
{
	spinlock_t l;

	spin_init(&l, "theirs", RANK_FILE);
	expect_panic(spin_unlock(&l), "does not hold it");
	spin_lock(&l);
	host_cpu = 1;
	expect_panic(spin_unlock(&l), "unlock of theirs by CPU 1");
	host_cpu = 0;
	spin_unlock(&l);
}

static void test_many(void **state)
{
	static spinlock_t l[17];

	for (unsigned i = 0; i < 16; i++)
		spin_lock(&l[i]);
	expect_panic(spin_lock(&l[16]), "holds 16 spin locks");
	for (unsigned i = 0; i < 16; i++)
		spin_unlock(&l[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exclusion), cmocka_unit_test(test_patient_exclusion),
		cmocka_unit_test(test_order),     cmocka_unit_test(test_closed),
		cmocka_unit_test(test_patience),  cmocka_unit_test(test_states),
		cmocka_unit_test(test_recursion), cmocka_unit_test(test_ranks),
		cmocka_unit_test(test_strangers), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
