/*
 * What observers hear of the scheduler, once they are on (arch/api/hook.h): which thread takes the
 * place of which, and who is woken. Run queue's lock held, interrupts off.
 */
#include "arch/api/hook.h"

#include "debug/latency.h"
#include "debug/trace.h"
#include "sched/internal.h"

/* Who called the function that switches: where a thread blocked, or gave way. */
static u64 caller_of_switch(void)
{
	const u64 *frame = __builtin_frame_address(0);

	return ((const u64 *)frame[0])[1];
}

void hook_switch(struct thread *prev, struct thread *next, unsigned why)
{
	trace_switch(prev->tid, prev->state, next->tid, why, caller_of_switch());
	if (next->woken_at) {
		latency_wakeup(next->woken_at, next->tid, next->name);
		next->woken_at = 0;
	}
}

void sched_hook_wake(struct thread *t)
{
	trace_wake(t->tid);
	t->woken_at = t->state == T_NEW ? 0 : latency_now();
}
