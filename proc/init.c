/*
 * pid 1: what the machine is there for.
 *
 * The kernel thread that calls proc_start_init becomes a program's thread: it gets a process, the
 * standard files, and the program's memory by the same way as execve; then it leaves the kernel.
 *
 * Options: init=PATH (default /sbin/init, then /bin/sh), its arguments behind `--`; init.cwd=PATH;
 * env.NAME=VALUE (up to four per name); init.killable: pid 1 dies of signals like any program (for
 * a program that is the machine's only job); stdio=stream: standard input and output are
 * /dev/stream0, standard error is /dev/stream1, instead of the console as controlling terminal.
 *
 * The log's lines that begin with "jiffy: " are read by the command on the host (docs/abi.md).
 */
#include "proc/internal.h"

#include "arch/api/cpu.h"
#include "fs/vfs.h"
#include "lib/cmdline.h"
#include "lib/err.h"
#include "lib/fmt.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "sched/sched.h"

CMDLINE_OPTION("init", init_option, "PATH: the first program (default /sbin/init, /bin/sh)");
CMDLINE_OPTION("init.cwd", cwd_option, "PATH: its current directory");
CMDLINE_OPTION("init.killable", killable_option, "signals kill the first program, too");
CMDLINE_OPTION("init.env", env_option, "NAME=VALUE for its environment; may repeat");
CMDLINE_OPTION("stdio", stdio_option, "stream: standard files on /dev/stream0 and /dev/stream1");

bool proc_init_killable;

struct reason {
	int err;
	const char *text;
};

static const char *reason_of(int err)
{
	static const struct reason reasons[] = {
		{ -ENOENT, "no such file" },
		{ -EACCES, "not executable (or a directory on the way is not searchable)" },
		{ -ENOTDIR, "a part of the path is not a directory" },
		{ -EISDIR, "is a directory" },
		{ -ENOEXEC, "not a program that can run here" },
		{ -ENOMEM, "not enough memory: give the machine more" },
		{ -E2BIG, "too many arguments" },
		{ -ELOOP, "too many links or script interpreters" },
		{ -EIO, "cannot be read" },
	};

	for (u32 i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].err == err)
			return reasons[i].text;
	return NULL;
}

__noreturn static void cannot_run(const char *path, int err, const char *why)
{
	if (!why)
		why = reason_of(err);
	if (why)
		log_err("jiffy: cannot run %s: %s\n", path, why);
	else
		log_err("jiffy: cannot run %s: error %d\n", path, -err);
	machine_end(MACHINE_POWEROFF);
}

/* The current kernel thread gets a process: number 1, leader of session and group 1. */
static int make_process(void)
{
	struct process *p = process_create();
	struct thread *me = current();
	struct pid *pid = pid_alloc();
	struct task *t = p ? task_create(me, p) : NULL;
	u64 flags;

	if (!pid || !t)
		return -ENOMEM;
	kassert_eq(pid->nr, 1);
	p->nr = pid->nr;
	p->pid = pid;
	p->exit_signal = SIGCHLD;
	flags = proc_lock();
	pid_publish(pid);
	pid_get(pid);
	pid->proc = p;
	process_join_session(p, pid);
	process_join_group(p, pid);
	pid_count_process(1);
	spin_lock(&p->sig_lock);
	process_add_task(p, t, pid);
	spin_unlock(&p->sig_lock);
	proc_init_process = p;
	proc_unlock(flags);
	me->files = fdtable_create();
	me->fs = fsctx_create();
	if (!me->files || !me->fs)
		return -ENOMEM;
	return ctx_user_create(&me->arch);
}

/* Opens path as descriptor fd, which must be the lowest free one. */
static int open_as(const char *path, int flags, int fd)
{
	struct file *f;
	int err = vfs_open(path, flags, 0, &f);

	if (err)
		return err;
	err = fd_install(f, 0, false);
	if (err < 0) {
		file_put(f);
		return err;
	}
	kassert_eq(err, fd);
	return 0;
}

static int dup_as(int from, int fd)
{
	struct file *f = fd_get(from);
	int err = fd_install(f, 0, false);

	if (err < 0) {
		file_put(f);
		return err;
	}
	kassert_eq(err, fd);
	return 0;
}

static void open_stdio(void)
{
	bool stream = cmdline_is(&stdio_option, "stream");
	const char *in = stream ? "/dev/stream0" : "/dev/console";
	int err = open_as(in, O_RDWR, 0);

	if (!err)
		err = dup_as(0, 1);
	if (!err)
		err = stream ? open_as("/dev/stream1", O_RDWR, 2) : dup_as(0, 2);
	if (err)
		log_warn("init: cannot open its standard files on %s: error %d\n", in, -err);
}

static void set_cwd(void)
{
	struct dentry *d;
	int err;

	if (!cwd_option.value || !*cwd_option.value)
		return;
	err = path_lookup(AT_FDCWD, cwd_option.value, WALK_FOLLOW | WALK_DIRECTORY, &d);
	if (err) {
		log_warn("init.cwd: %s: error %d\n", cwd_option.value, -err);
		return;
	}
	fsctx_set_cwd(current()->fs, d);
	dentry_put(d);
}

static int make_args(struct exec_args *a, const char *path)
{
	static const char *const env[] = { "HOME=/", "TERM=linux",
					   "PATH=/usr/bin:/bin:/usr/sbin:/sbin" };
	u32 n;
	const char *const *words = cmdline_init_args(&n);
	int err = exec_args_add_arg(a, path);

	for (u32 i = 0; i < n && !err; i++)
		err = exec_args_add_arg(a, words[i]);
	for (u32 i = 0; i < ARRAY_SIZE(env) && !err; i++)
		err = exec_args_add_env(a, env[i]);
	for (u32 i = 0; i < MIN(env_option.count, (u32)ARRAY_SIZE(env_option.all)) && !err; i++)
		err = exec_args_add_env(a, env_option.all[i]);
	return err;
}

static int try_to_run(const char *path, const char **why)
{
	struct exec_args *a = exec_args_create();
	int err = a ? make_args(a, path) : -ENOMEM;

	if (!err)
		err = proc_exec_why(path, a, why);
	exec_args_free(a);
	return err;
}

int proc_start_init(void)
{
	const char *path = init_option.value && *init_option.value ? init_option.value : NULL;
	const char *why = NULL;
	int err;

	proc_init();
	err = make_process();
	if (err)
		cannot_run(path ? path : "/sbin/init", err, NULL);
	proc_init_killable = killable_option.count != 0;
	sched_set_level(current(), SCHED_LEVEL_NORMAL, false);
	open_stdio();
	set_cwd();
	err = try_to_run(path ? path : "/sbin/init", &why);
	if (err == -ENOENT && !path) {
		path = "/bin/sh";
		why = NULL;
		err = try_to_run(path, &why);
	}
	if (err)
		cannot_run(path ? path : "/sbin/init", err, why);
	ctx_enter_user();
}
