/*
 * Threads of the host are fibers: stacks of their own, switched in user space by arch/host/fiber.c,
 * which tells the sanitizers. There is no user mode, hence no user state.
 */
#pragma once

struct host_fiber;
struct thread;

struct arch_thread {
	struct host_fiber *fiber; /* NULL: a boot thread that has not been switched from yet */
};

/* On the simulated CPU that calls: arch/host/sim.c. */
struct thread *ctx_switch(struct thread *prev, struct arch_thread *from, struct arch_thread *to,
			  unsigned why);

static inline void ctx_switch_user(struct arch_thread *next)
{
}

static inline void ctx_leave_user(struct arch_thread *prev)
{
}
