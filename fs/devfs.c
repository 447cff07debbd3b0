/*
 * Character devices: the nodes of /dev and what opening one does.
 *
 * A device node is an inode of tmpfs with a device number; its number, not its name, decides what
 * an open file on it does, so that mknod works anywhere. The memory devices are here; terminals and
 * bare streams belong to dev/, which this file only translates to.
 */
#include "fs/vfs.h"

#include "arch/api/uaccess.h"
#include "dev/stream.h"
#include "dev/tty.h"
#include "lib/fmt.h"
#include "lib/klog.h"
#include "lib/uapi/ioctl.h"
#include "lib/uapi/poll.h"

#define MAJOR_MEM    1
#define MAJOR_TTY    4
#define MAJOR_TTYAUX 5
#define MAJOR_STREAM 240 /* of the range for local use */

/* ---- memory devices ----------------------------------------------------------------------- */

static ssize_t null_read(struct file *f, struct uio *dst, u64 *pos)
{
	return 0;
}

static ssize_t null_write(struct file *f, struct uio *src, u64 *pos)
{
	ssize_t n = (ssize_t)src->left;

	src->addr += src->left;
	src->left = 0;
	return n;
}

static ssize_t zero_read(struct file *f, struct uio *dst, u64 *pos)
{
	size_t done = 0;

	while (dst->left) {
		size_t part = MIN(dst->left, PAGE_SIZE), moved = uio_zero(dst, part);

		done += moved;
		if (moved < part)
			return done ? (ssize_t)done : -EFAULT;
		if (signal_pending_current())
			break;
	}
	return (ssize_t)done;
}

static ssize_t full_write(struct file *f, struct uio *src, u64 *pos)
{
	return -ENOSPC;
}

static s64 null_seek(struct file *f, s64 offset, int whence)
{
	f->pos = 0;
	return 0;
}

/* A line for the kernel's log, with a level in angle brackets or without. */
static ssize_t kmsg_write(struct file *f, struct uio *src, u64 *pos)
{
	char line[256];
	size_t n = uio_get(src, line, sizeof(line) - 1), rest = src->left;
	char *text = line;

	if (!n)
		return src->left ? -EFAULT : 0;
	src->left = 0;
	line[n] = 0;
	if (n > 3 && line[0] == '<' && line[2] == '>')
		text += 3;
	log_info("%s%s", text, line[n - 1] == '\n' ? "" : "\n");
	return (ssize_t)(n + rest);
}

static const struct file_ops null_ops = { .read = null_read,
					  .write = null_write,
					  .seek = null_seek };
static const struct file_ops zero_ops = { .read = zero_read,
					  .write = null_write,
					  .seek = null_seek };
static const struct file_ops full_ops = { .read = zero_read,
					  .write = full_write,
					  .seek = null_seek };
static const struct file_ops random_ops = { .read = random_read,
					    .write = null_write,
					    .seek = null_seek };
static const struct file_ops kmsg_ops = { .write = kmsg_write };

bool file_is_zero(const struct file *f)
{
	return f->ops == &zero_ops;
}

/* ---- terminals ---------------------------------------------------------------------------- */

static ssize_t tty_file_read(struct file *f, struct uio *dst, u64 *pos)
{
	return tty_read(f->data, dst, (int)f->flags);
}

static ssize_t tty_file_write(struct file *f, struct uio *src, u64 *pos)
{
	return tty_write(f->data, src, (int)f->flags);
}

static int tty_file_ioctl(struct file *f, unsigned cmd, uaddr_t arg)
{
	return tty_ioctl(f->data, cmd, arg);
}

static unsigned tty_file_poll(struct file *f, struct waitq **wq)
{
	return tty_poll(f->data, wq);
}

static const struct file_ops tty_file_ops = {
	.read = tty_file_read,
	.write = tty_file_write,
	.ioctl = tty_file_ioctl,
	.poll = tty_file_poll,
};

static struct tty *tty_of(u32 rdev)
{
	char name[16];
	u32 minor = dev_minor(rdev);

	if (dev_major(rdev) == MAJOR_TTYAUX) {
		if (minor == 0)
			return fs_current_tty ? fs_current_tty() : NULL;
		return minor == 1 ? tty_console() : NULL;
	}
	if (minor >= 64)
		ksnprintf(name, sizeof(name), "ttyS%u", minor - 64);
	else
		ksnprintf(name, sizeof(name), "tty%u", minor);
	return tty_find(name);
}

/* ---- bare streams ------------------------------------------------------------------------- */

static ssize_t stream_file_read(struct file *f, struct uio *dst, u64 *pos)
{
	return stream_read(f->data, dst, (int)f->flags);
}

static ssize_t stream_file_write(struct file *f, struct uio *src, u64 *pos)
{
	return stream_write(f->data, src, (int)f->flags);
}

static int stream_file_ioctl(struct file *f, unsigned cmd, uaddr_t arg)
{
	int bytes = (int)stream_available(f->data);

	return cmd == FIONREAD ? put_user(bytes, arg) : -ENOTTY;
}

static unsigned stream_file_poll(struct file *f, struct waitq **wq)
{
	return stream_poll(f->data, wq);
}

static const struct file_ops stream_file_ops = {
	.read = stream_file_read,
	.write = stream_file_write,
	.ioctl = stream_file_ioctl,
	.poll = stream_file_poll,
};

/* ---- opening ------------------------------------------------------------------------------ */

static const struct mem_device {
	u32 minor;
	const char *name;
	const struct file_ops *ops;
} mem_devices[] = {
	{ 3, "null", &null_ops },     { 5, "zero", &zero_ops },      { 7, "full", &full_ops },
	{ 8, "random", &random_ops }, { 9, "urandom", &random_ops }, { 11, "kmsg", &kmsg_ops },
};

int device_open(struct inode *inode, struct file *f)
{
	u32 major = dev_major(inode->rdev), minor = dev_minor(inode->rdev);
	char name[16];

	if (!S_ISCHR(inode->mode))
		return -ENXIO;
	for (unsigned i = 0; major == MAJOR_MEM && i < ARRAY_SIZE(mem_devices); i++) {
		if (mem_devices[i].minor == minor) {
			f->ops = mem_devices[i].ops;
			return 0;
		}
	}
	if (major == MAJOR_TTY || major == MAJOR_TTYAUX) {
		f->data = tty_of(inode->rdev);
		f->ops = &tty_file_ops;
		if (f->data && !(major == MAJOR_TTYAUX && minor == 0))
			tty_opened(f->data, (int)f->flags);
	} else if (major == MAJOR_STREAM) {
		ksnprintf(name, sizeof(name), "stream%u", minor);
		f->data = stream_find(name);
		f->ops = &stream_file_ops;
	}
	return f->data ? 0 : -ENXIO;
}

/* ---- the tree of /dev ---------------------------------------------------------------------- */

/* One entry right in the root of a tmpfs that nobody sees yet. */
static int add_entry(struct super *sb, const char *name, u32 mode, u32 rdev, const char *target)
{
	struct inode *dir = sb->root->inode, *inode;
	struct dentry *d;
	size_t len = 0;
	int err = dir->ops->make(dir, mode, rdev, target, &inode);

	if (err)
		return err;
	while (name[len])
		len++;
	d = dentry_create(sb->root, name, len, inode, 0);
	if (!d) {
		inode_put(inode);
		return -ENOMEM;
	}
	mutex_lock(&dir->lock);
	dentry_link(d);
	if (S_ISDIR(mode))
		dir->nlink++;
	mutex_unlock(&dir->lock);
	dentry_put(d);
	return 0;
}

int devfs_populate(struct super *sb)
{
	static const struct {
		const char *name;
		u32 mode, major, minor;
		const char *target;
	} node[] = {
		{ "tty", S_IFCHR | 0666, MAJOR_TTYAUX, 0, NULL },
		{ "console", S_IFCHR | 0600, MAJOR_TTYAUX, 1, NULL },
		{ "tty0", S_IFCHR | 0620, MAJOR_TTY, 0, NULL },
		{ "ttyS0", S_IFCHR | 0660, MAJOR_TTY, 64, NULL },
		{ "ttyS1", S_IFCHR | 0660, MAJOR_TTY, 65, NULL },
		{ "stream0", S_IFCHR | 0660, MAJOR_STREAM, 0, NULL },
		{ "stream1", S_IFCHR | 0660, MAJOR_STREAM, 1, NULL },
		{ "fd", S_IFLNK | 0777, 0, 0, "/proc/self/fd" },
		{ "stdin", S_IFLNK | 0777, 0, 0, "/proc/self/fd/0" },
		{ "stdout", S_IFLNK | 0777, 0, 0, "/proc/self/fd/1" },
		{ "stderr", S_IFLNK | 0777, 0, 0, "/proc/self/fd/2" },
		{ "shm", S_IFDIR | 01777, 0, 0, NULL },
	};
	int err = 0;

	for (unsigned i = 0; !err && i < ARRAY_SIZE(mem_devices); i++)
		err = add_entry(sb, mem_devices[i].name, S_IFCHR | 0666,
				dev_make(MAJOR_MEM, mem_devices[i].minor), NULL);
	for (unsigned i = 0; !err && i < ARRAY_SIZE(node); i++)
		err = add_entry(sb, node[i].name, node[i].mode,
				dev_make(node[i].major, node[i].minor), node[i].target);
	return err;
}
