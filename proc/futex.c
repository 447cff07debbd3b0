/*
 * Futexes: sleeping on a word of memory (futex(2)).
 *
 * A futex is named by its address space and address. (Words in memory that processes share at
 * different addresses, without FUTEX_PRIVATE_FLAG, are not joined: docs/abi.md says so.) Waiters
 * hang in a hashed table of buckets, each with a lock.
 *
 * No wake-up is lost: a waiter first joins its bucket, then reads the word. The waker changes the
 * word, then looks into the bucket. Reading the word may fault and sleep, so it cannot happen under
 * the bucket's lock; a waiter that finds another value leaves again, and if it was woken in the
 * meantime, it reports that.
 *
 * A waiter lives on its thread's stack. Whoever wakes it does all of that under the bucket's lock,
 * and the waiter takes that lock before it returns: so it is never touched after its death. Requeue
 * moves it between buckets with both locks held, in the order of their addresses; the waiter finds
 * its bucket by trying again until the bucket it locked is the one it is in.
 */
#include "proc/internal.h"

#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "lib/uapi/futex.h"

#define FUTEX_BUCKETS 256 /* power of two */

struct bucket {
	spinlock_t lock;
	struct list_node waiters; /* [lock] struct futex_waiter */
} __aligned(64);

struct futex_waiter {
	struct list_node node;
	struct bucket *bucket; /* [its bucket's lock] */
	struct aspace *as;
	uaddr_t addr;
	u32 bitset;
	bool woken;
	struct waitq wait;
};

static struct bucket buckets[FUTEX_BUCKETS];

static struct bucket *bucket_of(struct aspace *as, uaddr_t addr)
{
	u64 h = ((u64)as >> 6 ^ addr >> 2) * 0x9e3779b97f4a7c15ull;

	return &buckets[h >> 56 & (FUTEX_BUCKETS - 1)];
}

static int check(uaddr_t addr)
{
	if (addr & 3)
		return -EINVAL;
	return user_range_ok(addr, 4) ? 0 : -EFAULT;
}

/* Locks the bucket that the waiter is in. */
static struct bucket *lock_bucket(struct futex_waiter *w)
{
	for (;;) {
		struct bucket *b = READ_ONCE(w->bucket);

		spin_lock(&b->lock);
		if (b == w->bucket)
			return b;
		spin_unlock(&b->lock);
	}
}

/* Leaves the bucket. True if somebody woke us. */
static bool leave(struct futex_waiter *w)
{
	struct bucket *b = lock_bucket(w);
	bool woken = w->woken;

	if (!woken)
		list_del(&w->node);
	spin_unlock(&b->lock);
	return woken;
}

/* The bucket's lock held. */
static void wake(struct futex_waiter *w)
{
	list_del(&w->node);
	WRITE_ONCE(w->woken, true);
	waitq_wake_one(&w->wait);
}

int futex_wait(uaddr_t addr, u32 value, u32 bitset, u64 deadline)
{
	struct futex_waiter w = { .as = current()->as, .addr = addr, .bitset = bitset };
	struct bucket *b = bucket_of(w.as, addr);
	u32 now;
	int err = check(addr);

	if (err)
		return err;
	if (!bitset)
		return -EINVAL;
	waitq_init(&w.wait);
	w.bucket = b;
	spin_lock(&b->lock);
	list_add_tail(&b->waiters, &w.node);
	spin_unlock(&b->lock);
	err = get_user(now, addr);
	if (!err && now != value)
		err = -EAGAIN;
	if (!err)
		err = wait_event_deadline(&w.wait, READ_ONCE(w.woken), deadline);
	return leave(&w) ? 0 : err;
}

int futex_wake(uaddr_t addr, u32 count, u32 bitset)
{
	struct aspace *as = current()->as;
	struct bucket *b = bucket_of(as, addr);
	struct futex_waiter *w, *next;
	int woken = 0, err = check(addr);

	if (err)
		return err;
	if (!bitset)
		return -EINVAL;
	spin_lock(&b->lock);
	list_for_each_safe(w, next, &b->waiters, node) {
		if ((u32)woken >= count)
			break;
		if (w->as != as || w->addr != addr || !(w->bitset & bitset))
			continue;
		wake(w);
		woken++;
	}
	spin_unlock(&b->lock);
	return woken;
}

static void lock_two(struct bucket *a, struct bucket *b)
{
	if (a > b) {
		struct bucket *t = a;

		a = b;
		b = t;
	}
	spin_lock(&a->lock);
	if (a != b)
		spin_lock(&b->lock);
}

static void unlock_two(struct bucket *a, struct bucket *b)
{
	spin_unlock(&a->lock);
	if (a != b)
		spin_unlock(&b->lock);
}

int futex_requeue(uaddr_t from, u32 wake_count, u32 move, uaddr_t to, bool compare, u32 value)
{
	struct aspace *as = current()->as;
	struct bucket *a = bucket_of(as, from), *b = bucket_of(as, to);
	struct futex_waiter *w, *next;
	u32 woken = 0, moved = 0, now;
	int err = check(from);

	if (!err)
		err = check(to);
	/* Not atomic with what follows, as it may fault: a waiter that comes in between is moved,
	 * too, and finds out by its own look at its word. */
	if (!err && compare)
		err = get_user(now, from);
	if (err)
		return err;
	if (compare && now != value)
		return -EAGAIN;
	lock_two(a, b);
	list_for_each_safe(w, next, &a->waiters, node) {
		if (w->as != as || w->addr != from)
			continue;
		if (woken < wake_count) {
			wake(w);
			woken++;
		} else if (moved < move && from != to) {
			list_del(&w->node);
			list_add_tail(&b->waiters, &w->node);
			w->addr = to;
			WRITE_ONCE(w->bucket, b);
			moved++;
		} else {
			break;
		}
	}
	unlock_two(a, b);
	return (int)(woken + (compare ? moved : 0));
}

void futex_init(void)
{
	for (u32 i = 0; i < FUTEX_BUCKETS; i++) {
		spin_init(&buckets[i].lock, "futex", RANK_NONE);
		list_init(&buckets[i].waiters);
	}
}
