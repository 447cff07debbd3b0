/*
 * Threads: what the scheduler knows of one, and how they are made, end and wait.
 *
 * A thread is RUNNABLE (running on its CPU, or in its run queue), waits in one of the sleeping
 * states, or is DEAD. `state` is written by the thread itself (on its way to sleep) and by
 * wakers under the run queue's lock; a thread preempted between deciding to sleep and sleeping
 * stays in the queue whatever its state says.
 */
#pragma once

#include "arch/api/ctx.h"
#include "lib/atomic.h"
#include "lib/list.h"
#include "lib/refcount.h"
#include "sched/cpuset.h"
#include "sched/fair.h"
#include "sched/waitq.h"
#include "sync/spinlock.h"

struct aspace;
struct pi_waiter;
struct process;
struct fdtable;
struct fsctx;
struct vm_limits;

/* Hints for the search for a free place. No hole larger than `skipped` lies between end and top. */
struct vm_gap {
	u64 end, skipped;
	u64 start; /* [start, end) was free when last looked at */
	u64 top;
};

enum thread_state {
	T_RUNNABLE = 0,
	T_SLEEPING = 1,      /* only its event wakes it: 'D' */
	T_INTERRUPTIBLE = 2, /* a signal wakes it too: 'S' */
	T_STOPPED = 4,       /* job control: only SIGCONT or SIGKILL wake it: 'T' */
	T_DEAD = 8,
	T_NEW = 16,
};

/* thread.work, atomic: what must be done before user mode. */
/* SIGPENDING: look at the signals; interruptible sleeps end with -ERESTARTSYS. */
#define THREAD_SIGPENDING (1u << 0)
#define THREAD_EXIT       (1u << 1) /* the process ends */

/*
 * Run-queue levels: a level never runs while one of a lower number has a runnable thread. Level 0
 * is the scheduler's own; SCHED_FIFO and SCHED_RR of priority p are level 100 - p; SCHED_OTHER,
 * BATCH and IDLE share level SCHED_LEVEL_NORMAL by weight (sched/fair.h). 109 must stay free.
 */
#define SCHED_LEVELS       128
#define SCHED_LEVEL_KERNEL 100 /* the kernel's own service threads */
#define SCHED_LEVEL_NORMAL 110
#define SCHED_LEVEL_LAST   126 /* behind everything but idling */

/* thread.on_rq. MOVING: runnable, and on its way to another CPU's queue. */
enum { OFF_RQ, ON_RQ, MOVING };

/* The ids of kernel threads begin here, above those that proc/ gives to programs. */
#define THREAD_TID_KERNEL (1u << 22)

struct thread {
	/* Touched by each switch. */
	struct arch_thread arch; /* [o] first, and */
	atomic_t work;           /* [a] THREAD_*, right behind it: entry.S looks here */
	struct aspace *as;       /* [o] NULL: a kernel thread */
	u8 level;       /* [rq, pi] that it runs at: base_level, or better while it is lent one */
	u8 on_rq;       /* [rq] in a ring or the fair queue, also while it runs */
	s8 nice;        /* [rq] -20 ... 19 */
	bool fifo;      /* [rq] no slice: runs until it blocks */
	u8 policy;      /* [rq] SCHED_* of lib/uapi/sched.h */
	u8 base_level;  /* [pi] of its own */
	bool base_fifo; /* [pi] */
	u32 state;      /* see above */
	u32 slice_left; /* [o] ticks, of a level of rings */
	u32 cpu;        /* [rq] whose queue; changes while it is MOVING or asleep */
	struct thread *ring_next, *ring_prev; /* [rq] */
	u64 switches;                         /* [o] times switched to */
	u64 switches_forced;                  /* [o] times preempted */
	u64 woken_at; /* [rq] with HOOK_EVENT: when, until it runs; else 0 */

	struct fair_entity fair; /* [rq] */
	struct cpuset affinity;  /* [rq] */
	bool bound; /* [rq] affinity is one CPU: no other is asked, or called, for it */
	u64 last_turn; /* [rq] of rq.turns, when it came to its CPU or was asked to go: sched/balance.c */

	/* Priority inheritance: sched/inherit.c. */
	struct rb_root
		lenders; /* [pi] struct pi_waiter: the first of each lock it owns that is waited for */
	u8 pi_ends;      /* [a] proc/futex_pi.c */
	struct pi_waiter *waits; /* [pi] for whose lock it waits, or NULL */

	u64 run_cycles;               /* [rq] charged so far, of cpu_cycles() */
	u64 user_ticks, kernel_ticks; /* [o] of the scheduler's tick, 1 ms each: how that divides */
	u64 told_user, told_kernel;   /* [rq] what sched_times said last, ns */

	/* What mm/ keeps with the thread, so that threads of one space do not write the same line. */
	u64 minor_faults; /* [o] */
	/* [o] Tables left empty by an unmapping, address | 1 or 0: mm/pt.c. [1], [2]: of that level. */
	u64 empty_table[3];
	struct vm_gap gap;        /* [o] where its next mapping goes, if top is set: mm/aspace.c */
	struct vm_limits *limits; /* [o] those that it checks and uses at the moment: mm/limit.c */

	/* Identity. */
	u32 tid;         /* 0: a program's, not started yet */
	char name[16];   /* [o] */
	void *stack_top; /* [I] */
	refcount_t refs;
	u32 made_on;          /* [I] the CPU in whose list it is: sched/thread.c */
	struct list_node all; /* [that list's lock] */

	/* Ends. */
	int exit_status; /* [o] valid once state is T_DEAD */
	struct waitq exited;

	/*
	 * Processes (proc/, fs/): NULL in kernel threads. Changed inside the tree (proc_enter), by the thread
	 * itself once it has started: others read them under proc_lock.
	 */
	struct process *proc;
	struct fdtable *files; /* [o] to write, inside the tree; others read them under proc_lock */
	struct fsctx *fs;
	void *signals; /* struct task */
#ifdef CONFIG_DEBUG
	s32 mutexes; /* [o] held */
#endif
};

static inline struct thread *current(void)
{
	return this_cpu_read(current_thread);
}

/* Is there something that ends an interruptible sleep? */
static inline bool signal_pending_current(void)
{
	return atomic_load(&current()->work) != 0;
}

/* Is it to end? Then what it does for nobody but itself, and takes long, may stop where it is. */
static inline bool thread_is_ending(void)
{
	return atomic_load(&current()->work) & THREAD_EXIT;
}

/*
 * A kernel thread that runs fn(arg) at once; its return value is its exit status. Has a reference
 * for the caller, who ends with thread_join or thread_put. NULL: out of memory.
 */
struct thread *thread_create(const char *name, int (*fn)(void *arg), void *arg, unsigned level);
/* The same on that CPU, and never elsewhere. */
struct thread *thread_create_on(u32 cpu, const char *name, int (*fn)(void *arg), void *arg,
				unsigned level);
__noreturn void thread_exit(int status);
int thread_join(struct thread *t); /* waits, returns its status, drops the reference. Sleeps. */
void thread_get(struct thread *t);
void thread_put(struct thread *t);

/*
 * For fork: a thread in state T_NEW with a stack and one reference, that enters user mode
 * with the registers at ctx_user_regs(t->stack_top) once thread_start puts it in the queue. A thread
 * that never started is given back by thread_put.
 */
struct thread *thread_create_user(const char *name);
void thread_start(struct thread *t);
void thread_set_name(struct thread *t, const char *name);

/* Calls fn for each thread, under a lock: fn must not sleep. Stops at non-zero, which it returns. Each
 * thread that is there all the time is seen, once. */
int thread_for_each(int (*fn)(struct thread *t, void *arg), void *arg);

/* Address-space change of the current thread (execve, exit): as becomes current on this CPU. The
 * caller owns the references. */
void thread_set_aspace(struct aspace *as);

/* Called by the last thread_put, before the memory goes: drops what proc/ hung on the thread.
 * Interrupts may be off: it must not sleep. */
extern void (*thread_release_hook)(struct thread *t);
/* Called in thread_exit on the dying thread, still able to sleep. */
extern void (*thread_exit_hook)(struct thread *t);
