/*
 * A look at the running program's memory from any context, an interrupt's, too: for the profiler.
 * Reads what is in memory, changes nothing, and takes no lock: the walk goes down as pt_lock's does,
 * with preemption off, while which no table is freed.
 */
#include "mm/aspace.h"

#include "arch/api/uaccess.h"
#include "mm/pt.h"
#include "mm/space.h"
#include "mm/tlb.h"

bool vm_peek(u64 va, u64 *out)
{
	struct aspace *as = this_cpu_read(active_space);
	pte_t *table;
	pte_t e;

	if (!as || (u64)as & SPACE_LAZY || va >= USER_TOP || !IS_ALIGNED(va, sizeof(u64)))
		return false;
	table = as->root;
	for (unsigned level = PT_LEVELS; level > 0; level--) {
		e = pte_load(&table[pt_index(va, level)]);
		if (!pte_is_present(e))
			return false;
		if (!pte_is_table(e, level)) {
			u64 pa = pte_pa(e, level).v | (va & (pt_span(level) - 1));

			*out = *(const u64 *)phys_to_virt(PADDR(pa));
			return true;
		}
		table = phys_to_virt(pte_pa(e, 1));
	}
	return false;
}
