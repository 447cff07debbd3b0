/* Births and ends, waits, groups, exec, and what /proc says of those who are being born and end. */
#include "calls.h"

#define MAX_GENERATION 4
#define STACK_SIZE     (16 * PAGE)

static bool may_fork(void)
{
	return generation < MAX_GENERATION && atomic_fetch_add(&board->forks, 1) < MAX_FORKS;
}

static void fork_one(void)
{
	u64 seed = pick();
	int pid;

	if (!may_fork())
		return;
	pid = one_in(4) ? (int)call(SYS_fork) : fork();
	if (pid == 0) {
		generation++;
		pick_seed(seed);
		write_down(getpid());
		run_calls(below(3000));
		_exit(0);
	}
	write_down(pid);
}

static void execute(const char *how)
{
	char *argv[] = { "calls", (char *)how, NULL };

	execve(one_in(40) ? "/nonexistent" : "/proc/self/exe", argv, NULL);
}

static void vfork_one(void)
{
	int pid = vfork();

	if (pid == 0) {
		execute(QUICK);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* It has the caller's memory and thread pointer: nothing of the C library but system calls. */
static int run_clone(void *seed)
{
	pick_seed((u64)seed);
	for (u64 n = below(200); n-- && !atomic_load(&board->stop);)
		switch (below(4)) {
		case 0: call_sched(); break;
		case 1: call_futex(); break;
		case 2: call_file(); break;
		default: call_signal();
		}
	syscall(SYS_exit, 0);
	return 0;
}

static void clone_one(void)
{
	static const int flag[] = { CLONE_FS,
				    CLONE_FILES,
				    CLONE_SIGHAND,
				    CLONE_VFORK,
				    CLONE_PARENT,
				    CLONE_SYSVSEM,
				    CLONE_PARENT_SETTID,
				    CLONE_CHILD_CLEARTID,
				    CLONE_CHILD_SETTID,
				    CLONE_THREAD | CLONE_SIGHAND };
	int flags = CLONE_VM, pid;
	u64 seed = pick();
	char *stack;

	if (!may_fork())
		return;
	stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack == MAP_FAILED)
		return;
	for (int i = 0; i < 4; i++)
		flags |= flag[below(LENGTH(flag))];
	if (!(flags & CLONE_THREAD))
		flags |= SIGCHLD;
	pid = clone(run_clone, stack + STACK_SIZE, flags, (void *)seed, maybe((u64)&board->word[0]),
		    NULL, maybe((u64)&board->word[1]));
	write_down(pid);
}

static void wait_somehow(void)
{
	siginfo_t info;
	int status;

	if (one_in(2))
		call(SYS_wait4, one_in(2) ? -1 : some_pid(), maybe((u64)&status),
		     WNOHANG | below(16), one_in(2) ? 0 : some_pointer());
	else
		call(SYS_waitid, below(4), some_pid(), maybe((u64)&info),
		     WNOHANG | WEXITED | below(16) | (one_in(3) ? WNOWAIT : 0), some_pointer());
}

static void read_file(const char *path)
{
	char text[PAGE];
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return;
	if (one_in(2))
		call(SYS_lseek, fd, maybe(one_in(2) ? 0 : AREA / PAGE * 8), SEEK_SET);
	for (int i = 0; i < 3; i++)
		if (call(SYS_read, fd, one_in(4) ? some_pointer() : (u64)text, below(PAGE)) <= 0)
			break;
	if (one_in(4))
		call(SYS_getdents64, fd, some_pointer(), below(PAGE));
	close(fd);
}

static void look_at_proc(void)
{
	static const char *const of_process[] = { "maps",   "smaps",   "status",       "statm",
						  "stat",   "pagemap", "comm",         "cmdline",
						  "limits", "task",    "fd",           "environ",
						  "auxv",   "mem",     "oom_score_adj" };
	static const char *const of_kernel[] = { "jiffy/tlb",     "jiffy/locks", "jiffy/smp",
						 "jiffy/objects", "jiffy/sched", "meminfo",
						 "stat",          "loadavg" };
	char path[64];

	if (one_in(3))
		snprintf(path, sizeof(path), "/proc/%s", of_kernel[below(LENGTH(of_kernel))]);
	else
		snprintf(path, sizeof(path), "/proc/%d/%s", some_pid(),
			 of_process[below(LENGTH(of_process))]);
	read_file(path);
}

void call_process(void)
{
	switch (below(16)) {
	case 0 ... 2: fork_one(); return;
	case 3: vfork_one(); return;
	case 4 ... 5: clone_one(); return;
	case 6 ... 8: wait_somehow(); return;
	case 9: call(SYS_set_tid_address, some_word()); return;
	case 10:
		call(SYS_setpgid, 0, one_in(2) ? 0 : some_pid());
		if (one_in(10))
			call(SYS_setsid);
		return;
	case 11:
		call(SYS_getrusage, (int)below(4) - 2, some_pointer());
		call(SYS_times, some_pointer());
		call(SYS_sysinfo, some_pointer());
		return;
	case 12:
		call(SYS_prctl, one_in(3) ? odd_value() : below(70), some_pointer(), some_pointer(),
		     pick(), 0);
		return;
	case 13:
		if (one_in(10))
			execute(one_in(2) ? AGAIN : QUICK);
		else if (one_in(20))
			call(SYS_exit_group, 1);
		return;
	default: look_at_proc();
	}
}
