/* Where the fake program's memory ends: arch/host/uaccess.c. */
#pragma once

#include "arch/api/uaccess.h"

/* Exclusive; USER_TOP unless a test lowers it. */
extern uaddr_t host_user_limit;

/* How many of n bytes at addr may be touched. */
static inline size_t host_user_readable(uaddr_t addr, size_t n)
{
	if (!user_range_ok(addr, n) || addr < PAGE_SIZE || addr >= host_user_limit)
		return 0;
	return MIN(n, (size_t)(host_user_limit - addr));
}
