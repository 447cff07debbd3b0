/*
 * Threads and CPUs: where a thread runs that wakes or is new, what an idle CPU takes from a busy one,
 * who goes when a CPU is forbidden to it. docs/scheduling.md
 *
 * The protocol of moving. A thread leaves a queue under that queue's lock, with on_rq = MOVING and its
 * new CPU in t->cpu; then the lock is released; then it comes into the new queue under the lock of
 * that one (sched_arrive). No CPU ever holds two queues' locks. While MOVING it belongs to its mover: it
 * is runnable, so it cannot die, and wakers, who find the lock by t->cpu, see that it is awake. Since
 * the lock is held across the switch, a thread that is in a queue and not its CPU's current one
 * is off its stack, with its registers saved.
 *
 * Nobody sleeps while work waits: an idle CPU enters `idle_cpus`, then a full barrier, then looks at the
 * others' queues once more; who puts a thread into a queue that has one already does so, then a full
 * barrier, then looks at idle_cpus and calls one of them. One of the two sees the other. An idle CPU does not stand in line
 * for a queue's lock, but tries now and then while there is something to take, and never halts without a look. Many that
 * wait in turn would wait for each that its host has set aside, and the queue's own CPU with them.
 *
 * Nobody looks at all CPUs for that. A queue that gets a second thread is marked in `crowded`; its own CPU takes the
 * mark away, at a tick or when it goes idle. Who looks for work looks at marked queues only, at a few of them. A new thread
 * for which no CPU is idle goes to the less loaded of two: its maker's, and another one, at each call the next. Of
 * queues that are filled so the longest is hardly above the mean, however many there are.
 *
 * Long runners spread by weight. Who has had company for SPREAD_TICKS on end lets one of its fair threads go, each in its
 * turn, to a CPU with less to do, unless it would get less there. As the same is good enough, three equal threads on two
 * CPUs go round, and each gets two thirds of a CPU.
 *
 * A thread that runs cannot be taken; the idle thread of its CPU pushes it. It enters level 0 of the
 * queue, above everything, so that the thread gives way to it, and then is like any other that waits.
 */
#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "arch/api/preempt.h"
#include "lib/uapi/sched.h"
#include "sched/internal.h"
#include "sched/rq.h"

static struct cpuset idle_cpus; /* [a] those that halt, with several CPUs */
/* [a] those that had two threads or more, now or since their last tick. A bit changes under its queue's lock, with
 * rq->crowded. */
static struct cpuset crowded;

/* Who waits for sched_push_now. */
static struct waitq pushed = WAITQ_INIT(pushed);

#define SPREAD_TICKS 32   /* of company, until one goes */
#define LOOKS        8    /* queues, or threads of one, of which the best is sought */
#define MAX_LOOKS    4096 /* at a lock that is taken, with interrupts off */

/*
 * What the CPU has to do: the sum of its threads' weights. Those in front of the fair ones count as the heaviest of them. A
 * guess: the three are not read in one moment.
 */
static u64 load_of(u32 cpu)
{
	const struct rq *rq = per_cpu_ptr(&runqueue, cpu);
	s32 urgent = (s32)(READ_ONCE(rq->runnable) - READ_ONCE(rq->fair.nr));

	return READ_ONCE(rq->fair.weight) + (u64)MAX(urgent, 0) * FAIR_WEIGHT_MOST;
}

/* ---- where to ---------------------------------------------------------------------------------- */

/* The first CPU of both sets from `from` on, round and round; nr_cpus: there is none. */
static u32 next_around(const struct cpuset *a, const struct cpuset *b, u32 from)
{
	u32 cpu = cpuset_next_and(a, b, from);

	return cpu < nr_cpus ? cpu : cpuset_next_and(a, b, 0);
}

/*
 * The first idle CPU of the set from `from` on, or nr_cpus. One that has been given a thread, and has not got up for it
 * yet, is in idle_cpus still, but will not look at other queues.
 */
static u32 next_idle(const struct cpuset *set, u32 from)
{
	u32 cpu = cpuset_next_and(&idle_cpus, set, from);

	while (cpu < nr_cpus && load_of(cpu))
		cpu = cpuset_next_and(&idle_cpus, set, cpu + 1);
	return cpu;
}

/* An allowed CPU with few threads, `first` if that is one. Interrupts off. */
static u32 lightly_loaded(const struct thread *t, u32 first)
{
	struct rq *here = this_cpu_ptr(&runqueue);
	u32 other = next_around(&t->affinity, &t->affinity, here->next_other + 1);

	if (other == first)
		other = next_around(&t->affinity, &t->affinity, other + 1);
	kassert(other < nr_cpus);
	here->next_other = other;
	return cpuset_has(&t->affinity, first) && load_of(first) <= load_of(other) ? first : other;
}

/* For a real-time thread that would wait where it was: an allowed CPU that runs something worse. */
static u32 least_urgent(const struct thread *t, u32 first)
{
	u32 best = first, worst = READ_ONCE(per_cpu_ptr(&runqueue, first)->top);

	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		u32 top = READ_ONCE(per_cpu_ptr(&runqueue, cpu)->top);

		if (top > worst && cpuset_has(&t->affinity, cpu)) {
			worst = top;
			best = cpu;
		}
	}
	return best;
}

/*
 * The CPU that t should run on; a guess, for nobody stands still meanwhile. The one where its cache is
 * warm, if that is idle; else any idle one; else the warm one, unless t is new or urgent.
 */
u32 sched_place(struct thread *t, bool new)
{
	u32 warm = t->cpu, cpu;

	if (!cpuset_has(&t->affinity, warm))
		warm = lightly_loaded(t, warm);
	else if (t->bound)
		return warm;
	kassert(warm < nr_cpus);
	if (!new &&READ_ONCE(per_cpu_ptr(&runqueue, warm)->runnable) == 0)
		return warm;
	cpu = next_idle(&t->affinity, warm);
	if (cpu == nr_cpus && warm)
		cpu = next_idle(&t->affinity, 0);
	if (cpu < nr_cpus)
		return cpu;
	if (new)
		return lightly_loaded(t, warm);
	if (level_is_rt(t->level) && READ_ONCE(per_cpu_ptr(&runqueue, warm)->top) <= t->level)
		return least_urgent(t, warm);
	return warm;
}

/*
 * t waits in a queue, or is about to, when the switch under way is over (the lock is held until then):
 * calls an idle CPU that may take it. Interrupts off.
 */
void sched_call_idle(const struct thread *t)
{
	if (t->bound)
		return;
	memory_barrier(); /* t is in the queue before idle_cpus is read */
	u32 cpu = next_idle(&t->affinity, 0);

	if (cpu < nr_cpus && cpu != cpu_id())
		ipi_reschedule(cpu);
}

/* ---- taking ------------------------------------------------------------------------------------ */

static bool has_two(u32 cpu)
{
	return READ_ONCE(per_cpu_ptr(&runqueue, cpu)->runnable) > 1;
}

struct search {
	const struct thread *curr;
	u32 to;
};

static bool may_take(const struct thread *t, const struct search *s)
{
	return t != s->curr && cpuset_has(&t->affinity, s->to);
}

static bool may_take_entity(struct fair_entity *e, void *arg)
{
	return may_take(container_of(e, struct thread, fair), arg);
}

static struct thread *find_in_ring(struct thread *first, const struct search *s)
{
	struct thread *t = first;

	do {
		if (may_take(t, s))
			return t;
		t = t->ring_next;
	} while (t != first);
	return NULL;
}

/* A thread that waits in the queue and may run on CPU `to`: the most urgent, else one that waits long. */
static struct thread *find_waiting(struct rq *rq, u32 to)
{
	struct search s = { rq_curr(rq), to };
	struct fair_entity *e = fair_find(&rq->fair, may_take_entity, &s);

	for (u32 i = 0; i < RQ_WORDS; i++)
		for (u64 word = rq->bitmap[i]; word; word &= word - 1) {
			u32 level = i * 64 + (u32)__builtin_ctzl(word);
			struct thread *t = NULL;

			if (level == SLOT_FAIR)
				t = e ? container_of(e, struct thread, fair) : NULL;
			else if (level > 0)
				t = find_in_ring(rq->first[level], &s);
			if (t)
				return t;
		}
	return NULL;
}

/* t, in the locked queue, does not run: it is on its way to another CPU; then sched_arrive, without the lock. */
static void send_away(struct rq *rq, struct thread *t, u32 to)
{
	rq_dequeue(rq, t);
	t->on_rq = MOVING;
	store_release(&t->cpu, to);
}

/* What a look at another CPU's queue gives. BUSY: its lock was taken all the time, so nobody knows. */
enum look { NOTHING, TAKEN, BUSY };

/*
 * Takes one thread from that CPU's queue to this one's; no more if this one gets another one meanwhile, or that one has
 * none to spare. Interrupts off.
 */
static enum look take_from(u32 from, const struct rq *to)
{
	struct rq *rq = per_cpu_ptr(&runqueue, from);

	for (u32 looks = 0; !spin_trylock(&rq->lock); looks++) {
		if (READ_ONCE(to->runnable))
			return TAKEN;
		if (!has_two(from))
			return NOTHING;
		if (looks == MAX_LOOKS)
			return BUSY;
		cpu_relax();
	}
	struct thread *t = rq->runnable > 1 ? find_waiting(rq, to->cpu) : NULL;
	if (t)
		send_away(rq, t, to->cpu);
	spin_release(&rq->lock);
	if (t)
		sched_arrive(t);
	preempt_enable_no_resched();
	return t ? TAKEN : NOTHING;
}

void sched_mark_crowded(struct rq *rq)
{
	if (rq->crowded == (rq->runnable > 1))
		return;
	WRITE_ONCE(rq->crowded, rq->runnable > 1);
	if (rq->crowded)
		cpuset_add_atomic(&crowded, rq->cpu);
	else
		cpuset_remove_atomic(&crowded, rq->cpu);
}

/* The fullest of the first few queues behind to's that have two threads at least; nr_cpus: none has. */
static u32 find_fullest(const struct rq *to)
{
	u32 fullest = nr_cpus, looks = 0, from = to->cpu + 1;
	u64 most = 0;

	for (u32 round = 0; round < 2; round++, from = 0)
		for (u32 cpu = from; looks < LOOKS; cpu++) {
			u64 load;

			cpu = cpuset_next_and(&crowded, &crowded, cpu);
			if (cpu == nr_cpus || (round && cpu >= to->cpu))
				break;
			if (!has_two(cpu))
				continue;
			looks++;
			load = load_of(cpu);
			if (load > most) {
				most = load;
				fullest = cpu;
			}
		}
	return fullest;
}

/* Takes from a full queue, else from any that has a thread that waits. */
static enum look take_work(const struct rq *to)
{
	u32 fullest = find_fullest(to);
	enum look all = NOTHING, one;

	if (fullest == nr_cpus)
		return NOTHING;
	one = take_from(fullest, to);
	if (one != NOTHING)
		return one;
	/* What waits there must not run here. */
	for (u32 cpu = cpuset_next_and(&crowded, &crowded, 0); cpu < nr_cpus;
	     cpu = cpuset_next_and(&crowded, &crowded, cpu + 1)) {
		if (cpu == to->cpu || cpu == fullest || !has_two(cpu))
			continue;
		one = take_from(cpu, to);
		if (one == TAKEN)
			return TAKEN;
		all = MAX(all, one);
	}
	return all;
}

/* ---- idle -------------------------------------------------------------------------------------- */

/* This CPU is about to halt. False: it has got work instead, or must look again. Interrupts off. */
bool sched_idle_begin(struct rq *rq)
{
	if (nr_cpus == 1)
		return true;
	if (READ_ONCE(rq->crowded)) {
		preempt_disable();
		spin_acquire(&rq->lock);
		sched_mark_crowded(rq);
		spin_release(&rq->lock);
		preempt_enable_no_resched();
	}
	cpuset_add_atomic(&idle_cpus, rq->cpu); /* a full barrier: see above */
	if (take_work(rq) == NOTHING)
		return true;
	cpuset_remove_atomic(&idle_cpus, rq->cpu);
	return false;
}

void sched_idle_end(struct rq *rq)
{
	if (nr_cpus > 1)
		cpuset_remove_atomic(&idle_cpus, rq->cpu);
}

/* ---- spreading --------------------------------------------------------------------------------- */

struct turn {
	struct thread *thread;
	u32 looks;
};

static bool entity_comes_before(struct fair_entity *e, void *arg)
{
	struct thread *t = container_of(e, struct thread, fair);
	struct turn *turn = arg;

	if (!t->bound && (!turn->thread || t->last_turn < turn->thread->last_turn))
		turn->thread = t;
	return ++turn->looks == LOOKS;
}

/* Whose turn it is to go, of the first few in the fair queue: who has been here, or was asked, longest ago. */
static struct thread *next_to_go(struct rq *rq)
{
	struct turn turn = { 0 };

	fair_find(&rq->fair, entity_comes_before, &turn);
	if (rq->fair.curr)
		entity_comes_before(rq->fair.curr, &turn);
	return turn.thread;
}

/*
 * Of this CPU and the next few that t may use the one with the least to do; of equals the next one: what has no even
 * place goes round.
 */
static u32 find_lightest(const struct thread *t, const struct rq *here)
{
	u32 best = here->cpu, cpu = best;
	u64 least = load_of(best);

	for (u32 i = 0; i < LOOKS; i++) {
		u64 load;

		cpu = next_around(&t->affinity, &t->affinity, cpu + 1);
		if (cpu == here->cpu)
			break;
		load = load_of(cpu);
		if (load < least) {
			least = load;
			best = cpu;
		}
	}
	return best;
}

/*
 * Would t get no less on the other CPU, or hardly less? A queue whose lock is taken is left alone: on a machine whose CPUs
 * are not all at work at once (virtual ones) many would stand in line for one that does not run.
 */
static bool may_go(const struct thread *t, const struct rq *here, u32 to)
{
	u64 from = load_of(here->cpu), there = load_of(to);

	return from > there && there + t->fair.weight <= from + from / 64 &&
	       !spin_is_locked(&per_cpu_ptr(&runqueue, to)->lock);
}

/*
 * One thread goes, or had its turn at least. False: it would go, but runs; the next tick may find it waiting, unless it
 * hardly ever does. Lock held; *goes, or NULL, is on its way.
 */
static bool take_turn(struct rq *rq, struct thread **goes)
{
	struct thread *t = next_to_go(rq);
	u32 to = t ? find_lightest(t, rq) : rq->cpu;

	*goes = NULL;
	if (!t)
		return true;
	if (may_go(t, rq, to)) {
		if (t != rq_curr(rq)) {
			send_away(rq, t, to);
			*goes = t;
			return true;
		}
		if (rq->company_ticks < 2 * SPREAD_TICKS)
			return false;
	}
	t->last_turn = ++rq->turns;
	return true;
}

static bool spread(struct rq *rq)
{
	struct thread *t;

	preempt_disable();
	spin_acquire(&rq->lock);
	bool done = take_turn(rq, &t);
	spin_release(&rq->lock);
	if (t)
		sched_arrive(t);
	preempt_enable_no_resched();
	return done;
}

void sched_spread(struct rq *rq)
{
	rq->company_ticks = READ_ONCE(rq->runnable) > 1 ? rq->company_ticks + 1 : 0;
	if (rq->company_ticks >= SPREAD_TICKS && spread(rq))
		rq->company_ticks = 0;
}

/* ---- pushing ----------------------------------------------------------------------------------- */

/* The current thread of a locked queue must leave the CPU: the idle thread is to see to it. */
void sched_push(struct rq *rq)
{
	struct thread *idle = rq_idle_thread(rq);

	if (rq->pushing)
		return;
	WRITE_ONCE(rq->pushing, true);
	rq->first[0] = idle;
	idle->ring_next = idle;
	rq_set_level(rq, 0);
}

static bool is_misplaced(struct thread *t, u32 cpu)
{
	return !cpuset_has(&t->affinity, cpu);
}

static bool entity_is_misplaced(struct fair_entity *e, void *arg)
{
	return is_misplaced(container_of(e, struct thread, fair), *(u32 *)arg);
}

static struct thread *find_misplaced(struct rq *rq)
{
	struct fair_entity *e = fair_find(&rq->fair, entity_is_misplaced, &rq->cpu);

	if (e)
		return container_of(e, struct thread, fair);
	for (u32 level = 1; level < SCHED_LEVELS; level++) {
		struct thread *first = rq->first[level], *t = first;

		if (level == SLOT_FAIR || !(rq->bitmap[level / 64] >> (level % 64) & 1))
			continue;
		do {
			if (is_misplaced(t, rq->cpu))
				return t;
			t = t->ring_next;
		} while (t != first);
	}
	return NULL;
}

/* On the idle thread, interrupts off: sends away all that must not run here. */
void sched_push_now(struct rq *rq)
{
	struct thread *t;

	preempt_disable();
	do {
		spin_acquire(&rq->lock);
		t = find_misplaced(rq);
		if (t) {
			send_away(rq, t, sched_place(t, false));
		} else {
			WRITE_ONCE(rq->pushing, false);
			rq_clear_level(rq, 0);
		}
		spin_release(&rq->lock);
		if (t)
			sched_arrive(t);
	} while (t);
	waitq_wake_all(&pushed);
	preempt_enable_no_resched();
}

void sched_await_push(struct thread *t)
{
	wait_event(&pushed,
		   READ_ONCE(t->on_rq) == OFF_RQ || cpuset_has(&t->affinity, READ_ONCE(t->cpu)));
}
