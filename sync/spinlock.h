/*
 * Ticket spin locks: fair, eight bytes. A holder is not preempted. A lock that an interrupt handler
 * also takes is taken with interrupts off, everywhere (spin_lock_irqsave).
 *
 * Debug builds record holder and rank and panic on recursion, on an unlock by a stranger, and on
 * taking a lock whose rank is not above those held (docs/locking.md has the table). Rank 0: none.
 */
#pragma once

#include "arch/api/cpu.h"
#include "arch/api/preempt.h"
#include "lib/atomic.h"
#include "lib/kassert.h"
#include "machine/spin.h" /* spin_release_ticket(u16 *owner): one up, a store with release order */

typedef struct spinlock {
	union {
		u32 word;
		struct {
			u16 owner; /* the ticket being served */
			u16 next;  /* the next ticket to draw */
		};
	};
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
		.word = 0, .rank = (lock_rank), .name = (lock_name)                                \
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
		.word = 0, .rank = (lock_rank)                                                     \
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
 * Waits until *owner is our ticket, and says so if that takes too long (debug/watchdog.h). lock: to
 * name it, or NULL: a page table's (mm/pt.h). Counts the wait.
 */
void spin_wait(const u16 *owner, u16 ticket, const spinlock_t *lock);
void spin_await_slowly(spinlock_t *l); /* spin_await */

/* The bare lock, for callers that already cannot be preempted. */
static inline void spin_acquire(spinlock_t *l)
{
	spin_debug_before(l);
	u16 ticket = __atomic_fetch_add(&l->next, 1, __ATOMIC_ACQUIRE);
	if (unlikely(__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != ticket))
		spin_wait(&l->owner, ticket, l);
	spin_debug_locked(l);
}

static inline void spin_release(spinlock_t *l)
{
	spin_debug_unlock(l);
	spin_release_ticket(&l->owner);
}

static inline bool spin_is_locked(spinlock_t *l)
{
	u32 word = __atomic_load_n(&l->word, __ATOMIC_RELAXED);

	return (u16)word != (u16)(word >> 16);
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
	u32 word = __atomic_load_n(&l->word, __ATOMIC_RELAXED);

	preempt_disable();
	if ((u16)word == (u16)(word >> 16) &&
	    __atomic_compare_exchange_n(&l->word, &word, word + 0x10000, false, __ATOMIC_ACQUIRE,
					__ATOMIC_RELAXED)) {
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
