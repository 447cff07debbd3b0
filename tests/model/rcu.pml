/*
 * Grace periods: sync/rcu.c.
 *
 * Two CPUs take objects out of a structure and give them to call_rcu, the first one two objects; a
 * third one reads. Each CPU takes interrupts, in which rcu_poll and, between two readers,
 * rcu_quiescent are called.
 *
 *	remover		unlinks; queues; rcu_poll: the batch gets target = ++rcu_period (locked)
 *	every CPU	between readers: seen = rcu_period (plain load, plain store)
 *	remover		rcu_poll: every CPU has seen the target: the batch is freed
 *
 * Holds: no reader uses an object that is freed; and every object is freed at last.
 *
 * Stands for: call_rcu, rcu_quiescent, rcu_quiescent_irq, period_over, rcu_poll.
 * Never ends: remover
 *
 * Broken on purpose:
 *	BUG_SEEN_IN_READER	an interrupt says "between two readers" without asking
 *	BUG_RAISE_PLAIN		rcu_period is raised by a load and a store
 *	BUG_NO_RAISE		a batch's target is the period that is
 *	BUG_ONE_LIST		what is queued later joins the batch that waits
 *	BUG_SKIP_CPU		one CPU is not asked
 *	BUG_RAISE_FIRST		the period begins before the object is unlinked
 */
#define CPUS 3
#define BUFFER 1
#define VARS 7
#define LINK(i)	 (i)		/* 1: the object can be found */
#define SEEN(c)	 (3 + (c))
#define PERIOD	 6
#define READER	 2
#include "tso.inc"

bool freed[3];
byte user = 3;			/* the object that the reader has found; 3: none */
byte finished;

/* An interrupt that has nothing new to tell changes nothing. */
inline quiescent()
{
	d_step { load(me, PERIOD) != load(me, SEEN(me)) -> period = load(me, PERIOD) };
	store(me, SEEN(me), period);
	period = 0
}

#define seen_by(c) (load(me, SEEN(c)) >= target)
#ifdef BUG_SKIP_CPU
#define period_over (seen_by(0) && seen_by(1))
#else
#define period_over (seen_by(0) && seen_by(1) && seen_by(2))
#endif

inline raise()
{
#ifdef BUG_NO_RAISE
	target = load(me, PERIOD)
#else
#ifdef BUG_RAISE_PLAIN
	target = load(me, PERIOD) + 1;
	store(me, PERIOD, target)
#else
	atomic { barrier(me) -> mem[PERIOD] = mem[PERIOD] + 1; target = mem[PERIOD] }
#endif
#endif
}

/* Objects are bits of next and queued. */
inline poll()
{
	if
	:: queued && period_over ->
		d_step {
			freed[0] = freed[0] || (queued & 1);
			freed[1] = freed[1] || (queued & 2);
			freed[2] = freed[2] || (queued & 4);
			assert(user == 3 || !freed[user]);
			queued = 0
		}
	:: else
	fi;
	if
	:: !queued && next ->
		queued = next;
		next = 0;
#ifndef BUG_RAISE_FIRST
		raise()
#endif
	:: else
	fi
}

/* Removes the objects of `todo`, one bit each, in order. */
proctype remover(byte me, todo)
{
	byte next, queued, target, period, i;

	do
	:: todo ->
		d_step {
			if
			:: todo & 1 -> i = 0
			:: !(todo & 1) && (todo & 2) -> i = 1
			:: else -> i = 2
			fi;
			todo = todo & ~(1 << i)
		};
#ifdef BUG_RAISE_FIRST
		raise();
#endif
		store(me, LINK(i), 0);
#ifdef BUG_ONE_LIST
		if
		:: queued -> queued = queued | (1 << i)
		:: else -> next = next | (1 << i)
		fi
#else
		next = next | (1 << i)
#endif
	:: quiescent()
	:: next || queued -> poll()
	:: !todo && !next && !queued -> break
	od;
	finished++;
end:	do
	:: quiescent() /* its interrupts go on */
	od
}

proctype reader()
{
	byte rounds, period, i;
	byte me = READER;

	do
	:: rounds < 1 ->
		rounds++;
		/* preemption off */
		if
		:: i = 0
		:: i = 1
		:: i = 2
		fi;
		if
		:: atomic { load(me, LINK(i)) -> assert(!freed[i]); user = i }
#ifdef BUG_SEEN_IN_READER
			;
			quiescent()
#endif
			;
			user = 3
		:: load(me, LINK(i)) == 0
		fi
	:: atomic { quiescent() }
	:: finished == 2 -> break
	od
}

init {
	atomic {
		mem[LINK(0)] = 1; mem[LINK(1)] = 1; mem[LINK(2)] = 1;
		run remover(0, 3); run remover(1, 4); run reader();
		run drain(0); run drain(1); run drain(2)
	};
	finished == 2;
	assert(freed[0] && freed[1] && freed[2])
}
