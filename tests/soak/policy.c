/*
 * Changes affinity, policy and nice value of whoever of the soak it finds in /proc, and reads what /proc
 * says of them: while they fork, die and sleep. Never touches processes of other sessions.
 */
#define _GNU_SOURCE
#include "soak.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* A process of our session, not the first one; 0: none. */
static pid_t somebody(struct rng *r)
{
	DIR *d = opendir("/proc");
	pid_t mine = getsid(0), found = 0;
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d))) {
		pid_t pid = atoi(e->d_name);

		if (pid > 1 && pid != getppid() && getsid(pid) == mine && rng_below(r, ++n) == 0)
			found = pid;
	}
	if (d)
		closedir(d);
	return found;
}

static void change_affinity(struct rng *r, pid_t pid)
{
	unsigned n = (unsigned)sysconf(_SC_NPROCESSORS_ONLN), i;
	cpu_set_t set, got;

	CPU_ZERO(&set);
	for (i = 0; i < n; i++)
		if (rng_below(r, 2))
			CPU_SET(i, &set);
	CPU_SET(rng_below(r, n), &set);
	if (sched_setaffinity(pid, sizeof(set), &set) && errno != ESRCH)
		fail("policy: sched_setaffinity: %s", strerror(errno));
	/* For ourselves it is true at once. */
	if (sched_setaffinity(0, sizeof(set), &set) || sched_getaffinity(0, sizeof(got), &got))
		fail("policy: affinity: %s", strerror(errno));
	else if (!CPU_ISSET((unsigned)sched_getcpu(), &set))
		fail("policy: on CPU %d, which is forbidden", sched_getcpu());
}

static void change_policy(struct rng *r, pid_t pid)
{
	static const int policies[] = { SCHED_OTHER, SCHED_BATCH, 5 /* IDLE */, SCHED_FIFO,
					SCHED_RR };
	int policy = policies[rng_below(r, 5)];
	bool rt = policy == SCHED_FIFO || policy == SCHED_RR;
	struct sched_param p = { .sched_priority = rt ? 1 + (int)rng_below(r, 20) : 0 };

	if (syscall(SYS_sched_setscheduler, pid, policy, &p) && errno != ESRCH && errno != EPERM)
		fail("policy: sched_setscheduler: %s", strerror(errno));
	if (rt) {
		nap(r, 5000);
		p.sched_priority = 0;
		syscall(SYS_sched_setscheduler, pid, SCHED_OTHER, &p);
	}
}

static void look(pid_t pid)
{
	static const char *const files[] = { "stat", "status", "maps", "cmdline", "statm" };
	char path[40], buf[512];

	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
		int fd = open(path, O_RDONLY);

		if (fd < 0)
			continue; /* it has gone */
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		close(fd);
	}
}

void policy_round(struct rng *r)
{
	cpu_set_t all;
	pid_t pid;

	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	for (unsigned n = 0; n < 10 && !stopping(); n++) {
		pid = somebody(r);
		if (!pid)
			continue;
		switch (rng_below(r, 4)) {
		case 0: change_affinity(r, pid); break;
		case 1: change_policy(r, pid); break;
		case 2: setpriority(PRIO_PROCESS, pid, (int)rng_below(r, 40) - 20); break;
		default: look(pid);
		}
		if (rng_below(r, 2))
			sched_setaffinity(pid, sizeof(all), &all);
		count(POLICIES);
	}
}
