/* What our plugins of QEMU share: the marks of a program (bench/user/where.h), arguments, the file that they write. */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/plugin/qemu-plugin.h"

int qemu_plugin_version = 1;

#define MARK_BASE  0x4a420000u
#define MARK_BEGIN 1
#define MARK_END   2

/* nopl MARK_BASE + k(%rax,%rax): k; 0 for any other instruction. */
static inline uint32_t mark_of(const struct qemu_plugin_insn *insn)
{
	const uint8_t *byte = qemu_plugin_insn_data(insn);
	uint32_t displacement;

	if (qemu_plugin_insn_size(insn) != 8 || memcmp(byte, "\x0f\x1f\x84\x00", 4))
		return 0;
	memcpy(&displacement, byte + 4, sizeof(displacement));
	return displacement - MARK_BASE;
}

/* Has begin or end called where the instruction is the mark for it. */
static inline void watch_marks(struct qemu_plugin_insn *insn,
			       void (*begin)(unsigned cpu, void *arg),
			       void (*end)(unsigned cpu, void *arg))
{
	uint32_t mark = mark_of(insn);

	if (mark == MARK_BEGIN || mark == MARK_END)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, mark == MARK_BEGIN ? begin : end,
						       QEMU_PLUGIN_CB_NO_REGS, NULL);
}

/* The value of the argument NAME=VALUE, a copy; NULL: it is not there. */
static inline const char *argument(const char *name, int argc, char **argv)
{
	size_t n = strlen(name);

	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], name, n) && argv[i][n] == '=')
			return strdup(argv[i] + n + 1);
	return NULL;
}

/* For writing; NULL, with a line on standard error, if that cannot be. */
static inline FILE *open_output(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		perror(path);
	return f;
}
