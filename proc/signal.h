/*
 * Signals: sending, waiting, and what happens on the way to user mode.
 *
 * A signal is pending for a process or for one thread. A thread looks at what is pending for it
 * whenever THREAD_SIGPENDING is in its work flags as it returns to user mode (proc_user_return);
 * the flag may be set without need, never missing: whoever makes a signal deliverable (sends it,
 * unblocks it) sets it under sig_lock, and only the thread itself clears it, under sig_lock, after
 * it found nothing. THREAD_EXIT stays set until the thread is gone.
 */
#pragma once

#include "proc/process.h"

#define SIGMASK(sig)        (1ull << ((sig)-1))
#define SIGMASK_STOP        (SIGMASK(SIGSTOP) | SIGMASK(SIGTSTP) | SIGMASK(SIGTTIN) | SIGMASK(SIGTTOU))
#define SIGMASK_IGNORED     (SIGMASK(SIGCHLD) | SIGMASK(SIGCONT) | SIGMASK(SIGURG) | SIGMASK(SIGWINCH))
#define SIGMASK_UNBLOCKABLE (SIGMASK(SIGKILL) | SIGMASK(SIGSTOP))

struct sigqueue {
	struct list_node node;
	struct linux_siginfo info;
};

const char *signal_name(int sig); /* "SIGSEGV"; "SIGRT" above 31 */

/* The siginfo of kill() by the current process, or of the kernel (code SI_KERNEL). */
void signal_info_user(struct linux_siginfo *info, int sig, int code);
void signal_info_kernel(struct linux_siginfo *info, int sig);

/*
 * Sends to a process, or to one thread of it when t is given. 0; -EAGAIN: the queue is full (queued
 * signals with SI_QUEUE only). Any context but NMI. proc_lock held; or the process is the current
 * one, or known to live (timers), and sig neither stops nor continues it nor is SIGKILL.
 */
int signal_send(struct process *p, struct task *t, const struct linux_siginfo *info);
/* proc_lock held: to each process of the group. The number of processes. */
u32 signal_send_group(struct pid *group, const struct linux_siginfo *info);
/* The kernel's, to the current thread: SIGPIPE. */
void signal_send_self(int sig);
/* An exception: cannot be blocked or ignored; ends even pid 1 without a handler. */
void signal_force(const struct linux_siginfo *info);

/* kill(2) and friends. sig 0 only checks. 0, -ESRCH, -EPERM, -EINVAL. */
int signal_kill(s32 pid, int sig);
int signal_tgkill(s32 tgid, s32 tid, int sig);                         /* tgid -1: any */
int signal_queue(s32 tgid, s32 tid, const struct linux_siginfo *info); /* tid 0: the process */

/* The mask. how: SIG_BLOCK ... Unblockable signals are left out. */
u64 signal_mask_get(void);
void signal_mask_set(u64 mask);
/*
 * A mask for the length of one call (ppoll, pselect6, rt_sigsuspend). The old one comes back before
 * user mode: at once by signal_mask_restore, or, when the call returns -ERESTARTNOHAND or -EINTR
 * for a signal, after that signal's frame is made, if the call does not restore it.
 */
void signal_mask_set_temporary(u64 mask);
void signal_mask_restore(void);

/* rt_sigaction. act, old may be NULL. -EINVAL. */
int signal_action(int sig, const struct linux_sigaction *act, struct linux_sigaction *old);
u64 signal_pending_set(void); /* of the current thread and process, blocked ones */
int signal_suspend(u64 mask); /* -ERESTARTNOHAND */
/* Takes one of set; deadline as futex_wait. The signal, -EAGAIN, -EINTR. */
int signal_wait(u64 set, u64 deadline, struct linux_siginfo *info);
bool signal_is_ignored_or_blocked(int sig); /* by the current thread */

/* For execve, fork and exit. */
void signal_exec_reset(void);
void signal_flush(struct process *p, struct sigpending *q); /* sig_lock held */
void signal_recalc(struct task *t);                         /* sig_lock held */
/*
 * sig_lock held: `from` may have been chosen for signals of the process and does not take them (it
 * exits, or blocks them): tells the other threads that can.
 */
void signal_retarget(struct process *p, const struct task *from);
/* The next of `wanted` that is pending for t: sig_lock held. 0: none. */
int signal_dequeue(struct task *t, u64 wanted, struct linux_siginfo *info);
void signal_kill_thread(struct task *t);                /* sig_lock held: sets THREAD_EXIT, wakes */
bool signal_parent_wants_child(struct process *parent); /* proc_lock: false: SIGCHLD is ignored */

/* Of syscall_interrupted: the result is one of the ERESTART codes. */
void signal_note_restart(int code); /* code: positive */
