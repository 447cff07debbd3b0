/*
 * The lock of the process tree, in two strengths.
 *
 * proc_lock: nobody else is in the tree. For whoever looks at processes that are not his own, or changes what
 * several of them have in common: kill, setpgid, /proc, the end of a parent.
 *
 * proc_enter: I am in the tree, with what is mine, and so may others be, one a CPU. For what every process does:
 * fork, exit, wait. Those keep clear of each other by locks of their own (proc/process.h), so that unrelated
 * processes have none in common. What only proc_lock changes stands still inside as well.
 *
 *	proc_enter                               proc_lock
 *	  my CPU's lock                            the lock       (each a locked instruction, so
 *	                                                            a full barrier)
 *	  the lock free? then I am inside          each CPU's lock free? else wait for that
 *	  else: release mine, take the lock,
 *	  take mine, release the lock
 *
 * Whoever is second sees the other. Nobody but its own CPU takes a CPU's lock, so that it is never waited for in
 * proc_enter; proc_lock costs a look at each CPU, which the frequent ways do not pay. (To release the lock and look again
 * would not do: CPUs that do so keep each other in line for ever.)
 */
#include "proc/process.h"

static spinlock_t alone = SPINLOCK_INIT("proc", RANK_PROC);
static DEFINE_PER_CPU_SHARED_INIT(spinlock_t, inside, SPINLOCK_INIT("proc_inside", RANK_INSIDE));

u64 proc_lock(void)
{
	u64 flags = spin_lock_irqsave(&alone);

	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		spin_await(per_cpu_ptr(&inside, cpu));
	return flags;
}

void proc_unlock(u64 flags)
{
	spin_unlock_irqrestore(&alone, flags);
}

u64 proc_enter(void)
{
	u64 flags = irq_save();
	spinlock_t *mine = this_cpu_ptr(&inside);

	spin_lock(mine);
	if (unlikely(spin_is_locked(&alone))) {
		spin_release(mine);
		spin_acquire(&alone); /* in line with the others */
		spin_acquire(mine);
		spin_release(&alone);
	}
	return flags;
}

void proc_leave(u64 flags)
{
	spin_unlock_irqrestore(this_cpu_ptr(&inside), flags);
}

bool proc_is_locked(void)
{
	bool locked = spin_is_locked(&alone);

	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		locked |= spin_is_locked(per_cpu_ptr(&inside, cpu));
	return locked;
}
