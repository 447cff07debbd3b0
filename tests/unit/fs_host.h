/*
 * The file system on the host: what it needs of the scheduler and the devices, played by one
 * thread. Sleeping calls fs_on_sleep, which does what another thread would do meanwhile (or sets
 * fs_signal to end the sleep); sleeping without it fails the test: nobody would wake the thread.
 */
#pragma once

#include "tests/unit/unit.h"

#include <string.h>

#include "arch/host/ram.h"
#include "arch/host/uaccess.h"
#include "fs/vfs.h"
#include "mm/slab.h"
#include "sched/thread.h"
#include "time/clock.h"

DEFINE_PER_CPU(struct thread *, current_thread);

static struct thread fs_thread __attribute__((unused));
static void (*fs_on_sleep)(void) __attribute__((unused));
static u64 fs_time = NSEC_PER_SEC;
static int fs_sigpipes __attribute__((unused));

void mutex_init(struct mutex *m)
{
	atomic_store(&m->owner, 0ul);
}
void mutex_lock_slowly(struct mutex *m)
{
	fail_msg("a mutex is taken twice: a deadlock");
}
void mutex_lock_in_turn(struct mutex *m)
{
	mutex_lock(m);
}
void mutex_unlock_slowly(struct mutex *m)
{
	fail_msg("a mutex is unlocked that is not held");
}
bool mutex_is_held(struct mutex *m)
{
	return atomic_load(&m->owner) == (u64)current();
}
void waitq_init(struct waitq *q)
{
	list_init(&q->waiters);
}
void waitq_wake_all(struct waitq *q)
{
}
void waitq_prepare(struct waitq *q, struct waiter *w, unsigned state)
{
	w->out = true;
}
bool waitq_leave(struct waitq *q, struct waiter *w)
{
	return true;
}
void might_sleep(void)
{
	assert_int_equal(preempt_count(), 0);
}
void sched_block(void)
{
	assert_int_equal(current()->mutexes, 0);
	if (!fs_on_sleep)
		fail_msg("sleeps for ever");
	fs_on_sleep();
}
void sched_block_until(u64 deadline)
{
	sched_block();
}
/* Something that ends the sleep, or has ended. */
static inline void fs_signal(bool there)
{
	atomic_store(&fs_thread.work, there ? THREAD_SIGPENDING : 0u);
}
u64 clock_ns(void)
{
	return fs_time;
}
u64 clock_realtime_ns(void)
{
	return fs_time += 1000;
}

/* Devices are not under test here. */
int device_open(struct inode *inode, struct file *f)
{
	return -ENXIO;
}
int devfs_populate(struct super *sb)
{
	return 0;
}

static void fs_take_signal(int sig)
{
	fs_sigpipes += sig == 13;
}

/* How much is in use: everything must be given back. */
struct fs_books {
	u64 frames; /* of files and pipes */
	u64 objects;
};

static inline struct fs_books fs_books(void)
{
	struct fs_books b = { 0 };
	struct frame_stats f;
	struct slab_stats s;

	frame_stats(&f);
	b.frames = f.used[FRAME_FILE];
	for (unsigned i = 0; slab_stats(i, &s); i++) {
		if (strcmp(s.name, "slab-magazine")) /* the allocator's own */
			b.objects += s.in_use;
	}
	return b;
}

#define FS_FRAMES 8192

/* An empty root, one process in it with a descriptor table. */
static inline int fs_setup(void **state)
{
	struct super *root;

	host_ram_init(FS_FRAMES);
	slab_init();
	page_cache_setup();
	inode_setup();
	dentry_setup();
	file_setup();
	random_init();
	fs_signal_current = fs_take_signal;
	fs_on_sleep = NULL;
	fs_signal(false);
	fs_sigpipes = 0;
	this_cpu_write(current_thread, &fs_thread);
	fs_thread.files = NULL;
	fs_thread.fs = NULL;
	assert_int_equal(tmpfs_create("tmpfs", "rootfs", 0, 6000, &root), 0);
	assert_int_equal(super_attach(root, NULL), 0);
	fs_thread.files = fdtable_create();
	fs_thread.fs = fsctx_create();
	return 0;
}

static inline int fs_teardown(void **state)
{
	alloc_fail_at = 0;
	fdtable_put(fs_thread.files);
	fsctx_put(fs_thread.fs);
	assert_int_equal(current()->mutexes, 0);
	host_ram_exit();
	return 0;
}

/* ---- shorthands: each is a plain call that gives 0 or -errno ------------------------------- */

static inline int t_open(const char *path, int flags)
{
	struct file *f;
	int err = vfs_openat(AT_FDCWD, path, flags, 0644, &f);

	if (err)
		return err;
	err = fd_install(f, 0, flags & O_CLOEXEC);
	if (err < 0)
		file_put(f);
	return err;
}

static inline ssize_t t_write_at(int fd, const void *buf, size_t n, u64 pos)
{
	struct file *f = fd_get(fd);
	struct uio u = uio_user((uaddr_t)buf, n);
	ssize_t ret = f->ops->write(f, &u, &pos);

	file_put(f);
	return ret;
}

static inline ssize_t t_read_at(int fd, void *buf, size_t n, u64 pos)
{
	struct file *f = fd_get(fd);
	struct uio u = uio_user((uaddr_t)buf, n);
	ssize_t ret = f->ops->read(f, &u, &pos);

	file_put(f);
	return ret;
}

/* A file with this text. */
static inline void t_make(const char *path, const char *text)
{
	int fd = t_open(path, O_CREAT | O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(t_write_at(fd, text, strlen(text), 0), strlen(text));
	assert_int_equal(fd_close(fd), 0);
}

static inline int t_stat(const char *path, bool follow, struct linux_stat *st)
{
	struct inode *inode;
	int err = path_inode(AT_FDCWD, path, follow ? WALK_FOLLOW : 0, &inode);

	if (err)
		return err;
	inode_stat(inode, st);
	inode_put(inode);
	return 0;
}

/* Has the file this text? */
static inline void t_expect(const char *path, const char *text)
{
	char buf[256];
	int fd = t_open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		fail_msg("%s: error %d", path, -fd);
	n = t_read_at(fd, buf, sizeof(buf) - 1, 0);
	assert_true(n >= 0);
	buf[n] = 0;
	assert_string_equal(buf, text);
	fd_close(fd);
}

static inline int t_link(const char *from, const char *to)
{
	struct dentry *old;
	int err = path_lookup(AT_FDCWD, from, 0, &old);

	if (err)
		return err;
	err = vfs_linkat(old, AT_FDCWD, to);
	dentry_put(old);
	return err;
}

#define t_mkdir(path)              vfs_mkdirat(AT_FDCWD, path, 0755)
#define t_unlink(path)             vfs_unlinkat(AT_FDCWD, path, false)
#define t_rmdir(path)              vfs_unlinkat(AT_FDCWD, path, true)
#define t_symlink(to, path)        vfs_symlinkat(to, AT_FDCWD, path)
#define t_rename(from, to)         vfs_renameat(AT_FDCWD, from, AT_FDCWD, to, 0)
#define t_rename2(from, to, flags) vfs_renameat(AT_FDCWD, from, AT_FDCWD, to, flags)
