/*
 * Frames: the table, what each CPU keeps in front of the buddy system, and reference counts.
 *
 * A CPU has two stacks of single free frames: `hot` (freed lately, content arbitrary) and
 * `zeroed` (all bytes zero: cleared in idle time, or given back by somebody who knows). Behind them it
 * has a buddy system of its own, `local`, with which the stacks exchange BATCH frames at a time, and
 * where larger blocks come from and go to, too. Taking and giving touch nothing that another CPU
 * writes, not even the struct frames beside: blocks move between `local` and the common buddy system
 * as a whole, when the one is empty or has more than its share (local_limit), under the one lock
 * that there is. Interrupts are off meanwhile, because handlers allocate too; that also keeps
 * the thread on its CPU. What another CPU keeps is out of reach; when nothing else is left the CPUs are
 * asked to give it back.
 *
 * The books: a CPU counts what it took from the buddy system and has not given back, as `used` by
 * type plus the heights of its stacks and what is free in `local`. (A frame allocated here and freed there makes one CPU's
 * `used` negative; the sum is right.) Frames move between a CPU and the buddy system only under
 * the buddy lock, and within a CPU only between owner_begin and owner_end; so a reader with the
 * lock gets figures that add up exactly, at any time.
 *
 * Debug builds fill the first and last POISON_BYTES of a freed frame and look at them when it is
 * allocated again; frame.flags says whether that was done (a frame that boot handed over has not
 * been touched).
 */
#include "mm/frame.h"

#include "arch/api/boot.h"
#include "arch/api/mmu.h"
#include "arch/api/page.h"
#include "lib/kassert.h"
#include "lib/string.h"
#include "mm/buddy.h"
#include "mm/internal.h"

#define HOT_MAX     128 /* what a grace period gives back at once, of processes that fork, finds room */
#define ZEROED_MAX  64
#define BATCH_ORDER 4
#define BATCH       (1u << BATCH_ORDER)

/* A CPU's own share of free memory: this much, but all together at most a sixteenth of RAM. */
#define LOCAL_MAX 2048

/* Blocks up to this order are needed; who asks for larger ones can do without. */
#define FRAME_NICE_ORDER 3

struct frame_cpu {
	u32 seq; /* see owner_begin */
	u32 hot_n, zeroed_n;
	u64 frees; /* frames given back */
	s64 used[FRAME_TYPES];
	struct buddy local; /* its lock is not used; empty until local_of has seen it */
	struct frame *hot[HOT_MAX];
	struct frame *zeroed[ZEROED_MAX];
};
static DEFINE_PER_CPU(struct frame_cpu, frame_cpu); /* [o] interrupts off */

static struct buddy buddy;
u64 total_frames;           /* [I] */
static u64 reserved_frames; /* [buddy.lock] of total_frames, never given to the buddy system */
static u32 modules_freed;   /* [buddy.lock] bit per module */

u64 alloc_fail_at;

/* ---- the table -------------------------------------------------------------------------------- */

#define BLOCK_FRAMES (1ul << FRAME_MAX_ORDER)

/* The frame numbers whose entries have memory: RAM, out to whole blocks (see mm/buddy.c). */
static bool table_range(unsigned index, pfn_t *start, pfn_t *end)
{
	if (!early_ram_range(index, start, end))
		return false;
	*start = ALIGN_DOWN(*start, BLOCK_FRAMES);
	*end = ALIGN_UP(*end, BLOCK_FRAMES);
	return true;
}

bool pfn_valid(pfn_t pfn)
{
	pfn_t start, end;

	for (unsigned i = 0; table_range(i, &start, &end); i++)
		if (pfn >= start && pfn < end)
			return true;
	return false;
}

int frame_table_map(int (*map)(u64 va_start, u64 va_end))
{
	pfn_t start, end, next_start, next_end;
	bool more = table_range(0, &start, &end);

	_Static_assert(BLOCK_FRAMES * sizeof(struct frame) % PAGE_SIZE == 0, "whole pages");
	for (unsigned i = 1; more; i++) {
		more = table_range(i, &next_start, &next_end);
		if (more && next_start <= end) {
			end = next_end;
			continue;
		}
		int ret = map((u64)pfn_frame(start), (u64)pfn_frame(end));

		if (ret != 0)
			return ret;
		start = next_start;
		end = next_end;
	}
	return 0;
}

static void reserve(pfn_t start, pfn_t end)
{
	if (start < end)
		mem_set(pfn_frame(start), 0, (end - start) * sizeof(struct frame));
}

/*
 * Says FRAME_RESERVED of all frames of [start, end) but those of blocks that are free as a whole: these entries, by far the
 * most, are written when the block is first used (mm/buddy.c). So the time to boot does not grow with the memory.
 */
static void reserve_all_but_blocks(pfn_t start, pfn_t end)
{
	pfn_t from, to;

	for (unsigned i = 0; early_take_range(i, &from, &to); i++) {
		from = MAX(ALIGN_UP(from, BLOCK_FRAMES), start);
		to = MIN(ALIGN_DOWN(to, BLOCK_FRAMES), end);
		if (from >= to)
			continue;
		reserve(start, from);
		start = to;
	}
	reserve(start, end);
}

void frame_init(void)
{
	pfn_t start, end, last = 0;

	_Static_assert(FRAME_RESERVED == 0, "zeroed entries");

	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		*per_cpu_ptr(&frame_cpu, cpu) = (struct frame_cpu){ .seq = 0 };
	for (unsigned i = 0; table_range(i, &start, &end); i++) {
		reserve_all_but_blocks(start, end);
		last = end;
	}
	buddy_init(&buddy, 0, last);
	for (unsigned i = 0; early_take_range(i, &start, &end); i++)
		buddy_add(&buddy, start, end);
	total_frames = early_ram_frames();
	reserved_frames = total_frames - buddy.nr_free;
	modules_freed = 0;
}

/* May this frame of module `index` be given away: RAM that nobody else at boot laid claim to? */
static bool module_frame_free(pfn_t pfn, u32 index)
{
	u64 pa = pfn << PAGE_SHIFT;
	pfn_t start, end;
	bool is_ram = false;

	for (unsigned i = 0; early_ram_range(i, &start, &end); i++)
		is_ram |= pfn >= start && pfn < end;
	if (!is_ram || pa < EARLY_LOW_END)
		return false;
	if (pa < boot_info.kernel_end && pa + PAGE_SIZE > boot_info.kernel_start)
		return false;
	for (u32 i = 0; i < boot_info.nr_modules; i++)
		if (i != index && pa < boot_info.module[i].end &&
		    pa + PAGE_SIZE > boot_info.module[i].start)
			return false;
	return pfn_frame(pfn)->type == FRAME_RESERVED;
}

/* A page that two modules share stays reserved: neither knows that the other is done with it. */
void boot_module_free(u32 index)
{
	kassert(index < boot_info.nr_modules && !(modules_freed & 1u << index));
	modules_freed |= 1u << index;
	pfn_t pfn = boot_info.module[index].start >> PAGE_SHIFT;
	pfn_t end = ALIGN_UP(boot_info.module[index].end, PAGE_SIZE) >> PAGE_SHIFT;

	for (; pfn < end; pfn++) {
		if (!module_frame_free(pfn, index))
			continue;
		u64 irq = spin_lock_irqsave(&buddy.lock);

		buddy_free_locked(&buddy, pfn_frame(pfn), 0);
		reserved_frames--;
		spin_unlock_irqrestore(&buddy.lock, irq);
	}
}

/* ---- poison ------------------------------------------------------------------------------------ */

static const char *const type_names[FRAME_TYPES] = {
	"reserved", "free", "cached", "kernel", "slab", "table", "anon", "file",
};

static __noinline __cold __noreturn void frame_panic(const struct frame *f, const char *what)
{
	panic("frame %#lx: %s (type %u %s, order %u, refs %u)", frame_pfn(f), what, f->type,
	      f->type < FRAME_TYPES ? type_names[f->type] : "unknown", f->order, frame_refs(f));
}

#ifdef CONFIG_DEBUG
#define POISON_BYTES   64
#define POISON         0xfeedfacedeadbea7ul
#define FRAME_POISONED 0x8000 /* in frame.flags, while free */

static void frame_poison(struct frame *f)
{
	u64 *first = frame_virt(f);
	u64 *last = first + (PAGE_SIZE - POISON_BYTES) / 8;

	for (unsigned i = 0; i < POISON_BYTES / 8; i++)
		first[i] = last[i] = POISON;
	f->flags = FRAME_POISONED;
}

static void frame_check(struct frame *f, u64 expect)
{
	const u64 *first = frame_virt(f);
	const u64 *last = first + (PAGE_SIZE - POISON_BYTES) / 8;

	for (unsigned i = 0; i < POISON_BYTES / 8; i++)
		if (first[i] != expect || last[i] != expect)
			frame_panic(f, expect ? "written after it was freed" :
						"not zero, but freed as zeroed");
}

static void frame_check_poison(struct frame *f)
{
	if (f->flags & FRAME_POISONED)
		frame_check(f, POISON);
	f->flags = 0;
}
#else
#define frame_poison(f)       ((void)(f))
#define frame_check(f, v)     ((void)(f))
#define frame_check_poison(f) ((void)(f))
#endif

/* ---- allocation -------------------------------------------------------------------------------- */

/* References 1, order 0, flags 0, and the type, in one store (atomic: mm/buddy.c looks at types of
 * frames that are not its own). */
static inline void frame_set_used(struct frame *f, enum frame_type type)
{
	_Static_assert(offsetof(struct frame, refs) == 0 && offsetof(struct frame, type) == 4 &&
			       offsetof(struct frame, flags) == 6,
		       "one word");
	__atomic_store_n((u64 *)f, 1 | (u64)type << 32, __ATOMIC_RELAXED);
}

/* ---- the CPU's own buddy system, with interrupts off ------------------------------------------- */

static inline struct buddy *local_of(struct frame_cpu *cpu)
{
	if (unlikely(cpu->local.end == 0))
		buddy_init(&cpu->local, buddy.start, buddy.end);
	return &cpu->local;
}

static u64 local_limit(void)
{
	return MIN((u64)LOCAL_MAX, total_frames / 16 / READ_ONCE(nr_cpus));
}

static unsigned order_of(u64 n)
{
	return MIN(63u - (unsigned)__builtin_clzl(n | 1), (unsigned)FRAME_MAX_ORDER);
}

/* A fresh block as a whole, unless that is more than a CPU's share: on a small machine others would miss it. Lock held. */
static bool take_fresh(struct buddy *local, unsigned order)
{
	return local_limit() >= BLOCK_FRAMES && buddy_move_fresh_locked(&buddy, local, order);
}

/* A block of a quarter of what a CPU may have, or the largest there is. False: nothing is left. */
static __noinline bool local_refill(struct frame_cpu *cpu)
{
	struct buddy *local = local_of(cpu);
	unsigned order = order_of(local_limit() / 4);
	bool moved;

	spin_acquire(&buddy.lock);
	moved = take_fresh(local, order);
	if (!moved) {
		do
			moved = buddy_move_locked(&buddy, local, order);
		while (!moved && order-- > 0);
	}
	spin_release(&buddy.lock);
	return moved;
}

/* Too much is free here: half of it goes, the largest blocks first, for they cost no more than small ones. Interrupts are
 * off: not too many. */
#define GIVE_BACK_MAX 16

static __noinline void local_give_back(struct frame_cpu *cpu, u64 keep)
{
	struct buddy *local = local_of(cpu);

	spin_acquire(&buddy.lock);
	for (unsigned i = 0; i < GIVE_BACK_MAX && local->nr_free > keep; i++)
		buddy_move_locked(local, &buddy, order_of(local->orders));
	spin_release(&buddy.lock);
}

static inline void local_trim(struct frame_cpu *cpu)
{
	if (likely(cpu->local.nr_free <= LOCAL_MAX / 8))
		return; /* the usual case, without a division */
	u64 limit = local_limit();

	if (cpu->local.nr_free > limit)
		local_give_back(cpu, limit / 2);
}

/*
 * Up to BATCH frames onto the empty hot stack. False: there are none. One block if there is one, taken
 * upwards from its start: what a program touches in order is then in order in memory, and can go back
 * as a block.
 */
static __noinline bool hot_refill(struct frame_cpu *cpu)
{
	struct buddy *local = local_of(cpu);
	struct frame *block;

	/* A block, if there is one anywhere: pieces cost more to give back. */
	if (!(local->orders >> BATCH_ORDER) && !local_refill(cpu) && local->nr_free == 0)
		return false;
	owner_begin(&cpu->seq);
	block = buddy_alloc_locked(local, BATCH_ORDER);
	for (unsigned i = 0; i < BATCH; i++) {
		struct frame *f = block ? block + (BATCH - 1 - i) : buddy_alloc_locked(local, 0);

		if (!f)
			break;
		f->type = FRAME_CACHED;
		cpu->hot[cpu->hot_n++] = f;
	}
	owner_end(&cpu->seq);
	return true;
}

/* The coldest BATCH frames of the full hot stack go back. */
static __noinline void hot_spill(struct frame_cpu *cpu)
{
	struct buddy *local = local_of(cpu);

	owner_begin(&cpu->seq);
	buddy_free_frames_locked(local, cpu->hot, BATCH);
	cpu->hot_n -= BATCH;
	memmove(cpu->hot, cpu->hot + BATCH, cpu->hot_n * sizeof(cpu->hot[0]));
	owner_end(&cpu->seq);
	local_trim(cpu);
}

static inline void count_alloc(struct frame_cpu *cpu, struct frame *f, enum frame_type type)
{
	cpu->used[type]++;
	frame_set_used(f, type);
}

static inline struct frame *hot_pop(struct frame_cpu *cpu, enum frame_type type)
{
	struct frame *f = cpu->hot[cpu->hot_n - 1];

	frame_check_poison(f);
	owner_begin(&cpu->seq);
	cpu->hot_n--;
	count_alloc(cpu, f, type);
	owner_end(&cpu->seq);
	return f;
}

static inline struct frame *zeroed_pop(struct frame_cpu *cpu, enum frame_type type)
{
	struct frame *f = cpu->zeroed[cpu->zeroed_n - 1];

	frame_check(f, 0);
	owner_begin(&cpu->seq);
	cpu->zeroed_n--;
	count_alloc(cpu, f, type);
	owner_end(&cpu->seq);
	return f;
}

/* Any single frame; *clear: its content is not zero yet, and should be. */
static struct frame *take_frame(enum frame_type type, unsigned flags, bool *clear)
{
	struct frame *f = NULL;
	u64 irq = irq_save();
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);

	*clear = false;
	if ((flags & FRAME_ZERO) && cpu->zeroed_n != 0) {
		f = zeroed_pop(cpu, type);
	} else if (cpu->hot_n != 0 || hot_refill(cpu)) {
		f = hot_pop(cpu, type);
		*clear = flags & FRAME_ZERO;
	} else if (cpu->zeroed_n != 0) {
		f = zeroed_pop(cpu, type);
	}
	irq_restore(irq);
	return f;
}

static void drain_here(void *arg)
{
	frame_drain();
}

/* The last frames may lie on other CPUs' stacks. They are asked for them if that can be waited for. */
static bool drain_others(void)
{
	if (!mmu_shootdown || !irqs_enabled())
		return false;
	mmu_shootdown(NULL, drain_here, NULL);
	return true;
}

/* Everything but the plain case: the stack that is wanted is empty, or a failure. */
static __noinline struct frame *frame_alloc_slow(enum frame_type type, unsigned flags)
{
	bool clear;

	if (alloc_fails())
		return NULL;
	struct frame *f = take_frame(type, flags, &clear);

	if (unlikely(!f) && drain_others())
		f = take_frame(type, flags, &clear);
	if (clear)
		clear_page(frame_virt(f));
	return f;
}

struct frame *frame_alloc(enum frame_type type, unsigned flags)
{
	if (unlikely(alloc_fails_wanted()))
		return frame_alloc_slow(type, flags);
	u64 irq = irq_save();
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);
	bool clear = false;
	struct frame *f;

	if ((flags & FRAME_ZERO) && cpu->zeroed_n != 0) {
		f = zeroed_pop(cpu, type);
	} else if (likely(cpu->hot_n != 0)) {
		f = hot_pop(cpu, type);
		clear = flags & FRAME_ZERO;
	} else {
		irq_restore(irq);
		return frame_alloc_slow(type, flags);
	}
	irq_restore(irq);
	if (clear)
		clear_page(frame_virt(f));
	return f;
}

/* References 0, order 0, the type; flags stay as they are in debug builds, which look at them. */
static inline void set_used_many(struct frame *f, size_t n, enum frame_type type)
{
#pragma GCC unroll 8
	for (size_t i = 0; i < n; i++) {
#ifdef CONFIG_DEBUG
		f[i].type = (u8)type;
		f[i].order = 0;
#else
		__atomic_store_n((u64 *)&f[i], (u64)type << 32, __ATOMIC_RELAXED);
#endif
	}
}

/* Interrupts off. */
static inline struct frame *block_take(struct buddy *from, struct frame_cpu *cpu, unsigned order,
				       enum frame_type type)
{
	struct frame *f;

	owner_begin(&cpu->seq);
	f = buddy_alloc_locked(from, order);
	if (f)
		cpu->used[type] += 1l << order;
	owner_end(&cpu->seq);
	return f;
}

static struct frame *block_alloc(unsigned order, enum frame_type type)
{
	u64 irq = irq_save();
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);
	struct buddy *local = local_of(cpu);
	struct frame *f = block_take(local, cpu, order, type);

	if (!f) {
		spin_acquire(&buddy.lock);
		bool moved = take_fresh(local, order);

		if (!moved)
			f = block_take(&buddy, cpu, order, type);
		spin_release(&buddy.lock);
		if (moved)
			f = block_take(local, cpu, order, type);
	}
	if (f)
		set_used_many(f, 1ul << order, type);
	irq_restore(irq);
	return f;
}

struct frame *frame_alloc_order(unsigned order, enum frame_type type, unsigned flags)
{
	kassert(order <= FRAME_MAX_ORDER && type >= FRAME_KERNEL && type < FRAME_TYPES);
	if (order == 0)
		return frame_alloc(type, flags);
	if (alloc_fails())
		return NULL;
	struct frame *f = block_alloc(order, type);

	if (!f) {
		frame_drain();
		f = block_alloc(order, type);
		/* For a large page the other CPUs are left alone. */
		if (!f && order <= FRAME_NICE_ORDER && drain_others())
			f = block_alloc(order, type);
		if (!f)
			return NULL;
	}
#ifdef CONFIG_DEBUG
	for (size_t i = 0; i < 1ul << order; i++)
		frame_check_poison(&f[i]);
#endif
	for (size_t i = 0; (flags & FRAME_ZERO) && i < 1ul << order; i++)
		clear_page(frame_virt(&f[i]));
	f->order = (u8)order;
	atomic_store(&f->refs, 1u);
	return f;
}

/* ---- freeing ----------------------------------------------------------------------------------- */

static __noinline void block_free(struct frame *f)
{
	unsigned order = f->order;
	enum frame_type type = f->type;

	for (size_t i = 0; i < 1ul << order; i++) {
		/* In one word: refs, type. */
		if (unlikely((__atomic_load_n((u64 *)&f[i], __ATOMIC_RELAXED) & 0xffffffffff) !=
			     (u64)type << 32))
			frame_panic(&f[i], "freed with its block, but in use otherwise");
		frame_poison(&f[i]);
	}
	u64 irq = irq_save();
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);
	struct buddy *local = local_of(cpu);

	owner_begin(&cpu->seq);
	cpu->used[type] -= 1l << order;
	cpu->frees += 1ul << order;
	buddy_free_locked(local, f, order);
	owner_end(&cpu->seq);
	local_trim(cpu);
	irq_restore(irq);
}

/* The last reference is gone. A frame without an owner's type had no reference to drop. */
static inline void frame_check_owned(struct frame *f)
{
	if (unlikely(f->type < FRAME_KERNEL || f->type >= FRAME_TYPES))
		frame_panic(f, "freed, but not allocated");
}

static inline void count_free(struct frame_cpu *cpu, struct frame *f)
{
	cpu->used[f->type]--;
	cpu->frees++;
	__atomic_store_n(&f->type, FRAME_CACHED, __ATOMIC_RELAXED);
}

static inline void hot_push(struct frame_cpu *cpu, struct frame *f)
{
	owner_begin(&cpu->seq);
	cpu->hot[cpu->hot_n++] = f;
	count_free(cpu, f);
	owner_end(&cpu->seq);
}

static __noinline void frame_free_slow(struct frame *f)
{
	u64 irq = irq_save();
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);

	if (cpu->hot_n == HOT_MAX)
		hot_spill(cpu);
	hot_push(cpu, f);
	irq_restore(irq);
}

/* A frame whose last reference is gone. */
static void frame_free(struct frame *f)
{
	frame_poison(f);
	u64 irq = irq_save();
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);

	if (unlikely(cpu->hot_n == HOT_MAX)) {
		irq_restore(irq);
		frame_free_slow(f);
		return;
	}
	hot_push(cpu, f);
	irq_restore(irq);
}

/* False: the stack of zeroed frames is full. */
static bool zeroed_push(struct frame *f)
{
	u64 irq = irq_save();
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);
	bool room = cpu->zeroed_n < ZEROED_MAX;

	if (room) {
		owner_begin(&cpu->seq);
		cpu->zeroed[cpu->zeroed_n++] = f;
		count_free(cpu, f);
		f->flags = 0;
		owner_end(&cpu->seq);
	}
	irq_restore(irq);
	return room;
}

/* True: that was the last reference. */
static inline bool frame_unref(struct frame *f)
{
	u32 old = atomic_fetch_sub(&f->refs, 1u);

	if (likely(old > 1))
		return false;
	if (unlikely(old == 0)) {
		atomic_store(&f->refs, 0u);
		frame_panic(f, "reference dropped that nobody holds");
	}
	frame_check_owned(f);
	return true;
}

void frame_put(struct frame *f)
{
	if (!frame_unref(f))
		return;
	if (unlikely(f->order != 0))
		block_free(f);
	else
		frame_free(f);
}

/* n frames of one type whose last reference is gone, to the hot stack or, if that has no
 * room for them, to the CPU's buddy system as they are: a stack full of them is hot enough. */
static void free_many(struct frame **f, unsigned n, enum frame_type type)
{
	u64 irq = irq_save();
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);
	bool to_stack = cpu->hot_n + n <= HOT_MAX;

	owner_begin(&cpu->seq);
	cpu->used[type] -= n;
	cpu->frees += n;
	if (to_stack) {
		for (unsigned i = 0; i < n; i++)
			cpu->hot[cpu->hot_n + i] = f[i];
		cpu->hot_n += n;
	} else {
		buddy_free_frames_locked(local_of(cpu), f, n);
	}
	owner_end(&cpu->seq);
	local_trim(cpu);
	irq_restore(irq);
}

/* Is f one with that first word, which says that nobody names it but us? Nobody can get it: then it is nobody's any more. */
static inline bool is_last(struct frame *f, u64 word)
{
	if (unlikely(__atomic_load_n((u64 *)f, __ATOMIC_ACQUIRE) != word))
		return false;
	mmu_check_unreachable(frame_pfn(f));
	__atomic_store_n((u64 *)f, (u64)FRAME_CACHED << 32, __ATOMIC_RELAXED);
	frame_poison(f);
	return true;
}

void frame_put_many(struct frame **f, unsigned n)
{
	enum frame_type type = n > 0 && f[0]->type == FRAME_FILE ? FRAME_FILE : FRAME_ANON;
	u64 last = 1 | (u64)type << 32; /* refs, type, order, flags */
	unsigned dead = 0;

	while (dead < n && likely(is_last(f[dead], last)))
		dead++;
	for (unsigned i = dead; i < n; i++) {
		if (is_last(f[i], last)) {
			f[dead++] = f[i];
			continue;
		}
		if (frame_refs(f[i]) == 1)
			mmu_check_unreachable(frame_pfn(f[i]));
		frame_put(f[i]);
	}
	if (dead)
		free_many(f, dead, type);
}

void frame_put_zeroed(struct frame *f)
{
	if (!frame_unref(f))
		return;
	kassert_eq(f->order, 0);
	frame_check(f, 0);
	if (!zeroed_push(f))
		frame_free(f);
}

/* Leaves memory alone when there is little: clearing ahead would only empty the last lists. */
bool frame_prezero(void)
{
	preempt_disable();
	bool wanted =
		this_cpu_ptr(&frame_cpu)->zeroed_n < ZEROED_MAX && READ_ONCE(buddy.nr_free) >= 1024;

	preempt_enable();
	if (!wanted)
		return false;
	bool clear;
	struct frame *f = take_frame(FRAME_KERNEL, 0, &clear);

	if (!f)
		return false;
	clear_page(frame_virt(f));
	frame_put_zeroed(f);
	return true;
}

void frame_drain(void)
{
	u64 irq = spin_lock_irqsave(&buddy.lock);
	struct frame_cpu *cpu = this_cpu_ptr(&frame_cpu);

	while (cpu->hot_n != 0)
		buddy_free_locked(&buddy, cpu->hot[--cpu->hot_n], 0);
	while (cpu->zeroed_n != 0)
		buddy_free_locked(&buddy, cpu->zeroed[--cpu->zeroed_n], 0);
	while (cpu->local.nr_free != 0)
		buddy_move_locked(&cpu->local, &buddy, order_of(cpu->local.orders));
	spin_unlock_irqrestore(&buddy.lock, irq);
}

/* ---- the books --------------------------------------------------------------------------------- */

/* Adds one CPU's figures, copied at a moment when they agreed. With buddy.lock held. */
static __racy void add_cpu_stats(struct frame_stats *out, const struct frame_cpu *cpu)
{
	u64 cached, frees;
	s64 used[FRAME_TYPES];
	u32 seq;

	do {
		while ((seq = READ_ONCE(cpu->seq)) & 1)
			cpu_relax();
		barrier();
		cached = READ_ONCE(cpu->hot_n) + READ_ONCE(cpu->zeroed_n) +
			 READ_ONCE(cpu->local.nr_free);
		frees = READ_ONCE(cpu->frees);
		for (unsigned i = 0; i < FRAME_TYPES; i++)
			used[i] = READ_ONCE(cpu->used[i]);
		barrier();
	} while (READ_ONCE(cpu->seq) != seq);
	out->cached += cached;
	out->frees += frees;
	for (unsigned i = 0; i < FRAME_TYPES; i++)
		out->used[i] += (u64)used[i];
}

void frame_stats(struct frame_stats *out)
{
	u64 irq = spin_lock_irqsave(&buddy.lock);

	*out = (struct frame_stats){ .total = total_frames, .free = buddy.nr_free };
	out->used[FRAME_RESERVED] = reserved_frames;
	for (u32 i = 0; i < nr_cpus; i++)
		add_cpu_stats(out, per_cpu_ptr(&frame_cpu, i));
	out->allocs = out->frees;
	for (unsigned i = FRAME_KERNEL; i < FRAME_TYPES; i++)
		out->allocs += out->used[i];
	spin_unlock_irqrestore(&buddy.lock, irq);
}
