/*
 * gunzip: RFC 1952's container around RFC 1951's compressed blocks.
 *
 * Written for input that may be anything, and for speed second, since it unpacks the initramfs
 * during boot. The bit reader keeps up to 63 bits in a word, lowest bit first; missing input reads
 * as zeros, and taking more bits than there were is noticed afterwards (take, decode). One
 * symbol and a match together need at most 15 + 5 + 15 + 13 = 48 bits, so one refill does.
 *
 * Codes: canonical Huffman. Codes of up to FAST_BITS bits are found by one look into a table
 * indexed by the next bits; longer ones bit by bit from the counts per length. Which sets of
 * lengths are valid is decided as zlib does: complete ones, and a single code of one bit. (zlib
 * refuses that one for the lengths' own code; here it fails later, since equal lengths of 257 codes
 * or more are never complete.)
 */
#include "lib/inflate.h"

#include "lib/err.h"
#include "lib/string.h"

#define MAX_BITS     15
#define FAST_BITS    10
#define NR_LITERALS  288
#define NR_DISTANCES 32

struct huffman {
	u16 fast[1 << FAST_BITS]; /* symbol << 4 | length, 0: longer or invalid */
	u16 count[MAX_BITS + 1];  /* codes of each length */
	u16 symbol[NR_LITERALS];  /* in the order of their codes */
};

struct inflate {
	const u8 *in, *in_end;
	u64 bits;                      /* the next ones, lowest first */
	unsigned n;                    /* how many of them are input */
	u8 *out, *out_start, *out_end; /* of this member */
	struct huffman literals, distances;
};

static struct inflate state;
static u32 crc_table[8][256];

/* ---- CRC-32, eight bytes a step ---------------------------------------------------------------- */

/* crc_table[k][b]: what byte b contributes when k more bytes follow it. */
static void crc_init(void)
{
	for (u32 i = 0; i < 256; i++) {
		u32 crc = i;

		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
		crc_table[0][i] = crc;
	}
	for (unsigned k = 1; k < 8; k++)
		for (u32 i = 0; i < 256; i++) {
			u32 crc = crc_table[k - 1][i];

			crc_table[k][i] = crc >> 8 ^ crc_table[0][crc & 0xff];
		}
}

static inline u64 load64(const u8 *p)
{
	u64 v;

	__builtin_memcpy(&v, p, 8); /* one load, at any alignment */
	return v;
}

static u32 crc32(const u8 *p, size_t n)
{
	u32 crc = ~0u;

	for (; n >= 8; n -= 8, p += 8) {
		u64 v = load64(p) ^ crc;

		crc = crc_table[7][v & 0xff] ^ crc_table[6][v >> 8 & 0xff] ^
		      crc_table[5][v >> 16 & 0xff] ^ crc_table[4][v >> 24 & 0xff] ^
		      crc_table[3][v >> 32 & 0xff] ^ crc_table[2][v >> 40 & 0xff] ^
		      crc_table[1][v >> 48 & 0xff] ^ crc_table[0][v >> 56];
	}
	for (; n != 0; n--, p++)
		crc = crc >> 8 ^ crc_table[0][(crc ^ *p) & 0xff];
	return ~crc;
}

/* ---- bits -------------------------------------------------------------------------------------- */

/* At least 48 bits, or all that is left. */
static inline void refill(struct inflate *s)
{
	if (s->n >= 48)
		return;
	if (likely(s->in_end - s->in >= 8)) {
		s->bits |= load64(s->in) << s->n;
		s->in += (63 - s->n) / 8;
		s->n |= 56;
		return;
	}
	/* The fast refill leaves bits above n that are input not yet counted: the same bits again. */
	while (s->n <= 55 && s->in < s->in_end) {
		s->bits |= (u64)*s->in++ << s->n;
		s->n += 8;
	}
}

/* Drops bits that were looked at. -EINVAL if the input had fewer. */
static inline int drop(struct inflate *s, unsigned n)
{
	if (unlikely(n > s->n))
		return -EINVAL;
	s->bits >>= n;
	s->n -= n;
	return 0;
}

/* The next n (0 ... 16) bits as a number; -EINVAL at the input's end. Refills by itself. */
static int take(struct inflate *s, unsigned n)
{
	refill(s);
	int v = (int)(s->bits & ((1u << n) - 1));

	return drop(s, n) != 0 ? -EINVAL : v;
}

/* ---- codes ------------------------------------------------------------------------------------- */

static u32 reverse(u32 code, unsigned bits)
{
	u32 r = 0;

	for (; bits != 0; bits--, code >>= 1)
		r = r << 1 | (code & 1);
	return r;
}

/* From the length of each symbol's code (0: none). -EINVAL: no valid set. */
static int huffman_build(struct huffman *h, const u8 *lengths, unsigned n)
{
	u16 offset[MAX_BITS + 2], next[MAX_BITS + 1];
	int left = 1;
	u32 code = 0;

	memset(h->fast, 0, sizeof(h->fast));
	memset(h->count, 0, sizeof(h->count));
	for (unsigned i = 0; i < n; i++)
		h->count[lengths[i]]++;
	bool empty = h->count[0] == n;
	bool single = h->count[0] == n - 1 && h->count[1] == 1;

	h->count[0] = 0;
	offset[1] = 0;
	for (unsigned len = 1; len <= MAX_BITS; len++) {
		left = 2 * left - h->count[len];
		if (left < 0)
			return -EINVAL; /* more codes than bits can tell apart */
		code = (code + h->count[len - 1]) << 1;
		next[len] = (u16)code;
		offset[len + 1] = (u16)(offset[len] + h->count[len]);
	}
	if (left > 0 && !empty && !single)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		unsigned len = lengths[i];

		if (len == 0)
			continue;
		h->symbol[offset[len]++] = (u16)i;
		code = next[len]++;
		if (len > FAST_BITS)
			continue;
		for (u32 at = reverse(code, len); at < 1 << FAST_BITS; at += 1u << len)
			h->fast[at] = (u16)(i << 4 | len);
	}
	return 0;
}

static __noinline int decode_long(struct inflate *s, const struct huffman *h)
{
	u32 code = 0, first = 0, index = 0;
	u64 bits = s->bits;

	for (unsigned len = 1; len <= MAX_BITS; len++, bits >>= 1) {
		u32 count = h->count[len];

		code |= bits & 1;
		if (code - first < count)
			return drop(s, len) != 0 ? -EINVAL : h->symbol[index + code - first];
		index += count;
		first = (first + count) << 1;
		code <<= 1;
	}
	return -EINVAL;
}

/* The next symbol, out of at least MAX_BITS bits or the input's end. */
static inline int decode(struct inflate *s, const struct huffman *h)
{
	u32 entry = h->fast[s->bits & ((1 << FAST_BITS) - 1)];

	if (unlikely(entry == 0))
		return decode_long(s, h);
	return drop(s, entry & 15) != 0 ? -EINVAL : (int)(entry >> 4);
}

/* ---- blocks ------------------------------------------------------------------------------------ */

static const u16 length_base[29] = {
	3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23,  27,
	31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
};
static const u8 length_extra[29] = {
	0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
};
static const u16 distance_base[30] = {
	1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
	193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
};
static const u8 distance_extra[30] = {
	0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
	6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
};

/* Bits that refill has already brought. */
static inline int extra_bits(struct inflate *s, unsigned n, u32 *v)
{
	*v += (u32)(s->bits & ((1u << n) - 1));
	return drop(s, n);
}

/* Copies `length` bytes from `distance` bytes back; they may overlap what is being written. */
static int copy_match(struct inflate *s, u32 length, u32 distance)
{
	u8 *to = s->out, *end = to + length;
	const u8 *from = to - distance;

	if (distance > (size_t)(to - s->out_start))
		return -EINVAL;
	if (length > (size_t)(s->out_end - to))
		return -ENOSPC;
	s->out = end;
	/* Eight at a time may write up to seven bytes too many: only where there is room. */
	if (likely(distance >= 8 && (size_t)(s->out_end - to) >= length + 8)) {
		do {
			u64 v = load64(from);

			__builtin_memcpy(to, &v, 8);
			to += 8;
			from += 8;
		} while (to < end);
		return 0;
	}
	if (distance == 1) {
		memset(to, *from, length);
		return 0;
	}
	while (to < end)
		*to++ = *from++;
	return 0;
}

static int match(struct inflate *s, unsigned symbol)
{
	symbol -= 257;
	if (symbol >= ARRAY_SIZE(length_base))
		return -EINVAL;
	u32 length = length_base[symbol];

	if (extra_bits(s, length_extra[symbol], &length) != 0)
		return -EINVAL;
	int d = decode(s, &s->distances);

	if (d < 0 || d >= (int)ARRAY_SIZE(distance_base))
		return -EINVAL;
	u32 distance = distance_base[d];

	if (extra_bits(s, distance_extra[d], &distance) != 0)
		return -EINVAL;
	return copy_match(s, length, distance);
}

static int coded_block(struct inflate *s)
{
	for (;;) {
		refill(s);
		int symbol = decode(s, &s->literals);

		if (symbol < 0)
			return symbol;
		if (symbol < 256) {
			if (s->out == s->out_end)
				return -ENOSPC;
			*s->out++ = (u8)symbol;
			continue;
		}
		if (symbol == 256)
			return 0;
		int ret = match(s, (unsigned)symbol);

		if (ret != 0)
			return ret;
	}
}

/* Gives whole bytes that refill took too early back to the input. */
static void byte_align(struct inflate *s)
{
	drop(s, s->n % 8);
	s->in -= s->n / 8;
	s->n = 0;
	s->bits = 0;
}

static int stored_block(struct inflate *s)
{
	byte_align(s);
	if (s->in_end - s->in < 4)
		return -EINVAL;
	size_t len = s->in[0] | (size_t)s->in[1] << 8;
	size_t check = s->in[2] | (size_t)s->in[3] << 8;

	s->in += 4;
	if ((len ^ check) != 0xffff || len > (size_t)(s->in_end - s->in))
		return -EINVAL;
	if (len > (size_t)(s->out_end - s->out))
		return -ENOSPC;
	memcpy(s->out, s->in, len);
	s->in += len;
	s->out += len;
	return 0;
}

static int fixed_tables(struct inflate *s)
{
	u8 lengths[NR_LITERALS];

	for (unsigned i = 0; i < NR_LITERALS; i++)
		lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
	if (huffman_build(&s->literals, lengths, NR_LITERALS) != 0)
		return -EINVAL;
	memset(lengths, 5, NR_DISTANCES);
	return huffman_build(&s->distances, lengths, NR_DISTANCES);
}

/* The code lengths of a dynamic block, run-length coded with s->literals (3.2.7). */
static int read_lengths(struct inflate *s, u8 *lengths, unsigned total)
{
	unsigned i = 0;

	while (i < total) {
		refill(s);
		int symbol = decode(s, &s->literals);

		if (symbol < 0)
			return -EINVAL;
		if (symbol < 16) {
			lengths[i++] = (u8)symbol;
			continue;
		}
		if (symbol == 16 && i == 0)
			return -EINVAL;
		int more = take(s, symbol == 16 ? 2 : symbol == 17 ? 3 : 7);
		unsigned run = (unsigned)more + (symbol == 18 ? 11 : 3);

		if (more < 0 || run > total - i)
			return -EINVAL;
		memset(lengths + i, symbol == 16 ? lengths[i - 1] : 0, run);
		i += run;
	}
	return 0;
}

static int dynamic_tables(struct inflate *s)
{
	static const u8 order[19] = {
		16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
	};
	u8 lengths[NR_LITERALS + NR_DISTANCES] = { 0 };
	int nr_lit = take(s, 5), nr_dist = take(s, 5), nr_codes = take(s, 4);

	if (nr_lit < 0 || nr_dist < 0 || nr_codes < 0)
		return -EINVAL;
	nr_lit += 257;
	nr_dist += 1;
	if (nr_lit > 286 || nr_dist > 30)
		return -EINVAL;
	for (int i = 0; i < nr_codes + 4; i++) {
		int len = take(s, 3);

		if (len < 0)
			return -EINVAL;
		lengths[order[i]] = (u8)len;
	}
	if (huffman_build(&s->literals, lengths, 19) != 0)
		return -EINVAL;
	memset(lengths, 0, sizeof(lengths));
	if (read_lengths(s, lengths, (unsigned)(nr_lit + nr_dist)) != 0)
		return -EINVAL;
	if (lengths[256] == 0) /* no end of block */
		return -EINVAL;
	if (huffman_build(&s->literals, lengths, (unsigned)nr_lit) != 0)
		return -EINVAL;
	return huffman_build(&s->distances, lengths + nr_lit, (unsigned)nr_dist);
}

static int inflate_blocks(struct inflate *s)
{
	for (;;) {
		int last = take(s, 1), type = take(s, 2);
		int ret;

		if (last < 0 || type < 0)
			return -EINVAL;
		switch (type) {
		case 0: ret = stored_block(s); break;
		case 1:
			ret = fixed_tables(s);
			if (ret == 0)
				ret = coded_block(s);
			break;
		case 2:
			ret = dynamic_tables(s);
			if (ret == 0)
				ret = coded_block(s);
			break;
		default: ret = -EINVAL;
		}
		if (ret != 0 || last)
			return ret;
	}
}

/* ---- members ----------------------------------------------------------------------------------- */

enum { FHCRC = 2, FEXTRA = 4, FNAME = 8, FCOMMENT = 16, FRESERVED = 0xe0 };

static int skip(struct inflate *s, size_t n)
{
	if (n > (size_t)(s->in_end - s->in))
		return -EINVAL;
	s->in += n;
	return 0;
}

static int skip_string(struct inflate *s)
{
	const u8 *end = memchr(s->in, 0, (size_t)(s->in_end - s->in));

	if (!end)
		return -EINVAL;
	s->in = end + 1;
	return 0;
}

static int read_header(struct inflate *s)
{
	const u8 *h = s->in;

	if (skip(s, 10) != 0 || h[0] != 0x1f || h[1] != 0x8b || h[2] != 8 || (h[3] & FRESERVED))
		return -EINVAL;
	if (h[3] & FEXTRA) {
		const u8 *len = s->in;

		if (skip(s, 2) != 0 || skip(s, len[0] | (size_t)len[1] << 8) != 0)
			return -EINVAL;
	}
	if ((h[3] & FNAME) && skip_string(s) != 0)
		return -EINVAL;
	if ((h[3] & FCOMMENT) && skip_string(s) != 0)
		return -EINVAL;
	if (h[3] & FHCRC) {
		const u8 *crc = s->in;

		if (skip(s, 2) != 0 ||
		    (crc32(h, (size_t)(crc - h)) & 0xffff) != (u32)(crc[0] | crc[1] << 8))
			return -EINVAL;
	}
	return 0;
}

static u32 load32(const u8 *p)
{
	return p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24;
}

static int member(struct inflate *s)
{
	int ret = read_header(s);

	if (ret != 0)
		return ret;
	s->bits = 0;
	s->n = 0;
	s->out_start = s->out;
	ret = inflate_blocks(s);
	if (ret != 0)
		return ret;
	byte_align(s);
	const u8 *trailer = s->in;
	size_t len = (size_t)(s->out - s->out_start);

	if (skip(s, 8) != 0 || load32(trailer + 4) != (u32)len ||
	    load32(trailer) != crc32(s->out_start, len))
		return -EINVAL;
	return 0;
}

int gunzip(const void *in, size_t in_len, void *out, size_t out_cap, size_t *out_len)
{
	struct inflate *s = &state;

	if (crc_table[0][1] == 0)
		crc_init();
	s->in = in;
	s->in_end = s->in + in_len;
	s->out = out;
	s->out_end = s->out + out_cap;
	do {
		int ret = member(s);

		if (ret != 0)
			return ret;
		while (s->in < s->in_end && *s->in == 0)
			s->in++;
	} while (s->in < s->in_end);
	*out_len = (size_t)(s->out - (u8 *)out);
	return 0;
}

size_t gunzip_size_hint(const void *in, size_t in_len)
{
	return in_len < 18 ? 0 : load32((const u8 *)in + in_len - 4);
}

bool gunzip_is_gzip(const void *in, size_t in_len)
{
	const u8 *h = in;

	return in_len >= 18 && h[0] == 0x1f && h[1] == 0x8b && h[2] == 8;
}
