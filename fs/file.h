/*
 * Open files, descriptor tables, and a process's view of the tree: what proc/ and syscall/ use of
 * fs/. All may sleep unless said otherwise. Errors are Linux's.
 */
#pragma once

#include "lib/refcount.h"
#include "lib/uio.h"
#include "sched/mutex.h"
#include "sync/rcu.h"

struct inode;
struct dentry;
struct file;
struct vm_object;
struct linux_stat;

struct file_ops {
	/* At *pos, which they advance. Bytes or -errno. */
	ssize_t (*read)(struct file *f, struct uio *dst, u64 *pos);
	ssize_t (*write)(struct file *f, struct uio *src, u64 *pos);
	s64 (*seek)(struct file *f, s64 offset, int whence); /* NULL: -ESPIPE */
	int (*ioctl)(struct file *f, unsigned cmd, uaddr_t arg);
	/* POLL* ready now; *wq: the queue that is woken on changes (NULL: always ready). */
	unsigned (*poll)(struct file *f, struct waitq **wq);
	/* One entry per call of emit, from f->pos; emit returns false when full. */
	int (*readdir)(struct file *f,
		       bool (*emit)(void *arg, const char *name, size_t len, u64 ino, unsigned type,
				    u64 next_pos),
		       void *arg);
	void (*release)(struct file *f);
};

struct file {
	refcount_t refs;            /* [a] */
	const struct file_ops *ops; /* [I] once open */
	struct dentry *dentry;      /* [I] NULL for pipes; holds a reference */
	struct inode *inode;        /* [I] never NULL; holds a reference */
	u32 flags;                  /* [a] O_* without creation flags */
	u64 pos;                    /* [pos_lock] none is needed while fd_is_private() */
	struct mutex pos_lock;
	void *data;          /* [ops] set by open, [I] then */
	struct rcu_head end; /* the memory goes after a grace period: fs/fd.c */
};

/* [a] beside the O_* in file.flags: an advisory lock was taken through this file; it claims its inode
 * for writing or for a program that runs. */
#define FILE_HAS_FLOCK 0x80000000u
#define FILE_WRITES    0x40000000u
#define FILE_RUNS      0x20000000u
#define FILE_OWN_FLAGS (FILE_HAS_FLOCK | FILE_WRITES | FILE_RUNS)

void file_get(struct file *f);
void file_end(struct file *f); /* nobody has it any more */
static inline void file_put(struct file *f)
{
	if (refcount_put(&f->refs))
		file_end(f);
}
ssize_t file_read_at(struct file *f, struct uio *dst, u64 pos);
/* Reads exactly n bytes into kernel memory: 0, -ENOEXEC when the file is shorter, or -errno. */
int file_read_exact(struct file *f, void *buf, size_t n, u64 pos);
/* The pages of a regular file for mmap and exec; NULL: cannot be mapped. No new reference. */
struct vm_object *file_vm_object(struct file *f);
/* /dev/zero: a mapping of it is anonymous memory. */
bool file_is_zero(const struct file *f);
/* F_SEAL_* of memfds; 0 for others. */
u32 file_seals(const struct file *f);
int file_stat(struct file *f, struct linux_stat *out);
/* The absolute path, cut to size. Its length or -ENAMETOOLONG. */
int file_path(struct file *f, char *buf, size_t size);

/* Descriptor tables. Descriptors are 0 ... FD_LIMIT-1: what RLIMIT_NOFILE says. */
#define FD_LIMIT 1024

#define FD_SMALL 64 /* for which there is room in the table itself */

struct fdtable {
	refcount_t refs; /* [a] threads, and readers of /proc/<pid>/fd for a moment */
	spinlock_t lock;
	u32 size;           /* [lock] slots; read without */
	struct file **file; /* [lock] read without */
	u64 *open;          /* [lock] bit: file[] is set */
	u64 *cloexec;       /* [lock] */
	struct file *small_file[FD_SMALL];
	u64 small_open, small_cloexec;
};

struct fdtable *fdtable_create(void);
struct fdtable *fdtable_copy(struct fdtable *t); /* fork: NULL out of memory */
void fdtable_get(struct fdtable *t);             /* CLONE_FILES */
void fdtable_put(struct fdtable *t);
void fdtable_close_on_exec(struct fdtable *t);
bool fdtable_is_shared(const struct fdtable *t); /* or was, just now */
/* The file behind fd of the current thread, with a reference; NULL: -EBADF. */
struct file *fd_get(int fd);
/* As fd_get, in any table. */
struct file *fdtable_file(struct fdtable *t, int fd);
/*
 * For the length of one system call: as fd_get, but without a reference where none is needed,
 * because no other thread has this table and could close the descriptor. fd_return ends it.
 */
struct fd_loan {
	struct file *f; /* NULL: -EBADF */
	bool counted;
};
/*
 * The file, if the table is the current thread's alone; else NULL, as if there was none.
 *
 * A count of one on the table is that of the current thread's process, and it has one thread: a
 * second one would have its own. Others may look into the table meanwhile (/proc/pid/fd, with a
 * count of their own), but they close nothing.
 */
static inline struct file *fd_own(int fd)
{
	struct fdtable *t = current()->files;

	return likely(refcount_read(&t->refs) == 1) && (u32)fd < t->size ? t->file[fd] : NULL;
}
static inline struct fd_loan fd_borrow(int fd)
{
	struct fd_loan l = { fd_own(fd), false };

	if (unlikely(!l.f)) {
		l.f = fdtable_file(current()->files, fd);
		l.counted = l.f != NULL;
	}
	return l;
}
static inline void fd_return(struct fd_loan l)
{
	if (l.counted)
		file_put(l.f);
}
/* Nobody else can use the borrowed file meanwhile: its position needs no lock. */
static inline bool fd_is_private(struct fd_loan l)
{
	return !l.counted && refcount_read(&l.f->refs) == 1;
}
/* The lowest open descriptor >= fd, or -1. */
int fdtable_next(struct fdtable *t, int fd);
/* The lowest free descriptor >= min; takes over the caller's reference on success. fd or -EMFILE,
 * -ENOMEM. */
int fd_install(struct file *f, int min, bool cloexec);
int fd_close(int fd);
/* dup2: puts f at exactly fd (takes over the reference on success), closes what was there. */
int fd_install_at(struct file *f, int fd, bool cloexec);
int fd_get_cloexec(int fd); /* 0, 1, -EBADF */
int fd_set_cloexec(int fd, bool on);

/* Where a process stands in the tree. */
struct fsctx;
struct fsctx *fsctx_create(void); /* cwd and root "/", umask 022 */
struct fsctx *fsctx_copy(struct fsctx *c);
void fsctx_get(struct fsctx *c);
void fsctx_put(struct fsctx *c);
u32 fsctx_set_umask(struct fsctx *c, u32 mask); /* the old one */
/* The paths of /proc/pid/cwd and root: length or -ENAMETOOLONG. */
int fsctx_cwd_path(struct fsctx *c, char *buf, size_t size);
int fsctx_root_path(struct fsctx *c, char *buf, size_t size);

/* Opens a path of the current thread (kernel string). flags O_*, mode bits before umask. */
int vfs_open(const char *path, int flags, u32 mode, struct file **out);
/* For execve: a regular file with an x bit, that is not written meanwhile. -EACCES, -ETXTBSY ... */
int vfs_open_exec(const char *path, struct file **out);

/* A pipe's two ends; flags: O_NONBLOCK. 0, -ENOMEM. */
int pipe_create(int flags, struct file **rd, struct file **wr);

/*
 * What proc/ registers (each may stay NULL): a signal for the current thread (SIGPIPE), and the
 * current process's controlling terminal for /dev/tty (NULL: none).
 */
struct tty;
extern void (*fs_signal_current)(int sig);
extern struct tty *(*fs_current_tty)(void);

/* Boot: mounts the root (tmpfs), /proc, /dev; unpacks cpio archives of modules into the root. */
void fs_init(void);
/* One module: 0, or -EINVAL, -ENOMEM, -ENOSPC with one log line; what came before stays. */
int initrd_unpack(const void *data, size_t size);

/*
 * /proc. A file whose text a function writes when it is opened; `show` may sleep.
 */
struct textbuf;
int procfs_add_file(const char *path, void (*show)(struct textbuf *t));
/* Writes to that file call set with the word written; 0 or -errno. */
void procfs_set_writer(const char *path, int (*set)(const char *word));
/*
 * Directories /proc/<pid> and /proc/<pid>/task/<tid>: proc/ registers who exists and what files each has. An id is
 * a process's, or a thread's for /proc/<tid>, which is not listed; a negative one, -tid, means that thread alone.
 */
struct procfs_cursor {
	u64 at; /* how far a text in parts has come, by its writer's own count; 0: the beginning */
	const void *whose; /* the writer's: of what the text is; NULL at first */
};
struct procfs_pid_file {
	const char *
		name; /* "stat", "cmdline" ... "fd/" for the directory of descriptors, "task/" for that of threads */
	u32 mode; /* S_IFREG|0444, S_IFLNK|0777, S_IFDIR|0500 */
	/* Writes the text (or the link's target). 0 or -errno (-ESRCH: gone). NULL: a directory. */
	int (*show)(int id, struct textbuf *t);
	/*
	 * Instead of show, of a text of any length: appends whole lines from *next on, as many as there is room for,
	 * and moves *next behind them; none at the end. A page less 128 bytes is room for some.
	 */
	int (*part)(int id, struct procfs_cursor *next, struct textbuf *t);
	/* Instead of show: bytes at *pos, which it advances. */
	ssize_t (*read)(int id, struct uio *dst, u64 *pos);
};
struct procfs_pid_ops {
	bool (*exists)(int id);
	int (*next)(int after);                 /* the smallest pid above `after`, or 0 */
	int (*next_thread)(int pid, int after); /* the same of that process's threads */
	int (*self)(void), (*self_thread)(void);
	/* The process's descriptors with a reference, for "fd/"; NULL: gone. The member may be NULL:
	 * then only the current process's are visible. */
	struct fdtable *(*fdtable)(int id);
	const struct procfs_pid_file *files;
	u32 nr_files;
};
void procfs_set_pid_ops(const struct procfs_pid_ops *ops);
/* The load averages of 1, 5 and 15 minutes, with 16 bits of fraction: fs/procfs_kernel.c */
void procfs_load_averages(u64 loads[3]);

/* A CPU's lines of /proc/cpuinfo behind its number, if somebody knows them. */
extern void (*procfs_cpuinfo_hook)(struct textbuf *t);
