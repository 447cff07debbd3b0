/*
 * Out of memory in a page fault: a call can say ENOMEM, a fault cannot. So one process is killed: the
 * one with the most pages in memory, those of its page tables too, pid 1 only when there is no other. Whoever
 * had the fault naps, and tries again; if the victim is his own process, the fault fails and he dies on the way
 * back to user mode.
 *
 * One victim at a time, whoever it is: as long as it is there, everybody else who lacks memory naps and
 * tries again. A victim that does not get away (it may wait for a lock that somebody out of memory
 * holds) is given up after three seconds. Whose attempt failed before the victim had gone may get here only
 * behind it: so nobody chooses before he has tried once more since the last victim's end.
 *
 * Nothing here allocates.
 */
#include "proc/internal.h"

#include "lib/klog.h"
#include "lib/string.h"
#include "mm/aspace.h"
#include "sched/sched.h"
#include "time/clock.h"

#define WAIT_NS     (2 * NSEC_PER_MSEC)
#define PATIENCE_NS (3 * NSEC_PER_SEC)

static atomic_t choosing; /* [a] 1: a thread looks at what follows. Nobody waits for that: */
static u32 victim;        /* [choosing] who was killed last, and may still be there; 0: nobody */
static u64 give_up;       /* [choosing] when he is given up */
static u32 ended;         /* [choosing] victims that are gone, or were given up */

/*
 * Is this process still there, with memory to give back? It lets go of its space before the pages
 * come back, and is a zombie after that: who asked for the space would take the next victim in between.
 */
static bool has_memory(u32 nr)
{
	u64 flags = proc_lock();
	struct process *p = process_find(nr);
	bool ret = p && !p->zombie;

	proc_unlock(flags);
	return ret;
}

/* What the first process above *nr that has memory would give back; *nr becomes its. False: no more. */
static bool next_size(u32 *nr, u64 *pages)
{
	struct aspace_stats st;
	struct aspace *as = NULL;
	u64 flags = proc_lock();
	struct process *p = process_next(*nr);

	while (p && (!p->as || READ_ONCE(p->group_exit)))
		p = process_next(p->nr);
	if (p) {
		*nr = p->nr;
		as = p->as;
		aspace_get(as);
	}
	proc_unlock(flags);
	if (!as)
		return false;
	aspace_stats(as, &st);
	aspace_put(as);
	/* Who reads here and there has hardly anything but tables. */
	*pages = st.resident + st.tables;
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
	flags = proc_lock();
	p = process_find(nr);
	if (p) {
		struct task *t = list_first(&p->threads, struct task, node);

		if (t)
			memcpy(name, t->thread->name, sizeof(name));
		signal_send(p, NULL, &info);
	}
	proc_unlock(flags);
	if (!p)
		return; /* it has ended meanwhile */
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

/* Waits for the last victim, or takes the next. False: there is none. choosing held. */
static bool sacrifice(struct task *t)
{
	u64 pages;

	if (victim && has_memory(victim) && clock_ns() < give_up)
		return true;
	if (victim)
		ended++;
	victim = 0;
	if (t->oom_seen != ended) {
		t->oom_seen = ended;
		return true;
	}
	victim = choose(&pages);
	if (task_is_killed(t))
		victim = 0; /* then what it counted was not all */
	if (victim)
		kill(victim, pages);
	give_up = clock_ns() + PATIENCE_NS;
	return victim != 0;
}

bool proc_out_of_memory(void)
{
	struct task *t = current_task();

	if (!current_proc() || task_is_killed(t))
		return false;
	if (!atomic_exchange(&choosing, 1u)) {
		bool again = sacrifice(t);

		atomic_store(&choosing, 0u);
		if (!again)
			return false;
	}
	return nap();
}
