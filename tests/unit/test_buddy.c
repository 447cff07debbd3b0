/*
 * Memory maps (mm/early.c), the buddy system (mm/buddy.c) and the frame allocator on top of them
 * (mm/frame.c), on fake RAM: each beside a naive model, and every panic provoked.
 */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/api/mmu.h"
#include "arch/host/ram.h"
#include "mm/buddy.h"
#include "mm/internal.h"

static struct frame_stats stats(void)
{
	struct frame_stats s;
	u64 sum;

	frame_stats(&s);
	sum = s.free + s.cached;
	for (unsigned i = 0; i < FRAME_TYPES; i++)
		sum += s.used[i];
	assert_int_equal(sum, s.total);
	return s;
}

/* ---- early.c ----------------------------------------------------------------------------------- */

#define MAP_PAGES 8192 /* the model: one byte a page */

static u8 model[MAP_PAGES]; /* 1: RAM */

static void map_reset(void)
{
	memset(&boot_info, 0, sizeof(boot_info));
	memset(model, 0, sizeof(model));
}

static void map_add(u64 start, u64 end, enum mem_type type)
{
	boot_info.range[boot_info.nr_ranges++] = (struct mem_range){ start, end, type };
}

static void model_set(u64 from_page, u64 to_page, u8 value)
{
	for (; from_page < to_page && from_page < MAP_PAGES; from_page++)
		model[from_page] = value;
}

/* What is taken, outward; what is RAM, inward. */
static void model_take(u64 start, u64 end)
{
	if (end > start)
		model_set(start / PAGE_SIZE, (end + PAGE_SIZE - 1) / PAGE_SIZE, 0);
}

static void check_left(void)
{
	pfn_t start, end, last = 0;
	static u8 seen[MAP_PAGES];

	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; early_take_range(i, &start, &end); i++) {
		assert_true(start < end && (i == 0 || start > last));
		last = end;
		memset(seen + start, 1, end - start);
	}
	assert_memory_equal(seen, model, MAP_PAGES);
}

/* Random maps: holes, empty entries, entries of a few bytes, modules and the kernel anywhere. */
static void test_early_random(void **state)
{
	unit_seed();
	for (u64 round = unit_rounds(300); round-- > 0;) {
		u64 at = unit_random(100000);

		map_reset();
		while (boot_info.nr_ranges < 30) {
			u64 len = unit_random(4) ? unit_random(2 * MiB) : unit_random(5000);

			if (unit_random(8) == 0)
				len = 0;
			if (unit_random(2))
				at = ALIGN_UP(at, PAGE_SIZE);
			if (at + len > (MAP_PAGES - 1) * PAGE_SIZE)
				break;
			map_add(at, at + len, unit_random(3) ? MEM_RAM : MEM_RESERVED);
			at += len + (unit_random(2) ? unit_random(300000) : 0);
		}
		for (u32 i = 0; i < boot_info.nr_ranges; i++)
			if (boot_info.range[i].type == MEM_RAM)
				model_set((boot_info.range[i].start + PAGE_SIZE - 1) / PAGE_SIZE,
					  boot_info.range[i].end / PAGE_SIZE, 1);
		model_take(0, EARLY_LOW_END);
		boot_info.kernel_start = ALIGN_DOWN(unit_random(16 * MiB), PAGE_SIZE);
		boot_info.kernel_end = boot_info.kernel_start + unit_random(2 * MiB);
		model_take(boot_info.kernel_start, boot_info.kernel_end);
		for (; boot_info.nr_modules < 3; boot_info.nr_modules++) {
			struct boot_module *m = &boot_info.module[boot_info.nr_modules];

			m->start = unit_random(20 * MiB);
			m->end = m->start + unit_random(MiB);
			model_take(m->start, m->end);
		}
		early_init();
		check_left();
	}
}

static void test_early_alloc(void **state)
{
	paddr_t pa;

	map_reset();
	map_add(0, 640 * KiB, MEM_RAM);
	map_add(MiB, 3 * MiB + 5, MEM_RAM);
	map_add(3 * MiB + PAGE_SIZE, 3 * MiB + PAGE_SIZE, MEM_RAM);
	map_add(8 * MiB, 16 * MiB, MEM_RAM);
	map_add(4 * GiB, 4 * GiB + 4 * MiB, MEM_RAM);
	boot_info.kernel_start = MiB;
	boot_info.kernel_end = MiB + 512 * KiB;
	host_ram_map();
	memset(phys_to_virt(PADDR(8 * MiB)), 0xff, 8 * MiB);
	pa = early_alloc(1, 1, UINT64_MAX);
	assert_int_equal(pa.v, MiB + 512 * KiB);
	pa = early_alloc(2 * MiB, 2 * MiB, 4 * GiB);
	assert_int_equal(pa.v, 8 * MiB);
	for (size_t i = 0; i < 2 * MiB; i += 64)
		assert_int_equal(*((u8 *)phys_to_virt(pa) + i), 0);
	pa = early_alloc(PAGE_SIZE, 0, UINT64_MAX);
	assert_int_equal(pa.v, MiB + 516 * KiB);
	assert_int_equal(early_alloc(6 * MiB, PAGE_SIZE, 4 * GiB).v, 10 * MiB);
	/* No more than 1.5 MiB in one piece below 4 GiB. */
	assert_int_equal(early_alloc(2 * MiB, PAGE_SIZE, 8 * GiB).v, 4 * GiB);
	expect_panic(early_alloc(2 * MiB, PAGE_SIZE, 4 * GiB), "this machine has 14 MiB of RAM");
	host_ram_start();
	expect_panic(early_alloc(PAGE_SIZE, PAGE_SIZE, UINT64_MAX), "closed");
	assert_true(pfn_valid(8 * MiB / PAGE_SIZE));
	assert_true(pfn_valid(4 * GiB / PAGE_SIZE + 511));
	assert_false(pfn_valid(GiB / PAGE_SIZE));
	assert_false(pfn_valid(1ul << 40));
	struct frame_stats s = stats();

	assert_int_equal(s.total, (640 * KiB + 2 * MiB + 8 * MiB + 4 * MiB) / PAGE_SIZE);
	assert_int_equal(s.free, (1536 * KiB + 2 * MiB) / PAGE_SIZE - 2);
	assert_int_equal(s.used[FRAME_RESERVED], s.total - s.free);
	host_ram_exit();
}

/* 64 GiB with the PC's hole, and the table's backing only where RAM is. */
static u64 table_pages;
static int count_map(u64 start, u64 end)
{
	assert_true(IS_ALIGNED(start, PAGE_SIZE) && IS_ALIGNED(end, PAGE_SIZE) && start < end);
	table_pages += (end - start) / PAGE_SIZE;
	return 0;
}

static int refuse_map(u64 start, u64 end)
{
	return -7;
}

static void test_large(void **state)
{
	map_reset();
	map_add(0, 654336, MEM_RAM);
	map_add(MiB, 3 * GiB, MEM_RAM);
	map_add(3 * GiB, 4 * GiB, MEM_RESERVED);
	map_add(4 * GiB, 65 * GiB, MEM_RAM);
	host_ram_map();
	table_pages = 0;
	assert_int_equal(frame_table_map(count_map), 0);
	assert_int_equal(table_pages, 64 * GiB / PAGE_SIZE * sizeof(struct frame) / PAGE_SIZE);
	assert_int_equal(frame_table_map(refuse_map), -7);
	host_ram_start();
	struct frame_stats s = stats();

	assert_int_equal(s.used[FRAME_RESERVED], 654336 / PAGE_SIZE);
	struct frame *f = frame_alloc_order(FRAME_MAX_ORDER, FRAME_ANON, 0);

	assert_non_null(f);
	frame_put(f);
	host_ram_exit();
}

static void test_modules(void **state)
{
	map_reset();
	map_add(0, 640 * KiB, MEM_RAM);
	map_add(MiB, 16 * MiB, MEM_RAM);
	map_add(16 * MiB, 17 * MiB, MEM_RESERVED);
	boot_info.kernel_start = 2 * MiB;
	boot_info.kernel_end = 3 * MiB;
	boot_info.module[0] = (struct boot_module){ 4 * MiB, 5 * MiB + 100 };
	boot_info.module[1] = (struct boot_module){ 5 * MiB + 200, 6 * MiB + 1 };
	boot_info.module[2] = (struct boot_module){ 500 * KiB, 600 * KiB };
	boot_info.module[3] = (struct boot_module){ 16 * MiB - 8192, 16 * MiB + 8192 };
	boot_info.nr_modules = 4;
	host_ram_map();
	host_ram_start();
	struct frame_stats before = stats(), after;

	boot_module_free(0); /* shares its last page with module 1 */
	after = stats();
	assert_int_equal(after.free - before.free, MiB / PAGE_SIZE);
	boot_module_free(1);
	after = stats();
	assert_int_equal(after.free - before.free, 2 * MiB / PAGE_SIZE);
	boot_module_free(2);
	boot_module_free(3);
	after = stats();
	assert_int_equal(after.free - before.free, 2 * MiB / PAGE_SIZE + 2);
	expect_panic(boot_module_free(0), "modules_freed");
	expect_panic(boot_module_free(4), "nr_modules");
	host_ram_exit();
}

/* ---- buddy.c ----------------------------------------------------------------------------------- */

#define SPAN        4096 /* frames of the small buddy system */
#define BUDDY_BLOCK (1ul << FRAME_MAX_ORDER)

struct block {
	pfn_t pfn;
	unsigned order;
};

static u8 owned[SPAN]; /* the model: 0 free, 1 allocated, 2 no RAM */

static bool model_has_block(unsigned order)
{
	for (pfn_t at = 0; at < SPAN; at += 1ul << order)
		if (!memchr(owned + at, 1, 1ul << order) && !memchr(owned + at, 2, 1ul << order))
			return true;
	return false;
}

static void test_buddy_random(void **state)
{
	struct buddy b;
	static struct block blocks[SPAN];
	size_t n = 0;
	pfn_t base = HOST_RAM_BASE / PAGE_SIZE;
	u64 available = 0;

	unit_seed();
	host_ram_init(SPAN);
	/* All of it away from the allocator, so that our own can have it: as never given. */
	for (pfn_t i = 0; i < SPAN; i++)
		*pfn_frame(base + i) = (struct frame){ .type = FRAME_RESERVED };
	buddy_init(&b, base, base + SPAN);
	memset(owned, 2, sizeof(owned));
	for (pfn_t at = 3; at < SPAN;) {
		pfn_t end = MIN(at + unit_random(900) + 1, (u64)SPAN);

		buddy_add(&b, base + at, base + end);
		memset(owned + at, 0, end - at);
		available += end - at;
		at = end + unit_random(30);
	}
	assert_int_equal(b.nr_free, available);
	buddy_check(&b);
	for (u64 round = unit_rounds(20000); round-- > 0;) {
		u64 flags = spin_lock_irqsave(&b.lock);

		if (unit_random(2)) {
			unsigned order = (unsigned)MIN(unit_random(12), unit_random(12));
			struct frame *f;

			order = MIN(order, (unsigned)FRAME_MAX_ORDER);
			f = buddy_alloc_locked(&b, order);
			/* Two free buddies always merge: so a block there is, or there is none. */
			if (!f && model_has_block(order))
				fail_msg("no block of order %u, but the model has one", order);
			if (f) {
				pfn_t at = frame_pfn(f) - base;

				assert_true(IS_ALIGNED(at, 1ul << order));
				for (size_t i = 0; i < 1ul << order; i++) {
					assert_int_equal(owned[at + i], 0);
					owned[at + i] = 1;
					f[i].type = FRAME_KERNEL;
				}
				blocks[n++] = (struct block){ frame_pfn(f), order };
				available -= 1ul << order;
			}
		} else if (n != 0) {
			size_t i = unit_random(n);
			struct block block = blocks[i];

			blocks[i] = blocks[--n];
			if (block.order != 0 && unit_random(4) == 0) { /* in halves */
				block.order--;
				blocks[n++] = block;
				block.pfn += 1ul << block.order;
			}
			memset(owned + (block.pfn - base), 0, 1ul << block.order);
			buddy_free_locked(&b, pfn_frame(block.pfn), block.order);
			available += 1ul << block.order;
		}
		spin_unlock_irqrestore(&b.lock, flags);
		assert_int_equal(b.nr_free, available);
		if (round % 64 == 0)
			buddy_check(&b);
	}
	host_ram_exit();
}

/* Entries of whole blocks may hold anything when they are added: they are written when the block is taken. */
static void test_buddy_fresh(void **state)
{
	struct buddy b;
	pfn_t base = HOST_RAM_BASE / PAGE_SIZE;
	struct frame *f;

	host_ram_init(SPAN);
	memset(pfn_frame(base), 0xa5, SPAN * sizeof(struct frame));
	buddy_init(&b, base, base + SPAN);
	buddy_add(&b, base, base + SPAN);
	assert_int_equal(b.nr_free, SPAN);
	buddy_check(&b);
	assert_int_equal(pfn_frame(base + 1)->order, 0xa5);
	spin_acquire(&b.lock);
	for (unsigned n = 0; n < SPAN; n++) {
		assert_non_null(f = buddy_alloc_locked(&b, 0));
		assert_int_equal(f->type, FRAME_FREE);
		assert_int_equal(f->order, 0);
		assert_int_equal(f->flags, 0);
		assert_int_equal(frame_refs(f), 0);
		f->type = FRAME_KERNEL;
	}
	for (unsigned n = 0; n < SPAN; n++)
		buddy_free_locked(&b, pfn_frame(base + n), 0);
	spin_release(&b.lock);
	buddy_check(&b);
	assert_int_equal(b.nr_free, SPAN);
	host_ram_exit();
}

/* The table's memory holds anything at boot. */
static void test_frame_init_dirty(void **state)
{
	pfn_t base = HOST_RAM_BASE / PAGE_SIZE, end = ALIGN_UP(base + 3000, BUDDY_BLOCK);

	host_ram_init(3000);
	memset(pfn_frame(base), 0xa5, (end - base) * sizeof(struct frame));
	early_init();
	frame_init();
	assert_int_equal(stats().free, 3000);
	for (pfn_t pfn = base + 3000; pfn < end; pfn++)
		assert_int_equal(pfn_frame(pfn)->type, FRAME_RESERVED);
	for (unsigned n = 0; n < 3000; n++)
		assert_non_null(frame_alloc(FRAME_KERNEL, 0));
	assert_null(frame_alloc(FRAME_KERNEL, 0));
	host_ram_exit();
}

static void test_buddy_panics(void **state)
{
	struct buddy b;
	pfn_t base = HOST_RAM_BASE / PAGE_SIZE;

	host_ram_init(SPAN);
	for (pfn_t i = 0; i < SPAN; i++)
		*pfn_frame(base + i) = (struct frame){ .type = FRAME_RESERVED };
	buddy_init(&b, base, base + 1024);
	buddy_add(&b, base, base + 1024);
	spin_acquire(&b.lock);
	expect_panic(buddy_free_locked(&b, pfn_frame(base + 1024), 0), "b->end");
	expect_panic(buddy_free_locked(&b, pfn_frame(base + 1), 1), "IS_ALIGNED");
	struct frame *f = buddy_alloc_locked(&b, 0);

	f[0].type = FRAME_ANON;
	f[1].type = FRAME_ANON; /* somebody scribbles over the head of a free block */
	expect_panic(buddy_alloc_locked(&b, 0), "FRAME_FREE");
	f[1].type = FRAME_FREE;
	spin_release(&b.lock);
	expect_panic(buddy_add(&b, base + 1, base + 2), "FRAME_RESERVED");
	spin_release(&b.lock);
	b.nr_free++;
	expect_panic(buddy_check(&b), "nr_free");
	spin_release(&b.lock);
	host_ram_exit();
}

/* ---- frame.c ----------------------------------------------------------------------------------- */

#define FRAMES 2048

static int setup(void **state)
{
	host_ram_init(FRAMES);
	return 0;
}

static int teardown(void **state)
{
	alloc_fail_at = 0;
	host_ram_exit();
	return 0;
}

static bool is_zero(struct frame *f)
{
	const u64 *p = frame_virt(f);

	for (size_t i = 0; i < PAGE_SIZE / 8; i++)
		if (p[i] != 0)
			return false;
	return true;
}

/* What the random test holds, and what the counters must say. */
static struct frame *have[FRAMES];
static size_t held;
static u64 want[FRAME_TYPES], allocs;

static void alloc_one(u64 round)
{
	enum frame_type type = FRAME_KERNEL + (enum frame_type)unit_random(5);
	unsigned order = unit_random(10) ? 0 : (unsigned)unit_random(6);
	unsigned flags = unit_random(3) ? 0 : FRAME_ZERO;
	struct frame *f = frame_alloc_order(order, type, flags);

	if (!f) {
		struct frame_stats s = stats();

		assert_true(order != 0 || frame_stats_available(&s) == 0);
		return;
	}
	assert_int_equal(f->type, type);
	assert_int_equal(f->order, order);
	assert_int_equal(f->flags, 0);
	assert_int_equal(frame_refs(f), 1);
	for (size_t i = 0; i < 1ul << order; i++) {
		assert_int_equal(f[i].type, type);
		assert_true(!flags || is_zero(f + i));
		memset(frame_virt(f + i), (int)round | 1, PAGE_SIZE);
	}
	want[type] += 1ul << order;
	allocs += 1ul << order;
	have[held++] = f;
}

static void free_one(void)
{
	size_t i = unit_random(held);
	struct frame *f = have[i];

	have[i] = have[--held];
	want[f->type] -= 1ul << f->order;
	frame_get(f);
	frame_put(f);
	assert_int_equal(frame_refs(f), 1);
	if (f->order == 0 && unit_random(4) == 0) {
		memset(frame_virt(f), 0, PAGE_SIZE);
		frame_put_zeroed(f);
	} else {
		frame_put(f);
	}
}

static void zero_one_ahead(void)
{
	struct frame_stats before = stats();

	if (frame_prezero())
		allocs++;
	assert_int_equal(stats().free + stats().cached, before.free + before.cached);
}

static void check_counters(void)
{
	struct frame_stats s = stats();

	for (unsigned type = FRAME_KERNEL; type < FRAME_TYPES; type++)
		assert_int_equal(s.used[type], want[type]);
	assert_int_equal(s.allocs, allocs);
}

/* All blocks have merged again: they can be had in the largest size. */
static void check_merged(void)
{
	for (unsigned i = 0; i < FRAMES / 1024; i++)
		assert_non_null(have[i] = frame_alloc_order(FRAME_MAX_ORDER, FRAME_KERNEL, 0));
	assert_null(frame_alloc(FRAME_KERNEL, 0));
	assert_null(frame_alloc(FRAME_KERNEL, FRAME_ZERO));
	assert_null(frame_alloc_order(1, FRAME_KERNEL, 0));
	for (unsigned i = 0; i < FRAMES / 1024; i++)
		frame_put(have[i]);
}

static void test_frames_random(void **state)
{
	held = 0;
	allocs = 0;
	memset(want, 0, sizeof(want));
	unit_seed();
	assert_int_equal(stats().free, FRAMES);
	for (u64 round = unit_rounds(40000); round-- > 0;) {
		u64 what = unit_random(100);

		if (what < 50) {
			alloc_one(round);
		} else if (what < 97) {
			if (held > 0)
				free_one();
		} else if (what < 99) {
			zero_one_ahead();
		} else {
			frame_drain();
			assert_int_equal(stats().cached, 0);
		}
		check_counters();
	}
	while (held > 0)
		frame_put(have[--held]);
	frame_drain();
	assert_int_equal(stats().free, FRAMES);
	assert_int_equal(stats().frees, allocs);
	check_merged();
}

/* Free frames on the stacks must not stand in the way of a large block. */
static void test_block_drains(void **state)
{
	for (unsigned i = 0; i < FRAMES; i++)
		assert_non_null(have[i] = frame_alloc(FRAME_ANON, 0));
	for (unsigned i = 0; i < FRAMES; i++)
		if (frame_pfn(have[i]) % 64 < 32)
			frame_put(have[i]);
	assert_true(stats().cached != 0);
	for (unsigned i = 0; i < FRAMES / 64; i++)
		assert_non_null(frame_alloc_order(5, FRAME_ANON, 0));
	assert_null(frame_alloc(FRAME_ANON, 0));
}

static void test_zeroed(void **state)
{
	struct frame *f = frame_alloc(FRAME_TABLE, FRAME_ZERO), *g;

	frame_put_zeroed(f);
	/* Known zeros serve the next who wants them, and only when there is nothing else, others. */
	g = frame_alloc(FRAME_ANON, 0);
	assert_ptr_not_equal(f, g);
	assert_ptr_equal(frame_alloc(FRAME_ANON, FRAME_ZERO), f);
	for (unsigned i = 0; i < 64; i++)
		assert_true(frame_prezero());
	assert_false(frame_prezero());
	assert_int_equal(stats().used[FRAME_KERNEL], 0);
	assert_true(stats().cached >= 64);
	while ((g = frame_alloc(FRAME_ANON, 0)))
		frame_get(g);
	assert_int_equal(stats().cached, 0);
}

static void test_frame_panics(void **state)
{
	struct frame *f = frame_alloc(FRAME_ANON, 0), *block;
	char number[20];

	frame_put(f);
	snprintf(number, sizeof(number), "frame %#lx", (unsigned long)frame_pfn(f));
	expect_panic(frame_put(f), "nobody holds");
	assert_non_null(strstr(unit_panic_message, number));
	assert_non_null(strstr(unit_panic_message, "cached"));
	f = pfn_frame(HOST_RAM_BASE / PAGE_SIZE + FRAMES - 1);
	expect_panic(frame_put(f), "type 1 free");
	frame_get(f);
	expect_panic(frame_put(f), "not allocated");
	block = frame_alloc_order(3, FRAME_ANON, 0);
	frame_get(block + 5);
	expect_panic(frame_put(block), "in use otherwise");
	expect_panic(frame_alloc_order(FRAME_MAX_ORDER + 1, FRAME_ANON, 0), "FRAME_MAX_ORDER");
	expect_panic(frame_alloc_order(0, FRAME_FREE, 0), "FRAME_KERNEL");
}

static void test_poison(void **state)
{
	struct frame *f = frame_alloc(FRAME_ANON, 0);
	u8 *p = frame_virt(f);

	frame_put(f);
	p[3] ^= 1;
	expect_panic(frame_alloc(FRAME_ANON, 0), "written after it was freed");
	p[3] ^= 1;
	p[PAGE_SIZE - 1] ^= 0x80;
	expect_panic(frame_alloc(FRAME_ANON, FRAME_ZERO), "written after it was freed");
	p[PAGE_SIZE - 1] ^= 0x80;
	frame_drain(); /* also through the buddy system, and in blocks */
	p[0] = 0;
	expect_panic(while (frame_alloc_order(3, FRAME_ANON, 0)), "written after it was freed");
}

static void test_zeroed_lie(void **state)
{
	struct frame *f = frame_alloc(FRAME_ANON, FRAME_ZERO);
	u8 *p = frame_virt(f);

	p[8] = 1;
	expect_panic(frame_put_zeroed(f), "not zero");
	p[8] = 0;
	f = frame_alloc(FRAME_ANON, FRAME_ZERO);
	p = frame_virt(f);
	frame_put_zeroed(f);
	p[PAGE_SIZE - 8] = 1;
	expect_panic(frame_alloc(FRAME_ANON, FRAME_ZERO), "not zero");
}

static void test_fail_at(void **state)
{
	struct frame *f;

	alloc_fail_at = 3;
	assert_non_null(frame_alloc(FRAME_ANON, 0));
	assert_non_null(f = frame_alloc_order(2, FRAME_ANON, FRAME_ZERO));
	assert_null(frame_alloc(FRAME_ANON, FRAME_ZERO));
	assert_int_equal(alloc_fail_at, 0);
	assert_non_null(frame_alloc(FRAME_ANON, 0));
	alloc_fail_at = 1;
	assert_null(frame_alloc_order(2, FRAME_ANON, 0));
	alloc_fail_at = 1;
	assert_true(frame_prezero()); /* the kernel's own idea, not counted */
	assert_null(frame_alloc(FRAME_ANON, 0));
	frame_put(f);
	stats();
}

static void on_the_other(const u64 *mask, void (*fn)(void *arg), void *arg)
{
	u32 me = host_cpu;

	host_cpu = 1;
	fn(arg);
	host_cpu = me;
}

/* The last frames lie on another CPU's stack: it is asked for them. */
static void test_last_frames_of_others(void **state)
{
	struct frame *f = frame_alloc(FRAME_ANON, 0);
	u64 n;

	nr_cpus = 2;
	mmu_shootdown = on_the_other;
	host_cpu = 1;
	frame_put(f);
	host_cpu = 0;
	assert_true(stats().cached > 0);
	for (n = 0; frame_alloc(FRAME_ANON, 0); n++)
		continue;
	assert_int_equal(n, stats().total);
	mmu_shootdown = NULL;
	nr_cpus = 1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_early_random),
		cmocka_unit_test(test_early_alloc),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_modules),
		cmocka_unit_test(test_buddy_random),
		cmocka_unit_test(test_buddy_fresh),
		cmocka_unit_test(test_frame_init_dirty),
		cmocka_unit_test(test_buddy_panics),
		cmocka_unit_test_setup_teardown(test_frames_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_block_drains, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_frames_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zeroed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frame_panics, setup, teardown),
		cmocka_unit_test_setup_teardown(test_poison, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zeroed_lie, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fail_at, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
