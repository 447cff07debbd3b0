/* The machine's steps of the boot that need memory. */
#include "arch/api/init.h"

#include "arch/x86/desc.h"
#include "arch/x86/fpu.h"
#include "arch/x86/smp.h"
#include "lib/err.h"
#include "lib/kassert.h"
#include "mm/kmap.h"

extern char boot_stack_guard[];

static void *(*stack_allocator)(const char *name); /* [I] */

int ist_stacks_alloc(u64 top[NR_IST])
{
	static const char *const name[NR_IST] = { "#DF", "NMI", "#MC" };

	for (unsigned i = 0; i < NR_IST; i++) {
		top[i] = (u64)stack_allocator(name[i]);
		if (!top[i])
			return -ENOMEM; /* what was taken is lost: the machine is very small */
	}
	return 0;
}

void arch_init_memory_done(void *(*stack_alloc)(const char *name))
{
	u64 top[NR_IST];

	stack_allocator = stack_alloc;
	if (ist_stacks_alloc(top))
		panic("no memory for the exception stacks");
	desc_set_ist(top);
	if (unmap_page((u64)boot_stack_guard, PAGE_SIZE))
		panic("the boot stack's guard page cannot be unmapped");
	fpu_cpu_init();
	fpu_init();
}
