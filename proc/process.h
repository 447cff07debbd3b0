/*
 * Processes, their threads, and the tree that they form.
 *
 * A struct process is what the threads of a program share: parent and children, group and
 * session, signal handlers, limits, the address space. A struct task is what proc/ knows of one
 * thread (thread->signals); the scheduler's part is struct thread. Ids are struct pid: one number
 * of the space that processes, threads, groups and sessions share, alive as long as any of them
 * uses it, so that no number is given out twice.
 *
 * Lives. A process is made by fork with one thread; threads come by clone. The last thread's exit
 * makes it a zombie: no threads, no memory, no files, only its status. A wait of its parent (or an
 * ignored SIGCHLD) frees it. Orphans go to pid 1. pid 1's end is the machine's.
 *
 * Locks. proc_lock (interrupts off, rank PROC, proc/tree.c) protects the tree: ids, parents, children, groups,
 * sessions, zombie and stop reports, and who is in the list of threads. Who holds it is alone in the tree. The
 * frequent ways - a child that is born, ends, is waited for - only enter the tree (proc_enter), many at once,
 * and change there, under locks of rank FAMILY, never two at once:
 *	child_lock   the parent's: its children, that one is a zombie, what they used
 *	pid.lock     the members of that group
 *	a bucket's   a piece of the table of ids (proc/pid.c)
 * All else that proc_lock protects stands still for who is inside. So a process that is inside finds alive: itself,
 * its parent (a parent that has children ends under proc_lock), and with its child_lock held its children.
 *
 * Each process's sig_lock (interrupts off, rank SIGNAL, taken inside the tree, never two at once) protects
 * handlers, pending signals and the stop state, and is also held when the list of threads changes: so either
 * lock suffices to read that list. A pointer to a foreign process or task is valid only as long
 * as proc_lock is held without a break.
 */
#pragma once

#include "lib/list.h"
#include "lib/uapi/resource.h"
#include "lib/uapi/signal.h"
#include "sched/thread.h"
#include "time/timer.h"

struct tty;
struct file;
struct task;
struct regs;

/*
 * Letters: [I] immutable, [t] proc_lock, [s] sig_lock, [ts] both to write, one to read, [o] owner (the
 * thread itself), [a] one word, read and written as such.
 *	[f] proc_lock; or inside the tree, with the child_lock of the parent (of `parent` itself: its own).
 *	[e] proc_lock; or inside the tree, by the one whose it is.
 *	[x] As [e]; only execve and the process's end change it, behind its other threads' end: so the
 *	    process's own threads read it without.
 *	[c] sig_lock; the process's own threads read one of them without, several together with.
 */

struct pid {
	struct pid *next;     /* [t] in its bucket; or inside, with the bucket's lock */
	u32 nr;               /* [I] */
	refcount_t users;     /* the thread, the process, members of group and session */
	struct process *proc; /* [e] the process with this id, also a zombie */
	struct task *task;    /* [e] the thread with this id */
	spinlock_t lock;      /* rank FAMILY */
	struct list_node
		group;   /* [t] processes of the group with this id; or inside, with `lock` */
	struct tty *tty; /* [t] the session's controlling terminal */
};

/* A signal that waits, with its siginfo. */
struct sigpending {
	u64 set;                /* [s] bit sig-1 */
	struct list_node queue; /* [s] struct sigqueue, oldest first */
};

struct process {
	u32 nr;                      /* [I] its number: getpid() */
	u32 ppid;                    /* [t] readable without: getppid() */
	struct pid *pid;             /* [I] */
	struct pid *group, *session; /* [t] */
	struct process *parent;      /* [t] NULL: pid 1 */
	spinlock_t child_lock;       /* rank FAMILY */
	struct list_node children;   /* [f] */
	struct list_node sibling;    /* [f] in parent->children */
	struct list_node group_node; /* as pid.group */
	struct list_node threads;    /* [ts] struct task */
	u32 nr_threads;              /* [ts] */
	struct waitq child_wait;     /* wait4 sleeps here */
	struct waitq thread_wait;    /* execve waits here for its siblings' end */
	bool zombie;                 /* [f] */
	bool execed;                 /* [e] has it called execve? (setpgid) */
	bool subreaper;              /* [a] */
	u8 exit_signal;              /* [e] for the parent; 0: none */
	u8 pdeath_signal;            /* [a] */

	/* Its end and its stops. */
	spinlock_t sig_lock;
	bool group_exit;        /* [s] all threads are to end; exit_status is valid. Stays set */
	u32 exit_status;        /* [s] as wait4 reports it; [t] of a zombie */
	struct task *exec_task; /* [s] the thread that execs while the others end */
	bool job_stop;          /* [ts] threads stop on their way to user mode */
	u8 stop_signal;         /* [ts] that did it */
	u32 nr_stopped;         /* [s] */
	bool continued;         /* [s] SIGCONT came since the last stop signal was taken */
	bool report_stop, report_continue; /* [ts] what the parent has not yet waited for */
	struct waitq stop_wait;            /* stopped threads */

	/* Signals. */
	struct linux_sigaction action[NSIG]; /* [s] */
	struct sigpending pending;           /* [s] for any thread */
	u32 nr_queued;                       /* [s] struct sigqueue, all threads */

	/* The interval timer. */
	struct timer alarm; /* [s] to start; fires SIGALRM */
	u64 alarm_deadline; /* [s] 0: off */
	u64 alarm_interval; /* [s] ns */

	/* Memory and program. */
	struct aspace *as; /* [x] one reference for all threads; NULL after exit */
	struct file *exe;  /* [x] */
	uaddr_t arg_start, arg_end, env_start, env_end; /* [x] */
	uaddr_t stack_top;                              /* [x] */

	struct linux_rlimit rlimit[RLIM_NLIMITS];           /* [ts] */
	u32 uid, euid, suid, fsuid, gid, egid, sgid, fsgid; /* [c] */
	u32 nr_groups;                                      /* [c] supplementary groups */
	u32 groups[32];                                     /* [c] */
	u32 personality;                                    /* [a] */
	bool no_new_privs;                                  /* [a] */
	bool not_dumpable, keep_caps; /* [a] nobody looks at them: prctl(2) gives them back */

	/* Accounting. */
	u64 start_ns;           /* [I] clock_ns() */
	u64 utime_ns, stime_ns; /* [s] of threads that ended */
	u64 nvcsw, nivcsw;      /* [s] the same */
	u64 minflt;             /* [s] the same */
	struct {
		u64 utime_ns, stime_ns, nvcsw, nivcsw, minflt;
	} children_usage;   /* [f] of children waited for */
	char last_name[16]; /* [s] of the last thread that ended: a zombie's name */
};

struct task {
	struct thread *thread; /* [I] */
	struct process *proc;  /* [I] */
	struct pid *pid;       /* [t] changes when a thread execs and takes over the process's id */
	u32 tid;               /* [t] the number of pid; the thread itself reads it without */
	struct list_node node; /* [ts] in proc->threads */
	bool exiting;          /* [s] has left; on the list for a moment longer */
	bool stopped; /* [s] counted in nr_stopped; the thread itself waits for it without */

	u64 blocked;                 /* [s] the signal mask; only the thread itself changes it */
	u64 forced;                  /* [s] pending ones that are exceptions: they end even pid 1 */
	u64 saved_mask;              /* [o] to come back after sigsuspend, ppoll ... */
	bool restore_mask;           /* [o] saved_mask is to be put back before user mode */
	struct sigpending pending;   /* [s] for this thread alone */
	struct waitq sigwait;        /* rt_sigtimedwait */
	u64 sigwait_set;             /* [s] what it waits for, or 0 */
	struct linux_stack altstack; /* [o] */

	s32 restart;          /* [o] the ERESTART code of the call that is ending, or 0 */
	bool restarting;      /* [o] the next call is the restarted one: */
	u64 restart_deadline; /* [o] its clock_ns() deadline */

	uaddr_t clear_tid;        /* [o] CLONE_CHILD_CLEARTID */
	uaddr_t robust_list;      /* [o] */
	u64 robust_len;           /* [o] */
	struct vfork_wait *vfork; /* [o] whom to tell at exec or exit */

	u32 oom_seen; /* [o] victims that were gone when it last lacked memory: proc/oom.c */

	u64 trapno, error, fault_addr; /* [o] of the last exception, for the signal frame */
	u64 fault_pc;                  /* [o] where it was */

	u64 slack_ns,
		default_slack_ns; /* [o] PR_SET_TIMERSLACK: told again; timers here are exact */

	u8 policy;          /* [proc_lock] SCHED_* */
	u8 rt_priority;     /* [proc_lock] 0 ... 99 */
	bool reset_on_fork; /* [proc_lock] children do not inherit what takes a privilege */
};

/* The tree of processes, proc/tree.c. Interrupts go off; what is returned goes to the other one. */
u64 proc_lock(void); /* alone in the tree; may wait for others */
void proc_unlock(u64 flags);
u64 proc_enter(void); /* inside the tree, with others */
void proc_leave(u64 flags);
bool proc_is_locked(void); /* by anybody, in either way: for audits */

extern struct process *proc_init_process; /* pid 1: [I] once set */
extern bool proc_init_killable; /* [I] option init.killable: pid 1 dies of signals like any other */

static inline struct process *current_proc(void)
{
	return current()->proc;
}

static inline struct task *current_task(void)
{
	return current()->signals;
}

/* Tells a space the process's RLIMIT_AS, DATA and STACK: proc/process.c. p: own, or proc_lock held. */
void process_limit_space(const struct process *p, struct aspace *as);

/* Ids and the tree: proc/pid.c. proc_lock held. */
struct pid *pid_find(u32 nr);         /* NULL: not in use */
struct pid *pid_next(u32 after);      /* the smallest above, NULL: none */
struct process *process_find(u32 nr); /* a zombie too; NULL: none */
struct process *process_next(u32 after);
struct task *task_find(u32 tid);
struct process *process_of(
	u32 id);         /* of a process's or a thread's number, as Linux's pid_t means it */
u32 process_count(void); /* without proc_lock: an estimate */

/* fork, vfork, clone: proc/fork.c. The child's id or -errno. */
struct clone_request {
	u64 flags;     /* CLONE_*, CSIGNAL */
	uaddr_t stack; /* 0: the parent's */
	uaddr_t parent_tid, child_tid;
	u64 tls;
};
s64 proc_clone(const struct clone_request *c, const struct regs *r);
/* The current thread's descriptor table is its own from now on, as a copy. 0 or -ENOMEM. */
int proc_unshare_files(void);

/* Ends: proc/exit.c. Status as wait4 reports it. */
__noreturn void proc_exit_group(u32 status);
__noreturn void proc_exit_thread(int code);

/* proc/wait.c */
struct wait_request {
	int which; /* P_ALL, P_PID, P_PGID */
	u32 nr;
	int options; /* W*; WEXITED must be in it to see exits */
};
struct wait_result {
	u32 status; /* as wait4 reports it */
	u32 uid;
	int code;        /* CLD_* */
	int code_status; /* exit code or signal, for waitid */
	struct linux_rusage usage;
};
/* The child's id; 0: WNOHANG and none; -ECHILD, -ERESTARTSYS. */
s64 proc_wait(const struct wait_request *w, struct wait_result *out);

/* execve: proc/exec.c. Runs path in the current process. 0: the registers are the new program's. */
struct exec_args;
int proc_exec(const char *path, struct exec_args *args);

/* The vector of strings for a new program: proc/exec_args.c. */
struct exec_args *exec_args_create(void);
void exec_args_free(struct exec_args *a);
/* From a program's NULL-terminated arrays (0: empty), or one string of the kernel's. */
int exec_args_copy(struct exec_args *a, uaddr_t argv, uaddr_t envp);
int exec_args_add_arg(struct exec_args *a, const char *s); /* before the first env */
int exec_args_add_env(struct exec_args *a, const char *s);

/* Sessions and groups: proc/session.c */
s64 proc_setsid(void);
int proc_setpgid(u32 pid, u32 pgid);
s64 proc_getpgid(u32 pid);
s64 proc_getsid(u32 pid);
bool session_group_is_orphaned(struct pid *group, const struct process *without); /* proc_lock */
void session_init(void); /* registers with the ttys */

/* Resource usage: proc/usage.c */
void usage_self(struct process *p,
		struct linux_rusage *out); /* own, or proc_lock held; memory: of the past */
/* A child's, with what its own children used that it has waited for: wait4(2). Its parent's child_lock held. */
void usage_waited(struct process *p, struct linux_rusage *out);
void usage_current(struct linux_rusage *out); /* of the current process, all of it */
void usage_thread(struct thread *t, struct linux_rusage *out);
/* Of the current process, or with proc_lock held. */
void usage_children(struct process *p, struct linux_rusage *out);
void usage_times(struct process *p, u64 *utime_ns, u64 *stime_ns);
void usage_children_times(struct process *p, u64 *utime_ns, u64 *stime_ns);

/* setitimer(ITIMER_REAL): proc/itimer.c. ns; 0: off. */
void itimer_init(struct process *p);
void itimer_set(u64 value_ns, u64 interval_ns, u64 *old_value, u64 *old_interval);
void itimer_get(u64 *value_ns, u64 *interval_ns);
void itimer_stop(struct process *p); /* may spin for the callback: no sig_lock held */

/*
 * Futexes: proc/futex.c. shared: without FUTEX_PRIVATE_FLAG. deadline: monotonic ns or WAIT_FOREVER.
 * -EINVAL, -EFAULT for addresses; all may sleep. Counts are Linux's: a wake-up wakes one at least.
 */
int futex_wait(uaddr_t addr, bool shared, u32 value, u32 bitset, u64 deadline);
int futex_wake(uaddr_t addr, bool shared, int count, u32 bitset);
/* value: what *from must hold (-EAGAIN), or NULL. */
int futex_requeue(uaddr_t from, uaddr_t to, bool shared, int wake, int move, const u32 *value);
int futex_wake_op(uaddr_t from, uaddr_t to, bool shared, int count, int count2, u32 code);
/* The end of the current thread in its space, by exec or (ends) for good: the words on its robust list learn
 * that it died, and those who wait for what it owns go on. */
void futex_exit(struct task *t, bool ends);

/* Words with an owner: proc/futex_pi.c. Errors as futex(2) has them. */
int futex_lock_pi(uaddr_t addr, bool shared, u64 deadline);
int futex_trylock_pi(uaddr_t addr, bool shared);
int futex_unlock_pi(uaddr_t addr, bool shared);
int futex_wait_requeue_pi(uaddr_t from, uaddr_t to, bool shared, u32 value, u64 deadline);
int futex_requeue_pi(uaddr_t from, uaddr_t to, bool shared, int wake, int move, u32 value);
void futex_init(void);

/* For the trace: [start, end) of the current process is executable and shows f from offset on. */
struct file;
void proc_trace_map(struct file *f, u64 start, u64 end, u64 offset);

/* /proc/<pid>: proc/procfs.c */
void proc_procfs_init(void);

/*
 * Starts pid 1 in the current kernel thread, which becomes its first thread. Options init=,
 * init.cwd=, stdio=, env.X=. Does not return: a failure is logged with the line
 * "jiffy: cannot run PATH: reason" and ends the machine.
 */
int proc_start_init(void);
