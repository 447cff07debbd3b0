/*
 * The kernel's page table (mm/kmap.c) on fake RAM: every documented error, what an error leaves
 * behind, large pages, flushes seen through the simulated MMU, random maps against a flat model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/api/mmu.h"
#include "arch/api/pte.h"
#include "arch/host/ram.h"
#include "lib/err.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/slab.h"
#include "mm/space.h"
#include "mm/tlb.h"

#define VA 0xffffd00000000000ul /* a free slot of the root */

static struct frame *root;

static int setup(void **state)
{
	host_ram_init(8192);
	slab_init();
	host_mmu_reset();
	root = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	assert_non_null(root);
	kmap_set_root(frame_pa(root), NULL);
	mmu_load_root(frame_pa(root), 0, false);
	return 0;
}

static int teardown(void **state)
{
	host_mmu_reset();
	host_ram_exit();
	return 0;
}

static u64 frames_in_use(void)
{
	struct frame_stats s;

	frame_stats(&s);
	return s.total - frame_stats_available(&s);
}

static u64 pa_at(u64 va)
{
	paddr_t pa = PADDR(1);

	return get_physical_address(va, &pa) ? 1 : pa.v;
}

static void test_sizes(void **state)
{
	struct kmap_stats s;

	assert_int_equal(map_page(VA, PADDR(0x5000), PAGE_SIZE, KMAP_WRITE), 0);
	assert_int_equal(map_page(VA + 2 * MiB, PADDR(4 * MiB), 2 * MiB, 0), 0);
	assert_int_equal(map_page(VA + GiB, PADDR(3 * GiB), GiB, KMAP_EXEC), 0);
	assert_int_equal(pa_at(VA + 0x123), 0x5123);
	assert_int_equal(pa_at(VA + 2 * MiB + 0x12345), 4 * MiB + 0x12345);
	assert_int_equal(pa_at(VA + GiB + 0x1234567), 3 * GiB + 0x1234567);
	assert_true(is_page_present(VA));
	assert_false(is_page_present(VA + PAGE_SIZE));
	assert_false(is_page_present(VA - 1));
	assert_false(is_page_present(0x1000));
	kmap_stats(&s);
	assert_true(s.pages_mapped >= 1 + 512 + 512 * 512);

	/* Sizes must agree with what is there. */
	assert_int_equal(unmap_page(VA + 2 * MiB, PAGE_SIZE), -ENOENT);
	assert_int_equal(unmap_page(VA, 2 * MiB), -ENOENT);
	assert_int_equal(protect_page(VA + GiB, 2 * MiB, 0), -ENOENT);
	assert_int_equal(unmap_page(VA, PAGE_SIZE), 0);
	assert_int_equal(unmap_page(VA, PAGE_SIZE), -ENOENT);
	assert_int_equal(unmap_page(VA + 2 * MiB, 2 * MiB), 0);
	assert_int_equal(unmap_page(VA + GiB, GiB), 0);
	assert_false(is_page_present(VA + GiB));
}

static void test_errors(void **state)
{
	u64 used;

	assert_int_equal(map_page(VA + 1, PADDR(0), PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(map_page(VA, PADDR(8), PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(map_page(VA, PADDR(0), 8192, 0), -EINVAL);
	assert_int_equal(map_page(VA, PADDR(0), 0, 0), -EINVAL);
	assert_int_equal(map_page(VA, PADDR(PAGE_SIZE), 2 * MiB, 0), -EINVAL);
	assert_int_equal(map_page(0x1000, PADDR(0), PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(map_page(VA, PADDR(1ul << 52), PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(map_page(VA, PADDR(0), PAGE_SIZE, KMAP_WRITE | KMAP_EXEC), -EINVAL);
	assert_int_equal(map_page(VA, PADDR(0), PAGE_SIZE, KMAP_UNCACHED | KMAP_WC), -EINVAL);
	assert_int_equal(map_page(VA, PADDR(0), PAGE_SIZE, 1u << 20), -EINVAL);
	assert_int_equal(map_range(VA, PADDR(0), 0, 0), -EINVAL);
	assert_int_equal(map_range(VA, PADDR(0), 100, 0), -EINVAL);
	assert_int_equal(map_range(-PAGE_SIZE, PADDR(0), 2 * PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(unmap_range(VA, 0), -EINVAL);
	assert_int_equal(unmap_range(VA + 5, PAGE_SIZE), -EINVAL);
	assert_int_equal(protect_range(VA, PAGE_SIZE, KMAP_WRITE | KMAP_EXEC), -EINVAL);

	/* A conflict in the middle changes nothing, and takes no table. */
	assert_int_equal(map_page(VA + 5 * PAGE_SIZE, PADDR(0x9000), PAGE_SIZE, 0), 0);
	used = frames_in_use();
	assert_int_equal(map_range(VA, PADDR(0x100000), 8 * PAGE_SIZE, 0), -EEXIST);
	assert_int_equal(map_range(VA - 64 * MiB, PADDR(0), 65 * MiB, 0), -EEXIST);
	assert_int_equal(map_page(VA, PADDR(0), 2 * MiB, 0), -EEXIST);
	assert_int_equal(map_page(VA, PADDR(0), GiB, 0), -EEXIST);
	assert_int_equal(unmap_range(VA + 4 * PAGE_SIZE, 2 * PAGE_SIZE), -ENOENT);
	assert_int_equal(protect_range(VA + 5 * PAGE_SIZE, 2 * PAGE_SIZE, 0), -ENOENT);
	assert_int_equal(frames_in_use(), used);
	assert_false(is_page_present(VA));
	assert_int_equal(pa_at(VA + 5 * PAGE_SIZE), 0x9000);

	/* A large page that the range covers in part. */
	assert_int_equal(map_page(VA + 2 * MiB, PADDR(0), 2 * MiB, 0), 0);
	assert_int_equal(unmap_range(VA + 2 * MiB, MiB), -EINVAL);
	assert_int_equal(unmap_range(VA + 3 * MiB, MiB), -EINVAL);
	assert_true(is_page_present(VA + 3 * MiB));

	/* An empty table gives way to a large page. */
	assert_int_equal(unmap_page(VA + 5 * PAGE_SIZE, PAGE_SIZE), 0);
	assert_int_equal(map_page(VA, PADDR(2 * MiB), 2 * MiB, 0), 0);
	assert_int_equal(frames_in_use(), used - 1);
	assert_int_equal(pa_at(VA + 7), 2 * MiB + 7);
	assert_int_equal(unmap_range(VA, 4 * MiB), 0);
}

#define BIG (VA + 601 * GiB - 2 * MiB - PAGE_SIZE) /* no table there yet */

static void test_range_uses_large_pages(void **state)
{
	u64 before = frames_in_use();

	/* 4 KiB up to 2 MiB, 2 MiB up to 1 GiB, one of 1 GiB, and down again. */
	assert_int_equal(map_range(BIG, PADDR(5 * GiB - 2 * MiB - PAGE_SIZE),
				   GiB + 4 * MiB + 2 * PAGE_SIZE, KMAP_WRITE),
			 0);
	/* A table of level 3, two of level 2, two of level 1. */
	assert_int_equal(frames_in_use() - before, 5);
	for (u64 off = 0; off < GiB + 4 * MiB + 2 * PAGE_SIZE; off += PAGE_SIZE)
		assert_int_equal(pa_at(BIG + off), 5 * GiB - 2 * MiB - PAGE_SIZE + off);
	assert_int_equal(unmap_range(BIG, GiB + 4 * MiB + 2 * PAGE_SIZE), 0);
	assert_false(is_page_present(BIG));
}

static void test_flushes(void **state)
{
	struct frame *a = frame_alloc(FRAME_KERNEL, 0), *b = frame_alloc(FRAME_KERNEL, 0);
	paddr_t pa;

	assert_int_equal(map_page(VA, frame_pa(a), PAGE_SIZE, KMAP_WRITE), 0);
	assert_int_equal(host_mmu_access(VA + 8, FAULT_WRITE, false, &pa), 0);
	assert_int_equal(pa.v, frame_pa(a).v + 8);
	assert_int_equal(host_mmu_access(VA, FAULT_READ, true, &pa), -1);
	assert_int_equal(host_mmu_access(VA, FAULT_EXEC, false, &pa), -1);

	/* A fault makes the processor forget a page; it must know this one. */
	assert_int_equal(host_mmu_access(VA, FAULT_WRITE, false, &pa), 0);
	assert_int_equal(protect_page(VA, PAGE_SIZE, 0), 0);
	assert_int_equal(host_mmu_access(VA, FAULT_WRITE, false, &pa), -1);
	assert_int_equal(host_mmu_access(VA, FAULT_READ, false, &pa), 0);
	host_mmu_counts.page = 0;
	assert_int_equal(protect_page(VA, PAGE_SIZE, KMAP_EXEC), 0);
	assert_int_equal(host_mmu_counts.page, 0); /* more permission */
	host_mmu_audit();
	assert_int_equal(unmap_page(VA, PAGE_SIZE), 0);
	mmu_check_unreachable(frame_pfn(a));
	assert_int_equal(host_mmu_access(VA, FAULT_READ, false, &pa), -1);

	/* Above the ceiling: everything goes. */
	assert_int_equal(map_range(VA, PADDR(HOST_RAM_BASE), 100 * PAGE_SIZE, KMAP_WRITE), 0);
	for (u64 i = 0; i < 100; i++)
		assert_int_equal(host_mmu_access(VA + i * PAGE_SIZE, FAULT_WRITE, false, &pa), 0);
	host_mmu_counts.page = host_mmu_counts.all = 0;
	assert_int_equal(unmap_range(VA, 100 * PAGE_SIZE), 0);
	assert_int_equal(host_mmu_counts.page, 0);
	assert_int_equal(host_mmu_counts.all, 1);
	assert_true(host_mmu_audit() < 8);

	/* A table that a large page replaces is nowhere cached. */
	assert_int_equal(map_page(VA, frame_pa(b), PAGE_SIZE, 0), 0);
	assert_int_equal(host_mmu_access(VA, FAULT_READ, false, &pa), 0);
	assert_int_equal(unmap_page(VA, PAGE_SIZE), 0);
	assert_int_equal(host_mmu_access(VA + PAGE_SIZE, FAULT_READ, false, &pa), -1);
	host_mmu_speculate(VA);
	assert_int_equal(map_page(VA, PADDR(HOST_RAM_BASE), 2 * MiB, 0), 0);
	host_mmu_audit();
	assert_int_equal(host_mmu_access(VA + MiB, FAULT_READ, false, &pa), 0);
	assert_int_equal(pa.v, HOST_RAM_BASE + MiB);
	assert_int_equal(unmap_page(VA, 2 * MiB), 0);
	frame_put(a);
	frame_put(b);
}

static void test_cache_kinds(void **state)
{
	assert_int_equal(pte_cache_bits(true, false, 1), PTE_PCD | PTE_PWT);
	assert_int_equal(pte_cache_bits(false, true, 1), 1u << 7);
	assert_int_equal(pte_cache_bits(false, true, 2), 1u << 12);
	/* The PAT bit of a large page is not part of its address. */
	assert_int_equal(map_page(VA, PADDR(6 * MiB), 2 * MiB, KMAP_WC | KMAP_WRITE), 0);
	assert_int_equal(pa_at(VA + 0x1010), 6 * MiB + 0x1010);
	assert_int_equal(protect_page(VA, 2 * MiB, KMAP_WC), 0);
	assert_int_equal(pa_at(VA), 6 * MiB);
	assert_int_equal(unmap_page(VA, 2 * MiB), 0);
}

static void test_allocation_failure(void **state)
{
	for (u64 k = 1;; k++) {
		u64 used = frames_in_use();
		int err;

		alloc_fail_at = k;
		err = map_range(VA + 200 * GiB - 5 * PAGE_SIZE, PADDR(0), 10 * PAGE_SIZE, 0);
		alloc_fail_at = 0;
		if (!err) {
			assert_true(k > 3);
			break;
		}
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(frames_in_use(), used);
		assert_false(is_page_present(VA + 200 * GiB));
	}
	assert_int_equal(unmap_range(VA + 200 * GiB - 5 * PAGE_SIZE, 10 * PAGE_SIZE), 0);
}

/* Ranges of addresses that the allocator keeps: objects in use. */
static u64 kva_ranges(void)
{
	struct slab_stats s;

	for (unsigned i = 0; slab_stats(i, &s); i++)
		if (!strcmp(s.name, "kva_range"))
			return s.in_use;
	return 0;
}

static void test_kva(void **state)
{
	u64 va[200];

	for (int i = 0; i < 200; i++) {
		va[i] = kva_alloc(i % 7 + 1);
		assert_true(va[i] > KVA_START && va[i] < KVA_END);
		/* Apart by a guard page at least. */
		for (int j = 0; j < i; j++)
			assert_true(va[j] + (j % 7 + 2) * PAGE_SIZE <= va[i] ||
				    va[i] + (i % 7 + 2) * PAGE_SIZE <= va[j]);
	}
	for (int i = 0; i < 200; i += 2)
		kva_free(va[i], i % 7 + 1);
	for (int i = 1; i < 200; i += 2)
		kva_free(va[i], i % 7 + 1);
	/* All merged again: nearly everything can be had at once. */
	u64 all = kva_alloc((KVA_END - KVA_START) / PAGE_SIZE - 2);

	assert_int_equal(all, KVA_START + PAGE_SIZE);
	assert_int_equal(kva_alloc(1), 0);
	assert_int_equal(kva_ranges(), 1);
	kva_free(all, (KVA_END - KVA_START) / PAGE_SIZE - 2);
	assert_int_equal(kva_alloc(0), 0);
	assert_int_equal(kva_alloc(1ul << 50), 0);
	assert_int_equal(kva_ranges(), 1);
}

static void test_mmio(void **state)
{
	char *p = mmio_map(PADDR(0xfee00010), 0x20, KMAP_UNCACHED);
	char *q = mmio_map(PADDR(0xe0000ff0), 0x20, 0);

	assert_non_null(p);
	assert_int_equal((u64)p & 0xfff, 0x10);
	assert_int_equal(pa_at((u64)p), 0xfee00010);
	assert_int_equal(pa_at((u64)q + 0x1f), 0xe000100f);
	assert_false(is_page_present(((u64)p & PAGE_MASK) + PAGE_SIZE));
	assert_false(is_page_present(((u64)p & PAGE_MASK) - PAGE_SIZE));
	mmio_unmap(p, 0x20);
	mmio_unmap(q, 0x20);
	assert_false(is_page_present((u64)p));
	assert_null(mmio_map(PADDR(0), 0, 0));
	assert_null(mmio_map(PADDR(-8ul), 16, 0));
}

/* Random maps, unmaps and protections in a window, next to an array. */
#define WINDOW 1536 /* pages: three tables */

static void test_random(void **state)
{
	static u64 model[WINDOW]; /* physical page + 1 */
	unsigned seed = 7;
	u64 base = VA + 300 * GiB;

	memset(model, 0, sizeof(model));
	for (int op = 0; op < 20000; op++) {
		u64 at = rand_r(&seed) % WINDOW, n = rand_r(&seed) % 20 + 1;
		u64 pa = 0x40000 + rand_r(&seed) % 1000;
		bool any = false, all = true;
		int err;

		n = n > WINDOW - at ? WINDOW - at : n;
		for (u64 i = at; i < at + n; i++) {
			any |= model[i] != 0;
			all &= model[i] != 0;
		}
		if (rand_r(&seed) % 2) {
			err = map_range(base + at * PAGE_SIZE, PADDR(pa * PAGE_SIZE), n * PAGE_SIZE,
					KMAP_WRITE);
			assert_int_equal(err, any ? -EEXIST : 0);
			for (u64 i = 0; i < n && !err; i++)
				model[at + i] = pa + i + 1;
		} else {
			err = unmap_range(base + at * PAGE_SIZE, n * PAGE_SIZE);
			assert_int_equal(err, all ? 0 : -ENOENT);
			for (u64 i = 0; i < n && !err; i++)
				model[at + i] = 0;
		}
		at = rand_r(&seed) % WINDOW;
		assert_int_equal(pa_at(base + at * PAGE_SIZE + 5),
				 model[at] ? (model[at] - 1) * PAGE_SIZE + 5 : 1);
		host_mmu_speculate(base + at * PAGE_SIZE);
		if (op % 64 == 0)
			host_mmu_audit();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_range_uses_large_pages),
		cmocka_unit_test(test_flushes),
		cmocka_unit_test(test_cache_kinds),
		cmocka_unit_test(test_allocation_failure),
		cmocka_unit_test(test_kva),
		cmocka_unit_test(test_mmio),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests_name("kmap", tests, setup, teardown);
}
