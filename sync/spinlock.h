/*
 * Spin locks: fair, eight bytes. A holder is not preempted. A lock that an interrupt handler
 * also takes is taken with interrupts off, everywhere (spin_lock_irqsave). Who must wait draws a ticket and closes the lock to
 * newcomers: sync/spinlock.c, which also says why it does so a little later on a virtual machine.
 *
 * Debug builds record holder and rank and panic on recursion, on an unlock by a stranger, and on
 * taking a lock whose rank is not above those held (docs/locking.md has the table). Rank 0: none.
 */
#pragma once

#include "arch/api/cpu.h"
#include "arch/api/preempt.h"
#include "lib/atomic.h"
#include "lib/kassert.h"
#include "machine/call.h" /* call_keeping: seldom calls that change no register */
#include "sync/spinword.h"

typedef struct spinlock {
	struct spin_word word;
	u16 rank; /* whose counter it is if we wait (sync/lockstat.h) */
#ifdef CONFIG_DEBUG
	s16 holder; /* CPU + 1, or 0 */
	u8 class;   /* sync/lockcheck.c */
	const char *name;
#endif
} spinlock_t;

#ifdef CONFIG_DEBUG
#define SPINLOCK_INIT(lock_name, lock_rank)                                                        \
	{                                                                                          \
		.rank = (lock_rank), .name = (lock_name)                                           \
	}
void spin_debug_before(spinlock_t *l);
void spin_debug_locked(spinlock_t *l);
void spin_debug_unlock(spinlock_t *l);
/* Panics if this CPU holds a spin lock, or has preemption off. where: "return to user mode" ... */
void lockcheck_none_held(const char *where);
u32 lockcheck_held(u32 cpu); /* how many that CPU holds */
#else
#define SPINLOCK_INIT(lock_name, lock_rank)                                                        \
	{                                                                                          \
		.rank = (lock_rank)                                                                \
	}
#define spin_debug_before(l) ((void)(l))
#define spin_debug_locked(l) ((void)(l))
#define spin_debug_unlock(l) ((void)(l))
#endif

/* Lock ranks: a lock may be taken only while all held locks have lower ranks. docs/locking.md */
enum lock_rank {
	RANK_NONE = 0,
	RANK_FILE = 30, /* fd tables, pipes, inodes' small state */
	RANK_TTY = 40,
	RANK_PT = 50, /* page tables (ordered among themselves by level and address) */
	RANK_ASPACE = 52,
	RANK_KMAP = 54,
	/* Taken in interrupts, too (timers, terminals), hence above all that is held with interrupts on. */
	RANK_PROC = 55,   /* alone in the process tree */
	RANK_INSIDE = 56, /* inside, with others */
	RANK_FAMILY =
		57, /* inside the tree: children, members of a group, a piece of the table of ids */
	RANK_SIGNAL = 58, /* a process's signals */
	RANK_WAITQ = 60,
	RANK_PI = 62, /* priority inheritance */
	RANK_TIMER = 65,
	RANK_RQ = 70,
	RANK_SLAB = 80,
	RANK_BUDDY = 85,
	RANK_IRQ = 90,     /* interrupt lines, devices whose handlers take the lock */
	RANK_IRQCHIP = 92, /* interrupt controllers */
	RANK_CONSOLE = 95,
};

static inline void spin_init(spinlock_t *l, const char *name, enum lock_rank rank)
{
	*l = (spinlock_t)SPINLOCK_INIT(name, (u16)rank);
	(void)name;
	(void)rank;
}

/*
 * Waits for the lock and takes it, and says so if that takes too long (debug/watchdog.h). lock: to
 * name it, or NULL: a page table's (mm/pt.h). Counts the wait.
 */
void spin_wait(struct spin_word *w, const spinlock_t *lock);
void spin_await_slowly(spinlock_t *l); /* spin_await */

/* For tests: the rest of spin_wait for one who has drawn that ticket (spin_word.next, one up). */
void spin_take_in_turn(struct spin_word *w, u8 ticket);

/* How many looks at a lock a CPU takes before it draws a ticket; 0: none. At boot, before other CPUs. */
void spin_set_patience(u32 looks);

/* The bare lock, for callers that already cannot be preempted. */
static inline void spin_acquire(spinlock_t *l)
{
	spin_debug_before(l);
	if (unlikely(!spin_word_try(&l->word)))
		call_keeping2(spin_wait, &l->word, l);
	spin_debug_locked(l);
}

static inline void spin_release(spinlock_t *l)
{
	spin_debug_unlock(l);
	spin_word_release(&l->word);
}

static inline bool spin_is_locked(spinlock_t *l)
{
	return READ_ONCE(l->word.state) != 0;
}

/*
 * Waits until nobody holds the lock, without taking it: somebody who keeps others from taking it, and stays, is
 * alone from then on. What the last holder did is visible.
 */
static inline void spin_await(spinlock_t *l)
{
	if (unlikely(spin_is_locked(l)))
		spin_await_slowly(l);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

static inline void spin_lock(spinlock_t *l)
{
	preempt_disable();
	spin_acquire(l);
}

static inline void spin_unlock(spinlock_t *l)
{
	spin_release(l);
	preempt_enable();
}

/* True if the lock was free and is now held. */
static inline bool spin_trylock(spinlock_t *l)
{
	preempt_disable();
	if (!spin_is_locked(l) && spin_word_try(&l->word)) {
		spin_debug_locked(l);
		return true;
	}
	preempt_enable();
	return false;
}

static inline u64 spin_lock_irqsave(spinlock_t *l)
{
	u64 flags = irq_save();

	spin_lock(l);
	return flags;
}

/* Interrupts come back before preempt_enable, so that a pending reschedule happens at once. */
static inline void spin_unlock_irqrestore(spinlock_t *l, u64 flags)
{
	spin_release(l);
	irq_restore(flags);
	preempt_enable();
}
