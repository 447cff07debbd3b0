/*
 * Pipes, FIFOs, poll, select and eventfd: sizes, ends that close, whole small writes, a megabyte
 * under a timer, interrupted waits, time-outs, signal masks, vectors, a chain of sixty processes, and
 * registers, which no call changes.
 * What a full pipe takes beyond a page's boundary is left out: Linux counts pages, Jiffy bytes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

static int ends[2];
static char buf[70000];
static volatile int count;
static uint64_t seed = 1;

static unsigned number(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33);
}

static void counts(int sig)
{
	count++;
}

static void set_handler(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

static void timer_ms(int first, int every)
{
	struct itimerval it = { { 0, every * 1000 }, { 0, first * 1000 } };

	setitimer(ITIMER_REAL, &it, NULL);
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap_ms(int ms)
{
	poll(NULL, 0, ms);
}

static void new_pipe(void)
{
	if (pipe(ends))
		SAY("pipe: errno %d\n", errno);
}

static void close_pipe(void)
{
	close(ends[0]);
	close(ends[1]);
}

static void not_blocking(int fd, int on)
{
	fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0);
}

static void say_status(const char *what, pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	SAY("%s: status %x\n", what, status);
}

/* ---- what fits ------------------------------------------------------------------------------ */

static void sizes(void)
{
	int n;

	new_pipe();
	not_blocking(ends[1], 1);
	TRY(fcntl(ends[0], F_GETPIPE_SZ));
	TRY(write(ends[1], buf, 70000));
	TRY(write(ends[1], buf, 1));
	TRY(read(ends[0], buf, 4096));
	TRY(write(ends[1], buf, 5000));
	ioctl(ends[0], FIONREAD, &n);
	SAY("%d in it\n", n);
	TRY(lseek(ends[0], 0, SEEK_SET));
	TRY(pread(ends[0], buf, 1, 0));
	TRY(write(ends[0], buf, 1));
	TRY(read(ends[1], buf, 1));
	TRY(read(ends[0], buf, 0));
	TRY(write(ends[1], buf, 0));
	close(ends[1]);
	TRY(read(ends[0], buf, 70000));
	TRY(read(ends[0], buf, 70000));
	close(ends[0]);
	new_pipe();
	not_blocking(ends[1], 1);
	for (n = 0; write(ends[1], buf, 1) == 1; n++)
		;
	SAY("%d single bytes\n", n);
	close_pipe();
}

static void nobody_reads(void)
{
	struct pollfd p = { .events = POLLIN | POLLOUT };
	pid_t pid;
	int n;

	set_handler(SIGPIPE, counts, 0);
	new_pipe();
	close(ends[0]);
	TRY(write(ends[1], buf, 5));
	SAY("%d signals\n", count);
	signal(SIGPIPE, SIG_IGN);
	TRY(write(ends[1], buf, 5));
	p.fd = ends[1];
	TRY(poll(&p, 1, 0));
	SAY("events %x\n", p.revents);
	close(ends[1]);

	new_pipe();
	pid = fork();
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		close(ends[0]);
		while (write(ends[1], buf, 1000) > 0)
			;
		_exit(1);
	}
	close(ends[1]);
	TRY(read(ends[0], buf, 500));
	close(ends[0]);
	say_status("a writer without a reader", pid);

	new_pipe();
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		write(ends[1], buf, 60000); /* the second waits, and finds the reader gone */
		_exit(write(ends[1], buf, 60000) > 0 ? 1 : errno == EPIPE ? 2 : 3);
	}
	close(ends[1]);
	do /* until the second has begun: then it waits, or is about to */
		ioctl(ends[0], FIONREAD, &n);
	while (n <= 60000);
	close(ends[0]);
	say_status("one that waited", pid);
}

/* ---- much data ------------------------------------------------------------------------------ */

#define MUCH (1 << 20)
static char out[MUCH], in[MUCH];

static int write_much(void)
{
	size_t done = 0;

	while (done < MUCH) {
		size_t n = 1 + number() % (number() % 4 ? 9000 : 200000);
		ssize_t ret = write(ends[1], out + done, n < MUCH - done ? n : MUCH - done);

		if (ret < 0 && errno != EINTR)
			return 1;
		if (ret > 0)
			done += (size_t)ret;
	}
	return 0;
}

static void under_a_timer(void)
{
	size_t done = 0;
	ssize_t ret = 1;
	pid_t pid;

	for (int i = 0; i < MUCH; i++)
		out[i] = (char)(i * 31 + i / 4096);
	new_pipe();
	pid = fork();
	set_handler(SIGALRM, counts, pid ? 0 : SA_RESTART);
	timer_ms(1, 1);
	if (pid == 0) {
		close(ends[0]);
		_exit(write_much());
	}
	close(ends[1]);
	seed = 7;
	while (ret != 0) {
		size_t n = 1 + number() % (number() % 4 ? 5000 : 100000);

		ret = read(ends[0], in + done, n < MUCH - done ? n : MUCH - done + !(MUCH - done));
		if (ret > 0)
			done += (size_t)ret;
		else if (ret < 0 && errno != EINTR)
			break;
	}
	timer_ms(0, 0);
	say_status("writer", pid);
	SAY("%zu bytes, %s\n", done, memcmp(in, out, MUCH) ? "other ones" : "the same");
	close(ends[0]);
}

/* Eight writers; each message begins with its length in two bytes of seven bits. */
static void send_messages(int who)
{
	char message[4096];

	for (int k = 0; k < 30; k++) {
		unsigned n = 3 + (number() + (unsigned)who * 97) % 4094;

		memset(message, 'a' + who, n);
		message[0] = (char)(n & 127);
		message[1] = (char)(n >> 7);
		if (write(ends[1], message, n) != (ssize_t)n)
			_exit(1);
	}
	_exit(0);
}

static void whole_messages(void)
{
	int messages = 0, torn = 0, status, c;
	FILE *f;

	new_pipe();
	for (int i = 0; i < 8; i++) {
		if (fork() == 0)
			send_messages(i);
	}
	close(ends[1]);
	f = fdopen(ends[0], "r");
	for (; (c = getc(f)) != EOF; messages++) {
		int n = c | getc(f) << 7, who = getc(f);

		for (int k = 3; k < n; k++)
			torn += getc(f) != who;
	}
	fclose(f);
	while (wait(&status) > 0)
		torn += status != 0;
	SAY("%d messages, %d torn\n", messages, torn);
}

/* Each process of the chain adds one to every byte. */
static void chain(void)
{
	int from, next[2], wrong = 0, total = 0, ended = 0;
	ssize_t n;

	new_pipe();
	from = ends[0];
	for (int i = 0; i < 60; i++) {
		if (pipe(next))
			return;
		if (fork() == 0) {
			close(ends[1]);
			close(next[0]);
			while ((n = read(from, buf, 100)) > 0) {
				for (int k = 0; k < n; k++)
					buf[k]++;
				if (write(next[1], buf, (size_t)n) != n)
					_exit(1);
			}
			_exit(0);
		}
		close(from);
		close(next[1]);
		from = next[0];
	}
	for (int i = 0; i < 50; i++) {
		memset(buf, i, 20);
		write(ends[1], buf, 20);
	}
	close(ends[1]);
	while ((n = read(from, buf, 1000)) > 0) {
		for (int k = 0; k < n; k++, total++)
			wrong += buf[k] != total / 20 + 60;
	}
	close(from);
	while (wait(NULL) > 0)
		ended++;
	SAY("%d bytes, %d wrong, %d processes\n", total, wrong, ended);
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void interrupted(void)
{
	struct timespec t = { 0, 200000000 }, left = { 0, 0 };
	struct pollfd p = { .events = POLLIN };
	pid_t pid;
	fd_set set;

	new_pipe();
	p.fd = ends[0];
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	set_handler(SIGALRM, counts, 0);
	timer_ms(20, 0);
	TRY(read(ends[0], buf, 1));
	p.revents = 77;
	timer_ms(20, 0);
	TRY(poll(&p, 1, 5000));
	SAY("events %x\n", p.revents);
	timer_ms(20, 0);
	TRY(select(ends[0] + 1, &set, NULL, NULL, NULL));
	write(ends[1], buf, 65536);
	timer_ms(20, 0);
	TRY(write(ends[1], buf, 1));
	TRY(read(ends[0], buf, 8192));
	timer_ms(20, 0);
	TRY(write(ends[1], buf, 20000));
	set_handler(SIGALRM, counts, SA_RESTART); /* never for these two */
	timer_ms(20, 0);
	TRY(poll(&p, 0, 5000));
	timer_ms(20, 0);
	TRY(nanosleep(&t, &left));
	SAY("time left: %d\n", left.tv_nsec > 0 && left.tv_nsec < 200000000);
	close_pipe();

	new_pipe();
	count = 0;
	pid = fork();
	if (pid == 0) {
		nap_ms(60);
		_exit(write(ends[1], "x", 1) != 1);
	}
	timer_ms(20, 0);
	TRY(read(ends[0], buf, 10));
	SAY("%d signals meanwhile\n", count);
	say_status("writer", pid);
	close_pipe();
}

static void time_outs(void)
{
	struct timespec t = { 0, 20000000 };
	struct timeval tv = { 0, 40000 };
	struct pollfd p = { .events = POLLIN };
	long from = now_ms();
	fd_set set;

	new_pipe();
	p.fd = ends[0];
	TRY(poll(NULL, 0, 50));
	TRY(poll(&p, 1, 30));
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	TRY(select(ends[0] + 1, &set, NULL, NULL, &tv));
	SAY("set %d, time left %ld\n", FD_ISSET(ends[0], &set) != 0, (long)tv.tv_usec);
	TRY(ppoll(&p, 1, &t, NULL));
	SAY("long enough: %d\n", now_ms() - from >= 50 + 30 + 40 + 20);
	TRY(poll(&p, 1, 0));
	close_pipe();
}

/* While one waits, another changes what will be asked the next time. */
static void asked_meanwhile(void)
{
	struct pollfd *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	new_pipe();
	*p = (struct pollfd){ .fd = ends[0], .events = POLLIN, .revents = 77 };
	pid = fork();
	if (pid == 0) {
		nap_ms(50);
		p->fd = -7;
		p->events = POLLPRI;
		_exit(write(ends[1], "x", 1) != 1);
	}
	TRY(poll(p, 1, 5000));
	SAY("descriptor %d, events %x, %x\n", p->fd, p->events, p->revents);
	waitpid(pid, NULL, 0);
	munmap(p, sizeof(*p));
	close_pipe();
}

static void what_is_ready(void)
{
	struct timeval tv = { -1, 0 };
	struct pollfd p[4] = { { .events = POLLIN },
			       { .events = POLLOUT },
			       { .fd = -1, .events = POLLIN, .revents = 77 },
			       { .fd = 999, .events = POLLIN } };
	pid_t pid;
	fd_set set;

	new_pipe();
	p[0].fd = ends[0];
	p[1].fd = ends[1];
	TRY(poll(p, 4, -1));
	SAY("events %x %x %x %x\n", p[0].revents, p[1].revents, p[2].revents, p[3].revents);
	TRY(select(0, NULL, NULL, NULL, &tv));
	TRY(select(-1, NULL, NULL, NULL, NULL));
	TRY(syscall(SYS_poll, 16, 1, 0));
	TRY(syscall(SYS_poll, 0, 2000000, 0));
	pid = fork();
	if (pid == 0) {
		nap_ms(30);
		write(ends[1], "abc", 3);
		nap_ms(30);
		_exit(0);
	}
	close(ends[1]);
	TRY(poll(p, 1, 5000));
	SAY("events %x\n", p[0].revents);
	TRY(read(ends[0], buf, 10));
	TRY(poll(p, 1, 5000));
	SAY("events %x\n", p[0].revents);
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	TRY(select(ends[0] + 1, &set, NULL, NULL, NULL));
	say_status("writer", pid);
	close(ends[0]);
}

/* A pending signal that only the call's mask lets in: EINTR, even without a time to wait. */
static void masks(void)
{
	struct timespec t = { 5, 0 }, none = { 0, 0 };
	sigset_t blocked, empty;

	sigemptyset(&empty);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	set_handler(SIGUSR1, counts, 0);
	count = 0;
	kill(getpid(), SIGUSR1);
	TRY(ppoll(NULL, 0, &t, &empty));
	kill(getpid(), SIGUSR1);
	TRY(pselect(0, NULL, NULL, NULL, &t, &empty));
	kill(getpid(), SIGUSR1);
	TRY(ppoll(NULL, 0, &none, &empty));
	kill(getpid(), SIGUSR1);
	TRY(pselect(0, NULL, NULL, NULL, &none, &empty));
	TRY(ppoll(NULL, 0, &none, &empty));
	kill(getpid(), SIGUSR1);
	TRY(sigsuspend(&empty));
	SAY("%d signals\n", count);
	sigprocmask(SIG_UNBLOCK, &blocked, NULL);
	SAY("%d signals\n", count);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static void vectors(void)
{
	struct iovec v[4] = { { "ab", 2 }, { "", 0 }, { "cde", 3 }, { (void *)16, 4 } };
	struct iovec into[3] = { { buf, 3 }, { NULL, 0 }, { buf + 10, 20 } };

	new_pipe();
	TRY(writev(ends[1], v, 3));
	TRY(writev(ends[1], v, 4));
	TRY(writev(ends[1], v, 0));
	TRY(syscall(SYS_writev, ends[1], v, -1));
	TRY(syscall(SYS_writev, ends[1], v, 1025));
	v[0].iov_len = (size_t)-1;
	TRY(writev(ends[1], v, 2));
	TRY(readv(ends[0], into, 3));
	SAY("%.3s %.2s\n", buf, buf + 10);
	TRY(write(ends[1], "12345678", 8));
	TRY(syscall(SYS_read, ends[0], 16, 4));
	TRY(read(ends[0], buf, 100));
	/* A later buffer is bad: nothing of what did not arrive is lost. */
	TRY(write(ends[1], "0123456789", 10));
	into[1] = (struct iovec){ (void *)16, 4 };
	TRY(readv(ends[0], into, 3));
	into[1] = (struct iovec){ buf + 5, 4 };
	TRY(readv(ends[0], into, 3));
	SAY("%.3s %.4s %.3s\n", buf, buf + 5, buf + 10);
	close_pipe();
}

#define FIFO "/tmp/pipes.test"
static void fifo(void)
{
	struct pollfd p = { .events = POLLIN };
	int reader, both;
	pid_t pid;

	unlink(FIFO);
	TRY(mkfifo(FIFO, 0600));
	TRY(open(FIFO, O_WRONLY | O_NONBLOCK));
	pid = fork();
	if (pid == 0) {
		nap_ms(20);
		_exit(write(open(FIFO, O_WRONLY), "fifo", 4) != 4);
	}
	reader = open(FIFO, O_RDONLY);
	TRY(read(reader, buf, 10));
	TRY(read(reader, buf, 10));
	say_status("writer", pid);
	both = open(FIFO, O_RDWR);
	TRY(write(both, "x", 1));
	p.fd = reader;
	TRY(poll(&p, 1, 0));
	SAY("events %x\n", p.revents);
	close(reader);
	close(both);
	/* Who comes when the writers have gone waits for the next one. */
	p.fd = reader = open(FIFO, O_RDONLY | O_NONBLOCK);
	TRY(poll(&p, 1, 0));
	SAY("events %x\n", p.revents);
	close(open(FIFO, O_WRONLY));
	TRY(poll(&p, 1, 0));
	SAY("events %x\n", p.revents);
	close(reader);
	set_handler(SIGALRM, counts, 0);
	timer_ms(20, 0);
	TRY(open(FIFO, O_RDONLY));
	timer_ms(0, 0);
	TRY(unlink(FIFO));
}

/* A child that waits in open, runs before us as soon as we wake it, does what it has to, and is gone. */
static pid_t hasty_partner(int flags)
{
	struct sched_param first = { .sched_priority = 10 };
	pid_t pid = fork();
	int fd;

	if (pid == 0) {
		(void)syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &first); /* musl has a stub */
		fd = open(FIFO, flags);
		_exit(flags == O_WRONLY && write(fd, "hasty", 5) != 5);
	}
	nap_ms(20);
	return pid;
}

/* Who finds a partner at the other end has found it, though that may be gone when the open returns. */
static void partner_gone(void)
{
	int fd;
	pid_t pid;

	TRY(mkfifo(FIFO, 0600));
	set_handler(SIGALRM, counts, 0);
	set_handler(SIGPIPE, SIG_IGN, 0);
	timer_ms(5000, 0);
	pid = hasty_partner(O_WRONLY);
	fd = open(FIFO, O_RDONLY);
	TRY(fd < 0);
	TRY(read(fd, buf, 10));
	close(fd);
	say_status("writer", pid);
	pid = hasty_partner(O_RDONLY);
	fd = open(FIFO, O_WRONLY);
	TRY(fd < 0);
	say_status("reader", pid);
	TRY(write(fd, "x", 1));
	close(fd);
	timer_ms(0, 0);
	TRY(unlink(FIFO));
}

static void counter(void)
{
	struct pollfd p = { .events = POLLIN | POLLOUT };
	uint64_t value = 0;
	int fd = eventfd(3, 0);

	TRY(read(fd, &value, 8));
	SAY("%lu\n", (unsigned long)value);
	TRY(read(fd, &value, 7));
	value = UINT64_MAX;
	TRY(write(fd, &value, 8));
	value = UINT64_MAX - 1;
	not_blocking(fd, 1);
	TRY(write(fd, &value, 8));
	TRY(write(fd, &value, 8));
	p.fd = fd;
	TRY(poll(&p, 1, 0));
	SAY("events %x\n", p.revents);
	TRY(read(fd, &value, 8));
	TRY(read(fd, &value, 8));
	close(fd);
}

/* ---- registers ---- */

enum { RDI, RSI, RDX, RBX, RBP, R8, R9, R10, R12, R13, R14, R15, REGISTERS };

struct around {
	uint64_t nr, before[REGISTERS], after[REGISTERS];
	long result;
};

/* A system call with these registers, and what it leaves in them. */
void call_around(struct around *a);
__asm__(".text\n"
	"call_around:\n\t"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n\t"
	"mov (%rdi), %rax\n\t"
	"mov 16(%rdi), %rsi; mov 24(%rdi), %rdx; mov 32(%rdi), %rbx; mov 40(%rdi), %rbp\n\t"
	"mov 48(%rdi), %r8; mov 56(%rdi), %r9; mov 64(%rdi), %r10; mov 72(%rdi), %r12\n\t"
	"mov 80(%rdi), %r13; mov 88(%rdi), %r14; mov 96(%rdi), %r15; mov 8(%rdi), %rdi\n\t"
	"syscall\n\t"
	"mov (%rsp), %rcx\n\t"
	"mov %rdi, 104(%rcx); mov %rsi, 112(%rcx); mov %rdx, 120(%rcx); mov %rbx, 128(%rcx)\n\t"
	"mov %rbp, 136(%rcx); mov %r8, 144(%rcx); mov %r9, 152(%rcx); mov %r10, 160(%rcx)\n\t"
	"mov %r12, 168(%rcx); mov %r13, 176(%rcx); mov %r14, 184(%rcx); mov %r15, 192(%rcx)\n\t"
	"mov %rax, 200(%rcx)\n\t"
	"pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n\t"
	"ret");

/* 1 if the call did not give `want`, or changed a register. */
static int changes(long nr, long a, void *b, long c, long want)
{
	struct around r = { .nr = (uint64_t)nr };

	for (int i = RBX; i < REGISTERS; i++)
		r.before[i] = (uint64_t)number() << 32 | number();
	r.before[RDI] = (uint64_t)a;
	r.before[RSI] = (uint64_t)b;
	r.before[RDX] = (uint64_t)c;
	call_around(&r);
	return (want && r.result != want) || memcmp(r.before, r.after, sizeof(r.before)) != 0;
}

#define TURNS 2000

/* Both ends of a conversation in which each read waits: the other process runs with its registers meanwhile. */
static int converse(int in, int out, int first)
{
	int bad = 0;
	char c = 0;

	for (int i = 0; i < TURNS; i++) {
		if (first)
			bad += changes(SYS_write, out, &c, 1, 1);
		bad += changes(SYS_read, in, &c, 1, 1);
		if (!first)
			bad += changes(SYS_write, out, &c, 1, 1);
		bad += changes(SYS_getppid, 0, NULL, 0, 0);
		bad += changes(SYS_close, -1, NULL, 0, -EBADF);
	}
	return bad;
}

static void registers(void)
{
	int there[2], back[2], status = -1, bad;

	if (pipe(there) || pipe(back))
		SAY("pipe: errno %d\n", errno);
	set_handler(SIGALRM, counts, SA_RESTART);
	pid_t child = fork();
	seed += (uint64_t)child;
	timer_ms(1, 1); /* ways back by signals and restarts, too */
	bad = child ? converse(back[0], there[1], 1) : converse(there[0], back[1], 0);
	timer_ms(0, 0);
	if (child == 0)
		_exit(bad != 0);
	waitpid(child, &status, 0);
	SAY("asked: %d changed, answered: %d\n", bad, status);
	close(there[0]);
	close(there[1]);
	close(back[0]);
	close(back[1]);
}

int main(void)
{
	SAY("#: sizes\n");
	sizes();
	SAY("#: nobody reads\n");
	nobody_reads();
	SAY("#: a megabyte under a timer\n");
	under_a_timer();
	SAY("#: whole messages\n");
	whole_messages();
	SAY("#: a chain\n");
	chain();
	SAY("#: interrupted\n");
	interrupted();
	SAY("#: time-outs\n");
	time_outs();
	SAY("#: what is ready\n");
	what_is_ready();
	asked_meanwhile();
	SAY("#: masks\n");
	masks();
	SAY("#: vectors\n");
	vectors();
	SAY("#: a FIFO\n");
	fifo();
	SAY("#: a FIFO whose partner has gone\n");
	partner_gone();
	SAY("#: a counter\n");
	counter();
	SAY("#: registers\n");
	registers();
	return 0;
}
