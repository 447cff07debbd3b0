/*
 * /proc/<pid>/task: who is listed, what each thread's files say of it alone, and what is refused.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "say.h"

static pid_t tids[2]; /* of who sleeps, of who works */
static volatile int done;

static pid_t my_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

/* What the file says, without its last newline; its errno as a number if there is none. */
static char *text(const char *dir, int id, const char *file)
{
	static char buf[4096];
	char path[96];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%d/%s", dir, id, file);
	fd = open(path, O_RDONLY);
	if (fd < 0) {
		sprintf(buf, "errno %d", errno);
		return buf;
	}
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n - 1 : 0] = 0;
	return buf;
}

/* A line of status. */
static long status(const char *dir, int id, const char *name)
{
	char *at = strstr(text(dir, id, "status"), name);

	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

/* Field n of stat, counted from 1 as in proc(5); n > 2. */
static char *field(const char *dir, int id, int n)
{
	char *at = strrchr(text(dir, id, "stat"), ')');

	for (int i = 2; at && i < n; i++)
		at = strchr(at + 1, ' ');
	return at ? at + 1 : "none";
}

static long ticks(const char *dir, int id)
{
	return atol(field(dir, id, 14)) + atol(field(dir, id, 15));
}

static void *sleeper(void *arg)
{
	prctl(PR_SET_NAME, "sleeper");
	tids[0] = my_tid();
	while (!done)
		usleep(20000);
	return NULL;
}

static void *worker(void *arg)
{
	prctl(PR_SET_NAME, "worker");
	tids[1] = my_tid();
	while (!done)
		__asm__ volatile("");
	return NULL;
}

static void list(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	int last = 0;

	while (d && (e = readdir(d))) {
		int id = atoi(e->d_name);

		if (e->d_name[0] == '.')
			continue;
		SAY("a %s, in order %d: %s\n", e->d_type == DT_DIR ? "directory" : "file",
		    id > last,
		    id == getpid() ? "main" :
		    id == tids[0]  ? "sleeper" :
		    id == tids[1]  ? "worker" :
				     "stranger");
		last = id;
	}
	closedir(d);
}

static void say_of(const char *dir, int id)
{
	SAY("comm %s", text(dir, id, "comm"));
	SAY(", Name %d", strstr(text(dir, id, "status"), "Name:\t") == text(dir, id, "status"));
	SAY(", Tgid ours %d, Pid its %d", status(dir, id, "Tgid:") == getpid(),
	    status(dir, id, "\nPid:") == id);
	SAY(", Threads %ld", status(dir, id, "Threads:"));
	SAY(", stat's pid %d\n", atoi(text(dir, id, "stat")) == id);
}

static void refused(void)
{
	static const char *const names[] = {
		"0", "2147483647", "x", "-1", "99999999999", "self", ""
	};
	char path[64];
	struct stat st;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		sprintf(path, "/proc/self/task/0%s", names[i]);
		SAY("0%s: %d", names[i], stat(path, &st) ? errno : 0);
		sprintf(path, "/proc/self/task/%s", names[i]);
		SAY(", %s: %d\n", names[i], stat(path, &st) ? errno : 0);
	}
	SAY("task of a thread: %s\n", text("/proc/self/task", tids[0], "task"));
	SAY("mkdir: %d", mkdir("/proc/self/task/5", 0700) ? errno : 0);
	SAY(", stat of it is read only: %d\n", access("/proc/self/task/5", W_OK) ? errno : 0);
}

/* It works, and nobody else: its time is in its own file and in the process's. */
static void times(void)
{
	long of_main;

	/* The kernel rounds, and tells user from system time by guess: some ticks may be missing. */
	while (ticks("/proc/self/task", tids[1]) < 30)
		usleep(10000);
	of_main = ticks("/proc/self/task", getpid());
	SAY("worker: %c", *field("/proc/self/task", tids[1], 3));
	SAY(", sleeper less %d", ticks("/proc/self/task", tids[0]) < 30);
	SAY(", all %d", ticks("/proc", getpid()) >= of_main + 20);
	SAY(", all by any of them %d\n", ticks("/proc", tids[0]) >= of_main + 20);
	while (*field("/proc/self/task", tids[0], 3) != 'S')
		usleep(1000);
	SAY("sleeper: S\n");
}

static void *thread_self(void *arg)
{
	char target[64], want[64];
	ssize_t n = readlink("/proc/thread-self", target, sizeof(target) - 1);

	target[n > 0 ? n : 0] = 0;
	sprintf(want, "%d/task/%d", getpid(), my_tid());
	SAY("thread-self %d", !strcmp(target, want));
	n = readlink("/proc/thread-self/fd/1", target, sizeof(target) - 1);
	SAY(", its descriptors %d", n > 0);
	n = readlink("/proc/self/fd/1", want, sizeof(want) - 1);
	SAY(", as the process's %d\n", n > 0 && !memcmp(target, want, (size_t)n));
	return (void *)(long)my_tid();
}

int main(void)
{
	pthread_t t[2], other;
	struct stat st;
	void *gone;
	char path[64];

	pthread_create(&t[0], NULL, sleeper, NULL);
	while (!tids[0])
		usleep(1000);
	pthread_create(&t[1], NULL, worker, NULL);
	while (!tids[1])
		usleep(1000);
	SAY("#: who is listed\n");
	list();
	SAY("#: each thread's files\n");
	say_of("/proc/self/task", getpid());
	for (int i = 0; i < 2; i++)
		say_of("/proc/self/task", tids[i]);
	SAY("as a process: ");
	say_of("/proc", tids[1]);
	SAY("#: what is refused\n");
	refused();
	SAY("#: times and states\n");
	times();
	SAY("#: thread-self, and one that ends\n");
	pthread_create(&other, NULL, thread_self, NULL);
	pthread_join(other, &gone);
	sprintf(path, "/proc/self/task/%d", (int)(long)gone);
	while (stat(path, &st) == 0)
		usleep(1000);
	SAY("ended: %d\n", errno);
	sprintf(path, "/proc/%d", (int)(long)gone);
	SAY("as a process: %d\n", stat(path, &st) ? errno : 0);
	done = 1;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	return 0;
}
