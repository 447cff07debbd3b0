/* Who may do what to which process, and what numbers mean one. */
#include "abi.h"

#include <pthread.h>
#include <time.h>

enum { WAIT = 128, WAKE, REQUEUE = 131 }; /* private ones */

static pthread_barrier_t both;
static int tid, word, other;

static void nap(void)
{
	nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
}

static void *stay(void *arg)
{
	tid = (int)syscall(SYS_gettid);
	pthread_barrier_wait(&both);
	for (;;)
		pause();
	return arg;
}

/* A thread's number means its process, but where only groups and leaders count. */
static void thread_numbers(void)
{
	struct rlimit r;
	pthread_t t;
	size_t len;
	void *at;

	title("a thread's number");
	pthread_barrier_init(&both, NULL, 2);
	if (pthread_create(&t, NULL, stay, NULL))
		_exit(99);
	pthread_barrier_wait(&both);
	call("kill 0", syscall(SYS_kill, tid, 0));
	truth("getpgid", syscall(SYS_getpgid, tid) == getpgrp());
	truth("getsid", syscall(SYS_getsid, tid) == getsid(0));
	call("prlimit", syscall(SYS_prlimit64, tid, RLIMIT_CORE, NULL, &r));
	call("tgkill of another process", syscall(SYS_tgkill, tid, tid, 0));
	call("kill -tid", syscall(SYS_kill, -tid, 0));
	call("get_robust_list", syscall(SYS_get_robust_list, tid, &at, &len));
}

static void as_nobody(pid_t root)
{
	const struct rlimit up = { 0, RLIM_INFINITY }, down = { 0, 100 };
	pid_t mine, again;
	int status;

	if (syscall(SYS_setresgid, 65534, 65534, 65534) ||
	    syscall(SYS_setresuid, 65534, 65534, 65534))
		_exit(98);
	call("kill 0 of root's", syscall(SYS_kill, root, 0));
	call("SIGTERM", syscall(SYS_kill, root, SIGTERM));
	call("SIGCONT in the session", syscall(SYS_kill, root, SIGCONT));
	call("tgkill", syscall(SYS_tgkill, root, root, SIGTERM));
	call("to a group with one's own", syscall(SYS_kill, 0, 0));
	call("prlimit, a look", syscall(SYS_prlimit64, root, RLIMIT_CORE, NULL, NULL));
	call("prlimit", syscall(SYS_prlimit64, root, RLIMIT_CORE, &down, NULL));
	call("get_robust_list", syscall(SYS_get_robust_list, root, &mine, &mine));
	call("a hard limit down", syscall(SYS_prlimit64, 0, RLIMIT_MSGQUEUE, &down, NULL));
	call("and up", syscall(SYS_prlimit64, 0, RLIMIT_MSGQUEUE, &up, NULL));
	mine = fork();
	if (!mine)
		for (;;)
			pause();
	call("prlimit of a child", syscall(SYS_prlimit64, mine, RLIMIT_CORE, &down, NULL));
	call("SIGKILL to it", syscall(SYS_kill, mine, SIGKILL));
	again = waitpid(mine, &status, 0);
	truth("killed", again == mine && WIFSIGNALED(status));
}

static void without_root(void)
{
	pid_t root, nobody;

	title("without root");
	root = fork();
	if (!root)
		for (;;)
			pause();
	nobody = fork();
	if (!nobody) {
		as_nobody(root);
		_exit(0);
	}
	waitpid(nobody, NULL, 0);
	kill(root, SIGKILL);
	waitpid(root, NULL, 0);
}

static void *wait_on_word(void *arg)
{
	syscall(SYS_futex, &word, WAIT, 0, NULL, NULL, 0);
	return arg;
}

static void counts(void)
{
	siginfo_t info, none = { 0 };
	pthread_t t;
	size_t len;
	void *at;

	title("counts");
	for (int i = 0; i < 4; i++)
		if (pthread_create(&t, NULL, wait_on_word, NULL))
			_exit(97);
	nap();
	value("FUTEX_REQUEUE of one and two", syscall(SYS_futex, &word, REQUEUE, 1, 2l, &other, 0));
	value("and they are there", syscall(SYS_futex, &other, WAKE, 9, NULL, NULL, 0));
	memset(&info, 1, sizeof(info));
	call("waitid of nobody", syscall(SYS_waitid, P_ALL, 0, &info, WEXITED, NULL));
	value("has said so", info.si_pid);
	call("to nowhere", syscall(SYS_waitid, P_ALL, 0, 8, WEXITED, NULL));
	call("without a wish", syscall(SYS_waitid, P_ALL, 0, 8, 0, NULL));
	call("getrlimit to nowhere", syscall(SYS_getrlimit, RLIMIT_CORE, NULL));
	call("setpgid of -1", syscall(SYS_setpgid, -1, 0));
	call("setpgid of -1 to 1", syscall(SYS_setpgid, -1, 1));
	call("get_robust_list of -1", syscall(SYS_get_robust_list, -1, &at, &len));
	call("rt_tgsigqueueinfo as the kernel",
	     syscall(SYS_rt_tgsigqueueinfo, getpid(), 1 << 22, 0, &none));
	call("waitid __WCLONE", syscall(SYS_waitid, P_ALL, 0, NULL, WEXITED | __WCLONE, NULL));
}

int main(void)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	without_root();
	thread_numbers();
	counts();
	return 0;
}
