/*
 * Trees of processes: each node forks, vforks or executes children, checks what they return, and
 * returns a sum. Some trees are killed as a group in the middle; who survives as an orphan goes to
 * the subreaper. And the victims: any kind of load in a group of its own, killed at any moment.
 */
#include "soak.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#define DEPTH 3

static char exec_code[8];

/* soak exec CODE */
int tree_exec_main(char **argv)
{
	return argv[2] ? atoi(argv[2]) : 99;
}

static void become(int code)
{
	char *argv[] = { (char *)self_path, "exec", exec_code, NULL };
	char *envp[] = { NULL };

	snprintf(exec_code, sizeof(exec_code), "%d", code);
	execve("/proc/self/exe", argv, envp);
	_exit(98);
}

static int leaf(struct rng *r, int code)
{
	pid_t pid;

	switch (rng_below(r, 4)) {
	case 0:
		pid = do_fork();
		if (pid == 0)
			_exit(code);
		return pid;
	case 1:
		pid = do_fork();
		if (pid == 0)
			become(code);
		count(EXECS);
		return pid;
	case 2: {
		char *argv[] = { (char *)self_path, "exec", exec_code, NULL };
		char *envp[] = { NULL };

		snprintf(exec_code, sizeof(exec_code), "%d", code);
		pid = vfork();
		if (pid == 0) {
			execve("/proc/self/exe", argv, envp);
			_exit(98);
		}
		count(EXECS);
		return pid;
	}
	default:
		pid = vfork();
		if (pid == 0)
			_exit(code);
		return pid;
	}
}

/* The sum of all codes below, modulo 64; what a node returns. */
static int node(struct rng *r, unsigned depth, int mine)
{
	unsigned n = rng_below(r, 3) + (depth == DEPTH);
	pid_t pid[4];
	int want[4], sum = mine;

	for (unsigned i = 0; i < n; i++) {
		want[i] = (int)rng_below(r, 64);
		if (depth == 0) {
			pid[i] = leaf(r, want[i]);
			continue;
		}
		pid[i] = do_fork();
		if (pid[i] == 0) {
			struct rng mine_too = { rng_next(r) };

			want[i] = node(&mine_too, depth - 1, want[i]);
			_exit(want[i] < 0 ? 97 : 0);
		}
	}
	if (rng_below(r, 4) == 0)
		nap(r, 2000);
	for (unsigned i = 0; i < n; i++) {
		int status = reap(pid[i]);

		if (status != (depth == 0 ? want[i] << 8 : 0))
			fail("tree: status %#x, not %#x", status, depth == 0 ? want[i] << 8 : 0);
		sum += want[i];
	}
	return sum % 64;
}

static void own_group(pid_t pid)
{
	if (!in_victim)
		setpgid(pid, pid);
}

void tree_round(struct rng *r)
{
	bool doomed = !in_victim && rng_below(r, 3) == 0;
	struct rng child = { rng_next(r) };
	pid_t pid = do_fork();
	int status;

	if (pid == 0) {
		own_group(0);
		node(&child, DEPTH, 1);
		_exit(0);
	}
	own_group(pid);
	if (doomed) {
		nap(r, 30000);
		kill(-pid, SIGKILL);
		count(KILLS);
	}
	status = reap(pid);
	if (status != 0 && !(doomed && status == SIGKILL))
		fail("tree: the root ended with %#x", status);
	if (doomed)
		kill(-pid, SIGKILL); /* who was forked while the others died */
}

/* ---- victims ------------------------------------------------------------------------------------- */

/* Removes what a victim left in its directory. */
static void remove_all(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char name[300];

	while (d && (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		if (unlink(name) < 0 && (errno == EISDIR || errno == EPERM))
			remove_all(name);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

static void be_victim(struct rng *r, const char *dir)
{
	static void (*const kind[])(struct rng * r) = { hack_round,  tree_round,    storm_round,
							files_round, signals_round, futex_round };

	in_victim = true;
	setpgid(0, 0);
	if (chdir(dir))
		_exit(96);
	for (;;)
		kind[rng_below(r, sizeof(kind) / sizeof(kind[0]))](r);
}

/* Has everybody in the group gone? Those that are on their way out still take a while. */
static void kill_group(pid_t group)
{
	int status;

	for (int i = 0; kill(-group, SIGKILL) == 0; i++) {
		waitpid(-group, &status, WNOHANG);
		usleep(1000);
		if (i > STALL_SECONDS * 1000 / 2) {
			fail("victim: group %d does not die", group);
			return;
		}
	}
}

void victim_round(struct rng *r)
{
	struct rng child = { rng_next(r) };
	char dir[40];
	pid_t pid;
	int status;

	snprintf(dir, sizeof(dir), "/tmp/victim.%d", getpid());
	mkdir(dir, 0700);
	pid = do_fork();
	if (pid == 0)
		be_victim(&child, dir);
	setpgid(pid, pid);
	nap(r, 200000);
	kill(-pid, SIGKILL);
	count(KILLS);
	status = reap(pid);
	if (status != SIGKILL)
		fail("victim: ended with %#x", status);
	kill_group(pid);
	remove_all(dir);
}
