/*
 * tmpfs: files in memory. Also what /dev and memfds are made of.
 *
 * A regular file is a page cache and a size; nothing is behind the cache, so pages leave it only by
 * truncation and with the inode. Holes have no page and read as zeros. Invariant: what a page holds
 * beyond the file's size is zero (a program may break it through a shared mapping of the last
 * page, and then sees its own bytes again; Linux's tmpfs is the same).
 *
 * Reads take no lock: size is read once, pages are looked up one by one. Writers, truncation and
 * allocation hold inode.lock. A write copies from the program while it holds that lock: the fault
 * this may take asks for pages of some file, maybe of this one, through tmpfs_get_page, which
 * takes only the cache's spinlock.
 *
 * Pages that are truncated or punched out are taken from those who have them mapped, too
 * (vm_object_zap); accesses beyond the end give SIGBUS.
 *
 * Seals (F_ADD_SEALS) are bits of the inode that only grow. Files that are not memfds have the one
 * that forbids more.
 */
#include "fs/vfs.h"

#include "lib/string.h"
#include "lib/uapi/poll.h"
#include "lib/uapi/statfs.h"
#include "mm/slab.h"

static const struct inode_ops file_inode_ops, dir_inode_ops, link_inode_ops, special_inode_ops;
static const struct file_ops file_ops, dir_ops, special_ops;
static const struct vm_object_ops object_ops;
static int tmpfs_allocate(struct inode *inode, int mode, u64 start, u64 len);

/* ---- pages -------------------------------------------------------------------------------- */

/* Counts n pages more in use; -ENOSPC above the limit. */
static int charge(struct super *sb, u64 n)
{
	u64 now = atomic_add_fetch(&sb->pages, n);

	if (sb->max_pages && now > sb->max_pages) {
		atomic_fetch_sub(&sb->pages, n);
		return -ENOSPC;
	}
	return 0;
}

static void uncharge(struct super *sb, u64 n)
{
	atomic_fetch_sub(&sb->pages, n);
}

/*
 * Gives a new page to the file at index. On success *frame is what is there now, with a
 * reference: f, or what somebody else put there first. -ENOSPC, -ENOMEM.
 */
static int insert_page(struct inode *inode, u64 index, struct frame *f, struct frame **frame)
{
	int err = charge(inode->sb, 1);

	if (err)
		return err;
	err = page_cache_insert(&inode->pages, index, f);
	*frame = f;
	if (!err) {
		frame_get(f);
		return 0;
	}
	uncharge(inode->sb, 1);
	if (err != -EEXIST)
		return err;
	*frame = page_cache_get(&inode->pages, index);
	return *frame ? 0 : -EAGAIN; /* it was truncated again meanwhile */
}

/* The page at index, made if it is a hole: a reference. */
static int get_or_make(struct inode *inode, u64 index, struct frame **out)
{
	int err = 0;

	do {
		struct frame *fresh;

		*out = page_cache_get(&inode->pages, index);
		if (*out)
			return 0;
		fresh = frame_alloc(FRAME_FILE, FRAME_ZERO);
		if (!fresh)
			return -ENOMEM;
		err = insert_page(inode, index, fresh, out);
		frame_put(fresh);
	} while (err == -EAGAIN);
	return err;
}

static struct inode *object_inode(struct vm_object *obj)
{
	return container_of(obj, struct inode, object);
}

static int tmpfs_get_page(struct vm_object *obj, u64 index, struct frame **out)
{
	struct inode *inode = object_inode(obj);
	u64 size = READ_ONCE(inode->size);

	if (index >= (size + PAGE_SIZE - 1) >> PAGE_SHIFT)
		return -ENXIO;
	return get_or_make(inode, index, out);
}

static void object_get(struct vm_object *obj)
{
	inode_get(object_inode(obj));
}

static void object_put(struct vm_object *obj)
{
	inode_put(object_inode(obj));
}

/* ---- a mapped file's name: any dentry of it, found through the inode's last open ------------- */

static u64 object_inode_number(struct vm_object *obj)
{
	return object_inode(obj)->ino;
}

static u32 object_device(struct vm_object *obj)
{
	return object_inode(obj)->sb->dev;
}

/* The root is what a disk is elsewhere: its files count as files, all others as shared memory. */
static bool object_is_shmem(struct vm_object *obj)
{
	return object_inode(obj)->sb != root_dentry->inode->sb;
}

static void object_name(struct vm_object *obj, char *buf, size_t len)
{
	struct inode *inode = object_inode(obj);
	bool unreachable, deleted;
	struct dentry *d;
	char *path;

	if (len)
		buf[0] = 0;
	spin_lock(&tree_lock);
	d = inode->alias;
	if (d && !refcount_get_unless_zero(&d->refs))
		d = NULL;
	spin_unlock(&tree_lock);
	if (!d)
		return;
	path = dentry_path(d, NULL, buf, len, &unreachable, &deleted);
	if (IS_ERR(path)) {
		if (len)
			buf[0] = 0;
	} else {
		size_t n = strlen(path);

		memmove(buf, path, n + 1);
		if (deleted)
			kstrlcpy(buf + n, " (deleted)", len - n);
	}
	dentry_put(d);
}

static void tmpfs_get_resident(struct vm_object *obj, u64 index, unsigned n, struct frame **out)
{
	struct inode *inode = object_inode(obj);
	u64 pages = (READ_ONCE(inode->size) + PAGE_SIZE - 1) >> PAGE_SHIFT;
	unsigned there = index < pages ? (unsigned)MIN((u64)n, pages - index) : 0;

	page_cache_get_many(&inode->pages, index, there, out);
	for (unsigned i = there; i < n; i++)
		out[i] = NULL;
}

static bool tmpfs_has_page(struct vm_object *obj, u64 index)
{
	struct frame *f = page_cache_get(&object_inode(obj)->pages, index);

	if (f)
		frame_put(f);
	return f != NULL;
}

static int tmpfs_punch(struct vm_object *obj, u64 first, u64 last)
{
	struct inode *inode = object_inode(obj);
	int err;

	mutex_lock(&inode->lock);
	err = tmpfs_allocate(inode, LINUX_FALLOC_PUNCH_HOLE | LINUX_FALLOC_KEEP_SIZE,
			     first << PAGE_SHIFT, (last - first + 1) << PAGE_SHIFT);
	mutex_unlock(&inode->lock);
	return err;
}

static const struct vm_object_ops object_ops = {
	.get_page = tmpfs_get_page,
	.has_page = tmpfs_has_page,
	.get_resident = tmpfs_get_resident,
	.punch = tmpfs_punch,
	.get = object_get,
	.put = object_put,
	.name = object_name,
	.inode_number = object_inode_number,
	.device = object_device,
	.is_shmem = object_is_shmem,
};

/* ---- read and write ----------------------------------------------------------------------- */

static ssize_t tmpfs_read(struct file *f, struct uio *dst, u64 *pos)
{
	struct inode *inode = f->inode;
	u64 size = READ_ONCE(inode->size), at = *pos;
	size_t done = 0;

	while (at < size && dst->left) {
		size_t offset = at & (PAGE_SIZE - 1), n, moved;
		struct frame *page = page_cache_get(&inode->pages, at >> PAGE_SHIFT);

		n = MIN(PAGE_SIZE - offset, size - at);
		n = MIN(n, dst->left);
		if (page) {
			moved = uio_put(dst, (char *)frame_virt(page) + offset, n);
			frame_put(page);
		} else {
			moved = uio_zero(dst, n);
		}
		done += moved;
		at += moved;
		if (moved < n) {
			if (!done)
				return -EFAULT;
			break;
		}
	}
	inode_accessed(inode);
	*pos = at;
	return (ssize_t)done;
}

/*
 * Writes n bytes into a page that the file does not have. When nothing of the page's old content
 * counts, the page is filled before the file gets it, and only the rest of it is cleared.
 */
static ssize_t write_new_page(struct inode *inode, u64 index, size_t offset, size_t n,
			      struct uio *src)
{
	struct frame *fresh = frame_alloc(FRAME_FILE, 0), *page;
	size_t moved;
	char *p;
	int err;

	if (!fresh)
		return -ENOSPC;
	p = frame_virt(fresh);
	memset(p, 0, offset);
	moved = uio_get(src, p + offset, n);
	memset(p + offset + moved, 0, PAGE_SIZE - offset - moved);
	err = moved ? insert_page(inode, index, fresh, &page) : -EFAULT;
	if (!err) {
		if (page != fresh) /* a mapping faulted it in meanwhile */
			memcpy((char *)frame_virt(page) + offset, p + offset, moved);
		frame_put(page);
	}
	frame_put(fresh);
	if (err)
		return err == -ENOMEM ? -ENOSPC : err;
	return (ssize_t)moved;
}

/* Up to the end of one page: bytes, or -errno. inode.lock held. */
static ssize_t write_page(struct inode *inode, u64 at, struct uio *src)
{
	size_t offset = at & (PAGE_SIZE - 1);
	size_t n = MIN(PAGE_SIZE - offset, src->left), moved;
	struct frame *page = page_cache_get(&inode->pages, at >> PAGE_SHIFT);

	if (!page)
		return write_new_page(inode, at >> PAGE_SHIFT, offset, n, src);
	moved = uio_get(src, (char *)frame_virt(page) + offset, n);
	frame_put(page);
	return moved ? (ssize_t)moved : -EFAULT;
}

static ssize_t tmpfs_write(struct file *f, struct uio *src, u64 *pos)
{
	struct inode *inode = f->inode;
	size_t done = 0;
	ssize_t n = 0;
	u64 at;

	mutex_lock(&inode->lock);
	at = f->flags & O_APPEND ? inode->size : *pos;
	if (at > INT64_MAX || src->left > INT64_MAX - at) {
		mutex_unlock(&inode->lock);
		return -EFBIG;
	}
	while (src->left) {
		u64 end = ALIGN_UP(at + 1, PAGE_SIZE);

		n = -EPERM;
		if (inode->seals & (LINUX_SEAL_WRITE | LINUX_SEAL_FUTURE_WRITE))
			break;
		if ((inode->seals & LINUX_SEAL_GROW) && MIN(end, at + src->left) > inode->size)
			break;
		size_t want = MIN(PAGE_SIZE - (at & (PAGE_SIZE - 1)), src->left);

		n = write_page(inode, at, src);
		if (n < 0)
			break;
		at += (u64)n;
		done += (size_t)n;
		if (at > inode->size)
			WRITE_ONCE(inode->size, at);
		if ((size_t)n < want)
			break;
	}
	if (done) {
		inode_touch(inode);
		*pos = at; /* O_APPEND moves it, too, but only by a write that happened */
	}
	mutex_unlock(&inode->lock);
	return done ? (ssize_t)done : n;
}

/* SEEK_DATA and SEEK_HOLE. */
static s64 seek_page(struct inode *inode, u64 offset, bool data)
{
	u64 size = READ_ONCE(inode->size), index = offset >> PAGE_SHIFT, found;

	if (offset >= size)
		return -ENXIO;
	if (data) {
		if (!page_cache_next(&inode->pages, index, &found) || found << PAGE_SHIFT >= size)
			return -ENXIO;
		return (s64)MAX(offset, found << PAGE_SHIFT);
	}
	while (page_cache_next(&inode->pages, index, &found) && found == index)
		index++;
	return (s64)MIN(MAX(offset, index << PAGE_SHIFT), size);
}

static s64 tmpfs_seek(struct file *f, s64 offset, int whence)
{
	switch (whence) {
	case SEEK_SET: break;
	case SEEK_CUR:
		if (__builtin_add_overflow(offset, (s64)f->pos, &offset))
			return -EINVAL;
		break;
	case SEEK_END:
		if (__builtin_add_overflow(offset, (s64)READ_ONCE(f->inode->size), &offset))
			return -EINVAL;
		break;
	case LINUX_SEEK_DATA:
	case LINUX_SEEK_HOLE:
		if (offset < 0)
			return -ENXIO;
		offset = seek_page(f->inode, (u64)offset, whence == LINUX_SEEK_DATA);
		if (offset < 0)
			return offset;
		break;
	default: return -EINVAL;
	}
	if (offset < 0)
		return -EINVAL;
	f->pos = (u64)offset;
	return offset;
}

/* ---- changing the size -------------------------------------------------------------------- */

/* Clears bytes from ... end (exclusive) of the page they lie in, if the file has it. */
static void clear_part(struct inode *inode, u64 from, u64 end)
{
	struct frame *page = page_cache_get(&inode->pages, from >> PAGE_SHIFT);

	if (!page)
		return;
	memset((char *)frame_virt(page) + (from & (PAGE_SIZE - 1)), 0, end - from);
	frame_put(page);
}

/* cut: at the end of the file, where private copies of the pages are lost, too. */
static void remove_pages(struct inode *inode, u64 first, u64 last, bool cut)
{
	uncharge(inode->sb, page_cache_remove(&inode->pages, first, last));
	vm_object_zap(&inode->object, first, last, cut);
}

static int tmpfs_truncate(struct inode *inode, u64 size)
{
	u64 old = inode->size;

	if ((size < old && (inode->seals & LINUX_SEAL_SHRINK)) ||
	    (size > old && (inode->seals & LINUX_SEAL_GROW)))
		return -EPERM;
	WRITE_ONCE(inode->size, size);
	if (size < old) {
		if (size & (PAGE_SIZE - 1))
			clear_part(inode, size, ALIGN_UP(size, PAGE_SIZE));
		remove_pages(inode, (size + PAGE_SIZE - 1) >> PAGE_SHIFT, PAGE_INDEX_MAX, true);
	}
	return 0;
}

static void punch_hole(struct inode *inode, u64 start, u64 end)
{
	u64 first = ALIGN_UP(start, PAGE_SIZE), last = ALIGN_DOWN(end, PAGE_SIZE);

	if (first > last) { /* inside one page */
		clear_part(inode, start, end);
		return;
	}
	if (start < first)
		clear_part(inode, start, first);
	if (last < end)
		clear_part(inode, last, end);
	if (first < last)
		remove_pages(inode, first >> PAGE_SHIFT, (last >> PAGE_SHIFT) - 1, false);
}

/* fallocate(2): reserve, or FALLOC_FL_PUNCH_HOLE. A failure leaves pages that it made: zeros. */
static int tmpfs_allocate(struct inode *inode, int mode, u64 start, u64 len)
{
	u64 end = start + len;

	if (mode & LINUX_FALLOC_PUNCH_HOLE) {
		if (inode->seals & (LINUX_SEAL_WRITE | LINUX_SEAL_FUTURE_WRITE))
			return -EPERM;
		punch_hole(inode, start, end);
		return 0;
	}
	if ((inode->seals & LINUX_SEAL_GROW) && end > inode->size)
		return -EPERM;
	for (u64 i = start >> PAGE_SHIFT; i < (end + PAGE_SIZE - 1) >> PAGE_SHIFT; i++) {
		struct frame *page;
		int err = get_or_make(inode, i, &page);

		if (err)
			return err == -ENOMEM ? -ENOSPC : err;
		frame_put(page);
	}
	if (!(mode & LINUX_FALLOC_KEEP_SIZE) && end > inode->size)
		WRITE_ONCE(inode->size, end);
	return 0;
}

static void file_destroy(struct inode *inode)
{
	uncharge(inode->sb, page_cache_remove(&inode->pages, 0, PAGE_INDEX_MAX));
}

/* ---- inodes of all kinds ------------------------------------------------------------------ */

static int link_readlink(struct inode *inode, char *buf, size_t size)
{
	return (int)MIN(kstrlcpy(buf, inode->target, size), size - 1);
}

static void link_destroy(struct inode *inode)
{
	kfree(inode->target);
}

static int special_open(struct inode *inode, struct file *f)
{
	return S_ISFIFO(inode->mode) ? fifo_open(inode, f) : device_open(inode, f);
}

static void special_destroy(struct inode *inode)
{
	if (S_ISFIFO(inode->mode) && inode->pipe)
		pipe_destroy(inode->pipe);
}

static struct inode *make_inode(struct super *sb, u32 mode, u32 rdev, const char *target)
{
	const struct inode_ops *ops = &special_inode_ops;
	const struct file_ops *fops = &special_ops;
	struct inode *inode;

	if (S_ISREG(mode)) {
		ops = &file_inode_ops;
		fops = &file_ops;
	} else if (S_ISDIR(mode)) {
		ops = &dir_inode_ops;
		fops = &dir_ops;
	} else if (S_ISLNK(mode)) {
		ops = &link_inode_ops;
	}
	inode = inode_create(sb, mode, ops, fops);
	if (!inode)
		return NULL;
	inode->rdev = rdev;
	if (S_ISREG(mode)) {
		page_cache_init(&inode->pages);
		inode->seals = LINUX_SEAL_SEAL;
		inode->object.ops = &object_ops;
	} else if (S_ISDIR(mode)) {
		spin_init(&inode->dir.lock, "directory", RANK_FILE);
		list_init(&inode->dir.children);
		inode->dir.next_cookie = 2; /* behind "." and ".." */
		inode->size = 40;
	} else if (S_ISLNK(mode)) {
		inode->size = strlen(target);
		inode->target = kstrdup(target);
		if (!inode->target) {
			inode_put(inode);
			return NULL;
		}
	}
	return inode;
}

static int tmpfs_make(struct inode *dir, u32 mode, u32 rdev, const char *target, struct inode **out)
{
	struct inode *inode;

	if (atomic_load(&dir->sb->inodes) >= dir->sb->max_inodes)
		return -ENOSPC;
	inode = make_inode(dir->sb, mode, rdev, target);
	if (!inode)
		return -ENOSPC;
	if (dir->mode & S_ISGID) {
		inode->gid = dir->gid;
		if (S_ISDIR(mode))
			inode->mode |= S_ISGID;
	}
	*out = inode;
	return 0;
}

static const struct inode_ops file_inode_ops = {
	.truncate = tmpfs_truncate,
	.allocate = tmpfs_allocate,
	.destroy = file_destroy,
};
static const struct inode_ops dir_inode_ops = {
	.make = tmpfs_make,
};
static const struct inode_ops link_inode_ops = {
	.readlink = link_readlink,
	.destroy = link_destroy,
};
static const struct inode_ops special_inode_ops = {
	.open = special_open,
	.destroy = special_destroy,
};
static const struct file_ops file_ops = {
	.read = tmpfs_read,
	.write = tmpfs_write,
	.seek = tmpfs_seek,
};
static const struct file_ops dir_ops = {
	.seek = dir_seek,
	.readdir = tree_readdir,
};
static const struct file_ops special_ops = { 0 };

int tmpfs_create(const char *type, const char *source, u32 flags, u64 max_pages, struct super **out)
{
	struct super *sb = super_create(type, source, LINUX_TMPFS_MAGIC, flags);
	struct frame_stats s;
	struct inode *inode;

	if (!sb)
		return -ENOMEM;
	frame_stats(&s);
	sb->max_pages = max_pages;
	sb->max_inodes = s.total; /* about 1/8 of memory: names alone do not eat all of it */
	inode = make_inode(sb, S_IFDIR | 0755, 0, NULL);
	if (inode)
		sb->root = dentry_create(NULL, "", 0, inode, 0);
	if (!sb->root) {
		if (inode)
			inode_put(inode);
		super_put(sb);
		return -ENOMEM;
	}
	*out = sb;
	return 0;
}

bool inode_has_seals(const struct inode *inode)
{
	return inode->ops == &file_inode_ops;
}

int tmpfs_add_seals(struct file *f, u32 seals)
{
	struct inode *inode = f->inode;
	int err = 0;

	if (!file_writable(f))
		return -EPERM;
	if ((seals & ~LINUX_SEAL_ALL) || !inode_has_seals(inode))
		return -EINVAL;
	mutex_lock(&inode->lock);
	if (inode->seals & LINUX_SEAL_SEAL)
		err = -EPERM;
	else if ((seals & ~inode->seals & LINUX_SEAL_WRITE) &&
		 !vm_object_deny_writers(&inode->object))
		err = -EBUSY;
	else if ((seals & LINUX_SEAL_EXEC) && (inode->mode & 0111))
		seals |= LINUX_SEAL_SHRINK | LINUX_SEAL_GROW | LINUX_SEAL_WRITE |
			 LINUX_SEAL_FUTURE_WRITE;
	if (!err)
		WRITE_ONCE(inode->seals, inode->seals | seals);
	mutex_unlock(&inode->lock);
	return err;
}

int tmpfs_anonymous(const char *name, u32 flags, u32 mode, u32 seals, struct file **out)
{
	static struct super *memfds; /* [I] made at the first call; its root is never used */
	static struct mutex lock = MUTEX_INIT(lock);
	struct inode *inode = NULL;
	struct dentry *d = NULL;
	int err = 0;

	mutex_lock(&lock);
	if (!memfds)
		err = tmpfs_create("tmpfs", "memfd", 0, 0, &memfds);
	mutex_unlock(&lock);
	if (err)
		return err;
	inode = make_inode(memfds, S_IFREG | mode, 0, NULL);
	if (inode)
		inode->seals = seals;
	if (inode)
		d = dentry_create(NULL, name, strlen(name), inode, DENTRY_NAMELESS);
	if (!d) {
		if (inode)
			inode_put(inode);
		return -ENOMEM;
	}
	inode->nlink = 0;
	err = dentry_open(d, (int)flags, out);
	dentry_put(d);
	return err;
}
