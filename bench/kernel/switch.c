/*
 * bench=switch: the context switch between kernel threads, from one thread's call of sched_yield to
 * the other's return, with the queue's pick and accounting. Run on the test kernel, which is the
 * shipped kernel with this file linked in.
 *
 * Each sample is one switch: the thread that leaves takes a time stamp, the one that arrives takes
 * another. Nothing is subtracted; the controls show what the stamps and a yield without a partner
 * cost by themselves. The scheduler's switch counter and the counter of CR3 loads, read before and
 * after, must have advanced by exactly the number claimed, else the figures are not printed.
 *
 * Output on the log: "bench: name<TAB>value<TAB>unit", read by bench/run.
 */
#include "arch/api/cpu.h"
#include "init/ktest.h"
#include "lib/fmt.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/tlb.h"
#include "sched/sched.h"
#include "time/clock.h"

#define SAMPLES 100000u
#define BENCH_LEVEL                                                                                \
	SCHED_LEVEL_KERNEL /* FIFO, above the fair ones; real-time levels are throttled */

static u32 *samples; /* SAMPLES of them, from one block of frames */
static u32 taken;
static u64 left_at;

static void report(const char *name, u64 value, const char *unit)
{
	log_info("bench: %s\t%lu\t%s\n", name, value, unit);
}

/* In-place heap sort: no memory, no recursion. */
static void sift_down(u32 *a, u32 at, u32 n)
{
	for (;;) {
		u32 child = 2 * at + 1;

		if (child >= n)
			return;
		if (child + 1 < n && a[child + 1] > a[child])
			child++;
		if (a[at] >= a[child])
			return;
		u32 t = a[at];
		a[at] = a[child];
		a[child] = t;
		at = child;
	}
}

static void sort(u32 *a, u32 n)
{
	for (u32 i = n / 2; i-- > 0;)
		sift_down(a, i, n);
	for (u32 end = n; end-- > 1;) {
		u32 t = a[0];

		a[0] = a[end];
		a[end] = t;
		sift_down(a, 0, end);
	}
}

static void report_samples(const char *prefix, const char *unit)
{
	static const struct {
		const char *name;
		u32 per_mille;
	} quantile[] = { { "min", 0 }, { "median", 500 }, { "p99", 990 }, { "max", 1000 } };
	char name[64];

	sort(samples, taken);
	for (u32 i = 0; i < ARRAY_SIZE(quantile); i++) {
		u32 at = (u32)((u64)(taken - 1) * quantile[i].per_mille / 1000);

		ksnprintf(name, sizeof(name), "%s.%s", prefix, quantile[i].name);
		report(name, samples[at], unit);
	}
}

struct partner {
	bool own_space;
	bool fair; /* SCHED_OTHER, nice 0; else FIFO */
	bool sampled;
	u32 yields;
};

static struct aspace *enter_space(void)
{
	struct aspace *as = aspace_create();

	if (!as || ctx_user_create(&current()->arch))
		panic("bench: no memory for an address space");
	thread_set_aspace(as);
	return as;
}

struct counts {
	u64 switches, forced, cr3_loads, cycles;
};

static void read_counts(struct counts *c)
{
	struct sched_stats s;
	struct tlb_stats t;

	sched_stats(&s);
	tlb_stats(&t);
	*c = (struct counts){ s.switches, s.preemptions, t.cr3_loads, cpu_cycles() };
}

static struct counts begin_counts, end_counts;

static void yield_loop(u32 yields)
{
	for (u32 i = 0; i < yields; i++)
		sched_yield();
}

/* Nothing but the call between the two stamps. */
static void sampled_yield_loop(u32 yields)
{
	for (u32 i = 0; i < yields; i++) {
		left_at = cpu_cycles();
		sched_yield();
		u64 now = cpu_cycles();

		if (taken < SAMPLES)
			samples[taken++] = (u32)(now - left_at);
	}
}

/*
 * Both partners yield as often: 2 * yields switches in the measured window, which the first opens
 * before its first yield and closes behind its last.
 */
static int run_partner(struct partner *p, bool first)
{
	struct aspace *as = p->own_space ? enter_space() : NULL;

	sched_yield(); /* both are there before the count starts */
	if (first)
		read_counts(&begin_counts);
	if (p->sampled)
		sampled_yield_loop(p->yields);
	else
		yield_loop(p->yields);
	if (first)
		read_counts(&end_counts);
	if (as) {
		thread_set_aspace(NULL);
		aspace_put(as);
	}
	return 0;
}

static int first_partner(void *arg)
{
	return run_partner(arg, true);
}

static int second_partner(void *arg)
{
	return run_partner(arg, false);
}

/* False, with a line on the log, if something else than what is claimed happened. */
static bool run_pair(bool own_space, bool fair, bool sampled, u32 yields)
{
	struct partner p = { own_space, fair, sampled, yields };
	struct thread *a, *b;
	struct counts start;

	taken = 0;
	preempt_disable();
	read_counts(&start);
	a = thread_create("bench-a", first_partner, &p, BENCH_LEVEL);
	b = thread_create("bench-b", second_partner, &p, BENCH_LEVEL);
	if (!a || !b)
		panic("bench: no memory for threads");
	if (fair) {
		sched_set_level(a, SCHED_LEVEL_NORMAL, false);
		sched_set_level(b, SCHED_LEVEL_NORMAL, false);
	} else {
		sched_set_level(a, BENCH_LEVEL, true);
		sched_set_level(b, BENCH_LEVEL, true);
	}
	preempt_enable();
	thread_join(a);
	thread_join(b);

	/*
	 * Exact, but between fair threads: a request may end, which makes a switch more that the tick
	 * forces, and shifts by one who gives way to whom. So it is also before the window: then the second partner
	 * is done, and the thread that waits for both wakes, while the first one still counts.
	 */
	u64 forced = end_counts.forced - begin_counts.forced;
	u64 switches = end_counts.switches - begin_counts.switches - forced;
	u64 loads = end_counts.cr3_loads - begin_counts.cr3_loads;
	u64 want_loads = own_space ? 2ul * yields : 0,
	    slack = fair ? end_counts.forced - start.forced : 0;
	if (switches + slack >= 2ul * yields && switches <= 2ul * yields + slack &&
	    loads == want_loads)
		return true;
	log_err("bench: not counted: %lu switches (want %lu), %lu CR3 loads (want %lu)\n", switches,
		2ul * yields, loads, want_loads);
	return false;
}

static bool bench_pair(const char *prefix, bool own_space, bool fair, const char *unit)
{
	char name[64];

	if (!run_pair(own_space, fair, false, SAMPLES / 2))
		return false;
	ksnprintf(name, sizeof(name), "%s.mean", prefix);
	report(name, (end_counts.cycles - begin_counts.cycles) / SAMPLES, unit);
	if (!run_pair(own_space, fair, true, SAMPLES / 2))
		return false;
	report_samples(prefix, unit);
	ksnprintf(name, sizeof(name), "%s.count", prefix);
	report(name, end_counts.switches - begin_counts.switches, "switches");
	ksnprintf(name, sizeof(name), "%s.cr3_loads", prefix);
	report(name, end_counts.cr3_loads - begin_counts.cr3_loads, "loads");
	return true;
}

static void bench_controls(const char *unit)
{
	taken = 0;
	while (taken < SAMPLES) {
		left_at = cpu_cycles();
		barrier();
		samples[taken++] = (u32)(cpu_cycles() - left_at);
	}
	report_samples("control.stamps", unit);

	struct counts before, after;
	sched_set_level(current(), BENCH_LEVEL, true);
	read_counts(&before);
	taken = 0;
	sampled_yield_loop(SAMPLES);
	read_counts(&after);
	sched_set_level(current(), SCHED_LEVEL_NORMAL, false);
	report_samples("control.yield_alone", unit);
	report("control.yield_alone.count", after.switches - before.switches, "switches");
}

KTEST_CRASH(bench_switch)
{
	struct frame *f = frame_alloc_order(7, FRAME_KERNEL, FRAME_ZERO);
	const char *unit = "ticks";

	_Static_assert(SAMPLES * sizeof(u32) <= (PAGE_SIZE << 7), "the samples' block");
	if (!f)
		panic("bench: no memory for the samples");
	samples = frame_virt(f);
	report("tsc_hz", clock_tsc_hz(), "Hz");
	bench_controls(unit);
	bool ok = bench_pair("kthread", false, false, unit) &&
		  bench_pair("kthread_fair", false, true, unit) &&
		  bench_pair("kthread_space", true, false, unit);
	log_info("jiffy: bench %s\n", ok ? "complete" : "failed");
	machine_end(ok ? MACHINE_POWEROFF : MACHINE_PANIC);
}
