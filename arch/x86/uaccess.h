/* The machine's side of checked copies: faults inside them, and the SMAP window. */
#pragma once

#include "lib/types.h"

/* Where a fault at this kernel instruction continues; 0: it must not fault. Any context. */
u64 uaccess_fixup(u64 pc);

/* Boot, text still writable: STAC and CLAC where the CPU has SMAP. */
void uaccess_patch(void);

/* user_copy.S (which has user_copy, too: machine/uaccess.h). Returns the bytes not copied. */
size_t user_clear(void *dst, size_t n);
/* The length without terminator, n when there was none, -1 on a fault. */
ssize_t user_strncpy(char *dst, const void *src, size_t n);
/* *at: from *old to new; *old becomes what was there. 0, or -1 on a fault. */
int user_compare_exchange(u32 *at, u32 *old, u32 new);
