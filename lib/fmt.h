/*
 * Formatted text. The conversions are those of printf without floating point:
 * %d %i %u %x %X %o %c %s %p %%, flags "-0+ #", width and precision (also *), lengths hh h l ll z.
 */
#pragma once

#include <stdarg.h>

#include "lib/types.h"

/* Like snprintf of ISO C: at most size-1 characters and a terminator; returns the full length. */
int kvsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
__printf(3, 4) int ksnprintf(char *buf, size_t size, const char *fmt, ...);

/* A growing text: appends never overrun, and overflow is remembered. */
struct textbuf {
	char *buf;
	size_t size; /* of buf */
	size_t len;  /* characters so far, without the terminator */
	bool overflow;
};
__printf(2, 3) void textbuf_printf(struct textbuf *t, const char *fmt, ...);

/*
 * Reads an unsigned number at s: decimal, 0x hexadecimal, or 0 octal when base is 0. -EINVAL for
 * no digit or trailing characters (one final newline is allowed), -ERANGE for an overflow.
 */
int kstrtou64(const char *s, unsigned base, u64 *out);

/* As kstrtou64 with a suffix K, M, G or T (powers of 1024): sizes on a command line. */
int kstrtosize(const char *s, u64 *out);
