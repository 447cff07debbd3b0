/* lib/cmdline.c over a table of options of the test's own in place of the linker's section. */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/api/boot.h"
#include "lib/cmdline.h"

extern struct cmdline_option __cmdline_options_start[];

#define OPTIONS 5
struct cmdline_option __cmdline_options_start[OPTIONS];
_Static_assert(sizeof(__cmdline_options_start) == 5 * 64, "the end below");
__asm__(".globl __cmdline_options_end\n"
	".set __cmdline_options_end, __cmdline_options_start + 5 * 64");

static struct cmdline_option *const timer = &__cmdline_options_start[0];
static struct cmdline_option *const mem = &__cmdline_options_start[1];
static struct cmdline_option *const quiet = &__cmdline_options_start[2];
static struct cmdline_option *const timer_too = &__cmdline_options_start[3];
static struct cmdline_option *const dashed = &__cmdline_options_start[4];

/* What cmdline_log_unknown logs goes to standard error: caught in a file. */
static char logged[4096];

static void catch_log(void)
{
	FILE *f = tmpfile(), *saved = stderr;

	stderr = f;
	cmdline_log_unknown();
	stderr = saved;
	rewind(f);
	logged[fread(logged, 1, sizeof(logged) - 1, f)] = 0;
	fclose(f);
}

static int setup(void **state)
{
	static const char *const names[OPTIONS] = { "timer", "mem", "quiet", "timer", "a-b-c" };

	for (unsigned i = 0; i < OPTIONS; i++)
		__cmdline_options_start[i] = (struct cmdline_option){ .name = names[i] };
	return 0;
}

static void test_options(void **state)
{
	cmdline_parse("  timer=pit quiet\tmem=64M  timer=lapic a_b-c=7 \n");
	assert_string_equal(timer->value, "lapic");
	assert_int_equal(timer->count, 2);
	assert_string_equal(timer->all[0], "pit");
	assert_string_equal(timer->all[1], "lapic");
	assert_string_equal(timer_too->value, "lapic");
	assert_string_equal(quiet->value, "");
	assert_int_equal(cmdline_size(mem, 1), 64 * MiB);
	assert_int_equal(cmdline_u64(dashed, 1), 7);
	assert_true(cmdline_is(timer, "lapic"));
	assert_false(cmdline_is(timer, "lap"));
	catch_log();
	assert_string_equal(logged, "");
}

static void test_absent(void **state)
{
	u32 n = 9;

	cmdline_parse("");
	assert_null(timer->value);
	assert_int_equal(timer->count, 0);
	assert_int_equal(cmdline_u64(timer, 42), 42);
	assert_int_equal(cmdline_size(timer, 43), 43);
	assert_false(cmdline_is(timer, ""));
	assert_null(cmdline_init_args(&n)[0]);
	assert_int_equal(n, 0);
}

static void test_unknown(void **state)
{
	cmdline_parse("time=1 timer=x timers=2 quie root=/dev/sda1");
	assert_string_equal(timer->value, "x");
	assert_null(quiet->value);
	catch_log();
	assert_non_null(strstr(logged, "\"time=1\""));
	assert_non_null(strstr(logged, "\"timers=2\""));
	assert_non_null(strstr(logged, "\"quie\""));
	assert_non_null(strstr(logged, "\"root=/dev/sda1\""));
	assert_null(strstr(logged, "timer=x"));
}

static void test_quotes(void **state)
{
	cmdline_parse("timer=\"a b\" \"mem=c d\" quiet=x\"y z\"w");
	assert_string_equal(timer->value, "a b");
	assert_string_equal(mem->value, "c d");
	assert_string_equal(quiet->value, "xy zw");
	cmdline_parse("timer=\"a\\\"b\\\\\" mem=c\\d");
	assert_string_equal(timer->value, "a\"b\\");
	assert_string_equal(mem->value, "c\\d");
	setup(NULL);
	cmdline_parse("quiet timer=\"never closed mem=1");
	assert_string_equal(timer->value, "never closed mem=1");
	assert_null(mem->value);
}

static void test_init_args(void **state)
{
	const char *const *args;
	u32 n;

	cmdline_parse("quiet -- sh -c \"echo hello; exit 7\" timer=pit \"\" --");
	args = cmdline_init_args(&n);
	assert_int_equal(n, 6);
	assert_string_equal(args[0], "sh");
	assert_string_equal(args[1], "-c");
	assert_string_equal(args[2], "echo hello; exit 7");
	assert_string_equal(args[3], "timer=pit");
	assert_string_equal(args[4], "");
	assert_string_equal(args[5], "--");
	assert_null(args[6]);
	assert_null(timer->value);
}

static void test_malformed(void **state)
{
	cmdline_parse("mem=64X timer= quiet=99999999999999999999");
	assert_int_equal(cmdline_size(mem, 5), 5);
	assert_int_equal(cmdline_u64(timer, 6), 6);
	assert_int_equal(cmdline_u64(quiet, 7), 7);
}

static void test_long(void **state)
{
	static char line[3 * BOOT_CMDLINE_MAX];
	u32 n;

	for (size_t i = 0; i + 4 < sizeof(line); i += 4)
		memcpy(line + i, "t=1 ", 4);
	cmdline_parse(line);
	catch_log();
	assert_non_null(strstr(logged, "words too many"));
	memcpy(line, "--  ", 4);
	cmdline_parse(line);
	assert_null(cmdline_init_args(&n)[64]);
	assert_int_equal(n, 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_options, setup),
		cmocka_unit_test_setup(test_absent, setup),
		cmocka_unit_test_setup(test_unknown, setup),
		cmocka_unit_test_setup(test_quotes, setup),
		cmocka_unit_test_setup(test_init_args, setup),
		cmocka_unit_test_setup(test_malformed, setup),
		cmocka_unit_test_setup(test_long, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
