/*
 * Mounted file systems: which there are, mount and umount.
 *
 * A mount covers a directory with the root of a new super. A super is busy, so that umount gives
 * EBUSY, while a file of it is open, a process stands in it, or something is mounted in it
 * (super.users). A lazy umount takes it out of the tree at once; its own tree is taken apart when
 * the last user leaves. mount_mutex guards the list and serialises mount and umount; the two
 * pointers that path walks read change under tree_lock as well. A directory is covered under its
 * own lock, too: so it is not removed (fs/namei.c: kill_directory) in the middle of that.
 */
#include "fs/vfs.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/uapi/statfs.h"
#include "mm/frame.h"

static struct mutex mount_mutex = MUTEX_INIT(mount_mutex);
static struct list_node mounts = LIST_INIT(mounts);

/* May d be covered? Its lock, mount_mutex and tree_lock held. */
static int check_mountpoint(const struct dentry *d)
{
	const struct super *sb = d->inode->sb;

	if (d->mounted)
		return -EBUSY;
	if (d->inode->flags & INODE_DEAD)
		return -ENOENT;
	/* Unmounted meanwhile: nobody would ever find it. */
	return sb->mountpoint || sb->root == root_dentry ? 0 : -EINVAL;
}

int super_attach(struct super *sb, struct dentry *d)
{
	int err;

	if (d)
		mutex_lock(&d->inode->lock);
	mutex_lock(&mount_mutex);
	spin_lock(&tree_lock);
	err = d ? check_mountpoint(d) : 0;
	if (!d) {
		root_dentry = sb->root;
	} else if (!err) {
		d->mounted = sb;
		sb->mountpoint = d;
		dentry_get(d);
	}
	spin_unlock(&tree_lock);
	if (!err) {
		if (d)
			super_use(d->inode->sb);
		list_add_tail(&mounts, &sb->mounts);
	}
	mutex_unlock(&mount_mutex);
	if (d)
		mutex_unlock(&d->inode->lock);
	return err;
}

/*
 * Takes one name away below root, or marks a directory dead that has none left. False: that was
 * root, which is all that is left.
 */
static bool take_leaf(struct dentry *root)
{
	struct dentry *d = root, *child;

	dentry_get(d);
	for (;;) {
		struct inode *dir = d->inode;

		mutex_lock(&dir->lock);
		child = list_first(&dir->dir.children, struct dentry, sibling);
		if (!child || !S_ISDIR(child->inode->mode) || child->inode->flags & INODE_DEAD)
			break;
		dentry_get(child);
		mutex_unlock(&dir->lock);
		dentry_put(d);
		d = child;
	}
	if (child) {
		child->inode->nlink = 0;
		dentry_unlink(child);
	} else {
		d->inode->flags |= INODE_DEAD;
	}
	mutex_unlock(&d->inode->lock);
	dentry_put(d);
	return child || d != root;
}

/*
 * Takes a tree of pinned dentries apart from the leaves up. Nobody can come in any more, but a walk
 * that was in when it left the tree may still make and remove names: hence locks and dead marks.
 */
static void take_apart(struct super *sb)
{
	struct dentry *root = sb->root;

	while (!root->inode->ops->lookup && take_leaf(root))
		;
	sb->root = NULL;
	dentry_put(root);
	super_put(sb);
}

void super_unuse(struct super *sb)
{
	bool last = atomic_fetch_sub(&sb->users, 1u) == 1;

	if (!last || !READ_ONCE(sb->detached))
		return;
	mutex_lock(&mount_mutex);
	last = sb->detached && sb->root && atomic_load(&sb->users) == 0;
	if (last)
		sb->detached = false;
	mutex_unlock(&mount_mutex);
	if (last)
		take_apart(sb);
}

/* One option of tmpfs(5): size in bytes or percent of memory, mode, uid, gid. */
static int tmpfs_option(struct super *sb, const char *name, const char *value, u64 memory)
{
	struct inode *root = sb->root->inode;
	size_t len = strlen(value);
	u64 v = 0;
	int err;

	if (!strcmp(name, "size") && len && value[len - 1] == '%') {
		char number[8];

		kstrlcpy(number, value, MIN(len, sizeof(number)));
		err = kstrtou64(number, 10, &v);
		sb->max_pages = memory * MIN(v, 100ul) / 100;
	} else if (!strcmp(name, "size")) {
		err = kstrtosize(value, &v);
		sb->max_pages = v / PAGE_SIZE + (v % PAGE_SIZE != 0); /* 0: no limit */
	} else if (!strcmp(name, "mode")) {
		err = kstrtou64(value, 8, &v);
		root->mode = S_IFDIR | ((u32)v & S_PERMISSIONS);
	} else if (!strcmp(name, "uid")) {
		err = kstrtou64(value, 10, &v);
		root->uid = (u32)v;
	} else if (!strcmp(name, "gid")) {
		err = kstrtou64(value, 10, &v);
		root->gid = (u32)v;
	} else {
		err = -EINVAL;
	}
	return err ? -EINVAL : 0;
}

static int tmpfs_mount(const char *source, u32 flags, char *options, struct super **out)
{
	struct frame_stats s;
	int err;

	frame_stats(&s);
	err = tmpfs_create("tmpfs", source, flags, s.total / 2, out);
	if (err)
		return err;
	(*out)->root->inode->mode = S_IFDIR | 01777;
	for (char *p = options, *next; p && !err; p = next) {
		char *value;

		next = strchr(p, ',');
		if (next)
			*next++ = 0;
		value = strchr(p, '=');
		if (value)
			*value++ = 0;
		if (*p)
			err = tmpfs_option(*out, p, value ? value : "", s.total);
	}
	if (err)
		take_apart(*out);
	return err;
}

int vfs_mount(const char *source, struct dentry *at, const char *type, u32 flags, char *options)
{
	struct super *sb;
	int err;

	if (flags & (LINUX_MS_BIND | LINUX_MS_MOVE))
		return -EINVAL;
	if (flags & (LINUX_MS_PRIVATE | LINUX_MS_SLAVE | LINUX_MS_SHARED | LINUX_MS_UNBINDABLE))
		return 0; /* there is one name space: propagation changes nothing */
	if (flags & LINUX_MS_REMOUNT) {
		if (at->parent || at->inode->sb->root != at)
			return -EINVAL;
		WRITE_ONCE(at->inode->sb->flags, flags & LINUX_MS_RDONLY);
		return 0;
	}
	if (!S_ISDIR(at->inode->mode))
		return -ENOTDIR;
	if (at->flags & DENTRY_TRANSIENT)
		return -EINVAL; /* names of /proc come and go */
	flags &= LINUX_MS_RDONLY | LINUX_MS_NOSUID | LINUX_MS_NODEV | LINUX_MS_NOEXEC;
	if (!strcmp(type, "tmpfs") || !strcmp(type, "ramfs")) {
		err = tmpfs_mount(source, flags, options, &sb);
	} else if (!strcmp(type, "proc")) {
		err = procfs_create(source, flags, &sb);
	} else if (!strcmp(type, "devtmpfs")) {
		err = devfs_create(source, flags, &sb);
	} else {
		return -ENODEV;
	}
	if (err)
		return err;
	err = super_attach(sb, at);
	if (err)
		take_apart(sb);
	return err;
}

int devfs_create(const char *source, u32 flags, struct super **out)
{
	int err = tmpfs_create("devtmpfs", source, flags, 0, out);

	if (!err) {
		err = devfs_populate(*out);
		if (err)
			take_apart(*out);
	}
	return err;
}

int vfs_umount(struct dentry *root, bool detach)
{
	struct super *sb = root->inode->sb;
	struct dentry *below = NULL;
	bool idle = false;
	int err = 0;

	mutex_lock(&mount_mutex);
	if (sb->root != root || !sb->mountpoint) {
		err = root == root_dentry ? -EBUSY : -EINVAL;
	} else if (!detach && atomic_load(&sb->users)) {
		err = -EBUSY;
	} else {
		spin_lock(&tree_lock);
		below = sb->mountpoint;
		below->mounted = NULL;
		sb->mountpoint = NULL;
		spin_unlock(&tree_lock);
		list_del_init(&sb->mounts);
		/* First the word, then the look: the last user looks the other way round. */
		WRITE_ONCE(sb->detached, true);
		memory_barrier();
		idle = atomic_load(&sb->users) == 0;
		if (idle)
			sb->detached = false;
	}
	mutex_unlock(&mount_mutex);
	if (err)
		return err;
	struct super *above = below->inode->sb;

	super_get(above); /* behind our use of it, it may be unmounted itself */
	dentry_put(below);
	if (idle)
		take_apart(sb);
	super_unuse(above);
	super_put(above);
	return 0;
}

void mounts_for_each(void (*fn)(struct super *sb, void *arg), void *arg)
{
	struct super *sb;

	mutex_lock(&mount_mutex);
	list_for_each(sb, &mounts, mounts)
		fn(sb, arg);
	mutex_unlock(&mount_mutex);
}

void vfs_statfs(struct super *sb, struct linux_statfs *out)
{
	*out = (struct linux_statfs){
		.type = (s64)sb->magic,
		.bsize = (s64)PAGE_SIZE,
		.frsize = (s64)PAGE_SIZE,
		.namelen = LINUX_NAME_MAX,
		.fsid = sb->dev,
		.flags = (s64)(sb->flags | 0x20), /* ST_VALID */
	};
	if (sb->magic == LINUX_TMPFS_MAGIC) {
		struct frame_stats s;
		u64 used = atomic_load(&sb->pages), limit = sb->max_pages;

		frame_stats(&s);
		if (!limit)
			limit = s.total;
		out->blocks = limit;
		out->bfree = limit > used ? limit - used : 0;
		out->bavail = MIN(out->bfree, frame_stats_available(&s));
		out->files = sb->max_inodes;
		out->ffree = out->files - MIN(out->files, atomic_load(&sb->inodes));
	}
}
