/*
 * What every benchmark of the suite shares: system calls without a library around them, time
 * stamps, the store of samples, and the ways to say "it really happened".
 *
 * A sample is the number of ticks of the time-stamp counter between two stamps around one round of
 * the operation; nothing is subtracted from it. Under QEMU's -icount a tick is a guest instruction.
 * Beside the samples stands a control: the same two stamps around nothing, or around the nearest
 * thing that is not the operation (a yield with nobody to yield to, a write that does not fault).
 *
 * Each benchmark runs in a process of its own, started by execve, on CPU 0. It ends in one of three
 * ways: report() printed its figures; missing() said that the kernel does not do this; or a check
 * failed and it says which. Only what the claims are about may happen between mark_begin() and mark_end().
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../raw.h"

#define PAGE        4096ul
#define MIB         (1ul << 20)
#define HUGE        (2 * MIB)
#define MAX_SAMPLES 8192u

/* musl has no header for them. */
#define FUTEX_WAIT         0
#define FUTEX_WAKE         1
#define FUTEX_PRIVATE_FLAG 128

/* ---- marks: an emulator's plugin sees these instructions; for everybody else they do nothing ------ */

#define MARK_BEGIN 1 /* a stretch of the current operation */
#define MARK_END   2
#define MARK_NAME  3 /* the name of the operation follows, bit by bit, the highest of a byte first */
#define MARK_BIT   0x10

/* NOP with a displacement of 0x4a420000 + k. */
#define MARK(k)                                                                                    \
	__asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00\n\t.long %c0"                               \
			 :                                                                         \
			 : "i"(0x4a420000 + (k))                                                   \
			 : "memory")

static inline uint64_t mark_begin(void)
{
	MARK(MARK_BEGIN);
	return stamp();
}

static inline uint64_t mark_end(void)
{
	uint64_t now = stamp();

	MARK(MARK_END);
	return now;
}

/* ---- system calls ---------------------------------------------------------------------------- */

static inline long sys3(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long sys0(long nr)
{
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr) : "rcx", "r11", "memory");
	return ret;
}

/* ---- a benchmark ------------------------------------------------------------------------------- */

struct bench {
	const char *name;
	const char *what;
	void (*run)(const struct bench *b);
	unsigned samples; /* at most MAX_SAMPLES */
	unsigned per;     /* operations in one sample; its ticks are divided by that */
	long arg;
};

extern const struct bench bench_calls[], bench_yield[], bench_ipc[], bench_process[],
	bench_faults[], bench_maps[];

/* In memory that processes share, touched beforehand. */
struct shared {
	volatile uint64_t left_at; /* the stamp of who gave up the CPU, */
	volatile uint32_t left_by; /* and who it was */
	volatile uint32_t taken;
	volatile uint32_t ready;
	volatile uint32_t word[2] __attribute__((aligned(64))); /* for futexes */
	char message[2][64] __attribute__((aligned(64)));
	uint64_t sample[MAX_SAMPLES];
};

extern struct shared *shared;
extern const struct bench *current_bench;
extern char kernel_module[]; /* path of kthread.ko */

static inline void record(uint64_t ticks)
{
	uint32_t n = shared->taken;

	if (n < MAX_SAMPLES) {
		shared->sample[n] = ticks;
		shared->taken = n + 1;
	}
}

/* One round of an operation, its time taken. */
#define TIMED(operation)                                                                           \
	do {                                                                                       \
		uint64_t timed_start = mark_begin();                                               \
		operation;                                                                         \
		record(mark_end() - timed_start);                                                  \
	} while (0)

/* The same without the marks: a plugin counts the operation only. */
#define CONTROL(operation)                                                                         \
	do {                                                                                       \
		uint64_t timed_start = stamp();                                                    \
		operation;                                                                         \
		record(stamp() - timed_start);                                                     \
	} while (0)

void control_begin(void); /* what is recorded until control_end() is the control */
void control_end(void);
void report(void);
void missing(const char *why) __attribute__((noreturn));
void failed(const char *what) __attribute__((noreturn));                 /* with errno's text */
void result_is(const char *call, long result) __attribute__((noreturn)); /* missing or failed */

/* result of a system call: ENOSYS, EINVAL and their like mean "missing", other errors "failed". */
static inline long must(const char *call, long result)
{
	if (result < 0)
		result_is(call, result);
	return result;
}

void claim(const char *what, long got, long want);
void claim_range(const char *what, long got, long least, long most);

long faults(void);      /* minor faults of this process */
long switches(int who); /* RUSAGE_SELF, RUSAGE_CHILDREN, RUSAGE_THREAD */
long kernel_counter(const char *file, const char *name); /* /proc/jiffy/FILE; -1: there is none */
void fifo(void); /* SCHED_FIFO, so that nothing but the partners switches */
void write_text(const char *path, const char *text);

static inline char *map_anon(unsigned long size)
{
	return (char *)must("mmap", sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* Aligned to 2 MiB; `huge`: large pages are asked for, else forbidden. */
char *map_aligned(unsigned long size, int huge);

static inline void write_page(char *p)
{
	*(volatile char *)p = 1;
}

static inline void read_page(char *p)
{
	(void)*(volatile char *)p;
}

static inline void touch(char *p, unsigned long size)
{
	for (unsigned long i = 0; i < size; i += PAGE)
		write_page(p + i);
}
