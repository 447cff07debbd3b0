/* Between the scheduler's own files. */
#pragma once

#include "sched/thread.h"

/* thread.c */
/* A CPU's idle thread: in no ring and in no list. The CPU's list of threads begins with it. thread_create_idle: NULL
 * without memory. */
void thread_init_idle(struct thread *t, u32 cpu);
struct thread *thread_create_idle(u32 cpu);
u32 thread_count(void);

/* core.c: what a new thread does first: the end of the switch to it. Returns with interrupts on. */
void sched_first_switch(struct thread *prev);

/* hook.c: HOOK_EVENT is on, and t is being woken; its state is still the old one. */
void sched_hook_wake(struct thread *t);
/* core.c: t is MOVING to t->cpu; puts it into the queue there. Its mover calls this, interrupts and
 * preemption off. */
void sched_arrive(struct thread *t);

/* core.c: between pi_begin and pi_end (inherit.c): t is to run at that level from here on. */
void sched_change_level(struct thread *t, u32 level, bool fifo);

/* balance.c */
struct rq;
u32 sched_place(struct thread *t, bool new);
void sched_call_idle(const struct thread *t);
bool sched_idle_begin(struct rq *rq);
void sched_idle_end(struct rq *rq);
void sched_spread(struct rq *rq); /* in the tick of a busy CPU */
/* Has others find the queue if two threads or more are in it, and only then. Lock held. */
void sched_mark_crowded(struct rq *rq);
void sched_push(struct rq *rq);
void sched_push_now(struct rq *rq);
void sched_await_push(struct thread *t);

/* rt.c */
void sched_rt_waits(struct rq *rq, const struct thread *t);
void sched_rt_pull(struct rq *rq);
extern struct cpuset rt_waits; /* [a] CPUs with real-time threads that wait: hardly ever one */
void sched_rt_falls(struct rq *rq);
