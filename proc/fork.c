/*
 * fork, vfork and clone: a new process, or a new thread of this one.
 *
 * Everything that can fail happens first, on objects that nobody else sees: thread, task, id,
 * process, memory, files. Then the child is linked into the tree, inside of it, together with
 * the last check that this process is not about to die or to receive a signal (a signal for the
 * whole group is sent under proc_lock: it must find either no child yet, or the child too). Then it starts.
 */
#include "proc/internal.h"

#include "arch/api/uaccess.h"
#include "fs/file.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "lib/uapi/sched.h"
#include "mm/aspace.h"
#include "mm/slab.h"
#include "sched/sched.h"

/* What is being made. Fields are NULL until made. */
struct fork {
	const struct clone_request *c;
	struct thread *thread;
	struct task *task;
	struct pid *pid;
	struct process *proc; /* NULL for a thread of this process */
	struct vfork_wait *vfork;
};

#define CLONE_NAMESPACES                                                                           \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
	 CLONE_NEWPID | CLONE_NEWNET)

static int check_flags(u64 f)
{
	if (f & (CLONE_NAMESPACES | CLONE_PIDFD | CLONE_PTRACE))
		return -EINVAL;
	if ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND))
		return -EINVAL;
	if ((f & CLONE_SIGHAND) && !(f & CLONE_VM))
		return -EINVAL;
	/* Handlers belong to the process here: sharing them without being a thread is not offered. */
	if ((f & CLONE_SIGHAND) && !(f & CLONE_THREAD))
		return -EINVAL;
	if ((f & CSIGNAL) > NSIG)
		return -EINVAL;
	return 0;
}

int proc_unshare_files(void)
{
	struct thread *me = current();
	struct fdtable *shared = me->files, *own;
	u64 flags;

	if (!fdtable_is_shared(shared))
		return 0;
	own = fdtable_copy(shared);
	if (!own)
		return -ENOMEM;
	flags = proc_enter(); /* /proc/<pid>/fd looks in from outside */
	me->files = own;
	proc_leave(flags);
	fdtable_put(shared);
	return 0;
}

/* Files and the place in the tree: shared or copied. */
static int copy_files(struct fork *k)
{
	struct thread *me = current();

	if (k->c->flags & CLONE_FILES) {
		fdtable_get(me->files);
		k->thread->files = me->files;
	} else {
		k->thread->files = fdtable_copy(me->files);
		if (!k->thread->files)
			return -ENOMEM;
	}
	if (k->c->flags & CLONE_FS) {
		fsctx_get(me->fs);
		k->thread->fs = me->fs;
	} else {
		k->thread->fs = fsctx_copy(me->fs);
		if (!k->thread->fs)
			return -ENOMEM;
	}
	return 0;
}

static void copy_identity(struct process *to, struct process *from)
{
	u64 flags = spin_lock_irqsave(&from->sig_lock);

	memcpy(to->action, from->action, sizeof(to->action));
	memcpy(to->rlimit, from->rlimit, sizeof(to->rlimit));
	memcpy(to->groups, from->groups, sizeof(to->groups));
	to->nr_groups = from->nr_groups;
	to->uid = from->uid, to->euid = from->euid, to->suid = from->suid, to->fsuid = from->fsuid;
	to->gid = from->gid, to->egid = from->egid, to->sgid = from->sgid, to->fsgid = from->fsgid;
	to->personality = from->personality;
	to->no_new_privs = from->no_new_privs;
	to->not_dumpable = from->not_dumpable;
	to->keep_caps = from->keep_caps;
	spin_unlock_irqrestore(&from->sig_lock, flags);
	to->arg_start = from->arg_start;
	to->arg_end = from->arg_end;
	to->env_start = from->env_start;
	to->env_end = from->env_end;
	to->stack_top = from->stack_top;
}

/* The process of the child: memory, program, identity. */
static int make_process(struct fork *k)
{
	struct process *me = current_proc();
	struct process *p = process_create();
	int err = 0;

	if (!p)
		return -ENOMEM;
	k->proc = p;
	copy_identity(p, me);
	p->exit_signal = k->c->flags & CSIGNAL;
	p->exe = me->exe; /* only execve changes it: not while we are here, for it kills us first */
	if (p->exe)
		file_get(p->exe);
	if (k->c->flags & CLONE_VM) {
		aspace_get(me->as);
		p->as = me->as;
	} else {
		err = READ_ONCE(me->nr_threads) == 1 ? aspace_fork_alone(me->as, &p->as) :
						       aspace_fork(me->as, &p->as);
		if (err)
			p->as = NULL;
		else
			process_limit_space(
				p, p->as); /* prlimit may have come between the two copies */
	}
	return err;
}

/*
 * What the child has of its parent's scheduling. Inside the tree, where nobody changes the
 * parent's: so what programs see and what the scheduler does come from the same moment.
 */
static void inherit_scheduling(struct task *t, const struct task *my)
{
	sched_inherit(t->thread, my->thread);
	t->policy = my->policy;
	t->rt_priority = my->rt_priority;
	if (!my->reset_on_fork)
		return;
	if (t->rt_priority) {
		t->policy = SCHED_NORMAL;
		t->rt_priority = 0;
		sched_set_policy(t->thread, SCHED_NORMAL, 0);
		sched_set_nice(t->thread, 0);
	} else if (t->thread->nice < 0) {
		sched_set_nice(t->thread, 0);
	}
}

static int make_task(struct fork *k)
{
	struct thread *me = current();
	struct task *my = current_task();
	struct task *t;

	k->thread = thread_create_user(me->name);
	if (!k->thread)
		return -ENOMEM;
	k->pid = pid_alloc();
	if (!k->pid)
		return -EAGAIN;
	t = task_create(k->thread, k->proc ? k->proc : current_proc());
	if (!t)
		return -ENOMEM;
	k->task = t;
	t->blocked = my->blocked;
	t->slack_ns = t->default_slack_ns = my->slack_ns;
	/* A thread on the parent's own stack (vfork) may use the parent's signal stack; others with
	 * shared memory must not. */
	if (!(k->c->flags & CLONE_VM) || (k->c->flags & CLONE_VFORK))
		t->altstack = my->altstack;
	if (k->c->flags & CLONE_CHILD_CLEARTID)
		t->clear_tid = k->c->child_tid;
	return 0;
}

/* The child's registers and machine state. */
static int copy_machine(struct fork *k, const struct regs *r)
{
	struct thread *t = k->thread;
	struct regs *child = ctx_user_regs(t->stack_top);

	*child = *r;
	regs_set_return(child, 0);
	if (k->c->stack)
		regs_set_sp(child, k->c->stack);
	ctx_user_clone(&t->arch);
	t->as = k->proc ? k->proc->as : current_proc()->as;
	if (k->c->flags & CLONE_SETTLS)
		return ctx_set_tls(&t->arch, k->c->tls);
	return 0;
}

/* The ids that the C library wants in memory. Failures are the program's own, as on Linux. */
static void store_ids(struct fork *k)
{
	u32 nr = k->pid->nr;

	if ((k->c->flags & CLONE_PARENT_SETTID) && put_user(nr, k->c->parent_tid))
		log_debug("clone: parent_tid is not writable\n");
	if (k->c->flags & CLONE_CHILD_SETTID)
		aspace_write_own(k->thread->as, k->c->child_tid, &nr, sizeof(nr));
}

static int make_vfork(struct fork *k)
{
	struct vfork_wait *v;

	if (!(k->c->flags & CLONE_VFORK))
		return 0;
	v = kzalloc(sizeof(*v));
	if (!v)
		return -ENOMEM;
	refcount_init(&v->refs, 2); /* the parent's and the child's */
	waitq_init(&v->wait);
	v->parent = current();
	thread_get(v->parent);
	k->vfork = v;
	k->task->vfork = v;
	return 0;
}

/* A new process, of which all else is made: into groups, and at last to its parent, whose other threads see it there. */
static void join_tree(struct process *p, struct process *parent)
{
	const struct process *me = current_proc();

	process_join_group(p, me->group);
	process_join_session(p, me->session);
	pid_count_process(1);
	spin_lock(&parent->child_lock);
	list_add_tail(&parent->children, &p->sibling);
	spin_unlock(&parent->child_lock);
}

/* Inside the tree. -ERESTARTNOINTR: a signal first, then again. */
static int link_child(struct fork *k, struct process *parent)
{
	struct process *p = k->proc ? k->proc : current_proc();

	/* Who ends this process tells the threads that are on its list, under sig_lock alone. */
	spin_lock(&p->sig_lock);
	if (signal_pending_current()) {
		spin_unlock(&p->sig_lock);
		return -ERESTARTNOINTR;
	}
	inherit_scheduling(k->task, current_task());
	if (k->proc) {
		p->nr = k->pid->nr;
		p->pid = k->pid;
		pid_get(k->pid);
		k->pid->proc = p;
		p->parent = parent;
		p->ppid = parent->nr;
	}
	process_add_task(p, k->task, k->pid);
	spin_unlock(&p->sig_lock);
	pid_publish(k->pid);
	if (k->proc)
		join_tree(p, parent);
	return 0;
}

static int publish(struct fork *k)
{
	struct process *me = current_proc();
	u64 flags;
	int err;

	if (k->proc && k->c->flags & CLONE_PARENT && me->parent) {
		flags = proc_lock(); /* a brother: our parent's list is not ours */
		k->proc->exit_signal = me->exit_signal; /* it tells our parent as we will */
		err = link_child(k, me->parent);
		proc_unlock(flags);
	} else {
		flags = proc_enter();
		err = link_child(k, me);
		proc_leave(flags);
	}
	return err;
}

/* Gives back what was made; nobody has seen it. */
static void discard(struct fork *k)
{
	if (k->thread) {
		/* files, fs and the space are ours to drop, as thread_release_hook sees none. */
		if (k->thread->files)
			fdtable_put(k->thread->files);
		if (k->thread->fs)
			fsctx_put(k->thread->fs);
		k->thread->files = NULL;
		k->thread->fs = NULL;
		k->thread->as = NULL;
		thread_put(k->thread);
	}
	if (k->vfork) {
		thread_put(k->vfork->parent);
		kfree(k->vfork);
	}
	if (k->task)
		task_free(k->task);
	if (k->pid)
		pid_discard(k->pid);
	if (k->proc) {
		if (k->proc->as)
			aspace_put(k->proc->as);
		if (k->proc->exe)
			file_put(k->proc->exe);
		k->proc->as = NULL;
		k->proc->exe = NULL;
		process_free(k->proc);
	}
}

static void vfork_put(struct vfork_wait *v)
{
	if (!refcount_put(&v->refs))
		return;
	thread_put(v->parent);
	kfree(v);
}

void vfork_release(struct task *t)
{
	struct vfork_wait *v = t->vfork;

	if (!v)
		return;
	t->vfork = NULL;
	WRITE_ONCE(v->done, true);
	memory_barrier(); /* done is out before the parent's state is read */
	sched_wake(v->parent, T_STOPPED);
	vfork_put(v);
}

/* The parent sleeps until the child has its own memory. Only its own death wakes it before. */
static void vfork_wait_child(struct vfork_wait *v)
{
	struct task *me = current_task();

	(void)wait_event_(&v->wait, READ_ONCE(v->done) || task_is_killed(me), T_STOPPED,
			  WAIT_FOREVER);
	vfork_put(v);
}

s64 proc_clone(const struct clone_request *c, const struct regs *r)
{
	struct fork k = { .c = c };
	int err = check_flags(c->flags);
	u32 nr;

	if (err)
		return err;
	if (!(c->flags & CLONE_THREAD))
		err = make_process(&k);
	if (!err)
		err = make_task(&k);
	if (!err)
		err = copy_files(&k);
	if (!err)
		err = copy_machine(&k, r);
	if (!err)
		err = make_vfork(&k);
	if (!err) {
		store_ids(&k);
		err = publish(&k);
	}
	if (err) {
		discard(&k);
		return err;
	}
	nr = k.pid->nr; /* the child may be gone as soon as it runs */
	thread_start(k.thread);
	thread_put(k.thread); /* it has a reference of its own until it ends */
	if (k.vfork)
		vfork_wait_child(k.vfork);
	return nr;
}
