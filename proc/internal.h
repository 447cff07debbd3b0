/* What the files of proc/ share among themselves. */
#pragma once

#include "proc/process.h"
#include "proc/signal.h"

/* A parent that waits in vfork. Either end may be the last to look at it, hence the count. */
struct vfork_wait {
	refcount_t refs;
	struct waitq wait;     /* nobody wakes through it: T_STOPPED threads are woken by name */
	struct thread *parent; /* [I] a reference */
	bool done;             /* [a] */
};

/* proc/pid.c */
void pid_init(void);
struct pid *pid_alloc(void);     /* one user; not to be found yet. NULL: no memory, or no number */
void pid_discard(struct pid *p); /* gives one back that was not published */
/* Inside the tree. */
void pid_publish(struct pid *p); /* pid_find finds it */
void pid_get(struct pid *p);
void pid_put(struct pid *p);
void pid_count_process(int delta);

/* proc/process.c: once; caches, and the pointers through which other modules call up. */
void proc_init(void);
struct process *process_create(void); /* without ids, threads and memory; NULL: no memory */
void process_free(struct process *p);
struct task *task_create(struct thread *t, struct process *p);
void task_free(struct task *t);
/* Inside the tree, sig_lock held. */
void process_add_task(struct process *p, struct task *t, struct pid *pid);
/* Inside the tree, of a process that nobody else sees; else proc_lock held. */
void process_join_group(struct process *p, struct pid *group);
void process_join_session(struct process *p, struct pid *session);
/* Out of group, session, ids. Inside the tree; the parent's list is already left, or proc_lock is held. */
void process_leave_tree(struct process *p);

/* proc/audit.c: /proc/jiffy/audit and objects. */
void proc_audit_init(void);

/* proc/oom.c: see vm_out_of_memory in mm/aspace.h. */
bool proc_out_of_memory(void);

/* proc/exit.c: the current thread leaves its memory, by exec or for good: clears the word of CLONE_CHILD_CLEARTID. */
void exit_clear_tid(struct task *t);
/* proc/fork.c: tells a vfork parent, if there is one. */
void vfork_release(struct task *t);
/* proc_lock held. A stop or a continuation, to the parent. */
void exit_notify_parent_stop(struct process *p, int code);

/* proc/exec.c: the new program's memory, before anything of the old one is touched. */
struct exec_image {
	struct aspace *as;
	uaddr_t entry; /* where to start: the program's, or its interpreter's */
	uaddr_t sp;
	uaddr_t phdr; /* AT_PHDR */
	u32 phnum;
	uaddr_t program_entry; /* AT_ENTRY */
	uaddr_t interp_base;   /* AT_BASE */
	uaddr_t brk;
	uaddr_t arg_start, arg_end, env_start, env_end, stack_top;
	const char *why; /* a word on the error, or NULL */
};

/* AT_SECURE: its real ids are not those that it acts with. */
static inline bool process_is_secure(const struct process *p)
{
	return p->uid != p->euid || p->gid != p->egid;
}

/* As proc_exec; *why gets a word on -ENOEXEC, or NULL. */
int proc_exec_why(const char *path, struct exec_args *args, const char **why);

/* proc/load_elf.c: maps the program, and its interpreter. head: the file's first bytes. */
int load_elf(struct file *f, struct exec_image *im);
/* proc/exec_args.c: strings, vectors and auxv onto the new stack. */
int exec_stack_build(struct exec_image *im, const struct exec_args *a, const char *execfn);
/* #!interp [arg] script ...: replaces the first argument. */
int exec_args_script(struct exec_args *a, const char *interp, const char *arg, const char *script);
const char *exec_args_first(const struct exec_args *a); /* argv[0], or NULL */

/* proc/procfs.c: the process of such an id, a zombie too; NULL: none. proc_lock held. */
struct process *procfs_process(int id);

/* proc/procfs_mm.c: files of /proc/pid about memory. */
struct textbuf;
struct uio;
struct procfs_cursor;
int procfs_add_maps(int id, struct procfs_cursor *next, struct textbuf *t);
int procfs_add_smaps(int id, struct procfs_cursor *next, struct textbuf *t);
int procfs_show_statm(int id, struct textbuf *t);
void procfs_show_status_memory(int id, struct textbuf *t);
ssize_t procfs_read_pagemap(int id, struct uio *dst, u64 *pos);

bool task_is_killed(const struct task *t); /* THREAD_EXIT is set */
