/*
 * Futexes that processes share, FUTEX_WAKE_OP, and the robust lists of threads that end: what
 * pthread's process-shared and robust mutexes stand on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "futex_ops.h"

static long futex(void *at, int op, int value, void *time, void *to, int value3)
{
	return syscall(SYS_futex, at, op, value, time, to, value3);
}

static void say(const char *what, long ret)
{
	if (ret == -1)
		printf("%s: errno %d\n", what, errno);
	else
		printf("%s: %ld\n", what, ret);
	fflush(stdout);
}
#define TRY(call) say(#call, call)

static void *shared_page(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* A child that waits on *word while it is 0, and ends with 7 if it was woken. */
static pid_t waiter(int *word, int op)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(futex(word, op, 0, NULL, NULL, 0) == 0 ? 7 : 8);
	return pid;
}

/* Wakes until n were: the waiters may not be there yet. */
static int wake_all(int *word, int n)
{
	struct timespec ms = { 0, 1000000 };
	int woken = 0;

	for (int i = 0; woken < n && i < 5000; i++) {
		woken += (int)futex(word, WAKE, n - woken, NULL, NULL, 0);
		nanosleep(&ms, NULL);
	}
	return woken;
}

static int status_of(pid_t pid)
{
	int status;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void between_processes(void)
{
	int *word = shared_page(), *other;
	pid_t pid[3];
	int fd;

	printf("#: one word, three processes\n");
	fflush(stdout);
	for (int i = 0; i < 3; i++)
		pid[i] = waiter(word, WAIT);
	printf("%d woken\n", wake_all(word, 3));
	for (int i = 0; i < 3; i++)
		printf("ends with %d\n", status_of(pid[i]));

	printf("#: one word of a file at two addresses\n");
	fflush(stdout);
	fd = memfd_create("word", 0);
	ftruncate(fd, 8192);
	word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
	other = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pid[0] = waiter(word + 5, WAIT);
	printf("%d woken\n", wake_all(other + 1024 + 5, 1));
	printf("ends with %d\n", status_of(pid[0]));

	printf("#: private memory is not shared\n");
	fflush(stdout);
	word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid[0] = waiter(word, WAIT);
	usleep(50000);
	TRY(futex(word, WAKE, 1, NULL, NULL, 0));
	kill(pid[0], SIGKILL);
	printf("ends with %d\n", status_of(pid[0]));
	munmap(word, 4096);
	TRY(futex(word, WAKE, 1, NULL, NULL, 0));
	TRY(futex(word, WAIT, 0, NULL, NULL, 0));
	TRY(futex(word, WAKE | PRIVATE, 1, NULL, NULL, 0));
}

static void requeue_between_objects(void)
{
	int *a = shared_page(), *b = shared_page();
	struct timespec ms = { 0, 1000000 };
	pid_t pid[3];
	long n = 0;

	printf("#: requeue to another object\n");
	fflush(stdout);
	for (int i = 0; i < 3; i++)
		pid[i] = waiter(a, WAIT);
	while (n < 3) {
		n += futex(a, CMP_REQUEUE, 0, (void *)3, b, 0);
		nanosleep(&ms, NULL);
	}
	TRY(futex(a, WAKE, 3, NULL, NULL, 0));
	munmap(a, 4096); /* the waiters belong to b now */
	printf("%d woken\n", wake_all(b, 3));
	for (int i = 0; i < 3; i++)
		printf("ends with %d\n", status_of(pid[i]));
	TRY(futex(b, CMP_REQUEUE, -1, (void *)1, b, 0));
	TRY(futex(b, CMP_REQUEUE, 1, (void *)1, b, 5));
}

#define OP(op, cmp, arg, cmparg)                                                                   \
	((int)((unsigned)(op) << 28 | (cmp) << 24 | (arg) << 12 | (cmparg)))

static void be_fifo(int priority)
{
	syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &priority);
}

/* Word 0: whoever waits is moved. Word 1: woken one by one, in the order that is noted. */
static int words[2], woken;

struct mover {
	int *word, priority, place;
};

static void *waits_urgently(void *arg)
{
	struct mover *m = arg;

	if (m->priority)
		be_fifo(m->priority);
	futex(m->word, WAIT, 0, NULL, NULL, 0);
	m->place = __sync_add_and_fetch(&woken, 1);
	return NULL;
}

/* Who is moved waits as urgently as before: in front of those who are less so. */
static void requeue_by_urgency(void)
{
	struct mover m[] = {
		{ &words[1], 0, 0 }, { &words[1], 0, 0 }, { words, 10, 0 }, { words, 20, 0 }
	};
	struct timespec ms = { 0, 30000000 };
	pthread_t t[4];

	printf("#: requeue by urgency\n");
	for (int i = 0; i < 4; i++) {
		pthread_create(&t[i], NULL, waits_urgently, &m[i]);
		nanosleep(&ms, NULL);
	}
	TRY(futex(words, REQUEUE, 0, (void *)10, words + 1, 0));
	for (int i = 0; i < 4; i++) {
		wake_all(words + 1, 1);
		nanosleep(&ms, NULL);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		printf("place %d\n", m[i].place);
	}
}

/* ---- deadlines ---- */

#define NEVER_EARLY_TRIES 4000

static long long wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Takes the CPU away again and again, at any moment of whoever is less urgent. */
static void *disturbs(void *stop)
{
	struct timespec us40 = { 0, 40000 };

	be_fifo(20);
	while (!*(volatile int *)stop) {
		nanosleep(&us40, NULL);
		for (long long end = wall() + 30000; wall() < end;)
			;
	}
	return NULL;
}

static void *counts_early(void *arg)
{
	int word = 0, futexes = 0, sleeps = 0;

	be_fifo(10);
	for (int i = 0; i < NEVER_EARLY_TRIES; i++) {
		long long end = wall() + 150000;
		struct timespec t = { end / 1000000000, end % 1000000000 };

		if (i % 2) {
			futex(&word, WAIT_BITSET | REALTIME, 0, &t, NULL, -1);
			futexes += wall() < end;
		} else {
			clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
			sleeps += wall() < end;
		}
	}
	printf("early: %d futexes, %d sleeps\n", futexes, sleeps);
	return NULL;
}

/* By the wall's clock, on one CPU with somebody more urgent. */
static void never_early(void)
{
	int stop = 0;
	cpu_set_t all, one;
	pthread_t t[2];

	printf("#: no deadline is early\n");
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	pthread_create(&t[0], NULL, disturbs, &stop);
	pthread_create(&t[1], NULL, counts_early, NULL);
	pthread_join(t[1], NULL);
	*(volatile int *)&stop = 1;
	pthread_join(t[0], NULL);
	sched_setaffinity(0, sizeof(all), &all);
}

static void wake_op(void)
{
	static const char *const name[] = { "set", "add", "or", "andn", "xor" };
	int *w = shared_page();
	pid_t pid;

	printf("#: FUTEX_WAKE_OP\n");
	fflush(stdout);
	for (int op = 0; op < 5; op++) {
		w[1] = 6;
		say(name[op], futex(w, WAKE_OP, 1, (void *)1, w + 1, OP(op, 0, 5, 6)));
		printf("= %d\n", w[1]);
		say("shifted", futex(w, WAKE_OP, 1, (void *)1, w + 1, OP(op | 8, 1, 3, 6)));
		printf("= %d\n", w[1]);
	}
	w[1] = 0;
	TRY(futex(w, WAKE_OP, 1, (void *)1, w + 1, OP(1, 0, 0xfff, 0)));
	printf("= %d\n", w[1]);
	TRY(futex(w, WAKE_OP, 1, (void *)1, w + 1, OP(5, 0, 1, 0)));
	TRY(futex(w, WAKE_OP, 1, (void *)1, w + 1, OP(0, 9, 1, 0)));
	TRY(futex(w, WAKE_OP, 1, (void *)1, (char *)w + 2, OP(0, 0, 1, 0)));
	TRY(futex(w, WAKE_OP, 1, (void *)1, (void *)8192, OP(0, 0, 1, 0)));
	fflush(stdout);
	w[1] = 0;
	pid = waiter(w + 1, WAIT);
	usleep(50000);
	for (int woken = 0, i = 0; !woken && i < 5000; i++) {
		w[1] = 0;
		woken = (int)futex(w, WAKE_OP, 1, (void *)1, w + 1, OP(0, 0, 9, 0));
		usleep(1000);
	}
	printf("woken, ends with %d, word %d\n", status_of(pid), w[1]);
}

/* ---- robust mutexes ---------------------------------------------------------------------------- */

static pthread_mutex_t *robust_mutex(void)
{
	pthread_mutex_t *m = shared_page();
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(m, &a);
	return m;
}

static const char *result(int err)
{
	return err == 0 ? "0" : err == EOWNERDEAD ? "EOWNERDEAD" : strerror(err);
}

static void *locks_and_ends(void *m)
{
	pthread_mutex_lock(m);
	return NULL;
}

static void robust(void)
{
	pthread_mutex_t *m = robust_mutex();
	pthread_t t;
	int pipes[2];
	pid_t pid;
	char c;

	printf("#: the owner's thread ends\n");
	pthread_create(&t, NULL, locks_and_ends, m);
	pthread_join(t, NULL);
	printf("lock: %s\n", result(pthread_mutex_lock(m)));
	printf("consistent: %s\n", result(pthread_mutex_consistent(m)));
	printf("unlock: %s\n", result(pthread_mutex_unlock(m)));
	printf("lock: %s\n", result(pthread_mutex_lock(m)));
	printf("unlock: %s\n", result(pthread_mutex_unlock(m)));

	printf("#: the owner's process is killed while another waits\n");
	fflush(stdout);
	pipe(pipes);
	pid = fork();
	if (pid == 0) {
		pthread_mutex_lock(m);
		write(pipes[1], "x", 1);
		usleep(100000); /* so that the other one waits by then */
		kill(getpid(), SIGKILL);
	}
	read(pipes[0], &c, 1);
	printf("lock: %s\n", result(pthread_mutex_lock(m)));
	printf("ends with %d\n", status_of(pid));
	pthread_mutex_consistent(m);
	printf("unlock: %s\n", result(pthread_mutex_unlock(m)));

	printf("#: the owner executes another program\n");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		pthread_mutex_lock(m);
		execl("/proc/self/exe", "futex", "nothing", NULL);
		_exit(9);
	}
	printf("ends with %d\n", status_of(pid));
	printf("lock: %s\n", result(pthread_mutex_lock(m)));
	fflush(stdout);
}

/*
 * Who has been woken for a mutex whose owner died may be killed before it has taken it: another one is woken then. `value` is
 * what the word says when the one that ends has it as its pending operation.
 */
static void pending(unsigned value)
{
	struct {
		void *next;
		long offset;
		void *pending;
	} head;
	void *entry[2] = { 0 };
	unsigned *word = shared_page();
	struct timespec limit = { 3, 0 };
	pid_t pid;

	printf("#: killed with a pending word of %#x\n", value);
	fflush(stdout);
	*word = value;
	pid = fork();
	if (pid == 0)
		_exit(futex(word, WAIT, (int)value, &limit, NULL, 0) == 0 ? 7 : 8);
	while (!futex(word, REQUEUE, 0, (void *)1, word,
		      0)) /* it would be moved to where it is: it waits */
		usleep(1000);
	if (fork() == 0) {
		head.next = &head;
		head.pending = entry;
		head.offset = (char *)word - (char *)entry;
		syscall(SYS_set_robust_list, &head, sizeof(head));
		kill(getpid(), SIGKILL);
	}
	printf("ends with %d\n", status_of(pid));
	wait(NULL);
	printf("the word says %#x\n", *word);
	fflush(stdout);
}

static void nothing(int sig)
{
}

/* What a wait returns to whom it is interrupted by a stop, or a handler; seconds: its time, relative or absolute, or none. */
static void interrupted(const char *what, int op, int seconds, int flags)
{
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = flags };
	struct timespec ms = { 0, 1000000 }, limit = { seconds, 0 };
	int *word = shared_page(), status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		sigaction(SIGUSR1, &sa, NULL);
		if (op == WAIT_BITSET) {
			clock_gettime(CLOCK_MONOTONIC, &limit);
			limit.tv_sec += seconds;
		}
		errno = 0;
		futex(word, op, 0, seconds ? &limit : NULL, NULL, -1);
		_exit(errno);
	}
	usleep(100000); /* so that it waits */
	if (flags < 0) {
		kill(pid, SIGSTOP);
		waitpid(pid, &status, WUNTRACED);
		kill(pid, SIGCONT);
	} else {
		kill(pid, SIGUSR1);
	}
	usleep(100000); /* so that it waits again, if it does */
	for (int i = 0; i < 5000 && waitpid(pid, &status, WNOHANG) == 0; i++) {
		futex(word, WAKE, 1, NULL, NULL, 0);
		nanosleep(&ms, NULL);
	}
	printf("%s: errno %d\n", what, WEXITSTATUS(status));
}

static void interruptions(void)
{
	printf("#: interrupted\n");
	interrupted("stopped", WAIT, 0, -1);
	interrupted("stopped, with a time", WAIT, 20, -1);
	interrupted("stopped, until a time", WAIT_BITSET, 20, -1);
	interrupted("a handler", WAIT, 0, 0);
	interrupted("a handler that restarts", WAIT, 0, SA_RESTART);
	interrupted("a handler, with a time", WAIT, 20, 0);
	interrupted("a handler that restarts, with a time", WAIT, 20, SA_RESTART);
	interrupted("a handler that restarts, until a time", WAIT_BITSET, 20, SA_RESTART);
	interrupted("a handler that restarts, for ever", WAIT_BITSET, 0, SA_RESTART);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 3;
	setvbuf(stdout, NULL, _IOLBF, 0);
	between_processes();
	requeue_between_objects();
	requeue_by_urgency();
	never_early();
	wake_op();
	robust();
	pending(0);
	pending(0x80000000);
	pending(0x40000000);
	pending(0xc0000000);
	interruptions();
	return 0;
}
