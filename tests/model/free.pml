/*
 * A table that has become empty is taken out and freed while others walk down to it: mm/pt.c.
 *
 * Three CPUs map and unmap pages of one 2 MiB: a slot of the upper table, which never goes, names
 * a table of level 1 or says nothing. Who maps walks down without locks and locks the lowest table
 * that there is; where there is none he puts one there. Who unmaps the last page takes the table
 * out (pt_prune), and frees it after a grace period: when everybody who was on his way down then
 * has arrived.
 *
 * Holds:
 *	nobody touches a table that is free, or one that serves for something else already
 *	what was mapped is in the table that the slot names, as long as it is mapped
 *	at the end the table is free
 *
 * Stands for: lock_on_the_way, lock_below, pt_lock_table, pt_split, remove_table, pt_prune; preemption
 * switched off as the readers' side of RCU.
 *
 * Broken on purpose:
 *	BUG_NO_GRACE		the table is freed at once
 *	BUG_GRACE_FIRST		the grace period ends before the table is taken out
 *	BUG_NO_READ_SIDE	a walker does not say that he is on his way
 *	BUG_READ_SIDE_SHORT	a walker says that he has arrived before he has the lock
 *	BUG_NO_LOOK_AGAIN	under the lock he does not look again whether the slot names the table
 *	BUG_NO_LOWER_LOCK	a table is taken out without its lock
 *	BUG_NO_UPPER_LOCK	the upper table is not locked by who takes a table out
 *	BUG_USED_FIRST		that the table is empty is seen before its lock is taken
 *	BUG_SPLIT_NO_LOOK	who found no table puts one in without looking again
 */
#define CPUS   3
#define TABLES 3
#define NONE   TABLES

byte slot = NONE;
bool upper_lock;
bool lock[TABLES];
byte used[TABLES];
bool in_use[TABLES];
byte hopes[TABLES];	/* CPUs that have read the slot and will touch the table */
bool reading[CPUS];	/* on the way down: preemption off */
byte wait_for[CPUS];	/* whom a CPU's grace period waits for, one bit each */
byte finished;

inline lock_upper()
{
	atomic { !upper_lock -> upper_lock = true }
}

/* pt_lock_page: `t`, locked, or NONE and the upper table locked. */
inline lock_lowest()
{
	do
	:: true ->
#ifndef BUG_NO_READ_SIDE
		reading[me] = true;
#endif
		atomic {
			t = slot;
			if
			:: t != NONE -> hopes[t]++
			:: else
			fi
		};
		if
		:: t == NONE ->
			lock_upper();
#ifndef BUG_SPLIT_NO_LOOK
			if
			:: slot == NONE -> break
			:: else -> upper_lock = false
			fi
#else
			break
#endif
		:: else ->
#ifdef BUG_READ_SIDE_SHORT
			arrive();
#endif
			atomic { !lock[t] -> lock[t] = true };
			assert(in_use[t]);
#ifdef BUG_NO_LOOK_AGAIN
			break
#else
			if
			:: slot == t -> break
			:: else -> atomic { lock[t] = false; hopes[t]-- }
			fi
#endif
		fi;
		arrive()
	od
}

inline arrive()
{
	d_step {
		reading[me] = false;
		wait_for[0] = wait_for[0] & ~(1 << me);
		wait_for[1] = wait_for[1] & ~(1 << me);
		wait_for[2] = wait_for[2] & ~(1 << me)
	}
}

inline done_with(t)
{
	atomic { lock[t] = false; hopes[t]-- };
	arrive()
}

/* A page is mapped: in the table at hand, or in one that pt_split puts there. */
inline map()
{
	lock_lowest();
	if
	:: t == NONE ->
		atomic {
			if
			:: !in_use[0] -> t = 0
			:: in_use[0] && !in_use[1] -> t = 1
			:: in_use[0] && in_use[1] && !in_use[2] -> t = 2
			fi;
			assert(!lock[t] && used[t] == 0);
			in_use[t] = true;
			lock[t] = true;
			hopes[t]++
		};
		slot = t;
		upper_lock = false
	:: else
	fi;
	used[t]++;
	done_with(t)
}

/* The page is there, so its table stays until it goes. */
inline unmap()
{
	atomic { t = slot; assert(t != NONE); hopes[t]++ };
	atomic { !lock[t] -> lock[t] = true };
	assert(slot == t && used[t] > 0);
	used[t]--;
	done_with(t)
}

/* All others that are on their way now have arrived. */
inline grace_period()
{
	wait_for[me] = reading[0] | (reading[1] << 1) | (reading[2] << 2);
	wait_for[me] == 0
}

inline prune()
{
	gone = NONE;
#ifdef BUG_GRACE_FIRST
	grace_period();
#endif
#ifndef BUG_NO_UPPER_LOCK
	lock_upper();
#endif
	t = slot;
	if
#ifdef BUG_USED_FIRST
	:: t != NONE && used[t] == 0 ->
#else
	:: t != NONE ->
#endif
#ifndef BUG_NO_LOWER_LOCK
		atomic { !lock[t] -> lock[t] = true };
#endif
		if
#ifdef BUG_USED_FIRST
		:: true ->
#else
		:: used[t] == 0 ->
#endif
			slot = NONE;
			gone = t
#ifndef BUG_USED_FIRST
		:: else
#endif
		fi;
#ifndef BUG_NO_LOWER_LOCK
		lock[t] = false
#endif
	:: else
	fi;
#ifndef BUG_NO_UPPER_LOCK
	upper_lock = false;
#endif
	if
	:: gone != NONE ->
#if !defined(BUG_NO_GRACE) && !defined(BUG_GRACE_FIRST)
		grace_period();
#endif
		atomic {
			assert(in_use[gone] && hopes[gone] == 0 && !lock[gone]);
			in_use[gone] = false
		}
	:: else
	fi
}

proctype cpu(byte me)
{
	byte t, gone;

	map();
	unmap();
	prune();
	finished++
}

init {
	atomic { run cpu(0); run cpu(1); run cpu(2) };
	finished == CPUS;
	assert(slot == NONE && !in_use[0] && !in_use[1] && !in_use[2])
}
