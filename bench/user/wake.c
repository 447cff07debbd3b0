/*
 * FUTEX_WAKE from user mode to user mode: what it costs both CPUs to wake a thread that sleeps on another, idle
 * one. Run with two CPUs under -icount, as the kernel's own bench/kernel/wake.c: the virtual CPUs take turns, one that
 * halts or PAUSEs gives way at once, and the time-stamp counter counts the instructions of both. A sample is
 *
 *	waker     from its call of futex to the return, then it spins with PAUSE
 *	sleeper   from there to the return of futex on the other CPU
 *	both      the sum
 *
 * Nothing is subtracted. Asserted: each call woke one, and each thread was where it was pinned. The control
 * is the same call when nobody sleeps.
 *
 * Output: lines name<TAB>value<TAB>unit. Works on any x86-64 Linux with two CPUs.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../raw.h"

#define SAMPLES 101

enum { FUTEX_WAIT, FUTEX_WAKE, FUTEX_PRIVATE_FLAG = 128 };

static struct {
	volatile uint32_t word; /* the futex */
	volatile uint32_t taken;
	volatile uint64_t arrived;
} shared __attribute__((aligned(64)));

static uint32_t waker_part[SAMPLES], sleeper_part[SAMPLES], both[SAMPLES], alone[SAMPLES];

static void fail(const char *what)
{
	fprintf(stderr, "wake: %s\n", what);
	exit(1);
}

static void pin(unsigned long cpu)
{
	unsigned long set = 1ul << cpu;

	if (syscall(SYS_sched_setaffinity, 0, sizeof(set), &set) < 0)
		fail("wants two CPUs");
}

static unsigned where(void)
{
	unsigned cpu = 0;

	syscall(SYS_getcpu, &cpu, NULL, NULL);
	return cpu;
}

static inline long futex(int op, uint32_t value)
{
	return sys6(SYS_futex, (long)&shared.word, op | FUTEX_PRIVATE_FLAG, value, 0, 0, 0);
}

static void *sleeper(void *arg)
{
	pin(1);
	for (uint32_t i = 0; i < SAMPLES; i++) {
		while (shared.word == i)
			futex(FUTEX_WAIT, i);
		shared.arrived = stamp();
		if (where() != 1)
			fail("the sleeper is not on its CPU");
		shared.taken = i + 1;
	}
	return NULL;
}

static void sample(uint32_t i)
{
	usleep(2000); /* the other one sleeps, and its CPU halts */
	uint64_t start = stamp();
	shared.word = i + 1;
	long n = futex(FUTEX_WAKE, 1);
	uint64_t woken = stamp();

	while (shared.taken <= i)
		__builtin_ia32_pause();
	if (n != 1)
		fail("nobody slept");
	waker_part[i] = (uint32_t)(woken - start);
	sleeper_part[i] = (uint32_t)(shared.arrived - woken);
	both[i] = (uint32_t)(shared.arrived - start);
}

static void control(uint32_t i)
{
	uint64_t start = stamp();

	if (futex(FUTEX_WAKE, 1))
		fail("somebody sleeps whom nobody knows");
	alone[i] = (uint32_t)(stamp() - start);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *name, uint32_t *a)
{
	qsort(a, SAMPLES, sizeof(*a), compare);
	printf("futex_wake.%s.min\t%u\tticks\nfutex_wake.%s.median\t%u\tticks\nfutex_wake.%s.max\t%u\tticks\n",
	       name, a[0], name, a[SAMPLES / 2], name, a[SAMPLES - 1]);
}

int main(void)
{
	pthread_t t;

	pin(0);
	for (uint32_t i = 0; i < SAMPLES; i++)
		control(i);
	if (pthread_create(&t, NULL, sleeper, NULL))
		fail("no thread");
	for (uint32_t i = 0; i < SAMPLES; i++)
		sample(i);
	if (where() != 0)
		fail("the waker is not on its CPU");
	pthread_join(t, NULL);
	report("waker", waker_part);
	report("sleeper", sleeper_part);
	report("both", both);
	report("alone", alone);
	return 0;
}
