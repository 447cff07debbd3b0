/*
 * The walk from a path to a dentry (path_resolution(7)).
 *
 * A walk holds one dentry and the text that is still to go. A symbolic link replaces the text by
 * its target and what followed it, in a buffer of two PATH_MAX, so the walk is a loop and needs
 * no stack. 40 links are the limit, as on Linux. Everything runs as root here: search permission
 * is never refused.
 */
#include "fs/vfs.h"

#include "lib/string.h"
#include "mm/slab.h"

#define MAX_LINKS 40
#define WALK_BUF  (2 * LINUX_PATH_MAX)

struct dentry *dentry_cross_mounts(struct dentry *d)
{
	while (unlikely(READ_ONCE(d->mounted))) {
		struct dentry *root = NULL;

		spin_lock(&tree_lock);
		if (d->mounted) {
			root = d->mounted->root;
			dentry_get(root);
		}
		spin_unlock(&tree_lock);
		if (!root)
			break;
		dentry_put(d);
		d = root;
	}
	return d;
}

/* The directory above d, not above root. Takes over the reference. */
static struct dentry *go_up(struct dentry *d, struct dentry *root)
{
	struct dentry *up = d;

	spin_lock(&tree_lock);
	while (up != root && !up->parent && up->inode->sb->mountpoint)
		up = up->inode->sb->mountpoint;
	if (up != root && up->parent)
		up = up->parent;
	dentry_get(up);
	spin_unlock(&tree_lock);
	dentry_put(d);
	return dentry_cross_mounts(up);
}

int dentry_lookup(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
	struct inode *inode = dir->inode;

	if (inode->ops->lookup)
		return inode->ops->lookup(dir, name, len, out);
	*out = dentry_find_quick(inode, name, len);
	if (likely(*out))
		return 0;
	mutex_lock(&inode->lock); /* is it in the middle of a rename? */
	*out = dentry_find(inode, name, len);
	mutex_unlock(&inode->lock);
	return *out ? 0 : -ENOENT;
}

/* Where a walk from dfd begins: a reference. */
static int start_dentry(int dfd, struct dentry **out)
{
	struct file *f;
	int err = 0;

	if (dfd == AT_FDCWD) {
		*out = fs_current_cwd();
		return 0;
	}
	f = fd_get(dfd);
	if (!f)
		return -EBADF;
	if (f->dentry && S_ISDIR(f->inode->mode)) {
		dentry_get(f->dentry);
		*out = f->dentry;
	} else {
		err = -ENOTDIR;
	}
	file_put(f);
	return err;
}

int walk_begin(struct path_walk *w, int dfd, const char *path)
{
	*w = (struct path_walk){ .rest = path };
	if (!*path)
		return -ENOENT;
	w->root = fs_current_root();
	if (*path != '/')
		return start_dentry(dfd, &w->at);
	dentry_get(w->root);
	w->at = w->root;
	return 0;
}

void walk_end(struct path_walk *w)
{
	dentry_put(w->at);
	dentry_put(w->root);
	kfree(w->buf);
}

int walk_follow(struct path_walk *w, struct dentry *d)
{
	struct inode *inode = d->inode;
	size_t rest_len = strlen(w->rest);
	char *buf;
	int len;

	if (++w->links > MAX_LINKS)
		return -ELOOP;
	if (inode->ops->follow) {
		struct dentry *to;
		int err = inode->ops->follow(inode, &to);

		if (err)
			return err;
		dentry_put(w->at);
		w->at = to;
		return 0;
	}
	buf = kmalloc(WALK_BUF);
	if (!buf)
		return -ENOMEM;
	len = inode->ops->readlink(inode, buf, LINUX_PATH_MAX);
	if (len > 0 && (size_t)len + rest_len + 1 > WALK_BUF)
		len = -ENAMETOOLONG;
	if (len <= 0) {
		kfree(buf);
		return len ? len : -ENOENT;
	}
	memcpy(buf + len, w->rest, rest_len + 1); /* begins with a slash, or is empty */
	kfree(w->buf);
	w->buf = buf;
	w->rest = buf;
	if (*buf == '/') {
		dentry_get(w->root);
		dentry_put(w->at);
		w->at = w->root;
	}
	return 0;
}

static enum last_kind kind_of(const char *name, size_t len)
{
	if (len == 1 && name[0] == '.')
		return LAST_DOT;
	if (len == 2 && name[0] == '.' && name[1] == '.')
		return LAST_DOTDOT;
	return LAST_NAME;
}

/* One ordinary component. last: nothing but slashes follows it. */
static int walk_component(struct path_walk *w, const char *name, size_t len, bool follow)
{
	struct dentry *d;
	int err = dentry_lookup(w->at, name, len, &d);

	if (err)
		return err;
	if (S_ISLNK(d->inode->mode) && follow) {
		err = walk_follow(w, d);
		dentry_put(d);
		return err;
	}
	dentry_put(w->at);
	w->at = dentry_cross_mounts(d);
	return 0;
}

/*
 * Walks on until the end (or with WALK_PARENT until one component is left). The walk's references
 * stay with w whatever happens: walk_end.
 */
int walk_run(struct path_walk *w, unsigned flags)
{
	bool slash = false; /* the last component seen had one behind it */

	w->kind = LAST_ROOT;
	for (;;) {
		const char *name, *p = w->rest;
		size_t len;
		int err = 0;

		while (*p == '/')
			p++;
		name = p;
		if (!*name)
			break;
		while (*p && *p != '/')
			p++;
		len = (size_t)(p - name);
		if (!S_ISDIR(w->at->inode->mode))
			return -ENOTDIR;
		if (len > LINUX_NAME_MAX)
			return -ENAMETOOLONG;
		w->rest = p;
		slash = *p == '/';
		while (*p == '/')
			p++;
		w->kind = kind_of(name, len);
		if (!*p && (flags & WALK_PARENT)) {
			w->last = name;
			w->last_len = len;
			w->last_slash = slash;
			return 0;
		}
		if (w->kind == LAST_DOTDOT)
			w->at = go_up(w->at, w->root);
		else if (w->kind == LAST_NAME)
			err = walk_component(w, name, len, *p || slash || (flags & WALK_FOLLOW));
		if (err)
			return err;
	}
	/* After links the text may have ended, so ask again what we stand on. */
	if ((slash || (flags & WALK_DIRECTORY)) && !S_ISDIR(w->at->inode->mode))
		return -ENOTDIR;
	return 0;
}

int path_lookup(int dfd, const char *path, unsigned flags, struct dentry **out)
{
	struct path_walk w;
	int err;

	if (!*path && (flags & WALK_EMPTY)) {
		if (dfd == AT_FDCWD) {
			*out = fs_current_cwd();
			return 0;
		}
		struct file *f = fd_get(dfd);

		if (!f)
			return -EBADF;
		*out = f->dentry;
		if (f->dentry)
			dentry_get(f->dentry);
		file_put(f);
		return *out ? 0 : -ENOENT;
	}
	err = walk_begin(&w, dfd, path);
	if (!err)
		err = walk_run(&w, flags);
	if (!err) {
		*out = w.at;
		w.at = NULL;
	}
	walk_end(&w);
	return err;
}

int path_inode(int dfd, const char *path, unsigned flags, struct inode **out)
{
	struct dentry *d;
	int err;

	if (!*path && (flags & WALK_EMPTY) && dfd != AT_FDCWD) {
		struct file *f = fd_get(dfd);

		if (!f)
			return -EBADF;
		inode_get(f->inode);
		*out = f->inode;
		file_put(f);
		return 0;
	}
	err = path_lookup(dfd, path, flags, &d);
	if (err)
		return err;
	inode_get(d->inode);
	*out = d->inode;
	dentry_put(d);
	return 0;
}
