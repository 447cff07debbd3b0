/* The four bytes of a spin lock, which page tables have as well (struct frame). How they work: sync/spinlock.c. */
#pragma once

#include "lib/types.h"

#define SPIN_LOCKED 0x0001u
#define SPIN_CLOSED 0x0100u

struct spin_word {
	union {
		u16 state; /* 0 or SPIN_ bits */
		u8 locked; /* of these the first, which its holder alone clears */
	};
	u8 next;    /* the next ticket to draw */
	u8 serving; /* the ticket whose turn it is; written by its owner only */
};

/* Takes a lock that is free and not closed. */
static inline bool spin_word_try(struct spin_word *w)
{
	u16 free = 0;

	return __atomic_compare_exchange_n(&w->state, &free, SPIN_LOCKED, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static inline void spin_word_release(struct spin_word *w)
{
	__atomic_store_n(&w->locked, 0, __ATOMIC_RELEASE);
}
