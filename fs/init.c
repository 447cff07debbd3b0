/*
 * The file systems that are there from the start: a tmpfs as the root, procfs on /proc, device
 * nodes on /dev, and the usual empty directories. Runs once, in a thread that may sleep.
 */
#include "fs/vfs.h"

#include "lib/kassert.h"
#include "lib/klog.h"
#include "mm/frame.h"

static void mount_at(const char *path, const char *source, const char *type)
{
	struct dentry *d;
	int err = vfs_mkdirat(AT_FDCWD, path, 0755);

	if (!err)
		err = path_lookup(AT_FDCWD, path, WALK_DIRECTORY, &d);
	if (!err) {
		err = vfs_mount(source, d, type, 0, NULL);
		dentry_put(d);
	}
	if (err)
		panic("cannot mount %s on %s: error %d", type, path, -err);
}

void fs_init(void)
{
	struct frame_stats s;
	struct super *root;
	int err;

	page_cache_setup();
	inode_setup();
	dentry_setup();
	file_setup();
	random_init();
	/* Files may take all but an eighth of memory: programs need some to clean up with. */
	frame_stats(&s);
	err = tmpfs_create("tmpfs", "tmpfs", 0, s.total - s.total / 8, &root);
	if (!err)
		err = super_attach(root, NULL);
	if (err)
		panic("cannot make the root file system: error %d", -err);
	mount_at("/proc", "proc", "proc");
	mount_at("/dev", "devtmpfs", "devtmpfs");
	procfs_add_kernel_files();
	err = vfs_mkdirat(AT_FDCWD, "/tmp", 01777);
	if (err)
		log_err("fs: cannot make /tmp: error %d\n", -err);
}
