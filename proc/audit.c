/*
 * /proc/jiffy/audit: the machine stands still while every count is held against another one.
 * /proc/jiffy/objects: what there is of each kind, to be compared with what there was before.
 *
 * Standing still: the reader, with interrupts off, asks all other CPUs to come to park(). When all
 * are there, the first of them runs the audits, and lets all go. Counts of a CPU are only right between
 * its own operations: so each must have been interrupted where it might have been preempted, and no thread may have
 * been preempted while it held a mutex (debug builds know), else nobody looks, and the reader tries again. Address spaces are walked (mm/audit.c, which panics on
 * what is wrong) only if no other program's thread is in the middle of something.
 */
#include "proc/internal.h"

#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "fs/file.h"
#include "lib/audit.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/kstack.h"
#include "mm/large.h"
#include "mm/slab.h"
#include "sched/mutex.h"
#include "sched/sched.h"
#include "sync/rcu.h"
#include "time/clock.h"

#define TRIES 100

static struct mutex audit_mutex = MUTEX_INIT(audit_mutex);

/* [audit_mutex] One audit; the CPUs that are parked see it through the message. */
static struct {
	struct thread *reader;
	u32 leader, wanted;
	atomic_t arrived;
	bool busy, done; /* [a] */
	u64 slots;       /* of page tables; 0: not walked */
	struct audit audit;
} run;

/* ---- processes ----------------------------------------------------------------------------------- */

struct tree {
	u32 processes, zombies, threads;
};

static void count_tree(struct audit *a, struct tree *t)
{
	for (struct process *p = process_next(0); p; p = process_next(p->nr)) {
		struct task *task;
		u32 n = 0;

		list_for_each(task, &p->threads, node)
			n++;
		audit_equal(a, n, p->nr_threads, "process %u: threads", p->nr);
		audit_equal(a, p->zombie && p->nr_threads, false,
			    "process %u: a zombie with threads", p->nr);
		audit_equal(a, spin_is_locked(&p->sig_lock), false, "process %u: its lock is held",
			    p->nr);
		t->processes++;
		t->zombies += p->zombie;
		t->threads += n;
	}
}

static int count_program_thread(struct thread *t, void *arg)
{
	*(u32 *)arg += t->signals != NULL;
	return 0;
}

static u64 slab_in_use(const char *name)
{
	struct slab_stats s;

	for (unsigned i = 0; slab_stats(i, &s); i++)
		if (!strcmp(s.name, name))
			return s.in_use;
	return 0;
}

static void proc_audit(struct audit *a)
{
	struct tree tree = { 0 };
	struct sched_stats s;
	u32 program_threads = 0;

	count_tree(a, &tree);
	sched_stats(&s);
	thread_for_each(count_program_thread, &program_threads);
	audit_equal(a, proc_is_locked(), false, "proc_lock is held");
	audit_equal(a, tree.processes, process_count(), "processes in the tree");
	audit_equal(a, slab_in_use("process"), tree.processes, "objects of processes");
	audit_equal(a, program_threads, tree.threads, "threads of processes");
	audit_equal(a, slab_in_use("task"), tree.threads, "objects of tasks");
	/* The first CPU's idle thread is not an object; the others' are in no list. */
	audit_equal(a, slab_in_use("thread"), s.threads + nr_cpus - 1, "objects of threads");
}

/* ---- standing still -------------------------------------------------------------------------------- */

/* A program's thread, not the reader, that is in the middle of something. */
static int is_active(struct thread *t, void *arg)
{
	return t->as && t != run.reader && t->on_rq != OFF_RQ;
}

static int holds_mutex(struct thread *t, void *arg)
{
	return t != run.reader && t->on_rq != OFF_RQ && mutex_is_held_by(t);
}

static void audit_all(void)
{
	if (thread_for_each(holds_mutex, NULL)) {
		run.busy = true;
		return;
	}
	mm_audit(&run.audit);
	sched_audit(&run.audit);
	proc_audit(&run.audit);
	if (!thread_for_each(is_active, NULL))
		run.slots = aspace_audit();
}

static void park(void *arg)
{
	if (!this_cpu_read(irq_regs) || preempt_count() != 1)
		WRITE_ONCE(run.busy, true);
	atomic_add_fetch(&run.arrived, 1u);
	while (atomic_load(&run.arrived) != run.wanted)
		cpu_relax();
	if (cpu_id() == run.leader) {
		if (!READ_ONCE(run.busy))
			audit_all();
		store_release(&run.done, true);
	}
	while (!load_acquire(&run.done))
		cpu_relax();
}

/* False: a CPU, or a thread, was in the middle of something. */
static bool try_audit(void)
{
	u64 flags = irq_save();

	memset(&run, 0, sizeof(run));
	run.reader = current();
	run.leader = cpu_id() == 0;
	run.wanted = nr_cpus - 1;
	if (nr_cpus == 1)
		audit_all();
	else
		ipi_call_mask(NULL, park, NULL);
	irq_restore(flags);
	return !run.busy;
}

static void show_audit(struct textbuf *t)
{
	const struct audit *a = &run.audit;
	bool done = false;

	rcu_barrier();
	mutex_lock(&audit_mutex);
	for (u32 i = 0; i < TRIES && !(done = try_audit()); i++)
		sched_sleep_until(clock_ns() + NSEC_PER_MSEC);
	if (done) {
		for (u32 i = 0; i < MIN(a->failed, (u32)AUDIT_FINDINGS); i++)
			textbuf_printf(t, "%s: %lu, not %lu\n", a->finding[i].what,
				       a->finding[i].got, a->finding[i].want);
		textbuf_printf(t, "slots %lu\nchecks %u\nfailed %u\n", run.slots, a->checks,
			       a->failed);
	} else {
		textbuf_printf(t, "busy\n");
	}
	mutex_unlock(&audit_mutex);
}

/* ---- what there is ----------------------------------------------------------------------------------- */

static void show_objects(struct textbuf *t)
{
	static const struct {
		const char *name;
		enum frame_type type;
	} types[] = { { "kernel", FRAME_KERNEL }, { "anon", FRAME_ANON }, { "file", FRAME_FILE } };
	struct frame_stats frames;
	struct large_stats large;
	struct sched_stats sched;
	struct kmap_stats kmap;
	struct rcu_stats rcu;
	struct slab_stats s;

	rcu_barrier();
	kstack_drain(); /* how many are kept is chance */
	frame_stats(&frames);
	sched_stats(&sched);
	large_stats(&large);
	kmap_stats(&kmap);
	rcu_stats(&rcu);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		textbuf_printf(t, "frames-%s %lu\n", types[i].name, frames.used[types[i].type]);
	/* The kernel keeps its own tables: where many stacks once were. Those of the boot are no such frames. */
	textbuf_printf(t, "frames-table %ld\n", (s64)(frames.used[FRAME_TABLE] - kmap.tables));
	textbuf_printf(t, "threads %u\nprocesses %u\nlarge-pages %lu\n", sched.threads,
		       process_count(), large.in_use);
	textbuf_printf(t, "pages-mapped %lu\nrcu-waiting %lu\n",
		       kmap.pages_mapped - kmap.pages_unmapped, rcu.queued - rcu.done);
	for (unsigned i = 0; slab_stats(i, &s); i++)
		textbuf_printf(t, "%s %lu\n", s.name, s.in_use);
}

void proc_audit_init(void)
{
	procfs_add_file("jiffy/audit", show_audit);
	procfs_add_file("jiffy/objects", show_objects);
}
