/*
 * procfs: what the kernel says about itself and its processes, as files.
 *
 * Three kinds of names:
 *  - nodes, registered by procfs_add_file, a small tree that only grows (nodes_mutex);
 *  - /proc/<pid>, and /proc/<pid>/task/<tid> for each of its threads, whose existence and files proc/ answers
 *    for (procfs_set_pid_ops);
 *  - /proc/<pid>/fd/<n>, one link for each descriptor of that process.
 * No directory here is in the dentry tree: each lookup makes an inode and a dentry that live as
 * long as their user holds them, so nothing is cached that could get stale, and procfs can be
 * mounted any number of times. An inode knows by `proc.node` and `proc.number` what it is.
 *
 * Opening a text file writes the whole text into a buffer of the open file: every read of it sees
 * the same moment. Texts that may be of any length (maps, smaps) are made in parts of a page, as they are read.
 */
#include "fs/vfs.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/uapi/statfs.h"
#include "mm/slab.h"
#include "sched/thread.h"

#define MAX_TEXT (4 * MiB)

/* Positions of readdir in /proc, behind the dots: nodes, self, thread-self, and from here on processes. */
#define POS_PIDS        0x10000
#define POS_THREAD_SELF (POS_PIDS - 1)
#define INO_PIDS        0x100000ul /* inode numbers of a process's files: id times this, plus 1 ... */
#define INO_FDS         0x10000ul /* within those: the descriptors */
#define INO_SELF        (2 * INO_PIDS - 1)
#define INO_THREAD_SELF (2 * INO_PIDS - 2)

struct proc_node {
	const char *name;
	u64 ino;
	void (*show)(struct textbuf *t); /* NULL: a directory */
	int (*set)(const char *word);    /* [I] NULL: takes nothing */
	struct proc_node *parent, *next, *children;
};

static struct mutex nodes_mutex = MUTEX_INIT(nodes_mutex);
static struct proc_node root_node = { .name = "", .ino = 1 };
static u64 last_ino = 1;
static const struct procfs_pid_ops *pid_ops;       /* [I] once set */
static const struct procfs_pid_file *common_files; /* [I] once set */
static u32 nr_common;

static const struct inode_ops dir_iops, pid_dir_iops, task_dir_iops, fd_dir_iops, text_iops;
static const struct inode_ops pid_text_iops, self_iops, thread_self_iops, pid_link_iops;
static const struct inode_ops fd_link_iops, raw_iops, stream_iops;
static const struct file_ops dir_fops, pid_dir_fops, task_dir_fops, fd_dir_fops, text_fops;
static const struct file_ops raw_fops, stream_fops;

typedef bool emit_fn(void *arg, const char *name, size_t len, u64 ino, unsigned type, u64 next_pos);

/* ---- nodes -------------------------------------------------------------------------------- */

static struct proc_node *find_node(struct proc_node *dir, const char *name, size_t len)
{
	for (struct proc_node *n = READ_ONCE(dir->children); n; n = READ_ONCE(n->next)) {
		if (strlen(n->name) == len && !memcmp(n->name, name, len))
			return n;
	}
	return NULL;
}

static struct proc_node *add_node(struct proc_node *dir, const char *name, size_t len,
				  void (*show)(struct textbuf *t))
{
	struct proc_node *n = kzalloc(sizeof(*n)), **link = &dir->children;
	char *copy = kmalloc(len + 1);

	if (!n || !copy) {
		kfree(n);
		kfree(copy);
		return NULL;
	}
	memcpy(copy, name, len);
	copy[len] = 0;
	n->name = copy;
	n->show = show;
	n->parent = dir;
	n->ino = ++last_ino;
	while (*link)
		link = &(*link)->next;
	store_release(link, n); /* readers walk the list without a lock */
	return n;
}

/* path: "meminfo", "jiffy/frames", or with "/proc/" before it. Directories are made as needed. */
int procfs_add_file(const char *path, void (*show)(struct textbuf *t))
{
	struct proc_node *dir = &root_node;
	int err = 0;

	if (!strncmp(path, "/proc/", 6))
		path += 6;
	mutex_lock(&nodes_mutex);
	for (const char *slash; dir && (slash = strchr(path, '/')); path = slash + 1) {
		size_t len = (size_t)(slash - path);
		struct proc_node *n = find_node(dir, path, len);

		dir = n ? n : add_node(dir, path, len, NULL);
	}
	if (!dir)
		err = -ENOMEM;
	else if (find_node(dir, path, strlen(path)))
		err = -EEXIST;
	else if (!add_node(dir, path, strlen(path), show))
		err = -ENOMEM;
	mutex_unlock(&nodes_mutex);
	return err;
}

void procfs_set_writer(const char *path, int (*set)(const char *word))
{
	struct proc_node *dir = &root_node;

	mutex_lock(&nodes_mutex);
	for (const char *slash; dir && (slash = strchr(path, '/')); path = slash + 1)
		dir = find_node(dir, path, (size_t)(slash - path));
	dir = dir ? find_node(dir, path, strlen(path)) : NULL;
	kassert(dir != NULL);
	dir->set = set;
	mutex_unlock(&nodes_mutex);
}

void procfs_set_pid_ops(const struct procfs_pid_ops *ops)
{
	store_release(&pid_ops, ops);
}

int procfs_self_pid(void)
{
	return pid_ops ? pid_ops->self() : 0;
}

void procfs_set_common_pid_files(const struct procfs_pid_file *files, u32 n)
{
	common_files = files;
	nr_common = n;
}

/* proc.number of what belongs to a process or a thread: its id (fs/file.h). */
static int id_of(const struct inode *inode)
{
	return (int)inode->proc.number;
}

static u64 ino_of(int id)
{
	return (u32)id * INO_PIDS;
}

/* File number i of a process's directory, or NULL. */
static const struct procfs_pid_file *pid_file(u64 i)
{
	if (i < pid_ops->nr_files)
		return &pid_ops->files[i];
	i -= pid_ops->nr_files;
	return i < nr_common ? &common_files[i] : NULL;
}

/* ---- making inodes ------------------------------------------------------------------------ */

/* An inode and its dentry below dir. */
static int make(struct dentry *dir, const char *name, size_t len, u32 mode, u64 ino,
		const struct inode_ops *ops, const struct file_ops *fops, const void *node,
		u64 number, struct dentry **out)
{
	struct inode *inode = inode_create(dir->inode->sb, mode, ops, fops);

	if (!inode)
		return -ENOMEM;
	inode->ino = ino;
	inode->proc.node = node;
	inode->proc.number = number;
	*out = dentry_create(dir, name, len, inode, DENTRY_TRANSIENT);
	if (!*out) {
		inode_put(inode);
		return -ENOMEM;
	}
	return 0;
}

/* A decimal number without leading zeros, below 2^31; -1: none. */
static int parse_number(const char *name, size_t len)
{
	u64 v = 0;

	if (!len || len > 10 || (name[0] == '0' && len > 1))
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (name[i] < '0' || name[i] > '9')
			return -1;
		v = v * 10 + (u64)(name[i] - '0');
	}
	return v <= INT32_MAX ? (int)v : -1;
}

static int make_pid_dir(struct dentry *dir, const char *name, size_t len, int id,
			struct dentry **out)
{
	return make(dir, name, len, S_IFDIR | 0555, ino_of(id), &pid_dir_iops, &pid_dir_fops, NULL,
		    (u32)id, out);
}

static int dir_lookup(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
	const struct proc_node *in = dir->inode->proc.node;
	const struct proc_node *n = find_node((struct proc_node *)in, name, len);
	int pid;

	if (n && n->show)
		return make(dir, name, len, S_IFREG | (n->set ? 0644 : 0444), n->ino, &text_iops,
			    &text_fops, n, 0, out);
	if (n)
		return make(dir, name, len, S_IFDIR | 0555, n->ino, &dir_iops, &dir_fops, n, 0,
			    out);
	if (in != &root_node || !pid_ops)
		return -ENOENT;
	if (len == 4 && !memcmp(name, "self", 4))
		return make(dir, name, len, S_IFLNK | 0777, INO_SELF, &self_iops, NULL, NULL, 0,
			    out);
	if (len == 11 && !memcmp(name, "thread-self", 11))
		return make(dir, name, len, S_IFLNK | 0777, INO_THREAD_SELF, &thread_self_iops,
			    NULL, NULL, 0, out);
	pid = parse_number(name, len);
	if (pid <= 0 || !pid_ops->exists(pid))
		return -ENOENT;
	return make_pid_dir(dir, name, len, pid, out);
}

static int task_dir_lookup(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
	int tid = parse_number(name, len);

	if (tid <= 0 || pid_ops->next_thread(id_of(dir->inode), tid - 1) != tid)
		return -ENOENT;
	return make_pid_dir(dir, name, len, -tid, out);
}

static bool is_task_dir(const struct procfs_pid_file *f)
{
	return !strcmp(f->name, "task/");
}

/* The name of a pid file in its directory, without the slash of "fd/". */
static size_t pid_file_name_len(const struct procfs_pid_file *f)
{
	size_t len = strlen(f->name);

	return f->name[len - 1] == '/' ? len - 1 : len;
}

static int pid_dir_lookup(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
	int id = id_of(dir->inode);
	const struct procfs_pid_file *f;

	for (u32 i = 0; (f = pid_file(i)); i++) {
		const struct inode_ops *ops = &pid_text_iops;
		const struct file_ops *fops = &text_fops;

		if (pid_file_name_len(f) != len || memcmp(f->name, name, len))
			continue;
		if (!pid_ops->exists(id) || (id < 0 && is_task_dir(f)))
			return -ENOENT;
		if (is_task_dir(f)) {
			ops = &task_dir_iops;
			fops = &task_dir_fops;
		} else if (f->read) {
			ops = &raw_iops;
			fops = &raw_fops;
		} else if (f->part) {
			ops = &stream_iops;
			fops = &stream_fops;
		} else if (S_ISLNK(f->mode)) {
			ops = &pid_link_iops;
			fops = NULL;
		} else if (S_ISDIR(f->mode)) {
			ops = &fd_dir_iops;
			fops = &fd_dir_fops;
		}
		return make(dir, name, len, f->mode, ino_of(id) + 1 + i, ops, fops, f, (u32)id,
			    out);
	}
	return -ENOENT;
}

/* ---- text --------------------------------------------------------------------------------- */

/* Fills t by show, growing the buffer until the text fits. The caller frees t->buf. */
static int write_text(struct inode *inode, struct textbuf *t)
{
	for (size_t size = PAGE_SIZE; size <= MAX_TEXT; size *= 2) {
		int err = 0;

		*t = (struct textbuf){ .buf = kmalloc(size), .size = size };
		if (!t->buf)
			return -ENOMEM;
		t->buf[0] = 0;
		if (inode->proc.number)
			err = ((const struct procfs_pid_file *)inode->proc.node)
				      ->show(id_of(inode), t);
		else
			((const struct proc_node *)inode->proc.node)->show(t);
		if (!err && !t->overflow)
			return 0;
		kfree(t->buf);
		t->buf = NULL;
		if (err)
			return err;
	}
	return -EFBIG;
}

static int text_open(struct inode *inode, struct file *f)
{
	struct textbuf *t;
	int err;

	t = kmalloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	err = write_text(inode, t);
	if (err)
		kfree(t);
	else
		f->data = t;
	return err;
}

static void text_release(struct file *f)
{
	struct textbuf *t = f->data;

	kfree(t->buf);
	kfree(t);
}

static ssize_t text_read(struct file *f, struct uio *dst, u64 *pos)
{
	struct textbuf *t = f->data;
	size_t n, moved;

	if (*pos >= t->len)
		return 0;
	n = MIN(t->len - *pos, (u64)dst->left);
	moved = uio_put(dst, t->buf + *pos, n);
	if (n && !moved)
		return -EFAULT;
	*pos += moved;
	return (ssize_t)moved;
}

/* Root may open any file for writing; those that take a word get it without its newline. */
static ssize_t text_write(struct file *f, struct uio *src, u64 *pos)
{
	const struct proc_node *n = f->inode->proc.node;
	size_t len = src->left;
	char word[32];
	int err;

	if (f->inode->proc.number || !n->set)
		return -EIO;
	if (len == 0 || len >= sizeof(word))
		return -EINVAL;
	if (uio_get(src, word, len) != len)
		return -EFAULT;
	word[len - (word[len - 1] == '\n')] = 0;
	word[len] = 0;
	err = n->set(word);
	return err ? err : (ssize_t)len;
}

static s64 text_seek(struct file *f, s64 offset, int whence)
{
	u64 base = 0;

	if (whence == SEEK_END)
		base = ((struct textbuf *)f->data)->len;
	else if (whence == SEEK_CUR)
		base = f->pos;
	else if (whence != SEEK_SET)
		return -EINVAL;
	if (__builtin_add_overflow(offset, (s64)base, &offset))
		return -EINVAL;
	if (offset < 0)
		return -EINVAL;
	f->pos = (u64)offset;
	return offset;
}

/* ---- bytes that are made as they are read ---- */

static ssize_t raw_read(struct file *f, struct uio *dst, u64 *pos)
{
	const struct procfs_pid_file *file = f->inode->proc.node;

	return file->read(id_of(f->inode), dst, pos);
}

static s64 raw_seek(struct file *f, s64 offset, int whence)
{
	s64 base = whence == SEEK_CUR ? (s64)f->pos : 0;

	if (whence != SEEK_CUR && whence != SEEK_SET)
		return -EINVAL;
	if (__builtin_add_overflow(offset, base, &offset) || offset < 0)
		return -EINVAL;
	f->pos = (u64)offset;
	return offset;
}

static const struct inode_ops raw_iops = { 0 };
static const struct file_ops raw_fops = {
	.read = raw_read,
	.write = text_write,
	.seek = raw_seek,
};

/* ---- texts that are made part by part as they are read ---- */

struct stream {
	struct mutex lock; /* for what follows: pread leaves the position alone, and its lock */
	u64 start;         /* the position of the part that is at hand */
	struct textbuf part;
	struct procfs_cursor next;
	char buf[PAGE_SIZE - 128];
};

_Static_assert(sizeof(struct stream) <= PAGE_SIZE, "a stream is one page");

/* The next part takes the place of this one; it is empty at the end. */
static int stream_next(struct inode *inode, struct stream *s)
{
	const struct procfs_pid_file *file = inode->proc.node;

	s->start += s->part.len;
	s->part = (struct textbuf){ .buf = s->buf, .size = sizeof(s->buf) };
	return file->part(id_of(inode), &s->next, &s->part);
}

/* Asks for a part without room: so *next knows of what the text is from now on. */
static int stream_open(struct inode *inode, struct file *f)
{
	const struct procfs_pid_file *file = inode->proc.node;
	struct stream *s = kzalloc(sizeof(*s));
	struct textbuf none;
	int err;

	if (!s)
		return -ENOMEM;
	mutex_init(&s->lock);
	none = (struct textbuf){ .buf = s->buf, .size = 1 };
	err = file->part(id_of(inode), &s->next, &none);
	if (err)
		kfree(s);
	else
		f->data = s;
	return err;
}

static void stream_release(struct file *f)
{
	kfree(f->data);
}

/* Bytes of the part at hand from pos on, which may lie behind it. */
static size_t stream_left(const struct stream *s, u64 pos)
{
	return pos - s->start < s->part.len ? s->part.len - (pos - s->start) : 0;
}

static ssize_t stream_read(struct file *f, struct uio *dst, u64 *pos)
{
	struct stream *s = f->data;
	size_t done = 0;
	int err = 0;

	mutex_lock(&s->lock);
	if (*pos < s->start) {
		s->start = s->part.len = 0;
		s->next.at = 0;
	}
	while (dst->left && !err && !thread_is_ending()) {
		size_t n = MIN(stream_left(s, *pos), dst->left), moved;

		if (!n) {
			err = stream_next(f->inode, s);
			if (!s->part.len)
				break;
			continue;
		}
		moved = uio_put(dst, s->buf + (*pos - s->start), n);
		done += moved;
		*pos += moved;
		if (moved < n)
			err = -EFAULT;
	}
	mutex_unlock(&s->lock);
	return done ? (ssize_t)done : err;
}

static const struct inode_ops stream_iops = { .open = stream_open };
static const struct file_ops stream_fops = {
	.read = stream_read,
	.write = text_write,
	.seek = raw_seek,
	.release = stream_release,
};

/* ---- links -------------------------------------------------------------------------------- */

static int self_readlink(struct inode *inode, char *buf, size_t size)
{
	int n = ksnprintf(buf, size, "%d", pid_ops->self());

	return n < (int)size ? n : (int)size - 1;
}

static int thread_self_readlink(struct inode *inode, char *buf, size_t size)
{
	int n = ksnprintf(buf, size, "%d/task/%d", pid_ops->self(), pid_ops->self_thread());

	return n < (int)size ? n : (int)size - 1;
}

static int pid_link_readlink(struct inode *inode, char *buf, size_t size)
{
	struct textbuf t = { .buf = buf, .size = size };
	int err;

	if (size)
		buf[0] = 0;
	err = ((const struct procfs_pid_file *)inode->proc.node)->show(id_of(inode), &t);
	return err ? err : (int)t.len;
}

/* The descriptors of a process, with a reference; NULL: it is gone. */
static struct fdtable *table_of(int id)
{
	struct fdtable *t = NULL;

	if (pid_ops->fdtable)
		return pid_ops->fdtable(id);
	if (pid_ops->self() == id)
		t = current()->files;
	if (t)
		fdtable_get(t);
	return t;
}

static struct file *file_of(int id, int fd)
{
	struct fdtable *t = table_of(id);
	struct file *f = t ? fdtable_file(t, fd) : NULL;

	if (t)
		fdtable_put(t);
	return f;
}

/* proc.number of a descriptor's link: id above, fd below. */
#define LINK_ID(n) ((int)((n) >> 32))
#define LINK_FD(n) ((int)(n))

static int fd_link_readlink(struct inode *inode, char *buf, size_t size)
{
	struct file *f = file_of(LINK_ID(inode->proc.number), LINK_FD(inode->proc.number));
	int n;

	if (!f)
		return -ENOENT;
	n = file_path(f, buf, size);
	file_put(f);
	return n;
}

/* Where such a link leads: not a path, but the very file; a pipe gets a dentry for the moment. */
static int fd_link_follow(struct inode *inode, struct dentry **out)
{
	struct file *f = file_of(LINK_ID(inode->proc.number), LINK_FD(inode->proc.number));
	char name[DENTRY_INLINE];
	int err = 0;

	if (!f)
		return -ENOENT;
	if (f->dentry) {
		dentry_get(f->dentry);
		*out = f->dentry;
	} else {
		int len = file_path(f, name, sizeof(name));

		inode_get(f->inode);
		*out = dentry_create(NULL, name, (size_t)len, f->inode, DENTRY_NAMELESS);
		if (!*out) {
			inode_put(f->inode);
			err = -ENOMEM;
		}
	}
	file_put(f);
	return err;
}

static int fd_dir_lookup(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
	int id = id_of(dir->inode), fd = parse_number(name, len);
	struct file *f = fd >= 0 ? file_of(id, fd) : NULL;
	u32 mode = S_IFLNK;

	if (!f)
		return -ENOENT;
	mode |= (file_readable(f) ? 0500u : 0) | (file_writable(f) ? 0300u : 0);
	file_put(f);
	return make(dir, name, len, mode, ino_of(id) + INO_FDS + (u64)fd, &fd_link_iops, NULL, NULL,
		    (u64)id << 32 | (u64)fd, out);
}

/* ---- directories -------------------------------------------------------------------------- */

static bool emit_number(emit_fn *emit, void *arg, int number, u64 ino, u32 mode, u64 next)
{
	char name[16];
	int len = ksnprintf(name, sizeof(name), "%d", number);

	return emit(arg, name, (size_t)len, ino, LINUX_MODE_DT(mode), next);
}

/* Processes: position POS_PIDS + n stands for the first one with a pid above n. */
static void readdir_pids(struct file *f, emit_fn *emit, void *arg)
{
	for (;;) {
		int pid = pid_ops->next((int)(f->pos - POS_PIDS));
		u64 next = POS_PIDS + (u64)pid;

		if (pid <= 0 || !emit_number(emit, arg, pid, ino_of(pid), S_IFDIR, next))
			return;
		f->pos = next;
	}
}

static int dir_readdir(struct file *f, emit_fn *emit, void *arg)
{
	const struct proc_node *in = f->inode->proc.node;
	bool pids = in == &root_node && pid_ops;
	u64 pos = 2;

	if (!dir_emit_dots(f, emit, arg))
		return 0;
	for (const struct proc_node *n = in->children; n; n = n->next, pos++) {
		if (pos < f->pos)
			continue;
		if (!emit(arg, n->name, strlen(n->name), n->ino,
			  LINUX_MODE_DT(n->show ? S_IFREG : S_IFDIR), pos + 1))
			return 0;
		f->pos = pos + 1;
	}
	if (pids && f->pos < POS_THREAD_SELF) {
		if (!emit(arg, "self", 4, INO_SELF, LINUX_MODE_DT(S_IFLNK), POS_THREAD_SELF))
			return 0;
		f->pos = POS_THREAD_SELF;
	}
	if (pids && f->pos == POS_THREAD_SELF) {
		if (!emit(arg, "thread-self", 11, INO_THREAD_SELF, LINUX_MODE_DT(S_IFLNK),
			  POS_PIDS))
			return 0;
		f->pos = POS_PIDS;
	}
	if (pids)
		readdir_pids(f, emit, arg);
	return 0;
}

static int pid_dir_readdir(struct file *f, emit_fn *emit, void *arg)
{
	const struct procfs_pid_file *p;
	int id = id_of(f->inode);

	if (!pid_ops->exists(id))
		return -ENOENT;
	if (!dir_emit_dots(f, emit, arg))
		return 0;
	for (; (p = pid_file(f->pos - 2)); f->pos++)
		if (!(id < 0 && is_task_dir(p)) &&
		    !emit(arg, p->name, pid_file_name_len(p), ino_of(id) + f->pos - 1,
			  LINUX_MODE_DT(p->mode), f->pos + 1))
			return 0;
	return 0;
}

/* Position 2 + n stands for the first thread with a tid above n. */
static int task_dir_readdir(struct file *f, emit_fn *emit, void *arg)
{
	int pid = id_of(f->inode), tid;

	if (!pid_ops->exists(pid))
		return -ENOENT;
	if (!dir_emit_dots(f, emit, arg))
		return 0;
	while ((tid = pid_ops->next_thread(pid, (int)(f->pos - 2))) > 0) {
		if (!emit_number(emit, arg, tid, ino_of(-tid), S_IFDIR, (u64)tid + 2))
			return 0;
		f->pos = (u64)tid + 2;
	}
	return 0;
}

static int fd_dir_readdir(struct file *f, emit_fn *emit, void *arg)
{
	int id = id_of(f->inode);
	struct fdtable *t = table_of(id);

	if (!t)
		return -ENOENT;
	if (dir_emit_dots(f, emit, arg)) {
		int fd;

		while ((fd = fdtable_next(t, (int)(f->pos - 2))) >= 0) {
			u64 ino = ino_of(id) + INO_FDS + (u64)fd;

			if (!emit_number(emit, arg, fd, ino, S_IFLNK, (u64)fd + 3))
				break;
			f->pos = (u64)fd + 3;
		}
	}
	fdtable_put(t);
	return 0;
}

static const struct inode_ops dir_iops = { .lookup = dir_lookup };
static const struct inode_ops pid_dir_iops = { .lookup = pid_dir_lookup };
static const struct inode_ops task_dir_iops = { .lookup = task_dir_lookup };
static const struct inode_ops fd_dir_iops = { .lookup = fd_dir_lookup };
static const struct inode_ops text_iops = { .open = text_open };
static const struct inode_ops pid_text_iops = { .open = text_open };
static const struct inode_ops self_iops = { .readlink = self_readlink };
static const struct inode_ops thread_self_iops = { .readlink = thread_self_readlink };
static const struct inode_ops pid_link_iops = { .readlink = pid_link_readlink };
static const struct inode_ops fd_link_iops = {
	.readlink = fd_link_readlink,
	.follow = fd_link_follow,
};
static const struct file_ops dir_fops = { .readdir = dir_readdir, .seek = dir_seek };
static const struct file_ops pid_dir_fops = { .readdir = pid_dir_readdir, .seek = dir_seek };
static const struct file_ops task_dir_fops = { .readdir = task_dir_readdir, .seek = dir_seek };
static const struct file_ops fd_dir_fops = { .readdir = fd_dir_readdir, .seek = dir_seek };
static const struct file_ops text_fops = {
	.read = text_read,
	.write = text_write,
	.seek = text_seek,
	.release = text_release,
};

int procfs_create(const char *source, u32 flags, struct super **out)
{
	struct super *sb = super_create("proc", source, LINUX_PROC_MAGIC, flags);
	struct inode *inode;

	if (!sb)
		return -ENOMEM;
	inode = inode_create(sb, S_IFDIR | 0555, &dir_iops, &dir_fops);
	if (inode) {
		inode->ino = root_node.ino;
		inode->proc.node = &root_node;
		sb->root = dentry_create(NULL, "", 0, inode, 0);
	}
	if (!sb->root) {
		if (inode)
			inode_put(inode);
		super_put(sb);
		return -ENOMEM;
	}
	*out = sb;
	return 0;
}
