/*
 * The kernel's switch on real silicon: sched/core.c itself, built for user mode and timed with the
 * time-stamp counter, in cycles of the core. What a program cannot do is left out and named: CLI and
 * STI (compiler barriers here), timer interrupts, and address spaces.
 *
 * Time-stamp ticks become core cycles by a loop of dependent additions, one cycle each, timed in
 * the same run, beside each measurement (the core's clock is not the counter's and may change).
 *
 * Output: lines name<TAB>value<TAB>unit.
 */
#include "lib/rbtree.c"
#include "sched/balance.c"
#include "sched/core.c"
#include "sched/fair.c"
#include "sched/rt.c"

int printf(const char *fmt, ...);
void *aligned_alloc(size_t align, size_t size);
void abort(void);

#define ROUNDS  200000u
#define BATCHES 101

static struct thread thread_a = { .state = T_RUNNABLE, .level = 5 };
static struct thread thread_b = { .state = T_RUNNABLE, .level = 5 };
static struct thread idle = { .state = T_RUNNABLE };

/* What core.c wants of its neighbours and the loops below never reach. */
DEFINE_PER_CPU(struct arch_thread *, ctx_user_owner);
DEFINE_PER_CPU(const struct regs *, irq_regs);
DEFINE_PER_CPU(u32, cpu_number);
DEFINE_PER_CPU_INIT(u32, preempt_word, PREEMPT_NO_RESCHED);
DEFINE_PER_CPU(struct aspace *, active_space);
const struct sched_memory_ops *sched_memory;
u32 nr_cpus = 1;
#define UNREACHED(decl)                                                                            \
	decl                                                                                       \
	{                                                                                          \
		abort();                                                                           \
		__builtin_unreachable();                                                           \
	}
UNREACHED(void ctx_load_user_state(struct arch_thread *next))
UNREACHED(void hook_switch(struct thread *prev, struct thread *next, unsigned why))
UNREACHED(void sched_hook_wake(struct thread *t))
UNREACHED(u64 pi_begin(void))
UNREACHED(void pi_end(u64 flags))
UNREACHED(u32 pi_level(const struct thread *t))
UNREACHED(void pi_level_changed(struct thread *t))
UNREACHED(void ctx_save_user_state(struct arch_thread *prev))
UNREACHED(void rcu_quiescent(void))
UNREACHED(void spin_wait(struct spin_word *w, const spinlock_t *lock))
UNREACHED(void thread_put(struct thread *t))
UNREACHED(void thread_init_idle(struct thread *t, u32 cpu))
UNREACHED(u32 thread_count(void))
UNREACHED(void ipi_reschedule(u32 cpu))
UNREACHED(struct thread *thread_create_idle(u32 cpu))
UNREACHED(u64 clock_ns(void))
UNREACHED(u64 clock_tsc_hz(void))
UNREACHED(u64 clock_cycles_to_ns(u64 tsc_cycles))
UNREACHED(void sched_block_until(u64 deadline_ns))
UNREACHED(void sleep_refused(void))
UNREACHED(void waitq_prepare(struct waitq *q, struct waiter *w, unsigned state))
UNREACHED(bool waitq_leave(struct waitq *q, struct waiter *w))
UNREACHED(void waitq_wake_all(struct waitq *q))
UNREACHED(void timer_init(struct timer *t, void (*fn)(struct timer *t)))
UNREACHED(void timer_start(struct timer *t, u64 deadline_ns))
void panic(const char *fmt, ...)
{
	printf("panic: %s\n", fmt);
	abort();
	__builtin_unreachable();
}

/* Cycles of the core in one tick of the counter, times 2^20. */
static u64 cycles_per_tick(void)
{
	u64 best = ~0ul, n = 1000000;

	for (int i = 0; i < 5; i++) {
		u64 x = n, start = cpu_cycles();

		__asm__ volatile(".balign 64\n1:\tsubq $1, %0\n\tjnz 1b" : "+r"(x) : : "cc");
		u64 ticks = cpu_cycles() - start;
		if (ticks < best)
			best = ticks;
	}
	return (n << 20) / best;
}

static void b_main(struct thread *prev)
{
	spin_release(&runqueue.lock);
	for (;;)
		sched_yield();
}

static void start_b(void)
{
	char *top = (char *)aligned_alloc(4096, 65536) + 65536 - 256;
	u64 *sp = (u64 *)top;

	*--sp = 0;
	*--sp = (u64)b_main; /* entered by `jmp`, prev in rax: b_main does not look at it */
	thread_b.arch.sp = (u64)sp;
}

static u64 sample[BATCHES];

static void report(const char *name, u64 (*batch)(void))
{
	for (int i = 0; i < BATCHES; i++) {
		u64 scale = cycles_per_tick();

		sample[i] = batch() * scale >> 10; /* cycles, times 2^10, of ROUNDS operations */
		for (int j = i; j > 0 && sample[j] < sample[j - 1]; j--) {
			u64 t = sample[j];

			sample[j] = sample[j - 1];
			sample[j - 1] = t;
		}
	}
	static const struct {
		const char *name;
		int at;
	} which[] = { { "min", 0 },
		      { "median", BATCHES / 2 },
		      { "p99", BATCHES * 99 / 100 },
		      { "max", BATCHES - 1 } };
	for (int i = 0; i < 4; i++) {
		u64 tenths = (sample[which[i].at] * 10 / ROUNDS) >> 10;

		printf("native.%s.%s\t%lu.%lu\tcycles\n", name, which[i].name, tenths / 10,
		       tenths % 10);
	}
}

static u64 batch_empty(void)
{
	u64 start = cpu_cycles();

	for (u32 i = 0; i < ROUNDS; i++)
		barrier();
	return cpu_cycles() - start;
}

static u64 batch_yield(void)
{
	u64 before = runqueue.switches, start = cpu_cycles();

	for (u32 i = 0; i < ROUNDS / 2; i++)
		sched_yield();
	u64 ticks = cpu_cycles() - start;
	if (runqueue.switches - before != ROUNDS)
		panic("the switch counter did not advance by what is claimed");
	return ticks;
}

/* The control: the same call, and nobody to yield to. */
static u64 batch_alone(void)
{
	u64 before = runqueue.switches;

	rq_dequeue(&runqueue, &thread_b);
	u64 start = cpu_cycles();
	for (u32 i = 0; i < ROUNDS; i++)
		sched_yield();
	u64 ticks = cpu_cycles() - start;
	rq_enqueue(&runqueue, &thread_b, true);
	if (runqueue.switches != before)
		panic("a yield with nobody to yield to switched");
	return ticks;
}

/* The queue alone: a thread leaves, comes back, and the next one is picked. */
static u64 batch_rq(void)
{
	u64 start = cpu_cycles();

	for (u32 i = 0; i < ROUNDS; i++) {
		rq_dequeue(&runqueue, &thread_b);
		rq_enqueue(&runqueue, &thread_b, true);
		if (!rq_pick(&runqueue))
			panic("a queue with two threads has none to pick");
	}
	return cpu_cycles() - start;
}

static struct arch_thread bare_a, bare_b;
static struct thread *bare_prev = &thread_a;

static __noinline void bare_switch(struct arch_thread *from, struct arch_thread *to)
{
	bare_prev = ctx_switch(bare_prev, from, to, SWITCH_YIELD);
}

static void bare_main(void)
{
	for (;;)
		bare_switch(&bare_b, &bare_a);
}

static u64 batch_bare(void)
{
	u64 start = cpu_cycles();

	for (u32 i = 0; i < ROUNDS / 2; i++)
		bare_switch(&bare_a, &bare_b);
	return cpu_cycles() - start;
}

int main(void)
{
	rq_init(&runqueue, 0, &idle);
	rq_enqueue(&runqueue, &thread_a, true);
	rq_enqueue(&runqueue, &thread_b, true);
	current_thread = &thread_a;
	start_b();
	sched_yield();

	u64 *sp = (u64 *)((char *)aligned_alloc(4096, 65536) + 65536 - 1024);
	*--sp = 0;
	*--sp = (u64)bare_main;
	bare_b.sp = (u64)sp;
	bare_switch(&bare_a, &bare_b);

	printf("native.core_clock\t%lu.%02lu\tcycles per tick\n", cycles_per_tick() >> 20,
	       ((cycles_per_tick() & 0xfffff) * 100) >> 20);
	report("empty_loop", batch_empty);
	report("switch_bare", batch_bare);
	report("yield_alone", batch_alone);
	report("yield_switch", batch_yield);
	report("rq_pick", batch_rq);
	return 0;
}
