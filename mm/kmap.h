/*
 * The kernel's own page table: its image, the direct map, stacks, device memory. One table for all
 * address spaces (their upper halves share it). Addresses and sizes are multiples of the page size
 * in use (4 KiB, 2 MiB, 1 GiB); physical addresses likewise.
 *
 * Errors: -EINVAL misaligned, not a kernel address or unknown size; -EEXIST something is mapped
 * there (nothing has changed); -ENOENT nothing is mapped there, or a larger page covers it;
 * -ENOMEM no frame for a table (nothing has changed).
 */
#pragma once

#include "lib/types.h"

/* Permissions and kinds of a mapping. Readable always. */
#define KMAP_WRITE    (1u << 0)
#define KMAP_EXEC     (1u << 1) /* never together with KMAP_WRITE: -EINVAL */
#define KMAP_UNCACHED (1u << 2) /* device registers */
#define KMAP_WC       (1u << 3) /* write combining: framebuffers */

int map_page(u64 va, paddr_t pa, u64 size, unsigned flags); /* size: 4 KiB, 2 MiB or 1 GiB */
int unmap_page(u64 va, u64 size);                           /* flushes */
int protect_page(u64 va, u64 size, unsigned flags);         /* flushes where permissions shrink */

/* Ranges: the largest pages that alignment allows. unmap_range and protect_range want every page
 * of the range mapped, and check before they change anything; a larger page that the range covers
 * only in part is -EINVAL. */
int map_range(u64 va, paddr_t pa, u64 size, unsigned flags);
int unmap_range(u64 va, u64 size);
int protect_range(u64 va, u64 size, unsigned flags);

/* The page walk. -ENOENT if not mapped. Any context. */
int get_physical_address(u64 va, paddr_t *pa);
bool is_page_present(u64 va);

/* Device memory or firmware tables at any alignment; NULL if out of memory or address space. */
void *mmio_map(paddr_t pa, size_t len, unsigned flags);
void mmio_unmap(void *p, size_t len);

/* Address space for the kernel: `pages` pages and an unmapped guard page before and behind. 0: none left. */
u64 kva_alloc(u64 pages);
void kva_free(u64 va, u64 pages);

struct kmap_stats {
	u64 pages_mapped, pages_unmapped; /* in 4 KiB units, since boot */
	u64 tables;
};
void kmap_stats(struct kmap_stats *out);

/* Boot: from the machine's first tables to the final ones (mm/kmap.c, after early_init). */
void kmap_init(void);
