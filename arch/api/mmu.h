/*
 * What mm/ asks of the processor's memory management unit. mm/tlb.c is the only caller of the
 * flushes and of mmu_load_root: everybody else uses mm/tlb.h.
 */
#pragma once

#include "lib/types.h"

/* Paging features of this CPU: write-protect in kernel mode, NX, global pages, SMEP, SMAP, UMIP,
 * PCID, PAT, each where CPUID has it. Boot tables are in use, interrupts off. Once per CPU. */
void mmu_cpu_init(void);

/* The highest level whose entries may be leaves: 3 with 1 GiB pages, else 2. */
unsigned mmu_max_leaf_level(void);

/*
 * Translation contexts of one CPU beside each other (PCIDs that we use), at least 1. Context 0 is
 * used when there is only one; loading it then forgets everything but global translations.
 */
#define MMU_MAX_CONTEXTS 6
extern unsigned mmu_context_count; /* [I] after the first CPU's mmu_cpu_init */
static inline unsigned mmu_contexts(void)
{
	return mmu_context_count;
}

/*
 * Makes root the current table under a context number below mmu_contexts(). keep: translations
 * cached under that context stay valid (the caller knows that they are this space's, and current);
 * else they are forgotten. Interrupts off.
 */
void mmu_load_root(paddr_t root, unsigned context, bool keep);

/* The root that this CPU uses. */
paddr_t mmu_current_root(void);

/* Forgets the translation of one page: in the current context, and global ones; and all cached
 * upper-level entries of the current context. */
void mmu_flush_page(u64 va);
/* Forgets all of the current context but global translations. */
void mmu_flush_context(void);
/* Forgets everything of every context, global translations too. */
void mmu_flush_all(void);

/*
 * The shootdown hook: has the CPUs in the mask (bit n: CPU n; may contain this one, which is left
 * out; a NULL mask: all CPUs) call fn(arg) with interrupts off, and waits until all have. The
 * pointer is NULL until several CPUs run.
 */
extern void (*mmu_shootdown)(const u64 *cpu_mask, void (*fn)(void *arg), void *arg);

/*
 * Called for each frame just before mm/ gives it up (a page or a table): the host's simulated
 * machine checks that no CPU can reach it any more through its caches. Nothing on real machines.
 *
 *	void mmu_check_unreachable(pfn_t pfn)
 *	void mmu_check_unreachable_block(pfn_t pfn, u64 n)	n frames from pfn on
 *
 * and the parts of the kernel's image, for its mapping:
 */
struct kernel_section {
	u64 va_start, va_end; /* page aligned */
	paddr_t pa;
	unsigned kmap_flags; /* KMAP_* of mm/kmap.h */
};
/* Terminated by an entry with va_end 0. */
const struct kernel_section *mmu_kernel_sections(void);

#include "machine/mmu.h"
