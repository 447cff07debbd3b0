/*
 * ITIMER_REAL and alarm: one timer per process that sends SIGALRM.
 *
 * The callback runs in the timer interrupt and takes sig_lock, so timer_cancel, which waits for a
 * running callback, is never called under it. The deadline under sig_lock says whether the timer is
 * on; a callback that finds it changed does nothing. Deadline and timer change together under it, so
 * that of two threads that set the timer the later one's time holds.
 */
#include "proc/internal.h"

#include "time/clock.h"

/* The next expiry is at least so far away: a period of 1 us must not leave a CPU nothing but the
 * timer's interrupts. Periods that are shorter lose expiries, which SIGALRM cannot count anyway. */
#define ITIMER_MIN_NS (100 * NSEC_PER_USEC)

static void fire(struct timer *t)
{
	struct process *p = container_of(t, struct process, alarm);
	struct linux_siginfo info;
	u64 now = clock_ns(), next = 0;
	bool due;

	spin_lock(&p->sig_lock);
	due = p->alarm_deadline && p->alarm_deadline <= now;
	if (due && p->alarm_interval) {
		u64 missed = (now + ITIMER_MIN_NS - p->alarm_deadline) / p->alarm_interval;

		p->alarm_deadline += (missed + 1) * p->alarm_interval;
		next = p->alarm_deadline;
	} else if (due) {
		p->alarm_deadline = 0;
	} else {
		next = p->alarm_deadline;
	}
	if (next)
		timer_start(t, next);
	spin_unlock(&p->sig_lock);
	if (due) {
		signal_info_kernel(&info, SIGALRM);
		signal_send(p, NULL, &info);
	}
}

void itimer_init(struct process *p)
{
	timer_init(&p->alarm, fire);
}

static void read_locked(struct process *p, u64 *value_ns, u64 *interval_ns)
{
	u64 now = clock_ns();

	*interval_ns = p->alarm_interval;
	*value_ns = 0;
	if (p->alarm_deadline)
		*value_ns = p->alarm_deadline > now ? p->alarm_deadline - now : 1;
}

void itimer_get(u64 *value_ns, u64 *interval_ns)
{
	struct process *p = current_proc();
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	read_locked(p, value_ns, interval_ns);
	spin_unlock_irqrestore(&p->sig_lock, flags);
}

void itimer_set(u64 value_ns, u64 interval_ns, u64 *old_value, u64 *old_interval)
{
	struct process *p = current_proc();
	u64 flags, deadline = 0;

	if (value_ns && __builtin_add_overflow(clock_ns(), value_ns, &deadline))
		deadline = UINT64_MAX;
	timer_cancel(&p->alarm);
	flags = spin_lock_irqsave(&p->sig_lock);
	read_locked(p, old_value, old_interval);
	p->alarm_deadline = deadline;
	p->alarm_interval = deadline ? interval_ns : 0; /* what is off has none */
	if (deadline)
		timer_start(&p->alarm, deadline);
	spin_unlock_irqrestore(&p->sig_lock, flags);
}

void itimer_stop(struct process *p)
{
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	p->alarm_deadline = 0;
	spin_unlock_irqrestore(&p->sig_lock, flags);
	timer_cancel(&p->alarm);
}
