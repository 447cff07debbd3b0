/*
 * Spin locks: sync/spinword.h, sync/spinlock.c.
 *
 * Three CPUs take the lock, some of them twice. Each tries the fast way; when that fails it tries on, out of turn, or
 * draws a ticket, as it likes. The word's two bytes of state are cells of their own, which locked operations change together.
 *
 *	fast way:  LOCKED and CLOSED both clear -> LOCKED set, in one step
 *	in turn:   draws; waits until it is served; sets CLOSED (locked); waits for LOCKED clear; looks whether more have drawn;
 *	           stores LOCKED set, CLOSED left if there are more; serves the next
 *	release:   LOCKED cleared
 *
 * Holds: one CPU at a time is inside; nobody comes by the fast way while the lock is closed; all come to their end.
 *
 * Stands for: spin_acquire, spin_wait, take_soon, take_in_turn, spin_release.
 *
 * Broken on purpose:
 *	BUG_CLOSE_PLAIN		the lock is closed by a plain store
 *	BUG_CLOSE_LATE		who is served sees that the lock is free, and then closes it
 *	BUG_NEWCOMER_LOOKS	a newcomer looks whether the lock is free, and then stores LOCKED
 *	BUG_IGNORE_CLOSED	a newcomer looks at LOCKED alone
 *	BUG_RELEASE_BOTH	a release clears CLOSED as well
 *	BUG_NO_SERVE		who was served does not serve the next
 */
#define CPUS 3
#define BUFFER 2
#define VARS 4
#define LOCKED	0
#define CLOSED	1
#define NEXT	2
#define SERVING 3
#include "tso.inc"

#define TICKETS 8

byte inside;

#ifdef BUG_IGNORE_CLOSED
#define is_free (mem[LOCKED] == 0)
#else
#define is_free (mem[LOCKED] == 0 && mem[CLOSED] == 0)
#endif

inline take_in_turn()
{
	atomic { barrier(me) -> ticket = mem[NEXT]; mem[NEXT] = (ticket + 1) % TICKETS };
	(load(me, SERVING) == ticket);
#ifdef BUG_CLOSE_LATE
	(load(me, LOCKED) == 0);
	store(me, LOCKED, 1);
#endif
#ifdef BUG_CLOSE_PLAIN
	store(me, CLOSED, 1);
#else
	atomic { barrier(me) -> mem[CLOSED] = 1 };
#endif
#ifndef BUG_CLOSE_LATE
	(load(me, LOCKED) == 0 && load(me, CLOSED) == 1);
#endif
	more = load(me, NEXT) != (ticket + 1) % TICKETS;
	store(me, LOCKED, 1);
	store(me, CLOSED, more);
#ifndef BUG_NO_SERVE
	store(me, SERVING, (ticket + 1) % TICKETS);
#endif
	ticket = 0;
	more = false
}

proctype cpu(byte me)
{
	byte ticket, times;
	bool more;

	do
	:: times <= me % 2 ->
		if
#ifdef BUG_NEWCOMER_LOOKS
		:: load(me, LOCKED) == 0 && load(me, CLOSED) == 0 -> store(me, LOCKED, 1)
#else
		:: atomic { barrier(me) && is_free -> assert(mem[CLOSED] == 0); mem[LOCKED] = 1 }
#endif
		:: true -> take_in_turn()
		fi;
		inside++;
		assert(inside == 1);
		inside--;
#ifdef BUG_RELEASE_BOTH
		store(me, CLOSED, 0);
#endif
		store(me, LOCKED, 0);
		times++
	:: else -> break
	od
}

init {
	atomic {
		run cpu(0); run cpu(1); run cpu(2);
		run drain(0); run drain(1); run drain(2)
	}
}
