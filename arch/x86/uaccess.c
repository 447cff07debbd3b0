/*
 * The only way to a program's memory: range check, window, copy, fix-up.
 */
#include "arch/api/uaccess.h"

#include "arch/x86/cpuid.h"
#include "arch/x86/uaccess.h"
#include "lib/string.h"
#include "machine/memlayout.h"

struct ex_entry {
	u32 at, fixup; /* offsets from KERNEL_BASE */
};

struct smap_site {
	u32 at, open;
};

extern const struct ex_entry __ex_table_start[], __ex_table_end[];
extern const struct smap_site __smap_sites_start[], __smap_sites_end[];

u64 uaccess_fixup(u64 pc)
{
	for (const struct ex_entry *e = __ex_table_start; e < __ex_table_end; e++)
		if (KERNEL_BASE + e->at == pc)
			return KERNEL_BASE + e->fixup;
	return 0;
}

void uaccess_patch(void)
{
	static const u8 clac[3] = { 0x0f, 0x01, 0xca }, stac[3] = { 0x0f, 0x01, 0xcb };

	if (!cpu_has.smap)
		return;
	for (const struct smap_site *s = __smap_sites_start; s < __smap_sites_end; s++)
		memcpy((void *)(KERNEL_BASE + s->at), s->open ? stac : clac, 3);
}

size_t copy_from_user_partial(void *dst, uaddr_t src, size_t n)
{
	if (!user_range_ok(src, n))
		return n;
	return user_copy(dst, (const void *)src, n);
}

size_t copy_to_user_partial(uaddr_t dst, const void *src, size_t n)
{
	if (!user_range_ok(dst, n))
		return n;
	return user_copy((void *)dst, src, n);
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
	if (!user_range_ok(dst, n))
		return -EFAULT;
	return user_clear((void *)dst, n) ? -EFAULT : 0;
}

int user_cmpxchg(uaddr_t at, u32 *old, u32 new)
{
	if (!user_range_ok(at, sizeof(u32)))
		return -EFAULT;
	return user_compare_exchange((u32 *)at, old, new) ? -EFAULT : 0;
}

ssize_t strncpy_from_user(char *dst, uaddr_t src, size_t size)
{
	if (size == 0 || src >= USER_TOP)
		return size ? -EFAULT : -ENAMETOOLONG;
	size_t max = MIN(size, USER_TOP - src);
	ssize_t len = user_strncpy(dst, (const void *)src, max);

	if (len < 0)
		return -EFAULT;
	if ((size_t)len == max)
		return max < size ? -EFAULT : -ENAMETOOLONG;
	return len;
}
