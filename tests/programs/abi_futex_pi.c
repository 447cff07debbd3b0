/*
 * futex(2)'s operations with priority inheritance: what each answers, and what it leaves in the word. The
 * words hold thread ids, which differ: they are printed as "me", "child", "other".
 */
#include "abi.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "futex_ops.h"

#define TID_MASK 0x3fffffffu
#define NOBODY   0x3ffffff0u /* no thread has that id */

static unsigned *word, *cond; /* in a shared page */
static volatile unsigned child;

static long futex(volatile unsigned *at, int op, unsigned value, void *time, volatile unsigned *to,
		  unsigned value3)
{
	long ret = syscall(SYS_futex, at, op, value, time, to, value3);

	return ret < 0 ? -errno : ret;
}

static unsigned self(void)
{
	return (unsigned)syscall(SYS_gettid);
}

static void show(const char *what, long ret)
{
	unsigned w = *word;

	if (ret < 0)
		printf("%s: %s", what,
		       ret == -EDEADLK   ? "EDEADLK" :
		       ret == -ETIMEDOUT ? "ETIMEDOUT" :
		       ret == -EINTR     ? "EINTR" :
					   error_name((int)-ret));
	else
		printf("%s: %ld", what, ret);
	printf("; word %s%s%s\n", w & WAITERS ? "WAITERS|" : "",
	       w & OWNER_DIED ? "OWNER_DIED|" : "",
	       !(w & TID_MASK)          ? "0" :
	       (w & TID_MASK) == self() ? "me" :
	       (w & TID_MASK) == child  ? "child" :
					  "other");
	fflush(stdout);
}
#define TRY(call) show(#call, call)

static struct timespec after(int clock, long ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static void ms(long n)
{
	struct timespec t = { n / 1000, n % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* Until the word has somebody who waits. */
static void await_waiters(void)
{
	while (!(*(volatile unsigned *)word & WAITERS))
		ms(1);
	ms(20); /* and sleeps */
}

static void simple(void)
{
	title("alone");
	*word = 0;
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, TRYLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, TRYLOCK_PI | PRIVATE, 0, NULL, NULL, 0));
	TRY(futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0));
	TRY(futex(word, LOCK_PI2 | PRIVATE, 0, NULL, NULL, 0));
	TRY(futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0));
	*word = OWNER_DIED;
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	*word = WAITERS | self();
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	*word = WAITERS;
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	*word = NOBODY;
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, TRYLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	*word = NOBODY;
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	*word = 0;

	title("bad arguments");
	struct timespec bad = { 0, 1000000000 }, minus = { -1, 0 };
	volatile unsigned *odd = (void *)((char *)word + 2);
	unsigned *read_only = mmap(NULL, PAGE, PROT_READ, ANON, -1, 0);

	TRY(futex(odd, LOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(odd, UNLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(NULL, LOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(NULL, UNLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex((void *)TOP, TRYLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(read_only, LOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(read_only, UNLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, LOCK_PI, 0, &bad, NULL, 0));
	TRY(futex(word, LOCK_PI2, 0, &minus, NULL, 0));
	TRY(futex(word, LOCK_PI | REALTIME, 0, NULL, NULL, 0));
	TRY(futex(word, LOCK_PI2 | REALTIME, 0, NULL, NULL, 0));
	TRY(futex(word, UNLOCK_PI | REALTIME, 0, NULL, NULL, 0));
	TRY(futex(word, WAIT | REALTIME, 7, NULL, NULL, 0));
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(cond, WAIT_REQUEUE_PI, 0, NULL, cond, ~0u));
	TRY(futex(cond, WAIT_REQUEUE_PI, 99, NULL, word, ~0u));
	TRY(futex(odd, WAIT_REQUEUE_PI, 0, NULL, word, ~0u));
	TRY(futex(cond, WAIT_REQUEUE_PI, 0, NULL, odd, ~0u));
	TRY(futex(cond, CMP_REQUEUE_PI, 1, NULL, cond, 0));
	TRY(futex(cond, CMP_REQUEUE_PI, 2, NULL, word, 0));
	TRY(futex(cond, CMP_REQUEUE_PI, 0, NULL, word, 0));
	TRY(futex(cond, CMP_REQUEUE_PI, 1, NULL, word, 99));
	TRY(futex(cond, CMP_REQUEUE_PI, 1, (void *)-1ul, word, 0));
	TRY(futex(cond, CMP_REQUEUE_PI, 1, (void *)5ul, word, 0));
}

/* ---- another process, another thread ---- */

static pid_t start(void (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		fn();
		_exit(0);
	}
	child = (unsigned)pid;
	return pid;
}

static void end(pid_t pid)
{
	int status;

	waitpid(pid, &status, 0);
	printf("child: status %x\n", (unsigned)status);
	fflush(stdout);
}

static void lock_and_unlock(void)
{
	long ret = futex(word, LOCK_PI, 0, NULL, NULL, 0);

	if (ret || (*word & TID_MASK) != self())
		_exit(1);
	if (futex(word, UNLOCK_PI, 0, NULL, NULL, 0))
		_exit(2);
}

static void lock_with_timeout(void)
{
	struct timespec mono = after(CLOCK_MONOTONIC, 30), wall = after(CLOCK_REALTIME, 30);

	if (futex(word, LOCK_PI, 0, &wall, NULL, 0) != -ETIMEDOUT)
		_exit(1);
	if (futex(word, LOCK_PI2, 0, &mono, NULL, 0) != -ETIMEDOUT)
		_exit(2);
	wall = after(CLOCK_REALTIME, 30);
	if (futex(word, LOCK_PI2 | REALTIME, 0, &wall, NULL, 0) != -ETIMEDOUT)
		_exit(3);
	wall.tv_sec = 1;
	if (futex(word, LOCK_PI, 0, &wall, NULL, 0) != -ETIMEDOUT)
		_exit(4);
	if (futex(word, TRYLOCK_PI, 0, NULL, NULL, 0) != -EAGAIN)
		_exit(5);
	if (futex(word, UNLOCK_PI, 0, NULL, NULL, 0) != -EPERM)
		_exit(6);
}

static void caught(int sig)
{
}

static void lock_through_signals(void)
{
	struct sigaction sa = { .sa_handler = caught }; /* without SA_RESTART */

	sigaction(SIGUSR1, &sa, NULL);
	if (futex(word, LOCK_PI, 0, NULL, NULL, 0))
		_exit(1);
	_exit(10); /* still the owner */
}

static void lock_and_die(void)
{
	if (futex(word, LOCK_PI, 0, NULL, NULL, 0))
		_exit(1);
	while (!(*(volatile unsigned *)word & WAITERS))
		ms(1);
	ms(20);
	_exit(11);
}

static void wait_plainly(void)
{
	_exit(futex(word, WAIT, NOBODY, NULL, NULL, 0) ? 1 : 0);
}

static void contended(void)
{
	pid_t pid;

	title("two processes");
	*word = self();
	pid = start(lock_and_unlock);
	await_waiters();
	TRY(futex(word, WAKE, 1, NULL, NULL, 0));
	TRY(futex(word, REQUEUE, 1, NULL, cond, 0));
	TRY(futex(word, CMP_REQUEUE, 0, (void *)1ul, cond, *word));
	TRY(futex(word, CMP_REQUEUE, 0, NULL, cond, *word));
	TRY(futex(word, TRYLOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	printf("unlock: %ld\n", futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	end(pid);
	TRY(0);

	title("time out");
	*word = self();
	pid = start(lock_with_timeout);
	end(pid);
	TRY(0);
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));

	title("signals");
	*word = self();
	pid = start(lock_through_signals);
	await_waiters();
	for (int i = 0; i < 3; i++) {
		kill(pid, SIGUSR1);
		ms(5);
	}
	TRY(0);
	printf("unlock: %ld\n", futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	end(pid);
	TRY(futex(word, TRYLOCK_PI, 0, NULL, NULL, 0)); /* its owner is gone, and was not robust */

	title("the owner dies");
	*word = 0;
	pid = start(lock_and_die);
	while (!(*(volatile unsigned *)word & TID_MASK))
		ms(1);
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	end(pid);
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));

	title("killed while it waits");
	*word = self();
	pid = start(lock_and_unlock);
	await_waiters();
	kill(pid, SIGKILL);
	end(pid);
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));

	title("waited for plainly");
	*word = NOBODY;
	pid = start(wait_plainly);
	while (!futex(word, CMP_REQUEUE, 0, (void *)1ul, word,
		      NOBODY)) /* nobody to move to where he is */
		ms(1);
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	*word = self();
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	printf("wake: %ld\n", futex(word, WAKE, 1, NULL, NULL, 0));
	end(pid);

	title("the word says something else");
	*word = self();
	pid = start(lock_and_unlock);
	await_waiters();
	unsigned was = *word;
	*word = WAITERS | NOBODY;
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	TRY(futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	*word = WAITERS;
	TRY(futex(word, LOCK_PI, 0, NULL, NULL, 0));
	*word = was;
	printf("unlock: %ld\n", futex(word, UNLOCK_PI, 0, NULL, NULL, 0));
	end(pid);
}

/* ---- circles ---- */

static unsigned *second;
static volatile int step;

static void *take_second(void *arg)
{
	long ret;

	*second = 0;
	ret = futex(second, LOCK_PI | PRIVATE, 0, NULL, NULL, 0);
	step = 1;
	ret |= futex(word, LOCK_PI | PRIVATE, 0, NULL, NULL, 0); /* waits for main */
	ret |= futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0);
	ret |= futex(second, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0);
	return (void *)ret;
}

static void circle(void)
{
	pthread_t t;
	void *ret;

	title("a circle");
	*word = self();
	step = 0;
	pthread_create(&t, NULL, take_second, NULL);
	await_waiters();
	TRY(futex(second, LOCK_PI | PRIVATE, 0, NULL, NULL, 0));
	printf("unlock: %ld\n", futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0));
	pthread_join(t, &ret);
	printf("thread: %ld\n", (long)ret);
	TRY(0);
	printf("second: %x\n", *second);
}

/* ---- conditions ---- */

static volatile int woken;

static void *wait_requeue(void *arg)
{
	long ret = futex(cond, WAIT_REQUEUE_PI | PRIVATE, 0, NULL, word, ~0u);

	if (ret == 0 && (*word & TID_MASK) != self())
		ret = 1000;
	if (ret == 0) {
		__atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
		ret = futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0);
	}
	return (void *)ret;
}

static void *wait_requeue_timed(void *arg)
{
	struct timespec t = after(CLOCK_MONOTONIC, (long)arg);

	return (void *)futex(cond, WAIT_REQUEUE_PI | PRIVATE, 0, &t, word, ~0u);
}

static void join(pthread_t t)
{
	void *ret;

	pthread_join(t, &ret);
	printf("waiter: %ld\n", (long)ret);
	fflush(stdout);
}

/* Moves up to n who wait for the condition, as soon as one does: how many. */
static long requeue_soon(unsigned long n)
{
	long ret;

	while ((ret = futex(cond, CMP_REQUEUE_PI | PRIVATE, 1, (void *)n, word, 0)) == 0)
		ms(1);
	return ret;
}

static void conditions(void)
{
	long moved = 0;
	pthread_t t[3];

	title("conditions");
	*word = *cond = 0;
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, wait_requeue, NULL);
	while (!futex(cond, WAKE | PRIVATE, 1, NULL, NULL, 0))
		ms(1);
	TRY(futex(cond, WAKE | PRIVATE, 1, NULL, NULL, 0));
	TRY(futex(cond, CMP_REQUEUE | PRIVATE, 1, (void *)1ul, word, 0));
	TRY(futex(cond, CMP_REQUEUE_PI | PRIVATE, 1, (void *)1ul, second, 0));
	futex(word, LOCK_PI | PRIVATE, 0, NULL, NULL, 0);
	while (moved >= 0 && moved < 3)
		moved += requeue_soon(INT_MAX);
	printf("moved: %ld\n", moved);
	TRY(0);
	printf("woken before the unlock: %d\n", woken);
	printf("unlock: %ld\n", futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0));
	for (int i = 0; i < 3; i++)
		join(t[i]);
	printf("woken: %d\n", woken);

	title("conditions: the word is free");
	*word = *cond = 0;
	pthread_create(&t[0], NULL, wait_requeue, NULL);
	printf("requeue: %ld\n", requeue_soon(0));
	join(t[0]);
	TRY(0);

	title("conditions: time out");
	*word = *cond = 0;
	pthread_create(&t[0], NULL, wait_requeue_timed, (void *)60);
	join(t[0]);
	futex(word, LOCK_PI | PRIVATE, 0, NULL, NULL, 0);
	pthread_create(&t[0], NULL, wait_requeue_timed, (void *)1000);
	printf("requeue: %ld\n", requeue_soon(1));
	join(t[0]);
	TRY(futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0));
}

/* ---- priorities ---- */

/* The priority that the kernel runs the main thread at: field 18 of stat. */
static long running_priority(void)
{
	char text[512], *at;
	long value = 0;
	int fd = open("/proc/self/stat", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 1000;
	text[n] = '\0';
	at = strrchr(text, ')');
	for (int i = 0; at && i < 16; i++)
		at = strchr(at + 1, ' ');
	if (at)
		value = strtol(at, NULL, 10);
	return value;
}

static void *urgent(void *arg)
{
	struct sched_param p = { .sched_priority = 50 };
	long ret = syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &p) ? -errno : 0;

	step = 1;
	if (!ret)
		ret = futex(word, LOCK_PI | PRIVATE, 0, NULL, NULL, 0);
	if (!ret)
		ret = futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0);
	return (void *)ret;
}

static void priorities(void)
{
	pthread_t t;
	void *ret;

	title("priorities");
	*word = self();
	step = 0;
	printf("own: %ld\n", running_priority());
	pthread_create(&t, NULL, urgent, NULL);
	await_waiters();
	printf("lent: %ld\n", running_priority());
	printf("unlock: %ld\n", futex(word, UNLOCK_PI | PRIVATE, 0, NULL, NULL, 0));
	printf("own: %ld\n", running_priority());
	pthread_join(t, &ret);
	printf("urgent: %ld\n", (long)ret);
}

int main(void)
{
	alarm(50);
	word = mmap(NULL, PAGE, RW, SHAN, -1, 0);
	cond = word + 16;
	second = word + 32;
	simple();
	contended();
	circle();
	conditions();
	priorities();
	return 0;
}
