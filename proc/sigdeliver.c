/*
 * The way to user mode: signals take effect here, and only here, in the thread that they are for.
 *
 * proc_user_return runs whenever the thread's work flags are not empty. In this order: the end of
 * the process, a stop, then one pending signal after the other: ignored, deadly, stopping, or a frame
 * for its handler. At last a system call that a signal interrupted is set up to run again, unless a
 * handler's flags make it fail with EINTR, and a temporary signal mask goes away.
 */
#include "proc/internal.h"

#include "arch/api/signal.h"
#include "arch/api/upcall.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "lib/uapi/wait.h"
#include "sched/sched.h"

enum verdict { NOTHING, AGAIN, DEADLY, STOPPING, HANDLER };

void proc_fault_signal(int sig, int code, u64 addr, u64 trapno, u64 error)
{
	struct task *t = current_task();
	struct linux_siginfo info = { .signo = sig, .code = code };

	info.fault.addr = addr;
	t->trapno = trapno;
	t->error = error;
	t->fault_addr = addr;
	signal_force(&info);
}

void signal_note_restart(int code)
{
	current_task()->restart = code;
	/* Whoever wanted us may have gone to another thread: the call still has to be restarted. */
	atomic_fetch_or(&current()->work, THREAD_SIGPENDING);
}

/*
 * Stops until SIGCONT or the end. The last thread that stops tells the parent. proc_lock, because
 * of the parent, comes before sig_lock; so look again whether the stop still holds.
 */
static void stop_here(struct process *p, struct task *t)
{
	bool all;
	u64 flags = proc_lock();

	spin_lock(&p->sig_lock);
	if (!p->job_stop || task_is_killed(t)) {
		spin_unlock(&p->sig_lock);
		proc_unlock(flags);
		return;
	}
	t->stopped = true;
	all = ++p->nr_stopped == p->nr_threads;
	if (all) {
		p->report_stop = true;
		p->report_continue = false;
	}
	spin_unlock(&p->sig_lock);
	if (all)
		exit_notify_parent_stop(p, CLD_STOPPED);
	proc_unlock(flags);
	(void)wait_event_(&p->stop_wait, !READ_ONCE(t->stopped) || task_is_killed(t), T_STOPPED,
			  WAIT_FOREVER);
}

/* A stop signal's default action. Groups that nobody could continue ignore the terminal's ones. */
static void begin_stop(struct process *p, int sig)
{
	struct task *t;
	u64 flags = proc_lock();

	if (sig != SIGSTOP && session_group_is_orphaned(p->group, NULL)) {
		proc_unlock(flags);
		return;
	}
	spin_lock(&p->sig_lock);
	/* A SIGCONT that came since the stop signal was taken out undoes it. */
	if (!p->job_stop && !p->group_exit && !p->exec_task && !p->continued) {
		p->job_stop = true;
		p->stop_signal = (u8)sig;
		list_for_each(t, &p->threads, node) {
			atomic_fetch_or(&t->thread->work, THREAD_SIGPENDING);
			sched_wake(t->thread, T_INTERRUPTIBLE);
		}
	}
	spin_unlock(&p->sig_lock);
	proc_unlock(flags);
}

static void make_delivery(struct task *t, int sig, struct linux_sigaction *act,
			  struct signal_delivery *d)
{
	d->sig = sig;
	d->handler = act->handler;
	d->restorer = act->restorer;
	d->flags = act->flags;
	d->mask = t->restore_mask ? t->saved_mask : t->blocked;
	d->altstack = t->altstack;
	d->trapno = t->trapno;
	d->error = t->error;
	d->fault_addr = t->fault_addr;
}

/* Takes one signal and says what is to be done about it. sig_lock held. */
static enum verdict take_signal(struct process *p, struct task *t, struct signal_delivery *d,
				u64 *handler_mask)
{
	int sig = signal_dequeue(t, ~t->blocked, &d->info);
	struct linux_sigaction *act;
	bool forced;

	if (!sig) {
		signal_recalc(t);
		return NOTHING;
	}
	d->sig = sig;
	forced = t->forced & SIGMASK(sig);
	t->forced &= ~SIGMASK(sig);
	act = &p->action[sig - 1];
	if (act->handler == SIG_IGN)
		return AGAIN;
	if (act->handler != SIG_DFL) {
		make_delivery(t, sig, act, d);
		*handler_mask = act->mask | (act->flags & SA_NODEFER ? 0 : SIGMASK(sig));
		if (act->flags & SA_RESETHAND)
			act->handler = SIG_DFL;
		return HANDLER;
	}
	if (SIGMASK(sig) & SIGMASK_IGNORED)
		return AGAIN;
	if (p == proc_init_process && !proc_init_killable && !forced)
		return AGAIN;
	if (SIGMASK(sig) & SIGMASK_STOP) {
		p->continued = false;
		return STOPPING;
	}
	return DEADLY;
}

__noreturn static void die(struct regs *r, const struct signal_delivery *d)
{
	struct process *p = current_proc();

	if (d->info.code > 0 && d->info.code != SI_KERNEL)
		log_info("%s[%u]: %s at address %#lx, pc %#lx sp %#lx error %lu\n", current()->name,
			 p->nr, signal_name(d->sig), d->info.fault.addr, regs_pc(r), regs_sp(r),
			 current_task()->error);
	else
		/* Ctrl-C and the end of a pipeline's reader are no news. */
		klog(d->info.code == SI_KERNEL ? KLOG_INFO : KLOG_DEBUG,
		     "%s[%u]: killed by %s, pc %#lx\n", current()->name, p->nr, signal_name(d->sig),
		     regs_pc(r));
	proc_exit_group(WAIT_STATUS_SIGNAL((u32)d->sig));
}

/* What a system call that gave an ERESTART code returns, or does again. */
static void finish_call(struct regs *r, struct task *t, const struct signal_delivery *handler)
{
	s32 code = t->restart;
	bool again = true;

	t->restart = 0;
	if (handler) {
		t->restarting = false;
		again = code == ERESTARTNOINTR ||
			(code == ERESTARTSYS && handler->flags & SA_RESTART);
	}
	if (!code)
		return;
	if (!again) {
		regs_set_return(r, -EINTR);
		return;
	}
	if (code == ERESTART_RESTARTBLOCK)
		t->restarting = true;
	regs_restart_syscall(r);
}

/* Does sp lie on the alternate stack? */
static bool on_altstack(const struct task *t, u64 sp)
{
	return !(t->altstack.flags & SS_DISABLE) && sp - t->altstack.sp <= t->altstack.size &&
	       sp != t->altstack.sp;
}

static void call_handler(struct regs *r, struct task *t, struct signal_delivery *d, u64 mask)
{
	struct process *p = t->proc;
	struct linux_siginfo segv = { .signo = SIGSEGV, .code = SI_KERNEL };
	u64 flags;

	finish_call(r, t, d);
	d->use_altstack = (d->flags & SA_ONSTACK) && !(t->altstack.flags & SS_DISABLE) &&
			  !on_altstack(t, regs_sp(r));
	d->altstack.flags &= ~SS_ONSTACK;
	if (on_altstack(t, regs_sp(r)))
		d->altstack.flags |= SS_ONSTACK;
	if (signal_frame_push(r, d)) {
		/* No room for the frame: the same as a fault there; while handling SIGSEGV, the end. */
		if (d->sig == SIGSEGV)
			signal_action(SIGSEGV, &(struct linux_sigaction){ .handler = SIG_DFL },
				      NULL);
		signal_force(&segv);
		return;
	}
	if ((u32)t->altstack.flags & SS_AUTODISARM)
		t->altstack = (struct linux_stack){ .flags = SS_DISABLE };
	t->restore_mask = false;
	flags = spin_lock_irqsave(&p->sig_lock);
	t->blocked = (t->blocked | mask) & ~SIGMASK_UNBLOCKABLE;
	signal_retarget(p, t);
	spin_unlock_irqrestore(&p->sig_lock, flags);
}

void proc_user_return(struct regs *r)
{
	struct task *t = current_task();
	struct signal_delivery d;

	while (atomic_load(&current()->work)) {
		struct process *p = t->proc;
		enum verdict what = AGAIN;
		u64 mask = 0, flags;
		bool stop;

		if (task_is_killed(t)) {
			if (READ_ONCE(p->group_exit))
				proc_exit_group(p->exit_status);
			proc_exit_thread(0); /* a sibling execs */
		}
		flags = spin_lock_irqsave(&p->sig_lock);
		stop = p->job_stop;
		if (!stop)
			what = take_signal(p, t, &d, &mask);
		spin_unlock_irqrestore(&p->sig_lock, flags);
		if (stop)
			stop_here(p, t);
		else if (what == DEADLY)
			die(r, &d);
		else if (what == STOPPING)
			begin_stop(p, d.sig);
		else if (what == HANDLER)
			call_handler(r, t, &d, mask);
	}
	if (t->restart)
		finish_call(r, t, NULL);
	signal_mask_restore();
}
