/*
 * Pages and bulk memory by the string instructions, eight bytes an iteration: processors with
 * fast strings move whole cache lines (ERMS), the others still have no loop to predict, and an
 * emulator that counts instructions counts 512 a page.
 *
 * DF is clear in the kernel, always: entry clears it (SysV ABI, SFMASK).
 */
#include "arch/api/page.h"

void clear_page(void *page)
{
	u64 count = PAGE_SIZE / 8;

	__asm__ volatile("rep stosq" : "+D"(page), "+c"(count) : "a"(0ul) : "memory");
}

void copy_page(void *to, const void *from)
{
	u64 count = PAGE_SIZE / 8;

	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

/* Loads and stores of any alignment, which C's types do not promise. */
static inline u64 load8(const u8 *p)
{
	u64 v;

	__asm__("movq %1, %0" : "=r"(v) : "m"(*(const u64 *)p));
	return v;
}

static inline void store8(u8 *p, u64 v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*(u64 *)p) : "r"(v));
}

/* Up to this, a loop beats the start-up of `rep` (about 30 cycles on current cores). */
#define SHORT_MAX 64

/*
 * Eight bytes at a time; the last, overlapping move makes up the tail, so lengths from 8 need no
 * loop over bytes.
 */
void mem_copy(void *restrict dst, const void *restrict src, size_t n)
{
	u8 *d = dst;
	const u8 *s = src;

	if (n < 8) {
		for (size_t i = 0; i < n; i++) {
			d[i] = s[i];
			barrier(); /* not to be recognised as memcpy */
		}
		return;
	}
	u64 last = load8(s + n - 8);
	u8 *end = d + n - 8;

	if (n <= SHORT_MAX) {
		for (; d < end; d += 8, s += 8)
			store8(d, load8(s));
	} else {
		u64 count = n / 8;

		__asm__ volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(count) : : "memory");
	}
	store8(end, last);
}

void mem_set(void *dst, int c, size_t n)
{
	u8 *d = dst;
	u64 fill = 0x0101010101010101ul * (u8)c;

	if (n < 8) {
		for (size_t i = 0; i < n; i++) {
			d[i] = (u8)c;
			barrier();
		}
		return;
	}
	u8 *end = d + n - 8;

	if (n <= SHORT_MAX) {
		for (; d < end; d += 8)
			store8(d, fill);
	} else {
		u64 count = n / 8;

		__asm__ volatile("rep stosq" : "+D"(d), "+c"(count) : "a"(fill) : "memory");
	}
	store8(end, fill);
}
