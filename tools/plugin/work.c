/*
 * A plugin of QEMU (-plugin work.so,out=FILE,wait=START-END): how many instructions all CPUs together execute
 * between two marks of a program (the NOPs of bench/user/where.h).
 *
 * With several CPUs under -icount, which take turns, one that waits for another one's answer looks and
 * looks until its turn is over: how long is QEMU's affair, not the kernel's. So instructions from START to END
 * (hexadecimal addresses, the kernel's loop that waits) are counted apart. A CPU that halts executes nothing.
 *
 * FILE gets one line for each pair of marks, in order: "WORK WAITED".
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/plugin/qemu-plugin.h"

int qemu_plugin_version = 1;

static uint64_t work, waited; /* the translated code adds here */
static uint64_t work_before, waited_before;
static uint64_t wait_start, wait_end;
static bool inside;
static FILE *out;

static void begin(unsigned cpu, void *arg)
{
	(void)cpu, (void)arg;
	work_before = work;
	waited_before = waited;
	inside = true;
}

static void end(unsigned cpu, void *arg)
{
	(void)cpu, (void)arg;
	if (inside)
		fprintf(out, "%" PRIu64 " %" PRIu64 "\n", work - work_before,
			waited - waited_before);
	inside = false;
}

#define MARK_BEGIN 0x4a420001u
#define MARK_END   0x4a420002u

static uint32_t mark_of(const struct qemu_plugin_insn *insn)
{
	const uint8_t *byte = qemu_plugin_insn_data(insn);
	uint32_t displacement;

	if (qemu_plugin_insn_size(insn) != 8 || memcmp(byte, "\x0f\x1f\x84\x00", 4))
		return 0;
	memcpy(&displacement, byte + 4, sizeof(displacement));
	return displacement;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		bool waits = address >= wait_start && address < wait_end;
		uint32_t mark = address >> 63 ? 0 : mark_of(insn);

		if (mark == MARK_BEGIN || mark == MARK_END)
			qemu_plugin_register_vcpu_insn_exec_cb(insn,
							       mark == MARK_BEGIN ? begin : end,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
		qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							   waits ? &waited : &work, 1);
	}
}

static void finish(uint64_t id, void *arg)
{
	(void)id, (void)arg;
	fclose(out);
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
		if (!strncmp(argv[i], "wait=", 5) &&
		    sscanf(argv[i] + 5, "%" SCNx64 "-%" SCNx64, &wait_start, &wait_end) != 2)
			wait_end = 0;
	}
	if (!out || wait_end <= wait_start) {
		fprintf(stderr, "work.so: out=FILE and wait=START-END are needed\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
