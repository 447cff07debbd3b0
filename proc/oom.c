/*
 * Out of memory in a page fault: a call can say ENOMEM, a fault cannot. So one process is killed: the
 * one with the most pages in memory, pid 1 only when there is no other. The thread that had the
 * fault waits until the victim is gone, and tries again; if it is the victim itself, its fault fails
 * and it dies on the way back to user mode.
 *
 * One victim at a time: while one is dying, everybody else who lacks memory naps and tries again. A
 * victim that does not get away (it may wait for a lock that somebody out of memory holds) is
 * given up after a second.
 *
 * Nothing here allocates.
 */
#include "proc/internal.h"

#include "lib/klog.h"
#include "lib/string.h"
#include "mm/aspace.h"
#include "sched/sched.h"
#include "time/clock.h"

#define WAIT_NS  (2 * (NSEC_PER_SEC / 1000))
#define PATIENCE (NSEC_PER_SEC / WAIT_NS)

static atomic_t choosing; /* [a] 1: a thread chooses, or waits for its choice to end */

/* Is this process still there, with memory to give back? */
static bool has_memory(u32 nr)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct process *p = process_find(nr);
	bool ret = p && p->as;

	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}

/* Resident pages of the first process above *nr that has memory; *nr becomes its. False: no more. */
static bool next_size(u32 *nr, u64 *pages)
{
	struct aspace_stats st;
	struct aspace *as = NULL;
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct process *p = process_next(*nr);

	while (p && (!p->as || p->group_exit))
		p = process_next(p->nr);
	if (p) {
		*nr = p->nr;
		as = p->as;
		aspace_get(as);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	if (!as)
		return false;
	aspace_stats(as, &st);
	aspace_put(as);
	*pages = st.resident;
	return true;
}

static u32 choose(u64 *pages)
{
	u32 best = 0;
	u64 size = 0;

	*pages = 0;
	for (u32 nr = 0; next_size(&nr, &size);) {
		if (best && (nr == 1 || (best != 1 && size <= *pages)))
			continue;
		best = nr;
		*pages = size;
	}
	return best;
}

static void kill(u32 nr, u64 pages)
{
	struct linux_siginfo info;
	u64 flags;
	struct process *p;
	char name[16] = "?";

	signal_info_kernel(&info, SIGKILL);
	flags = spin_lock_irqsave(&proc_lock);
	p = process_find(nr);
	if (p) {
		struct task *t = list_first(&p->threads, struct task, node);

		if (t)
			memcpy(name, t->thread->name, sizeof(name));
		signal_send(p, NULL, &info);
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	log_err("out of memory: killed process %u (%s) with %lu KiB of memory\n", nr, name,
		pages * (PAGE_SIZE / KiB));
}

/* Naps. False: this process is to die. */
static bool nap(void)
{
	if (sched_sleep_until(clock_ns() + WAIT_NS))
		sched_yield(); /* a signal ended it: it would end the next, too */
	return !task_is_killed(current_task());
}

bool proc_out_of_memory(void)
{
	u64 pages;
	u32 victim;

	if (!current_proc() || task_is_killed(current_task()))
		return false;
	if (atomic_exchange(&choosing, 1u))
		return nap();
	victim = choose(&pages);
	if (victim)
		kill(victim, pages);
	for (u32 i = 0; victim && victim != current_proc()->nr && i < PATIENCE; i++)
		if (!has_memory(victim) || !nap())
			break;
	atomic_store(&choosing, 0u);
	return victim && victim != current_proc()->nr && !task_is_killed(current_task());
}
