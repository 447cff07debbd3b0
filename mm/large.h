/*
 * Pages of 2 MiB for private anonymous memory: who gets them, and how their frames are counted.
 * mm/large.c has the theory.
 */
#pragma once

#include "arch/api/pte.h"
#include "mm/frame.h"

struct aspace;
struct pt_cursor;

#define LARGE_ORDER 9u
#define LARGE_PAGES (1u << LARGE_ORDER)
#define LARGE_SIZE  (PAGE_SIZE << LARGE_ORDER)
#define LARGE_LEVEL 2u

/* Linux's words for it: transparent_hugepage=always|madvise|never. */
enum large_policy { LARGE_NEVER, LARGE_MADVISE, LARGE_ALWAYS };
enum large_policy large_policy(void);
void large_set_policy(enum large_policy policy);
void large_init(void); /* boot: the command line's, or by the size of memory */

/* Shall a first write to memory of this mark get a large page, where one fits? */
bool large_wanted(const struct aspace *as, pte_t mark);

/* A cleared block of LARGE_PAGES frames with one reference, for one leaf; NULL: there is none. May
 * sleep. */
struct frame *large_alloc(void);

/* For going through a range page by page: the end of the page, small or large, that is at va. The
 * first one may be in the middle of a large page. */
u64 large_next(struct aspace *as, u64 va, bool first);

/*
 * For the head of a block that a large leaf (or a held entry of LARGE_LEVEL) names:
 *
 * large_get, large_put: one more such entry, one less. The last one frees.
 * large_is_alone: nothing but the caller's entry names any of the frames. So it stays while the
 *   caller has the lock of the entry's table.
 * large_refs: names of its frame i.
 */
void large_get(struct frame *head);
void large_put(struct frame *head);
bool large_is_alone(struct frame *head);
u32 large_refs(const struct frame *head, u64 i);

/*
 * Fills `entry`, a new table's, with what the large page at *slot (its address is va) becomes: its
 * frames one by one, under the same protection. The space is flushed: the slot must only be written
 * then. The reference of the slot is now one in each of the 512.
 */
void large_split(struct pt_cursor *c, pte_t *slot, u64 va, pte_t *entry);

/* Since boot, and (in_use) now. */
struct large_stats {
	u64 in_use;    /* blocks that are mapped as wholes */
	u64 fallbacks; /* wanted, but no block was free */
	u64 splits;    /* of leaves or held entries */
};
void large_stats(struct large_stats *out);
