/*
 * eventfd(2): a counter of 64 bits that can be read, added to, waited for and polled.
 *
 * A spinlock guards the counter; the wait queue is woken on every change, because each one may
 * let a reader or a writer go on.
 */
#include "fs/vfs.h"

#include "lib/uapi/poll.h"
#include "lib/uapi/statfs.h"
#include "mm/slab.h"

struct eventfd {
	spinlock_t lock;
	u64 count; /* [lock] at most UINT64_MAX - 1 */
	bool semaphore;
	struct waitq wait;
};

/* Takes what a read gives; 0: nothing there. */
static u64 take(struct eventfd *e)
{
	u64 value;

	spin_lock(&e->lock);
	value = e->semaphore ? MIN(e->count, 1ul) : e->count;
	e->count -= value;
	spin_unlock(&e->lock);
	return value;
}

static ssize_t eventfd_read(struct file *f, struct uio *dst, u64 *pos)
{
	struct eventfd *e = f->data;
	u64 value;

	if (dst->left < sizeof(value))
		return -EINVAL;
	while (!(value = take(e))) {
		int err = f->flags & O_NONBLOCK ?
				  -EAGAIN :
				  wait_event_interruptible(&e->wait, READ_ONCE(e->count));

		if (err)
			return err;
	}
	waitq_wake_all(&e->wait);
	return uio_put(dst, &value, sizeof(value)) == sizeof(value) ? (ssize_t)sizeof(value) :
								      -EFAULT;
}

static bool give(struct eventfd *e, u64 value)
{
	bool fits;

	spin_lock(&e->lock);
	fits = value < UINT64_MAX - e->count;
	if (fits)
		e->count += value;
	spin_unlock(&e->lock);
	return fits;
}

static ssize_t eventfd_write(struct file *f, struct uio *src, u64 *pos)
{
	struct eventfd *e = f->data;
	u64 value;

	if (src->left < sizeof(value))
		return -EINVAL;
	if (uio_get(src, &value, sizeof(value)) != sizeof(value))
		return -EFAULT;
	if (value == UINT64_MAX)
		return -EINVAL;
	while (!give(e, value)) {
		int err = f->flags & O_NONBLOCK ?
				  -EAGAIN :
				  wait_event_interruptible(
					  &e->wait, value < UINT64_MAX - READ_ONCE(e->count));

		if (err)
			return err;
	}
	waitq_wake_all(&e->wait);
	return sizeof(value);
}

static unsigned eventfd_poll(struct file *f, struct waitq **wq)
{
	struct eventfd *e = f->data;
	u64 count = READ_ONCE(e->count);

	*wq = &e->wait;
	return (count ? POLLIN | POLLRDNORM : 0) |
	       (count < UINT64_MAX - 1 ? POLLOUT | POLLWRNORM : 0);
}

static void eventfd_release(struct file *f)
{
	kfree(f->data);
}

static const struct file_ops eventfd_ops = {
	.read = eventfd_read,
	.write = eventfd_write,
	.poll = eventfd_poll,
	.release = eventfd_release,
};

static int cannot_reopen(struct inode *inode, struct file *f)
{
	return -ENXIO;
}

static const struct inode_ops eventfd_iops = { .open = cannot_reopen };

static struct super *anonymous_super(void)
{
	static struct mutex lock = MUTEX_INIT(lock);
	static struct super *sb; /* [lock] */
	struct super *s;

	mutex_lock(&lock);
	if (!sb)
		sb = super_create("anon_inodefs", "none", LINUX_ANONFS_MAGIC, 0);
	s = sb;
	mutex_unlock(&lock);
	return s;
}

int eventfd_create(u64 count, bool semaphore, u32 flags, struct file **out)
{
	static const char name[] = "anon_inode:[eventfd]";
	struct super *sb = anonymous_super();
	struct eventfd *e = kzalloc(sizeof(*e));
	struct inode *inode = sb ? inode_create(sb, 0600, &eventfd_iops, &eventfd_ops) : NULL;
	struct dentry *d = NULL;

	if (e && inode)
		d = dentry_create(NULL, name, sizeof(name) - 1, inode, DENTRY_NAMELESS);
	if (d) {
		inode_get(inode); /* one for the dentry, one for the file */
		*out = file_create(d, inode, &eventfd_ops, flags | O_RDWR);
		if (*out) {
			spin_init(&e->lock, "eventfd", RANK_FILE);
			waitq_init(&e->wait);
			e->count = count;
			e->semaphore = semaphore;
			(*out)->data = e;
			return 0;
		}
		dentry_put(d);
	}
	if (inode)
		inode_put(inode);
	kfree(e);
	return -ENOMEM;
}
