/* CPUs, policies, priorities: of ourselves and of the others. */
#include "calls.h"

#define RESET_ON_FORK 0x40000000

struct attr { /* as struct sched_attr of sched_setattr(2), with room to be too large */
	u32 size, policy;
	u64 flags;
	int nice;
	u32 priority;
	u64 more[12];
};

static int whom(void)
{
	return one_in(3) ? 0 : some_pid();
}

static void set_policy(void)
{
	static const int fair[] = { SCHED_OTHER, SCHED_BATCH, SCHED_IDLE };
	struct sched_param p = { .sched_priority = one_in(3) ? (int)below(60) : 0 };
	u64 policy = p.sched_priority ? SCHED_FIFO + below(2) : (u64)fair[below(LENGTH(fair))];

	if (one_in(5))
		policy |= RESET_ON_FORK;
	call(SYS_sched_setscheduler, whom(), maybe(policy), maybe((u64)&p));
}

static void set_attributes(void)
{
	struct attr a = { .size = 48,
			  .policy = (u32)below(7),
			  .nice = (int)below(40) - 20,
			  .priority = (u32)below(50) };

	if (one_in(5))
		a.size = (u32)odd_value();
	call(SYS_sched_setattr, whom(), maybe((u64)&a), maybe(0));
}

void call_sched(void)
{
	u64 set[4] = { one_in(10) ? odd_value() : below(256) };
	struct sched_param p;
	struct attr a;

	switch (below(10)) {
	case 0 ... 2: call(SYS_sched_setaffinity, whom(), maybe(8), maybe((u64)set)); return;
	case 3: call(SYS_sched_getaffinity, whom(), maybe(sizeof(set)), maybe((u64)set)); return;
	case 4: set_policy(); return;
	case 5: set_attributes(); return;
	case 6: call(SYS_sched_getattr, whom(), maybe((u64)&a), maybe(48 + below(60)), 0); return;
	case 7:
		call(SYS_setpriority, below(3), some_pid(), (int)below(40) - 20);
		call(SYS_getpriority, below(4), some_pid());
		return;
	case 8:
		call(SYS_sched_getparam, whom(), maybe((u64)&p));
		call(SYS_sched_getscheduler, whom());
		call(SYS_sched_rr_get_interval, whom(), some_pointer());
		return;
	default:
		for (int i = 0; i < 5; i++)
			call(SYS_sched_yield);
	}
}
