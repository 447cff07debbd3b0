/*
 * The memory of threads: their structs and their stacks.
 *
 * Stacks: KSTACK_SIZE bytes between unmapped guard pages, in the kernel's own address space.
 * A few stay mapped for reuse, so that fork does not pay for mapping and flushing.
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
#define CACHE_FIRST  16 /* stacks kept for the first CPU, */
#define CACHE_MORE   4  /* and for each other one */
#define COLOURS      8
#define COLOUR_BYTES 128

struct stack {
	struct list_node all;  /* [lock] every mapped stack */
	struct list_node idle; /* [lock] those nobody uses */
	u64 base;              /* [I] lowest mapped address; the page below is the guard */
	u32 colour;            /* [I] */
	const char *owner;     /* the thread's name; NULL: cached */
};

static spinlock_t lock = SPINLOCK_INIT("stacks", RANK_ASPACE);
static struct list_node all_stacks = LIST_INIT(all_stacks);
static struct list_node idle_stacks = LIST_INIT(idle_stacks);
static u32 nr_idle, next_colour;

/* The highest word of the mapped pages leads back to the struct. */
#define RESERVED_BYTES 64

static u32 cache_max(void)
{
	return CACHE_FIRST + CACHE_MORE * (nr_cpus - 1);
}

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

static struct stack *take_idle(const char *owner)
{
	u64 flags = spin_lock_irqsave(&lock);
	struct stack *s = list_first(&idle_stacks, struct stack, idle);

	if (s) {
		list_del(&s->idle);
		s->owner = owner;
		nr_idle--;
	}
	spin_unlock_irqrestore(&lock, flags);
	return s;
}

void *kstack_alloc(const char *owner)
{
	struct stack *s = take_idle(owner);

	if (s)
		return top_of(s);
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
	u64 flags = spin_lock_irqsave(&lock);
	kassert(s->owner);
	s->owner = NULL;
	bool keep = nr_idle < cache_max() || nr_cpus > 1;
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

void kstack_drain(void)
{
	while (trim(0))
		;
}

static bool idle_work(void)
{
	return trim(cache_max()) || frame_prezero();
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
