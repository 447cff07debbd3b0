/* Calls that do next to nothing, and the clock: what entering the kernel and leaving it costs. */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

static void run_getppid(const struct bench *b)
{
	long want = getppid(), got = 0;

	for (unsigned i = 0; i < b->samples; i++)
		TIMED(got = sys0(SYS_getppid));
	claim("the parent's id", got, want);
	report();
}

static void run_unknown(const struct bench *b)
{
	long got = 0;

	sys0(b->arg); /* a kernel may want to note the first one */
	for (unsigned i = 0; i < b->samples; i++)
		TIMED(got = sys0(b->arg));
	claim("the error", got, -ENOSYS);
	report();
}

static int64_t as_ns(const struct timespec *t)
{
	return t->tv_sec * 1000000000ll + t->tv_nsec;
}

/* arg: 1 for the library's way, which may need no system call. */
static void run_clock(const struct bench *b)
{
	struct timespec first, last;
	uint64_t start, ticks;

	must("clock_gettime", sys3(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&first, 0));
	clock_gettime(CLOCK_MONOTONIC, &last); /* the library looks for the vDSO once */
	start = stamp();
	for (unsigned i = 0; i < b->samples; i++) {
		if (b->arg)
			TIMED(clock_gettime(CLOCK_MONOTONIC, &last));
		else
			TIMED(sys3(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&last, 0));
	}
	ticks = stamp() - start;
	/* A clock that stands still is cheap: it must have gone on with the counter. */
	claim_range("nanoseconds gone by", as_ns(&last) - as_ns(&first), (long)(ticks / 100),
		    (long)(ticks * 100));
	report();
}

static void run_read_zero(const struct bench *b)
{
	long fd = must("open /dev/zero", sys3(SYS_open, (long)"/dev/zero", O_RDONLY, 0)), got = 0;
	char c = 1;

	for (unsigned i = 0; i < b->samples; i++) {
		c = 1;
		TIMED(got += sys3(SYS_read, fd, (long)&c, 1));
	}
	claim("bytes read", got, b->samples);
	claim("the byte", c, 0);
	report();
}

static void run_write_null(const struct bench *b)
{
	long fd = must("open /dev/null", sys3(SYS_open, (long)"/dev/null", O_WRONLY, 0)), got = 0;

	for (unsigned i = 0; i < b->samples; i++)
		TIMED(got += sys3(SYS_write, fd, (long)"x", 1));
	claim("bytes written", got, b->samples);
	report();
}

static void run_stat(const struct bench *b)
{
	struct stat st;

	for (unsigned i = 0; i < b->samples; i++)
		TIMED(must("stat", sys3(SYS_stat, (long)"/proc", (long)&st, 0)));
	claim("it is a directory", S_ISDIR(st.st_mode), 1);
	report();
}

static void run_open(const struct bench *b)
{
	long fd = -1, err = 0;

	for (unsigned i = 0; i < b->samples; i++) {
		TIMED({
			fd = sys3(SYS_open, (long)"/proc", O_RDONLY | O_DIRECTORY, 0);
			err = sys3(SYS_close, fd, 0, 0);
		});
		must("open", fd);
		claim("close", err, 0);
	}
	report();
}

const struct bench bench_calls[] = {
	{ "getppid", "a system call that does next to nothing", run_getppid, 500, 1, 0 },
	{ "syscall.unknown", "a system call that does not exist", run_unknown, 500, 1, 997 },
	{ "clock.call", "clock_gettime, the system call", run_clock, 500, 1, 0 },
	{ "clock.libc", "clock_gettime, as the C library does it", run_clock, 500, 1, 1 },
	{ "read.zero", "read 1 byte of /dev/zero", run_read_zero, 500, 1, 0 },
	{ "write.null", "write 1 byte to /dev/null", run_write_null, 500, 1, 0 },
	{ "stat", "stat of a directory", run_stat, 200, 1, 0 },
	{ "open_close", "open and close a directory", run_open, 200, 1, 0 },
	{ 0 },
};
