/*
 * The audit of the queues (proc/audit.c stops the machine for it): each thread that says it is in a
 * queue is counted there, and no other; the bitmaps name the levels that have threads; no queue is
 * locked, and no lock is held that debug builds know of.
 */
#include "lib/audit.h"
#include "sched/rq.h"
#include "sched/thread.h"

/* One audit at a time: who starts it sees to that. */
static struct {
	struct audit *a;
	u32 queued[NR_CPUS];
	u32 fair[NR_CPUS];
	u32 threads;
} found;

static int count_thread(struct thread *t, void *arg)
{
	struct audit *a = found.a;

	found.threads++;
	audit_equal(a, t->on_rq == MOVING, false, "thread %u: on its way to a CPU", t->tid);
	audit_equal(a, t->cpu < nr_cpus, true, "thread %u: its CPU is there", t->tid);
	if (t->on_rq != ON_RQ || t->cpu >= nr_cpus)
		return 0;
	found.queued[t->cpu]++;
	found.fair[t->cpu] += t->level == SCHED_LEVEL_NORMAL;
	audit_equal(a, t->state == T_DEAD, false, "thread %u: dead in a queue", t->tid);
	audit_equal(a, t->bound, cpuset_is_one(&t->affinity), "thread %u is bound", t->tid);
	audit_equal(a, cpuset_has(&t->affinity, t->cpu), true, "thread %u: may be on CPU %u",
		    t->tid, t->cpu);
	return 0;
}

static u32 ring_length(const struct thread *first)
{
	const struct thread *t = first;
	u32 n = 0;

	do {
		n++;
		t = t->ring_next;
	} while (t != first);
	return n;
}

static void audit_queue(struct audit *a, struct rq *rq)
{
	u32 cpu = rq->cpu, in_rings = 0;

	audit_equal(a, spin_is_locked(&rq->lock), false, "queue %u is locked", cpu);
	for (u32 level = 1; level < SCHED_LEVELS; level++) {
		bool bit = rq->bitmap[level / 64] >> (level % 64) & 1;

		if (level == SLOT_FAIR)
			audit_equal(a, bit, rq->fair.nr != 0, "queue %u: bit of the fair queue",
				    cpu);
		else if (bit)
			in_rings += ring_length(rq->first[level]);
	}
	audit_equal(a, rq->fair.nr, found.fair[cpu], "queue %u: threads in the fair queue", cpu);
	audit_equal(a, rq->runnable, in_rings + rq->fair.nr, "queue %u: threads in it", cpu);
	audit_equal(a, rq->runnable, found.queued[cpu], "queue %u: threads that say so", cpu);
#ifdef CONFIG_DEBUG
	audit_equal(a, lockcheck_held(cpu), 0, "CPU %u: spin locks held", cpu);
#endif
}

void sched_audit(struct audit *a)
{
	struct sched_stats s;

	found = (typeof(found)){ .a = a };
	sched_stats(&s);
	thread_for_each(count_thread, NULL);
	audit_equal(a, found.threads, s.threads, "threads");
	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		audit_queue(a, per_cpu_ptr(&runqueue, cpu));
}
