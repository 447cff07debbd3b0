/*
 * Round trips between two partners on one CPU: one sends, the other wakes, answers, and the first is
 * awake again. Two context switches each, counted: a round trip without them did not happen.
 *
 * The partners are two processes (fork) or two threads (clone); what they use is the "way".
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

enum way { WAY_PIPE, WAY_EVENTFD, WAY_SOCKET, WAY_FUTEX, WAY_MESSAGE, WAY_SIGNAL };
#define THREADS 0x100

#define WARM_UP 8u

static struct {
	enum way way;
	int threads;
	unsigned rounds; /* the warm-up included */
	int fd[2][2];    /* [direction][end] */
	pid_t pid[2];
	volatile uint32_t over; /* the other one has ended; the kernel clears it for a thread */
} ipc;

/* ---- the ways: side 0 asks, side 1 answers ------------------------------------------------------- */

static void fd_send(int side, uint64_t value)
{
	long n = ipc.way == WAY_EVENTFD ? 8 : 1;

	if (sys3(SYS_write, ipc.fd[side][1], (long)&value, n) != n)
		failed("write");
}

static void fd_receive(int side, uint64_t want)
{
	long n = ipc.way == WAY_EVENTFD ? 8 : 1;
	uint64_t value = 0;

	if (sys3(SYS_read, ipc.fd[!side][0], (long)&value, n) != n)
		failed("read");
	if (value != want)
		claim("what was received", (long)value, (long)want);
}

static long futex(volatile uint32_t *word, int op, uint32_t value, const struct timespec *t)
{
	if (ipc.threads)
		op |= FUTEX_PRIVATE_FLAG;
	return sys6(SYS_futex, (long)word, op, value, (long)t, 0, 0);
}

/* word[side] counts what this side has sent. */
static void futex_send(int side)
{
	shared->word[side]++;
	futex(&shared->word[side], FUTEX_WAKE, 1, NULL);
}

static void futex_receive(int side, uint32_t want)
{
	static const struct timespec too_long = { 2, 0 };

	while (shared->word[!side] != want)
		if (futex(&shared->word[!side], FUTEX_WAIT, want - 1, &too_long) == -ETIMEDOUT)
			missing("a futex in shared memory does not wake another process");
}

static void message_send(int side, uint64_t value)
{
	uint64_t *m = (uint64_t *)shared->message[side];

	for (int i = 0; i < 8; i++)
		m[i] = value + (uint64_t)i;
	futex_send(side);
}

static void message_receive(int side, uint64_t want)
{
	const uint64_t *m = (const uint64_t *)shared->message[!side];

	futex_receive(side, (uint32_t)want);
	for (int i = 0; i < 8; i++)
		if (m[i] != want + (uint64_t)i)
			claim("a word of the message", (long)m[i], (long)want + i);
}

static void signal_receive(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (sys6(SYS_rt_sigtimedwait, (long)&set, 0, 0, 8, 0, 0) != SIGUSR1)
		failed("rt_sigtimedwait");
}

static inline void send_round(int side, unsigned round)
{
	switch (ipc.way) {
	case WAY_FUTEX: futex_send(side); break;
	case WAY_MESSAGE: message_send(side, round); break;
	case WAY_SIGNAL:
		if (sys3(SYS_kill, ipc.pid[!side], SIGUSR1, 0))
			failed("kill");
		break;
	default: fd_send(side, round & 0x7f ? round & 0x7f : 1);
	}
}

static inline void receive_round(int side, unsigned round)
{
	switch (ipc.way) {
	case WAY_FUTEX: futex_receive(side, round); break;
	case WAY_MESSAGE: message_receive(side, round); break;
	case WAY_SIGNAL: signal_receive(); break;
	default: fd_receive(side, round & 0x7f ? round & 0x7f : 1);
	}
}

static int answer(void *arg)
{
	for (unsigned i = 1; i <= ipc.rounds; i++) {
		receive_round(1, i);
		send_round(1, i);
	}
	return 0;
}

/* ---- set-up ------------------------------------------------------------------------------------ */

static void open_ways(void)
{
	for (int i = 0; i < 2; i++) {
		if (ipc.way == WAY_PIPE) {
			must("pipe", sys3(SYS_pipe, (long)ipc.fd[i], 0, 0));
		} else if (ipc.way == WAY_EVENTFD) {
			ipc.fd[i][0] = ipc.fd[i][1] =
				(int)must("eventfd2", sys3(SYS_eventfd2, 0, 0, 0));
		} else if (ipc.way == WAY_SOCKET) {
			must("socketpair",
			     sys6(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, (long)ipc.fd[i], 0, 0));
		}
	}
	if (ipc.way == WAY_SIGNAL) {
		sigset_t set;

		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		sigprocmask(SIG_BLOCK, &set, NULL);
	}
}

static void start_answerer(void)
{
	ipc.pid[0] = getpid();
	if (ipc.threads) {
		char *stack = map_anon(65536);

		touch(stack + 65536 - 2 * PAGE, 2 * PAGE);
		ipc.over = 1;
		if (clone(answer, stack + 65536 - 64,
			  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
				  CLONE_SYSVSEM | CLONE_CHILD_CLEARTID,
			  NULL, NULL, NULL, &ipc.over) < 0)
			result_is("clone", -errno);
		return;
	}
	ipc.pid[1] = fork();
	if (ipc.pid[1] < 0)
		failed("fork");
	if (ipc.pid[1] == 0) {
		answer(NULL);
		_exit(0);
	}
}

static void end_answerer(void)
{
	int status;

	while (ipc.threads && ipc.over)
		sys0(SYS_sched_yield);
	if (!ipc.threads && (waitpid(ipc.pid[1], &status, 0) != ipc.pid[1] || status))
		failed("the partner");
}

/* The control: sent, and received by the sender itself, with nobody to switch to. */
static void control_alone(unsigned n)
{
	if (ipc.way != WAY_PIPE && ipc.way != WAY_EVENTFD)
		return;
	control_begin();
	for (unsigned i = 1; i <= n; i++)
		CONTROL({
			fd_send(0, 1);
			fd_receive(1, 1);
		});
	control_end();
}

static void run_round_trips(const struct bench *b)
{
	long before, gone;

	ipc.way = (enum way)(b->arg & 0xff);
	ipc.threads = !!(b->arg & THREADS);
	ipc.rounds = WARM_UP + b->samples;
	open_ways();
	control_alone(100);
	start_answerer();
	for (unsigned i = 1; i <= WARM_UP; i++) {
		send_round(0, i);
		receive_round(0, i);
	}
	before = switches(RUSAGE_THREAD);
	for (unsigned i = WARM_UP + 1; i <= ipc.rounds; i++)
		TIMED({
			send_round(0, i);
			receive_round(0, i);
		});
	gone = switches(RUSAGE_THREAD) - before;
	end_answerer();
	/* We leave the CPU once a round; a timer may take it away now and then. */
	claim_range("switches away from the asker", gone, b->samples, 2 * b->samples);
	report();
}

/* ---- signals to oneself -------------------------------------------------------------------------- */

static volatile long caught;

static void on_signal(int sig)
{
	caught++;
}

static void run_signal_self(const struct bench *b)
{
	pid_t me = getpid();

	signal(SIGUSR1, on_signal);
	sys3(SYS_kill, me, SIGUSR1, 0);
	caught = 0;
	for (unsigned i = 0; i < b->samples; i++)
		TIMED(sys3(SYS_kill, me, SIGUSR1, 0));
	claim("signals caught", caught, b->samples);
	report();
}

const struct bench bench_ipc[] = {
	{ "pipe.processes", "pipe round trip, processes", run_round_trips, 200, 1, WAY_PIPE },
	{ "pipe.threads", "pipe round trip, threads", run_round_trips, 200, 1, WAY_PIPE | THREADS },
	{ "futex.processes", "futex round trip, processes", run_round_trips, 200, 1, WAY_FUTEX },
	{ "futex.threads", "futex round trip, threads", run_round_trips, 200, 1,
	  WAY_FUTEX | THREADS },
	{ "eventfd.processes", "eventfd round trip, processes", run_round_trips, 200, 1,
	  WAY_EVENTFD },
	{ "eventfd.threads", "eventfd round trip, threads", run_round_trips, 200, 1,
	  WAY_EVENTFD | THREADS },
	{ "socket.processes", "unix socket round trip, processes", run_round_trips, 200, 1,
	  WAY_SOCKET },
	{ "signal.processes", "signal round trip, processes", run_round_trips, 200, 1, WAY_SIGNAL },
	{ "signal.self", "signal to oneself, caught", run_signal_self, 200, 1, 0 },
	{ "message.processes", "64-byte message there and back, processes", run_round_trips, 200, 1,
	  WAY_MESSAGE },
	{ "message.threads", "64-byte message there and back, threads", run_round_trips, 200, 1,
	  WAY_MESSAGE | THREADS },
	{ 0 },
};
