/* Times and clocks of clock_gettime(2), gettimeofday(2), setitimer(2), times(2). */
#pragma once

#include "lib/types.h"

struct linux_timespec {
	s64 sec, nsec;
};
struct linux_timeval {
	s64 sec, usec;
};
struct linux_timezone {
	s32 minutes_west, dst;
};
struct linux_itimerval {
	struct linux_timeval interval, value;
};
struct linux_tms {
	s64 utime, stime, cutime, cstime; /* in 1/USER_HZ */
};

#define USER_HZ 100

#define CLOCK_REALTIME           0
#define CLOCK_MONOTONIC          1
#define CLOCK_PROCESS_CPUTIME_ID 2
#define CLOCK_THREAD_CPUTIME_ID  3
#define CLOCK_MONOTONIC_RAW      4
#define CLOCK_REALTIME_COARSE    5
#define CLOCK_MONOTONIC_COARSE   6
#define CLOCK_BOOTTIME           7
#define CLOCK_REALTIME_ALARM     8
#define CLOCK_BOOTTIME_ALARM     9
#define CLOCK_TAI                11

/* In a negative clock: the CPU time of a process or thread. */
#define CPUCLOCK_WHAT   3u /* counted in ticks: all (0), CPUCLOCK_USER; exact: CPUCLOCK_RUN */
#define CPUCLOCK_USER   1u
#define CPUCLOCK_RUN    2u
#define CPUCLOCK_THREAD 4u

#define TIMER_ABSTIME 1

#define ITIMER_REAL    0
#define ITIMER_VIRTUAL 1
#define ITIMER_PROF    2
