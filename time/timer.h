/*
 * Per-CPU one-shot timers in a red-black tree ordered by deadline, on top of one clock event.
 * Callbacks run in the timer interrupt, interrupts off.
 */
#pragma once

#include "lib/rbtree.h"
#include "lib/types.h"

struct timer {
	struct rb_node node;
	u64 deadline;                /* monotonic ns */
	void (*fn)(struct timer *t); /* [I] may start its own timer again */
	u32 cpu;                     /* whose tree */
	bool queued;
};

void timer_init(struct timer *t, void (*fn)(struct timer *t));
/* (Re)starts t on this CPU; a deadline in the past fires at once. Any context but NMI. */
void timer_start(struct timer *t, u64 deadline_ns);
/* True if it was still queued. After the return its callback is neither running nor going to. Not
 * from its own callback. */
bool timer_cancel(struct timer *t);

/* The number of timer interrupts taken, all CPUs. */
u64 timer_interrupts(void);

struct clock_event;

/*
 * Starts a clock event on this CPU and drives its timers with it from now on, in place of the one
 * before. Timers started earlier than the first event wait for it. 0 or -ENODEV: nothing changed.
 */
int timer_set_event(const struct clock_event *event);

/*
 * For a CPU without an event of its own (the 8254 and HPET interrupt the first CPU only): the first
 * CPU's timers send it a message when its time has come. 0.
 */
int timer_set_broadcast(void);

/*
 * This CPU has got another event: the others get the same, or messages from the first CPU if only that
 * can have it. They change in their next timer interrupt, for which they are sent a message; nobody
 * waits. Any context but NMI.
 */
void timer_change_events(const struct clock_event *event);

/* For tests: how often this CPU's clock event was armed. */
u64 timer_programmings(void);
