/*
 * soak SECONDS SEED [KIND]: starts a process for each kind of load (or of that one), reports now and then, stops them when the
 * time is over, reaps all, and holds the kernel's books against those from before. Exit status 0:
 * everything was right; 1: it was not, and a line said what.
 *
 * The books of before are taken after a short run of the same loads: by then all that the kernel keeps
 * for good (caches, stacks for reuse, tables of its own) is there.
 */
#include "soak.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

struct shared *shared;
bool in_victim;
const char *self_path;

static const struct {
	const char *name;
	void (*round)(struct rng *r);
} kinds[] = {
	{ "hack", hack_round },     { "hack", hack_round },     { "tree", tree_round },
	{ "tree", tree_round },     { "storm", storm_round },   { "storm", storm_round },
	{ "files", files_round },   { "files", files_round },   { "signals", signals_round },
	{ "futex", futex_round },   { "policy", policy_round }, { "victim", victim_round },
	{ "victim", victim_round },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

void fail(const char *fmt, ...)
{
	char line[300];
	va_list ap;
	int n;

	n = snprintf(line, sizeof(line), "soak: FAILED (pid %d): ", getpid());
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	n = n > (int)sizeof(line) - 2 ? (int)sizeof(line) - 2 : n;
	line[n++] = '\n';
	atomic_store(&shared->stop, true);
	if (atomic_fetch_add(&shared->failures, 1) < 20 && write(1, line, n) != n)
		_exit(9);
}

pid_t do_fork(void)
{
	pid_t pid = fork();

	if (pid < 0) {
		fail("fork: %s", strerror(errno));
		_exit(9);
	}
	if (pid > 0)
		count(FORKS);
	return pid;
}

int reap(pid_t pid)
{
	int status = -1;
	pid_t got;

	do {
		got = waitpid(pid, &status, 0);
	} while (got < 0 && errno == EINTR);
	if (got != pid)
		fail("wait for %d gives %d: %s", pid, got, strerror(errno));
	return status;
}

void nap(struct rng *r, unsigned max_us)
{
	struct timespec t = { 0, 1000l * rng_below(r, max_us) };

	nanosleep(&t, NULL);
}

uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

/* ---- workers ------------------------------------------------------------------------------------ */

static void work(unsigned i, uint64_t seed)
{
	struct rng r = { seed + i * 0x1000193ull };
	uint64_t last = 0;

	while (!stopping()) {
		uint64_t now = now_us();

		if (now < last)
			fail("the clock went back by %lu us", (unsigned long)(last - now));
		last = now;
		kinds[i].round(&r);
		atomic_fetch_add(&shared->worker[i].rounds, 1);
	}
	_exit(0);
}

static const char *only; /* this kind; NULL: all */

static void start(uint64_t seed)
{
	atomic_store(&shared->stop, false);
	for (unsigned i = 0; i < KINDS; i++) {
		struct worker *w = &shared->worker[i];

		if (only && strcmp(only, kinds[i].name))
			continue;

		w->name = kinds[i].name;
		w->seen_at = time(NULL);
		w->pid = do_fork();
		if (w->pid == 0)
			work(i, seed);
	}
}

static unsigned workers_alive(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < KINDS; i++)
		n += shared->worker[i].pid != 0;
	return n;
}

/* Takes in who has ended: workers, which must have ended well, and orphans. False: nobody is left. */
static bool reap_some(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < KINDS; i++)
			if (shared->worker[i].pid == pid) {
				shared->worker[i].pid = 0;
				if (status != 0)
					fail("worker %s ended with status %#x", kinds[i].name,
					     status);
			}
	return pid == 0;
}

/* Who is still there, for a soak that does not end: the first words of /proc/PID/stat. */
static void tell_who(void)
{
	char path[40], line[120];

	for (pid_t pid = 1; pid < 32768; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		int fd = open(path, O_RDONLY);
		ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);

		close(fd);
		if (n > 0 && (getsid(pid) == getsid(0)))
			printf("soak: still there: %.*s\n", (int)n, line);
	}
}

/* A worker whose rounds do not go on. */
static bool stalled(void)
{
	time_t now = time(NULL);

	for (unsigned i = 0; i < KINDS; i++) {
		struct worker *w = &shared->worker[i];
		uint64_t rounds = atomic_load(&w->rounds);

		if (rounds != w->seen_rounds || !w->pid)
			w->seen_rounds = rounds, w->seen_at = now;
		else if (now - w->seen_at > STALL_SECONDS) {
			fail("worker %s (pid %d) has not gone on for %d s", w->name, w->pid,
			     STALL_SECONDS);
			tell_who();
			return true;
		}
	}
	return false;
}

static void progress(unsigned seconds)
{
	static const char *const name[COUNTS] = { "forks",    "execs",    "kills",
						  "messages", "mappings", "files",
						  "signals",  "futexes",  "policies" };

	printf("soak: %4u s", seconds);
	for (unsigned i = 0; i < COUNTS; i++)
		printf("  %s %lu", name[i], (unsigned long)atomic_load(&shared->count[i]));
	printf("\n");
}

/*
 * On a kernel booted with the option anywhere, its interrupts come behind every instruction while the
 * loads run (docs/testing.md). False: this is none.
 */
static bool anywhere(const char *word)
{
	int fd = open("/proc/jiffy/anywhere", O_WRONLY);
	bool ok = fd >= 0 && write(fd, word, strlen(word)) > 0;

	close(fd);
	return ok;
}

/* Without a buffer of the C library's: it would be one page more than before. */
static void tell_anywhere(void)
{
	static char text[2000];
	int fd = open("/proc/jiffy/anywhere", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	for (char *line = strtok(text, "\n"); n > 0 && line; line = strtok(NULL, "\n"))
		printf("anywhere: %s\n", line);
}

/* What a short run on a busy machine may not come to: each way of exec and of signals, alone. */
static void tour(uint64_t seed)
{
	struct rng r = { seed };

	for (int i = 0; i < 3; i++) {
		pid_t pid = do_fork();

		if (pid == 0) {
			execl("/proc/self/exe", "soak", "exec", "7", NULL);
			_exit(98);
		}
		if (reap(pid) != 7 << 8)
			fail("the program that was executed returned something else");
	}
	for (int i = 0; i < 2; i++)
		signals_round(&r);
}

/* Runs all kinds for so long. False: something failed, or somebody does not end. */
static bool run(unsigned seconds, uint64_t seed, bool talk)
{
	uint64_t begun = now_us(), said = begun, stop_at = 0;
	bool somebody = true;

	start(seed);
	while (somebody) {
		uint64_t now = now_us();

		usleep(20000);
		somebody = reap_some();
		if (talk && now - said >= 5000000) {
			said = now;
			progress((now - begun) / 1000000);
		}
		if (stalled())
			return false;
		if (now - begun >= seconds * 1000000ull || stopping()) {
			atomic_store(&shared->stop, true);
			if (!stop_at) {
				stop_at = now;
				anywhere("off"); /* what is begun is finished at full speed */
			}
			if (now - stop_at > STALL_SECONDS * 1000000ull) {
				fail("%u workers and their children do not end", workers_alive());
				tell_who();
				return false;
			}
		}
	}
	if (talk)
		progress((now_us() - begun) / 1000000);
	return atomic_load(&shared->failures) == 0;
}

int main(int argc, char **argv)
{
	unsigned seconds;
	uint64_t seed;
	bool ok, has_books, stepped;

	self_path = argv[0];
	if (argc > 1 && !strcmp(argv[1], "exec"))
		return tree_exec_main(argv);
	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: soak SECONDS SEED [KIND]\n");
		return 2;
	}
	only = argv[3];
	seconds = strtoul(argv[1], NULL, 0);
	seed = strtoull(argv[2], NULL, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	_Static_assert(sizeof(*shared) <= PAGE, "one page");
	if (shared == MAP_FAILED || chdir("/tmp"))
		return 9;
	setsid();
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	ok = run(3, seed + 1, false);
	has_books = books_take();
	if (!has_books)
		printf("soak: no /proc/jiffy here: the kernel's books are not looked at\n");
	stepped = anywhere("on");
	if (stepped)
		tour(seed);
	if (ok)
		ok = run(seconds, seed, true);
	if (stepped)
		tell_anywhere();
	printf("soak: all children have ended\n");
	if (ok && has_books)
		ok = books_balance();
	printf("soak: %s\n", ok ? "passed" : "FAILED");
	return !ok;
}
