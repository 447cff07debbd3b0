/*
 * Page faults of the running program: the upcall of arch/api/upcall.h. Without memory it asks proc/,
 * through a pointer, to make some.
 */
#include "mm/aspace.h"
#include "sched/thread.h"

bool (*vm_out_of_memory)(void);

int vm_fault_current(uaddr_t va, enum fault_access access)
{
	struct aspace *as = current()->as;
	int ret = as ? vm_fault(as, va, access) : 1 /* SEGV_MAPERR */;

	while (unlikely(ret & FAULT_OOM) && vm_out_of_memory && vm_out_of_memory())
		ret = vm_fault(as, va, access);
	return ret & ~FAULT_OOM;
}
