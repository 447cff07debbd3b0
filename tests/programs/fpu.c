/*
 * Each thread's floating-point registers are its own: all of x87, SSE and (where the CPU has it)
 * AVX hold a pattern over loops and system calls, while a timer interrupts at a high rate, its handler
 * spoils every register, and others do the same on the same CPU.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "say.h"

#define THREADS 8
#define NO_CALL -1

static int have_avx;
static volatile int ticks, stop;

struct registers {
	uint64_t ymm[16][4];
	double st[8];
	uint32_t mxcsr;
	uint16_t control;
};

static void spoil(int sig)
{
	uint32_t mxcsr = 0x1f80 | 3 << 13; /* rounds towards zero */

	ticks++;
	__asm__ volatile("fninit; fldpi; fldpi; fldpi; ldmxcsr %0\n"
			 "pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm15, %%xmm15"
			 :
			 : "m"(mxcsr)
			 : "xmm0", "xmm7", "xmm15");
	if (have_avx)
		__asm__ volatile("vzeroall" : : : "memory");
}

static void pattern(struct registers *r, unsigned seed)
{
	memset(r, 0, sizeof(*r));
	for (unsigned i = 0; i < 16; i++) {
		for (unsigned j = 0; j < (have_avx ? 4 : 2); j++)
			r->ymm[i][j] =
				(seed * 2654435761u + i * 977 + j * 13) * 0x9e3779b97f4a7c15u;
	}
	for (unsigned i = 0; i < 8; i++)
		r->st[i] = seed * 1.25 + i;
	r->mxcsr = 0x1f80 | (seed & 3) << 13;
	r->control = (uint16_t)(0x37f | (seed >> 2 & 3) << 10);
}

#define ALL(M)       M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define LOAD_YMM(n)  "vmovdqu 32*" #n "(%[in]), %%ymm" #n "\n"
#define STORE_YMM(n) "vmovdqu %%ymm" #n ", 32*" #n "(%[out])\n"
#define LOAD_XMM(n)  "movdqu 32*" #n "(%[in]), %%xmm" #n "\n"
#define STORE_XMM(n) "movdqu %%xmm" #n ", 32*" #n "(%[out])\n"
#define LOAD_X87                                                                                   \
	"fninit; fldcw %[control]; ldmxcsr %[mxcsr]\n"                                             \
	"fldl 512(%[in]); fldl 520(%[in]); fldl 528(%[in]); fldl 536(%[in])\n"                     \
	"fldl 544(%[in]); fldl 552(%[in]); fldl 560(%[in]); fldl 568(%[in])\n"
#define STORE_X87                                                                                  \
	"fstpl 568(%[out]); fstpl 560(%[out]); fstpl 552(%[out]); fstpl 544(%[out])\n"             \
	"fstpl 536(%[out]); fstpl 528(%[out]); fstpl 520(%[out]); fstpl 512(%[out])\n"             \
	"fnstcw %[out_control]; stmxcsr %[out_mxcsr]\n"
#define SPIN "mov %[loops], %%r11\n 1: dec %%r11; jnz 1b\n"
#define CALL "mov %[call], %%eax; test %%eax, %%eax; js 2f; syscall; 2:\n"
#define OPERANDS                                                                                   \
	: [out_control] "=m"(out.control), [out_mxcsr] "=m"(out.mxcsr)                       \
	: [in] "r"(&in), [out] "r"(&out), [control] "m"(in.control), [mxcsr] "m"(in.mxcsr),  \
	  [loops] "r"(loops), [call] "r"(call)                                               \
	: "memory", "cc", "rax", "rcx", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", \
	  "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

/* A pattern through the registers. call: one without arguments, or NO_CALL. 1: it has changed. */
static int one_round(unsigned seed, int call)
{
	static const uint32_t usual = 0x1f80;
	struct registers in, out;
	uint64_t loops = 300 + seed % 2000;

	pattern(&in, seed);
	memset(&out, 0, sizeof(out));
	if (have_avx)
		__asm__ volatile(LOAD_X87 ALL(LOAD_YMM) SPIN CALL SPIN ALL(STORE_YMM) STORE_X87
				 "vzeroupper" OPERANDS);
	else
		__asm__ volatile(LOAD_X87 ALL(LOAD_XMM) SPIN CALL SPIN ALL(STORE_XMM)
					 STORE_X87 OPERANDS);
	__asm__ volatile("fninit; ldmxcsr %0" : : "m"(usual));
	out.mxcsr &= ~0x3fu;
	return memcmp(&in, &out, sizeof(in)) != 0;
}

static int call_of(unsigned n)
{
	return n % 3 == 0 ? SYS_sched_yield : n % 3 == 1 ? SYS_getpid : NO_CALL;
}

static void timer(int us)
{
	struct itimerval it = { { 0, us }, { 0, us } };

	setitimer(ITIMER_REAL, &it, NULL);
}

static void *thread(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg * 7919;
	long wrong = 0;

	for (unsigned n = 0; !stop; n++)
		wrong += one_round(seed++, call_of(n));
	return (void *)wrong;
}

static int in_processes(void)
{
	int status, wrong = 0;

	for (unsigned p = 0; p < 4; p++) {
		if (fork())
			continue;
		timer(1000);
		for (unsigned i = 0; i < 2000; i++)
			wrong |= one_round(i + p * 100000, call_of(i));
		_exit(wrong);
	}
	for (int p = 0; p < 4; p++) {
		while (wait(&status) < 0)
			;
		wrong |= status;
	}
	return wrong;
}

static void in_threads(void)
{
	pthread_t t[THREADS];
	void *wrong;

	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, thread, (void *)(i + 1));
	for (int from = ticks; ticks < from + 300;)
		usleep(10000);
	stop = 1;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], &wrong);
		SAY("%ld ", (long)wrong);
	}
	SAY("\n");
}

static void *control_words(void *unused)
{
	uint16_t control;
	uint32_t mxcsr;

	__asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(control), "=m"(mxcsr));
	return (void *)(uintptr_t)((uint32_t)control << 16 | (mxcsr & ~0x3fu));
}

/* A new thread and a new process have their maker's control words. */
static void inheritance(void)
{
	static const uint32_t down = 0x1f80 | 1 << 13, usual = 0x1f80;
	pthread_t t;
	void *words;

	__asm__ volatile("ldmxcsr %0" : : "m"(down));
	pthread_create(&t, NULL, control_words, NULL);
	pthread_join(t, &words);
	SAY("thread %lx\n", (long)words);
	if (fork() == 0) {
		SAY("process %lx\n", (long)control_words(NULL));
		_exit(0);
	}
	wait(NULL);
	__asm__ volatile("ldmxcsr %0" : : "m"(usual));
}

int main(void)
{
	struct sigaction sa = { .sa_handler = spoil, .sa_flags = SA_RESTART };
	unsigned a, b, c = 0, d;
	int wrong = 0;

	__cpuid(1, a, b, c, d);
	have_avx = c & bit_AVX && c & bit_OSXSAVE;
	sigaction(SIGALRM, &sa, NULL);
	timer(1000);
	SAY("#: one thread\n");
	for (unsigned i = 0; ticks < 200; i++)
		wrong += one_round(i, i % 2 ? SYS_getpid : NO_CALL);
	SAY("%d wrong\n", wrong);
	SAY("#: processes\n");
	SAY("%d wrong\n", in_processes());
	SAY("#: threads\n");
	in_threads();
	timer(0);
	SAY("#: inheritance\n");
	inheritance();
	return 0;
}
