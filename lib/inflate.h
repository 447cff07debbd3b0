/* Decompression of gzip files (RFC 1951, RFC 1952): for the initramfs. */
#pragma once

#include "lib/types.h"

/*
 * Unpacks the gzip members in `in`, one behind the other, to `out`; zero bytes behind the last
 * member are allowed. The number of bytes goes to *out_len. 0, or -EINVAL for any damage (header,
 * code, distance, CRC, length, a cut end), or -ENOSPC if out_cap is too small. Never reads or
 * writes beyond the two buffers. What lies in `out` after an error is undefined.
 *
 * Not reentrant (its tables are static): the caller is the boot, or holds a lock. Does not sleep.
 */
int gunzip(const void *in, size_t in_len, void *out, size_t out_cap, size_t *out_len);

/* The length that the last four bytes of the file claim (modulo 4 GiB): a hint for out_cap. */
size_t gunzip_size_hint(const void *in, size_t in_len);

/* Does it begin like a gzip file? */
bool gunzip_is_gzip(const void *in, size_t in_len);
