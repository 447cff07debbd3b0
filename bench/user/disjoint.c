/*
 * disjoint threads|processes SPACING [ROUNDS]: each CPU works on memory of its own.
 *
 * One worker for each CPU, pinned to it: threads of one process, or processes. A worker maps 1 MiB at
 * an address that nobody else uses (SPACING MiB from the next one's: 2, as near as ranges can be
 * without sharing a page table, or 1024; 0 is the control: 64 KiB each, all in one page table), writes and reads its pages, protects, unprotects, discards and
 * unmaps them; ROUNDS times, and lets
 * the kernel choose a place for some more. All begin together, when each has done two rounds to warm up.
 *
 * Output: what /proc/jiffy/locks and the fault counters say of the time between, name and number; the
 * kernel's word for "did these threads get into each other's way?". On a kernel without that file: only
 * that it was done. The marks are for ./jiffy bench --lines (tools/plugin/lines.c).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "where.h"

#define MIB    (1ul << 20)
#define PAGE   4096ul
#define BASE   0x100000000000ul
#define WARMUP 2

/* In memory that processes share. Each word on a line of its own. */
struct meeting {
	struct {
		volatile int n __attribute__((aligned(128)));
	} ready, go, done, end;
};

static struct meeting *meet;
static int workers, rounds = 20;
static unsigned long spacing, range = MIB;

static __attribute__((noreturn)) void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static void await(volatile int *word, int value)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < value)
		__builtin_ia32_pause();
}

/* Where the kernel puts it: each thread should have a place for itself. */
static void anywhere(unsigned long size, unsigned long touched)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	for (unsigned long i = 0; i < touched; i += PAGE)
		*(volatile char *)(p + i) = 1;
	if (munmap(p, size))
		die("munmap");
}

static void one_round(char *p)
{
	volatile char *v = p;

	anywhere(64 * 1024, 64 * 1024);
	anywhere(MIB, 0);
	anywhere(128 * MIB, 0);

	if (mmap(p, range, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != p)
		die("mmap");
	for (unsigned long i = 0; i < range / 2; i += PAGE)
		v[i] = 1;
	for (unsigned long i = range / 2; i < range; i += PAGE)
		if (v[i])
			_exit(2);
	if (mprotect(p, range / 4, PROT_READ))
		die("mprotect");
	if (mprotect(p, range / 4, PROT_READ | PROT_WRITE))
		die("mprotect");
	if (madvise(p, range / 8, MADV_DONTNEED))
		die("madvise");
	for (unsigned long i = 0; i < range / 4; i += PAGE)
		v[i] = 2;
	if (munmap(p, range))
		die("munmap");
}

static void work(int self)
{
	char *p = (char *)BASE + (unsigned long)self * spacing;

	pin(self);
	for (int i = 0; i < WARMUP; i++)
		one_round(p);
	__atomic_fetch_add(&meet->ready.n, 1, __ATOMIC_SEQ_CST);
	await(&meet->go.n, 1);
	for (int i = 0; i < rounds; i++)
		one_round(p);
	__atomic_fetch_add(&meet->done.n, 1, __ATOMIC_SEQ_CST);
	await(&meet->end.n, 1);
}

static void *thread(void *arg)
{
	work((int)(long)arg);
	return NULL;
}

/* ---- what the kernel counted ----------------------------------------------------------------- */

#define COUNTERS 64

struct counter {
	char name[40];
	unsigned long value;
};

/* The lines "contended NAME N" of /proc/jiffy/locks. Returns how many there are. */
static int read_locks(struct counter *c)
{
	FILE *f = fopen("/proc/jiffy/locks", "r");
	char line[200], kind[40];
	int n = 0;

	while (f && n < COUNTERS && fgets(line, sizeof(line), f))
		if (sscanf(line, "%39s %39s %lu", kind, c[n].name, &c[n].value) == 3 &&
		    !strcmp(kind, "contended"))
			n++;
	if (f)
		fclose(f);
	return n;
}

static void report(const struct counter *before, const struct counter *after, int n)
{
	unsigned long sum = 0;

	for (int i = 0; i < n; i++) {
		unsigned long d = after[i].value - before[i].value;

		sum += d;
		if (d)
			printf("contended %s %lu\n", after[i].name, d);
	}
	printf("workers %d rounds %d\n", workers, rounds);
	if (n)
		printf("contended %lu\n", sum);
}

int main(int argc, char **argv)
{
	static struct counter before[COUNTERS], after[COUNTERS];
	int processes = argc > 1 && !strcmp(argv[1], "processes"), n;
	pthread_t id;

	if (argc < 3 || (!processes && strcmp(argv[1], "threads"))) {
		fprintf(stderr, "usage: disjoint threads|processes SPACING-IN-MIB [ROUNDS]\n");
		return 2;
	}
	spacing = strtoul(argv[2], NULL, 10) * MIB;
	if (!spacing)
		spacing = range = 64 * 1024;
	if (argc > 3)
		rounds = atoi(argv[3]);
	where_only = "disjoint";
	workers = (int)sysconf(_SC_NPROCESSORS_ONLN);
	meet = mmap(NULL, sizeof(*meet), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (meet == MAP_FAILED)
		die("mmap");
	read_locks(before); /* what that needs is in memory from here on */
	setlinebuf(stdout);
	for (int i = 1; i < workers; i++) {
		if (!processes) {
			if (pthread_create(&id, NULL, thread, (void *)(long)i))
				die("pthread_create");
			continue;
		}
		switch (fork()) {
		case -1: die("fork");
		case 0: work(i); _exit(0);
		}
	}
	pin(0);
	for (int i = 0; i < WARMUP; i++)
		one_round((char *)BASE);
	await(&meet->ready.n, workers - 1);
	n = read_locks(before);
	where_begin("disjoint");
	__atomic_store_n(&meet->go.n, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < rounds; i++)
		one_round((char *)BASE);
	await(&meet->done.n, workers - 1);
	where_end();
	read_locks(after);
	__atomic_store_n(&meet->end.n, 1, __ATOMIC_SEQ_CST);
	while (processes && wait(NULL) > 0)
		;
	report(before, after, n);
	return 0;
}
