/* lib/refcount.h: counting, the two panics, and gets that race with the last put. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <string.h>

#include "lib/refcount.h"

static void test_counts(void **state)
{
	refcount_t r;

	refcount_init(&r, 1);
	refcount_get(&r);
	assert_int_equal(refcount_read(&r), 2);
	assert_false(refcount_put(&r));
	assert_true(refcount_get_unless_zero(&r));
	assert_false(refcount_put(&r));
	assert_true(refcount_put(&r));
	assert_int_equal(refcount_read(&r), 0);
	assert_false(refcount_get_unless_zero(&r));
	assert_int_equal(refcount_read(&r), 0);
}

static void test_panics(void **state)
{
	refcount_t r;

	refcount_init(&r, 0);
	expect_panic(refcount_get(&r), "old != 0");
	refcount_init(&r, 0);
	expect_panic((void)!refcount_put(&r), "old != 0");
	refcount_init(&r, UINT32_MAX);
	expect_panic(refcount_get(&r), "UINT32_MAX");
}

static refcount_t shared;
static pthread_barrier_t start;
static atomic_t last_puts;

static void *get_and_put(void *arg)
{
	pthread_barrier_wait(&start);
	for (unsigned i = 0; i < 300000; i++)
		if (refcount_get_unless_zero(&shared) && refcount_put(&shared))
			atomic_fetch_add(&last_puts, 1u);
	if (arg && refcount_put(&shared))
		atomic_fetch_add(&last_puts, 1u);
	return NULL;
}

/* Whoever drops the last reference, exactly one does. */
static void test_threads(void **state)
{
	pthread_t t[3];

	refcount_init(&shared, 1);
	pthread_barrier_init(&start, NULL, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, get_and_put, i == 0 ? t : NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(refcount_read(&shared), 0);
	assert_int_equal(atomic_load(&last_puts), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_panics),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
