/*
 * Marks around what is measured, for ./jiffy bench --where. Each is one NOP with a displacement that
 * no compiler makes; the plugin of QEMU (tools/plugin/where.c) counts what runs between the two.
 *
 *	where_begin("fault.anon");  start = stamp();  ...  t = stamp() - start;  where_end();
 *
 * The marks lie outside the time stamps, so they cost the figure nothing. Only the operation that
 * was asked for (--only NAME) is marked.
 *
 * A program that uses this calls where_init(argc, argv, names) first. It takes away --only NAME, and
 * answers --list with the names, one a line. Of several rounds between marks the plugin keeps the
 * cheapest.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHERE_BEGIN "0x4a420001"
#define WHERE_END   "0x4a420002"

static const char *where_only; /* NULL: no figure is singled out */

static inline void where_begin(const char *name)
{
	if (where_only && !strcmp(where_only, name))
		__asm__ volatile("nopl " WHERE_BEGIN "(%%rax,%%rax)" : : : "memory");
}

static inline void where_end(void)
{
	__asm__ volatile("nopl " WHERE_END "(%%rax,%%rax)" : : : "memory");
}

/* Does a group of figures, named by what they begin with, contain the one asked for? */
static inline int where_wants(const char *group)
{
	return !where_only || !strncmp(where_only, group, strlen(group));
}

/* names: ends with NULL. Returns the number of arguments that are left in argv. */
static inline int where_init(int argc, char **argv, const char *const *names)
{
	int left = 1;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--list")) {
			for (; *names; names++)
				puts(*names);
			exit(0);
		}
		if (!strcmp(argv[i], "--only") && i + 1 < argc)
			where_only = argv[++i];
		else
			argv[left++] = argv[i];
	}
	return left;
}
