/*
 * Moving threads between CPUs, and nobody idle while work waits: sched/balance.c, sched/core.c.
 *
 * Thread X runs on CPU 0 and never gives it up. It starts thread Y there, and wakes it when it sleeps,
 * here or on CPU 1; a second waker does the same at the same time. CPU 1 is idle whenever it has nothing:
 * it takes Y from CPU 0's queue, or halts until it is called. Locks are words, released by a plain
 * store; the numbers of threads in the queues are read without.
 *
 *	idle CPU:  enters idle_cpus (locked); looks at the others' queues; takes, or looks again if one is locked, or halts
 *	enqueuer:  puts the thread into the queue; full barrier; looks at idle_cpus; calls one
 *	crowded:   a queue is marked in the same breath as it gets its second thread, and unmarked by its CPU when it
 *		   has one or none; both under its lock. Who looks for work looks at marked queues only
 *	moving:    out of the one queue under its lock, on_rq = MOVING, t->cpu the new one; then into the
 *	           other under that one's lock
 *
 * Holds: Y runs on one CPU at a time, is in one queue at a time, and comes to its end.
 *
 * Stands for: sched_idle, sched_idle_begin, take_work, take_from, find_waiting, sched_arrive,
 * make_runnable, sched_call_idle, kick, wake_up, sched_wake, lock_thread_rq.
 *
 * Broken on purpose:
 *	BUG_IDLE_PLAIN		the idle CPU enters idle_cpus by a plain store
 *	BUG_LOOK_FIRST		it looks at the queues, then enters idle_cpus
 *	BUG_ENQUEUE_NO_BARRIER	no barrier between the queue and the look at idle_cpus
 *	BUG_NO_CALL		an enqueuer calls nobody
 *	BUG_NO_MARK		a queue that gets a second thread is not marked
 *	BUG_MARK_LATE		it is marked when idle_cpus has been looked at
 *	BUG_UNMARK_NO_LOCK	its CPU looks at the number and takes the mark away without the lock
 *	BUG_NO_KICK		who puts a thread into an idle CPU's queue does not say so
 *	BUG_TAKE_NO_LOCK	a thread is taken without the queue's lock
 *	BUG_BUSY_HALTS		an idle CPU that finds the queue locked halts
 *	BUG_MOVING_OFF		a thread that moves counts as asleep
 *	BUG_OLD_CPU		a thread that is taken keeps its t->cpu
 *	BUG_WAKE_OLD_QUEUE	a waker does not look again whose queue it has locked
 */
#define CPUS 3
#define BUFFER 1
#define VARS 6
#define LOCK(c)	   (c)	     /* of the queues of CPUs 0 and 1 */
#define RUNNING(c) (2 + (c)) /* rq->runnable */
#define IDLE	   4	     /* CPU 1 in idle_cpus */
#define CROWDED	   5	     /* CPU 0 in crowded */
#include "tso.inc"

#define OFF    0
#define ON     1
#define MOVING 2

/* Y. [lock of its queue; who moves it] */
byte on_rq = MOVING;
byte home;		/* t->cpu */
bool sleeping;		/* t->state */
byte curr = 2;		/* the CPU that runs it; 2: none */
byte times;		/* how often it ran */
bool over;
bool crowded;		/* rq->crowded of CPU 0 */
bool message;		/* the reschedule interrupt of CPU 1 is pending */

inline lock(c)
{
	atomic { barrier(me) && mem[LOCK(c)] == 0 -> mem[LOCK(c)] = 1 }
}

inline unlock(c)
{
	store(me, LOCK(c), 0)
}

/* runnable += n. Lock held. */
inline count(c, n)
{
	d_step { number = load(me, RUNNING(c)) + n };
	store(me, RUNNING(c), number);
	number = 0
}

/* Whom an enqueuer interrupts: CPU 1, if Y is for it and it runs its idle thread; if it is idle and may
 * take Y. */
#ifdef BUG_NO_KICK
#define kicked false
#else
#define kicked (me != 1)
#endif
#ifdef BUG_NO_CALL
#define called false
#else
#define called load(me, IDLE)
#endif

/* sched_mark_crowded. Lock held. */
#define to_mark(c) (c == 0 && !crowded && load(me, RUNNING(0)) >= 2)
inline mark(c)
{
	atomic {
		!to_mark(c) || barrier(me) ->
		mem[CROWDED] = (to_mark(c) -> 1 : mem[CROWDED]);
		crowded = mem[CROWDED]
	}
}

/* CPU 0's tick. */
inline unmark()
{
#ifndef BUG_UNMARK_NO_LOCK
	lock(0);
#endif
	if
	:: crowded && load(me, RUNNING(0)) < 2 ->
		crowded = false;
		atomic { barrier(me) -> mem[CROWDED] = 0 }
	:: else
	fi;
#ifndef BUG_UNMARK_NO_LOCK
	unlock(0)
#endif
}

/* Y comes into the queue of CPU c, which is locked. */
inline put(c)
{
	assert(on_rq != ON && curr == 2); /* off its stack, too */
	on_rq = ON;
	count(c, 1)
}

/* sched_arrive, make_runnable. */
inline enqueue(c)
{
	put(c);
#if !defined(BUG_NO_MARK) && !defined(BUG_MARK_LATE)
	mark(c);
#endif
#ifndef BUG_ENQUEUE_NO_BARRIER
	(c == 1 || barrier(me));
#endif
	message = message || (c == 1 -> kicked : called)
#ifdef BUG_MARK_LATE
	; mark(c)
#endif
}

inline arrive(c)
{
	lock(c);
	enqueue(c);
	unlock(c)
}

/* sched_wake: to this queue or another's. */
inline wake()
{
	do
	:: c = home;
		lock(c);
		if
#ifndef BUG_WAKE_OLD_QUEUE
		:: home != c -> unlock(c)
		:: home == c -> break
#else
		:: true -> break
#endif
		fi
	od;
	if
#ifdef BUG_MOVING_OFF
	:: on_rq != ON && !over && (sleeping || on_rq == MOVING) ->
#else
	:: sleeping && on_rq == OFF ->
#endif
		sleeping = false;
		if
		:: true -> enqueue(c); unlock(c)
		:: true ->
			on_rq = MOVING;
			home = 1 - c;
			unlock(c);
			arrive(home)
		fi
	:: else -> unlock(c)
	fi;
	c = 0
}

/* CPU 0: X. */
proctype starter()
{
	byte me = 0, c, number;

	arrive(0);
	do
	:: sleeping -> wake()
	:: crowded && load(me, RUNNING(0)) < 2 -> unmark()
	:: over -> break
	od
}

proctype other_waker()
{
	byte me = 2, c, number, tries;

	do
	:: tries < 2 -> tries++; wake()
	:: break
	od
}

/* take_from of CPU 1, the lock held. */
inline take_from_0()
{
	if
	:: load(me, RUNNING(0)) >= 2 ->
		assert(on_rq == ON && home == 0);
		count(0, -1);
		on_rq = MOVING;
#ifndef BUG_OLD_CPU
		home = 1;
#endif
		taken = true
	:: else
	fi;
#ifndef BUG_TAKE_NO_LOCK
	unlock(0);
#endif
	if
	:: taken -> lock(1); put(1); unlock(1)
	:: else
	fi
}

/* take_work of CPU 1. `taken`: Y moved; `busy`: nobody knows. */
inline take_work()
{
	taken = false;
	busy = false;
	if
	:: load(me, CROWDED) && load(me, RUNNING(0)) >= 2 ->
#ifdef BUG_TAKE_NO_LOCK
		take_from_0()
#else
		atomic {
			if
			:: barrier(me) && mem[LOCK(0)] == 0 -> mem[LOCK(0)] = 1
			:: mem[LOCK(0)] != 0 -> busy = true
			fi
		};
		if
		:: busy
		:: else -> take_from_0()
		fi
#endif
	:: else
	fi
}

/* Y runs on CPU 1, from the switch to it to the next. */
inline run_y()
{
	assert(curr == 2 && on_rq == ON);
	curr = 1;
	unlock(1);
	times++;
	lock(1);
	if
	:: times < 2 -> sleeping = true
	:: else -> over = true
	fi;
	count(1, -1);
	on_rq = OFF;
	curr = 2; /* the switch */
	unlock(1)
}

/* CPU 1: sched_idle. */
proctype idler()
{
	byte me = 1, number;
	bool taken, busy;

	do
	:: over -> break
	:: !over ->
		lock(1);
		if
		:: load(me, RUNNING(1)) -> run_y()
		:: else ->
			unlock(1);
#ifdef BUG_LOOK_FIRST
			take_work();
#endif
#ifdef BUG_IDLE_PLAIN
			store(me, IDLE, 1);
#else
			atomic { barrier(me) -> mem[IDLE] = 1 };
#endif
#ifndef BUG_LOOK_FIRST
			take_work();
#endif
			if
			:: taken
#ifndef BUG_BUSY_HALTS
			:: busy
			:: !taken && !busy -> /* sti; hlt */
#else
			:: !taken -> /* sti; hlt */
#endif
				do
				:: message -> message = false; break
				:: over -> break
				od
			fi;
			atomic { barrier(me) -> mem[IDLE] = 0 }
		fi
	od
}

init {
	atomic {
		mem[RUNNING(0)] = 1;
		run starter(); run idler(); run other_waker();
		run drain(0); run drain(1); run drain(2)
	}
}
