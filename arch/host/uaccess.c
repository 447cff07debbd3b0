/*
 * Checked copies on the host: the test's own memory plays the program's. An address at or above
 * USER_TOP, and the null page, are refused; host_user_limit ends the program's memory early, so
 * that tests see copies that stop half way.
 */
#include "arch/api/uaccess.h"

#include <string.h>

#include "arch/host/uaccess.h"

uaddr_t host_user_limit = USER_TOP;

size_t copy_from_user_partial(void *dst, uaddr_t src, size_t n)
{
	size_t ok = host_user_readable(src, n);

	if (ok != 0)
		memcpy(dst, (const void *)src, ok);
	return n - ok;
}

size_t copy_to_user_partial(uaddr_t dst, const void *src, size_t n)
{
	size_t ok = host_user_readable(dst, n);

	if (ok != 0)
		memcpy((void *)dst, src, ok);
	return n - ok;
}

int copy_from_user(void *dst, uaddr_t src, size_t n)
{
	return copy_from_user_partial(dst, src, n) ? -EFAULT : 0;
}

int copy_to_user(uaddr_t dst, const void *src, size_t n)
{
	return copy_to_user_partial(dst, src, n) ? -EFAULT : 0;
}

int clear_user(uaddr_t dst, size_t n)
{
	size_t ok = host_user_readable(dst, n);

	if (ok != 0)
		memset((void *)dst, 0, ok);
	return ok == n ? 0 : -EFAULT;
}

int user_cmpxchg(uaddr_t at, u32 *old, u32 new)
{
	if (host_user_readable(at, sizeof(u32)) < sizeof(u32))
		return -EFAULT;
	__atomic_compare_exchange_n((u32 *)at, old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return 0;
}

ssize_t strncpy_from_user(char *dst, uaddr_t src, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (copy_from_user(dst + i, src + i, 1) != 0)
			return -EFAULT;
		if (dst[i] == 0)
			return (ssize_t)i;
	}
	return -ENAMETOOLONG;
}
