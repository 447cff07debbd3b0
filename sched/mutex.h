/*
 * Sleeping locks. A holder may be preempted and may sleep; a real-time thread that waits lends it its
 * priority. Never in interrupts. Not recursive.
 */
#pragma once

#include "lib/atomic.h"
#include "sched/inherit.h"
#include "sched/waitq.h"

struct mutex {
	atomic64_t owner;  /* the holder's struct thread, or 0; bit 0: MUTEX_WAITERS */
	struct pi_lock pi; /* who waits */
};

#define MUTEX_INIT(name)                                                                           \
	{                                                                                          \
		.owner = { 0 }                                                                     \
	}

void mutex_init(struct mutex *m);
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);  /* by the holder */
bool mutex_is_held(struct mutex *m); /* by the current thread */
