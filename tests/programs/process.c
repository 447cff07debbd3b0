/*
 * Processes, signals, job control, times: everything that a program can see of proc/. Prints only
 * what is the same in every run and on Linux: no ids, no times, only relations between them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdbool.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

extern char **environ;
static const char *self;
static void *volatile bad_address = (void *)16;

/* "ok", or the text of errno: glibc and musl have different words, so by number. */
static const char *err(long ret)
{
	static char text[16];

	snprintf(text, sizeof(text), "errno %d", errno);
	return ret < 0 ? text : "ok";
}

static void title(const char *name)
{
	SAY("#: %s\n", name);
}

static void say_status(const char *what, int status)
{
	if (WIFEXITED(status))
		SAY("%s: exit %d\n", what, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		SAY("%s: signal %d\n", what, WTERMSIG(status));
	else if (WIFSTOPPED(status))
		SAY("%s: stopped %d\n", what, WSTOPSIG(status));
	else if (WIFCONTINUED(status))
		SAY("%s: continued\n", what);
	else
		SAY("%s: status %#x\n", what, status);
}

static void reap(const char *what, pid_t pid)
{
	int status = -1;
	pid_t got = waitpid(pid, &status, 0);

	if (got != pid)
		SAY("%s: waitpid says %s\n", what, got < 0 ? err(-1) : "another child");
	else
		say_status(what, status);
}

static void nap(int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000l };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* Until that process, of one thread, sleeps in a call. */
static void await_sleep(pid_t pid)
{
	char path[32], text[256], *state;

	sprintf(path, "/proc/%d/stat", pid);
	do {
		int fd = open(path, O_RDONLY);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		close(fd);
		text[n > 0 ? n : 0] = 0;
		state = strrchr(text, ')');
		nap(1);
	} while (state && state[2] != 'S');
}

/* ---- waiting ---- */

static void t_wait(void)
{
	int status;
	pid_t a, b;

	title("wait");
	SAY("no child: %s\n", err(waitpid(-1, &status, 0)));
	if (!(a = fork()))
		_exit(300);
	reap("exit 300", a);
	SAY("again: %s\n", err(waitpid(a, &status, 0)));
	if (!(a = fork())) {
		nap(1000);
		_exit(1);
	}
	SAY("WNOHANG: %d\n", waitpid(a, &status, WNOHANG));
	SAY("other pid: %s\n", err(waitpid(a + 1000, &status, 0)));
	SAY("bad options: %s\n", err(waitpid(a, &status, 0x1000)));
	kill(a, SIGKILL);
	reap("killed", a);
	if (!(a = fork()))
		_exit(1);
	if (!(b = fork()))
		_exit(2);
	reap("second first", b);
	reap("first", a);
	if (!(a = fork()))
		abort();
	reap("abort", a);
}

static void t_waitid(void)
{
	siginfo_t si = { 0 };
	pid_t a;

	title("waitid");
	if (!(a = fork()))
		_exit(5);
	SAY("nowait: %s", err(waitid(P_PID, a, &si, WEXITED | WNOWAIT)));
	SAY(" signo %d code %d status %d pid %d\n", si.si_signo, si.si_code, si.si_status,
	    si.si_pid == a);
	SAY("reap: %s", err(waitid(P_ALL, 0, &si, WEXITED)));
	SAY(" code %d status %d\n", si.si_code, si.si_status);
	SAY("none: %s\n", err(waitid(P_ALL, 0, &si, WEXITED)));
	SAY("no kind: %s\n", err(waitid(P_ALL, 0, &si, 0)));
	if (!(a = fork()))
		pause();
	kill(a, SIGSTOP);
	SAY("stop: %s", err(waitid(P_PID, a, &si, WSTOPPED)));
	SAY(" code %d status %d\n", si.si_code, si.si_status);
	kill(a, SIGCONT);
	SAY("cont: %s", err(waitid(P_PID, a, &si, WCONTINUED)));
	SAY(" code %d status %d\n", si.si_code, si.si_status);
	kill(a, SIGTERM);
	SAY("kill: %s", err(waitid(P_PID, a, &si, WEXITED)));
	SAY(" code %d status %d\n", si.si_code, si.si_status);
}

static void burn(int ms)
{
	clock_t start = clock();

	while (clock() - start < CLOCKS_PER_SEC / 1000 * ms)
		;
}

/* A child whose own child uses 50 ms. It stops, or ends. */
static pid_t parent_of_worker(bool stops)
{
	pid_t a = fork();

	if (a)
		return a;
	if (!(a = fork())) {
		burn(50);
		_exit(0);
	}
	waitpid(a, NULL, 0);
	if (stops)
		raise(SIGSTOP);
	_exit(0);
}

static int used_40_ms(const struct rusage *u)
{
	return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000 + u->ru_utime.tv_usec +
		       u->ru_stime.tv_usec >=
	       40000;
}

/* 0, or errno; and whether the clock shows what that thread or process used, more than 30 ms and less than 10 s. */
static void say_cpu_clock(const char *what, int clock)
{
	struct timespec t = { 0 }, res = { 0 };
	long ret = syscall(SYS_clock_gettime, clock, &t);

	SAY("%s: %s", what, err(ret));
	SAY(" %s", err((long)syscall(SYS_clock_getres, clock, &res)));
	if ((clock & 3) == 1) /* user time: any part of it */
		SAY("\n");
	else
		SAY(" used %d\n", !ret && t.tv_sec < 10 && (t.tv_sec || t.tv_nsec > 30000000));
}

static void *says_main_threads(void *arg)
{
	int main = ~getpid() * 8, me = ~(int)syscall(SYS_gettid) * 8;

	say_cpu_clock("main thread, from another", main | 6);
	say_cpu_clock("other thread", me | 6);
	struct timespec t;
	SAY("process, by its thread: %s\n", err((long)syscall(SYS_clock_gettime, me | 2, &t)));
	return NULL;
}

static void t_cpu_clocks(void)
{
	struct timespec t = { 0 };
	pthread_t other;
	clockid_t c;
	pid_t a;

	title("clocks of CPU time");
	burn(50);
	clock_getres(CLOCK_PROCESS_CPUTIME_ID, &t);
	SAY("resolution %ld ns\n", t.tv_nsec);
	SAY("getcpuclockid: %d", clock_getcpuclockid(0, &c));
	SAY(" %d\n", clock_gettime(c, &t));
	SAY("of a thread: %d", pthread_getcpuclockid(pthread_self(), &c));
	SAY(" %d\n", clock_gettime(c, &t));
	for (int what = 0; what < 8; what++)
		say_cpu_clock(what & 4 ? "own thread" : "own process", -8 | what);
	pthread_create(&other, NULL, says_main_threads, NULL);
	pthread_join(other, NULL);
	if (!(a = fork())) {
		burn(50);
		_exit(0);
	}
	waitid(P_PID, a, NULL, WEXITED | WNOWAIT);
	say_cpu_clock("zombie", (int)(~a * 8) | 2);
	say_cpu_clock("its thread", (int)(~a * 8) | 6);
	waitpid(a, NULL, 0);
	say_cpu_clock("nobody", (int)(~a * 8) | 2);
}

/* What is said of a child has what its own children used. */
static void t_wait_usage(void)
{
	struct rusage u = { 0 };
	siginfo_t si;
	int status;
	pid_t a;

	title("usage of those waited for");
	a = parent_of_worker(false);
	wait4(a, &status, 0, &u);
	SAY("wait4: %d\n", used_40_ms(&u));
	memset(&u, 0, sizeof(u));
	a = parent_of_worker(false);
	syscall(SYS_waitid, P_PID, a, &si, WEXITED, &u);
	SAY("waitid: %d\n", used_40_ms(&u));
	memset(&u, 0, sizeof(u));
	a = parent_of_worker(true);
	wait4(a, &status, WUNTRACED, &u);
	SAY("stopped: %d\n", used_40_ms(&u));
	kill(a, SIGCONT);
	reap("continued", a);
	getrusage(RUSAGE_CHILDREN, &u);
	SAY("children: %d\n", used_40_ms(&u));
}

static void t_job(void)
{
	int status;
	pid_t a;

	title("job control");
	if (!(a = fork()))
		for (;;)
			pause();
	kill(a, SIGSTOP);
	waitpid(a, &status, WUNTRACED);
	say_status("stop", status);
	SAY("told once: %d\n", waitpid(a, &status, WUNTRACED | WNOHANG));
	kill(a, SIGCONT);
	waitpid(a, &status, WCONTINUED);
	say_status("cont", status);
	kill(a, SIGSTOP);
	waitpid(a, &status, WUNTRACED);
	kill(a, SIGTERM);
	nap(20);
	SAY("term while stopped: %d\n", waitpid(a, &status, WNOHANG));
	kill(a, SIGCONT);
	reap("then continued", a);
	if (!(a = fork()))
		for (;;)
			;
	nap(10);
	kill(a, SIGSTOP);
	waitpid(a, &status, WUNTRACED);
	say_status("stop of a loop", status);
	kill(a, SIGKILL);
	reap("kill while stopped", a);
}

static void t_groups(void)
{
	pid_t a, b;
	int status, n = 0;

	title("groups");
	if (!(a = fork())) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	setpgid(a, a);
	if (!(b = fork())) {
		setpgid(0, a);
		for (;;)
			pause();
	}
	SAY("join: %s\n", err(setpgid(b, a)));
	SAY("groups: %d %d\n", getpgid(a) == a, getpgid(b) == a);
	SAY("no such group: %s\n", err(setpgid(b, 30000)));
	SAY("no such process: %s\n", err(setpgid(30000, 0)));
	SAY("negative: %s\n", err(setpgid(0, -1)));
	kill(-a, SIGUSR1);
	while (waitpid(-a, &status, 0) > 0) {
		say_status("group", status);
		n++;
	}
	SAY("members: %d, then %s\n", n, err(-1));
	SAY("empty group: %s\n", err(kill(-a, 0)));
	if (!(a = fork())) {
		SAY("setsid: %d\n", setsid() == getpid());
		SAY("again: %s\n", err(setsid()));
		SAY("leader moves: %s\n", err(setpgid(0, 0)));
		SAY("sid pgid: %d %d\n", getsid(0) == getpid(), getpgrp() == getpid());
		_exit(0);
	}
	reap("session", a);
}

/* ---- signals ---- */

static volatile sig_atomic_t caught, last_code, last_status, depth, max_depth;
static volatile pid_t last_pid;

static void on_signal(int sig)
{
	caught++;
}

static void on_info(int sig, siginfo_t *si, void *uc)
{
	caught++;
	last_code = si->si_code;
	last_status = si->si_status;
	last_pid = si->si_pid;
}

static void handle(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

/* 0: it took its time, and returned 0. */
static int sleep_over_a_stop(void)
{
	struct timespec s = { 0, 200000000 }, x, y;

	clock_gettime(CLOCK_MONOTONIC, &x);
	int ret = nanosleep(&s, NULL);
	clock_gettime(CLOCK_MONOTONIC, &y);
	long ms = (y.tv_sec - x.tv_sec) * 1000 + (y.tv_nsec - x.tv_nsec) / 1000000;
	return ret != 0 ? 1 : ms < 200 ? 2 : ms >= 350 ? 3 : 0;
}

static void t_restart(void)
{
	int p[2], i;
	char c;
	pid_t a;

	title("restart");
	if (pipe(p))
		exit(1);
	for (i = 0; i < 2; i++) {
		caught = 0;
		handle(SIGUSR1, on_signal, i ? SA_RESTART : 0);
		if (!(a = fork())) {
			await_sleep(getppid());
			kill(getppid(), SIGUSR1);
			nap(30);
			if (write(p[1], "x", 1) != 1)
				_exit(1);
			_exit(0);
		}
		SAY("read: %s\n", err(read(p[0], &c, 1)));
		SAY("caught %d\n", caught);
		waitpid(a, NULL, 0);
		if (!i && read(p[0], &c, 1) != 1)
			SAY("byte lost\n");
	}
	close(p[0]);
	close(p[1]);
	struct timespec t = { 5, 0 };
	/* Again and again: on a busy machine the first one may come before the sleep. */
	if (!(a = fork())) {
		for (;;) {
			nap(30);
			kill(getppid(), SIGUSR1);
		}
	}
	SAY("nanosleep: %s", err(nanosleep(&t, &t)));
	SAY(" left %d\n", t.tv_sec < 5 && t.tv_sec + t.tv_nsec > 0);
	kill(a, SIGKILL);
	while (waitpid(a, NULL, 0) < 0 && errno == EINTR)
		;
	/* A stop is no reason to end a sleep early or late. (A busy machine is: one of five will do.) */
	int status = -1;
	for (int i = 0; i < 5 && status != 0; i++) {
		if (!(a = fork()))
			_exit(sleep_over_a_stop());
		nap(20);
		kill(a, SIGSTOP);
		nap(50);
		kill(a, SIGCONT);
		waitpid(a, &status, 0);
	}
	SAY("sleep over a stop: %d\n", status);
}

static void nest(int sig)
{
	if (++depth > max_depth)
		max_depth = depth;
	if (caught++ < 3)
		raise(sig);
	depth--;
}

static void t_flags(void)
{
	title("handler flags");
	caught = max_depth = 0;
	handle(SIGUSR1, nest, 0);
	raise(SIGUSR1);
	SAY("deferred: %d times, depth %d\n", caught, max_depth);
	caught = max_depth = 0;
	handle(SIGUSR1, nest, SA_NODEFER);
	raise(SIGUSR1);
	SAY("nodefer: %d times, depth %d\n", caught, max_depth);
	struct sigaction sa;
	handle(SIGUSR1, on_signal, SA_RESETHAND);
	raise(SIGUSR1);
	sigaction(SIGUSR1, NULL, &sa);
	SAY("resethand: %d\n", sa.sa_handler == SIG_DFL);
	SAY("SIGKILL: %s\n",
	    err(sigaction(SIGKILL, &(struct sigaction){ .sa_handler = on_signal }, NULL)));
	SAY("signal 65: %s\n", err(kill(getpid(), 65)));
	SAY("kill 0: %s\n", err(kill(getpid(), 0)));
	SAY("nobody: %s\n", err(kill(30000, SIGTERM)));
}

static sigjmp_buf jump;
static void *alt_low, *alt_high;

static void on_segv(int sig, siginfo_t *si, void *uc)
{
	char here;

	SAY("code %d on the altstack %d\n", si->si_code,
	    (void *)&here >= alt_low && (void *)&here < alt_high);
	siglongjmp(jump, 1);
}

static void t_altstack(void)
{
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) }, old;
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	title("alternate stack");
	alt_low = stack;
	alt_high = stack + sizeof(stack);
	SAY("set: %s\n", err(sigaltstack(&ss, &old)));
	SAY("was disabled: %d\n", old.ss_flags == SS_DISABLE);
	ss.ss_size = 100;
	SAY("too small: %s\n", err(sigaltstack(&ss, NULL)));
	sigaction(SIGSEGV, &sa, NULL);
	for (int i = 0; i < 3; i++)
		if (!sigsetjmp(jump, 1))
			((volatile char *)bad_address)[i] = 1;
	signal(SIGSEGV, SIG_DFL);
	sigaltstack(NULL, &old);
	SAY("after: flags %d\n", old.ss_flags);
	ss.ss_flags = SS_DISABLE;
	SAY("off: %s\n", err(sigaltstack(&ss, NULL)));
}

static void t_masks(void)
{
	sigset_t set, old, pending;
	siginfo_t si;
	struct timespec soon = { 0, 10000000 };
	pid_t a;

	title("masks");
	caught = 0;
	handle(SIGUSR1, on_signal, 0);
	handle(SIGUSR2, on_signal, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, &old);
	raise(SIGUSR1);
	raise(SIGUSR1);
	sigpending(&pending);
	SAY("pending %d caught %d\n", sigismember(&pending, SIGUSR1), caught);
	SAY("timedwait: %d code %d\n", sigtimedwait(&set, &si, &soon) == SIGUSR1,
	    si.si_code == SI_TKILL);
	SAY("then: %s\n", err(sigtimedwait(&set, &si, &soon)));
	for (int i = 1; i <= 3; i++)
		sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = i });
	for (int i = 1; i <= 3; i++) {
		int sig = sigwaitinfo(&set, &si);
		SAY("queued: %d value %d code %d\n", sig == SIGRTMIN + 1, si.si_value.sival_int,
		    si.si_code);
	}
	if (!(a = fork())) {
		nap(20);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	SAY("sigsuspend: %s", err(sigsuspend(&old)));
	sigprocmask(SIG_BLOCK, NULL, &pending);
	SAY(" caught %d, mask back %d\n", caught, sigismember(&pending, SIGUSR1));
	waitpid(a, NULL, 0);
	/* ppoll with a mask: the handler runs, then EINTR. */
	raise(SIGUSR1);
	caught = 0;
	SAY("ppoll: %s", err(ppoll(NULL, 0, &soon, &old)));
	SAY(" caught %d\n", caught);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void t_child_signal(void)
{
	struct sigaction sa = { .sa_sigaction = on_info, .sa_flags = SA_SIGINFO };
	sigset_t set, old;
	int status;
	pid_t a;

	title("SIGCHLD");
	sigaction(SIGCHLD, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &old);
	caught = 0;
	if (!(a = fork()))
		_exit(9);
	while (!caught)
		sigsuspend(&old);
	SAY("caught %d code %d status %d pid %d\n", caught, last_code, last_status, last_pid == a);
	reap("child", a);
	if (!(a = fork()))
		for (;;)
			pause();
	caught = 0;
	kill(a, SIGSTOP);
	while (!caught)
		sigsuspend(&old);
	SAY("code %d status %d\n", last_code, last_status);
	kill(a, SIGKILL);
	reap("child", a);
	sigprocmask(SIG_SETMASK, &old, NULL);
	signal(SIGCHLD, SIG_IGN);
	if (!(a = fork()))
		_exit(1);
	SAY("ignored: %s\n", err(waitpid(a, &status, 0)));
	signal(SIGCHLD, SIG_DFL);
}

static void t_sigpipe(void)
{
	int p[2];
	pid_t a;

	title("SIGPIPE");
	if (pipe(p))
		exit(1);
	close(p[0]);
	if (!(a = fork()))
		_exit(write(p[1], "x", 1) < 0 ? 3 : 4);
	reap("default", a);
	signal(SIGPIPE, SIG_IGN);
	SAY("ignored: %s\n", err(write(p[1], "x", 1)));
	signal(SIGPIPE, SIG_DFL);
	close(p[1]);
}

static void t_timers(void)
{
	struct itimerval it = { { 0, 10000 }, { 0, 10000 } }, was;
	struct timespec t = { 0, 1500000000 };

	title("timers");
	caught = 0;
	handle(SIGALRM, on_signal, 0);
	setitimer(ITIMER_REAL, &it, NULL);
	while (caught < 5)
		pause();
	memset(&it, 0, sizeof(it));
	setitimer(ITIMER_REAL, &it, &was);
	SAY("interval %ld\n", (long)was.it_interval.tv_usec);
	SAY("alarm: %u %u %u\n", alarm(100), alarm(50) >= 99, alarm(0) >= 49);
	it.it_interval.tv_sec = 5;
	setitimer(ITIMER_REAL, &it, NULL);
	getitimer(ITIMER_REAL, &was);
	SAY("off: %ld %ld\n", (long)was.it_interval.tv_sec, (long)was.it_value.tv_sec);
	SAY("bad time: %s\n", err(nanosleep(&t, NULL)));
	SAY("clock 99: %s\n", err(clock_gettime(99, &t)));
	t = (struct timespec){ 0, 1 };
	for (int clock = -1; clock <= 12; clock++)
		if (clock != CLOCK_PROCESS_CPUTIME_ID)
			SAY("sleep by clock %d: %s\n", clock,
			    err((long)syscall(SYS_clock_nanosleep, clock, 0, &t, NULL)));
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += 20000000;
	if (t.tv_nsec >= 1000000000)
		t.tv_sec++, t.tv_nsec -= 1000000000;
	SAY("absolute: %d", clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	SAY(" not early %d\n",
	    now.tv_sec > t.tv_sec || (now.tv_sec == t.tv_sec && now.tv_nsec >= t.tv_nsec));
}

/* ---- exec ---- */

static void write_file(const char *path, const char *text, int mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		SAY("cannot write %s\n", path);
	close(fd);
	chmod(path, mode);
}

static void try_exec(const char *what, const char *path, char *const argv[])
{
	pid_t a = fork();

	if (!a) {
		execve(path, argv, environ);
		SAY("%s: %s\n", what, err(-1));
		_exit(0);
	}
	waitpid(a, NULL, 0);
}

static void t_exec(void)
{
	char *const argv[] = { "x", NULL };
	char *big[3] = { "x", NULL, NULL };
	char dir[] = "/tmp/process-XXXXXX", path[64], path2[64], text[160];
	pid_t a;

	title("exec errors");
	if (!mkdtemp(dir))
		SAY("no directory\n");
	try_exec("missing", "/no/such/file", argv);
	try_exec("directory", "/tmp", argv);
	snprintf(path, sizeof(path), "%s/f", dir);
	write_file(path, "text", 0600);
	try_exec("no x", path, argv);
	write_file(path, "text", 0700);
	try_exec("text", path, argv);
	write_file(path, "", 0700);
	try_exec("empty", path, argv);
	write_file(path, "\177ELF\2\1\1", 0700);
	try_exec("truncated", path, argv);
	write_file(path, "#!/no/such/interpreter\n", 0700);
	try_exec("interpreter missing", path, argv);
	write_file(path, "#!\n", 0700);
	try_exec("interpreter unnamed", path, argv);
	snprintf(text, sizeof(text), "#!%s\n", path);
	write_file(path, text, 0700);
	try_exec("itself", path, argv);
	try_exec("bad pointer", (const char *)bad_address, argv);
	try_exec("bad vector", self, (char *const *)bad_address);
	big[1] = malloc(200000);
	memset(big[1], 'x', 199999);
	big[1][199999] = 0;
	try_exec("long string", self, big);
	free(big[1]);
	title("exec scripts");
	snprintf(text, sizeof(text), "#! %s  echo two words  \nbody", self);
	write_file(path, text, 0700);
	char *const args[] = { "zero", "one", "", "three", NULL };
	if (!(a = fork())) {
		chdir(dir);
		execve("./f", args, (char *const[]){ "A=1", "B=", NULL });
		_exit(99);
	}
	reap("script", a);
	snprintf(path2, sizeof(path2), "%s/g", dir);
	snprintf(text, sizeof(text), "#!%s\n", "./f");
	write_file(path2, text, 0700);
	if (!(a = fork())) {
		chdir(dir);
		execve("./g", args, (char *const[]){ NULL });
		_exit(99);
	}
	reap("script of a script", a);
	unlink(path);
	unlink(path2);
	rmdir(dir);
}

static void t_exec_state(void)
{
	pid_t a;
	int fds[2];
	sigset_t set;
	char fd0[16], fd1[16];

	title("exec keeps and drops");
	for (int other_ids = 0; other_ids < 2; other_ids++) {
		if ((a = fork())) {
			reap("state", a);
			continue;
		}
		handle(SIGUSR1, on_signal, 0);
		signal(SIGUSR2, SIG_IGN);
		sigemptyset(&set);
		sigaddset(&set, SIGTERM);
		sigprocmask(SIG_SETMASK, &set, NULL);
		alarm(1000);
		if (pipe(fds))
			_exit(1);
		fcntl(fds[1], F_SETFD, FD_CLOEXEC);
		if (other_ids) {
			syscall(SYS_setresgid, 1000, 1001, 0);
			syscall(SYS_setresuid, 1000, 1001, 0);
		}
		prctl(PR_SET_PDEATHSIG, SIGUSR2);
		snprintf(fd0, sizeof(fd0), "%d", fds[0]);
		snprintf(fd1, sizeof(fd1), "%d", fds[1]);
		execl(self, self, "state", fd0, fd1, NULL);
		_exit(98);
	}
}

static void state(char **argv)
{
	struct sigaction sa;
	unsigned id[3];
	sigset_t set;
	char name[16];
	int death = -1;

	sigaction(SIGUSR1, NULL, &sa);
	SAY("handler default: %d\n", sa.sa_handler == SIG_DFL);
	sigaction(SIGUSR2, NULL, &sa);
	SAY("ignored stays: %d\n", sa.sa_handler == SIG_IGN);
	sigprocmask(SIG_BLOCK, NULL, &set);
	SAY("mask stays: %d\n", sigismember(&set, SIGTERM));
	SAY("alarm stays: %d\n", alarm(0) > 990);
	SAY("fd stays: %s\n", err(fcntl(atoi(argv[2]), F_GETFD)));
	SAY("cloexec: %s\n", err(fcntl(atoi(argv[3]), F_GETFD)));
	prctl(PR_GET_NAME, name);
	SAY("name: %d\n", !strncmp(name, strrchr(self, '/') + 1, 15));
	prctl(PR_GET_PDEATHSIG, &death);
	SAY("signal at the parent's death: %d\n", death);
	getresuid(&id[0], &id[1], &id[2]);
	SAY("user ids %u %u %u", id[0], id[1], id[2]);
	getresgid(&id[0], &id[1], &id[2]);
	SAY(", group ids %u %u %u\n", id[0], id[1], id[2]);
	SAY("secure: %lu\n", getauxval(AT_SECURE));
	SAY("to root: %s\n", err(setuid(0)));
	SAY("to another: %s\n", err(setuid(1000)));
	prctl(PR_GET_PDEATHSIG, &death);
	SAY("signal at the parent's death: %d\n", death);
	exit(0);
}

static void *sleeper(void *arg)
{
	while (arg != sleeper)
		pause();
	return NULL;
}

static void *spinner(void *arg)
{
	while (arg != sleeper)
		__asm__ volatile("");
	return NULL;
}

static void *execer(void *arg)
{
	nap(20);
	execl(self, self, "thread-exec", (char *)NULL);
	return NULL;
}

static void t_threads(void)
{
	pthread_t t;
	pid_t a;

	title("threads of a process");
	if (!(a = fork())) {
		pthread_create(&t, NULL, sleeper, NULL);
		pthread_create(&t, NULL, spinner, NULL);
		nap(20);
		exit(11);
	}
	reap("exit ends all", a);
	if (!(a = fork())) {
		pthread_create(&t, NULL, sleeper, NULL);
		pthread_create(&t, NULL, spinner, NULL);
		nap(20);
		*(volatile int *)bad_address = 1;
	}
	reap("a fault ends all", a);
	if (!(a = fork())) {
		pthread_create(&t, NULL, sleeper, NULL);
		pthread_create(&t, NULL, execer, NULL);
		for (;;)
			pause();
	}
	reap("exec by another thread", a);
	if (!(a = fork())) {
		pthread_create(&t, NULL, spinner, NULL);
		pthread_create(&t, NULL, sleeper, NULL);
		nap(10);
		syscall(SYS_exit, 3); /* this thread only */
	}
	nap(40);
	SAY("first thread gone, process lives: %d\n", waitpid(a, NULL, WNOHANG));
	kill(a, SIGSTOP);
	int status;
	waitpid(a, &status, WUNTRACED);
	say_status("stops whole", status);
	kill(a, SIGCONT);
	kill(a, SIGTERM);
	reap("killed", a);
}

static void t_vfork(void)
{
	volatile int shared = 0;
	char *const argv[] = { (char *)self, "echo", "spawned", NULL };
	pid_t a;

	title("vfork and spawn");
	if (!(a = vfork())) {
		shared = 1;
		_exit(4);
	}
	SAY("shared memory: %d\n", shared);
	reap("vfork", a);
	int ret = posix_spawn(&a, self, NULL, NULL, argv, environ);
	reap("spawned", a);
	SAY("spawn: %d\n", ret);
	SAY("spawn missing: %d\n", posix_spawn(&a, "/no/such", NULL, NULL, argv, environ));
}

static char stack[65536];

static int ends(void *arg)
{
	return 0;
}

static int execs(void *arg)
{
	char *const argv[] = { (char *)self, "nothing", NULL };

	execv(self, argv);
	return 1;
}

/* CLONE_PARENT: a brother, that ends as we would. CLONE_CHILD_CLEARTID: by exec, too, if others see the memory. */
static void t_clone(void)
{
	int tid = 1234, status, n = 0;
	const int flags = CLONE_VM | CLONE_VFORK | CLONE_CHILD_CLEARTID | SIGCHLD;
	pid_t a;

	title("clone");
	if (!(a = fork())) {
		if (!syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0))
			_exit(7);
		_exit(0);
	}
	waitpid(a, NULL, 0);
	while (waitpid(-1, &status, 0) > 0) {
		say_status("brother", status);
		n++;
	}
	SAY("brothers: %d, left %d\n", n, (int)waitpid(-1, &status, __WALL));
	a = clone(ends, stack + sizeof(stack), flags, NULL, NULL, NULL, &tid);
	reap("ends", a);
	SAY("tid %d\n", tid);
	tid = 1234;
	a = clone(execs, stack + sizeof(stack), flags, NULL, NULL, NULL, &tid);
	reap("execs", a);
	SAY("tid %d\n", tid);
}

static void t_orphans(void)
{
	int p[2];
	char c = 0;
	pid_t a;

	title("orphans");
	if (pipe(p))
		exit(1);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!(a = fork())) {
		pid_t parent = getpid();

		if (!fork()) {
			while (getppid() == parent)
				nap(5);
			if (write(p[1], "o", 1) != 1)
				_exit(1);
			_exit(6);
		}
		_exit(0);
	}
	reap("parent", a);
	if (read(p[0], &c, 1) == 1)
		SAY("orphan wrote %c\n", c);
	int status;
	SAY("reaped by the subreaper: %d", wait(&status) > 0);
	SAY(" exit %d\n", WEXITSTATUS(status));
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	if (!(a = fork())) {
		if (!(a = fork())) {
			/* Before the parent is told that it may die. */
			signal(SIGUSR1, SIG_DFL);
			prctl(PR_SET_PDEATHSIG, SIGUSR1);
			if (write(p[1], "r", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		if (read(p[0], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	reap("parent with a deadly end", a);
	close(p[1]);
	SAY("all writers gone: %zd\n", read(p[0], &c, 1));
	close(p[0]);
}

/* ---- the rest ---- */

static void t_limits(void)
{
	struct rlimit r = { 100, 50 }, s;
	struct rusage u;
	struct tms tms;
	volatile unsigned long n = 0;
	clock_t start = clock();

	title("limits and usage");
	SAY("cur > max: %s\n", err(setrlimit(RLIMIT_CPU, &r)));
	r.rlim_max = 100;
	SAY("set: %s\n", err(setrlimit(RLIMIT_CORE, &r)));
	getrlimit(RLIMIT_CORE, &s);
	SAY("got: %lu %lu\n", (unsigned long)s.rlim_cur, (unsigned long)s.rlim_max);
	SAY("which 99: %s\n", err(getrlimit(99, &s)));
	while (clock() - start < CLOCKS_PER_SEC / 20)
		n++;
	getrusage(RUSAGE_SELF, &u);
	SAY("user time: %d\n", u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec +
					       u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec >=
				       40000);
	times(&tms);
	SAY("times: %d\n", tms.tms_utime + tms.tms_stime >= 4);
	SAY("usage of 7: %s\n", err(getrusage(7, &u)));
}

static void say_prctl(const char *who)
{
	SAY("%s: dumpable %d keepcaps %d slack %d\n", who, prctl(PR_GET_DUMPABLE),
	    prctl(PR_GET_KEEPCAPS), prctl(PR_GET_TIMERSLACK));
}

/* What prctl was told it tells, and so do children. */
static void t_prctl(void)
{
	pid_t a;

	title("prctl");
	say_prctl("first");
	if (!(a = fork())) {
		SAY("set: %s", err(prctl(PR_SET_DUMPABLE, 0)));
		SAY(" %s", err(prctl(PR_SET_KEEPCAPS, 1)));
		SAY(" %s\n", err(prctl(PR_SET_TIMERSLACK, 7777)));
		SAY("wrong: %s", err(prctl(PR_SET_DUMPABLE, 2)));
		SAY(" %s", err(prctl(PR_SET_KEEPCAPS, 2)));
		SAY(" %s\n", err(prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0)));
		say_prctl("set");
		if (!(a = fork())) {
			prctl(PR_SET_TIMERSLACK, 1);
			prctl(PR_SET_TIMERSLACK, 0);
			say_prctl("its child");
			execl(self, self, "prctl", NULL);
		}
		waitpid(a, NULL, 0);
		prctl(PR_SET_TIMERSLACK, 0);
		say_prctl("reset");
		_exit(0);
	}
	reap("prctl", a);
}

/* The load average of /proc, one of 1 minute, and that of sysinfo(2), which is what getloadavg(3) and uptime show. */
static bool read_load(double *of_proc, double *of_call)
{
	FILE *f = fopen("/proc/loadavg", "r");
	struct sysinfo info = { 0 };
	bool ok = f && fscanf(f, "%lf", of_proc) == 1 && sysinfo(&info) == 0;

	if (f)
		fclose(f);
	*of_call = (double)info.loads[0] / 65536;
	return ok;
}

static void t_load(void)
{
	double a = 0, b = 0;
	bool same = false;

	title("load average");
	for (int i = 0; i < 2000 && a < 0.05; i++) { /* until it is counted, every 5 s */
		burn(10);
		read_load(&a, &b);
	}
	for (int i = 0; i < 3 && !same; i++) /* it may change between the two looks */
		same = read_load(&a, &b) && a - b < 0.02 && b - a < 0.02;
	SAY("some %d, the same %d\n", a > 0, same);
}

static void t_sched(void)
{
	struct sched_param p = { 0 };
	struct timespec t;
	cpu_set_t set;

	title("scheduling");
	SAY("policy %d\n", (int)syscall(SYS_sched_getscheduler, 0)); /* musl's own gives ENOSYS */
	SAY("fifo %d %d rr %d %d other %d %d\n", sched_get_priority_min(SCHED_FIFO),
	    sched_get_priority_max(SCHED_FIFO), sched_get_priority_min(SCHED_RR),
	    sched_get_priority_max(SCHED_RR), sched_get_priority_min(SCHED_OTHER),
	    sched_get_priority_max(SCHED_OTHER));
	SAY("bad policy: %d\n",
	    (int)syscall(SYS_sched_setscheduler, 0, 77, &p) < 0 && errno == EINVAL);
	p.sched_priority = 3;
	SAY("other with priority: %d\n",
	    (int)syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &p) < 0 && errno == EINVAL);
	SAY("interval: %d\n", (int)syscall(SYS_sched_rr_get_interval, 0, &t));
	SAY("nice: %d", getpriority(PRIO_PROCESS, 0));
	SAY(" %s", err(setpriority(PRIO_PROCESS, 0, 5)));
	SAY(" %d\n", getpriority(PRIO_PROCESS, 0));
	SAY("affinity: %s", err(sched_getaffinity(0, sizeof(set), &set)));
	SAY(" some %d\n", CPU_COUNT(&set) > 0);
	CPU_ZERO(&set);
	SAY("empty: %s\n", err(sched_setaffinity(0, sizeof(set), &set)));
	SAY("yield: %d\n", sched_yield());
}

static void t_ids(void)
{
	pid_t a;

	title("ids");
	SAY("tid is pid: %d\n", getpid() == (pid_t)syscall(SYS_gettid));
	SAY("set_tid_address: %d\n", getpid() == (pid_t)syscall(SYS_set_tid_address, 0));
	if (!(a = fork())) {
		if (getuid() == 0) {
			SAY("setresuid: %s\n", err((long)syscall(SYS_setresuid, 1, 2, 3)));
			uid_t r, e, s;
			getresuid(&r, &e, &s);
			SAY("ids %u %u %u\n", r, e, s);
			SAY("setuid 7: %s\n", err((long)syscall(SYS_setuid, 7)));
			SAY("setuid 3: %s\n", err((long)syscall(SYS_setuid, 3)));
			SAY("euid %u\n", geteuid());
		}
		_exit(0);
	}
	reap("ids", a);
}

int main(int argc, char **argv)
{
	self = "/proc/self/exe";
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n > 0)
		self = path;
	if (argc > 1 && !strcmp(argv[1], "state"))
		state(argv);
	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 23;
	if (argc > 1 && !strcmp(argv[1], "prctl")) {
		say_prctl("exec");
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "thread-exec")) {
		SAY("leader: %d\n", getpid() == (pid_t)syscall(SYS_gettid));
		return 21;
	}
	if (argc > 1 && !strncmp(argv[1], "echo", 4)) {
		for (int i = 1; i < argc; i++)
			SAY("arg <%s>\n", argv[i]);
		for (char **e = environ; *e && argc > 4; e++)
			SAY("env <%s>\n", *e);
		return 22;
	}
	setsid(); /* pid 1 leads a session; elsewhere this makes us alike */
	t_wait();
	t_waitid();
	t_wait_usage();
	t_cpu_clocks();
	t_job();
	t_groups();
	t_restart();
	t_flags();
	t_altstack();
	t_masks();
	t_child_signal();
	t_sigpipe();
	t_timers();
	t_exec();
	t_exec_state();
	t_threads();
	t_vfork();
	t_clone();
	t_orphans();
	t_limits();
	t_prctl();
	t_sched();
	t_ids();
	t_load();
	return 0;
}
