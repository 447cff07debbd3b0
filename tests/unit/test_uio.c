/* lib/uio.c: kernel and program memory, progress, and faults half way. */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/host/uaccess.h"
#include "lib/uio.h"

static char memory[1000];

static int teardown(void **state)
{
	host_user_limit = USER_TOP;
	return 0;
}

static void try_both(struct uio u)
{
	char buf[64];
	struct uio start = u;

	memset(memory, '-', sizeof(memory));
	assert_int_equal(uio_put(&u, "hello", 5), 5);
	assert_int_equal(uio_zero(&u, 2), 2);
	assert_int_equal(u.left, 493);
	assert_int_equal(uio_put(&u, memory + 500, 600), 493);
	assert_int_equal(u.left, 0);
	assert_int_equal(uio_put(&u, "x", 1), 0);
	assert_int_equal(uio_zero(&u, 1), 0);
	assert_memory_equal(memory, "hello\0\0--", 9);
	u = start;
	assert_int_equal(uio_get(&u, buf, 7), 7);
	assert_memory_equal(buf, "hello\0\0", 7);
	u.left = 3;
	assert_int_equal(uio_get(&u, buf, 7), 3);
	u = start;
	assert_int_equal(uio_zero(&u, 1000), 500);
	for (size_t i = 0; i < sizeof(memory); i++)
		assert_int_equal(memory[i], i < 500 ? 0 : '-');
}

static void test_moves(void **state)
{
	try_both(uio_kernel(memory, 500));
	try_both(uio_user((uaddr_t)memory, 500));
}

static void test_faults(void **state)
{
	char buf[1000];
	struct uio u = uio_user((uaddr_t)memory, 1000);

	memset(memory, '-', sizeof(memory));
	host_user_limit = (uaddr_t)memory + 600;
	assert_int_equal(uio_zero(&u, 1000), 600);
	assert_int_equal(u.left, 400);
	assert_int_equal(memory[599], 0);
	assert_int_equal(memory[600], '-');
	assert_int_equal(uio_put(&u, "x", 1), 0);
	assert_int_equal(u.left, 400);
	u = uio_user((uaddr_t)memory + 590, 100);
	assert_int_equal(uio_get(&u, buf, 100), 10);
	u = uio_user(USER_TOP, 1);
	assert_int_equal(uio_get(&u, buf, 1), 0);
	u = uio_user(0, 1);
	assert_int_equal(uio_put(&u, buf, 1), 0);
	u = uio_user(UINT64_MAX - 1, 100);
	assert_int_equal(uio_put(&u, buf, 100), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_moves, teardown),
		cmocka_unit_test_teardown(test_faults, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
