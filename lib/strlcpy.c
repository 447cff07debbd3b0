/* What <string.h> of the C library lacks: apart from lib/string.c, which the host tests leave out. */
#include "lib/string.h"

size_t kstrlcpy(char *dst, const char *src, size_t size)
{
	size_t len = strlen(src);

	if (size != 0) {
		size_t n = MIN(len, size - 1);

		memcpy(dst, src, n);
		dst[n] = 0;
	}
	return len;
}
