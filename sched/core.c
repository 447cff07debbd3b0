/*
 * The scheduler's core: yield, block, wake, preempt, and the one place that switches.
 *
 * A CPU's queue is locked, interrupts off, from the decision to the end of the switch: the thread
 * that is switched to releases the lock in finish_switch. So nobody sees a thread that is out of
 * its ring and still on its stack, and a waker on another CPU waits for the end of the switch.
 *
 * A thread goes to sleep by setting its state first and calling sched_block then. A waker that
 * comes between the two sets the state back, and sched_block finds that there is nothing to wait
 * for. A preemption between the two leaves the thread in its ring whatever its state is: only
 * sched_block takes it out.
 *
 * need_resched (in preempt_word) is a hint to call schedule soon; it is cleared by each pick.
 *
 * Time is accounted by the tick (SCHED_HZ), as user or kernel time of the thread that it hits.
 */
#include "sched/sched.h"

#include "arch/api/cpu.h"
#include "arch/api/hook.h"
#include "arch/api/ipi.h"
#include "arch/api/preempt.h"
#include "arch/api/upcall.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "sched/internal.h"
#include "sched/memory.h"
#include "sched/rq.h"
#include "sync/rcu.h"
#include "time/clock.h"

_Static_assert(offsetof(struct thread, arch) == 0, "entry.S, ctx.c");
_Static_assert(offsetof(struct thread, work) == sizeof(struct arch_thread), "entry.S");

DEFINE_PER_CPU(struct rq, runqueue);
DEFINE_PER_CPU(u32, preempt_word)
= PREEMPT_NO_RESCHED;
DEFINE_PER_CPU(struct thread *, current_thread);

#define TICK_NS (NSEC_PER_SEC / SCHED_HZ)

/* Ticks of a slice: 4 at nice 0, 12 at -20, 1 at 19. */
static u32 slice_ticks(const struct thread *t)
{
	int ticks = (int)(SCHED_SLICE_NS / TICK_NS) - t->nice * 2 / 5;

	return ticks < 1 ? 1 : (u32)ticks;
}

/*
 * The second half of a switch, on the stack of the thread that was switched to: releases the lock
 * and drops what prev no longer needs. Interrupts stay off.
 */
static __always_inline void finish_switch(struct thread *prev)
{
	struct rq *rq = this_cpu_ptr(&runqueue);

	/* Looked at before the release: behind it another CPU may wake prev, run it, and see it die. */
	if (likely(prev->state != T_DEAD)) {
		spin_release(&rq->lock);
	} else {
		spin_release(&rq->lock);
		thread_put(prev);
	}
}

void sched_first_switch(struct thread *prev)
{
	finish_switch(prev);
	irq_enable();
}

/* A kernel thread comes next, and prev may go on elsewhere: what is its own must leave this CPU. */
static __noinline void leave_user(struct thread *prev)
{
	ctx_leave_user(&prev->arch);
	if (prev->as)
		sched_leave_space();
}

/*
 * Switches to next. Lock held, interrupts off; returns with the lock released, when prev runs
 * again. The only caller of ctx_switch.
 */
static __always_inline void switch_to(struct rq *rq, struct thread *prev, struct thread *next,
				      enum switch_why why)
{
	clear_need_resched();
	if (prev == next) {
		spin_release(&rq->lock);
		return;
	}
	rq->switches++;
	next->switches++;
	this_cpu_write(current_thread, next);
	if (next->as) {
		sched_switch_space(next->as);
		ctx_switch_user(&next->arch);
	} else if (unlikely(nr_cpus > 1)) {
		leave_user(prev);
	}
	finish_switch(ctx_switch(prev, &prev->arch, &next->arch, why));
}

void sched_yield(void)
{
	dassert(preempt_count() == 0 && irqs_enabled());
	irq_disable();
	struct rq *rq = this_cpu_ptr(&runqueue);
	struct thread *prev = current();

	spin_acquire(&rq->lock);
	switch_to(rq, prev, rq_rotate_and_pick(rq, prev), SWITCH_YIELD);
	irq_enable();
}

/* Before the queue's lock: the timers' lock ranks below it. */
static void start_tick(struct rq *rq)
{
	rq->ticking = true;
	timer_start(&rq->tick, clock_ns() + TICK_NS);
}

/* Leaves the CPU to whom the queue prefers; the current thread stays in its ring. */
static void preempt_current(void)
{
	struct rq *rq = this_cpu_ptr(&runqueue);
	struct thread *prev = current();

	if (prev == rq_idle_thread(rq) && !rq->ticking)
		start_tick(rq);
	spin_acquire(&rq->lock);
	if (prev->on_rq && prev->slice_left == 0 && !prev->fifo) {
		prev->slice_left = slice_ticks(prev);
		rq->first[prev->level] = prev->ring_next;
	}
	struct thread *next = rq_pick(rq);
	if (next != prev) {
		rq->preemptions++;
		prev->switches_forced++;
	}
	switch_to(rq, prev, next, SWITCH_PREEMPT);
}

void sched_preempt_irq(void)
{
	preempt_current();
}

void sched_preempt(void)
{
	if (!irqs_enabled())
		return; /* the return of the interrupt, or the next preempt_enable, sees to it */
	irq_disable();
	if (this_cpu_read(preempt_word) == 0)
		preempt_current();
	irq_enable();
}

void sched_block(void)
{
	u64 flags = irq_save();
	struct rq *rq = this_cpu_ptr(&runqueue);
	struct thread *prev = current();

	kassert_eq(preempt_count(), 0);
	spin_acquire(&rq->lock);
	if (prev->state == T_RUNNABLE) {
		spin_release(&rq->lock); /* woken between its decision and here */
	} else {
		rq_dequeue(rq, prev);
		switch_to(rq, prev, rq_pick(rq), SWITCH_BLOCK);
	}
	irq_restore(flags);
}

/* Puts t, which is in no ring, into its CPU's queue, and asks for a switch if it goes first. */
static void make_runnable(struct rq *rq, struct thread *t)
{
	struct thread *running = *per_cpu_ptr(&current_thread, t->cpu);

	rq_enqueue(rq, t);
	rq->wakeups++;
	if (running != rq_idle_thread(rq) && t->level >= running->level)
		return;
	if (t->cpu == cpu_id())
		set_need_resched();
	else
		ipi_reschedule(t->cpu);
}

void sched_ipi(void)
{
	rcu_quiescent_irq();
	set_need_resched();
}

bool sched_wake(struct thread *t, unsigned states)
{
	struct rq *rq = per_cpu_ptr(&runqueue, t->cpu);
	u64 flags = spin_lock_irqsave(&rq->lock);
	bool woken = (READ_ONCE(t->state) & states) != 0;

	if (woken) {
		if (hook_on(HOOK_EVENT))
			sched_hook_wake(t);
		WRITE_ONCE(t->state, T_RUNNABLE);
		if (!t->on_rq)
			make_runnable(rq, t);
	}
	spin_unlock_irqrestore(&rq->lock, flags);
	return woken;
}

void sched_set_level(struct thread *t, unsigned level, bool fifo)
{
	struct rq *rq = per_cpu_ptr(&runqueue, t->cpu);

	kassert(level < SCHED_LEVELS);
	u64 flags = spin_lock_irqsave(&rq->lock);
	bool queued = t->on_rq;

	if (queued)
		rq_dequeue(rq, t);
	t->level = (u8)level;
	t->fifo = fifo;
	t->slice_left = slice_ticks(t);
	if (queued) {
		rq_enqueue(rq, t);
		set_need_resched();
	}
	spin_unlock_irqrestore(&rq->lock, flags);
}

void sched_set_nice(struct thread *t, int nice)
{
	struct rq *rq = per_cpu_ptr(&runqueue, t->cpu);
	u64 flags = spin_lock_irqsave(&rq->lock);

	t->nice = (s8)MAX(-20, MIN(19, nice));
	t->slice_left = MIN(t->slice_left, slice_ticks(t));
	spin_unlock_irqrestore(&rq->lock, flags);
}

/* ---- the tick ---------------------------------------------------------------------------------- */

/*
 * SCHED_HZ times a second while the CPU is not idle. In the timer interrupt. The next tick is due
 * one period after this one was, so that late interrupts do not slow the count down.
 */
static void tick(struct timer *timer)
{
	struct rq *rq = this_cpu_ptr(&runqueue);
	struct thread *t = current();
	u64 now = clock_ns();
	u64 next = timer->deadline + TICK_NS;

	rq->ticks++;
	rcu_quiescent_irq();
	if (t == rq_idle_thread(rq)) {
		rq->idle_ticks++;
		if (rq->runnable == 0) {
			rq->ticking = false; /* sched_idle starts it again */
			return;
		}
		set_need_resched();
	} else {
		const struct regs *r = this_cpu_read(irq_regs);

		if (r && regs_from_user(r))
			t->user_ticks++;
		else
			t->kernel_ticks++;
		if (t->slice_left > 0)
			t->slice_left--;
		if (t->slice_left == 0 && !t->fifo)
			set_need_resched();
	}
	timer_start(timer, next > now ? next : now + TICK_NS);
}

void sched_start_ticking(void)
{
	struct rq *rq = this_cpu_ptr(&runqueue);
	u64 flags = irq_save();

	timer_init(&rq->tick, tick);
	start_tick(rq);
	irq_restore(flags);
}

/*
 * The idle thread: small work ahead of need, then halts until an interrupt makes somebody runnable.
 * Interrupts are off between the look at the queue and the halt, which enables them in the same step.
 */
void sched_idle(void)
{
	struct rq *rq = this_cpu_ptr(&runqueue);

	for (;;) {
		while (READ_ONCE(rq->runnable) == 0 && sched_memory->idle_work())
			;
		irq_disable();
		if (rq->runnable == 0) {
			cpu_wait_for_interrupt(); /* what wakes somebody preempts us on its way out */
			continue;
		}
		preempt_current();
		irq_enable();
	}
}

/* ---- boot and statistics ------------------------------------------------------------------------- */

void sched_init(void)
{
	static struct thread boot = { .state = T_RUNNABLE,
				      .name = "idle",
				      .level = SCHED_LEVELS - 1 };
	struct rq *rq = this_cpu_ptr(&runqueue);

	rq_init(rq, &boot);
	thread_init_boot(&boot);
	this_cpu_write(current_thread, &boot);
}

int sched_cpu_init(u32 cpu)
{
	struct rq *rq = per_cpu_ptr(&runqueue, cpu);
	struct thread *idle = thread_create_idle(cpu);

	if (!idle)
		return -ENOMEM;
	rq_init(rq, idle);
	*per_cpu_ptr(&current_thread, cpu) = idle;
	return 0;
}

void sched_cpu_enter(void)
{
	sched_start_ticking();
	sched_idle();
}

void sched_stats(struct sched_stats *out)
{
	*out = (struct sched_stats){ .threads = thread_count() };
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		struct rq *rq = per_cpu_ptr(&runqueue, cpu);
		u64 flags = spin_lock_irqsave(&rq->lock);

		out->switches += rq->switches;
		out->preemptions += rq->preemptions;
		out->ticks += rq->ticks;
		out->idle_ticks += rq->idle_ticks;
		out->wakeups += rq->wakeups;
		out->runnable += rq->runnable;
		spin_unlock_irqrestore(&rq->lock, flags);
	}
}
