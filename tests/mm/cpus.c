/*
 * Several simulated CPUs in one host thread: each has a stack, and they hand over to each other at
 * points that a seed chooses. So every interleaving can be had again.
 *
 * A point is every atomic operation of the code under test (tests/mm/points.c), every change of the
 * interrupt flag, and every turn of a waiting loop. How far apart hand-overs are differs from run
 * to run: every few points, or seldom, so that one CPU gets far ahead; and now and then one stays
 * behind. What is in between looks
 * like one step to others; for code that shares data only through locks and atomic operations, that
 * is no restriction. Memory is sequentially consistent here: what a store buffer does to two CPUs
 * must be shown elsewhere (tests/model).
 *
 * A shootdown puts a request at each CPU, which serves it at one of its next points with interrupts
 * on; who asked waits, and serves others meanwhile. CPUs that have nothing to do serve at once.
 * When nobody runs beside anybody (between calls of cpus_run) requests are served on the spot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/api/mmu.h"
#include "arch/api/preempt.h"
#include "sync/rcu.h"
#include "tests/mm/mm.h"

#define STACK_SIZE (256 * KiB)

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifdef ASAN
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size);
#endif

struct request {
	void (*fn)(void *arg);
	void *arg;
	bool pending;
};

struct cpu {
	void *stack, *sp;
	void *asan;
	bool running, irqs;
	u64 stalled; /* others go first until then, in cpus_time */
	void (*fn)(void *arg);
	void *arg;
	struct request from[MAX_CPUS];
	unsigned requests;
};

unsigned mm_cpus = 1;
u64 cpus_time;
void (*cpus_speculate)(u64 seed);

static struct cpu cpus[MAX_CPUS];
static struct {
	bool on;     /* CPUs run beside each other */
	bool nested; /* no points: on behalf of another CPU */
	u64 seed;
	u64 left, gap; /* points to the next hand-over; their usual number */
	u64 late;      /* one point in so many serves a request */
	u64 grace;     /* one hand-over in so many notes that a CPU is between readers */
	u64 waited;    /* turns of waiting loops since somebody last did something */
	unsigned alive;
	void *main_sp, *main_asan;
	const void *main_stack;
	size_t main_size;
} sim;

/* ---- stacks ---------------------------------------------------------------------------------- */

void cpus_switch_stack(void **save, void *to);
__asm__(".text\n"
	".globl cpus_switch_stack\n"
	"cpus_switch_stack:\n"
	"	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
	"	ret\n");

static void switch_begin(void **save, const void *bottom, size_t size)
{
#ifdef ASAN
	__sanitizer_start_switch_fiber(save, bottom, size);
#endif
}

static void switch_end(void *save, const void **bottom, size_t *size)
{
#ifdef ASAN
	__sanitizer_finish_switch_fiber(save, bottom, size);
#endif
}

static void run_as(unsigned cpu)
{
	host_cpu = cpu;
	host_irqs_on = cpus[cpu].irqs;
}

/* From one simulated CPU to another. */
static void hand_over(unsigned to)
{
	struct cpu *me = &cpus[host_cpu];

	if (to == host_cpu)
		return;
	run_counts.handovers++;
	me->irqs = host_irqs_on;
	run_as(to);
	switch_begin(&me->asan, cpus[to].stack, STACK_SIZE);
	cpus_switch_stack(&me->sp, cpus[to].sp);
	switch_end(me->asan, NULL, NULL);
}

static unsigned pick_running(bool other)
{
	unsigned i, n = 0, list[MAX_CPUS];

	for (i = 0; i < mm_cpus; i++)
		if (cpus[i].running && (!other || i != host_cpu) && cpus[i].stalled < cpus_time)
			list[n++] = i;
	for (i = 0; n == 0 && i < mm_cpus; i++)
		if (cpus[i].running && i != host_cpu)
			list[n++] = i;
	return n ? list[random_next(&sim.seed) % n] : host_cpu;
}

static void serve_one(void);

/* The first to run on a CPU's stack. */
static void cpu_main(void)
{
	struct cpu *me = &cpus[host_cpu];

	switch_end(NULL, &sim.main_stack, &sim.main_size);
	me->fn(me->arg);
	me = &cpus[host_cpu];
	check(host_irqs_on, "CPU %u ends with interrupts off", host_cpu);
	check(preempt_count() == 0, "CPU %u ends with preemption off", host_cpu);
	while (me->requests)
		serve_one();
	me->running = false;
	if (--sim.alive > 0) {
		unsigned to = pick_running(true);

		run_as(to);
		switch_begin(NULL, cpus[to].stack, STACK_SIZE);
		cpus_switch_stack(&me->sp, cpus[to].sp);
	} else {
		switch_begin(NULL, sim.main_stack, sim.main_size);
		cpus_switch_stack(&me->sp, sim.main_sp);
	}
	abort();
}

static void prepare_stack(struct cpu *c)
{
	void **sp = (void **)((char *)c->stack + STACK_SIZE);

	*--sp = NULL; /* so that the stack is aligned as after a call */
	*--sp = (void *)cpu_main;
	for (unsigned i = 0; i < 6; i++)
		*--sp = NULL;
	c->sp = sp;
}

/* ---- requests from other CPUs ---------------------------------------------------------------- */

static void serve(unsigned cpu, unsigned from)
{
	struct request *r = &cpus[cpu].from[from];
	bool irqs = host_irqs_on;

	host_irqs_on = false;
	r->fn(r->arg);
	host_irqs_on = irqs;
	r->pending = false;
	cpus[cpu].requests--;
}

/* One request, of whoever; others may come before it that were made later. */
static void serve_one(void)
{
	unsigned me = host_cpu, first = (unsigned)random_next(&sim.seed) % mm_cpus;

	for (unsigned i = 0; i < mm_cpus; i++)
		if (cpus[me].from[(first + i) % mm_cpus].pending) {
			serve(me, (first + i) % mm_cpus);
			break;
		}
}

/* For a CPU that does nothing else: on its behalf, in one step. */
static void serve_for(unsigned cpu, void (*fn)(void *arg), void *arg)
{
	unsigned me = host_cpu;
	bool irqs = host_irqs_on, nested = sim.nested;

	sim.nested = true;
	host_cpu = cpu;
	host_irqs_on = false;
	fn(arg);
	host_cpu = me;
	host_irqs_on = irqs;
	sim.nested = nested;
}

static void shootdown(const u64 *mask, void (*fn)(void *arg), void *arg)
{
	unsigned me = host_cpu;
	bool waits = true;

	check(!sim.on || host_irqs_on || sim.nested, "a shootdown with interrupts off");
	for (unsigned i = 0; i < mm_cpus; i++) {
		if (i == me || (mask && !(mask[0] >> i & 1)))
			continue;
		if (!sim.on || !cpus[i].running) {
			serve_for(i, fn, arg);
			continue;
		}
		cpus[i].from[me] = (struct request){ .fn = fn, .arg = arg, .pending = true };
		cpus[i].requests++;
	}
	while (sim.on && waits) {
		waits = false;
		for (unsigned i = 0; i < mm_cpus; i++)
			waits |= cpus[i].from[me].pending;
		if (waits)
			host_relax();
	}
}

/* ---- grace periods ---------------------------------------------------------------------------- */

/*
 * A CPU is between two readers whenever it may be preempted. Whether the machine takes note of it is
 * up to the seed, so that grace periods end as early as they may, or late.
 */
static bool between_readers(void)
{
	bool irqs = host_irqs_on, more;

	host_irqs_on = false;
	rcu_quiescent();
	more = rcu_poll();
	host_irqs_on = irqs;
	return more;
}

void cpus_settle(void)
{
	unsigned me = host_cpu;
	bool more;

	do {
		more = false;
		for (host_cpu = 0; host_cpu < mm_cpus; host_cpu++)
			more |= between_readers();
	} while (more);
	host_cpu = me;
}

/* No other CPU is stopped inside a spin lock. */
static bool nobody_inside(void)
{
	for (unsigned i = 0; i < mm_cpus; i++)
		if (cpus[i].running && (*per_cpu_ptr(&preempt_word, i) != PREEMPT_NO_RESCHED ||
					!(i == host_cpu ? host_irqs_on : cpus[i].irqs)))
			return false;
	return true;
}

/* CPUs that idle are between readers all the time. In one step: they have no stack of their own. */
static void idle_ones(void)
{
	unsigned me = host_cpu, i = (unsigned)(random_next(&sim.seed) % mm_cpus);

	if (cpus[i].running || !nobody_inside())
		return;
	sim.nested = true;
	host_cpu = i;
	between_readers();
	host_cpu = me;
	sim.nested = false;
}

/* ---- points ---------------------------------------------------------------------------------- */

/* Some CPU, whatever it is doing, reads ahead. */
static void speculate(void)
{
	unsigned me = host_cpu;
	bool irqs = host_irqs_on;

	sim.nested = true;
	host_cpu = (unsigned)(random_next(&sim.seed) % mm_cpus);
	cpus_speculate(random_next(&sim.seed));
	host_cpu = me;
	host_irqs_on = irqs;
	sim.nested = false;
}

static void next_gap(void)
{
	sim.left = random_next(&sim.seed) % sim.gap;
	/* Now and then one CPU gets far. */
	if (random_next(&sim.seed) % 16 == 0)
		sim.left *= 20;
}

void host_point(void)
{
	if (!sim.on || sim.nested)
		return;
	cpus_time++;
	sim.waited = 0;
	if (cpus[host_cpu].requests && host_irqs_on && random_next(&sim.seed) % sim.late == 0)
		serve_one();
	if (sim.left > 0) {
		sim.left--;
		return;
	}
	next_gap();
	if (random_next(&sim.seed) % 4 == 0)
		speculate();
	if (random_next(&sim.seed) % sim.grace == 0)
		idle_ones();
	if (preempt_count() == 0 && host_irqs_on && random_next(&sim.seed) % sim.grace == 0)
		between_readers();
	/* Now and then one CPU stays behind for long, some for all of the longest calls of others. */
	if (random_next(&sim.seed) % 32 == 0)
		cpus[host_cpu].stalled =
			cpus_time +
			random_next(&sim.seed) % (random_next(&sim.seed) % 8 ? 2000 : 20000);
	hand_over(pick_running(false));
}

void host_relax(void)
{
	check(sim.on && !sim.nested, "a wait that nobody ends");
	cpus_time++;
	if (cpus[host_cpu].requests && host_irqs_on && random_next(&sim.seed) % 2)
		serve_one();
	check(++sim.waited < 100000, "all CPUs wait for each other");
	hand_over(pick_running(true));
}

/* ---- start and end --------------------------------------------------------------------------- */

void cpus_run(void (**fn)(void *arg), void **arg, unsigned n, u64 seed)
{
	static const u64 gaps[] = { 2, 6, 20, 60, 200, 1000 };
	unsigned me = host_cpu, first;

	sim.seed = seed;
	sim.gap = gaps[random_next(&sim.seed) % ARRAY_SIZE(gaps)];
	sim.late = 1ul << random_next(&sim.seed) % 7;
	sim.grace = 1ul << random_next(&sim.seed) % 8;
	sim.waited = 0;
	sim.alive = 0;
	for (unsigned i = 0; i < n; i++) {
		if (!fn[i])
			continue;
		cpus[i].fn = fn[i];
		cpus[i].arg = arg[i];
		cpus[i].irqs = true;
		cpus[i].running = true;
		cpus[i].stalled = 0;
		prepare_stack(&cpus[i]);
		sim.alive++;
	}
	if (sim.alive == 0)
		return;
	next_gap();
	first = pick_running(false);
	sim.on = true;
	run_as(first);
	switch_begin(&sim.main_asan, cpus[first].stack, STACK_SIZE);
	cpus_switch_stack(&sim.main_sp, cpus[first].sp);
	switch_end(sim.main_asan, NULL, NULL);
	sim.on = false;
	host_cpu = me;
	host_irqs_on = true;
}

void cpus_start(unsigned n)
{
	mm_cpus = nr_cpus = n;
	memset(&sim, 0, sizeof(sim));
	cpus_time = 0;
	for (unsigned i = 0; i < n; i++) {
		void *stack = cpus[i].stack;

		if (!stack)
			stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(stack != MAP_FAILED, "no memory for a stack");
		cpus[i] = (struct cpu){ .stack = stack, .irqs = true };
		*per_cpu_ptr(&preempt_word, i) = PREEMPT_NO_RESCHED;
	}
	mmu_shootdown = n > 1 ? shootdown : NULL;
}

void cpus_stop(void)
{
	host_cpu = 0;
	mmu_shootdown = NULL;
	mm_cpus = nr_cpus = 1;
}
