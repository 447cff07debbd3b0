/* The test's own memory plays the program's: arch/host/uaccess.c. */
#pragma once

static inline size_t user_get_bytes(void *dst, uaddr_t src, size_t n)
{
	return copy_from_user_partial(dst, src, n);
}

static inline size_t user_put_bytes(uaddr_t dst, const void *src, size_t n)
{
	return copy_to_user_partial(dst, src, n);
}
