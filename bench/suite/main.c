/*
 * The suite: one static program, the same binary for every kernel.
 *
 *	suite NAME...	runs these (all, if none is named), each in a process of its own
 *	suite --only NAME	this one, in this process
 *	suite --list	the names; --titles: and what they are, tab between
 *
 * As the first process of a machine (pid 1) it brings up what little it needs, says when it began, runs
 * what it was told, and switches the machine off. So both kernels boot the same image.
 *
 * Output, one line each, fields separated by tabs, "B" first so that a kernel's own words on the same
 * line of the machine cannot be taken for it:
 *	B S NAME PER CONTROL V*N V*N ...	the samples: value times count, ascending, in ticks
 *	B M NAME WHY			this kernel does not do it
 *	B F NAME WHY			it did not happen as claimed, or did not end
 *	B V NAME VALUE UNIT		a single value
 *	B .				the end
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#define TIME_LIMIT 120 /* seconds for one benchmark */

struct shared *shared;
const struct bench *current_bench;
char exit_program[256] = "suite-exit";
char kernel_module[256] = "kthread.ko";

static const struct bench *const groups[] = {
	bench_calls, bench_yield, bench_ipc, bench_process, bench_faults, bench_maps,
};

/* ---- results ------------------------------------------------------------------------------------- */

static uint64_t control_median;

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_samples(void)
{
	qsort(shared->sample, shared->taken, sizeof(shared->sample[0]), compare);
}

void control_begin(void)
{
	shared->taken = 0;
}

void control_end(void)
{
	sort_samples();
	control_median = shared->taken ? shared->sample[shared->taken / 2] : 0;
	shared->taken = 0;
}

void report(void)
{
	uint32_t n = shared->taken;

	if (n == 0)
		failed("no samples");
	sort_samples();
	printf("B\tS\t%s\t%u\t%lu\t", current_bench->name, current_bench->per, control_median);
	for (uint32_t i = 0; i < n;) {
		uint32_t j = i;

		while (j < n && shared->sample[j] == shared->sample[i])
			j++;
		printf(i ? " %lu*%u" : "%lu*%u", shared->sample[i], j - i);
		i = j;
	}
	printf("\n");
	fflush(stdout);
	_exit(0);
}

static pid_t main_pid;

static void end_with(char kind, const char *why)
{
	if (getpid() != main_pid)
		_exit(1); /* a partner: the one that it leaves alone says why */
	printf("B\t%c\t%s\t%s\n", kind, current_bench->name, why);
	fflush(stdout);
	_exit(kind == 'F');
}

void missing(const char *why)
{
	end_with('M', why);
	__builtin_unreachable();
}

void failed(const char *what)
{
	char text[200];

	snprintf(text, sizeof(text), "%s (%s)", what, strerror(errno));
	end_with('F', text);
	__builtin_unreachable();
}

void result_is(const char *call, long result)
{
	static const int not_done[] = { ENOSYS, EINVAL, EOPNOTSUPP, EAFNOSUPPORT, ENODEV, ENOENT };
	char text[200];

	snprintf(text, sizeof(text), "%s: %s", call, strerror((int)-result));
	for (size_t i = 0; i < sizeof(not_done) / sizeof(not_done[0]); i++)
		if (-result == not_done[i])
			missing(text);
	end_with('F', text);
	__builtin_unreachable();
}

void claim_range(const char *what, long got, long least, long most)
{
	char text[200];

	if (got >= least && got <= most)
		return;
	snprintf(text, sizeof(text), "%s: %ld, not %ld", what, got, least);
	if (least != most)
		snprintf(text + strlen(text), 40, " to %ld", most);
	end_with('F', text);
}

void claim(const char *what, long got, long want)
{
	claim_range(what, got, want, want);
}

/* ---- what the kernel counted ----------------------------------------------------------------------- */

long faults(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u))
		failed("getrusage");
	return u.ru_minflt;
}

long switches(int who)
{
	struct rusage u;

	if (getrusage(who, &u))
		failed("getrusage");
	return u.ru_nvcsw + u.ru_nivcsw;
}

long kernel_counter(const char *file, const char *name)
{
	char path[64], line[128];
	size_t n = strlen(name);
	long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/jiffy/%s", file);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, n) && line[n] == ' ')
			value = atol(line + n + 1);
	fclose(f);
	return value;
}

void fifo(void)
{
	struct sched_param p = { .sched_priority = 50 };

	/* musl's wrapper only fails. */
	must("sched_setscheduler", sys3(SYS_sched_setscheduler, 0, SCHED_FIFO, (long)&p));
}

char *map_aligned(unsigned long size, int huge)
{
	char *all = map_anon(size + HUGE);
	char *p = (char *)(((unsigned long)all + HUGE - 1) & -HUGE);

	if (p > all)
		munmap(all, (size_t)(p - all));
	munmap(p + size, (size_t)(all + HUGE - p));
	/* A kernel without large pages may not know the advice: then there is nothing to forbid. */
	if (madvise(p, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && huge)
		result_is("madvise", -errno);
	return p;
}

/* ---- running ------------------------------------------------------------------------------------- */

/* The name of what follows, for the emulator's plugin. */
static void send_name(const char *name)
{
	MARK(MARK_NAME);
	for (; *name; name++)
		for (int bit = 7; bit >= 0; bit--) {
			if (*name >> bit & 1)
				MARK(MARK_BIT + 1);
			else
				MARK(MARK_BIT);
		}
}

static void common_control(void)
{
	control_begin();
	for (int i = 0; i < 200; i++)
		CONTROL((void)0);
	control_end();
}

static void run_here(const struct bench *b)
{
	unsigned long cpu0 = 1;

	current_bench = b;
	main_pid = getpid();
	if (b->samples > MAX_SAMPLES)
		failed("more samples than there is room for");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		failed("mmap");
	memset(shared, 1, sizeof(*shared)); /* no page fault in what is measured */
	memset(shared, 0, sizeof(*shared));
	/* On several CPUs the partners would run side by side. */
	if (syscall(SYS_sched_setaffinity, 0, sizeof(cpu0), &cpu0))
		result_is("sched_setaffinity", -errno);
	common_control();
	send_name(b->name);
	b->run(b);
	failed("it ended without a report");
}

static const struct bench *find(const char *name)
{
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (const struct bench *b = groups[g]; b->name; b++)
			if (!strcmp(b->name, name))
				return b;
	return NULL;
}

static const char *self;

/* In a process group of its own, which is killed if it does not end in time. */
static int run_one(const struct bench *b)
{
	struct timespec limit = { TIME_LIMIT, 0 };
	char *argv[] = { (char *)self, "--only", (char *)b->name, NULL };
	sigset_t set;
	int status = 0;
	pid_t child;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	current_bench = b;
	main_pid = getpid();
	child = fork();
	if (child == 0) {
		setpgid(0, 0);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		execv(self, argv);
		failed("execv");
	}
	if (child < 0) {
		printf("B\tF\t%s\tfork: %s\n", b->name, strerror(errno));
		return 1;
	}
	while (waitpid(child, &status, WNOHANG) == 0) {
		if (sigtimedwait(&set, NULL, &limit) < 0 && errno == EAGAIN) {
			kill(-child, SIGKILL);
			waitpid(child, &status, 0);
			printf("B\tF\t%s\tstill running after %d s\n", b->name, TIME_LIMIT);
			fflush(stdout);
			return 1;
		}
	}
	kill(-child, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (WIFSIGNALED(status)) {
		printf("B\tF\t%s\tkilled by signal %d\n", b->name, WTERMSIG(status));
		fflush(stdout);
	}
	return status != 0;
}

static int run_names(char **names)
{
	int bad = 0;

	for (size_t g = 0; !*names && g < sizeof(groups) / sizeof(groups[0]); g++)
		for (const struct bench *b = groups[g]; b->name; b++)
			bad |= run_one(b);
	for (; *names; names++)
		bad |= run_one(find(*names));
	printf("B\t.\n");
	fflush(stdout);
	return bad;
}

static void value(const char *name, uint64_t v, const char *unit)
{
	printf("B\tV\t%s\t%lu\t%s\n", name, v, unit);
	fflush(stdout);
}

/* ---- pid 1 --------------------------------------------------------------------------------------- */

static void bring_up(void)
{
	/* What exists already, or cannot be had, shows when a benchmark needs it. */
	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	(void)!mount("none", "/proc", "proc", 0, NULL);
	if (access("/dev/null", F_OK))
		(void)!mount("none", "/dev", "devtmpfs", 0, NULL);
	if (fcntl(1, F_GETFD) < 0) {
		int fd = open("/dev/ttyS0", O_RDWR | O_NOCTTY);

		for (int i = fd + 1; fd >= 0 && i < 3; i++)
			dup2(fd, i);
	}
}

static void tick_rate(void)
{
	struct timespec a, b;
	uint64_t start, ticks;
	int64_t ns;

	clock_gettime(CLOCK_MONOTONIC, &a);
	start = stamp();
	do {
		clock_gettime(CLOCK_MONOTONIC, &b);
		ticks = stamp() - start;
		ns = (b.tv_sec - a.tv_sec) * 1000000000ll + b.tv_nsec - a.tv_nsec;
	} while (ns < 5000000);
	value("ticks_per_ms", ticks * 1000000 / (uint64_t)ns, "ticks");
}

static void memory_free(void)
{
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");
	unsigned long kib;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemTotal: %lu", &kib) == 1)
			value("memory.total", kib, "KiB");
		else if (sscanf(line, "MemFree: %lu", &kib) == 1)
			value("memory.free", kib, "KiB");
	}
	if (f)
		fclose(f);
}

static void say_who(void)
{
	struct utsname u;
	char line[256];
	FILE *f;

	if (!uname(&u))
		printf("B\tV\tuname\t%s %s %s\t-\n", u.sysname, u.release, u.version);
	f = fopen("/proc/version", "r");
	if (f && fgets(line, sizeof(line), f))
		printf("B\tV\tversion\t%.*s\t-\n", (int)strcspn(line, "\n"), line);
	if (f)
		fclose(f);
}

static int first_process(char **names, uint64_t began)
{
	bring_up();
	value("boot.first_instruction", began, "ticks");
	memory_free();
	tick_rate();
	say_who();
	run_names(names);
	reboot(RB_POWER_OFF);
	return 0;
}

static void list(int titles)
{
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (const struct bench *b = groups[g]; b->name; b++)
			printf(titles ? "%s\t%s\n" : "%s\n", b->name, b->what);
}

int main(int argc, char **argv)
{
	uint64_t began = stamp();
	char *slash = strrchr(argv[0], '/');

	self = argv[0];
	if (slash) {
		snprintf(exit_program, sizeof(exit_program), "%.*s/suite-exit",
			 (int)(slash - argv[0]), argv[0]);
		snprintf(kernel_module, sizeof(kernel_module), "%.*s/kthread.ko",
			 (int)(slash - argv[0]), argv[0]);
	}
	if (argc == 2 && (!strcmp(argv[1], "--list") || !strcmp(argv[1], "--titles"))) {
		list(argv[1][2] == 't');
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "--only") && find(argv[2]))
		run_here(find(argv[2]));
	for (int i = 1; i < argc; i++)
		if (!find(argv[i])) {
			fprintf(stderr, "suite: there is no benchmark '%s'; see suite --list\n",
				argv[i]);
			return 2;
		}
	return getpid() == 1 ? first_process(argv + 1, began) : run_names(argv + 1);
}
