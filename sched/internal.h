/* Between the scheduler's own files. */
#pragma once

#include "sched/thread.h"

/* thread.c */
void thread_init_boot(struct thread *t);
struct thread *thread_create_idle(u32 cpu); /* never started: it is there when the CPU comes up */
u32 thread_count(void);

/* core.c: what a new thread does first: the end of the switch to it. Returns with interrupts on. */
void sched_first_switch(struct thread *prev);

/* hook.c: HOOK_EVENT is on, and t is being woken; its state is still the old one. */
void sched_hook_wake(struct thread *t);
