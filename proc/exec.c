/*
 * execve: a new program in the same process.
 *
 * First the new address space is built whole, beside the old one: whatever fails there (a bad file,
 * no memory, too many arguments) leaves the program as it was. Then the other threads end; that
 * cannot fail, but this thread may be killed meanwhile. From there on, the point of no return,
 * nothing can fail: the spaces change places and the old one goes.
 */
#include "proc/internal.h"

#include "fs/file.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "lib/uio.h"
#include "mm/aspace.h"
#include "sched/sched.h"

#define SCRIPT_DEPTH 4
#define HEAD_SIZE    256 /* of "#!interpreter argument" */

/* "#! interp arg" in head (terminated): interp, and arg or NULL. False: no interpreter named. */
static bool parse_script(char *head, char **interp, char **arg)
{
	char *s = head + 2, *end = strchr(s, '\n');

	if (end)
		*end = '\0';
	else
		end = s + strlen(s);
	while (end > s && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		*--end = '\0';
	while (*s == ' ' || *s == '\t')
		s++;
	*interp = s;
	while (*s && *s != ' ' && *s != '\t')
		s++;
	*arg = NULL;
	if (*s) {
		*s++ = '\0';
		while (*s == ' ' || *s == '\t')
			s++;
		*arg = s;
	}
	return **interp != '\0';
}

/* Opens what is to run in the end: path, or the interpreter of a script of an interpreter ... */
static int open_program(const char *path, struct exec_args *args, struct file **out)
{
	char head[HEAD_SIZE], script[HEAD_SIZE];
	const char *name = path;
	struct file *f;

	for (int depth = 0; depth <= SCRIPT_DEPTH; depth++) {
		struct uio u = uio_kernel(head, sizeof(head) - 1);
		char *interp, *arg;
		ssize_t n;
		int err = vfs_open_exec(name, &f);

		if (err)
			return err;
		n = file_read_at(f, &u, 0);
		if (n < 2 || head[0] != '#' || head[1] != '!') {
			*out = f;
			return 0;
		}
		file_put(f);
		head[n] = '\0';
		if (!parse_script(head, &interp, &arg))
			return -ENOEXEC;
		err = exec_args_script(args, interp, arg, name);
		if (err)
			return err;
		kstrlcpy(script, interp, sizeof(script));
		name = script;
	}
	return -ELOOP;
}

static int build_image(const char *path, struct exec_args *args, struct file *f,
		       struct exec_image *im)
{
	int err;

	im->as = aspace_create();
	if (!im->as)
		return -ENOMEM;
	process_limit_space(current_proc(), im->as);
	if (current()->as)
		aspace_disable_large(im->as, aspace_large_disabled(current()->as));
	err = load_elf(f, im);
	if (!err)
		err = exec_stack_build(im, args, path);
	if (err) {
		aspace_put(im->as);
		im->as = NULL;
	}
	return err;
}

/* The process's own id goes to the thread that is left, if it is not the first one. */
static void take_over_id(struct process *p, struct task *t)
{
	u64 flags;

	if (t->pid == p->pid)
		return;
	flags = proc_lock(); /* the one that had it is out of the tree */
	t->pid->task = NULL;
	pid_put(t->pid);
	pid_get(p->pid);
	p->pid->task = t;
	t->pid = p->pid;
	t->tid = p->nr;
	t->thread->tid = p->nr;
	proc_unlock(flags);
}

/* Ends the other threads. -EINTR: this one is to end, too. */
static int become_single(struct process *p, struct task *t)
{
	struct task *other;
	bool race;
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	race = p->group_exit || p->exec_task;
	if (!race && p->nr_threads > 1) {
		p->exec_task = t;
		list_for_each(other, &p->threads, node)
			if (other != t)
				signal_kill_thread(other);
	}
	spin_unlock_irqrestore(&p->sig_lock, flags);
	if (race)
		return -EINTR;
	wait_event(&p->thread_wait, READ_ONCE(p->nr_threads) == 1);
	flags = spin_lock_irqsave(&p->sig_lock);
	p->exec_task = NULL;
	race = p->group_exit;
	spin_unlock_irqrestore(&p->sig_lock, flags);
	if (race)
		return -EINTR;
	take_over_id(p, t);
	return 0;
}

static const char *basename(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* New memory for old. The old space goes only after the new one is in use. */
static void change_space(struct process *p, struct file *f, struct exec_image *im)
{
	struct aspace *old = p->as;
	struct file *old_exe = p->exe;
	u64 flags;

	flags = proc_enter();
	p->as = im->as;
	p->exe = f;
	p->arg_start = im->arg_start;
	p->arg_end = im->arg_end;
	p->env_start = im->env_start;
	p->env_end = im->env_end;
	p->stack_top = im->stack_top;
	p->execed = true;
	p->exit_signal = SIGCHLD;
	if (process_is_secure(p))
		p->pdeath_signal = 0;
	/* What was saved for a way back to other ids belonged to the old program. */
	p->suid = p->fsuid = p->euid;
	p->sgid = p->fsgid = p->egid;
	process_limit_space(p, im->as); /* again: prlimit has told the old one since */
	proc_leave(flags);
	aspace_thread_ends();
	thread_set_aspace(im->as);
	vfork_release(current_task());
	if (old)
		aspace_put(old);
	if (old_exe)
		file_put(old_exe);
}

/* The point of no return: from here on the process is the new program. */
static void commit(const char *path, struct file *f, struct exec_image *im)
{
	struct task *t = current_task();

	futex_exit(t, false);
	exit_clear_tid(t);
	change_space(current_proc(), f, im);
	signal_exec_reset();
	fdtable_close_on_exec(current()->files);
	thread_set_name(current(), basename(path));
	t->clear_tid = 0;
	t->robust_list = 0;
	t->restarting = false;
	t->proc->not_dumpable = t->proc->keep_caps = false;
	t->trapno = t->error = t->fault_addr = 0;
	ctx_user_reset();
	regs_init_user(ctx_user_regs(current()->stack_top), im->entry, im->sp);
}

int proc_exec_why(const char *path, struct exec_args *args, const char **why)
{
	struct exec_image im = { 0 };
	struct file *f;
	int err = open_program(path, args, &f);

	if (err)
		return err;
	err = build_image(path, args, f, &im);
	*why = im.why;
	if (!err) {
		err = become_single(current_proc(), current_task());
		if (err)
			aspace_put(im.as);
	}
	if (err)
		file_put(f);
	else
		commit(path, f, &im);
	return err;
}

int proc_exec(const char *path, struct exec_args *args)
{
	const char *why = NULL;
	int err = proc_exec_why(path, args, &why);

	if (err == -ENOEXEC && why)
		log_debug("%s[%u]: %s: %s\n", current()->name, current_proc()->nr, path, why);
	return err;
}
