/*
 * Hackbench: groups of senders and receivers that write and read small messages through pipes. In a group
 * each of 20 senders writes `loops` messages of 100 bytes to each of 20 receivers, over one pipe per receiver. So
 * GROUPS * 40 processes (or threads) wake each other all the time.
 *
 *	hackbench [processes|threads|both] [GROUPS] [LOOPS]
 *
 * Prints two lines for each mode, "hackbench MODE begins" and "hackbench MODE GROUPS LOOPS MILLISECONDS": so the
 * time can be taken from outside as well, where a guest's clock is not to be trusted. Each receiver counts what it got,
 * and a run in which a byte is missing fails. As the first program of a machine it turns that off at its end.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SENDERS 20 /* and as many receivers */
#define BYTES   100
#define STACK   (64 << 10)

static int groups = 10, loops = 1000, use_threads;

struct member {
	int (*pipes)[2]; /* of its group */
	int index;       /* receivers: which pipe; senders: -1 */
};

static int ready[2],
	go[2]; /* pipes: each member writes a byte to ready, and goes when there is one in go */
static int *failed; /* in memory that processes share */

static void fail(const char *what)
{
	perror(what);
	__atomic_store_n(failed, 1, __ATOMIC_SEQ_CST);
}

static void receive(int fd)
{
	long want = (long)SENDERS * loops * BYTES, got = 0;
	char data[BYTES];

	while (got < want) {
		ssize_t n = read(fd, data, (size_t)(want - got < BYTES ? want - got : BYTES));

		if (n <= 0) {
			fail("hackbench: read");
			return;
		}
		got += n;
	}
}

static void send_all(int (*pipes)[2])
{
	char data[BYTES] = { 0 };

	for (int i = 0; i < loops; i++)
		for (int r = 0; r < SENDERS; r++)
			if (write(pipes[r][1], data, BYTES) != BYTES) {
				fail("hackbench: write");
				return;
			}
}

static void *member(void *arg)
{
	struct member *m = arg;
	struct pollfd gone = { .fd = go[0], .events = POLLIN };

	if (write(ready[1], "", 1) != 1 || poll(&gone, 1, -1) != 1)
		fail("hackbench: the start");
	if (m->index >= 0)
		receive(m->pipes[m->index][0]);
	else
		send_all(m->pipes);
	return NULL;
}

static void start(struct member *m, pthread_t *t)
{
	pthread_attr_t attr;

	if (!use_threads) {
		pid_t pid = fork();

		if (pid == 0) {
			member(m);
			_exit(0);
		}
		if (pid < 0)
			fail("hackbench: fork");
		return;
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	if (pthread_create(t, &attr, member, m))
		fail("hackbench: pthread_create");
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void await_members(int n)
{
	char bytes[64];

	while (n > 0 && !*failed) {
		ssize_t got = read(ready[0], bytes, sizeof(bytes));

		if (got <= 0)
			fail("hackbench: the start");
		n -= (int)got;
	}
}

static int run(const char *mode)
{
	int n = groups * 2 * SENDERS, (*pipes)[SENDERS][2] = calloc((size_t)groups, sizeof(*pipes));
	struct member *m = calloc((size_t)n, sizeof(*m));
	pthread_t *t = calloc((size_t)n, sizeof(*t));
	long from;

	use_threads = !strcmp(mode, "threads");
	*failed = 0;
	if (pipe(ready) || pipe(go))
		fail("hackbench: pipe");
	for (int g = 0; g < groups; g++)
		for (int r = 0; r < SENDERS; r++)
			if (pipe(pipes[g][r]))
				fail("hackbench: pipe");
	for (int i = 0; i < n && !*failed; i++) {
		m[i].pipes = pipes[i / (2 * SENDERS)];
		m[i].index = i % (2 * SENDERS) < SENDERS ? i % (2 * SENDERS) : -1;
		start(&m[i], &t[i]);
	}
	await_members(n);
	printf("hackbench %s begins\n", mode);
	fflush(stdout);
	from = now_ms();
	if (write(go[1], "", 1) != 1)
		fail("hackbench: the start");
	for (int i = 0; i < n && !*failed; i++)
		if (use_threads)
			pthread_join(t[i], NULL);
		else
			wait(NULL);
	if (!*failed)
		printf("hackbench %s %d %d %ld\n", mode, groups, loops, now_ms() - from);
	fflush(stdout);
	for (int g = 0; g < groups; g++)
		for (int r = 0; r < SENDERS; r++)
			close_both(pipes[g][r]);
	close_both(ready);
	close_both(go);
	free(pipes);
	free(m);
	free(t);
	return *failed;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "both";
	int status = 0;

	if (argc > 2)
		groups = atoi(argv[2]);
	if (argc > 3)
		loops = atoi(argv[3]);
	if (groups < 1 || groups > 20 || loops < 1 ||
	    (strcmp(mode, "processes") && strcmp(mode, "threads") && strcmp(mode, "both"))) {
		fprintf(stderr,
			"usage: hackbench [processes|threads|both] [GROUPS, 1 to 20] [LOOPS]\n");
		return 2;
	}
	failed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (failed == MAP_FAILED) {
		perror("hackbench: mmap");
		return 1;
	}
	if (strcmp(mode, "threads"))
		status |= run("processes");
	if (strcmp(mode, "processes"))
		status |= run("threads");
	if (getpid() == 1) {
		sync();
		reboot(RB_POWER_OFF);
	}
	return status;
}
