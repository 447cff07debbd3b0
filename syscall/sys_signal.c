/* System calls: signals (proc/signal.h). */
#include "syscall/syscalls.h"

#include "arch/api/signal.h"
#include "arch/api/uaccess.h"
#include "lib/uapi/time.h"
#include "proc/signal.h"
#include "time/clock.h"

#define SIGSET_SIZE sizeof(u64)

s64 sys_rt_sigaction(int sig, uaddr_t uact, uaddr_t uold, size_t size)
{
	struct linux_sigaction act, old;
	int err;

	if (size != SIGSET_SIZE)
		return -EINVAL;
	if (uact && get_user(act, uact))
		return -EFAULT;
	err = signal_action(sig, uact ? &act : NULL, &old);
	if (!err && uold && put_user(old, uold))
		err = -EFAULT;
	return err;
}

s64 sys_rt_sigprocmask(int how, uaddr_t uset, uaddr_t uold, size_t size)
{
	u64 old = signal_mask_get(), set;

	if (size != SIGSET_SIZE)
		return -EINVAL;
	if (uset) {
		if (get_user(set, uset))
			return -EFAULT;
		if (how == SIG_BLOCK)
			set |= old;
		else if (how == SIG_UNBLOCK)
			set = old & ~set;
		else if (how != SIG_SETMASK)
			return -EINVAL;
		signal_mask_set(set);
	}
	return uold && put_user(old, uold) ? -EFAULT : 0;
}

s64 sys_rt_sigpending(uaddr_t uset, size_t size)
{
	u64 set = signal_pending_set();

	if (size > SIGSET_SIZE)
		return -EINVAL;
	return copy_to_user(uset, &set, size);
}

s64 sys_rt_sigsuspend(uaddr_t umask, size_t size)
{
	u64 mask;

	if (size != SIGSET_SIZE)
		return -EINVAL;
	if (get_user(mask, umask))
		return -EFAULT;
	return signal_suspend(mask);
}

s64 sys_pause(void)
{
	(void)wait_event_interruptible(&current_task()->sigwait, false);
	return -ERESTARTNOHAND;
}

s64 sys_rt_sigtimedwait(uaddr_t uset, uaddr_t uinfo, uaddr_t utimeout, size_t size)
{
	struct linux_timespec ts;
	struct linux_siginfo info;
	u64 set, deadline = WAIT_FOREVER;
	int sig;

	if (size != SIGSET_SIZE)
		return -EINVAL;
	if (get_user(set, uset))
		return -EFAULT;
	if (utimeout) {
		if (get_user(ts, utimeout))
			return -EFAULT;
		if (ts.sec < 0 || ts.nsec < 0 || ts.nsec >= (s64)NSEC_PER_SEC)
			return -EINVAL;
		if (ts.sec < (s64)(INT64_MAX / (s64)NSEC_PER_SEC) / 2)
			deadline = clock_ns() + (u64)ts.sec * NSEC_PER_SEC + (u64)ts.nsec;
	}
	sig = signal_wait(set, deadline, &info);
	if (sig > 0 && uinfo && put_user(info, uinfo))
		return -EFAULT;
	return sig;
}

s64 sys_sigaltstack(uaddr_t uss, uaddr_t uold)
{
	struct task *t = current_task();
	u64 sp = regs_sp(ctx_user_regs(current()->stack_top));
	struct linux_stack old = t->altstack, new;
	bool on = !(old.flags & SS_DISABLE) && sp - old.sp <= old.size && sp != old.sp;

	if (on)
		old.flags |= SS_ONSTACK;
	if (uss) {
		if (get_user(new, uss))
			return -EFAULT;
		if (on)
			return -EPERM;
		if ((u32) new.flags & ~(SS_DISABLE | SS_ONSTACK | SS_AUTODISARM))
			return -EINVAL;
		if (new.flags & SS_DISABLE)
			new = (struct linux_stack){ .flags = SS_DISABLE };
		else if (new.size < MINSIGSTKSZ)
			return -ENOMEM;
		new.flags &= ~SS_ONSTACK;
		t->altstack = new;
	}
	return uold && put_user(old, uold) ? -EFAULT : 0;
}

/* The program's registers come back as they were, and with them the "result". */
s64 sys_rt_sigreturn(struct regs *r)
{
	struct linux_siginfo segv = { .signo = SIGSEGV, .code = SI_KERNEL };
	struct linux_stack altstack;
	u64 mask;

	if (signal_frame_pop(r, &mask, &altstack)) {
		signal_force(&segv);
		return 0;
	}
	signal_mask_set(mask);
	altstack.flags &= ~SS_ONSTACK;
	current_task()->altstack = altstack;
	return (s64)regs_return(r);
}

s64 sys_kill(int pid, int sig)
{
	return signal_kill(pid, sig);
}

s64 sys_tkill(int tid, int sig)
{
	return signal_tgkill(-1, tid, sig);
}

s64 sys_tgkill(int tgid, int tid, int sig)
{
	return tgid <= 0 ? -EINVAL : signal_tgkill(tgid, tid, sig);
}

static s64 queue(int tgid, int tid, int sig, uaddr_t uinfo)
{
	struct linux_siginfo info;

	if (get_user(info, uinfo))
		return -EFAULT;
	/* Only the kernel may speak as the kernel. */
	if ((info.code >= 0 || info.code == SI_TKILL) &&
	    (tid ? tid != (int)current_task()->tid : tgid != (int)current_proc()->nr))
		return -EPERM;
	info.signo = sig;
	return signal_queue(tgid, tid, &info);
}

s64 sys_rt_sigqueueinfo(int tgid, int sig, uaddr_t info)
{
	return queue(tgid, 0, sig, info);
}

s64 sys_rt_tgsigqueueinfo(int tgid, int tid, int sig, uaddr_t info)
{
	return tid <= 0 ? -EINVAL : queue(tgid, tid, sig, info);
}
