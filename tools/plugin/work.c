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
#include "tools/plugin/common.h"

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

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		bool waits = address >= wait_start && address < wait_end;

		if (!(address >> 63))
			watch_marks(insn, begin, end);
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
	const char *path = argument("out", argc, argv), *wait = argument("wait", argc, argv);

	if (path)
		out = open_output(path);
	if (!wait || sscanf(wait, "%" SCNx64 "-%" SCNx64, &wait_start, &wait_end) != 2)
		wait_end = 0;
	if (!out || wait_end <= wait_start) {
		fprintf(stderr, "work.so: out=FILE and wait=START-END are needed\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
