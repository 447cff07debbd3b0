/*
 * poll, ppoll, select, pselect6: waiting for any of several files.
 *
 * A waiter is on the queues of all its files at once (struct waiter for each). A round: look at each
 * file; if none is ready, join all the queues, and look again, because a change before the joining
 * would have woken nobody; then sleep until a wake-up, a signal or the time. Files' poll functions
 * wait for nothing, so the state that the joining set is still there when the thread sleeps.
 *
 * select is made into the same table, one entry for each descriptor that is in a set.
 */
#include "arch/api/uaccess.h"
#include "fs/vfs.h"
#include "lib/string.h"
#include "lib/uapi/poll.h"
#include "lib/uapi/signal.h"
#include "lib/uapi/time.h"
#include "mm/slab.h"
#include "proc/signal.h"
#include "syscall/syscalls.h"
#include "time/clock.h"

#define ALWAYS (POLLERR | POLLHUP | POLLNVAL) /* reported without being asked for */

struct poll_entry {
	struct fd_loan file; /* f NULL: not open, or not asked */
	struct waitq *wq;   /* that tells of changes, or NULL */
	struct waitq *joined;
	struct waiter waiter;
	u32 events;         /* asked for */
	u32 ready;          /* found */
	s32 fd;
};

#define SMALL_TABLE 4

struct poll_table {
	struct poll_entry *e;
	u32 n;
	u32 always; /* events that are reported without being asked for */
	struct poll_entry small[SMALL_TABLE];
};

static int table_init(struct poll_table *t, u32 n, u32 always)
{
	t->n = n;
	t->always = always;
	t->e = t->small;
	if (n > SMALL_TABLE)
		t->e = kmalloc(n * sizeof(*t->e));
	if (!t->e)
		return -ENOMEM;
	memset(t->e, 0, n * sizeof(*t->e));
	return 0;
}

static void table_free(struct poll_table *t)
{
	for (u32 i = 0; i < t->n; i++)
		fd_return(t->e[i].file);
	if (t->e != t->small)
		kfree(t->e);
}

/* What is ready of each file: how many are. */
static u32 count_ready(struct poll_table *t)
{
	u32 count = 0;

	for (u32 i = 0; i < t->n; i++) {
		struct poll_entry *e = &t->e[i];
		unsigned mask = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM; /* that always are */
		struct file *f = e->file.f;

		if (f && f->ops->poll)
			mask = f->ops->poll(f, &e->wq);
		if (f)
			e->ready = mask & (e->events | t->always);
		count += e->ready != 0;
	}
	return count;
}

/*
 * How many entries are ready, 0 at the deadline (monotonic ns, 0: do not wait, WAIT_FOREVER), or
 * -ERESTARTNOHAND. All queues are joined before any file is looked at again: a wake-up that came
 * in between would be undone by the next joining.
 */
static s64 wait_for_files(struct poll_table *t, u64 deadline)
{
	struct waitq nobody = WAITQ_INIT(nobody); /* sets the state even if no file has a queue */
	s64 ret = count_ready(t);
	bool over = !deadline;

	if (!ret && !over)
		might_sleep();
	while (!ret && !over) {
		struct waiter self;

		waitq_prepare(&nobody, &self, T_INTERRUPTIBLE);
		for (u32 i = 0; i < t->n; i++) {
			if (t->e[i].wq)
				waitq_prepare(t->e[i].wq, &t->e[i].waiter, T_INTERRUPTIBLE);
			t->e[i].joined = t->e[i].wq;
		}
		ret = count_ready(t);
		if (!ret && signal_pending_current())
			ret = -ERESTARTNOHAND;
		over = deadline != WAIT_FOREVER && clock_ns() >= deadline;
		if (!ret && !over)
			sched_sleep(deadline);
		for (u32 i = 0; i < t->n; i++) {
			if (t->e[i].joined)
				waitq_finish(t->e[i].joined, &t->e[i].waiter);
		}
		waitq_finish(&nobody, &self);
	}
	return ret;
}

/* ---- poll ---------------------------------------------------------------------------------- */

static void fill_table(struct poll_table *t, const struct pollfd *p)
{
	for (u32 i = 0; i < t->n; i++) {
		struct poll_entry *e = &t->e[i];

		e->fd = p[i].fd;
		e->events = (u16)p[i].events;
		if (e->fd < 0)
			continue;
		e->file = fd_borrow(e->fd);
		if (e->file.f && (e->file.f->flags & O_PATH)) {
			fd_return(e->file);
			e->file = (struct fd_loan){ 0 };
		}
		if (!e->file.f)
			e->ready = POLLNVAL; /* stays: there is no file to look at */
	}
}

static s64 poll_copied(struct pollfd *p, u32 n, uaddr_t fds, u64 deadline)
{
	struct poll_table t;
	s64 ret;

	if (table_init(&t, n, ALWAYS))
		return -ENOMEM;
	fill_table(&t, p);
	ret = wait_for_files(&t, deadline);
	if (ret >= 0) {
		for (u32 i = 0; i < n; i++)
			p[i].revents = (s16)t.e[i].ready;
		if (copy_to_user(fds, p, n * sizeof(*p)))
			ret = -EFAULT;
	}
	table_free(&t);
	return ret;
}

static s64 do_poll(uaddr_t fds, u32 nfds, u64 deadline)
{
	struct pollfd small[SMALL_TABLE], *p = small;
	s64 ret;

	if (nfds > FD_LIMIT)
		return -EINVAL;
	if (nfds > SMALL_TABLE)
		p = kmalloc(nfds * sizeof(*p));
	if (!p)
		return -ENOMEM;
	if (copy_from_user(p, fds, nfds * sizeof(*p)))
		ret = -EFAULT;
	else
		ret = poll_copied(p, nfds, fds, deadline);
	if (p != small)
		kfree(p);
	return ret;
}

/* ns from now as a deadline; 0 stays 0: do not wait. */
static u64 deadline_in(u64 ns)
{
	u64 now;

	if (!ns)
		return 0;
	now = clock_ns();
	return ns < INT64_MAX - now ? now + ns : WAIT_FOREVER;
}

/* A stopped and continued poll goes on with the time that it had left, not with all of it. */
s64 sys_poll(uaddr_t fds, u32 nfds, int timeout_ms)
{
	struct task *task = current_task();
	u64 deadline;
	s64 ret;

	if (task->restarting)
		deadline = task->restart_deadline;
	else
		deadline = timeout_ms < 0 ? WAIT_FOREVER :
			   deadline_in((u64)timeout_ms * NSEC_PER_MSEC);
	task->restarting = false;
	ret = do_poll(fds, nfds, deadline);
	if (ret == -ERESTARTNOHAND) {
		task->restart_deadline = deadline;
		ret = -ERESTART_RESTARTBLOCK;
	}
	return ret;
}

/* ---- times and masks ------------------------------------------------------------------------ */

static int ns_of(s64 sec, s64 nsec, u64 *ns)
{
	if (sec < 0 || nsec < 0 || nsec >= (s64)NSEC_PER_SEC)
		return -EINVAL;
	*ns = (u64)sec < INT64_MAX / NSEC_PER_SEC ? (u64)sec * NSEC_PER_SEC + (u64)nsec : INT64_MAX;
	return 0;
}

static int timespec_deadline(uaddr_t timeout, u64 *deadline)
{
	struct linux_timespec ts;
	u64 ns;

	*deadline = WAIT_FOREVER;
	if (!timeout)
		return 0;
	if (get_user(ts, timeout))
		return -EFAULT;
	if (ns_of(ts.sec, ts.nsec, &ns))
		return -EINVAL;
	*deadline = deadline_in(ns);
	return 0;
}

static u64 time_left(u64 deadline)
{
	u64 now = clock_ns();

	return deadline > now ? deadline - now : 0;
}

/* ppoll and pselect6 tell how much time was left; a fault there is not told. */
static void report_timespec(uaddr_t timeout, u64 deadline)
{
	u64 left = time_left(deadline);
	struct linux_timespec ts = { (s64)(left / NSEC_PER_SEC), (s64)(left % NSEC_PER_SEC) };

	if (timeout && deadline != WAIT_FOREVER && put_user(ts, timeout))
		return;
}

/* The mask for the length of a call. *set: signal_mask_restore is due. */
static int begin_mask(uaddr_t mask, size_t size, bool *set)
{
	u64 m;

	*set = mask != 0;
	if (!mask)
		return 0;
	if (size != sizeof(m))
		return -EINVAL;
	if (get_user(m, mask))
		return -EFAULT;
	signal_mask_set_temporary(m);
	return 0;
}

/* After a signal the mask stays until that signal's handler has its frame. */
static void end_mask(bool set, s64 ret)
{
	if (set && ret != -ERESTARTNOHAND)
		signal_mask_restore();
}

s64 sys_ppoll(uaddr_t fds, u32 nfds, uaddr_t timeout, uaddr_t mask, size_t mask_size)
{
	u64 deadline;
	bool masked;
	s64 ret = timespec_deadline(timeout, &deadline);

	if (ret)
		return ret;
	ret = begin_mask(mask, mask_size, &masked);
	if (ret)
		return ret;
	ret = do_poll(fds, nfds, deadline);
	end_mask(masked, ret);
	report_timespec(timeout, deadline);
	return ret;
}

/* ---- select --------------------------------------------------------------------------------- */

/* What each of the three sets asks for, and what puts a descriptor into it. */
#define SELECT_IN  (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SELECT_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SELECT_EX  POLLPRI

static const u32 set_mask[3] = { SELECT_IN, SELECT_OUT, SELECT_EX };

struct select_sets {
	u64 bits[3][FD_SETSIZE / 64];
	u32 words; /* that matter */
};

static int read_sets(struct select_sets *s, const uaddr_t set[3], u32 n)
{
	s->words = (n + 63) / 64;
	for (unsigned i = 0; i < 3; i++) {
		memset(s->bits[i], 0, sizeof(s->bits[i]));
		if (set[i] && copy_from_user(s->bits[i], set[i], s->words * sizeof(u64)))
			return -EFAULT;
		if (n % 64)
			s->bits[i][s->words - 1] &= (1ul << (n % 64)) - 1;
	}
	return 0;
}

static u64 any_set(const struct select_sets *s, u32 word)
{
	return s->bits[0][word] | s->bits[1][word] | s->bits[2][word];
}

static int select_table(const struct select_sets *s, struct poll_table *t)
{
	u32 n = 0, at = 0;

	for (u32 w = 0; w < s->words; w++) {
		for (u64 bits = any_set(s, w); bits; bits &= bits - 1)
			n++;
	}
	if (table_init(t, n, 0))
		return -ENOMEM;
	for (u32 w = 0; w < s->words; w++) {
		for (u64 bits = any_set(s, w); bits; bits &= bits - 1) {
			struct poll_entry *e = &t->e[at++];
			u64 bit = bits & -bits;

			e->fd = (s32)(w * 64 + (u32)__builtin_ctzl(bits));
			for (unsigned i = 0; i < 3; i++)
				e->events |= s->bits[i][w] & bit ? set_mask[i] : 0;
			e->file = fd_borrow(e->fd);
			if (!e->file.f) {
				table_free(t);
				return -EBADF;
			}
		}
	}
	return 0;
}

/* Writes set number i as it goes back. The number of bits in it, or -EFAULT. */
static s64 put_result(const struct select_sets *s, const struct poll_table *t, unsigned i,
		      uaddr_t to)
{
	u64 bits[FD_SETSIZE / 64] = { 0 };
	s64 count = 0;

	if (!to)
		return 0;
	for (u32 k = 0; k < t->n; k++) {
		u32 word = (u32)t->e[k].fd / 64;
		u64 bit = 1ul << (t->e[k].fd % 64);

		if ((s->bits[i][word] & bit) && (t->e[k].ready & set_mask[i])) {
			bits[word] |= bit;
			count++;
		}
	}
	return copy_to_user(to, bits, s->words * sizeof(u64)) ? -EFAULT : count;
}

static s64 do_select(u32 n, const uaddr_t set[3], u64 deadline)
{
	struct select_sets s;
	struct poll_table t;
	s64 ret = read_sets(&s, set, n);

	if (!ret)
		ret = select_table(&s, &t);
	if (ret)
		return ret;
	ret = wait_for_files(&t, deadline);
	if (ret >= 0) {
		ret = 0;
		for (unsigned i = 0; i < 3 && ret >= 0; i++) {
			s64 count = put_result(&s, &t, i, set[i]);

			ret = count < 0 ? count : ret + count;
		}
	}
	table_free(&t);
	return ret;
}

s64 sys_select(int n, uaddr_t in, uaddr_t out, uaddr_t ex, uaddr_t timeout)
{
	const uaddr_t set[3] = { in, out, ex };
	struct linux_timeval tv;
	u64 deadline = WAIT_FOREVER, ns;
	s64 ret;

	if (n < 0)
		return -EINVAL;
	if (timeout) {
		if (get_user(tv, timeout))
			return -EFAULT;
		if (tv.sec < 0 || tv.usec < 0)
			return -EINVAL;
		tv.sec += tv.usec / 1000000;
		if (ns_of(tv.sec, tv.usec % 1000000 * 1000, &ns))
			return -EINVAL;
		deadline = deadline_in(ns);
	}
	ret = do_select(MIN((u32)n, (u32)FD_SETSIZE), set, deadline);
	if (timeout && deadline != WAIT_FOREVER) {
		u64 left = time_left(deadline);

		tv.sec = (s64)(left / NSEC_PER_SEC);
		tv.usec = (s64)(left % NSEC_PER_SEC / NSEC_PER_USEC);
		if (put_user(tv, timeout))
			return ret; /* as on Linux: the result counts more */
	}
	return ret;
}

s64 sys_pselect6(int n, uaddr_t in, uaddr_t out, uaddr_t ex, uaddr_t timeout, uaddr_t sig)
{
	const uaddr_t set[3] = { in, out, ex };
	struct {
		u64 mask, size;
	} arg = { 0 };
	u64 deadline;
	bool masked;
	s64 ret;

	if (n < 0)
		return -EINVAL;
	if (sig && get_user(arg, sig))
		return -EFAULT;
	ret = timespec_deadline(timeout, &deadline);
	if (ret)
		return ret;
	ret = begin_mask(arg.mask, arg.size, &masked);
	if (ret)
		return ret;
	ret = do_select(MIN((u32)n, (u32)FD_SETSIZE), set, deadline);
	end_mask(masked, ret);
	report_timespec(timeout, deadline);
	return ret;
}
