/*
 * How processes and threads end and who is told: threads that exit, crash or exec while others run
 * or sleep, stops and kills of many threads, signals to threads, futexes, clone, trees of processes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

#define THREADS 8
static const char *self;
static pthread_t threads[THREADS];
static volatile int count;

static void nap_ms(int ms)
{
	struct timespec t = { 0, ms * 1000000l };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

static void say_status(const char *what, pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		SAY("%s: signal %d\n", what, WTERMSIG(status));
	else
		SAY("%s: exit %d\n", what, WEXITSTATUS(status));
}

/* ---- threads that end their process --------------------------------------------------------- */

static void *sleeps(void *unused)
{
	for (;;)
		pause();
	return NULL;
}

static void *spins(void *unused)
{
	for (;;)
		count++;
	return NULL;
}

static void *exits(void *unused)
{
	nap_ms(5);
	_exit(17);
}

static void *crashes(void *unused)
{
	nap_ms(5);
	__asm__ volatile("ud2");
	return NULL;
}

static void *executes(void *unused)
{
	nap_ms(5);
	execl(self, self, "after exec", NULL);
	_exit(1);
}

static void *speaks(void *unused)
{
	nap_ms(20);
	SAY("still here\n");
	_exit(18);
}

static void start(int i, void *(*fn)(void *))
{
	int err = pthread_create(&threads[i], NULL, fn, (void *)(intptr_t)i);

	if (err)
		SAY("pthread_create: errno %d\n", err);
}

/* A child with threads that sleep and spin, and one that does fn; directly: the first thread. */
static void with_others(const char *what, void *(*fn)(void *), int directly)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 0; i < 6; i++)
			start(i, i % 2 ? spins : sleeps);
		if (directly)
			fn(NULL);
		start(6, fn);
		sleeps(NULL);
	}
	say_status(what, pid);
}

static void first_leaves(const char *what, void *(*fn)(void *))
{
	pid_t pid = fork();

	if (pid == 0) {
		start(0, fn);
		pthread_exit(NULL);
	}
	say_status(what, pid);
}

static void stopped_and_killed(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 0; i < 4; i++)
			start(i, i % 2 ? spins : sleeps);
		sleeps(NULL);
	}
	nap_ms(10);
	kill(pid, SIGSTOP);
	waitpid(pid, &status, WUNTRACED);
	SAY("status %x\n", status);
	kill(pid, SIGCONT);
	waitpid(pid, &status, WCONTINUED);
	SAY("status %x\n", status);
	kill(pid, SIGTERM);
	say_status("killed", pid);
}

/* What exec leaves of eight threads. */
static int after_exec(void)
{
	static char text[8192];
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	const char *at;

	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "Threads:");
	SAY("%d threads, leader %d\n", at ? atoi(at + 8) : -1, getpid() == syscall(SYS_gettid));
	return 23;
}

/* ---- signals to threads --------------------------------------------------------------------- */

static pthread_barrier_t ready;
static volatile int got[THREADS];

static void counts(int sig)
{
	count++;
}

static void counts_thread(int sig)
{
	for (int i = 0; i < THREADS; i++) {
		if (pthread_equal(threads[i], pthread_self()))
			got[i]++;
	}
}

static void *until_signalled(void *arg)
{
	pthread_barrier_wait(&ready);
	while (!got[(intptr_t)arg])
		nap_ms(1);
	return NULL;
}

static void signals_to_threads(void)
{
	sigset_t mask;

	signal(SIGUSR1, counts_thread);
	pthread_barrier_init(&ready, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		start(i, until_signalled);
	pthread_barrier_wait(&ready);
	for (int i = 0; i < THREADS; i++)
		pthread_kill(threads[i], SIGUSR1);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		SAY("%d ", got[i]);
		got[i] = 0;
	}
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	pthread_barrier_init(&ready, NULL, 2);
	start(0, until_signalled);
	pthread_barrier_wait(&ready);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	kill(getpid(), SIGUSR1);
	pthread_join(threads[0], NULL);
	SAY("the one that can takes it: %d\n", got[0]);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
}

/* ---- futexes -------------------------------------------------------------------------------- */

enum { WAIT, WAKE, CMP_REQUEUE = 4, WAIT_BITSET = 9, CLOCK_REAL = 256 };
static int word, other_word;

static long futex(void *at, int op, int value, void *time, void *to, int value3)
{
	return syscall(SYS_futex, at, op, value, time, to, value3);
}

static void *waits(void *unused)
{
	long ret = futex(&word, WAIT, 0, NULL, NULL, 0);

	__atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
	return (void *)ret;
}

static void futexes(void)
{
	struct timespec t = { 0, 20000000 };
	struct itimerval it = { { 0, 0 }, { 0, 20000 } };
	struct sigaction sa = { .sa_handler = counts };
	void *wrong;

	TRY(futex(&word, WAIT, 0, &t, NULL, 0));
	TRY(futex(&word, WAIT, 1, &t, NULL, 0));
	TRY(futex(&word, WAKE, 1, NULL, NULL, 0));
	TRY(futex((char *)&word + 1, WAIT, 0, &t, NULL, 0));
	TRY(futex((void *)16, WAIT, 0, &t, NULL, 0));
	TRY(futex((void *)-4096, WAKE, 1, NULL, NULL, 0));
	t.tv_nsec = 1000000000;
	TRY(futex(&word, WAIT, 0, &t, NULL, 0));
	TRY(futex(&word, 77, 0, NULL, NULL, 0));
	TRY(futex(&word, WAIT_BITSET, 0, NULL, NULL, 0));
	clock_gettime(CLOCK_MONOTONIC, &t);
	TRY(futex(&word, WAIT_BITSET, 0, &t, NULL, -1));
	clock_gettime(CLOCK_REALTIME, &t);
	TRY(futex(&word, WAIT_BITSET | CLOCK_REAL, 0, &t, NULL, -1));
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
	TRY(futex(&word, WAIT, 0, NULL, NULL, 0));
	count = 0;
	for (int i = 0; i < THREADS; i++)
		start(i, waits);
	nap_ms(40);
	TRY(futex(&word, WAKE, 2, NULL, NULL, 0));
	nap_ms(40);
	SAY("%d woken\n", count);
	TRY(futex(&word, CMP_REQUEUE, 1, (void *)3, &other_word, 1));
	TRY(futex(&word, CMP_REQUEUE, 1, (void *)3, &other_word, 0));
	nap_ms(40);
	SAY("%d woken\n", count);
	TRY(futex(&other_word, WAKE, 100, NULL, NULL, 0));
	TRY(futex(&word, WAKE, 100, NULL, NULL, 0));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &wrong);
		if (wrong)
			SAY("a wait gave %ld\n", (long)wrong);
	}
	SAY("%d woken\n", count);
}

/* ---- processes ------------------------------------------------------------------------------ */

static int sets(void *arg)
{
	*(int *)arg = 9;
	return 11;
}

/* A brother tells the parent of his end as his maker does, whatever his own call said. */
static void brothers(unsigned long maker, unsigned long brother)
{
	int status, sum = 0;

	if (!syscall(SYS_clone, maker, 0, 0, 0, 0)) {
		long made = syscall(SYS_clone, CLONE_PARENT | brother, 0, 0, 0, 0);

		_exit(made < 0 ? 9 : made ? 1 : 2);
	}
	while (waitpid(-1, &status, maker == SIGCHLD ? 0 : __WCLONE) > 0)
		sum += WEXITSTATUS(status);
	SAY("maker and brother: %d\n", sum);
	TRY(waitpid(-1, &status, __WALL));
}

static void clones(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int x = 0, status;
	pid_t pid = clone(sets, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &x);

	waitpid(pid, &status, 0);
	SAY("in our memory: %d, status %x\n", x, status);
	x = 0;
	signal(SIGUSR2, SIG_IGN);
	pid = clone(sets, stack + sizeof(stack), CLONE_FS | CLONE_FILES | SIGUSR2, &x);
	TRY(waitpid(pid, &status, 0));
	TRY(waitpid(pid, &status, __WCLONE) == pid);
	SAY("in its own: %d, status %x\n", x, status);
	TRY(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));
	TRY(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0));
	brothers(SIGCHLD, SIGUSR2);
	brothers(SIGUSR2, SIGCHLD);
}

/* 64 processes from six forks; each waits for its own children. */
static void tree(void)
{
	int ends[2], n = 0, wrong = 0, status;
	char buf[100];
	ssize_t got_now;
	pid_t pid;

	if (pipe(ends))
		return;
	pid = fork();
	if (pid == 0) {
		for (int level = 0; level < 6; level++)
			fork();
		wrong = write(ends[1], "x", 1) != 1;
		while (wait(&status) > 0)
			wrong |= status != 0;
		_exit(wrong);
	}
	close(ends[1]);
	while ((got_now = read(ends[0], buf, sizeof(buf))) > 0)
		n += (int)got_now;
	close(ends[0]);
	say_status("tree", pid);
	SAY("%d processes\n", n);
}

static void many(void)
{
	unsigned sum = 0, n = 0;
	volatile unsigned wrong = 0; /* vfork returns twice */
	int status;

	for (int i = 0; i < 60; i++) {
		if (fork())
			continue;
		if (i % 2)
			sched_yield();
		_exit(i);
	}
	while (wait(&status) > 0) {
		sum += (unsigned)WEXITSTATUS(status);
		n++;
	}
	SAY("%u children, sum %u, errno %d\n", n, sum, errno);
	for (int i = 0; i < 30; i++) {
		pid_t pid = vfork();

		if (pid == 0) {
			execl(self, self, "quiet", NULL);
			_exit(1);
		}
		wrong += waitpid(pid, &status, 0) != pid || status != 0;
	}
	SAY("vfork and exec: %u wrong\n", wrong);
}

/* A program that runs is not written, one that is written does not run; a nameless one may run. */
static int run_copy(const char *path, int fd)
{
	static char quiet[] = "quiet";
	char *const argv[] = { quiet, quiet, NULL }, *const none[] = { NULL };
	int status;

	if (fork() == 0) {
		if (path)
			execv(path, argv);
		else
			fexecve(fd, argv, none);
		_exit(errno);
	}
	wait(&status);
	return WEXITSTATUS(status);
}

#define COPY "/tmp/ends.test"
static void busy_programs(void)
{
	static char buf[65536];
	int in = open(self, O_RDONLY), out = open(COPY, O_RDWR | O_CREAT | O_TRUNC, 0700);
	int memory = (int)syscall(SYS_memfd_create, "program", 0);
	ssize_t n;

	TRY(open("/proc/self/exe", O_RDWR) < 0 ? -1 : 0);
	TRY(open("/proc/self/exe", O_RDONLY | O_TRUNC) < 0 ? -1 : 0);
	TRY(truncate(self, 5));
	while ((n = read(in, buf, sizeof(buf))) > 0) {
		if (write(out, buf, (size_t)n) != n || write(memory, buf, (size_t)n) != n)
			SAY("write: errno %d\n", errno);
	}
	SAY("open for writing: %d\n", run_copy(COPY, -1));
	close(out);
	SAY("closed: %d\n", run_copy(COPY, -1));
	out = open(COPY, O_RDONLY);
	unlink(COPY);
	SAY("unlinked: %d\n", run_copy(NULL, out));
	SAY("in memory: %d\n", run_copy(NULL, memory));
	close(in);
	close(out);
	close(memory);
}

static void waiting(void)
{
	siginfo_t info = { 0 };
	int status;
	pid_t pid;

	TRY(waitpid(-1, &status, 0));
	TRY(waitpid(0x7fffffff, &status, 0));
	TRY(waitpid(-1, &status, 0x100));
	TRY(waitpid(INT_MIN, &status, 0));
	TRY(waitid(P_ALL, 0, &info, WEXITED));
	TRY(waitid(P_PID, 1, &info, 0));
	pid = fork();
	if (pid == 0)
		_exit(33);
	TRY(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
	SAY("status %d, code %d\n", info.si_status, info.si_code);
	say_status("the same child", pid);
}

/* So many bytes of address space that are the same 2 MiB of memory again and again. */
static void *window(size_t len)
{
	const size_t part = 2ul << 20;
	char *p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fd = memfd_create("window", 0);

	if (p == MAP_FAILED || ftruncate(fd, (off_t)part))
		_exit(1);
	for (size_t at = 0; at < len; at += part)
		if (mmap(p + at, part, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
		    MAP_FAILED)
			_exit(1);
	close(fd);
	return p;
}

static void read_pagemap(void)
{
	const size_t len = 2044ul << 20;
	void *to = window(len);
	int fd = open("/proc/self/pagemap", O_RDONLY);

	for (int i = 0; i < 4; i++)
		if (read(fd, to, len) < 0)
			_exit(1);
	_exit(0);
}

/* Linux cannot be interrupted in it: there it is a short one. */
static void ask_mincore(void)
{
	size_t len = access("/proc/jiffy", F_OK) ? 1ul << 34 : 1ul << 44;
	void *vec = window(len >> 12);

	mincore(mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), len,
		vec);
	_exit(0);
}

/* A call that would take a minute ends when its process is killed. */
static void killed_in(const char *what, void (*call)(void))
{
	struct timespec t0, t1;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		call();
	nap_ms(300);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	SAY("killed in %s: %s\n", what,
	    WIFEXITED(status) && WEXITSTATUS(status) ? "it failed" :
	    t1.tv_sec - t0.tv_sec < 4                ? "gone soon" :
						       "still busy");
}

int main(int argc, char **argv)
{
	self = argv[0];
	if (argc > 1 && strcmp(argv[1], "quiet") == 0)
		return 0;
	if (argc > 1 && strcmp(argv[1], "after exec") == 0)
		return after_exec();
	SAY("#: the end of all\n");
	with_others("exit of one", exits, 0);
	with_others("exit of the first", exits, 1);
	with_others("crash of one", crashes, 0);
	with_others("exec of one", executes, 0);
	with_others("exec of the first", executes, 1);
	SAY("#: the first leaves\n");
	first_leaves("exit", exits);
	first_leaves("later", speaks);
	first_leaves("exec", executes);
	SAY("#: stopped and killed\n");
	stopped_and_killed();
	SAY("#: signals to threads\n");
	signals_to_threads();
	SAY("#: futexes\n");
	futexes();
	SAY("#: clone\n");
	clones();
	SAY("#: a tree\n");
	tree();
	SAY("#: many\n");
	many();
	SAY("#: busy programs\n");
	busy_programs();
	SAY("#: waiting\n");
	waiting();
	SAY("#: killed in a long call\n");
	killed_in("pagemap", read_pagemap);
	killed_in("mincore", ask_mincore);
	return 0;
}
