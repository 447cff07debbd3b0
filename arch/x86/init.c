/* The machine's steps of the boot that need memory. */
#include "arch/api/init.h"

#include "arch/x86/desc.h"
#include "arch/x86/fpu.h"
#include "lib/kassert.h"
#include "mm/kmap.h"

extern char boot_stack_guard[];

void arch_init_memory_done(void *(*stack_alloc)(const char *name))
{
	static const char *const name[NR_IST] = { "#DF", "NMI", "#MC" };
	u64 top[NR_IST];

	for (unsigned i = 0; i < NR_IST; i++) {
		top[i] = (u64)stack_alloc(name[i]);
		if (!top[i])
			panic("no memory for the %s stack", name[i]);
	}
	desc_set_ist(top);
	if (unmap_page((u64)boot_stack_guard, PAGE_SIZE))
		panic("the boot stack's guard page cannot be unmapped");
	fpu_cpu_init();
	fpu_init();
}
