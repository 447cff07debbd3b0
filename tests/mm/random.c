/*
 * The random test of mm/ as a program: runs of records made from seeds, several at a time, each in
 * a process of its own; or one run from a file. Prints TAP.
 *
 *	mm_random                  until UNIT_RUNS runs or UNIT_SECONDS seconds are over
 *	mm_random --replay FILE    FILE as tests/fuzz and a failing run leave it; tells each call
 *	mm_random --shrink FILE    makes a FILE that fails smaller, in place
 *
 *	UNIT_SEED=n      the first run's seed (1); the others count on from there
 *	UNIT_RUNS=n      runs (64)         UNIT_OPS=n    records of each (4000)
 *	UNIT_SECONDS=n   no new run after  UNIT_JOBS=n   at the same time (1)
 *	UNIT_CPUS=n      simulated CPUs (1, 2, 3, 4 in turn)
 *
 * A run that fails is cut down: records are left out as long as it still fails, for UNIT_SHRINK
 * seconds (30).
 * What is left goes to a file in UNIT_DIR (build/fuzz/mm).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mm/large.h"
#include "mm/tlb.h"
#include "tests/mm/mm.h"

#define MAX_RECORDS 1000000
#define MAX_JOBS    64

/* What runs report to who started them. */
static struct shared {
	u64 position; /* of the run that failed */
	struct run_counts counts;
	struct vm_stats vm;
	struct tlb_stats tlb;
	struct large_stats large;
} * shared;

static struct record *records; /* the first one is the header: CPUs - 1, and which of: */
static const unsigned contexts[] = { 1, 3, 6 };

static u64 env(const char *name, u64 def)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : def;
}

/* Adds one struct of counters to another. */
static void add(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size / sizeof(u64); i++)
		__atomic_fetch_add((u64 *)to + i, ((const u64 *)from)[i], __ATOMIC_RELAXED);
}

static void run_here(const char *name, const struct record *r, u64 n)
{
	struct run run = { .name = name,
			   .cpus = 1 + r->byte[0] % MAX_CPUS,
			   .contexts = contexts[r->byte[1] % ARRAY_SIZE(contexts)],
			   .record = r + 1,
			   .n = n - 1 };
	struct vm_stats v;
	struct tlb_stats t;
	struct large_stats l;

	run_records(&run);
	vm_stats(&v);
	tlb_stats(&t);
	add(&shared->counts, &run_counts, sizeof(run_counts));
	add(&shared->vm, &v, sizeof(v));
	add(&shared->tlb, &t, sizeof(t));
	large_stats(&l);
	check(l.in_use == 0, "%lu large pages left", l.in_use);
	add(&shared->large, &l, sizeof(l));
}

static void make_records(u64 seed, u64 n)
{
	u64 state = seed;

	for (u64 i = 0; i < n; i++)
		for (unsigned k = 0; k < RECORD_BYTES; k += 8) {
			u64 v = random_next(&state);

			memcpy(&records[i].byte[k], &v, 8);
		}
	records[0].byte[0] = (u8)(getenv("UNIT_CPUS") ? env("UNIT_CPUS", 1) - 1 : seed % MAX_CPUS);
	records[0].byte[1] = (u8)(seed / MAX_CPUS % ARRAY_SIZE(contexts));
}

/* In a process of its own. Its id. */
static pid_t start_run(const char *name, const struct record *r, u64 n, bool quiet)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid != 0)
		return pid;
	alarm(quiet ? 20 : 300);
	if (quiet && !freopen("/dev/null", "w", stderr))
		_exit(2);
	run_quiet = quiet;
	run_here(name, r, n);
	fflush(stdout);
	_exit(0);
}

static bool run_fails(const struct record *r, u64 n)
{
	pid_t pid = start_run("", r, n, true);
	int status;

	waitpid(pid, &status, 0);
	return status != 0;
}

/* Leaves out what is not needed for the failure. Returns the records left. */
static u64 shrink(u64 n)
{
	struct record *less = calloc(n, sizeof(*less));
	time_t end = time(NULL) + (time_t)env("UNIT_SHRINK", 30);

	for (u64 size = n / 2; size > 0 && time(NULL) < end; size = size > 1 ? size / 2 : 0)
		for (u64 at = 1; at < n && time(NULL) < end;) {
			u64 cut = MIN(size, n - at);

			memcpy(less, records, at * sizeof(*less));
			memcpy(less + at, records + at + cut, (n - at - cut) * sizeof(*less));
			if (run_fails(less, n - cut)) {
				n -= cut;
				memcpy(records, less, n * sizeof(*less));
			} else {
				at += cut;
			}
		}
	free(less);
	return n;
}

static void save(const char *path, u64 n)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(records, sizeof(*records), n, f) != n || fclose(f) != 0)
		printf("# cannot write %s\n", path);
	else
		printf("# %lu records are left; again, with each call told: ./jiffy fuzz mm --replay "
		       "%s\n",
		       n - 1, path);
}

static void tell_failure(u64 seed, u64 ops)
{
	const char *dir = getenv("UNIT_DIR") ? getenv("UNIT_DIR") : "build/fuzz/mm";
	u64 n = MIN(shared->position + 20, ops);
	char path[512];

	printf("not ok - random calls, seed %lu\n", seed);
	printf("# again: UNIT_SEED=%lu UNIT_RUNS=1 UNIT_OPS=%lu %s\n", seed, ops,
	       program_invocation_name);
	make_records(seed, ops);
	if (env("UNIT_SHRINK", 30) == 0)
		return;
	if (!run_fails(records, n))
		n = ops;
	snprintf(path, sizeof(path), "mkdir -p '%s'", dir);
	if (system(path) != 0)
		return;
	snprintf(path, sizeof(path), "%s/fail-%lu", dir, seed);
	save(path, shrink(n));
}

static const char *const call_names[CALL_KINDS] = {
	"mmap",  "munmap", "mprotect", "madvise",  "mremap", "brk",     "mlock", "mincore",
	"msync", "fork",   "exit",     "truncate", "touch",  "outside", "limit", "wrong",
};

/* Was everything there that the test is about? */
static bool tell_counts(bool several)
{
	const struct shared *s = shared;
	u64 calls = 0;
	bool ok = true;

	for (unsigned i = 0; i < CALL_KINDS; i++) {
		calls += s->counts.calls[i];
		ok &= s->counts.calls[i] > 0;
	}
	printf("# %lu calls:", calls);
	for (unsigned i = 0; i < CALL_KINDS; i++)
		printf(" %s %lu", call_names[i], s->counts.calls[i]);
	printf("\n# %lu of them in %lu groups at the same time (%lu made of steps, %lu mremap in pieces), %lu steps of "
	       "explanation, %lu "
	       "hand-overs; %lu failed allocations, %lu beyond a limit, stacks grew %lu times\n",
	       s->counts.group_calls, s->counts.groups, s->counts.stepped, s->counts.moved,
	       s->counts.orders, s->counts.handovers, s->counts.injected, s->counts.refused,
	       s->counts.stacks_grown);
	printf("# faults %lu: zero page %lu, copied %lu, taken back %lu, spurious %lu; tables copied "
	       "%lu, taken back %lu\n",
	       s->vm.faults, s->vm.zero_page_faults, s->vm.cow_copied, s->vm.cow_reused,
	       s->vm.spurious, s->vm.tables_copied, s->vm.tables_taken_back);
	printf("# pages of 2 MiB %lu, split %lu, none to be had %lu; pages mapped around %lu\n",
	       s->vm.large_faults, s->large.splits, s->large.fallbacks, s->vm.mapped_around);
	printf("# flushes: page %lu, range %lu, space %lu, avoided %lu; loads of CR3 %lu, kept %lu\n",
	       s->tlb.page, s->tlb.range, s->tlb.space, s->tlb.avoided, s->tlb.cr3_loads,
	       s->tlb.cr3_skipped);
	ok &= s->vm.zero_page_faults && s->vm.cow_copied && s->vm.cow_reused && s->vm.spurious &&
	      s->vm.large_faults && s->large.splits && s->large.fallbacks && s->vm.mapped_around &&
	      s->vm.tables_copied && s->vm.tables_taken_back && s->tlb.page && s->tlb.range &&
	      s->tlb.space && s->tlb.avoided && s->tlb.cr3_loads && s->tlb.cr3_skipped &&
	      s->counts.injected && s->counts.refused && s->counts.stacks_grown &&
	      (!several ||
	       (s->counts.groups && s->counts.stepped && s->counts.moved && s->counts.handovers));
	printf("%s - each kind of call, fault and flush happened\n", ok ? "ok" : "not ok");
	return ok;
}

static int run_many(void)
{
	u64 seed = env("UNIT_SEED", 1), runs = env("UNIT_RUNS", 64), ops = env("UNIT_OPS", 4000);
	u64 jobs = MIN(env("UNIT_JOBS", 1), (u64)MAX_JOBS), started = 0, busy = 0, seconds;
	time_t end;
	struct {
		pid_t pid;
		u64 seed;
	} job[MAX_JOBS] = { 0 };
	u64 failed = UINT64_MAX, last = seed + runs;

	ops = MAX(MIN(ops, (u64)MAX_RECORDS), 2ul);
	seconds = env("UNIT_SECONDS", 100000);
	end = time(NULL) + (time_t)seconds;
	for (;;) {
		int status;
		pid_t pid;

		while (busy < jobs && seed < last && failed == UINT64_MAX && time(NULL) < end) {
			u64 i = 0;
			char name[64];

			while (job[i].pid)
				i++;
			make_records(seed, ops);
			snprintf(name, sizeof(name), "seed %lu", seed);
			job[i].seed = seed++;
			job[i].pid = start_run(name, records, ops, false);
			busy++;
			started++;
		}
		if (busy == 0)
			break;
		pid = wait(&status);
		for (u64 i = 0; i < jobs; i++)
			if (job[i].pid == pid) {
				job[i].pid = 0;
				busy--;
				if (status != 0)
					failed = MIN(failed, job[i].seed);
			}
	}
	if (failed != UINT64_MAX) {
		tell_failure(failed, ops);
		return 1;
	}
	printf("ok - %lu runs of %lu records, seeds %lu to %lu: as the model says\n", started, ops,
	       seed - started, seed - 1);
	return tell_counts(env("UNIT_CPUS", 2) > 1) ? 0 : 1;
}

/* Records in the file. */
static u64 load(const char *path)
{
	FILE *f = fopen(path, "r");
	u64 n;

	if (!f) {
		fprintf(stderr, "mm_random: cannot read %s\n", path);
		exit(2);
	}
	n = fread(records, sizeof(*records), MAX_RECORDS, f);
	fclose(f);
	if (n < 1) {
		fprintf(stderr, "mm_random: %s is too short: a header and records of %d bytes\n",
			path, RECORD_BYTES);
		exit(2);
	}
	return n;
}

static int replay(const char *path)
{
	u64 n = load(path);

	run_tells = true;
	run_here(path, records, n);
	printf("# %s: as the model says\n", path);
	return 0;
}

static int shrink_file(const char *path)
{
	u64 n = load(path);

	if (!run_fails(records, n)) {
		printf("# %s: as the model says\n", path);
		return 0;
	}
	save(path, shrink(n));
	return 1;
}

int main(int argc, char **argv)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	records = calloc(MAX_RECORDS, sizeof(*records));
	if (shared == MAP_FAILED || !records)
		return 2;
	run_failed_at = &shared->position;
	if (argc == 1)
		return run_many();
	if (argc == 3 && !strcmp(argv[1], "--replay"))
		return replay(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--shrink"))
		return shrink_file(argv[2]);
	fprintf(stderr, "usage: mm_random [--replay FILE | --shrink FILE]\n");
	return 2;
}
