/*
 * scale [--only ITEM]: how much work a unit of work is, when each CPU does its own.
 *
 * The items are those of the well-known will-it-scale, as threads of one process and as processes, on Linux's
 * system calls alone: N workers, one pinned to each CPU, each doing units on memory, files and pipes of its
 * own. Between the marks (where.h) nothing else runs, so the instructions of all CPUs, which
 * tools/plugin/work.c counts, divided by workers * units are what a unit costs. That should not depend on how
 * many CPUs there are (bench/scale compares).
 *
 * Output: ITEM MODE WORKERS UNITS TICKS KIND, tabs between. TICKS of the time-stamp counter tell something
 * about a machine whose CPUs run side by side. KIND: disjoint, or shared: workers meet
 * in one thing by what they do (the break of their process, the space that is copied): no promise is made.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "where.h"

#define PAGE    4096ul
#define MIB     (1ul << 20)
#define MAX_CPU 64

enum { FUTEX_WAIT, FUTEX_WAKE, FUTEX_PRIVATE = 128 };

struct worker {
	int cpu;
	char *memory;
	int file;
	int there[2], back[2]; /* pipes */
	volatile int word;     /* a futex */
};

enum { THREADS = 1, PROCESSES = 2 };

struct item {
	const char *name;
	int units; /* that one call of `work` does */
	int calls; /* after one to warm up */
	void (*prepare)(struct worker *w);
	void (*work)(struct worker *w);
	int shared; /* who meets in one thing: THREADS, PROCESSES */
	int pair;   /* two of them work together on each CPU */
};

/* In memory that processes share. */
struct meeting {
	volatile int ready __attribute__((aligned(128)));
	volatile int go __attribute__((aligned(128)));
	volatile int done __attribute__((aligned(128)));
};

static struct meeting *meet;
static int workers;

static __attribute__((noreturn)) void die(const char *what)
{
	perror(what);
	_exit(1);
}

static uint64_t stamp(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

static void futex(volatile int *word, int op, int value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* Asleep, so that it costs no instructions. */
static void await(volatile int *word, int value)
{
	int now;

	while ((now = __atomic_load_n(word, __ATOMIC_ACQUIRE)) < value)
		futex(word, FUTEX_WAIT, now);
}

static void arrive(volatile int *word, int of)
{
	if (__atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST) == of)
		futex(word, FUTEX_WAKE, MAX_CPU);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

/* ---- the items --------------------------------------------------------------------------------- */

#define AREA (2 * MIB)

static char *map(unsigned long size, int flags, int file)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, file, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void touch_and_unmap(char *p)
{
	for (unsigned long i = 0; i < AREA; i += PAGE)
		*(volatile char *)(p + i) = 1;
	if (munmap(p, AREA))
		die("munmap");
}

static void own_file(struct worker *w)
{
	w->file = (int)syscall(SYS_memfd_create, "scale", 0);
	if (w->file < 0 || ftruncate(w->file, AREA))
		die("memfd_create");
}

static void page_fault1(struct worker *w)
{
	char *p = map(AREA, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(p, AREA, MADV_NOHUGEPAGE);
	touch_and_unmap(p);
}

static void page_fault2(struct worker *w)
{
	touch_and_unmap(map(AREA, MAP_PRIVATE, w->file));
}

static void page_fault3(struct worker *w)
{
	touch_and_unmap(map(AREA, MAP_SHARED, w->file));
}

static void mmap1(struct worker *w)
{
	for (int i = 0; i < 64; i++)
		munmap(map(128 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1), 128 * MIB);
}

static void mmap2(struct worker *w)
{
	for (int i = 0; i < 64; i++)
		munmap(map(AREA, MAP_PRIVATE, w->file), AREA);
}

static void brk1(struct worker *w)
{
	long at = syscall(SYS_brk, 0);

	for (int i = 0; i < 64; i++) {
		syscall(SYS_brk, at + PAGE);
		syscall(SYS_brk, at);
	}
}

static void two_pipes(struct worker *w)
{
	if (pipe(w->there) || pipe(w->back))
		die("pipe");
}

static void one_byte(int from, int to)
{
	char c = 0;

	if (read(from, &c, 1) != 1 || write(to, &c, 1) != 1)
		die("pipe");
}

static void context_switch1(struct worker *w)
{
	char c = 0;

	for (int i = 0; i < 64; i++) {
		if (write(w->there[1], &c, 1) != 1 || read(w->back[0], &c, 1) != 1)
			die("pipe");
	}
}

static void futex1(struct worker *w)
{
	for (int i = 0; i < 256; i++)
		futex(&w->word, FUTEX_WAKE | FUTEX_PRIVATE, 1);
}

static void pipe1(struct worker *w)
{
	char text[512] = { 0 };

	for (int i = 0; i < 128; i++) {
		if (write(w->there[1], text, sizeof(text)) != sizeof(text) ||
		    read(w->there[0], text, sizeof(text)) != sizeof(text))
			die("pipe");
	}
}

static void fork1(struct worker *w)
{
	for (int i = 0; i < 8; i++) {
		pid_t child = (pid_t)syscall(SYS_fork);

		if (child == 0)
			syscall(SYS_exit_group, 0);
		if (child < 0 || waitpid(child, NULL, 0) != child)
			die("fork");
	}
}

static void yield(struct worker *w)
{
	for (int i = 0; i < 256; i++)
		sched_yield();
}

static const struct item items[] = {
	{ "page_fault1", AREA / PAGE, 3, NULL, page_fault1, 0, 0 },
	{ "page_fault2", AREA / PAGE, 3, own_file, page_fault2, 0, 0 },
	{ "page_fault3", AREA / PAGE, 3, own_file, page_fault3, 0, 0 },
	{ "mmap1", 64, 4, NULL, mmap1, 0, 0 },
	{ "mmap2", 64, 4, own_file, mmap2, 0, 0 },
	{ "brk1", 64, 4, NULL, brk1, THREADS, 0 },
	{ "context_switch1", 64, 8, two_pipes, context_switch1, 0, 1 },
	{ "futex1", 256, 4, NULL, futex1, 0, 0 },
	{ "pipe1", 128, 4, two_pipes, pipe1, 0, 0 },
	{ "fork1", 8, 32, NULL, fork1, THREADS, 0 },
	{ "sched_yield", 256, 16, NULL, yield, 0, 0 },
};

/* ---- workers ----------------------------------------------------------------------------------- */

static const struct item *item;

/* The other half of a pair, on the same CPU: it ends when the pipe does. */
static void *answer(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < item->units * (item->calls + 1); i++)
		one_byte(w->there[0], w->back[1]);
	return NULL;
}

static void start_partner(struct worker *w, int threads)
{
	pthread_t id;
	pid_t pid;

	if (threads) {
		if (pthread_create(&id, NULL, answer, w))
			die("pthread_create");
		return;
	}
	pid = fork();
	if (pid == 0) {
		answer(w);
		_exit(0);
	}
	if (pid < 0)
		die("fork");
}

static void worker(int cpu, int threads)
{
	struct worker w = { .cpu = cpu };

	pin(cpu);
	if (item->prepare)
		item->prepare(&w);
	if (item->pair)
		start_partner(&w, threads);
	item->work(&w);
	arrive(&meet->ready, workers);
	await(&meet->go, 1);
	for (int i = 0; i < item->calls; i++)
		item->work(&w);
	arrive(&meet->done, workers);
}

static void *worker_thread(void *arg)
{
	worker((int)(long)arg, 1);
	return NULL;
}

static void start_worker(int cpu, int threads)
{
	pthread_t id;
	pid_t pid;

	if (threads) {
		if (pthread_create(&id, NULL, worker_thread, (void *)(long)cpu))
			die("pthread_create");
		return;
	}
	pid = fork();
	if (pid == 0) {
		worker(cpu, 0);
		_exit(0);
	}
	if (pid < 0)
		die("fork");
}

/* In a process of its own, which ends with all its threads. */
static void measure(int threads)
{
	uint64_t start, ticks;

	memset(meet, 0, sizeof(*meet));
	pin(0);
	for (int cpu = 0; cpu < workers; cpu++)
		start_worker(cpu, threads);
	await(&meet->ready, workers);
	usleep(20000); /* all asleep, and what the last item left behind is cleared away */
	where_only = item->name;
	where_begin(item->name);
	start = stamp();
	__atomic_store_n(&meet->go, 1, __ATOMIC_SEQ_CST);
	futex(&meet->go, FUTEX_WAKE, MAX_CPU);
	await(&meet->done, workers);
	ticks = stamp() - start;
	where_end();
	printf("%s\t%s\t%d\t%d\t%lu\t%s\n", item->name, threads ? "threads" : "processes", workers,
	       item->units * item->calls, ticks,
	       item->shared & (threads ? THREADS : PROCESSES) ? "shared" : "disjoint");
	fflush(stdout);
	if (!threads)
		while (wait(NULL) > 0)
			;
	_exit(0);
}

int main(int argc, char **argv)
{
	const char *only = argc == 3 && !strcmp(argv[1], "--only") ? argv[2] : NULL;
	int bad = 0, known = 0;

	workers = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if ((argc > 1 && !only) || workers > MAX_CPU) {
		fprintf(stderr, "usage: scale [--only ITEM], on at most %d CPUs\n", MAX_CPU);
		return 2;
	}
	meet = (void *)map(sizeof(*meet), MAP_SHARED | MAP_ANONYMOUS, -1);
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		item = &items[i];
		if (only && strcmp(only, item->name))
			continue;
		known = 1;
		for (int threads = 0; threads < 2; threads++) {
			int status;
			pid_t pid = fork();

			if (pid == 0)
				measure(threads);
			if (pid < 0 || waitpid(pid, &status, 0) != pid)
				die("fork");
			bad |= status != 0;
		}
	}
	if (!known)
		fprintf(stderr, "scale: there is no item '%s'\n", only);
	return bad || !known ? 1 : 0;
}
