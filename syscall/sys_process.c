/* System calls: processes and threads, their ends, ids and limits (proc/). */
#include "syscall/syscalls.h"

#include "arch/api/uaccess.h"
#include "fs/file.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/uapi/fcntl.h"
#include "lib/uapi/sched.h"
#include "lib/uapi/wait.h"
#include "mm/slab.h"
#include "proc/signal.h"

#define PATH_MAX 4096

/* ---- making ---- */

s64 sys_clone(struct regs *r)
{
	const struct clone_request c = {
		.flags = regs_syscall_arg(r, 0),
		.stack = regs_syscall_arg(r, 1),
		.parent_tid = regs_syscall_arg(r, 2),
		.child_tid = regs_syscall_arg(r, 3),
		.tls = regs_syscall_arg(r, 4),
	};

	return proc_clone(&c, r);
}

s64 sys_fork(struct regs *r)
{
	const struct clone_request c = { .flags = SIGCHLD };

	return proc_clone(&c, r);
}

s64 sys_vfork(struct regs *r)
{
	const struct clone_request c = { .flags = CLONE_VM | CLONE_VFORK | SIGCHLD };

	return proc_clone(&c, r);
}

static s64 exec_path(const char *path, uaddr_t argv, uaddr_t envp)
{
	struct exec_args *a = exec_args_create();
	int err = a ? exec_args_copy(a, argv, envp) : -ENOMEM;

	if (!err)
		err = proc_exec(path, a);
	exec_args_free(a);
	return err;
}

/*
 * The path of descriptor dfd, and behind it what is in `path` already. If that is nothing, the file
 * need not have a name (memfd, unlinked): as on Linux the descriptor's own.
 */
static int prefix_path(int dfd, char *path)
{
	struct file *f = fd_get(dfd);
	char *dir;
	int len;

	if (!f)
		return -EBADF;
	if (!*path) {
		file_put(f);
		ksnprintf(path, PATH_MAX, "/proc/self/fd/%d", dfd);
		return 0;
	}
	dir = kmalloc(PATH_MAX);
	len = dir ? file_path(f, dir, PATH_MAX) : -ENOMEM;
	file_put(f);
	if (len >= 0 && (size_t)len + strlen(path) + 2 > PATH_MAX)
		len = -ENAMETOOLONG;
	if (len >= 0) {
		memmove(path + len + 1, path, strlen(path) + 1);
		memcpy(path, dir, (size_t)len);
		path[len] = '/';
	}
	kfree(dir);
	return len < 0 ? len : 0;
}

s64 sys_execveat(int dfd, uaddr_t upath, uaddr_t argv, uaddr_t envp, int flags)
{
	char *path;
	s64 ret;

	if (flags & ~(LINUX_AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	path = kmalloc(PATH_MAX);
	if (!path)
		return -ENOMEM;
	ret = strncpy_from_user(path, upath, PATH_MAX);
	if (ret == 0 && !(flags & LINUX_AT_EMPTY_PATH))
		ret = -ENOENT;
	if (ret >= 0 && *path != '/' && dfd != AT_FDCWD)
		ret = prefix_path(dfd, path);
	if (ret >= 0)
		ret = exec_path(path, argv, envp);
	kfree(path);
	return ret;
}

s64 sys_execve(uaddr_t path, uaddr_t argv, uaddr_t envp)
{
	return sys_execveat(AT_FDCWD, path, argv, envp, 0);
}

/* ---- ends ---- */

s64 sys_exit(int code)
{
	proc_exit_thread(code & 0xff);
}

s64 sys_exit_group(int code)
{
	proc_exit_group(WAIT_STATUS_EXIT((u32)code));
}

s64 sys_wait4(int pid, uaddr_t status, int options, uaddr_t usage)
{
	struct wait_request w = { .which = P_ALL, .options = options | WEXITED };
	struct wait_result res;
	s64 ret;

	if ((u32)options & ~(u32)(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL))
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	if (pid > 0) {
		w.which = P_PID;
		w.nr = (u32)pid;
	} else if (pid != -1) {
		w.which = P_PGID;
		w.nr = pid ? (u32)-pid : (u32)proc_getpgid(0);
	}
	ret = proc_wait(&w, &res);
	if (ret <= 0)
		return ret;
	if (status && put_user(res.status, status))
		return -EFAULT;
	if (usage && put_user(res.usage, usage))
		return -EFAULT;
	return ret;
}

/* The child's number, or 0 or -errno, and *info zeroes. */
static s64 wait_id(int which, int id, struct linux_siginfo *info, int options, uaddr_t usage)
{
	struct wait_request w = { .which = which, .nr = (u32)id, .options = options };
	struct wait_result res;
	s64 ret;

	*info = (struct linux_siginfo){ 0 };

	if ((options &
	     ~(WNOHANG | WEXITED | WSTOPPED | WCONTINUED | WNOWAIT | WNOTHREAD | WCLONE | WALL)) ||
	    !(options & (WEXITED | WSTOPPED | WCONTINUED)))
		return -EINVAL;
	if (which == P_PGID && id == 0)
		w.nr = (u32)proc_getpgid(0);
	else if ((which == P_PID || which == P_PGID) && id <= 0)
		return -EINVAL;
	else if (which != P_ALL && which != P_PID && which != P_PGID)
		return -EINVAL;
	ret = proc_wait(&w, &res);
	if (ret <= 0)
		return ret;
	*info = (struct linux_siginfo){ .signo = SIGCHLD, .code = res.code };
	info->child.pid = (s32)ret;
	info->child.uid = res.uid;
	info->child.status = res.code_status;
	return usage && put_user(res.usage, usage) ? -EFAULT : ret;
}

/* As Linux, it writes zeroes when there is nothing to tell, whatever the reason. */
s64 sys_waitid(int which, int id, uaddr_t uinfo, int options, uaddr_t usage)
{
	struct linux_siginfo info;
	s64 ret = wait_id(which, id, &info, options, usage);

	if (uinfo && put_user(info, uinfo))
		return -EFAULT;
	return MIN(ret, 0);
}

/* ---- ids ---- */

s64 sys_getpid(void)
{
	return current_proc()->nr;
}

s64 sys_getppid(void)
{
	return READ_ONCE(current_proc()->ppid);
}

s64 sys_gettid(void)
{
	return current_task()->tid;
}

s64 sys_getpgrp(void)
{
	return proc_getpgid(0);
}

s64 sys_getpgid(int pid)
{
	return pid < 0 ? -ESRCH : proc_getpgid((u32)pid);
}

s64 sys_getsid(int pid)
{
	return pid < 0 ? -ESRCH : proc_getsid((u32)pid);
}

s64 sys_setpgid(int pid, int pgid)
{
	if (pgid < 0 || (pgid == 0 && pid < 0))
		return -EINVAL;
	return pid < 0 ? -ESRCH : proc_setpgid((u32)pid, (u32)pgid);
}

s64 sys_setsid(void)
{
	return proc_setsid();
}

s64 sys_set_tid_address(uaddr_t addr)
{
	current_task()->clear_tid = addr;
	return current_task()->tid;
}

s64 sys_set_robust_list(uaddr_t head, size_t len)
{
	if (len != 24)
		return -EINVAL;
	current_task()->robust_list = head;
	current_task()->robust_len = len;
	return 0;
}

/* ---- limits and usage ---- */

/* prlimit(2), get_robust_list(2): root, or all ids are those of the caller. proc_lock and p's sig_lock held. */
static bool may_limit(const struct process *p)
{
	const struct process *me = current_proc();
	u32 uid = READ_ONCE(me->uid), gid = READ_ONCE(me->gid);

	return p == me || READ_ONCE(me->euid) == 0 ||
	       (uid == p->uid && uid == p->euid && uid == p->suid && gid == p->gid &&
		gid == p->egid && gid == p->sgid);
}

/* proc_lock held. new NULL: only a look. */
static int change_limit(struct process *p, u32 which, const struct linux_rlimit *new,
			struct linux_rlimit *old)
{
	int err = 0;

	spin_lock(&p->sig_lock);
	*old = p->rlimit[which];
	if (!may_limit(p) || (new &&new->max > old->max &&READ_ONCE(current_proc()->euid) != 0))
		err = -EPERM;
	else if (new)
		p->rlimit[which] = *new;
	spin_unlock(&p->sig_lock);
	if (!err && new && p->as)
		process_limit_space(p, p->as);
	return err;
}

s64 sys_prlimit64(int pid, u32 which, uaddr_t new_limit, uaddr_t old_limit)
{
	struct linux_rlimit new = { 0 }, old;
	struct process *p;
	u64 flags;
	int err;

	if (which >= RLIM_NLIMITS)
		return -EINVAL;
	if (new_limit && get_user(new, new_limit))
		return -EFAULT;
	if (new_limit && new.cur > new.max)
		return -EINVAL;
	flags = proc_lock();
	p = pid ? process_of((u32)pid) : current_proc();
	err = p ? change_limit(p, which, new_limit ? &new : NULL, &old) : -ESRCH;
	proc_unlock(flags);
	if (!err && old_limit && put_user(old, old_limit))
		err = -EFAULT;
	return err;
}

s64 sys_get_robust_list(int pid, uaddr_t uhead, uaddr_t ulen)
{
	uaddr_t head = 0;
	size_t len = 0;
	s64 err = -ESRCH;
	u64 flags = proc_lock();
	struct task *t = pid ? task_find((u32)pid) : current_task();

	if (t) {
		spin_lock(&t->proc->sig_lock);
		err = may_limit(t->proc) ? 0 : -EPERM;
		spin_unlock(&t->proc->sig_lock);
		head = t->robust_list;
		len = t->robust_len;
	}
	proc_unlock(flags);
	if (err)
		return err;
	return put_user(len, ulen) || put_user(head, uhead) ? -EFAULT : 0;
}

s64 sys_getrlimit(u32 which, uaddr_t limit)
{
	s64 err = sys_prlimit64(0, which, 0, limit);

	return err || limit ? err : -EFAULT;
}

s64 sys_setrlimit(u32 which, uaddr_t limit)
{
	if (!limit)
		return -EFAULT;
	return sys_prlimit64(0, which, limit, 0);
}

s64 sys_getrusage(int who, uaddr_t usage)
{
	struct linux_rusage u;

	if (who == RUSAGE_SELF)
		usage_current(&u);
	else if (who == RUSAGE_CHILDREN)
		usage_children(current_proc(), &u);
	else if (who == RUSAGE_THREAD)
		usage_thread(current(), &u);
	else
		return -EINVAL;
	return put_user(u, usage);
}
