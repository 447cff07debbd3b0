/*
 * Interrupt anywhere: behind each instruction of the kernel that runs with interrupts on, what a timer
 * interrupt would do there is done: the timers that are due, the current thread has had its share, and if
 * preemption is allowed another thread runs. What a program sees must not change.
 *
 * A point that has been interrupted OFTEN times is passed by but for every SELDOM-th stop: or else most of
 * the time went into the loops that clear and copy pages.
 *
 * The machine steps (arch/x86/step.c). Here one byte for each byte of the kernel's text says which paths
 * have been interrupted behind the instruction before it: a bit for each enum step_path, and one
 * for "and preempted". The sums are the proof that the mode does what it says (tests/anywhere).
 */
#include "debug/anywhere.h"

#include "arch/api/cpu.h"
#include "arch/api/hook.h"
#include "arch/api/preempt.h"
#include "arch/api/upcall.h"
#include "debug/backtrace.h"
#include "debug/trace.h"
#include "lib/cmdline.h"
#include "lib/err.h"
#include "lib/fmt.h"
#include "lib/klog.h"
#include "lib/string.h"

CMDLINE_OPTION("anywhere", anywhere_option,
	       "step through the kernel when /proc/jiffy/anywhere says on");

#define PREEMPTED (1u << STEP_PATHS)
#define OFTEN     16
#define SELDOM    32

extern const char __text_start[], __text_end[];

static u8 *reached;  /* [I] NULL: not booted with the option */
static u8 *times;    /* [I] likewise: how often, up to OFTEN */
static u64 text_len; /* [I] */
static bool on;
static DEFINE_PER_CPU(u64, steps);
static DEFINE_PER_CPU(u64, steps_forced);

static const char *const path_name[STEP_PATHS] = {
	[STEP_FAULT] = "fault",   [STEP_FORK] = "fork",     [STEP_EXEC] = "exec",
	[STEP_EXIT] = "exit",     [STEP_SIGNAL] = "signal", [STEP_CALL] = "call",
	[STEP_KERNEL] = "kernel",
};

unsigned anywhere_early_init(unsigned hooks)
{
	if (!anywhere_option.count)
		return 0;
	if (hooks & HOOK_LATENCY) {
		log_warn("anywhere: not together with latency: ignored\n");
		return 0;
	}
	return HOOK_STEP;
}

void anywhere_init(void *(*alloc)(void))
{
	if (!anywhere_option.count)
		return;
	text_len = MIN((u64)(__text_end - __text_start), (u64)TRACE_CHUNK);
	times = alloc();
	reached = times ? alloc() : NULL;
	if (!reached)
		log_warn("anywhere: no memory for the map of what was reached\n");
}

void hook_step(const struct regs *r, enum step_path path)
{
	u64 at = regs_pc(r) - (u64)__text_start;
	bool preempt = preempt_count() == 1; /* our own */
	u8 bits = (u8)(1u << path | (preempt ? PREEMPTED : 0));

	if (at >= text_len || !reached)
		return;
	this_cpu_inc(steps);
	if ((reached[at] & bits) == bits && READ_ONCE(times[at]) >= OFTEN &&
	    this_cpu_read(steps) % SELDOM)
		return;
	if (times[at] < OFTEN)
		WRITE_ONCE(times[at], (u8)(times[at] + 1));
	__atomic_fetch_or(&reached[at], bits, __ATOMIC_RELAXED);
	this_cpu_inc(steps_forced);
	timer_interrupt();
	sched_provoke();
}

int anywhere_control(const char *word)
{
	if (!reached)
		return -ENOTSUP;
	if (strcmp(word, "on") != 0 && strcmp(word, "off") != 0)
		return -EINVAL;
	WRITE_ONCE(on, !strcmp(word, "on"));
	hook_step_on(on);
	return 0;
}

/* ---- what was reached ------------------------------------------------------------------------------ */

struct sums {
	u64 points, preempted, functions;
};

/* Is this the name of a function of the switch, or of what leads to it? */
static bool is_switching(const char *name)
{
	static const char *const starts[] = { "sched_", "waitq_", "mutex_", "preempt_", "thread_" };

	for (unsigned i = 0; i < ARRAY_SIZE(starts); i++)
		if (!strncmp(name, starts[i], strlen(starts[i])))
			return true;
	return false;
}

static bool is_entry(const char *name)
{
	static const char *const starts[] = { "entry_",    "syscall_done", "syscall_unknown",
					      "hook_stub", "trap_",        "syscall_again",
					      "ctx_" };

	for (unsigned i = 0; i < ARRAY_SIZE(starts); i++)
		if (!strncmp(name, starts[i], strlen(starts[i])))
			return true;
	return false;
}

static void add(struct sums *s, u8 bits, bool first)
{
	s->points++;
	s->preempted += (bits & PREEMPTED) != 0;
	s->functions += first;
}

enum { BY_SWITCH = STEP_PATHS, BY_ENTRY, BY_ALL, GROUPS };

/* The points of one function, [at, end) of the text, into the sums of its groups. */
static void add_function(struct sums *sums, u64 at, u64 end, const char *name)
{
	bool seen[GROUPS] = { false };
	bool switching = is_switching(name), entry = is_entry(name);

	for (; at < end; at++) {
		u8 bits = READ_ONCE(reached[at]);

		if (!bits)
			continue;
		for (unsigned g = 0; g < GROUPS; g++) {
			if (g < STEP_PATHS ? !(bits >> g & 1) :
			    g == BY_SWITCH ? !switching :
			    g == BY_ENTRY  ? !entry :
					     false)
				continue;
			add(&sums[g], bits, !seen[g]);
			seen[g] = true;
		}
	}
}

void anywhere_show(struct textbuf *t)
{
	struct sums sums[GROUPS] = { { 0 } };
	u64 all = 0, forced = 0;

	if (!reached) {
		textbuf_printf(t, "off: boot with the option anywhere\n");
		return;
	}
	if (READ_ONCE(on)) {
		textbuf_printf(t,
			       "on: the sums come when it is off\n"); /* else they take minutes */
		return;
	}
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		all += *per_cpu_ptr(&steps, cpu);
		forced += *per_cpu_ptr(&steps_forced, cpu);
	}
	for (u64 at = 0; at < text_len;) {
		u64 offset = 0, size = 0;
		const char *name = symbol_lookup((u64)__text_start + at, &offset, &size);
		u64 end = name && size > offset ? MIN(at + size - offset, text_len) : at + 1;

		add_function(sums, at, end, name ? name : "");
		at = end;
	}
	textbuf_printf(t, "steps %lu forced %lu\n", all, forced);
	for (unsigned g = 0; g < GROUPS; g++)
		textbuf_printf(t, "path %s points %lu preempted %lu functions %lu\n",
			       g < STEP_PATHS ? path_name[g] :
			       g == BY_SWITCH ? "switch" :
			       g == BY_ENTRY  ? "entry" :
						"all",
			       sums[g].points, sums[g].preempted, sums[g].functions);
}
