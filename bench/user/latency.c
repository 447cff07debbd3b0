/*
 * Latency. `latency load`: what keeps a kernel long: fork, munmap, mprotect, exec and the end of a process
 * with 1 GiB of touched pages, large pages, big reads, much output; then what /proc/jiffy/latency says of it, on
 * standard error. `latency cyclic [MS]`: what cyclictest measures: threads of three priorities that
 * want to wake at given moments, 1, 2 and 3 ms apart, beside such a load; lines
 * name<TAB>value<TAB>unit.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB     (1ul << 20)
#define GIB     (1ul << 30)
#define THREADS 3
#define MOST    20000

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static char *touched(size_t len, int advice)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED, "mmap");
	madvise(p, len, advice);
	for (size_t i = 0; i < len; i += 4096)
		p[i] = 1;
	return p;
}

static void wait_for(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid && status == 0, "child");
}

static void memory(size_t len)
{
	char *p = touched(len, MADV_NOHUGEPAGE);
	pid_t pid = fork();

	if (pid == 0) {
		p[0] = 2;
		_exit(0);
	}
	wait_for(pid);
	pid = fork(); /* the child changes what it shares, then execs: its space goes */
	if (pid == 0) {
		for (size_t i = 0; i < len; i += 64 * MIB)
			p[i] = 3;
		execl("/proc/self/exe", "latency", "nothing", NULL);
		_exit(1);
	}
	wait_for(pid);
	check(mprotect(p, len, PROT_READ) == 0, "mprotect");
	check(mprotect(p, len, PROT_READ | PROT_WRITE) == 0, "mprotect");
	p[len / 2] = 4;
	check(madvise(p, len / 2, MADV_DONTNEED) == 0, "madvise");
	check(munmap(p, len) == 0, "munmap");
	pid = fork();
	if (pid == 0) { /* its end gives back what only it has */
		touched(len, MADV_NOHUGEPAGE);
		_exit(0);
	}
	wait_for(pid);
	p = touched(len, MADV_HUGEPAGE);
	check(munmap(p, len) == 0, "munmap");
}

static void files(size_t mib)
{
	int fd = open("/latency-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *buf = touched(16 * MIB, MADV_NOHUGEPAGE);

	check(fd >= 0, "open");
	for (size_t i = 0; i < mib / 16; i++)
		check(write(fd, buf, 16 * MIB) == 16 * MIB, "write");
	lseek(fd, 0, SEEK_SET);
	for (size_t i = 0; i < mib / 16; i++)
		check(read(fd, buf, 16 * MIB) == 16 * MIB, "read");
	close(fd);
	unlink("/latency-file");
	munmap(buf, 16 * MIB);
}

static void output(void)
{
	for (int i = 0; i < 300; i++)
		printf("line %d, long enough to keep a serial line busy for a while .....\n", i);
	fflush(stdout);
}

static void copy_file(const char *path)
{
	static char text[1 << 17];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	check(fd >= 0, path);
	while ((n = read(fd, text, sizeof(text))) > 0)
		check(write(2, text, (size_t)n) == n, "write");
	close(fd);
}

static int load(void)
{
	int fd = open("/proc/jiffy/latency", O_WRONLY);

	/* What the boot did, before anybody could wait, does not count. */
	check(fd >= 0 && write(fd, "reset\n", 6) == 6, "/proc/jiffy/latency");
	memory(GIB);
	files(128);
	output();
	check(write(fd, "off", 3) == 3, "/proc/jiffy/latency");
	copy_file("/proc/jiffy/latency");
	return 0;
}

/* ---- cyclic -------------------------------------------------------------------------------------- */

struct cycle {
	pthread_t thread;
	int number;
	long count;
	int64_t late[MOST]; /* ns */
};

static struct cycle cycles[THREADS];
static volatile int over;

static int64_t ns_of(const struct timespec *t)
{
	return t->tv_sec * 1000000000l + t->tv_nsec;
}

static void *run_cycle(void *arg)
{
	struct cycle *c = arg;
	struct sched_param p = { .sched_priority = 80 - c->number };
	int64_t period = (c->number + 1) * 1000000l, next;
	struct timespec now;

	check(pthread_setschedparam(pthread_self(), SCHED_FIFO, &p) == 0, "SCHED_FIFO");
	clock_gettime(CLOCK_MONOTONIC, &now);
	next = ns_of(&now) + period;
	while (!over && c->count < MOST) {
		struct timespec at = { next / 1000000000, next % 1000000000 };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
		c->late[c->count++] = ns_of(&now) - next;
		next += period;
		if (next < ns_of(&now))
			next = ns_of(&now) + period;
	}
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int cyclic(int ms)
{
	pid_t hog = fork();

	if (hog == 0)
		for (;;) {
			memory(128 * MIB);
			files(16);
		}
	for (int i = 0; i < THREADS; i++) {
		cycles[i].number = i;
		check(pthread_create(&cycles[i].thread, NULL, run_cycle, &cycles[i]) == 0,
		      "thread");
	}
	usleep((unsigned)ms * 1000);
	over = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(cycles[i].thread, NULL);
	kill(hog, SIGKILL);
	waitpid(hog, NULL, 0);
	for (int i = 0; i < THREADS; i++) {
		struct cycle *c = &cycles[i];

		check(c->count > 10, "too few cycles");
		qsort(c->late, (size_t)c->count, sizeof(c->late[0]), by_value);
		printf("cyclic.%dms.count\t%ld\tcycles\n", i + 1, c->count);
		printf("cyclic.%dms.min\t%ld\tns\n", i + 1, (long)c->late[0]);
		printf("cyclic.%dms.median\t%ld\tns\n", i + 1, (long)c->late[c->count / 2]);
		printf("cyclic.%dms.p99\t%ld\tns\n", i + 1, (long)c->late[c->count * 99 / 100]);
		printf("cyclic.%dms.max\t%ld\tns\n", i + 1, (long)c->late[c->count - 1]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "load"))
		return load();
	if (argc > 1 && !strcmp(argv[1], "cyclic"))
		return cyclic(argc > 2 ? atoi(argv[2]) : 500);
	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 0;
	fprintf(stderr, "usage: latency load | latency cyclic [MS]\n");
	return 2;
}
