/*
 * The pages of a file: a tree from page number to frame. Holes have no frame. The cache holds a
 * reference of each of its frames, which are of type FRAME_FILE with their number in `owner`.
 */
#pragma once

#include "mm/frame.h"
#include "sync/spinlock.h"

struct page_cache {
	spinlock_t lock;
	u8 height;  /* [lock] 0: root is the frame of page 0, or NULL; else levels of nodes */
	void *root; /* [lock] */
	u64 count;  /* [lock] frames */
};

void page_cache_init(struct page_cache *c);

/* The frame of page `index` with a reference, or NULL: a hole. Does not sleep. */
struct frame *page_cache_get(struct page_cache *c, u64 index);

/* The same for pages index ... index + n - 1, into out[]. */
void page_cache_get_many(struct page_cache *c, u64 index, unsigned n, struct frame **out);

/*
 * Puts f there, with a reference of its own. 0, -ENOMEM, or -EEXIST when another frame came first
 * (page_cache_get has it). Does not sleep.
 */
int page_cache_insert(struct page_cache *c, u64 index, struct frame *f);

/* Drops the frames of pages first ... last; how many there were. */
u64 page_cache_remove(struct page_cache *c, u64 first, u64 last);

/* The first page >= index that has a frame: true and *found. */
bool page_cache_next(struct page_cache *c, u64 index, u64 *found);

#define PAGE_INDEX_MAX (UINT64_MAX >> PAGE_SHIFT)

void page_cache_setup(void); /* boot */
