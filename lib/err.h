/* Error numbers with Linux's values, and their passage through pointers. */
#pragma once

#include "lib/types.h"
#include "lib/uapi/errno.h"

#define MAX_ERRNO 4095

static inline void *ERR_PTR(long err)
{
	return (void *)err;
}

static inline long PTR_ERR(const void *p)
{
	return (long)p;
}

static inline bool IS_ERR(const void *p)
{
	return unlikely((unsigned long)p >= (unsigned long)-MAX_ERRNO);
}

static inline bool IS_ERR_VALUE(u64 v)
{
	return unlikely(v >= (u64)-MAX_ERRNO);
}
