/* Moves between the kernel and a struct uio: see lib/uio.h. */
#include "lib/uio.h"

#include "arch/api/uaccess.h"
#include "lib/string.h"
#include "lib/uapi/fcntl.h"

/* n bytes, not more than are left, between buf and the pieces from the first one on. */
static size_t move_pieces(struct uio *u, char *buf, size_t n, bool put)
{
	size_t done = 0;

	while (done < n) {
		struct linux_iovec *v = (struct linux_iovec *)u->addr;
		size_t part = MIN(n - done, (size_t)v->len), moved = part;

		if (put)
			moved -= copy_to_user_partial(v->base, buf + done, part);
		else
			moved -= copy_from_user_partial(buf + done, v->base, part);
		v->base += moved;
		v->len -= moved;
		done += moved;
		if (moved < part)
			break;
		if (v->len == 0)
			u->addr += sizeof(*v);
	}
	u->left -= done;
	return done;
}

size_t uio_put_else(struct uio *u, const void *src, size_t n)
{
	if (u->kind == UIO_PIECES)
		return move_pieces(u, (char *)src, n, true);
	memcpy((void *)u->addr, src, n);
	return uio_advance(u, n);
}

size_t uio_get_else(struct uio *u, void *dst, size_t n)
{
	if (u->kind == UIO_PIECES)
		return move_pieces(u, dst, n, false);
	memcpy(dst, (const void *)u->addr, n);
	return uio_advance(u, n);
}

/* A program's memory is cleared from a page of zeros, piece by piece, so that a fault half way is
 * reported like uio_put's. */
size_t uio_zero(struct uio *u, size_t n)
{
	static const char zeros[256];
	size_t done = 0;

	n = MIN(n, u->left);
	if (u->kind == UIO_KERNEL) {
		memset((void *)u->addr, 0, n);
		return uio_advance(u, n);
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
