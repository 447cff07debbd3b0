/*
 * sched_yield between two processes: from one's call to the other's return, another address space.
 *
 * Both run under SCHED_FIFO at one priority, so that nothing but their yields switches between
 * them. Each sample is one switch: who leaves takes a time stamp into shared memory, who arrives
 * takes another. Nothing is subtracted. On Jiffy the kernel's counters of switches and CR3 loads
 * must have advanced by exactly the number claimed, else there are no figures and the status is 1;
 * on Linux, which has no such counters, the output says that it is not asserted.
 *
 * Output: lines name<TAB>value<TAB>unit. Works on any x86-64 Linux.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../raw.h"

#define YIELDS  50000u
#define SAMPLES (2 * YIELDS)

struct shared {
	volatile uint64_t left_at;
	volatile uint32_t taken;
	uint32_t sample[SAMPLES];
};

static struct shared *shared;

/* The system call itself, without the library's errno around it. */
static inline void yield(void)
{
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(SYS_sched_yield) : "rcx", "r11", "memory");
}

static void yield_loop(void)
{
	for (uint32_t i = 0; i < YIELDS; i++) {
		shared->left_at = stamp();
		yield();
		uint64_t now = stamp();

		if (shared->taken < SAMPLES)
			shared->sample[shared->taken++] = (uint32_t)(now - shared->left_at);
	}
}

/* The counter `name` in a file of lines "name value"; -1: there is none. */
static long counter(const char *path, const char *name)
{
	char line[128];
	FILE *f = fopen(path, "r");
	long value = -1;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		size_t n = strlen(name);

		if (!strncmp(line, name, n) && line[n] == ' ')
			value = atol(line + n + 1);
	}
	fclose(f);
	return value;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *prefix, uint32_t *sample, uint32_t n)
{
	qsort(sample, n, sizeof(*sample), compare);
	printf("%s.min\t%u\tticks\n%s.median\t%u\tticks\n", prefix, sample[0], prefix,
	       sample[n / 2]);
	printf("%s.p99\t%u\tticks\n%s.max\t%u\tticks\n", prefix, sample[n * 99ul / 100], prefix,
	       sample[n - 1]);
}

static void control(void)
{
	shared->taken = 0;
	long before = counter("/proc/jiffy/sched", "switches");
	yield_loop();
	long after = counter("/proc/jiffy/sched", "switches");
	report("process.yield_alone", shared->sample, YIELDS);
	if (before >= 0)
		printf("process.yield_alone.count\t%ld\tswitches\n", after - before);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(void)
{
	struct sched_param fifo = { .sched_priority = 50 };
	int status;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		fail("mmap");
	memset(shared, 1, sizeof(*shared)); /* no page fault in the measured part */
	unsigned long cpu0 = 1;             /* elsewhere two processes would run side by side */
	if (syscall(SYS_sched_setaffinity, 0, sizeof(cpu0), &cpu0))
		fail("sched_setaffinity");
	if (syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &fifo)) /* musl's wrapper only fails */
		fail("sched_setscheduler");
	control();

	shared->taken = 0;
	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		shared->left_at = 0;
		yield(); /* both are there before the count starts */
		yield_loop();
		_exit(0);
	}
	yield();
	shared->taken = 0;
	long switches = counter("/proc/jiffy/sched", "switches");
	long loads = counter("/proc/jiffy/tlb", "cr3_loads");
	yield_loop();
	loads = counter("/proc/jiffy/tlb", "cr3_loads") - loads;
	switches = counter("/proc/jiffy/sched", "switches") - switches;
	if (waitpid(child, &status, 0) != child || status)
		fail("child");
	if (counter("/proc/jiffy/sched", "switches") < 0) {
		printf("process.asserted\t0\tno counters on this kernel\n");
	} else if (switches != SAMPLES || loads != SAMPLES) {
		fprintf(stderr, "not counted: %ld switches and %ld CR3 loads, want %u of each\n",
			switches, loads, SAMPLES);
		return 1;
	} else {
		printf("process.count\t%ld\tswitches\nprocess.cr3_loads\t%ld\tloads\n", switches,
		       loads);
	}
	report("process", shared->sample, SAMPLES);
	return 0;
}
