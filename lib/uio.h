/*
 * A place to read bytes from or write them to, in a program's memory, in one piece or in several, or
 * the kernel's. Moves advance it. May sleep when it is a program's.
 */
#pragma once

#include "arch/api/uaccess.h"
#include "lib/compiler.h"
#include "lib/types.h"

struct linux_iovec;

enum uio_kind { UIO_USER, UIO_KERNEL, UIO_PIECES };

struct uio {
	u64 addr;    /* uaddr_t, a kernel pointer, or struct linux_iovec *: what is left of each */
	size_t left; /* bytes, of all pieces */
	enum uio_kind kind;
};

/* user_range_ok(addr, len) holds: the moves do not look again. */
static inline struct uio uio_user(uaddr_t addr, size_t len)
{
	return (struct uio){ .addr = addr, .left = len, .kind = UIO_USER };
}
static inline struct uio uio_kernel(void *p, size_t len)
{
	return (struct uio){ .addr = (u64)p, .left = len, .kind = UIO_KERNEL };
}
/* Pieces of a program's memory, total bytes together, each as above. The moves change v. */
static inline struct uio uio_pieces(struct linux_iovec *v, size_t total)
{
	return (struct uio){ .addr = (u64)v, .left = total, .kind = UIO_PIECES };
}

/* Moves up to min(n, u->left) bytes; returns how many (fewer: a fault in the program's memory, give
 * -EFAULT if nothing else was moved). */
static inline size_t uio_put(struct uio *u, const void *src, size_t n);
static inline size_t uio_get(struct uio *u, void *dst, size_t n);
size_t uio_zero(struct uio *u, size_t n);

/* What is not a program's memory in one piece. n is not more than is left. */
size_t uio_put_else(struct uio *u, const void *src, size_t n);
size_t uio_get_else(struct uio *u, void *dst, size_t n);

static inline size_t uio_advance(struct uio *u, size_t n)
{
	u->addr += n;
	u->left -= n;
	return n;
}

static inline size_t uio_put(struct uio *u, const void *src, size_t n)
{
	n = MIN(n, u->left);
	if (unlikely(u->kind != UIO_USER))
		return uio_put_else(u, src, n);
	return uio_advance(u, n - user_put_bytes(u->addr, src, n));
}

static inline size_t uio_get(struct uio *u, void *dst, size_t n)
{
	n = MIN(n, u->left);
	if (unlikely(u->kind != UIO_USER))
		return uio_get_else(u, dst, n);
	return uio_advance(u, n - user_get_bytes(dst, u->addr, n));
}
