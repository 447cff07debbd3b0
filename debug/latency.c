/*
 * Four histograms for each CPU, in time-stamp ticks, by powers of two:
 *
 *	irqs off      the interrupt flag is clear
 *	preempt off   preempt_count is above zero (an interrupt's handler raises it, too)
 *	either        one of them, without a gap: no other thread can get this CPU. What matters
 *	wake-up       from sched_wake to the switch to the woken thread
 *
 * A section belongs to the CPU, not to a thread: interrupts are off across a switch, and the thread
 * that is switched to ends the section. Of `either` the longest sections are kept, one for each
 * pair of places (where it began, where it ended), with the calls that led to its end and to its
 * beginning.
 *
 * The measurement takes time itself, at each change within a longer section. What the functions here
 * take is subtracted (`spent`); what the machine's stubs around them take, some 40 instructions a
 * change, is not: lengths are upper bounds.
 *
 * Everything is written by its CPU with interrupts off; readers accept a torn moment.
 */
#include "debug/latency.h"

#include "arch/api/cpu.h"
#include "arch/api/hook.h"
#include "arch/api/ipi.h"
#include "debug/backtrace.h"
#include "lib/cmdline.h"
#include "lib/err.h"
#include "lib/fmt.h"
#include "lib/string.h"

CMDLINE_OPTION("latency", latency_option,
	       "measure interrupts off, preemption off, wake-ups: /proc/jiffy/latency");

#define BUCKETS 40
#define LONGEST 12
#define STACK   10

enum track { IRQS, PREEMPT, EITHER, WAKEUP, TRACKS };

struct section {
	u64 since, from; /* since 0: not in it */
	u64 spent;       /* by the measurement, at its beginning */
};

struct longest {
	u64 length, from, to, count;
	u64 begin[STACK], end[STACK];
	char who[24];
};

struct latency_cpu {
	struct section section[WAKEUP];
	u64 spent;        /* by the measurement so far */
	u64 begin[STACK]; /* of EITHER: calls that led to its begin, 0-terminated */
	u64 bucket[TRACKS][BUCKETS];
	u64 max[TRACKS], sum[TRACKS];
	u32 max_tid; /* the thread that waited longest for the CPU */
	char max_name[16];
	struct longest longest[LONGEST];
};

static DEFINE_PER_CPU(struct latency_cpu, latency_cpu);
static bool available; /* [I] the hooks are in place */
static bool measuring; /* [a] */

void (*latency_describe)(char *buf, size_t n);

static void note(struct latency_cpu *c, enum track track, u64 length)
{
	unsigned i = length ? 64 - (unsigned)__builtin_clzl(length) : 0;

	c->bucket[track][MIN(i, BUCKETS - 1u)]++;
	c->sum[track] += length;
	c->max[track] = MAX(c->max[track], length);
}

/* ---- the longest ones ---------------------------------------------------------------------------- */

/* The record for this pair of places, or the shortest one if this is longer; NULL: not among them. */
static struct longest *place_for(struct latency_cpu *c, u64 length, u64 from, u64 to)
{
	struct longest *least = &c->longest[0];

	for (struct longest *l = c->longest; l < c->longest + LONGEST; l++) {
		if (l->from == from && l->to == to)
			return l;
		if (l->length < least->length)
			least = l;
	}
	if (length <= least->length)
		return NULL;
	*least = (struct longest){ .from = from, .to = to };
	return least;
}

static void keep_longest(struct latency_cpu *c, u64 length, u64 from, u64 to, u64 fp)
{
	struct longest *l = place_for(c, length, from, to);

	if (!l)
		return;
	l->count++;
	if (length <= l->length)
		return;
	l->length = length;
	memcpy(l->begin, c->begin, sizeof(l->begin));
	memset(l->end, 0, sizeof(l->end));
	backtrace_collect(fp, l->end, STACK);
	l->who[0] = 0;
	if (latency_describe)
		latency_describe(l->who, sizeof(l->who));
}

/* ---- begin and end ------------------------------------------------------------------------------- */

/* Only three frames: this happens at each beginning. The rest tells the end's backtrace. */
static void remember_begin(struct latency_cpu *c, u64 fp)
{
	for (unsigned i = 0; i < 3; i++) {
		const u64 *frame = (const u64 *)fp;

		c->begin[i] = frame[1];
		if (frame[0] <= fp || frame[0] - fp > 2 * KiB) {
			c->begin[i + 1] = 0;
			return;
		}
		fp = frame[0];
	}
	c->begin[3] = 0;
}

static void begin(enum track track, u64 pc, u64 fp)
{
	struct latency_cpu *c = this_cpu_ptr(&latency_cpu);
	u64 now = cpu_cycles();

	if (!measuring || c->section[track].since)
		return;
	c->section[track] = (struct section){ now, pc, c->spent };
	if (!c->section[EITHER].since) {
		remember_begin(c, fp);
		c->section[EITHER] = c->section[track];
	}
	c->spent += cpu_cycles() - now;
}

static u64 length_of(const struct latency_cpu *c, const struct section *s, u64 now)
{
	return now - s->since - (c->spent - s->spent);
}

static void end(enum track track, u64 pc, u64 fp)
{
	struct latency_cpu *c = this_cpu_ptr(&latency_cpu);
	u64 now = cpu_cycles(), length;
	struct section *either = &c->section[EITHER];

	if (!c->section[track].since)
		return;
	note(c, track, length_of(c, &c->section[track], now));
	c->section[track].since = 0;
	if (!c->section[IRQS].since && !c->section[PREEMPT].since && either->since) {
		length = length_of(c, either, now);
		note(c, EITHER, length);
		keep_longest(c, length, either->from, pc, fp);
		either->since = 0;
	}
	c->spent += cpu_cycles() - now;
}

void hook_irqs_off(u64 pc, u64 fp)
{
	begin(IRQS, pc, fp);
}

void hook_irqs_on(u64 pc, u64 fp)
{
	end(IRQS, pc, fp);
}

void hook_preempt_off(u64 pc, u64 fp)
{
	begin(PREEMPT, pc, fp);
}

void hook_preempt_on(u64 pc, u64 fp)
{
	end(PREEMPT, pc, fp);
}

u64 latency_now(void)
{
	return measuring ? cpu_cycles() : 0;
}

void latency_wakeup(u64 woken_at, u32 tid, const char *name)
{
	struct latency_cpu *c = this_cpu_ptr(&latency_cpu);
	u64 now = cpu_cycles(), length = now > woken_at ? now - woken_at : 0;

	if (!measuring)
		return;
	if (length > c->max[WAKEUP]) {
		c->max_tid = tid;
		kstrlcpy(c->max_name, name, sizeof(c->max_name));
	}
	note(c, WAKEUP, length);
}

/* ---- control ------------------------------------------------------------------------------------- */

unsigned latency_early_init(void)
{
	if (!latency_option.value)
		return 0;
	available = true;
	measuring = !cmdline_is(&latency_option, "off");
	return HOOK_LATENCY | HOOK_EVENT;
}

/* This CPU's. Its sections that are open stay so. */
static void reset_cpu(void *arg)
{
	u64 flags = irq_save_raw();
	struct latency_cpu *c = this_cpu_ptr(&latency_cpu);
	struct section keep[WAKEUP];
	u64 spent = c->spent;

	memcpy(keep, c->section, sizeof(keep));
	memset(c, 0, sizeof(*c));
	memcpy(c->section, keep, sizeof(keep));
	c->spent = spent;
	irq_restore_raw(flags);
}

int latency_control(const char *word)
{
	if (!available)
		return -ENOTSUP;
	if (!strcmp(word, "on")) {
		WRITE_ONCE(measuring, true);
	} else if (!strcmp(word, "off")) {
		WRITE_ONCE(measuring, false);
	} else if (!strcmp(word, "reset")) {
		reset_cpu(NULL);
		ipi_call_mask(NULL, reset_cpu, NULL);
	} else {
		return -EINVAL;
	}
	return 0;
}

/* ---- the file ------------------------------------------------------------------------------------ */

static void show_stack(struct textbuf *t, const char *what, u64 pc, const u64 *stack)
{
	char name[80];

	textbuf_printf(t, "    %s %s", what, symbol_format(name, sizeof(name), pc));
	for (unsigned i = 0; i < STACK && stack[i]; i++)
		textbuf_printf(t, " < %s", symbol_format(name, sizeof(name), stack[i] - 1));
	textbuf_printf(t, "\n");
}

/* The longest not shown yet, below `limit`. */
static const struct longest *next_longest(const struct latency_cpu *c, u64 limit)
{
	const struct longest *best = NULL;

	for (const struct longest *l = c->longest; l < c->longest + LONGEST; l++)
		if (l->length && l->length < limit && (!best || l->length > best->length))
			best = l;
	return best;
}

static void show_longest(struct textbuf *t, const struct latency_cpu *c, u32 cpu)
{
	const struct longest *l;
	u64 limit = UINT64_MAX;

	for (unsigned i = 0; i < LONGEST && (l = next_longest(c, limit)); i++) {
		textbuf_printf(t, "cpu%u longest %lu ticks, %lu times, in %s\n", cpu, l->length,
			       l->count, l->who);
		show_stack(t, "from", l->from, l->begin);
		show_stack(t, "to  ", l->to, l->end);
		limit = l->length;
	}
}

void latency_show(struct textbuf *t)
{
	static const char *const name[TRACKS] = { "irqs_off", "preempt_off", "either", "wakeup" };

	if (!available) {
		textbuf_printf(t, "off: boot with the option latency\n");
		return;
	}
	textbuf_printf(t, "measuring %s; unit: time-stamp ticks\n", measuring ? "on" : "off");
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		const struct latency_cpu *c = per_cpu_ptr(&latency_cpu, cpu);

		for (unsigned track = 0; track < TRACKS; track++) {
			u64 n = 0;

			for (unsigned i = 0; i < BUCKETS; i++)
				n += c->bucket[track][i];
			textbuf_printf(t, "cpu%u %s count %lu sum %lu max %lu", cpu, name[track], n,
				       c->sum[track], c->max[track]);
			for (unsigned i = 0; i < BUCKETS; i++)
				if (c->bucket[track][i])
					textbuf_printf(t, " <%lu:%lu", 1ul << i,
						       c->bucket[track][i]);
			textbuf_printf(t, "\n");
		}
		textbuf_printf(t, "cpu%u longest wakeup: %s (%u)\n", cpu, c->max_name, c->max_tid);
		show_longest(t, c, cpu);
	}
}
