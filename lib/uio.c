/* Moves between the kernel and a struct uio: see lib/uio.h. */
#include "lib/uio.h"

#include "arch/api/uaccess.h"
#include "lib/string.h"

static size_t advance(struct uio *u, size_t n)
{
	u->addr += n;
	u->left -= n;
	return n;
}

size_t uio_put(struct uio *u, const void *src, size_t n)
{
	n = MIN(n, u->left);
	if (u->kernel)
		memcpy((void *)u->addr, src, n);
	else
		n -= copy_to_user_partial(u->addr, src, n);
	return advance(u, n);
}

size_t uio_get(struct uio *u, void *dst, size_t n)
{
	n = MIN(n, u->left);
	if (u->kernel)
		memcpy(dst, (const void *)u->addr, n);
	else
		n -= copy_from_user_partial(dst, u->addr, n);
	return advance(u, n);
}

/* A program's memory is cleared from a page of zeros, piece by piece, so that a fault half way is
 * reported like uio_put's. */
size_t uio_zero(struct uio *u, size_t n)
{
	static const char zeros[256];
	size_t done = 0;

	n = MIN(n, u->left);
	if (u->kernel) {
		memset((void *)u->addr, 0, n);
		return advance(u, n);
	}
	while (done < n) {
		size_t want = MIN(n - done, sizeof(zeros));
		size_t got = uio_put(u, zeros, want);

		done += got;
		if (got < want)
			break;
	}
	return done;
}
