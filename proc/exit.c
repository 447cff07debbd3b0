/*
 * The end of threads and processes.
 *
 * A thread ends itself, in its own context, able to sleep: by exit(2), or on its way to user mode
 * when THREAD_EXIT tells it to (proc_user_return). exit_group, a deadly signal and execve set that
 * flag for the others and wake them from whatever a signal may interrupt. So nothing of a thread
 * is ever taken away by another.
 *
 * The last thread to leave the list makes the process a zombie, inside the tree, after memory and
 * files are gone: a parent that sees the zombie may rely on that. From that moment on the parent
 * may free the process at any time, hence the dying thread then touches neither process nor task.
 * An end that concerns others than the parent (children, a session, a group that stands still) is rarer, and
 * has the tree to itself.
 */
#include "proc/internal.h"

#include "arch/api/cpu.h"
#include "arch/api/uaccess.h"
#include "dev/tty.h"
#include "fs/file.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "lib/uapi/futex.h"
#include "lib/uapi/wait.h"
#include "mm/aspace.h"
#include "sched/sched.h"

/* What the end of a process leaves to be done outside of proc_lock. */
struct aftermath {
	struct process *reaped; /* nobody waits for it: free it */
	int ended_session;      /* its leader was this one; 0: no */
};

/* The log's lines are what the host's side reads: keep them. */
__noreturn static void end_machine(u32 status)
{
	int sig = status & 0x7f;

	if (sig)
		log_info("jiffy: killed by signal %d (%s)\n", sig, signal_name(sig));
	else
		log_info("jiffy: exit status %u\n", status >> 8 & 0xff);
	machine_end(MACHINE_POWEROFF);
}

/*
 * CLONE_CHILD_CLEARTID: tells pthread_join. Only while others can see the memory, as on Linux: a C
 * library's fork asks for it as well, and the write would cost the child a page.
 */
void exit_clear_tid(struct task *t)
{
	u32 zero = 0;

	if (!t->clear_tid)
		return;
	if (READ_ONCE(t->proc->nr_threads) == 1 && !aspace_is_shared(current()->as))
		return;
	if (put_user(zero, t->clear_tid) == 0)
		futex_wake(t->clear_tid, true, 1, FUTEX_BITSET_ALL);
	t->clear_tid = 0;
}

static void release_files(struct thread *me)
{
	struct fdtable *files = me->files;
	struct fsctx *fs = me->fs;
	u64 flags = proc_enter(); /* /proc/<pid>/fd looks in from outside */

	me->files = NULL;
	me->fs = NULL;
	proc_leave(flags);
	if (files)
		fdtable_put(files);
	if (fs)
		fsctx_put(fs);
}

/*
 * This thread is leaving. True for the last one, which then owns the process: the others are past
 * the point where they touch it.
 */
static bool begin_leaving(struct process *p, struct task *t, u32 status)
{
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	bool last = true;
	struct task *other;

	t->exiting = true;
	if (!p->group_exit && t->tid == p->nr)
		p->exit_status = status;
	signal_retarget(p, t);
	list_for_each(other, &p->threads, node)
		if (!other->exiting)
			last = false;
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return last;
}

static bool group_has_stopped(struct pid *group)
{
	struct process *p;

	list_for_each(p, &group->group, group_node)
		if (p->job_stop && !p->zombie)
			return true;
	return false;
}

/* Is it this parent that keeps its child's group from being orphaned? */
static bool holds_group(const struct process *parent, const struct process *member)
{
	return parent && parent->group != member->group && parent->session == member->session;
}

/*
 * Parent and member part, by the end of one of them (`without`: the member's): if that has orphaned
 * the member's group, its stopped processes get SIGHUP and SIGCONT, since nobody could continue them
 * any more (POSIX). A group that was orphaned before is left alone.
 */
static void hang_up_if_orphaned(const struct process *member, const struct process *parent,
				const struct process *without)
{
	struct pid *group = member->group;
	struct linux_siginfo info;

	if (!holds_group(parent, member))
		return;
	if (!session_group_is_orphaned(group, without) || !group_has_stopped(group))
		return;
	signal_info_kernel(&info, SIGHUP);
	signal_send_group(group, &info);
	signal_info_kernel(&info, SIGCONT);
	signal_send_group(group, &info);
}

static void wake_parent(struct process *parent)
{
	waitq_wake_all(&parent->child_wait);
}

static void child_info(struct process *p, struct linux_siginfo *info, int sig, int code, int status)
{
	u64 utime, stime;

	usage_times(p, &utime, &stime);
	*info = (struct linux_siginfo){ .signo = sig, .code = code };
	info->child.pid = (s32)p->nr;
	info->child.uid = p->uid;
	info->child.status = status;
	info->child.utime = (s64)(utime / (10 * NSEC_PER_MSEC));
	info->child.stime = (s64)(stime / (10 * NSEC_PER_MSEC));
}

/* Tells the parent of a zombie; the parent's child_lock, or proc_lock held. True if nobody is going to wait for it. */
static bool notify_parent_exit(struct process *p)
{
	struct process *parent = p->parent;
	struct linux_siginfo info;
	int sig = p->exit_status & 0x7f;
	bool reap = p->exit_signal == SIGCHLD && !signal_parent_wants_child(parent);

	if (p->exit_signal) {
		child_info(p, &info, p->exit_signal, sig ? CLD_KILLED : CLD_EXITED,
			   sig ? sig : (int)(p->exit_status >> 8 & 0xff));
		signal_send(parent, NULL, &info);
	}
	wake_parent(parent);
	return reap;
}

void exit_notify_parent_stop(struct process *p, int code)
{
	struct process *parent = p->parent;
	struct linux_siginfo info;
	u64 flags;
	bool silent;

	if (!parent)
		return;
	flags = spin_lock_irqsave(&parent->sig_lock);
	silent = parent->action[SIGCHLD - 1].flags & SA_NOCLDSTOP ||
		 parent->action[SIGCHLD - 1].handler == SIG_IGN;
	spin_unlock_irqrestore(&parent->sig_lock, flags);
	if (!silent) {
		child_info(p, &info, SIGCHLD, code,
			   code == CLD_CONTINUED ? SIGCONT : p->stop_signal);
		signal_send(parent, NULL, &info);
	}
	wake_parent(parent);
}

/* The nearest living ancestor that said it takes orphans, else pid 1. */
static struct process *reaper_of(struct process *p)
{
	for (struct process *a = p->parent; a; a = a->parent)
		if (a->subreaper && !a->zombie)
			return a;
	return proc_init_process;
}

static void give_children_away(struct process *p)
{
	struct process *reaper, *c, *next;

	if (list_empty(&p->children))
		return;
	reaper = reaper_of(p);
	list_for_each_safe(c, next, &p->children, sibling) {
		list_del(&c->sibling);
		list_add_tail(&reaper->children, &c->sibling);
		c->parent = reaper;
		WRITE_ONCE(c->ppid, reaper->nr);
		c->exit_signal = SIGCHLD;
		hang_up_if_orphaned(c, p, NULL);
		if (c->zombie && notify_parent_exit(c)) {
			process_leave_tree(c);
			process_free(c);
		} else if (!c->zombie && c->pdeath_signal) {
			struct linux_siginfo info;

			signal_info_kernel(&info, c->pdeath_signal);
			signal_send(c, NULL, &info);
		}
	}
}

/* A session leader's end: its terminal's foreground group hears of it. proc_lock held. */
static void end_session(struct process *p, struct aftermath *after)
{
	struct tty *tty = p->session->tty;
	struct linux_siginfo info;
	struct pid *group;

	after->ended_session = (int)p->nr;
	p->session->tty = NULL;
	group = tty ? pid_find((u32)tty_foreground(tty)) : NULL;
	if (!group)
		return;
	signal_info_kernel(&info, SIGHUP);
	signal_send_group(group, &info);
	signal_info_kernel(&info, SIGCONT);
	signal_send_group(group, &info);
}

static bool has_children(struct process *p)
{
	spin_lock(
		&p->child_lock); /* one that is just leaving the list has let go of us behind this */
	bool ret = !list_empty(&p->children);

	spin_unlock(&p->child_lock);
	return ret;
}

/*
 * Inside the tree: does it concern the parent at most that this thread leaves? Stays true: only this thread, or
 * somebody with proc_lock, can change it.
 */
static bool leaves_quietly(struct process *p)
{
	if (p->job_stop)
		return false;
	if (READ_ONCE(p->nr_threads) > 1)
		return true;
	return p->session != p->pid && !has_children(p) && !holds_group(p->parent, p) &&
	       (p->exit_signal == 0 || p->exit_signal == SIGCHLD);
}

/*
 * The process has no thread any more. proc_lock held, or inside the tree if it leaves quietly. Behind the release of
 * the parent's lock it belongs to the parent, and the parent may be gone as well.
 */
static void become_zombie(struct process *p, struct aftermath *after)
{
	struct process *parent = p->parent;
	bool reap;

	kassert(list_empty(&p->threads));
	if (p->session == p->pid)
		end_session(p, after);
	give_children_away(p);
	hang_up_if_orphaned(p, parent, p);
	spin_lock(&parent->child_lock);
	p->zombie = true;
	reap = notify_parent_exit(p);
	if (reap)
		list_del_init(&p->sibling);
	spin_unlock(&parent->child_lock);
	if (reap) {
		process_leave_tree(p);
		after->reaped = p;
	}
}

/* What the process keeps of a thread that leaves. sig_lock held. */
static void keep_usage(struct process *p, struct thread *me)
{
	u64 user, kernel;

	sched_times(me, &user, &kernel);
	p->utime_ns += user;
	p->stime_ns += kernel;
	p->nivcsw += me->switches_forced;
	p->nvcsw += me->switches - me->switches_forced;
	p->minflt += me->minor_faults;
}

/*
 * Out of the list of threads, inside the tree or with proc_lock. Behind the release of sig_lock the process is
 * there only for its last thread: the next one may end it. True: it is this one.
 */
static bool leave_list(struct process *p, struct task *t, bool *stop_complete)
{
	bool last;

	spin_lock(&p->sig_lock);
	signal_flush(p, &t->pending);
	list_del(&t->node);
	p->nr_threads--;
	if (t->stopped) /* killed in its stop: a sibling execs */
		p->nr_stopped--;
	keep_usage(p, current());
	last = p->nr_threads == 0;
	if (last) {
		signal_flush(p, &p->pending);
		memcpy(p->last_name, current()->name, sizeof(p->last_name));
	} else {
		waitq_wake_all(&p->thread_wait);
	}
	/* Those that stand still in a process that was killed are on their way out as well. */
	*stop_complete = !last && p->job_stop && !p->group_exit && p->nr_stopped == p->nr_threads;
	if (*stop_complete)
		p->report_stop = true;
	spin_unlock(&p->sig_lock);
	return last;
}

/* Out of the process. Afterwards neither task nor process is ours to touch. */
static void leave(struct process *p, struct task *t, struct aftermath *after)
{
	struct thread *me = current();
	bool last, stop_complete, quiet;
	u64 flags = proc_enter();

	quiet = leaves_quietly(p);
	if (!quiet) {
		proc_leave(flags);
		flags = proc_lock();
	}
	last = leave_list(p, t, &stop_complete);
	me->proc = NULL;
	me->signals = NULL;
	t->pid->task = NULL;
	pid_put(t->pid);
	if (stop_complete)
		exit_notify_parent_stop(p, CLD_STOPPED);
	if (last)
		become_zombie(p, after);
	if (quiet)
		proc_leave(flags);
	else
		proc_unlock(flags);
}

/* The memory: each thread lets go of it, the last one gives it back. */
static void release_memory(struct process *p, bool last)
{
	struct aspace *as = p->as;
	struct file *exe = p->exe;
	u64 flags;

	if (!last)
		aspace_thread_ends();
	thread_set_aspace(NULL);
	if (!last)
		return;
	flags = proc_enter();
	p->as = NULL;
	p->exe = NULL;
	proc_leave(flags);
	if (as)
		aspace_put(as);
	if (exe)
		file_put(exe);
}

__noreturn static void leave_process(u32 status)
{
	struct process *p = current_proc();
	struct task *t = current_task();
	struct aftermath after = { 0 };
	bool last = begin_leaving(p, t, status);

	if (last && p == proc_init_process)
		end_machine(p->exit_status);
	futex_exit(t, true);
	exit_clear_tid(t);
	vfork_release(t);
	if (last)
		itimer_stop(p);
	release_files(current());
	/*
	 * Others that began to leave before us may still use the space (futex, files): each lets go of
	 * it before it leaves the list, and the owner waits for them here.
	 */
	if (last)
		wait_event(&p->thread_wait, READ_ONCE(p->nr_threads) == 1);
	release_memory(p, last);
	leave(p, t, &after);
	task_free(t);
	if (after.ended_session)
		tty_session_ended(after.ended_session);
	if (after.reaped)
		process_free(after.reaped);
	thread_exit((int)status);
}

void proc_exit_thread(int code)
{
	leave_process(WAIT_STATUS_EXIT((u32)code));
}

void proc_exit_group(u32 status)
{
	struct process *p = current_proc();
	struct task *t;
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	if (!p->group_exit) {
		p->group_exit = true;
		p->exit_status = status;
		list_for_each(t, &p->threads, node)
			if (t != current_task())
				signal_kill_thread(t);
	}
	spin_unlock_irqrestore(&p->sig_lock, flags);
	leave_process(status);
}
