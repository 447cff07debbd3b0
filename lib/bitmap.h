/*
 * Arrays of bits in u64 words. Bit n is bit n % 64 of word n / 64. No atomicity: the owner of the
 * bitmap says what protects it. `bits` is the bitmap's size; the search functions return it when
 * they find nothing, and never look at bits beyond it.
 */
#pragma once

#include "lib/types.h"

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)

static inline bool bitmap_test(const u64 *map, size_t n)
{
	return map[n / 64] >> n % 64 & 1;
}

static inline void bitmap_set(u64 *map, size_t n)
{
	map[n / 64] |= 1ul << n % 64;
}

static inline void bitmap_clear(u64 *map, size_t n)
{
	map[n / 64] &= ~(1ul << n % 64);
}

/* The first bit at or behind `from` that differs from flip's bits: flip 0 finds ones, ~0 zeros. */
static inline size_t bitmap_search(const u64 *map, size_t bits, size_t from, u64 flip)
{
	size_t word = from / 64;

	if (from >= bits)
		return bits;
	u64 found = (map[word] ^ flip) & ~0ul << from % 64;

	while (found == 0) {
		if (++word >= BITMAP_WORDS(bits))
			return bits;
		found = map[word] ^ flip;
	}
	return MIN(word * 64 + (size_t)__builtin_ctzl(found), bits);
}

static inline size_t bitmap_next_set(const u64 *map, size_t bits, size_t from)
{
	return bitmap_search(map, bits, from, 0);
}

static inline size_t bitmap_next_zero(const u64 *map, size_t bits, size_t from)
{
	return bitmap_search(map, bits, from, ~0ul);
}

static inline size_t bitmap_first_set(const u64 *map, size_t bits)
{
	return bitmap_next_set(map, bits, 0);
}

static inline size_t bitmap_first_zero(const u64 *map, size_t bits)
{
	return bitmap_next_zero(map, bits, 0);
}
