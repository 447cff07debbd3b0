/*
 * Objects: slab caches with per-CPU magazines, and kmalloc on top of them. Any context but NMI.
 * In debug builds objects are poisoned, and a double free, a write after free or past the end
 * panics with the cache's name and the object's address.
 */
#pragma once

#include "lib/types.h"

struct slab_cache;

/* align: power of two, at least 8. name: a literal. Panics if out of memory (boot time only). */
struct slab_cache *slab_cache_create(const char *name, size_t size, size_t align);
void *slab_alloc(struct slab_cache *c);          /* uninitialised; NULL: out of memory */
void *slab_zalloc(struct slab_cache *c);         /* zeroed */
void slab_free(struct slab_cache *c, void *obj); /* obj may be NULL */

/* Sizes from 1 byte to 4 MiB; above 2 KiB whole frames. Aligned to 16. NULL: out of memory. */
void *kmalloc(size_t size);
void *kzalloc(size_t size);
void kfree(void *p); /* p may be NULL */
char *kstrdup(const char *s);

struct slab_stats {
	const char *name;
	u32 size;
	u64 in_use, total, frames; /* total == in_use + free, counted, not derived */
	u64 free;                  /* in slabs and in magazines */
};
/* The statistics of cache number `index` (0 ...). False: there is no such cache. */
bool slab_stats(unsigned index, struct slab_stats *out);

void slab_init(void);
