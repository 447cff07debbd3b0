/*
 * /proc/<pid> and /proc/<pid>/task/<tid>: what ps, top and pidof read. fs/procfs.c makes the files; here is what is
 * in them. Of whom is said by an id, as there: negative for one thread alone, whose times and counts are its own.
 *
 * Each file takes a snapshot of what it needs under proc_lock, with references to the address
 * space and files, and formats it after letting go: formatting may sleep.
 */
#include "proc/internal.h"

#include "fs/file.h"
#include "dev/tty.h"
#include "lib/err.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/uapi/mman.h"
#include "lib/uapi/stat.h"
#include "lib/uapi/time.h"
#include "mm/aspace.h"
#include "mm/slab.h"

struct snapshot {
	u32 nr, tgid, ppid, group, session, threads;
	char name[16];
	char state;
	int nice;
	u8 policy, rt_priority, exit_signal;
	unsigned level;
	u32 cpu;
	struct tty *tty;
	u64 start_ns, minflt, cminflt, cutime_ns, cstime_ns, utime_ns, stime_ns, nvcsw, nivcsw;
	u64 pending, shared_pending, blocked, ignored, caught, nr_queued, rss_limit;
	u32 uid[4], gid[4];
	uaddr_t arg_start, arg_end, env_start, env_end, stack_top;
	struct aspace *as; /* a reference, or NULL */
	struct aspace_stats mem;
};

static u32 number_of(int id)
{
	return (u32)(id < 0 ? -id : id);
}

struct process *procfs_process(int id)
{
	struct task *t = task_find(number_of(id));

	if (id < 0)
		return t ? t->proc : NULL;
	return process_of((u32)id);
}

/* Who stands for it: the thread, or the process's first one. NULL: a zombie. sig_lock held. */
static struct task *task_of(struct process *p, int id)
{
	struct task *t = task_find(number_of(id));

	return t ? t : list_first(&p->threads, struct task, node);
}

static char state_of(const struct process *p, const struct task *t)
{
	if (p->zombie || !t)
		return 'Z';
	if (t->stopped)
		return 'T';
	switch (READ_ONCE(t->thread->state)) {
	case T_RUNNABLE:
	case T_NEW: return 'R';
	case T_INTERRUPTIBLE: return 'S';
	case T_DEAD: return 'Z';
	default: return 'D';
	}
}

static void take_signals(struct snapshot *s, struct process *p)
{
	s->shared_pending = p->pending.set;
	s->nr_queued = p->nr_queued;
	for (int sig = 1; sig <= NSIG; sig++) {
		u64 h = p->action[sig - 1].handler;

		if (h == SIG_IGN)
			s->ignored |= SIGMASK(sig);
		else if (h != SIG_DFL)
			s->caught |= SIGMASK(sig);
	}
}

static void take_thread(struct snapshot *s, const struct task *t)
{
	memcpy(s->name, t->thread->name, sizeof(s->name));
	s->nice = t->thread->nice;
	s->policy = t->policy;
	s->rt_priority = t->rt_priority;
	s->level = t->thread->level;
	s->cpu = t->thread->cpu;
	s->pending = t->pending.set;
	s->blocked = t->blocked;
}

static u64 to_ns(struct linux_timeval t)
{
	return (u64)t.sec * NSEC_PER_SEC + (u64)t.usec * NSEC_PER_USEC;
}

static void take_usage(struct snapshot *s, struct process *p, int id)
{
	struct linux_rusage ru;

	if (id < 0)
		usage_thread(task_find(number_of(id))->thread, &ru);
	else
		usage_self(p, &ru);
	s->utime_ns = to_ns(ru.utime);
	s->stime_ns = to_ns(ru.stime);
	s->minflt = (u64)ru.minflt;
	s->nvcsw = (u64)ru.nvcsw;
	s->nivcsw = (u64)ru.nivcsw;
}

/* proc_lock held. */
static void take(struct snapshot *s, struct process *p, int id)
{
	struct task *t;

	s->nr = number_of(id);
	s->tgid = p->nr;
	s->ppid = p->ppid;
	s->group = p->group->nr;
	s->session = p->session->nr;
	s->tty = p->session->tty;
	s->start_ns = p->start_ns;
	s->exit_signal = p->exit_signal;
	s->cutime_ns = p->children_usage.utime_ns;
	s->cstime_ns = p->children_usage.stime_ns;
	s->cminflt = p->children_usage.minflt;
	s->arg_start = p->arg_start;
	s->arg_end = p->arg_end;
	s->env_start = p->env_start;
	s->env_end = p->env_end;
	s->stack_top = p->stack_top;
	take_usage(s, p, id);
	spin_lock(&p->sig_lock);
	memcpy(s->uid, (u32[]){ p->uid, p->euid, p->suid, p->fsuid }, sizeof(s->uid));
	memcpy(s->gid, (u32[]){ p->gid, p->egid, p->sgid, p->fsgid }, sizeof(s->gid));
	s->rss_limit = p->rlimit[RLIMIT_RSS].cur;
	t = task_of(p, id);
	s->threads = p->nr_threads;
	s->state = state_of(p, t);
	if (t)
		take_thread(s, t);
	else
		memcpy(s->name, p->last_name, sizeof(s->name));
	take_signals(s, p);
	spin_unlock(&p->sig_lock);
	s->as = p->as;
	if (s->as)
		aspace_get(s->as);
}

/* A snapshot with the memory's figures, the reference already dropped. */
static struct snapshot *snapshot(int id)
{
	struct snapshot *s = kzalloc(sizeof(*s));
	struct process *p;
	u64 flags;

	if (!s)
		return ERR_PTR(-ENOMEM);
	flags = proc_lock();
	p = procfs_process(id);
	if (p)
		take(s, p, id);
	proc_unlock(flags);
	if (!p) {
		kfree(s);
		return ERR_PTR(-ESRCH);
	}
	if (s->as) {
		aspace_stats(s->as, &s->mem);
		aspace_put(s->as);
		s->as = NULL;
	}
	return s;
}

static u64 ticks(u64 ns)
{
	return ns / (NSEC_PER_SEC / USER_HZ);
}

/* What ps calls PRI: 20 + nice, or -1 - priority for real-time threads. */
static int priority_of(const struct snapshot *s)
{
	return s->level < SCHED_LEVEL_KERNEL ? (int)s->level - 101 : 20 + s->nice; /* as lent */
}

static int show_stat(int id, struct textbuf *t)
{
	struct snapshot *s = snapshot(id);

	if (IS_ERR(s))
		return (int)PTR_ERR(s);
	textbuf_printf(t, "%u (%s) %c %u %u %u %u %d 0 %lu %lu 0 0 %lu %lu %lu %lu %d %d %u 0 %lu",
		       s->nr, s->name, s->state, s->ppid, s->group, s->session,
		       s->tty ? tty_device_number(s->tty) : 0, s->tty ? tty_foreground(s->tty) : -1,
		       s->minflt, s->cminflt, ticks(s->utime_ns), ticks(s->stime_ns),
		       ticks(s->cutime_ns), ticks(s->cstime_ns), priority_of(s), s->nice,
		       s->threads, s->start_ns / (NSEC_PER_SEC / USER_HZ));
	textbuf_printf(t, " %lu %lu %lu 1 1 %lu 0 0 %lu %lu %lu %lu 0 0 0 %u %u %u %u 0 0 0",
		       s->mem.mapped, s->mem.resident, s->rss_limit, s->stack_top,
		       s->pending & 0x7fffffff, s->blocked & 0x7fffffff, s->ignored & 0x7fffffff,
		       s->caught & 0x7fffffff, s->exit_signal, s->cpu, s->rt_priority, s->policy);
	textbuf_printf(t, " 0 0 %lu %lu %lu %lu %lu 0\n", s->mem.brk_start, s->arg_start,
		       s->arg_end, s->env_start, s->env_end);
	kfree(s);
	return 0;
}

static const char *state_name(char c)
{
	switch (c) {
	case 'R': return "running";
	case 'S': return "sleeping";
	case 'T': return "stopped";
	case 'Z': return "zombie";
	default: return "disk sleep";
	}
}

static int show_status(int id, struct textbuf *t)
{
	struct snapshot *s = snapshot(id);

	if (IS_ERR(s))
		return (int)PTR_ERR(s);
	textbuf_printf(t,
		       "Name:\t%s\nUmask:\t0022\nState:\t%c (%s)\nTgid:\t%u\nNgid:\t0\nPid:\t%u\n",
		       s->name, s->state, state_name(s->state), s->tgid, s->nr);
	textbuf_printf(t, "PPid:\t%u\nTracerPid:\t0\nUid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n",
		       s->ppid, s->uid[0], s->uid[1], s->uid[2], s->uid[3], s->gid[0], s->gid[1],
		       s->gid[2], s->gid[3]);
	textbuf_printf(t, "FDSize:\t%u\nGroups:\t\nNStgid:\t%u\nNSpid:\t%u\n", FD_LIMIT, s->tgid,
		       s->nr);
	if (s->state != 'Z')
		procfs_show_status_memory(id, t);
	textbuf_printf(t, "Threads:\t%u\nSigQ:\t%lu/1024\nSigPnd:\t%016lx\nShdPnd:\t%016lx\n",
		       s->threads, s->nr_queued, s->pending, s->shared_pending);
	textbuf_printf(t, "SigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n", s->blocked,
		       s->ignored, s->caught);
	textbuf_printf(t, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n",
		       s->nvcsw, s->nivcsw);
	kfree(s);
	return 0;
}

static int show_comm(int id, struct textbuf *t)
{
	struct snapshot *s = snapshot(id);

	if (IS_ERR(s))
		return (int)PTR_ERR(s);
	textbuf_printf(t, "%s\n", s->name);
	kfree(s);
	return 0;
}

/* ---- what lies in the process's own memory ---- */

/* The space with a reference and one of the ranges; -ESRCH. A zombie has none: 0, *as NULL. */
static int get_range(int id, bool environment, struct aspace **as, uaddr_t *start, uaddr_t *end)
{
	u64 flags = proc_lock();
	struct process *p = procfs_process(id);

	*as = p ? p->as : NULL;
	if (*as) {
		aspace_get(*as);
		*start = environment ? p->env_start : p->arg_start;
		*end = environment ? p->env_end : p->arg_end;
	}
	proc_unlock(flags);
	return p ? 0 : -ESRCH;
}

/* Bytes may be NUL: they go in behind the text that is there, past printf. */
static void append_bytes(struct textbuf *t, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		textbuf_printf(t, "%c", s[i]);
}

static int show_range(int id, bool environment, struct textbuf *t)
{
	uaddr_t at, end;
	struct aspace *as;
	char buf[256];
	int err = get_range(id, environment, &as, &at, &end);

	if (err || !as)
		return err;
	while (at < end && !t->overflow) {
		ssize_t n = aspace_read(as, at, buf, MIN(end - at, sizeof(buf)));

		if (n <= 0)
			break;
		append_bytes(t, buf, (size_t)n);
		at += (size_t)n;
	}
	aspace_put(as);
	return 0;
}

static int show_cmdline(int id, struct textbuf *t)
{
	return show_range(id, false, t);
}

static int show_environ(int id, struct textbuf *t)
{
	return show_range(id, true, t);
}

/* ---- links ---- */

#define LINK_MAX 4096

static int show_path(struct textbuf *t, int (*path)(void *of, char *buf, size_t size), void *of)
{
	char *buf = kmalloc(LINK_MAX);
	int n = buf ? path(of, buf, LINK_MAX) : -ENOMEM;

	if (n >= 0)
		textbuf_printf(t, "%s", buf);
	kfree(buf);
	return n < 0 ? n : 0;
}

static int path_of_file(void *f, char *buf, size_t size)
{
	return file_path(f, buf, size);
}

static int path_of_cwd(void *c, char *buf, size_t size)
{
	return fsctx_cwd_path(c, buf, size);
}

static int path_of_root(void *c, char *buf, size_t size)
{
	return fsctx_root_path(c, buf, size);
}

static int show_exe(int id, struct textbuf *t)
{
	u64 flags = proc_lock();
	struct process *p = procfs_process(id);
	struct file *f = p ? p->exe : NULL;
	int err;

	if (f)
		file_get(f);
	proc_unlock(flags);
	if (!f)
		return p ? -ENOENT : -ESRCH;
	err = show_path(t, path_of_file, f);
	file_put(f);
	return err;
}

/* proc_lock held: a thread that still has its files and its place, that of the id if that has. */
static struct thread *any_thread(struct process *p, int id)
{
	struct task *t = task_find(number_of(id));

	if (t && t->thread->files && t->thread->fs)
		return t->thread;

	list_for_each(t, &p->threads, node)
		if (t->thread->files && t->thread->fs)
			return t->thread;
	return NULL;
}

static int show_place(int id, struct textbuf *t, int (*path)(void *of, char *buf, size_t size))
{
	u64 flags = proc_lock();
	struct process *p = procfs_process(id);
	struct thread *th = p ? any_thread(p, id) : NULL;
	struct fsctx *c = th ? th->fs : NULL;
	int err;

	if (c)
		fsctx_get(c);
	proc_unlock(flags);
	if (!c)
		return p ? -ENOENT : -ESRCH;
	err = show_path(t, path, c);
	fsctx_put(c);
	return err;
}

static int show_cwd(int id, struct textbuf *t)
{
	return show_place(id, t, path_of_cwd);
}

static int show_root(int id, struct textbuf *t)
{
	return show_place(id, t, path_of_root);
}

/* ---- who is there ---- */

static bool pid_exists(int id)
{
	u64 flags = proc_lock();
	bool ret = procfs_process(id);

	proc_unlock(flags);
	return ret;
}

static int pid_after(int after)
{
	u64 flags = proc_lock();
	struct process *p = process_next((u32)after);
	int ret = p ? (int)p->nr : 0;

	proc_unlock(flags);
	return ret;
}

static int thread_after(int pid, int after)
{
	u64 flags = proc_lock();
	struct process *p = procfs_process(pid);
	u32 best = 0;
	struct task *t;

	if (p) {
		spin_lock(&p->sig_lock);
		list_for_each(t, &p->threads, node)
			if (t->tid > (u32)after && (!best || t->tid < best))
				best = t->tid;
		spin_unlock(&p->sig_lock);
	}
	proc_unlock(flags);
	return (int)best;
}

static int pid_self(void)
{
	return current_proc() ? (int)current_proc()->nr : 0;
}

static int tid_self(void)
{
	return current_proc() ? (int)current_task()->tid : 0;
}

static struct fdtable *pid_fdtable(int id)
{
	u64 flags = proc_lock();
	struct process *p = procfs_process(id);
	struct thread *th = p ? any_thread(p, id) : NULL;
	struct fdtable *files = th ? th->files : NULL;

	if (files)
		fdtable_get(files);
	proc_unlock(flags);
	return files;
}

static const struct procfs_pid_file files[] = {
	{ "stat", S_IFREG | 0444, .show = show_stat },
	{ "status", S_IFREG | 0444, .show = show_status },
	{ "statm", S_IFREG | 0444, .show = procfs_show_statm },
	{ "comm", S_IFREG | 0444, .show = show_comm },
	{ "cmdline", S_IFREG | 0444, .show = show_cmdline },
	{ "environ", S_IFREG | 0400, .show = show_environ },
	{ "maps", S_IFREG | 0444, .part = procfs_add_maps },
	{ "smaps", S_IFREG | 0444, .part = procfs_add_smaps },
	{ "pagemap", S_IFREG | 0400, .read = procfs_read_pagemap },
	{ "exe", S_IFLNK | 0777, .show = show_exe },
	{ "cwd", S_IFLNK | 0777, .show = show_cwd },
	{ "root", S_IFLNK | 0777, .show = show_root },
	{ "fd/", S_IFDIR | 0500, .show = NULL },
	{ "task/", S_IFDIR | 0555, .show = NULL },
};

static const struct procfs_pid_ops ops = {
	.exists = pid_exists,
	.next = pid_after,
	.next_thread = thread_after,
	.self = pid_self,
	.self_thread = tid_self,
	.fdtable = pid_fdtable,
	.files = files,
	.nr_files = ARRAY_SIZE(files),
};

void proc_procfs_init(void)
{
	procfs_set_pid_ops(&ops);
}
