/* POSIX threads: the same output on Linux and on Jiffy, with either C library. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS 8
#define ROUNDS  2000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter, turn;
static __thread long own;
static sem_t items, room;

static void *count(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&lock);
		long seen = counter;

		if (i % 100 == 0)
			sched_yield();
		counter = seen + 1;
		pthread_mutex_unlock(&lock);
		own++;
	}
	return (void *)(own + (long)arg);
}

/* Each waits for its turn: the order is fixed whatever the scheduler does. */
static void *in_turn(void *arg)
{
	long me = (long)arg;

	for (int round = 0; round < 3; round++) {
		pthread_mutex_lock(&lock);
		while (turn % 4 != me)
			pthread_cond_wait(&changed, &lock);
		printf("%ld ", me);
		turn++;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static int ring[4], ring_in, ring_out;
static void *produce(void *arg)
{
	for (int i = 1; i <= 1000; i++) {
		sem_wait(&room);
		ring[ring_in++ % 4] = i;
		sem_post(&items);
	}
	return NULL;
}

static void *spin_until(void *arg)
{
	/* Only preemption lets the others run on one CPU. */
	while (!__atomic_load_n((int *)arg, __ATOMIC_ACQUIRE))
		;
	return NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void only_once(void)
{
	puts("once");
}
static void *call_once(void *arg)
{
	pthread_once(&once, only_once);
	return NULL;
}

static void at_end(void *arg)
{
	printf("destructor of %s\n", (char *)arg);
}
static pthread_key_t key;
static void *specific(void *arg)
{
	pthread_setspecific(key, arg);
	return pthread_getspecific(key);
}

static void start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	int err = pthread_create(t, NULL, fn, arg);

	if (err) {
		printf("pthread_create: %s\n", strerror(err));
		exit(1);
	}
}

int main(void)
{
	pthread_t t[THREADS];
	void *result;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("#: mutex\n");
	for (long i = 0; i < THREADS; i++)
		start(&t[i], count, (void *)i);
	for (long i = 0; i < THREADS; i++) {
		pthread_join(t[i], &result);
		printf("%ld ", (long)result);
	}
	printf("%ld %ld\n", counter, own);

	printf("#: condition variable\n");
	for (long i = 0; i < 4; i++)
		start(&t[i], in_turn, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	printf("\n");

	printf("#: semaphores\n");
	sem_init(&items, 0, 0);
	sem_init(&room, 0, 4);
	start(&t[0], produce, NULL);
	long sum = 0;
	for (int i = 0; i < 1000; i++) {
		sem_wait(&items);
		sum = sum * 3 % 1000003 + ring[ring_out++ % 4];
		sem_post(&room);
	}
	pthread_join(t[0], NULL);
	printf("%ld\n", sum);

	printf("#: preemption of a thread that spins\n");
	int stop = 0;
	start(&t[0], spin_until, &stop);
	struct timespec pause = { 0, 10000000 };
	nanosleep(&pause, NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	pthread_join(t[0], NULL);
	printf("stopped\n");

	printf("#: once and thread-specific data\n");
	for (int i = 0; i < 4; i++)
		start(&t[i], call_once, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	pthread_key_create(&key, at_end);
	start(&t[0], specific, "a value");
	pthread_join(t[0], &result);
	printf("%s\n", (char *)result);

	printf("#: a time-out\n");
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 10000000;
	if (until.tv_nsec >= 1000000000)
		until.tv_nsec -= 1000000000, until.tv_sec++;
	pthread_mutex_lock(&lock);
	printf("%s\n", strerror(pthread_cond_timedwait(&changed, &lock, &until)) ? "came" : "");
	pthread_mutex_unlock(&lock);

	printf("#: the end of one thread\n");
	fflush(stdout);
	start(&t[0], count, NULL);
	pthread_join(t[0], NULL);
	printf("main goes on\n");
	return 3;
}
