/*
 * Open files: a position, flags and operations over an inode.
 *
 * A struct file is shared by descriptors (dup, fork); its position has a mutex, which read and
 * write hold across the operation where the file has a position at all, as POSIX asks. A file on a
 * mounted file system counts as its user, so that umount finds it.
 */
#include "fs/file.h"
#include "fs/vfs.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "mm/slab.h"

static struct slab_cache *file_slab;

void (*fs_signal_current)(int sig);
struct tty *(*fs_current_tty)(void);

void file_setup(void)
{
	file_slab = slab_cache_create("file", sizeof(struct file), 8);
}

struct file *file_create(struct dentry *d, struct inode *inode, const struct file_ops *ops,
			 u32 flags)
{
	struct file *f = slab_zalloc(file_slab);

	if (!f)
		return NULL;
	refcount_init(&f->refs, 1);
	f->ops = ops;
	f->dentry = d;
	f->inode = inode;
	f->flags = flags & ~(u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC);
	mutex_init(&f->pos_lock);
	super_use(inode->sb);
	return f;
}

void file_get(struct file *f)
{
	refcount_get(&f->refs);
}

static void free_file(struct rcu_head *end)
{
	slab_free(file_slab, container_of(end, struct file, end));
}

void file_end(struct file *f)
{
	if (f->ops->release && !(f->flags & O_PATH))
		f->ops->release(f);
	if (f->flags & FILE_HAS_FLOCK)
		lock_release_owner(f->inode, f);
	if (f->flags & (FILE_WRITES | FILE_RUNS))
		inode_unclaim(f->inode, f->flags & FILE_WRITES ? 1 : -1);

	struct super *sb = f->inode->sb;

	super_get(sb);
	dentry_put(f->dentry);
	inode_put(f->inode);
	super_unuse(sb);
	super_put(sb);
	if (nr_cpus == 1)
		slab_free(file_slab, f);
	else
		call_rcu(&f->end, free_file); /* somebody may just be looking at its count */
}

ssize_t file_read_at(struct file *f, struct uio *dst, u64 pos)
{
	if (!f->ops->read)
		return S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
	return f->ops->read(f, dst, &pos);
}

int file_read_exact(struct file *f, void *buf, size_t n, u64 pos)
{
	struct uio u = uio_kernel(buf, n);

	while (u.left) {
		ssize_t got = file_read_at(f, &u, pos);

		if (got < 0)
			return (int)got;
		if (got == 0)
			return -ENOEXEC;
		pos += (u64)got;
	}
	return 0;
}

struct vm_object *file_vm_object(struct file *f)
{
	return S_ISREG(f->inode->mode) && f->inode->object.ops ? &f->inode->object : NULL;
}

u32 file_seals(const struct file *f)
{
	return READ_ONCE(f->inode->seals);
}

int file_stat(struct file *f, struct linux_stat *out)
{
	inode_stat(f->inode, out);
	return 0;
}

int file_path(struct file *f, char *buf, size_t size)
{
	bool unreachable, deleted;
	char *path;
	size_t len;

	if (!f->dentry) {
		int n = ksnprintf(buf, size, "pipe:[%lu]", f->inode->ino);

		return n < (int)size ? n : (int)size - 1;
	}
	path = dentry_path(f->dentry, NULL, buf, size, &unreachable, &deleted);
	if (IS_ERR(path))
		return (int)PTR_ERR(path);
	len = strlen(path);
	memmove(buf, path, len + 1);
	if (deleted)
		len += kstrlcpy(buf + len, " (deleted)", size - len);
	return (int)MIN(len, size - 1);
}
