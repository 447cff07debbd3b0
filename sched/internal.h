/* Between the scheduler's own files. */
#pragma once

#include "sched/thread.h"

/* thread.c */
/* A CPU's idle thread: in no ring and in no list. thread_create_idle: NULL without memory. */
void thread_init_idle(struct thread *t, u32 cpu);
struct thread *thread_create_idle(u32 cpu);
u32 thread_count(void);

/* core.c: the CPU for a new thread. */
u32 sched_place_new(void);

/* core.c: what a new thread does first: the end of the switch to it. Returns with interrupts on. */
void sched_first_switch(struct thread *prev);
