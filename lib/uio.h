/*
 * A place to read bytes from or write them to, in a program's memory, in one piece or in several, or
 * the kernel's. Moves advance it. May sleep when it is a program's.
 */
#pragma once

#include "lib/types.h"

struct linux_iovec;

enum uio_kind { UIO_USER, UIO_KERNEL, UIO_PIECES };

struct uio {
	u64 addr;    /* uaddr_t, a kernel pointer, or struct linux_iovec *: what is left of each */
	size_t left; /* bytes, of all pieces */
	enum uio_kind kind;
};

static inline struct uio uio_user(uaddr_t addr, size_t len)
{
	return (struct uio){ .addr = addr, .left = len, .kind = UIO_USER };
}
static inline struct uio uio_kernel(void *p, size_t len)
{
	return (struct uio){ .addr = (u64)p, .left = len, .kind = UIO_KERNEL };
}
/* Pieces of a program's memory, total bytes together. The moves change v. */
static inline struct uio uio_pieces(struct linux_iovec *v, size_t total)
{
	return (struct uio){ .addr = (u64)v, .left = total, .kind = UIO_PIECES };
}

/* Moves up to min(n, u->left) bytes; returns how many (fewer: a fault in the program's memory, give
 * -EFAULT if nothing else was moved). */
size_t uio_put(struct uio *u, const void *src, size_t n);
size_t uio_get(struct uio *u, void *dst, size_t n);
size_t uio_zero(struct uio *u, size_t n);
