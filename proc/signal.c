/*
 * Signals: queues, sending, masks and handlers. The way to user mode, where they take effect, is
 * in sigdeliver.c. Locks and the protocol of the work flags: proc/signal.h, proc/process.h.
 *
 * Ordinary signals are pending once; a second one is dropped. Real-time signals queue, up to a
 * limit per process. When there is no memory for the siginfo, the signal is still pending in the
 * set, and is delivered with a bare siginfo.
 */
#include "proc/signal.h"

#include "lib/err.h"
#include "lib/string.h"
#include "mm/slab.h"
#include "proc/internal.h"
#include "sched/sched.h"

#define MAX_QUEUED 1024 /* per process: RLIMIT_SIGPENDING's default */

const char *signal_name(int sig)
{
	static const char *const name[] = {
		"signal 0", "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",  "SIGTRAP",   "SIGABRT",
		"SIGBUS",   "SIGFPE",  "SIGKILL",   "SIGUSR1", "SIGSEGV", "SIGUSR2",   "SIGPIPE",
		"SIGALRM",  "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP",   "SIGTSTP",
		"SIGTTIN",  "SIGTTOU", "SIGURG",    "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF",
		"SIGWINCH", "SIGIO",   "SIGPWR",    "SIGSYS",
	};

	return sig >= 0 && (size_t)sig < ARRAY_SIZE(name) ? name[sig] : "SIGRT";
}

void signal_info_user(struct linux_siginfo *info, int sig, int code)
{
	*info = (struct linux_siginfo){ .signo = sig, .code = code };
	info->kill.pid = (s32)current_proc()->nr;
	info->kill.uid = current_proc()->uid;
}

void signal_info_kernel(struct linux_siginfo *info, int sig)
{
	*info = (struct linux_siginfo){ .signo = sig, .code = SI_KERNEL };
}

/* ---- queues: sig_lock held ---- */

static void enqueue(struct process *p, struct sigpending *q, const struct linux_siginfo *info)
{
	struct sigqueue *e = p->nr_queued < MAX_QUEUED ? kmalloc(sizeof(*e)) : NULL;

	q->set |= SIGMASK(info->signo);
	if (!e)
		return;
	e->info = *info;
	list_add_tail(&q->queue, &e->node);
	p->nr_queued++;
}

/* Takes the oldest sig out. */
static void dequeue(struct process *p, struct sigpending *q, int sig, struct linux_siginfo *info)
{
	struct sigqueue *e, *found = NULL;
	bool more = false;

	list_for_each(e, &q->queue, node) {
		if (e->info.signo != sig)
			continue;
		if (found) {
			more = true;
			break;
		}
		found = e;
	}
	if (!more)
		q->set &= ~SIGMASK(sig);
	if (!found) {
		*info = (struct linux_siginfo){ .signo = sig, .code = SI_USER };
		return;
	}
	*info = found->info;
	list_del(&found->node);
	kfree(found);
	p->nr_queued--;
}

static void drop(struct process *p, struct sigpending *q, u64 set)
{
	struct sigqueue *e, *next;

	if (!(q->set & set))
		return;
	q->set &= ~set;
	list_for_each_safe(e, next, &q->queue, node) {
		if (!(SIGMASK(e->info.signo) & set))
			continue;
		list_del(&e->node);
		kfree(e);
		p->nr_queued--;
	}
}

void signal_flush(struct process *p, struct sigpending *q)
{
	drop(p, q, UINT64_MAX);
}

static void drop_everywhere(struct process *p, u64 set)
{
	struct task *t;

	drop(p, &p->pending, set);
	list_for_each(t, &p->threads, node)
		drop(p, &t->pending, set);
}

/* Faults of the thread's own first, then by number; the thread's before the process's. */
static int choose(u64 set)
{
	const u64 synchronous = SIGMASK(SIGSEGV) | SIGMASK(SIGBUS) | SIGMASK(SIGILL) |
				SIGMASK(SIGTRAP) | SIGMASK(SIGFPE) | SIGMASK(SIGSYS);

	if (set & synchronous)
		set &= synchronous;
	return set ? __builtin_ctzll(set) + 1 : 0;
}

int signal_dequeue(struct task *t, u64 wanted, struct linux_siginfo *info)
{
	struct process *p = t->proc;
	int sig = choose(t->pending.set & wanted);

	if (sig) {
		dequeue(p, &t->pending, sig, info);
		return sig;
	}
	sig = choose(p->pending.set & wanted);
	if (sig)
		dequeue(p, &p->pending, sig, info);
	return sig;
}

/* ---- sending: sig_lock held ---- */

static void poke(struct task *t, unsigned states)
{
	atomic_fetch_or(&t->thread->work, THREAD_SIGPENDING);
	sched_wake(t->thread, states);
}

void signal_kill_thread(struct task *t)
{
	atomic_fetch_or(&t->thread->work, THREAD_EXIT);
	sched_wake(t->thread, T_INTERRUPTIBLE | T_STOPPED);
}

void signal_recalc(struct task *t)
{
	struct process *p = t->proc;

	if (((t->pending.set | p->pending.set) & ~t->blocked) || p->job_stop)
		atomic_fetch_or(&t->thread->work, THREAD_SIGPENDING);
	else
		atomic_fetch_and(&t->thread->work, ~THREAD_SIGPENDING);
}

static bool default_ignores(int sig)
{
	return SIGMASK(sig) & SIGMASK_IGNORED;
}

/* pid 1 cannot be hurt by accident: without a handler nothing reaches it. */
static bool protected_init(const struct process *p)
{
	return p == proc_init_process && !proc_init_killable;
}

static bool is_ignored(const struct process *p, int sig)
{
	u64 h = p->action[sig - 1].handler;

	if (h == SIG_IGN)
		return true;
	if (h != SIG_DFL)
		return false;
	return default_ignores(sig) || protected_init(p);
}

/* A blocked signal is kept although it is ignored: the handler may change before it is unblocked. */
static bool is_blocked_by_target(const struct process *p, const struct task *t, int sig)
{
	if (t)
		return t->blocked & SIGMASK(sig);
	list_for_each(t, &p->threads, node)
		if (t->blocked & SIGMASK(sig))
			return true;
	return false;
}

/* What SIGCONT and the stop signals do at once, whatever their handlers. True: tell the parent. */
static bool apply_job_control(struct process *p, int sig)
{
	struct task *t;
	bool told = false;

	if (SIGMASK(sig) & SIGMASK_STOP) {
		drop_everywhere(p, SIGMASK(SIGCONT));
		return false;
	}
	if (sig != SIGCONT)
		return false;
	drop_everywhere(p, SIGMASK_STOP);
	p->continued = true;
	if (p->job_stop) {
		told = p->nr_stopped == p->nr_threads;
		p->job_stop = false;
		p->nr_stopped = 0;
		p->report_stop = false;
		p->report_continue = told;
		list_for_each(t, &p->threads, node) {
			WRITE_ONCE(t->stopped, false);
			sched_wake(t->thread, T_STOPPED);
		}
	}
	return told;
}

/* proc_lock held, too. */
static void kill_process(struct process *p, int sig)
{
	struct task *t;

	if (p->group_exit)
		return;
	p->group_exit = true;
	p->exit_status = (u32)sig;
	p->report_stop = p->report_continue = false; /* from here on its end is the news */
	list_for_each(t, &p->threads, node)
		signal_kill_thread(t);
}

/*
 * Finds a thread for a signal of the process and wakes it. None: whoever unblocks it will see. All
 * that wait for it in sigtimedwait are woken: one of them may just be leaving with another signal.
 */
static void wake_for(struct process *p, struct task *t, int sig)
{
	if (t) {
		if (t->sigwait_set & SIGMASK(sig))
			waitq_wake_all(&t->sigwait);
		if (!(t->blocked & SIGMASK(sig)))
			poke(t, T_INTERRUPTIBLE);
		return;
	}
	list_for_each(t, &p->threads, node)
		if (t->sigwait_set & SIGMASK(sig))
			waitq_wake_all(&t->sigwait);
	list_for_each(t, &p->threads, node)
		if (!(t->blocked & SIGMASK(sig)) && !t->exiting) {
			poke(t, T_INTERRUPTIBLE);
			return;
		}
}

void signal_retarget(struct process *p, const struct task *from)
{
	struct task *t;

	if (!p->pending.set || p->nr_threads < 2)
		return;
	list_for_each(t, &p->threads, node)
		if (t != from && !t->exiting && (p->pending.set & ~t->blocked))
			poke(t, T_INTERRUPTIBLE);
}

int signal_send(struct process *p, struct task *t, const struct linux_siginfo *info)
{
	int sig = info->signo, err = 0;
	bool continued = false;
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	struct sigpending *q = t ? &t->pending : &p->pending;

	if (p->nr_threads == 0 || p->group_exit)
		goto out;
	if (sig == SIGKILL && !protected_init(p)) {
		kill_process(p, SIGKILL);
		goto out;
	}
	continued = apply_job_control(p, sig);
	if (is_ignored(p, sig) && !is_blocked_by_target(p, t, sig))
		goto out;
	if ((SIGMASK(sig) & SIGMASK_UNBLOCKABLE) && protected_init(p))
		goto out;
	if (sig < SIGRTMIN && (q->set & SIGMASK(sig)))
		goto out;
	if (sig >= SIGRTMIN && info->code == SI_QUEUE && p->nr_queued >= MAX_QUEUED) {
		err = -EAGAIN;
		goto out;
	}
	enqueue(p, q, info);
	wake_for(p, t, sig);
out:
	spin_unlock_irqrestore(&p->sig_lock, flags);
	if (continued)
		exit_notify_parent_stop(p, CLD_CONTINUED);
	return err;
}

u32 signal_send_group(struct pid *group, const struct linux_siginfo *info)
{
	struct process *p;
	u32 n = 0;

	list_for_each(p, &group->group, group_node) {
		if (info->signo)
			signal_send(p, NULL, info);
		n++;
	}
	return n;
}

void signal_send_self(int sig)
{
	struct linux_siginfo info;

	signal_info_kernel(&info, sig);
	info.code = SI_USER;
	info.kill.pid = (s32)current_proc()->nr;
	signal_send(current_proc(), current_task(), &info);
}

void signal_force(const struct linux_siginfo *info)
{
	struct process *p = current_proc();
	struct task *t = current_task();
	u64 bit = SIGMASK(info->signo);
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	struct linux_sigaction *act = &p->action[info->signo - 1];

	if ((t->blocked & bit) || act->handler == SIG_IGN) {
		act->handler = SIG_DFL;
		t->blocked &= ~bit;
	}
	t->forced |= bit;
	drop(p, &t->pending, bit); /* the fault's own siginfo counts */
	enqueue(p, &t->pending, info);
	atomic_fetch_or(&t->thread->work, THREAD_SIGPENDING);
	spin_unlock_irqrestore(&p->sig_lock, flags);
}

/* ---- kill(2) and friends ---- */

static bool valid_signal(int sig)
{
	return sig >= 0 && sig <= NSIG;
}

/* kill(2): root to all, others to their own; SIGCONT within the session. proc_lock held. */
static bool may_signal(struct process *p, int sig)
{
	const struct process *me = current_proc();
	u32 uid = READ_ONCE(me->uid), euid = READ_ONCE(me->euid);
	bool own;

	if (euid == 0 || p == me || (sig == SIGCONT && p->session == me->session))
		return true;
	spin_lock(&p->sig_lock);
	own = uid == p->uid || uid == p->suid || euid == p->uid || euid == p->suid;
	spin_unlock(&p->sig_lock);
	return own;
}

/* proc_lock held. A zombie takes any signal and does nothing. */
static int send_checked(struct process *p, struct task *t, const struct linux_siginfo *info)
{
	if (!p)
		return -ESRCH;
	if (!may_signal(p, info->signo))
		return -EPERM;
	return info->signo ? signal_send(p, t, info) : 0;
}

/* kill(-1): everybody but pid 1 and the sender. As on Linux who may not be hurt is no error. */
static int kill_all(const struct linux_siginfo *info)
{
	int ret = -ESRCH;

	for (struct process *p = process_next(1); p; p = process_next(p->nr)) {
		if (p == current_proc())
			continue;
		send_checked(p, NULL, info);
		ret = 0;
	}
	return ret;
}

/* kill(-group): enough if one may be hurt. */
static int kill_group(struct pid *group, const struct linux_siginfo *info)
{
	struct process *p;
	bool sent = false;
	int ret = -ESRCH;

	list_for_each(p, &group->group, group_node) {
		ret = send_checked(p, NULL, info);
		sent |= !ret;
	}
	return sent ? 0 : ret;
}

int signal_kill(s32 pid, int sig)
{
	struct linux_siginfo info;
	struct pid *group;
	u64 flags;
	int ret;

	if (!valid_signal(sig))
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	signal_info_user(&info, sig, SI_USER);
	flags = proc_lock();
	if (pid > 0) {
		ret = send_checked(process_of((u32)pid), NULL, &info);
	} else if (pid == -1) {
		ret = kill_all(&info);
	} else {
		group = pid == 0 ? current_proc()->group : pid_find((u32)-pid);
		ret = group ? kill_group(group, &info) : -ESRCH;
	}
	proc_unlock(flags);
	return ret;
}

int signal_queue(s32 tgid, s32 tid, const struct linux_siginfo *info)
{
	struct process *p;
	struct task *t = NULL;
	u64 flags;
	int ret;

	if (!valid_signal(info->signo) || tid < 0 || (tgid <= 0 && tgid != -1))
		return -EINVAL;
	flags = proc_lock();
	if (tid > 0) {
		t = task_find((u32)tid);
		p = t ? t->proc : NULL;
		if (p && tgid > 0 && p->nr != (u32)tgid)
			p = NULL;
		/* The thread that gave the process its number is gone, but the process is not. */
		if (!t && (tgid == -1 || tgid == tid))
			p = process_find((u32)tid);
	} else {
		p = process_of((u32)tgid);
	}
	ret = send_checked(p, t, info);
	proc_unlock(flags);
	return ret;
}

int signal_tgkill(s32 tgid, s32 tid, int sig)
{
	struct linux_siginfo info;

	if (tid <= 0)
		return -EINVAL;
	signal_info_user(&info, sig, SI_TKILL);
	return signal_queue(tgid, tid, &info);
}

/* ---- masks and handlers of the current thread ---- */

u64 signal_mask_get(void)
{
	return current_task()->blocked;
}

void signal_mask_set(u64 mask)
{
	struct task *t = current_task();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);

	t->blocked = mask & ~SIGMASK_UNBLOCKABLE;
	signal_recalc(t);
	signal_retarget(t->proc, t);
	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
}

void signal_mask_set_temporary(u64 mask)
{
	struct task *t = current_task();

	t->saved_mask = t->blocked;
	t->restore_mask = true;
	signal_mask_set(mask);
}

void signal_mask_restore(void)
{
	struct task *t = current_task();

	if (!t->restore_mask)
		return;
	t->restore_mask = false;
	signal_mask_set(t->saved_mask);
}

int signal_action(int sig, const struct linux_sigaction *act, struct linux_sigaction *old)
{
	struct process *p = current_proc();
	u64 flags;

	if (sig < 1 || sig > NSIG || (act && (SIGMASK(sig) & SIGMASK_UNBLOCKABLE)))
		return -EINVAL;
	flags = spin_lock_irqsave(&p->sig_lock);
	if (old)
		*old = p->action[sig - 1];
	if (act) {
		p->action[sig - 1] = *act;
		p->action[sig - 1].mask &= ~SIGMASK_UNBLOCKABLE;
		/* POSIX 3.3.1.3: what is pending and is now ignored goes away. */
		if (act->handler == SIG_IGN || (act->handler == SIG_DFL && default_ignores(sig)))
			drop_everywhere(p, SIGMASK(sig));
	}
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return 0;
}

u64 signal_pending_set(void)
{
	struct task *t = current_task();
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
	u64 set = (t->pending.set | t->proc->pending.set) & t->blocked;

	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
	return set;
}

int signal_suspend(u64 mask)
{
	struct task *t = current_task();

	signal_mask_set_temporary(mask);
	(void)wait_event_interruptible(&t->sigwait, false);
	return -ERESTARTNOHAND;
}

static int take_one(struct task *t, u64 set, u64 waiting, struct linux_siginfo *info)
{
	u64 flags = spin_lock_irqsave(&t->proc->sig_lock);
	int sig = signal_dequeue(t, set, info);

	t->sigwait_set = sig ? 0 : waiting;
	if (sig)
		signal_recalc(t);
	spin_unlock_irqrestore(&t->proc->sig_lock, flags);
	return sig;
}

int signal_wait(u64 set, u64 deadline, struct linux_siginfo *info)
{
	struct task *t = current_task();
	int sig, err;

	set &= ~SIGMASK_UNBLOCKABLE;
	sig = take_one(t, set, set, info);
	if (sig)
		return sig;
	err = wait_event_deadline(&t->sigwait, (sig = take_one(t, set, set, info)) != 0, deadline);
	if (!sig)
		sig = take_one(t, set, 0, info);
	if (sig)
		return sig;
	return err == -ETIMEDOUT ? -EAGAIN : -EINTR;
}

bool signal_is_ignored_or_blocked(int sig)
{
	struct task *t = current_task();
	struct process *p = t->proc;
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	bool ret = (t->blocked & SIGMASK(sig)) || p->action[sig - 1].handler == SIG_IGN;

	spin_unlock_irqrestore(&p->sig_lock, flags);
	return ret;
}

bool signal_parent_wants_child(struct process *parent)
{
	u64 flags = spin_lock_irqsave(&parent->sig_lock);
	const struct linux_sigaction *a = &parent->action[SIGCHLD - 1];
	bool wants = a->handler != SIG_IGN && !(a->flags & SA_NOCLDWAIT);

	spin_unlock_irqrestore(&parent->sig_lock, flags);
	return wants;
}

/* execve: handlers of the old program are no functions of the new one. Ignored stays ignored. */
void signal_exec_reset(void)
{
	struct process *p = current_proc();
	struct task *t = current_task();
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	for (int i = 0; i < NSIG; i++) {
		struct linux_sigaction *a = &p->action[i];

		if (a->handler | a->flags | a->restorer | a->mask) /* mostly none is set */
			*a = (struct linux_sigaction){
				.handler = a->handler == SIG_IGN ? SIG_IGN : SIG_DFL,
			};
	}
	t->altstack = (struct linux_stack){ .flags = SS_DISABLE };
	spin_unlock_irqrestore(&p->sig_lock, flags);
}
