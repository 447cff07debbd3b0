/*
 * What operations on memory cost, in ticks of the time-stamp counter (under -icount: guest
 * instructions), by system calls alone, the entry and the exit included. Each figure is the least of
 * several rounds, less what two time stamps cost by themselves. A page that is cleared or copied
 * costs 512 instructions of `rep`; figures named _net are without those.
 *
 * That the faults really happened is asserted by getrusage's count and, on Jiffy, by the kernel's
 * own counters of what kind they were; if not, there are no figures and the status is 1.
 *
 * Output: lines name<TAB>value<TAB>unit. Works on any x86-64 Linux.
 *
 *	memory [MiB]		the size of the large process (1024)
 *	memory --only NAME	what that figure needs, marked for ./jiffy bench --where
 *	memory --list		the names
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../raw.h"
#include "where.h"

#define PAGE   4096ul
#define MIB    (1ul << 20)
#define ROUNDS 12
#define CLEAR  512 /* iterations of rep stosq or movsq for a page */

static uint64_t overhead; /* of a pair of time stamps */

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static inline char *map(unsigned long size)
{
	long va = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (va < 0 && va > -4096)
		fail("mmap");
	return (char *)va;
}

static inline void unmap(char *p, unsigned long size)
{
	if (sys6(SYS_munmap, (long)p, (long)size, 0, 0, 0, 0))
		fail("munmap");
}

static inline void write_page(char *p)
{
	*(volatile char *)p = 1;
}

static inline void read_page(char *p)
{
	(void)*(volatile char *)p;
}

/* Idle CPUs clear frames ahead of need: then a fault need not. */
static void rest(void)
{
	struct timespec t = { .tv_nsec = 3000000 };

	nanosleep(&t, NULL);
}

static long faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt;
}

/* The kernel's counter of that name in /proc/jiffy/vm; -1: there is none (Linux). */
static long counter(const char *name)
{
	FILE *f = fopen("/proc/jiffy/vm", "r");
	size_t n = strlen(name);
	char line[128];
	long value = -1;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, n) && line[n] == ' ')
			value = atol(line + n + 1);
	fclose(f);
	return value;
}

/* `what` must have advanced by at least n since `before`. */
static void claim(const char *what, long before, long n)
{
	long now = before < 0 ? -1 : counter(what);

	if (now >= 0 && now - before < n) {
		fprintf(stderr, "%s advanced by %ld, not by %ld\n", what, now - before, n);
		exit(1);
	}
}

static void claim_faults(long before, long n)
{
	long now = faults();

	if (now - before < n) {
		fprintf(stderr, "%ld faults, not %ld\n", now - before, n);
		exit(1);
	}
}

static void print(const char *name, long value)
{
	printf("%s\t%ld\tinsns\n", name, value);
}

/* One round: start = begin(NAME); the operation; least(&min, start). */
static inline uint64_t begin(const char *name)
{
	where_begin(name);
	return stamp();
}

static inline void least(uint64_t *min, uint64_t start)
{
	uint64_t t = stamp() - start - overhead;

	where_end();
	if (t < *min)
		*min = t;
}

/* ---- the measurements ------------------------------------------------------------------------ */

static void measure_overhead(void)
{
	uint64_t min = ~0ul;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = stamp(), t = stamp() - start;

		min = t < min ? t : min;
	}
	overhead = min;
	min = ~0ul;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = begin("getppid");

		sys6(SYS_getppid, 0, 0, 0, 0, 0, 0);
		least(&min, start);
	}
	print("getppid", (long)min);
}

static void measure_map(const char *name, unsigned long size)
{
	uint64_t min = ~0ul;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start = begin(name);

		unmap(map(size), size);
		least(&min, start);
	}
	print(name, (long)min);
}

/* A write to memory that has its page table; and a read; and a write after the read. */
static void measure_faults(void)
{
	uint64_t anon = ~0ul, zero = ~0ul, replace = ~0ul, start;
	char *p = map(2 * MIB);
	long before = faults(), zeroes = counter("zero_page_faults");

	write_page(p);
	rest();
	for (int i = 1; i <= ROUNDS; i++) {
		start = begin("fault.anon");
		write_page(p + (unsigned long)i * PAGE);
		least(&anon, start);
	}
	for (int i = 1; i <= ROUNDS; i++) {
		start = begin("fault.zero_page");
		read_page(p + (unsigned long)(ROUNDS + i) * PAGE);
		least(&zero, start);
	}
	rest();
	for (int i = 1; i <= ROUNDS; i++) {
		start = begin("fault.replace_zero_page");
		write_page(p + (unsigned long)(ROUNDS + i) * PAGE);
		least(&replace, start);
	}
	claim_faults(before, 1 + 3 * ROUNDS);
	claim("zero_page_faults", zeroes, ROUNDS);
	unmap(p, 2 * MIB);
	print("fault.anon", (long)anon);
	print("fault.zero_page", (long)zero);
	print("fault.replace_zero_page", (long)replace);
}

static pid_t fork_waiting(int *release)
{
	int fd[2];
	pid_t child;
	char c;

	if (pipe(fd))
		fail("pipe");
	child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		close(fd[1]);
		_exit(read(fd[0], &c, 1) != 0);
	}
	close(fd[0]);
	*release = fd[1];
	return child;
}

static void reap(pid_t child, int release)
{
	int status;

	close(release);
	if (waitpid(child, &status, 0) != child || status)
		fail("child");
}

/* Writes while a child names the pages too: the first in the table copies that as well. Then,
 * with the child gone, in one more table: taken back. */
static void measure_cow(void)
{
	uint64_t cow = ~0ul, reuse = ~0ul, first = ~0ul, back = ~0ul, start;
	char *p = (char *)(((unsigned long)map(6 * MIB) + 2 * MIB - 1) & -(2 * MIB));
	long before, copied, taken;
	pid_t child;
	int fd;

	for (unsigned long i = 0; i < 4 * MIB; i += PAGE)
		write_page(p + i);
	child = fork_waiting(&fd);
	before = faults();
	copied = counter("cow_copied");
	start = begin("fault.cow_table_copied");
	write_page(p);
	least(&first, start);
	for (int i = 1; i <= ROUNDS; i++) {
		start = begin("fault.cow");
		write_page(p + (unsigned long)i * PAGE);
		least(&cow, start);
	}
	claim_faults(before, ROUNDS + 1);
	claim("cow_copied", copied, ROUNDS + 1);
	reap(child, fd);
	before = faults();
	taken = counter("tables_taken_back");
	start = begin("fault.table_taken_back");
	write_page(p + 2 * MIB);
	least(&back, start);
	for (int i = 1; i <= ROUNDS; i++) {
		start = begin("fault.cow_alone");
		write_page(p + (unsigned long)(ROUNDS + i) * PAGE);
		least(&reuse, start);
	}
	claim_faults(before, ROUNDS + 1);
	claim("tables_taken_back", taken, 1);
	unmap(p, 4 * MIB);
	print("fault.cow", (long)cow);
	print("fault.cow_net", (long)cow - CLEAR);
	print("fault.cow_table_copied", (long)first);
	print("fault.cow_alone", (long)reuse);
	print("fault.table_taken_back", (long)back);
}

static uint64_t protect(const char *name, char *p, unsigned long pages)
{
	uint64_t min = ~0ul;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start;

		/* Taking rights away is the dear half. */
		start = begin(name);
		sys6(SYS_mprotect, (long)p, (long)(pages * PAGE), PROT_READ, 0, 0, 0);
		least(&min, start);
		sys6(SYS_mprotect, (long)p, (long)(pages * PAGE), PROT_READ | PROT_WRITE, 0, 0, 0);
	}
	return min;
}

/* The same with the page written in between: the processor may remember its right, so it is flushed. */
static uint64_t protect_written(char *p)
{
	uint64_t min = ~0ul, start;

	for (int i = 0; i < ROUNDS; i++) {
		write_page(p);
		start = begin("mprotect.one_written");
		sys6(SYS_mprotect, (long)p, PAGE, PROT_READ, 0, 0, 0);
		least(&min, start);
		sys6(SYS_mprotect, (long)p, PAGE, PROT_READ | PROT_WRITE, 0, 0, 0);
	}
	return min;
}

static void measure_protect(void)
{
	char *p = map(2 * MIB);
	uint64_t one, many;

	for (unsigned long i = 0; i < 257; i++)
		write_page(p + i * PAGE);
	one = protect("mprotect.one", p, 1);
	many = protect("mprotect.257", p, 257);
	print("mprotect.one", (long)one);
	print("mprotect.one_written", (long)protect_written(p));
	print("mprotect.further", (long)((many - one) + 255) / 256);
	print("mprotect.64", (long)protect("mprotect.64", p, 64));
	unmap(p, 2 * MIB);
}

static uint64_t unmap_touched(const char *name, unsigned long pages)
{
	uint64_t min = ~0ul;

	for (int i = 0; i < 6; i++) {
		char *p = map(4 * MIB + PAGE * pages);
		long before = faults();
		uint64_t start;

		for (unsigned long j = 0; j < pages; j++)
			write_page(p + j * PAGE);
		claim_faults(before, (long)pages);
		start = begin(name);
		unmap(p, pages * PAGE);
		least(&min, start);
		unmap(p, 4 * MIB + PAGE * pages);
	}
	return min;
}

static void measure_unmap(void)
{
	uint64_t one = unmap_touched("munmap.one_touched", 1),
		 many = unmap_touched("munmap.2049_touched", 2049);

	print("munmap.one_touched", (long)one);
	print("munmap.per_touched_page", (long)((many - one) + 2047) / 2048);
}

static uint64_t fork_exit_wait(const char *name)
{
	uint64_t min = ~0ul;
	int status;

	for (int i = 0; i < 5; i++) {
		uint64_t start = begin(name);
		long child = sys6(SYS_fork, 0, 0, 0, 0, 0, 0);

		if (child == 0)
			sys6(SYS_exit_group, 0, 0, 0, 0, 0, 0);
		if (child < 0 || sys6(SYS_wait4, child, (long)&status, 0, 0, 0, 0) != child)
			fail("fork");
		least(&min, start);
	}
	return min;
}

static void measure_fork(unsigned long mib)
{
	uint64_t small = fork_exit_wait("fork.small"), large;
	char *p = map(mib * MIB);
	long before = faults();

	for (unsigned long i = 0; i < mib * MIB; i += PAGE)
		write_page(p + i);
	claim_faults(before, (long)(mib * MIB / PAGE));
	large = fork_exit_wait("fork.large");
	unmap(p, mib * MIB);
	print("fork.small", (long)small);
	print("fork.large", (long)large);
	print("fork.large_more", (long)(large - small));
}

/* Pages of 2 MiB, each cleared by 512 times CLEAR: a write to one, its unmapping; populating several,
 * and fork, a write after it with the child alive (it splits, and copies 4 KiB), and one alone. */
static void measure_large(void)
{
	uint64_t touch = ~0ul, gone = ~0ul, populate = ~0ul, shared = ~0ul, alone = ~0ul, start;
	unsigned long size = 16 * MIB, large = 2 * MIB, n = size / large;
	char *p = map(size + large), *at = (char *)(((unsigned long)p + large - 1) & -large);
	long before = counter("large_faults"), split = counter("large_splits");
	pid_t child;
	int fd;

	for (unsigned long i = 0; i < n; i++, at += large) {
		/* One by one, so that unmapping has one to unmap. */
		if (madvise(at, large, MADV_HUGEPAGE))
			fail("madvise");
		start = begin("touch.2m");
		write_page(at);
		least(&touch, start);
		start = begin("munmap.2m");
		unmap(at, large);
		least(&gone, start);
	}
	claim("large_faults", before, (long)n);
	for (int i = 0; i < 4; i++) {
		p = map(size);
		if (madvise(p, size, MADV_HUGEPAGE))
			fail("madvise");
		start = begin("populate.2m");
		if (sys6(SYS_madvise, (long)p, (long)size, 23 /* MADV_POPULATE_WRITE */, 0, 0, 0))
			fail("MADV_POPULATE_WRITE");
		least(&populate, start);
		if (i < 3)
			unmap(p, size);
	}
	claim("large_faults", before, (long)(5 * n));
	child = fork_waiting(&fd);
	for (unsigned long i = 0; i < n / 2; i++) {
		start = begin("fault.2m_split");
		write_page(p + i * large);
		least(&shared, start);
	}
	claim("large_splits", split, (long)n / 2);
	reap(child, fd);
	for (unsigned long i = n / 2; i < n; i++) {
		start = begin("fault.2m_alone");
		write_page(p + i * large);
		least(&alone, start);
	}
	unmap(p, size);
	print("touch.2m", (long)touch);
	print("touch.2m_net", (long)touch - 512 * CLEAR);
	print("munmap.2m", (long)gone);
	print("populate.2m_per_4k", (long)(populate / (size / PAGE)));
	print("fault.2m_split", (long)shared);
	print("fault.2m_alone", (long)alone);
}

static const char *const names[] = {
	"getppid",
	"mmap.4k",
	"mmap.1m",
	"mmap.64m",
	"mmap.1g",
	"fault.anon",
	"fault.zero_page",
	"fault.replace_zero_page",
	"fault.cow",
	"fault.cow_table_copied",
	"fault.cow_alone",
	"fault.table_taken_back",
	"mprotect.one",
	"mprotect.one_written",
	"mprotect.64",
	"mprotect.257",
	"munmap.one_touched",
	"munmap.2049_touched",
	"fork.small",
	"fork.large",
	"touch.2m",
	"munmap.2m",
	"populate.2m",
	"fault.2m_split",
	"fault.2m_alone",
	NULL,
};

int main(int argc, char **argv)
{
	argc = where_init(argc, argv, names);
	measure_overhead();
	/* Small pages, whatever the kernel's policy is. */
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		fail("PR_SET_THP_DISABLE");
	if (where_wants("mmap.")) {
		measure_map("mmap.4k", PAGE);
		measure_map("mmap.1m", MIB);
		measure_map("mmap.64m", 64 * MIB);
		measure_map("mmap.1g", 1024 * MIB);
	}
	if (where_wants("fault.") && !(where_only && strstr(where_only, ".2m"))) {
		measure_faults();
		measure_cow();
	}
	if (where_wants("mprotect."))
		measure_protect();
	if (where_wants("munmap."))
		measure_unmap();
	if (where_wants("fork."))
		measure_fork(argc > 1 ? strtoul(argv[1], NULL, 0) : 1024);
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	if (!where_only || strstr(where_only, ".2m"))
		measure_large();
	return 0;
}
