/* Frames, objects, and the kernel's page table, on the real machine. */
#include "arch/api/boot.h"
#include "init/ktest.h"
#include "lib/err.h"
#include "lib/string.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/slab.h"
#include "mm/tlb.h"

static u64 sum_of(const struct frame_stats *s)
{
	u64 sum = s->free + s->cached;

	for (int i = 0; i < FRAME_TYPES; i++)
		if (i != FRAME_FREE && i != FRAME_CACHED)
			sum += s->used[i];
	return sum;
}

KTEST(frame_statistics_add_up)
{
	struct frame_stats s;
	struct frame *f[100];

	frame_stats(&s);
	ktest_check_eq(s.total, sum_of(&s));
	u64 before = frame_stats_available(&s);
	for (int i = 0; i < 100; i++) {
		f[i] = frame_alloc(FRAME_KERNEL, 0);
		ktest_check(f[i]);
	}
	frame_stats(&s);
	ktest_check_eq(s.total, sum_of(&s));
	ktest_check(frame_stats_available(&s) <= before - 100);
	for (int i = 0; i < 100; i++)
		frame_put(f[i]);
	frame_stats(&s);
	ktest_check_eq(s.total, sum_of(&s));
	ktest_check_eq(frame_stats_available(&s), before);
}

KTEST(zeroed_frames_are_zero)
{
	for (int round = 0; round < 200; round++) {
		struct frame *f = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
		const u64 *p = frame_virt(f);

		for (size_t i = 0; i < PAGE_SIZE / 8; i++)
			ktest_check_eq(p[i], 0);
		memset(frame_virt(f), 0xa5, PAGE_SIZE);
		frame_put(f);
	}
}

KTEST(large_blocks_are_aligned)
{
	for (unsigned order = 0; order <= FRAME_MAX_ORDER; order++) {
		struct frame *f = frame_alloc_order(order, FRAME_KERNEL, 0);

		ktest_check(f);
		ktest_check(IS_ALIGNED(frame_pfn(f), 1ul << order));
		frame_put(f);
	}
}

KTEST(slab_statistics_add_up)
{
	void *p[64];

	for (int i = 0; i < 64; i++) {
		p[i] = kmalloc((size_t)(i * 61 + 1));
		ktest_check(p[i]);
		ktest_check(IS_ALIGNED((u64)p[i], 16));
		memset(p[i], i, (size_t)(i * 61 + 1));
	}
	struct slab_stats s;
	for (unsigned i = 0; slab_stats(i, &s); i++)
		ktest_check(s.in_use <= s.total);
	for (int i = 0; i < 64; i++) {
		const u8 *b = p[i];

		for (int j = 0; j < i * 61 + 1; j++)
			ktest_check_eq(b[j], i);
		kfree(p[i]);
	}
}

KTEST(kmap_refuses_what_is_wrong)
{
	u64 va = kva_alloc(16);
	struct frame *f = frame_alloc(FRAME_KERNEL, 0);
	paddr_t pa = frame_pa(f), got;

	ktest_check(va && f);
	ktest_check_eq(map_page(va + 1, pa, PAGE_SIZE, KMAP_WRITE), -EINVAL);
	ktest_check_eq(map_page(va, PADDR(pa.v + 8), PAGE_SIZE, KMAP_WRITE), -EINVAL);
	ktest_check_eq(map_page(0x400000, pa, PAGE_SIZE, KMAP_WRITE), -EINVAL);
	ktest_check_eq(map_page(va, pa, 8192, KMAP_WRITE), -EINVAL);
	ktest_check_eq(map_page(va, pa, PAGE_SIZE, KMAP_WRITE | KMAP_EXEC), -EINVAL);
	ktest_check_eq(unmap_page(va, PAGE_SIZE), -ENOENT);
	ktest_check_eq(protect_page(va, PAGE_SIZE, 0), -ENOENT);
	ktest_check(!is_page_present(va));
	ktest_check_eq(get_physical_address(va, &got), -ENOENT);

	ktest_check_eq(map_page(va, pa, PAGE_SIZE, KMAP_WRITE), 0);
	ktest_check_eq(map_page(va, pa, PAGE_SIZE, KMAP_WRITE), -EEXIST);
	ktest_check(is_page_present(va));
	ktest_check_eq(get_physical_address(va + 123, &got), 0);
	ktest_check_eq(got.v, pa.v + 123);
	/* A range with one page taken changes nothing. */
	ktest_check_eq(map_range(va - PAGE_SIZE + PAGE_SIZE, pa, 4 * PAGE_SIZE, KMAP_WRITE),
		       -EEXIST);
	ktest_check(!is_page_present(va + PAGE_SIZE));
	ktest_check_eq(unmap_range(va, 2 * PAGE_SIZE), -ENOENT);
	ktest_check(is_page_present(va));
	ktest_check_eq(unmap_page(va, PAGE_SIZE), 0);
	ktest_check(!is_page_present(va));
	frame_put(f);
	kva_free(va, 16);
}

KTEST(kmap_maps_and_remaps)
{
	u64 va = kva_alloc(100);
	struct frame *a = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	struct frame *b = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	volatile u64 *p = (volatile u64 *)va;

	ktest_check(va && a && b);
	for (int i = 0; i < 100; i++) {
		ktest_check_eq(map_page(va, frame_pa(a), PAGE_SIZE, KMAP_WRITE), 0);
		*p = 1;
		ktest_check_eq(unmap_page(va, PAGE_SIZE), 0);
		ktest_check_eq(map_page(va, frame_pa(b), PAGE_SIZE, KMAP_WRITE), 0);
		*p = 2;
		ktest_check_eq(*(u64 *)frame_virt(a), 1); /* a stale translation would write here */
		ktest_check_eq(*(u64 *)frame_virt(b), 2);
		ktest_check_eq(unmap_page(va, PAGE_SIZE), 0);
	}
	frame_put(a);
	frame_put(b);
	kva_free(va, 100);
}

KTEST(kmap_large_pages)
{
	struct frame *f = frame_alloc_order(9, FRAME_KERNEL, 0);
	u64 va = kva_alloc(3 * 512);
	paddr_t got;

	ktest_check(f && va);
	u64 large = ALIGN_UP(va, 2 * MiB);
	ktest_check_eq(map_page(large, frame_pa(f), 2 * MiB, KMAP_WRITE), 0);
	memset((void *)large, 0x5a, 2 * MiB);
	ktest_check_eq(((u8 *)frame_virt(f))[2 * MiB - 1], 0x5a);
	ktest_check_eq(get_physical_address(large + MiB, &got), 0);
	ktest_check_eq(got.v, frame_pa(f).v + MiB);
	ktest_check_eq(unmap_page(large, PAGE_SIZE), -ENOENT); /* a larger page covers it */
	ktest_check_eq(unmap_range(large, 2 * MiB), 0);
	ktest_check(!is_page_present(large));
	frame_put(f);
	kva_free(va, 3 * 512);
}

KTEST(tlb_counters_move)
{
	struct tlb_stats before, after;
	u64 va = kva_alloc(1);

	tlb_stats(&before);
	tlb_flush_page(NULL, va);
	tlb_flush_range(NULL, va, va + 64 * PAGE_SIZE);
	tlb_flush_range(NULL, va, va + 65 * PAGE_SIZE);
	tlb_flush_all();
	tlb_stats(&after);
	kva_free(va, 1);
	ktest_check(after.page > before.page);
	ktest_check(after.range > before.range);
	ktest_check(after.all > before.all);
}

KTEST(image_is_write_xor_execute)
{
	extern char __text_start[], __data_start[];
	paddr_t text, data;

	ktest_check_eq(get_physical_address((u64)__text_start, &text), 0);
	ktest_check_eq(text.v, boot_info.kernel_start);
	ktest_check_eq(get_physical_address((u64)__data_start, &data), 0);
	/* The crash tests text-write, rodata-write and exec-data prove what the entries say. */
	ktest_check(!is_page_present(0));
	ktest_check(!is_page_present(PAGE_SIZE));
}
