/*
 * The soak: many kinds of load at once, each of which checks what it does (docs/testing.md). A kind
 * is a function that is called again and again in a process of its own and leaves nothing behind: no
 * process, no mapping, no file. Linux system calls only: the same program passes on Linux.
 */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "books.h"

#define PAGE          4096ul
#define MAX_WORKERS   32
#define STALL_SECONDS 120

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0 ... n - 1 */
static inline unsigned rng_below(struct rng *r, unsigned n)
{
	return (unsigned)(rng_next(r) % n);
}

/* What was done, for the progress line. */
enum count { FORKS, EXECS, KILLS, MESSAGES, MAPPINGS, FILES, SIGNALS, FUTEXES, POLICIES, COUNTS };

struct worker {
	const char *name;
	pid_t pid;
	_Atomic uint64_t rounds;
	uint64_t seen_rounds; /* by main: */
	time_t seen_at;
};

/* One page, shared by all processes of the soak. */
struct shared {
	atomic_bool stop;
	_Atomic unsigned failures;
	_Atomic uint64_t count[COUNTS];
	struct worker worker[MAX_WORKERS];
};

extern struct shared *shared;
extern bool in_victim; /* somebody is going to kill our process group: make no others */
extern const char *self_path;

static inline void count(enum count what)
{
	atomic_fetch_add_explicit(&shared->count[what], 1, memory_order_relaxed);
}

static inline bool stopping(void)
{
	return atomic_load_explicit(&shared->stop, memory_order_relaxed);
}

/* Tells what was wrong, and has the soak end with a failure. */
__attribute__((format(printf, 1, 2))) void fail(const char *fmt, ...);

/* A child, or the end of this process: fork must not fail within our limits. */
pid_t do_fork(void);
/* Waits for that child, whatever interrupts; the status as wait4 gives it. */
int reap(pid_t pid);
void nap(struct rng *r, unsigned max_us);
uint64_t now_us(void);

/* The kinds. */
void hack_round(struct rng *r);    /* groups of senders and receivers over pipes or sockets */
void tree_round(struct rng *r);    /* trees of processes: fork, vfork, exec, exit; killed */
void storm_round(struct rng *r);   /* threads that map, protect, move, touch */
void files_round(struct rng *r);   /* files, directories, links, shared mappings of files */
void signals_round(struct rng *r); /* signals, queued signals, timers, stops */
void futex_round(struct rng *r);   /* mutexes, conditions, robust lists */
void policy_round(struct rng *r);  /* affinities, policies and nice values of all the others */
void victim_round(struct rng *r);  /* any of the others, killed at any moment */

int tree_exec_main(char **argv); /* the program that trees execute */
