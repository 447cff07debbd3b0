/*
 * Signals: queued ones that must arrive in order and in full, timers, stops and continuations that the
 * parent must see, handlers on an alternate stack, and a kill at the end.
 */
#define _GNU_SOURCE
#include "soak.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define QUEUED 20

static volatile sig_atomic_t alarms, usr1, order_wrong;
static volatile int next_value;
static char alt_stack[32768];

static void on_alarm(int sig)
{
	alarms++;
}

static void on_usr1(int sig)
{
	usr1++;
}

static void on_queued(int sig, siginfo_t *info, void *context)
{
	if (info->si_value.sival_int != next_value)
		order_wrong = 1;
	next_value++;
}

static void handle(int sig, void (*fn)(int), void (*fn3)(int, siginfo_t *, void *))
{
	struct sigaction a = { .sa_flags = SA_RESTART | SA_ONSTACK };

	if (fn3) {
		a.sa_sigaction = fn3;
		a.sa_flags |= SA_SIGINFO;
	} else {
		a.sa_handler = fn;
	}
	sigaction(sig, &a, NULL);
}

/* Counts what comes until it has all queued ones and some alarms. */
static void receiver(int ready)
{
	struct itimerval every = { { 0, 3000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	stack_t st = { .ss_sp = alt_stack, .ss_size = sizeof(alt_stack) };
	uint64_t until = now_us() + 100000000ull;

	sigaltstack(&st, NULL);
	handle(SIGALRM, on_alarm, NULL);
	handle(SIGUSR1, on_usr1, NULL);
	handle(SIGRTMIN + 1, NULL, on_queued);
	setitimer(ITIMER_REAL, &every, NULL);
	if (write(ready, "r", 1) != 1)
		_exit(3);
	while (next_value < QUEUED || alarms < 3 || usr1 < 1)
		if (now_us() > until)
			_exit(4);
	setitimer(ITIMER_REAL, &off, NULL);
	_exit(order_wrong ? 5 : 0);
}

/* Stops the child and lets it go on; both are reported. */
static void stop_and_go(pid_t pid)
{
	int status;

	kill(pid, SIGSTOP);
	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		fail("signals: the stop is not reported: %#x", status);
	kill(pid, SIGCONT);
	if (waitpid(pid, &status, WCONTINUED) != pid || !WIFCONTINUED(status))
		fail("signals: the continuation is not reported: %#x", status);
	count(SIGNALS);
}

static void with_queue(struct rng *r)
{
	int fd[2], status;
	char c;
	pid_t pid;

	if (pipe(fd))
		fail("signals: pipe");
	pid = do_fork();
	if (pid == 0)
		receiver(fd[1]);
	if (read(fd[0], &c, 1) != 1)
		fail("signals: the receiver is not ready");
	for (int i = 0; i < QUEUED; i++) {
		while (sigqueue(pid, SIGRTMIN + 1, (union sigval){ .sival_int = i }) &&
		       errno == EAGAIN)
			usleep(100);
		if (rng_below(r, 4) == 0)
			kill(pid, SIGUSR1);
		count(SIGNALS);
	}
	kill(pid, SIGUSR1);
	status = reap(pid);
	if (status)
		fail("signals: the receiver ended with %#x", status);
	close(fd[0]), close(fd[1]);
}

/* A child that spins, sleeps or calls: stopped, continued, killed. */
static void with_stops(struct rng *r)
{
	unsigned how = rng_below(r, 3);
	pid_t pid = do_fork();

	if (pid == 0) {
		handle(SIGUSR1, on_usr1, NULL);
		for (;;) {
			if (how == 0)
				getppid();
			else if (how == 1)
				usleep(500);
		}
	}
	for (unsigned n = rng_below(r, 3); n; n--) {
		nap(r, 3000);
		stop_and_go(pid);
	}
	nap(r, 3000);
	if (rng_below(r, 2))
		kill(pid, SIGSTOP);
	kill(pid, SIGKILL);
	count(KILLS);
	if (reap(pid) != SIGKILL)
		fail("signals: not ended by SIGKILL");
}

void signals_round(struct rng *r)
{
	if (rng_below(r, 2))
		with_queue(r);
	else
		with_stops(r);
}
