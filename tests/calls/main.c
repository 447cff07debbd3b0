/*
 * calls SECONDS SEED: rounds of workers that make calls (calls.h). A round ends with SIGKILL to everybody; then
 * all must be gone within a while, and the kernel's audit must find nothing. Status 0: so it was.
 *
 * Not for Linux: it sends signals to whomever it finds.
 */
#include "calls.h"
#include "../soak/books.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>

#define WORKERS    4
#define THREADS    3
#define ROUND_MS   3000
#define WARM_UP_MS 500
#define END_MS     60000
#define MAX_STARTS 400 /* of workers in a round: some kill others all the time */
#define URGENT     99
#define LOOK_AGAIN 10000 /* us */

struct entry { /* as getdents64(2) has them */
	u64 inode, offset;
	unsigned short size;
	unsigned char type;
	char name[];
};

static u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
}

/* Before the others, or as they are: workers change anybody's policy. */
static void set_priority(int priority)
{
	struct sched_param p = { .sched_priority = priority };

	sched_setscheduler(0, priority ? SCHED_FIFO : SCHED_OTHER, &p);
}

static void start_worker(u64 seed)
{
	if (fork() == 0) {
		set_priority(0);
		run_worker(seed, THREADS);
	}
}

/* What the kernel makes with the first one and keeps: a device's list of locks, file systems without a name. */
static void make_firsts(void)
{
	int null = open("/dev/null", O_RDWR), fds[2];

	flock(null, LOCK_SH);
	close(null);
	close(memfd_create("calls", 0));
	close(eventfd(0, 0));
	close(epoll_create1(0));
	if (pipe(fds) == 0) {
		close(fds[0]);
		close(fds[1]);
	}
}

static void tell_process(int pid)
{
	char path[40], line[200];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	n = read(fd, line, sizeof(line));
	printf("calls: left: %d %.*s\n", pid, n > 0 ? (int)n : 0, line);
	close(fd);
}

/*
 * Processes beside init and this one, dead or alive. Without opendir, which takes memory: it would be one page
 * more than before.
 */
static unsigned count_processes(bool tell)
{
	static char entries[4096];
	int root = open("/proc", O_RDONLY | O_DIRECTORY);
	unsigned found = 0;
	long n;

	while ((n = syscall(SYS_getdents64, root, entries, sizeof(entries))) > 0)
		for (struct entry *e = (struct entry *)entries; (char *)e < entries + n;
		     e = (struct entry *)((char *)e + e->size)) {
			int pid = atoi(e->name);

			if (pid <= 1 || pid == getpid())
				continue;
			found++;
			if (tell)
				tell_process(pid);
		}
	close(root);
	return n < 0 ? 1 : found; /* no memory for a look: they are still at it */
}

static unsigned reap(void)
{
	unsigned n = 0;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		n++;
	return n;
}

/* Everybody is killed until nobody is left. False: somebody does not go. */
static bool end_round(unsigned *deaths)
{
	u64 begun = now_ms();

	atomic_store(&board->stop, true);
	while (now_ms() - begun < END_MS) {
		kill(-1, SIGKILL);
		*deaths += reap();
		if (count_processes(false) == 0)
			return true;
		usleep(LOOK_AGAIN);
	}
	return false;
}

static bool run_round(u64 seed, unsigned ms)
{
	u64 begun = now_ms(), calls;
	unsigned deaths = 0, starts = 0;

	if (mmap(board, sizeof(*board), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0) == MAP_FAILED) {
		printf("calls: FAILED: no memory for the board: %s\n", strerror(errno));
		return false;
	}
	while (now_ms() - begun < ms) {
		set_priority(URGENT); /* somebody may have changed it */
		deaths += reap();
		for (unsigned n = count_processes(false); n < WORKERS && starts < MAX_STARTS; n++)
			start_worker(seed * MAX_STARTS + starts++);
		usleep(LOOK_AGAIN);
	}
	begun = now_ms();
	if (!end_round(&deaths)) {
		printf("calls: FAILED: %u processes do not end\n", count_processes(true));
		return false;
	}
	calls = atomic_load(&board->calls);
	printf("calls: seed %lu: %lu calls, %u processes, %lu ms to end\n", (unsigned long)seed,
	       (unsigned long)calls, deaths, (unsigned long)(now_ms() - begun));
	munmap(board, sizeof(*board));
	if (calls == 0)
		printf("calls: FAILED: there were no calls\n");
	return calls > 0;
}

/* After exec: a board of its own, on which little may be forked any more. */
static void go_on(void)
{
	mmap(board, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
	atomic_store(&board->forks, MAX_FORKS - 3);
	run_worker((u64)getpid(), 2);
}

int main(int argc, char **argv)
{
	u64 seconds, seed, begun;
	bool ok;

	if (argc == 2 && !strcmp(argv[1], QUICK))
		return 0;
	if (argc == 2 && !strcmp(argv[1], AGAIN))
		go_on();
	if (argc != 3) {
		fprintf(stderr, "usage: calls SECONDS SEED\n");
		return 2;
	}
	if (access("/proc/jiffy", F_OK)) {
		fprintf(stderr, "calls: only for Jiffy: it sends signals to everybody\n");
		return 2;
	}
	seconds = strtoul(argv[1], NULL, 0);
	seed = strtoul(argv[2], NULL, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	make_firsts();
	ok = run_round(seed, WARM_UP_MS) && books_take();
	for (begun = now_ms(); ok && now_ms() - begun < seconds * 1000; seed++)
		ok = run_round(seed, ROUND_MS);
	ok = ok && books_balance();
	printf("calls: %s\n", ok ? "passed" : "FAILED");
	return !ok;
}
