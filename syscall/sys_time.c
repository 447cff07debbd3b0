/*
 * System calls: clocks, sleeping, interval timers.
 *
 * A sleep that a signal interrupted without running a handler (stop and continue) goes on with its
 * old deadline: the call is restarted, and finds the deadline in its task.
 */
#include "syscall/syscalls.h"

#include "arch/api/uaccess.h"
#include "lib/uapi/resource.h"
#include "lib/uapi/time.h"
#include "proc/process.h"
#include "sched/sched.h"
#include "time/clock.h"

static struct linux_timespec timespec_of(u64 ns)
{
	return (struct linux_timespec){ (s64)(ns / NSEC_PER_SEC), (s64)(ns % NSEC_PER_SEC) };
}

static struct linux_timeval timeval_of(u64 ns)
{
	return (struct linux_timeval){ (s64)(ns / NSEC_PER_SEC),
				       (s64)(ns % NSEC_PER_SEC / NSEC_PER_USEC) };
}

/* Saturates: what lies beyond 292 years is for ever. */
static int ns_of_timespec(const struct linux_timespec *ts, u64 *ns)
{
	if (ts->sec < 0 || ts->nsec < 0 || ts->nsec >= (s64)NSEC_PER_SEC)
		return -EINVAL;
	if ((u64)ts->sec >= INT64_MAX / NSEC_PER_SEC)
		*ns = INT64_MAX;
	else
		*ns = (u64)ts->sec * NSEC_PER_SEC + (u64)ts->nsec;
	return 0;
}

static int ns_of_timeval(const struct linux_timeval *tv, u64 *ns)
{
	struct linux_timespec ts = { tv->sec, tv->usec * 1000 };

	if (tv->usec < 0 || tv->usec >= 1000000)
		return -EINVAL;
	return ns_of_timespec(&ts, ns);
}

static u64 cpu_time(bool whole_process)
{
	u64 utime, stime;

	if (whole_process) {
		usage_times(current_proc(), &utime, &stime);
	} else {
		sched_times(current(), &utime, &stime);
	}
	return utime + stime;
}

/*
 * The clocks of clock_getcpuclockid(3) and pthread_getcpuclockid(3): ~pid << 3, CPUCLOCK_THREAD for one thread, which must be
 * of this process, and what is counted. pid 0: the caller.
 */
static int read_cpu_clock(int clock, u64 *ns)
{
	u32 nr = ~(u32)(clock >> 3), what = (u32)clock & CPUCLOCK_WHAT;
	u64 utime, stime, flags;
	struct process *p;
	struct task *t;

	if (what == CPUCLOCK_WHAT)
		return -EINVAL; /* a descriptor */
	flags = proc_lock();
	if ((u32)clock & CPUCLOCK_THREAD) {
		t = nr ? task_find(nr) : current_task();
		p = t && t->proc == current_proc() ? t->proc : NULL;
		if (p)
			sched_times(t->thread, &utime, &stime);
	} else {
		p = !nr || nr == current_task()->tid ? current_proc() : process_find(nr);
		if (p)
			usage_times(p, &utime, &stime);
	}
	proc_unlock(flags);
	if (p)
		*ns = what == CPUCLOCK_USER ? utime : utime + stime;
	return p ? 0 : -EINVAL;
}

static int read_clock(int clock, u64 *ns)
{
	if (clock < 0)
		return read_cpu_clock(clock, ns);
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_TAI: *ns = clock_realtime_ns(); return 0;
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_BOOTTIME: *ns = clock_ns(); return 0;
	case CLOCK_PROCESS_CPUTIME_ID: *ns = cpu_time(true); return 0;
	case CLOCK_THREAD_CPUTIME_ID: *ns = cpu_time(false); return 0;
	default: return -EINVAL;
	}
}

s64 sys_clock_gettime(int clock, uaddr_t tp)
{
	struct linux_timespec ts;
	u64 ns;
	int err = read_clock(clock, &ns);

	if (err)
		return err;
	ts = timespec_of(ns);
	return put_user(ts, tp);
}

s64 sys_clock_getres(int clock, uaddr_t tp)
{
	bool ticks = clock < 0 && ((u32)clock & CPUCLOCK_WHAT) != CPUCLOCK_RUN;
	struct linux_timespec ts = { 0, ticks ? (s64)NSEC_PER_MSEC : 1 };
	u64 ns;
	int err = read_clock(clock, &ns);

	if (err)
		return err;
	return tp ? put_user(ts, tp) : 0;
}

s64 sys_clock_settime(int clock, uaddr_t tp)
{
	struct linux_timespec ts;
	u64 ns;

	if (get_user(ts, tp))
		return -EFAULT;
	if (clock != CLOCK_REALTIME || ns_of_timespec(&ts, &ns))
		return -EINVAL;
	if (current_proc()->euid != 0)
		return -EPERM;
	clock_set_realtime_ns(ns);
	return 0;
}

s64 sys_gettimeofday(uaddr_t utv, uaddr_t utz)
{
	struct linux_timeval tv = timeval_of(clock_realtime_ns());
	struct linux_timezone tz = { 0, 0 };

	if (utv && put_user(tv, utv))
		return -EFAULT;
	return utz && put_user(tz, utz) ? -EFAULT : 0;
}

s64 sys_time(uaddr_t t)
{
	s64 now = (s64)(clock_realtime_ns() / NSEC_PER_SEC);

	return t && put_user(now, t) ? -EFAULT : now;
}

s64 sys_times(uaddr_t buf)
{
	struct process *p = current_proc();
	struct linux_tms tms;
	u64 utime, stime, cutime, cstime;

	usage_times(p, &utime, &stime);
	usage_children_times(p, &cutime, &cstime);
	tms = (struct linux_tms){ (s64)(utime / (NSEC_PER_SEC / USER_HZ)),
				  (s64)(stime / (NSEC_PER_SEC / USER_HZ)),
				  (s64)(cutime / (NSEC_PER_SEC / USER_HZ)),
				  (s64)(cstime / (NSEC_PER_SEC / USER_HZ)) };
	if (buf && put_user(tms, buf))
		return -EFAULT;
	return (s64)(clock_ns() / (NSEC_PER_SEC / USER_HZ));
}

/* ---- sleeping ---- */

/* Sleeps to the deadline; interrupted, it leaves the rest in urem (0: nowhere). */
static s64 sleep_until(u64 deadline, uaddr_t urem)
{
	struct task *t = current_task();
	struct linux_timespec rem;
	u64 now;

	t->restarting = false;
	if (sched_sleep_until(deadline) == 0)
		return 0;
	now = clock_ns();
	if (now >= deadline)
		return 0;
	rem = timespec_of(deadline - now);
	if (urem && put_user(rem, urem))
		return -EFAULT;
	t->restart_deadline = deadline;
	return -ERESTART_RESTARTBLOCK;
}

static s64 sleep_for(u64 ns, uaddr_t urem)
{
	struct task *t = current_task();
	u64 now = clock_ns();

	return sleep_until(t->restarting ? t->restart_deadline : now + MIN(ns, (u64)INT64_MAX),
			   urem);
}

s64 sys_nanosleep(uaddr_t req, uaddr_t rem)
{
	struct linux_timespec ts;
	u64 ns;

	if (get_user(ts, req))
		return -EFAULT;
	if (ns_of_timespec(&ts, &ns))
		return -EINVAL;
	return sleep_for(ns, rem);
}

/* 0: a clock to sleep by. Linux tells one that nobody can sleep by from one that is none. */
static int check_sleep_clock(int clock)
{
	u64 now;

	if (clock < 0)
		return read_cpu_clock(clock, &now) ? -EINVAL : -ENOTSUP;
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_TAI: return 0;
	case CLOCK_PROCESS_CPUTIME_ID: /* docs/abi.md: no timers of CPU time */
	case CLOCK_THREAD_CPUTIME_ID:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_BOOTTIME_ALARM: return -ENOTSUP;
	default: return -EINVAL;
	}
}

/* An absolute sleep to a wall-clock time does not follow when that clock is set meanwhile. */
s64 sys_clock_nanosleep(int clock, int flags, uaddr_t req, uaddr_t rem)
{
	struct linux_timespec ts;
	u64 ns, now, mono;
	s64 ret;
	int err = check_sleep_clock(clock);

	if (err)
		return err;
	if (get_user(ts, req))
		return -EFAULT;
	if (ns_of_timespec(&ts, &ns))
		return -EINVAL;
	if (!(flags & TIMER_ABSTIME))
		return sleep_for(ns, rem);
	(void)read_clock(clock, &now);
	mono = clock_ns(); /* behind that: who is preempted in between sleeps too long, not too short */
	if (ns <= now)
		return 0;
	ret = sleep_until(mono + (ns - now), 0);
	return ret == -ERESTART_RESTARTBLOCK ? -ERESTARTNOHAND : ret;
}

s64 sys_restart_syscall(void)
{
	return -EINTR; /* no call is restarted by that number here */
}

/* ---- interval timers ---- */

s64 sys_setitimer(int which, uaddr_t unew, uaddr_t uold)
{
	struct linux_itimerval it = { 0 }, old;
	u64 value, interval, old_value, old_interval;

	if (which != ITIMER_REAL)
		return -EINVAL; /* docs/abi.md: no timers of CPU time */
	if (unew && get_user(it, unew))
		return -EFAULT;
	if (ns_of_timeval(&it.value, &value) || ns_of_timeval(&it.interval, &interval))
		return -EINVAL;
	itimer_set(value, interval, &old_value, &old_interval);
	old.value = timeval_of(old_value);
	old.interval = timeval_of(old_interval);
	return uold && put_user(old, uold) ? -EFAULT : 0;
}

s64 sys_getitimer(int which, uaddr_t uvalue)
{
	struct linux_itimerval it;
	u64 value, interval;

	if (which != ITIMER_REAL)
		return -EINVAL;
	itimer_get(&value, &interval);
	it.value = timeval_of(value);
	it.interval = timeval_of(interval);
	return put_user(it, uvalue);
}

/* Seconds that were left, rounded so that a running alarm never reads 0. */
s64 sys_alarm(u32 seconds)
{
	u64 value, interval;

	itimer_set(seconds * NSEC_PER_SEC, 0, &value, &interval);
	if (value && value < NSEC_PER_SEC)
		return 1;
	return (s64)((value + NSEC_PER_SEC / 2) / NSEC_PER_SEC);
}
