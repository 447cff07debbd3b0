/*
 * Inodes: their life, attributes and times, and the supers that they belong to.
 *
 * An inode lives while somebody names it: dentries, open files, mappings (through its vm_object).
 * nlink counts names only; an inode without names goes with its last reference. Each inode holds
 * its super, so a detached file system lives until the last of its files is closed.
 */
#include "fs/vfs.h"

#include "lib/string.h"
#include "lib/uapi/statfs.h"
#include "mm/slab.h"
#include "time/clock.h"

static struct slab_cache *inode_slab;
static atomic_t next_dev = { 1 };

void inode_setup(void)
{
	inode_slab = slab_cache_create("inode", sizeof(struct inode), 8);
}

u64 fs_now(void)
{
	return clock_realtime_ns();
}

struct super *super_create(const char *type, const char *source, u64 magic, u32 flags)
{
	struct super *sb = kzalloc(sizeof(*sb));

	if (!sb)
		return NULL;
	sb->source = kstrdup(source);
	if (!sb->source) {
		kfree(sb);
		return NULL;
	}
	refcount_init(&sb->refs, 1);
	sb->type = type;
	sb->magic = magic;
	sb->flags = flags;
	sb->dev = dev_make(0, atomic_fetch_add(&next_dev, 1u));
	atomic_store(&sb->next_ino, 1);
	list_init(&sb->mounts);
	return sb;
}

void super_put(struct super *sb)
{
	if (!refcount_put(&sb->refs))
		return;
	kassert_eq(atomic_load(&sb->inodes), 0);
	kfree((void *)sb->source);
	kfree(sb);
}

struct inode *inode_create(struct super *sb, u32 mode, const struct inode_ops *ops,
			   const struct file_ops *fops)
{
	struct inode *inode = slab_zalloc(inode_slab);

	if (!inode)
		return NULL;
	refcount_init(&inode->refs, 1);
	inode->mode = mode;
	inode->nlink = S_ISDIR(mode) ? 2 : 1;
	inode->ino = atomic_fetch_add(&sb->next_ino, 1ul);
	inode->sb = sb;
	inode->ops = ops;
	inode->fops = fops;
	inode->atime = inode->mtime = inode->ctime = fs_now();
	mutex_init(&inode->lock);
	super_get(sb);
	atomic_fetch_add(&sb->inodes, 1ul);
	return inode;
}

void inode_put(struct inode *inode)
{
	struct super *sb = inode->sb;

	if (!refcount_put(&inode->refs))
		return;
	if (inode->ops->destroy)
		inode->ops->destroy(inode);
	if (inode->locks)
		lock_list_free(inode->locks);
	atomic_fetch_sub(&sb->inodes, 1ul);
	slab_free(inode_slab, inode);
	super_put(sb);
}

static struct linux_timespec timespec_of(u64 ns)
{
	return (struct linux_timespec){ (s64)(ns / NSEC_PER_SEC), (s64)(ns % NSEC_PER_SEC) };
}

void inode_stat(struct inode *inode, struct linux_stat *out)
{
	*out = (struct linux_stat){
		.dev = inode->sb->dev,
		.ino = inode->ino,
		.nlink = READ_ONCE(inode->nlink),
		.mode = READ_ONCE(inode->mode),
		.uid = inode->uid,
		.gid = inode->gid,
		.rdev = inode->rdev,
		.size = (s64)READ_ONCE(inode->size),
		.blksize = (s64)PAGE_SIZE,
		.atime = timespec_of(inode->atime),
		.mtime = timespec_of(inode->mtime),
		.ctime = timespec_of(inode->ctime),
	};
	if (inode->sb->magic == LINUX_PROC_MAGIC)
		out->blksize = 1024;
	else if (S_ISREG(inode->mode))
		out->blocks = (s64)(READ_ONCE(inode->pages.count) * (PAGE_SIZE / 512));
}

void inode_touch(struct inode *inode)
{
	inode->mtime = inode->ctime = fs_now();
}

/*
 * As the mount option relatime: the time of a read is kept only when it says something new, that
 * is, when the file changed since the last one. (Linux adds: or once a day.)
 */
void inode_accessed(struct inode *inode)
{
	if (unlikely(inode->atime <= inode->mtime || inode->atime <= inode->ctime))
		inode->atime = fs_now();
}

int inode_check_writable(const struct inode *inode)
{
	return READ_ONCE(inode->sb->flags) & LINUX_MS_RDONLY ? -EROFS : 0;
}

int inode_claim(struct inode *inode, int step)
{
	u32 n = atomic_load(&inode->claims);

	do {
		if (step > 0 ? (s32)n < 0 : (s32)n > 0)
			return -ETXTBSY;
	} while (!atomic_cas(&inode->claims, &n, n + (u32)step));
	return 0;
}

void inode_unclaim(struct inode *inode, int step)
{
	u32 n = atomic_fetch_sub(&inode->claims, (u32)step);

	kassert(step > 0 ? (s32)n > 0 : (s32)n < 0);
}

int inode_set_size(struct inode *inode, u64 size)
{
	int err = inode_check_writable(inode);

	if (S_ISDIR(inode->mode))
		return -EISDIR;
	if (!inode->ops->truncate)
		return -EINVAL;
	if (err)
		return err;
	if (size > INT64_MAX)
		return -EFBIG;
	mutex_lock(&inode->lock);
	err = inode->ops->truncate(inode, size);
	if (!err)
		inode_touch(inode);
	mutex_unlock(&inode->lock);
	return err;
}
