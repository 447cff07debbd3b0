/* Pages and bulk memory by the C library. */
#include "arch/api/page.h"

#include <string.h>

void clear_page(void *page)
{
	memset(page, 0, PAGE_SIZE);
}

void copy_page(void *to, const void *from)
{
	memcpy(to, from, PAGE_SIZE);
}

void mem_copy(void *restrict dst, const void *restrict src, size_t n)
{
	memmove(dst, src, n);
}

void mem_set(void *dst, int c, size_t n)
{
	memset(dst, c, n);
}
