/*
 * Long operations in pieces, alone in the range that they have claimed: mm/claim.c, lock_on_the_way of mm/pt.c, and those who
 * claim (mm/piece.c, mm/mremap.c, mm/fork.c).
 *
 *	        root                 Four blocks of memory, each under a table of level 1, two of these under each upper table,
 *	   upper    upper            the two upper tables under the root. Whoever works on blocks locks the lowest table that
 *	  0     1  2     3           covers them, looks whether there are claims, then goes down, and keeps all the locks.
 *
 * Three threads: short operations on one block (a fault) or more; long ones, which claim their blocks and then take one after the
 * other, or, to move, two at a time, with nothing locked in between; a fork, which claims all. There are two claims, and memory for
 * the second when the first is taken, or there is not.
 *
 * A table's lock, the space's lock, the claims' owners and ranges, the map of blocks with claims and the list of claims are
 * words of memory, and a release is a plain store. The mutexes of claims are one step each: word and waiters change together
 * (sched/mutex.c).
 *
 * Holds: nobody touches a block that somebody else has come to under a claim that has not ended; nobody waits for ever, or with
 * a claim of his own; nobody waits for a claim that began after he began to wait.
 *
 * Stands for: claim_both, try_both, find_awaited, take_free, add_one, claim_also, claim_end, claim_of_others, claim_excludes, claim_wait, settle,
 * update_map, lock_on_the_way, lock_again, pt_lock_table, run_pieces, visit_pieces, fork_piece.
 *
 * Broken on purpose:
 *	BUG_NO_SETTLE		the claimer does not wait for those who are on their way down
 *	BUG_SETTLE_TOP		he waits for those who have the root alone
 *	BUG_SETTLE_LOW		he waits for those who have an upper table, not the root
 *	BUG_SETTLE_FIRST	he waits before others see the claim
 *	BUG_ALSO_NO_SETTLE	he does not wait for the second range
 *	BUG_LOOK_FIRST		others look for claims before they have the lock
 *	BUG_LOOK_NOT_AGAIN	who has waited goes on without another look
 *	BUG_ONE_RANGE		others look at a claim's first range alone
 *	BUG_WAIT_LOCKED		who waits for a claim keeps the table's lock
 *	BUG_OWNER_WAITS		who has a claim waits for others' as well
 *	BUG_ALSO_WAITS		he waits for what is in the way of his second range
 *	BUG_CLAIMS_MEET		a claim does not look whether there is another one
 *	BUG_NO_SPACE_LOCK	claims are made without the space's lock
 *	BUG_OWN_MAP		a change of the map forgets others' claims
 *	BUG_TAKE_WANTED		a new claim takes one that others still wait for
 *	BUG_END_BEHIND		the mutex is given up before the claim says that it is not in use
 *	BUG_FREED_AT_END	a claim is freed when it ends
 */
#define CPUS 3
#define VARS 15
#define MAP	 0
#define OWNER(c) (1 + (c))     /* thread + 1 */
#define FIRST(c) (3 + (c))     /* ranges: a bit for each block */
#define OTHER(c) (5 + (c))
#define SPACE	 7	       /* the space's lock */
#define ROOT	 8	       /* those of the tables */
#define UPPER(u) (9 + (u))
#define TABLE(b) (11 + (b))
#include "tso.inc"

#define CLAIMS 2
#define NONE   CLAIMS
#define ALL    15

#define SHORT 0
#define LONG  1
#define MOVE  2
#define FORK  3

#define MEETS_UPPER(u, m) ((m) & (3 << 2 * (u)))
#define IS_ONE(m)	  ((m) == 1 || (m) == 2 || (m) == 4 || (m) == 8)
#define TABLE_OF(m)	  ((m) == 1 -> TABLE(0) : ((m) == 2 -> TABLE(1) : ((m) == 4 -> TABLE(2) : TABLE(3))))
#define COVERING(m)	  (IS_ONE(m) -> TABLE_OF(m) : (!MEETS_UPPER(1, m) -> UPPER(0) : (!MEETS_UPPER(0, m) -> UPPER(1) : ROOT)))

bool second;		/* the second claim is in the list */
byte mutex[CLAIMS];	/* thread + 1 */
byte waiting[CLAIMS];	/* for the mutex */
bool has_claim[CPUS];
byte taken[4];		/* by block: thread + 1, from its first step there to the end of its claim */
byte over;

inline lock(cell)
{
	atomic { barrier(me) && mem[cell] == 0 -> mem[cell] = 1 }
}

inline unlock(cell)
{
	store(me, cell, 0)
}

inline claim_wait(which)
{
	atomic { assert(!has_claim[me] && (which == 0 || second)); waiting[which]++ };
	atomic { mutex[which] == 0 -> mutex[which] = me + 1; waiting[which]-- };
	atomic { barrier(me) -> mutex[which] = 0 }
}

/* Another thread's claim on some of m, into `busy`. */
#define CONCERNS(c, m) (load(me, OWNER(c)) && load(me, OWNER(c)) != me + 1 && \
			((m) & (load(me, FIRST(c)) | load(me, OTHER(c)))))
#define IS_FIRST(c, m) (load(me, OWNER(c)) && load(me, OWNER(c)) != me + 1 && ((m) & load(me, FIRST(c))))

inline find(wanted)
{
	busy = NONE;
	if
#ifdef BUG_ONE_RANGE
	:: IS_FIRST(0, wanted) -> busy = 0
#else
	:: CONCERNS(0, wanted) -> busy = 0
#endif
	:: else ->
		if
		:: second ->
			if
#ifdef BUG_ONE_RANGE
			:: IS_FIRST(1, wanted) -> busy = 1
#else
			:: CONCERNS(1, wanted) -> busy = 1
#endif
			:: else
			fi
		:: !second
		fi
	fi
}

/* From the first to the last. */
#define RANGE(m) ((m) | ((m) & 1 && (m) & 12 -> 2 : 0) | ((m) & 3 && (m) & 8 -> 4 : 0))

/* lock_on_the_way, then lock_again: the lowest table over `blocks`, or one above (a fork). */
inline lock_covering(blocks)
{
	do
	:: busy = NONE;
#ifndef BUG_LOOK_FIRST
		lock(first);
#endif
		map = load(me, MAP);
		if
		:: map && (!IS_ONE(blocks) || (map & blocks)) -> find(RANGE(blocks))
		:: else
		fi;
		map = 0;
#ifdef BUG_LOOK_FIRST
		lock(first);
#endif
		if
		:: busy == NONE -> break
#ifndef BUG_OWNER_WAITS
		:: busy != NONE && has_claim[me] -> break
		:: busy != NONE && !has_claim[me] ->
#else
		:: busy != NONE ->
#endif
#ifndef BUG_WAIT_LOCKED
			unlock(first);
#endif
			claim_wait(busy);
#ifdef BUG_WAIT_LOCKED
			unlock(first);
#endif
#ifdef BUG_LOOK_NOT_AGAIN
			lock(first);
			break
#endif
		fi
	od;
	busy = NONE
}

inline touch(block)
{
	d_step {
		assert(taken[block] == 0 || taken[block] == me + 1);
		if
		:: has_claim[me] -> taken[block] = me + 1
		:: else
		fi
	}
}

inline down_to(at, all)
{
	if
	:: ((all) >> at) & 1 ->
		if
		:: first != TABLE(at) -> lock(TABLE(at))
		:: else
		fi;
		touch(at)
	:: else
	fi
}

inline down_through(up, all)
{
	if
	:: MEETS_UPPER(up, all) && first == ROOT -> lock(UPPER(up))
	:: else
	fi
}

/* One step, on the blocks m, for which `first` is locked to begin with. */
inline work(these)
{
	lock_covering(these);
	down_through(0, these);
	down_to(0, these);
	down_to(1, these);
	down_through(1, these);
	down_to(2, these);
	down_to(3, these);
	if :: (these) & 1 && first != TABLE(0) -> unlock(TABLE(0)) :: else fi;
	if :: (these) & 2 && first != TABLE(1) -> unlock(TABLE(1)) :: else fi;
	if :: (these) & 4 && first != TABLE(2) -> unlock(TABLE(2)) :: else fi;
	if :: (these) & 8 && first != TABLE(3) -> unlock(TABLE(3)) :: else fi;
	if :: MEETS_UPPER(0, these) && first == ROOT -> unlock(UPPER(0)) :: else fi;
	if :: MEETS_UPPER(1, these) && first == ROOT -> unlock(UPPER(1)) :: else fi;
	unlock(first)
}

/* ---- claims ------------------------------------------------------------------------------------ */

inline settle(range)
{
#ifndef BUG_NO_SETTLE
#ifndef BUG_SETTLE_LOW
	lock(ROOT);
	unlock(ROOT);
#endif
#ifndef BUG_SETTLE_TOP
	if :: MEETS_UPPER(0, range) -> lock(UPPER(0)); unlock(UPPER(0)) :: else fi;
	if :: MEETS_UPPER(1, range) -> lock(UPPER(1)); unlock(UPPER(1)) :: else fi;
#endif
#endif
	skip
}

inline lock_space()
{
#ifndef BUG_NO_SPACE_LOCK
	lock(SPACE);
#endif
	skip
}

inline unlock_space()
{
#ifndef BUG_NO_SPACE_LOCK
	unlock(SPACE);
#endif
	skip
}

/* An exchange. */
inline update_map()
{
	atomic {
		barrier(me) ->
#ifdef BUG_OWN_MAP
		mem[MAP] = (has_claim[me] -> mem[FIRST(mine)] | mem[OTHER(mine)] : 0)
#else
		mem[MAP] = (mem[OWNER(0)] -> mem[FIRST(0)] | mem[OTHER(0)] : 0) |
			   (mem[OWNER(1)] -> mem[FIRST(1)] | mem[OTHER(1)] : 0)
#endif
	}
}

/* find_awaited: one that has ended, but of those who waited not all have come through. */
#define AWAITED(c, m) (!load(me, OWNER(c)) && (mutex[c] || waiting[c]) && \
		       ((m) & (load(me, FIRST(c)) | load(me, OTHER(c)))))

#ifdef BUG_TAKE_WANTED
#define is_free(c) (mutex[c] == 0)
#else
#define is_free(c) (mutex[c] == 0 && waiting[c] == 0)
#endif

/* take_free: a compare-and-swap of each mutex in turn. */
inline try_take(one)
{
	atomic {
		if
		:: is_free(one) ->
			assert(waiting[one] == 0);
			mutex[one] = me + 1;
			mine = one
		:: else
		fi
	}
}

inline take_free()
{
	barrier(me);
	try_take(0);
	if
	:: mine == NONE && second -> try_take(1)
	:: else
	fi
}

inline end_claim()
{
	has_claim[me] = false;
	d_step {
		taken[0] = (taken[0] == me + 1 -> 0 : taken[0]);
		taken[1] = (taken[1] == me + 1 -> 0 : taken[1]);
		taken[2] = (taken[2] == me + 1 -> 0 : taken[2]);
		taken[3] = (taken[3] == me + 1 -> 0 : taken[3])
	};
#ifdef BUG_END_BEHIND
	atomic { barrier(me) -> mutex[mine] = 0 };
#endif
	lock_space();
	store(me, OWNER(mine), 0);
	update_map();
	unlock_space();
#ifndef BUG_END_BEHIND
	atomic { barrier(me) -> mutex[mine] = 0 };
#endif
#ifdef BUG_FREED_AT_END
	second = (mine == 1 -> false : second);
#endif
	mine = NONE
}

/* claim_both */
inline claim(r0, r1)
{
	do
	:: lock_space();
#ifdef BUG_CLAIMS_MEET
		busy = NONE;
#else
		find((r0) | (r1));
#endif
		if
		:: busy == NONE && !turn && AWAITED(0, (r0) | (r1)) -> busy = 0; turn = true
		:: busy == NONE && !turn && AWAITED(1, (r0) | (r1)) -> busy = 1; turn = true
		:: else
		fi;
		if
		:: busy == NONE -> take_free()
		:: else
		fi;
		if
		:: mine != NONE ->
#ifdef BUG_SETTLE_FIRST
			settle((r0) | (r1));
#endif
			store(me, FIRST(mine), r0);
			store(me, OTHER(mine), r1);
			store(me, OWNER(mine), me + 1);
			has_claim[me] = true;
			update_map()
		:: else
		fi;
		unlock_space();
		if
		:: mine != NONE -> break
		:: mine == NONE && busy != NONE
		:: mine == NONE && busy == NONE && second -> busy = 0 /* no memory for a third */
		:: mine == NONE && busy == NONE && !second ->
			if
			:: busy = 0 /* nor for the second */
			:: atomic { !second -> second = true }
			:: second
			fi
		fi;
		if
		:: busy != NONE -> claim_wait(busy)
		:: else
		fi
	od;
#ifndef BUG_SETTLE_FIRST
	settle((r0) | (r1));
#endif
	busy = NONE;
	turn = false
}

/* claim_also: true in `got`. */
inline claim_also(r)
{
	do
	:: lock_space();
		find(r);
		got = busy == NONE;
		if
		:: got ->
			store(me, OTHER(mine), r);
			update_map()
		:: else
		fi;
		unlock_space();
#ifdef BUG_ALSO_WAITS
		if
		:: !got -> claim_wait(busy)
		:: else -> break
		fi
#else
		break
#endif
	od;
	busy = NONE;
	if
	:: got ->
#ifndef BUG_ALSO_NO_SETTLE
		settle(r)
#endif
	:: else
	fi
}

/* ---- threads ----------------------------------------------------------------------------------- */

/*
 * claims: the blocks of the first range, and of the second; then: what is done, in two steps; to: where to, if that
 * is found out only then, and may be taken. `top`: what is locked first, or 0 for the lowest.
 */
proctype cpu(byte me; byte range0; byte range1; byte then; byte behind; byte to; byte top)
{
	byte map, first;
	byte busy = NONE, mine = NONE;
	bool got, turn;

	if
	:: range0 -> claim(range0, range1)
	:: !range0
	fi;
	do
	:: then ->
		first = (top -> top : COVERING(then));
		work(then);
		first = 0;
		then = behind;
		behind = 0
	:: !then && to ->
		claim_also(to);
		then = (got -> to : 0); /* the new place says what it will be */
		behind = (got -> range0 | to : 0);
		to = 0
	:: !then && !to -> break
	od;
	if
	:: range0 -> end_claim()
	:: !range0
	fi;
	over++
}

#define a_short_one(c, m)	 run cpu(c, 0, 0, m, 0, 0, 0)
#define a_long_one(c, m, n)	 run cpu(c, (m) | (n), 0, m, n, 0, 0)
#define a_move(c, from, to)	 run cpu(c, from, to, (from) | (to), 0, 0, 0)
#define a_move_somewhere(c, from, to) run cpu(c, from, 0, from, 0, to, 0)
#define a_fork(c)		 run cpu(c, ALL, 0, 3, 12, 0, ROOT)

init {
	atomic {
		if
		:: a_long_one(0, 1, 2); a_long_one(1, 2, 4); a_short_one(2, 3)
		:: a_long_one(0, 1, 2); a_long_one(1, 4, 8); a_short_one(2, 6)
		:: a_move(0, 1, 4); a_move(1, 2, 8); a_short_one(2, 4)
		:: a_move_somewhere(0, 1, 4); a_move_somewhere(1, 8, 2); a_short_one(2, 12)
		:: a_move_somewhere(0, 1, 4); a_long_one(1, 2, 4); a_long_one(2, 4, 8)
		:: a_fork(0); a_long_one(1, 1, 4); a_short_one(2, 3)
		:: a_long_one(0, 1, 2); a_long_one(1, 4, 0); a_long_one(2, 8, 0)
		fi;
		run drain(0); run drain(1); run drain(2)
	};
	over == CPUS
}
