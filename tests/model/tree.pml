/*
 * Inside the tree of processes, or alone in it: proc/tree.c.
 *
 * Each CPU has a lock that only it takes, by a locked instruction, and that others look at. Who wants to be alone
 * takes the lock for that and waits until each CPU's is free. Who is inside sees that lock free behind its own, or
 * gives its own back, stands in line, and takes it again as the only one. CPUs 0 and 1 are inside a few times, with changes of things that they do not
 * share; CPUs 1 and 2 are alone. Locks are released by plain stores.
 *
 * Holds: who is alone is alone, and sees what those have done who were inside before; nobody waits for ever.
 *
 * Stands for: proc_enter, proc_leave, proc_lock, proc_unlock, spin_await.
 *
 * Broken on purpose:
 *	BUG_ENTER_PLAIN	a CPU's own lock is taken by a plain store
 *	BUG_LOOK_FIRST	the other lock is looked at first, then the own one taken
 *	BUG_RELEASE_FIRST	who has stood in line lets the next one go before it has its own lock
 *	BUG_KEEP	who stands in line keeps its own lock
 *	BUG_ONE_CPU	who wants to be alone waits for one CPU only
 */
#define CPUS 3
#define VARS 5
#define IN(c)	   (c)	     /* CPU c's own lock: 0 and 1 */
#define ALONE	   2
#define WORK(c)	   (3 + (c)) /* what CPU c changes when it is inside */
#include "tso.inc"

byte inside;	   /* how many are */
bool alone;
byte done[2];	   /* changes of CPU c: what WORK(c) is to be */
byte over;

inline take_alone()
{
	atomic { barrier(me) && mem[ALONE] == 0 -> mem[ALONE] = 1 }
}

inline take_own()
{
#ifdef BUG_ENTER_PLAIN
	store(me, IN(me), 1)
#else
	atomic { barrier(me) -> mem[IN(me)] = 1 }
#endif
}

inline enter()
{
#ifndef BUG_LOOK_FIRST
	take_own();
#endif
	if
	:: load(me, ALONE) == 0
#ifdef BUG_LOOK_FIRST
		-> take_own()
#endif
	:: else ->
#if !defined(BUG_KEEP) && !defined(BUG_LOOK_FIRST)
		store(me, IN(me), 0);
#endif
		take_alone();
#ifdef BUG_RELEASE_FIRST
		store(me, ALONE, 0);
		take_own()
#else
#ifndef BUG_KEEP
		take_own();
#endif
		store(me, ALONE, 0)
#endif
	fi;
	atomic { assert(!alone); inside++ }
}

inline change()
{
	d_step { done[me]++; number = done[me] };
	store(me, WORK(me), number);
	number = 0
}

inline leave()
{
	inside--;
	store(me, IN(me), 0)
}

inline be_alone()
{
	take_alone();
	load(me, IN(0)) == 0;
#ifndef BUG_ONE_CPU
	load(me, IN(1)) == 0;
#endif
	atomic { assert(!alone && !inside); alone = true };
	atomic { assert(load(me, WORK(0)) == done[0] && load(me, WORK(1)) == done[1]) };
	alone = false;
	store(me, ALONE, 0)
}

proctype worker(byte me)
{
	byte number, times;

	do
	:: times == 2 -> break
	:: times < 2 ->
		times++;
		enter();
		change();
		leave();
		if
		:: me == 1 -> be_alone()
		:: me == 0
		fi
	od;
	over++
}

proctype loner(byte me)
{
	be_alone();
	be_alone();
	over++
}

init {
	atomic {
		run worker(0); run worker(1); run loner(2);
		run drain(0); run drain(1); run drain(2)
	};
	over == 3
}
