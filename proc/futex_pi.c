/*
 * Futexes with an owner: FUTEX_LOCK_PI and its kin (futex(2)), on which pthread's mutexes of protocol
 * PTHREAD_PRIO_INHERIT stand. Who waits lends its priority to the owner (sched/inherit.c).
 *
 * The word belongs to the program: 0 (free) or the owner's thread id, with FUTEX_WAITERS if the owner must
 * unlock by a call, and FUTEX_OWNER_DIED. Locks that nobody waits for never come here. For a word that is
 * waited for there is a struct pi_state: a pi_lock, whose owner is the thread that the word names. An unlock hands
 * over: it writes the most urgent waiter's id into the word, and makes it the owner, in one go.
 *
 * Locks. All calls for a word exclude each other by a mutex, found by the hash of its key: so they may read and
 * change the word, which may fault and sleep, between looking at the waiters and changing them. Inside
 * it pi_begin, for the pi_lock. A waiter sleeps without the mutex. When it wakes it leaves the pi_lock,
 * if it is still there, and then takes the mutex before it returns (not the other way round: a thread waits
 * for one thing at a time). One that has just joined the pi_lock still has the mutex, which the owner may wait
 * for: that is no circle (pi_lock.brief). So whoever has the mutex may touch each waiter, and may grant the lock to one
 * that has just given up: it finds out. A pi_lock without waiters has no owner: so whoever is owner is in
 * the call futex_exit before it dies, which hands over what it owns.
 *
 * Most threads never own what is waited for, and their ends take no lock: who makes a thread the owner turns its
 * pi_ends from LIVES to OWNS first, by compare-and-swap; a thread that ends exchanges it for ENDS, and had LIVES there: it
 * owns nothing, and nobody makes it an owner any more.
 *
 * Its word is written by the new owner then, in its own space (`stale`: until that is done the word names
 * who died).
 */
#include "proc/futex.h"

#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "lib/uapi/futex.h"
#include "mm/pt.h"
#include "mm/region.h"
#include "mm/slab.h"
#include "sched/mutex.h"
#include "sched/sched.h"

#define PI_BUCKETS 64 /* power of two */

struct pi_bucket {
	struct mutex lock;
	struct list_node states; /* [lock] struct pi_state */
} __aligned(64);

struct pi_state {
	struct list_node node;    /* [bucket] */
	struct futex_waiter mark; /* [I] for the other calls; has the key */
	struct pi_bucket *bucket; /* [I] */
	struct pi_lock lock;
	u32 refs;    /* [pi] waiters, and who hands over at its end */
	bool linked; /* [bucket] */
	bool stale;  /* [bucket, pi] the word does not name lock.owner yet */
};

/* On the stack of who waits; others touch it with the bucket locked only. */
struct pi_sleeper {
	struct pi_waiter pi;
	struct pi_state *state; /* [bucket] a reference */
	struct thread *thread;  /* [I] */
	bool granted;           /* [bucket, pi] it is the owner */
	bool away; /* [pi] it has not begun to sleep, or has given up: no state takes it */
};

/* One that is moved: FUTEX_WAIT_REQUEUE_PI. */
struct requeue_waiter {
	struct futex_waiter wait;
	struct futex_key to; /* [I] */
	struct pi_sleeper sleeper;
};

static struct pi_bucket pi_buckets[PI_BUCKETS];
static struct waitq ends = WAITQ_INIT(ends); /* who wants to know whether a thread still ends */
static atomic_t waits_for_end;               /* how many those are */

/* thread.pi_ends */
enum { PI_LIVES, PI_OWNS, PI_ENDS, PI_ENDED };

static struct pi_bucket *pi_bucket_of(const struct futex_key *k)
{
	u64 h = ((u64)k->owner >> 6 ^ k->at >> 2) * 0x9e3779b97f4a7c15ull;

	return &pi_buckets[h >> 56 & (PI_BUCKETS - 1)];
}

/* ---- states: the bucket's mutex held --------------------------------------------------------------- */

static struct pi_state *state_new(struct pi_bucket *b, const struct futex_key *k,
				  struct vm_mapping *pin)
{
	struct pi_state *s = kzalloc(sizeof(*s));

	if (!s)
		return NULL;
	s->bucket = b;
	s->mark.key = *k;
	s->mark.pin = pin;
	s->mark.kind = FUTEX_PI;
	if (pin)
		mapping_get(pin, 1);
	futex_join(&s->mark);
	list_add(&b->states, &s->node);
	s->linked = true;
	return s;
}

static void state_unlink(struct pi_state *s)
{
	if (!s->linked)
		return;
	s->linked = false;
	list_del(&s->node);
	futex_leave(&s->mark);
}

static void state_put(struct pi_state *s)
{
	u64 flags = pi_begin();
	bool last = --s->refs == 0;

	pi_end(flags);
	if (!last)
		return;
	state_unlink(s);
	futex_put_key(s->mark.pin);
	kfree(s);
}

static struct pi_state *state_find(struct pi_bucket *b, const struct futex_key *k)
{
	struct pi_state *s;

	list_for_each(s, &b->states, node)
		if (futex_same_key(&s->mark.key, k))
			return s;
	return NULL;
}

/* Somebody sleeps on the word by FUTEX_WAIT: it cannot be both. */
static bool is_waited_for_plainly(const struct futex_key *k)
{
	struct futex_bucket *b = futex_bucket_of(k);
	struct futex_waiter *w;
	bool found = false;

	spin_lock(&b->lock);
	list_for_each(w, &b->waiters, node)
		if (w->kind != FUTEX_PI && futex_same_key(&w->key, k))
			found = true;
	spin_unlock(&b->lock);
	return found;
}

/* ---- owners ---------------------------------------------------------------------------------------- */

/* The thread is to be an owner. False: it ends, or has ended. */
static bool may_own(struct thread *t)
{
	u8 how = PI_LIVES;

	return __atomic_compare_exchange_n(&t->pi_ends, &how, PI_OWNS, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST) ||
	       how == PI_OWNS;
}

/* Until that thread, whose end has begun, owns nothing any more. Drops the reference. */
static void await_end(struct thread *t)
{
	atomic_fetch_add(&waits_for_end, 1u); /* a full barrier: before pi_ends is read */
	wait_event(&ends, load_acquire(&t->pi_ends) != PI_ENDS);
	atomic_fetch_sub(&waits_for_end, 1u);
	thread_put(t);
}

/* A lock that nobody waits for has no owner, unless that is still to write the word. Between pi_begin and pi_end. */
static void settle_owner(struct pi_state *s, struct thread *t)
{
	pi_set_owner(&s->lock, pi_first(&s->lock) || s->stale ? t : NULL);
}

/* The thread does not wait any more, granted or not. */
static void stop_waiting(struct pi_sleeper *me)
{
	u64 flags = pi_begin();

	me->away = true;
	if (me->pi.lock) {
		pi_leave(&me->pi);
		settle_owner(me->state, me->state->lock.owner);
	}
	pi_end(flags);
}

/* `to` owns the lock from here on; stale: it has to write the word itself. Mutex held. */
static void grant(struct pi_state *s, struct pi_sleeper *to, bool stale)
{
	bool lives = may_own(to->thread);
	u64 flags = pi_begin();

	kassert(lives); /* it is in a call here */
	if (to->pi.lock)
		pi_leave(&to->pi);
	s->stale = stale;
	settle_owner(s, to->thread);
	to->granted = true;
	sched_wake(to->thread, T_INTERRUPTIBLE);
	pi_end(flags);
}

static struct pi_sleeper *first_sleeper(struct pi_state *s, struct thread **owner)
{
	u64 flags = pi_begin();
	struct pi_waiter *w = pi_first(&s->lock);

	*owner = s->lock.owner;
	pi_end(flags);
	return w ? container_of(w, struct pi_sleeper, pi) : NULL;
}

/* The owner writes the word, or has just done so. Mutex held. */
static void clear_stale(struct pi_state *s)
{
	u64 flags = pi_begin();

	s->stale = false;
	settle_owner(s, s->lock.owner);
	pi_end(flags);
}

/* The current owner is no more, or cannot go on: the next one is, and will say so in the word. Mutex held. */
static void pass_on(struct pi_state *s)
{
	struct thread *owner;
	struct pi_sleeper *next = first_sleeper(s, &owner);

	if (next) {
		grant(s, next, true);
	} else {
		clear_stale(s);
		state_unlink(s);
	}
}

/* The thread that a word names, with a reference, or NULL. */
static struct thread *find_thread(u32 tid)
{
	u64 flags = proc_lock();
	struct task *t = task_find(tid);
	struct thread *thread = t ? t->thread : NULL;

	if (thread)
		thread_get(thread);
	proc_unlock(flags);
	return thread;
}

/* ---- to own, or to wait ---------------------------------------------------------------------------- */

/* What is wanted: the word at addr, for a thread, by `sleeper` if it has to wait (NULL: it does not). */
struct pi_want {
	struct futex_key key;
	struct vm_mapping *pin;
	uaddr_t addr;
	struct pi_bucket *bucket;
	struct pi_sleeper *sleeper;
	struct thread *thread;
	u32 taken_bits;        /* for the word, if it is free */
	struct thread *ending; /* out, with -EBUSY: whose end must be waited for; a reference */
};

/* It waits from here on, behind `owner`, or behind whoever owns the state. 0, -EAGAIN: look again, -EDEADLK. */
static int enqueue(struct pi_want *want, struct pi_state *s, struct thread *owner)
{
	struct pi_sleeper *me = want->sleeper;
	int err = 0;
	u64 flags = pi_begin();

	if (!owner && !s->lock.owner)
		err = -EAGAIN;
	else if (owner && !may_own(owner))
		err = -EBUSY;
	else if (me && me->away)
		err = -ECANCELED;
	if (!err && me) {
		if (owner)
			pi_set_owner(&s->lock, owner);
		err = pi_wait(&s->lock, &me->pi, me->thread);
		if (err)
			settle_owner(s, s->lock.owner);
	}
	if (!err && me) {
		s->refs++;
		me->state = s;
	}
	pi_end(flags);
	return err;
}

/* The word is waited for already: it must say the same as the state. */
static int join_state(struct pi_want *want, struct pi_state *s, u32 word)
{
	struct thread *owner;

	first_sleeper(s, &owner);
	if (!owner) { /* all have given up, but have not taken the mutex yet */
		state_unlink(s);
		return -EAGAIN;
	}
	if (!s->stale && (word & FUTEX_TID_MASK) != owner->tid &&
	    !((word & FUTEX_OWNER_DIED) && !(word & FUTEX_TID_MASK)))
		return -EINVAL;
	return enqueue(want, s, NULL);
}

/* The first that waits. */
static int begin_state(struct pi_want *want, u32 word)
{
	struct thread *owner = find_thread(word & FUTEX_TID_MASK);
	struct pi_state *s = NULL;
	int err = -ESRCH;
	u32 now;

	if (owner) {
		s = state_new(want->bucket, &want->key, want->pin);
		err = s ? 0 : -ENOMEM;
	}
	if (s) {
		s->refs = 1;
		err = enqueue(want, s, owner);
		if (err || !want->sleeper)
			state_unlink(s);
		state_put(s);
	}
	if (err == -EBUSY && load_acquire(&owner->pi_ends) == PI_ENDS) {
		want->ending = owner;
		return -EBUSY;
	}
	if (owner)
		thread_put(owner);
	if (err == -EBUSY)
		err = -ESRCH;
	/* It may have ended, and said so in the word, since we read that. */
	if (err == -ESRCH && (get_user(now, want->addr) || now != word))
		err = -EAGAIN;
	return err;
}

/* 1: the thread owns the word; 0: it waits (or would); -EAGAIN: try again; -errno. Mutex held. */
static int try_once(struct pi_want *want)
{
	struct pi_state *s = state_find(want->bucket, &want->key);
	u32 word, seen, new;

	if (get_user(word, want->addr))
		return -EFAULT;
	if ((word & FUTEX_TID_MASK) == want->thread->tid)
		return -EDEADLK;
	if (s)
		return join_state(want, s, word);
	if (is_waited_for_plainly(&want->key))
		return -EINVAL;
	seen = word;
	new = word | FUTEX_WAITERS;
	if (!(word & FUTEX_TID_MASK))
		new = (word & FUTEX_OWNER_DIED) | want->thread->tid | want->taken_bits;
	if (user_cmpxchg(want->addr, &seen, new))
		return -EFAULT;
	if (seen != word)
		return -EAGAIN;
	return word & FUTEX_TID_MASK ? begin_state(want, new) : 1;
}

/* As try_once, until it is decided. With the mutex, which it may drop meanwhile. */
static int acquire(struct pi_want *want)
{
	for (;;) {
		int ret = try_once(want);
		struct thread *t = want->ending;

		if (ret == -EBUSY) {
			want->ending = NULL;
			mutex_unlock(&want->bucket->lock);
			await_end(t);
			mutex_lock(&want->bucket->lock);
		} else if (ret != -EAGAIN) {
			return ret;
		} else if (signal_pending_current()) {
			return -ERESTARTNOINTR;
		}
	}
}

/* ---- waiting --------------------------------------------------------------------------------------- */

/* Until it is granted, or an error. */
static int sleep_for(struct pi_sleeper *me, u64 deadline)
{
	int err = 0;

	for (;;) {
		WRITE_ONCE(current()->state, T_INTERRUPTIBLE);
		memory_barrier(); /* the state is out before the look at `granted` */
		if (READ_ONCE(me->granted))
			break;
		if (signal_pending_current())
			err = -ERESTARTNOINTR;
		else if (deadline != WAIT_FOREVER && clock_ns() >= deadline)
			err = -ETIMEDOUT;
		if (err)
			break;
		sched_sleep(deadline);
	}
	WRITE_ONCE(current()->state, T_RUNNABLE);
	stop_waiting(me);
	return err;
}

/* The owner of before died: the word is to name us. Mutex held. 0 or -EFAULT. */
static int write_word(uaddr_t addr)
{
	u32 word, seen, me = FUTEX_OWNER_DIED | FUTEX_WAITERS | current()->tid;

	if (get_user(word, addr))
		return -EFAULT;
	for (;;) {
		seen = word;
		if (user_cmpxchg(addr, &seen, me))
			return -EFAULT;
		if (seen == word)
			return 0;
		word = seen;
	}
}

/* Behind sleep_for, with the mutex, and a state: what has come of it. */
static int end_wait(struct pi_sleeper *me, uaddr_t addr, int err)
{
	struct pi_state *s = me->state;

	if (me->granted) {
		err = s->stale ? write_word(addr) : 0;
		if (err)
			pass_on(s);
		else if (s->stale)
			clear_stale(s);
	}
	state_put(s);
	return err;
}

static int want_begin(struct pi_want *want, uaddr_t addr, bool shared)
{
	int err = futex_get_key(addr, shared, &want->key, &want->pin);

	if (err)
		return err;
	want->addr = addr;
	want->bucket = pi_bucket_of(&want->key);
	mutex_lock(&want->bucket->lock);
	return 0;
}

static void want_end(struct pi_want *want)
{
	mutex_unlock(&want->bucket->lock);
	futex_put_key(want->pin);
}

int futex_lock_pi(uaddr_t addr, bool shared, u64 deadline)
{
	struct pi_sleeper me = { .thread = current() };
	struct pi_want want = { .sleeper = &me, .thread = current() };
	int ret = want_begin(&want, addr, shared);

	if (ret)
		return ret;
	ret = acquire(&want);
	if (ret == 0) {
		mutex_unlock(&want.bucket->lock);
		ret = sleep_for(&me, deadline);
		mutex_lock(&want.bucket->lock);
		ret = end_wait(&me, addr, ret);
	}
	want_end(&want);
	return MIN(ret, 0);
}

int futex_trylock_pi(uaddr_t addr, bool shared)
{
	struct pi_want want = { .thread = current() };
	int ret = want_begin(&want, addr, shared);

	if (ret)
		return ret;
	ret = acquire(&want);
	want_end(&want);
	return ret == 0 ? -EAGAIN : MIN(ret, 0);
}

/* With the mutex. */
static int unlock(struct pi_want *want, u32 tid)
{
	struct pi_state *s = state_find(want->bucket, &want->key);
	struct pi_sleeper *next = NULL;
	struct thread *owner = NULL;
	u32 word, seen, new = 0;

	if (get_user(word, want->addr))
		return -EFAULT;
	if (s)
		next = first_sleeper(s, &owner);
	if ((owner && owner != current()) || (!next && is_waited_for_plainly(&want->key)))
		return -EINVAL;
	if (next)
		new = FUTEX_WAITERS | next->thread->tid;
	seen = word;
	if ((word & FUTEX_TID_MASK) != tid)
		return next ? -EINVAL : -EAGAIN;
	if (user_cmpxchg(want->addr, &seen, new))
		return -EFAULT;
	if (seen != word)
		return -EAGAIN;
	if (next)
		grant(s, next, false);
	else if (s)
		state_unlink(s);
	return 0;
}

int futex_unlock_pi(uaddr_t addr, bool shared)
{
	struct pi_want want = { .thread = current() };
	u32 word, tid = current()->tid;
	int ret;

	if (get_user(word, addr))
		return -EFAULT;
	if ((word & FUTEX_TID_MASK) != tid)
		return -EPERM;
	ret = want_begin(&want, addr, shared);
	if (ret)
		return ret;
	do
		ret = unlock(&want, tid);
	while (ret == -EAGAIN && !get_user(word, addr) && (word & FUTEX_TID_MASK) == tid);
	want_end(&want);
	return ret;
}

/* ---- conditions ------------------------------------------------------------------------------------ */

/*
 * The word says what it should: from here on the waiter may be moved. Not before, for the look at the word may fault, and
 * wait for a mutex meanwhile; a thread waits for one thing at a time. -EAGAIN: somebody has wanted to, already.
 */
static int begin_sleep(struct requeue_waiter *me)
{
	u64 flags = pi_begin();

	me->sleeper.away = false;
	pi_end(flags);
	return READ_ONCE(me->wait.woken) ? -EAGAIN : 0;
}

int futex_wait_requeue_pi(uaddr_t from, uaddr_t to, bool shared, u32 value, u64 deadline)
{
	struct requeue_waiter me = { .wait = { .kind = FUTEX_TO_PI },
				     .sleeper = { .thread = current(), .away = true } };
	struct vm_mapping *pin;
	bool moved;
	u32 now;
	int err;

	if (from == to)
		return -EINVAL;
	err = futex_get_key(to, shared, &me.to, &pin);
	if (err)
		return err;
	err = futex_get_key(from, shared, &me.wait.key, &me.wait.pin);
	if (err)
		goto out;
	futex_join(&me.wait);
	err = get_user(now, from);
	if (!err && now != value)
		err = -EAGAIN;
	if (!err)
		err = begin_sleep(&me);
	if (!err)
		err = sleep_for(&me.sleeper, deadline);
	else
		stop_waiting(&me.sleeper);
	mutex_lock(&pi_bucket_of(&me.to)->lock);
	moved = futex_leave(&me.wait);
	if (me.sleeper.state)
		err = end_wait(&me.sleeper, to, err);
	else if (me.sleeper.granted)
		err = 0;
	mutex_unlock(&pi_bucket_of(&me.to)->lock);
	if (moved && err == -ERESTARTNOINTR)
		err = -EAGAIN; /* the word that it waited for has changed */
	futex_put_key(me.wait.pin);
out:
	futex_put_key(pin);
	return err;
}

/* Takes the first waiter of the key out of its bucket: NULL: there is none. Its own mutex is held. */
static struct requeue_waiter *take_waiter(const struct futex_key *from, const struct futex_key *to)
{
	struct requeue_waiter *r = NULL;
	struct futex_bucket *b = futex_bucket_of(from);
	struct futex_waiter *w;

	spin_lock(&b->lock);
	list_for_each(w, &b->waiters, node) {
		if (!futex_same_key(&w->key, from))
			continue;
		r = ERR_PTR(-EINVAL);
		if (w->kind != FUTEX_TO_PI)
			break;
		r = container_of(w, struct requeue_waiter, wait);
		if (!futex_same_key(&r->to, to)) {
			r = ERR_PTR(-EINVAL);
			break;
		}
		list_del(&w->node);
		WRITE_ONCE(w->woken, true);
		break;
	}
	spin_unlock(&b->lock);
	return r;
}

static void give_back_waiter(struct requeue_waiter *r)
{
	struct futex_bucket *b = r->wait.bucket;

	spin_lock(&b->lock);
	list_add(&b->waiters, &r->wait.node);
	WRITE_ONCE(r->wait.woken, false);
	spin_unlock(&b->lock);
}

/* One waiter of `from` owns the word of want, or waits for it. 1; 0: there is none; -errno. */
static int move_one(struct pi_want *want, const struct futex_key *from)
{
	struct requeue_waiter *r = take_waiter(from, &want->key);
	int ret;

	if (!r || IS_ERR(r))
		return r ? (int)PTR_ERR(r) : 0;
	want->sleeper = &r->sleeper;
	want->thread = r->sleeper.thread;
	do
		ret = try_once(want);
	while (ret == -EAGAIN);
	if (ret == 1) {
		u64 flags = pi_begin();

		WRITE_ONCE(r->sleeper.granted, true);
		sched_wake(want->thread, T_INTERRUPTIBLE);
		pi_end(flags);
	} else if (ret < 0 && ret != -ECANCELED) {
		give_back_waiter(r);
		return ret;
	}
	return 1;
}

int futex_requeue_pi(uaddr_t from, uaddr_t to, bool shared, int wake, int move, u32 value)
{
	struct pi_want want = { .taken_bits = move ? FUTEX_WAITERS : 0 };
	struct vm_mapping *pin;
	struct futex_key key;
	int ret, moved = 0;
	u32 now;

	if (wake < 0 || move < 0 || wake != 1 || from == to)
		return -EINVAL;
	ret = futex_get_key(from, shared, &key, &pin);
	if (ret)
		return ret;
	ret = want_begin(&want, to, shared);
	if (ret)
		goto out;
	if (get_user(now, from))
		ret = -EFAULT;
	else if (now != value)
		ret = -EAGAIN;
	while (!ret && moved - wake < move) {
		ret = move_one(&want, &key);
		if (ret == -EBUSY) { /* its owner ends just now */
			mutex_unlock(&want.bucket->lock);
			await_end(want.ending);
			mutex_lock(&want.bucket->lock);
			ret = 0;
			continue;
		}
		if (ret <= 0)
			break;
		moved++;
		ret = 0;
	}
	want_end(&want);
out:
	futex_put_key(pin);
	return ret ? ret : moved;
}

/* ---- the end of a thread --------------------------------------------------------------------------- */

/* From here on nobody makes this thread an owner. False: it owns nothing either. */
bool futex_pi_exit_begin(void)
{
	return __atomic_exchange_n(&current()->pi_ends, PI_ENDS, __ATOMIC_SEQ_CST) == PI_OWNS;
}

/* A state that the current thread owns, with a reference, or NULL. */
static struct pi_state *owned_state(void)
{
	u64 flags = pi_begin();
	struct rb_node *n = rb_first(&current()->lenders);
	struct pi_state *s = NULL;

	if (n) {
		s = container_of(rb_entry(n, struct pi_waiter, lent)->lock, struct pi_state, lock);
		s->refs++;
	}
	pi_end(flags);
	return s;
}

static void hand_over_all(void)
{
	struct pi_state *s;

	while ((s = owned_state())) {
		struct pi_bucket *b = s->bucket;
		struct thread *owner;

		mutex_lock(&b->lock);
		first_sleeper(s, &owner);
		if (owner == current())
			pass_on(s);
		state_put(s);
		mutex_unlock(&b->lock);
	}
}

void futex_pi_exit_end(bool owns, bool ends_for_good)
{
	if (owns)
		hand_over_all();
	__atomic_exchange_n(&current()->pi_ends, ends_for_good ? PI_ENDED : PI_LIVES,
			    __ATOMIC_SEQ_CST);
	if (unlikely(atomic_load(&waits_for_end)))
		waitq_wake_all(&ends);
}

void futex_pi_init(void)
{
	for (u32 i = 0; i < PI_BUCKETS; i++) {
		mutex_init(&pi_buckets[i].lock);
		pi_buckets[i].lock.pi.brief = true;
		list_init(&pi_buckets[i].states);
	}
}
