/*
 * System calls on open files: read and write in all their forms, positions, descriptors, fcntl,
 * ioctl, pipes, locks. They check arguments and copy; the work is that of fs/.
 *
 * One read or write moves at most 0x7ffff000 bytes (read(2)); all of the memory that it names must be
 * a program's, none the less. A file with a position is locked around the operation (pos_lock);
 * others, pipes and terminals, are not: a reader that waits must not keep a writer of the same open
 * file from writing.
 */
#include "lib/string.h"
#include "mm/slab.h"
#include "proc/process.h"
#include "sched/thread.h"
#include "syscall/sys_fs.h"
#include "syscall/syscalls.h"

#include "lib/uapi/ioctl.h"
#include "lib/uapi/poll.h"

/* ---- one piece ---------------------------------------------------------------------------- */

static ssize_t file_read(struct file *f, struct uio *dst, u64 *pos)
{
	if (!f->ops->read)
		return S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
	return f->ops->read(f, dst, pos);
}

static ssize_t file_write(struct file *f, struct uio *src, u64 *pos)
{
	return f->ops->write ? f->ops->write(f, src, pos) : -EINVAL;
}

/* Does the file have a position that others may use at the same time? */
static inline bool must_lock(struct fd_loan l)
{
	return l.f->ops->seek && !fd_is_private(l);
}

/* Of a file that others may have: counted, and its position locked if it has one. */
static __always_inline s64 move_shared(int fd, uaddr_t buf, size_t count, bool write)
{
	struct file *f = fd_get(fd);
	s64 n;

	if (!f)
		return -EBADF;
	if (!(write ? file_writable(f) : file_readable(f))) {
		n = -EBADF;
	} else if (!user_range_ok(buf, count)) {
		n = -EFAULT;
	} else {
		struct uio u = uio_user(buf, MIN(count, LINUX_RW_MAX));
		bool lock = f->ops->seek;

		if (lock)
			mutex_lock(&f->pos_lock);
		n = write ? file_write(f, &u, &f->pos) : file_read(f, &u, &f->pos);
		if (lock)
			mutex_unlock(&f->pos_lock);
	}
	file_put(f);
	return n;
}

static __noinline s64 read_shared(int fd, uaddr_t buf, size_t count)
{
	return move_shared(fd, buf, count, false);
}

static __noinline s64 write_shared(int fd, uaddr_t buf, size_t count)
{
	return move_shared(fd, buf, count, true);
}

/* Most are of a table that no other thread has, and a file without a position, or that no other table has. */
static __always_inline s64 move_user(int fd, uaddr_t buf, size_t count, bool write)
{
	struct file *f = fd_own(fd);
	struct uio u;

	if (unlikely(!f) || must_lock((struct fd_loan){ f, false }))
		return write ? write_shared(fd, buf, count) : read_shared(fd, buf, count);
	if (!(write ? file_writable(f) : file_readable(f)))
		return -EBADF;
	if (!user_range_ok(buf, count))
		return -EFAULT;
	u = uio_user(buf, MIN(count, LINUX_RW_MAX));
	return write ? file_write(f, &u, &f->pos) : file_read(f, &u, &f->pos);
}

s64 sys_read(int fd, uaddr_t buf, size_t count)
{
	return move_user(fd, buf, count, false);
}

s64 sys_write(int fd, uaddr_t buf, size_t count)
{
	return move_user(fd, buf, count, true);
}

/* Positions are signed: what is moved must end where one can be. */
static bool ends_at_position(u64 at, size_t count)
{
	return count <= (u64)INT64_MAX - at;
}

static s64 move_user_at(int fd, uaddr_t buf, size_t count, s64 pos, bool write)
{
	struct fd_loan l;
	struct file *f;
	struct uio u;
	u64 at = (u64)pos;
	s64 n;

	if (pos < 0)
		return -EINVAL;
	l = fd_borrow(fd);
	f = l.f;
	if (!f)
		return -EBADF;
	u = uio_user(buf, MIN(count, LINUX_RW_MAX));
	if (!f->ops->seek)
		n = f->flags & O_PATH ? -EBADF : -ESPIPE;
	else if (!(write ? file_writable(f) : file_readable(f)))
		n = -EBADF;
	else if (!user_range_ok(buf, count))
		n = -EFAULT;
	else if (!ends_at_position(at, count))
		n = -EINVAL;
	else
		n = write ? file_write(f, &u, &at) : file_read(f, &u, &at);
	fd_return(l);
	return n;
}

s64 sys_pread64(int fd, uaddr_t buf, size_t count, s64 pos)
{
	return move_user_at(fd, buf, count, pos, false);
}

s64 sys_pwrite64(int fd, uaddr_t buf, size_t count, s64 pos)
{
	return move_user_at(fd, buf, count, pos, true);
}

/* ---- many pieces -------------------------------------------------------------------------- */

struct pieces {
	struct linux_iovec *v;
	struct linux_iovec small[8];
	u32 n;
	size_t total; /* at most LINUX_RW_MAX: what is beyond is cut off */
};

static void pieces_put(struct pieces *p)
{
	if (p->v != p->small)
		kfree(p->v);
}

static int pieces_get(struct pieces *p, uaddr_t iov, u32 count)
{
	int err;

	if (count > LINUX_IOV_MAX)
		return -EINVAL;
	p->n = count;
	p->total = 0;
	p->v = p->small;
	if (count > ARRAY_SIZE(p->small))
		p->v = kmalloc(count * sizeof(*p->v));
	if (!p->v)
		return -ENOMEM;
	err = copy_from_user(p->v, iov, count * sizeof(*p->v));
	for (u32 i = 0; !err && i < p->n; i++) {
		struct linux_iovec *v = &p->v[i];

		if ((s64)v->len < 0)
			err = -EINVAL;
		else if (!user_range_ok(v->base, v->len))
			err = -EFAULT;
		v->len = MIN(v->len, LINUX_RW_MAX - p->total);
		p->total += v->len;
	}
	if (err)
		pieces_put(p);
	return err;
}

/* A pipe's small writes are whole: the pieces are gathered in one buffer first. */
static ssize_t write_gathered(struct file *f, struct pieces *p, u64 *pos)
{
	struct uio from = uio_pieces(p->v, p->total), u;
	char *buf = kmalloc(p->total);
	ssize_t n = -EFAULT;

	if (!buf)
		return -ENOMEM;
	if (uio_get(&from, buf, p->total) == p->total) {
		u = uio_kernel(buf, p->total);
		n = file_write(f, &u, pos);
	}
	kfree(buf);
	return n;
}

/* All pieces in one operation: nobody comes in between, and a read that got something does not wait. */
static ssize_t move_pieces(struct file *f, struct pieces *p, u64 *pos, bool write)
{
	struct uio u = p->n == 1 ? uio_user(p->v[0].base, p->total) : uio_pieces(p->v, p->total);

	if (!p->total)
		return 0;
	if (p->n > 1 && write && !f->ops->seek && p->total <= LINUX_PIPE_BUF)
		return write_gathered(f, p, pos);
	return write ? file_write(f, &u, pos) : file_read(f, &u, pos);
}

/* at: NULL for the file's own position. */
static s64 move_vector(int fd, uaddr_t iov, u32 count, u64 *at, bool write)
{
	struct fd_loan l = fd_borrow(fd);
	struct file *f = l.f;
	struct pieces p;
	s64 n;

	if (!f)
		return -EBADF;
	if (!(write ? file_writable(f) : file_readable(f)))
		n = -EBADF;
	else if (at && !f->ops->seek)
		n = -ESPIPE;
	else
		n = pieces_get(&p, iov, count);
	if (n) {
		fd_return(l);
		return n;
	}
	if (at) {
		n = ends_at_position(*at, p.total) ? move_pieces(f, &p, at, write) : -EINVAL;
	} else {
		bool lock = must_lock(l);

		if (lock)
			mutex_lock(&f->pos_lock);
		n = move_pieces(f, &p, &f->pos, write);
		if (lock)
			mutex_unlock(&f->pos_lock);
	}
	pieces_put(&p);
	fd_return(l);
	return n;
}

s64 sys_readv(int fd, uaddr_t iov, u32 iovcnt)
{
	return move_vector(fd, iov, iovcnt, NULL, false);
}

s64 sys_writev(int fd, uaddr_t iov, u32 iovcnt)
{
	return move_vector(fd, iov, iovcnt, NULL, true);
}

/* On 64 bits the first half of the position is all of it. */
s64 sys_preadv(int fd, uaddr_t iov, u32 iovcnt, u64 pos_low, u64 pos_high)
{
	return (s64)pos_low < 0 ? -EINVAL : move_vector(fd, iov, iovcnt, &pos_low, false);
}

s64 sys_pwritev(int fd, uaddr_t iov, u32 iovcnt, u64 pos_low, u64 pos_high)
{
	return (s64)pos_low < 0 ? -EINVAL : move_vector(fd, iov, iovcnt, &pos_low, true);
}

/* ---- from file to file -------------------------------------------------------------------- */

#define COPY_CHUNK (16 * KiB)

/*
 * Copies count bytes from in at *in_pos to out at *out_pos. Each position moves by what arrived, so
 * that nothing is lost when out takes less than was read.
 */
static s64 copy_files(struct file *in, u64 *in_pos, struct file *out, u64 *out_pos, size_t count)
{
	char *buf = kmalloc(COPY_CHUNK);
	size_t done = 0;
	ssize_t n = 0;

	if (!buf)
		return -ENOMEM;
	while (done < count) {
		struct uio u = uio_kernel(buf, MIN(count - done, COPY_CHUNK));
		u64 pos = *in_pos;
		ssize_t got;

		got = n = file_read(in, &u, &pos);
		if (n <= 0)
			break;
		u = uio_kernel(buf, (size_t)got);
		n = file_write(out, &u, out_pos);
		if (n <= 0)
			break;
		*in_pos += (u64)n;
		done += (size_t)n;
		if (n < got)
			break;
		if (signal_pending_current()) {
			n = -ERESTARTSYS;
			break;
		}
	}
	kfree(buf);
	return done ? (s64)done : n;
}

static s64 sendfile_checked(struct file *out, struct file *in, uaddr_t offset, size_t count)
{
	u64 pos = in->pos;
	s64 n;

	if (!file_readable(in) || !file_writable(out))
		return -EBADF;
	if (!S_ISREG(in->inode->mode) || (out->flags & O_APPEND))
		return -EINVAL;
	if (offset && get_user(pos, offset))
		return -EFAULT;
	if ((s64)pos < 0 || !ends_at_position(pos, count))
		return -EINVAL;
	n = copy_files(in, &pos, out, &out->pos, MIN(count, LINUX_RW_MAX));
	if (offset)
		return put_user(pos, offset) ? -EFAULT : n;
	in->pos = pos;
	return n;
}

/* Both positions are locked by the address of the file, once if it is the same. */
static void lock_positions(struct file *a, struct file *b, bool lock)
{
	struct file *f[2] = { a < b ? a : b, a < b ? b : a };

	for (unsigned i = 0; i < 2; i++) {
		if (!f[i]->ops->seek || (i && f[0] == f[1]))
			continue;
		if (lock)
			mutex_lock(&f[i]->pos_lock);
		else
			mutex_unlock(&f[i]->pos_lock);
	}
}

s64 sys_sendfile(int out_fd, int in_fd, uaddr_t offset, size_t count)
{
	struct file *in = fd_get(in_fd), *out = fd_get(out_fd);
	s64 n = -EBADF;

	if (in && out) {
		lock_positions(in, out, true);
		n = sendfile_checked(out, in, offset, count);
		lock_positions(in, out, false);
	}
	if (in)
		file_put(in);
	if (out)
		file_put(out);
	return n;
}

static s64 copy_range_checked(struct file *in, uaddr_t in_pos, struct file *out, uaddr_t out_pos,
			      size_t len)
{
	u64 from = in->pos, to = out->pos;
	s64 n;

	if (!file_readable(in) || !file_writable(out) || (out->flags & O_APPEND))
		return -EBADF;
	if (S_ISDIR(in->inode->mode) || S_ISDIR(out->inode->mode))
		return -EISDIR;
	if (!S_ISREG(in->inode->mode) || !S_ISREG(out->inode->mode))
		return -EINVAL;
	if ((in_pos && get_user(from, in_pos)) || (out_pos && get_user(to, out_pos)))
		return -EFAULT;
	if (from + len < from || to + len < to)
		return -EOVERFLOW;
	if ((s64)from < 0 || (s64)to < 0)
		return -EINVAL;
	len = MIN(len, LINUX_RW_MAX);
	if (in->inode == out->inode && from < to + len && to < from + len)
		return -EINVAL;
	n = copy_files(in, &from, out, &to, len);
	if ((in_pos && put_user(from, in_pos)) || (out_pos && put_user(to, out_pos)))
		return -EFAULT;
	if (!in_pos)
		in->pos = from;
	if (!out_pos)
		out->pos = to;
	return n;
}

s64 sys_copy_file_range(int in_fd, uaddr_t in_pos, int out_fd, uaddr_t out_pos, size_t len,
			unsigned int flags)
{
	struct file *in, *out;
	s64 n = -EBADF;

	if (flags)
		return -EINVAL;
	in = fd_get(in_fd);
	out = fd_get(out_fd);
	if (in && out) {
		lock_positions(in, out, true);
		n = copy_range_checked(in, in_pos, out, out_pos, len);
		lock_positions(in, out, false);
	}
	if (in)
		file_put(in);
	if (out)
		file_put(out);
	return n;
}

/* ---- position and size -------------------------------------------------------------------- */

s64 sys_lseek(int fd, s64 offset, int whence)
{
	struct fd_loan l = fd_borrow(fd);
	struct file *f = l.f;
	s64 ret;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH) {
		ret = -EBADF;
	} else if (whence < 0 || whence > LINUX_SEEK_HOLE) {
		ret = -EINVAL;
	} else if (!f->ops->seek) {
		ret = -ESPIPE;
	} else {
		bool lock = must_lock(l);

		if (lock)
			mutex_lock(&f->pos_lock);
		ret = f->ops->seek(f, offset, whence);
		if (lock)
			mutex_unlock(&f->pos_lock);
	}
	fd_return(l);
	return ret;
}

s64 sys_ftruncate(int fd, s64 size)
{
	struct file *f;
	s64 ret;

	if (size < 0)
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		ret = -EBADF;
	else if (!file_writable(f) || !S_ISREG(f->inode->mode))
		ret = -EINVAL;
	else
		ret = inode_set_size(f->inode, (u64)size);
	file_put(f);
	return ret;
}

static s64 allocate(struct file *f, int mode, s64 offset, s64 len)
{
	struct inode *inode = f->inode;
	int err;

	if (offset < 0 || len <= 0)
		return -EINVAL;
	if (mode & ~(LINUX_FALLOC_KEEP_SIZE | LINUX_FALLOC_PUNCH_HOLE) ||
	    mode == LINUX_FALLOC_PUNCH_HOLE)
		return -ENOTSUP;
	if (!file_writable(f))
		return -EBADF;
	if (S_ISFIFO(inode->mode))
		return -ESPIPE;
	if (S_ISDIR(inode->mode))
		return -EISDIR;
	if (!S_ISREG(inode->mode))
		return -ENODEV;
	if (offset > INT64_MAX - len)
		return -EFBIG;
	if (!inode->ops->allocate)
		return -ENOTSUP;
	mutex_lock(&inode->lock);
	err = inode->ops->allocate(inode, mode, (u64)offset, (u64)len);
	if (!err)
		inode_touch(inode);
	mutex_unlock(&inode->lock);
	return err;
}

s64 sys_fallocate(int fd, int mode, s64 offset, s64 len)
{
	struct file *f = fd_get(fd);
	s64 ret;

	if (!f)
		return -EBADF;
	ret = allocate(f, mode, offset, len);
	file_put(f);
	return ret;
}

/* fsync, fdatasync, syncfs: no file here has a disk. Linux gives EINVAL for pipes and the like. */
s64 sys_fsync(int fd)
{
	struct file *f = fd_get(fd);
	s64 ret = 0;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		ret = -EBADF;
	else if (S_ISFIFO(f->inode->mode) || S_ISCHR(f->inode->mode))
		ret = -EINVAL;
	file_put(f);
	return ret;
}

s64 sys_sync(void)
{
	return 0;
}

s64 sys_sync_file_range(int fd, s64 offset, s64 len, unsigned int flags)
{
	if (offset < 0 || len < 0 || (flags & ~7u))
		return -EINVAL;
	return sys_fsync(fd);
}

s64 sys_fadvise64(int fd, s64 offset, s64 len, int advice)
{
	struct file *f = fd_get(fd);
	s64 ret = 0;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		ret = -EBADF;
	else if (S_ISFIFO(f->inode->mode))
		ret = -ESPIPE;
	else if (len < 0 || advice < 0 || advice > 5)
		ret = -EINVAL;
	file_put(f);
	return ret;
}

/* Nothing lies behind a file's pages: there is nothing to do. */
s64 sys_readahead(int fd, s64 offset, size_t count)
{
	struct file *f = fd_get(fd);
	s64 ret = 0;

	if (!f)
		return -EBADF;
	if (!file_readable(f))
		ret = -EBADF;
	else if (!S_ISREG(f->inode->mode) || (s64)count < 0)
		ret = -EINVAL;
	file_put(f);
	return ret;
}

/* ---- descriptors -------------------------------------------------------------------------- */

s64 sys_close(int fd)
{
	return fd_close(fd);
}

static s64 duplicate(int fd, int min, bool cloexec)
{
	struct file *f = fd_get(fd);
	int ret;

	if (!f)
		return -EBADF;
	ret = fd_install(f, min, cloexec);
	if (ret < 0)
		file_put(f);
	return ret;
}

s64 sys_dup(int fd)
{
	return duplicate(fd, 0, false);
}

static s64 duplicate_at(int oldfd, int newfd, bool cloexec)
{
	struct file *f = fd_get(oldfd);
	int ret;

	if (!f)
		return -EBADF;
	ret = fd_install_at(f, newfd, cloexec);
	if (ret < 0)
		file_put(f);
	return ret;
}

s64 sys_dup2(int oldfd, int newfd)
{
	if (oldfd == newfd)
		return fd_get_cloexec(oldfd) < 0 ? -EBADF : newfd;
	return duplicate_at(oldfd, newfd, false);
}

s64 sys_dup3(int oldfd, int newfd, int flags)
{
	if ((flags & ~O_CLOEXEC) || oldfd == newfd)
		return -EINVAL;
	return duplicate_at(oldfd, newfd, flags & O_CLOEXEC);
}

s64 sys_close_range(u32 first, u32 last, unsigned int flags)
{
	struct fdtable *t;

	if (first > last || (flags & ~(LINUX_CLOSE_RANGE_CLOEXEC | LINUX_CLOSE_RANGE_UNSHARE)))
		return -EINVAL;
	if ((flags & LINUX_CLOSE_RANGE_UNSHARE) && proc_unshare_files())
		return -ENOMEM;
	t = current()->files;
	last = MIN(last, (u32)FD_LIMIT - 1);
	for (int fd = first < FD_LIMIT ? fdtable_next(t, (int)first) : -1;
	     fd >= 0 && (u32)fd <= last; fd = fdtable_next(t, fd + 1)) {
		if (flags & LINUX_CLOSE_RANGE_CLOEXEC)
			fd_set_cloexec(fd, true);
		else
			fd_close(fd);
	}
	return 0;
}

static s64 install_pair(struct file *rd, struct file *wr, uaddr_t fds, bool cloexec)
{
	int fd[2];

	fd[0] = fd_install(rd, 0, cloexec);
	if (fd[0] < 0) {
		file_put(rd);
		file_put(wr);
		return fd[0];
	}
	fd[1] = fd_install(wr, 0, cloexec);
	if (fd[1] < 0) {
		file_put(wr);
		fd_close(fd[0]);
		return fd[1];
	}
	if (copy_to_user(fds, fd, sizeof(fd))) {
		fd_close(fd[0]);
		fd_close(fd[1]);
		return -EFAULT;
	}
	return 0;
}

s64 sys_pipe2(uaddr_t fds, int flags)
{
	struct file *rd, *wr;
	int err;

	if (flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
		return -EINVAL;
	if (flags & O_DIRECT)
		return -EINVAL; /* packets are not there */
	err = pipe_create(flags & O_NONBLOCK, &rd, &wr);
	return err ? err : install_pair(rd, wr, fds, flags & O_CLOEXEC);
}

s64 sys_pipe(uaddr_t fds)
{
	return sys_pipe2(fds, 0);
}

s64 sys_eventfd2(unsigned int count, int flags)
{
	struct file *f;
	int ret;

	if (flags & ~(O_CLOEXEC | O_NONBLOCK | LINUX_EFD_SEMAPHORE))
		return -EINVAL;
	ret = eventfd_create(count, flags & LINUX_EFD_SEMAPHORE, (u32)flags & O_NONBLOCK, &f);
	if (ret)
		return ret;
	ret = fd_install(f, 0, flags & O_CLOEXEC);
	if (ret < 0)
		file_put(f);
	return ret;
}

s64 sys_eventfd(unsigned int count)
{
	return sys_eventfd2(count, 0);
}

s64 sys_memfd_create(uaddr_t name, unsigned int flags)
{
	static const char prefix[] = "/memfd:", suffix[] = " (deleted)"; /* as /proc shows it */
	char buf[sizeof(prefix) + 249 + sizeof(suffix)];
	struct file *f;
	ssize_t len;
	u32 seals = flags & LINUX_MFD_ALLOW_SEALING ? 0 : LINUX_SEAL_SEAL, mode = 0777;
	int ret;

	if (flags &
	    ~(LINUX_MFD_CLOEXEC | LINUX_MFD_ALLOW_SEALING | LINUX_MFD_NOEXEC_SEAL | LINUX_MFD_EXEC))
		return -EINVAL;
	if (flags & LINUX_MFD_NOEXEC_SEAL) {
		if (flags & LINUX_MFD_EXEC)
			return -EINVAL;
		seals = LINUX_SEAL_EXEC;
		mode = 0666;
	}
	memcpy(buf, prefix, sizeof(prefix));
	len = strncpy_from_user(buf + sizeof(prefix) - 1, name, 250);
	if (len < 0)
		return len == -ENAMETOOLONG ? -EINVAL : len;
	memcpy(buf + sizeof(prefix) - 1 + len, suffix, sizeof(suffix));
	ret = tmpfs_anonymous(buf, O_RDWR, mode, seals, &f);
	if (ret)
		return ret;
	ret = fd_install(f, 0, flags & LINUX_MFD_CLOEXEC);
	if (ret < 0)
		file_put(f);
	return ret;
}

/* ---- fcntl, ioctl, locks ------------------------------------------------------------------ */

/* What F_SETFL may change. */
#define SETTABLE_FLAGS (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC)

static void change_flags(struct file *f, u32 set, u32 mask)
{
	u32 old = READ_ONCE(f->flags);

	while (!__atomic_compare_exchange_n(&f->flags, &old, (old & ~mask) | (set & mask), false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static s64 fcntl_lock(struct file *f, int fd, unsigned cmd, uaddr_t arg)
{
	struct linux_flock fl;
	int err = get_user(fl, arg);

	if (!err)
		err = lock_fcntl(f, fd, cmd, &fl);
	if (!err && cmd == F_GETLK)
		err = put_user(fl, arg);
	return err;
}

static s64 fcntl_pipe(struct file *f, unsigned cmd, u64 arg)
{
	if (!S_ISFIFO(f->inode->mode))
		return -EBADF;
	if (cmd == LINUX_F_SETPIPE_SZ) {
		if (arg == 0 || arg > 1u << 31)
			return -EINVAL;
		if (arg > 64 * KiB)
			return -EPERM; /* as if the user's limit were reached */
	}
	return 64 * KiB;
}

static s64 fcntl_file(int fd, struct file *f, unsigned cmd, u64 arg)
{
	bool path_only = f->flags & O_PATH;

	switch (cmd) {
	case F_DUPFD:
	case LINUX_F_DUPFD_CLOEXEC:
		return (int)arg < 0 ? -EINVAL :
				      duplicate(fd, (int)arg, cmd == LINUX_F_DUPFD_CLOEXEC);
	case F_GETFD: return fd_get_cloexec(fd);
	case F_SETFD: return fd_set_cloexec(fd, arg & FD_CLOEXEC);
	case F_GETFL:
		return (s64)((f->flags & ~FILE_OWN_FLAGS) | (path_only ? 0 : (u32)O_LARGEFILE_BIT));
	default: break;
	}
	if (path_only)
		return -EBADF;
	switch (cmd) {
	case F_SETFL: change_flags(f, (u32)arg, SETTABLE_FLAGS); return 0;
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW: return fcntl_lock(f, fd, cmd, arg);
	case F_SETOWN: return 0; /* O_ASYNC's signals are not sent, whoever would get them */
	case F_GETOWN: return 0;
	case LINUX_F_ADD_SEALS: return arg > UINT32_MAX ? -EINVAL : tmpfs_add_seals(f, (u32)arg);
	case LINUX_F_GET_SEALS:
		return inode_has_seals(f->inode) ? (s64)READ_ONCE(f->inode->seals) : -EINVAL;
	case LINUX_F_GETPIPE_SZ:
	case LINUX_F_SETPIPE_SZ: return fcntl_pipe(f, cmd, arg);
	default: return -EINVAL;
	}
}

s64 sys_fcntl(int fd, unsigned int cmd, u64 arg)
{
	struct fd_loan l = fd_borrow(fd);
	struct file *f = l.f;
	s64 ret;

	if (!f)
		return -EBADF;
	ret = fcntl_file(fd, f, cmd, arg);
	fd_return(l);
	return ret;
}

static s64 ioctl_regular(struct file *f, unsigned cmd, uaddr_t arg)
{
	s64 left = (s64)READ_ONCE(f->inode->size) - (s64)READ_ONCE(f->pos);
	int bytes = (int)left;

	return cmd == FIONREAD ? put_user(bytes, arg) : -ENOTTY;
}

s64 sys_ioctl(int fd, unsigned int cmd, uaddr_t arg)
{
	struct fd_loan l = fd_borrow(fd);
	struct file *f = l.f;
	int on;
	s64 ret;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH) {
		ret = -EBADF;
	} else if (cmd == FIOCLEX || cmd == FIONCLEX) {
		ret = fd_set_cloexec(fd, cmd == FIOCLEX);
	} else if (cmd == FIONBIO) {
		ret = get_user(on, arg);
		if (!ret)
			change_flags(f, on ? O_NONBLOCK : 0, O_NONBLOCK);
	} else if (f->ops->ioctl) {
		ret = f->ops->ioctl(f, cmd, arg);
	} else if (S_ISREG(f->inode->mode)) {
		ret = ioctl_regular(f, cmd, arg);
	} else {
		ret = -ENOTTY;
	}
	fd_return(l);
	return ret;
}

s64 sys_flock(int fd, unsigned int op)
{
	unsigned kind = op & ~(unsigned)LINUX_LOCK_NB;
	struct file *f;
	s64 ret;

	if (op & LINUX_LOCK_MAND)
		return 0; /* never locked anything, so Linux says yes, whatever the file */
	if (kind != LINUX_LOCK_SH && kind != LINUX_LOCK_EX && kind != LINUX_LOCK_UN)
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	ret = f->flags & O_PATH ? -EBADF : lock_flock(f, op);
	file_put(f);
	return ret;
}
