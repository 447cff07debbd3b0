/*
 * See sim.h. This file is compiled without ThreadSanitizer: it is the machine, not the program.
 *
 * cpu[].fiber is the fiber that each CPU runs, or would run next. To go on with another CPU means
 * to change host_cpu and host_irqs_on and to switch fibers, in move_to; a thread's switch on its CPU
 * (ctx_switch) changes cpu[].fiber. A fiber that comes back finds itself on the CPU that the one who
 * switched to it has set: host_cpu must be read anew after each point.
 */
#include "arch/host/sim.h"

#include <string.h>

#include "arch/api/cpu.h"
#include "arch/api/ctx.h"
#include "arch/api/ipi.h"
#include "arch/api/preempt.h"
#include "arch/api/upcall.h"
#include "arch/host/fiber.h"
#include "lib/err.h"
#include "lib/kassert.h"

#define SPIN_MAX 1000000u /* turns of a spin loop in which nobody else gets on: a deadlock */
#define NEVER    UINT64_MAX

struct sim_cpu {
	struct host_fiber *fiber;
	void *boot_stack;
	struct thread *left; /* who was left by the switch under way */
	bool irqs_on, halted, ipi;
	u64 fire_at; /* the clock event */
};

static struct {
	bool running;
	struct sim_setup setup;
	struct sim_cpu cpu[NR_CPUS];
	struct host_fiber *caller;
	u64 chance, dice; /* states of the generators: of the machine, of the test */
	u64 now;
	u32 countdown, spins;
} sim;

struct sim_counts sim_counts;

/* ---- chance ---- */

static u64 draw(u64 *state, u64 below)
{
	u64 z = *state += 0x9e3779b97f4a7c15ul;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return (z ^ z >> 31) % below;
}

u64 sim_random(u64 below)
{
	return draw(&sim.dice, below);
}

/* ---- interrupts ---- */

static bool pending(const struct sim_cpu *c)
{
	return c->ipi || c->fire_at <= sim.now;
}

static bool may_run(const struct sim_cpu *c)
{
	return !c->halted || pending(c);
}

/* As the machine's entry does: arch/x86/trap.c and entry.S. */
static void interrupt(void (*handler)(void))
{
	host_irqs_on = false;
	this_cpu_inc(preempt_word);
	handler();
	this_cpu_dec(preempt_word);
	if (this_cpu_read(preempt_word) == 0)
		sched_preempt_irq();
	host_irqs_on = true;
}

static void deliver(void)
{
	while (host_irqs_on && pending(&sim.cpu[host_cpu])) {
		struct sim_cpu *c = &sim.cpu[host_cpu];

		if (c->ipi) {
			c->ipi = false;
			sim_counts.ipis++;
			interrupt(sched_ipi);
		} else {
			c->fire_at = NEVER;
			sim_counts.timer_interrupts++;
			interrupt(timer_interrupt);
		}
	}
}

void ipi_reschedule(u32 to)
{
	if (to >= nr_cpus)
		panic("host: CPU %u sends an IPI to CPU %u", host_cpu, to);
	sim.cpu[to].ipi = true;
}

static void event_arm(u64 delta_ns)
{
	sim.cpu[host_cpu].fire_at = sim.now + delta_ns;
}

static void event_stop(void)
{
	sim.cpu[host_cpu].fire_at = NEVER;
}

static int event_start(void)
{
	return 0;
}

const struct clock_event sim_clock_event = {
	.name = "sim",
	.arm = event_arm,
	.stop = event_stop,
	.start = event_start,
	.min_delta_ns = 1000,
	.max_delta_ns = NSEC_PER_SEC,
	.per_cpu = true,
};

/* One a nanosecond. */
u64 host_cycles(void)
{
	return sim.now;
}

u64 sim_time(void)
{
	return sim.now;
}

/* ---- whose turn it is ---- */

static void move_to(u32 to)
{
	struct sim_cpu *from = &sim.cpu[host_cpu];

	if (to == host_cpu)
		return;
	sim_counts.moves++;
	from->irqs_on = host_irqs_on;
	host_cpu = to;
	host_irqs_on = sim.cpu[to].irqs_on;
	host_fiber_switch(from->fiber, sim.cpu[to].fiber, false);
}

/* Goes on with any CPU that can, perhaps this one. False: none of the others can. */
static bool move_anywhere(bool away)
{
	u32 able[NR_CPUS], n = 0;

	for (u32 i = 0; i < sim.setup.cpus; i++)
		if (may_run(&sim.cpu[i]) && !(away && i == host_cpu))
			able[n++] = i;
	if (n == 0)
		return false;
	move_to(able[draw(&sim.chance, n)]);
	return true;
}

static void set_countdown(void)
{
	sim.countdown = 1 + (u32)draw(&sim.chance, 2ul * sim.setup.density);
}

/* Something comes in between: another CPU, or a timer that is set, at once. */
static void interfere(void)
{
	struct sim_cpu *c = &sim.cpu[host_cpu];

	set_countdown();
	if (!sim.setup.prompt && host_irqs_on && c->fire_at != NEVER && draw(&sim.chance, 16) == 0)
		sim.now = MAX(sim.now, c->fire_at);
	deliver();
	move_anywhere(false);
	deliver();
}

void host_point(void)
{
	if (!sim.running || host_pinned)
		return;
	sim.now += sim.setup.step_ns;
	sim.spins = 0;
	sim_counts.points++;
	if (--sim.countdown == 0)
		interfere();
	else if (sim.setup.prompt)
		deliver();
}

void sim_spend(u64 ns)
{
	u64 end = sim.now + ns;

	while (sim.now < end) {
		u64 fire_at = sim.cpu[host_cpu].fire_at;

		if (fire_at > sim.now || !host_irqs_on) /* off: nothing comes in between */
			sim.now = host_irqs_on ? MIN(end, fire_at) : end;
		host_point();
	}
}

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
	host_point();
}

void host_relax(void)
{
	if (!sim.running)
		return;
	sim.now += sim.setup.step_ns;
	deliver();
	if (++sim.spins > SPIN_MAX)
		panic("host: CPU %u spins for ever (seed %lu)", host_cpu, sim.setup.seed);
	move_anywhere(true);
}

/* All CPUs sleep: time goes on to their next timer. Without one this is the end. */
static void skip_to_timer(void)
{
	u64 next = NEVER;

	for (u32 i = 0; i < sim.setup.cpus; i++)
		next = MIN(next, sim.cpu[i].fire_at);
	if (next == NEVER && !sim.setup.finished())
		panic("host: all CPUs sleep and nothing will wake them (seed %lu)", sim.setup.seed);
	if (next == NEVER) {
		sim.running = false;
		host_fiber_switch(sim.cpu[host_cpu].fiber, sim.caller, true);
	}
	sim.now = MAX(sim.now, next);
}

void host_wait_for_interrupt(void)
{
	u32 me = host_cpu;

	if (!sim.running || host_irqs_on)
		panic("host: a CPU halts with interrupts on");
	sim_counts.halts++;
	sim.cpu[me].halted = true;
	while (!pending(&sim.cpu[me]))
		if (!move_anywhere(true))
			skip_to_timer();
	sim.cpu[me].halted = false;
	host_irqs_on = true;
	deliver();
}

/* ---- threads ---- */

struct thread *ctx_switch(struct thread *prev, struct arch_thread *from, struct arch_thread *to,
			  unsigned why)
{
	struct sim_cpu *c = &sim.cpu[host_cpu];

	from->fiber = c->fiber;
	c->fiber = to->fiber;
	c->left = prev;
	host_fiber_switch(from->fiber, to->fiber, true);
	return sim.cpu[host_cpu].left;
}

static void thread_main(void *entry)
{
	((void (*)(struct thread *))entry)(sim.cpu[host_cpu].left);
}

void ctx_init(struct arch_thread *a, void *stack_top, void (*entry)(struct thread *prev))
{
	a->fiber = host_fiber_init(stack_top, thread_main, (void *)entry);
}

int ctx_user_create(struct arch_thread *a)
{
	return 0;
}

void ctx_user_destroy(struct arch_thread *a)
{
}

void ctx_enter_user(void)
{
	panic("host: there is no user mode");
}

/* ---- the run ---- */

static void boot_main(void *arg)
{
	sim.setup.boot(host_cpu);
	panic("host: the boot of CPU %u returned", host_cpu);
}

void sim_run(const struct sim_setup *setup)
{
	static const u32 densities[] = { 2, 5, 15, 50, 200, 1000 };

	sim.setup = *setup;
	sim.chance = setup->seed;
	sim.dice = ~setup->seed;
	if (!setup->density)
		sim.setup.density = densities[draw(&sim.chance, ARRAY_SIZE(densities))];
	if (!setup->step_ns)
		sim.setup.step_ns = 100;
	memset(sim.cpu, 0, sizeof(sim.cpu));
	sim.caller = host_fiber_self();
	for (u32 i = 0; i < setup->cpus; i++) {
		void *stack = host_stack_alloc("boot");

		if (!stack)
			panic("host: no memory for a boot stack");
		sim.cpu[i] = (struct sim_cpu){ .boot_stack = stack, .fire_at = NEVER };
		sim.cpu[i].fiber = host_fiber_init(stack, boot_main, NULL);
	}
	set_countdown();
	nr_cpus = setup->cpus;
	host_cpu = 0;
	host_irqs_on = false;
	sim.running = true;
	host_fiber_switch(sim.caller, sim.cpu[0].fiber, true);
	for (u32 i = 0; i < setup->cpus; i++) {
		host_fiber_join(sim.caller, sim.cpu[i].fiber);
		host_stack_free(sim.cpu[i].boot_stack);
	}
	host_cpu = 0;
	host_irqs_on = true;
}
