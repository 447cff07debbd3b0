/*
 * Threads from their making to their end.
 *
 * References: one while the thread may run (dropped behind its last switch, by the thread that
 * follows it), one for the creator, and those of thread_get. The last one frees stack and struct.
 */
#include "sched/thread.h"

#include "arch/api/cpu.h"
#include "debug/trace.h"
#include "lib/err.h"
#include "lib/kassert.h"
#include "lib/string.h"
#include "sched/internal.h"
#include "sched/memory.h"
#include "sched/rq.h"

/* All threads, each in the list of the CPU that made it, so that CPUs which make threads do not meet. */
struct thread_list {
	struct list_node threads; /* [lock] comes first: tools/gdb, tools/guest */
	spinlock_t lock;
	u32 n; /* [lock] */
};
static DEFINE_PER_CPU_SHARED(struct thread_list, thread_lists);

void (*thread_release_hook)(struct thread *t);
void (*thread_exit_hook)(struct thread *t);

static void register_thread(struct thread *t, bool program)
{
	/* A program's thread has none until proc/ gives it the number that programs see. */
	static atomic_t next_kernel_tid = { THREAD_TID_KERNEL };

	t->tid = program ? 0 : atomic_fetch_add(&next_kernel_tid, 1u);
	trace_name_thread(t->tid, t->tid, 0, t->name);
	u64 flags = irq_save();
	struct thread_list *l = this_cpu_ptr(&thread_lists);

	t->made_on = cpu_id();
	spin_lock(&l->lock);
	list_add_tail(&l->threads, &t->all);
	l->n++;
	spin_unlock_irqrestore(&l->lock, flags);
}

static void forget_thread(struct thread *t)
{
	struct thread_list *l = per_cpu_ptr(&thread_lists, t->made_on);
	u64 flags = spin_lock_irqsave(&l->lock);

	list_del(&t->all);
	l->n--;
	spin_unlock_irqrestore(&l->lock, flags);
}

void thread_init_idle(struct thread *t, u32 cpu)
{
	*t = (struct thread){ .state = T_RUNNABLE,
			      .level = SCHED_LEVELS - 1,
			      .base_level = SCHED_LEVELS - 1,
			      .cpu = cpu };
	thread_set_name(t, "idle");
	refcount_init(&t->refs, 1);
	waitq_init(&t->exited);
	struct thread_list *l = per_cpu_ptr(&thread_lists, cpu);
	spin_init(&l->lock, "thread_list", RANK_WAITQ);
	list_init(&l->threads);
}

struct thread *thread_create_idle(u32 cpu)
{
	struct thread *t = sched_memory->thread_alloc();

	if (!t)
		return NULL;
	thread_init_idle(t, cpu);
	t->stack_top = sched_memory->stack_alloc(t->name);
	if (!t->stack_top) {
		sched_memory->thread_free(t);
		return NULL;
	}
	ctx_init(&t->arch, t->stack_top, NULL);
	return t;
}

u32 thread_count(void)
{
	u32 n = 0;

	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		n += READ_ONCE(per_cpu_ptr(&thread_lists, cpu)->n);
	return n;
}

void thread_set_name(struct thread *t, const char *name)
{
	kstrlcpy(t->name, name, sizeof(t->name));
	trace_name_thread(t->tid, 0, 0, t->name);
}

static void kernel_thread_entry(struct thread *prev);
static void user_thread_entry(struct thread *prev);

static struct thread *thread_new(const char *name, unsigned level, bool program)
{
	kassert(level > 0 && level <= SCHED_LEVEL_LAST && level != SCHED_LEVEL_NORMAL - 1);
	struct thread *t = sched_memory->thread_alloc();

	if (!t)
		return NULL;
	thread_set_name(t, name);
	t->stack_top = sched_memory->stack_alloc(t->name);
	if (!t->stack_top) {
		sched_memory->thread_free(t);
		return NULL;
	}
	t->state = T_NEW;
	t->level = t->base_level = (u8)level;
	t->slice_left = SCHED_RR_NS * SCHED_HZ / NSEC_PER_SEC;
	t->cpu = cpu_id();
	fair_set_weight(&t->fair, fair_weight_of_nice(0));
	cpuset_fill(&t->affinity);
	refcount_init(&t->refs, 1);
	waitq_init(&t->exited);
	ctx_init(&t->arch, t->stack_top, program ? user_thread_entry : kernel_thread_entry);
	register_thread(t, program);
	return t;
}

/* A kernel thread's function and argument wait where a program's registers would be. */
struct kernel_start {
	int (*fn)(void *arg);
	void *arg;
};
_Static_assert(sizeof(struct kernel_start) <= ARCH_REGS_OFFSET, "fits below the stack's top");

static void kernel_thread_entry(struct thread *prev)
{
	struct kernel_start *start = (void *)ctx_user_regs(current()->stack_top);

	sched_first_switch(prev);
	thread_exit(start->fn(start->arg));
}

static void user_thread_entry(struct thread *prev)
{
	sched_first_switch(prev);
	ctx_enter_user();
}

void thread_start(struct thread *t)
{
	kassert_eq(t->state, T_NEW);
	thread_get(t); /* its own, while it runs */
	sched_wake(t, T_NEW);
}

struct thread *thread_create(const char *name, int (*fn)(void *arg), void *arg, unsigned level)
{
	struct thread *t = thread_new(name, level, false);

	if (!t)
		return NULL;
	*(struct kernel_start *)ctx_user_regs(t->stack_top) = (struct kernel_start){ fn, arg };
	thread_start(t);
	return t;
}

struct thread *thread_create_on(u32 cpu, const char *name, int (*fn)(void *arg), void *arg,
				unsigned level)
{
	struct thread *t = thread_new(name, level, false);

	if (!t)
		return NULL;
	*(struct kernel_start *)ctx_user_regs(t->stack_top) = (struct kernel_start){ fn, arg };
	t->cpu = cpu;
	cpuset_set_only(&t->affinity, cpu);
	t->bound = true;
	thread_start(t);
	return t;
}

struct thread *thread_create_user(const char *name)
{
	struct thread *t = thread_new(name, SCHED_LEVEL_NORMAL, true);

	if (t && ctx_user_create(&t->arch)) {
		thread_put(t);
		return NULL;
	}
	return t;
}

void thread_exit(int status)
{
	struct thread *t = current();

	might_sleep();
	if (thread_exit_hook)
		thread_exit_hook(t);
	kassert(!t->lenders.top && !t->waits);
	ctx_user_destroy(&t->arch);
	t->exit_status = status;
	irq_disable(); /* a DEAD thread is freed behind its next switch, so that must be its last */
	store_release(&t->state, T_DEAD); /* the status is out before */
	waitq_wake_all(&t->exited);
	sched_block();
	panic("thread %s (%u) runs after its end", t->name, t->tid);
}

int thread_join(struct thread *t)
{
	wait_event(&t->exited, load_acquire(&t->state) == T_DEAD);
	int status = t->exit_status;

	thread_put(t);
	return status;
}

void thread_get(struct thread *t)
{
	refcount_get(&t->refs);
}

void thread_put(struct thread *t)
{
	if (!refcount_put(&t->refs))
		return;
	forget_thread(t);
	if (thread_release_hook)
		thread_release_hook(t);
	ctx_user_destroy(&t->arch);
	sched_memory->stack_free(t->stack_top);
	sched_memory->thread_free(t);
}

static int for_each_of(struct thread_list *l, int (*fn)(struct thread *t, void *arg), void *arg)
{
	u64 flags = spin_lock_irqsave(&l->lock);
	struct thread *t;
	int ret = 0;

	list_for_each(t, &l->threads, all) {
		ret = fn(t, arg);
		if (ret)
			break;
	}
	spin_unlock_irqrestore(&l->lock, flags);
	return ret;
}

int thread_for_each(int (*fn)(struct thread *t, void *arg), void *arg)
{
	int ret = 0;

	for (u32 cpu = 0; cpu < nr_cpus && !ret; cpu++)
		ret = for_each_of(per_cpu_ptr(&thread_lists, cpu), fn, arg);
	return ret;
}

void thread_set_aspace(struct aspace *as)
{
	u64 flags = irq_save();

	current()->as = as;
	if (as)
		sched_switch_space(as);
	else if (nr_cpus > 1)
		sched_leave_space(); /* the next switch cannot know: what follows is a kernel thread's */
	irq_restore(flags);
}
