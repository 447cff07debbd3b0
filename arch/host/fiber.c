/*
 * See fiber.h. A stack is one mapping: a guard page, STACK_BYTES, and at its very end the struct
 * host_fiber, to which the stack's top points. Free stacks keep their mapping.
 */
#define _GNU_SOURCE
#include "arch/host/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include "lib/kassert.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
/* The build says HOST_TSAN; this file itself is compiled without ThreadSanitizer. */
#ifdef HOST_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define STACK_BYTES (256 * KiB) /* of the sanitizers' large frames */

/*
 * ThreadSanitizer's contexts are dear to make, but each thread, which never returns, leaves some frames
 * on its context's own stack.
 */
#define CONTEXT_USES 1000

struct host_fiber {
	void *sp; /* while it does not run */
	void *bottom;
	size_t size;
	void *fake_stack; /* AddressSanitizer's */
	void *context;    /* ThreadSanitizer's */
	void (*entry)(void *arg);
	void *arg;
	bool running; /* on some CPU */
	u32 uses;
	struct host_fiber *next_free;
};

static struct host_fiber *free_fibers;
static u64 in_use;

/* Saves what a function must keep, changes stacks, restores; returns on the other stack. */
void host_fiber_swap(void **save, void *to);
__asm__(".text\n"
	".globl host_fiber_swap\n"
	".type host_fiber_swap, @function\n"
	"host_fiber_swap:\n"
	"	pushq %rbp\n	pushq %rbx\n	pushq %r12\n"
	"	pushq %r13\n	pushq %r14\n	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n	popq %r14\n	popq %r13\n"
	"	popq %r12\n	popq %rbx\n	popq %rbp\n"
	"	ret\n"
	".size host_fiber_swap, . - host_fiber_swap\n"
	".globl host_fiber_thunk\n"
	".type host_fiber_thunk, @function\n"
	"host_fiber_thunk:\n"
	"	movq %rbx, %rdi\n"
	"	call host_fiber_main\n"
	".size host_fiber_thunk, . - host_fiber_thunk\n");

static void before_switch(struct host_fiber *from, struct host_fiber *to, bool ordered)
{
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->size);
#endif
#ifdef HOST_TSAN
	__tsan_switch_to_fiber(to->context, ordered ? 0 : __tsan_switch_to_fiber_no_sync);
#endif
}

static void after_switch(struct host_fiber *now)
{
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(now->fake_stack, NULL, NULL);
#endif
}

void host_fiber_switch(struct host_fiber *from, struct host_fiber *to, bool ordered)
{
	if (!to || to->running)
		panic("host: switch to a thread that %s", to ? "runs on another CPU" : "never ran");
	to->running = true;
	from->running = false;
	before_switch(from, to, ordered);
	host_fiber_swap(&from->sp, to->sp);
	after_switch(from);
}

void host_fiber_join(struct host_fiber *now, struct host_fiber *f)
{
#ifdef HOST_TSAN
	__tsan_switch_to_fiber(f->context, __tsan_switch_to_fiber_no_sync);
	__tsan_switch_to_fiber(now->context, 0);
#endif
}

struct host_fiber *host_fiber_self(void)
{
	static struct host_fiber self;
	pthread_attr_t attr;

	if (pthread_getattr_np(pthread_self(), &attr) ||
	    pthread_attr_getstack(&attr, &self.bottom, &self.size))
		panic("host: where is this thread's stack?");
	pthread_attr_destroy(&attr);
#ifdef HOST_TSAN
	self.context = __tsan_get_current_fiber();
#endif
	self.running = true;
	return &self;
}

static struct host_fiber *map_stack(void)
{
	char *base = mmap(NULL, PAGE_SIZE + STACK_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED || mprotect(base, PAGE_SIZE, PROT_NONE))
		return NULL;
	struct host_fiber *f = (void *)(base + PAGE_SIZE + STACK_BYTES - 256);
	f->bottom = base + PAGE_SIZE;
	f->size = STACK_BYTES;
	return f;
}

void *host_stack_alloc(const char *owner)
{
	struct host_fiber *f = free_fibers;

	if (f)
		free_fibers = f->next_free;
	else if (!(f = map_stack()))
		return NULL;
	in_use++;
#ifdef HOST_TSAN
	__tsan_acquire(f); /* as by the lock of mm/kstack.c */
	if (f->uses++ % CONTEXT_USES == 0)
		f->context = __tsan_create_fiber(0);
	__tsan_set_fiber_name(f->context, owner);
#endif
	return f;
}

/* Its last thread never returned from its functions: their redzones are still poisoned. */
void host_stack_free(void *top)
{
	struct host_fiber *f = top;

	if (f->running)
		panic("host: the stack of a running thread is freed");
#ifdef __SANITIZE_ADDRESS__
	__asan_unpoison_memory_region(f->bottom, (size_t)((char *)top - (char *)f->bottom));
#endif
#ifdef HOST_TSAN
	__tsan_release(f);
	if (f->uses % CONTEXT_USES == 0)
		__tsan_destroy_fiber(f->context);
#endif
	f->next_free = free_fibers;
	free_fibers = f;
	in_use--;
}

u64 host_stacks_in_use(void)
{
	return in_use;
}

/* The first switch to a fiber ends in host_fiber_thunk, with the fiber in a register. */
void host_fiber_thunk(void);
__used __noreturn void host_fiber_main(struct host_fiber *f);

__noreturn void host_fiber_main(struct host_fiber *f)
{
	after_switch(f);
	f->entry(f->arg);
	panic("host: a fiber returned");
}

struct host_fiber *host_fiber_init(void *top, void (*entry)(void *arg), void *arg)
{
	struct host_fiber *f = top;
	void **sp = (void **)((char *)top - 256); /* below what the thread's maker puts there */

	f->entry = entry;
	f->arg = arg;
	f->fake_stack = NULL;
	f->running = false;
	*--sp = (void *)host_fiber_thunk;
	*--sp = NULL; /* rbp, then rbx */
	*--sp = f;
	for (int i = 0; i < 4; i++)
		*--sp = NULL;
	f->sp = sp;
	return f;
}
