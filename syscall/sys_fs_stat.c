/*
 * System calls on what an inode says of itself: stat in all its forms, statfs, modes, owners,
 * times, access, and reading directories.
 *
 * Every program runs as root as far as files are concerned, whatever its ids: read and write are
 * always permitted, execution when any x bit is set.
 */
#include "syscall/sys_fs.h"

#include "lib/string.h"
#include "lib/uapi/statfs.h"
#include "mm/slab.h"
#include "syscall/syscalls.h"

/* ---- stat ---------------------------------------------------------------------------------- */

static s64 stat_at(int dfd, uaddr_t path, uaddr_t st, int flags)
{
	struct linux_stat out;
	struct inode *inode;
	int err = user_path_inode(dfd, path, walk_flags(flags), &inode);

	if (err)
		return err;
	inode_stat(inode, &out);
	inode_put(inode);
	return put_user(out, st);
}

s64 sys_stat(uaddr_t path, uaddr_t st)
{
	return stat_at(AT_FDCWD, path, st, 0);
}

s64 sys_lstat(uaddr_t path, uaddr_t st)
{
	return stat_at(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

s64 sys_newfstatat(int dfd, uaddr_t path, uaddr_t st, int flags)
{
	if (flags & ~(AT_SYMLINK_NOFOLLOW | LINUX_AT_NO_AUTOMOUNT | LINUX_AT_EMPTY_PATH))
		return -EINVAL;
	return stat_at(dfd, path, st, flags);
}

s64 sys_fstat(int fd, uaddr_t st)
{
	struct linux_stat out;
	struct fd_loan l = fd_borrow(fd);

	if (!l.f)
		return -EBADF;
	inode_stat(l.f->inode, &out);
	fd_return(l);
	return put_user(out, st);
}

static struct linux_statx_time statx_time(struct linux_timespec t)
{
	return (struct linux_statx_time){ .sec = t.sec, .nsec = (u32)t.nsec };
}

s64 sys_statx(int dfd, uaddr_t path, int flags, u32 mask, uaddr_t buf)
{
	struct linux_stat st;
	struct linux_statx out = { 0 };
	struct inode *inode;
	int err;

	if ((flags & ~(AT_SYMLINK_NOFOLLOW | LINUX_AT_NO_AUTOMOUNT | LINUX_AT_EMPTY_PATH |
		       0x6000 /* AT_STATX_SYNC_TYPE */)) ||
	    (mask & LINUX_STATX_RESERVED))
		return -EINVAL;
	err = user_path_inode(dfd, path, walk_flags(flags), &inode);
	if (err)
		return err;
	inode_stat(inode, &st);
	inode_put(inode);
	out.mask = LINUX_STATX_BASIC_STATS;
	out.blksize = (u32)st.blksize;
	out.nlink = (u32)st.nlink;
	out.uid = st.uid;
	out.gid = st.gid;
	out.mode = (u16)st.mode;
	out.ino = st.ino;
	out.size = (u64)st.size;
	out.blocks = (u64)st.blocks;
	out.atime = statx_time(st.atime);
	out.mtime = statx_time(st.mtime);
	out.ctime = statx_time(st.ctime);
	out.rdev_major = dev_major(st.rdev);
	out.rdev_minor = dev_minor(st.rdev);
	out.dev_major = dev_major(st.dev);
	out.dev_minor = dev_minor(st.dev);
	return put_user(out, buf);
}

s64 sys_statfs(uaddr_t path, uaddr_t buf)
{
	struct linux_statfs out;
	struct inode *inode;
	int err = user_path_inode(AT_FDCWD, path, WALK_FOLLOW, &inode);

	if (err)
		return err;
	vfs_statfs(inode->sb, &out);
	inode_put(inode);
	return put_user(out, buf);
}

s64 sys_fstatfs(int fd, uaddr_t buf)
{
	struct linux_statfs out;
	struct file *f = fd_get(fd);

	if (!f)
		return -EBADF;
	vfs_statfs(f->inode->sb, &out);
	file_put(f);
	return put_user(out, buf);
}

/* ---- access -------------------------------------------------------------------------------- */

static s64 access_at(int dfd, uaddr_t path, int mode, int flags)
{
	struct inode *inode;
	int err;

	if (mode & ~(LINUX_R_OK | LINUX_W_OK | LINUX_X_OK))
		return -EINVAL;
	err = user_path_inode(dfd, path, walk_flags(flags), &inode);
	if (err)
		return err;
	if ((mode & LINUX_X_OK) && S_ISREG(inode->mode) && !(inode->mode & S_ANY_EXEC))
		err = -EACCES;
	if (!err && (mode & LINUX_W_OK) && !S_ISCHR(inode->mode) && !S_ISFIFO(inode->mode))
		err = inode_check_writable(inode);
	inode_put(inode);
	return err;
}

s64 sys_access(uaddr_t path, int mode)
{
	return access_at(AT_FDCWD, path, mode, 0);
}

s64 sys_faccessat(int dfd, uaddr_t path, int mode)
{
	return access_at(dfd, path, mode, 0);
}

s64 sys_faccessat2(int dfd, uaddr_t path, int mode, int flags)
{
	if (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | LINUX_AT_EMPTY_PATH))
		return -EINVAL;
	return access_at(dfd, path, mode, flags);
}

/* ---- modes and owners ---------------------------------------------------------------------- */

static int change_mode(struct inode *inode, u32 mode)
{
	int err = inode_check_writable(inode);

	if (err)
		return err;
	if (S_ISLNK(inode->mode))
		return -ENOTSUP;
	mutex_lock(&inode->lock);
	if ((inode->seals & LINUX_SEAL_EXEC) && ((mode ^ inode->mode) & 0111)) {
		mutex_unlock(&inode->lock);
		return -EPERM;
	}
	inode->mode = (inode->mode & S_IFMT) | (mode & S_PERMISSIONS);
	inode->ctime = fs_now();
	mutex_unlock(&inode->lock);
	return 0;
}

static s64 chmod_at(int dfd, uaddr_t path, u32 mode, int flags)
{
	struct inode *inode;
	int err = user_path_inode(dfd, path, walk_flags(flags), &inode);

	if (err)
		return err;
	err = change_mode(inode, mode);
	inode_put(inode);
	return err;
}

s64 sys_chmod(uaddr_t path, u32 mode)
{
	return chmod_at(AT_FDCWD, path, mode, 0);
}

s64 sys_fchmodat(int dfd, uaddr_t path, u32 mode)
{
	return chmod_at(dfd, path, mode, 0);
}

s64 sys_fchmodat2(int dfd, uaddr_t path, u32 mode, int flags)
{
	if (flags & ~(AT_SYMLINK_NOFOLLOW | LINUX_AT_EMPTY_PATH))
		return -EINVAL;
	return chmod_at(dfd, path, mode, flags);
}

s64 sys_fchmod(int fd, u32 mode)
{
	struct file *f = fd_get(fd);
	int err;

	if (!f)
		return -EBADF;
	err = f->flags & O_PATH ? -EBADF : change_mode(f->inode, mode);
	file_put(f);
	return err;
}

/* An id of -1 stays. A change of owner takes the set-id bits of files away, as chown(2) says. */
static int change_owner(struct inode *inode, u32 uid, u32 gid)
{
	int err = inode_check_writable(inode);

	if (err)
		return err;
	mutex_lock(&inode->lock);
	if (uid != UINT32_MAX)
		inode->uid = uid;
	if (gid != UINT32_MAX)
		inode->gid = gid;
	if (!S_ISDIR(inode->mode)) {
		inode->mode &= ~(u32)S_ISUID;
		if (inode->mode & 010)
			inode->mode &= ~(u32)S_ISGID;
	}
	inode->ctime = fs_now();
	mutex_unlock(&inode->lock);
	return 0;
}

static s64 chown_at(int dfd, uaddr_t path, u32 uid, u32 gid, int flags)
{
	struct inode *inode;
	int err = user_path_inode(dfd, path, walk_flags(flags), &inode);

	if (err)
		return err;
	err = change_owner(inode, uid, gid);
	inode_put(inode);
	return err;
}

s64 sys_chown(uaddr_t path, u32 uid, u32 gid)
{
	return chown_at(AT_FDCWD, path, uid, gid, 0);
}

s64 sys_lchown(uaddr_t path, u32 uid, u32 gid)
{
	return chown_at(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

s64 sys_fchownat(int dfd, uaddr_t path, u32 uid, u32 gid, int flags)
{
	if (flags & ~(AT_SYMLINK_NOFOLLOW | LINUX_AT_EMPTY_PATH))
		return -EINVAL;
	return chown_at(dfd, path, uid, gid, flags);
}

s64 sys_fchown(int fd, u32 uid, u32 gid)
{
	struct file *f = fd_get(fd);
	int err;

	if (!f)
		return -EBADF;
	err = f->flags & O_PATH ? -EBADF : change_owner(f->inode, uid, gid);
	file_put(f);
	return err;
}

/* ---- times --------------------------------------------------------------------------------- */

/* ns since 1970, or one of these two. Earlier times become 1970. */
#define TIME_NOW  UINT64_MAX
#define TIME_OMIT (UINT64_MAX - 1)

static int time_of(struct linux_timespec t, u64 *out)
{
	if (t.nsec == LINUX_UTIME_NOW) {
		*out = TIME_NOW;
	} else if (t.nsec == LINUX_UTIME_OMIT) {
		*out = TIME_OMIT;
	} else {
		if (t.nsec < 0 || t.nsec >= (s64)NSEC_PER_SEC)
			return -EINVAL;
		t.sec = t.sec < 0 ? 0 : MIN(t.sec, (s64)(INT64_MAX / NSEC_PER_SEC - 1));
		*out = (u64)t.sec * NSEC_PER_SEC + (u64)t.nsec;
	}
	return 0;
}

static int set_times(struct inode *inode, u64 atime, u64 mtime)
{
	u64 now = fs_now();
	int err = inode_check_writable(inode);

	if (err || (atime == TIME_OMIT && mtime == TIME_OMIT))
		return err;
	mutex_lock(&inode->lock);
	if (atime != TIME_OMIT)
		inode->atime = atime == TIME_NOW ? now : atime;
	if (mtime != TIME_OMIT)
		inode->mtime = mtime == TIME_NOW ? now : mtime;
	inode->ctime = now;
	mutex_unlock(&inode->lock);
	return 0;
}

static s64 set_times_at(int dfd, uaddr_t path, u64 atime, u64 mtime, int flags)
{
	struct inode *inode;
	int err;

	if (!path) { /* futimens(3) */
		struct file *f;

		if (flags)
			return dfd == AT_FDCWD ? -EFAULT : -EINVAL;
		f = fd_get(dfd);
		if (!f)
			return dfd == AT_FDCWD ? -EFAULT : -EBADF;
		err = f->flags & O_PATH ? -EBADF : set_times(f->inode, atime, mtime);
		file_put(f);
		return err;
	}
	err = user_path_inode(dfd, path, walk_flags(flags), &inode);
	if (err)
		return err;
	err = set_times(inode, atime, mtime);
	inode_put(inode);
	return err;
}

s64 sys_utimensat(int dfd, uaddr_t path, uaddr_t times, int flags)
{
	u64 atime = TIME_NOW, mtime = TIME_NOW;
	struct linux_timespec t[2];

	if (flags & ~(AT_SYMLINK_NOFOLLOW | LINUX_AT_EMPTY_PATH))
		return -EINVAL;
	if (times) {
		if (copy_from_user(t, times, sizeof(t)))
			return -EFAULT;
		if (time_of(t[0], &atime) || time_of(t[1], &mtime))
			return -EINVAL;
	}
	return set_times_at(dfd, path, atime, mtime, flags);
}

s64 sys_futimesat(int dfd, uaddr_t path, uaddr_t times)
{
	u64 atime = TIME_NOW, mtime = TIME_NOW;
	struct linux_timeval t[2];

	if (times) {
		if (copy_from_user(t, times, sizeof(t)))
			return -EFAULT;
		for (unsigned i = 0; i < 2; i++) {
			struct linux_timespec ts = { t[i].sec, t[i].usec * 1000 };

			if (t[i].usec < 0 || t[i].usec >= 1000000)
				return -EINVAL;
			if (time_of(ts, i ? &mtime : &atime))
				return -EINVAL;
		}
	}
	return set_times_at(dfd, path, atime, mtime, 0);
}

s64 sys_utimes(uaddr_t path, uaddr_t times)
{
	return path ? sys_futimesat(AT_FDCWD, path, times) : -EFAULT;
}

s64 sys_utime(uaddr_t path, uaddr_t times)
{
	u64 atime = TIME_NOW, mtime = TIME_NOW;
	s64 t[2];

	if (!path)
		return -EFAULT;
	if (times) {
		if (copy_from_user(t, times, sizeof(t)))
			return -EFAULT;
		time_of((struct linux_timespec){ t[0], 0 }, &atime);
		time_of((struct linux_timespec){ t[1], 0 }, &mtime);
	}
	return set_times_at(AT_FDCWD, path, atime, mtime, 0);
}

/* ---- size by path -------------------------------------------------------------------------- */

s64 sys_truncate(uaddr_t path, s64 size)
{
	struct inode *inode;
	int err;

	if (size < 0)
		return -EINVAL;
	err = user_path_inode(AT_FDCWD, path, WALK_FOLLOW, &inode);
	if (err)
		return err;
	err = inode_claim(inode, 1);
	if (!err) {
		err = inode_set_size(inode, (u64)size);
		inode_unclaim(inode, 1);
	}
	inode_put(inode);
	return err;
}

/* ---- directories --------------------------------------------------------------------------- */

struct dents {
	uaddr_t at;
	size_t left;
	size_t done;
	bool old; /* getdents: the type behind the name */
	int err;  /* why it stopped: -EINVAL: no room, -EFAULT */
};

static bool emit_dent(void *arg, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct dents *d = arg;
	union {
		struct linux_dirent64 e;
		struct linux_dirent o;
		char bytes[sizeof(struct linux_dirent64) + LINUX_NAME_MAX + 8];
	} u = { 0 };
	size_t head = d->old ? offsetof(struct linux_dirent, name) :
			       offsetof(struct linux_dirent64, name);
	size_t size = ALIGN_UP(head + len + 1 + d->old, 8);

	if (size > d->left) {
		d->err = -EINVAL;
		return false;
	}
	if (d->old) {
		u.o.ino = ino;
		u.o.off = next;
		u.o.reclen = (u16)size;
		u.bytes[size - 1] = (char)type;
	} else {
		u.e.ino = ino;
		u.e.off = (s64)next;
		u.e.reclen = (u16)size;
		u.e.type = (u8)type;
	}
	memcpy(u.bytes + head, name, len);
	if (copy_to_user(d->at, u.bytes, size)) {
		d->err = -EFAULT;
		return false;
	}
	d->at += size;
	d->left -= size;
	d->done += size;
	return true;
}

static s64 read_directory(int fd, struct dents *d)
{
	struct file *f = fd_get(fd);
	s64 ret;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH) {
		ret = -EBADF;
	} else if (!f->ops->readdir) {
		ret = -ENOTDIR;
	} else {
		mutex_lock(&f->pos_lock);
		ret = f->ops->readdir(f, emit_dent, d);
		mutex_unlock(&f->pos_lock);
	}
	file_put(f);
	if (d->done)
		return (s64)d->done;
	return ret ? ret : d->err;
}

/* Linux counts in an int: a buffer of 2 GiB or more has no room for an entry. */
static size_t dents_room(unsigned int count)
{
	return count <= INT32_MAX ? count : 0;
}

s64 sys_getdents64(int fd, uaddr_t buf, unsigned int count)
{
	struct dents d = { .at = buf, .left = dents_room(count) };

	return read_directory(fd, &d);
}

s64 sys_getdents(int fd, uaddr_t buf, unsigned int count)
{
	struct dents d = { .at = buf, .left = dents_room(count), .old = true };

	return read_directory(fd, &d);
}

/* ---- extended attributes: no file here has any ---------------------------------------------- */

static s64 no_xattr_at(uaddr_t path, unsigned flags)
{
	struct inode *inode;
	int err = user_path_inode(AT_FDCWD, path, flags, &inode);

	if (err)
		return err;
	inode_put(inode);
	return -ENOTSUP;
}

s64 sys_xattr_path(uaddr_t path)
{
	return no_xattr_at(path, WALK_FOLLOW);
}

s64 sys_xattr_lpath(uaddr_t path)
{
	return no_xattr_at(path, 0);
}

s64 sys_xattr_fd(int fd)
{
	struct file *f = fd_get(fd);

	if (!f)
		return -EBADF;
	file_put(f);
	return -ENOTSUP;
}

/* ---- random bytes --------------------------------------------------------------------------- */

s64 sys_getrandom(uaddr_t buf, size_t count, unsigned int flags)
{
	struct uio u;
	u64 pos = 0;

	if ((flags & ~(LINUX_GRND_NONBLOCK | LINUX_GRND_RANDOM | LINUX_GRND_INSECURE)) ||
	    (flags & (LINUX_GRND_RANDOM | LINUX_GRND_INSECURE)) ==
		    (LINUX_GRND_RANDOM | LINUX_GRND_INSECURE))
		return -EINVAL;
	count = MIN(count, (size_t)INT32_MAX);
	if (!user_range_ok(buf, count))
		return -EFAULT;
	u = uio_user(buf, count);
	return random_read(NULL, &u, &pos);
}
