/*
 * The memory of threads: their structs and their stacks.
 *
 * Stacks: KSTACK_SIZE bytes between unmapped guard pages, in the kernel's own address space.
 * A few stay mapped for reuse, so that fork does not pay for mapping and flushing: some with each CPU, so
 * that CPUs which fork do not meet, and some for all.
 *
 * A stack is given up behind the last switch of its thread, interrupts off. There no other CPU may be
 * waited for, as unmapping does with several: then what is too many stays with the others, and
 * the idle thread unmaps it.
 *
 * Tops are coloured: threads start at different offsets within the first cache lines below the
 * page's end, so that the hot lines of many stacks do not fall into the same cache sets.
 */
#include "mm/kstack.h"

#include "arch/api/ctx.h"
#include "arch/api/upcall.h"
#include "lib/kassert.h"
#include "lib/list.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/slab.h"
#include "sched/memory.h"
#include "sched/thread.h"

#define STACK_PAGES  (KSTACK_SIZE / PAGE_SIZE)
#define CACHE_OWN    4                  /* stacks that a CPU keeps for itself, */
#define CACHE_SHARED (12 + 2 * nr_cpus) /* those kept for all */
#define COLOURS      8
#define COLOUR_BYTES 128

struct stack {
	struct list_node all;  /* [lock] every mapped stack */
	struct list_node idle; /* [lock] those nobody uses and no CPU keeps */
	u64 base;              /* [I] lowest mapped address; the page below is the guard */
	u32 colour;            /* [I] */
	const char *owner;     /* the thread's name; NULL: cached */
};

static spinlock_t lock = SPINLOCK_INIT("stacks", RANK_ASPACE);
static struct list_node all_stacks = LIST_INIT(all_stacks);
static struct list_node idle_stacks = LIST_INIT(idle_stacks);
static u32 nr_idle, next_colour;

/* A CPU's own. The lock is for kstack_drain: nobody else comes from elsewhere. */
struct own_stacks {
	spinlock_t lock;
	u32 n;
	struct stack *stack[CACHE_OWN]; /* [lock] the last one goes first: it is warm */
};
static DEFINE_PER_CPU_SHARED_INIT(struct own_stacks, own_stacks,
				  { .lock = SPINLOCK_INIT("own_stacks", RANK_ASPACE) });

/* The highest word of the mapped pages leads back to the struct. */
#define RESERVED_BYTES 64

static void *top_of(const struct stack *s)
{
	return (void *)(s->base + KSTACK_SIZE - RESERVED_BYTES - s->colour * COLOUR_BYTES);
}

static struct stack **owner_word(u64 top)
{
	return (struct stack **)(ALIGN_UP(top, PAGE_SIZE) - sizeof(struct stack *));
}

_Static_assert(RESERVED_BYTES + COLOURS * COLOUR_BYTES < PAGE_SIZE, "owner_word");

static void unmap_stack(u64 base, u64 pages)
{
	struct frame *frame[STACK_PAGES];

	for (u64 i = 0; i < pages; i++) {
		paddr_t pa;

		if (get_physical_address(base + i * PAGE_SIZE, &pa))
			panic("stack page %#lx is not mapped", base + i * PAGE_SIZE);
		frame[i] = pa_frame(pa);
	}
	if (pages)
		unmap_range(base, pages * PAGE_SIZE); /* one flush */
	for (u64 i = 0; i < pages; i++)
		frame_put(frame[i]);
	kva_free(base, STACK_PAGES);
}

static u64 map_stack(void)
{
	u64 base = kva_alloc(STACK_PAGES);

	if (!base)
		return 0;
	for (u64 i = 0; i < STACK_PAGES; i++) {
		struct frame *f = frame_alloc(FRAME_KERNEL, FRAME_ATOMIC);

		if (!f || map_page(base + i * PAGE_SIZE, frame_pa(f), PAGE_SIZE, KMAP_WRITE)) {
			if (f)
				frame_put(f);
			unmap_stack(base, i);
			return 0;
		}
	}
	return base;
}

/* From this CPU's own; NULL: it has none. */
static struct stack *take_own(void)
{
	u64 flags = irq_save();
	struct own_stacks *own = this_cpu_ptr(&own_stacks);

	spin_lock(&own->lock);
	struct stack *s = own->n ? own->stack[--own->n] : NULL;
	spin_unlock_irqrestore(&own->lock, flags);
	return s;
}

/* To this CPU's own. False: it has enough. */
static bool keep_own(struct stack *s)
{
	u64 flags = irq_save();
	struct own_stacks *own = this_cpu_ptr(&own_stacks);

	spin_lock(&own->lock);
	bool keep = own->n < CACHE_OWN;
	if (keep)
		own->stack[own->n++] = s;
	spin_unlock_irqrestore(&own->lock, flags);
	return keep;
}

static struct stack *take_shared(void)
{
	u64 flags = spin_lock_irqsave(&lock);
	struct stack *s = list_first(&idle_stacks, struct stack, idle);

	if (s) {
		list_del(&s->idle);
		nr_idle--;
	}
	spin_unlock_irqrestore(&lock, flags);
	return s;
}

void *kstack_alloc(const char *owner)
{
	struct stack *s = take_own();

	if (!s)
		s = take_shared();
	if (s) {
		s->owner = owner;
		return top_of(s);
	}
	s = kzalloc(sizeof(*s));
	if (!s)
		return NULL;
	s->base = map_stack();
	if (!s->base) {
		kfree(s);
		return NULL;
	}
	s->owner = owner;
	u64 flags = spin_lock_irqsave(&lock);
	s->colour = next_colour++ % COLOURS;
	list_add(&all_stacks, &s->all);
	*owner_word((u64)top_of(s)) = s;
	spin_unlock_irqrestore(&lock, flags);
	return top_of(s);
}

static void stack_free(void *top)
{
	struct stack *s = *owner_word((u64)top);

	kassert_eq(top_of(s), top);
	kassert(s->owner);
	s->owner = NULL;
	if (keep_own(s))
		return;
	u64 flags = spin_lock_irqsave(&lock);
	bool keep = nr_idle < CACHE_SHARED || nr_cpus > 1;
	if (keep) {
		list_add(&idle_stacks, &s->idle);
		nr_idle++;
	} else {
		list_del(&s->all);
	}
	spin_unlock_irqrestore(&lock, flags);
	if (!keep) {
		unmap_stack(s->base, STACK_PAGES);
		kfree(s);
	}
}

/* Unmaps one stack that is too many, above `keep` idle ones. False: none is. */
static bool trim(u32 keep)
{
	if (READ_ONCE(nr_idle) <= keep)
		return false;
	u64 flags = spin_lock_irqsave(&lock);
	struct stack *s = nr_idle > keep ? list_first(&idle_stacks, struct stack, idle) : NULL;

	if (s) {
		list_del(&s->idle);
		list_del(&s->all);
		nr_idle--;
	}
	spin_unlock_irqrestore(&lock, flags);
	if (!s)
		return false;
	unmap_stack(s->base, STACK_PAGES);
	kfree(s);
	return true;
}

/* What a CPU keeps for itself is for all from now on. */
static void share_own(struct own_stacks *own)
{
	for (;;) {
		u64 flags = spin_lock_irqsave(&own->lock);
		struct stack *s = own->n ? own->stack[--own->n] : NULL;
		spin_unlock_irqrestore(&own->lock, flags);
		if (!s)
			return;
		flags = spin_lock_irqsave(&lock);
		list_add(&idle_stacks, &s->idle);
		nr_idle++;
		spin_unlock_irqrestore(&lock, flags);
	}
}

void kstack_drain(void)
{
	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		share_own(per_cpu_ptr(&own_stacks, cpu));
	while (trim(0))
		;
}

static bool idle_work(void)
{
	return trim(CACHE_SHARED) || frame_prezero();
}

/* In a fault or a panic: no lock, since its holder may be the very thread that overflowed. */
const char *kstack_guard_owner(u64 va)
{
	struct stack *s;

	list_for_each(s, &all_stacks, all)
		if (va >= s->base - PAGE_SIZE && va < s->base)
			return s->owner ? s->owner : "(none)";
	return NULL;
}

static struct slab_cache *thread_cache;

static struct thread *thread_alloc(void)
{
	return slab_zalloc(thread_cache);
}

static void thread_free(struct thread *t)
{
	slab_free(thread_cache, t);
}

void kstack_init(void)
{
	static const struct sched_memory_ops ops = {
		.thread_alloc = thread_alloc,
		.thread_free = thread_free,
		.stack_alloc = kstack_alloc,
		.stack_free = stack_free,
		.switch_space = mm_switch_to,
		.idle_work = idle_work,
	};

	thread_cache = slab_cache_create("thread", sizeof(struct thread), 64);
	sched_memory = &ops;
}
