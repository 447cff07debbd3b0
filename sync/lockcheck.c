/*
 * The checks of debug builds on spin locks (sync/spinlock.h). Each finds a deadlock that has not
 * happened, on one run of each path.
 *
 * Ranks. Each CPU keeps the list of the spin locks it holds, in the order taken. A CPU may take a
 * lock only if its rank lies above the rank of every lock held, whoever took those: the thread, or
 * the code that an interrupt broke into. Then no cycle of CPUs waiting for each other can form.
 * Locks of equal rank may be held together in the ranks RANK_PT, RANK_RQ and RANK_TIMER, in the order
 * of their addresses. Rank 0 is not ordered. spin_trylock does not wait, so it may break the order.
 *
 * The graph. Locks of one name are a class. An arc from one class to another says that somebody has
 * taken the second while he held the first. An arc that closes a circle is an inversion, also among
 * locks without a rank, and also if the two ways were taken hours apart.
 *
 * Interrupts. A class that is taken in interrupt handlers must not be taken with interrupts on:
 * the handler could come while its own CPU holds the lock.
 *
 * Return to user mode. No spin lock may be held, and preemption must be allowed.
 *
 * The holder is a CPU, not a thread: a run queue's lock is taken by one thread and released by
 * the next.
 */
#include "sync/spinlock.h"

#ifdef CONFIG_DEBUG

#include "lib/string.h"
#include "sync/lockstat.h"

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

/* ---- the graph ------------------------------------------------------------------------------- */

#define CLASSES     128
#define CLASS_WORDS (CLASSES / 64)

static struct {
	const char *name;       /* [a] set once */
	u64 after[CLASS_WORDS]; /* [a] classes taken while this one was held */
	u8 in_irq, irqs_on;     /* [a] taken so */
} class[CLASSES];               /* 0: not known yet */

/* The class of a lock's name, made when it is new; 0 if there are too many. */
static u32 class_of(spinlock_t *l)
{
	const char *name = lock_name(l);
	u32 known = READ_ONCE(l->class);

	if (likely(known))
		return known;
	for (u32 i = 1; i < CLASSES; i++) {
		const char *there = NULL;

		if (__atomic_compare_exchange_n(&class[i].name, &there, name, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
		    there == name || strcmp(there, name) == 0) {
			WRITE_ONCE(l->class, (u8)i);
			return i;
		}
	}
	return 0;
}

static bool has_arc(u32 from, u32 to)
{
	return __atomic_load_n(&class[from].after[to / 64], __ATOMIC_RELAXED) >> (to % 64) & 1;
}

/* Is there a way along the arcs? Depth first; `seen` keeps it from going anywhere twice. */
static bool leads_to(u32 from, u32 to, u64 seen[CLASS_WORDS])
{
	if (has_arc(from, to))
		return true;
	seen[from / 64] |= 1ul << (from % 64);
	for (u32 i = 1; i < CLASSES && READ_ONCE(class[i].name); i++)
		if (has_arc(from, i) && !(seen[i / 64] >> (i % 64) & 1) && leads_to(i, to, seen))
			return true;
	return false;
}

static void note_arc(spinlock_t *held, spinlock_t *l)
{
	u32 from = class_of(held), to = class_of(l);
	u64 seen[CLASS_WORDS] = { 0 };

	if (from == to || !from || !to || has_arc(from, to))
		return;
	if (leads_to(to, from, seen))
		panic("lock order: taking %s while holding %s, but the other way round elsewhere",
		      lock_name(l), lock_name(held));
	__atomic_fetch_or(&class[from].after[to / 64], 1ul << (to % 64), __ATOMIC_RELAXED);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void note_context(spinlock_t *l)
{
	u32 c = class_of(l);

	if (!c)
		return;
	if (this_cpu_read(irq_regs))
		WRITE_ONCE(class[c].in_irq, 1);
	else if (irqs_enabled())
		WRITE_ONCE(class[c].irqs_on, 1);
	if (unlikely(READ_ONCE(class[c].in_irq) && READ_ONCE(class[c].irqs_on)))
		panic("lock %s is taken in interrupts, and with interrupts on", lock_name(l));
}

/* ---- what the CPU holds ---------------------------------------------------------------------- */

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
	note_context(l);
	for (u32 i = 0; i < h->n; i++) {
		check_order(l, h->lock[i]);
		note_arc(h->lock[i], l);
	}
}

void spin_debug_locked(spinlock_t *l)
{
	u64 flags = irq_save();
	struct held_locks *h = this_cpu_ptr(&held_locks);

	lock_count_acquired(lock_class_of_rank(l->rank));
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

u32 lockcheck_held(u32 cpu)
{
	return READ_ONCE(per_cpu_ptr(&held_locks, cpu)->n);
}

void lockcheck_none_held(const char *where)
{
	struct held_locks *h = this_cpu_ptr(&held_locks);

	if (h->n != 0)
		panic("%s with lock %s held", where, lock_name(h->lock[h->n - 1]));
	if (preempt_count() != 0)
		panic("%s with preemption count %u", where, preempt_count());
}

#endif
