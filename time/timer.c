/*
 * Timers: one red-black tree per CPU, ordered by deadline (equal ones in the order of their
 * start), its first node cached, on top of that CPU's clock event.
 *
 * The event is programmed only when that makes it fire earlier than it is going to anyhow. A
 * cancelled first timer therefore leaves one interrupt behind that finds nothing to do and arms for
 * the next timer: rarer and cheaper than programming at each cancel.
 *
 * `armed` is the time for which the event is set, UINT64_MAX when it is not, and 0 while
 * timer_interrupt runs: nothing is earlier than 0, so a callback that starts timers does not
 * program the event each time; timer_interrupt does it once, at its end.
 *
 * A clock event's frequency is measured, and may be a little high against the clock; then it
 * fires before the deadline, and each timer would cost two interrupts. Deltas are stretched by as
 * much as such early interrupts have shown to be needed, up to STRETCH_MAX.
 *
 * Locks: each CPU's lock guards its tree, and `queued` and `cpu` of the timers on it; taken with
 * interrupts off, never two of them at once. A timer changes its CPU only under the lock of the
 * one that it leaves, not queued, and not while its callback runs there: so whoever holds the
 * lock of t->cpu (checked after taking it) sees in `running` whether the callback is active.
 * Callbacks run without the lock. A callback's timer is not touched after the call: it may be
 * gone, or belong to a thread that the callback has woken.
 */
#include "time/timer.h"

#include "arch/api/clock.h"
#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "arch/api/upcall.h"
#include "lib/err.h"
#include "sync/spinlock.h"
#include "time/clock.h"

#define BUDGET      256          /* callbacks per interrupt: the rest waits for the next one */
#define STRETCH_MAX (1ull << 24) /* 2^-8 in 32.32 */
#define EARLY_SHIFT 9 /* early by more than 1/512 of the delta is no matter of frequency */

struct timer_cpu {
	spinlock_t lock;
	struct rb_root root;              /* [lock] */
	struct timer *first;              /* [lock] */
	struct timer *running;            /* [lock] its callback is being called */
	const struct clock_event *event;  /* [lock] NULL: not yet */
	const struct clock_event *change; /* [a] what is to take its place; NULL: nothing */
	u64 armed;                        /* [lock] see above */
	u64 armed_delta;                  /* [lock] from its programming to `armed`, ns */
	u64 stretch;                      /* [lock] 32.32 */
	u64 programmings;                 /* [lock] */
	u64 interrupts;                   /* [o] */
};

static DEFINE_PER_CPU_SHARED(struct timer_cpu, timer_cpus);

/* ---- the tree ---- */

static void enqueue(struct timer_cpu *c, struct timer *t)
{
	struct rb_node **link = &c->root.top, *parent = NULL;
	bool leftmost = true;

	while (*link) {
		parent = *link;
		if (t->deadline < rb_entry(parent, struct timer, node)->deadline) {
			link = &parent->left;
		} else {
			link = &parent->right;
			leftmost = false;
		}
	}
	rb_insert(&c->root, &t->node, parent, link);
	if (leftmost)
		c->first = t;
	t->queued = true;
}

static void dequeue(struct timer_cpu *c, struct timer *t)
{
	if (c->first == t) {
		struct rb_node *next = rb_next(&t->node);

		c->first = next ? rb_entry(next, struct timer, node) : NULL;
	}
	rb_erase(&c->root, &t->node);
	t->queued = false;
}

/* ---- the clock event ---- */

static void program(struct timer_cpu *c, u64 deadline, u64 now)
{
	u64 delta = deadline > now ? deadline - now : 0;

	delta = MIN(delta, c->event->max_delta_ns);
	c->armed = now + delta;
	c->armed_delta = delta;
	c->programmings++;
	delta += clock_scale(delta, c->stretch);
	c->event->arm(MIN(MAX(delta, c->event->min_delta_ns), c->event->max_delta_ns));
}

static void note_early(struct timer_cpu *c, u64 now)
{
	if (c->armed == UINT64_MAX || now >= c->armed)
		return;
	u64 early = c->armed - now;
	if (early > MIN(c->armed_delta >> EARLY_SHIFT, (u64)UINT32_MAX))
		return;
	c->stretch = MIN(c->stretch + clock_factor(early, c->armed_delta) + 1, STRETCH_MAX);
}

int timer_set_event(const struct clock_event *event)
{
	u64 flags = irq_save();
	struct timer_cpu *c = this_cpu_ptr(&timer_cpus);
	int err = event->start();

	if (err) {
		irq_restore(flags);
		return err;
	}
	if (!c->event) {
		spin_init(&c->lock, "timer", RANK_TIMER);
		c->armed = UINT64_MAX;
	}
	spin_acquire(&c->lock);
	if (c->event && c->event != event)
		c->event->stop();
	c->event = event;
	c->stretch = 0;
	if (c->first && !c->running)
		program(c, c->first->deadline, clock_ns());
	spin_release(&c->lock);
	irq_restore(flags);
	return 0;
}

/* ---- the interface ---- */

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	*t = (struct timer){ .fn = fn, .cpu = cpu_id() };
}

/* Locks the CPU that t is on. Interrupts off. */
static struct timer_cpu *lock_timer(struct timer *t)
{
	for (;;) {
		u32 cpu = READ_ONCE(t->cpu);
		struct timer_cpu *c = per_cpu_ptr(&timer_cpus, cpu);

		spin_acquire(&c->lock);
		if (likely(t->cpu == cpu))
			return c;
		spin_release(&c->lock);
	}
}

/*
 * Locks the CPU that t is going to be queued on, with t not queued: this one, or the one on which
 * its callback runs at the moment (which looks at its tree again afterwards).
 */
static struct timer_cpu *lock_for_start(struct timer *t)
{
	struct timer_cpu *here = this_cpu_ptr(&timer_cpus);

	for (;;) {
		struct timer_cpu *c = lock_timer(t);

		if (t->queued)
			dequeue(c, t);
		if (c == here || c->running == t)
			return c;
		WRITE_ONCE(t->cpu, cpu_id());
		spin_release(&c->lock);
	}
}

/* Lock held. */
static void start_locked(struct timer_cpu *c, struct timer *t, u64 deadline_ns)
{
	t->deadline = deadline_ns;
	enqueue(c, t);
	if (c->first == t && c->event && deadline_ns < c->armed)
		program(c, deadline_ns, clock_ns());
}

void timer_start(struct timer *t, u64 deadline_ns)
{
	u64 flags = irq_save();
	struct timer_cpu *c = lock_for_start(t);

	start_locked(c, t, deadline_ns);
	spin_release(&c->lock);
	irq_restore(flags);
}

/* ---- broadcast ---- */

/*
 * The event of a CPU that has none: a timer among the first CPU's own, whose callback sends a
 * message. It is armed with this CPU's lock held, and takes the first CPU's: in this order alone.
 */
static DEFINE_PER_CPU(struct timer, proxy);

static void proxy_due(struct timer *t)
{
	for (u32 cpu = 1; cpu < nr_cpus; cpu++)
		if (t == per_cpu_ptr(&proxy, cpu))
			ipi_timer(cpu);
}

static void broadcast_arm(u64 delta_ns)
{
	struct timer_cpu *c = per_cpu_ptr(&timer_cpus, 0);
	struct timer *t = this_cpu_ptr(&proxy);

	spin_acquire(&c->lock);
	if (t->queued)
		dequeue(c, t);
	start_locked(c, t, clock_ns() + delta_ns);
	spin_release(&c->lock);
}

static void broadcast_stop(void)
{
	struct timer_cpu *c = per_cpu_ptr(&timer_cpus, 0);
	struct timer *t = this_cpu_ptr(&proxy);

	spin_acquire(&c->lock);
	if (t->queued)
		dequeue(c, t);
	spin_release(&c->lock);
}

static int broadcast_start(void)
{
	timer_init(this_cpu_ptr(&proxy), proxy_due);
	this_cpu_ptr(&proxy)->cpu = 0; /* and stays there */
	return 0;
}

static const struct clock_event broadcast_event = {
	.name = "broadcast",
	.arm = broadcast_arm,
	.stop = broadcast_stop,
	.start = broadcast_start,
	.min_delta_ns = 1000,
	.max_delta_ns = 3600 * NSEC_PER_SEC,
};

int timer_set_broadcast(void)
{
	kassert(cpu_id() != 0);
	return timer_set_event(&broadcast_event);
}

bool timer_cancel(struct timer *t)
{
	bool was_queued = false;

	for (;;) {
		u64 flags = irq_save();
		struct timer_cpu *c = lock_timer(t);
		bool busy = c->running == t;

		kassert(!busy || c != this_cpu_ptr(&timer_cpus)); /* from its own callback */
		if (t->queued) {
			dequeue(c, t);
			was_queued = true;
		}
		spin_release(&c->lock);
		irq_restore(flags);
		if (!busy)
			return was_queued;
		cpu_relax();
	}
}

/* Calls back what is due. The lock is held on entry and return, not in between. The time then. */
static u64 expire(struct timer_cpu *c, u64 now)
{
	for (u32 budget = BUDGET; c->first && budget; budget--) {
		struct timer *t = c->first;

		if (t->deadline > now) {
			now = clock_ns(); /* the callbacks have taken time */
			if (t->deadline > now)
				break;
		}
		dequeue(c, t);
		c->running = t;
		spin_release(&c->lock);
		t->fn(t);
		spin_acquire(&c->lock);
		c->running = NULL;
	}
	return now;
}

void timer_change_events(const struct clock_event *event)
{
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		if (cpu == cpu_id())
			continue;
		__atomic_store_n(&per_cpu_ptr(&timer_cpus, cpu)->change,
				 event->per_cpu ? event : &broadcast_event, __ATOMIC_RELEASE);
		ipi_timer(cpu);
	}
}

static __noinline void change_event(struct timer_cpu *c)
{
	const struct clock_event *event = __atomic_exchange_n(&c->change, NULL, __ATOMIC_ACQUIRE);

	if (event && timer_set_event(event))
		panic("CPU %u has no clock event %s", cpu_id(), event->name);
}

void timer_interrupt(void)
{
	struct timer_cpu *c = this_cpu_ptr(&timer_cpus);

	c->interrupts++;
	if (unlikely(READ_ONCE(c->change)))
		change_event(c);
	if (!c->event)
		return;
	u64 now = clock_ns();
	spin_acquire(&c->lock);
	note_early(c, now);
	c->armed = 0;
	now = expire(c, now);
	c->armed = UINT64_MAX;
	if (c->first)
		program(c, c->first->deadline, now);
	spin_release(&c->lock);
}

u64 timer_interrupts(void)
{
	u64 sum = 0;

	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		sum += per_cpu_ptr(&timer_cpus, cpu)->interrupts;
	return sum;
}

u64 timer_programmings(void)
{
	return this_cpu_ptr(&timer_cpus)->programmings;
}
