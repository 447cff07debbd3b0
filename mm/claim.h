/*
 * Claims: a range of a space that one long operation keeps for itself while it goes in pieces. mm/claim.c
 */
#pragma once

#include "mm/mark.h"
#include "mm/space.h"

void claim_init(void);

/*
 * The claim of another thread that the current one must wait for before it touches start ... last, or NULL. With the
 * lock of a table over it: NULL stays right as long as the lock is held. Always NULL for who has a claim on the space.
 */
struct claim *claim_of_others(struct aspace *as, u64 start, u64 last);
/* The bit of aspace.claim_map for an address: that of its GiB, and others'. */
static inline u64 claim_bit(u64 va)
{
	return 1ul << (((va >> 30) + 11 * (va >> 39)) & 63);
}

/* The same, for who comes here often. */
static inline bool claim_excludes(struct aspace *as, u64 start, u64 last)
{
	u64 map = READ_ONCE(as->claim_map);

	if (likely(map == 0))
		return false;
	return ((map & claim_bit(start)) || start >> 30 != last >> 30) &&
	       claim_of_others(as, start, last);
}

/* Until it has ended. Without locks; sleeps. */
void claim_wait(struct claim *c);

/*
 * Nobody else changes [start, end), or takes a fault in it, until claim_end; who was at it has finished. Waits for
 * claims of other threads on some of it, so may sleep. False: this thread has a claim on the space already, as a part
 * of something larger, which must cover the range.
 */
bool claim_begin(struct aspace *as, u64 start, u64 end);
/* Two ranges. Not for who has a claim. Others that lie between the two are nobody's business. */
void claim_both(struct aspace *as, u64 start, u64 end, u64 start2, u64 end2);
/* For who has a claim on one: a second range, in place of the second that it had. False: others have claims on that,
 * and are not waited for. */
bool claim_also(struct aspace *as, u64 start, u64 end);
void claim_end(struct aspace *as);

/* Mappings that ended: their objects may sleep when they go, so that waits for the end of the claim. False: this
 * thread has none. */
bool claim_bury(struct aspace *as, struct vm_mapping *dead);

/* At the end of a space. */
void claim_free_all(struct aspace *as);
