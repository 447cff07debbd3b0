/* Starting processors: what arch/x86 alone needs. See arch/api/smp.h. */
#pragma once

#include "arch/x86/desc.h"
#include "lib/types.h"

/* All that a processor needs to know of itself. start.S reads the first three. */
struct ap_start {
	u64 cr3, stack_top, percpu;
	u64 ist_top[NR_IST];
	u32 step; /* [a] enum ap_step */
};

extern char ap_trampoline[], ap_trampoline_end[];

/* Called by start.S. */
__noreturn void ap_main(struct ap_start *start);

/* Guarded stacks for the exceptions that need their own. 0 or -ENOMEM. */
int ist_stacks_alloc(u64 top[NR_IST]);
