/*
 * Words with an owner (proc/futex_pi.c) on simulated CPUs: FUTEX_LOCK_PI and its kin as programs use them, a
 * compare-and-swap first and the call only when that fails. One case after the other: what the calls return, whom
 * waiting lends to, in which order the lock is handed over, who dies with it, conditions (FUTEX_WAIT_REQUEUE_PI); and at
 * random, with timeouts, signals, deaths and policies that change, each step followed by an audit:
 *
 *	one owner at a time		`inside`, and what it protects, which ThreadSanitizer watches, too
 *	levels				compared to a naive computation over all who wait
 *	words				name the owner that the kernel knows, and say FUTEX_WAITERS
 *	no lost wake-up			the simulated machine would stand still, which it does not let pass
 *	nothing is left			states, waiters in buckets, owners
 */
#include "sched_host.h"

#include "arch/api/uaccess.h"
#include "lib/uapi/futex.h"
#include "lib/uapi/sched.h"
#include "mm/slab.h"

/* ---- what the files under test stand on ------------------------------------------------------------ */

/* Programs change words by atomic instructions. */
static int read_word(void *to, uaddr_t at, size_t size)
{
	if (at < PAGE_SIZE || at >= USER_TOP)
		return -EFAULT;
	if (size == sizeof(u32))
		*(u32 *)to = __atomic_load_n((u32 *)at, __ATOMIC_SEQ_CST);
	else
		memcpy(to, (void *)at, size); /* of lists, which are the thread's own */
	return 0;
}

static int cmpxchg_word(uaddr_t at, u32 *old, u32 new)
{
	if (at < PAGE_SIZE || at >= USER_TOP)
		return -EFAULT;
	__atomic_compare_exchange_n((u32 *)at, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return 0;
}

static atomic_t states;

static void *new_state(size_t size)
{
	atomic_fetch_add(&states, 1u);
	return calloc(1, size);
}

static void free_state(void *p)
{
	atomic_fetch_sub(&states, 1u);
	free(p);
}

#undef get_user
#define get_user(x, addr) read_word(&(x), (addr), sizeof(x))
#define user_cmpxchg      cmpxchg_word
#define kzalloc           new_state
#define kfree             free_state

#include "proc/futex.c"
#define enqueue pi_enqueue /* time/timer.c has one, too */
#include "proc/futex_pi.c"

#define TASKS 8
static struct task tasks[TASKS]; /* [tree_lock] */
static spinlock_t tree_lock;

u64 proc_lock(void)
{
	return spin_lock_irqsave(&tree_lock);
}

void proc_unlock(u64 flags)
{
	spin_unlock_irqrestore(&tree_lock, flags);
}

struct task *task_find(u32 tid)
{
	for (u32 i = 0; i < TASKS; i++)
		if (tasks[i].thread && tasks[i].tid == tid)
			return &tasks[i];
	return NULL;
}

/* ---- threads of a program ------------------------------------------------------------------------ */

#define US    NSEC_PER_USEC
#define MS    NSEC_PER_MSEC
#define WORDS 3
#define LONG  (60 * NSEC_PER_SEC) /* time leaps, from one tick to the next */

static struct robust_word {
	u64 next; /* as struct robust_list */
	u32 word;
} lock[WORDS];
static u64 protected[WORDS]; /* by its word: plain */
static struct thread *inside[WORDS];
static atomic_t step;
static struct waitq steps = WAITQ_INIT(steps);
static atomic_t nr_served;
static u64 served[8];
static bool go;

static uaddr_t at(u32 i)
{
	return (uaddr_t)&lock[i].word;
}

static u32 word_of(u32 i)
{
	return __atomic_load_n(&lock[i].word, __ATOMIC_SEQ_CST);
}

static void begin(void)
{
	memset(lock, 0, sizeof(lock));
	memset(protected, 0, sizeof(protected));
	memset(inside, 0, sizeof(inside));
	memset(tasks, 0, sizeof(tasks));
	waitq_init(&ends);
	waitq_init(&steps);
	spin_init(&tree_lock, "tree", RANK_PROC);
	futex_init();
	atomic_store(&states, 0u);
	atomic_store(&step, 0u);
	atomic_store(&nr_served, 0u);
	go = false;
	sched_set_level(current(), 1, true); /* above all that is judged */
}

/* Nobody waits, nothing is owned, nothing is kept. */
static void end(void)
{
	sim_check_eq(atomic_load(&states), 0);
	sim_check_eq(atomic_load(&waits_for_end), 0);
	for (u32 i = 0; i < PI_BUCKETS; i++) {
		sim_check(list_empty(&pi_buckets[i].states));
		sim_check_eq(atomic_load(&pi_buckets[i].lock.owner), 0);
	}
	for (u32 i = 0; i < FUTEX_BUCKETS; i++)
		sim_check(list_empty(&buckets[i].waiters));
}

static void await(u32 n)
{
	wait_event(&steps, atomic_load_acquire(&step) >= n);
}

static void next_step(void)
{
	atomic_fetch_add(&step, 1u);
	waitq_wake_all(&steps);
}

static struct pi_lock *waits_for(const struct thread *t)
{
	u64 flags = pi_begin();
	struct pi_lock *l = t->waits ? t->waits->lock : NULL;

	pi_end(flags);
	return l;
}

/* Until it sleeps for a word: not for the mutex of a bucket. */
static void await_waiter(const struct thread *t)
{
	struct pi_lock *l;

	while (!(l = waits_for(t)) || l->brief || load_acquire(&t->state) != T_INTERRUPTIBLE)
		sched_sleep_until(clock_ns() + 200 * US);
}

static u32 level_of(struct thread *t)
{
	u64 flags = pi_begin();
	u32 level = t->level;

	pi_end(flags);
	return level;
}

static void enter_tree(struct task *me)
{
	u64 flags = proc_lock();

	me->thread = current();
	me->tid = current()->tid;
	proc_unlock(flags);
}

static void leave_tree(struct task *me)
{
	u64 flags;

	futex_exit(me, true);
	flags = proc_lock();
	me->thread = NULL;
	proc_unlock(flags);
}

struct program {
	int (*fn)(void *arg);
	void *arg;
};
static struct program programs[TASKS];

static int run_program(void *arg)
{
	u64 i = (u64)arg;
	int ret;

	enter_tree(&tasks[i]);
	ret = programs[i].fn(programs[i].arg);
	leave_tree(&tasks[i]);
	return ret;
}

/* Thread i of the program. */
static struct thread *start(u64 i, int (*fn)(void *arg), u64 arg, u32 level)
{
	programs[i] = (struct program){ fn, (void *)arg };
	return thread_create("user", run_program, (void *)i, level);
}

static void kill(struct thread *t)
{
	atomic_fetch_or(&t->work, THREAD_SIGPENDING);
	sched_wake(t, T_INTERRUPTIBLE);
}

/* What a program does, with the call only where it must. */
static int user_lock(u32 i, u64 deadline)
{
	u32 free = 0;
	int err = 0;

	if (!__atomic_compare_exchange_n(&lock[i].word, &free, current()->tid, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		err = futex_lock_pi(at(i), false, deadline);
	if (err)
		return err;
	sim_check(!inside[i]);
	inside[i] = current();
	sim_check_eq(word_of(i) & FUTEX_TID_MASK, current()->tid);
	return 0;
}

static int user_unlock(u32 i)
{
	u32 mine = current()->tid;

	sim_check_eq((u64)inside[i], (u64)current());
	protected[i]++;
	inside[i] = NULL;
	if (__atomic_compare_exchange_n(&lock[i].word, &mine, 0, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		return 0;
	return futex_unlock_pi(at(i), false);
}

/* ---- what the calls return ------------------------------------------------------------------------- */

static int hold_0(void *arg)
{
	sim_check_eq(user_lock(0, WAIT_FOREVER), 0);
	next_step();
	await((u32)(u64)arg);
	sim_check_eq(user_unlock(0), 0);
	return 0;
}

/* Word `arg` of WORDS, for at most so long in ns (arg / WORDS), or for ever. */
static int want(void *arg)
{
	u32 i = (u64)arg % WORDS;
	u64 ns = (u64)arg / WORDS;
	int err = user_lock(i, ns ? clock_ns() + ns : WAIT_FOREVER);

	if (err)
		return err;
	served[atomic_fetch_add(&nr_served, 1u)] = current()->base_level;
	sim_check_eq(user_unlock(i), 0);
	return 0;
}

static int wait_plainly(void *arg)
{
	return futex_wait(at(1), false, word_of(1), FUTEX_BITSET_ALL, WAIT_FOREVER);
}

/* Of a word that another thread owns, which nobody waits for. */
static void judge_owned(struct thread *owner)
{
	sim_check_eq(futex_trylock_pi(at(0), false), -EAGAIN);
	sim_check_eq(word_of(0) & FUTEX_TID_MASK, owner->tid);
	sim_check_eq(futex_unlock_pi(at(0), false), -EPERM);
	sim_check_eq(futex_lock_pi(at(0), false, clock_ns()), -ETIMEDOUT);
	sim_check_eq(futex_lock_pi(at(0), false, clock_ns() + 100 * US), -ETIMEDOUT);
	sim_check_eq(word_of(0), owner->tid | FUTEX_WAITERS);
	sim_check_eq(level_of(owner), SCHED_LEVEL_NORMAL); /* what was lent has come back */
	atomic_fetch_or(&current()->work, THREAD_SIGPENDING);
	sim_check_eq(futex_lock_pi(at(0), false, WAIT_FOREVER), -ERESTARTNOINTR);
	atomic_fetch_and(&current()->work, ~THREAD_SIGPENDING);
	sim_check_eq(level_of(owner), SCHED_LEVEL_NORMAL);
}

/* The program writes another owner into the word than the one that is waited for. */
static void judge_usurped(struct thread *owner)
{
	struct thread *waiter = start(2, want, 0, 50);
	u32 word;

	await_waiter(waiter);
	word = word_of(0);
	__atomic_store_n(&lock[0].word, current()->tid | FUTEX_WAITERS, __ATOMIC_SEQ_CST);
	sim_check_eq(futex_unlock_pi(at(0), false), -EINVAL);
	__atomic_store_n(&lock[0].word, owner->tid | FUTEX_WAITERS | 1u << 20, __ATOMIC_SEQ_CST);
	sim_check_eq(futex_lock_pi(at(0), false, WAIT_FOREVER), -EINVAL);
	__atomic_store_n(&lock[0].word, word, __ATOMIC_SEQ_CST);
	kill(waiter);
	sim_check_eq(thread_join(waiter), -ERESTARTNOINTR);
}

static void judge_free(void)
{
	u32 me = current()->tid;

	sim_check_eq(futex_trylock_pi(at(0), false), 0);
	sim_check_eq(word_of(0), me);
	sim_check_eq(futex_lock_pi(at(0), false, WAIT_FOREVER), -EDEADLK);
	sim_check_eq(futex_trylock_pi(at(0), false), -EDEADLK);
	sim_check_eq(futex_unlock_pi(at(0), false), 0);
	sim_check_eq(word_of(0), 0);
	sim_check_eq(futex_unlock_pi(at(0), false), -EPERM);
	/* Its owner died with it, and nobody waited: that is to be seen, until it is unlocked. */
	lock[0].word = FUTEX_OWNER_DIED;
	sim_check_eq(futex_lock_pi(at(0), false, WAIT_FOREVER), 0);
	sim_check_eq(word_of(0), FUTEX_OWNER_DIED | me);
	sim_check_eq(futex_unlock_pi(at(0), false), 0);
	sim_check_eq(word_of(0), 0);
}

static void judge_wrong(void)
{
	sim_check_eq(futex_lock_pi(at(0) + 1, false, WAIT_FOREVER), -EINVAL);
	sim_check_eq(futex_lock_pi(64, false, WAIT_FOREVER), -EFAULT);
	sim_check_eq(futex_trylock_pi(USER_TOP, false), -EFAULT);
	sim_check_eq(futex_unlock_pi(USER_TOP - 4096 + 8192, false), -EFAULT);
	lock[0].word = 12345; /* no such thread */
	sim_check_eq(futex_lock_pi(at(0), false, WAIT_FOREVER), -ESRCH);
	sim_check_eq(futex_trylock_pi(at(0), false), -ESRCH);
	lock[0].word = 0;
}

static int returns_main(void *arg)
{
	struct thread *t;

	begin();
	enter_tree(&tasks[0]);
	judge_free();
	judge_wrong();
	t = start(1, hold_0, 2, SCHED_LEVEL_NORMAL);
	await(1);
	judge_owned(t);
	judge_usurped(t);
	next_step();
	thread_join(t);
	sim_check_eq(word_of(0), 0);
	/* A word is waited for in one way at a time. */
	t = start(1, wait_plainly, 0, SCHED_LEVEL_NORMAL);
	while (load_acquire(&t->state) != T_INTERRUPTIBLE)
		sched_sleep_until(clock_ns() + 200 * US);
	sim_check_eq(futex_lock_pi(at(1), false, WAIT_FOREVER), -EINVAL);
	sim_check_eq(futex_wake(at(1), false, 1, FUTEX_BITSET_ALL), 1);
	thread_join(t);
	leave_tree(&tasks[0]);
	end();
	return 0;
}

static void test_each_call_returns_what_it_should(void **state)
{
	sched_run_seeds(300, 4, returns_main);
}

/* ---- whom waiting lends to ------------------------------------------------------------------------- */

/* The owner is lent the best of all who wait, and gives back what they take with them: by a timeout, by a signal. */
static int loan_main(void *arg)
{
	struct thread *owner, *t[4];

	begin();
	owner = start(0, hold_0, 2, SCHED_LEVEL_NORMAL);
	await(1);
	t[0] = start(1, want, 0, 60);
	await_waiter(t[0]);
	sim_check_eq(level_of(owner), 60);
	t[1] = start(2, want, LONG * WORDS, 40);
	await_waiter(t[1]);
	sim_check_eq(level_of(owner), 40);
	t[2] = start(3, want, 0, 20);
	await_waiter(t[2]);
	sim_check_eq(level_of(owner), 20);
	t[3] = start(4, want, 0, SCHED_LEVEL_NORMAL);
	await_waiter(t[3]);
	sim_check_eq(futex_wake(at(0), false, 1, FUTEX_BITSET_ALL), -EINVAL);
	kill(t[2]);
	sim_check_eq(thread_join(t[2]), -ERESTARTNOINTR);
	sim_check_eq(level_of(owner), 40);
	sim_check_eq(thread_join(t[1]), -ETIMEDOUT);
	sim_check_eq(level_of(owner), 60);
	sched_set_policy(t[3], SCHED_FIFO, 50);
	sim_check_eq(level_of(owner), 50);
	next_step();
	thread_join(t[0]);
	thread_join(t[3]);
	sim_check_eq(served[0], 50);
	sim_check_eq(served[1], 60);
	thread_join(owner);
	sim_check_eq(word_of(0), 0);
	end();
	return 0;
}

static void test_owner_is_lent_what_waits(void **state)
{
	sched_run_seeds(400, 4, loan_main);
}

/* Holds word i, and wants word i - 1 then. */
static int hold_and_want(void *arg)
{
	u32 i = (u32)(u64)arg;
	int err;

	sim_check_eq(user_lock(i, WAIT_FOREVER), 0);
	next_step();
	err = user_lock(i - 1, WAIT_FOREVER);
	sim_check_eq(err, 0);
	sim_check_eq(user_unlock(i - 1), 0);
	sim_check_eq(user_unlock(i), 0);
	return 0;
}

/* Holds word 0, and closes a circle by wanting the last one: told so, each time. */
static int close_circle(void *arg)
{
	sim_check_eq(user_lock(0, WAIT_FOREVER), 0);
	next_step();
	await(4);
	for (u32 i = WORDS; i-- > 0;)
		sim_check_eq(futex_lock_pi(at(i), false, WAIT_FOREVER), -EDEADLK);
	sim_check_eq(futex_trylock_pi(at(1), false), -EAGAIN);
	next_step();
	await(6);
	sim_check_eq(user_unlock(0), 0);
	return 0;
}

static int chain_main(void *arg)
{
	struct thread *t[WORDS], *high;

	begin();
	t[0] = start(0, close_circle, 0, SCHED_LEVEL_NORMAL);
	await(1);
	for (u32 i = 1; i < WORDS; i++) {
		t[i] = start(i, hold_and_want, i, 90 - 10 * i);
		await(1 + i);
		await_waiter(t[i]);
		sim_check_eq(level_of(t[0]), 90 - 10 * i);
	}
	next_step();
	await(5);
	sim_check_eq(level_of(t[0]), 70); /* a circle that was refused has left nothing */
	high = start(WORDS, want, WORDS - 1, 10);
	await_waiter(high);
	for (u32 i = 0; i < WORDS; i++)
		sim_check_eq(level_of(t[i]), 10);
	kill(high);
	sim_check_eq(thread_join(high), -ERESTARTNOINTR);
	for (u32 i = 0; i < WORDS; i++)
		sim_check_eq(level_of(t[i]), 70);
	next_step();
	for (u32 i = 0; i < WORDS; i++)
		thread_join(t[i]);
	for (u32 i = 0; i < WORDS; i++)
		sim_check_eq(word_of(i), 0);
	end();
	return 0;
}

static void test_chains_and_circles(void **state)
{
	sched_run_seeds(400, 4, chain_main);
}

/* The most urgent is served first, equals as they came. */
static int order_main(void *arg)
{
	static const u32 levels[6] = { 70, SCHED_LEVEL_NORMAL, 50, 60, 50, SCHED_LEVEL_NORMAL };
	static const u32 expected[6] = { 50, 50, 60, 70, SCHED_LEVEL_NORMAL, SCHED_LEVEL_NORMAL };
	struct thread *owner, *t[6];

	begin();
	owner = start(0, hold_0, 2, SCHED_LEVEL_NORMAL);
	await(1);
	for (u32 i = 0; i < 6; i++) {
		t[i] = start(i + 1, want, 0, levels[i]);
		await_waiter(t[i]);
	}
	next_step();
	thread_join(owner);
	for (u32 i = 0; i < 6; i++)
		thread_join(t[i]);
	for (u32 i = 0; i < 6; i++)
		sim_check_eq(served[i], expected[i]);
	sim_check_eq(protected[0], 7);
	end();
	return 0;
}

static void test_words_are_handed_over_by_priority(void **state)
{
	sched_run_seeds(300, 4, order_main);
}

/* ---- who dies with it ------------------------------------------------------------------------------- */

static struct linux_robust_list_head robust[TASKS];

/* Dies with word 0; arg: it has told the kernel of it (set_robust_list). */
static int hold_and_die(void *arg)
{
	struct linux_robust_list_head *r = &robust[0];

	sim_check_eq(user_lock(0, WAIT_FOREVER), 0);
	*r = (struct linux_robust_list_head){ .offset = offsetof(struct robust_word, word) };
	r->next = arg ? (u64)&lock[0] | ROBUST_PI : (u64)r;
	lock[0].next = (u64)r;
	tasks[0].robust_list = (u64)r;
	next_step();
	await(2);
	inside[0] = NULL;
	return 0;
}

static int want_of_the_dead(void *arg)
{
	sim_check_eq(user_lock(0, WAIT_FOREVER), 0);
	served[atomic_fetch_add(&nr_served, 1u)] = word_of(0);
	sim_check_eq(user_unlock(0), 0);
	return 0;
}

static int death_main(void *arg)
{
	struct thread *owner, *t[2];
	bool told = sim_random(2), waited = sim_random(4);
	u32 tid;

	begin();
	owner = start(0, hold_and_die, told, SCHED_LEVEL_NORMAL);
	tid = owner->tid;
	await(1);
	for (u32 i = 0; i < 2 && waited; i++) {
		t[i] = start(1 + i, want_of_the_dead, 0, 50 + 10 * i);
		if (sim_random(2))
			await_waiter(t[i]);
	}
	if (waited)
		await_waiter(t[0]);
	next_step();
	thread_join(owner);
	for (u32 i = 0; i < 2 && waited; i++)
		thread_join(t[i]);
	if (waited) {
		sim_check(served[0] & FUTEX_OWNER_DIED);
		sim_check(!(served[1] & FUTEX_OWNER_DIED));
		sim_check_eq(word_of(0), 0);
	} else {
		sim_check_eq(word_of(0), told ? FUTEX_OWNER_DIED : tid);
	}
	end();
	return 0;
}

static void test_the_next_one_learns_of_a_death(void **state)
{
	sched_run_seeds(600, 4, death_main);
}

/* ---- conditions -------------------------------------------------------------------------------------- */

static u32 condition;
static bool may_go;

/* As pthread_cond_wait on a mutex with priority inheritance. */
static int wait_for_condition(void *arg)
{
	u64 ns = (u64)arg;
	int err = 0;

	sim_check_eq(user_lock(0, WAIT_FOREVER), 0);
	next_step();
	while (!may_go && !err) {
		u32 value = __atomic_load_n(&condition, __ATOMIC_SEQ_CST);

		sim_check_eq(user_unlock(0), 0);
		err = futex_wait_requeue_pi((uaddr_t)&condition, at(0), false, value,
					    ns ? clock_ns() + ns : WAIT_FOREVER);
		if (err) {
			sim_check(err == -EAGAIN || err == -ETIMEDOUT);
			sim_check_eq(user_lock(0, WAIT_FOREVER), 0);
			err = err == -EAGAIN ? 0 : err;
			continue;
		}
		sim_check(!inside[0]); /* it has been handed the lock */
		inside[0] = current();
		sim_check_eq(word_of(0) & FUTEX_TID_MASK, current()->tid);
	}
	if (!err)
		served[atomic_fetch_add(&nr_served, 1u)] = current()->base_level;
	sim_check_eq(user_unlock(0), 0);
	return err;
}

static int condition_main(void *arg)
{
	static const u32 levels[3] = { 60, 40, SCHED_LEVEL_NORMAL };
	struct thread *t[4];
	int moved;

	begin();
	enter_tree(&tasks[0]);
	condition = 0;
	may_go = false;
	for (u32 i = 0; i < 3; i++)
		t[i] = start(1 + i, wait_for_condition, 0, levels[i]);
	t[3] = start(4, wait_for_condition, LONG, 50);
	sim_check_eq(thread_join(t[3]), -ETIMEDOUT);
	await(4);
	for (u32 i = 0; i < 3; i++)
		while (load_acquire(&t[i]->state) != T_INTERRUPTIBLE)
			sched_sleep_until(clock_ns() + 200 * US);
	sim_check_eq(user_lock(0, WAIT_FOREVER), 0);
	may_go = true;
	__atomic_fetch_add(&condition, 1, __ATOMIC_SEQ_CST);
	sim_check_eq(futex_requeue_pi((uaddr_t)&condition, at(0), false, 1, 9, 0), -EAGAIN);
	sim_check_eq(futex_requeue_pi((uaddr_t)&condition, at(1), false, 1, 9, 1), -EINVAL);
	if (sim_random(2)) { /* the first is handed the word at once */
		sim_check_eq(user_unlock(0), 0);
		moved = futex_requeue_pi((uaddr_t)&condition, at(0), false, 1, 9, 1);
		sim_check_eq(moved, 3);
	} else {
		moved = futex_requeue_pi((uaddr_t)&condition, at(0), false, 1, 9, 1);
		sim_check_eq(moved, 3);
		for (u32 i = 0; i < 3; i++)
			await_waiter(t[i]);
		sched_set_level(current(), SCHED_LEVEL_NORMAL, false);
		sim_check_eq(level_of(current()), 40);
		sched_set_level(current(), 1, true);
		sim_check_eq(user_unlock(0), 0);
	}
	for (u32 i = 0; i < 3; i++)
		sim_check_eq(thread_join(t[i]), 0);
	sim_check_eq(served[0], 40);
	sim_check_eq(served[1], 60);
	sim_check_eq(served[2], SCHED_LEVEL_NORMAL);
	sim_check_eq(word_of(0), 0);
	leave_tree(&tasks[0]);
	end();
	return 0;
}

static void test_conditions_hand_the_word_over(void **state)
{
	sched_run_seeds(400, 4, condition_main);
}

/* ---- at random ---------------------------------------------------------------------------------------- */

#define RANDOM_THREADS 5u

#define ALL_THREADS (RANDOM_THREADS + 1) /* and the first one, which waits for buckets' mutexes */

static struct thread *threads[ALL_THREADS]; /* [pi] those that may wait or own */
static u64 loans_seen;                      /* [pi] */
static atomic64_t timeouts_seen, signals_seen, deaths_seen, circles_seen;

/* By the definition: all who wait for what it owns, to the end. */
static u32 naive_level(const struct thread *t, u32 depth)
{
	u32 level = t->base_level;

	for (u32 k = 0; depth && k < ALL_THREADS; k++) {
		const struct thread *w = threads[k];

		if (w && w->waits && w->waits->lock->owner == t) {
			u32 lent = naive_level(w, depth - 1);

			if (lent < SCHED_LEVEL_NORMAL)
				level = MIN(level, lent);
		}
	}
	return level;
}

/*
 * Who has joined a word's waiters has the bucket's mutex for a moment more, and the owner may wait for that: a circle, which
 * ends by itself. Until then what was lent to one of the two goes round, though who lent it has left.
 */
static bool in_circle(const struct thread *t)
{
	const struct thread *u = t;

	for (u32 n = 0; n < ALL_THREADS && u && u->waits; n++) {
		u = u->waits->lock->owner;
		if (u == t)
			return true;
	}
	return false;
}

static void audit_levels(void)
{
	u64 flags = pi_begin();

	for (u32 i = 0; i < ALL_THREADS; i++) {
		struct thread *t = threads[i];
		u32 level = t ? naive_level(t, ALL_THREADS) : 0;

		if (t && !in_circle(t))
			sim_check_eq(t->level, level);
		if (t && in_circle(t))
			sim_check(t->level <= level);
		loans_seen += t && t->level != t->base_level;
	}
	pi_end(flags);
}

/* The word and what the kernel knows of it. With the bucket's mutex both stand still. */
static void audit_word(u32 i)
{
	struct futex_key key = { .owner = current()->as, .at = at(i) };
	struct pi_bucket *b = pi_bucket_of(&key);
	struct pi_state *s;
	u64 flags;
	u32 word;

	mutex_lock(&b->lock);
	s = state_find(b, &key);
	word = word_of(i);
	flags = pi_begin();
	if (s) {
		sim_check(!pi_first(&s->lock) || s->lock.owner);
		sim_check(!s->lock.owner || pi_first(&s->lock) || s->stale);
		sim_check(
			!s->lock.owner || s->stale ||
			((word & FUTEX_WAITERS) && ((word & FUTEX_TID_MASK) == s->lock.owner->tid ||
						    (word & FUTEX_OWNER_DIED))));
	}
	pi_end(flags);
	mutex_unlock(&b->lock);
}

/* Takes some of the words, mostly in order; sometimes it gives up, sometimes it dies with what it has. */
static int lock_at_random(void *arg)
{
	u64 me = (u64)arg;
	struct linux_robust_list_head *r = &robust[me];
	bool has[WORDS] = { false };

	r->offset = offsetof(struct robust_word, word);
	r->next = (u64)r;
	tasks[me].robust_list = (u64)r;
	while (!load_acquire(&go)) /* the audit must know all who wait */
		sched_sleep_until(clock_ns() + 10 * US);
	for (u32 n = 0; n < 6; n++) {
		for (u32 k = 0; k < WORDS; k++) {
			u32 i = sim_random(8) ? k : WORDS - 1 - k;
			int err;

			if (has[i] || sim_random(3) == 0)
				continue;
			err = user_lock(i, sim_random(2) ? WAIT_FOREVER :
							   clock_ns() + sim_random(20000));
			has[i] = !err;
			sim_check(!err || err == -ETIMEDOUT || err == -ERESTARTNOINTR ||
				  err == -EDEADLK);
			atomic_fetch_add(&timeouts_seen, (u64)(err == -ETIMEDOUT));
			atomic_fetch_add(&signals_seen, (u64)(err == -ERESTARTNOINTR));
			atomic_fetch_add(&circles_seen, (u64)(err == -EDEADLK));
			if (err == -ERESTARTNOINTR)
				atomic_fetch_and(&current()->work, ~THREAD_SIGPENDING);
			audit_levels();
			if (sim_random(4) == 0)
				audit_word(i);
		}
		if (sim_random(3) == 0)
			sched_sleep_until(clock_ns() + sim_random(5000));
		if (n == 4 && sim_random(4) == 0)
			break;
		for (u32 i = 0; i < WORDS; i++) {
			if (has[i])
				sim_check_eq(user_unlock(i), 0);
			has[i] = false;
		}
	}
	for (u32 i = 0; i < WORDS; i++)
		if (has[i]) {
			atomic_fetch_add(&deaths_seen, 1ul);
			inside[i] = NULL;
			lock[i].next = r->next;
			r->next = (u64)&lock[i] | ROBUST_PI;
		}
	return 0;
}

static void change_policy(struct thread *t)
{
	switch (sim_random(4)) {
	case 0: sched_set_policy(t, SCHED_FIFO, 1 + (u32)sim_random(99)); break;
	case 1: sched_set_policy(t, SCHED_RR, 1 + (u32)sim_random(99)); break;
	default: sched_set_policy(t, SCHED_NORMAL, 0);
	}
}

static int random_main(void *arg)
{
	u64 flags;

	begin();
	memset(threads, 0, sizeof(threads));
	threads[RANDOM_THREADS] = current();
	for (u32 i = 0; i < RANDOM_THREADS; i++) {
		u32 level = sim_random(2) ? SCHED_LEVEL_NORMAL : 10 * (1 + (u32)sim_random(9));
		struct thread *t = start(i, lock_at_random, i, level);

		flags = pi_begin();
		threads[i] = t;
		pi_end(flags);
	}
	store_release(&go, true);
	for (u32 n = 0; n < 20; n++) {
		struct thread *t = threads[sim_random(RANDOM_THREADS)];

		if (sim_random(4))
			change_policy(t);
		else
			kill(t);
		audit_levels();
		audit_word((u32)sim_random(WORDS));
		sched_sleep_until(clock_ns() + sim_random(3000));
	}
	for (u32 i = 0; i < RANDOM_THREADS; i++) {
		struct thread *t = threads[i];

		while (load_acquire(&t->state) != T_DEAD)
			sched_sleep_until(clock_ns() + 10 * US);
		flags = pi_begin();
		threads[i] = NULL;
		pi_end(flags);
		thread_join(t);
	}
	for (u32 i = 0; i < WORDS; i++) {
		sim_check(!inside[i]);
		sim_check_eq(word_of(i) & FUTEX_TID_MASK, 0);
	}
	end();
	return 0;
}

static void test_random_words_and_threads(void **state)
{
	sched_run_seeds(1000, 4, random_main);
	printf("# %lu levels lent, %lu timeouts, %lu signals, %lu circles, %lu words of the dead\n",
	       loans_seen, atomic_load(&timeouts_seen), atomic_load(&signals_seen),
	       atomic_load(&circles_seen), atomic_load(&deaths_seen));
	assert_true(loans_seen && atomic_load(&timeouts_seen) && atomic_load(&signals_seen));
	assert_true(atomic_load(&circles_seen) && atomic_load(&deaths_seen));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_call_returns_what_it_should),
		cmocka_unit_test(test_owner_is_lent_what_waits),
		cmocka_unit_test(test_chains_and_circles),
		cmocka_unit_test(test_words_are_handed_over_by_priority),
		cmocka_unit_test(test_the_next_one_learns_of_a_death),
		cmocka_unit_test(test_conditions_hand_the_word_over),
		cmocka_unit_test(test_random_words_and_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
