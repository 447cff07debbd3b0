/*
 * The checks of debug builds on spin locks (sync/spinlock.h).
 *
 * Each CPU keeps the list of the spin locks it holds, in the order taken. A CPU may take a lock
 * only if its rank lies above the rank of every lock held, whoever took those: the thread, or the
 * code that an interrupt broke into. Then no cycle of CPUs waiting for each other can form, and
 * one run of each path suffices to prove it for that path, without the deadlock happening.
 *
 * Locks of equal rank may be held together in the ranks RANK_PT, RANK_RQ and RANK_TIMER, in the order
 * of their addresses. Rank 0 is not ordered. spin_trylock does not wait, so it may break the order.
 *
 * The holder is a CPU, not a thread: a run queue's lock is taken by one thread and released by
 * the next.
 */
#include "sync/spinlock.h"

#ifdef CONFIG_DEBUG

#define HELD_MAX 16

struct held_locks {
	u32 n;
	spinlock_t *lock[HELD_MAX];
};
static DEFINE_PER_CPU(struct held_locks, held_locks); /* [o] changed with preemption off */

static const char *lock_name(const spinlock_t *l)
{
	return l->name ? l->name : "unnamed";
}

static s16 this_holder(void)
{
	return (s16)(cpu_id() + 1);
}

static void check_order(const spinlock_t *l, const spinlock_t *held)
{
	if (l->rank == RANK_NONE || held->rank == RANK_NONE || l->rank > held->rank)
		return;
	if (l->rank == held->rank && l > held &&
	    (l->rank == RANK_PT || l->rank == RANK_RQ || l->rank == RANK_TIMER))
		return;
	panic("lock order: taking %s (rank %u) while holding %s (rank %u)", lock_name(l), l->rank,
	      lock_name(held), held->rank);
}

/*
 * The list may shrink or grow under us only through interrupts that leave it as they found it, so
 * this needs no lock. Slots are written before n counts them.
 */
void spin_debug_before(spinlock_t *l)
{
	struct held_locks *h = this_cpu_ptr(&held_locks);

	if (__atomic_load_n(&l->holder, __ATOMIC_RELAXED) == this_holder())
		panic("lock recursion: CPU %u holds %s already", cpu_id(), lock_name(l));
	for (u32 i = 0; i < h->n; i++)
		check_order(l, h->lock[i]);
}

void spin_debug_locked(spinlock_t *l)
{
	u64 flags = irq_save();
	struct held_locks *h = this_cpu_ptr(&held_locks);

	__atomic_store_n(&l->holder, this_holder(), __ATOMIC_RELAXED);
	if (h->n == HELD_MAX)
		panic("CPU %u holds %u spin locks, taking %s", cpu_id(), h->n, lock_name(l));
	h->lock[h->n++] = l;
	irq_restore(flags);
}

void spin_debug_unlock(spinlock_t *l)
{
	s16 holder = __atomic_load_n(&l->holder, __ATOMIC_RELAXED);

	if (holder != this_holder())
		panic("unlock of %s by CPU %u, which does not hold it (holder %d)", lock_name(l),
		      cpu_id(), holder - 1);
	u64 flags = irq_save();
	struct held_locks *h = this_cpu_ptr(&held_locks);
	u32 i = h->n;

	while (h->lock[i - 1] != l)
		i--;
	for (h->n--; i <= h->n; i++)
		h->lock[i - 1] = h->lock[i];
	__atomic_store_n(&l->holder, 0, __ATOMIC_RELAXED);
	irq_restore(flags);
}

#endif
