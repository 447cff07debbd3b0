/*
 * The buddy system: naturally aligned blocks of 2^order frames, for one span of frame numbers
 * with any holes. Several may have frames of the same span: mm/frame.c has one for all, and one for each
 * CPU, whose blocks come from there; tests make small ones.
 */
#pragma once

#include "mm/frame.h"

struct buddy {
	spinlock_t lock;  /* what [l] says; the owner of a CPU's has no need of it */
	u32 orders;       /* [l] bit n: free[n] is not empty */
	pfn_t start, end; /* [I] the span; the table covers it in whole blocks of FRAME_MAX_ORDER */
	u64 nr_free;      /* [l] frames */
	struct list_node free[FRAME_MAX_ORDER + 1]; /* [l] heads of blocks, by order */
};

/* A frame.order that no block has: a frame inside a free block, behind its head. */
#define BUDDY_INSIDE 0xff

/* In frame.flags of the head of a free block: the entries behind it have not been written yet. */
#define BUDDY_FRESH 0x4000

/* An empty one. Frames of [start, end) that are never added stay FRAME_RESERVED. */
void buddy_init(struct buddy *b, pfn_t start, pfn_t end);

/*
 * Gives it frames for the first time: of type RESERVED, or, where [start, end) has a whole block of FRAME_MAX_ORDER, with entries
 * in the table that nobody has written yet. Takes the lock.
 */
void buddy_add(struct buddy *b, pfn_t start, pfn_t end);

/*
 * A block, or NULL. Its frames still say FRAME_FREE, order of the head is set. With the lock held
 * and interrupts off. buddy_free_locked wants the same order as the allocation, or the pieces.
 */
struct frame *buddy_alloc_locked(struct buddy *b, unsigned order);
void buddy_free_locked(struct buddy *b, struct frame *f, unsigned order);

/* Moves a block as it is, without looking at its frames; with both locks. False: `from` has none so large. */
bool buddy_move_locked(struct buddy *from, struct buddy *to, unsigned order);

/*
 * If a block of that order, or a larger one, can only come from a fresh block: moves that as a whole, so that the new owner writes its
 * entries, later and without the lock of the old one. With both locks.
 */
bool buddy_move_fresh_locked(struct buddy *from, struct buddy *to, unsigned order);

/* Single frames, in any order; neighbours in it that are neighbours in memory go as blocks. */
void buddy_free_frames_locked(struct buddy *b, struct frame *const *f, unsigned n);

/* Walks all lists and panics on any contradiction. For tests. Takes the lock. */
void buddy_check(struct buddy *b);
