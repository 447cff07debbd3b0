/*
 * lib/inflate.c beside zlib: what one takes the other takes, with the same bytes; and neither buffer is
 * overrun (ASan). See ./jiffy fuzz.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "lib/inflate.h"
#include "lib/kassert.h"

#define ROOM (256 * 1024)

/* One gzip member by zlib: bytes, or -1. *used: of the input. */
static long by_zlib(const uint8_t *data, size_t size, uint8_t *out, size_t *used)
{
	z_stream z = {
		.next_in = (Bytef *)data, .avail_in = (uInt)size, .next_out = out, .avail_out = ROOM
	};
	int ret;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return -1;
	ret = inflate(&z, Z_FINISH);
	*used = size - z.avail_in;
	inflateEnd(&z);
	return ret == Z_STREAM_END ? (long)z.total_out : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t theirs[ROOM];
	uint8_t *ours = malloc(ROOM), *in = malloc(size ? size : 1);
	size_t used = 0, n = 0;
	long expect;
	int err;

	if (!ours || !in)
		return -1;
	memcpy(in, data, size);
	err = gunzip(in, size, ours, ROOM, &n);
	gunzip_size_hint(in, size);
	expect = by_zlib(data, size, theirs, &used);
	if (expect >= 0 && used == size) {
		kassert(err == 0 && n == (size_t)expect);
		kassert(memcmp(ours, theirs, n) == 0);
	}
	if (err == 0) { /* at least the first member was good */
		kassert(expect >= 0 && n >= (size_t)expect && n <= ROOM);
		kassert(memcmp(ours, theirs, (size_t)expect) == 0);
	}
	free(ours);
	free(in);
	return 0;
}
