/*
 * The hand-off of a switch: a run queue's lock is held from the decision to the end of the switch,
 * and released by the thread that was switched to: sched/core.c, sched/thread.c.
 *
 * One thread lives on two CPUs, each of which has an idle thread beside it. It sleeps, is woken by two
 * wakers, each time to any CPU, is preempted, and dies; whoever made it waits for that and drops the
 * last reference, or the CPU that ran it last does.
 *
 * Holds:
 *	no CPU runs on the thread's stack while another does
 *	the thread is freed once, by the last reference, and with nobody on its stack
 *	nobody looks at it afterwards
 *	it does end: no wake-up is lost
 *
 * Stands for: switch_to, finish_switch, sched_block, preempt_current, sched_wake with
 * lock_thread_rq, thread_exit, thread_join, thread_put.
 *
 * Broken on purpose:
 *	BUG_RELEASE_EARLY	the lock is released before the registers are saved
 *	BUG_WAKE_NO_LOCK	a wake-up takes no run queue's lock
 *	BUG_WAKE_OLD_QUEUE	a wake-up locks the queue of the CPU that it read before, and does not look again
 *	BUG_WAKE_PLAIN		a wake-up sets the state of a thread that runs by a plain store
 *	BUG_LOOK_LATE		finish_switch looks whether the thread is dead after the release
 *	BUG_PUT_EARLY		a dying thread drops its own reference before its last switch
 *	BUG_DEAD_PREEMPTED	a dead thread can be preempted before its last switch
 *	BUG_NO_RUN_REF		the thread has no reference for running
 *	BUG_BLOCK_BLINDLY	sched_block does not look at the state under the lock
 */
#define CPUS 2
#define NOBODY CPUS
#define SLEEPS 2

#define RUNNABLE 0
#define SLEEPING 1
#define DEAD	 2

byte state = RUNNABLE;
byte home;		/* t->cpu */
bool on_rq = true;
byte stack = NOBODY;	/* the CPU that runs on it */
bool freed;
byte sleeps;		/* how often it slept */
bool preempted;
bool rq_lock[CPUS];
#ifdef BUG_NO_RUN_REF
byte refs = 1;
#else
byte refs = 2;		/* while it may run; its maker's */
#endif

inline lock(cpu)
{
	atomic { !rq_lock[cpu] -> rq_lock[cpu] = true }
}

#define unlock(cpu) rq_lock[cpu] = false

inline put()
{
	d_step {
		assert(refs > 0);
		refs--;
		if
		:: refs == 0 -> assert(stack == NOBODY && !on_rq); freed = true
		:: else
		fi
	}
}

/* From the thread, which has been dequeued or not, to the idle thread. Lock held. */
inline switch_away()
{
#ifdef BUG_RELEASE_EARLY
	unlock(me);
#endif
	stack = NOBODY; /* registers saved, rsp is the idle thread's */
#ifdef BUG_LOOK_LATE
	unlock(me);
	assert(!freed);
	dead = (state == DEAD);
#else
	assert(!freed);
	dead = (state == DEAD);
#ifndef BUG_RELEASE_EARLY
	unlock(me);
#endif
#endif
	if
	:: dead ->
#ifndef BUG_PUT_EARLY
#ifndef BUG_NO_RUN_REF
		put()
#endif
#endif
	:: else
	fi;
	running = false
}

inline sched_block()
{
	lock(me);
	if
#ifndef BUG_BLOCK_BLINDLY
	:: state == RUNNABLE -> unlock(me)
	:: else ->
#else
	:: true ->
#endif
		on_rq = false;
		switch_away()
	fi
}

/* Nobody wakes the dead. */
inline sched_block_dead()
{
	lock(me);
	assert(state == DEAD);
	on_rq = false;
	switch_away()
}

inline preempt()
{
	lock(me);
	switch_away()
}

/* The thread, on CPU me, until it leaves the CPU. */
inline run_thread()
{
	do
	:: running && sleeps < SLEEPS ->
		sleeps++;
		state = SLEEPING;
		if
		:: sched_block()
		:: state = RUNNABLE /* waitq_finish: the condition is true by now */
		fi
	:: running && !preempted -> preempted = true; preempt()
	:: running && sleeps == SLEEPS ->
		state = DEAD;
#ifdef BUG_PUT_EARLY
		put();
#endif
#ifdef BUG_DEAD_PREEMPTED
		if
		:: !preempted -> preempted = true; preempt()
		:: true -> sched_block_dead()
		fi
#else
		sched_block_dead()
#endif
	:: !running -> break
	od
}

proctype processor(byte me)
{
	bool dead, running;

	do
	:: atomic { on_rq && home == me && !rq_lock[me] -> rq_lock[me] = true }; /* the idle thread is preempted */
		d_step {
			assert(stack == NOBODY && !freed);
			stack = me;
			running = true
		};
		unlock(me); /* finish_switch of the thread */
		run_thread()
	:: freed -> break
	od
}

#ifdef BUG_WAKE_OLD_QUEUE
#define same_home true
#else
#define same_home (home == cpu)
#endif

proctype waker()
{
	byte cpu;

	do
	:: state == SLEEPING ->
		cpu = home;
#ifndef BUG_WAKE_NO_LOCK
		lock(cpu);
#endif
		if
		:: same_home && state == SLEEPING ->
			if
			:: !on_rq ->
				state = RUNNABLE;
				if
				:: home = 0
				:: home = 1
				fi;
				on_rq = true
			:: else ->
#ifdef BUG_WAKE_PLAIN
				state = RUNNABLE
#else
				atomic {
					if
					:: state == SLEEPING -> state = RUNNABLE
					:: else
					fi
				}
#endif
			fi
		:: else
		fi;
#ifndef BUG_WAKE_NO_LOCK
		unlock(cpu)
#endif
	:: state == DEAD -> break
	od
}

proctype maker()
{
	state == DEAD;
	put()
}

init {
	atomic { run processor(0); run processor(1); run waker(); run waker(); run maker() }
}
