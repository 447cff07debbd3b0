/*
 * Reference counts that cannot go wrong in silence: a get of a dead object and a put below zero
 * are broken invariants.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/kassert.h"

typedef struct {
	atomic_t refs;
} refcount_t;

static inline void refcount_init(refcount_t *r, u32 n)
{
	atomic_store(&r->refs, n);
}

static inline u32 refcount_read(const refcount_t *r)
{
	return atomic_load(&r->refs);
}

static inline void refcount_get(refcount_t *r)
{
	u32 old = atomic_fetch_add(&r->refs, 1u);

	kassert(old != 0 && old < UINT32_MAX);
}

/* Takes a reference unless the count has reached zero. True if it did. */
static inline bool refcount_get_unless_zero(refcount_t *r)
{
	u32 old = atomic_load(&r->refs);

	do {
		if (old == 0)
			return false;
	} while (!atomic_cas(&r->refs, &old, old + 1));
	return true;
}

/* True for the caller that dropped the last reference and now destroys the object. */
static inline bool __must_check refcount_put(refcount_t *r)
{
	u32 old = atomic_fetch_sub(&r->refs, 1u);

	kassert(old != 0);
	return old == 1;
}
