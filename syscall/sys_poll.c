/*
 * poll, ppoll, select, pselect6: waiting for any of several files.
 *
 * Most calls find something ready, or do not want to wait: they look at each file once, write the
 * answer where it goes, and need no table. One that waits is on the queues of all its files at
 * once (struct waiter for each): it joins all the queues, and looks again, because a change before
 * the joining would have woken nobody; then it sleeps until a wake-up, a signal or the time, and
 * then looks at the files from the beginning. Files' poll functions wait for nothing, so the state
 * that the joining set is still there when the thread sleeps.
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

/* ---- waiting ------------------------------------------------------------------------------- */

struct poll_entry {
	struct fd_loan file; /* f NULL: not open, or not asked */
	struct waitq *wq;    /* that tells of changes, or NULL */
	struct waitq *joined;
	struct waiter waiter;
	u32 events; /* that end the wait */
};

#define SMALL_TABLE 4

struct poll_table {
	struct poll_entry *e;
	u32 n;
	struct poll_entry small[SMALL_TABLE];
};

static int table_init(struct poll_table *t, u32 n)
{
	t->n = n;
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

/* What is ready of one file, and the queue that tells of changes. */
static unsigned poll_file(struct file *f, struct waitq **wq)
{
	if (!f->ops->poll)
		return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM; /* a file that always is */
	return f->ops->poll(f, wq);
}

static bool any_ready(struct poll_table *t)
{
	bool ready = false;

	for (u32 i = 0; i < t->n; i++) {
		struct poll_entry *e = &t->e[i];

		if (e->file.f && (poll_file(e->file.f, &e->wq) & e->events))
			ready = true;
	}
	return ready;
}

/*
 * 1: some entry may be ready, 0: the deadline (monotonic ns or WAIT_FOREVER) has come, or
 * -ERESTARTNOHAND. All queues are joined before any file is looked at again: a wake-up that came
 * in between would be undone by the next joining.
 */
static int wait_for_files(struct poll_table *t, u64 deadline)
{
	struct waitq nobody = WAITQ_INIT(nobody); /* sets the state even if no file has a queue */
	struct waiter self;
	int ret = 0;

	might_sleep();
	if (any_ready(t)) /* tells the queues, too */
		return 1;
	waitq_prepare(&nobody, &self, T_INTERRUPTIBLE);
	for (u32 i = 0; i < t->n; i++) {
		struct poll_entry *e = &t->e[i];

		if (e->wq)
			waitq_prepare(e->wq, &e->waiter, T_INTERRUPTIBLE);
		e->joined = e->wq;
	}
	if (any_ready(t)) {
		ret = 1;
	} else if (signal_pending_current()) {
		ret = -ERESTARTNOHAND;
	} else if (deadline == WAIT_FOREVER || clock_ns() < deadline) {
		sched_sleep(deadline);
		ret = 1;
	}
	for (u32 i = 0; i < t->n; i++) {
		if (t->e[i].joined)
			waitq_finish(t->e[i].joined, &t->e[i].waiter);
	}
	waitq_finish(&nobody, &self);
	return ret;
}

/* A call that only looks and finds nothing is interrupted by a signal that its mask lets in. */
static int no_wait(void)
{
	return signal_pending_current() ? -ERESTARTNOHAND : 0;
}

/* ---- poll ---------------------------------------------------------------------------------- */

/* Looks at each file once and fills in revents: how many are not zero. */
static u32 scan_files(struct pollfd *p, u32 n)
{
	u32 count = 0;

	for (u32 i = 0; i < n; i++) {
		unsigned ready = 0;

		if (p[i].fd >= 0) {
			struct fd_loan l = fd_borrow(p[i].fd);
			struct waitq *wq;

			ready = POLLNVAL;
			if (l.f && !(l.f->flags & O_PATH))
				ready = poll_file(l.f, &wq) & ((u16)p[i].events | ALWAYS);
			fd_return(l);
		}
		p[i].revents = (s16)ready;
		count += ready != 0;
	}
	return count;
}

static int wait_for_pollfds(const struct pollfd *p, u32 n, u64 deadline)
{
	struct poll_table t;
	int ret = table_init(&t, n);

	if (ret)
		return ret;
	for (u32 i = 0; i < n; i++) {
		t.e[i].events = (u16)p[i].events | ALWAYS;
		if (p[i].fd >= 0)
			t.e[i].file = fd_borrow(p[i].fd);
	}
	ret = wait_for_files(&t, deadline);
	table_free(&t);
	return ret;
}

/* Only the answers: another thread may have changed what is asked, for the next call. */
static int put_answers(uaddr_t fds, const struct pollfd *p, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		if (put_user(p[i].revents, fds + i * sizeof(*p) + offsetof(struct pollfd, revents)))
			return -EFAULT;
	}
	return 0;
}

/* deadline: 0: do not wait. */
static s64 do_poll(uaddr_t fds, u32 nfds, u64 deadline)
{
	struct pollfd small[SMALL_TABLE], *p = small;
	s64 count, ret = 0;

	if (nfds > FD_LIMIT)
		return -EINVAL;
	if (nfds > SMALL_TABLE)
		p = kmalloc(nfds * sizeof(*p));
	if (!p)
		return -ENOMEM;
	if (copy_from_user(p, fds, nfds * sizeof(*p))) {
		ret = -EFAULT;
	} else {
		do {
			count = scan_files(p, nfds);
			if (!count)
				ret = deadline ? wait_for_pollfds(p, nfds, deadline) : no_wait();
		} while (!count && ret > 0);
		if (put_answers(fds, p, nfds)) /* zeroes, too, of a call that a signal ends */
			ret = -EFAULT;
		else if (ret >= 0)
			ret = count;
	}
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
	u32 words; /* that matter */
	u64 asked[3][FD_SETSIZE / 64];
	u64 found[3][FD_SETSIZE / 64];
};

static int read_sets(struct select_sets *s, const uaddr_t set[3], u32 n)
{
	s->words = (n + 63) / 64;
	for (unsigned i = 0; i < 3; i++) {
		memset(s->asked[i], 0, s->words * sizeof(u64));
		if (set[i] && copy_from_user(s->asked[i], set[i], s->words * sizeof(u64)))
			return -EFAULT;
		if (n % 64)
			s->asked[i][s->words - 1] &= (1ul << (n % 64)) - 1;
	}
	return 0;
}

static s64 write_sets(const struct select_sets *s, const uaddr_t set[3], s64 ret)
{
	for (unsigned i = 0; i < 3; i++) {
		if (set[i] && copy_to_user(set[i], s->found[i], s->words * sizeof(u64)))
			return -EFAULT;
	}
	return ret;
}

static u64 any_set(const struct select_sets *s, u32 word)
{
	return s->asked[0][word] | s->asked[1][word] | s->asked[2][word];
}

static u32 wanted_events(const struct select_sets *s, u32 word, u64 bit)
{
	u32 events = 0;

	for (unsigned i = 0; i < 3; i++) {
		if (s->asked[i][word] & bit)
			events |= set_mask[i];
	}
	return events;
}

/* Looks at each file once and fills in the found sets: how many bits. -EBADF. */
static s64 scan_sets(struct select_sets *s)
{
	s64 count = 0;

	for (u32 w = 0; w < s->words; w++) {
		u64 found[3] = { 0 };

		for (u64 bits = any_set(s, w); bits; bits &= bits - 1) {
			struct fd_loan l = fd_borrow((int)(w * 64 + (u32)__builtin_ctzl(bits)));
			u64 bit = bits & -bits;
			struct waitq *wq;
			unsigned ready;

			if (!l.f)
				return -EBADF;
			ready = poll_file(l.f, &wq);
			fd_return(l);
			for (unsigned i = 0; i < 3 && ready; i++) {
				if ((s->asked[i][w] & bit) && (ready & set_mask[i])) {
					found[i] |= bit;
					count++;
				}
			}
		}
		for (unsigned i = 0; i < 3; i++)
			s->found[i][w] = found[i];
	}
	return count;
}

static int wait_for_sets(const struct select_sets *s, u64 deadline)
{
	struct poll_table t;
	u32 n = 0;
	int ret;

	for (u32 w = 0; w < s->words; w++) {
		for (u64 bits = any_set(s, w); bits; bits &= bits - 1)
			n++;
	}
	ret = table_init(&t, n);
	if (ret)
		return ret;
	n = 0;
	for (u32 w = 0; w < s->words; w++) {
		for (u64 bits = any_set(s, w); bits; bits &= bits - 1) {
			struct poll_entry *e = &t.e[n++];

			e->file = fd_borrow((int)(w * 64 + (u32)__builtin_ctzl(bits)));
			e->events = wanted_events(s, w, bits & -bits);
		}
	}
	ret = wait_for_files(&t, deadline);
	table_free(&t);
	return ret;
}

static s64 do_select(u32 n, const uaddr_t set[3], u64 deadline)
{
	struct select_sets *s = kmalloc(sizeof(*s));
	s64 count, ret;

	if (!s)
		return -ENOMEM;
	ret = read_sets(s, set, n);
	if (!ret)
		do {
			count = scan_sets(s);
			if (!count)
				ret = deadline ? wait_for_sets(s, deadline) : no_wait();
		} while (!count && ret > 0);
	if (ret >= 0)
		ret = count < 0 ? count : write_sets(s, set, count);
	kfree(s);
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
