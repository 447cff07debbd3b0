/*
 * The tree of names: inodes, dentries, mounted file systems, and the walk from a path to them.
 *
 * An inode is a file; a dentry is a name of it in a directory. Every file system here lives in
 * memory, so there are two kinds of directories:
 *  - the tree (tmpfs): a directory's dentries ARE its contents. Each linked dentry is held by its
 *    directory, each holds its parent; there are no negative dentries.
 *  - looked up (procfs): inode_ops.lookup makes a dentry that nobody but its user holds.
 * A directory of the first kind has exactly one dentry. Names of open but unlinked files stay
 * with their dentries, so paths can always be told.
 *
 * A super is one mounted file system; there are no bind mounts, so a dentry says in itself where
 * it is: the root dentry of a super has no parent, and super.mountpoint is what it covers.
 *
 * Locks, in this order:
 *	file.pos_lock -> rename_mutex -> inode.lock of directories, the ancestor first -> inode.lock
 *	of a file -> mount_mutex, pipe.lock, lock_mutex -> tree_lock, page_cache.lock, inode.dir.lock, fdtable.lock
 *	(spinlocks, RANK_FILE, never nested).
 * inode.lock (sleeping) guards a directory's contents, a file's size against other writers, and
 * the attributes. It may be held while a program's memory is copied: so the page-fault path
 * (page_cache_*, vm_object_ops) never takes it. tree_lock (spinning, short) guards dentry.parent,
 * dentry.name, dentry.mounted and super.mountpoint, which paths are built from; they change under
 * tree_lock AND the directories' locks, so either is enough to read them.
 */
#pragma once

#include "fs/file.h"
#include "fs/pagecache.h"
#include "lib/list.h"
#include "lib/rbtree.h"
#include "lib/uapi/dirent.h"
#include "lib/uapi/fcntl.h"
#include "lib/uapi/fs.h"
#include "lib/uapi/stat.h"
#include "mm/vm_object.h"

struct path_walk;
struct linux_statfs;
struct pipe;
struct lock_list;

/* ---- file systems ------------------------------------------------------------------------- */
struct super {
	refcount_t refs;     /* inodes, the mount */
	const char *type;    /* [I] "tmpfs", "proc" ... */
	const char *source;  /* [I] for /proc/mounts; kmalloc'd */
	u64 magic;           /* [I] */
	u32 dev;             /* [I] st_dev */
	u32 flags;           /* [a] MS_RDONLY ...: a remount changes them */
	struct dentry *root; /* [tree_lock] holds a reference */
	struct dentry
		*mountpoint; /* [tree_lock] holds a reference; NULL: the root of all, or detached */
	struct list_node mounts;  /* [mount_mutex] */
	atomic_t users;           /* [a] open files, cwds, roots and mounts in it: umount's EBUSY */
	bool detached;            /* [mount_mutex] its tree goes with its last user */
	atomic64_t next_ino;      /* [a] */
	atomic64_t pages, inodes; /* [a] in use */
	u64 max_pages;            /* [I] 0: no limit */
	u64 max_inodes;           /* [I] of tmpfs; checked without a lock, so not exact */
};

struct super *super_create(const char *type, const char *source, u64 magic, u32 flags);
static inline void super_get(struct super *sb)
{
	refcount_get(&sb->refs);
}
void super_put(struct super *sb);
static inline void super_use(struct super *sb)
{
	atomic_fetch_add(&sb->users, 1u);
}
void super_unuse(struct super *sb);

/* ---- inodes ------------------------------------------------------------------------------- */
struct inode_ops {
	/* Directories that are not in the tree: a dentry with a reference, or -ENOENT. */
	int (*lookup)(struct dentry *dir, const char *name, size_t len, struct dentry **out);
	/* A new inode for a name in dir: mode with its type, rdev for devices, target for links. */
	int (*make)(struct inode *dir, u32 mode, u32 rdev, const char *target, struct inode **out);
	/* Links: the target, terminated. Its length or -errno. */
	int (*readlink)(struct inode *inode, char *buf, size_t size);
	/* Links that know where they lead without a path (/proc/self/fd): a dentry with a reference. */
	int (*follow)(struct inode *inode, struct dentry **out);
	/* After the file is made: may change f->ops and f->data. */
	int (*open)(struct inode *inode, struct file *f);
	/* inode.lock held. */
	int (*truncate)(struct inode *inode, u64 size);
	int (*allocate)(struct inode *inode, int mode, u64 start, u64 len);
	void (*destroy)(struct inode *inode); /* the last reference is gone; may sleep */
};

#define INODE_DEAD     (1u << 0) /* a removed directory: nothing is made in it any more */
#define INODE_LINKABLE (1u << 1) /* has no name yet, may get one (O_TMPFILE) */

struct inode {
	refcount_t refs;  /* [a] */
	u32 mode;         /* [lock] read without it; the type is [I] */
	u32 uid, gid;     /* [lock] read without it */
	u32 nlink;        /* [lock of a directory that has it, or own] atomic changes */
	u32 flags;        /* [lock] INODE_* */
	u32 rdev;         /* [I] */
	u32 seals;        /* [lock] LINUX_SEAL_*: what can never be done again; read without it */
	u64 ino;          /* [I] */
	struct super *sb; /* [I] holds a reference */
	const struct inode_ops *ops; /* [I] never NULL */
	const struct file_ops *fops; /* [I] of files opened on it */
	u64 size;                    /* [lock] read without it */
	u64 atime, mtime, ctime;     /* ns since 1970; torn only by a race that a program made */
	struct mutex lock;
	struct vm_object object; /* regular files */
	struct dentry *alias;    /* [tree_lock] a name of a regular file, for /proc/pid/maps; no
				      * reference: the dentry clears it as it goes */
	struct lock_list *locks; /* [fs/lock.c] advisory locks, or NULL: set once, with release */
	atomic_t claims; /* [a] as s32: how often open for writing; below 0: how often run */
	union {
		struct page_cache pages; /* regular files */
		struct {                 /* directories in the tree [lock] */
			spinlock_t lock; /* of the next four, beside inode.lock: either to read */
			struct rb_root by_name;
			struct list_node children; /* by age, for readdir */
			u64 next_cookie;
			u32 nr_children;
		} dir;
		char *target;      /* links [I] */
		struct pipe *pipe; /* FIFOs: set once [lock], before any file is open */
		struct {           /* procfs [I] */
			const void *node;
			u64 number;
		} proc;
	};
};

/* An inode of sb with one reference, nlink 1 (2 for directories), owned by root, times now. */
struct inode *inode_create(struct super *sb, u32 mode, const struct inode_ops *ops,
			   const struct file_ops *fops);
static inline void inode_get(struct inode *inode)
{
	refcount_get(&inode->refs);
}
void inode_put(struct inode *inode); /* may sleep */
void inode_stat(struct inode *inode, struct linux_stat *out);
void inode_touch(struct inode *inode);             /* mtime and ctime are now */
void inode_accessed(struct inode *inode);          /* atime, as relatime does it */
int inode_set_size(struct inode *inode, u64 size); /* truncate: -EISDIR, -EINVAL, -EROFS, -EFBIG */
int inode_check_writable(const struct inode *inode); /* 0 or -EROFS */
/* A file is written (step 1) or run (step -1), never both at a time: 0 or -ETXTBSY. */
int inode_claim(struct inode *inode, int step);
void inode_unclaim(struct inode *inode, int step);
u64 fs_now(void); /* ns since 1970 */

/* ---- dentries ----------------------------------------------------------------------------- */
#define DENTRY_INLINE 32

#define DENTRY_LINKED    (1u << 0) /* in its directory, which holds a reference */
#define DENTRY_TRANSIENT (1u << 1) /* made by a lookup: not in the tree, yet not deleted */
#define DENTRY_NAMELESS  (1u << 2) /* "pipe:[7]": its name is its whole path */

struct dentry {
	refcount_t refs;          /* [a] */
	u32 hash;                 /* [parent's inode.lock] of the name */
	u32 flags;                /* [parent's inode.lock] DENTRY_* */
	u32 len;                  /* of the name */
	char *name;               /* [tree_lock] terminated */
	struct dentry *parent;    /* [tree_lock] holds a reference; NULL: a root */
	struct inode *inode;      /* [I] holds a reference */
	struct super *mounted;    /* [tree_lock; to set it its inode.lock, too] what covers it */
	struct rb_node node;      /* [parent's inode.lock] */
	struct list_node sibling; /* [parent's inode.lock] */
	u64 cookie;               /* [parent's inode.lock] readdir's position */
	char inline_name[DENTRY_INLINE];
};

extern spinlock_t tree_lock;
extern struct mutex rename_mutex;

/* Takes over the inode's reference on success; takes its own of parent. NULL: out of memory. */
struct dentry *dentry_create(struct dentry *parent, const char *name, size_t len,
			     struct inode *inode, unsigned flags);
static inline void dentry_get(struct dentry *d)
{
	refcount_get(&d->refs);
}
void dentry_put(struct dentry *d); /* NULL is allowed; may sleep */
/* The child of that name with a reference, or NULL. dir's lock held. */
struct dentry *dentry_find(struct inode *dir, const char *name, size_t len);
/*
 * The same without that lock, in the middle of other threads' changes: what it finds is (or was
 * just now) there, but NULL means nothing, because a rename takes a name out before it comes back.
 */
struct dentry *dentry_find_quick(struct inode *dir, const char *name, size_t len);
/* Into and out of the parent's contents. The parent's lock held. */
void dentry_link(struct dentry *d);
void dentry_unlink(struct dentry *d);
/* To another place of the tree. Both directories' locks held. long_name: the new name, kmalloc'd
 * when it has DENTRY_INLINE characters or more; it goes to the dentry. */
void dentry_move(struct dentry *d, struct dentry *parent, const char *name, size_t len,
		 char *long_name);
/* Each to the other's place, for whoever builds a path at one moment. Both directories' locks held. */
void dentry_exchange(struct dentry *a, struct dentry *b);
/* Is `above` d, or a directory above d (within one file system)? rename_mutex held, or d stable. */
bool dentry_is_below(struct dentry *d, struct dentry *above);
/* The path from root (NULL: the root of all) to d, at the end of buf: a pointer into buf, or
 * ERR_PTR(-ENAMETOOLONG). *unreachable: d does not lie below root; *deleted: it has no name. */
char *dentry_path(struct dentry *d, struct dentry *root, char *buf, size_t size, bool *unreachable,
		  bool *deleted);

/* readdir of directories in the tree, and the file operations that need no more than that. */
int tree_readdir(struct file *f,
		 bool (*emit)(void *arg, const char *name, size_t len, u64 ino, unsigned type,
			      u64 next_pos),
		 void *arg);
s64 dir_seek(struct file *f, s64 offset, int whence);
/* Emits "." and ".." from positions 0 and 1; false: full. Then f->pos is at least 2. */
bool dir_emit_dots(struct file *f,
		   bool (*emit)(void *arg, const char *name, size_t len, u64 ino, unsigned type,
				u64 next_pos),
		   void *arg);

/* ---- where a process stands ---------------------------------------------------------------- */
struct fsctx {
	refcount_t refs; /* [a] */
	spinlock_t lock;
	struct dentry *root, *cwd; /* [lock] references, and uses of their supers */
	u32 umask;                 /* [a] */
};

extern struct dentry *root_dentry; /* [I] the root of all */

struct dentry *fs_current_root(void); /* with a reference; kernel threads: the root of all */
struct dentry *fs_current_cwd(void);
u32 fs_current_umask(void);
void fsctx_set_cwd(struct fsctx *c, struct dentry *d); /* takes its own reference */
void fsctx_set_root(struct fsctx *c, struct dentry *d);

/* ---- paths ---------------------------------------------------------------------------------- */
#define WALK_FOLLOW    (1u << 0) /* a link at the end is followed */
#define WALK_DIRECTORY (1u << 1) /* the end must be a directory: -ENOTDIR */
#define WALK_EMPTY     (1u << 2) /* AT_EMPTY_PATH: "" is dfd itself */
#define WALK_PARENT    (1u << 3) /* stop before the last component */

enum last_kind { LAST_NAME, LAST_DOT, LAST_DOTDOT, LAST_ROOT };

/* A walk in progress. */
struct path_walk {
	struct dentry *at;   /* reference: where it is */
	struct dentry *root; /* reference: what "/" is */
	const char *rest;    /* what is still to walk */
	char *buf;           /* where rest lies when a link was followed */
	unsigned links;
	/* WALK_PARENT: the component it stopped before */
	enum last_kind kind;
	const char *last;
	size_t last_len;
	bool last_slash; /* a slash follows it */
};

int walk_begin(struct path_walk *w, int dfd, const char *path);
int walk_run(struct path_walk *w, unsigned flags);
/* Continues with the link that `d`, found as the last component, is: then run again. */
int walk_follow(struct path_walk *w, struct dentry *d);
void walk_end(struct path_walk *w);

/* d, or the root of what is mounted on it. Takes over the reference. */
struct dentry *dentry_cross_mounts(struct dentry *d);
/* The child of a directory, of either kind, with a reference. */
int dentry_lookup(struct dentry *dir, const char *name, size_t len, struct dentry **out);

/* The dentry or inode at a path, with a reference. An inode also of a file that has no path. */
int path_lookup(int dfd, const char *path, unsigned flags, struct dentry **out);
int path_inode(int dfd, const char *path, unsigned flags, struct inode **out);

/* ---- changes of the tree (fs/namei.c); paths are kernel strings ------------------------------ */
int vfs_openat(int dfd, const char *path, int flags, u32 mode, struct file **out);
int vfs_mkdirat(int dfd, const char *path, u32 mode);
int vfs_mknodat(int dfd, const char *path, u32 mode, u32 dev);
int vfs_symlinkat(const char *target, int dfd, const char *path);
int vfs_linkat(struct dentry *old, int dfd, const char *path);
int vfs_unlinkat(int dfd, const char *path, bool directory);
int vfs_renameat(int fromfd, const char *from, int tofd, const char *to, unsigned flags);
/* What a link says. Its length (not more than size - 1), or -EINVAL, -errno. */
int vfs_readlink(struct inode *inode, char *buf, size_t size);

/* Opens what is at d. Takes no reference away. flags as open's, O_CREAT and O_EXCL done with. */
int dentry_open(struct dentry *d, int flags, struct file **out);
/* A file on an inode: takes over the references of dentry (may be NULL) and inode on success. */
struct file *file_create(struct dentry *d, struct inode *inode, const struct file_ops *ops,
			 u32 flags);

static inline bool file_readable(const struct file *f)
{
	unsigned mode = f->flags & (O_ACCMODE_MASK | O_PATH);

	return mode == O_RDONLY || mode == O_RDWR;
}
static inline bool file_writable(const struct file *f)
{
	unsigned mode = f->flags & (O_ACCMODE_MASK | O_PATH);

	return mode == O_WRONLY || mode == O_RDWR;
}

/* ---- mounts (fs/mount.c) --------------------------------------------------------------------- */
/* options: "size=1m,mode=755" for tmpfs, or NULL; it is written to. -EINVAL: an unknown one. */
int vfs_mount(const char *source, struct dentry *at, const char *type, u32 flags, char *options);
int vfs_umount(struct dentry *root, bool detach);
void vfs_statfs(struct super *sb, struct linux_statfs *out);
/* Hangs a new super's root over d, or makes it the root of all (d NULL). */
int super_attach(struct super *sb, struct dentry *d);
/* The supers in the order of their mounting, under the lock that guards their list. */
void mounts_for_each(void (*fn)(struct super *sb, void *arg), void *arg);

/* ---- the file systems ------------------------------------------------------------------------ */
int tmpfs_create(const char *type, const char *source, u32 flags, u64 max_pages,
		 struct super **out);
/* A regular file without a name, on a super of its own kind (memfd). */
int tmpfs_anonymous(const char *name, u32 flags, u32 mode, u32 seals, struct file **out);
/* F_ADD_SEALS: -EPERM, -EINVAL (no file of tmpfs), -EBUSY (mapped by who may write). */
int tmpfs_add_seals(struct file *f, u32 seals);
bool inode_has_seals(const struct inode *inode);
int procfs_create(const char *source, u32 flags, struct super **out);
/* Fills a tmpfs with the device nodes. */
int devfs_populate(struct super *sb);
int devfs_create(const char *source, u32 flags, struct super **out);
void inode_setup(void); /* boot: the slab caches */
void dentry_setup(void);
void file_setup(void);
void procfs_init(void);
void procfs_add_kernel_files(void);
/* The current process's id; 0 before there are processes. */
int procfs_self_pid(void);
/* Files of every /proc/<pid> that are not proc/'s: the array stays where it is. */
void procfs_set_common_pid_files(const struct procfs_pid_file *files, u32 n);

/* A character device's open: sets f->ops. -ENXIO: no such device. */
int device_open(struct inode *inode, struct file *f);
int fifo_open(struct inode *inode, struct file *f);
extern const struct file_ops pipe_file_ops;
u32 pipe_readable_bytes(struct file *f);
void pipe_destroy(struct pipe *p);

/* Random bytes (fs/random.c). */
void random_init(void);
void random_bytes(void *buf, size_t n);
ssize_t random_read(struct file *f, struct uio *dst, u64 *pos);

/* Advisory locks (fs/lock.c). */
int lock_fcntl(struct file *f, int fd, unsigned cmd, struct linux_flock *fl);
int lock_flock(struct file *f, unsigned op);
void lock_release_owner(struct inode *inode, const void *owner); /* a process's, or a file's */
void lock_list_free(struct lock_list *l);

int eventfd_create(u64 count, bool semaphore, u32 flags, struct file **out);
