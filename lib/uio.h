/*
 * A place to read bytes from or write them to, in a program's memory or the kernel's. Moves
 * advance it. May sleep when it is a program's.
 */
#pragma once

#include "lib/types.h"

struct uio {
	u64 addr;    /* uaddr_t, or a kernel pointer */
	size_t left; /* bytes */
	bool kernel;
};

static inline struct uio uio_user(uaddr_t addr, size_t len)
{
	return (struct uio){ .addr = addr, .left = len, .kernel = false };
}
static inline struct uio uio_kernel(void *p, size_t len)
{
	return (struct uio){ .addr = (u64)p, .left = len, .kernel = true };
}

/* Moves up to min(n, u->left) bytes; returns how many (fewer: a fault in the program's memory, give
 * -EFAULT if nothing else was moved). */
size_t uio_put(struct uio *u, const void *src, size_t n);
size_t uio_get(struct uio *u, void *dst, size_t n);
size_t uio_zero(struct uio *u, size_t n);
