/* The end of a critical section: the holder is the only writer, so no locked instruction is needed,
 * and x86 does not let a store pass earlier loads and stores. */
#pragma once

#include "lib/types.h"

static inline void spin_release_ticket(u16 *owner)
{
	__asm__ volatile("incw %0" : "+m"(*owner) : : "memory", "cc");
}
