/*
 * The scheduler booted on the simulated machine of arch/host/sim.h: sched/ and time/timer.c as they
 * are, threads that are fibers, and what must hold at the end of each run: every thread gone, every
 * queue empty, every counter consistent.
 *
 *	sched_run(cpus, seed, fn);     fn runs as the first thread; ends when all threads have
 */
#pragma once

#include <string.h>

#include "time/timer.c" /* its state is started anew for each run */

#include "arch/host/fiber.h"
#include "arch/host/sim.h"
#include "debug/trace.h"
#include "sched/internal.h"
#include "sched/memory.h"
#include "sched/mutex.h"
#include "sched/rq.h"
#include "sched/sched.h"
#include "unit.h"

static struct {
	int (*fn)(void *arg);
	u32 cpus;
	u64 seed;
	u64 threads; /* their structs that are allocated */
	bool booted, main_done;
} host_run;

/* Nobody records here. */
void trace_name_thread(u32 tid, u32 tgid, u32 parent, const char *name)
{
}

u64 clock_tsc_hz(void)
{
	return NSEC_PER_SEC; /* host_cycles */
}

u64 clock_cycles_to_ns(u64 cycles)
{
	return cycles;
}

u64 clock_ns(void)
{
	return sim_time();
}

/* In a simulation there is no way back to cmocka: the run ends, and says with which seed. */
#define sim_check(cond)                                                                            \
	do {                                                                                       \
		if (!(cond))                                                                       \
			panic("%s:%d: %s does not hold (%u CPUs, seed %lu)", __FILE__, __LINE__,   \
			      #cond, host_run.cpus, host_run.seed);                                \
	} while (0)

#define sim_check_eq(a, b)                                                                         \
	do {                                                                                       \
		u64 check_a_ = (u64)(a), check_b_ = (u64)(b);                                      \
		if (check_a_ != check_b_)                                                          \
			panic("%s:%d: %s is %lu, %s is %lu (%u CPUs, seed %lu)", __FILE__,         \
			      __LINE__, #a, check_a_, #b, check_b_, host_run.cpus, host_run.seed); \
	} while (0)

static struct thread *host_thread_alloc(void)
{
	struct thread *t = calloc(1, sizeof(struct thread));

	__atomic_fetch_add(&host_run.threads, 1, __ATOMIC_RELAXED);
	return t;
}

/*
 * As in the kernel's slabs the memory of a thread stays memory of threads: who spins for a mutex may
 * still look at it. So it goes back at the end of the run only, and whoever trusts it meets poison.
 */
static struct thread *host_dead;

static void host_thread_free(struct thread *t)
{
	memset(t, 0x5a, offsetof(struct thread, all));
	struct thread *head = __atomic_load_n(&host_dead, __ATOMIC_RELAXED);
	do
		t->all.next = (struct list_node *)head;
	while (!__atomic_compare_exchange_n(&host_dead, &head, t, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED));
	__atomic_fetch_sub(&host_run.threads, 1, __ATOMIC_RELEASE);
}

static void host_bury(void)
{
	while (host_dead) {
		struct thread *t = host_dead;

		host_dead = (struct thread *)t->all.next;
		free(t);
	}
}

static void host_switch_space(struct aspace *next)
{
	this_cpu_write(active_space, next);
}

/* All CPUs sleep: only idle threads may be left. */
static bool host_finished(void)
{
	return __atomic_load_n(&host_run.main_done, __ATOMIC_ACQUIRE) &&
	       __atomic_load_n(&host_run.threads, __ATOMIC_ACQUIRE) == host_run.cpus - 1;
}

static bool host_idle_work(void)
{
	return false;
}

static const struct sched_memory_ops host_memory = {
	.thread_alloc = host_thread_alloc,
	.thread_free = host_thread_free,
	.stack_alloc = host_stack_alloc,
	.stack_free = host_stack_free,
	.switch_space = host_switch_space,
	.idle_work = host_idle_work,
};

static int host_main(void *arg)
{
	int ret = host_run.fn(arg);

	__atomic_store_n(&host_run.main_done, true, __ATOMIC_RELEASE);
	return ret;
}

static void host_boot_first(void)
{
	sched_init();
	timer_set_event(&sim_clock_event);
	for (u32 cpu = 1; cpu < host_run.cpus; cpu++)
		if (sched_cpu_init(cpu))
			panic("no memory");
	irq_enable();
	sched_start_ticking();
	__atomic_store_n(&host_run.booted, true, __ATOMIC_RELEASE);
	struct thread *t = thread_create("main", host_main, NULL, SCHED_LEVEL_NORMAL);
	thread_put(t);
	sched_idle();
}

static void host_boot(u32 cpu)
{
	if (cpu == 0)
		host_boot_first();
	while (!__atomic_load_n(&host_run.booted, __ATOMIC_ACQUIRE))
		cpu_relax();
	timer_set_event(&sim_clock_event);
	sched_cpu_enter();
}

static void host_check_end(void)
{
	sim_check_eq(thread_count(), 0);
	sim_check_eq(host_stacks_in_use(), host_run.cpus - 1);
	for (u32 cpu = 0; cpu < host_run.cpus; cpu++) {
		struct rq *rq = per_cpu_ptr(&runqueue, cpu);

		sim_check_eq(rq->runnable, 0);
		sim_check_eq(rq->top, SCHED_LEVELS);
		sim_check(!spin_is_locked(&rq->lock));
		sim_check(rq_curr(rq) == rq_idle_thread(rq));
		sim_check_eq(rq->fair.nr, 0);
		sim_check_eq(rq->fair.weight, 0);
		sim_check_eq(*per_cpu_ptr(&preempt_word, cpu) & ~PREEMPT_NO_RESCHED, 0);
		if (cpu > 0) {
			host_stack_free(rq_idle_thread(rq)->stack_top);
			host_thread_free(rq_idle_thread(rq));
		}
	}
}

/* How the machine is to be; all 0: as the seed says. */
static struct sim_setup host_setup;

static void sched_run(u32 cpus, u64 seed, int (*fn)(void *arg))
{
	struct sim_setup setup = host_setup;

	memset(timer_cpus, 0, sizeof(timer_cpus));
	memset(runqueue, 0, sizeof(runqueue));
	for (u32 cpu = 0; cpu < NR_CPUS; cpu++)
		preempt_word[cpu] = PREEMPT_NO_RESCHED;
	memset(&host_run, 0, sizeof(host_run));
	host_run.fn = fn;
	host_run.cpus = cpus;
	host_run.seed = seed;
	sched_memory = &host_memory;
	setup.cpus = cpus;
	setup.seed = seed;
	setup.boot = host_boot;
	setup.finished = host_finished;
	sim_run(&setup);
	host_check_end();
	host_bury();
}

/* ThreadSanitizer sees races also where they do not bite: fewer seeds do. */
#ifdef HOST_TSAN
#define SEEDS_PART 3
#else
#define SEEDS_PART 1
#endif

/* fn under n seeds on 1 ... max_cpus CPUs in turn. UNIT_SEED is the first. */
static inline void sched_run_seeds(u64 n, u32 max_cpus, int (*fn)(void *arg))
{
	u64 seed = unit_seed(), runs = unit_rounds(n) / SEEDS_PART;

	memset(&sim_counts, 0, sizeof(sim_counts));
	for (u64 i = 0; i < runs; i++)
		sched_run(1 + (u32)(i % max_cpus), seed + i, fn);
	printf("# %lu runs: %lu points, %lu times another CPU went on, %lu timer interrupts, "
	       "%lu IPIs, %lu halts\n",
	       runs, sim_counts.points, sim_counts.moves, sim_counts.timer_interrupts,
	       sim_counts.ipis, sim_counts.halts);
}
