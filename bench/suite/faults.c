/*
 * Page faults, each with its count: a fault that was not counted did not happen. Pages are of 4 KiB unless
 * a name says "huge", which is asked for by madvise. The control is the same access where no fault is due.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <sys/wait.h>
#include <time.h>

/* b->samples pages in one 2 MiB, behind one that is touched already: the tables are there. */
static char *region(const struct bench *b)
{
	char *p = map_aligned(HUGE, 0);

	if (b->samples > 500)
		failed("a region of 512 pages is too small");
	write_page(p);
	return p + PAGE;
}

static void control_writes(char *p)
{
	long before = faults();

	control_begin();
	for (int i = 0; i < 100; i++)
		CONTROL(write_page(p));
	control_end();
	claim_range("faults of the control", faults() - before, 0,
		    2); /* a kernel may scan us meanwhile */
}

/* arg: milliseconds of rest before, in which a kernel may clear frames ahead of need. */
static void run_anon(const struct bench *b)
{
	struct timespec t = { .tv_nsec = b->arg * 1000000 };
	char *p = region(b);
	long before;

	control_writes(p - PAGE);
	if (b->arg)
		nanosleep(&t, NULL);
	before = faults();
	for (unsigned i = 0; i < b->samples; i++) {
		TIMED(write_page(p + i * PAGE));
		claim("the page's last byte", p[i * PAGE + PAGE - 1], 0);
	}
	claim("faults", faults() - before, b->samples);
	report();
}

static void run_zero(const struct bench *b)
{
	char *p = region(b);
	long before, zeroes = kernel_counter("vm", "zero_page_faults");

	control_writes(p - PAGE);
	before = faults();
	for (unsigned i = 0; i < b->samples; i++)
		TIMED(read_page(p + i * PAGE));
	/* A kernel may give several pages at once; each fault is of its kind. */
	claim_range("faults", faults() - before, b->arg ? 1 : b->samples, b->samples);
	if (zeroes >= 0 && !b->arg)
		claim_range("zero-page faults", kernel_counter("vm", "zero_page_faults") - zeroes,
			    b->samples, b->samples + 2);
	report();
}

static void run_zero_replaced(const struct bench *b)
{
	char *p = region(b);
	long before;

	for (unsigned i = 0; i < b->samples; i++)
		read_page(p + i * PAGE);
	control_writes(p - PAGE);
	before = faults();
	for (unsigned i = 0; i < b->samples; i++)
		TIMED(write_page(p + i * PAGE));
	claim("faults", faults() - before, b->samples);
	report();
}

static void run_shared(const struct bench *b)
{
	char *p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long before;

	if (p == MAP_FAILED)
		result_is("mmap", -errno);
	write_page(p);
	control_writes(p);
	before = faults();
	for (unsigned i = 1; i <= b->samples; i++)
		TIMED(write_page(p + i * PAGE));
	claim("faults", faults() - before, b->samples);
	report();
}

/* Private pages of a file in memory, read: kernels map several at one fault. */
static void run_file(const struct bench *b)
{
	int fd = (int)must("memfd_create", sys3(SYS_memfd_create, (long)"bench", 0, 0));
	static char page[PAGE];
	long before;
	int sum = 0;

	memset(page, 1, sizeof(page));
	for (unsigned i = 0; i < b->per; i++)
		if (write(fd, page, PAGE) != (ssize_t)PAGE)
			failed("write");
	for (unsigned i = 0; i < b->samples; i++) {
		char *p = mmap(NULL, b->per * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

		if (p == MAP_FAILED)
			result_is("mmap", -errno);
		before = faults();
		TIMED(for (unsigned j = 0; j < b->per; j++) sum +=
		      *(volatile char *)(p + j * PAGE));
		claim_range("faults", faults() - before, 1, b->per);
		munmap(p, b->per * PAGE);
	}
	claim("what was read", sum, (long)b->samples * b->per);
	report();
}

/* ---- copy on write ------------------------------------------------------------------------------- */

static pid_t fork_waiting(int *release)
{
	int fd[2];
	pid_t child;
	char c;

	if (pipe(fd))
		failed("pipe");
	child = fork();
	if (child < 0)
		failed("fork");
	if (child == 0) {
		close(fd[1]);
		_exit(read(fd[0], &c, 1) == 0 ? 0 : 1);
	}
	close(fd[0]);
	*release = fd[1];
	return child;
}

static void reap(pid_t child, int release)
{
	int status;

	close(release);
	if (waitpid(child, &status, 0) != child || status)
		failed("the child");
}

/*
 * The first write of the 2 MiB is before the samples: a kernel that shares page tables copies the table
 * then. arg: 1: the other owner has gone meanwhile.
 */
static void run_cow(const struct bench *b)
{
	char *p = region(b);
	long before, copied;
	pid_t child;
	int release;

	touch(p - PAGE, HUGE);
	control_writes(p);
	child = fork_waiting(&release);
	write_page(p - PAGE);
	if (b->arg)
		reap(child, release);
	copied = kernel_counter("vm", "cow_copied");
	before = faults();
	for (unsigned i = 0; i < b->samples; i++) {
		TIMED(write_page(p + i * PAGE));
		claim("the page's first byte", p[i * PAGE], 1);
	}
	claim_range("faults", faults() - before, b->samples, b->samples + 2);
	if (copied >= 0 && !b->arg)
		claim_range("pages copied", kernel_counter("vm", "cow_copied") - copied, b->samples,
			    b->samples + 2);
	if (!b->arg)
		reap(child, release);
	report();
}

/* ---- many at once -------------------------------------------------------------------------------- */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static void need_huge_pages(void)
{
	char *p = map_aligned(4 * HUGE, 1);
	long before = faults();

	touch(p, 4 * HUGE);
	if (faults() - before > 8)
		missing("no 2 MiB pages");
	munmap(p, 4 * HUGE);
}

/* arg: 1 for large pages. */
static void run_populate(const struct bench *b)
{
	unsigned long size = b->per * PAGE;

	if (b->arg)
		need_huge_pages();
	for (unsigned i = 0; i < b->samples; i++) {
		char *p = map_aligned(size, (int)b->arg);
		long err = 0, before;

		TIMED(err = sys3(SYS_madvise, (long)p, (long)size, MADV_POPULATE_WRITE));
		must("madvise", err);
		before = faults();
		touch(p, size);
		claim("faults behind it", faults() - before, 0);
		munmap(p, size);
	}
	report();
}

/* arg: MiB; the sample is all of it. */
static void touch_all(const struct bench *b, int huge)
{
	unsigned long size = (unsigned long)b->arg * MIB, pages = size / (huge ? HUGE : PAGE);

	for (unsigned i = 0; i < b->samples; i++) {
		char *p = map_aligned(size, huge);
		long before = faults(), n;

		TIMED(touch(p, size));
		n = faults() - before;
		if (huge && n > (long)(2 * pages))
			missing("no 2 MiB pages");
		claim_range("faults", n, (long)pages, (long)pages + 2);
		munmap(p, size);
	}
	report();
}

static void run_touch(const struct bench *b)
{
	touch_all(b, 0);
}

static void run_touch_huge(const struct bench *b)
{
	touch_all(b, 1);
}

const struct bench bench_faults[] = {
	{ "fault.anon", "anonymous fault", run_anon, 200, 1, 0 },
	{ "fault.anon.rested", "anonymous fault, after 10 ms of rest", run_anon, 16, 1, 10 },
	{ "fault.zero_page", "zero-page read fault", run_zero, 200, 1, 0 },
	{ "fault.replace_zero_page", "write where the zero page was", run_zero_replaced, 200, 1,
	  0 },
	{ "fault.shared", "shared anonymous fault", run_shared, 200, 1, 0 },
	{ "fault.file", "private file page read, per page", run_file, 20, 256, 0 },
	{ "fault.cow", "copy-on-write fault", run_cow, 200, 1, 0 },
	{ "fault.cow_alone", "write fault, sole owner after a fork", run_cow, 200, 1, 1 },
	{ "populate.4k", "populate, per 4 KiB page", run_populate, 20, 512, 0 },
	{ "populate.2m", "populate by 2 MiB pages, per 4 KiB", run_populate, 3, 8192, 1 },
	{ "touch.1g", "1 GiB touched, 4 KiB pages", run_touch, 1, 1, 1024 },
	{ "touch.1g.huge", "1 GiB touched, 2 MiB pages", run_touch_huge, 1, 1, 1024 },
	{ 0 },
};
