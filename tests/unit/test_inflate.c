/*
 * lib/inflate.c beside zlib: everything that zlib packs must come back; what is damaged must be
 * refused exactly where zlib refuses it, without a step outside the buffers (ASan watches: input
 * and output lie in heap blocks of the exact size).
 */
#include "tests/unit/unit.h"

#include <string.h>
#include <zlib.h>

#include "lib/err.h"
#include "lib/inflate.h"

#define MAX_DATA (200 * 1024)

static u8 data[MAX_DATA];

/* Text-like, repetitive, random and constant stretches. */
static size_t random_data(void)
{
	size_t len = unit_random(4) ? unit_random(2000) : unit_random(MAX_DATA);

	for (size_t i = 0; i < len;) {
		size_t run = MIN(unit_random(3000) + 1, len - i);
		u64 kind = unit_random(4);
		size_t back = i ? unit_random(MIN(i, 40000ul)) + 1 : 0;

		for (size_t end = i + run; i < end; i++) {
			if (kind == 0)
				data[i] = (u8)unit_random(256);
			else if (kind == 1)
				data[i] = (u8) "etaoin shrdlu\n"[unit_random(14)];
			else if (kind == 2 || back == 0)
				data[i] = (u8)run;
			else
				data[i] = data[i - back];
		}
	}
	return len;
}

/* A gzip member of data[0 ... len) in a heap block of its exact size. */
static u8 *pack(size_t len, size_t *packed_len, int level, int strategy, bool header)
{
	z_stream z = { 0 };
	gz_header h = { .name = (Bytef *)"a name",
			.comment = (Bytef *)"a comment",
			.extra = (Bytef *)"extra",
			.extra_len = 5,
			.hcrc = 1 };
	u8 *tmp = malloc(2 * MAX_DATA), *out;

	assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 1 + (int)unit_random(9),
				      strategy),
			 Z_OK);
	if (header)
		deflateSetHeader(&z, &h);
	z.next_in = data;
	z.avail_in = (uInt)len;
	z.next_out = tmp;
	z.avail_out = 2 * MAX_DATA;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	*packed_len = z.total_out;
	deflateEnd(&z);
	out = malloc(*packed_len);
	memcpy(out, tmp, *packed_len);
	free(tmp);
	return out;
}

static u8 *random_pack(size_t len, size_t *packed_len)
{
	static const int strategies[] = { Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE,
					  Z_FIXED };

	return pack(len, packed_len, (int)unit_random(10), strategies[unit_random(5)],
		    unit_random(4) == 0);
}

static void test_round_trip(void **state)
{
	unit_seed();
	for (u64 round = unit_rounds(400); round-- > 0;) {
		size_t len = random_data(), packed_len, out_len = 0;
		u8 *packed = random_pack(len, &packed_len);
		u8 *out = malloc(len + (len == 0));

		assert_true(gunzip_is_gzip(packed, packed_len));
		assert_int_equal(gunzip_size_hint(packed, packed_len), len);
		assert_int_equal(gunzip(packed, packed_len, out, len, &out_len), 0);
		assert_int_equal(out_len, len);
		assert_int_equal(memcmp(out, data, len), 0);
		if (len != 0) { /* one byte too small */
			u8 *small = malloc(len - 1 + (len == 1));

			assert_int_equal(gunzip(packed, packed_len, small, len - 1, &out_len),
					 -ENOSPC);
			free(small);
		}
		free(out);
		free(packed);
	}
}

static void test_members(void **state)
{
	size_t len1, len2, out_len = 0;
	u8 *one, *two, *both, out[64];

	unit_seed();
	memcpy(data, "hello, ", 7);
	one = pack(7, &len1, 9, Z_DEFAULT_STRATEGY, true);
	memcpy(data, "world", 5);
	two = pack(5, &len2, 0, Z_DEFAULT_STRATEGY, false);
	both = calloc(1, len1 + len2 + 7);
	memcpy(both, one, len1);
	memcpy(both + len1, two, len2);
	assert_int_equal(gunzip(both, len1 + len2 + 7, out, sizeof(out), &out_len), 0);
	assert_int_equal(out_len, 12);
	assert_memory_equal(out, "hello, world", 12);
	both[len1 + len2 + 3] = 1;
	assert_int_equal(gunzip(both, len1 + len2 + 7, out, sizeof(out), &out_len), -EINVAL);
	assert_int_equal(gunzip(both, 0, out, sizeof(out), &out_len), -EINVAL);
	/* A match (length 3, distance 1, fixed codes) must not reach into the member before. */
	static const u8 reach[] = "\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\x02\0";
	u32 trailer[2] = { (u32)crc32(0, (const Bytef *)",,,", 3), 3 };

	both = realloc(both, len1 + 21);
	memcpy(both + len1, reach, 13);
	memcpy(both + len1 + 13, trailer, 8);
	out[6] = ',';
	assert_int_equal(gunzip(both, len1 + 21, out, sizeof(out), &out_len), -EINVAL);
	free(one);
	free(two);
	free(both);
}

/* What zlib says of one member: its length, or -1. */
static ssize_t zlib_gunzip(u8 *in, size_t in_len, u8 *out, size_t cap)
{
	z_stream z = {
		.next_in = in, .avail_in = (uInt)in_len, .next_out = out, .avail_out = (uInt)cap
	};

	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	int ret = inflate(&z, Z_FINISH);
	ssize_t len = ret == Z_STREAM_END && z.avail_in == 0 ? (ssize_t)z.total_out : -1;

	inflateEnd(&z);
	return len;
}

static void test_damage(void **state)
{
	static u8 expect[MAX_DATA];
	unsigned accepted = 0;

	unit_seed();
	for (u64 round = unit_rounds(4000); round-- > 0;) {
		size_t len = random_data() % 3000, packed_len, out_len = 0;
		u8 *packed = random_pack(len, &packed_len);
		u8 *out = malloc(len + 100);

		if (unit_random(4) == 0) { /* cut */
			packed_len = unit_random(packed_len);
			packed = realloc(packed, packed_len + (packed_len == 0));
		}
		for (u64 flips = unit_random(4); flips-- > 0 && packed_len != 0;)
			packed[unit_random(packed_len)] ^= (u8)(1u << unit_random(8));
		ssize_t want = zlib_gunzip(packed, packed_len, expect, len + 100);
		int ret = gunzip(packed, packed_len, out, len + 100, &out_len);

		if (want < 0) {
			assert_int_not_equal(ret, 0);
		} else {
			assert_int_equal(ret, 0);
			assert_int_equal(out_len, want);
			assert_int_equal(memcmp(out, expect, out_len), 0);
			accepted++;
		}
		free(out);
		free(packed);
	}
	assert_true(accepted > 100); /* some rounds flip nothing */
}

/*
 * Damage to the codes alone: the CRC would refuse nearly all of it anyway, so here the trailer is
 * made right for whatever zlib unpacks, and random bits are tried as blocks.
 */
static void test_random_blocks(void **state)
{
	static u8 expect[4096];
	unsigned accepted = 0;

	unit_seed();
	for (u64 round = unit_rounds(60000); round-- > 0;) {
		size_t n = 20 + unit_random(60), out_len = 0;
		u8 *in = malloc(10 + n + 8);

		memcpy(in, "\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
		for (size_t i = 0; i < n; i++)
			in[10 + i] = (u8)unit_random(256);
		in[10] = (u8)((in[10] & ~7u) | 1 |
			      (1 + unit_random(2)) << 1); /* last; fixed, dynamic */
		z_stream z = { .next_in = in + 10,
			       .avail_in = (uInt)n,
			       .next_out = expect,
			       .avail_out = sizeof(expect) };

		assert_int_equal(inflateInit2(&z, -15), Z_OK);
		int ret = inflate(&z, Z_FINISH);
		size_t want = z.total_out, used = z.total_in;

		inflateEnd(&z);
		u8 *out = malloc(sizeof(expect));

		if (ret == Z_STREAM_END) {
			u32 crc = (u32)crc32(crc32(0, NULL, 0), expect, (uInt)want);
			u32 trailer[2] = { crc, (u32)want };

			memcpy(in + 10 + used, trailer, 8);
			assert_int_equal(gunzip(in, 10 + used + 8, out, sizeof(expect), &out_len),
					 0);
			assert_int_equal(out_len, want);
			assert_int_equal(memcmp(out, expect, want), 0);
			accepted++;
		} else {
			assert_int_not_equal(gunzip(in, 10 + n, out, sizeof(expect), &out_len), 0);
		}
		free(out);
		free(in);
	}
	printf("# %u random blocks were valid\n", accepted);
	assert_true(accepted > 500);
}

/* Codes longer than the fast table, and every symbol's extra bits at their limits. */
static void test_long_codes(void **state)
{
	size_t len = 0, packed_len, out_len = 0;

	/* Fibonacci frequencies make the deepest code. */
	for (size_t symbol = 0, a = 1, b = 1; len + a < MAX_DATA; symbol++) {
		for (size_t i = 0; i < a; i++)
			data[len++] = (u8)(symbol * 37);
		size_t next = a + b;

		a = b;
		b = next;
	}
	unit_seed();
	for (size_t i = len - 1; i > 0; i--) {
		size_t j = unit_random(i + 1);
		u8 v = data[i];

		data[i] = data[j];
		data[j] = v;
	}
	u8 *packed = pack(len, &packed_len, 9, Z_HUFFMAN_ONLY, false);
	u8 *out = malloc(len);

	assert_int_equal(gunzip(packed, packed_len, out, len, &out_len), 0);
	assert_int_equal(out_len, len);
	assert_int_equal(memcmp(out, data, len), 0);
	free(out);
	free(packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_members),
		cmocka_unit_test(test_damage),     cmocka_unit_test(test_random_blocks),
		cmocka_unit_test(test_long_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
