/*
 * pthread mutexes of protocol PTHREAD_PRIO_INHERIT: they exclude, between threads and between processes; robust
 * ones survive their owner; and the classic inversion is bounded: an urgent thread waits for a lazy one
 * whom others keep from running.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void title(const char *name)
{
	printf("#: %s\n", name);
	fflush(stdout);
}

static void make(pthread_mutex_t *m, int shared, int robust, int inherit)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	if (inherit)
		printf("protocol: %d\n", pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT));
	if (shared)
		pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (robust)
		pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	printf("init: %d\n", pthread_mutex_init(m, &a));
	fflush(stdout);
	pthread_mutexattr_destroy(&a);
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void sleep_ms(long n)
{
	struct timespec t = { n / 1000, n % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* ---- exclusion ---- */

#define ROUNDS 300

static struct {
	pthread_mutex_t mutex;
	long sum;
} * shared, own;

static void *add(void *arg)
{
	typeof(own) *s = arg;

	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&s->mutex);
		long v = s->sum;
		if (i % 16 == 0)
			sched_yield();
		s->sum = v + 1;
		pthread_mutex_unlock(&s->mutex);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t t[4];
	struct timespec soon;

	title("threads");
	make(&own.mutex, 0, 0, 1);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, add, &own);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	printf("sum %ld\n", own.sum);
	printf("trylock %d\n", pthread_mutex_trylock(&own.mutex));
	printf("trylock %d\n", pthread_mutex_trylock(&own.mutex) == EBUSY);
	pthread_mutex_unlock(&own.mutex);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += 5;
	printf("timedlock %d\n", pthread_mutex_timedlock(&own.mutex, &soon));
	pthread_mutex_unlock(&own.mutex);
	printf("destroy %d\n", pthread_mutex_destroy(&own.mutex));
}

static void *timed(void *arg)
{
	struct timespec soon;

	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 20000000;
	soon.tv_sec += soon.tv_nsec / 1000000000;
	soon.tv_nsec %= 1000000000;
	return (void *)(long)pthread_mutex_timedlock(&own.mutex, &soon);
}

static void time_out(void)
{
	pthread_t t;
	void *ret;

	title("time out");
	make(&own.mutex, 0, 0, 1);
	pthread_mutex_lock(&own.mutex);
	pthread_create(&t, NULL, timed, NULL);
	pthread_join(t, &ret);
	printf("%s\n", strerror((int)(long)ret));
	printf("unlock %d\n", pthread_mutex_unlock(&own.mutex));
}

static void processes(void)
{
	int status;

	title("processes");
	make(&shared->mutex, 1, 0, 1);
	shared->sum = 0;
	for (int i = 0; i < 4; i++)
		if (fork() == 0) {
			add(shared);
			_exit(0);
		}
	for (int i = 0; i < 4; i++)
		wait(&status);
	printf("sum %ld\n", shared->sum);
}

/* ---- robust ---- */

static void robust(int with_waiter)
{
	int status, err;

	make(&shared->mutex, 1, 1, 1);
	if (fork() == 0) {
		pthread_mutex_lock(&shared->mutex);
		shared->sum = 1;
		sleep_ms(with_waiter ? 100 : 0);
		_exit(0);
	}
	while (*(volatile long *)&shared->sum != 1)
		sleep_ms(1);
	if (!with_waiter)
		wait(&status);
	err = pthread_mutex_lock(&shared->mutex);
	printf("lock: %s\n", err == EOWNERDEAD ? "EOWNERDEAD" : strerror(err));
	if (err == EOWNERDEAD)
		printf("consistent: %d\n", pthread_mutex_consistent(&shared->mutex));
	printf("unlock: %d\n", pthread_mutex_unlock(&shared->mutex));
	printf("lock: %d\n", pthread_mutex_lock(&shared->mutex));
	printf("unlock: %d\n", pthread_mutex_unlock(&shared->mutex));
	if (with_waiter)
		wait(&status);
	shared->sum = 0;
}

/* ---- inversion ---- */

static pthread_mutex_t contested;
static volatile int held, go, stop;
static long waited, hog_ms;

static void become(int priority)
{
	struct sched_param p = { .sched_priority = priority };

	if (syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &p))
		printf("sched_setscheduler: %s\n", strerror(errno));
}

static void *low(void *arg)
{
	become(10);
	pthread_mutex_lock(&contested);
	held = 1;
	while (!go)
		sleep_ms(1);
	for (long until = now_ms() + 3; now_ms() < until;)
		;
	pthread_mutex_unlock(&contested);
	return NULL;
}

static void *hog(void *arg)
{
	become(20);
	for (long until = now_ms() + hog_ms; !stop && now_ms() < until;)
		;
	return NULL;
}

static void *high(void *arg)
{
	long from = now_ms();

	become(30);
	pthread_mutex_lock(&contested);
	waited = now_ms() - from;
	stop = 1;
	pthread_mutex_unlock(&contested);
	return NULL;
}

/*
 * The main thread is above all of them. On one CPU, or with as many hogs as there are CPUs. They would
 * go on for much longer than a virtual CPU may have to wait for its turn on a busy host.
 */
static void inversion(int inherit, int hogs, long ms)
{
	pthread_t l, h, m[64];

	held = go = stop = 0;
	hog_ms = ms;
	make(&contested, 0, 0, inherit);
	pthread_create(&l, NULL, low, NULL);
	while (!held)
		sleep_ms(1);
	for (int i = 0; i < hogs; i++)
		pthread_create(&m[i], NULL, hog, NULL);
	pthread_create(&h, NULL, high, NULL);
	sleep_ms(20);
	go = 1;
	pthread_join(h, NULL);
	for (int i = 0; i < hogs; i++)
		pthread_join(m[i], NULL);
	pthread_join(l, NULL);
	if (waited < ms / 2)
		printf("the urgent thread waits as long as the owner works\n");
	else
		printf("the urgent thread waits as long as the others run\n");
	pthread_mutex_destroy(&contested);
}

int main(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t one, all;

	alarm(50);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	threads();
	time_out();
	processes();
	title("robust");
	robust(0);
	title("robust, with a waiter");
	robust(1);

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && !CPU_COUNT(&one))
			CPU_SET(i, &one);
	become(50);
	title("inversion on every CPU");
	inversion(1, cpus < 64 ? (int)cpus : 64, 8000);
	sched_setaffinity(0, sizeof(one), &one);
	title("inversion on one CPU");
	inversion(1, 1, 8000);
	title("without inheritance");
	inversion(0, 1, 300);
	return 0;
}
