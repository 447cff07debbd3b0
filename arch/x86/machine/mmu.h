#pragma once

static inline void mmu_check_unreachable(pfn_t pfn)
{
	(void)pfn;
}

static inline void mmu_check_unreachable_block(pfn_t pfn, u64 n)
{
	(void)pfn;
	(void)n;
}
