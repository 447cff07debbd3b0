/*
 * Paths, names and descriptors: walks with all their errors, links, mounts, "..", rename in every
 * combination that Linux tells apart, and the paths that are told back.
 */
#include "tests/unit/fs_host.h"

static void assert_path(struct dentry *d, const char *want)
{
	bool unreachable, deleted;
	char buf[256];
	char *p = dentry_path(d, NULL, buf, sizeof(buf), &unreachable, &deleted);

	assert_false(IS_ERR(p));
	assert_string_equal(p, want);
}

static int lookup(const char *path, unsigned flags)
{
	struct dentry *d;
	int err = path_lookup(AT_FDCWD, path, flags, &d);

	if (!err)
		dentry_put(d);
	return err;
}

static void test_walk_errors(void **state)
{
	char long_name[300];

	memset(long_name, 'n', 256);
	long_name[0] = '/';
	long_name[256] = 0;
	assert_int_equal(lookup("", 0), -ENOENT);
	assert_int_equal(lookup("/", 0), 0);
	assert_int_equal(lookup("//", 0), 0);
	assert_int_equal(lookup("/..", 0), 0);
	assert_int_equal(lookup("/nothing", 0), -ENOENT);
	assert_int_equal(lookup("/nothing/more", 0), -ENOENT);
	t_make("/file", "x");
	assert_int_equal(lookup("/file", 0), 0);
	assert_int_equal(lookup("/file/", 0), -ENOTDIR);
	assert_int_equal(lookup("/file/.", 0), -ENOTDIR);
	assert_int_equal(lookup("/file/..", 0), -ENOTDIR);
	assert_int_equal(lookup("/file/x", 0), -ENOTDIR);
	assert_int_equal(lookup("/file", WALK_DIRECTORY), -ENOTDIR);
	assert_int_equal(lookup(long_name, 0), -ENOENT); /* 255 characters are a name */
	strcat(long_name, "n");
	assert_int_equal(lookup(long_name, 0), -ENAMETOOLONG);
	assert_int_equal(t_mkdir("/d"), 0);
	assert_int_equal(t_mkdir("/d"), -EEXIST);
	assert_int_equal(t_mkdir("/d/"), -EEXIST);
	assert_int_equal(t_mkdir("/"), -EEXIST);
	assert_int_equal(t_mkdir("/d/."), -EEXIST);
	assert_int_equal(t_mkdir("/d/e/"), 0); /* a slash behind a new directory is fine */
	assert_int_equal(lookup("/d/./e/../e//", 0), 0);
}

static void test_links(void **state)
{
	struct dentry *d;
	char name[40], target[40];

	assert_int_equal(t_mkdir("/a"), 0);
	assert_int_equal(t_mkdir("/a/b"), 0);
	t_make("/a/b/f", "text");
	assert_int_equal(t_symlink("a/b", "/l"), 0);
	assert_int_equal(t_symlink("../f", "/a/b/up"), 0);
	assert_int_equal(t_symlink("f", "/a/b/same"), 0);
	t_expect("/l/same", "text");
	assert_int_equal(lookup("/a/b/up", WALK_FOLLOW), -ENOENT);
	assert_int_equal(lookup("/a/b/up", 0), 0);
	assert_int_equal(path_lookup(AT_FDCWD, "/l/", 0, &d), 0); /* a slash follows */
	assert_path(d, "/a/b");
	dentry_put(d);
	assert_int_equal(path_lookup(AT_FDCWD, "/l", 0, &d), 0);
	assert_path(d, "/l");
	dentry_put(d);
	assert_int_equal(lookup("/a/b/same/", 0), -ENOTDIR);

	/* Forty links are followed, one more is a loop. */
	assert_int_equal(t_symlink("/a", "/s0"), 0);
	for (int i = 1; i < 42; i++) {
		snprintf(name, sizeof(name), "/s%d", i);
		snprintf(target, sizeof(target), "/s%d", i - 1);
		assert_int_equal(t_symlink(target, name), 0);
	}
	assert_int_equal(lookup("/s39", WALK_FOLLOW), 0);
	assert_int_equal(lookup("/s40", WALK_FOLLOW), -ELOOP);
	assert_int_equal(t_symlink("loop", "/loop"), 0);
	assert_int_equal(lookup("/loop", WALK_FOLLOW), -ELOOP);
	assert_int_equal(lookup("/loop/x", 0), -ELOOP);

	assert_int_equal(t_open("/l", O_RDONLY | O_NOFOLLOW), -ELOOP);
	assert_int_equal(t_open("/l", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), -ENOTDIR);
	assert_int_equal(t_symlink("", "/empty"), -ENOENT);

	/* open(O_CREAT) makes what a dangling link names, O_EXCL does not. */
	assert_int_equal(t_symlink("/a/made", "/dangling"), 0);
	assert_int_equal(t_open("/dangling", O_CREAT | O_EXCL | O_RDWR), -EEXIST);
	t_make("/dangling", "new");
	t_expect("/a/made", "new");
}

static void test_open_errors(void **state)
{
	struct linux_stat st;
	int fd;

	assert_int_equal(t_mkdir("/d"), 0);
	t_make("/f", "old text");
	assert_int_equal(t_open("/d", O_WRONLY), -EISDIR);
	assert_int_equal(t_open("/d", O_RDONLY | O_CREAT), -EISDIR);
	assert_int_equal(t_open("/f", O_RDONLY | O_DIRECTORY), -ENOTDIR);
	assert_int_equal(t_open("/f", O_CREAT | O_EXCL | O_RDWR), -EEXIST);
	assert_int_equal(t_open("/g/", O_CREAT | O_RDWR), -EISDIR);
	assert_int_equal(t_open("/g", O_CREAT | O_DIRECTORY | O_RDWR), -EINVAL);
	assert_int_equal(t_open("/none", O_RDONLY), -ENOENT);
	assert_int_equal(t_open("/none/x", O_CREAT | O_RDWR), -ENOENT);
	assert_int_equal(t_open("/f/x", O_CREAT | O_RDWR), -ENOTDIR);
	fd = t_open("/f", O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(t_stat("/f", true, &st), 0);
	assert_int_equal(st.size, 0);
	fd_close(fd);
	fd = t_open("/d", O_PATH);
	assert_true(fd >= 0);
	fd_close(fd);
}

static void test_unlink(void **state)
{
	struct linux_stat st;
	char buf[16];
	int fd;

	assert_int_equal(t_mkdir("/d"), 0);
	t_make("/d/f", "abc");
	assert_int_equal(t_unlink("/d"), -EISDIR);
	assert_int_equal(t_rmdir("/d"), -ENOTEMPTY);
	assert_int_equal(t_rmdir("/d/f"), -ENOTDIR);
	assert_int_equal(t_unlink("/d/f/"), -ENOTDIR);
	assert_int_equal(t_rmdir("/d/."), -EINVAL);
	assert_int_equal(t_rmdir("/d/.."), -ENOTEMPTY);
	assert_int_equal(t_rmdir("/"), -EBUSY);
	assert_int_equal(t_unlink("/nothing"), -ENOENT);

	/* An open file outlives its name. */
	fd = t_open("/d/f", O_RDWR);
	assert_int_equal(t_unlink("/d/f"), 0);
	assert_int_equal(t_read_at(fd, buf, sizeof(buf), 0), 3);
	struct file *f = fd_get(fd);

	file_stat(f, &st);
	assert_int_equal(st.nlink, 0);
	assert_int_equal(file_path(f, buf, sizeof(buf)), 14);
	assert_string_equal(buf, "/d/f (deleted)");
	file_put(f);
	fd_close(fd);

	/* A directory that somebody stands in: nothing can be made in it any more. */
	fd = t_open("/d", O_RDONLY);
	assert_int_equal(t_rmdir("/d"), 0);
	assert_int_equal(vfs_mkdirat(fd, "x", 0755), -ENOENT);
	assert_int_equal(vfs_mknodat(fd, "x", S_IFREG | 0600, 0), -ENOENT);
	fd_close(fd);
}

static void test_rename(void **state)
{
	struct linux_stat st;

	assert_int_equal(t_mkdir("/a"), 0);
	assert_int_equal(t_mkdir("/a/sub"), 0);
	assert_int_equal(t_mkdir("/b"), 0);
	t_make("/a/f", "one");
	t_make("/b/g", "two");
	assert_int_equal(t_rename("/a/f", "/a/f"), 0);
	assert_int_equal(t_rename("/a/none", "/a/x"), -ENOENT);
	assert_int_equal(t_rename("/a/f", "/a/sub"), -EISDIR);
	assert_int_equal(t_rename("/a/sub", "/b/g"), -ENOTDIR);
	assert_int_equal(t_rename("/a", "/a/sub/x"), -EINVAL);
	assert_int_equal(t_rename("/a", "/a/sub"), -EINVAL);
	assert_int_equal(t_rename("/a/sub", "/a"), -ENOTEMPTY);
	assert_int_equal(t_rename("/b", "/a"), -ENOTEMPTY);
	assert_int_equal(t_rename("/a/f", "/c/"), -ENOTDIR);
	assert_int_equal(t_rename("/a/.", "/c"), -EBUSY);
	assert_int_equal(t_rename("/a/f", "/"), -EBUSY);
	assert_int_equal(t_rename2("/a/f", "/b/g", LINUX_RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(t_rename2("/a/f", "/b/g", 64), -EINVAL);

	assert_int_equal(t_rename("/a/f", "/b/g"), 0); /* over a file */
	t_expect("/b/g", "one");
	assert_int_equal(lookup("/a/f", 0), -ENOENT);
	assert_int_equal(t_rename("/a/sub", "/b/sub"), 0); /* a directory elsewhere */
	assert_int_equal(t_stat("/a", true, &st), 0);
	assert_int_equal(st.nlink, 2);
	assert_int_equal(t_stat("/b", true, &st), 0);
	assert_int_equal(st.nlink, 3);
	assert_int_equal(t_rename("/b/sub", "/a"), 0); /* over an empty directory */
	assert_int_equal(lookup("/a", WALK_DIRECTORY), 0);
	assert_int_equal(t_rename("/a", "/a-name-that-is-longer-than-what-lies-inline"), 0);
	assert_int_equal(t_rename("/a-name-that-is-longer-than-what-lies-inline", "/a"), 0);

	/* Two names of one file: nothing happens, both stay. */
	assert_int_equal(t_link("/b/g", "/b/h"), 0);
	assert_int_equal(t_rename("/b/g", "/b/h"), 0);
	assert_int_equal(lookup("/b/g", 0), 0);

	/* The exchange, of a file and a directory in different directories. */
	assert_int_equal(t_mkdir("/a/dir"), 0);
	assert_int_equal(t_rename2("/a/dir", "/b/g", LINUX_RENAME_EXCHANGE), 0);
	assert_int_equal(lookup("/b/g", WALK_DIRECTORY), 0);
	t_expect("/a/dir", "one");
	assert_int_equal(t_rename2("/b/g", "/b/h", LINUX_RENAME_EXCHANGE), 0);
	t_expect("/b/g", "one");
	assert_int_equal(t_rename2("/b/g", "/b/none", LINUX_RENAME_EXCHANGE), -ENOENT);

	/* Names that lie elsewhere, with one that does not, and with each other. */
	static const char one[] = "/a/first-name-of-more-than-thirty-one-characters";
	static const char two[] = "/b/second-name-of-even-more-than-thirty-one-characters";
	struct dentry *d;

	t_make(one, "1");
	t_make(two, "2");
	assert_int_equal(path_lookup(AT_FDCWD, one, 0, &d), 0);
	assert_int_equal(t_rename2(one, "/b/g", LINUX_RENAME_EXCHANGE), 0);
	assert_path(d, "/b/g");
	t_expect(one, "one");
	assert_int_equal(t_rename2("/b/g", two, LINUX_RENAME_EXCHANGE), 0);
	assert_path(d, two);
	t_expect("/b/g", "2");
	assert_int_equal(t_rename2(two, one, LINUX_RENAME_EXCHANGE), 0);
	assert_path(d, one);
	t_expect(one, "1");
	t_expect(two, "one");
	dentry_put(d);
}

static void test_hard_links(void **state)
{
	struct linux_stat st;

	t_make("/f", "x");
	assert_int_equal(t_mkdir("/d"), 0);
	assert_int_equal(t_link("/f", "/d/g"), 0);
	assert_int_equal(t_link("/f", "/d/g"), -EEXIST);
	assert_int_equal(t_link("/d", "/e"), -EPERM);
	assert_int_equal(t_stat("/f", true, &st), 0);
	assert_int_equal(st.nlink, 2);
	assert_int_equal(t_unlink("/f"), 0);
	assert_int_equal(t_stat("/d/g", true, &st), 0);
	assert_int_equal(st.nlink, 1);
	t_expect("/d/g", "x");
}

static void test_mounts(void **state)
{
	struct dentry *d, *up;
	struct fs_books before = fs_books();

	assert_int_equal(t_mkdir("/m"), 0);
	t_make("/m/hidden", "x");
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0);
	assert_int_equal(vfs_mount("none", d, "nosuchfs", 0, NULL), -ENODEV);
	assert_int_equal(vfs_mount("none", d, "tmpfs", 0, NULL), 0);
	dentry_put(d);
	assert_int_equal(lookup("/m/hidden", 0), -ENOENT);
	t_make("/m/inside", "y");
	assert_int_equal(t_rename("/m/inside", "/out"), -EXDEV);
	assert_int_equal(t_link("/m/inside", "/out"), -EXDEV);
	assert_int_equal(t_rmdir("/m"), -EBUSY);
	assert_int_equal(t_rename("/m", "/n"), -EBUSY);

	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0); /* the mounted root */
	assert_path(d, "/m");
	assert_int_equal(path_lookup(AT_FDCWD, "/m/..", 0, &up), 0);
	assert_path(up, "/");
	dentry_put(up);
	int fd = t_open("/m/inside", O_RDONLY);

	assert_int_equal(vfs_umount(d, false), -EBUSY);
	fd_close(fd);
	fsctx_set_cwd(fs_thread.fs, d);
	assert_int_equal(vfs_umount(d, false), -EBUSY);
	fsctx_set_cwd(fs_thread.fs, root_dentry);
	assert_int_equal(vfs_umount(d, false), 0);
	dentry_put(d);
	t_expect("/m/hidden", "x");
	assert_int_equal(vfs_umount(root_dentry, false), -EBUSY);

	/* Lazily: the open file lives on, the rest goes with it. */
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0);
	assert_int_equal(vfs_mount("none", d, "tmpfs", LINUX_MS_RDONLY, NULL), 0);
	dentry_put(d);
	assert_int_equal(t_mkdir("/m/x"), -EROFS);
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0);
	assert_int_equal(vfs_mount("none", d, "tmpfs", LINUX_MS_REMOUNT, NULL), 0);
	t_make("/m/kept", "z");
	assert_int_equal(t_mkdir("/m/x"), 0);
	fd = t_open("/m/kept", O_RDONLY);
	assert_int_equal(vfs_umount(d, true), 0);
	dentry_put(d);
	t_expect("/m/hidden", "x");
	char c;

	assert_int_equal(t_read_at(fd, &c, 1, 0), 1);
	fd_close(fd);
	assert_int_equal(t_unlink("/m/hidden"), 0);

	/* Who stood there when it was removed, or unmounted, cannot cover it any more. */
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &up), 0);
	assert_int_equal(vfs_mount("none", up, "tmpfs", 0, NULL), 0);
	assert_int_equal(t_mkdir("/m/in"), 0);
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0);
	fd = t_open("/m/in", O_RDONLY);
	assert_int_equal(vfs_umount(d, true), 0);
	dentry_put(d);
	struct file *f = fd_get(fd);

	assert_int_equal(vfs_mount("none", f->dentry, "tmpfs", 0, NULL), -EINVAL);
	file_put(f);
	fd_close(fd);
	assert_int_equal(t_rmdir("/m"), 0);
	assert_int_equal(vfs_mount("none", up, "tmpfs", 0, NULL), -ENOENT);
	dentry_put(up);
	assert_int_equal(fs_books().frames, before.frames);
	assert_int_equal(fs_books().objects, before.objects);
}

static int mount_with(const char *text)
{
	char options[100];
	struct dentry *d;
	int err;

	strcpy(options, text);
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0);
	err = vfs_mount("none", d, "tmpfs", 0, options);
	dentry_put(d);
	return err;
}

static void test_mount_options(void **state)
{
	struct fs_books before = fs_books();
	struct linux_stat st;
	struct dentry *d;

	assert_int_equal(t_mkdir("/m"), 0);
	assert_int_equal(mount_with("size"), -EINVAL);
	assert_int_equal(mount_with("size=x"), -EINVAL);
	assert_int_equal(mount_with("colour=red"), -EINVAL);
	assert_int_equal(mount_with("mode=999"), -EINVAL);
	assert_int_equal(mount_with("size=9k,mode=750,,uid=7,gid=8"), 0);
	assert_int_equal(t_stat("/m", true, &st), 0);
	assert_int_equal(st.mode, S_IFDIR | 0750);
	assert_int_equal(st.uid, 7);
	assert_int_equal(st.gid, 8);
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0);
	assert_int_equal(d->inode->sb->max_pages, 3);
	assert_int_equal(vfs_umount(d, false), 0);
	dentry_put(d);
	assert_int_equal(t_rmdir("/m"), 0);
	assert_int_equal(fs_books().objects, before.objects);
}

static void test_chroot(void **state)
{
	struct dentry *d;

	assert_int_equal(t_mkdir("/jail"), 0);
	assert_int_equal(t_mkdir("/jail/in"), 0);
	assert_int_equal(t_symlink("/in", "/jail/l"), 0);
	assert_int_equal(path_lookup(AT_FDCWD, "/jail", 0, &d), 0);
	fsctx_set_root(fs_thread.fs, d);
	fsctx_set_cwd(fs_thread.fs, d);
	dentry_put(d);
	assert_int_equal(lookup("/l", WALK_FOLLOW), 0);
	assert_int_equal(path_lookup(AT_FDCWD, "/in/../../..", 0, &d), 0);
	assert_path(d, "/jail");
	dentry_put(d);
	fsctx_set_root(fs_thread.fs, root_dentry);
	fsctx_set_cwd(fs_thread.fs, root_dentry);
}

static void test_fdtable(void **state)
{
	struct fdtable *copy;
	struct file *f;
	int fd;

	t_make("/f", "x");
	for (int i = 0; i < FD_LIMIT; i++)
		assert_int_equal(t_open("/f", i & 1 ? O_CLOEXEC : 0), i);
	assert_int_equal(t_open("/f", 0), -EMFILE);
	assert_int_equal(fd_close(77), 0);
	assert_int_equal(fd_close(77), -EBADF);
	assert_int_equal(fd_close(-1), -EBADF);
	assert_int_equal(fd_close(FD_LIMIT), -EBADF);
	assert_int_equal(fd_close(1 << 30), -EBADF);
	assert_null(fd_get(77));
	f = fd_get(3);
	assert_int_equal(fd_install(f, 78, false), -EMFILE);
	assert_int_equal(fd_install(f, 70, true), 77);
	assert_int_equal(fd_get_cloexec(77), 1);
	f = fd_get(3);
	assert_int_equal(fd_install_at(f, FD_LIMIT, false), -EBADF);
	assert_int_equal(fd_install_at(f, 5, false), 5);
	assert_int_equal(fd_get_cloexec(5), 0);

	copy = fdtable_copy(fs_thread.files);
	assert_non_null(copy);
	fdtable_close_on_exec(fs_thread.files);
	assert_int_equal(fd_get_cloexec(77), -EBADF);
	assert_int_equal(fd_get_cloexec(4), 0);
	assert_int_equal(fd_get_cloexec(7), -EBADF);
	f = fdtable_file(copy, 77);
	assert_non_null(f);
	file_put(f);
	assert_int_equal(fdtable_next(fs_thread.files, 6), 6);
	assert_int_equal(fdtable_next(fs_thread.files, 7), 8);
	assert_int_equal(fdtable_next(copy, FD_LIMIT - 1), FD_LIMIT - 1);
	assert_int_equal(fdtable_next(copy, FD_LIMIT), -1);
	fdtable_put(copy);
	for (fd = 0; (fd = fdtable_next(fs_thread.files, fd)) >= 0;)
		fd_close(fd);
}

struct seen {
	unsigned n;
	char names[2000];
	unsigned stop_after;
};

static bool see(void *arg, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct seen *s = arg;

	if (s->n == s->stop_after)
		return false;
	s->n++;
	strncat(s->names, name, len);
	strcat(s->names, " ");
	return true;
}

/* A directory that changes while it is read: each old file once, removed ones at most once. */
static void test_readdir(void **state)
{
	struct seen s = { .stop_after = 4 };
	char name[16];
	int fd;
	struct file *f;

	assert_int_equal(t_mkdir("/d"), 0);
	for (int i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "/d/%c", 'a' + i);
		t_make(name, "");
	}
	fd = t_open("/d", O_RDONLY);
	f = fd_get(fd);
	assert_int_equal(f->ops->readdir(f, see, &s), 0);
	assert_string_equal(s.names, ". .. a b ");
	assert_int_equal(t_unlink("/d/b"), 0);
	assert_int_equal(t_unlink("/d/c"), 0);
	t_make("/d/g", "");
	s = (struct seen){ .stop_after = 100 };
	assert_int_equal(f->ops->readdir(f, see, &s), 0);
	assert_string_equal(s.names, "d e f g ");
	s = (struct seen){ .stop_after = 100 };
	assert_int_equal(f->ops->readdir(f, see, &s), 0);
	assert_int_equal(s.n, 0);
	assert_int_equal(f->ops->seek(f, 0, SEEK_SET), 0);
	assert_int_equal(f->ops->readdir(f, see, &s), 0);
	assert_int_equal(s.n, 7);
	file_put(f);
	fd_close(fd);
}

/* Advisory locks: ranges are cut and merged, other owners see them, closing drops them. */
static void test_locks(void **state)
{
	struct linux_flock fl = { .type = F_WRLCK, .whence = SEEK_SET, .start = 10, .len = 20 };
	struct fdtable *me = fs_thread.files, *other;
	struct file *f;

	t_make("/f", "0123456789");
	int fd = t_open("/f", O_RDWR);

	f = fd_get(fd);
	assert_int_equal(lock_fcntl(f, fd, F_SETLK, &fl), 0);
	fl = (struct linux_flock){ .type = F_UNLCK, .start = 15, .len = 5 };
	assert_int_equal(lock_fcntl(f, fd, F_SETLK, &fl), 0);
	other = fdtable_copy(me);
	fs_thread.files = other;
	fl = (struct linux_flock){ .type = F_RDLCK, .start = 15, .len = 5 };
	assert_int_equal(lock_fcntl(f, fd, F_SETLK, &fl), 0);
	fl = (struct linux_flock){ .type = F_RDLCK, .start = 0, .len = 12 };
	assert_int_equal(lock_fcntl(f, fd, F_SETLK, &fl), -EAGAIN);
	fl = (struct linux_flock){ .type = F_RDLCK, .start = 18 };
	assert_int_equal(lock_fcntl(f, fd, F_GETLK, &fl), 0);
	assert_int_equal(fl.type, F_WRLCK);
	assert_int_equal(fl.start, 20);
	assert_int_equal(fl.len, 10);
	fs_signal(true); /* it would wait */
	fl = (struct linux_flock){ .type = F_RDLCK, .start = 20, .len = 1 };
	assert_int_equal(lock_fcntl(f, fd, F_SETLKW, &fl), -ERESTARTSYS);
	fs_signal(false);
	fs_thread.files = me;
	fl = (struct linux_flock){ .type = F_WRLCK, .start = 15, .len = 5 };
	assert_int_equal(lock_fcntl(f, fd, F_SETLK, &fl), -EAGAIN);
	fdtable_put(other); /* its end is a close: its locks are dropped */
	assert_int_equal(lock_fcntl(f, fd, F_SETLK, &fl), 0);

	/* flock: by open file. */
	int fd2 = t_open("/f", O_RDONLY);
	struct file *f2 = fd_get(fd2);

	assert_int_equal(lock_flock(f, LINUX_LOCK_EX), 0);
	assert_int_equal(lock_flock(f2, LINUX_LOCK_SH | LINUX_LOCK_NB), -EAGAIN);
	assert_int_equal(lock_flock(f, LINUX_LOCK_SH), 0);
	assert_int_equal(lock_flock(f2, LINUX_LOCK_SH | LINUX_LOCK_NB), 0);
	/* The other kind: what this file had is given up, also in vain. Else two who want more wait for ever. */
	assert_int_equal(lock_flock(f, LINUX_LOCK_EX | LINUX_LOCK_NB), -EAGAIN);
	assert_int_equal(lock_flock(f2, LINUX_LOCK_EX | LINUX_LOCK_NB), 0);
	file_put(f2);
	fd_close(fd2);
	file_put(f);
	fd_close(fd);
}

static struct fdtable *lock_holder;
static int lock_fd;

/* While the other thread waits for its lock: its descriptor is closed, and the lock comes free. */
static void close_meanwhile(void)
{
	fs_on_sleep = NULL;
	assert_int_equal(fd_close(lock_fd), 0);
	fdtable_put(lock_holder);
}

/* A lock that comes when its descriptor has been closed, and so nobody would ever drop it. */
static void test_lock_of_closed(void **state)
{
	struct linux_flock fl = { .type = F_WRLCK, .whence = SEEK_SET };
	struct fdtable *me = fs_thread.files;
	struct file *f;

	t_make("/f", "0123456789");
	lock_fd = t_open("/f", O_RDWR);
	f = fd_get(lock_fd);
	lock_holder = fdtable_copy(me);
	fs_thread.files = lock_holder;
	assert_int_equal(lock_fcntl(f, lock_fd, F_SETLK, &fl), 0);
	fs_thread.files = me;
	fs_on_sleep = close_meanwhile;
	fl = (struct linux_flock){ .type = F_WRLCK, .whence = SEEK_SET };
	assert_int_equal(lock_fcntl(f, lock_fd, F_SETLKW, &fl), -EBADF);
	fs_thread.files = fdtable_create();
	fl = (struct linux_flock){ .type = F_WRLCK, .whence = SEEK_SET };
	assert_int_equal(lock_fcntl(f, lock_fd, F_GETLK, &fl), 0);
	assert_int_equal(fl.type, F_UNLCK);
	fdtable_put(fs_thread.files);
	fs_thread.files = me;
	file_put(f);
}

/* The k-th allocation fails, for each k: the error is told, nothing is lost, nothing has changed. */
static void test_failures(void **state)
{
	struct fs_books before, after;
	struct linux_stat st;
	int err = -1;

	assert_int_equal(t_mkdir("/d"), 0);
	t_make("/warm", "x");
	before = fs_books();
	for (u64 k = 1; k < 50 && err; k++) {
		alloc_fail_at = k;
		err = t_mkdir("/d/a-long-name-so-that-it-needs-memory-of-its-own");
		if (!err)
			err = t_symlink("target", "/d/link");
		if (!err)
			err = t_rename("/d/link", "/d/another-long-name-which-needs-memory-too");
		alloc_fail_at = 0;
		t_unlink("/d/link");
		t_unlink("/d/another-long-name-which-needs-memory-too");
		t_rmdir("/d/a-long-name-so-that-it-needs-memory-of-its-own");
		assert_int_equal(t_stat("/d", true, &st), 0);
		assert_int_equal(st.nlink, 2);
		assert_int_equal(st.size, 40);
		after = fs_books();
		assert_int_equal(after.objects, before.objects);
		assert_true(err == 0 || err == -ENOMEM || err == -ENOSPC);
	}
	assert_int_equal(err, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_walk_errors, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_links, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_open_errors, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_unlink, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_rename, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_hard_links, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_mounts, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_mount_options, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_chroot, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_fdtable, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_readdir, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_locks, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_lock_of_closed, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_failures, fs_setup, fs_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
