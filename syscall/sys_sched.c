/*
 * System calls: scheduling policies and priorities (sched(7)).
 *
 * SCHED_FIFO and SCHED_RR of priority p are level 99 - p of the run queue; SCHED_OTHER is level
 * 110, BATCH and IDLE lie behind it. The nice value sets the length of a slice.
 */
#include "syscall/syscalls.h"

#include "arch/api/uaccess.h"
#include "lib/string.h"
#include "lib/uapi/resource.h"
#include "lib/uapi/sched.h"
#include "lib/uapi/time.h"
#include "proc/process.h"
#include "sched/sched.h"

#define SCHED_LEVEL_IDLE 126

s64 sys_sched_yield(void)
{
	sched_yield();
	return 0;
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
	return tid ? task_find((u32)tid) : current_task();
}

static bool valid(int policy, int priority)
{
	switch (policy) {
	case SCHED_FIFO:
	case SCHED_RR: return priority >= 1 && priority <= 99;
	case SCHED_NORMAL:
	case SCHED_BATCH:
	case SCHED_IDLE: return priority == 0;
	default: return false;
	}
}

static void apply(struct task *t, int policy, int priority)
{
	unsigned level = SCHED_LEVEL_NORMAL;

	if (policy == SCHED_FIFO || policy == SCHED_RR)
		level = 99u - (unsigned)priority;
	else if (policy == SCHED_BATCH)
		level = SCHED_LEVEL_BATCH;
	else if (policy == SCHED_IDLE)
		level = SCHED_LEVEL_IDLE;
	t->policy = (u8)policy;
	t->rt_priority = (u8)priority;
	sched_set_level(t->thread, level, policy == SCHED_FIFO);
}

/* policy -1: as it is. */
static s64 set_scheduler(int tid, int policy, uaddr_t uparam)
{
	struct linux_sched_param param;
	struct task *t;
	u64 flags;
	s64 ret = 0;

	if (tid < 0 || !uparam)
		return -EINVAL;
	if (get_user(param, uparam))
		return -EFAULT;
	if (policy >= 0)
		policy &= ~SCHED_RESET_ON_FORK;
	flags = spin_lock_irqsave(&proc_lock);
	t = target(tid);
	if (!t)
		ret = -ESRCH;
	else if (policy < 0)
		policy = t->policy;
	if (!ret && !valid(policy, param.priority))
		ret = -EINVAL;
	else if (!ret && current_proc()->euid != 0 && param.priority > 0)
		ret = -EPERM;
	if (!ret)
		apply(t, policy, param.priority);
	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}

s64 sys_sched_setscheduler(int pid, int policy, uaddr_t param)
{
	return policy < 0 ? -EINVAL : set_scheduler(pid, policy, param);
}

s64 sys_sched_setparam(int pid, uaddr_t param)
{
	return set_scheduler(pid, -1, param);
}

/* Policy and priority of a thread: policy, or -ESRCH. */
static s64 look(int tid, u8 *priority)
{
	u64 flags;
	struct task *t;
	s64 ret = -ESRCH;

	if (tid < 0)
		return -EINVAL;
	flags = spin_lock_irqsave(&proc_lock);
	t = target(tid);
	if (t) {
		*priority = t->rt_priority;
		ret = t->policy;
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}

s64 sys_sched_getscheduler(int pid)
{
	u8 priority;

	return look(pid, &priority);
}

s64 sys_sched_getparam(int pid, uaddr_t uparam)
{
	u8 priority;
	s64 policy = look(pid, &priority);
	struct linux_sched_param param;

	if (!uparam)
		return -EINVAL;
	if (policy < 0)
		return policy;
	param.priority = priority;
	return put_user(param, uparam);
}

s64 sys_sched_rr_get_interval(int pid, uaddr_t interval)
{
	u8 priority;
	s64 policy = look(pid, &priority);
	struct linux_timespec ts = { 0, policy == SCHED_FIFO ? 0 : (s64)SCHED_SLICE_NS };

	return policy < 0 ? policy : put_user(ts, interval);
}

/* ---- nice ---- */

static void nice_task(struct task *t, int *nice, bool set)
{
	if (set)
		sched_set_nice(t->thread, *nice);
	else
		*nice = MIN(*nice, (int)t->thread->nice);
}

/* proc_lock held: all threads of a process. */
static void nice_process(struct process *p, int *nice, bool set)
{
	struct task *t;

	list_for_each(t, &p->threads, node)
		nice_task(t, nice, set);
}

/* Sets, or finds the lowest nice value of those meant. -ESRCH: nobody. */
static int nice_all(int which, int who, int *nice, bool set)
{
	struct pid *group;
	struct process *p;
	struct task *t;
	int err = -ESRCH;

	switch (which) {
	case PRIO_PROCESS:
		t = target(who);
		if (t) {
			nice_task(t, nice, set);
			err = 0;
		}
		return err;
	case PRIO_PGRP:
		group = who ? pid_find((u32)who) : current_proc()->group;
		if (group)
			list_for_each(p, &group->group, group_node) {
				nice_process(p, nice, set);
				err = 0;
			}
		return err;
	case PRIO_USER:
		for (p = process_next(0); p; p = process_next(p->nr))
			if (p->uid == (who ? (u32)who : current_proc()->uid)) {
				nice_process(p, nice, set);
				err = 0;
			}
		return err;
	default: return -EINVAL;
	}
}

/* The raw call gives 20 - nice, so that no good value is negative. */
s64 sys_getpriority(int which, int who)
{
	int nice = 19, err;
	u64 flags = spin_lock_irqsave(&proc_lock);

	err = nice_all(which, who, &nice, false);
	spin_unlock_irqrestore(&proc_lock, flags);
	return err ? err : 20 - nice;
}

s64 sys_setpriority(int which, int who, int nice)
{
	int err;
	u64 flags;

	nice = MAX(-20, MIN(19, nice));
	if (nice < current()->nice && current_proc()->euid != 0)
		return -EACCES;
	flags = spin_lock_irqsave(&proc_lock);
	err = nice_all(which, who, &nice, true);
	spin_unlock_irqrestore(&proc_lock, flags);
	return err;
}

/* ---- CPUs ---- */

static u64 cpus_present(void)
{
	return nr_cpus >= 64 ? UINT64_MAX : (1ull << nr_cpus) - 1;
}

s64 sys_sched_setaffinity(int pid, u32 size, uaddr_t umask)
{
	u64 mask = 0, flags;
	struct task *t;
	s64 ret = 0;

	if (copy_from_user(&mask, umask, MIN(size, (u32)sizeof(mask))))
		return -EFAULT;
	if (!(mask & cpus_present()))
		return -EINVAL;
	flags = spin_lock_irqsave(&proc_lock);
	t = target(pid);
	if (t)
		t->affinity = mask;
	else
		ret = -ESRCH;
	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}

s64 sys_sched_getaffinity(int pid, u32 size, uaddr_t umask)
{
	u64 mask = 0, flags;
	struct task *t;

	if (size < sizeof(mask) || size % sizeof(u64))
		return -EINVAL;
	flags = spin_lock_irqsave(&proc_lock);
	t = target(pid);
	if (t)
		mask = t->affinity & cpus_present();
	spin_unlock_irqrestore(&proc_lock, flags);
	if (!t)
		return -ESRCH;
	return copy_to_user(umask, &mask, sizeof(mask)) ? -EFAULT : (s64)sizeof(mask);
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
