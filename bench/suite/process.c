/*
 * Processes and threads, from making one to having waited for it. The child ends at once, with a
 * status that is checked; a fork's child of an unmeasured last round looks at all of its memory.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <sys/wait.h>

extern char exit_program[]; /* path of suite-exit (main.c) */

enum child_does { CHILD_EXITS, CHILD_EXECS };

static inline void wait_for(long child, int *status)
{
	if (sys6(SYS_wait4, child, (long)status, 0, 0, 0, 0) != child)
		failed("wait4");
}

static inline void fork_once(enum child_does what, int *status)
{
	static char *const none[] = { NULL };
	long child = sys0(SYS_fork);

	if (child == 0) {
		if (what == CHILD_EXECS)
			sys3(SYS_execve, (long)exit_program, (long)none, (long)none);
		sys3(SYS_exit_group, what == CHILD_EXECS ? 1 : 42, 0, 0);
	}
	if (child < 0)
		result_is("fork", child);
	wait_for(child, status);
}

static void check_status(int status)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 42)
		claim("the child's status", status, 42 << 8);
}

/* The child sees each page as it was, although the parent writes meanwhile. */
static void check_contents(char *p, unsigned long size)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		failed("fork");
	if (child == 0) {
		sys0(SYS_sched_yield);
		for (unsigned long i = 0; i < size; i += 64 * PAGE)
			if (p[i] != 1)
				_exit(1);
		_exit(42);
	}
	for (unsigned long i = 0; i < size; i += 64 * PAGE)
		p[i] = 2;
	wait_for(child, &status);
	check_status(status);
}

#define WITH_HUGE 0x10000 /* arg: MiB touched */

static void run_fork(const struct bench *b)
{
	unsigned long size = (unsigned long)(b->arg & 0xffff) * MIB;
	int status = 0, huge = !!(b->arg & WITH_HUGE);
	char *p = NULL;
	long before = faults();

	if (size) {
		p = map_aligned(size, huge);
		before = faults();
		touch(p, size);
		if (huge && faults() - before > (long)(2 * size / HUGE))
			missing("no 2 MiB pages");
		if (!huge)
			claim_range("faults", faults() - before, (long)(size / PAGE),
				    (long)(size / PAGE) + 2);
	}
	fork_once(CHILD_EXITS, &status);
	for (unsigned i = 0; i < b->samples; i++) {
		TIMED(fork_once(CHILD_EXITS, &status));
		check_status(status);
	}
	if (size)
		check_contents(p, size);
	report();
}

static void run_fork_call(const struct bench *b)
{
	int status;

	for (unsigned i = 0; i < b->samples; i++) {
		long child;

		TIMED({
			child = sys0(SYS_fork);
			if (child == 0)
				sys3(SYS_exit_group, 42, 0, 0);
		});
		if (child < 0)
			result_is("fork", child);
		wait_for(child, &status);
		check_status(status);
	}
	report();
}

static void run_exec(const struct bench *b)
{
	int status = 0;

	fork_once(CHILD_EXECS, &status);
	for (unsigned i = 0; i < b->samples; i++) {
		TIMED(fork_once(CHILD_EXECS, &status));
		check_status(status);
	}
	report();
}

/*
 * vfork's child runs on this very stack frame, and returns from nothing: call and end are inlined here,
 * and what the parent uses afterwards is volatile.
 */
static __attribute__((noinline)) long vfork_once(enum child_does what)
{
	static char *const none[] = { NULL };
	volatile long child = sys0(SYS_vfork);

	if (child == 0) {
		if (what == CHILD_EXECS)
			sys3(SYS_execve, (long)exit_program, (long)none, (long)none);
		sys3(SYS_exit_group, what == CHILD_EXECS ? 1 : 42, 0, 0);
		__builtin_unreachable();
	}
	return child;
}

static void run_vfork(const struct bench *b)
{
	int status = 0;

	for (unsigned i = 0; i < b->samples + 1; i++) {
		long child;

		if (i == 1)
			shared->taken = 0; /* the first was for the caches of objects */
		TIMED({
			child = vfork_once((enum child_does)b->arg);
			if (child > 0)
				wait_for(child, &status);
		});
		if (child < 0)
			result_is("vfork", child);
		check_status(status);
	}
	report();
}

/* ---- threads ------------------------------------------------------------------------------------- */

static volatile uint32_t thread_word;
static volatile long threads_run;

static int thread_main(void *arg)
{
	threads_run++;
	return 0;
}

static inline long create_and_join(char *stack_top)
{
	long tid;
	uint32_t word;

	thread_word = 1;
	tid = clone(thread_main, stack_top,
		    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			    CLONE_SYSVSEM | CLONE_CHILD_CLEARTID,
		    NULL, NULL, NULL, &thread_word);
	while (tid > 0 && (word = thread_word) != 0)
		sys6(SYS_futex, (long)&thread_word, FUTEX_WAIT, word, 0, 0, 0);
	return tid;
}

static void run_thread(const struct bench *b)
{
	char *stack = map_anon(65536);

	touch(stack, 65536);
	for (unsigned i = 0; i < b->samples + 1; i++) {
		long tid;

		if (i == 1)
			shared->taken = 0;
		TIMED(tid = create_and_join(stack + 65536 - 64));
		if (tid < 0)
			result_is("clone", -errno);
	}
	claim("threads that ran", threads_run, b->samples + 1);
	report();
}

const struct bench bench_process[] = {
	{ "thread", "thread create and join", run_thread, 100, 1, 0 },
	{ "fork.call", "fork, the call alone, small process", run_fork_call, 100, 1, 0 },
	{ "fork.0", "fork + exit + wait, small process", run_fork, 100, 1, 0 },
	{ "fork.16", "fork + exit + wait, 16 MiB touched", run_fork, 50, 1, 16 },
	{ "fork.256", "fork + exit + wait, 256 MiB touched", run_fork, 5, 1, 256 },
	{ "fork.1024", "fork + exit + wait, 1 GiB touched", run_fork, 3, 1, 1024 },
	{ "fork.1024.huge", "fork + exit + wait, 1 GiB of 2 MiB pages", run_fork, 3, 1,
	  1024 | WITH_HUGE },
	{ "vfork", "vfork + exit + wait", run_vfork, 100, 1, CHILD_EXITS },
	{ "vfork.exec", "vfork + exec + exit + wait", run_vfork, 100, 1, CHILD_EXECS },
	{ "fork.exec", "fork + exec + exit + wait, static program", run_exec, 100, 1, 0 },
	{ 0 },
};
