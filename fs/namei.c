/*
 * Names come and go: open, create, link, unlink, rename.
 *
 * Each change locks the directory (rename: both, the ancestor first, under rename_mutex when they
 * differ), checks everything, allocates everything, and then commits in steps that cannot fail.
 * Removing a directory, or replacing one, takes its own lock inside the parent's, and marks it
 * dead, so that nobody who still stands in it makes anything there.
 */
#include "fs/vfs.h"

#include "lib/string.h"
#include "mm/slab.h"

/* ---- making ------------------------------------------------------------------------------- */

/*
 * Walks to the directory that will have the new name, and locks it. -EEXIST when the name exists
 * or cannot be a new one. On success the caller unlocks w->at->inode and ends the walk.
 */
static int begin_create(struct path_walk *w, int dfd, const char *path, bool directory)
{
	struct dentry *d = NULL;
	struct inode *dir;
	int err = walk_begin(w, dfd, path);

	if (!err)
		err = walk_run(w, WALK_PARENT);
	if (err)
		return err;
	if (w->kind != LAST_NAME)
		return -EEXIST;
	dir = w->at->inode;
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (dir->ops->lookup) {
		if (dentry_lookup(w->at, w->last, w->last_len, &d) == 0) {
			dentry_put(d);
			return -EEXIST;
		}
		return -ENOENT; /* nothing can be made here */
	}
	mutex_lock(&dir->lock);
	d = dentry_find(dir, w->last, w->last_len);
	if (d)
		err = -EEXIST;
	else if (w->last_slash && !directory)
		err = -ENOENT;
	else if (dir->flags & INODE_DEAD)
		err = -ENOENT;
	else
		err = inode_check_writable(dir);
	dentry_put(d);
	if (err)
		mutex_unlock(&dir->lock);
	return err;
}

/* Puts a new inode into the locked directory; takes over its reference. 0 or -ENOMEM. */
static int add_name(struct path_walk *w, struct inode *inode, struct dentry **out)
{
	struct dentry *d = dentry_create(w->at, w->last, w->last_len, inode, 0);

	if (!d) {
		inode_put(inode);
		return -ENOMEM;
	}
	dentry_link(d);
	if (S_ISDIR(inode->mode))
		w->at->inode->nlink++;
	if (out)
		*out = d;
	else
		dentry_put(d);
	return 0;
}

/* A new inode under the walk's last name; the directory is locked. */
static int make_here(struct path_walk *w, u32 mode, u32 rdev, const char *target,
		     struct dentry **out)
{
	struct inode *dir = w->at->inode, *inode;
	int err = dir->ops->make ? dir->ops->make(dir, mode, rdev, target, &inode) : -EPERM;

	return err ? err : add_name(w, inode, out);
}

static int make_at(int dfd, const char *path, u32 mode, u32 rdev, const char *target)
{
	struct path_walk w;
	int err = begin_create(&w, dfd, path, S_ISDIR(mode));

	if (!err) {
		err = make_here(&w, mode, rdev, target, NULL);
		mutex_unlock(&w.at->inode->lock);
	}
	walk_end(&w);
	return err;
}

int vfs_mkdirat(int dfd, const char *path, u32 mode)
{
	mode &= 01777 & ~fs_current_umask();
	return make_at(dfd, path, S_IFDIR | mode, 0, NULL);
}

int vfs_mknodat(int dfd, const char *path, u32 mode, u32 dev)
{
	u32 type = mode & S_IFMT;

	if (type == 0)
		type = S_IFREG;
	if (type == S_IFDIR)
		return -EPERM;
	if (type != S_IFREG && type != S_IFCHR && type != S_IFBLK && type != S_IFIFO &&
	    type != S_IFSOCK)
		return -EINVAL;
	mode = type | (mode & S_PERMISSIONS & ~fs_current_umask());
	return make_at(dfd, path, mode, type == S_IFCHR || type == S_IFBLK ? dev : 0, NULL);
}

int vfs_symlinkat(const char *target, int dfd, const char *path)
{
	if (!*target)
		return -ENOENT;
	return make_at(dfd, path, S_IFLNK | 0777, 0, target);
}

int vfs_linkat(struct dentry *old, int dfd, const char *path)
{
	struct inode *inode = old->inode;
	struct path_walk w;
	int err = begin_create(&w, dfd, path, false);

	if (err) {
		walk_end(&w);
		return err;
	}
	if (S_ISDIR(inode->mode))
		err = -EPERM;
	else if (inode->sb != w.at->inode->sb)
		err = -EXDEV;
	else if (inode->nlink == 0 && !(inode->flags & INODE_LINKABLE))
		err = -ENOENT;
	if (!err) {
		inode_get(inode);
		err = add_name(&w, inode, NULL);
	}
	if (!err) {
		__atomic_fetch_add(&inode->nlink, 1, __ATOMIC_RELAXED);
		inode->flags &= ~INODE_LINKABLE;
		inode->ctime = fs_now();
	}
	mutex_unlock(&w.at->inode->lock);
	walk_end(&w);
	return err;
}

/* ---- opening ------------------------------------------------------------------------------ */

static u32 open_flags(int flags)
{
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
	return (u32)flags & ~(FILE_OWN_FLAGS | O_DIRECTORY | O_NOFOLLOW);
}

int dentry_open(struct dentry *d, int flags, struct file **out)
{
	static const struct file_ops no_ops; /* O_PATH: the descriptor names, it does not open */
	struct inode *inode = d->inode;
	bool write = (flags & O_ACCMODE_MASK) != O_RDONLY;
	struct file *f;
	int err = 0;

	if (!(flags & O_PATH)) {
		if (S_ISLNK(inode->mode))
			return -ELOOP;
		if (S_ISDIR(inode->mode) && (write || (flags & O_TRUNC)))
			return -EISDIR;
		if (S_ISBLK(inode->mode) || S_ISSOCK(inode->mode))
			return -ENXIO;
		if (S_ISREG(inode->mode) && (write || (flags & O_TRUNC)))
			err = inode_check_writable(inode);
		if (!err && (flags & O_TRUNC) && S_ISREG(inode->mode) && inode->ops->truncate)
			err = inode_set_size(inode, 0);
		if (err)
			return err;
	}
	dentry_get(d);
	inode_get(inode);
	f = file_create(d, inode, flags & O_PATH ? &no_ops : inode->fops, open_flags(flags));
	if (!f) {
		dentry_put(d);
		inode_put(inode);
		return -ENOMEM;
	}
	if (!(flags & O_PATH) && inode->ops->open) {
		err = inode->ops->open(inode, f);
		if (err) {
			f->ops = &no_ops; /* it was not opened: nothing to release */
			file_put(f);
			return err;
		}
	}
	*out = f;
	return 0;
}

/* As dentry_open, for programs: what is to be written or cut must not run (ETXTBSY). */
static int open_dentry(struct dentry *d, int flags, struct file **out)
{
	bool write = (flags & O_ACCMODE_MASK) != O_RDONLY;
	bool claim = S_ISREG(d->inode->mode) && !(flags & O_PATH) && (write || (flags & O_TRUNC));
	int err = claim ? inode_claim(d->inode, 1) : 0;

	if (err)
		return err;
	err = dentry_open(d, flags, out);
	if (claim && !err && write)
		(*out)->flags |= FILE_WRITES;
	else if (claim)
		inode_unclaim(d->inode, 1);
	return err;
}

/* The file of O_TMPFILE: in the directory's file system, without a name. */
static int open_tmpfile(int dfd, const char *path, int flags, u32 mode, struct file **out)
{
	struct dentry *dir, *d = NULL;
	struct inode *inode;
	int err;

	if ((flags & O_ACCMODE_MASK) == O_RDONLY)
		return -EINVAL;
	err = path_lookup(dfd, path, WALK_FOLLOW | WALK_DIRECTORY, &dir);
	if (err)
		return err;
	err = inode_check_writable(dir->inode);
	if (!err)
		err = dir->inode->ops->make ?
			      dir->inode->ops->make(dir->inode, mode, 0, NULL, &inode) :
			      -ENOTSUP;
	if (!err) {
		inode->nlink = 0;
		if (!(flags & O_EXCL))
			inode->flags |= INODE_LINKABLE;
		d = dentry_create(dir, "#tmpfile", 8, inode, 0);
		if (!d) {
			inode_put(inode);
			err = -ENOMEM;
		}
	}
	if (!err)
		err = open_dentry(d, flags & ~(O_TMPFILE | O_EXCL), out);
	dentry_put(d);
	dentry_put(dir);
	return err;
}

/*
 * The last component of open(O_CREAT), found or made: a dentry with a reference in *out and
 * *made; or 1: it was a link, walk on.
 */
static int open_last(struct path_walk *w, int flags, u32 mode, struct dentry **out, bool *made)
{
	struct inode *dir = w->at->inode;
	struct dentry *d = NULL;
	int err = 0;

	if (w->kind != LAST_NAME || w->last_slash)
		return -EISDIR;
	if (!S_ISDIR(dir->mode))
		return -ENOTDIR;
	if (dir->ops->lookup) {
		err = dentry_lookup(w->at, w->last, w->last_len, &d);
	} else {
		mutex_lock(&dir->lock);
		d = dentry_find(dir, w->last, w->last_len);
		if (!d) {
			*made = true;
			if (dir->flags & INODE_DEAD)
				err = -ENOENT;
			else
				err = inode_check_writable(dir);
			if (!err)
				err = make_here(w, mode, 0, NULL, &d);
		}
		mutex_unlock(&dir->lock);
	}
	if (err)
		return err;
	if (!*made && (flags & O_EXCL)) {
		err = -EEXIST;
	} else if (S_ISLNK(d->inode->mode) && !*made) {
		if (flags & O_NOFOLLOW)
			err = -ELOOP;
		else
			err = walk_follow(w, d) ?: 1;
	}
	if (err) {
		dentry_put(d);
		return err;
	}
	*out = dentry_cross_mounts(d);
	return 0;
}

static int open_create(int dfd, const char *path, int flags, u32 mode, struct file **out)
{
	struct dentry *d = NULL;
	struct path_walk w;
	bool made = false;
	int err = walk_begin(&w, dfd, path);

	while (!err) {
		err = walk_run(&w, WALK_PARENT);
		if (err)
			break;
		/* A link like /proc/self/fd/0 may have led to its end already. */
		if (w.kind == LAST_ROOT && w.links) {
			d = w.at;
			dentry_get(d);
			break;
		}
		err = open_last(&w, flags, mode, &d, &made);
		if (err <= 0)
			break;
		err = 0;
	}
	if (!err && S_ISDIR(d->inode->mode))
		err = -EISDIR;
	if (!err)
		err = open_dentry(d, made ? flags & ~O_TRUNC : flags, out);
	dentry_put(d);
	walk_end(&w);
	return err;
}

int vfs_openat(int dfd, const char *path, int flags, u32 mode, struct file **out)
{
	unsigned walk = flags & O_NOFOLLOW ? 0 : WALK_FOLLOW;
	struct dentry *d;
	int err;

	mode = S_IFREG | (mode & S_PERMISSIONS & ~fs_current_umask());
	if (!(flags & O_PATH)) {
		if ((flags & O_TMPFILE) == O_TMPFILE)
			return open_tmpfile(dfd, path, flags, mode, out);
		if ((flags & O_CREAT) && (flags & O_DIRECTORY))
			return -EINVAL;
		if (flags & O_CREAT)
			return open_create(dfd, path, flags, mode, out);
	}
	if (flags & O_DIRECTORY)
		walk |= WALK_DIRECTORY;
	err = path_lookup(dfd, path, walk, &d);
	if (err)
		return err;
	err = open_dentry(d, flags, out);
	dentry_put(d);
	return err;
}

int vfs_open(const char *path, int flags, u32 mode, struct file **out)
{
	return vfs_openat(AT_FDCWD, path, flags, mode, out);
}

int vfs_open_exec(const char *path, struct file **out)
{
	struct dentry *d;
	int err = path_lookup(AT_FDCWD, path, WALK_FOLLOW, &d);

	if (err)
		return err;
	if (!S_ISREG(d->inode->mode) || !(d->inode->mode & S_ANY_EXEC))
		err = -EACCES;
	else
		err = inode_claim(d->inode, -1);
	if (!err) {
		err = dentry_open(d, O_RDONLY, out);
		if (err)
			inode_unclaim(d->inode, -1);
		else
			(*out)->flags |= FILE_RUNS;
	}
	dentry_put(d);
	return err;
}

int vfs_readlink(struct inode *inode, char *buf, size_t size)
{
	if (!S_ISLNK(inode->mode) || !inode->ops->readlink)
		return -EINVAL;
	return inode->ops->readlink(inode, buf, size);
}

/* ---- removing ----------------------------------------------------------------------------- */

/* Marks a directory dead if it is empty, and nothing was mounted there last. Its parent's lock held. */
static int kill_directory(struct dentry *d)
{
	struct inode *dir = d->inode;
	int err = 0;

	mutex_lock(&dir->lock);
	if (READ_ONCE(d->mounted))
		err = -EBUSY;
	else if (dir->dir.nr_children)
		err = -ENOTEMPTY;
	else
		dir->flags |= INODE_DEAD;
	mutex_unlock(&dir->lock);
	return err;
}

/* The name d goes; its parent's lock held, a directory is dead already. */
static void drop_name(struct dentry *d)
{
	struct inode *inode = d->inode;

	if (S_ISDIR(inode->mode)) {
		inode->nlink = 0;
		d->parent->inode->nlink--;
	} else {
		__atomic_fetch_sub(&inode->nlink, 1, __ATOMIC_RELAXED);
	}
	inode->ctime = fs_now();
	dentry_unlink(d);
}

static int check_unlink(const struct path_walk *w, struct dentry *d, bool directory)
{
	bool is_dir = S_ISDIR(d->inode->mode);

	if (READ_ONCE(d->mounted))
		return -EBUSY;
	if (directory)
		return is_dir ? kill_directory(d) : -ENOTDIR;
	if (w->last_slash && !is_dir)
		return -ENOTDIR;
	return is_dir ? -EISDIR : 0;
}

int vfs_unlinkat(int dfd, const char *path, bool directory)
{
	struct path_walk w;
	struct dentry *d = NULL;
	struct inode *dir;
	int err = walk_begin(&w, dfd, path);

	if (!err)
		err = walk_run(&w, WALK_PARENT);
	if (err)
		goto out;
	dir = w.at->inode;
	err = !directory            ? -EISDIR :
	      w.kind == LAST_DOT    ? -EINVAL :
	      w.kind == LAST_DOTDOT ? -ENOTEMPTY :
				      -EBUSY;
	if (w.kind != LAST_NAME)
		goto out;
	err = S_ISDIR(dir->mode) ? 0 : -ENOTDIR;
	if (!err && dir->ops->lookup) {
		err = dentry_lookup(w.at, w.last, w.last_len, &d);
		if (!err && directory != S_ISDIR(d->inode->mode))
			err = directory ? -ENOTDIR : -EISDIR;
		else if (!err)
			err = -EPERM;
	} else if (!err) {
		mutex_lock(&dir->lock);
		d = dentry_find(dir, w.last, w.last_len);
		err = d ? inode_check_writable(dir) : -ENOENT;
		if (!err)
			err = check_unlink(&w, d, directory);
		if (!err)
			drop_name(d);
		mutex_unlock(&dir->lock);
	}
	dentry_put(d);
out:
	walk_end(&w);
	return err;
}

/* ---- renaming ----------------------------------------------------------------------------- */

static void lock_two(struct dentry *a, struct dentry *b)
{
	if (a == b) {
		mutex_lock(&a->inode->lock);
		return;
	}
	mutex_lock(&rename_mutex); /* now no directory changes its place */
	if (dentry_is_below(a, b)) {
		mutex_lock(&b->inode->lock);
		mutex_lock(&a->inode->lock);
	} else {
		mutex_lock(&a->inode->lock);
		mutex_lock(&b->inode->lock);
	}
}

static void unlock_two(struct dentry *a, struct dentry *b)
{
	mutex_unlock(&a->inode->lock);
	if (a != b) {
		mutex_unlock(&b->inode->lock);
		mutex_unlock(&rename_mutex);
	}
}

struct rename {
	struct path_walk from, to;
	struct dentry *src, *dst; /* dst may be NULL */
	char *long_name;          /* kmalloc'd: src's new one, if it is long */
};

static int make_long_name(struct rename *r)
{
	size_t len = r->to.last_len;

	if (len < DENTRY_INLINE)
		return 0;
	r->long_name = kmalloc(len + 1);
	if (!r->long_name)
		return -ENOMEM;
	memcpy(r->long_name, r->to.last, len);
	r->long_name[len] = 0;
	return 0;
}

/* May src take dst's place? Both directories locked. */
static int check_replace(struct rename *r, unsigned flags)
{
	bool src_dir = S_ISDIR(r->src->inode->mode);
	bool dst_dir = S_ISDIR(r->dst->inode->mode);

	if (flags & LINUX_RENAME_NOREPLACE)
		return -EEXIST;
	if (dentry_is_below(r->from.at, r->dst))
		return flags & LINUX_RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (READ_ONCE(r->dst->mounted))
		return -EBUSY;
	if (flags & LINUX_RENAME_EXCHANGE)
		return 0;
	if (src_dir && !dst_dir)
		return -ENOTDIR;
	if (!src_dir && dst_dir)
		return -EISDIR;
	return 0;
}

/* Everything that can be wrong; both directories locked. 1: nothing is to be done. */
static int check_rename(struct rename *r, unsigned flags)
{
	struct inode *to = r->to.at->inode;
	int err = inode_check_writable(to);

	if (err)
		return err;
	r->src = dentry_find(r->from.at->inode, r->from.last, r->from.last_len);
	if (!r->src || (to->flags & INODE_DEAD))
		return -ENOENT;
	r->dst = dentry_find(to, r->to.last, r->to.last_len);
	if ((flags & LINUX_RENAME_EXCHANGE) && !r->dst)
		return -ENOENT;
	if (!S_ISDIR(r->src->inode->mode)) {
		bool dst_may_be_dir = (flags & LINUX_RENAME_EXCHANGE) != 0;

		if (r->from.last_slash || (r->to.last_slash && !dst_may_be_dir))
			return -ENOTDIR;
	}
	if (dentry_is_below(r->to.at, r->src))
		return -EINVAL;
	if (READ_ONCE(r->src->mounted))
		return -EBUSY;
	if (r->dst) {
		err = check_replace(r, flags);
		if (err)
			return err;
		if (r->src->inode == r->dst->inode)
			return 1;
	}
	if (flags & LINUX_RENAME_EXCHANGE)
		return 0;
	err = make_long_name(r);
	if (!err && r->dst && S_ISDIR(r->dst->inode->mode))
		err = kill_directory(r->dst);
	return err;
}

static void move(struct rename *r)
{
	struct dentry *d = r->src;

	if (S_ISDIR(d->inode->mode)) {
		d->parent->inode->nlink--;
		r->to.at->inode->nlink++;
	}
	dentry_move(d, r->to.at, r->to.last, r->to.last_len, r->long_name);
	r->long_name = NULL;
	d->inode->ctime = fs_now();
}

static void exchange(struct rename *r)
{
	struct inode *from = r->from.at->inode, *to = r->to.at->inode;

	if (S_ISDIR(r->src->inode->mode)) {
		from->nlink--;
		to->nlink++;
	}
	if (S_ISDIR(r->dst->inode->mode)) {
		to->nlink--;
		from->nlink++;
	}
	dentry_exchange(r->src, r->dst);
	r->src->inode->ctime = r->dst->inode->ctime = fs_now();
}

static int rename_locked(struct rename *r, unsigned flags)
{
	int err = check_rename(r, flags);

	if (err == 0 && (flags & LINUX_RENAME_EXCHANGE)) {
		exchange(r);
	} else if (err == 0) {
		if (r->dst)
			drop_name(r->dst);
		move(r);
	}
	kfree(r->long_name);
	return err < 0 ? err : 0;
}

int vfs_renameat(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
	struct rename r = { 0 };
	struct dentry *a, *b;
	int err;

	if (flags & ~(LINUX_RENAME_NOREPLACE | LINUX_RENAME_EXCHANGE) ||
	    flags == (LINUX_RENAME_NOREPLACE | LINUX_RENAME_EXCHANGE))
		return -EINVAL;
	err = walk_begin(&r.from, fromfd, from);
	if (!err)
		err = walk_run(&r.from, WALK_PARENT);
	if (!err)
		err = walk_begin(&r.to, tofd, to);
	if (!err)
		err = walk_run(&r.to, WALK_PARENT);
	if (err)
		goto out;
	a = r.from.at;
	b = r.to.at;
	if (a->inode->sb != b->inode->sb)
		err = -EXDEV;
	else if (r.from.kind != LAST_NAME)
		err = -EBUSY;
	else if (r.to.kind != LAST_NAME)
		err = flags & LINUX_RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	else if (!S_ISDIR(a->inode->mode) || !S_ISDIR(b->inode->mode))
		err = -ENOTDIR;
	else if (!a->inode->ops->make || !b->inode->ops->make)
		err = -EPERM;
	if (!err) {
		lock_two(a, b);
		err = rename_locked(&r, flags);
		unlock_two(a, b);
	}
	dentry_put(r.src);
	dentry_put(r.dst);
out:
	walk_end(&r.from);
	walk_end(&r.to);
	return err;
}
