/*
 * System calls on paths: open, create, link, unlink, rename, and where a process stands. Paths are
 * copied in, the work is that of fs/namei.c and fs/path.c.
 */
#include "syscall/sys_fs.h"

#include "lib/string.h"
#include "mm/slab.h"
#include "sched/thread.h"
#include "syscall/syscalls.h"

/* ---- paths from programs ------------------------------------------------------------------- */

int user_path_get(struct user_path *p, uaddr_t addr)
{
	ssize_t n = strncpy_from_user(p->small, addr, sizeof(p->small));

	p->s = p->small;
	if (n != -ENAMETOOLONG)
		return n < 0 ? (int)n : 0;
	p->s = kmalloc(LINUX_PATH_MAX);
	if (!p->s)
		return -ENOMEM;
	n = strncpy_from_user(p->s, addr, LINUX_PATH_MAX);
	if (n >= 0)
		return 0;
	kfree(p->s);
	return (int)n;
}

void user_path_put(struct user_path *p)
{
	if (p->s != p->small)
		kfree(p->s);
}

int user_path_dentry(int dfd, uaddr_t addr, unsigned flags, struct dentry **out)
{
	struct user_path p;
	int err = user_path_get(&p, addr);

	if (err)
		return err;
	err = path_lookup(dfd, p.s, flags, out);
	user_path_put(&p);
	return err;
}

int user_path_inode(int dfd, uaddr_t addr, unsigned flags, struct inode **out)
{
	struct user_path p;
	int err = user_path_get(&p, addr);

	if (err)
		return err;
	err = path_inode(dfd, p.s, flags, out);
	user_path_put(&p);
	return err;
}

/* ---- open ---------------------------------------------------------------------------------- */

s64 sys_openat(int dfd, uaddr_t path, int flags, u32 mode)
{
	struct user_path p;
	struct file *f;
	int ret = user_path_get(&p, path);

	if (ret)
		return ret;
	ret = vfs_openat(dfd, p.s, flags, mode, &f);
	user_path_put(&p);
	if (ret)
		return ret;
	ret = fd_install(f, 0, flags & O_CLOEXEC);
	if (ret < 0)
		file_put(f);
	return ret;
}

s64 sys_open(uaddr_t path, int flags, u32 mode)
{
	return sys_openat(AT_FDCWD, path, flags, mode);
}

s64 sys_creat(uaddr_t path, u32 mode)
{
	return sys_openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* ---- names --------------------------------------------------------------------------------- */

s64 sys_mkdirat(int dfd, uaddr_t path, u32 mode)
{
	struct user_path p;
	int err = user_path_get(&p, path);

	if (err)
		return err;
	err = vfs_mkdirat(dfd, p.s, mode);
	user_path_put(&p);
	return err;
}

s64 sys_mkdir(uaddr_t path, u32 mode)
{
	return sys_mkdirat(AT_FDCWD, path, mode);
}

s64 sys_mknodat(int dfd, uaddr_t path, u32 mode, u32 dev)
{
	struct user_path p;
	int err = user_path_get(&p, path);

	if (err)
		return err;
	err = vfs_mknodat(dfd, p.s, mode, dev);
	user_path_put(&p);
	return err;
}

s64 sys_mknod(uaddr_t path, u32 mode, u32 dev)
{
	return sys_mknodat(AT_FDCWD, path, mode, dev);
}

static s64 unlink_at(int dfd, uaddr_t path, bool directory)
{
	struct user_path p;
	int err = user_path_get(&p, path);

	if (err)
		return err;
	err = vfs_unlinkat(dfd, p.s, directory);
	user_path_put(&p);
	return err;
}

s64 sys_unlinkat(int dfd, uaddr_t path, int flags)
{
	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	return unlink_at(dfd, path, flags & AT_REMOVEDIR);
}

s64 sys_unlink(uaddr_t path)
{
	return unlink_at(AT_FDCWD, path, false);
}

s64 sys_rmdir(uaddr_t path)
{
	return unlink_at(AT_FDCWD, path, true);
}

s64 sys_renameat2(int fromfd, uaddr_t from, int tofd, uaddr_t to, unsigned int flags)
{
	struct user_path a, b;
	int err = user_path_get(&a, from);

	if (err)
		return err;
	err = user_path_get(&b, to);
	if (!err) {
		err = vfs_renameat(fromfd, a.s, tofd, b.s, flags);
		user_path_put(&b);
	}
	user_path_put(&a);
	return err;
}

s64 sys_renameat(int fromfd, uaddr_t from, int tofd, uaddr_t to)
{
	return sys_renameat2(fromfd, from, tofd, to, 0);
}

s64 sys_rename(uaddr_t from, uaddr_t to)
{
	return sys_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

s64 sys_linkat(int fromfd, uaddr_t from, int tofd, uaddr_t to, int flags)
{
	unsigned walk = (flags & AT_SYMLINK_FOLLOW ? WALK_FOLLOW : 0) |
			(flags & LINUX_AT_EMPTY_PATH ? WALK_EMPTY : 0);
	struct user_path p;
	struct dentry *old;
	int err;

	if (flags & ~(AT_SYMLINK_FOLLOW | LINUX_AT_EMPTY_PATH))
		return -EINVAL;
	err = user_path_dentry(fromfd, from, walk, &old);
	if (err)
		return err;
	err = user_path_get(&p, to);
	if (!err) {
		err = vfs_linkat(old, tofd, p.s);
		user_path_put(&p);
	}
	dentry_put(old);
	return err;
}

s64 sys_link(uaddr_t from, uaddr_t to)
{
	return sys_linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

s64 sys_symlinkat(uaddr_t target, int dfd, uaddr_t path)
{
	struct user_path a, b;
	int err = user_path_get(&a, target);

	if (err)
		return err;
	err = user_path_get(&b, path);
	if (!err) {
		err = vfs_symlinkat(a.s, dfd, b.s);
		user_path_put(&b);
	}
	user_path_put(&a);
	return err;
}

s64 sys_symlink(uaddr_t target, uaddr_t path)
{
	return sys_symlinkat(target, AT_FDCWD, path);
}

s64 sys_readlinkat(int dfd, uaddr_t path, uaddr_t buf, int size)
{
	struct inode *inode;
	char *text, first;
	int n;

	if (size <= 0)
		return -EINVAL;
	n = user_path_inode(dfd, path, WALK_EMPTY, &inode);
	if (n)
		return n;
	text = kmalloc(LINUX_PATH_MAX);
	n = text ? vfs_readlink(inode, text, LINUX_PATH_MAX) : -ENOMEM;
	if (n == -EINVAL && get_user(first, path) == 0 && !first)
		n = -ENOENT; /* the empty path means descriptors of links, nothing else */
	inode_put(inode);
	if (n >= 0) {
		n = MIN(n, size);
		if (copy_to_user(buf, text, (size_t)n))
			n = -EFAULT;
	}
	kfree(text);
	return n;
}

s64 sys_readlink(uaddr_t path, uaddr_t buf, int size)
{
	return sys_readlinkat(AT_FDCWD, path, buf, size);
}

/* ---- where a process stands ---------------------------------------------------------------- */

s64 sys_chdir(uaddr_t path)
{
	struct dentry *d;
	int err = user_path_dentry(AT_FDCWD, path, WALK_FOLLOW | WALK_DIRECTORY, &d);

	if (err)
		return err;
	fsctx_set_cwd(current()->fs, d);
	dentry_put(d);
	return 0;
}

s64 sys_fchdir(int fd)
{
	struct file *f = fd_get(fd);
	int err = 0;

	if (!f)
		return -EBADF;
	if (f->dentry && S_ISDIR(f->inode->mode))
		fsctx_set_cwd(current()->fs, f->dentry);
	else
		err = -ENOTDIR;
	file_put(f);
	return err;
}

s64 sys_chroot(uaddr_t path)
{
	struct dentry *d;
	int err = user_path_dentry(AT_FDCWD, path, WALK_FOLLOW | WALK_DIRECTORY, &d);

	if (err)
		return err;
	fsctx_set_root(current()->fs, d);
	dentry_put(d);
	return 0;
}

/* The length with the terminator, as Linux's call gives it (the library's returns the buffer). */
s64 sys_getcwd(uaddr_t buf, size_t size)
{
	static const char unreachable_prefix[] = "(unreachable)";
	struct dentry *root = fs_current_root(), *cwd = fs_current_cwd();
	const size_t prefix = sizeof(unreachable_prefix) - 1;
	char *text = kmalloc(LINUX_PATH_MAX + prefix), *path;
	bool unreachable, deleted;
	s64 ret;

	if (text) {
		path = dentry_path(cwd, root, text + prefix, LINUX_PATH_MAX, &unreachable,
				   &deleted);
		if (!IS_ERR(path) && unreachable) {
			path -= prefix;
			memcpy(path, unreachable_prefix, prefix);
		}
		ret = IS_ERR(path) ? PTR_ERR(path) : (s64)strlen(path) + 1;
		if (ret > 0 && deleted)
			ret = -ENOENT;
		else if (ret > 0 && (u64)ret > size)
			ret = -ERANGE;
		else if (ret > 0 && copy_to_user(buf, path, (size_t)ret))
			ret = -EFAULT;
	} else {
		ret = -ENOMEM;
	}
	kfree(text);
	dentry_put(root);
	dentry_put(cwd);
	return ret;
}

s64 sys_umask(u32 mask)
{
	return fsctx_set_umask(current()->fs, mask);
}

/* ---- mounts -------------------------------------------------------------------------------- */

/* What mount(2) is given beside the target: each may be a null pointer. */
struct mount_args {
	struct user_path source, type, options;
};

static int optional_path(struct user_path *p, uaddr_t addr, const char *def)
{
	p->s = p->small;
	kstrlcpy(p->small, def, sizeof(p->small));
	return addr ? user_path_get(p, addr) : 0;
}

static int mount_at(struct mount_args *m, struct dentry *at, uaddr_t source, uaddr_t type,
		    uaddr_t options, u32 flags)
{
	int err = optional_path(&m->source, source, "none");

	if (err)
		return err;
	err = optional_path(&m->type, type, "");
	if (!err) {
		err = optional_path(&m->options, options, "");
		if (!err) {
			err = vfs_mount(m->source.s, at, m->type.s, flags, m->options.s);
			user_path_put(&m->options);
		}
		user_path_put(&m->type);
	}
	user_path_put(&m->source);
	return err;
}

s64 sys_mount(uaddr_t source, uaddr_t target, uaddr_t type, u64 flags, uaddr_t data)
{
	struct mount_args *m;
	struct dentry *at;
	s64 err;

	if ((flags & 0xffff0000) == 0xc0ed0000)
		flags &= 0xffff; /* a magic number of old times */
	err = user_path_dentry(AT_FDCWD, target, WALK_FOLLOW, &at);
	if (err)
		return err;
	m = kmalloc(sizeof(*m));
	err = m ? mount_at(m, at, source, type, data, (u32)flags) : -ENOMEM;
	kfree(m);
	dentry_put(at);
	return err;
}

s64 sys_umount2(uaddr_t target, int flags)
{
	struct dentry *d;
	s64 err;

	if (flags &
	    ~(LINUX_MNT_FORCE | LINUX_MNT_DETACH | LINUX_MNT_EXPIRE | LINUX_UMOUNT_NOFOLLOW))
		return -EINVAL;
	if (flags & LINUX_MNT_EXPIRE)
		return -EINVAL; /* there is nothing that marks a mount for expiry */
	err = user_path_dentry(AT_FDCWD, target, flags & LINUX_UMOUNT_NOFOLLOW ? 0 : WALK_FOLLOW,
			       &d);
	if (err)
		return err;
	err = vfs_umount(d, flags & LINUX_MNT_DETACH);
	dentry_put(d);
	return err;
}
