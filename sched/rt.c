/*
 * Real-time threads and several CPUs: nobody waits for a CPU while another one, which he may use, runs
 * something less urgent. docs/scheduling.md
 *
 * A thread that begins to wait in a queue (it came and does not preempt, was preempted, was given another level, or
 * was to preempt and is overtaken by somebody before the switch: call_for_second() in core.c) marks its CPU in
 * rt_waits, and asks the CPU that runs the least urgent to look: push. A CPU whose urgency falls looks by itself: pull. Looking is one thing in both cases: to take from the marked queues what
 * is more urgent than this CPU's best. Queues are locked one after the other, as ever (balance.c).
 *
 *	who waits:  in the queue; mark          |  CPU falls:  its `top` is worse
 *	            full barrier                |              full barrier
 *	            somebody's top is worse?    |              marked queues? take from them
 *
 * Whoever is second sees the other. Who is asked may have become urgent itself by the time it looks: then it asks the next
 * one for all that still wait (rq->rt_asked). rq->rt_best says what waits there at best, so that queues with
 * nothing for us are not locked; it and the mark are hints: set under the queue's lock when somebody begins to wait,
 * put right by who looks in vain. Threads that may use one CPU only do not mark.
 */
#include "arch/api/ipi.h"
#include "arch/api/preempt.h"
#include "lib/bitmap.h"
#include "sched/internal.h"
#include "sched/rq.h"

struct cpuset rt_waits;

static bool may_go_elsewhere(const struct thread *t, u32 cpu)
{
	u32 first = cpuset_next_and(&t->affinity, &t->affinity, 0);

	return first != cpu || cpuset_next_and(&t->affinity, &t->affinity, cpu + 1) < nr_cpus;
}

/* The CPU for t that runs the least urgent, if that is less urgent than t; or nr_cpus. */
static u32 find_less_urgent(const struct thread *t, u32 but)
{
	u32 best = nr_cpus, worst = t->level;

	for (u32 cpu = cpuset_next_and(&t->affinity, &t->affinity, 0); cpu < nr_cpus;
	     cpu = cpuset_next_and(&t->affinity, &t->affinity, cpu + 1)) {
		const struct rq *rq = per_cpu_ptr(&runqueue, cpu);
		u32 top = READ_ONCE(rq->top);

		if (cpu != but && top > worst && !READ_ONCE(rq->throttled)) {
			worst = top;
			best = cpu;
		}
	}
	return best;
}

/* Asks the CPU that runs the least urgent to look, if t, which waits in the queue, may go there. Lock held. */
static void ask(const struct rq *rq, const struct thread *t)
{
	u32 cpu = find_less_urgent(t, rq->cpu);

	if (cpu == nr_cpus)
		return;
	WRITE_ONCE(per_cpu_ptr(&runqueue, cpu)->rt_asked, true);
	if (cpu == cpu_id())
		set_need_resched();
	else
		ipi_reschedule(cpu);
}

/* t waits in the queue, or will when the switch under way is over. Lock held. */
void sched_rt_waits(struct rq *rq, const struct thread *t)
{
	if (!level_is_rt(t->level) || !may_go_elsewhere(t, rq->cpu))
		return;
	WRITE_ONCE(rq->rt_best, MIN(rq->rt_best, (u32)t->level));
	cpuset_add_atomic(&rt_waits, rq->cpu); /* a full barrier: see above */
	ask(rq, t);
}

/* Who waits in the queue behind t in order of urgency; t == NULL: the most urgent. Lock held. */
static struct thread *next_rt(const struct rq *rq, const struct thread *t)
{
	const struct thread *curr = rq_curr(rq);
	u32 level = t ? t->level : 0;

	for (;;) {
		struct thread *next = t ? t->ring_next : NULL;

		if (!next || next == rq->first[level]) {
			level = (u32)bitmap_next_set(rq->bitmap, SCHED_LEVELS, level + 1);
			if (!level_is_rt(level))
				return NULL;
			next = rq->first[level];
		}
		if (next != curr)
			return next;
		t = next;
	}
}

/* Takes a thread more urgent than `than` from that CPU to this one. Interrupts off. */
static void take_rt(u32 from, const struct rq *to, u32 than)
{
	struct rq *rq = per_cpu_ptr(&runqueue, from);

	preempt_disable();
	spin_acquire(&rq->lock);
	struct thread *t = next_rt(rq, NULL);
	while (t && !cpuset_has(&t->affinity, to->cpu))
		t = next_rt(rq, t);
	if (t && t->level >= than)
		t = NULL;
	if (t) {
		rq_dequeue(rq, t);
		t->on_rq = MOVING;
		store_release(&t->cpu, to->cpu);
	}
	const struct thread *left = next_rt(rq, NULL);
	while (left && !may_go_elsewhere(left, from))
		left = next_rt(rq, left);
	WRITE_ONCE(rq->rt_best, left ? left->level : SCHED_LEVELS);
	if (!left)
		cpuset_remove_atomic(&rt_waits, from);
	spin_release(&rq->lock);
	if (t)
		sched_arrive(t);
	preempt_enable_no_resched();
}

static bool has_more_urgent(u32 cpu, const struct rq *than)
{
	return cpu != than->cpu &&
	       READ_ONCE(per_cpu_ptr(&runqueue, cpu)->rt_best) < READ_ONCE(than->top);
}

/*
 * This CPU was asked, and has looked. Meanwhile it may have got something as urgent to do as those that still wait. They
 * were to come here, and may find another CPU now.
 */
static void ask_others(const struct rq *asked)
{
	for (u32 cpu = cpuset_next_and(&rt_waits, &rt_waits, 0); cpu < nr_cpus;
	     cpu = cpuset_next_and(&rt_waits, &rt_waits, cpu + 1)) {
		struct rq *rq = per_cpu_ptr(&runqueue, cpu);

		if (cpu == asked->cpu)
			continue;
		preempt_disable();
		spin_acquire(&rq->lock);
		for (const struct thread *t = next_rt(rq, NULL); t; t = next_rt(rq, t))
			if (may_go_elsewhere(t, cpu))
				ask(rq, t);
		spin_release(&rq->lock);
		preempt_enable_no_resched();
	}
}

/* This CPU looks for real-time threads that it should run. Its queue not locked; interrupts off. */
void sched_rt_pull(struct rq *rq)
{
	bool asked = READ_ONCE(rq->rt_asked) &&
		     __atomic_exchange_n(&rq->rt_asked, false, __ATOMIC_SEQ_CST);

	for (u32 cpu = cpuset_next_and(&rt_waits, &rt_waits, 0); cpu < nr_cpus;
	     cpu = cpuset_next_and(&rt_waits, &rt_waits, cpu + 1))
		if (!READ_ONCE(rq->throttled) && has_more_urgent(cpu, rq))
			take_rt(cpu, rq, READ_ONCE(rq->top));
	if (asked)
		ask_others(rq);
}

/* A real-time thread leaves the CPU; lock held. What comes next may be less urgent than who waits elsewhere:
 * then look, when the switch is over. */
void sched_rt_falls(struct rq *rq)
{
	memory_barrier(); /* `top` is out before the marks are read */
	for (u32 cpu = cpuset_next_and(&rt_waits, &rt_waits, 0); cpu < nr_cpus;
	     cpu = cpuset_next_and(&rt_waits, &rt_waits, cpu + 1))
		if (has_more_urgent(cpu, rq)) {
			ipi_reschedule(rq->cpu);
			return;
		}
}
