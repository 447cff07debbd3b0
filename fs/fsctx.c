/*
 * Where a process stands in the tree: root, current directory, umask. Shared by threads
 * (CLONE_FS), copied by fork. A kernel thread has none and stands at the root of all.
 *
 * Root and current directory count as users of their file systems, so umount finds them.
 */
#include "fs/vfs.h"

#include "lib/string.h"
#include "mm/slab.h"
#include "sched/thread.h"

struct dentry *root_dentry;

static struct dentry *use(struct dentry *d)
{
	dentry_get(d);
	super_use(d->inode->sb);
	return d;
}

static void unuse(struct dentry *d)
{
	struct super *sb = d->inode->sb;

	super_get(sb);
	dentry_put(d);
	super_unuse(sb);
	super_put(sb);
}

static struct fsctx *create(struct dentry *root, struct dentry *cwd, u32 umask)
{
	struct fsctx *c = kzalloc(sizeof(*c));

	if (!c)
		return NULL;
	refcount_init(&c->refs, 1);
	spin_init(&c->lock, "fsctx", RANK_FILE);
	c->root = use(root);
	c->cwd = use(cwd);
	c->umask = umask;
	return c;
}

struct fsctx *fsctx_create(void)
{
	return create(root_dentry, root_dentry, 022);
}

static struct dentry *get_root(struct fsctx *c)
{
	spin_lock(&c->lock);
	struct dentry *d = c->root;

	dentry_get(d);
	spin_unlock(&c->lock);
	return d;
}

static struct dentry *get_cwd(struct fsctx *c)
{
	spin_lock(&c->lock);
	struct dentry *d = c->cwd;

	dentry_get(d);
	spin_unlock(&c->lock);
	return d;
}

struct fsctx *fsctx_copy(struct fsctx *c)
{
	struct dentry *root = get_root(c), *cwd = get_cwd(c);
	struct fsctx *copy = create(root, cwd, READ_ONCE(c->umask));

	dentry_put(root);
	dentry_put(cwd);
	return copy;
}

void fsctx_get(struct fsctx *c)
{
	refcount_get(&c->refs);
}

void fsctx_put(struct fsctx *c)
{
	if (!refcount_put(&c->refs))
		return;
	unuse(c->root);
	unuse(c->cwd);
	kfree(c);
}

static void replace(struct fsctx *c, struct dentry **slot, struct dentry *d)
{
	struct dentry *old;

	use(d);
	spin_lock(&c->lock);
	old = *slot;
	*slot = d;
	spin_unlock(&c->lock);
	unuse(old);
}

void fsctx_set_cwd(struct fsctx *c, struct dentry *d)
{
	replace(c, &c->cwd, d);
}

void fsctx_set_root(struct fsctx *c, struct dentry *d)
{
	replace(c, &c->root, d);
}

u32 fsctx_set_umask(struct fsctx *c, u32 mask)
{
	return __atomic_exchange_n(&c->umask, mask & 0777, __ATOMIC_RELAXED);
}

struct dentry *fs_current_root(void)
{
	struct fsctx *c = current()->fs;

	if (c)
		return get_root(c);
	dentry_get(root_dentry);
	return root_dentry;
}

struct dentry *fs_current_cwd(void)
{
	struct fsctx *c = current()->fs;

	if (c)
		return get_cwd(c);
	dentry_get(root_dentry);
	return root_dentry;
}

u32 fs_current_umask(void)
{
	struct fsctx *c = current()->fs;

	return c ? READ_ONCE(c->umask) : 0;
}

static int path_of(struct dentry *d, char *buf, size_t size)
{
	bool unreachable, deleted;
	char *path = dentry_path(d, NULL, buf, size, &unreachable, &deleted);
	int len;

	dentry_put(d);
	if (IS_ERR(path))
		return (int)PTR_ERR(path);
	len = (int)strlen(path);
	memmove(buf, path, (size_t)len + 1);
	return len;
}

int fsctx_cwd_path(struct fsctx *c, char *buf, size_t size)
{
	return path_of(get_cwd(c), buf, size);
}

int fsctx_root_path(struct fsctx *c, char *buf, size_t size)
{
	return path_of(get_root(c), buf, size);
}
