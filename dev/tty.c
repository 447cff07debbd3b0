/*
 * Terminals: devices below, the line discipline (dev/tty_ldisc.c) in the middle, programs above.
 *
 * `lock` protects the discipline and the job-control fields. Input comes in interrupts, so it is
 * an irqsave lock, and everything that may sleep or needs other locks happens outside: characters
 * pass through a buffer on the stack to and from the program, and signals that input raises are
 * collected under the lock. A write holds the lock for at most WRITE_CHUNK
 * characters, so that interrupts are never off for long.
 *
 * Signals go out from a thread of their own ("tty"): the locks of processes are not interrupt-safe,
 * and the code that an interrupt broke into may hold others that come after them. For the same
 * reason the rank of `lock` is that of interrupts.
 *
 * A terminal may have several devices (console=ttyS0 console=tty0): output goes to all.
 *
 * Job control knows processes only through tty_proc_ops.
 */
#include "dev/tty.h"

#include "arch/api/uaccess.h"
#include "dev/tty_ldisc.h"
#include "lib/cmdline.h"
#include "lib/fmt.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "lib/uapi/fcntl.h"
#include "lib/uapi/ioctl.h"
#include "lib/uapi/poll.h"
#include "lib/uapi/signal.h"
#include "lib/uio.h"
#include "mm/slab.h"
#include "sched/thread.h"
#include "time/clock.h"

CMDLINE_OPTION("tty.size", size_option, "COLSxROWS: the terminal's initial size in characters");

#define TTY_MAX     4
#define TTY_DEVICES 4
#define READ_CHUNK  256
#define WRITE_CHUNK 64
#define WRITE_RETRY NSEC_PER_MSEC
#define WRITE_LIMIT                                                                                \
	(10 * NSEC_PER_SEC) /* then a device that does not get ready is written to all the same */
#define DECISECOND (100 * NSEC_PER_MSEC)

struct tty {
	spinlock_t lock;
	struct waitq wait;                     /* input, or output that may go on */
	struct tty_driver device[TTY_DEVICES]; /* [I] after boot */
	u32 devices;                           /* [I] after boot */
	u32 number;                            /* [I] dev_t */
	int session;         /* [lock] whose controlling terminal this is; 0: nobody's */
	int foreground;      /* [lock] process group; 0: none */
	struct winsize size; /* [lock] */
	bool size_given;     /* [I] by tty.size= */
	u32 raised;          /* [lock] bit n: input raised signal n, still to be sent */
	int raised_group;    /* [lock] to this group: the foreground then */
	struct ldisc ldisc;  /* [lock] */
};

static struct tty *ttys[TTY_MAX]; /* [I] after boot */
static u32 nr_ttys;
static struct tty *console; /* [I] after boot */

/* Until proc/ registers: no processes, no job control. */
static const struct tty_proc_ops *proc_ops;

void tty_set_proc_ops(const struct tty_proc_ops *ops)
{
	proc_ops = ops;
}

/* ---- input ---------------------------------------------------------------------------------- */

static struct waitq raised_wait = WAITQ_INIT(raised_wait);

static void tty_send_signals(int group, u32 signals)
{
	if (!proc_ops || group <= 0)
		return;
	for (int sig = 1; signals >> sig != 0; sig++) {
		if (signals >> sig & 1)
			proc_ops->signal_pgrp(group, sig);
	}
}

/* Sends what input has raised. Thread context, no locks held. */
static void tty_send_raised(struct tty *t)
{
	u64 flags = spin_lock_irqsave(&t->lock);
	u32 signals = t->raised;
	int group = t->raised_group;

	t->raised = 0;
	spin_unlock_irqrestore(&t->lock, flags);
	tty_send_signals(group, signals);
}

static bool tty_any_raised(void)
{
	for (u32 i = 0; i < nr_ttys; i++) {
		if (READ_ONCE(ttys[i]->raised))
			return true;
	}
	return false;
}

__noreturn static int tty_signal_thread(void *arg)
{
	for (;;) {
		wait_event(&raised_wait, tty_any_raised());
		for (u32 i = 0; i < nr_ttys; i++)
			tty_send_raised(ttys[i]);
	}
}

static void tty_start_signals(void)
{
	struct thread *t = thread_create("tty", tty_signal_thread, NULL, SCHED_LEVEL_KERNEL);

	if (!t)
		panic("no memory for the terminals' thread");
	thread_put(t);
}

void tty_input(struct tty *t, const char *s, size_t n)
{
	u64 flags = spin_lock_irqsave(&t->lock);
	u32 signals;

	for (size_t i = 0; i < n; i++)
		ldisc_input(&t->ldisc, (u8)s[i]);
	signals = t->ldisc.signals;
	t->ldisc.signals = 0;
	if (signals) {
		t->raised |= signals;
		t->raised_group = t->foreground;
	}
	spin_unlock_irqrestore(&t->lock, flags);
	if (signals)
		waitq_wake_all(&raised_wait);
	waitq_wake_all(&t->wait);
}

/* ---- boot ----------------------------------------------------------------------------------- */

static void tty_out(void *arg, const char *s, size_t n)
{
	struct tty *t = arg;

	for (u32 i = 0; i < t->devices; i++)
		t->device[i].write(t->device[i].dev, s, n);
}

/* COLSxROWS. */
static void tty_parse_size(struct tty *t)
{
	const char *s = size_option.value, *x = s ? strchr(s, 'x') : NULL;
	char columns[8];
	u64 c, r;

	if (!s)
		return;
	if (x && (size_t)(x - s) < sizeof(columns)) {
		kstrlcpy(columns, s, (size_t)(x - s) + 1);
		if (!kstrtou64(columns, 10, &c) && !kstrtou64(x + 1, 10, &r) && c - 1 < 10000 &&
		    r - 1 < 10000) {
			t->size.ws_col = (u16)c;
			t->size.ws_row = (u16)r;
			t->size_given = true;
			return;
		}
	}
	log_warn("tty.size=%s: not COLSxROWS\n", s);
}

struct tty *tty_register(const struct tty_driver *drv, unsigned major, unsigned minor)
{
	struct tty *t = kzalloc(sizeof(*t));

	if (!t || nr_ttys == TTY_MAX)
		panic("no memory for the terminal %s", drv->name);
	spin_init(&t->lock, "tty", RANK_IRQ);
	waitq_init(&t->wait);
	ldisc_init(&t->ldisc, tty_out, t);
	t->number = (minor & 0xff) | (major & 0xfff) << 8;
	tty_parse_size(t);
	tty_attach(t, drv);
	ttys[nr_ttys] = t;
	store_release(&nr_ttys, nr_ttys + 1);
	if (nr_ttys == 1)
		tty_start_signals();
	return t;
}

void tty_attach(struct tty *t, const struct tty_driver *drv)
{
	kassert(t->devices < TTY_DEVICES);
	t->device[t->devices] = *drv;
	store_release(&t->devices, t->devices + 1);
}

void tty_set_console(struct tty *t)
{
	console = t;
}

void tty_set_size(struct tty *t, u32 columns, u32 rows)
{
	if (t->size_given)
		return;
	t->size.ws_col = (u16)columns;
	t->size.ws_row = (u16)rows;
}

struct tty *tty_console(void)
{
	return console;
}

struct tty *tty_at(unsigned index)
{
	return index < nr_ttys ? ttys[index] : NULL;
}

struct tty *tty_find(const char *name)
{
	for (u32 i = 0; i < nr_ttys; i++) {
		for (u32 d = 0; d < ttys[i]->devices; d++) {
			if (strcmp(ttys[i]->device[d].name, name) == 0)
				return ttys[i];
		}
	}
	return NULL;
}

const char *tty_name(const struct tty *t)
{
	return t->device[0].name;
}

u32 tty_device_number(const struct tty *t)
{
	return t->number;
}

/* ---- job control ---------------------------------------------------------------------------- */

static bool tty_is_controlling(struct tty *t)
{
	return proc_ops && proc_ops->current_tty() == t;
}

/*
 * May the current process do this, or is it in the background, so that the signal stops it? 0,
 * -ERESTARTSYS: the signal was sent; -EIO: it cannot be stopped.
 */
static int tty_check_foreground(struct tty *t, int sig)
{
	int group;

	if (!tty_is_controlling(t))
		return 0;
	group = proc_ops->current_pgrp();
	if (READ_ONCE(t->foreground) == 0 || READ_ONCE(t->foreground) == group)
		return 0;
	if (proc_ops->current_ignores(sig))
		return sig == SIGTTIN ? -EIO : 0;
	/* The signal would be dropped, and the call begin again for ever. */
	if (proc_ops->current_is_orphaned && proc_ops->current_is_orphaned())
		return -EIO;
	proc_ops->signal_pgrp(group, sig);
	return -ERESTARTSYS;
}

/* Makes t the controlling terminal of the current session. force: takes it from another session. */
static int tty_acquire(struct tty *t, bool force)
{
	int session, group, err = 0;
	u64 flags;

	if (!proc_ops)
		return -ENOTTY;
	session = proc_ops->current_session();
	group = proc_ops->current_pgrp();
	if (tty_is_controlling(t) && READ_ONCE(t->session) == session)
		return 0;
	if (!proc_ops->current_is_session_leader() || proc_ops->current_tty())
		return -EPERM;
	flags = spin_lock_irqsave(&t->lock);
	if (t->session != 0 && t->session != session && !force) {
		err = -EPERM;
	} else {
		t->session = session;
		t->foreground = group;
	}
	spin_unlock_irqrestore(&t->lock, flags);
	if (!err)
		proc_ops->set_session_tty(t);
	return err;
}

void tty_opened(struct tty *t, int flags)
{
	if (!(flags & O_NOCTTY) && READ_ONCE(t->session) == 0)
		(void)tty_acquire(t, false);
}

static void tty_forget_session(struct tty *t, int session)
{
	u64 flags = spin_lock_irqsave(&t->lock);

	if (t->session == session) {
		t->session = 0;
		t->foreground = 0;
	}
	spin_unlock_irqrestore(&t->lock, flags);
}

void tty_session_ended(int session)
{
	for (u32 i = 0; i < nr_ttys && session != 0; i++)
		tty_forget_session(ttys[i], session);
}

/* TIOCNOTTY: a session leader gives the terminal up for its whole session. */
static int tty_give_up(struct tty *t)
{
	int group = READ_ONCE(t->foreground);

	if (!tty_is_controlling(t))
		return -ENOTTY;
	if (!proc_ops->current_is_session_leader())
		return -EPERM;
	tty_forget_session(t, proc_ops->current_session());
	proc_ops->set_session_tty(NULL);
	tty_send_signals(group, 1u << SIGHUP | 1u << SIGCONT);
	return 0;
}

int tty_foreground(const struct tty *t)
{
	return READ_ONCE(t->foreground);
}

static int tty_set_foreground(struct tty *t, int group)
{
	int err, session;
	u64 flags;

	if (!tty_is_controlling(t))
		return -ENOTTY;
	err = tty_check_foreground(t, SIGTTOU);
	if (err)
		return err;
	if (group < 0)
		return -EINVAL;
	session = proc_ops->pgrp_session(group);
	if (session < 0)
		return -ESRCH;
	if (session != proc_ops->current_session())
		return -EPERM;
	flags = spin_lock_irqsave(&t->lock);
	if (t->session == session)
		t->foreground = group;
	else
		err = -ENOTTY;
	spin_unlock_irqrestore(&t->lock, flags);
	return err;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct tty_taken {
	size_t n;
	bool end; /* of the line or the file */
	bool canonical;
	u8 min, time; /* VMIN, VTIME */
};

static struct tty_taken tty_take(struct tty *t, char *buf, size_t n)
{
	u64 flags = spin_lock_irqsave(&t->lock);
	struct tty_taken taken;

	taken.n = ldisc_read(&t->ldisc, buf, n, &taken.end);
	taken.canonical = t->ldisc.tio.c_lflag & ICANON;
	taken.min = t->ldisc.tio.c_cc[VMIN];
	taken.time = t->ldisc.tio.c_cc[VTIME];
	spin_unlock_irqrestore(&t->lock, flags);
	return taken;
}

/*
 * Until when a read that has `total` characters waits for more: 0: not at all. POSIX 11.1.7: with
 * MIN the timer runs between characters, without it from the start.
 */
static u64 tty_read_deadline(const struct tty_taken *taken, size_t total, u64 start)
{
	if (taken->canonical)
		return WAIT_FOREVER;
	if (taken->min > 0) {
		if (total >= taken->min)
			return 0;
		return total > 0 && taken->time > 0 ? clock_ns() + taken->time * DECISECOND :
						      WAIT_FOREVER;
	}
	return total > 0 || taken->time == 0 ? 0 : start + taken->time * DECISECOND;
}

ssize_t tty_read(struct tty *t, struct uio *dst, int flags)
{
	u64 start = clock_ns(), deadline;
	char buf[READ_CHUNK];
	size_t total = 0;
	int err;

	for (;;) {
		struct tty_taken taken;

		err = tty_check_foreground(t, SIGTTIN);
		if (err)
			break;
		taken = tty_take(t, buf, MIN(dst->left, sizeof(buf)));
		if (taken.n > 0) {
			size_t moved = uio_put(dst, buf, taken.n);

			total += moved;
			err = moved < taken.n ? -EFAULT : 0;
		}
		if (err || taken.end || dst->left == 0)
			break;
		if (taken.n > 0 && ldisc_readable(&t->ldisc))
			continue;
		deadline = tty_read_deadline(&taken, total, start);
		if (deadline == 0)
			break;
		err = flags & O_NONBLOCK ?
			      -EAGAIN :
			      wait_event_deadline(&t->wait, ldisc_readable(&t->ldisc), deadline);
		if (err)
			break;
	}
	return total > 0 || err == -ETIMEDOUT ? (ssize_t)total : err;
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool tty_devices_ready(struct tty *t)
{
	for (u32 i = 0; i < t->devices; i++) {
		if (t->device[i].ready && !t->device[i].ready(t->device[i].dev))
			return false;
	}
	return true;
}

/* Sleeps while output is stopped, and (not for ever) while a device does not take it. */
static int tty_wait_writable(struct tty *t, int flags)
{
	u64 limit = 0, retry;
	int err;

	for (;;) {
		if (READ_ONCE(t->ldisc.stopped)) {
			if (flags & O_NONBLOCK)
				return -EAGAIN;
			err = wait_event_interruptible(&t->wait, !READ_ONCE(t->ldisc.stopped));
			if (err)
				return err;
		}
		if (tty_devices_ready(t) || (limit != 0 && clock_ns() >= limit))
			return 0;
		if (flags & O_NONBLOCK)
			return -EAGAIN;
		if (limit == 0)
			limit = clock_ns() + WRITE_LIMIT;
		retry = clock_ns() + WRITE_RETRY;
		err = wait_event_deadline(&t->wait, false, retry);
		if (err != -ETIMEDOUT)
			return err;
	}
}

/* A screen answers queries for its cursor's position. Outside the lock, because it is input. */
static void tty_take_answers(struct tty *t)
{
	char buf[32];

	for (u32 i = 0; i < t->devices; i++) {
		size_t n = t->device[i].answer ?
				   t->device[i].answer(t->device[i].dev, buf, sizeof(buf)) :
				   0;

		if (n > 0)
			tty_input(t, buf, n);
	}
}

ssize_t tty_write(struct tty *t, struct uio *src, int flags)
{
	char buf[WRITE_CHUNK];
	size_t total = 0;
	int err = 0;

	if (READ_ONCE(t->ldisc.tio.c_lflag) & TOSTOP)
		err = tty_check_foreground(t, SIGTTOU);
	while (!err && src->left > 0) {
		u64 irq;
		size_t n;

		err = tty_wait_writable(t, flags);
		if (err)
			break;
		n = uio_get(src, buf, sizeof(buf));
		if (n == 0) {
			err = -EFAULT;
			break;
		}
		irq = spin_lock_irqsave(&t->lock);
		ldisc_output(&t->ldisc, buf, n);
		spin_unlock_irqrestore(&t->lock, irq);
		tty_take_answers(t);
		total += n;
	}
	return total > 0 ? (ssize_t)total : err;
}

unsigned tty_poll(struct tty *t, struct waitq **wq)
{
	const struct termios *tio = &t->ldisc.tio;
	unsigned events = 0;
	u64 flags = spin_lock_irqsave(&t->lock);
	/* With a timer one character is enough: the rest is a matter of time. */
	size_t min = !(tio->c_lflag & ICANON) && tio->c_cc[VTIME] == 0 ? tio->c_cc[VMIN] : 1;

	if (ldisc_readable(&t->ldisc) && (min <= 1 || ldisc_available(&t->ldisc) >= min))
		events |= POLLIN | POLLRDNORM;
	if (!t->ldisc.stopped)
		events |= POLLOUT | POLLWRNORM;
	spin_unlock_irqrestore(&t->lock, flags);
	*wq = &t->wait;
	return events;
}

/* ---- ioctl ---------------------------------------------------------------------------------- */

static int tty_get_termios(struct tty *t, uaddr_t arg, bool two)
{
	struct termios2 tio2 = { .c_ispeed = 38400, .c_ospeed = 38400 };
	struct termios tio;
	u64 flags = spin_lock_irqsave(&t->lock);

	tio = t->ldisc.tio;
	spin_unlock_irqrestore(&t->lock, flags);
	memcpy(&tio2, &tio, sizeof(tio));
	return copy_to_user(arg, &tio2, two ? sizeof(tio2) : sizeof(tio));
}

/* Output is always drained here: devices take it before a write returns. */
static int tty_set_termios(struct tty *t, uaddr_t arg, bool flush)
{
	struct termios tio;
	u64 flags;
	int err = tty_check_foreground(t, SIGTTOU);

	if (err)
		return err;
	if (copy_from_user(&tio, arg, sizeof(tio)))
		return -EFAULT;
	flags = spin_lock_irqsave(&t->lock);
	if (flush)
		ldisc_flush_input(&t->ldisc);
	ldisc_set_termios(&t->ldisc, &tio);
	spin_unlock_irqrestore(&t->lock, flags);
	waitq_wake_all(&t->wait);
	return 0;
}

static int tty_resize(struct tty *t, uaddr_t arg)
{
	struct winsize size;
	bool changed;
	int group;
	u64 flags;

	if (copy_from_user(&size, arg, sizeof(size)))
		return -EFAULT;
	flags = spin_lock_irqsave(&t->lock);
	changed = memcmp(&size, &t->size, sizeof(size)) != 0;
	t->size = size;
	group = t->foreground;
	spin_unlock_irqrestore(&t->lock, flags);
	if (changed)
		tty_send_signals(group, 1u << SIGWINCH);
	return 0;
}

static int tty_flush(struct tty *t, u64 which)
{
	u64 flags;
	int err = tty_check_foreground(t, SIGTTOU);

	if (err)
		return err;
	if (which > TCIOFLUSH)
		return -EINVAL;
	if (which == TCOFLUSH)
		return 0;
	flags = spin_lock_irqsave(&t->lock);
	ldisc_flush_input(&t->ldisc);
	spin_unlock_irqrestore(&t->lock, flags);
	return 0;
}

static int tty_flow(struct tty *t, u64 what)
{
	u64 flags;
	int err = tty_check_foreground(t, SIGTTOU);
	char c = 0;

	if (err)
		return err;
	if (what > TCION)
		return -EINVAL;
	flags = spin_lock_irqsave(&t->lock);
	if (what == TCOOFF || what == TCOON)
		t->ldisc.stopped = what == TCOOFF;
	else
		c = (char)t->ldisc.tio.c_cc[what == TCIOFF ? VSTOP : VSTART];
	if (c)
		tty_out(t, &c, 1);
	spin_unlock_irqrestore(&t->lock, flags);
	waitq_wake_all(&t->wait);
	return 0;
}

/* TIOCSTI: as if typed. */
static int tty_type(struct tty *t, uaddr_t arg)
{
	char c;

	if (!tty_is_controlling(t))
		return -EPERM;
	if (get_user(c, arg))
		return -EFAULT;
	tty_input(t, &c, 1);
	return 0;
}

static int tty_ioctl_job(struct tty *t, unsigned cmd, uaddr_t arg)
{
	s32 id;

	switch (cmd) {
	case TIOCSCTTY: return tty_acquire(t, arg == 1);
	case TIOCNOTTY: return tty_give_up(t);
	case TIOCSPGRP:
		if (get_user(id, arg))
			return -EFAULT;
		return tty_set_foreground(t, id);
	case TIOCGPGRP:
	case TIOCGSID:
		if (!tty_is_controlling(t))
			return -ENOTTY;
		id = cmd == TIOCGSID ? READ_ONCE(t->session) : READ_ONCE(t->foreground);
		return put_user(id, arg);
	default: return -ENOTTY;
	}
}

static int tty_get_number(struct tty *t, unsigned cmd, uaddr_t arg)
{
	s32 n = 0;

	if (cmd == FIONREAD) {
		u64 flags = spin_lock_irqsave(&t->lock);

		n = (s32)ldisc_available(&t->ldisc);
		spin_unlock_irqrestore(&t->lock, flags);
	}
	return put_user(n, arg);
}

static int tty_get_size(struct tty *t, uaddr_t arg)
{
	u64 flags = spin_lock_irqsave(&t->lock);
	struct winsize size = t->size;

	spin_unlock_irqrestore(&t->lock, flags);
	return put_user(size, arg);
}

int tty_ioctl(struct tty *t, unsigned cmd, uaddr_t arg)
{
	s32 n;

	switch (cmd) {
	case TCGETS:
	case TCGETS2: return tty_get_termios(t, arg, cmd == TCGETS2);
	case TCSETS:
	case TCSETSW:
	case TCSETS2:
	case TCSETSW2: return tty_set_termios(t, arg, false);
	case TCSETSF:
	case TCSETSF2: return tty_set_termios(t, arg, true);
	case TIOCGWINSZ: return tty_get_size(t, arg);
	case TIOCSWINSZ: return tty_resize(t, arg);
	case TCFLSH: return tty_flush(t, arg);
	case TCXONC: return tty_flow(t, arg);
	case TCSBRK:
	case TCSBRKP: return tty_check_foreground(t, SIGTTOU);
	case FIONREAD:
	case TIOCOUTQ: /* always sent: 0 */
	case TIOCGETD: /* N_TTY: 0 */ return tty_get_number(t, cmd, arg);
	case TIOCSETD:
		if (get_user(n, arg))
			return -EFAULT;
		return n == N_TTY ? 0 : -EINVAL;
	case TIOCSTI: return tty_type(t, arg);
	default: return tty_ioctl_job(t, cmd, arg);
	}
}
