/*
 * What threads and processes do to each other while one of them execs, exits, stops or is killed: for
 * several CPUs, though the output is the same on one, and on Linux.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ul << 20)

extern char **environ;
static char self[4096];

/* "what: n of n", as long as nothing went wrong. */
static void say(const char *what, int good, int of)
{
	printf("%s: %d of %d\n", what, good, of);
	fflush(stdout);
}

static void title(const char *name)
{
	printf("#: %s\n", name);
	fflush(stdout);
}

static unsigned next_random(void)
{
	static unsigned state = 12345;

	state = state * 1103515245 + 12345;
	return state >> 16;
}

/* Some hundreds to some ten thousands of instructions. */
static void spin(unsigned n)
{
	for (volatile unsigned i = 0; i < n % 16384; i++)
		;
}

static pthread_t start(void *(*fn)(void *arg), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, arg)) {
		puts("no thread");
		_exit(99);
	}
	return t;
}

static void run_self(const char *how, const char *arg)
{
	execve(self, (char *[]){ self, (char *)how, (char *)arg, NULL }, environ);
	_exit(98);
}

static int status_of(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static int exits_with(pid_t pid, int code)
{
	int status = status_of(pid);

	return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

/* ---- exec among threads ---- */

static void *fork_on(void *arg)
{
	for (;;) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	return arg;
}

static void *nothing(void *arg)
{
	return arg;
}

static void *thread_on(void *arg)
{
	for (;;) {
		pthread_t t;

		if (!pthread_create(&t, NULL, nothing, NULL))
			pthread_join(t, NULL);
	}
	return arg;
}

static void *spawn_on(void *arg)
{
	for (;;) {
		char *argv[] = { self, "leave", NULL };
		pid_t pid;

		if (!posix_spawn(&pid, self, NULL, NULL, argv, environ))
			waitpid(pid, NULL, 0);
	}
	return arg;
}

static void *exec_now(void *arg)
{
	char pid[16];

	spin(next_random());
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	run_self("alone", pid);
	return NULL;
}

static int count_threads(void)
{
	char text[2048] = "", *threads;
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	threads = n > 0 ? strstr(text, "Threads:\t") : NULL;
	return threads ? atoi(threads + 9) : -1;
}

/*
 * The new program: has it the process's number, and is it its only thread? Linux does not wait for threads that
 * have ended by themselves; they may be counted for a moment.
 */
static int is_alone(const char *pid)
{
	int threads = count_threads();

	for (int i = 0; i < 1000 && threads > 1; i++) {
		usleep(1000);
		threads = count_threads();
	}
	if (threads != 1)
		return 2;
	return getpid() == atoi(pid) && (pid_t)syscall(SYS_gettid) == getpid() ? 7 : 3;
}

static void exec_among_threads(void)
{
	int good = 0, rounds = 12;

	title("exec among threads");
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();

		if (!pid) {
			start(fork_on, NULL);
			start(thread_on, NULL);
			start(spawn_on, NULL);
			if (i % 2)
				start(exec_now, NULL); /* not the first thread */
			spin(next_random());
			if (i % 3 == 0)
				start(exec_now, NULL); /* two that want it */
			if (i % 2)
				pause();
			exec_now(NULL);
		}
		good += exits_with(pid, 7);
	}
	say("alone in the new program", good, rounds);
}

/* ---- many wait for one ---- */

static pid_t the_child;
static int reaped, missed;
static pthread_barrier_t ready;

static void *wait_for_it(void *arg)
{
	pthread_barrier_wait(&ready);
	pid_t got = waitpid(the_child, NULL, 0);

	__atomic_fetch_add(got == the_child ? &reaped : &missed, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void many_wait(void)
{
	int rounds = 20;

	title("many wait for one");
	pthread_barrier_init(&ready, NULL, 4);
	for (int i = 0; i < rounds; i++) {
		pthread_t t[3];

		the_child = fork();
		if (!the_child) {
			spin(next_random());
			_exit(0);
		}
		for (int k = 0; k < 3; k++)
			t[k] = start(wait_for_it, NULL);
		wait_for_it(NULL);
		for (int k = 0; k < 3; k++)
			pthread_join(t[k], NULL);
	}
	say("reaped by one", reaped, rounds);
	say("none for the others", missed, 3 * rounds);
}

/* ---- stops ---- */

static void *spin_on(void *arg)
{
	for (;;)
		spin(1000);
	return arg;
}

static pid_t spinner(int threads)
{
	pid_t pid = fork();

	if (!pid) {
		for (int i = 1; i < threads; i++)
			start(spin_on, NULL);
		spin_on(NULL);
	}
	return pid;
}

/* Once SIGKILL has been sent a process has no other news than its end. */
static void killed_while_it_stops(void)
{
	int good = 0, rounds = 60;

	title("killed while it stops");
	for (int i = 0; i < rounds; i++) {
		pid_t pid = spinner(2 + i % 2);
		int status = 0;

		usleep(1000);
		kill(pid, SIGSTOP);
		for (int k = i % 24; k > 0; k--)
			spin(next_random());
		kill(pid, SIGKILL);
		if (waitpid(pid, &status, WUNTRACED | WCONTINUED) == pid && WIFSIGNALED(status))
			good++;
		else
			status_of(pid);
	}
	say("killed, not stopped", good, rounds);
}

static void stop_and_go(void)
{
	int stopped = 0, continued = 0, rounds = 40, status;
	pid_t pid;

	title("stop and go");
	pid = fork();
	if (!pid) {
		start(thread_on, NULL);
		start(fork_on, NULL);
		spin_on(NULL);
	}
	for (int i = 0; i < rounds; i++) {
		kill(pid, SIGSTOP);
		stopped += waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status);
		kill(pid, SIGCONT);
		continued += waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status);
	}
	say("stopped", stopped, rounds);
	say("continued", continued, rounds);
	kill(pid, SIGKILL);
	status_of(pid);
}

/* ---- limits and exec ---- */

/* Told a limit of the address space while we exec'd: do we have what getrlimit says? */
static int obeys_limit(void)
{
	struct rlimit r;
	char c;

	if (read(3, &c, 1) != 1 || getrlimit(RLIMIT_AS, &r))
		return 1;
	void *p = mmap(NULL, 512 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return (p == MAP_FAILED) == (r.rlim_cur != RLIM_INFINITY) ? 7 : 2;
}

static void limit_while_it_execs(void)
{
	int good = 0, rounds = 16;

	title("a limit for one that execs");
	for (int i = 0; i < rounds; i++) {
		const struct rlimit few = { 256 * MIB, RLIM_INFINITY };
		int up[2], down[2];
		pid_t pid;
		char c = 0;

		if (pipe(up) || pipe(down))
			_exit(97);
		pid = fork();
		if (!pid) {
			dup2(down[0], 3);
			if (write(up[1], &c, 1) == 1)
				run_self("limit", NULL);
		}
		close(up[1]);
		if (read(up[0], &c, 1) != 1)
			_exit(96);
		spin(next_random());
		prlimit(pid, RLIMIT_AS, &few, NULL);
		if (write(down[1], &c, 1) != 1)
			_exit(95);
		good += exits_with(pid, 7);
		close(up[0]);
		close(down[0]);
		close(down[1]);
	}
	say("has its limit", good, rounds);
}

/* ---- ids ---- */

static int give_up_now;

/* Linux has ids for each thread, where this one changes nothing for the other. */
static void *root_again(void *arg)
{
	while (__atomic_load_n(&give_up_now, __ATOMIC_SEQ_CST) < 2)
		if (syscall(SYS_setreuid, 0, 0))
			break;
	return NULL;
}

static int gives_root_up(void)
{
	pthread_t t = start(root_again, NULL);
	uid_t r, e, s;

	spin(next_random());
	if (syscall(SYS_setresuid, 65534, 65534, 65534))
		return 1;
	spin(2000);
	__atomic_store_n(&give_up_now, 2, __ATOMIC_SEQ_CST);
	pthread_join(t, NULL);
	syscall(SYS_getresuid, &r, &e, &s);
	return r == 65534 && e == 65534 && s == 65534 && syscall(SYS_setuid, 0) ? 7 : 2;
}

static void root_for_good(void)
{
	int good = 0, rounds = 40;

	title("root given up");
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(gives_root_up());
		good += exits_with(pid, 7);
		next_random();
	}
	say("for good", good, rounds);
}

/* ---- timers and ends ---- */

static void timers_at_the_end(void)
{
	int good = 0, rounds = 40;

	title("timers at the end");
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();
		int status;

		if (!pid) {
			const struct itimerval often = { { 0, 200 },
							 { 0, 1 + next_random() % 2000 } };

			signal(SIGALRM, i % 2 ? SIG_IGN : SIG_DFL);
			start(spin_on, NULL);
			setitimer(ITIMER_REAL, &often, NULL);
			if (i % 3 == 0)
				run_self("leave", NULL);
			spin(next_random());
			spin(next_random());
			_exit(0);
		}
		next_random();
		status = status_of(pid);
		good += status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
	}
	say("ended", good, rounds);
}

/* ---- /proc ---- */

static void read_all(pid_t pid)
{
	static const char *const names[] = { "stat",    "status", "statm", "cmdline",
					     "environ", "maps",   "comm",  "smaps" };
	static const char *const links[] = { "exe", "cwd", "root", "fd/0" };
	char path[64], text[4096];

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, names[i]);
		int fd = open(path, O_RDONLY);

		while (fd >= 0 && read(fd, text, sizeof(text)) > 0)
			;
		close(fd);
	}
	for (unsigned i = 0; i < sizeof(links) / sizeof(*links); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, links[i]);
		if (readlink(path, text, sizeof(text)) > (ssize_t)sizeof(text))
			_exit(94);
	}
}

static volatile pid_t seen;

static void *look_on(void *arg)
{
	while (seen)
		read_all(seen);
	return NULL;
}

static void looked_at(void)
{
	int good = 0, rounds = 12;
	pthread_t t[2];

	title("looked at while it comes and goes");
	seen = getpid();
	for (int i = 0; i < 2; i++)
		t[i] = start(look_on, NULL);
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();

		if (!pid) {
			start(thread_on, NULL);
			spin(next_random());
			run_self("leave", NULL);
		}
		seen = pid;
		next_random();
		good += exits_with(pid, 0);
	}
	seen = 0;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	say("ended", good, rounds);
}

/* ---- a waiter that is moved to a word with an owner before it sleeps ---- */

enum { WAIT_REQUEUE_PI = 11, CMP_REQUEUE_PI = 12 };

/* Pages that are protected and unprotected for ever, behind the words: a long operation on whole 2 MiB. */
#define WORDS_AT   (16 * MIB)
#define WORDS_SIZE 4096ul

static char *protected_area;

static void *protect_on(void *arg)
{
	volatile int *stop_it = arg;

	while (!*stop_it) {
		mprotect(protected_area, WORDS_AT, PROT_READ);
		mprotect(protected_area, WORDS_AT, PROT_READ | PROT_WRITE);
		usleep(100);
	}
	return NULL;
}

/* Its look at the word takes a fault, in which it may have to wait. */
static void wait_to_be_moved(int *words, int *round)
{
	struct timespec soon;

	for (*round = 0; *round < 60; ++*round) {
		clock_gettime(CLOCK_MONOTONIC, &soon);
		soon.tv_nsec += 300000;
		if (soon.tv_nsec >= 1000000000) {
			soon.tv_nsec -= 1000000000;
			soon.tv_sec++;
		}
		madvise(words, WORDS_SIZE, MADV_DONTNEED);
		syscall(SYS_futex, words, WAIT_REQUEUE_PI, 0, &soon, words + 1, 0);
	}
}

static void moved_while_it_comes(void)
{
	volatile int stop_it = 0;
	int *words, round;
	pthread_t t;
	pid_t pid;

	title("moved to a word with an owner while it takes a fault");
	protected_area =
		mmap(NULL, 32 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	protected_area =
		(char *)(((unsigned long)protected_area + 2 * MIB - 1) & ~(2 * MIB - 1)) + MIB;
	memset(protected_area, 1, WORDS_AT);
	words = mmap(protected_area + WORDS_AT, WORDS_SIZE, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	words[1] = getpid();
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		t = start(protect_on, (void *)&stop_it);
		wait_to_be_moved(words, &round);
		stop_it = 1;
		pthread_join(t, NULL);
		_exit(round == 60 ? 0 : 1);
	}
	while (waitpid(pid, &round, WNOHANG) == 0)
		syscall(SYS_futex, words, CMP_REQUEUE_PI, 1, 0, words + 1, 0);
	say("ended", round == 0, 1);
}

/* ---- killed in the middle of something long ---- */

#define MUCH (1ul << 36) /* of address space: the zero page, again and again */

static void populate_for_long(int how)
{
	char *p = mmap(NULL, MUCH, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (how == 0)
		madvise(p, MUCH, 22); /* MADV_POPULATE_READ */
	else if (how == 1)
		mlockall(MCL_CURRENT);
	else
		mlock(p, MUCH);
	for (;;) /* where it may not, or has been faster than we thought */
		pause();
}

static void killed_while_it_populates(void)
{
	int good = 0;

	title("killed while it populates");
	for (int how = 0; how < 3; how++) {
		struct timespec begun, ended;
		pid_t pid = fork();

		if (!pid)
			populate_for_long(how);
		usleep(50000);
		kill(pid, SIGKILL);
		clock_gettime(CLOCK_MONOTONIC, &begun);
		status_of(pid);
		clock_gettime(CLOCK_MONOTONIC, &ended);
		good += ended.tv_sec - begun.tv_sec < 4;
	}
	say("soon gone", good, 3);
}

int main(int argc, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return 93;
	if (argc > 1 && !strcmp(argv[1], "leave"))
		return 0;
	if (argc > 2 && !strcmp(argv[1], "alone"))
		return is_alone(argv[2]);
	if (argc > 1 && !strcmp(argv[1], "limit"))
		return obeys_limit();
	exec_among_threads();
	many_wait();
	killed_while_it_stops();
	stop_and_go();
	limit_while_it_execs();
	root_for_good();
	timers_at_the_end();
	looked_at();
	moved_while_it_comes();
	killed_while_it_populates();
	return 0;
}
