/*
 * Futexes by way of the C library: mutexes and conditions of threads, and robust mutexes in shared
 * memory, whose holders exit or are killed. Counters tell whether two were ever inside.
 */
#define _GNU_SOURCE
#include "soak.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#define THREADS 6
#define HOLDERS 4

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned full, put, got, total;
};

/* Producers and consumers of a buffer with one place. */
static void *player(void *arg)
{
	struct queue *q = arg;
	bool producer;

	pthread_mutex_lock(&q->lock);
	producer = q->total++ % 2;
	pthread_mutex_unlock(&q->lock);
	for (unsigned n = 0; n < 100; n++) {
		pthread_mutex_lock(&q->lock);
		while (q->full == producer)
			pthread_cond_wait(&q->changed, &q->lock);
		q->full = producer;
		q->put += producer;
		q->got += !producer;
		if (q->put - q->got != q->full)
			fail("futex: two at once in the mutex");
		pthread_cond_broadcast(&q->changed);
		pthread_mutex_unlock(&q->lock);
		count(FUTEXES);
	}
	return NULL;
}

static void threads(void)
{
	struct queue q = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0 };
	pthread_t t[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, player, &q))
			fail("futex: pthread_create");
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

struct robust {
	pthread_mutex_t lock;
	volatile unsigned in, inside;
};

/*
 * The C library's unlock takes the mutex off its list a few instructions before it wakes somebody: who is killed
 * in between leaves the others asleep, on every kernel. So they look again after a while; a round in
 * which nobody is killed must not need that.
 */
static int lock_it(struct robust *b, bool somebody_dies)
{
	struct timespec t;
	int err;

	do {
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_sec += somebody_dies ? 3 : 100;
		err = pthread_mutex_timedlock(&b->lock, &t);
	} while (err == ETIMEDOUT && somebody_dies);
	return err;
}

static void hold(struct robust *b, struct rng *r, bool somebody_dies)
{
	for (unsigned n = 0; n < 50; n++) {
		int err = lock_it(b, somebody_dies);

		if (err == EOWNERDEAD) {
			b->inside = 0;
			pthread_mutex_consistent(&b->lock);
		} else if (err) {
			fail("futex: robust lock: %s", strerror(err));
			_exit(1);
		}
		if (b->inside++)
			fail("futex: two in the robust mutex");
		b->in++;
		count(FUTEXES);
		if (rng_below(r, 60) == 0)
			_exit(0); /* with the mutex */
		if (rng_below(r, 8) == 0)
			sched_yield();
		b->inside--;
		pthread_mutex_unlock(&b->lock);
	}
	_exit(0);
}

static void robust(struct rng *r)
{
	struct robust *b =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attr;
	pid_t pid[HOLDERS];
	unsigned doomed = rng_below(r, HOLDERS + 1);

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&b->lock, &attr);
	for (unsigned i = 0; i < HOLDERS; i++) {
		struct rng child = { rng_next(r) };

		pid[i] = do_fork();
		if (pid[i] == 0)
			hold(b, &child, doomed < HOLDERS || in_victim);
	}
	if (doomed < HOLDERS) {
		nap(r, 5000);
		kill(pid[doomed], SIGKILL);
		count(KILLS);
	}
	for (unsigned i = 0; i < HOLDERS; i++) {
		int status = reap(pid[i]);

		if (status && !(i == doomed && status == SIGKILL))
			fail("futex: a holder ended with %#x", status);
	}
	munmap(b, PAGE);
}

void futex_round(struct rng *r)
{
	if (rng_below(r, 2))
		threads();
	else
		robust(r);
}
