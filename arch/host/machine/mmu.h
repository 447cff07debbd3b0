/*
 * The simulated machine's side of arch/api/mmu.h: accesses through the software walker of
 * arch/host/mmu.c, for tests.
 */
#pragma once

#include "arch/api/percpu.h"
#include "arch/api/upcall.h"

void mmu_check_unreachable(pfn_t pfn);
void mmu_check_unreachable_block(pfn_t pfn, u64 n);

/*
 * An access of this host thread's simulated CPU. user: from user mode. 0 and the physical address,
 * or -1: a page fault (the caches forget that page, as the processor does).
 */
int host_mmu_access(u64 va, enum fault_access access, bool user, paddr_t *pa);

/* The processor reads ahead: caches what the tables say of va, changes no A bit beyond that, never
 * faults. */
void host_mmu_speculate(u64 va);

/* Every translation and upper-level entry cached under the current context of each CPU must allow
 * no more than the tables in memory. Panics with the difference; returns entries checked. */
u64 host_mmu_audit(void);

/* Several simulated CPUs run beside each other: what a context holds that is loaded again may be
 * behind for a moment. */
extern bool host_mmu_crowded;
/* This CPU runs a kernel thread: it makes no access of its own through the space's translations. */
extern bool host_mmu_lazy[NR_CPUS];

/* Forgets everything, counters too (a new test). */
void host_mmu_reset(void);
void host_mmu_set_contexts(unsigned n);

/* Flush instructions executed by all CPUs. */
struct host_mmu_counts {
	u64 page, context, all, root_loads, walks, hits;
};
extern struct host_mmu_counts host_mmu_counts;
