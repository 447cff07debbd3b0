/* As the compiler and its sanitizers understand it. */
#pragma once

#include "lib/types.h"

static inline void spin_release_ticket(u16 *owner)
{
	__atomic_store_n(owner, (u16)(__atomic_load_n(owner, __ATOMIC_RELAXED) + 1),
			 __ATOMIC_RELEASE);
}
