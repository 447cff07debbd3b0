/*
 * Sessions and process groups, and what terminals ask about them.
 *
 * Both are only numbers with members (struct pid): a group lives as long as it has one. A group
 * is orphaned when no member's parent is in another group of the same session: nobody could
 * continue it after a stop (POSIX 3.264).
 */
#include "proc/internal.h"

#include "dev/tty.h"
#include "fs/file.h"
#include "lib/err.h"

s64 proc_setsid(void)
{
	struct process *p = current_proc();
	u64 flags = proc_lock();
	s64 ret = -EPERM;

	/* A group of this number exists already if we lead one, or if our id was one before. */
	if (list_empty(&p->pid->group)) {
		process_join_session(p, p->pid);
		process_join_group(p, p->pid);
		ret = p->nr;
	}
	proc_unlock(flags);
	return ret;
}

/* The process that setpgid and friends mean by a number: 0 is the current one. */
static struct process *target_of(u32 pid)
{
	return pid == 0 ? current_proc() : process_find(pid);
}

static int setpgid_locked(struct process *p, u32 pgid)
{
	struct process *me = current_proc();
	struct pid *group;

	if (!p || p->zombie)
		return -ESRCH;
	if (p != me && p->parent != me)
		return -ESRCH;
	if (p != me && p->session != me->session)
		return -EPERM;
	if (p != me && p->execed)
		return -EACCES;
	if (p->session == p->pid)
		return -EPERM;
	if (pgid == 0 || pgid == p->nr) {
		group = p->pid;
	} else {
		group = pid_find(pgid);
		if (!group || list_empty(&group->group) ||
		    list_entry(group->group.next, struct process, group_node)->session !=
			    me->session)
			return -EPERM;
	}
	if (p->group != group)
		process_join_group(p, group);
	return 0;
}

int proc_setpgid(u32 pid, u32 pgid)
{
	u64 flags = proc_lock();
	int err = setpgid_locked(target_of(pid), pgid);

	proc_unlock(flags);
	return err;
}

s64 proc_getpgid(u32 pid)
{
	u64 flags = pid ? proc_lock() : proc_enter();
	struct process *p = pid ? process_of(pid) : current_proc();
	s64 ret = p ? (s64)p->group->nr : -ESRCH;

	if (pid)
		proc_unlock(flags);
	else
		proc_leave(flags);
	return ret;
}

s64 proc_getsid(u32 pid)
{
	u64 flags = pid ? proc_lock() : proc_enter();
	struct process *p = pid ? process_of(pid) : current_proc();
	s64 ret = p ? (s64)p->session->nr : -ESRCH;

	if (pid)
		proc_unlock(flags);
	else
		proc_leave(flags);
	return ret;
}

bool session_group_is_orphaned(struct pid *group, const struct process *without)
{
	struct process *p;

	list_for_each(p, &group->group, group_node) {
		if (p == without || p->zombie || !p->parent)
			continue;
		if (p->parent->group != group && p->parent->session == p->session)
			return false;
	}
	return true;
}

/* ---- struct tty_proc_ops. Kernel threads have no process: they see no session. ---- */

static int tty_current_pgrp(void)
{
	struct process *p = current_proc();
	u64 flags = proc_enter();
	int ret = p && p->group ? (int)p->group->nr : 0;

	proc_leave(flags);
	return ret;
}

static int tty_current_session(void)
{
	struct process *p = current_proc();
	u64 flags = proc_enter();
	int ret = p && p->session ? (int)p->session->nr : 0;

	proc_leave(flags);
	return ret;
}

static bool tty_current_is_session_leader(void)
{
	struct process *p = current_proc();
	u64 flags = proc_enter();
	bool ret = p && p->session == p->pid;

	proc_leave(flags);
	return ret;
}

static struct tty *tty_current_tty(void)
{
	struct process *p = current_proc();
	u64 flags = proc_enter();
	struct tty *t = p && p->session ? p->session->tty : NULL;

	proc_leave(flags);
	return t;
}

static void tty_set_session_tty(struct tty *t)
{
	struct process *p = current_proc();
	u64 flags = proc_lock();

	if (p && p->session)
		p->session->tty = t;
	proc_unlock(flags);
}

static int tty_pgrp_session(int pgrp)
{
	u64 flags = proc_lock();
	struct pid *g = pid_find((u32)pgrp);
	int ret = -ESRCH;

	if (g && !list_empty(&g->group))
		ret = (int)list_entry(g->group.next, struct process, group_node)->session->nr;
	proc_unlock(flags);
	return ret;
}

static void tty_signal_pgrp(int pgrp, int sig)
{
	struct linux_siginfo info;
	u64 flags = proc_lock();
	struct pid *g = pid_find((u32)pgrp);

	signal_info_kernel(&info, sig);
	if (g)
		signal_send_group(g, &info);
	proc_unlock(flags);
}

static bool tty_current_ignores(int sig)
{
	return current_proc() && signal_is_ignored_or_blocked(sig);
}

static bool tty_current_is_orphaned(void)
{
	struct process *p = current_proc();
	u64 flags = proc_lock();
	bool ret = p && p->group && session_group_is_orphaned(p->group, NULL);

	proc_unlock(flags);
	return ret;
}

static const struct tty_proc_ops ops = {
	.current_pgrp = tty_current_pgrp,
	.current_session = tty_current_session,
	.current_is_session_leader = tty_current_is_session_leader,
	.current_tty = tty_current_tty,
	.set_session_tty = tty_set_session_tty,
	.pgrp_session = tty_pgrp_session,
	.signal_pgrp = tty_signal_pgrp,
	.current_ignores = tty_current_ignores,
	.current_is_orphaned = tty_current_is_orphaned,
};

void session_init(void)
{
	tty_set_proc_ops(&ops);
	fs_current_tty = tty_current_tty;
}
