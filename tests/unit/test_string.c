/*
 * lib/string.c, the very source, under other names, beside the C library; and lib/strlcpy.c. The
 * machine's mem_copy and mem_set are tested too (arch/x86/page.c runs in user mode as well).
 */
#include "tests/unit/unit.h"

#include <string.h>

/* The C library's, under names that the inclusion below leaves alone. */
static void *(*const libc_memmove)(void *, const void *, size_t) = memmove;
static void *(*const libc_memset)(void *, int, size_t) = memset;
static int (*const libc_memcmp)(const void *, const void *, size_t) = memcmp;
static int (*const libc_strncmp)(const char *, const char *, size_t) = strncmp;
static int (*const libc_strcmp)(const char *, const char *) = strcmp;
static char *(*const libc_strstr)(const char *, const char *) = strstr;

#define memcpy     test_memcpy
#define memmove    test_memmove
#define memset     test_memset
#define memcmp     test_memcmp
#define memchr     test_memchr
#define strlen     test_strlen
#define strnlen    test_strnlen
#define strcmp     test_strcmp
#define strncmp    test_strncmp
#define strchr     test_strchr
#define strrchr    test_strrchr
#define strstr     test_strstr
#define kstrlcpy   test_kstrlcpy
#define mem_copy   test_mem_copy
#define mem_set    test_mem_set
#define clear_page test_clear_page
#define copy_page  test_copy_page
#include "lib/string.h"

#include "lib/string.c"
#include "lib/strlcpy.c"
#include "arch/x86/page.c"

#define SIZE 512

static u8 a[SIZE], b[SIZE], want[SIZE];

static void fill(void)
{
	for (size_t i = 0; i < SIZE; i++)
		want[i] = a[i] = (u8)unit_random(256);
}

static size_t random_length(size_t max)
{
	return unit_random(3) ? unit_random(MIN(max + 1, 80ul)) : unit_random(max + 1);
}

static void test_moves(void **state)
{
	unit_seed();
	for (u64 round = unit_rounds(50000); round-- > 0;) {
		size_t n = random_length(SIZE / 2);
		size_t from = unit_random(SIZE - n + 1), to = unit_random(SIZE - n + 1);

		if (unit_random(2)) /* close to each other */
			to = MIN(from + unit_random(20), SIZE - n);
		fill();
		libc_memmove(want + to, want + from, n);
		assert_ptr_equal(test_memmove(a + to, a + from, n), a + to);
		assert_int_equal(libc_memcmp(a, want, SIZE), 0);

		fill();
		int c = (int)unit_random(256);

		libc_memset(want + to, c, n);
		assert_ptr_equal(test_memset(a + to, c | 0x100, n), a + to);
		assert_int_equal(libc_memcmp(a, want, SIZE), 0);

		fill();
		libc_memset(b, 0x55, SIZE);
		libc_memset(want, 0x55, SIZE);
		libc_memmove(want + to, a + from, n);
		assert_ptr_equal(test_memcpy(b + to, a + from, n), b + to);
		assert_int_equal(libc_memcmp(b, want, SIZE), 0);
	}
}

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

static void test_compares(void **state)
{
	char x[20], y[20];

	unit_seed();
	for (u64 round = unit_rounds(50000); round-- > 0;) {
		size_t n = unit_random(sizeof(x)), m = unit_random(sizeof(y));
		size_t k = unit_random(sizeof(x));

		for (size_t i = 0; i < sizeof(x); i++) {
			x[i] = "ab\xff"[unit_random(3)];
			y[i] = unit_random(8) ? x[i] : 'a';
		}
		assert_int_equal(sign(test_memcmp(x, y, k)), sign(libc_memcmp(x, y, k)));
		x[n] = y[m] = 0;
		assert_int_equal(sign(test_strcmp(x, y)), sign(libc_strcmp(x, y)));
		assert_int_equal(sign(test_strncmp(x, y, k)), sign(libc_strncmp(x, y, k)));
		assert_int_equal(test_strlen(x), n < k ? n : test_strlen(x));
		y[MIN(m, 3ul)] = 0;
		assert_ptr_equal(test_strstr(x, y), libc_strstr(x, y));
	}
}

static void test_searches(void **state)
{
	char s[] = "abcabc\xff";

	assert_ptr_equal(test_strchr(s, 'b'), s + 1);
	assert_ptr_equal(test_strchr(s, 0), s + 7);
	assert_ptr_equal(test_strchr(s, 0xff), s + 6);
	assert_null(test_strchr(s, 'z'));
	assert_ptr_equal(test_strrchr(s, 'b'), s + 4);
	assert_ptr_equal(test_strrchr(s, 0), s + 7);
	assert_null(test_strrchr(s, 'z'));
	assert_ptr_equal(test_memchr(s, 'c', 3), s + 2);
	assert_null(test_memchr(s, 'c', 2));
	assert_ptr_equal(test_memchr(s, 0x1ff, 7), s + 6);
	assert_int_equal(test_strlen(""), 0);
	assert_int_equal(test_strlen(s), 7);
	assert_int_equal(test_strnlen(s, 3), 3);
	assert_int_equal(test_strnlen(s, 30), 7);
	assert_int_equal(test_strnlen(s, 0), 0);
	assert_ptr_equal(test_strstr(s, ""), s);
	assert_ptr_equal(test_strstr("", ""), libc_strstr("", ""));
	assert_null(test_strstr("", "a"));
	assert_ptr_equal(test_strstr(s, "bca"), s + 1);
}

static void test_strlcpy(void **state)
{
	char buf[8];

	libc_memset(buf, '!', sizeof(buf));
	assert_int_equal(test_kstrlcpy(buf, "hello", 4), 5);
	assert_string_equal(buf, "hel");
	assert_int_equal(buf[4], '!');
	assert_int_equal(test_kstrlcpy(buf, "hello", 6), 5);
	assert_string_equal(buf, "hello");
	assert_int_equal(test_kstrlcpy(buf, "x", 0), 1);
	assert_string_equal(buf, "hello");
	assert_int_equal(test_kstrlcpy(buf, "", 1), 0);
	assert_string_equal(buf, "");
}

static void test_pages(void **state)
{
	static u8 from[PAGE_SIZE + 16] __aligned(PAGE_SIZE),
		to[PAGE_SIZE + 16] __aligned(PAGE_SIZE);

	unit_seed();
	for (size_t i = 0; i < sizeof(from); i++) {
		from[i] = (u8)unit_random(256);
		to[i] = 0x77;
	}
	test_copy_page(to, from);
	assert_int_equal(libc_memcmp(to, from, PAGE_SIZE), 0);
	assert_int_equal(to[PAGE_SIZE], 0x77);
	test_clear_page(to);
	for (size_t i = 0; i < PAGE_SIZE; i++)
		assert_int_equal(to[i], 0);
	assert_int_equal(to[PAGE_SIZE], 0x77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves),    cmocka_unit_test(test_compares),
		cmocka_unit_test(test_searches), cmocka_unit_test(test_strlcpy),
		cmocka_unit_test(test_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
