/*
 * <string.h>. The compiler calls memcpy, memmove, memset and memcmp on its own, so they must exist
 * with exactly these names; and it must not recognise them in their own bodies, which is what
 * -fno-tree-loop-distribute-patterns in the Makefile and the machine's mem_copy are for.
 */
#include "lib/string.h"

#include "arch/api/page.h"

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
	mem_copy(dst, src, n);
	return dst;
}

/* One load or store of eight bytes at any alignment: the compiler makes no call of it. */
static inline u64 load64(const u8 *p)
{
	u64 v;

	__builtin_memcpy(&v, p, 8);
	return v;
}

static inline void store64(u8 *p, u64 v)
{
	__builtin_memcpy(p, &v, 8);
}

/*
 * Apart, in either order: mem_copy. Else towards the source's side, eight bytes at a time, reading
 * each word before anything of it is overwritten.
 */
void *memmove(void *dst, const void *src, size_t n)
{
	u8 *d = dst;
	const u8 *s = src;

	if ((u64)d - (u64)s >= n && (u64)s - (u64)d >= n) {
		mem_copy(d, s, n);
	} else if (d < s) {
		for (; n >= 8; n -= 8, d += 8, s += 8)
			store64(d, load64(s));
		for (; n != 0; n--)
			*d++ = *s++;
	} else {
		for (; n >= 8; n -= 8)
			store64(d + n - 8, load64(s + n - 8));
		for (; n != 0; n--)
			d[n - 1] = s[n - 1];
	}
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	mem_set(dst, c, n);
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

void *memchr(const void *s, int c, size_t n)
{
	const u8 *p = s;

	for (size_t i = 0; i < n; i++)
		if (p[i] == (u8)c)
			return (void *)(p + i);
	return NULL;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n] != 0)
		n++;
	return n;
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n] != 0)
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a != 0 && *a == *b) {
		a++;
		b++;
	}
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n != 0; n--, a++, b++) {
		if (*a != *b)
			return (u8)*a - (u8)*b;
		if (*a == 0)
			break;
	}
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)s;
		if (*s == 0)
			return NULL;
	}
}

char *strrchr(const char *s, int c)
{
	const char *found = NULL;

	for (;; s++) {
		if (*s == (char)c)
			found = s;
		if (*s == 0)
			return (char *)found;
	}
}

char *strstr(const char *haystack, const char *needle)
{
	size_t n = strlen(needle);

	for (; *haystack != 0 || n == 0; haystack++)
		if (strncmp(haystack, needle, n) == 0)
			return (char *)haystack;
	return NULL;
}
