/*
 * A plugin of QEMU (-plugin lines.so,out=FILE): which cache lines of the kernel's several CPUs share.
 *
 * Two CPUs that work on different things should write no line that the other one touches: on silicon
 * the line would travel from cache to cache each time, lock or no lock. An emulator has no caches, so no
 * time shows it; but it sees every address. Between two marks of the program (the NOPs of
 * bench/user/where.h) each access of the kernel's code to the kernel's memory is entered into a table
 * of lines of 64 bytes. At the end FILE gets those lines that one CPU wrote and another one touched:
 *
 *	lines N			lines touched at all between the marks
 *	cpus MASK		which CPUs ran the kernel's code meanwhile
 *	line ADDRESS WRITERS READERS WRITES READS	masks of CPUs in hexadecimal
 *	  ADDRESS W|R CPUS COUNT	the instructions that did it (of the line above), at most SITES
 *
 * Of an instruction that reads and writes (a locked one) both are counted. What the processor does by
 * itself, above all the page walk and its A and D bits, is not seen.
 *
 * For CPUs that take turns (-icount, or thread=single): the table has no lock of its own.
 */
#include "tools/plugin/common.h"

#define LINE_SHIFT 6
#define SITES      24 /* instructions that are remembered for a line */

struct site {
	uint64_t pc;
	uint64_t cpus; /* mask */
	uint64_t count;
	bool store;
};

struct line {
	uint64_t number; /* address >> LINE_SHIFT; 0: free */
	uint64_t writers, readers;
	uint64_t writes, reads;
	struct site *site; /* allocated when a second CPU comes */
	uint32_t sites;
	struct site first[2]; /* before that: enough to tell who was first */
};

#define LINES (1u << 20)

static struct line *table; /* open addressing */
static uint32_t lines;
static bool inside, was_inside;
static uint64_t cpus;
static const char *out_path;

static struct line *line_for(uint64_t number)
{
	uint64_t i = number * 0x9e3779b97f4a7c15u >> 44;

	while (table[i].number && table[i].number != number)
		i = (i + 1) % LINES;
	if (!table[i].number) {
		if (++lines > LINES / 4 * 3) {
			fprintf(stderr, "lines.so: more than %u lines\n", LINES / 4 * 3);
			exit(1);
		}
		table[i].number = number;
	}
	return &table[i];
}

/* The entry for an instruction; NULL: there are too many. */
static struct site *site_for(struct line *l, uint64_t pc, bool store)
{
	struct site *s = l->site ? l->site : l->first;
	uint32_t max = l->site ? SITES : 2;

	for (uint32_t i = 0; i < l->sites; i++)
		if (s[i].pc == pc && s[i].store == store)
			return &s[i];
	if (l->sites == max && !l->site) {
		l->site = calloc(SITES, sizeof(*l->site));
		if (!l->site)
			return NULL;
		memcpy(l->site, l->first, sizeof(l->first));
		s = l->site;
		max = SITES;
	}
	if (l->sites == max)
		return NULL;
	s[l->sites].pc = pc;
	s[l->sites].store = store;
	return &s[l->sites++];
}

static void note(struct line *l, unsigned cpu, uint64_t pc, bool store)
{
	struct site *s = site_for(l, pc, store);

	if (store) {
		l->writers |= 1ul << cpu;
		l->writes++;
	} else {
		l->readers |= 1ul << cpu;
		l->reads++;
	}
	if (s) {
		s->cpus |= 1ul << cpu;
		s->count++;
	}
}

static void access_memory(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *arg)
{
	uint64_t first = address >> LINE_SHIFT;
	uint64_t last = (address + (1u << qemu_plugin_mem_size_shift(info)) - 1) >> LINE_SHIFT;

	if (!inside || !(address >> 63) || cpu >= 64)
		return;
	cpus |= 1ul << cpu;
	for (; first <= last; first++)
		note(line_for(first), cpu, (uint64_t)arg, qemu_plugin_mem_is_store(info));
}

static void begin(unsigned cpu, void *arg)
{
	(void)cpu, (void)arg;
	inside = !was_inside; /* the first stretch only */
	was_inside = true;
}

static void end(unsigned cpu, void *arg)
{
	(void)cpu, (void)arg;
	inside = false;
}

/* ---- translation ------------------------------------------------------------------------------- */

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);

		if (address >> 63)
			qemu_plugin_register_vcpu_mem_cb(insn, access_memory,
							 QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
							 (void *)address);
		else
			watch_marks(insn, begin, end);
	}
}

static bool is_one(uint64_t mask)
{
	return !(mask & (mask - 1));
}

static void finish(uint64_t id, void *arg)
{
	FILE *f = open_output(out_path);

	(void)id, (void)arg;
	if (!f)
		return;
	fprintf(f, "lines %" PRIu32 "\ncpus %" PRIx64 "\n", lines, cpus);
	for (uint32_t i = 0; i < LINES; i++) {
		struct line *l = &table[i];
		struct site *s = l->site ? l->site : l->first;

		if (!l->writers || is_one(l->writers | l->readers))
			continue;
		fprintf(f, "line %016" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIu64 " %" PRIu64 "\n",
			l->number << LINE_SHIFT, l->writers, l->readers, l->writes, l->reads);
		for (uint32_t k = 0; k < l->sites; k++)
			fprintf(f, "  %016" PRIx64 " %c %" PRIx64 " %" PRIu64 "\n", s[k].pc,
				s[k].store ? 'W' : 'R', s[k].cpus, s[k].count);
	}
	fclose(f);
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	out_path = argument("out", argc, argv);
	table = calloc(LINES, sizeof(*table));
	if (!out_path || !table) {
		fprintf(stderr, "lines.so: %s\n", table ? "out=FILE is missing" : "no memory");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
