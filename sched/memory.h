/*
 * What the scheduler needs of mm/, which lies above it: mm/kstack.c registers these before sched_init.
 */
#pragma once

#include "arch/api/percpu.h"

struct aspace;
struct thread;

struct sched_memory_ops {
	/* A zeroed struct thread; NULL: out of memory. Neither sleeps. */
	struct thread *(*thread_alloc)(void);
	void (*thread_free)(struct thread *t);
	/* A guarded kernel stack's top; owner: the thread's name, for reports. Neither sleeps. */
	void *(*stack_alloc)(const char *owner);
	void (*stack_free)(void *top);
	/* Loads the space's root on this CPU. Interrupts off. */
	void (*switch_space)(struct aspace *next);
	/* A short piece of work for an idle CPU (clearing a frame ahead of need); false: none left. */
	bool (*idle_work)(void);
};

extern const struct sched_memory_ops *sched_memory; /* [I] */

/* The space whose root this CPU has loaded; NULL: the kernel's own. A kernel thread keeps the last one. */
DECLARE_PER_CPU(struct aspace *, active_space);

/* Interrupts off. next is not NULL. */
static inline void sched_switch_space(struct aspace *next)
{
	if (this_cpu_read(active_space) != next)
		sched_memory->switch_space(next);
}
