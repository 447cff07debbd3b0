/* What the files of mm/ share among themselves. */
#pragma once

#include "lib/types.h"
#include "mm/frame.h"

/* ---- frames and objects: early.c, frame.c, buddy.c, slab.c ------------------------------------ */

/*
 * The RAM that early_alloc has left, range by range, as frame numbers (end exclusive). After the
 * first call early_alloc is closed. False: no range with this index.
 */
bool early_take_range(unsigned index, pfn_t *start, pfn_t *end);

/* Whole frames of RAM by the firmware's map, and the same range by range. */
u64 early_ram_frames(void);
bool early_ram_range(unsigned index, pfn_t *start, pfn_t *end);

/* The injected failure of frame.h. alloc_fails counts this allocation: true if it is to fail. Fast
 * paths ask alloc_fails_wanted first, two instructions, and leave the counting to a slow one. */
static inline bool alloc_fails_wanted(void)
{
	return READ_ONCE(alloc_fail_at) != 0;
}
static inline bool alloc_fails(void)
{
	return unlikely(alloc_fails_wanted()) && --alloc_fail_at == 0;
}

/* Below this, RAM belongs to the firmware's leftovers and to the start of further CPUs. */
#define EARLY_LOW_END (1 * MiB)

/* The reader of what owner_begin is about: a race by design. */
#define __racy __attribute__((no_sanitize("thread")))

/*
 * Per-CPU figures that other CPUs sum up. The owner changes them with interrupts off, between
 * owner_begin and owner_end; a reader elsewhere copies them until the sequence was even and
 * unchanged. Neither costs a locked instruction. The machine keeps stores in order (x86's TSO),
 * so keeping the compiler from moving them is enough. Inside the pair no lock may be taken: a
 * reader that holds it waits for the pair's end.
 */
static inline void owner_begin(u32 *seq)
{
	(*seq)++;
	barrier();
}

static inline void owner_end(u32 *seq)
{
	barrier();
	(*seq)++;
}
