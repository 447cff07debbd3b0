/*
 * Watchdogs.
 *
 *	a CPU takes no interrupt	its neighbour, once a second: its `beat` stands still
 *	a thread keeps its CPU		its own timer interrupt: no interrupt has found it preemptible for
 *					as long, the ticks of a thousandth included
 *	a spin lock does not come	who waits for it (sync/spinlock.c)
 *	a CPU does not answer a call	who waits for the answer (arch/x86/ipi.c)
 *	mutexes in a circle		who would close it (sched/mutex.c)
 *
 * The report names what is stuck and adds the backtraces of all CPUs, got by NMI: so the CPU that
 * runs with interrupts off shows where. Handlers of NMIs only collect, into memory of their own CPU;
 * whoever asked prints. The machine goes on, unless the option watchdog.panic is given.
 */
#include "debug/watchdog.h"

#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "arch/api/preempt.h"
#include "arch/api/regs.h"
#include "arch/api/upcall.h"
#include "debug/backtrace.h"
#include "debug/panic.h"
#include "lib/atomic.h"
#include "lib/cmdline.h"
#include "lib/fmt.h"
#include "lib/klog.h"

CMDLINE_OPTION("watchdog", watchdog_option,
	       "SECONDS until something counts as stuck (10; 0: never)");
CMDLINE_OPTION("watchdog.panic", panic_option, "a report of a watchdog ends the machine");

#define DEFAULT_SECONDS 10
#define TRACE_MAX       24
#define ANSWER_SPINS    20000000u

enum { TRACE_NONE, TRACE_WANTED, TRACE_DONE };

struct cpu_trace {
	u32 state; /* [a] */
	u32 n;     /* [o] until DONE */
	bool user;
	u64 pc;
	u64 pcs[TRACE_MAX];
	char thread[32];
};
static DEFINE_PER_CPU(struct cpu_trace, cpu_trace);

/* What the watchdog knows of a CPU. */
struct cpu_beat {
	u64 beat;           /* [o] seconds of the clock at its last check */
	u64 reported;       /* [checker] the beat that was reported */
	u64 since, moments; /* [o] since when the count of moments has been that */
	bool complained;    /* [o] */
};
static DEFINE_PER_CPU(struct cpu_beat, cpu_beat);

u64 watchdog_seconds(void)
{
	static u64 seconds = UINT64_MAX;

	if (seconds == UINT64_MAX)
		seconds = cmdline_u64(&watchdog_option, DEFAULT_SECONDS);
	return seconds;
}

/* ---- NMIs ---- */

static __noreturn void stop(void)
{
	for (;;)
		cpu_stop();
}

void nmi_interrupt(const struct regs *r)
{
	struct cpu_trace *t = this_cpu_ptr(&cpu_trace);

	if (load_acquire(&t->state) == TRACE_WANTED) {
		t->pc = regs_pc(r);
		t->user = regs_from_user(r);
		t->n = t->user ? 0 : backtrace_collect(regs_frame_pointer(r), t->pcs, TRACE_MAX);
		t->thread[0] = 0;
		if (panic_describe_thread)
			panic_describe_thread(t->thread, sizeof(t->thread));
		store_release(&t->state, TRACE_DONE);
	}
	if (panic_in_progress() && !panic_is_mine())
		stop();
}

static void log_trace(u32 cpu, const struct cpu_trace *t)
{
	klog(KLOG_ERR, "CPU %u, %s, %s:\n", cpu, t->thread,
	     t->user ? "in user mode" : "in the kernel");
	if (t->user)
		klog(KLOG_ERR, "  %016lx\n", t->pc);
	else
		backtrace_log_list(t->pc, t->pcs, t->n);
}

void backtrace_all(void)
{
	static atomic_t busy;
	u32 free = 0;

	if (nr_cpus == 1 || !atomic_cas(&busy, &free, 1u))
		return; /* the others' backtraces are on their way already */
	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		store_release(&per_cpu_ptr(&cpu_trace, cpu)->state, TRACE_WANTED);
	bool sent = ipi_nmi_others();

	for (u32 cpu = 0; cpu < nr_cpus && sent; cpu++) {
		struct cpu_trace *t = per_cpu_ptr(&cpu_trace, cpu);
		u32 spins = 0;

		if (cpu == cpu_id())
			continue;
		while (load_acquire(&t->state) != TRACE_DONE && ++spins < ANSWER_SPINS)
			barrier();
		if (load_acquire(&t->state) == TRACE_DONE)
			log_trace(cpu, t);
		else
			klog(KLOG_ERR, "CPU %u does not answer an NMI: dead\n", cpu);
	}
	atomic_store_release(&busy, 0u);
}

/* ---- reports ---- */

void watchdog_report(const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	klog(KLOG_ERR, "watchdog: %s\n", text);
	backtrace_here();
	backtrace_all();
	if (panic_option.value)
		panic("watchdog: %s", text);
}

void cpu_does_not_answer(u32 cpu, u64 seconds, void (*fn)(void *arg))
{
	char name[80];

	if (!watchdog_seconds() || seconds % watchdog_seconds() != 0)
		return;
	symbol_format(name, sizeof(name), (u64)fn);
	watchdog_report("CPU %u has waited %lu s for CPU %u to call %s", cpu_id(), seconds, cpu,
			name);
	if (seconds >= 6 * watchdog_seconds())
		panic("CPU %u has not answered CPU %u for %lu s", cpu, cpu_id(), seconds);
}

/* ---- once a second ---- */

/* The next CPU that has begun to beat. */
static void check_neighbour(u64 now)
{
	u32 cpu = cpu_id() + 1 < nr_cpus ? cpu_id() + 1 : 0;
	struct cpu_beat *b = per_cpu_ptr(&cpu_beat, cpu);
	u64 beat = READ_ONCE(b->beat);

	if (cpu == cpu_id() || beat == 0 || now < beat + watchdog_seconds() || b->reported == beat)
		return;
	b->reported = beat;
	watchdog_report("CPU %u has taken no timer interrupt for %lu s", cpu, now - beat);
}

/* Has this CPU's thread kept it all the time? */
static void check_self(struct cpu_beat *b, u64 now, u64 moments)
{
	const struct regs *r = this_cpu_read(irq_regs);

	if (moments != b->moments || preempt_count() == 1) {
		b->since = now;
		b->moments = moments;
		b->complained = false;
		return;
	}
	if (b->complained || now < b->since + watchdog_seconds())
		return;
	b->complained = true;
	char name[32] = "";
	if (panic_describe_thread)
		panic_describe_thread(name, sizeof(name));
	klog(KLOG_ERR, "watchdog: it runs here:\n");
	if (r)
		backtrace_log(regs_pc(r), regs_frame_pointer(r));
	watchdog_report("thread %s has not let go of CPU %u for %lu s (preemption count %u)", name,
			cpu_id(), now - b->since, preempt_count() - 1);
}

void watchdog_check(u64 now, u64 moments)
{
	struct cpu_beat *b = this_cpu_ptr(&cpu_beat);

	WRITE_ONCE(b->beat, now + 1); /* never 0 */
	if (!watchdog_seconds())
		return;
	check_self(b, now, moments);
	check_neighbour(now);
}
