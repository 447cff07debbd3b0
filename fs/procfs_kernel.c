/*
 * The kernel's own files in /proc: memory, time, scheduler, interrupts, mounts, and under
 * /proc/jiffy the counters that have no place in Linux's files. Each function writes one file's
 * text when it is opened; formats are those of proc(5) where the file is Linux's.
 */
#include "fs/vfs.h"

#include "arch/api/boot.h"
#include "arch/api/ipi.h"
#include "arch/api/irq.h"
#include "debug/anywhere.h"
#include "debug/latency.h"
#include "debug/trace.h"
#include "dev/irq.h"
#include "lib/fmt.h"
#include "mm/aspace.h"
#include "mm/kmap.h"
#include "mm/large.h"
#include "mm/slab.h"
#include "mm/tlb.h"
#include "sched/sched.h"
#include "sync/lockstat.h"
#include "sync/rcu.h"
#include "time/clock.h"
#include "time/timer.h"
#include "version.h"

void (*procfs_cpuinfo_hook)(struct textbuf *t);

#define KIB(pages) ((u64)(pages) * (PAGE_SIZE / KiB))

/* ---- memory ------------------------------------------------------------------------------- */

static void show_meminfo(struct textbuf *t)
{
	struct large_stats large;
	struct frame_stats s;

	frame_stats(&s);
	large_stats(&large);
	u64 available = frame_stats_available(&s);
	const struct {
		const char *name;
		u64 pages;
	} line[] = {
		{ "MemTotal:", s.total },
		{ "MemFree:", available },
		{ "MemAvailable:", available },
		{ "Buffers:", 0 }, /* there is no block device to buffer */
		{ "Cached:", s.used[FRAME_FILE] },
		{ "SwapCached:", 0 },
		{ "SwapTotal:", 0 },
		{ "SwapFree:", 0 },
		{ "AnonPages:", s.used[FRAME_ANON] },
		{ "AnonHugePages:", large.in_use * LARGE_PAGES },
		{ "Shmem:", s.used[FRAME_FILE] },
		{ "Slab:", s.used[FRAME_SLAB] },
		{ "SReclaimable:", 0 },
		{ "SUnreclaim:", s.used[FRAME_SLAB] },
		{ "PageTables:", s.used[FRAME_TABLE] },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(line); i++)
		textbuf_printf(t, "%-15s %8lu kB\n", line[i].name, KIB(line[i].pages));
}

static void show_frames(struct textbuf *t)
{
	static const char *const name[FRAME_TYPES] = {
		"reserved", "free", "cached", "kernel", "slab", "table", "anon", "file",
	};
	struct frame_stats s;

	frame_stats(&s);
	textbuf_printf(t, "total %lu\nfree %lu\ncached %lu\n", s.total, s.free, s.cached);
	for (unsigned i = 0; i < FRAME_TYPES; i++) {
		if (i != FRAME_FREE && i != FRAME_CACHED)
			textbuf_printf(t, "%s %lu\n", name[i] ? name[i] : "other", s.used[i]);
	}
	textbuf_printf(t, "allocs %lu\nfrees %lu\n", s.allocs, s.frees);
}

static void show_slab(struct textbuf *t)
{
	struct slab_stats s;

	textbuf_printf(t, "%-16s %6s %9s %9s %7s\n", "name", "size", "in_use", "total", "frames");
	for (unsigned i = 0; slab_stats(i, &s); i++)
		textbuf_printf(t, "%-16s %6u %9lu %9lu %7lu\n", s.name, s.size, s.in_use, s.total,
			       s.frames);
}

static void show_tlb(struct textbuf *t)
{
	struct tlb_stats s;

	tlb_stats(&s);
	textbuf_printf(t, "page %lu\nrange %lu\nspace %lu\nall %lu\navoided %lu\n", s.page, s.range,
		       s.space, s.all, s.avoided);
	textbuf_printf(t, "cr3_loads %lu\ncr3_skipped %lu\n", s.cr3_loads, s.cr3_skipped);
	textbuf_printf(t,
		       "alone %lu\nrounds %lu\nmessages %lu\nlazy_skipped %lu\nlazy_behind %lu\n",
		       s.alone, s.rounds, s.messages, s.lazy_skipped, s.lazy_behind);
}

static void show_vm(struct textbuf *t)
{
	struct large_stats large;
	struct vm_stats s;

	vm_stats(&s);
	large_stats(&large);
	textbuf_printf(t, "faults %lu\nminor_faults %lu\nzero_page_faults %lu\n", s.faults,
		       s.minor_faults, s.zero_page_faults);
	textbuf_printf(t, "cow_copied %lu\ncow_reused %lu\nspurious %lu\n", s.cow_copied,
		       s.cow_reused, s.spurious);
	textbuf_printf(t, "tables_copied %lu\ntables_taken_back %lu\n", s.tables_copied,
		       s.tables_taken_back);
	textbuf_printf(t, "large_faults %lu\nlarge_in_use %lu\n", s.large_faults, large.in_use);
	textbuf_printf(t, "large_fallbacks %lu\nlarge_splits %lu\nmapped_around %lu\n",
		       large.fallbacks, large.splits, s.mapped_around);
}

/* As Linux's /sys/kernel/mm/transparent_hugepage/enabled. */
static void show_large_policy(struct textbuf *t)
{
	static const char *const words[] = {
		[LARGE_NEVER] = "always madvise [never]\n",
		[LARGE_MADVISE] = "always [madvise] never\n",
		[LARGE_ALWAYS] = "[always] madvise never\n",
	};

	textbuf_printf(t, "%s", words[large_policy()]);
}

static void show_kmap(struct textbuf *t)
{
	struct kmap_stats s;

	kmap_stats(&s);
	textbuf_printf(t, "pages_mapped %lu\npages_unmapped %lu\ntables %lu\n", s.pages_mapped,
		       s.pages_unmapped, s.tables);
}

/* ---- time and scheduler ------------------------------------------------------------------- */

#define NS_PER_CENT (NSEC_PER_SEC / 100)

/* Nanoseconds that CPUs were busy, by the scheduler's tick; there is none while a CPU idles. */
static u64 busy_ns(const struct sched_stats *s)
{
	return (s->ticks - s->idle_ticks) * (NSEC_PER_SEC / SCHED_HZ);
}

static u64 idle_ns(const struct sched_stats *s)
{
	u64 all = clock_ns() * nr_cpus, busy = busy_ns(s);

	return all > busy ? all - busy : 0;
}

static void show_uptime(struct textbuf *t)
{
	struct sched_stats s;
	u64 up = clock_ns(), idle;

	sched_stats(&s);
	idle = idle_ns(&s);
	textbuf_printf(t, "%lu.%02lu %lu.%02lu\n", (u64)(up / NSEC_PER_SEC),
		       (u64)(up / NS_PER_CENT % 100), (u64)(idle / NSEC_PER_SEC),
		       (u64)(idle / NS_PER_CENT % 100));
}

/*
 * The load averages of getloadavg(3): exponentially damped means of the number of runnable
 * threads, sampled every 5 s by a timer. Fixed point with 11 bits; the weights are 2048 / e^(5/60)
 * and so on.
 */
#define LOAD_PERIOD_NS (5 * NSEC_PER_SEC)
#define LOAD_ONE       2048u

static struct timer load_timer;
static u64 load_average[3]; /* written by the timer alone */

static void load_sample(struct timer *timer)
{
	static const u64 weight[3] = { 1884, 2014, 2037 };
	struct sched_stats s;

	sched_stats(&s);
	for (unsigned i = 0; i < 3; i++) {
		u64 sum = load_average[i] * weight[i] +
			  s.runnable * LOAD_ONE * (LOAD_ONE - weight[i]);

		WRITE_ONCE(load_average[i], sum / LOAD_ONE);
	}
	timer_start(timer, clock_ns() + LOAD_PERIOD_NS);
}

void procfs_load_averages(u64 loads[3])
{
	for (unsigned i = 0; i < 3; i++)
		loads[i] = READ_ONCE(load_average[i]) * (65536 / LOAD_ONE);
}

struct last_tid {
	u32 tid;
};

static int find_last_tid(struct thread *thread, void *arg)
{
	struct last_tid *last = arg;

	if (thread->tid < THREAD_TID_KERNEL)
		last->tid = MAX(last->tid, thread->tid);
	return 0;
}

static void show_loadavg(struct textbuf *t)
{
	struct last_tid last = { 0 };
	struct sched_stats s;

	sched_stats(&s);
	thread_for_each(find_last_tid, &last);
	for (unsigned i = 0; i < 3; i++) {
		u64 v = READ_ONCE(load_average[i]) + LOAD_ONE / 200;

		textbuf_printf(t, "%lu.%02lu ", v / LOAD_ONE, v % LOAD_ONE * 100 / LOAD_ONE);
	}
	textbuf_printf(t, "%u/%u %u\n", s.runnable, s.threads, last.tid);
}

struct tick_sum {
	u64 user, kernel;
};

static int add_ticks(struct thread *thread, void *arg)
{
	struct tick_sum *sum = arg;

	sum->user += thread->user_ticks;
	sum->kernel += thread->kernel_ticks;
	return 0;
}

/* What a CPU was busy is counted; how much of it in the kernel is taken from the share of all. */
static void show_stat_cpu(struct textbuf *t, u32 cpu, u64 all_busy, u64 all_system)
{
	u64 busy = sched_busy_ticks(cpu), cs = SCHED_HZ / 100;
	u64 system = all_busy ? busy * all_system / all_busy : 0;
	u64 up = clock_ns() / NS_PER_CENT;

	textbuf_printf(t, "cpu%u %lu 0 %lu %lu 0 0 0 0 0 0\n", cpu, (busy - system) / cs,
		       system / cs, up - MIN(up, busy / cs));
}

/*
 * The time of threads that are gone counts as user time. In hundredths of a second: user, nice,
 * system, idle.
 */
static void show_stat(struct textbuf *t)
{
	struct tick_sum sum = { 0 };
	struct sched_stats s;
	u64 cs = SCHED_HZ / 100, busy, system, boot;

	sched_stats(&s);
	thread_for_each(add_ticks, &sum);
	busy = s.ticks - s.idle_ticks;
	system = MIN(sum.kernel, busy);
	boot = (clock_realtime_ns() - clock_ns()) / NSEC_PER_SEC;
	textbuf_printf(t, "cpu  %lu 0 %lu %lu 0 0 0 0 0 0\n", (busy - system) / cs, system / cs,
		       idle_ns(&s) / NS_PER_CENT);
	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		show_stat_cpu(t, cpu, busy, system);
	textbuf_printf(t, "intr %lu\nctxt %lu\nbtime %lu\nprocs_running %u\nprocs_blocked 0\n",
		       timer_interrupts(), s.switches, boot, s.runnable);
}

static void show_sched(struct textbuf *t)
{
	struct sched_stats s;

	sched_stats(&s);
	textbuf_printf(t, "switches %lu\npreemptions %lu\nticks %lu\nidle_ticks %lu\n", s.switches,
		       s.preemptions, s.ticks, s.idle_ticks);
	textbuf_printf(t, "wakeups %lu\nrunnable %u\nthreads %u\ntimer_interrupts %lu\n", s.wakeups,
		       s.runnable, s.threads, timer_interrupts());
	textbuf_printf(t, "clock_source %s\nclock_event %s\nclock_watch_failures %lu\n",
		       clock_source_name(), clock_event_name(), clock_watch_failures());
}

/* ---- machine ------------------------------------------------------------------------------ */

static void show_interrupts(struct textbuf *t)
{
	struct irq_spurious spurious;

	textbuf_printf(t, "%20s\n", "CPU0");
	for (unsigned line = 0; line < IRQ_LINES; line++) {
		const char *name = irq_name(line);

		if (name)
			textbuf_printf(t, "%4u: %12lu %12s %s\n", line, irq_count(line),
				       irq_arch_name(), name);
		if (irq_unhandled(line))
			textbuf_printf(t, "%4u: %12lu unhandled\n", line, irq_unhandled(line));
	}
	irq_arch_spurious(&spurious);
	for (u32 cpu = 0; cpu < nr_cpus && nr_cpus > 1; cpu++) {
		const struct ipi_counts *c = per_cpu_ptr(&ipi_counts, cpu);

		textbuf_printf(t, " RES: %12lu CPU %u, reschedule\n CAL: %12lu CPU %u, calls\n",
			       READ_ONCE(c->reschedule_taken), cpu, READ_ONCE(c->call_taken), cpu);
	}
	textbuf_printf(t, " LOC: %12lu clock event %s\n", timer_interrupts(), clock_event_name());
	textbuf_printf(t, " SPU: %12lu spurious (IRQ7 %lu, IRQ15 %lu, LAPIC %lu)\n",
		       spurious.irq7 + spurious.irq15 + spurious.lapic, spurious.irq7,
		       spurious.irq15, spurious.lapic);
}

/* What CPUs told each other. A sender's counts are its own, so the sums of sent and taken agree. */
static void show_smp(struct textbuf *t)
{
	struct rcu_stats rcu;

	textbuf_printf(t, "cpus %u\n", nr_cpus);
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		const struct ipi_counts *c = per_cpu_ptr(&ipi_counts, cpu);

		textbuf_printf(t, "cpu%u reschedule_sent %lu reschedule_taken %lu", cpu,
			       READ_ONCE(c->reschedule_sent), READ_ONCE(c->reschedule_taken));
		textbuf_printf(t, " call_sent %lu call_taken %lu\n", READ_ONCE(c->call_sent),
			       READ_ONCE(c->call_taken));
	}
	rcu_stats(&rcu);
	textbuf_printf(t, "rcu_queued %lu\nrcu_done %lu\nrcu_periods %lu\n", rcu.queued, rcu.done,
		       rcu.periods);
}

/* Waits for locks, by class: name, how often, how long (looks at the lock). */
static void show_locks(struct textbuf *t)
{
	for (u32 class = 0; class < LOCK_CLASSES; class ++) {
		const char *name = lock_class_name(class);
		struct lock_stats s;

		lock_stats_sum(class, &s);
		textbuf_printf(t, "contended %s %lu\nlooks %s %lu\n", name, s.contended, name,
			       s.looks);
		if (class == LOCK_MUTEX)
			textbuf_printf(t, "slept %s %lu\n", name, s.slept);
		if (s.acquired) /* debug builds */
			textbuf_printf(t, "acquired %s %lu\n", name, s.acquired);
	}
}

static void show_version(struct textbuf *t)
{
	textbuf_printf(t, "Linux version 6.1.0-jiffy (Jiffy %s) (%s) #1\n", JIFFY_COMMIT,
		       __VERSION__);
}

static void show_cpuinfo(struct textbuf *t)
{
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		textbuf_printf(t, "processor\t: %u\n", cpu);
		if (procfs_cpuinfo_hook)
			procfs_cpuinfo_hook(t);
		textbuf_printf(t, "\n");
	}
}

static void show_cmdline(struct textbuf *t)
{
	textbuf_printf(t, "%s\n", boot_info.cmdline);
}

static void show_filesystems(struct textbuf *t)
{
	textbuf_printf(t, "nodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tpipefs\n");
}

static void show_mount(struct super *sb, void *arg)
{
	struct dentry *at = READ_ONCE(sb->mountpoint);
	char path[256], *p = path;
	bool unreachable, deleted;

	if (at)
		p = dentry_path(at, NULL, path, sizeof(path), &unreachable, &deleted);
	else
		path[0] = '/', path[1] = 0;
	if (IS_ERR(p))
		return;
	textbuf_printf(arg, "%s %s %s %s%s%s%s 0 0\n", sb->source, p, sb->type,
		       sb->flags & LINUX_MS_RDONLY ? "ro" : "rw",
		       sb->flags & LINUX_MS_NOSUID ? ",nosuid" : "",
		       sb->flags & LINUX_MS_NODEV ? ",nodev" : "",
		       sb->flags & LINUX_MS_NOEXEC ? ",noexec" : "");
}

static void show_mounts(struct textbuf *t)
{
	mounts_for_each(show_mount, t);
}

/* There is one name space of mounts: every process sees the same. */
static int show_pid_mounts(int pid, struct textbuf *t)
{
	show_mounts(t);
	return 0;
}

void procfs_add_kernel_files(void)
{
	static const struct procfs_pid_file pid_files[] = {
		{ "mounts", S_IFREG | 0444, .show = show_pid_mounts },
	};
	static const struct {
		const char *path;
		void (*show)(struct textbuf *t);
	} file[] = {
		{ "meminfo", show_meminfo },
		{ "uptime", show_uptime },
		{ "version", show_version },
		{ "loadavg", show_loadavg },
		{ "stat", show_stat },
		{ "cpuinfo", show_cpuinfo },
		{ "mounts", show_mounts },
		{ "filesystems", show_filesystems },
		{ "interrupts", show_interrupts },
		{ "cmdline", show_cmdline },
		{ "jiffy/frames", show_frames },
		{ "jiffy/slab", show_slab },
		{ "jiffy/tlb", show_tlb },
		{ "jiffy/smp", show_smp },
		{ "jiffy/locks", show_locks },
		{ "jiffy/vm", show_vm },
		{ "jiffy/transparent_hugepage", show_large_policy },
		{ "jiffy/sched", show_sched },
		{ "jiffy/kmap", show_kmap },
		{ "jiffy/trace", trace_show },
		{ "jiffy/latency", latency_show },
		{ "jiffy/anywhere", anywhere_show },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(file); i++)
		kassert_eq(procfs_add_file(file[i].path, file[i].show), 0);
	procfs_set_writer("jiffy/latency", latency_control);
	procfs_set_writer("jiffy/anywhere", anywhere_control);
	procfs_set_common_pid_files(pid_files, ARRAY_SIZE(pid_files));
	timer_init(&load_timer, load_sample);
	timer_start(&load_timer, clock_ns() + LOAD_PERIOD_NS);
}
