/* The machine's own steps of the boot, called by init/main.c in its order. */
#pragma once

/*
 * After frames and objects: exception stacks of their own with guard pages, the FPU, the guard
 * page under the boot stack. stack_alloc gives a stack's top for a name, or NULL.
 */
void arch_init_memory_done(void *(*stack_alloc)(const char *name));
