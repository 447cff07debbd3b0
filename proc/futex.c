/*
 * Futexes: sleeping on a word of memory (futex(2)).
 *
 * A futex is named by a key. In memory that processes share (MAP_SHARED, a file or not) that is the
 * object and the place in it, so that whoever maps it anywhere means the same word; elsewhere, and
 * for FUTEX_PRIVATE_FLAG everywhere, the space and the address. Who waits on an object's word holds
 * a reference of the mapping, so that the object's address names nothing else meanwhile.
 *
 * Waiters hang in a hashed table of buckets, each with a lock. No wake-up is lost: a waiter first
 * joins its bucket, then reads the word. The waker changes the word, then looks into the bucket.
 * Reading the word may fault and sleep, so it cannot happen under the bucket's lock; a waiter that
 * finds another value leaves again, and if it was woken in the meantime, it reports that.
 *
 * A waiter lives on its thread's stack. Whoever wakes it does all of that under the bucket's lock,
 * and the waiter takes that lock before it returns: so it is never touched after its death. Requeue
 * moves it between buckets with both locks held, in the order of their addresses; the waiter finds
 * its bucket by trying again until the bucket it locked is the one it is in.
 *
 * Robust futexes (set_robust_list(2), Linux's Documentation/locking/robust-futexes): a thread that
 * ends tells, in each word on its list that still names it, that its owner died.
 */
#include "proc/internal.h"

#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "lib/uapi/futex.h"
#include "mm/pt.h"
#include "mm/region.h"

#define FUTEX_BUCKETS 256 /* power of two */

struct bucket {
	spinlock_t lock;
	struct list_node waiters; /* [lock] struct futex_waiter */
} __aligned(64);

/* Equal keys name the same word. */
struct futex_key {
	const void *owner; /* a struct aspace, or a struct vm_object */
	u64 at;            /* address, or byte of the object */
};

struct futex_waiter {
	struct list_node node;
	struct bucket *bucket; /* [its bucket's lock], as are: */
	struct futex_key key;
	struct vm_mapping *pin; /* keeps the key's object; NULL for a space */
	u32 bitset;
	bool woken;
	struct waitq wait;
};

static struct bucket buckets[FUTEX_BUCKETS];

static struct bucket *bucket_of(const struct futex_key *k)
{
	u64 h = ((u64)k->owner >> 6 ^ k->at >> 2) * 0x9e3779b97f4a7c15ull;

	return &buckets[h >> 56 & (FUTEX_BUCKETS - 1)];
}

static bool same_key(const struct futex_key *a, const struct futex_key *b)
{
	return a->owner == b->owner && a->at == b->at;
}

/*
 * The key of the word at addr. *pin: a reference of the mapping that the caller drops, or NULL.
 * -EINVAL: not aligned; -EFAULT: not a user address, or (shared) nothing is mapped there.
 */
static int get_key(uaddr_t addr, bool shared, struct futex_key *k, struct vm_mapping **pin)
{
	struct aspace *as = current()->as;
	struct region r;

	*k = (struct futex_key){ .owner = as, .at = addr };
	*pin = NULL;
	if (addr & 3)
		return -EINVAL;
	if (!user_range_ok(addr, 4))
		return -EFAULT;
	if (!shared)
		return 0;
	if (!region_next(as, addr & PAGE_MASK, (addr & PAGE_MASK) + PAGE_SIZE, &r))
		return -EFAULT;
	if (!region_is_shared(&r)) {
		region_put(&r);
		return 0;
	}
	k->owner = r.mapping->obj;
	k->at = r.mapping->offset + (addr - r.mapping->va);
	*pin = r.mapping;
	return 0;
}

static void put_key(struct vm_mapping *pin)
{
	if (pin)
		mapping_put(pin, 1);
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

int futex_wait(uaddr_t addr, bool shared, u32 value, u32 bitset, u64 deadline)
{
	struct futex_waiter w = { .bitset = bitset };
	struct bucket *b;
	u32 now;
	int err;

	if (!bitset)
		return -EINVAL;
	err = get_key(addr, shared, &w.key, &w.pin);
	if (err)
		return err;
	waitq_init(&w.wait);
	w.bucket = b = bucket_of(&w.key);
	spin_lock(&b->lock);
	list_add_tail(&b->waiters, &w.node);
	spin_unlock(&b->lock);
	err = get_user(now, addr);
	if (!err && now != value)
		err = -EAGAIN;
	if (!err)
		err = wait_event_deadline(&w.wait, READ_ONCE(w.woken), deadline);
	if (leave(&w))
		err = 0;
	put_key(w.pin); /* of the key that it has by now */
	return err;
}

/* Wakes up to `count` waiters of the key; as on Linux one at least. Its bucket's lock held. */
static int wake_key(struct bucket *b, const struct futex_key *k, int count, u32 bitset)
{
	struct futex_waiter *w, *next;
	int woken = 0;

	list_for_each_safe(w, next, &b->waiters, node) {
		if (!same_key(&w->key, k) || !(w->bitset & bitset))
			continue;
		wake(w);
		if (++woken >= count)
			break;
	}
	return woken;
}

int futex_wake(uaddr_t addr, bool shared, int count, u32 bitset)
{
	struct vm_mapping *pin;
	struct futex_key k;
	struct bucket *b;
	int woken, err;

	if (!bitset)
		return -EINVAL;
	err = get_key(addr, shared, &k, &pin);
	if (err)
		return err;
	b = bucket_of(&k);
	spin_lock(&b->lock);
	woken = wake_key(b, &k, count, bitset);
	spin_unlock(&b->lock);
	put_key(pin);
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

/* Two words of one call, with their keys. */
struct futex_pair {
	struct futex_key from, to;
	struct vm_mapping *from_pin, *to_pin;
};

static int get_pair(struct futex_pair *p, uaddr_t from, uaddr_t to, bool shared)
{
	int err = get_key(from, shared, &p->from, &p->from_pin);

	if (err)
		return err;
	err = get_key(to, shared, &p->to, &p->to_pin);
	if (err)
		put_key(p->from_pin);
	return err;
}

static void put_pair(struct futex_pair *p)
{
	put_key(p->from_pin);
	put_key(p->to_pin);
}

/* Moves a waiter to the key `to`. Both buckets' locks held; what its old pin leaves goes to *dead. */
static void move_waiter(struct futex_waiter *w, const struct futex_pair *p, struct bucket *to,
			struct vm_mapping **dead)
{
	list_del(&w->node);
	list_add_tail(&to->waiters, &w->node);
	if (p->to_pin)
		mapping_get(p->to_pin, 1);
	if (w->pin)
		mapping_put_later(w->pin, 1, dead);
	w->pin = p->to_pin;
	w->key = p->to;
	WRITE_ONCE(w->bucket, to);
}

int futex_requeue(uaddr_t from, uaddr_t to, bool shared, int wake_count, int move, const u32 *value)
{
	struct vm_mapping *dead = NULL;
	struct futex_waiter *w, *next;
	struct bucket *a, *b;
	struct futex_pair p;
	int woken = 0, moved = 0, err;
	u32 now = 0;

	if (wake_count < 0 || move < 0)
		return -EINVAL;
	err = get_pair(&p, from, to, shared);
	if (err)
		return err;
	/* Not atomic with what follows, as it may fault: a waiter that comes in between is moved,
	 * too, and finds out by its own look at its word. */
	if (value)
		err = get_user(now, from);
	if (!err && value && now != *value)
		err = -EAGAIN;
	if (err)
		goto out;
	a = bucket_of(&p.from);
	b = bucket_of(&p.to);
	lock_two(a, b);
	list_for_each_safe(w, next, &a->waiters, node) {
		if (!same_key(&w->key, &p.from))
			continue;
		if (woken < wake_count) {
			wake(w);
			woken++;
		} else if (moved < move && !same_key(&p.from, &p.to)) {
			move_waiter(w, &p, b, &dead);
			moved++;
		} else {
			break;
		}
	}
	unlock_two(a, b);
	mapping_destroy_all(dead);
	err = woken + moved;
out:
	put_pair(&p);
	return err;
}

/* ---- FUTEX_WAKE_OP ------------------------------------------------------------------------------- */

static int apply_op(int op, u32 old, u32 arg, u32 *new)
{
	switch (op) {
	case FUTEX_OP_SET: *new = arg; return 0;
	case FUTEX_OP_ADD: *new = old + arg; return 0;
	case FUTEX_OP_OR: *new = old | arg; return 0;
	case FUTEX_OP_ANDN: *new = old & ~arg; return 0;
	case FUTEX_OP_XOR: *new = old ^ arg; return 0;
	default: return -ENOSYS;
	}
}

/* 0, 1 or -ENOSYS. */
static int compare_op(int cmp, s32 old, s32 arg)
{
	switch (cmp) {
	case FUTEX_OP_CMP_EQ: return old == arg;
	case FUTEX_OP_CMP_NE: return old != arg;
	case FUTEX_OP_CMP_LT: return old < arg;
	case FUTEX_OP_CMP_LE: return old <= arg;
	case FUTEX_OP_CMP_GT: return old > arg;
	case FUTEX_OP_CMP_GE: return old >= arg;
	default: return -ENOSYS;
	}
}

/* Does what `code` says to the word, in one step. 1: its old value compares as asked; 0; -errno. */
static int word_op(uaddr_t addr, u32 code)
{
	int op = (int)(code >> 28 & 7);
	s32 arg = (s32)(code << 8) >> 20, cmp_arg = (s32)(code << 20) >> 20;
	u32 old, seen, new;
	int err;

	if (code >> 28 & FUTEX_OP_OPARG_SHIFT)
		arg = (s32)(1u << (arg & 31));
	err = get_user(old, addr);
	while (!err) {
		err = apply_op(op, old, (u32)arg, &new);
		seen = old;
		if (!err)
			err = user_cmpxchg(addr, &seen, new);
		if (err || seen == old)
			break;
		old = seen;
	}
	return err ? err : compare_op((int)(code >> 24 & 15), (s32)old, cmp_arg);
}

int futex_wake_op(uaddr_t from, uaddr_t to, bool shared, int count, int count2, u32 code)
{
	struct bucket *a, *b;
	struct futex_pair p;
	int ret = get_pair(&p, from, to, shared);

	if (ret)
		return ret;
	/* Before the looks at the buckets: who waits for the new word joined its own earlier. */
	ret = word_op(to, code);
	if (ret >= 0) {
		a = bucket_of(&p.from);
		b = bucket_of(&p.to);
		lock_two(a, b);
		count2 = ret ? wake_key(b, &p.to, count2, FUTEX_BITSET_ALL) : 0;
		ret = wake_key(a, &p.from, count, FUTEX_BITSET_ALL) + count2;
		unlock_two(a, b);
	}
	put_pair(&p);
	return ret;
}

/* ---- robust lists -------------------------------------------------------------------------------- */

/* As many entries are looked at: the list is the program's, and may be a ring. As on Linux. */
#define ROBUST_LIST_LIMIT 2048

/* A word on the list of the thread that ends: says so if the thread owns it. False: give up. */
static bool owner_died(uaddr_t addr, u32 tid, bool pending)
{
	u32 old, seen;

	if ((addr & 3) || get_user(old, addr))
		return false;
	for (;;) {
		if (pending && !old) {
			/* It died between the unlock and the wake-up. */
			futex_wake(addr, true, 1, FUTEX_BITSET_ALL);
			return true;
		}
		if ((old & FUTEX_TID_MASK) != tid)
			return true;
		seen = old;
		if (user_cmpxchg(addr, &seen, (old & FUTEX_WAITERS) | FUTEX_OWNER_DIED))
			return false;
		if (seen == old)
			break;
		old = seen;
	}
	if (old & FUTEX_WAITERS)
		futex_wake(addr, true, 1, FUTEX_BITSET_ALL);
	return true;
}

void futex_exit_robust(uaddr_t list, u32 tid)
{
	struct linux_robust_list_head head;
	uaddr_t entry, pending;

	if (!list || get_user(head, list))
		return;
	/* Bit 0 marks futexes with priority inheritance, which there are none of. */
	pending = head.pending & ~1ul;
	entry = head.next & ~1ul;
	for (int i = 0; entry != list && i < ROBUST_LIST_LIMIT; i++) {
		u64 next;
		int err = get_user(next, entry);

		if (entry != pending && !owner_died(entry + head.offset, tid, false))
			return;
		if (err)
			return;
		entry = next & ~1ul;
	}
	if (pending)
		owner_died(pending + head.offset, tid, true);
}

void futex_init(void)
{
	for (u32 i = 0; i < FUTEX_BUCKETS; i++) {
		spin_init(&buckets[i].lock, "futex", RANK_NONE);
		list_init(&buckets[i].waiters);
	}
}
