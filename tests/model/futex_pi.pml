/*
 * A word of memory with an owner: FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, the owner's end (proc/futex_pi.c).
 *
 * Three threads lock and unlock one word, each a few times. The program's own part is a compare-and-swap,
 * 0 to the thread's id and back; only where that fails does it call the kernel. Thread 1 may die with the
 * lock; thread 3 may give up waiting; each one ends at last by the same way as one that dies. Thread 2 is more
 * urgent than 3.
 *
 * What is between pi_begin and pi_end is one step; the mutex of the word's bucket is a word. Stores are not delayed: all
 * but a sleeper's state happens in locked instructions, and that one is in sleep.pml.
 *
 * Holds: one owner at a time, and the word names it; nobody sleeps for ever; no state is touched that has been freed, and
 * none is left in the end; no call fails but by giving up.
 *
 * Stands for: futex_lock_pi, try_once, join_state, begin_state, enqueue, sleep_for, stop_waiting, end_wait, write_word,
 * clear_stale, state_put, state_unlink, futex_unlock_pi, grant, pass_on, owned_state, futex_pi_exit_begin, owner_died,
 * futex_pi_exit_end.
 *
 * Broken on purpose:
 *	BUG_NO_WAITERS		who waits does not set FUTEX_WAITERS in the word
 *	BUG_UNLOCK_TO_ZERO	an unlock with waiters writes 0, not the next one's id
 *	BUG_NO_MUTEX		an unlock does not take the mutex
 *	BUG_GRANT_BEHIND_WAKE	who is granted the lock is woken before that is written down
 *	BUG_SLEEP_UNSEEN	a sleeper does not look again once its state is out
 *	BUG_LEFT_IS_LEFT	who gave up does not look whether it was granted the lock meanwhile
 *	BUG_JOIN_NOBODY		a waiter joins a state that has no owner
 *	BUG_JOIN_DYING		a waiter makes a thread the owner that ends
 *	BUG_ENDS_LATE		a thread says that it ends only behind its look at what it owns
 *	BUG_NO_MARK		who makes a thread the owner does not say so in its pi_ends
 *	BUG_GRANT_NO_MARK	who hands over to a thread does not
 *	BUG_NO_PASS_ON		a thread that ends hands nothing over
 *	BUG_ONE_PASS_ON		it looks once at what it owns, before the word says that it died
 *	BUG_NOT_STALE		who gets the lock of a dead one does not write its id into the word
 *	BUG_NO_LOOK_BACK	an owner that is not found is an error, whatever the word says by now
 *	BUG_WALK_BEHIND		the word says that its owner died only when that one has ended
 *	BUG_PUT_NO_MUTEX	a waiter drops its state before it has the mutex
 */
#define THREADS 3
#define WAITERS 4
#define DIED	8
#define TID(w)	(w & 3)

#define LIVES 0
#define OWNS  1
#define ENDS  2
#define ENDED 3

typedef pi_state {
	bool there;    /* not freed */
	bool linked;   /* found by the key */
	bool stale;    /* the word does not name the owner yet */
	byte owner;
	byte refs;
	bool waits[4]  /* by thread */
};

byte word;
bool mutex;
pi_state s[4];	       /* from 1 */
byte state_of[4];      /* of who waits; 0: none */
bool granted[4];
bool asleep[4];	       /* thread.state */
byte ends[4];	       /* thread.pi_ends */
byte holder;	       /* who is in the critical section */
byte gone;	       /* threads that have ended */

#define FIRST(x) (s[x].waits[1] -> 1 : (s[x].waits[2] -> 2 : (s[x].waits[3] -> 3 : 0)))
#define LINKED	 (s[1].linked -> 1 : (s[2].linked -> 2 : (s[3].linked -> 3 : 0)))
#define FREE	 (!s[1].there -> 1 : (!s[2].there -> 2 : 3))
#define OWNED(t) (s[1].owner == t && FIRST(1) -> 1 : (s[2].owner == t && FIRST(2) -> 2 : (s[3].owner == t && FIRST(3) -> 3 : 0)))

inline lock()
{
	atomic { !mutex -> mutex = true }
}

inline unlock()
{
	mutex = false
}

/* settle_owner */
inline settle(x, t)
{
	assert(s[x].there);
	s[x].owner = (FIRST(x) || s[x].stale -> t : 0)
}

/* grant: in one step, the lock and the wake-up. */
inline grant(x, to, by_death)
{
	assert(s[x].there);
#ifdef BUG_GRANT_BEHIND_WAKE
	asleep[to] = false;
#endif
	atomic {
		s[x].waits[to] = false;
#ifndef BUG_NOT_STALE
		s[x].stale = by_death;
#endif
		settle(x, to);
#ifndef BUG_GRANT_NO_MARK
		assert(ends[to] < ENDS);
		ends[to] = OWNS;
#endif
		granted[to] = true;
#ifndef BUG_GRANT_BEHIND_WAKE
		asleep[to] = false
#endif
	}
}

inline state_put(x)
{
	atomic {
		assert(s[x].there && s[x].refs);
		s[x].refs--;
		last = s[x].refs == 0
	};
	atomic {
		if
		:: last ->
			assert(!FIRST(x) && s[x].refs == 0);
			s[x].linked = false;
			s[x].there = false;
			s[x].stale = false;
			s[x].owner = 0;
			last = false
		:: else
		fi
	}
}

/* acquire: 1 in `got`: it owns the word; a state in state_of[me]: it waits. With the mutex. */
inline acquire()
{
	do
	:: x = LINKED;
		w = word;
		assert(TID(w) != me);
		if
		:: x -> /* join_state, enqueue */
			atomic {
				other = s[x].owner;
				assert(!other || s[x].stale || TID(w) == other || ((w & DIED) && !TID(w)))
			};
			if
#ifndef BUG_JOIN_NOBODY
			:: !other -> s[x].linked = false
#endif
			:: else ->
				atomic {
					if
#ifndef BUG_JOIN_NOBODY
					:: !s[x].owner
#endif
					:: else -> s[x].waits[me] = true; s[x].refs++; state_of[me] = x; break
					fi
				}
			fi
		:: else -> /* try_once: a compare-and-swap */
			atomic {
				if
				:: word != w -> ok = false
				:: word == w && !TID(w) -> word = (w & DIED) | me; got = true; ok = true
				:: word == w && TID(w) ->
#ifndef BUG_NO_WAITERS
					word = w | WAITERS;
#endif
					ok = true
				fi
			};
			if
			:: got -> break
			:: !ok
			:: !got && ok -> /* begin_state, enqueue */
				other = TID(w);
				w = w | WAITERS;
				atomic {
					x = FREE;
					assert(!s[x].there);
					s[x].there = true;
					s[x].linked = true;
					s[x].refs = 1
				};
				atomic {
#ifdef BUG_JOIN_DYING
					ok = true;
#else
					ok = ends[other] < ENDS;
#endif
#ifndef BUG_NO_MARK
					ends[other] = (ok && ends[other] == LIVES -> OWNS : ends[other]);
#endif
					if
					:: ok ->
						s[x].owner = other;
						s[x].waits[me] = true;
						s[x].refs++;
						state_of[me] = x
					:: else
					fi
				};
				if
				:: !ok -> s[x].linked = false
				:: ok
				fi;
				state_put(x);
				if
				:: ok -> break
				:: !ok && ends[other] == ENDS ->
					unlock();
					ends[other] != ENDS;
					lock()
				:: !ok && ends[other] == ENDED ->
#ifdef BUG_NO_LOOK_BACK
					assert(false)
#else
					assert(word != w) /* -ESRCH */
#endif
				fi
			fi
		fi
	od;
	x = 0;
	ok = false;
	other = 0
}

inline sleep_for()
{
	do
	:: asleep[me] = true;
		if
#ifndef BUG_SLEEP_UNSEEN
		:: granted[me] -> break
#endif
		:: else ->
			if
			:: !asleep[me]
			:: me == 3 -> break /* it gives up */
			fi
		fi
#ifdef BUG_SLEEP_UNSEEN
		if
		:: granted[me] -> break
		:: else
		fi
#endif
	od;
	asleep[me] = false;
	atomic { /* stop_waiting */
		x = state_of[me];
		if
		:: s[x].waits[me] -> s[x].waits[me] = false; settle(x, s[x].owner)
		:: else
		fi
	}
}

inline end_wait()
{
#ifdef BUG_LEFT_IS_LEFT
	got = granted[me];
#endif
#ifdef BUG_PUT_NO_MUTEX
	got = granted[me];
	if
	:: got && s[x].stale
	:: else -> state_put(x); state_of[me] = 0
	fi;
#endif
	lock();
#ifndef BUG_LEFT_IS_LEFT
	got = granted[me];
#endif
	if
	:: got && state_of[me] && s[x].stale ->
		do /* write_word */
		:: w = word;
			atomic {
				if
				:: word == w -> word = DIED | WAITERS | me; break
				:: else
				fi
			}
		od;
		atomic { s[x].stale = false; settle(x, s[x].owner) }
	:: else
	fi;
	if
	:: state_of[me] -> state_put(x)
	:: else
	fi;
	granted[me] = false;
	state_of[me] = 0;
	x = 0;
	w = 0;
	unlock()
}

inline lock_pi()
{
	lock();
	acquire();
	if
	:: got -> unlock()
	:: else ->
		unlock();
		sleep_for();
		end_wait()
	fi;
	w = 0
}

inline unlock_pi()
{
#ifndef BUG_NO_MUTEX
	lock();
#endif
	do
	:: x = LINKED;
		w = word;
		atomic {
			other = (x -> FIRST(x) : 0);
			assert(TID(w) == me);
			assert(!x || !s[x].owner || s[x].owner == me)
		};
		atomic {
			if
			:: word != w -> ok = false
			:: else ->
#ifdef BUG_UNLOCK_TO_ZERO
				word = 0;
#else
				word = (other -> WAITERS | other : 0);
#endif
				ok = true
			fi
		};
		if
		:: ok && other -> grant(x, other, false); break
		:: ok && !other && x -> s[x].linked = false; break
		:: ok && !other && !x -> break
		:: else
		fi
	od;
#ifndef BUG_NO_MUTEX
	unlock();
#endif
	x = 0;
	w = 0;
	ok = false;
	other = 0
}

/* The word is on the list of robust ones. */
inline walk_robust()
{
	do
	:: w = word;
		if
		:: TID(w) != me -> break
		:: else ->
			atomic {
				if
				:: word == w -> word = (w & WAITERS) | DIED; break
				:: else
				fi
			}
		fi
	od;
	w = 0
}

inline hand_over()
{
	do
	:: atomic { /* owned_state */
			x = OWNED(me);
			if
			:: x -> s[x].refs++
			:: else -> break
			fi
		};
		lock();
		other = s[x].owner;
		if
		:: other == me -> /* pass_on */
			other = FIRST(x);
			if
			:: other -> grant(x, other, true)
			:: else -> atomic { s[x].stale = false; settle(x, s[x].owner) }; s[x].linked = false
			fi
		:: else
		fi;
		state_put(x);
		unlock();
		other = 0
	od;
	x = 0
}

/* futex_exit */
inline finish()
{
	atomic {
		ok = ends[me] == OWNS; /* else it owns nothing, and will not */
#if !defined(BUG_ENDS_LATE) && !defined(BUG_ONE_PASS_ON)
		ends[me] = ENDS
#endif
	};
#ifdef BUG_ONE_PASS_ON
	hand_over();
	ends[me] = ENDS;
#endif
#ifndef BUG_WALK_BEHIND
	walk_robust();
#endif
#if !defined(BUG_NO_PASS_ON) && !defined(BUG_ONE_PASS_ON)
	if
	:: ok -> hand_over()
	:: !ok -> assert(!OWNED(me))
	fi;
#endif
	ends[me] = ENDED;
#ifdef BUG_WALK_BEHIND
	walk_robust();
#endif
	atomic {
		gone++;
		if
		:: gone == THREADS ->
			assert(!s[1].there && !s[2].there && !s[3].there);
			assert(!TID(word) && !mutex)
		:: else
		fi
	}
}

proctype thread(byte me; byte rounds)
{
	byte w, x, other;
	bool got, ok, last;

	do
	:: rounds == 0 -> break
	:: rounds ->
		rounds--;
		atomic { /* the program's own compare-and-swap */
			if
			:: word == 0 -> word = me; got = true
			:: else
			fi
		};
		if
		:: !got -> lock_pi()
		:: got
		fi;
		if
		:: got ->
			atomic { assert(holder == 0 && TID(word) == me); holder = me };
			atomic { assert(holder == me && TID(word) == me); holder = 0 };
			got = false;
			if
			:: me == 1 -> break /* it dies */
			:: atomic { word == me -> word = 0 }
			:: word != me -> unlock_pi()
			fi
		:: else /* it gave up */
		fi
	od;
	finish()
}

init {
	atomic {
		run thread(1, 1);
		run thread(2, 2);
		run thread(3, 2)
	}
}
