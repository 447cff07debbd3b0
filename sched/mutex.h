/*
 * Sleeping locks. A holder may be preempted and may sleep. Never in interrupts. Not recursive.
 */
#pragma once

#include "sched/waitq.h"

struct mutex {
	atomic64_t owner; /* the holder's struct thread, or 0 */
	struct waitq waiters;
};

#define MUTEX_INIT(name)                                                                           \
	{                                                                                          \
		.waiters = WAITQ_INIT((name).waiters)                                              \
	}

void mutex_init(struct mutex *m);
void mutex_lock(struct mutex *m);
bool mutex_trylock(struct mutex *m);
void mutex_unlock(struct mutex *m);  /* by the holder */
bool mutex_is_held(struct mutex *m); /* by the current thread */
