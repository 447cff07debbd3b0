/* The memory of threads: structs and guarded kernel stacks, given to sched/ through sched/memory.h. */
#pragma once

/* After slab_init and kmap_init, before sched_init. */
void kstack_init(void);

/* A guarded stack of KSTACK_SIZE: its top, or NULL. owner must stay valid: it names the stack. */
void *kstack_alloc(const char *owner);

/* Unmaps the stacks that are kept for reuse. With interrupts on; waits for other CPUs. */
void kstack_drain(void);
