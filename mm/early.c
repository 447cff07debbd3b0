/*
 * RAM before there is an allocator: a sorted list of free ranges, made from the firmware's map
 * less all that is taken (the first MiB, the kernel's image, the modules, what the map calls not
 * RAM), out of which early_alloc carves from the bottom. What is left goes to the buddy system.
 *
 * Ranges hold whole pages: RAM is rounded inward, entry by entry, what is taken outward. Whatever the map says
 * (empty entries, holes, entries of a few bytes, an overlap) no page is given out twice.
 *
 * Runs on the boot CPU alone, before anything else: no locks.
 */
#include "arch/api/boot.h"
#include "arch/api/page.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "mm/frame.h"
#include "mm/internal.h"

struct early_range {
	u64 start, end; /* physical, page aligned, start < end */
};

/* Each range carved out of the middle of another adds one. */
#define EARLY_MAX_RANGES (2 * BOOT_MAX_RANGES + BOOT_MAX_MODULES + 32)

/* Carving splits only `early`; `ram` stays as it was made, for the statistics and the table. */
struct range_list {
	struct early_range range[EARLY_MAX_RANGES];
	unsigned n;
};
static struct range_list early, ram;
static bool closed;

static void list_remove(struct range_list *l, unsigned i)
{
	for (l->n--; i < l->n; i++)
		l->range[i] = l->range[i + 1];
}

static void list_insert(struct range_list *l, unsigned i, u64 start, u64 end)
{
	if (l->n == EARLY_MAX_RANGES) {
		log_warn("early: memory map too fragmented, %lu KiB lost\n", (end - start) / KiB);
		return;
	}
	for (unsigned j = l->n++; j > i; j--)
		l->range[j] = l->range[j - 1];
	l->range[i] = (struct early_range){ start, end };
}

/* Takes [start, end) out of the list, rounded outward. */
static void list_carve(struct range_list *l, u64 start, u64 end)
{
	if (end <= start)
		return;
	start = ALIGN_DOWN(start, PAGE_SIZE);
	end = end > UINT64_MAX - PAGE_SIZE ? ALIGN_DOWN(UINT64_MAX, PAGE_SIZE) :
					     ALIGN_UP(end, PAGE_SIZE);
	for (unsigned i = 0; i < l->n; i++) {
		struct early_range *r = &l->range[i];
		u64 old_end = r->end;

		if (r->end <= start || r->start >= end)
			continue;
		if (r->start >= start && r->end <= end) {
			list_remove(l, i--);
		} else if (r->start >= start) {
			r->start = end;
		} else {
			r->end = start;
			if (old_end > end)
				list_insert(l, i + 1, end, old_end);
		}
	}
}

/* Adds the whole pages of [start, end), keeping the list sorted, disjoint and merged. */
static void list_add_range(struct range_list *l, u64 start, u64 end)
{
	unsigned i = 0;

	if (start > UINT64_MAX - PAGE_SIZE)
		return;
	start = ALIGN_UP(start, PAGE_SIZE);
	end = ALIGN_DOWN(end, PAGE_SIZE);
	if (end <= start)
		return;
	while (i < l->n && l->range[i].end < start)
		i++;
	while (i < l->n && l->range[i].start <= end) {
		start = MIN(start, l->range[i].start);
		end = MAX(end, l->range[i].end);
		list_remove(l, i);
	}
	list_insert(l, i, start, end);
}

/* Reads boot_info. The first call of mm/ at boot; later ones (host tests) start anew. */
void early_init(void)
{
	early.n = 0;
	ram.n = 0;
	closed = false;
	for (u32 i = 0; i < boot_info.nr_ranges; i++)
		if (boot_info.range[i].type == MEM_RAM)
			list_add_range(&ram, boot_info.range[i].start, boot_info.range[i].end);
	for (u32 i = 0; i < boot_info.nr_ranges; i++)
		if (boot_info.range[i].type != MEM_RAM)
			list_carve(&ram, boot_info.range[i].start, boot_info.range[i].end);
	early = ram;
	list_carve(&early, 0, EARLY_LOW_END);
	list_carve(&early, boot_info.kernel_start, boot_info.kernel_end);
	for (u32 i = 0; i < boot_info.nr_modules; i++)
		list_carve(&early, boot_info.module[i].start, boot_info.module[i].end);
}

paddr_t early_alloc_dirty(size_t bytes, size_t align, u64 limit)
{
	kassert(!closed && bytes != 0 && (align == 0 || IS_POWER_OF_2(align)));
	align = MAX(align, PAGE_SIZE);
	bytes = ALIGN_UP(bytes, PAGE_SIZE);
	for (unsigned i = 0; i < early.n; i++) {
		u64 start = ALIGN_UP(early.range[i].start, align);
		u64 end = MIN(early.range[i].end, limit);

		if (start >= end || end - start < bytes)
			continue;
		list_carve(&early, start, start + bytes);
		return PADDR(start);
	}
	panic("out of memory at boot: no %lu KiB free below %lu MiB; this machine has %lu MiB of "
	      "RAM, Jiffy needs 32 MiB and room for its modules",
	      bytes / KiB, limit / MiB, early_ram_frames() * PAGE_SIZE / MiB);
}

paddr_t early_alloc(size_t bytes, size_t align, u64 limit)
{
	paddr_t pa = early_alloc_dirty(bytes, align, limit);

	mem_set(phys_to_virt(pa), 0, ALIGN_UP(bytes, PAGE_SIZE));
	return pa;
}

static bool list_get(const struct range_list *l, unsigned index, pfn_t *start, pfn_t *end)
{
	if (index >= l->n)
		return false;
	*start = l->range[index].start >> PAGE_SHIFT;
	*end = l->range[index].end >> PAGE_SHIFT;
	return true;
}

bool early_take_range(unsigned index, pfn_t *start, pfn_t *end)
{
	closed = true;
	return list_get(&early, index, start, end);
}

bool early_ram_range(unsigned index, pfn_t *start, pfn_t *end)
{
	return list_get(&ram, index, start, end);
}

u64 early_ram_frames(void)
{
	u64 frames = 0;

	for (unsigned i = 0; i < ram.n; i++)
		frames += (ram.range[i].end - ram.range[i].start) >> PAGE_SHIFT;
	return frames;
}
