/*
 * System calls: scheduling policies, priorities, nice values and affinity (sched(7)), with Linux's order
 * of checks: arguments, then the thread, then what it would become, then permission.
 *
 * proc/ keeps what programs see (struct task: policy, rt_priority, reset_on_fork), sched/ what follows
 * from it (sched_set_policy). Both change under proc_lock.
 */
#include "syscall/syscalls.h"

#include "arch/api/uaccess.h"
#include "lib/string.h"
#include "lib/uapi/resource.h"
#include "lib/uapi/sched.h"
#include "lib/uapi/time.h"
#include "proc/process.h"
#include "sched/sched.h"

s64 sys_sched_yield(void)
{
	sched_yield();
	return 0;
}

static bool is_rt(u32 policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

static bool is_fair(u32 policy) /* those that have a nice value */
{
	return policy == SCHED_NORMAL || policy == SCHED_BATCH;
}

s64 sys_sched_get_priority_max(int policy)
{
	switch (policy) {
	case SCHED_FIFO:
	case SCHED_RR: return 99;
	case SCHED_NORMAL:
	case SCHED_BATCH:
	case SCHED_IDLE:
	case SCHED_DEADLINE: return 0;
	default: return -EINVAL;
	}
}

s64 sys_sched_get_priority_min(int policy)
{
	s64 max = sys_sched_get_priority_max(policy);

	return max > 0 ? 1 : max;
}

/* proc_lock held: the thread of an id, 0 for the current one. */
static struct task *target(int tid)
{
	if (tid < 0)
		return NULL;
	return tid ? task_find((u32)tid) : current_task();
}

/* ---- permission ---- */

static bool is_privileged(void)
{
	return current_proc()->euid == 0;
}

static bool is_own(const struct task *t)
{
	const struct process *me = current_proc(), *p = t->proc;

	return me->euid == p->euid || me->euid == p->uid;
}

/* May a program without privilege have this nice value? */
static bool nice_within_limit(const struct task *t, int nice)
{
	return (u64)(20 - nice) <= t->proc->rlimit[RLIMIT_NICE].cur;
}

static int may_change(const struct task *t, const struct linux_sched_attr *a, bool reset)
{
	u64 rt_limit = t->proc->rlimit[RLIMIT_RTPRIO].cur;
	int nice = t->thread->nice;

	if (is_privileged())
		return 0;
	if (is_fair(a->policy) && a->nice < nice && !nice_within_limit(t, a->nice))
		return -EPERM;
	if (is_rt(a->policy) && a->policy != t->policy && !rt_limit)
		return -EPERM;
	if (is_rt(a->policy) && a->priority > t->rt_priority && a->priority > rt_limit)
		return -EPERM;
	if (t->policy == SCHED_IDLE && a->policy != SCHED_IDLE && !nice_within_limit(t, nice))
		return -EPERM;
	if (!is_own(t) || (t->reset_on_fork && !reset))
		return -EPERM;
	return 0;
}

/* ---- policies ---- */

#define KEEP_POLICY UINT32_MAX /* in attr.policy */

static bool is_valid(const struct linux_sched_attr *a)
{
	switch (a->policy) {
	case SCHED_NORMAL:
	case SCHED_FIFO:
	case SCHED_RR:
	case SCHED_BATCH:
	case SCHED_IDLE: break;
	default: return false; /* SCHED_DEADLINE too: docs/abi.md */
	}
	return !(a->flags & ~SCHED_FLAG_ALL) && a->priority <= 99 &&
	       is_rt(a->policy) == (a->priority != 0);
}

/* proc_lock held. */
static int set_attributes(struct task *t, struct linux_sched_attr *a)
{
	bool reset = a->flags & SCHED_FLAG_RESET_ON_FORK;

	if (a->policy == KEEP_POLICY) {
		a->policy = t->policy;
		reset = t->reset_on_fork;
	}
	if (!is_valid(a))
		return -EINVAL;
	int err = may_change(t, a, reset);
	if (err)
		return err;
	t->reset_on_fork = reset;
	if (a->flags & SCHED_FLAG_KEEP_PARAMS)
		return 0;
	t->policy = (u8)a->policy;
	t->rt_priority = (u8)a->priority;
	if (is_fair(a->policy))
		sched_set_nice(t->thread, a->nice);
	sched_set_policy(t->thread, a->policy, a->priority);
	return 0;
}

static s64 set_scheduler(int tid, u32 policy, uaddr_t uparam)
{
	struct linux_sched_param param;
	struct linux_sched_attr a = { .policy = policy };
	s64 ret = -ESRCH;

	if (tid < 0 || !uparam)
		return -EINVAL;
	if (get_user(param, uparam))
		return -EFAULT;
	a.priority = (u32)param.priority;
	if (policy != KEEP_POLICY && (policy & SCHED_RESET_ON_FORK)) {
		a.flags = SCHED_FLAG_RESET_ON_FORK;
		a.policy &= ~(u32)SCHED_RESET_ON_FORK;
	}
	u64 flags = proc_lock();
	struct task *t = target(tid);
	if (t) {
		a.nice = t->thread->nice;
		ret = set_attributes(t, &a);
	}
	proc_unlock(flags);
	return ret;
}

s64 sys_sched_setscheduler(int pid, int policy, uaddr_t param)
{
	return policy < 0 ? -EINVAL : set_scheduler(pid, (u32)policy, param);
}

s64 sys_sched_setparam(int pid, uaddr_t param)
{
	return set_scheduler(pid, KEEP_POLICY, param);
}

/* What programs may know of a thread: 0, or -EINVAL, -ESRCH. */
static int look(int tid, struct linux_sched_attr *out)
{
	if (tid < 0)
		return -EINVAL;
	*out = (struct linux_sched_attr){ 0 };
	u64 flags = proc_lock();
	struct task *t = target(tid);
	if (t) {
		out->policy = t->policy;
		out->priority = t->rt_priority;
		out->flags = t->reset_on_fork ? SCHED_FLAG_RESET_ON_FORK : 0;
		if (!is_rt(t->policy))
			out->nice = t->thread->nice;
	}
	proc_unlock(flags);
	return t ? 0 : -ESRCH;
}

s64 sys_sched_getscheduler(int pid)
{
	struct linux_sched_attr a;
	int err = look(pid, &a);

	return err ? err : (s64)(a.policy | (a.flags ? SCHED_RESET_ON_FORK : 0));
}

s64 sys_sched_getparam(int pid, uaddr_t uparam)
{
	struct linux_sched_attr a;
	struct linux_sched_param param;

	if (!uparam)
		return -EINVAL;
	int err = look(pid, &a);
	if (err)
		return err;
	param.priority = (s32)a.priority;
	return put_user(param, uparam);
}

s64 sys_sched_rr_get_interval(int pid, uaddr_t interval)
{
	struct linux_sched_attr a;
	int err = look(pid, &a);
	u64 ns = a.policy == SCHED_RR ? SCHED_RR_NS : SCHED_SLICE_NS;
	struct linux_timespec ts = { 0, a.policy == SCHED_FIFO ? 0 : (s64)ns };

	return err ? err : put_user(ts, interval);
}

/* ---- attributes ---- */

/* The size that is known here goes back to the program. */
static s64 attr_too_big(uaddr_t uattr)
{
	u32 known = sizeof(struct linux_sched_attr);

	return put_user(known, uattr) ? -EFAULT : -E2BIG;
}

/* A program's struct of its own size: what it has more than this kernel knows must be zero. */
static s64 copy_attr(struct linux_sched_attr *a, uaddr_t uattr)
{
	u32 size;
	u64 word;

	*a = (struct linux_sched_attr){ 0 };
	if (get_user(size, uattr))
		return -EFAULT;
	size = size ? size : SCHED_ATTR_SIZE_VER0;
	if (size < SCHED_ATTR_SIZE_VER0 || size > PAGE_SIZE)
		return attr_too_big(uattr);
	for (u32 at = sizeof(*a); at < size; at += sizeof(word)) {
		word = 0;
		if (copy_from_user(&word, uattr + at, MIN(size - at, (u32)sizeof(word))))
			return -EFAULT;
		if (word)
			return attr_too_big(uattr);
	}
	if (copy_from_user(a, uattr, MIN(size, (u32)sizeof(*a))))
		return -EFAULT;
	if ((a->flags & SCHED_FLAG_UTIL_CLAMP) && size < sizeof(*a))
		return -EINVAL;
	a->nice = MAX(-20, MIN(19, a->nice));
	return 0;
}

s64 sys_sched_setattr(int pid, uaddr_t uattr, u32 flags)
{
	struct linux_sched_attr a;
	s64 ret = -ESRCH;

	if (!uattr || pid < 0 || flags)
		return -EINVAL;
	s64 err = copy_attr(&a, uattr);
	if (err)
		return err;
	if ((s32)a.policy < 0)
		return -EINVAL;
	if (a.flags & SCHED_FLAG_KEEP_POLICY)
		a.policy = KEEP_POLICY;
	u64 irqs = proc_lock();
	struct task *t = target(pid);
	if (t) {
		if (a.flags & SCHED_FLAG_KEEP_PARAMS) {
			a.priority = t->rt_priority;
			a.nice = t->thread->nice;
		}
		ret = set_attributes(t, &a);
	}
	proc_unlock(irqs);
	return ret;
}

s64 sys_sched_getattr(int pid, uaddr_t uattr, u32 size, u32 flags)
{
	struct linux_sched_attr a;

	if (!uattr || pid < 0 || size > PAGE_SIZE || size < SCHED_ATTR_SIZE_VER0 || flags)
		return -EINVAL;
	int err = look(pid, &a);
	if (err)
		return err;
	if (!is_rt(a.policy))
		a.runtime = SCHED_SLICE_NS;
	a.size = MIN(size, (u32)sizeof(a));
	return copy_to_user(uattr, &a, a.size);
}

/* ---- nice ---- */

struct nice_request {
	bool set;
	int nice; /* to set; or the lowest found */
	int err;  /* -ESRCH: nobody was meant; of the last thread that might not be changed */
};

static int set_nice(struct task *t, int nice)
{
	if (!is_own(t) && !is_privileged())
		return -EPERM;
	if (nice < t->thread->nice && !is_privileged() && !nice_within_limit(t, nice))
		return -EACCES;
	sched_set_nice(t->thread, nice);
	return 0;
}

static void nice_task(struct task *t, struct nice_request *r)
{
	int err = r->set ? set_nice(t, r->nice) : 0;

	if (!r->set)
		r->nice = MIN(r->nice, (int)t->thread->nice);
	if (err || r->err == -ESRCH)
		r->err = err;
}

/* proc_lock held: all threads of a process. */
static void nice_process(struct process *p, struct nice_request *r)
{
	struct task *t;

	list_for_each(t, &p->threads, node)
		nice_task(t, r);
}

static int nice_all(int which, int who, struct nice_request *r)
{
	struct pid *group;
	struct process *p;
	struct task *t;

	if (which < PRIO_PROCESS || which > PRIO_USER)
		return -EINVAL;
	u64 flags = proc_lock();
	switch (which) {
	case PRIO_PROCESS:
		t = target(who);
		if (t)
			nice_task(t, r);
		break;
	case PRIO_PGRP:
		group = who ? pid_find((u32)who) : current_proc()->group;
		if (group)
			list_for_each(p, &group->group, group_node)
				nice_process(p, r);
		break;
	default:
		for (p = process_next(0); p; p = process_next(p->nr))
			if (p->uid == (who ? (u32)who : current_proc()->uid))
				nice_process(p, r);
	}
	proc_unlock(flags);
	return r->err;
}

/* The raw call gives 20 - nice, so that no good value is negative. */
s64 sys_getpriority(int which, int who)
{
	struct nice_request r = { .nice = 19, .err = -ESRCH };
	int err = nice_all(which, who, &r);

	return err ? err : 20 - r.nice;
}

s64 sys_setpriority(int which, int who, int nice)
{
	struct nice_request r = { .set = true, .nice = MAX(-20, MIN(19, nice)), .err = -ESRCH };

	return nice_all(which, who, &r);
}

/* ---- CPUs ---- */

/* Bytes of the sets that programs see: whole words, of the CPUs that are up. */
static u32 cpuset_bytes(void)
{
	return (nr_cpus + 63) / 64 * (u32)sizeof(u64);
}

static void keep_present(struct cpuset *s)
{
	for (u32 cpu = 0; cpu < CPUSET_WORDS * 64; cpu++)
		if (cpu >= nr_cpus)
			s->word[cpu / 64] &= ~(1ul << (cpu % 64));
}

static bool is_empty(const struct cpuset *s)
{
	for (u32 i = 0; i < CPUSET_WORDS; i++)
		if (s->word[i])
			return false;
	return true;
}

s64 sys_sched_setaffinity(int pid, u32 size, uaddr_t umask)
{
	struct cpuset set = { 0 };
	struct thread *thread = NULL;
	s64 ret = -ESRCH;

	if (copy_from_user(&set, umask, MIN(size, (u32)sizeof(set))))
		return -EFAULT;
	keep_present(&set);
	u64 flags = proc_lock();
	struct task *t = target(pid);
	if (t)
		ret = !is_own(t) && !is_privileged() ? -EPERM : is_empty(&set) ? -EINVAL : 0;
	if (!ret) {
		thread = t->thread;
		thread_get(thread);
	}
	proc_unlock(flags);
	if (!thread)
		return ret;
	sched_set_affinity(thread, &set);
	thread_put(thread);
	return 0;
}

s64 sys_sched_getaffinity(int pid, u32 size, uaddr_t umask)
{
	struct cpuset set;

	if (size < cpuset_bytes() ||
	    size % sizeof(u64)) /* Linux asks for the bits only, then for words */
		return -EINVAL;
	u64 flags = proc_lock();
	struct task *t = target(pid);
	if (t)
		sched_affinity(t->thread, &set);
	proc_unlock(flags);
	if (!t)
		return -ESRCH;
	keep_present(&set);
	return copy_to_user(umask, &set, cpuset_bytes()) ? -EFAULT : (s64)cpuset_bytes();
}

s64 sys_getcpu(uaddr_t ucpu, uaddr_t unode, uaddr_t unused)
{
	u32 cpu = cpu_id(), node = 0;

	if (ucpu && put_user(cpu, ucpu))
		return -EFAULT;
	return unode && put_user(node, unode) ? -EFAULT : 0;
}

/* Command 0 asks which others there are: none. */
s64 sys_membarrier(int command, u32 flags, int cpu)
{
	return command == 0 && flags == 0 ? 0 : -EINVAL;
}
