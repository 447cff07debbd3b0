/*
 * The machine's translation hardware, for bench/native: there is none. Flushes and loads of CR3 cost
 * nothing here, and nothing checks that they happen; arch/host/mmu.c does that, in the host tests.
 */
#include "arch/api/mmu.h"

#include <stddef.h>

static paddr_t root;

void (*mmu_shootdown)(const u64 *cpu_mask, void (*fn)(void *arg), void *arg);

void mmu_cpu_init(void)
{
}

unsigned mmu_max_leaf_level(void)
{
	return 3;
}

unsigned mmu_context_count = 1;

void mmu_load_root(paddr_t pa, unsigned context, bool keep)
{
	root = pa;
}

paddr_t mmu_current_root(void)
{
	return root;
}

void mmu_flush_page(u64 va)
{
}

void mmu_flush_context(void)
{
}

void mmu_flush_all(void)
{
}

const struct kernel_section *mmu_kernel_sections(void)
{
	static const struct kernel_section none = { 0 };

	return &none;
}

void mmu_check_unreachable(pfn_t pfn)
{
}

int host_mmu_access(u64 va, enum fault_access access, bool user, paddr_t *pa)
{
	return -1;
}
