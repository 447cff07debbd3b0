/* Page faults of the running program: the upcall of arch/api/upcall.h. */
#include "mm/aspace.h"
#include "sched/thread.h"

int vm_fault_current(uaddr_t va, enum fault_access access)
{
	struct aspace *as = current()->as;

	return as ? vm_fault(as, va, access) : 1 /* SEGV_MAPERR */;
}
