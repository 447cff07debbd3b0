/*
 * Making, linking and freeing struct process and struct task. proc/process.h tells what they are
 * and which locks protect them.
 *
 * An id (struct pid) is counted by its thread, its process, and each member of the group and the
 * session of that number; the functions here keep the counts.
 */
#include "proc/process.h"

#include "debug/trace.h"
#include "fs/file.h"
#include "mm/aspace.h"
#include "mm/slab.h"
#include "proc/internal.h"
#include "time/clock.h"

struct process *proc_init_process;

static struct slab_cache *process_cache, *task_cache;

static void set_default_limits(struct process *p)
{
	for (u32 i = 0; i < RLIM_NLIMITS; i++)
		p->rlimit[i] = (struct linux_rlimit){ RLIM_INFINITY, RLIM_INFINITY };
	p->rlimit[RLIMIT_STACK].cur = 8 * MiB;
	p->rlimit[RLIMIT_CORE].cur = 0;
	p->rlimit[RLIMIT_MEMLOCK] = (struct linux_rlimit){ 8 * MiB, 8 * MiB };
	p->rlimit[RLIMIT_NPROC] = (struct linux_rlimit){ 16384, 16384 };
	p->rlimit[RLIMIT_NOFILE] = (struct linux_rlimit){ 1024, 4096 };
	p->rlimit[RLIMIT_SIGPENDING] = (struct linux_rlimit){ 1024, 1024 };
	p->rlimit[RLIMIT_MSGQUEUE] = (struct linux_rlimit){ 819200, 819200 };
	p->rlimit[RLIMIT_NICE] = (struct linux_rlimit){ 0, 0 };
	p->rlimit[RLIMIT_RTPRIO] = (struct linux_rlimit){ 0, 0 };
}

struct process *process_create(void)
{
	struct process *p = slab_zalloc(process_cache);

	if (!p)
		return NULL;
	list_init(&p->children);
	list_init(&p->sibling);
	list_init(&p->group_node);
	list_init(&p->threads);
	list_init(&p->pending.queue);
	waitq_init(&p->child_wait);
	waitq_init(&p->thread_wait);
	waitq_init(&p->stop_wait);
	spin_init(&p->child_lock, "children", RANK_FAMILY);
	spin_init(&p->sig_lock, "signal", RANK_SIGNAL);
	set_default_limits(p);
	itimer_init(p);
	p->start_ns = clock_ns();
	return p;
}

void process_free(struct process *p)
{
	kassert(p->nr_threads == 0 && !p->as && !p->exe && !p->nr_queued);
	slab_free(process_cache, p);
}

struct task *task_create(struct thread *t, struct process *p)
{
	struct task *k = slab_zalloc(task_cache);

	if (!k)
		return NULL;
	k->thread = t;
	k->proc = p;
	k->altstack.flags = SS_DISABLE;
	k->slack_ns = k->default_slack_ns = 50 * NSEC_PER_USEC; /* Linux's */
	list_init(&k->node);
	list_init(&k->pending.queue);
	waitq_init(&k->sigwait);
	return k;
}

void task_free(struct task *t)
{
	kassert(list_empty(&t->pending.queue));
	slab_free(task_cache, t);
}

void process_add_task(struct process *p, struct task *t, struct pid *pid)
{
	t->pid = pid;
	t->tid = pid->nr;
	pid->task = t;
	list_add_tail(&p->threads, &t->node);
	p->nr_threads++;
	t->thread->proc = p;
	t->thread->signals = t;
	t->thread->tid = pid->nr; /* logs and the debugger show the number that programs see */
	if (hook_on(HOOK_TRACE)) {
		trace_name_thread(pid->nr, p->nr, p->ppid, t->thread->name);
		if (t->thread == current())
			trace_rename_current(pid->nr);
	}
}

void proc_trace_map(struct file *f, u64 start, u64 end, u64 offset)
{
	char path[128];
	int len = file_path(f, path, sizeof(path));

	if (len > 0)
		trace_map(current_proc()->nr, start, end, offset, path);
}

static void leave_group(struct process *p)
{
	spin_lock(&p->group->lock);
	list_del(&p->group_node);
	spin_unlock(&p->group->lock);
	pid_put(p->group);
}

void process_join_group(struct process *p, struct pid *group)
{
	pid_get(group);
	if (p->group)
		leave_group(p);
	p->group = group;
	spin_lock(&group->lock);
	list_add_tail(&group->group, &p->group_node);
	spin_unlock(&group->lock);
}

void process_join_session(struct process *p, struct pid *session)
{
	pid_get(session);
	if (p->session)
		pid_put(p->session);
	p->session = session;
}

void process_leave_tree(struct process *p)
{
	list_del_init(&p->sibling); /* of nothing, where the list has been left */
	leave_group(p);
	pid_put(p->session);
	p->group = p->session = NULL;
	p->pid->proc = NULL;
	pid_put(p->pid);
	pid_count_process(-1);
}

bool task_is_killed(const struct task *t)
{
	return atomic_load(&t->thread->work) & THREAD_EXIT;
}

void proc_init(void)
{
	process_cache = slab_cache_create("process", sizeof(struct process), 16);
	task_cache = slab_cache_create("task", sizeof(struct task), 16);
	fs_signal_current = signal_send_self;
	vm_out_of_memory = proc_out_of_memory;
	pid_init();
	futex_init();
	session_init();
	proc_procfs_init();
	proc_audit_init();
}

void process_limit_space(const struct process *p, struct aspace *as)
{
	aspace_set_limit(as, VM_LIMIT_AS, READ_ONCE(p->rlimit[RLIMIT_AS].cur));
	aspace_set_limit(as, VM_LIMIT_DATA, READ_ONCE(p->rlimit[RLIMIT_DATA].cur));
	aspace_set_limit(as, VM_LIMIT_STACK, READ_ONCE(p->rlimit[RLIMIT_STACK].cur));
}
