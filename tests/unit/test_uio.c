/* lib/uio.c: kernel and program memory, progress, and faults half way. */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/host/uaccess.h"
#include "lib/uapi/fcntl.h"
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

/* Pieces, an empty one among them; the fault is in the last one. */
static void test_pieces(void **state)
{
	struct linux_iovec v[4] = {
		{ (u64)memory, 3 }, { 1, 0 }, { (u64)memory + 10, 5 }, { 1, 4 }
	};
	struct uio u = uio_pieces(v, 12);
	char buf[16];

	memset(memory, '-', sizeof(memory));
	assert_int_equal(uio_put(&u, "a", 1), 1);
	assert_int_equal(uio_put(&u, "bcdef", 5), 5);
	assert_int_equal(uio_zero(&u, 1), 1);
	assert_int_equal(u.left, 5);
	assert_int_equal(uio_put(&u, "ghijk", 5), 1);
	assert_int_equal(u.left, 4);
	assert_memory_equal(memory, "abc-------def\0g-", 16);
	v[0] = (struct linux_iovec){ (u64)memory, 2 };
	v[1] = (struct linux_iovec){ (u64)memory + 10, 2 };
	u = uio_pieces(v, 4);
	assert_int_equal(uio_get(&u, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "abde", 4);
	assert_int_equal(u.left, 0);
	assert_int_equal(uio_get(&u, buf, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_moves, teardown),
		cmocka_unit_test_teardown(test_faults, teardown),
		cmocka_unit_test_teardown(test_pieces, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
