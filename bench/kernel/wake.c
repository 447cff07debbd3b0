/*
 * bench=wake: what it costs both CPUs to wake a thread that sleeps on another, idle one. Run with
 * two CPUs under -icount, where the virtual CPUs take turns in one thread: one that halts or PAUSEs gives way at
 * once, and the time-stamp counter counts the instructions of all of them. So a sample is
 *
 *	waker     from its call of waitq_wake_one to the return, then it spins with PAUSE
 *	sleeper   from there to the return of wait_event on the other CPU: out of the halt, the interrupt, the switch
 *	both      the sum
 *
 * Nothing is subtracted. Asserted: who ran where, that the other CPU was idle before, and one switch there and back for each
 * sample. The waker has interrupts off: its tick would run in between.
 */
#include "arch/api/cpu.h"
#include "arch/api/irq.h"
#include "init/ktest.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "sched/rq.h"
#include "sched/sched.h"
#include "time/clock.h"

#define SAMPLES 101u

static struct waitq sleepers = WAITQ_INIT(sleepers);
static u32 posted, taken;
static u64 arrived;

static int sleeper(void *arg)
{
	for (u32 i = 1; i <= SAMPLES; i++) {
		wait_event(&sleepers, READ_ONCE(posted) >= i);
		arrived = cpu_cycles();
		kassert_eq(cpu_id(), 1);
		store_release(&taken, i);
	}
	return 0;
}

static void sort(u64 *a, u32 n)
{
	for (u32 i = 1; i < n; i++)
		for (u32 k = i; k > 0 && a[k] < a[k - 1]; k--) {
			u64 t = a[k];

			a[k] = a[k - 1];
			a[k - 1] = t;
		}
}

static void report(const char *name, u64 *a)
{
	sort(a, SAMPLES);
	log_info("bench: wake.%s.min\t%lu\tticks\n", name, a[0]);
	log_info("bench: wake.%s.median\t%lu\tticks\n", name, a[SAMPLES / 2]);
	log_info("bench: wake.%s.max\t%lu\tticks\n", name, a[SAMPLES - 1]);
}

static u64 waker_part[SAMPLES], sleeper_part[SAMPLES], both[SAMPLES];

static void sample(u32 i)
{
	struct rq *there = per_cpu_ptr(&runqueue, 1);

	sched_sleep_until(clock_ns() + 2 * NSEC_PER_MSEC);
	kassert_eq(READ_ONCE(there->runnable), 0);
	u64 switches = READ_ONCE(there->switches);
	irq_disable();
	kassert_eq(cpu_id(), 0);
	u64 start = cpu_cycles();
	WRITE_ONCE(posted, i + 1);
	waitq_wake_one(&sleepers);
	u64 woken = cpu_cycles();
	while (load_acquire(&taken) <= i)
		cpu_relax();
	irq_enable();
	kassert_eq(READ_ONCE(there->switches) - switches, 2); /* and back to idling */
	waker_part[i] = woken - start;
	sleeper_part[i] = arrived - woken;
	both[i] = arrived - start;
}

static int waker(void *arg)
{
	for (u32 i = 0; i < SAMPLES; i++)
		sample(i);
	return 0;
}

KTEST_CRASH(bench_wake)
{
	if (nr_cpus < 2)
		panic("bench: waking a thread on another CPU wants two of them");
	struct thread *s = thread_create_on(1, "sleeper", sleeper, NULL, SCHED_LEVEL_NORMAL);
	struct thread *w = thread_create_on(0, "waker", waker, NULL, SCHED_LEVEL_NORMAL);

	if (!s || !w)
		panic("bench: no memory for two threads");
	thread_join(w);
	thread_join(s);
	report("waker", waker_part);
	report("sleeper", sleeper_part);
	report("both", both);
	log_info("jiffy: bench complete\n");
	machine_end(MACHINE_POWEROFF);
}
