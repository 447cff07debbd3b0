/*
 * Page tables that several spaces name: mm/share.c, mm/fork.c, and the copy-on-write of mm/fault.c.
 *
 * Space A runs on CPUs 0 and 1, its child B on CPU 2. There is one slot of level 2 in each, and one
 * slot in each table of level 1. The CPUs write and read the page, unmap it, fork (CPU 0) and exit
 * (B); a second child comes when the first is gone. Each CPU caches the entry of level 2 and the
 * leaf, reads ahead when it likes, and forgets only what is flushed, one CPU after the other.
 *
 * Holds:
 *	a space reads what it wrote last, or its parent before the fork
 *	nobody changes an entry of a table that has two owners
 *	no CPU knows a frame or a table that is given up
 *	when all have exited, all counts are zero
 *
 * Stands for: pt_share_first, pt_share, pt_unshare, take_back, revoke_writes, pt_copy_table,
 * lock_on_the_way, pt_unref_table, fault_locked, fault_shared, fault_cow, aspace_fork, slot_unmap.
 *
 * Broken on purpose:
 *	BUG_FORK_NO_FLUSH	fork does not flush the parent
 *	BUG_FORK_KEEPS_W	fork leaves PTE_WRITE in the parent's entry of level 2
 *	BUG_FORK_NO_COUNT	fork counts no owner
 *	BUG_FORK_NO_TABLE_LOCK	the first sharing does not wait for who has the table's lock
 *	BUG_NO_OURS		who came down without a lock does not look at the entry above again
 *	BUG_OURS_BY_COUNT	he looks at the table's count and at TABLE_COPIED instead
 *	BUG_COPY_KEEPS_W	the copy's leaves keep PTE_WRITE
 *	BUG_COPY_NO_COUNT	the copy counts no frame
 *	BUG_NO_COPIED		a copied table does not say so
 *	BUG_COPIED_LATE		it says so after the copier's reference has gone
 *	BUG_NO_REVOKE		taking back leaves PTE_WRITE in leaves
 *	BUG_COPY_NO_FLUSH	a copy is put in place without a flush
 *	BUG_DROP_BEFORE_FLUSH	the old table's reference is dropped before the flush
 *	BUG_NO_SPACE_LOCK	unsharing does not lock the table of level 2
 *	BUG_TAKE_BACK_EARLY	a table is taken back while it has another owner
 *	BUG_COW_NO_FLUSH	a new frame may be written before the old one is forgotten
 *	BUG_COW_NO_COUNT	copy-on-write asks no count, and takes every frame for its own
 *	BUG_COW_PUT_EARLY	the old frame is given up before the flush
 *	BUG_UNMAP_NO_FLUSH	an unmapped frame is given up without a flush
 *	BUG_UNMAP_NO_UNSHARE	unmapping changes a shared table
 */
#ifndef ACTIONS
#define ACTIONS 4 /* accesses, unmaps and forks, together */
#endif
#define CPUS   3
#define TABLES 3
#define FRAMES 3
#define A      0
#define B      1
#define space(cpu) (cpu / 2)

/* Slots hold the number + 1 of what they name; 0: nothing. */
byte l2[2];		/* the slot of level 2 of each space */
bool l2_write[2];	/* its PTE_WRITE: the table below is this space's own */
bool l2_lock[2];

byte table_refs[TABLES];
bool table_lock[TABLES];
bool copied[TABLES];	/* TABLE_COPIED */
byte walkers[TABLES];	/* who came down to it without a lock: a grace period waits for them */
byte leaf[TABLES];
bool leaf_write[TABLES];

byte frame_refs[FRAMES];
byte content[FRAMES];
byte wrote[2];		/* what each space must read */

byte tlb_l2[CPUS], tlb_leaf[CPUS];
bool tlb_l2_write[CPUS], tlb_leaf_write[CPUS];
bool child;		/* B is there */
byte finished;
byte left = ACTIONS;
bool may_unmap = true;

inline forget(who)
{
	d_step {
		tlb_l2[who] = 0;
		tlb_l2_write[who] = 0;
		tlb_leaf[who] = 0;
		tlb_leaf_write[who] = 0
	}
}

/* tlb_flush_page of the space of `me`. */
inline flush()
{
	forget(me);
	if
	:: space(me) == A -> forget(1 - me)
	:: else
	fi
}

inline lock(l)
{
	atomic { !l -> l = true }
}

#define unlock(l) l = false

/* A new table, a new frame: any that is free. */
#define is_free(t) (table_refs[t] == 0 && walkers[t] == 0)

inline table_alloc(t)
{
	if
	:: is_free(0) -> t = 0
	:: !is_free(0) && is_free(1) -> t = 1
	:: !is_free(0) && !is_free(1) -> assert(is_free(2)); t = 2
	fi;
	assert(!table_lock[t]);
	table_refs[t] = 1;
	copied[t] = false
}

inline frame_alloc(f)
{
	if
	:: frame_refs[0] == 0 -> f = 0
	:: frame_refs[0] && frame_refs[1] == 0 -> f = 1
	:: frame_refs[0] && frame_refs[1] -> assert(frame_refs[2] == 0); f = 2
	fi;
	frame_refs[f] = 1
}

inline frame_put(f)
{
	d_step {
		assert(frame_refs[f]);
		frame_refs[f]--;
		assert(frame_refs[f] || (tlb_leaf[0] != f + 1 && tlb_leaf[1] != f + 1 && tlb_leaf[2] != f + 1))
	}
}

/* pt_put_table: the last owner gives up what the table names. */
inline table_put(t)
{
	atomic {
		assert(table_refs[t]);
		if
		:: table_refs[t] > 1 -> table_refs[t]--
		:: else ->
			assert(tlb_l2[0] != t + 1 && tlb_l2[1] != t + 1 && tlb_l2[2] != t + 1);
			if
			:: leaf[t] -> frame_put(leaf[t] - 1)
			:: else
			fi;
			leaf[t] = 0;
			leaf_write[t] = false;
			table_refs[t] = 0
		fi
	}
}

/* A change of an entry. */
inline set_leaf(t, value, write)
{
	d_step {
		assert(table_refs[t] == 1);
		leaf[t] = value;
		leaf_write[t] = write
	}
}

#ifdef BUG_NO_OURS
#define is_ours(t) true
#else
#ifdef BUG_OURS_BY_COUNT
#define is_ours(t) (table_refs[t] == 1 && !copied[t])
#else
#define is_ours(t) (l2[space(me)] == t + 1 && l2_write[space(me)])
#endif
#endif

inline lock_space()
{
#ifndef BUG_NO_SPACE_LOCK
	lock(l2_lock[space(me)]);
#endif
	above = true
}

inline unlock_space()
{
	if
	:: above ->
#ifndef BUG_NO_SPACE_LOCK
		unlock(l2_lock[space(me)]);
#endif
		above = false
	:: else
	fi
}

/* pt_unshare: from the slot of level 2, locked, to a table of one's own, `mine`, locked. */
inline unshare()
{
	t = l2[space(me)] - 1;
	if
#ifdef BUG_TAKE_BACK_EARLY
	:: true ->
#else
	:: table_refs[t] == 1 ->
#endif
		lock(table_lock[t]);
		atomic {
			if
			:: copied[t] && leaf_write[t] && frame_refs[leaf[t] - 1] != 1 ->
#ifndef BUG_NO_REVOKE
				set_leaf(t, leaf[t], false)
#endif
			:: else
			fi;
			copied[t] = false
		};
		l2_write[space(me)] = true;
		mine = t
#ifndef BUG_TAKE_BACK_EARLY
	:: else ->
		atomic {
			table_alloc(mine);
			if
			:: leaf[t] ->
				leaf[mine] = leaf[t];
#ifndef BUG_COPY_NO_COUNT
				frame_refs[leaf[t] - 1]++;
#endif
#ifdef BUG_COPY_KEEPS_W
				leaf_write[mine] = leaf_write[t];
#else
				leaf_write[mine] = false;
#endif
			:: else
			fi
		};
#if !defined(BUG_NO_COPIED) && !defined(BUG_COPIED_LATE)
		copied[t] = true;
#endif
		lock(table_lock[mine]);
		d_step { l2[space(me)] = mine + 1; l2_write[space(me)] = true };
#ifdef BUG_DROP_BEFORE_FLUSH
		table_put(t);
		flush();
#else
#ifndef BUG_COPY_NO_FLUSH
		flush();
#endif
		table_put(t);
#endif
#ifdef BUG_COPIED_LATE
		copied[t] = true;
#endif
#endif
	fi;
	t = 0
}

/* pt_lock_page, and for a change the unsharing: `mine`, locked, or NONE if nothing is mapped there. */
#define NONE 7

inline own_table()
{
	do
	:: atomic { l2_write[space(me)] -> mine = l2[space(me)] - 1; walkers[mine]++ };
		atomic {
			!table_lock[mine] ->
			if
			:: is_ours(mine) -> table_lock[mine] = true; walkers[mine]--; break
			:: else -> walkers[mine]--; mine = 0
			fi
		}
	:: !l2_write[space(me)] ->
		lock_space();
		if
		:: !l2_write[space(me)] ->
#ifdef BUG_UNMAP_NO_UNSHARE
			if
			:: unmapping -> mine = l2[space(me)] - 1; lock(table_lock[mine])
			:: else -> unshare()
			fi;
#else
			unshare();
#endif
			break
		:: else -> unlock_space() /* somebody was faster */
		fi
	od
}

inline cow()
{
	old = leaf[mine] - 1;
	if
#ifdef BUG_COW_NO_COUNT
	:: true -> set_leaf(mine, old + 1, true)
#else
	:: frame_refs[old] == 1 -> set_leaf(mine, old + 1, true)
	:: else ->
		atomic { frame_alloc(new); content[new] = content[old] };
		set_leaf(mine, new + 1, false);
#ifdef BUG_COW_PUT_EARLY
		frame_put(old);
#endif
#ifndef BUG_COW_NO_FLUSH
		flush();
#endif
		set_leaf(mine, new + 1, true);
#ifndef BUG_COW_PUT_EARLY
		frame_put(old)
#endif
#endif
	fi;
	d_step { old = 0; new = 0 }
}

/* vm_fault for a write. */
inline fault()
{
	forget(me);
	own_table();
	if
	:: leaf[mine] == 0 || leaf_write[mine] /* SEGV; spurious */
	:: else -> cow()
	fi;
	atomic { unlock(table_lock[mine]); unlock_space(); mine = 0 }
}

inline unmap()
{
#ifdef BUG_UNMAP_NO_UNSHARE
	unmapping = true;
#endif
	own_table();
	if
	:: leaf[mine] ->
		old = leaf[mine] - 1;
		set_leaf(mine, 0, false);
#ifndef BUG_UNMAP_NO_FLUSH
		flush();
#endif
		frame_put(old);
		old = 0
	:: else
	fi;
	atomic { unlock(table_lock[mine]); unlock_space(); mine = 0 }
}

#define table_seen (tlb_l2[me] - 1)

/* The processor caches what it reads, now or ahead. */
inline read_ahead()
{
	if
	:: d_step { tlb_l2[me] == 0 -> tlb_l2[me] = l2[space(me)]; tlb_l2_write[me] = l2_write[space(me)] }
	:: d_step {
		tlb_l2[me] && tlb_leaf[me] == 0 && leaf[table_seen] ->
		tlb_leaf[me] = leaf[table_seen];
		tlb_leaf_write[me] = tlb_l2_write[me] && leaf_write[table_seen]
	}
	fi
}

#define nothing_there (tlb_l2[me] && tlb_leaf[me] == 0 && leaf[table_seen] == 0)

inline access()
{
	do
	:: read_ahead()
	:: d_step {
		tlb_leaf[me] && tlb_leaf_write[me] ->
		wrote[space(me)] = (wrote[space(me)] == 1 + 2 * space(me) -> 2 + 2 * space(me) : 1 + 2 * space(me));
		content[tlb_leaf[me] - 1] = wrote[space(me)]
	}; break
	:: d_step { tlb_leaf[me] -> assert(content[tlb_leaf[me] - 1] == wrote[space(me)]) }; break
	:: tlb_leaf[me] && !tlb_leaf_write[me] -> fault()
	:: nothing_there -> break
	od
}

inline fork()
{
	lock_space();
	t = l2[A] - 1;
	if
	:: l2_write[A] ->
#ifndef BUG_FORK_NO_TABLE_LOCK
		lock(table_lock[t]);
#endif
		assert(table_refs[t] == 1);
#ifndef BUG_FORK_NO_COUNT
		table_refs[t]++;
#endif
#ifndef BUG_FORK_KEEPS_W
		l2_write[A] = false;
#endif
#ifndef BUG_FORK_NO_TABLE_LOCK
		unlock(table_lock[t]);
#endif
		l2[B] = t + 1;
#ifndef BUG_FORK_NO_FLUSH
		flush()
#endif
	:: else ->
		table_refs[t]++; /* without its lock */
		l2[B] = t + 1
	fi;
	wrote[B] = wrote[A];
	unlock_space();
	atomic { t = 0; child = true; run thread(2) }
}

inline exit()
{
	forget(me);
	table_put(l2[space(me)] - 1);
	d_step { l2[space(me)] = 0; l2_write[space(me)] = false }
}

proctype thread(byte me)
{
	byte t, mine, old, new;
	bool above;
#ifdef BUG_UNMAP_NO_UNSHARE
	bool unmapping;
#endif

	do
	:: atomic { left -> left-- }; access()
	:: atomic { left && may_unmap && me != 0 -> left--; may_unmap = false }; unmap()
	:: atomic { left && !child && me == 0 -> left-- }; fork()
	:: break
	od;
	if
	:: me == 2 -> exit(); child = false
	:: else -> finished++
	fi
}

init {
	byte me = 0;

	atomic {
		table_refs[0] = 1;
		leaf[0] = 1;
		leaf_write[0] = true;
		frame_refs[0] = 1;
		l2[A] = 1;
		l2_write[A] = true;
		run thread(0);
		run thread(1)
	};
	atomic { finished == 2 && !child };
	forget(1);
	exit();
	assert(!table_refs[0] && !table_refs[1] && !table_refs[2]);
	assert(!frame_refs[0] && !frame_refs[1] && !frame_refs[2])
}
