/*
 * From the machine's first tables to the final ones. The boot tables map the first 4 GiB writable
 * and executable; here everything gets its place and its permissions:
 *
 *	all RAM and the firmware's ACPI ranges, once, read-write, never executable;
 *	the frame table, where there are frames;
 *	the kernel's image: text read-execute, the rest never executable, and what is read-only
 *	there
 *	is read-only in the map of all RAM too, so that no second address undoes it.
 *
 * Every entry of the root's upper half gets a table at once, also the unused ones: spaces copy the
 * upper half when they are made and never look at it again. (256 tables are 1 MiB; only those slots
 * that the layout uses are filled.)
 *
 * Before frame_init: tables come from early_alloc, below the limit that the boot tables reach, and
 * running out of memory ends the boot there.
 */
#include "arch/api/boot.h"
#include "arch/api/mmu.h"
#include "arch/api/pte.h"
#include "lib/kassert.h"
#include "lib/string.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/space.h"

/* What the boot tables map: early_alloc hands out memory that we can reach only below this. */
#define BOOT_MAP_END (4 * GiB)

static paddr_t early_table(void)
{
	return early_alloc(PAGE_SIZE, PAGE_SIZE, BOOT_MAP_END);
}

static void must_map(u64 va, paddr_t pa, u64 size, unsigned flags)
{
	int err = map_range(va, pa, size, flags);

	if (err)
		panic("boot: mapping %#lx at %#lx (%lu KiB): error %d", pa.v, va, size / KiB, err);
}

/* Maps physical [start, end) in the direct map, read-only where it is text or constants. */
static void map_direct(u64 start, u64 end)
{
	const struct kernel_section *s;

	for (s = mmu_kernel_sections(); s->va_end; s++) {
		u64 from = s->pa.v, to = from + (s->va_end - s->va_start);

		if ((s->kmap_flags & KMAP_WRITE) || to <= start || from >= end)
			continue;
		if (from > start)
			map_direct(start, from);
		from = MAX(from, start);
		to = MIN(to, end);
		must_map(DIRECT_MAP + from, PADDR(from), to - from, 0);
		if (to < end)
			map_direct(to, end);
		return;
	}
	must_map(DIRECT_MAP + start, PADDR(start), end - start, KMAP_WRITE);
}

/*
 * The ranges of the firmware's map are sorted and disjoint, but their edges are bytes. Neighbours
 * that meet (or share a page) are mapped as one, so that large pages fit.
 */
static void map_all_ram(void)
{
	u64 start = 0, end = 0;

	for (u32 i = 0; i < boot_info.nr_ranges; i++) {
		const struct mem_range *r = &boot_info.range[i];
		u64 from = ALIGN_DOWN(r->start, PAGE_SIZE);
		u64 to = ALIGN_UP(r->end, PAGE_SIZE);

		if (r->type != MEM_RAM && r->type != MEM_ACPI_RECLAIM && r->type != MEM_ACPI_NVS)
			continue;
		if (from > end) {
			if (end > start)
				map_direct(start, end);
			start = from;
		}
		end = MAX(end, to);
	}
	if (end > start)
		map_direct(start, end);
}

static int map_frame_table(u64 start, u64 end)
{
	u64 large = pt_span(2);

	while (start < end) {
		u64 size = IS_ALIGNED(start, large) && end - start >= large ? large : PAGE_SIZE;
		paddr_t pa = early_alloc_dirty(size, size, BOOT_MAP_END); /* frame_init writes it */

		must_map(start, pa, size, KMAP_WRITE);
		start += size;
	}
	return 0;
}

/* The root's entries for [start, end) get tables of their own. */
static void fill_root(pte_t *root, u64 start, u64 end)
{
	for (unsigned i = pt_index(start, PT_LEVELS); i <= pt_index(end - 1, PT_LEVELS); i++)
		if (pte_is_none(root[i]))
			root[i] = pte_make(early_table(), PTE_KTABLE);
}

static u64 ram_end(void)
{
	u64 end = 4 * GiB;

	for (u32 i = 0; i < boot_info.nr_ranges; i++)
		if (boot_info.range[i].type != MEM_RESERVED && boot_info.range[i].type != MEM_BAD)
			end = MAX(end, boot_info.range[i].end);
	return end;
}

void kmap_init(void)
{
	paddr_t root = early_table();
	pte_t *entries = phys_to_virt(root);
	const struct kernel_section *s;
	u64 end = ram_end();

	kmap_set_root(root, early_table);
	fill_root(entries, DIRECT_MAP, DIRECT_MAP + end);
	fill_root(entries, KVA_START, KVA_END);
	fill_root(entries, (u64)FRAME_ARRAY,
		  (u64)FRAME_ARRAY + (end >> PAGE_SHIFT) * sizeof(struct frame));
	for (s = mmu_kernel_sections(); s->va_end; s++) {
		fill_root(entries, s->va_start, s->va_end);
		must_map(s->va_start, s->pa, s->va_end - s->va_start, s->kmap_flags);
	}
	map_all_ram();
	frame_table_map(map_frame_table);
	kmap_set_root(root, NULL);
	mmu_load_root(root, 0, false);
	mmu_flush_all();
}
