/*
 * The registers of a thread are its own: x87, SSE and AVX registers, their control and status words and
 * the flags, with eight threads a CPU that are preempted and moved from CPU to CPU at random.
 *
 * Each thread fills all of them with values of its own, spends time in user mode (a loop, so that
 * interrupts come) and in the kernel (yield, a move to another CPU), and compares. The output does
 * not depend on the machine. FPU_ROUNDS: rounds of each thread, and figures on standard error.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cpuid.h>

#define THREADS_A_CPU 8
#define MAX_THREADS   64

struct state {
	uint64_t ymm[16][4];
	uint8_t x87[80]; /* eight registers of ten bytes */
	uint32_t mxcsr;
	uint16_t fcw;
	uint64_t flags;
} __attribute__((aligned(64)));

static int avx, rounds, cpus, threads;
static pid_t tid[MAX_THREADS];
static uint64_t checks, wrong, moves;
static pthread_barrier_t start;

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* Values that differ in every word from those of other threads and rounds. */
static void make_state(struct state *s, uint64_t *seed)
{
	memset(s, 0, sizeof(*s));
	for (int i = 0; i < 16; i++)
		for (int k = 0; k < (avx ? 4 : 2); k++)
			s->ymm[i][k] = next(seed);
	for (int i = 0; i < 8; i++) {
		uint64_t mantissa = next(seed) | 1ull << 63;
		uint16_t exponent = (uint16_t)(0x3000 + next(seed) % 0x1000);

		memcpy(s->x87 + 10 * i, &mantissa, 8);
		memcpy(s->x87 + 10 * i + 8, &exponent, 2);
	}
	s->mxcsr = 0x1f80 | (uint32_t)(next(seed) & 3) << 13; /* the rounding */
	s->fcw = (uint16_t)(0x37f | (next(seed) & 3) << 10);
	s->flags = next(seed) & 0x8d5; /* CF PF AF ZF SF OF */
}

#define LOAD4(op, a, b, c, d, size)                                                                \
	op " " #a "*" #size "(%[s]), %%" R #a "\n\t" op " " #b "*" #size "(%[s]), %%" R #b         \
	   "\n\t" op " " #c "*" #size "(%[s]), %%" R #c "\n\t" op " " #d "*" #size                 \
	   "(%[s]), %%" R #d "\n\t"
#define STORE4(op, a, b, c, d, size)                                                               \
	op " %%" R #a ", " #a "*" #size "(%[t])\n\t" op " %%" R #b ", " #b "*" #size               \
	   "(%[t])\n\t" op " %%" R #c ", " #c "*" #size "(%[t])\n\t" op " %%" R #d ", " #d         \
	   "*" #size "(%[t])\n\t"

#define R "ymm"
static void load_vectors(const struct state *s)
{
	if (avx)
		__asm__ volatile(LOAD4("vmovdqu", 0, 1, 2, 3, 32) LOAD4("vmovdqu", 4, 5, 6, 7, 32)
					 LOAD4("vmovdqu", 8, 9, 10, 11, 32)
						 LOAD4("vmovdqu", 12, 13, 14, 15, 32)
				 :
				 : [s] "r"(s->ymm)
				 : "memory");
}

static void store_vectors(struct state *t)
{
	if (avx)
		__asm__ volatile(STORE4("vmovdqu", 0, 1, 2, 3, 32) STORE4("vmovdqu", 4, 5, 6, 7, 32)
					 STORE4("vmovdqu", 8, 9, 10, 11, 32)
						 STORE4("vmovdqu", 12, 13, 14, 15, 32)
				 :
				 : [t] "r"(t->ymm)
				 : "memory");
}
#undef R
#define R "xmm"
static void load_sse(const struct state *s)
{
	__asm__ volatile(LOAD4("movdqu", 0, 1, 2, 3, 32) LOAD4("movdqu", 4, 5, 6, 7, 32)
				 LOAD4("movdqu", 8, 9, 10, 11, 32)
					 LOAD4("movdqu", 12, 13, 14, 15, 32)
			 :
			 : [s] "r"(s->ymm)
			 : "memory");
}

static void store_sse(struct state *t)
{
	__asm__ volatile(STORE4("movdqu", 0, 1, 2, 3, 32) STORE4("movdqu", 4, 5, 6, 7, 32)
				 STORE4("movdqu", 8, 9, 10, 11, 32)
					 STORE4("movdqu", 12, 13, 14, 15, 32)
			 :
			 : [t] "r"(t->ymm)
			 : "memory");
}

/*
 * Between load and store, without a function that might use a register: nothing, sched_yield, or a
 * sleep, behind which the thread may go on anywhere.
 */
static inline void pass_time(int how, int loops)
{
	static const struct timespec nap = { 0, 20000 };
	long ret;

	if (how == 1)
		__asm__ volatile("syscall"
				 : "=a"(ret)
				 : "a"(SYS_sched_yield)
				 : "rcx", "r11", "memory");
	else if (how == 2)
		__asm__ volatile("syscall"
				 : "=a"(ret)
				 : "a"(SYS_nanosleep), "D"(&nap), "S"(0)
				 : "rcx", "r11", "memory");
	for (; loops > 0; loops--)
		__asm__ volatile("" : : : "memory");
}

static void round_trip(const struct state *s, struct state *t, int how, int loops)
{
	memset(t, 0, sizeof(*t));
	__asm__ volatile("fninit");
	for (int i = 7; i >= 0; i--)
		__asm__ volatile("fldt %0" : : "m"(*(const char(*)[10])(s->x87 + 10 * i)));
	__asm__ volatile("fldcw %0; ldmxcsr %1" : : "m"(s->fcw), "m"(s->mxcsr));
	if (avx)
		load_vectors(s);
	else
		load_sse(s);
	pass_time(how, loops);
	/* The flags: set, a while in user mode, read. */
	__asm__ volatile("pushq %1; popfq\n\t"
			 "movl %2, %%ecx\n"
			 "1:\tleal -1(%%rcx), %%ecx\n\t"
			 "jrcxz 2f\n\t"
			 "jmp 1b\n"
			 "2:\tpushfq; popq %0"
			 : "=r"(t->flags)
			 : "r"(s->flags | 0x202), "r"(loops | 1)
			 : "rcx", "cc", "memory");
	t->flags &= 0x8d5;
	if (avx)
		store_vectors(t);
	else
		store_sse(t);
	__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(t->mxcsr), "=m"(t->fcw));
	for (int i = 0; i < 8; i++)
		__asm__ volatile("fstpt %0" : "=m"(*(char(*)[10])(t->x87 + 10 * i)));
	__asm__ volatile("fninit; ldmxcsr %0" : : "m"((const uint32_t){ 0x1f80 }));
	if (avx)
		__asm__ volatile("vzeroupper");
	t->mxcsr &= ~0x3fu;
}

/* Any thread, wherever it is just now, to any CPU. */
static void move(uint64_t *seed)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(next(seed) % (unsigned)cpus, &set);
	if (sched_setaffinity(tid[next(seed) % (unsigned)threads], sizeof(set), &set) == 0)
		__atomic_fetch_add(&moves, 1, __ATOMIC_RELAXED);
}

static void *run(void *arg)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull * ((uintptr_t)arg + 1);
	struct state want, got;
	uint64_t bad = 0;

	tid[(uintptr_t)arg] = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&start);
	for (int i = 0; i < rounds; i++) {
		make_state(&want, &seed);
		if (i % 8 == 0)
			move(&seed);
		round_trip(&want, &got, i % 4, (int)(next(&seed) % 2000));
		bad += memcmp(want.ymm, got.ymm, sizeof(want.ymm)) != 0;
		bad += memcmp(want.x87, got.x87, sizeof(want.x87)) != 0;
		bad += want.mxcsr != got.mxcsr || want.fcw != got.fcw;
		bad += want.flags != got.flags;
	}
	__atomic_fetch_add(&wrong, bad, __ATOMIC_RELAXED);
	__atomic_fetch_add(&checks, (uint64_t)rounds, __ATOMIC_RELAXED);
	return NULL;
}

int main(void)
{
	unsigned a, b, c, d;
	const char *text = getenv("FPU_ROUNDS");
	pthread_t thread[MAX_THREADS];

	rounds = text ? atoi(text) : 400;
	cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	threads = cpus * THREADS_A_CPU < MAX_THREADS ? cpus * THREADS_A_CPU : MAX_THREADS;
	if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 27)) && (c & (1u << 28)))
		avx = 1;
	pthread_barrier_init(&start, NULL, (unsigned)threads);
	for (long i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, run, (void *)i))
			return 1;
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	printf("#: registers under migration\n");
	printf("every round was checked: %s\n",
	       checks == (uint64_t)rounds * (unsigned)threads ? "yes" : "no");
	printf("threads were moved: %s\n", moves > 0 ? "yes" : "no");
	printf("differences: %llu\n", (unsigned long long)wrong);
	/* 16 vectors, 8 x87 registers, 2 words of control, the flags. */
	if (text)
		fprintf(stderr, "%llu rounds, %llu registers compared, %llu moves, %d CPUs%s\n",
			(unsigned long long)checks, (unsigned long long)checks * 27,
			(unsigned long long)moves, cpus, avx ? ", AVX" : "");
	return wrong != 0;
}
