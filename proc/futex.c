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
 * As on Linux the more urgent wait in front of the others (by what they were when they came). Words with an owner, who is
 * lent the priority of those who wait, are in futex_pi.c; here such a word shows by a waiter that is none, and that nobody wakes.
 *
 * Robust futexes (set_robust_list(2), Linux's Documentation/locking/robust-futexes): a thread that
 * ends tells, in each word on its list that still names it, that its owner died.
 */
#include "proc/futex.h"

#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "lib/uapi/futex.h"
#include "mm/pt.h"
#include "mm/region.h"

#define FUTEX_BUCKETS 256 /* power of two */

static struct futex_bucket buckets[FUTEX_BUCKETS];

struct futex_bucket *futex_bucket_of(const struct futex_key *k)
{
	u64 h = ((u64)k->owner >> 6 ^ k->at >> 2) * 0x9e3779b97f4a7c15ull;

	return &buckets[h >> 56 & (FUTEX_BUCKETS - 1)];
}

/* The key of a word that is named by what is mapped there, if that is shared. */
static __noinline int get_shared_key(struct futex_key *k, struct vm_mapping **pin)
{
	u64 page = k->at & PAGE_MASK;
	struct region r;

	if (!region_next(current()->as, page, page + PAGE_SIZE, &r))
		return -EFAULT;
	if (!region_is_shared(&r)) {
		region_put(&r);
		return 0;
	}
	k->owner = r.mapping->obj;
	k->at = r.mapping->offset + (k->at - r.mapping->va);
	*pin = r.mapping;
	return 0;
}

static __always_inline int get_key(uaddr_t addr, bool shared, struct futex_key *k,
				   struct vm_mapping **pin)
{
	*k = (struct futex_key){ .owner = current()->as, .at = addr };
	*pin = NULL;
	if (unlikely(addr & 3))
		return -EINVAL;
	if (unlikely(!user_range_ok(addr, 4)))
		return -EFAULT;
	return shared ? get_shared_key(k, pin) : 0;
}

int futex_get_key(uaddr_t addr, bool shared, struct futex_key *k, struct vm_mapping **pin)
{
	return get_key(addr, shared, k, pin);
}

void futex_put_key(struct vm_mapping *pin)
{
	if (pin)
		mapping_put(pin, 1);
}

/* Locks the bucket that the waiter is in. */
static struct futex_bucket *lock_bucket(struct futex_waiter *w)
{
	for (;;) {
		struct futex_bucket *b = READ_ONCE(w->bucket);

		spin_lock(&b->lock);
		if (b == w->bucket)
			return b;
		spin_unlock(&b->lock);
	}
}

/* Behind its equals, in front of the less urgent. The bucket's lock held. */
static __always_inline void put_in_line(struct futex_bucket *b, struct futex_waiter *w)
{
	struct list_node *at = b->waiters.prev;

	while (unlikely(w->level < SCHED_LEVEL_NORMAL) && at != &b->waiters &&
	       container_of(at, struct futex_waiter, node)->level > w->level)
		at = at->prev;
	list_add(at, &w->node);
}

static __always_inline void join(struct futex_waiter *w)
{
	struct futex_bucket *b = w->bucket = futex_bucket_of(&w->key);

	w->level = READ_ONCE(current()->level); /* others may lend us one just now */
	spin_lock(&b->lock);
	put_in_line(b, w);
	spin_unlock(&b->lock);
}

void futex_join(struct futex_waiter *w)
{
	join(w);
}

static __always_inline bool leave(struct futex_waiter *w)
{
	struct futex_bucket *b = lock_bucket(w);
	bool woken = w->woken;

	if (!woken)
		list_del(&w->node);
	spin_unlock(&b->lock);
	return woken;
}

bool futex_leave(struct futex_waiter *w)
{
	return leave(w);
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
	u32 now;
	int err;

	if (!bitset)
		return -EINVAL;
	err = get_key(addr, shared, &w.key, &w.pin);
	if (err)
		return err;
	waitq_init(&w.wait);
	join(&w);
	err = get_user(now, addr);
	if (!err && now != value)
		err = -EAGAIN;
	if (!err)
		err = wait_event_deadline(&w.wait, READ_ONCE(w.woken), deadline);
	if (leave(&w))
		err = 0;
	futex_put_key(w.pin); /* of the key that it has by now */
	return err;
}

/*
 * Wakes up to `count` waiters of the key; as on Linux one at least. Its bucket's lock held. -EINVAL: it
 * is a word of futex_pi.c, whose waiters are not woken that way.
 */
static __always_inline int wake_key(struct futex_bucket *b, const struct futex_key *k, int count,
				    u32 bitset)
{
	struct futex_waiter *w, *next;
	int woken = 0;

	list_for_each_safe(w, next, &b->waiters, node) {
		if (!futex_same_key(&w->key, k))
			continue;
		if (w->kind != FUTEX_PLAIN)
			return -EINVAL;
		if (!(w->bitset & bitset))
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
	struct futex_bucket *b;
	int woken, err;

	if (!bitset)
		return -EINVAL;
	err = get_key(addr, shared, &k, &pin);
	if (err)
		return err;
	b = futex_bucket_of(&k);
	spin_lock(&b->lock);
	woken = wake_key(b, &k, count, bitset);
	spin_unlock(&b->lock);
	futex_put_key(pin);
	return woken;
}

static void lock_two(struct futex_bucket *a, struct futex_bucket *b)
{
	if (a > b) {
		struct futex_bucket *t = a;

		a = b;
		b = t;
	}
	spin_lock(&a->lock);
	if (a != b)
		spin_lock(&b->lock);
}

static void unlock_two(struct futex_bucket *a, struct futex_bucket *b)
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
	int err = futex_get_key(from, shared, &p->from, &p->from_pin);

	if (err)
		return err;
	err = futex_get_key(to, shared, &p->to, &p->to_pin);
	if (err)
		futex_put_key(p->from_pin);
	return err;
}

static void put_pair(struct futex_pair *p)
{
	futex_put_key(p->from_pin);
	futex_put_key(p->to_pin);
}

/* Moves a waiter to the key `to`. Both buckets' locks held; what its old pin leaves goes to *dead. */
static void move_waiter(struct futex_waiter *w, const struct futex_pair *p, struct futex_bucket *to,
			struct vm_mapping **dead)
{
	list_del(&w->node);
	put_in_line(to, w);
	if (p->to_pin)
		mapping_get(p->to_pin, 1);
	if (w->pin)
		mapping_put_later(w->pin, 1, dead);
	w->pin = p->to_pin;
	w->key = p->to;
	WRITE_ONCE(w->bucket, to);
}

/* Wakes the first ones that wait for p->from, and moves the next ones: how many, or -EINVAL. Both locks held. */
static int requeue(struct futex_bucket *a, struct futex_bucket *b, const struct futex_pair *p,
		   int wake_count, int move, struct vm_mapping **dead)
{
	struct futex_waiter *w, *next;
	int woken = 0, moved = 0;

	list_for_each_safe(w, next, &a->waiters, node) {
		if (woken == wake_count && moved == move)
			break;
		if (!futex_same_key(&w->key, &p->from))
			continue;
		if (w->kind != FUTEX_PLAIN)
			return -EINVAL;
		if (woken < wake_count) {
			wake(w);
			woken++;
			continue;
		}
		if (!futex_same_key(&p->from, &p->to)) /* else he counts, and stays */
			move_waiter(w, p, b, dead);
		moved++;
	}
	return woken + moved;
}

int futex_requeue(uaddr_t from, uaddr_t to, bool shared, int wake_count, int move, const u32 *value)
{
	struct vm_mapping *dead = NULL;
	struct futex_bucket *a, *b;
	struct futex_pair p;
	u32 now = 0;
	int ret;

	if (wake_count < 0 || move < 0)
		return -EINVAL;
	ret = get_pair(&p, from, to, shared);
	if (ret)
		return ret;
	/* Not atomic with what follows, as it may fault: a waiter that comes in between is moved,
	 * too, and finds out by its own look at its word. */
	if (value)
		ret = get_user(now, from);
	if (!ret && value && now != *value)
		ret = -EAGAIN;
	if (!ret) {
		a = futex_bucket_of(&p.from);
		b = futex_bucket_of(&p.to);
		lock_two(a, b);
		ret = requeue(a, b, &p, wake_count, move, &dead);
		unlock_two(a, b);
		mapping_destroy_all(dead);
	}
	put_pair(&p);
	return ret;
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
	struct futex_bucket *a, *b;
	struct futex_pair p;
	int ret = get_pair(&p, from, to, shared);

	if (ret)
		return ret;
	/* Before the looks at the buckets: who waits for the new word joined its own earlier. */
	ret = word_op(to, code);
	if (ret >= 0) {
		a = futex_bucket_of(&p.from);
		b = futex_bucket_of(&p.to);
		lock_two(a, b);
		count2 = ret ? wake_key(b, &p.to, count2, FUTEX_BITSET_ALL) : 0;
		ret = wake_key(a, &p.from, count, FUTEX_BITSET_ALL);
		if (ret >= 0)
			ret = count2 < 0 ? count2 : ret + count2;
		unlock_two(a, b);
	}
	put_pair(&p);
	return ret;
}

/* ---- robust lists -------------------------------------------------------------------------------- */

/* As many entries are looked at: the list is the program's, and may be a ring. As on Linux. */
#define ROBUST_LIST_LIMIT 2048

/*
 * A word on the list of the thread that ends: says so if the thread owns it. Who waits with priority
 * inheritance (pi) is served by futex_exit_pi. False: give up.
 */
static bool owner_died(uaddr_t addr, u32 tid, bool pi, bool pending)
{
	u32 old, seen;

	if ((addr & 3) || get_user(old, addr))
		return false;
	for (;;) {
		if (pending && !pi && !(old & FUTEX_TID_MASK)) {
			/* It died between the unlock and the wake-up, or woken by that, before it had the word. */
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
	if (!pi && (old & FUTEX_WAITERS))
		futex_wake(addr, true, 1, FUTEX_BITSET_ALL);
	return true;
}

/* Bit 0 of an entry marks a futex with priority inheritance. */
#define ROBUST_PI 1ul

static void walk_robust(uaddr_t list, u32 tid)
{
	struct linux_robust_list_head head;
	uaddr_t pending;
	u64 entry;

	if (!list || get_user(head, list))
		return;
	pending = head.pending & ~ROBUST_PI;
	entry = head.next;
	for (int i = 0; (entry & ~ROBUST_PI) != list && i < ROBUST_LIST_LIMIT; i++) {
		uaddr_t at = entry & ~ROBUST_PI;
		u64 next;
		int err = get_user(next, at);

		if (at != pending && !owner_died(at + head.offset, tid, entry & ROBUST_PI, false))
			return;
		if (err)
			return;
		entry = next;
	}
	if (pending)
		owner_died(pending + head.offset, tid, head.pending & ROBUST_PI, true);
}

void futex_exit(struct task *t, bool ends)
{
	bool owns = futex_pi_exit_begin();

	walk_robust(t->robust_list, t->tid);
	futex_pi_exit_end(owns, ends);
}

void futex_init(void)
{
	for (u32 i = 0; i < FUTEX_BUCKETS; i++) {
		spin_init(&buckets[i].lock, "futex", RANK_NONE);
		list_init(&buckets[i].waiters);
	}
	futex_pi_init();
}
