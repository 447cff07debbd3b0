/* x86-64 page-table entries: Intel SDM volume 3, section 4.5 (tables 4-15 to 4-20). */
#pragma once

#define PTE_PRESENT  (1ul << 0)
#define PTE_WRITE    (1ul << 1)
#define PTE_USER     (1ul << 2)
#define PTE_PWT      (1ul << 3)
#define PTE_PCD      (1ul << 4)
#define PTE_ACCESSED (1ul << 5)
#define PTE_DIRTY    (1ul << 6)
#define PTE_LARGE    (1ul << 7) /* levels 2 and 3; at level 1 this bit selects the upper PAT half */
#define PTE_GLOBAL   (1ul << 8)
#define PTE_NOEXEC   (1ul << 63)
#define PTE_ADDR     0x000ffffffffff000ul

/* Ignored by the hardware: 9-11 and 52-58. (59-62 are the protection key where CR4.PKE is on.) */
#define PTE_SOFT(n) (1ul << ((n) < 3 ? 9 + (n) : 49 + (n)))

#define PTE_TABLE  (PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED)
#define PTE_KTABLE (PTE_PRESENT | PTE_WRITE | PTE_ACCESSED)

/*
 * Entry 3 of the PAT (PCD and PWT) is UC from reset on; arch/x86/mmu.c makes entry 4 (the PAT bit
 * alone) write combining. The PAT bit is 7 in a 4 KiB leaf and 12 in a larger one.
 */
static inline u64 pte_cache_bits(bool uncached, bool wc, unsigned level)
{
	if (uncached)
		return PTE_PCD | PTE_PWT;
	if (wc)
		return level == 1 ? 1ul << 7 : 1ul << 12;
	return 0;
}
