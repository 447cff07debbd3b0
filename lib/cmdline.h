/*
 * The kernel's command line: words `name` or `name=value`, values may be "quoted"; what follows a
 * word `--` belongs to init. An option is declared where it is used:
 *
 *	CMDLINE_OPTION("timer", timer_option, "pit|lapic|hpet|tsc-deadline: the clock event");
 *
 * cmdline_parse (early in kernel_main) splits the line, remembers values of declared options, and
 * logs unknown words once the log is up, without stopping.
 */
#pragma once

#include "lib/types.h"

struct cmdline_option {
	const char *name;
	const char *help;
	const char
		*value; /* NULL: not given; "": given without a value. The last one given wins. */
	const char *all[4]; /* the first four values given, for options that may repeat */
	u32 count;
};

#define CMDLINE_OPTION(opt_name, variable, opt_help)                                               \
	__used __section(".cmdline_options")                                                       \
		__aligned(8) static struct cmdline_option variable = { .name = (opt_name),         \
								       .help = (opt_help) }

void cmdline_parse(const char *line);
void cmdline_log_unknown(void);

/* The words behind `--`, NULL-terminated, for init's argv. Count in *n. */
const char *const *cmdline_init_args(u32 *n);

/* The value as a number or size; def if not given, logs and def if malformed. */
u64 cmdline_u64(const struct cmdline_option *o, u64 def);
u64 cmdline_size(const struct cmdline_option *o, u64 def);
bool cmdline_is(const struct cmdline_option *o, const char *value);
