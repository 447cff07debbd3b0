/*
 * wait4 and waitid: a parent learns of its children's ends, stops and continuations.
 *
 * The scan of the children is the condition of a wait queue: inside the tree and with child_lock it looks, and
 * reaps what it finds. Whoever changes what a scan can see (exit.c, the stop code) does so with that lock, or with
 * proc_lock, and then wakes the parent's queue.
 */
#include "proc/internal.h"

#include "lib/err.h"
#include "lib/uapi/wait.h"

#define SCAN_AGAIN 0 /* there are children, none with news */

static bool selects(const struct wait_request *w, const struct process *c)
{
	if (w->which == P_PID)
		return c->nr == w->nr;
	if (w->which == P_PGID)
		return c->group->nr == w->nr;
	return true;
}

/* Children that send no SIGCHLD are "clone children": __WCLONE and __WALL say who is meant. */
static bool kind_matches(const struct wait_request *w, const struct process *c)
{
	if (w->options & WALL)
		return true;
	return ((u32)w->options & WCLONE) ? c->exit_signal != SIGCHLD : c->exit_signal == SIGCHLD;
}

static void account_child(struct process *me, struct process *c)
{
	u64 utime, stime;

	usage_times(c, &utime, &stime);
	me->children_usage.utime_ns += utime + c->children_usage.utime_ns;
	me->children_usage.stime_ns += stime + c->children_usage.stime_ns;
	me->children_usage.nvcsw += c->nvcsw + c->children_usage.nvcsw;
	me->children_usage.nivcsw += c->nivcsw + c->children_usage.nivcsw;
	me->children_usage.minflt += c->minflt + c->children_usage.minflt;
}

static void fill(struct wait_result *out, struct process *c, u32 status, int code, int code_status)
{
	out->status = status;
	out->uid = c->uid;
	out->code = code;
	out->code_status = code_status;
	usage_waited(c, &out->usage);
}

/* child_lock held. True if the child has news of the wanted kinds; *reap: it is a zombie to free. */
static bool take_news(const struct wait_request *w, struct process *c, struct wait_result *out,
		      bool *reap)
{
	bool keep = w->options & WNOWAIT;

	if (c->zombie) {
		int sig = c->exit_status & 0x7f;

		if (!(w->options & WEXITED))
			return false;
		fill(out, c, c->exit_status, sig ? CLD_KILLED : CLD_EXITED,
		     sig ? sig : (int)(c->exit_status >> 8 & 0xff));
		*reap = !keep;
		return true;
	}
	if (c->report_stop && (w->options & WUNTRACED)) {
		fill(out, c, WAIT_STATUS_STOP((u32)c->stop_signal), CLD_STOPPED, c->stop_signal);
		spin_lock(&c->sig_lock);
		c->report_stop = keep;
		spin_unlock(&c->sig_lock);
		return true;
	}
	if (c->report_continue && (w->options & WCONTINUED)) {
		fill(out, c, WAIT_STATUS_CONTINUED, CLD_CONTINUED, SIGCONT);
		spin_lock(&c->sig_lock);
		c->report_continue = keep;
		spin_unlock(&c->sig_lock);
		return true;
	}
	return false;
}

static s64 scan(const struct wait_request *w, struct wait_result *out)
{
	struct process *me = current_proc(), *c, *dead = NULL;
	s64 ret = -ECHILD;
	bool reap = false;
	u64 flags = proc_enter();

	spin_lock(&me->child_lock);
	list_for_each(c, &me->children, sibling) {
		if (!selects(w, c) || !kind_matches(w, c))
			continue;
		ret = SCAN_AGAIN;
		if (!take_news(w, c, out, &reap))
			continue;
		ret = c->nr;
		if (reap) {
			account_child(me, c);
			list_del_init(&c->sibling);
			dead = c;
		}
		break;
	}
	spin_unlock(&me->child_lock);
	if (dead)
		process_leave_tree(dead);
	proc_leave(flags);
	if (dead)
		process_free(dead);
	return ret;
}

s64 proc_wait(const struct wait_request *w, struct wait_result *out)
{
	s64 ret;
	int err;

	if (w->options & WNOHANG)
		return scan(w, out);
	err = wait_event_interruptible(&current_proc()->child_wait,
				       (ret = scan(w, out)) != SCAN_AGAIN);
	return err ? err : ret;
}
