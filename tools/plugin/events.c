/*
 * A plugin of QEMU (-plugin events.so,out=FILE): the dear events of each operation of bench/suite.
 *
 * Under -icount every instruction costs one tick, a write to CR3 as much as an addition. What the tick
 * count hides is counted here: at translation each instruction is looked at once, and one of a dear
 * kind gets an addition to its kind's counter. The suite's marks (bench/suite/bench.h) name an
 * operation and say where a round of it begins and ends; between them the counters' advance is kept.
 *
 * At the end one line per operation: "NAME ROUNDS KIND MEDIAN MEAN" for each kind that occurred, tabs
 * between; the mean has what a timer's interrupt in one of many rounds adds, the median has not.
 *
 * For one virtual CPU. A locked instruction that faults counts each time that it is begun; "rep" counts
 * the iterations of repeated string instructions, as -icount does, and "page" how many of 512 iterations in one
 * go there were: 4 KiB cleared or copied by 8 bytes.
 */
#include "tools/plugin/common.h"

enum kind {
	CR3,
	INVLPG,
	FPU_SAVE,
	FPU_LOAD,
	WRMSR,
	LOCKED,
	REP,
	PAGE,
	IRET,
	FENCE,
	SMAP,
	SYSRET,
	KINDS,
	NONE
};

static const char *const kind_name[KINDS] = {
	"cr3", "invlpg", "fpu_save", "fpu_load", "wrmsr", "locked",
	"rep", "page",   "iret",     "fence",    "smap",  "sysret",
};

static uint64_t counter[KINDS]; /* the translated code adds here */

/* ---- what an instruction is ------------------------------------------------------------------- */

struct decoded {
	bool lock, rep;
	uint8_t byte[4]; /* opcode and what follows; zeroes behind the end */
};

/* Prefixes off. False: not to be looked at (VEX and EVEX: none of our kinds). */
static bool strip_prefixes(const uint8_t *p, size_t n, struct decoded *d)
{
	memset(d, 0, sizeof(*d));
	for (; n > 0; p++, n--) {
		if (*p == 0xf0)
			d->lock = true;
		else if (*p == 0xf3 || *p == 0xf2)
			d->rep = true;
		else if (*p != 0x66 && *p != 0x67 && *p != 0x2e && *p != 0x36 && *p != 0x3e &&
			 *p != 0x26 && *p != 0x64 && *p != 0x65 && (*p & 0xf0) != 0x40)
			break;
	}
	memcpy(d->byte, p, n < sizeof(d->byte) ? n : sizeof(d->byte));
	return n > 0 && *p != 0xc4 && *p != 0xc5 && *p != 0x62;
}

static enum kind kind_0f(const struct decoded *d)
{
	uint8_t op = d->byte[1], modrm = d->byte[2], reg = modrm >> 3 & 7;
	bool memory = modrm < 0xc0;

	switch (op) {
	case 0x01:
		if (modrm == 0xca || modrm == 0xcb)
			return SMAP; /* clac, stac */
		return memory && reg == 7 ? INVLPG : NONE;
	case 0x07: return SYSRET;
	case 0x22: return reg == 3 ? CR3 : NONE;
	case 0x30: return WRMSR;
	case 0xae:
		if (memory)
			return reg == 0 || reg == 4 || reg == 6 ? FPU_SAVE :
			       reg == 1 || reg == 5             ? FPU_LOAD :
								  NONE;
		return reg >= 5 && !d->rep ? FENCE : NONE;
	case 0xc7: /* xrstors, xsavec, xsaves */
		if (!memory)
			return NONE;
		return reg == 3 ? FPU_LOAD : reg == 4 || reg == 5 ? FPU_SAVE : NONE;
	default: return NONE;
	}
}

static enum kind kind_of(const uint8_t *p, size_t n)
{
	struct decoded d;

	if (!strip_prefixes(p, n, &d))
		return NONE;
	if (d.lock)
		return LOCKED;
	switch (d.byte[0]) {
	case 0x0f: return kind_0f(&d);
	case 0x86:
	case 0x87: return d.byte[1] < 0xc0 ? LOCKED : NONE; /* xchg with memory */
	case 0xa4:
	case 0xa5:
	case 0xaa:
	case 0xab: return d.rep ? REP : NONE;
	case 0xcf: return IRET;
	default: return NONE;
	}
}

/* ---- operations and their rounds --------------------------------------------------------------- */

#define OPERATIONS 128
#define ROUNDS     8192 /* later ones are in the mean only */

struct operation {
	char name[64];
	size_t length;
	uint64_t rounds;
	uint64_t sum[KINDS];
	uint32_t *round[KINDS];
};

static struct operation operation[OPERATIONS];
static int operations;
static struct operation *current; /* NULL until the first name */
static uint8_t bits, nr_bits;     /* of the character that comes in */
static uint64_t at_begin[KINDS];
static bool inside;
static const char *out_path;

/* Behind a repeated instruction: how far did it go? (One more iteration finds that it is over.) */
static void after_rep(unsigned cpu, void *arg)
{
	static uint64_t seen;

	(void)cpu, (void)arg;
	counter[PAGE] += (counter[REP] - seen) / 512;
	seen = counter[REP];
}

static void begin_name(unsigned cpu, void *arg)
{
	(void)cpu, (void)arg;
	if (operations == OPERATIONS) {
		fprintf(stderr, "events.so: more than %d operations\n", OPERATIONS);
		exit(1);
	}
	current = &operation[operations++];
	bits = nr_bits = 0;
	inside = false;
}

static void name_bit(unsigned cpu, void *arg)
{
	(void)cpu;
	bits = (uint8_t)(bits << 1 | (arg != NULL));
	if (current && ++nr_bits == 8) {
		if (current->length < sizeof(current->name) - 1)
			current->name[current->length++] = (char)bits;
		nr_bits = 0;
	}
}

static void begin(unsigned cpu, void *arg)
{
	(void)cpu, (void)arg;
	inside = current != NULL;
	memcpy(at_begin, counter, sizeof(counter));
}

static void end(unsigned cpu, void *arg)
{
	struct operation *o = current;

	(void)cpu, (void)arg;
	if (!inside)
		return;
	inside = false;
	for (int k = 0; k < KINDS; k++) {
		uint64_t n = counter[k] - at_begin[k];

		o->sum[k] += n;
		if (!o->round[k])
			o->round[k] = calloc(ROUNDS, sizeof(uint32_t));
		if (o->round[k] && o->rounds < ROUNDS)
			o->round[k][o->rounds] = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
	}
	o->rounds++;
}

/* ---- translation ------------------------------------------------------------------------------- */

static void on_mark(struct qemu_plugin_insn *insn)
{
	static char one; /* an address that is not NULL */

	watch_marks(insn, begin, end);
	switch (mark_of(insn)) {
	case 3:
		qemu_plugin_register_vcpu_insn_exec_cb(insn, begin_name, QEMU_PLUGIN_CB_NO_REGS,
						       NULL);
		break;
	case 0x10:
	case 0x11:
		qemu_plugin_register_vcpu_insn_exec_cb(insn, name_bit, QEMU_PLUGIN_CB_NO_REGS,
						       mark_of(insn) == 0x11 ? &one : NULL);
		break;
	default: break;
	}
}

/* Addresses of instructions behind repeated ones. A repeated instruction ends a block, so the one behind
 * it is translated later. */
static uint64_t behind[4096];

static uint64_t *behind_slot(uint64_t address)
{
	return &behind[(address ^ address >> 12) % (sizeof(behind) / sizeof(behind[0]))];
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *p = qemu_plugin_insn_data(insn);
		size_t n = qemu_plugin_insn_size(insn);
		enum kind kind = kind_of(p, n);
		uint64_t address = qemu_plugin_insn_vaddr(insn);

		if (*behind_slot(address) == address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, after_rep,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
		if (kind == REP)
			*behind_slot(address + n) = address + n;
		on_mark(insn);
		if (kind != NONE)
			qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64,
								   &counter[kind], 1);
	}
}

/* ---- the end ------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void print_operation(FILE *f, struct operation *o)
{
	size_t n = o->rounds < ROUNDS ? o->rounds : ROUNDS;

	for (int k = 0; k < KINDS && n > 0; k++) {
		if (!o->sum[k] || !o->round[k])
			continue;
		qsort(o->round[k], n, sizeof(uint32_t), compare);
		fprintf(f, "%s\t%" PRIu64 "\t%s\t%" PRIu32 "\t%.2f\n", o->name, o->rounds,
			kind_name[k], o->round[k][n / 2], (double)o->sum[k] / (double)o->rounds);
	}
}

static void finish(uint64_t id, void *arg)
{
	FILE *f = open_output(out_path);

	(void)id, (void)arg;
	if (!f)
		return;
	for (int i = 0; i < operations; i++)
		print_operation(f, &operation[i]);
	fclose(f);
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	out_path = argument("out", argc, argv);
	if (!out_path) {
		fprintf(stderr, "events.so: out=FILE is missing\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
