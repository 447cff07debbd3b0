/*
 * Pipes and FIFOs (pipe(7)).
 *
 * 64 KiB in a ring of 16 pages, each allocated when the ring first reaches it. When the ring is
 * empty both ends go back to its start, so a pipe that carries small messages lives in one page
 * that stays in the cache. head and tail count bytes without end; the difference is what is in.
 *
 * pipe.lock (a mutex: copies to and from programs sleep) guards the ring. One wait queue serves
 * both sides: readers wait only while the ring is empty, writers only while less than PIPE_BUF is
 * free, so they never wait at the same time. Whoever leaves one of these two states wakes all.
 *
 * A write of at most PIPE_BUF bytes goes in whole or not at all; a larger one in pieces.
 */
#include "fs/vfs.h"

#include "lib/string.h"
#include "lib/uapi/ioctl.h"
#include "lib/uapi/poll.h"
#include "lib/uapi/signal.h"
#include "lib/uapi/statfs.h"
#include "arch/api/uaccess.h"
#include "mm/slab.h"

#define PIPE_PAGES 16
#define PIPE_SIZE  (PIPE_PAGES * PAGE_SIZE)

struct pipe {
	struct mutex lock;
	union {
		struct {
			u32 head, tail; /* [lock] bytes written, bytes read */
		};
		u64 both; /* [lock] head in the lower half; read without it: see used() */
	};
	u32 readers, writers;           /* [lock] open files; read without it by poll and waiters */
	u32 reader_opens, writer_opens; /* [lock] ever: what an open of a FIFO waits for */
	struct waitq wait;
	char *page[PIPE_PAGES]; /* [lock] */
};

static struct super *pipefs; /* [I] after the first pipe */

static struct pipe *pipe_alloc(void)
{
	struct pipe *p = kzalloc(sizeof(*p));

	if (p) {
		mutex_init(&p->lock);
		waitq_init(&p->wait);
	}
	return p;
}

void pipe_destroy(struct pipe *p)
{
	for (unsigned i = 0; i < PIPE_PAGES; i++) {
		if (p->page[i])
			frame_put(page_frame(p->page[i]));
	}
	kfree(p);
}

/*
 * Without the lock, too, by those who are about to sleep: so it must be true of one moment. With two
 * loads, a writer may add and another reader take between them, neither of whom finds the ring empty
 * or full and wakes anybody; and the sum of the two moments may say "empty". (Head and tail are stored
 * one by one; in between more seems to be in than is, never less.)
 */
static inline u32 used(const struct pipe *p)
{
	u64 both = READ_ONCE(p->both);

	return (u32)both - (u32)(both >> 32);
}

/*
 * The waker's side of wait_event. Each caller has just unlocked the pipe, whose exchange is a full
 * barrier: a waiter that this look misses sees the change.
 */
static inline void wake(struct pipe *p)
{
	if (!waitq_empty(&p->wait))
		waitq_wake_all(&p->wait);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Moves what is there (something is), and wanted, of one page to dst; a piece that does not arrive whole stays. */
static __always_inline size_t take_piece(struct pipe *p, struct uio *dst)
{
	u32 tail = p->tail, used = p->head - tail, offset = tail % PAGE_SIZE;
	size_t n = MIN((size_t)used, PAGE_SIZE - offset);

	n = MIN(n, dst->left);
	if (unlikely(uio_put(dst, p->page[tail / PAGE_SIZE % PIPE_PAGES] + offset, n) < n))
		return 0;
	if (n == used)
		p->both = 0;
	else
		p->tail = tail + (u32)n;
	return n;
}

static __noinline size_t take_pieces(struct pipe *p, struct uio *dst)
{
	size_t done = 0, n = 1;

	for (; n && dst->left && p->head != p->tail; done += n)
		n = take_piece(p, dst);
	return done;
}

/* Bytes moved, 0: there are none, or -EFAULT. */
static __always_inline ssize_t read_step(struct pipe *p, struct uio *dst)
{
	u32 before;
	size_t n;

	mutex_lock(&p->lock);
	before = p->head - p->tail;
	if (unlikely(!before)) {
		mutex_unlock(&p->lock);
		return 0;
	}
	n = take_piece(p, dst);
	if (unlikely(n && dst->left && p->head != p->tail))
		n += take_pieces(p, dst);
	mutex_unlock(&p->lock);
	if (unlikely(PIPE_SIZE - before < LINUX_PIPE_BUF))
		wake(p); /* it was full */
	return likely(n) ? (ssize_t)n : -EFAULT;
}

static ssize_t pipe_read(struct file *f, struct uio *dst, u64 *pos)
{
	struct pipe *p = f->inode->pipe;
	ssize_t n;

	if (!dst->left)
		return 0;
	for (;;) {
		if (used(p)) { /* by a look without the lock */
			n = read_step(p, dst);
			if (likely(n))
				return n;
		}
		/* Who closes has written before, so what is empty behind this look stays so. */
		if (unlikely(!load_acquire(&p->writers))) {
			if (!used(p))
				return 0;
			continue;
		}
		if (f->flags & O_NONBLOCK)
			return -EAGAIN;
		n = wait_event_interruptible_seen(&p->wait, used(p) || !READ_ONCE(p->writers));
		if (n)
			return n;
	}
}

/* ---- writing ------------------------------------------------------------------------------ */

static __noinline int add_page(struct pipe *p, u32 i)
{
	struct frame *frame = frame_alloc(FRAME_KERNEL, 0);

	if (!frame)
		return -ENOMEM;
	p->page[i] = frame_virt(frame);
	return 0;
}

/* Moves up to n bytes, which fit, from src into one page. Bytes, -EFAULT or -ENOMEM. */
static __always_inline ssize_t give_piece(struct pipe *p, struct uio *src, size_t n)
{
	u32 head = p->head, offset = head % PAGE_SIZE, i = head / PAGE_SIZE % PIPE_PAGES;

	if (unlikely(!p->page[i]) && add_page(p, i))
		return -ENOMEM;
	n = uio_get(src, p->page[i] + offset, MIN(n, PAGE_SIZE - offset));
	p->head = head + (u32)n;
	return likely(n) ? (ssize_t)n : -EFAULT;
}

static __noinline ssize_t give_pieces(struct pipe *p, struct uio *src, size_t n)
{
	ssize_t done = 0, moved;

	while (n) {
		moved = give_piece(p, src, n);
		if (moved < 0)
			return done ? done : moved;
		done += moved;
		n -= (size_t)moved;
	}
	return done;
}

/* Moves n bytes, which fit, from src into the ring, or as many as can be read. Bytes, -EFAULT or -ENOMEM. Lock held. */
static __always_inline ssize_t give(struct pipe *p, struct uio *src, size_t n)
{
	if (likely(n <= PAGE_SIZE - p->head % PAGE_SIZE))
		return give_piece(p, src, n);
	return give_pieces(p, src, n);
}

static void broken_pipe(void)
{
	if (fs_signal_current)
		fs_signal_current(SIGPIPE);
}

/* One step of a write: bytes moved, 0: must wait, or -errno. */
static __always_inline ssize_t write_step(struct pipe *p, struct uio *src, bool atomic)
{
	size_t room, n;
	ssize_t moved = 0;
	bool was_empty;

	mutex_lock(&p->lock);
	if (unlikely(!p->readers)) {
		mutex_unlock(&p->lock);
		return -EPIPE;
	}
	room = PIPE_SIZE - (p->head - p->tail);
	n = MIN(room, src->left);
	was_empty = p->head == p->tail;
	if (likely(n == src->left || (!atomic && room >= LINUX_PIPE_BUF)))
		moved = give(p, src, n);
	mutex_unlock(&p->lock);
	if (moved > 0 && was_empty)
		wake(p);
	return moved;
}

/* What does not go in one step; n is what the first one said. */
static __noinline ssize_t write_on(struct file *f, struct uio *src, ssize_t n, bool atomic)
{
	struct pipe *p = f->inode->pipe;
	size_t done = 0;

	for (;;) {
		size_t need = MIN(src->left, (size_t)LINUX_PIPE_BUF);

		if (n == -EPIPE)
			broken_pipe();
		if (n > 0)
			done += (size_t)n;
		else if (n == 0 && (f->flags & O_NONBLOCK))
			n = -EAGAIN;
		else if (n == 0)
			n = wait_event_interruptible(&p->wait, PIPE_SIZE - used(p) >= need ||
								       !READ_ONCE(p->readers));
		if (n < 0)
			return done ? (ssize_t)done : n;
		if (!src->left)
			return (ssize_t)done;
		n = write_step(p, src, atomic);
	}
}

static ssize_t pipe_write(struct file *f, struct uio *src, u64 *pos)
{
	size_t size = src->left;
	bool atomic = size <= LINUX_PIPE_BUF;
	ssize_t n;

	if (!size)
		return 0;
	n = write_step(f->inode->pipe, src, atomic);
	return likely(n == (ssize_t)size) ? n : write_on(f, src, n, atomic);
}

/* ---- the rest ----------------------------------------------------------------------------- */

/* file.data: how often a FIFO had been opened for writing when this reader came and found no writer;
 * HANGS_UP if there was one, or it is a pipe(2). */
#define HANGS_UP ((void *)~0ul)

/* Takes no lock: the caller may be on its way to sleep. */
static unsigned pipe_poll(struct file *f, struct waitq **wq)
{
	struct pipe *p = f->inode->pipe;
	unsigned mask = 0;

	*wq = &p->wait;
	if (file_readable(f)) {
		if (used(p))
			mask |= POLLIN | POLLRDNORM;
		/* A FIFO that nobody has opened for writing since has not hung up. */
		if (!READ_ONCE(p->writers) && (u64)f->data != READ_ONCE(p->writer_opens))
			mask |= POLLHUP;
	}
	if (file_writable(f)) {
		if (PIPE_SIZE - used(p) >= LINUX_PIPE_BUF)
			mask |= POLLOUT | POLLWRNORM;
		if (!READ_ONCE(p->readers))
			mask |= POLLERR;
	}
	return mask;
}

u32 pipe_readable_bytes(struct file *f)
{
	return used(f->inode->pipe);
}

static int pipe_ioctl(struct file *f, unsigned cmd, uaddr_t arg)
{
	int bytes = (int)used(f->inode->pipe);

	return cmd == FIONREAD ? put_user(bytes, arg) : -ENOTTY;
}

static void pipe_release(struct file *f)
{
	struct pipe *p = f->inode->pipe;

	mutex_lock(&p->lock);
	if (file_readable(f))
		p->readers--;
	if (file_writable(f))
		p->writers--;
	/* What nobody can read any more: a FIFO starts empty for its next users. */
	if (!p->readers && !p->writers)
		p->head = p->tail = 0;
	mutex_unlock(&p->lock);
	wake(p);
}

const struct file_ops pipe_file_ops = {
	.read = pipe_read,
	.write = pipe_write,
	.ioctl = pipe_ioctl,
	.poll = pipe_poll,
	.release = pipe_release,
};

static void anonymous_destroy(struct inode *inode)
{
	if (inode->pipe)
		pipe_destroy(inode->pipe);
}

static const struct inode_ops anonymous_ops = {
	.open = fifo_open, /* through /proc/self/fd */
	.destroy = anonymous_destroy,
};

static struct inode *anonymous_inode(void)
{
	static struct mutex lock = MUTEX_INIT(lock);
	struct inode *inode = NULL;

	if (!READ_ONCE(pipefs)) {
		mutex_lock(&lock);
		if (!pipefs)
			pipefs = super_create("pipefs", "pipefs", LINUX_PIPEFS_MAGIC, 0);
		mutex_unlock(&lock);
	}
	if (pipefs)
		inode = inode_create(pipefs, S_IFIFO | 0600, &anonymous_ops, &pipe_file_ops);
	if (!inode)
		return NULL;
	inode->pipe = pipe_alloc();
	if (!inode->pipe) {
		inode_put(inode);
		return NULL;
	}
	return inode;
}

int pipe_create(int flags, struct file **rd, struct file **wr)
{
	struct inode *inode = anonymous_inode();

	if (!inode)
		return -ENOMEM;
	*rd = file_create(NULL, inode, &pipe_file_ops, (u32)flags | O_RDONLY);
	if (!*rd) {
		inode_put(inode);
		return -ENOMEM;
	}
	(*rd)->data = HANGS_UP;
	inode->pipe->readers = 1;
	inode_get(inode);
	*wr = file_create(NULL, inode, &pipe_file_ops, (u32)flags | O_WRONLY);
	if (!*wr) {
		inode_put(inode);
		file_put(*rd);
		return -ENOMEM;
	}
	inode->pipe->writers = 1;
	return 0;
}

/* ---- FIFOs: fifo(7) ------------------------------------------------------------------------ */

/* Waits until the other side has been opened since `seen`, or is open. 0 or -ERESTARTSYS. */
static int wait_for_partner(struct pipe *p, u32 *count, u32 *opens, u32 seen)
{
	return wait_event_interruptible(&p->wait, READ_ONCE(*count) || READ_ONCE(*opens) != seen);
}

static int fifo_pipe(struct inode *inode, struct pipe **out)
{
	int err = 0;

	mutex_lock(&inode->lock);
	if (!inode->pipe)
		inode->pipe = pipe_alloc();
	if (!inode->pipe)
		err = -ENOMEM;
	mutex_unlock(&inode->lock);
	*out = inode->pipe;
	return err;
}

int fifo_open(struct inode *inode, struct file *f)
{
	bool reads = file_readable(f), writes = file_writable(f);
	/* A pipe(2) that is opened again through /proc/self/fd waits for nobody. */
	bool fifo = inode->sb != pipefs;
	u32 reader_opens, writer_opens;
	struct pipe *p;
	int err = fifo_pipe(inode, &p);

	if (err)
		return err;
	f->ops = &pipe_file_ops;
	mutex_lock(&p->lock);
	if (fifo && writes && !reads && !p->readers && (f->flags & O_NONBLOCK)) {
		mutex_unlock(&p->lock);
		return -ENXIO;
	}
	p->readers += reads;
	p->writers += writes;
	reader_opens = p->reader_opens += reads;
	writer_opens = p->writer_opens += writes;
	f->data = p->writers ? HANGS_UP : (void *)(u64)writer_opens;
	mutex_unlock(&p->lock);
	wake(p);
	if (fifo && reads && !writes && !(f->flags & O_NONBLOCK))
		err = wait_for_partner(p, &p->writers, &p->writer_opens, writer_opens);
	else if (fifo && writes && !reads)
		err = wait_for_partner(p, &p->readers, &p->reader_opens, reader_opens);
	if (err)
		pipe_release(f);
	return err;
}
