/*
 * ./jiffy fuzz calls: system calls that are nearly right, by many threads of many processes on several
 * CPUs (docs/testing.md). What they return does not matter; the kernel must live on, everybody must be
 * killable, and its books must agree at the end.
 *
 * All processes share one area of addresses for their mappings, a dozen descriptors and a page of words and
 * numbers, so that their calls meet. An argument is sensible most of the time, and odd now and then.
 */
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;
typedef uint32_t u32;

#define PAGE      4096ul
#define HUGE      (2ul << 20)
#define AREA      0x100000000000ul /* where everybody maps */
#define AREA_SIZE (64ul << 20)
#define FIRST_FD  3 /* the descriptors that are used, in turn: so many */
#define FDS       12
#define NAMES     64
#define WORDS     8
#define MAX_FORKS 200

/* What all processes of a round see. */
struct board {
	atomic_bool stop;
	_Atomic int pid[NAMES]; /* processes and threads, some of them gone */
	_Atomic int forks;      /* MAX_FORKS at most */
	_Atomic u64 calls;
	_Atomic u32 word[WORDS]; /* futexes */
	struct {
		void *next;
	} node[NAMES]; /* robust lists, most of them wrong */
};
#define board ((struct board *)0x234567000000ul) /* not where an odd value points */

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* ---- pick.c: arguments --------------------------------------------------------------------------- */

void pick_seed(u64 seed);
u64 pick(void);
u64 below(u64 n); /* 0 ... n - 1 */
bool one_in(u64 n);
u64 odd_value(void);
u64 maybe(u64 usual); /* an odd value now and then */
u64 some_page(void);
u64 some_length(void);
u64 some_pointer(void); /* into the area, which may be mapped there or not */
int some_prot(void);
int some_fd(void);
int some_pid(void); /* never that of init or of the supervisor, but for odd values */
u64 some_word(void);
struct timespec *short_time(void); /* this thread's; up to 3 ms, or odd */

/* A system call, counted. */
#define call(...)                                                                                  \
	(atomic_fetch_add_explicit(&board->calls, 1, memory_order_relaxed), syscall(__VA_ARGS__))

/* ---- the groups: a call or a few ----------------------------------------------------------------- */

void call_memory(void);
void call_futex(void);
void call_robust_list(void);
void call_sched(void);
void call_signal(void);
void call_process(void);
void call_file(void);

/* ---- run.c --------------------------------------------------------------------------------------- */

#define AGAIN "again" /* argument of a program that goes on after exec */
#define QUICK "quick" /* of one that ends at once */

extern int generation;                 /* forks since the supervisor's */
bool try_access(void (*access)(void)); /* false: it ended by SIGSEGV or SIGBUS */
void handle_signal(int sig, siginfo_t *info, void *context);
void write_down(int pid); /* somebody to meet */
void run_calls(u64 n);    /* so many turns, or until the round ends */
_Noreturn void run_worker(u64 seed, unsigned threads);
