/* Clocks and timers of the running machine. */
#include "arch/api/cpu.h"
#include "init/ktest.h"
#include "lib/klog.h"
#include "sched/sched.h"
#include "time/clock.h"
#include "time/timer.h"

KTEST(clock_never_goes_back)
{
	u64 last = clock_ns();

	log_info("# clock source %s, event %s, TSC %lu Hz\n", clock_source_name(),
		 clock_event_name(), clock_tsc_hz());
	for (int i = 0; i < 200000; i++) {
		u64 now = clock_ns();

		ktest_check(now >= last);
		last = now;
	}
}

KTEST(clock_goes_on)
{
	u64 start = clock_ns();
	u64 cycles = cpu_cycles();

	for (int i = 0; i < 1000000 && clock_ns() - start < NSEC_PER_MSEC; i++)
		cpu_relax();
	ktest_check(clock_ns() - start >= NSEC_PER_MSEC);
	ktest_check(cpu_cycles() > cycles);
}

#define NR_TIMERS 50

static struct timer timers[NR_TIMERS];
static u64 fired_at[NR_TIMERS];
static u32 fired;

static void note_fired(struct timer *t)
{
	fired_at[t - timers] = clock_ns();
	fired++;
}

KTEST(timers_fire_in_order_and_not_early)
{
	u64 base = clock_ns() + 5 * NSEC_PER_MSEC;

	fired = 0;
	u64 flags = irq_save(); /* all on one CPU: there is no order among timers of several */
	for (u32 i = 0; i < NR_TIMERS; i++) {
		timer_init(&timers[i], note_fired);
		timer_start(&timers[i], base + (i * 37 % NR_TIMERS) * 100 * NSEC_PER_USEC);
	}
	irq_restore(flags);
	sched_sleep_until(base + 10 * NSEC_PER_MSEC);
	ktest_check_eq(fired, NR_TIMERS);
	for (u32 i = 0; i < NR_TIMERS; i++)
		ktest_check(fired_at[i] >= timers[i].deadline);
	for (u32 i = 0; i < NR_TIMERS; i++)
		for (u32 j = 0; j < NR_TIMERS; j++)
			if (timers[i].deadline < timers[j].deadline)
				ktest_check(fired_at[i] <= fired_at[j]);
}

KTEST(timer_cancel_prevents)
{
	fired = 0;
	timer_init(&timers[0], note_fired);
	u64 flags = irq_save(); /* however long a host stops us here, it does not fire */
	timer_start(&timers[0], clock_ns() + 5 * NSEC_PER_MSEC);
	bool stopped = timer_cancel(&timers[0]);
	irq_restore(flags);
	ktest_check(stopped);
	ktest_check(!timer_cancel(&timers[0]));
	sched_sleep_until(clock_ns() + 10 * NSEC_PER_MSEC);
	ktest_check_eq(fired, 0);
}

KTEST(timer_in_the_past_fires_at_once)
{
	fired = 0;
	timer_init(&timers[0], note_fired);
	timer_start(&timers[0], 1);
	u64 end = clock_ns() + 100 * NSEC_PER_MSEC;
	while (!READ_ONCE(fired) && clock_ns() < end)
		cpu_relax();
	ktest_check_eq(READ_ONCE(fired), 1);
}
