/*
 * Latency. `latency load`: what keeps a kernel long: fork, munmap, mprotect, mremap, madvise, mlock, MAP_FIXED,
 * exec and the end of a process with much touched memory, large pages, mapped files that move and are
 * cut, big reads, much output; then what /proc/jiffy/latency says of it, on
 * standard error. `latency delayed`: the same of what ends behind a grace period where there are several CPUs: page tables, open
 * files. `latency cyclic [MS]`: what cyclictest measures: threads of three priorities that
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

static int threads_over;

static void *run_idle(void *arg)
{
	while (!__atomic_load_n(&threads_over, __ATOMIC_ACQUIRE))
		usleep(1000);
	return arg;
}

/* fork while there is another thread, which must see all of it or nothing. */
static void fork_of_threads(char *p, size_t len)
{
	pthread_t other;
	pid_t pid;

	check(pthread_create(&other, NULL, run_idle, NULL) == 0, "thread");
	pid = fork();
	if (pid == 0)
		_exit(p[len - 4096] != 1);
	wait_for(pid);
	__atomic_store_n(&threads_over, 1, __ATOMIC_RELEASE);
	pthread_join(other, NULL);
}

/* One mapping, and what may be done with all of it. */
static void calls(size_t len)
{
	char *p = touched(len, MADV_NOHUGEPAGE), *q, *room;

	fork_of_threads(p, len);
	for (size_t i = 0; i < len / 2; i += 4096) /* mark and page in turn, too */
		if (i % 8192 == 0)
			check(madvise(p + i, 4096, MADV_DONTNEED) == 0, "madvise");
	check(mlock(p, len) == 0, "mlock");
	check(munlock(p, len) == 0, "munlock");
	check(madvise(p, len, MADV_DONTFORK) == 0, "MADV_DONTFORK");
	check(madvise(p, len, MADV_DOFORK) == 0, "MADV_DOFORK");
	q = mmap(NULL, 2 * len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(q != MAP_FAILED, "mmap");
	for (size_t i = 0; i < len; i += len / 4) /* over something that is touched */
		check(mprotect(q + i, 4096, PROT_READ | PROT_WRITE) == 0 && (q[i] = 1), "mprotect");
	p = mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, q);
	check(p == q && p[len - 4096] == 1, "mremap");
	check(munmap(p + len, len) == 0, "munmap");
	p = mremap(p, len, len + 4096, 0); /* where it is */
	check(p == q, "mremap");
	room = mmap(NULL, len / 4 + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(room != MAP_FAILED, "mmap");
	/* To an address at which tables cannot move as they are. */
	q = mremap(p, len / 4, len / 4, MREMAP_MAYMOVE | MREMAP_FIXED,
		   room + ((room - p) % (2 * MIB) ? 0 : 4096));
	check(q != MAP_FAILED, "mremap");
	check(mmap(p + len / 4, len - len / 4, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) != MAP_FAILED,
	      "MAP_FIXED");
	munmap(p, len + 4096);
	munmap(q, len / 4);
}

/* The same with the pages of a file, which then are cut off. */
static void mapped_file(size_t len)
{
	int fd = open("/latency-mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *p, *q;

	check(fd >= 0 && ftruncate(fd, (off_t)len) == 0, "open");
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(p != MAP_FAILED, "mmap");
	for (size_t i = 0; i < len; i += 4096)
		p[i] = 1;
	check(mprotect(p, len, PROT_READ) == 0, "mprotect");
	q = mremap(p, len, 2 * len, MREMAP_MAYMOVE);
	check(q != MAP_FAILED && q[len - 4096] == 1, "mremap");
	q = mremap(q, 2 * len, 2 * len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	check(q != MAP_FAILED && q[len - 4096] == 1, "mremap");
	check(msync(q, len, MS_SYNC) == 0, "msync");
	check(ftruncate(fd, 4096) == 0, "ftruncate");
	munmap(q, 2 * len);
	close(fd);
	unlink("/latency-mapped");
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

/* A page in each of n page tables, and all of them away at once. */
static void tables(size_t n)
{
	const size_t step = 2 * MIB, len = n * step;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	check(p != MAP_FAILED, "mmap");
	madvise(p, len, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < len; at += step)
		p[at] = 1;
	munmap(p, len);
}

/* n open files, closed at once. */
static void descriptors(int n)
{
	int first = open("/dev/null", O_RDONLY), last = first;

	for (int i = 1; i < n; i++)
		last = open("/dev/null", O_RDONLY);
	check(first >= 0 && last == first + n - 1, "/dev/null");
	for (int fd = first; fd <= last; fd++)
		close(fd);
}

/* Behind a grace period at the latest. */
static void rest(void)
{
	nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
}

static void whole_load(void)
{
	memory(GIB);
	calls(GIB / 2);
	mapped_file(64 * MIB);
	files(128);
	output();
}

static void delayed_load(void)
{
	tables(4096);
	rest();
	descriptors(1000);
	rest();
}

static int measured(void (*work)(void))
{
	int fd = open("/proc/jiffy/latency", O_WRONLY);

	/* What the boot did, before anybody could wait, does not count. */
	check(fd >= 0 && write(fd, "reset\n", 6) == 6, "/proc/jiffy/latency");
	work();
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
		return measured(whole_load);
	if (argc > 1 && !strcmp(argv[1], "delayed"))
		return measured(delayed_load);
	if (argc > 1 && !strcmp(argv[1], "cyclic"))
		return cyclic(argc > 2 ? atoi(argv[2]) : 500);
	if (argc > 1 && !strcmp(argv[1], "nothing"))
		return 0;
	fprintf(stderr, "usage: latency load | latency delayed | latency cyclic [MS]\n");
	return 2;
}
