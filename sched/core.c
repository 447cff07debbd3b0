/*
 * The scheduler's core: yield, block, wake, preempt, the tick, and the one place that switches.
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
 * Time: rq->stamp is the cycle counter up to which the running threads have been charged. It is read
 * when a thread blocks, at wake-ups and switches in the fair queue, and by the tick; a yield among
 * threads of one ring is too short a way for that, and such threads are charged by the tick alone. The
 * tick (SCHED_HZ while there are two threads or more, seldom with one, never without) also tells user
 * time from kernel time, by where it hits.
 */
#include "sched/sched.h"

#include "arch/api/cpu.h"
#include "arch/api/hook.h"
#include "arch/api/ipi.h"
#include "arch/api/preempt.h"
#include "arch/api/upcall.h"
#include "lib/bitmap.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "lib/uapi/sched.h"
#include "sched/inherit.h"
#include "sched/internal.h"
#include "sched/memory.h"
#include "sched/rq.h"
#include "sync/rcu.h"
#include "time/clock.h"

_Static_assert(offsetof(struct thread, arch) == 0, "entry.S, ctx.c");
_Static_assert(offsetof(struct thread, work) == sizeof(struct arch_thread), "entry.S");

DEFINE_PER_CPU_SHARED(struct rq, runqueue);
DEFINE_PER_CPU_SHARED(struct thread *, current_thread);

#define TICK_NS    (NSEC_PER_SEC / SCHED_HZ)
#define SLOW_TICKS (SCHED_HZ / 10) /* between two ticks of a thread that is alone */

/* Of a second, what real-time threads may have while others wait: as Linux's sched_rt_runtime_us. */
#define RT_PERIOD_TICKS SCHED_HZ
#define RT_TICKS        (SCHED_HZ * 95 / 100)

#define RR_TICKS (SCHED_RR_NS / TICK_NS)

static struct thread *thread_of(struct fair_entity *e)
{
	return container_of(e, struct thread, fair);
}

/* ---- the pick ---------------------------------------------------------------------------------- */

/* As much as fair_charge takes at once: half a second or more. */
#define CHARGE_MAX INT32_MAX
/* So often at most: what a host kept the machine for beyond that, asleep itself perhaps, is held against nobody. */
#define CHARGES_MAX 32u

/*
 * t has run for long, or not at all: another CPU, whose counter is ahead, has just been here. It runs for long where a host
 * takes the machine away: that counts in the fair queue as well, so that the others catch up. The rest is returned.
 */
static __noinline u64 charge_odd_time(struct rq *rq, struct thread *t, u64 now)
{
	u64 delta = now - rq->stamp;

	if ((s64)delta < 0)
		return 0;
	rq->stamp = now;
	t->run_cycles += delta;
	for (u32 i = 0; i < CHARGES_MAX && delta > CHARGE_MAX; i++, delta -= CHARGE_MAX)
		if (rq->fair.curr == &t->fair)
			fair_charge(&rq->fair, CHARGE_MAX);
	return MIN(delta, (u64)CHARGE_MAX);
}

/* Charges t, which runs on this queue's CPU, with the time since the last stamp, and returns it. Lock held. */
static inline u64 charge_thread(struct rq *rq, struct thread *t)
{
	u64 now = cpu_cycles(), delta = now - rq->stamp;

	if (unlikely(delta > CHARGE_MAX))
		return charge_odd_time(rq, t, now);
	rq->stamp = now;
	t->run_cycles += delta;
	return delta;
}

/* The same, and the fair queue, if it is its turn. */
static void charge(struct rq *rq, struct thread *t)
{
	u64 delta = charge_thread(rq, t);

	if (rq->fair.curr == &t->fair)
		fair_charge(&rq->fair, delta);
}

/* The fair queue has the CPU, or gets it, or loses it. */
static __noinline struct thread *pick_fair(struct rq *rq)
{
	struct fair_queue *q = &rq->fair;

	if (q->curr) {
		if (rq->top == SLOT_FAIR && (q->nr == 1 || !q->give_way))
			return thread_of(q->curr);
		fair_put(q);
	}
	q->give_way = false;
	return rq->top == SLOT_FAIR ? thread_of(fair_take(q)) : rq_pick(rq);
}

/* Who should run. The one that does has been charged. Lock held. */
static inline struct thread *pick(struct rq *rq)
{
	if (rq->fair.curr || rq->top == SLOT_FAIR)
		return pick_fair(rq);
	return rq_pick(rq);
}

/* t does not run, or will not when the switch under way is over: somebody else may. Lock held. */
static void waits(struct rq *rq, const struct thread *t)
{
	if (level_is_rt(t->level))
		sched_rt_waits(rq, t);
	else
		sched_call_idle(t);
}

/* A yield that does not go to the next thread in the ring. */
static __noinline struct thread *pick_after_yield(struct rq *rq, struct thread *prev)
{
	struct fair_queue *q = &rq->fair;

	charge(rq, prev);
	if (q->curr == &prev->fair && q->nr > 1 && rq->top == SLOT_FAIR)
		return thread_of(fair_yield(q));
	if (nr_cpus > 1 && rq->top < MIN((u32)prev->level, (u32)SLOT_FAIR))
		waits(rq, prev); /* it is preempted by its own yield */
	return pick(rq);
}

/* ---- the switch -------------------------------------------------------------------------------- */

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
	struct thread *next;
	if (unlikely(!rq_rotate(rq, prev, &next)))
		next = pick_after_yield(rq, prev);
	switch_to(rq, prev, next, SWITCH_YIELD);
	irq_enable();
}

/* ---- the tick's timer -------------------------------------------------------------------------- */

/* Counts n ticks for t: user or kernel time by where this one hit. */
static void count_ticks(struct rq *rq, struct thread *t, u32 n)
{
	const struct regs *r = this_cpu_read(irq_regs);

	rq->ticks += n;
	if (t == rq_idle_thread(rq))
		rq->idle_ticks += n;
	else if (r && regs_from_user(r))
		t->user_ticks += n;
	else
		t->kernel_ticks += n;
}

static u32 wanted_period(const struct rq *rq)
{
	return READ_ONCE(rq->runnable) > 1 ? 1 : SLOW_TICKS;
}

/*
 * Sees to it that the next tick comes soon enough. Before the queue's lock: the timers' lock ranks
 * below it. Interrupts off.
 */
static void hasten_tick(struct rq *rq)
{
	u32 wanted = wanted_period(rq);
	u64 now;

	if (!rq->tick.fn || (rq->tick_period && wanted >= rq->tick_period))
		return; /* not at boot; soon enough */
	now = clock_ns();
	if (rq->tick_period) {
		u64 begun = rq->tick.deadline - rq->tick_period * TICK_NS;
		u64 n = now > begun ? (now - begun) / TICK_NS : 0;

		count_ticks(rq, current(), (u32)MIN(n, (u64)rq->tick_period));
	}
	WRITE_ONCE(rq->tick_period, wanted);
	timer_start(&rq->tick, now + wanted * TICK_NS);
}

/* ---- giving up the CPU ------------------------------------------------------------------------- */

/* A ring's thread whose slice is over goes to the end of the ring. */
static void end_slice(struct rq *rq, struct thread *t)
{
	t->slice_left = RR_TICKS;
	if (rq->first[t->level] == t)
		rq->first[t->level] = t->ring_next;
}

/* Leaves the CPU to whom the queue prefers; the current thread stays in it. */
static void preempt_current(void)
{
	struct rq *rq = this_cpu_ptr(&runqueue);
	struct thread *prev = current();

	if (unlikely(rq->tick_period != 1))
		hasten_tick(rq);
	if (prev == rq_idle_thread(rq))
		sched_idle_end(rq); /* out of the halt, on the interrupt's way out */
	if (nr_cpus > 1 && unlikely(!cpuset_is_empty(&rt_waits)))
		sched_rt_pull(rq);
	spin_acquire(&rq->lock);
	charge(rq, prev);
	if (prev->on_rq && prev->slice_left == 0 && !prev->fifo &&
	    prev->level != SCHED_LEVEL_NORMAL)
		end_slice(rq, prev);
	struct thread *next = pick(rq);
	if (next != prev) {
		rq->preemptions++;
		prev->switches_forced++;
		if (nr_cpus > 1 && prev->on_rq)
			waits(rq, prev);
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
DEFINE_KEEPING(sched_preempt);

void sched_ipi(void)
{
	rcu_quiescent_irq();
	set_need_resched();
}

void sched_provoke(void)
{
	struct rq *rq = this_cpu_ptr(&runqueue);
	struct thread *t = current();

	spin_acquire(&rq->lock);
	if (rq->fair.curr == &t->fair && rq->fair.nr > 1) {
		fair_charge(&rq->fair, fair_request);
		fair_request_over(&rq->fair);
		rq->fair.give_way = true;
	}
	if (!t->fifo)
		t->slice_left = 0;
	spin_release(&rq->lock);
	rcu_quiescent_irq();
	set_need_resched();
}

/* A switch has been asked for already, or is not allowed. */
static __noinline void block_while_asked(struct rq *rq)
{
	if (preempt_count())
		sleep_refused();
	if (rq->tick_period > 1)
		hasten_tick(rq); /* the reason may be a thread that is not alone any more */
}

/* Takes prev, which runs, out of the queue; who comes next. Lock held. */
static __noinline struct thread *leave_ring(struct rq *rq, struct thread *prev)
{
	charge(rq, prev);
	rq_dequeue(rq, prev);
	if (level_is_rt(prev->level) && nr_cpus > 1)
		sched_rt_falls(rq);
	return pick(rq);
}

/* The same of one whose turn it is in the fair queue. */
static __always_inline struct thread *leave_fair(struct rq *rq, struct thread *prev)
{
	struct fair_queue *q = &rq->fair;

	fair_charge(q, charge_thread(rq, prev));
	q->curr = NULL;
	fair_forget(q, &prev->fair);
	prev->on_rq = OFF_RQ;
	rq->runnable--;
	if (unlikely(q->nr == 0))
		rq_clear_level(rq, SLOT_FAIR);
	if (unlikely(rq->top != SLOT_FAIR))
		return rq_pick(rq);
	q->give_way = false;
	return thread_of(fair_take(q));
}

void sched_block(void)
{
	struct thread *prev = current(), *next;

	dassert(irqs_enabled() || READ_ONCE(prev->state) == T_DEAD);
	irq_disable();
	struct rq *rq = this_cpu_ptr(&runqueue);
	if (unlikely(this_cpu_read(preempt_word) != PREEMPT_NO_RESCHED))
		block_while_asked(rq);
	spin_acquire(&rq->lock);
	if (unlikely(prev->state == T_RUNNABLE)) {
		spin_release(&rq->lock); /* woken between its decision and here */
	} else {
		if (likely(rq->fair.curr == &prev->fair))
			next = leave_fair(rq, prev);
		else
			next = leave_ring(rq, prev);
		switch_to(rq, prev, next, SWITCH_BLOCK);
	}
	irq_enable();
}

/* ---- waking ------------------------------------------------------------------------------------ */

/* Has the CPU of a queue look at it soon. Interrupts off. */
static void kick(struct rq *rq)
{
	if (rq == this_cpu_ptr(&runqueue))
		set_need_resched();
	else
		ipi_reschedule(rq->cpu);
}

/* The queue of t's CPU, locked. Interrupts off, preemption too. */
static inline struct rq *lock_rq_of(struct thread *t)
{
	for (;;) {
		u32 cpu = load_acquire(&t->cpu); /* and what its mover wrote before that */
		struct rq *rq = per_cpu_ptr(&runqueue, cpu);

		spin_acquire(&rq->lock);
		if (likely(load_acquire(&t->cpu) == cpu))
			return rq;
		spin_release(&rq->lock);
	}
}

/* The same; preemption is off from here to unlock_rq. */
static struct rq *lock_thread_rq(struct thread *t)
{
	preempt_disable();
	return lock_rq_of(t);
}

static void unlock_rq(struct rq *rq, u64 flags)
{
	spin_unlock_irqrestore(&rq->lock, flags);
}

/* Both in the fair queue, whose turn it is: is t to run instead of curr? */
static inline bool fair_wins(struct rq *rq, const struct thread *curr, const struct thread *t)
{
	bool wins = t->policy == SCHED_NORMAL && fair_preempts(&rq->fair, &t->fair);

	if (unlikely(curr->policy == SCHED_IDLE))
		wins = t->policy != SCHED_IDLE;
	if (wins)
		rq->fair.give_way = true;
	return wins;
}

/* Is t, which has just come into the queue, to run instead of curr? */
static bool preempts(struct rq *rq, const struct thread *curr, const struct thread *t)
{
	if (curr == rq_idle_thread(rq))
		return true;
	if (t->level != curr->level)
		return t->level < curr->level && !(rq->throttled && level_is_rt(t->level));
	if (t->level != SCHED_LEVEL_NORMAL)
		return false;
	return rq->fair.curr != &curr->fair || fair_wins(rq, curr, t);
}

static bool entity_waits(struct fair_entity *e, void *rq)
{
	waits(rq, thread_of(e));
	return false; /* the next one */
}

/* Who comes into the queue in front of this level runs at once: nobody has to call others for it. */
static u32 promised_level(const struct rq *rq, const struct thread *curr)
{
	return curr == rq_idle_thread(rq) ? SCHED_LEVELS : MIN((u32)curr->level, (u32)SLOT_FAIR);
}

/*
 * The queue has got a new first one. Who was that until now, and more urgent than `promised`, was to have the CPU with
 * the switch that is due, and has called nobody. Now it waits. (All others waited at once, and have called.) Lock held.
 */
static void call_for_second(struct rq *rq, u32 promised)
{
	const struct thread *first;
	u32 level = rq->top;

	if (!level_is_rt(level))
		return;
	first = rq_pick(rq);
	if (first->ring_next == first)
		level = (u32)bitmap_next_set(rq->bitmap, SCHED_LEVELS, level + 1);
	if (likely(level >= promised))
		return;
	if (level == SLOT_FAIR)
		fair_find(&rq->fair, entity_waits, rq);
	else
		waits(rq, level == first->level ? first->ring_next : rq->first[level]);
}

/* t is in the queue, and so are others, on one of several CPUs. */
static inline void tell_others(struct rq *rq, struct thread *t, bool runs)
{
	sched_mark_crowded(rq);
	if (!runs || !level_is_rt(t->level) || rq_pick(rq) != t)
		waits(rq, t);
	else
		call_for_second(rq, promised_level(rq, rq_curr(rq)));
}

/* t is in the queue. runs: it is to run there at once. */
static inline void tell(struct rq *rq, struct thread *t, bool runs)
{
	rq->wakeups++;
	if (runs || (rq->runnable > 1 && READ_ONCE(rq->tick_period) > 1))
		kick(rq);
	if (nr_cpus > 1 && rq->runnable > 1)
		tell_others(rq, t, runs);
}

static __noinline void enqueue_and_tell(struct rq *rq, struct thread *t, bool here)
{
	struct thread *curr = rq_curr(rq);

	if (t->level == SCHED_LEVEL_NORMAL && rq->fair.curr)
		charge(rq, curr);
	rq_enqueue(rq, t, here);
	tell(rq, t, preempts(rq, curr, t));
}

/* Puts t into a locked queue, and asks for a switch there if that is due. here: it was there before. */
static __always_inline void make_runnable(struct rq *rq, struct thread *t, bool here)
{
	struct fair_queue *q = &rq->fair;

	if (unlikely(t->level != SCHED_LEVEL_NORMAL || !q->curr)) {
		enqueue_and_tell(rq, t, here);
		return;
	}
	/* The rule: two of the fair queue, one of which runs. */
	struct thread *curr = thread_of(q->curr);
	fair_charge(q, charge_thread(rq, curr));
	fair_join(q, &t->fair, here);
	t->on_rq = ON_RQ;
	rq->runnable++;
	tell(rq, t, fair_wins(rq, curr, t));
}

void sched_arrive(struct thread *t)
{
	struct rq *rq;

	for (;;) {
		rq = per_cpu_ptr(&runqueue, t->cpu);
		spin_acquire(&rq->lock);
		if (likely(cpuset_has(&t->affinity, rq->cpu)))
			break;
		store_release(&t->cpu, sched_place(t, false)); /* that changed on the way */
		spin_release(&rq->lock);
	}
	rq->migrations++;
	t->last_turn = ++rq->turns;
	make_runnable(rq, t, false);
	spin_release(&rq->lock);
}

/*
 * t is awake: it goes into the queue of its CPU, or of a better one. Lock held of the queue that it
 * left; released.
 */
static __always_inline void wake_up(struct rq *rq, struct thread *t, bool new)
{
	u32 cpu = rq->cpu;

	WRITE_ONCE(t->state, T_RUNNABLE);
	if (nr_cpus > 1)
		cpu = sched_place(t, new);
	if (likely(cpu == rq->cpu)) {
		make_runnable(rq, t, !new);
		spin_release(&rq->lock);
		return;
	}
	t->on_rq = MOVING;
	store_release(&t->cpu, cpu);
	spin_release(&rq->lock);
	sched_arrive(t);
}

/*
 * Somebody gave t work (a signal) that it looks at on its way to user mode, and t may be there, on
 * another CPU: it has to pass through the kernel. Under the queue's lock, which a switch holds, it is
 * either seen to run, or sees its work.
 */
static void poke_running(struct rq *rq, struct thread *t)
{
	if (atomic_load(&t->work) && rq_curr(rq) == t && rq != this_cpu_ptr(&runqueue))
		ipi_reschedule(rq->cpu);
}

/*
 * A thread that is in its queue may run meanwhile, and go on from the state that we saw to another,
 * even to T_DEAD: then there is nothing to wake any more.
 */
bool sched_wake_nopreempt(struct thread *t, unsigned states)
{
	struct rq *rq = lock_rq_of(t);
	u32 state = READ_ONCE(t->state);
	bool woken = (state & states) != 0;

	if (woken && hook_on(HOOK_EVENT))
		sched_hook_wake(t);
	if (likely(woken && t->on_rq == OFF_RQ)) {
		wake_up(rq, t, state == T_NEW);
		return true;
	}
	if (woken)
		woken = __atomic_compare_exchange_n(&t->state, &state, T_RUNNABLE, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	else if (unlikely(nr_cpus > 1))
		poke_running(rq, t);
	spin_release(&rq->lock);
	return woken;
}

bool sched_wake(struct thread *t, unsigned states)
{
	u64 flags = irq_save();
	bool woken;

	preempt_disable();
	woken = sched_wake_nopreempt(t, states);
	irq_restore(flags);
	preempt_enable();
	return woken;
}

/* ---- policies ---------------------------------------------------------------------------------- */

/* Takes t out of its queue, if it is in one, for a change of what the queue sorts by. */
static struct rq *change_begin(struct thread *t, bool *queued)
{
	struct rq *rq = lock_thread_rq(t);

	*queued = t->on_rq == ON_RQ;
	if (*queued && rq->fair.curr)
		charge(rq, rq_curr(rq));
	if (*queued)
		rq_dequeue(rq, t);
	return rq;
}

/* t, whose level was old, may have overtaken others, and if it does not run it waits. Lock held. */
static void tell_of_change(struct rq *rq, struct thread *t, u32 old)
{
	if (nr_cpus == 1)
		return;
	if (rq_curr(rq) != t)
		waits(rq, t);
	call_for_second(rq, rq_curr(rq) == t ? MIN(old, (u32)SLOT_FAIR) :
					       promised_level(rq, rq_curr(rq)));
}

static void change_end(struct rq *rq, struct thread *t, bool queued, u32 old, u64 flags)
{
	t->slice_left = RR_TICKS;
	if (queued) {
		rq_enqueue(rq, t, true);
		if (t->level > old && rq_curr(rq) == t && t->level != SCHED_LEVEL_NORMAL)
			rq->first[t->level] = t;
		kick(rq);
		tell_of_change(rq, t, old);
	}
	unlock_rq(rq, flags);
}

static void apply_weight(struct thread *t)
{
	fair_set_weight(&t->fair,
			t->policy == SCHED_IDLE ? FAIR_WEIGHT_IDLE : fair_weight_of_nice(t->nice));
}

/* t was lent a priority, or gave it back. Who loses urgency goes in front of its new peers, as it had its turn. */
void sched_change_level(struct thread *t, u32 level, bool fifo)
{
	bool queued;
	u64 flags = irq_save();
	struct rq *rq = change_begin(t, &queued);
	struct thread *curr = rq_curr(rq);
	u32 old = t->level;
	bool worse = level > old;

	WRITE_ONCE(t->level, (u8)level); /* it may look itself, without a lock */
	t->fifo = fifo;
	t->slice_left = RR_TICKS;
	if (queued) {
		rq_enqueue(rq, t, true);
		if (level != SCHED_LEVEL_NORMAL && (worse || curr == t))
			rq->first[level] = t;
		if (curr == t ? worse : preempts(rq, curr, t))
			kick(rq);
		tell_of_change(rq, t, old);
	}
	unlock_rq(rq, flags);
}

/* The level is what it was: its place in the ring stays the same. */
static void set_kind(struct thread *t, unsigned policy, bool fifo)
{
	u64 flags = irq_save();
	struct rq *rq = lock_thread_rq(t);

	t->policy = (u8)policy;
	t->base_fifo = fifo;
	t->fifo = fifo || t->level != t->base_level;
	t->slice_left = RR_TICKS;
	unlock_rq(rq, flags);
}

/* Between pi_begin and pi_end. As on Linux who runs and becomes less urgent goes on in front of its new peers. */
static void set_policy(struct thread *t, unsigned policy, unsigned level, bool fifo)
{
	bool queued;

	if (level == t->base_level && level != SCHED_LEVEL_NORMAL) {
		set_kind(t, policy, fifo);
		return;
	}
	u64 flags = irq_save();
	struct rq *rq = change_begin(t, &queued);
	u32 old = t->level;

	t->policy = (u8)policy;
	t->base_level = (u8)level;
	t->base_fifo = fifo;
	t->level = (u8)pi_level(t);
	t->fifo = fifo || t->level != level;
	apply_weight(t);
	change_end(rq, t, queued, old, flags);
	pi_level_changed(t);
}

void sched_set_level(struct thread *t, unsigned level, bool fifo)
{
	kassert(level > 0 && level <= SCHED_LEVEL_LAST && level != SLOT_FAIR);
	u64 flags = pi_begin();

	set_policy(t, t->policy, level, fifo);
	pi_end(flags);
}

void sched_set_policy(struct thread *t, unsigned policy, unsigned rt_priority)
{
	bool rt = policy == SCHED_FIFO || policy == SCHED_RR;

	kassert(!rt || (rt_priority >= 1 && rt_priority <= 99));
	u64 flags = pi_begin();

	set_policy(t, policy, rt ? 100 - rt_priority : SCHED_LEVEL_NORMAL, policy == SCHED_FIFO);
	pi_end(flags);
}

void sched_set_nice(struct thread *t, int nice)
{
	bool queued;
	u64 flags = irq_save();
	struct rq *rq = change_begin(t, &queued);

	t->nice = (s8)MAX(-20, MIN(19, nice));
	apply_weight(t);
	change_end(rq, t, queued, t->level, flags);
}

void sched_inherit(struct thread *child, struct thread *parent)
{
	u64 flags = irq_save();
	struct rq *rq = lock_thread_rq(parent); /* its affinity is several words */

	child->policy = parent->policy;
	child->level = child->base_level = parent->base_level; /* not what it is lent */
	child->fifo = child->base_fifo = parent->base_fifo;
	child->nice = parent->nice;
	child->affinity = parent->affinity;
	child->bound = parent->bound;
	unlock_rq(rq, flags);
	apply_weight(child);
}

void sched_affinity(struct thread *t, struct cpuset *set)
{
	u64 flags = irq_save();
	struct rq *rq = lock_thread_rq(t);

	*set = t->affinity;
	unlock_rq(rq, flags);
}

void sched_set_affinity(struct thread *t, const struct cpuset *set)
{
	u64 flags = irq_save();
	struct rq *rq = lock_thread_rq(t);

	t->affinity = *set;
	t->bound = cpuset_is_one(set);
	if (cpuset_has(set, rq->cpu) || t->on_rq != ON_RQ) {
		if (rq->runnable > 1 && t->on_rq == ON_RQ && rq_curr(rq) != t)
			waits(rq, t); /* it may go elsewhere now */
		unlock_rq(rq, flags);
		return;
	}
	if (rq_curr(rq) == t) {
		sched_push(rq);
		kick(rq);
		unlock_rq(rq, flags); /* the current thread itself goes in this very call */
		sched_await_push(t);
		return;
	}
	rq_dequeue(rq, t);
	t->on_rq = MOVING;
	store_release(&t->cpu, sched_place(t, false));
	spin_release(&rq->lock);
	sched_arrive(t);
	irq_restore(flags);
	preempt_enable();
}

/* ---- the tick ---------------------------------------------------------------------------------- */

/* Who was to run next, and has called nobody for that, waits now. Lock held. */
static void set_throttled(struct rq *rq, bool throttled)
{
	if (throttled && nr_cpus > 1 && level_is_rt(rq->top))
		waits(rq, rq_pick(rq));
	rq->throttled = throttled;
	rq->top = rq_best_level(rq);
	set_need_resched();
}

/* Real-time threads leave others a twentieth of each second. Lock held. */
static void throttle_rt(struct rq *rq, const struct thread *t, u32 n)
{
	if (level_is_rt(t->level))
		rq->rt_ticks += n;
	rq->rt_period += n;
	if (rq->rt_period >= RT_PERIOD_TICKS) {
		rq->rt_period = rq->rt_ticks = 0;
		if (rq->throttled)
			set_throttled(rq, false);
	} else if (rq->rt_ticks >= RT_TICKS && !rq->throttled &&
		   rq_first_level(rq, 0, RQ_BEHIND_RT) != SCHED_LEVELS) {
		set_throttled(rq, true);
	}
}

/* t has run for n ticks more: is it somebody else's turn? */
static void tick_thread(struct rq *rq, struct thread *t, u32 n)
{
	spin_lock(&rq->lock);
	charge(rq, t);
	if (rq->fair.curr == &t->fair) {
		if (fair_request_over(&rq->fair) && rq->fair.nr > 1) {
			rq->fair.give_way = true;
			set_need_resched();
		}
	} else if (!t->fifo) {
		t->slice_left -= MIN(n, t->slice_left);
		if (t->slice_left == 0)
			set_need_resched();
	}
	throttle_rt(rq, t, n);
	if (nr_cpus > 1)
		sched_mark_crowded(rq);
	spin_unlock(&rq->lock);
}

/*
 * In the timer interrupt. It may come late, by many periods where a host has taken the virtual CPU away: they count,
 * for otherwise a real-time thread would never have had its share of a second. The next one keeps the rhythm.
 */
static void tick(struct timer *timer)
{
	struct rq *rq = this_cpu_ptr(&runqueue);
	struct thread *t = current();
	u64 now = clock_ns();
	u64 late = now > timer->deadline ? (now - timer->deadline) / TICK_NS : 0;
	u32 n = rq->tick_period + (u32)MIN(late, (u64)SCHED_HZ);
	u64 due = timer->deadline + late * TICK_NS;

	rcu_quiescent_irq();
	count_ticks(rq, t, n);
	if (t != rq_idle_thread(rq)) {
		tick_thread(rq, t, n);
	} else if (READ_ONCE(rq->runnable) == 0) {
		WRITE_ONCE(rq->tick_period, 0); /* until somebody runs: hasten_tick */
		return;
	} else {
		set_need_resched();
	}
	if (nr_cpus > 1)
		sched_spread(rq);
	n = wanted_period(rq);
	WRITE_ONCE(rq->tick_period, n);
	timer_start(timer, due + n * TICK_NS);
}

void sched_start_ticking(void)
{
	struct rq *rq = this_cpu_ptr(&runqueue);
	u64 flags = irq_save();

	if (clock_tsc_hz() && cpu_id() == 0)
		fair_request = clock_tsc_hz() / (NSEC_PER_SEC / SCHED_SLICE_NS);
	timer_init(&rq->tick, tick);
	sched_idle_end(rq);
	rq->stamp = cpu_cycles();
	hasten_tick(rq);
	irq_restore(flags);
}

/*
 * The idle thread: small work ahead of need, work from other CPUs, then halts until an interrupt makes
 * somebody runnable. Interrupts are off between the last look at the queue and the halt, which enables
 * them in the same step.
 */
void sched_idle(void)
{
	struct rq *rq = this_cpu_ptr(&runqueue);

	for (;;) {
		while (READ_ONCE(rq->runnable) == 0 && sched_memory->idle_work())
			;
		irq_disable();
		if (READ_ONCE(rq->pushing))
			sched_push_now(rq);
		if (READ_ONCE(rq->runnable) == 0 && sched_idle_begin(rq)) {
			cpu_wait_for_interrupt(); /* what wakes somebody preempts us on its way out */
			continue;
		}
		preempt_current();
		irq_enable();
	}
}

/* ---- times ------------------------------------------------------------------------------------- */

void sched_times(struct thread *t, u64 *user_ns, u64 *kernel_ns)
{
	u64 flags = irq_save();
	struct rq *rq = lock_thread_rq(t);

	if (rq_curr(rq) == t)
		charge(rq, t);
	u64 user = READ_ONCE(t->user_ticks), ticks = user + READ_ONCE(t->kernel_ticks);
	u64 run = clock_cycles_to_ns(t->run_cycles);
	if (run == 0)
		run = ticks * TICK_NS; /* no counter whose frequency is known */
	if (ticks)
		user = run / ticks * user;
	else
		user = t->as ? run : 0; /* no tick has hit it yet */
	/* Neither goes back, and the sum is true. */
	user = MAX(user, t->told_user);
	if (run < user + t->told_kernel)
		user = MAX(t->told_user, run - MIN(run, t->told_kernel));
	*user_ns = t->told_user = user;
	*kernel_ns = t->told_kernel = MAX(t->told_kernel, run - MIN(run, user));
	unlock_rq(rq, flags);
}

/* ---- boot and statistics ------------------------------------------------------------------------- */

void sched_init(void)
{
	static struct thread boot;

	rq_init(this_cpu_ptr(&runqueue), cpu_id(), &boot);
	thread_init_idle(&boot, cpu_id());
	this_cpu_write(current_thread, &boot);
}

int sched_cpu_init(u32 cpu)
{
	struct thread *idle = thread_create_idle(cpu);

	if (!idle)
		return -ENOMEM;
	rq_init(per_cpu_ptr(&runqueue, cpu), cpu, idle);
	*per_cpu_ptr(&current_thread, cpu) = idle;
	return 0;
}

void sched_cpu_enter(void)
{
	sched_start_ticking();
	irq_enable();
	sched_idle();
}

u64 sched_busy_ticks(u32 cpu)
{
	const struct rq *rq = per_cpu_ptr(&runqueue, cpu);
	u64 idle = READ_ONCE(rq->idle_ticks), all = READ_ONCE(rq->ticks);

	return all > idle ? all - idle : 0;
}

void sched_stats(struct sched_stats *out)
{
	*out = (struct sched_stats){ .threads = thread_count() };
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		struct rq *rq = per_cpu_ptr(&runqueue, cpu);
		u64 flags = spin_lock_irqsave(&rq->lock);

		out->switches += rq->switches;
		out->preemptions += rq->preemptions;
		out->ticks += READ_ONCE(rq->ticks);
		out->idle_ticks += READ_ONCE(rq->idle_ticks);
		out->wakeups += rq->wakeups;
		out->runnable += rq->runnable;
		spin_unlock_irqrestore(&rq->lock, flags);
	}
}
