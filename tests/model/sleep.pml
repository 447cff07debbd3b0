/*
 * Sleeping and waking: sched/waitq.c, sched_block and sched_wake of sched/core.c.
 *
 * A thread waits for a condition (wait_event_interruptible). Somebody makes it true and wakes the
 * queue, or sends a signal and wakes the thread past the queue, or both. Preemption may come at any
 * time. Locks are words, taken by a locked instruction and released by a plain store.
 *
 *	waiter: joins the queue; state = SLEEPING by an exchange, a full barrier; condition or signal? then
 *	        do not sleep; otherwise sched_block, which looks at the state again under the run queue's lock
 *	waker:  condition = true; full barrier; who is in the queue is woken
 *	signal: work = true; full barrier (the run queue's lock); the thread is woken if it sleeps
 *
 *	waker:  wakes, then takes out of the queue, and looks at the waiter no more
 *	waiter: out of the queue? then its struct waiter may go, without the queue's lock, and it is RUNNABLE
 *	        without another store; otherwise it says so itself, and takes itself out
 *
 * Holds: the waiter does not sleep for ever, and is RUNNABLE when it is done. The waker looks at no struct
 * waiter that has gone.
 *
 * Stands for: waitq_prepare, waitq_finish, waitq_leave, wake, wait_event_, sched_block, sched_wake,
 * preempt_current.
 *
 * Broken on purpose:
 *	BUG_NO_BARRIER		the store of the state is none, and so no barrier before the looks
 *	BUG_STATE_LATE		the state is set after the condition was looked at
 *	BUG_JOIN_LATE		the waiter joins the queue after the condition was looked at
 *	BUG_NO_SIGNAL_LOOK	the waiter looks at the condition alone
 *	BUG_BLOCK_BLINDLY	sched_block does not look at the state
 *	BUG_BLOCK_LOOKS_EARLY	it looks before it has the run queue's lock
 *	BUG_WAKE_FIRST		the waker wakes, then makes the condition true
 *	BUG_WAKE_PEEKS		the waker first looks without lock and barrier whether anybody waits
 *	BUG_WAKE_NO_STATE	a wake-up puts a sleeper into the ring and leaves its state
 *	BUG_PREEMPT_DEQUEUES	preemption takes a thread out of its ring that is about to sleep
 *	BUG_OUT_FIRST		the waker takes out of the queue, then wakes
 *	BUG_TRUST_NOBODY_WOKE	the waiter takes itself out without a store of its state
 */
#define CPUS 3
#define VARS 6
#define COND   0
#define WORK   1	/* a signal is pending */
#define STATE  2	/* 0 runnable, 1 sleeping */
#define QLOCK  3
#define RQLOCK 4
#define LISTED 5	/* the waiter is in the queue */
#include "tso.inc"

bool on_rq = true;
bool there;	/* the struct waiter */

inline lock(l)
{
	atomic { barrier(me) && mem[l] == 0 -> mem[l] = 1 }
}

#define unlock(l) store(me, l, 0)

inline join()
{
	lock(QLOCK);
	there = true;
	store(me, LISTED, 1)
}

inline preempt()
{
	lock(RQLOCK);
#ifdef BUG_PREEMPT_DEQUEUES
	if
	:: load(me, STATE) == 1 -> on_rq = false
	:: else
	fi;
#endif
	unlock(RQLOCK);
	on_rq /* picked again */
}

inline maybe_preempted()
{
	if
	:: preempted < 1 -> preempted++; preempt()
	:: true
	fi
}

inline sched_block()
{
#ifdef BUG_BLOCK_LOOKS_EARLY
	runnable = load(me, STATE) == 0;
#endif
	lock(RQLOCK);
#ifdef BUG_BLOCK_BLINDLY
	runnable = false;
#else
#ifndef BUG_BLOCK_LOOKS_EARLY
	runnable = load(me, STATE) == 0;
#endif
#endif
	if
	:: runnable -> unlock(RQLOCK)
	:: else ->
		on_rq = false;
		unlock(RQLOCK); /* by the thread that follows */
		on_rq
	fi
}

/* waitq_finish, and waitq_leave */
inline finish()
{
	if
	:: load(me, LISTED) == 0
	:: else ->
#ifndef BUG_TRUST_NOBODY_WOKE
		store(me, STATE, 0);
#endif
		lock(QLOCK);
		store(me, LISTED, 0);
		unlock(QLOCK)
	fi;
	there = false;
	assert(load(me, STATE) == 0)
}

inline sched_wake()
{
	lock(RQLOCK);
	if
	:: load(me, STATE) == 1 ->
#ifndef BUG_WAKE_NO_STATE
		store(me, STATE, 0);
#endif
		on_rq = true
	:: else
	fi;
	unlock(RQLOCK)
}

proctype waiter()
{
	byte me = 0, preempted;
	bool runnable;

	do
	:: load(me, COND) == 1 -> break
	:: else ->
#ifdef BUG_JOIN_LATE
		lock(QLOCK);
#else
		join();
#endif
#ifndef BUG_STATE_LATE
		store(me, STATE, 1);
#endif
#ifndef BUG_NO_BARRIER
		barrier(me);
#endif
		unlock(QLOCK);
		maybe_preempted();
		if
		:: load(me, COND) == 1 -> break
#ifndef BUG_NO_SIGNAL_LOOK
		:: load(me, COND) == 0 && load(me, WORK) == 1 -> break
		:: load(me, COND) == 0 && load(me, WORK) == 0
#else
		:: else
#endif
		fi;
#ifdef BUG_JOIN_LATE
		join();
		unlock(QLOCK);
#endif
#ifdef BUG_STATE_LATE
		store(me, STATE, 1);
#endif
		maybe_preempted();
		sched_block();
		finish();
#ifdef BUG_NO_SIGNAL_LOOK
		if
		:: load(me, WORK) == 1 -> break
		:: else
		fi
#endif
	od;
	finish()
}

proctype waker()
{
	byte me = 1;

#ifndef BUG_WAKE_FIRST
	store(me, COND, 1);
#endif
#ifdef BUG_WAKE_PEEKS
	if
	:: load(me, LISTED) == 0 -> goto over
	:: else
	fi;
#else
	barrier(me);
#endif
	lock(QLOCK);
	if
	:: load(me, LISTED) == 1 ->
#ifdef BUG_OUT_FIRST
		store(me, LISTED, 0);
#endif
		assert(there); /* w->thread */
		sched_wake();
#ifndef BUG_OUT_FIRST
		assert(there);
		store(me, LISTED, 0)
#endif
	:: else
	fi;
	unlock(QLOCK);
#ifdef BUG_WAKE_FIRST
	store(me, COND, 1);
#endif
over:	skip
}

proctype signaller()
{
	byte me = 2;

	store(me, WORK, 1);
	sched_wake()
}

init {
	atomic {
		run waiter(); run drain(0); run drain(1); run drain(2);
		if
		:: run waker()
		:: run signaller()
		:: run waker(); run signaller()
		fi
	}
}
