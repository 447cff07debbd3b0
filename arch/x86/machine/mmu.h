#pragma once

static inline void mmu_check_unreachable(pfn_t pfn)
{
	(void)pfn;
}
