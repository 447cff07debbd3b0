/*
 * The profiler's timer. It has a tree's timer of its own on each CPU, not the scheduler's tick: that
 * stops when it has nothing to do, and what happens in step with it would never, or always, be seen.
 */
#include "time/sample.h"

#include "arch/api/percpu.h"
#include "debug/trace.h"
#include "time/clock.h"
#include "time/timer.h"

static DEFINE_PER_CPU(struct timer, sample_timer);

static void sample(struct timer *t)
{
	u64 now = clock_ns(), period = NSEC_PER_SEC / trace_sample_hz();

	trace_sample(now);
	timer_start(t, MAX(t->deadline + period, now + period / 2));
}

void sample_start(void)
{
	struct timer *t = this_cpu_ptr(&sample_timer);

	if (trace_sample_hz() == 0)
		return;
	timer_init(t, sample);
	timer_start(t, clock_ns() + NSEC_PER_SEC / trace_sample_hz());
}
