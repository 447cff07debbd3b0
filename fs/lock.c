/*
 * Advisory locks: record locks of fcntl(2), owned by a process (its descriptor table) and covering
 * a range, and flock(2), owned by an open file and covering all of it. The two kinds do not see
 * each other, as on Linux.
 *
 * The first lock gives an inode its list, which stays until the inode goes. One mutex guards all
 * lists: locks are rare, and a blocked request sleeps on the list's queue without it. Record locks
 * of one owner never overlap: a new one cuts what it covers out of the older ones, and equal
 * neighbours merge. Closing a descriptor drops the process's record locks; one that is set for a
 * descriptor that another thread has closed meanwhile would stay for ever, and is taken back. There is no search for deadlocks (Linux's EDEADLK): a circle of F_SETLKW waits
 * until a signal.
 */
#include "fs/vfs.h"

#include "mm/slab.h"
#include "sched/thread.h"

#define RANGE_END INT64_MAX

struct lock {
	struct list_node node; /* [lock_mutex] */
	const void *owner;     /* [I] compared only: a table, or a file */
	u64 start, end;        /* [lock_mutex] inclusive */
	int pid;               /* [I] */
	bool write;            /* [I] exclusive */
	bool flock;            /* [I] */
};

struct lock_list {
	struct list_node locks; /* [lock_mutex] */
	u32 changes; /* [lock_mutex] so far: a lock has gone, or become less; read without it */
	struct waitq wait; /* for the next one */
};

static struct mutex lock_mutex = MUTEX_INIT(lock_mutex);

void lock_list_free(struct lock_list *l)
{
	struct lock *lk, *tmp;

	list_for_each_safe(lk, tmp, &l->locks, node)
		kfree(lk);
	kfree(l);
}

static struct lock_list *list_of(struct inode *inode)
{
	struct lock_list *l;

	mutex_lock(&lock_mutex);
	l = inode->locks;
	if (!l) {
		l = kzalloc(sizeof(*l));
		if (l) {
			list_init(&l->locks);
			waitq_init(&l->wait);
			store_release(&inode->locks, l);
		}
	}
	mutex_unlock(&lock_mutex);
	return l;
}

/* A lock of somebody else that does not go together with want. lock_mutex held. */
static struct lock *find_conflict(struct lock_list *l, const struct lock *want)
{
	struct lock *lk;

	list_for_each(lk, &l->locks, node) {
		if (lk->flock == want->flock && lk->owner != want->owner &&
		    lk->start <= want->end && want->start <= lk->end && (lk->write || want->write))
			return lk;
	}
	return NULL;
}

/*
 * Cuts start ... end out of the owner's locks; `spare` becomes the far part of one that is split
 * in two: NULL afterwards if it was used. lock_mutex held.
 */
static void cut(struct lock_list *l, const struct lock *range, struct lock **spare)
{
	struct lock *lk, *tmp;

	list_for_each_safe(lk, tmp, &l->locks, node) {
		if (lk->flock != range->flock || lk->owner != range->owner ||
		    lk->end < range->start || lk->start > range->end)
			continue;
		if (lk->start < range->start && lk->end > range->end) {
			**spare = *lk;
			(*spare)->start = range->end + 1;
			lk->end = range->start - 1;
			list_add(&lk->node, &(*spare)->node);
			*spare = NULL;
			return; /* the owner's locks do not overlap: no other can be touched */
		}
		if (lk->start < range->start) {
			lk->end = range->start - 1;
		} else if (lk->end > range->end) {
			lk->start = range->end + 1;
		} else {
			list_del(&lk->node);
			kfree(lk);
		}
	}
}

/* Adds want, merged with equal neighbours of its owner. lock_mutex held. */
static void add(struct lock_list *l, struct lock *want)
{
	struct lock *lk, *tmp;

	list_for_each_safe(lk, tmp, &l->locks, node) {
		if (lk->flock || want->flock || lk->owner != want->owner ||
		    lk->write != want->write)
			continue;
		if (lk->end + 1 == want->start)
			want->start = lk->start;
		else if (want->end != RANGE_END && want->end + 1 == lk->start)
			want->end = lk->end;
		else
			continue;
		list_del(&lk->node);
		kfree(lk);
	}
	list_add_tail(&l->locks, &want->node);
}

/* A lock has gone, or become less: who waits tries again. lock_mutex held; the caller wakes, without. */
static void note_change(struct lock_list *l)
{
	WRITE_ONCE(l->changes, l->changes + 1);
}

/*
 * flock(2) to the other kind first gives up what this file has, whatever comes of it: two holders who
 * both want more would wait for each other.
 */
static void drop_other_kind(struct lock_list *l, const struct lock *want)
{
	struct lock *lk, *tmp;

	mutex_lock(&lock_mutex);
	list_for_each_safe(lk, tmp, &l->locks, node) {
		if (lk->flock && lk->owner == want->owner && lk->write != want->write) {
			list_del(&lk->node);
			kfree(lk);
		}
	}
	note_change(l);
	mutex_unlock(&lock_mutex);
	waitq_wake_all(&l->wait);
}

/* Sets or (unlock) removes; -EAGAIN on a conflict unless wait; -ERESTARTSYS. */
static int apply(struct inode *inode, const struct lock *want, bool unlock, bool wait)
{
	struct lock_list *l = list_of(inode);
	struct lock *fresh, *spare;
	int err = 0;

	if (!l)
		return -ENOLCK;
	fresh = kmalloc(sizeof(*fresh));
	spare = kmalloc(sizeof(*spare));
	if (!fresh || !spare)
		err = -ENOLCK;
	else if (want->flock && !unlock)
		drop_other_kind(l, want);
	while (!err) {
		mutex_lock(&lock_mutex);
		if (unlock || !find_conflict(l, want)) {
			cut(l, want, &spare);
			if (!unlock) {
				*fresh = *want;
				add(l, fresh);
				fresh = NULL;
			}
			note_change(l);
			mutex_unlock(&lock_mutex);
			waitq_wake_all(&l->wait);
			break;
		}
		u32 seen = l->changes;

		mutex_unlock(&lock_mutex);
		err = wait ? wait_event_interruptible(&l->wait, READ_ONCE(l->changes) != seen) :
			     -EAGAIN;
	}
	kfree(fresh);
	kfree(spare);
	return err;
}

void lock_release_owner(struct inode *inode, const void *owner)
{
	struct lock_list *l = load_acquire(&inode->locks);
	struct lock *lk, *tmp;

	if (!l)
		return;
	mutex_lock(&lock_mutex);
	list_for_each_safe(lk, tmp, &l->locks, node) {
		if (lk->owner == owner) {
			list_del(&lk->node);
			kfree(lk);
		}
	}
	note_change(l);
	mutex_unlock(&lock_mutex);
	waitq_wake_all(&l->wait);
}

/* The range of a struct flock in bytes of the file. */
static int range_of(struct file *f, const struct linux_flock *fl, struct lock *out)
{
	s64 base = 0, start, end;

	if (fl->whence == SEEK_CUR)
		base = (s64)READ_ONCE(f->pos);
	else if (fl->whence == SEEK_END)
		base = (s64)READ_ONCE(f->inode->size);
	else if (fl->whence != SEEK_SET)
		return -EINVAL;
	if (__builtin_add_overflow(base, (s64)fl->start, &start))
		return -EOVERFLOW;
	if (start < 0)
		return -EINVAL;
	if (fl->len > 0) {
		if (__builtin_add_overflow(start, (s64)fl->len - 1, &end))
			return -EOVERFLOW;
	} else if (fl->len == 0) {
		end = RANGE_END;
	} else {
		end = start - 1;
		start += fl->len;
	}
	if (start < 0)
		return -EINVAL;
	out->start = (u64)start;
	out->end = (u64)end;
	return 0;
}

static void report(const struct lock *lk, struct linux_flock *fl)
{
	fl->type = lk->write ? F_WRLCK : F_RDLCK;
	fl->whence = SEEK_SET;
	fl->start = (long)lk->start;
	fl->len = lk->end == RANGE_END ? 0 : (long)(lk->end - lk->start + 1);
	fl->pid = lk->pid;
}

/* Did another thread close fd (or put another file there) while f got this lock? Then it goes again. */
static int check_closed(struct file *f, int fd, const struct lock *lk)
{
	struct file *now = fd_get(fd);
	int err = 0;

	if (now != f) {
		if (apply(f->inode, lk, true, false)) /* no memory: then all, as by the close */
			lock_release_owner(f->inode, lk->owner);
		err = -EBADF;
	}
	if (now)
		file_put(now);
	return err;
}

/* F_GETLK, F_SETLK, F_SETLKW, by descriptor fd, which was f. F_GETLK writes its answer to fl. */
int lock_fcntl(struct file *f, int fd, unsigned cmd, struct linux_flock *fl)
{
	struct lock want = { .owner = current()->files, .write = fl->type == F_WRLCK };
	struct lock *other = NULL;
	int err = range_of(f, fl, &want);

	if (err)
		return err;
	want.pid = procfs_self_pid();
	if (fl->type != F_RDLCK && fl->type != F_WRLCK && (fl->type != F_UNLCK || cmd == F_GETLK))
		return -EINVAL;
	if (cmd == F_GETLK) {
		mutex_lock(&lock_mutex);
		if (f->inode->locks)
			other = find_conflict(f->inode->locks, &want);
		if (other)
			report(other, fl);
		else
			fl->type = F_UNLCK;
		mutex_unlock(&lock_mutex);
		return 0;
	}
	if ((fl->type == F_RDLCK && !file_readable(f)) ||
	    (fl->type == F_WRLCK && !file_writable(f)))
		return -EBADF;
	err = apply(f->inode, &want, fl->type == F_UNLCK, cmd == F_SETLKW);
	if (!err && fl->type != F_UNLCK)
		err = check_closed(f, fd, &want);
	return err;
}

int lock_flock(struct file *f, unsigned op)
{
	unsigned kind = op & ~(unsigned)LINUX_LOCK_NB;
	struct lock want = {
		.owner = f, .end = RANGE_END, .write = kind == LINUX_LOCK_EX, .flock = true
	};

	__atomic_fetch_or(&f->flags, FILE_HAS_FLOCK, __ATOMIC_RELAXED);
	return apply(f->inode, &want, kind == LINUX_LOCK_UN, !(op & LINUX_LOCK_NB));
}
