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

/*
 * With several CPUs, bit 0 marks a space that is loaded but not used (lazily): flushes pass such a
 * CPU by, and it looks whether there were any when it comes back (mm/tlb.c).
 */
#define SPACE_LAZY 1ul

/* A kernel thread follows a program's, and there are several CPUs. Interrupts off. */
static inline void sched_leave_space(void)
{
	u64 active = (u64)this_cpu_read(active_space);

	if (active)
		this_cpu_write(active_space, (struct aspace *)(active | SPACE_LAZY));
}

/* Interrupts off. next is not NULL. */
static inline void sched_switch_space(struct aspace *next)
{
	if (this_cpu_read(active_space) != next)
		sched_memory->switch_space(next);
}
