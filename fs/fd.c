/*
 * Descriptor tables: small numbers for open files.
 *
 * A table begins with room for 64 descriptors inside itself and grows to FD_LIMIT by doubling.
 * Two bitmaps say which are taken (an installed file, or one about to be) and which close on
 * exec. A spinlock guards all changes; no file is put under the lock, because that may sleep.
 *
 * Who looks a descriptor up takes no lock, so that threads with one table do not meet there: with
 * preemption off (sync/rcu.h) he reads size, array and file, and takes a reference of the file unless it has
 * none left. Files, and arrays that were replaced, keep their memory for a grace period. The array is
 * replaced before the size says that it is larger.
 */
#include "fs/vfs.h"

#include "lib/string.h"
#include "mm/slab.h"
#include "sched/thread.h"

#define WORD(fd) ((u32)(fd) / 64)
#define BIT(fd)  (1ul << ((u32)(fd) % 64))

struct fdtable *fdtable_create(void)
{
	struct fdtable *t = kzalloc(sizeof(*t));

	if (!t)
		return NULL;
	refcount_init(&t->refs, 1);
	spin_init(&t->lock, "fdtable", RANK_FILE);
	t->size = FD_SMALL;
	t->file = t->small_file;
	t->open = &t->small_open;
	t->cloexec = &t->small_cloexec;
	return t;
}

/* Arrays for `size` descriptors in one piece: files, then both bitmaps. */
struct arrays {
	struct rcu_head end;
	struct file *file[];
};

static struct file **alloc_arrays(u32 size)
{
	struct arrays *a = kzalloc(sizeof(*a) + size * sizeof(struct file *) + 2 * (size / 8));

	return a ? a->file : NULL;
}

static void free_arrays_now(struct rcu_head *end)
{
	kfree(container_of(end, struct arrays, end));
}

/* NULL: nothing. */
static void free_arrays(struct file **file)
{
	struct arrays *a;

	if (!file)
		return;
	a = (struct arrays *)((char *)file - offsetof(struct arrays, file));
	if (nr_cpus == 1)
		kfree(a);
	else
		call_rcu(&a->end, free_arrays_now);
}

/* Copies what t has into new arrays and uses those. Lock held; returns the old ones for kfree. */
static struct file **set_arrays(struct fdtable *t, struct file **arrays, u32 size)
{
	struct file **old = t->file == t->small_file ? NULL : t->file;
	u64 *open = (u64 *)(arrays + size);
	u64 *cloexec = open + size / 64;

	memcpy(arrays, t->file, t->size * sizeof(*arrays)); /* nobody reads them yet */
	memcpy(open, t->open, t->size / 8);
	memcpy(cloexec, t->cloexec, t->size / 8);
	store_release(&t->file, arrays);
	t->open = open;
	t->cloexec = cloexec;
	store_release(&t->size, size);
	return old;
}

/* Room for descriptor fd < FD_LIMIT. 0 or -ENOMEM. */
static int grow(struct fdtable *t, u32 fd)
{
	u32 size = FD_SMALL;
	struct file **arrays;

	while (size <= fd)
		size *= 2;
	arrays = alloc_arrays(size);
	if (!arrays)
		return -ENOMEM;
	spin_lock(&t->lock);
	if (t->size < size)
		arrays = set_arrays(t, arrays, size);
	spin_unlock(&t->lock);
	free_arrays(arrays);
	return 0;
}

struct fdtable *fdtable_copy(struct fdtable *t)
{
	struct fdtable *copy = fdtable_create();

	if (!copy)
		return NULL;
	spin_lock(&t->lock);
	while (copy->size < t->size) { /* it may grow while we allocate */
		u32 size = t->size;

		spin_unlock(&t->lock);
		if (grow(copy, size - 1)) {
			fdtable_put(copy);
			return NULL;
		}
		spin_lock(&t->lock);
	}
	for (u32 w = 0; w < t->size / 64; w++) {
		copy->open[w] = t->open[w];
		copy->cloexec[w] = t->cloexec[w];
		for (u64 bits = t->open[w]; bits; bits &= bits - 1) {
			u32 fd = w * 64 + (u32)__builtin_ctzl(bits);

			file_get(t->file[fd]);
			copy->file[fd] = t->file[fd];
		}
	}
	spin_unlock(&t->lock);
	return copy;
}

bool fdtable_is_shared(const struct fdtable *t)
{
	return refcount_read(&t->refs) > 1;
}

void fdtable_get(struct fdtable *t)
{
	refcount_get(&t->refs);
}

/* What closing a descriptor does beyond forgetting it: POSIX drops the process's record locks. */
static void close_file(struct fdtable *t, struct file *f)
{
	if (unlikely(f->inode->locks))
		lock_release_owner(f->inode, t);
	file_put(f);
}

void fdtable_put(struct fdtable *t)
{
	if (!refcount_put(&t->refs))
		return;
	for (u32 w = 0; w < t->size / 64; w++) {
		for (u64 bits = t->open[w]; bits; bits &= bits - 1)
			close_file(t, t->file[w * 64 + (u32)__builtin_ctzl(bits)]);
	}
	if (t->file != t->small_file)
		free_arrays(t->file);
	kfree(t);
}

/* Takes fd out of the table: its file, or NULL. Lock held. */
static struct file *take(struct fdtable *t, u32 fd)
{
	struct file *f;

	if (fd >= t->size || !(t->open[WORD(fd)] & BIT(fd)))
		return NULL;
	f = t->file[fd];
	WRITE_ONCE(t->file[fd], NULL);
	t->open[WORD(fd)] &= ~BIT(fd);
	t->cloexec[WORD(fd)] &= ~BIT(fd);
	return f;
}

void fdtable_close_on_exec(struct fdtable *t)
{
	u32 fd = 0;

	for (;;) {
		struct file *f = NULL;

		spin_lock(&t->lock);
		while (fd < t->size && !(t->cloexec[WORD(fd)] & BIT(fd)))
			fd = t->cloexec[WORD(fd)] ? fd + 1 : (fd | 63) + 1;
		if (fd < t->size)
			f = take(t, fd);
		spin_unlock(&t->lock);
		if (!f)
			return;
		close_file(t, f);
	}
}

struct file *fdtable_file(struct fdtable *t, int fd)
{
	struct file *f = NULL;

	preempt_disable();
	if ((u32)fd < load_acquire(&t->size)) {
		struct file **slot = &load_acquire(&t->file)[fd];

		/* Closed while we look: another may be there by now. */
		do
			f = load_acquire(slot);
		while (f && !refcount_get_unless_zero(&f->refs));
	}
	preempt_enable();
	return f;
}

int fdtable_next(struct fdtable *t, int fd)
{
	int found = -1;

	spin_lock(&t->lock);
	for (u32 i = (u32)fd; fd >= 0 && i < t->size && found < 0; i++) {
		if (t->open[WORD(i)] & BIT(i))
			found = (int)i;
	}
	spin_unlock(&t->lock);
	return found;
}

struct file *fd_get(int fd)
{
	return fdtable_file(current()->files, fd);
}

/* The lowest free descriptor >= min, or t->size and above: the table must grow. Lock held. */
static u32 find_free(struct fdtable *t, u32 min)
{
	for (u32 w = WORD(min); w < t->size / 64; w++) {
		u64 free = ~t->open[w];

		if (w == WORD(min))
			free &= ~(BIT(min) - 1);
		if (free)
			return w * 64 + (u32)__builtin_ctzl(free);
	}
	return MAX(t->size, min);
}

static void put_at(struct fdtable *t, u32 fd, struct file *f, bool cloexec)
{
	store_release(&t->file[fd], f);
	t->open[WORD(fd)] |= BIT(fd);
	if (cloexec)
		t->cloexec[WORD(fd)] |= BIT(fd);
	else
		t->cloexec[WORD(fd)] &= ~BIT(fd);
}

int fd_install(struct file *f, int min, bool cloexec)
{
	struct fdtable *t = current()->files;

	if (min < 0 || min >= FD_LIMIT)
		return -EINVAL;
	for (;;) {
		spin_lock(&t->lock);
		u32 fd = find_free(t, (u32)min);

		if (fd < t->size) {
			put_at(t, fd, f, cloexec);
			spin_unlock(&t->lock);
			return (int)fd;
		}
		spin_unlock(&t->lock);
		if (fd >= FD_LIMIT)
			return -EMFILE;
		if (grow(t, fd))
			return -ENOMEM;
	}
}

int fd_install_at(struct file *f, int fd, bool cloexec)
{
	struct fdtable *t = current()->files;
	struct file *old;

	if (fd < 0 || fd >= FD_LIMIT)
		return -EBADF;
	if ((u32)fd >= READ_ONCE(t->size) && grow(t, (u32)fd))
		return -ENOMEM;
	spin_lock(&t->lock);
	old = take(t, (u32)fd);
	put_at(t, (u32)fd, f, cloexec);
	spin_unlock(&t->lock);
	if (old)
		close_file(t, old);
	return fd;
}

int fd_close(int fd)
{
	struct fdtable *t = current()->files;
	struct file *f;

	spin_lock(&t->lock);
	f = take(t, (u32)fd);
	spin_unlock(&t->lock);
	if (!f)
		return -EBADF;
	close_file(t, f);
	return 0;
}

int fd_get_cloexec(int fd)
{
	struct fdtable *t = current()->files;
	int ret = -EBADF;

	spin_lock(&t->lock);
	if ((u32)fd < t->size && (t->open[WORD(fd)] & BIT(fd)))
		ret = !!(t->cloexec[WORD(fd)] & BIT(fd));
	spin_unlock(&t->lock);
	return ret;
}

int fd_set_cloexec(int fd, bool on)
{
	struct fdtable *t = current()->files;
	int ret = -EBADF;

	spin_lock(&t->lock);
	if ((u32)fd < t->size && (t->open[WORD(fd)] & BIT(fd))) {
		put_at(t, (u32)fd, t->file[fd], on);
		ret = 0;
	}
	spin_unlock(&t->lock);
	return ret;
}
