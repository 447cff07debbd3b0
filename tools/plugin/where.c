/*
 * A plugin of QEMU (-plugin where.so,out=FILE): how often each instruction ran between two marks.
 *
 * Every translated instruction of the kernel gets a counter of its own, which the translated code
 * adds to without a call; all of user mode shares one. The two marks (bench/user/where.h) are
 * instructions of the program. At the first one the counters are remembered; at the second one their
 * difference is one round, and the cheapest round of all is written to FILE at the end:
 *
 *	rounds N
 *	total N
 *	ADDRESS COUNT	one line per instruction, hexadecimal and decimal; address 0: user mode
 *
 * For one virtual CPU; what else runs on it between the marks belongs to the operation.
 *
 * An instruction that faults counts each time that it is begun; an iteration of a repeated one counts
 * as -icount has it.
 */
#include "tools/plugin/common.h"

/* ---- counters -------------------------------------------------------------------------------- */

struct counter {
	uint64_t address;
	uint64_t count;  /* the translated code adds here */
	uint64_t before; /* count at the first mark */
	uint64_t best;   /* in the cheapest round */
	uint32_t next;   /* of the same bucket, an index; 0: none */
};

#define COUNTERS (1u << 20) /* instructions of the kernel at most */
#define BUCKETS  65536u
#define USER     0 /* the one address of all of user mode */

static struct counter counter[COUNTERS]; /* [0] is not used. Never moved. */
static uint32_t counters = 1;
static uint32_t bucket[BUCKETS];
static bool inside; /* between the marks */
static uint64_t rounds, best_total = UINT64_MAX;
static const char *out_path;

static struct counter *counter_for(uint64_t address)
{
	uint32_t *head = &bucket[(address ^ address >> 16) % BUCKETS];

	for (uint32_t i = *head; i; i = counter[i].next)
		if (counter[i].address == address)
			return &counter[i];
	if (counters == COUNTERS) {
		fprintf(stderr, "where.so: more than %u instructions\n", COUNTERS - 1);
		exit(1);
	}
	counter[counters].address = address;
	counter[counters].next = *head;
	*head = counters;
	return &counter[counters++];
}

static void begin(unsigned cpu, void *arg)
{
	(void)cpu, (void)arg;
	for (uint32_t i = 1; i < counters; i++)
		counter[i].before = counter[i].count;
	inside = true;
}

static void end(unsigned cpu, void *arg)
{
	uint64_t total = 0;

	(void)cpu, (void)arg;
	if (!inside)
		return;
	inside = false;
	rounds++;
	for (uint32_t i = 1; i < counters; i++)
		total += counter[i].count - counter[i].before;
	if (total >= best_total)
		return;
	best_total = total;
	for (uint32_t i = 1; i < counters; i++)
		counter[i].best = counter[i].count - counter[i].before;
}

/* ---- translation ----------------------------------------------------------------------------- */

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);

		if (!(address >> 63)) {
			address = USER;
			watch_marks(insn, begin, end);
		}
		qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
							   &counter_for(address)->count, 1);
	}
}

static void finish(uint64_t id, void *arg)
{
	FILE *f = open_output(out_path);

	(void)id, (void)arg;
	if (!f)
		return;
	fprintf(f, "rounds %" PRIu64 "\n", rounds);
	if (rounds > 0) {
		fprintf(f, "total %" PRIu64 "\n", best_total);
		for (uint32_t i = 1; i < counters; i++)
			if (counter[i].best > 0)
				fprintf(f, "%016" PRIx64 " %" PRIu64 "\n", counter[i].address,
					counter[i].best);
	}
	fclose(f);
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	out_path = argument("out", argc, argv);
	if (!out_path) {
		fprintf(stderr, "where.so: out=FILE is missing\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
