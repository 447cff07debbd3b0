/* Messages between CPUs: no second CPU is started yet. */
#include "arch/api/ipi.h"

#include "lib/kassert.h"

void ipi_reschedule(u32 cpu)
{
	panic("an IPI to CPU %u, which does not run", cpu);
}
