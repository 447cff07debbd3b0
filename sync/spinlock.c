/*
 * The wait for a spin lock that is not free. The checks of debug builds are in sync/lockcheck.c.
 *
 *	state   LOCKED: somebody has it. CLOSED: it goes to the ticket that is served, not to newcomers
 *	next, serving   the tickets; who has drawn one waits for his turn, closes the lock, and takes it when it is free
 *
 * The fast way is one compare-and-exchange of state, 0 to LOCKED; a release clears the byte LOCKED and leaves CLOSED. Whose turn
 * it is sets CLOSED by a locked operation: what it reads of state after that is newer, and if that is CLOSED alone nobody else changes
 * it. It leaves the lock closed for the next one if somebody has drawn after it: no newcomer slips in between. tests/model/lock.pml
 *
 * On a virtual machine a CPU may stand still for milliseconds: the host runs somebody else. If it has a ticket then, all
 * wait for it, though the lock is free. There (spin_set_patience) a CPU looks some thousand times first, and takes the
 * lock whenever it finds it free, out of turn; a CPU that stands still does not look, so it has no ticket. One that has looked so
 * often in vain draws, and is served in turn: nobody waits for ever.
 *
 * Tickets are bytes: of 256 CPUs, each of which waits for one lock at a time, no two have the same.
 */
#include "sync/spinlock.h"

#include "debug/watchdog.h"
#include "sync/lockstat.h"

/* ---- waiting --------------------------------------------------------------------------------- */

/*
 * The wait is polite only after a while: PAUSE ends the turn of an emulated CPU, and most waits are
 * short. By the time-stamp counter, whose frequency this layer does not know: `STUCK` counts are
 * seconds on anything that exists, and the report comes again with each further doubling.
 */
#define STUCK_CYCLES (20ull * 1000 * 1000 * 1000)

static u32 patience; /* looks before a ticket is drawn */

void spin_set_patience(u32 looks)
{
	patience = looks;
}

struct wait {
	struct spin_word *word;
	const spinlock_t *lock; /* or NULL: a page table's */
	u64 looks, begun, limit;
};

static __cold void report(const struct wait *w)
{
	const char *name = "a page table";
	s32 holder = -1;

#ifdef CONFIG_DEBUG
	if (w->lock) {
		name = w->lock->name ? w->lock->name : "unnamed";
		holder = READ_ONCE(w->lock->holder) - 1;
	}
#else
	if (w->lock)
		name = "a spin lock";
#endif
	watchdog_report(
		"CPU %u waits for %s at %p: state %x, ticket %u is served, %u is next, held by CPU %d",
		cpu_id(), name, (const void *)w->word, READ_ONCE(w->word->state),
		READ_ONCE(w->word->serving), READ_ONCE(w->word->next), holder);
}

/* After each look in vain. */
static void wait_more(struct wait *w)
{
	w->looks++;
	if (w->looks % 64 == 0)
		cpu_relax();
	if (w->looks % 0x10000 != 0)
		return;
	if (!w->begun)
		w->begun = cpu_cycles();
	if (watchdog_seconds() && cpu_cycles() - w->begun > w->limit) {
		w->limit *= 2;
		report(w);
	}
}

/* Out of turn. False: the patience is at an end. */
static bool take_soon(struct wait *w)
{
	while (w->looks < patience) {
		if (READ_ONCE(w->word->state) == 0 && spin_word_try(w->word))
			return true;
		wait_more(w);
	}
	return false;
}

static void take_in_turn(struct wait *w, u8 ticket)
{
	struct spin_word *word = w->word;

	while (__atomic_load_n(&word->serving, __ATOMIC_ACQUIRE) != ticket)
		wait_more(w);
	__atomic_fetch_or(&word->state, SPIN_CLOSED, __ATOMIC_RELAXED);
	while (__atomic_load_n(&word->state, __ATOMIC_ACQUIRE) != SPIN_CLOSED)
		wait_more(w);
	bool more = READ_ONCE(word->next) != (u8)(ticket + 1);

	WRITE_ONCE(word->state, more ? SPIN_LOCKED | SPIN_CLOSED : SPIN_LOCKED);
	__atomic_store_n(&word->serving, (u8)(ticket + 1), __ATOMIC_RELEASE);
}

void spin_take_in_turn(struct spin_word *word, u8 ticket)
{
	struct wait w = { .word = word, .limit = STUCK_CYCLES };

	take_in_turn(&w, ticket);
}

void spin_wait(struct spin_word *word, const spinlock_t *lock)
{
	struct wait w = { .word = word, .lock = lock, .limit = STUCK_CYCLES };

	if (!take_soon(&w))
		take_in_turn(&w, __atomic_fetch_add(&word->next, 1, __ATOMIC_RELAXED));
	lock_count_wait(lock ? lock_class_of_rank(lock->rank) : LOCK_PT, w.looks + 1);
}
DEFINE_KEEPING(spin_wait);

void spin_await_slowly(spinlock_t *l)
{
	struct wait w = { .word = &l->word, .lock = l, .limit = STUCK_CYCLES };

	while (spin_is_locked(l))
		wait_more(&w);
	lock_count_wait(lock_class_of_rank(l->rank), w.looks + 1);
}
