/*
 * The only way to a program's memory. Each checks that the whole range lies below USER_TOP, opens
 * the SMAP window for the copy alone, lets the page-fault handler serve what it can, and gives
 * -EFAULT for what it cannot. May sleep: never under a spinlock, never with interrupts off.
 */
#pragma once

#include "lib/err.h"
#include "lib/types.h"

#define USER_TOP                                                                                   \
	0x00007ffffffff000ul /* exclusive: the last page stays free (sysret's canonical trap) */

/* 0 or -EFAULT. On a fault an unknown prefix has been copied. */
int copy_from_user(void *dst, uaddr_t src, size_t n) __must_check;
int copy_to_user(uaddr_t dst, const void *src, size_t n) __must_check;
int clear_user(uaddr_t dst, size_t n) __must_check;

/* As above, but return the bytes NOT copied (0: all). For read and write, which report progress. */
size_t copy_from_user_partial(void *dst, uaddr_t src, size_t n);
size_t copy_to_user_partial(uaddr_t dst, const void *src, size_t n);

/* Copies a terminated string of at most size-1 characters. Its length, -EFAULT, or -ENAMETOOLONG. */
ssize_t strncpy_from_user(char *dst, uaddr_t src, size_t size) __must_check;

/* If the word (aligned) holds *old it becomes new; *old is what it held. 0 or -EFAULT. */
int user_cmpxchg(uaddr_t at, u32 *old, u32 new) __must_check;

/*
 * user_get_bytes(dst, src, n), user_put_bytes(dst, src, n): as the partial copies, of a range that
 * user_range_ok has been asked about: they do not look.
 */
#include "machine/uaccess.h"

static inline bool user_range_ok(uaddr_t start, u64 len)
{
	return start <= USER_TOP && len <= USER_TOP - start;
}

/* get_user(x, addr), put_user(x, addr): one object of x's type. 0 or -EFAULT. */
#define get_user(x, addr) copy_from_user(&(x), (addr), sizeof(x))
#define put_user(x, addr) copy_to_user((addr), &(x), sizeof(x))
