/*
 * Fibers: stacks of their own in one host thread, switched without the system. They stand for kernel
 * threads and for the boot stacks of simulated CPUs. AddressSanitizer and ThreadSanitizer are told
 * of each switch.
 */
#pragma once

#include "lib/types.h"

/* A stack with a guard page below, for `owner`: its top. NULL: no memory. Stacks are reused. */
void *host_stack_alloc(const char *owner);
void host_stack_free(void *top);
u64 host_stacks_in_use(void);

/* The fiber that runs entry(arg), which must not return, on the stack with that top. */
struct host_fiber *host_fiber_init(void *top, void (*entry)(void *arg), void *arg);

/* The host thread's own stack as a fiber, to come back to. */
struct host_fiber *host_fiber_self(void);

/*
 * Leaves `from`, which runs, for `to`. ordered: what the one did happens before what the other
 * does, as on one CPU; else ThreadSanitizer takes them for parallel, as on two.
 */
void host_fiber_switch(struct host_fiber *from, struct host_fiber *to, bool ordered);

/* What f did so far happens before what `now`, which runs, does from here on. */
void host_fiber_join(struct host_fiber *now, struct host_fiber *f);
