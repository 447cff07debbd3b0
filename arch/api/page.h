/*
 * Whole pages of memory, and the bulk of memcpy and memset: what a machine has the fastest way for.
 */
#pragma once

#include "lib/types.h"

void clear_page(void *page);                /* page aligned */
void copy_page(void *to, const void *from); /* both page aligned, distinct */

/* memcpy and memset of ISO C, without their return values: lib/string.c is built on these. */
void mem_copy(void *restrict dst, const void *restrict src, size_t n);
void mem_set(void *dst, int c, size_t n);
