/*
 * sched_yield among threads and among processes, from one's call to the next one's return.
 *
 * Who leaves takes a stamp into shared memory, who arrives takes another: each sample is one switch. A
 * yield that comes back to the same partner is no sample. Under SCHED_FIFO every yield switches, and
 * each partner's own count of context switches must have advanced by exactly its number of yields.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>

struct partner {
	uint32_t id, of, yields;
	uint32_t enough; /* samples of all partners */
	volatile long switches;
};

static void yield_loop(struct partner *p)
{
	for (uint32_t i = 0; i < p->yields && shared->taken < p->enough; i++) {
		shared->left_by = p->id;
		shared->left_at = mark_begin();
		sys0(SYS_sched_yield);
		uint64_t now = mark_end();

		if (shared->left_by != p->id)
			record(now - shared->left_at);
	}
}

/* All are there before anybody begins. */
static void meet(struct partner *p)
{
	__atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
	while (shared->ready < p->of)
		sys0(SYS_sched_yield);
}

static void run_partner(struct partner *p)
{
	long before;

	switches(RUSAGE_THREAD); /* its page faults are over */
	meet(p);
	before = switches(RUSAGE_THREAD);
	yield_loop(p);
	p->switches = switches(RUSAGE_THREAD) - before;
}

static void run_alone(const struct bench *b)
{
	struct partner p = { 1, 1, b->samples, MAX_SAMPLES, 0 };
	long before;

	fifo();
	switches(RUSAGE_SELF);
	before = switches(RUSAGE_SELF);
	for (uint32_t i = 0; i < p.yields; i++)
		TIMED(sys0(SYS_sched_yield));
	claim("switches", switches(RUSAGE_SELF) - before, 0);
	report();
}

/* The control: nobody to yield to. */
static void control_alone(void)
{
	control_begin();
	for (int i = 0; i < 200; i++)
		CONTROL(sys0(SYS_sched_yield));
	control_end();
}

static int thread_main(void *arg)
{
	run_partner(arg);
	return 0;
}

#define THREAD_FLAGS                                                                               \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

/* The last one to leave finds nobody: it may have one switch less. By the wall clock a kernel's own thread
 * may come in between, once or twice. */
static void claim_switches(const struct partner *p)
{
	claim_range("switches of one partner", p->switches, p->yields - 1,
		    p->yields + 2 + p->yields / 50);
}

static void run_threads(const struct bench *b)
{
	static struct partner p[8];
	uint32_t n = (uint32_t)b->arg;

	fifo();
	control_alone();
	for (uint32_t i = 0; i < n; i++) {
		p[i] = (struct partner){ i + 1, n, b->samples / n, MAX_SAMPLES, 0 };
		if (i == 0)
			continue;
		char *stack = map_anon(65536);

		touch(stack + 65536 - 2 * PAGE, 2 * PAGE);
		if (clone(thread_main, stack + 65536 - 64, THREAD_FLAGS, &p[i]) < 0)
			result_is("clone", -errno);
	}
	run_partner(&p[0]);
	for (uint32_t i = 1; i < n; i++)
		while (!p[i].switches)
			sys0(SYS_sched_yield);
	for (uint32_t i = 0; i < n; i++)
		claim_switches(&p[i]);
	report();
}

/* arg: 1 for SCHED_FIFO, 0 for the policy of every program. */
static void run_processes(const struct bench *b)
{
	struct partner *p =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	long loads;

	if (p == MAP_FAILED)
		failed("mmap");
	if (b->arg)
		fifo();
	control_alone();
	/* The fair policies let many a yield return to its caller, who has not had his share yet. */
	for (uint32_t i = 0; i < 2; i++)
		p[i] = (struct partner){ i + 1, 2, b->arg ? b->samples / 2 : 100 * b->samples,
					 b->arg ? MAX_SAMPLES : b->samples, 0 };
	pid_t child = fork();

	if (child < 0)
		failed("fork");
	if (child == 0) {
		run_partner(&p[1]);
		_exit(0);
	}
	loads = kernel_counter("tlb", "cr3_loads");
	run_partner(&p[0]);
	if (waitpid(child, &status, 0) != child || status)
		failed("the partner");
	/* Another address space each time: Jiffy counts that; Linux does not tell. */
	if (loads >= 0)
		claim_range("loads of CR3", kernel_counter("tlb", "cr3_loads") - loads,
			    (long)shared->taken, (long)shared->taken + 1000);
	if (b->arg) {
		claim_switches(&p[0]);
		claim_switches(&p[1]);
	} else {
		/* A sample is a switch. */
		claim_range("switches", p[0].switches + p[1].switches, (long)shared->taken - 1,
			    2l * shared->taken + 100);
		claim_range("samples", (long)shared->taken, 100, b->samples);
	}
	report();
}

/*
 * Linux's kernel threads: a module (bench/module) measures when it is loaded, and /proc has its samples.
 * Those of Jiffy come from its test kernel (bench/kernel/switch.c), and not through here.
 */
static void run_kernel_threads(const struct bench *b)
{
	long fd = must("open kthread.ko", sys3(SYS_open, (long)kernel_module, O_RDONLY, 0)), n;
	static uint32_t sample[1000];

	must("finit_module", sys3(SYS_finit_module, fd, (long)"", 0));
	fd = must("open /proc/bench_kthread",
		  sys3(SYS_open, (long)"/proc/bench_kthread", O_RDONLY, 0));
	n = must("read", sys3(SYS_read, fd, (long)sample, sizeof(sample)));
	for (unsigned i = 0; i < (unsigned)n / sizeof(sample[0]); i++)
		record(sample[i]);
	claim_range("samples", shared->taken, b->samples - 2, b->samples);
	report();
}

const struct bench bench_yield[] = {
	{ "switch.kthread", "yield switch, 2 kernel threads (FIFO)", run_kernel_threads, 1000, 1,
	  0 },
	{ "yield.alone", "sched_yield, nobody to yield to", run_alone, 500, 1, 0 },
	{ "yield.2threads", "yield switch, 2 threads (FIFO)", run_threads, 1000, 1, 2 },
	{ "yield.3threads", "yield switch, 3 threads (FIFO)", run_threads, 1002, 1, 3 },
	{ "yield.8threads", "yield switch, 8 threads (FIFO)", run_threads, 1000, 1, 8 },
	{ "yield.2processes", "yield switch, 2 processes (FIFO)", run_processes, 1000, 1, 1 },
	{ "yield.2processes.other", "yield switch, 2 processes (SCHED_OTHER)", run_processes, 1000,
	  1, 0 },
	{ 0 },
};
