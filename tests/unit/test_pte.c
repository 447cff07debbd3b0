/* Page-table entries and marks: the arithmetic of arch/api/pte.h and mm/mark.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/api/pte.h"
#include "arch/host/ram.h"
#include "mm/mark.h"
#include "mm/slab.h"

static void test_geometry(void **state)
{
	assert_int_equal(pt_span(1), 4096);
	assert_int_equal(pt_span(2), 2 * MiB);
	assert_int_equal(pt_span(3), GiB);
	assert_int_equal(pt_span(4), 512 * GiB);
	assert_int_equal(pt_index(0, 1), 0);
	assert_int_equal(pt_index(0x1ff000, 1), 511);
	assert_int_equal(pt_index(0x200000, 1), 0);
	assert_int_equal(pt_index(0x200000, 2), 1);
	assert_int_equal(pt_index(0x00007fffffffffff, 4), 255);
	assert_int_equal(pt_index(0xffff800000000000, 4), 256);
	assert_int_equal(pt_index(0xffffffff80000000, 4), 511);
	assert_int_equal(pt_index(0xffffffff80000000, 3), 510);
}

static void test_bits_are_apart(void **state)
{
	u64 hardware = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_PWT | PTE_PCD | PTE_ACCESSED |
		       PTE_DIRTY | PTE_LARGE | PTE_GLOBAL | PTE_NOEXEC | PTE_ADDR;
	u64 soft = 0;

	for (unsigned n = 0; n < 10; n++) {
		assert_true(IS_POWER_OF_2(PTE_SOFT(n)));
		assert_int_equal(soft & PTE_SOFT(n), 0);
		soft |= PTE_SOFT(n);
	}
	assert_int_equal(soft & hardware, 0);
	assert_int_equal(soft & (0xful << 59), 0); /* protection keys */
	assert_int_equal(MARK_KINDS & (VM_BITS | VM_SIDE | PTE_ADDR | PTE_PRESENT), 0);
	assert_int_equal((VM_READ | VM_WRITE | VM_FLAGS | VM_SIDE) & ~soft, 0);
	assert_int_equal(PTE_TABLE & PTE_NOEXEC, 0);
}

static void test_kinds(void **state)
{
	pte_t table = pte_make(PADDR(0x1234000), PTE_TABLE);
	pte_t leaf = pte_make_pfn(0x777, PTE_PRESENT | PTE_NOEXEC);
	pte_t large = pte_make(PADDR(4 * MiB), PTE_PRESENT | PTE_LARGE | 1ul << 12);

	assert_true(pte_is_none(PTE_NONE));
	assert_true(pte_is_table(table, 2) && pte_is_table(table, 4));
	assert_false(pte_is_table(table, 1) || pte_is_leaf(table, 3));
	assert_true(pte_is_leaf(leaf, 1) && pte_is_leaf(large, 2));
	assert_int_equal(pte_pa(table, 2).v, 0x1234000);
	assert_int_equal(pte_pfn(leaf), 0x777);
	assert_int_equal(pte_pa(large, 2).v, 4 * MiB);
	/* In a table of level 1 bit 7 is a cache bit, not a size. */
	large.v = (0x5000 | PTE_PRESENT | PTE_LARGE);
	assert_int_equal(pte_pa(large, 1).v, 0x5000);
}

static void test_atomics(void **state)
{
	pte_t slot = PTE_NONE;

	pte_store(&slot, pte_make_pfn(5, PTE_PRESENT | PTE_WRITE));
	assert_int_equal(pte_set_bits(&slot, PTE_DIRTY).v, 0x5000 | PTE_PRESENT | PTE_WRITE);
	assert_int_equal(pte_clear_bits(&slot, PTE_WRITE).v,
			 0x5000 | PTE_PRESENT | PTE_WRITE | PTE_DIRTY);
	assert_int_equal(pte_exchange(&slot, PTE_NONE).v, 0x5000 | PTE_PRESENT | PTE_DIRTY);
	assert_int_equal(pte_load(&slot).v, 0);
}

/* A mark is not present, not empty, and its address bits lie above all memory (L1TF). */
static void check_mark(pte_t e, u64 memory_end)
{
	assert_false(pte_is_present(e));
	assert_false(pte_is_none(e));
	assert_true((e.v & PTE_ADDR) >= memory_end);
}

static void test_marks(void **state)
{
	struct vm_mapping *m;
	struct slab_cache *cache;

	host_ram_init(1024);
	slab_init();
	cache = slab_cache_create("mapping", sizeof(*m), 64);
	for (int prot = 0; prot < 8; prot++) {
		pte_t e = mark_anon(prot_to_bits(prot) | VM_NORESERVE);

		check_mark(e, 64 * TiB);
		assert_int_equal(mark_kind(e), MARK_ANON);
		assert_int_equal(bits_to_prot(e.v), prot);
		assert_int_equal(bits_accessible(e.v), prot != 0);
		assert_false(mark_has_mapping(e));

		m = slab_alloc(cache);
		e = mark_mapped(MARK_SHARED, m, prot_to_bits(prot));
		check_mark(e, 32 * TiB);
		assert_true(mark_has_mapping(e));
		assert_ptr_equal(mark_mapping(e), m);
		assert_int_equal(bits_to_prot(e.v), prot);
		e = mark_mapped(MARK_PRIVATE, m, 0);
		assert_ptr_equal(mark_mapping(e), m);
		slab_free(cache, m);

		e = mark_held(0x12345, prot_to_bits(prot) | VM_SIDE);
		check_mark(e, 64 * TiB);
		assert_true(mark_is_held(e));
		assert_int_equal(mark_pfn(e), 0x12345);
		assert_true(e.v & VM_SIDE);
	}
	host_ram_exit();
}

static void test_mark_of_slot(void **state)
{
	static struct vm_side side;
	pte_t mark = { MARK_PRIVATE | 0x123000 };
	pte_t leaf = leaf_make(7, VM_READ | VM_WRITE | VM_GROWSDOWN);

	side.mark[3] = mark;
	assert_int_equal(mark_of_slot(leaf, &side, 3).v,
			 mark_anon(VM_READ | VM_WRITE | VM_GROWSDOWN).v);
	leaf.v |= VM_SIDE | PTE_WRITE | PTE_DIRTY;
	assert_int_equal(mark_of_slot(leaf, &side, 3).v,
			 mark.v | VM_READ | VM_WRITE | VM_GROWSDOWN);
	assert_int_equal(mark_of_slot(mark_held(9, PTE_NOEXEC | VM_SIDE), &side, 3).v,
			 mark.v | PTE_NOEXEC);
	assert_int_equal(mark_of_slot(mark, NULL, 0).v, mark.v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_geometry), cmocka_unit_test(test_bits_are_apart),
		cmocka_unit_test(test_kinds),    cmocka_unit_test(test_atomics),
		cmocka_unit_test(test_marks),    cmocka_unit_test(test_mark_of_slot),
	};

	return cmocka_run_group_tests_name("pte", tests, NULL, NULL);
}
