/*
 * Claims: a range of a space that one long operation keeps for itself while it goes in pieces. mm/claim.c
 */
#pragma once

#include "mm/mark.h"
#include "mm/space.h"

/* Has another thread a claim somewhere? */
static inline bool claim_of_others(const struct aspace *as)
{
	const struct thread *claimer = READ_ONCE(as->claimer);

	return unlikely(claimer != NULL) && claimer != current();
}

/* Is there a claim by another thread that concerns some of start ... last? With the lock of a table over it: the
 * answer no stays right as long as the lock is held. */
bool claim_excludes(const struct aspace *as, u64 start, u64 last);
/* Until the claim at hand has ended. Without locks; sleeps. */
void claim_wait(struct aspace *as);

/*
 * Nobody else changes [start, end), or takes a fault in it, until claim_end; who was at it has finished. One claim a
 * space: waits for that of another thread, so may sleep. False: this thread has it already, as a part of something
 * larger, which must cover the range.
 */
bool claim_begin(struct aspace *as, u64 start, u64 end);
/* A second range, for who has a claim. A call for another one takes its place. */
void claim_also(struct aspace *as, u64 start, u64 end);
void claim_end(struct aspace *as);

/* Mappings that ended: their objects may sleep when they go, so that waits for the end of the claim. False: this
 * thread has none. */
bool claim_bury(struct aspace *as, struct vm_mapping *dead);
