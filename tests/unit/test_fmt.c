/*
 * lib/fmt.c beside the C library: random conversions must agree character by character and in the
 * returned length, at every buffer size; number parsing beside strtoul.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "lib/err.h"
#include "lib/fmt.h"

/* Random formats, odd ones, buffers too small: nothing for the compiler to check. */
#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#pragma GCC diagnostic ignored "-Wformat-zero-length"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wformat-overflow"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#endif

static void random_format(char *f, char conv, const char *length)
{
	static const char flags[] = "-0+ #";

	*f++ = '<';
	*f++ = '%';
	for (unsigned i = 0; i < 5; i++)
		if (unit_random(3) == 0)
			*f++ = flags[unit_random(5)];
	if (unit_random(2))
		f += sprintf(f, "%u", (unsigned)unit_random(30) + 1);
	if (unit_random(2))
		f += sprintf(f, ".%u", (unsigned)unit_random(25));
	f += sprintf(f, "%s%c>", length, conv);
}

#define compare(f, ...)                                                                            \
	do {                                                                                       \
		char want_[200], got_[200];                                                        \
		size_t size_ = unit_random(4) ? sizeof(got_) : unit_random(40);                    \
		int n_ = snprintf(want_, size_, f, ##__VA_ARGS__);                                 \
		memset(got_, '!', sizeof(got_));                                                   \
		assert_int_equal(ksnprintf(got_, size_, f, ##__VA_ARGS__), n_);                    \
		if (size_ != 0 && strcmp(got_, want_) != 0)                                        \
			fail_msg("%s: \"%s\" is not \"%s\"", f, got_, want_);                      \
		if (size_ < sizeof(got_))                                                          \
			assert_int_equal(got_[size_], '!');                                        \
	} while (0)

static u64 random_value(void)
{
	u64 v = unit_next(&unit_random_state) >> unit_random(64);

	return unit_random(8) == 0 ? 0 : unit_random(2) ? v : -v;
}

static void test_integers(void **state)
{
	static const char *const lengths[] = { "", "hh", "h", "l", "ll", "z" };
	char f[64];

	unit_seed();
	for (u64 round = unit_rounds(100000); round-- > 0;) {
		const char *length = lengths[unit_random(6)];
		char conv = "diuxXo"[unit_random(6)];
		u64 v = random_value();

		random_format(f, conv, length);
		if (length[0] == 0 || length[0] == 'h')
			compare(f, (int)v);
		else
			compare(f, v);
	}
}

static void test_text(void **state)
{
	char f[64], text[40];

	unit_seed();
	for (u64 round = unit_rounds(20000); round-- > 0;) {
		size_t n = unit_random(sizeof(text));

		memset(text, 'a' + (int)unit_random(26), n);
		text[n] = 0;
		f[0] = 0;
		random_format(f, 's', "");
		compare(f, text);
		int width = (int)unit_random(20) - 10, precision = (int)unit_random(10) - 3;

		compare("%c%%%*s|%-*.*s|%.*d", 'x', width, text, width, precision, text, precision,
			width);
	}
	compare("%p", (void *)0x1234abcdul);
	compare("%20p|%-20p|", (void *)0xffffffff80001234ul, (void *)1);
	compare("%d %d %ld", INT_MIN, INT_MAX, LONG_MIN);
	compare("plain");
	compare("");
}

static void test_odd(void **state)
{
	char buf[32];

	assert_int_equal(ksnprintf(buf, sizeof(buf), "%s", (char *)NULL), 6);
	assert_string_equal(buf, "(null)");
	ksnprintf(buf, sizeof(buf), "%y%", 1);
	assert_string_equal(buf, "%y");
	assert_int_equal(ksnprintf(NULL, 0, "%d", 12345), 5);
}

static void test_textbuf(void **state)
{
	char buf[10];
	struct textbuf t = { .buf = buf, .size = sizeof(buf) };

	textbuf_printf(&t, "%d", 1234);
	textbuf_printf(&t, "%s", "abcde");
	assert_string_equal(buf, "1234abcde");
	assert_int_equal(t.len, 9);
	assert_false(t.overflow);
	textbuf_printf(&t, "%s", "");
	assert_false(t.overflow);
	textbuf_printf(&t, "x");
	assert_true(t.overflow);
	assert_int_equal(t.len, 9);
	t = (struct textbuf){ .buf = buf, .size = 4 };
	textbuf_printf(&t, "%d", 98765);
	assert_string_equal(buf, "987");
	assert_int_equal(t.len, 3);
	assert_true(t.overflow);
	t = (struct textbuf){ .buf = NULL, .size = 0 };
	textbuf_printf(&t, "x");
	assert_true(t.overflow);
	assert_int_equal(t.len, 0);
}

static void check_number(const char *s, unsigned base, int want_ret, u64 want)
{
	u64 v = 77;

	assert_int_equal(kstrtou64(s, base, &v), want_ret);
	assert_int_equal(v, want_ret == 0 ? want : 77);
}

static void test_numbers(void **state)
{
	char text[40];

	check_number("0", 0, 0, 0);
	check_number("010", 0, 0, 8);
	check_number("0x1F", 0, 0, 31);
	check_number("1f", 16, 0, 31);
	check_number("0x1f", 16, 0, 31);
	check_number("010", 10, 0, 10);
	check_number("12\n", 10, 0, 12);
	check_number("12\n\n", 10, -EINVAL, 0);
	check_number("", 10, -EINVAL, 0);
	check_number("\n", 10, -EINVAL, 0);
	check_number("-1", 10, -EINVAL, 0);
	check_number(" 1", 10, -EINVAL, 0);
	check_number("8", 8, -EINVAL, 0);
	check_number("09", 0, -EINVAL, 0);
	check_number("0x", 0, -EINVAL, 0);
	check_number("18446744073709551615", 10, 0, UINT64_MAX);
	check_number("18446744073709551616", 10, -ERANGE, 0);
	check_number("99999999999999999999x", 10, -EINVAL, 0);
	unit_seed();
	for (u64 round = unit_rounds(20000); round-- > 0;) {
		u64 v = random_value();
		unsigned base = (unsigned[]){ 8, 10, 16 }[unit_random(3)];

		snprintf(text, sizeof(text), base == 8 ? "%lo" : base == 10 ? "%lu" : "%lx", v);
		check_number(text, base, 0, v);
	}
}

static void test_sizes(void **state)
{
	u64 v = 0;

	assert_int_equal(kstrtosize("64M", &v), 0);
	assert_int_equal(v, 64 * MiB);
	assert_int_equal(kstrtosize("0x10k\n", &v), 0);
	assert_int_equal(v, 16 * KiB);
	assert_int_equal(kstrtosize("3G", &v), 0);
	assert_int_equal(v, 3 * GiB);
	assert_int_equal(kstrtosize("2t", &v), 0);
	assert_int_equal(v, 2 * TiB);
	assert_int_equal(kstrtosize("17", &v), 0);
	assert_int_equal(v, 17);
	assert_int_equal(kstrtosize("17MB", &v), -EINVAL);
	assert_int_equal(kstrtosize("M", &v), -EINVAL);
	assert_int_equal(kstrtosize("16777216T", &v), -ERANGE);
	assert_int_equal(v, 17);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_integers), cmocka_unit_test(test_text),
		cmocka_unit_test(test_odd),      cmocka_unit_test(test_textbuf),
		cmocka_unit_test(test_numbers),  cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
