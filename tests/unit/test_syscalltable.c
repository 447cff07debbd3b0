/*
 * syscall/table.tbl against the host's own list of system calls: each name has Linux's number, no
 * number or name is there twice, and no function has more arguments than there are registers.
 */
#include "unit.h"

#include <ctype.h>
#include <string.h>

#define TABLE  "syscall/table.tbl"
#define LINUX  "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
#define MAX_NR 1024

static char *name_of[MAX_NR];
static unsigned lines, implemented;

static unsigned count_arguments(const char *fn)
{
	const char *open = strchr(fn, '('), *close = strchr(fn, ')');
	unsigned n = 1;

	assert_true(strncmp(fn, "sys_", 4) == 0 && open && close > open + 1 && close[1] == '\0');
	if (!strcmp(open, "(regs)") || !strcmp(open, "(void)"))
		return 0;
	for (const char *s = open; s < close; s++)
		n += *s == ',';
	return n;
}

static void read_line(char *line)
{
	char name[64], *fn;
	int nr, end = 0;

	if (line[0] == '#' || isspace((unsigned char)line[0]))
		return;
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%d %63s %n", &nr, name, &end) != 2)
		fail_msg("bad line: %s", line);
	assert_in_range(nr, 0, MAX_NR - 1);
	if (name_of[nr])
		fail_msg("number %d twice", nr);
	for (int i = 0; i < MAX_NR; i++)
		if (name_of[i] && !strcmp(name_of[i], name))
			fail_msg("name %s twice", name);
	name_of[nr] = strdup(name);
	lines++;
	fn = line + end;
	if (!*fn)
		return;
	implemented++;
	assert_true(count_arguments(fn) <= 6);
}

static void test_table(void **state)
{
	char line[512];
	FILE *f = fopen(TABLE, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		read_line(line);
	fclose(f);
	assert_true(lines > 350);
	assert_true(implemented > 150);
	for (int nr = 0; nr <= 334; nr++)
		if (!name_of[nr])
			fail_msg("number %d is missing", nr);
}

static void test_against_linux(void **state)
{
	char line[512], name[64];
	FILE *f = fopen(LINUX, "r");
	unsigned compared = 0;
	int nr;

	if (!f)
		skip();
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "#define __NR_%63s %d", name, &nr) != 2)
			continue;
		if (!name_of[nr] || strcmp(name_of[nr], name))
			fail_msg("%d is %s on Linux, %s in the table", nr, name,
				 name_of[nr] ? name_of[nr] : "missing");
		compared++;
	}
	fclose(f);
	assert_true(compared > 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_against_linux),
	};
	int ret = cmocka_run_group_tests(tests, NULL, NULL);

	for (int i = 0; i < MAX_NR; i++)
		free(name_of[i]);
	return ret;
}
