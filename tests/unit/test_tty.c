/*
 * dev/tty_ldisc.c fed with what somebody types: what a program reads, what the screen shows, which
 * signals go out. And dev/tty.c above it: reads, ioctls, job control, with fake processes.
 */
#include "tests/unit/unit.h"

#include <string.h>

#include "dev/tty_ldisc.c"
#include "dev/tty.c"

/* ---- what tty.c needs and the library lacks ------------------------------------------------- */

static const char *typed_later; /* comes while somebody sleeps */
static struct thread reader;
DEFINE_PER_CPU(struct thread *, current_thread);
static u64 now;

void waitq_init(struct waitq *q)
{
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
	assert_true(irqs_enabled());
	assert_int_equal(preempt_count(), 0);
}
u64 clock_ns(void)
{
	return now;
}

/* Here nothing runs beside us: signals are sent when somebody has typed or would sleep. */
struct thread *thread_create(const char *name, int (*fn)(void *arg), void *arg, unsigned level)
{
	static struct thread t;

	return &t;
}
void thread_put(struct thread *t)
{
}

static struct tty *tty;

/* Sleeping types the next character, or lets the time pass, or a signal comes. */
void sched_block_until(u64 deadline_ns)
{
	tty_send_raised(tty);
	if (typed_later && *typed_later)
		tty_input(tty, typed_later++, 1);
	else if (deadline_ns != WAIT_FOREVER)
		now = deadline_ns;
	else
		atomic_store(&reader.work, THREAD_SIGPENDING);
}
void sched_block(void)
{
	sched_block_until(WAIT_FOREVER);
}

static struct tty tty_memory[4];
static u32 tty_memory_used;

static void *fake_kzalloc(size_t n)
{
	assert_int_equal(n, sizeof(struct tty));
	memset(&tty_memory[tty_memory_used], 0, n);
	return &tty_memory[tty_memory_used++];
}
void *kzalloc(size_t n)
{
	return fake_kzalloc(n);
}

static char shown[100000];
static size_t shown_len;

static void device_write(void *dev, const char *s, size_t n)
{
	assert_true(shown_len + n < sizeof(shown));
	memcpy(shown + shown_len, s, n);
	shown_len += n;
	shown[shown_len] = 0;
}

static int my_group, my_session, other_group_session, sent_group, sent_signal, ignored;
static bool leader, orphaned;
static struct tty *my_tty;

static int fake_pgrp(void)
{
	return my_group;
}
static int fake_session(void)
{
	return my_session;
}
static bool fake_leader(void)
{
	return leader;
}
static struct tty *fake_tty(void)
{
	return my_tty;
}
static void fake_set_tty(struct tty *t)
{
	my_tty = t;
}
static int fake_pgrp_session(int group)
{
	return group == my_group ? my_session : group == 200 ? other_group_session : -ESRCH;
}
static void fake_signal(int group, int sig)
{
	sent_group = group;
	sent_signal = sig;
}
static bool fake_ignores(int sig)
{
	return sig == ignored;
}

static bool fake_orphaned(void)
{
	return orphaned;
}

static const struct tty_proc_ops fake_ops = {
	fake_pgrp,         fake_session, fake_leader,  fake_tty,      fake_set_tty,
	fake_pgrp_session, fake_signal,  fake_ignores, fake_orphaned,
};

static int setup(void **state)
{
	static const struct tty_driver driver = { .name = "ttyT", .write = device_write };

	nr_ttys = 0;
	tty_memory_used = 0;
	shown_len = 0;
	shown[0] = 0;
	typed_later = NULL;
	atomic_store(&reader.work, 0u);
	this_cpu_write(current_thread, &reader);
	my_group = my_session = 100;
	other_group_session = 100;
	leader = true;
	my_tty = NULL;
	sent_group = sent_signal = ignored = 0;
	orphaned = false;
	tty_set_proc_ops(&fake_ops);
	tty = tty_register(&driver, 4, 64);
	tty_opened(tty, 0);
	assert_ptr_equal(my_tty, tty);
	return 0;
}

static void type(const char *s)
{
	tty_input(tty, s, strlen(s));
	tty_send_raised(tty);
}

static void expect_shown(const char *s)
{
	assert_string_equal(shown, s);
	shown_len = 0;
	shown[0] = 0;
}

/* One read of at most n bytes gives exactly this. */
static void expect_read_n(size_t n, const char *s, size_t len)
{
	char buf[5000];
	struct uio u = uio_kernel(buf, n);

	assert_int_equal(tty_read(tty, &u, O_NONBLOCK), len);
	assert_memory_equal(buf, s, len);
}

#define expect_read(s) expect_read_n(sizeof(s) + 100, s, sizeof(s) - 1)

static void expect_nothing(void)
{
	char c;
	struct uio u = uio_kernel(&c, 1);

	assert_int_equal(tty_read(tty, &u, O_NONBLOCK), -EAGAIN);
}

static struct termios get_termios(void)
{
	struct termios tio;

	assert_int_equal(tty_ioctl(tty, TCGETS, (uaddr_t)&tio), 0);
	return tio;
}

static void set_termios(struct termios tio)
{
	assert_int_equal(tty_ioctl(tty, TCSETS, (uaddr_t)&tio), 0);
}

static void set_lflag(u32 on, u32 off)
{
	struct termios tio = get_termios();

	tio.c_lflag = (tio.c_lflag | on) & ~off;
	set_termios(tio);
}

static void set_raw(u8 min, u8 time)
{
	struct termios tio = get_termios();

	tio.c_lflag &= ~(u32)(ICANON | ECHO | ISIG | IEXTEN);
	tio.c_iflag &= ~(u32)(ICRNL | IXON);
	tio.c_cc[VMIN] = min;
	tio.c_cc[VTIME] = time;
	set_termios(tio);
}

/* ---- canonical mode ------------------------------------------------------------------------- */

static void test_line(void **state)
{
	type("hello");
	expect_nothing();
	type("\r");
	expect_shown("hello\r\n");
	type("two\n");
	expect_read("hello\n");
	expect_read("two\n");
	expect_nothing();
	type("abcdef\n");
	expect_read_n(4, "abcd", 4);
	expect_read("ef\n");
}

static void test_erase(void **state)
{
	type("ax\177b\177\177\177\177c\n");
	expect_shown("ax\b \bb\b \b\b \bc\r\n");
	expect_read("c\n");
	type("\001\177.\n"); /* ^A takes two columns */
	expect_shown("^A\b \b\b \b.\r\n");
	expect_read(".\n");
	type("ab\t\177c\n"); /* a tab from column 2 takes six */
	expect_shown("ab\t\b\b\b\b\b\bc\r\n");
	expect_read("abc\n");
	type("one two  \027\027x\n");
	expect_read("x\n");
	type("one two\025y\n");
	expect_read("y\n");
}

static void test_utf8(void **state)
{
	struct termios tio = get_termios();

	tio.c_iflag |= IUTF8;
	set_termios(tio);
	type("a\303\251\342\202\254\177\177b\n");
	expect_shown("a\303\251\342\202\254\b \b\b \bb\r\n");
	expect_read("ab\n");
}

static void test_literal_and_reprint(void **state)
{
	type("\026\003a\n");
	expect_shown("^\b^Ca\r\n");
	expect_read("\003a\n");
	assert_int_equal(sent_signal, 0);
	type("ab\022c\n");
	expect_shown("ab^R\r\nabc\r\n");
	expect_read("abc\n");
}

static void test_end_of_file(void **state)
{
	type("\004");
	expect_read("");
	type("abc\004");
	expect_read("abc");
	expect_nothing();
	type("abc\004");
	expect_read_n(3, "abc", 3); /* the end belongs to the read that reached it */
	expect_nothing();
	type("x\004\004");
	expect_read("x");
	expect_read("");
	expect_shown("abcabcx");
}

static void test_signals(void **state)
{
	type("abc\003");
	assert_int_equal(sent_signal, SIGINT);
	assert_int_equal(sent_group, 100);
	expect_shown("abc^C");
	type("\n");
	expect_read("\n"); /* the line was flushed */
	type("\034");
	assert_int_equal(sent_signal, SIGQUIT);
	type("\032");
	assert_int_equal(sent_signal, SIGTSTP);
	expect_shown("\r\n^\\^Z");
	set_lflag(NOFLSH, ECHO);
	type("keep\003\n");
	assert_int_equal(sent_signal, SIGINT);
	expect_read("keep\n");
	expect_shown("");
}

static void test_flow(void **state)
{
	char text[] = "text\n";
	struct uio u = uio_kernel(text, 5);
	struct waitq *wq;

	type("\023");
	assert_int_equal(tty_write(tty, &u, O_NONBLOCK), -EAGAIN);
	assert_false(tty_poll(tty, &wq) & POLLOUT);
	typed_later = "\021";
	assert_int_equal(tty_write(tty, &u, 0), 5);
	expect_shown("text\r\n");
	u = uio_kernel(text, 5);
	type("\023");
	assert_int_equal(tty_write(tty, &u, 0), -ERESTARTSYS);
}

static void test_full(void **state)
{
	struct waitq *wq;
	int total = 0;

	set_lflag(0, ECHO);
	for (int i = 0; i < 5000; i++)
		type("a");
	assert_false(tty_poll(tty, &wq) & POLLIN);
	type("\n");
	assert_true(tty_poll(tty, &wq) & POLLIN);
	assert_int_equal(tty_ioctl(tty, FIONREAD, (uaddr_t)&total), 0);
	assert_int_equal(total, LDISC_SIZE);
	type("lost\n");
	for (total = 0; total < LDISC_SIZE;) {
		char buf[777];
		struct uio u = uio_kernel(buf, sizeof(buf));
		ssize_t n = tty_read(tty, &u, O_NONBLOCK);

		assert_true(n > 0);
		total += (int)n;
		assert_int_equal(buf[n - 1], total == LDISC_SIZE ? '\n' : 'a');
	}
	expect_nothing();
	type("again\n");
	expect_read("again\n");
}

static void test_output(void **state)
{
	char text[] = "a\tb\nc\r\n";
	struct uio u = uio_kernel(text, sizeof(text) - 1);
	struct termios tio = get_termios();

	assert_int_equal(tty_write(tty, &u, 0), 7);
	expect_shown("a\tb\r\nc\r\r\n");
	tio.c_oflag |= XTABS;
	set_termios(tio);
	u = uio_kernel(text, sizeof(text) - 1);
	tty_write(tty, &u, 0);
	expect_shown("a       b\r\nc\r\r\n");
	tio.c_oflag = 0;
	set_termios(tio);
	u = uio_kernel(text, sizeof(text) - 1);
	tty_write(tty, &u, 0);
	expect_shown(text);
}

/* ---- raw mode ------------------------------------------------------------------------------- */

static void test_raw(void **state)
{
	struct waitq *wq;

	set_raw(1, 0);
	type("a\003\r\177");
	assert_int_equal(sent_signal, 0);
	expect_shown("");
	expect_read_n(2, "a\003", 2);
	expect_read("\r\177");
	set_raw(3, 0);
	type("ab");
	assert_false(tty_poll(tty, &wq) & POLLIN);
	type("c");
	assert_true(tty_poll(tty, &wq) & POLLIN);
	expect_read("abc");
	typed_later = "xyz!";
	{
		char buf[10];
		struct uio u = uio_kernel(buf, sizeof(buf));

		assert_int_equal(tty_read(tty, &u, 0), 3);
		assert_memory_equal(buf, "xyz", 3);
	}
}

static void test_raw_timer(void **state)
{
	char buf[10];
	struct uio u = uio_kernel(buf, sizeof(buf));
	u64 start = now;

	set_raw(0, 0);
	assert_int_equal(tty_read(tty, &u, 0), 0);
	assert_int_equal(now, start);
	set_raw(0, 5);
	assert_int_equal(tty_read(tty, &u, 0), 0);
	assert_int_equal(now - start, 500 * NSEC_PER_MSEC);
	typed_later = "q";
	assert_int_equal(tty_read(tty, &u, 0), 1);
	set_raw(5, 2);
	start = now;
	typed_later = "ab";
	u = uio_kernel(buf, sizeof(buf));
	assert_int_equal(tty_read(tty, &u, 0), 2);
	assert_int_equal(now - start, 200 * NSEC_PER_MSEC);
	assert_int_equal(tty_read(tty, &u, 0), -ERESTARTSYS); /* MIN waits for ever for the first */
}

/* What was typed ahead survives the shell's changes of mode. */
static void test_mode_change(void **state)
{
	type("line\nhalf");
	set_raw(1, 0);
	expect_read("line\nhalf");
	type("abc");
	set_lflag(ICANON, 0);
	expect_read("abc");
	type("d\n");
	expect_read("d\n");
	type("gone");
	{
		struct termios tio = get_termios();

		assert_int_equal(tty_ioctl(tty, TCSETSF, (uaddr_t)&tio), 0);
	}
	type("x\n");
	expect_read("x\n");
}

/* ---- job control and ioctls ----------------------------------------------------------------- */

static void test_background(void **state)
{
	char buf[10] = "w";
	struct uio u = uio_kernel(buf, 1);
	int group = 200, got;

	assert_int_equal(tty_ioctl(tty, TIOCSPGRP, (uaddr_t)&group), 0);
	assert_int_equal(tty_ioctl(tty, TIOCGPGRP, (uaddr_t)&got), 0);
	assert_int_equal(got, 200);
	assert_int_equal(tty_ioctl(tty, TIOCGSID, (uaddr_t)&got), 0);
	assert_int_equal(got, 100);
	type("x\n\003");
	assert_int_equal(sent_group, 200);
	/* We are in the background now. */
	assert_int_equal(tty_read(tty, &u, 0), -ERESTARTSYS);
	assert_int_equal(sent_signal, SIGTTIN);
	assert_int_equal(sent_group, 100);
	sent_signal = 0;
	orphaned = true; /* nobody could continue us: no stop, but an error */
	assert_int_equal(tty_read(tty, &u, 0), -EIO);
	assert_int_equal(sent_signal, 0);
	orphaned = false;
	ignored = SIGTTIN;
	assert_int_equal(tty_read(tty, &u, 0), -EIO);
	assert_int_equal(tty_write(tty, &u, 0), 1);
}

static void test_background_output(void **state)
{
	struct termios tio = get_termios();
	char c = 'w';
	struct uio u = uio_kernel(&c, 1);
	int group = 200, mine = 100;

	set_lflag(TOSTOP, 0);
	tty_ioctl(tty, TIOCSPGRP, (uaddr_t)&group);
	assert_int_equal(tty_write(tty, &u, 0), -ERESTARTSYS);
	assert_int_equal(sent_signal, SIGTTOU);
	assert_int_equal(tty_ioctl(tty, TCSETS, (uaddr_t)&tio), -ERESTARTSYS);
	assert_int_equal(tty_ioctl(tty, TIOCSPGRP, (uaddr_t)&mine), -ERESTARTSYS);
	ignored = SIGTTOU;
	assert_int_equal(tty_write(tty, &u, 0), 1);
	assert_int_equal(tty_ioctl(tty, TIOCSPGRP, (uaddr_t)&mine), 0);
}

static void test_groups(void **state)
{
	int group = 300;

	assert_int_equal(tty_ioctl(tty, TIOCSPGRP, (uaddr_t)&group), -ESRCH);
	group = -5;
	assert_int_equal(tty_ioctl(tty, TIOCSPGRP, (uaddr_t)&group), -EINVAL);
	group = 200;
	other_group_session = 77;
	assert_int_equal(tty_ioctl(tty, TIOCSPGRP, (uaddr_t)&group), -EPERM);
	assert_int_equal(tty_ioctl(tty, TIOCNOTTY, 0), 0);
	assert_int_equal(sent_group, 100);
	assert_null(my_tty);
	assert_int_equal(tty_ioctl(tty, TIOCGPGRP, (uaddr_t)&group), -ENOTTY);
	leader = false;
	assert_int_equal(tty_ioctl(tty, TIOCSCTTY, 0), -EPERM);
	leader = true;
	assert_int_equal(tty_ioctl(tty, TIOCSCTTY, 0), 0);
	assert_int_equal(tty_ioctl(tty, TIOCSCTTY, 0), 0);
	tty_session_ended(100);
	assert_int_equal(tty_foreground(tty), 0);
	my_tty = NULL;
	my_session = my_group = 500;
	tty_opened(tty, O_NOCTTY);
	assert_null(my_tty);
	tty_opened(tty, 0);
	assert_ptr_equal(my_tty, tty);
	/* Another session cannot take it, but by force. */
	my_tty = NULL;
	my_session = 600;
	assert_int_equal(tty_ioctl(tty, TIOCSCTTY, 0), -EPERM);
	assert_int_equal(tty_ioctl(tty, TIOCSCTTY, 1), 0);
}

static void test_ioctls(void **state)
{
	struct winsize size = { 25, 80, 0, 0 }, got = { 0 };
	struct termios2 tio2;
	int n;

	assert_int_equal(tty_ioctl(tty, TIOCSWINSZ, (uaddr_t)&size), 0);
	assert_int_equal(sent_signal, SIGWINCH);
	sent_signal = 0;
	assert_int_equal(tty_ioctl(tty, TIOCSWINSZ, (uaddr_t)&size), 0);
	assert_int_equal(sent_signal, 0);
	assert_int_equal(tty_ioctl(tty, TIOCGWINSZ, (uaddr_t)&got), 0);
	assert_memory_equal(&size, &got, sizeof(got));
	type("ab\nc\004d");
	assert_int_equal(tty_ioctl(tty, FIONREAD, (uaddr_t)&n), 0);
	assert_int_equal(n, 4);
	assert_int_equal(tty_ioctl(tty, TCFLSH, TCIFLUSH), 0);
	assert_int_equal(tty_ioctl(tty, TCFLSH, 9), -EINVAL);
	expect_nothing();
	assert_int_equal(tty_ioctl(tty, TCGETS2, (uaddr_t)&tio2), 0);
	assert_int_equal(tio2.c_ospeed, 38400);
	assert_int_equal(tty_ioctl(tty, 0x1234, 0), -ENOTTY);
	assert_int_equal(tty_ioctl(tty, TCGETS, USER_TOP), -EFAULT);
	assert_int_equal(tty_ioctl(tty, TIOCSPGRP, USER_TOP), -EFAULT);
}

/* Random typing in random modes: indices stay in order, reads give what is available. */
static void test_random(void **state)
{
	unit_seed();
	set_lflag(0, ISIG);
	for (u64 i = 0; i < unit_rounds(200000); i++) {
		struct ldisc *l = &tty->ldisc;
		char buf[64], c = (char)unit_random(unit_random(2) ? 256 : 32);
		struct uio u = uio_kernel(buf, unit_random(sizeof(buf)));
		struct termios tio;

		tty_input(tty, &c, 1);
		if (unit_random(8) == 0)
			tty_read(tty, &u, O_NONBLOCK);
		if (unit_random(2000) == 0) {
			tio = get_termios();
			tio.c_lflag ^= (u32)unit_random(0x10000) & ~(u32)ISIG;
			tio.c_iflag ^= (u32)unit_random(0x10000);
			tio.c_oflag ^= (u32)unit_random(0x4000);
			set_termios(tio);
		}
		assert_true(l->head - l->tail <= LDISC_SIZE);
		assert_true(l->line - l->tail <= LDISC_SIZE);
		assert_true(!(l->tio.c_lflag & ICANON) || l->head - l->line <= LDISC_SIZE);
		assert_true(ldisc_available(l) <= LDISC_SIZE);
		shown_len = 0;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_line, setup),
		cmocka_unit_test_setup(test_erase, setup),
		cmocka_unit_test_setup(test_utf8, setup),
		cmocka_unit_test_setup(test_literal_and_reprint, setup),
		cmocka_unit_test_setup(test_end_of_file, setup),
		cmocka_unit_test_setup(test_signals, setup),
		cmocka_unit_test_setup(test_flow, setup),
		cmocka_unit_test_setup(test_full, setup),
		cmocka_unit_test_setup(test_output, setup),
		cmocka_unit_test_setup(test_raw, setup),
		cmocka_unit_test_setup(test_raw_timer, setup),
		cmocka_unit_test_setup(test_mode_change, setup),
		cmocka_unit_test_setup(test_background, setup),
		cmocka_unit_test_setup(test_background_output, setup),
		cmocka_unit_test_setup(test_groups, setup),
		cmocka_unit_test_setup(test_ioctls, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
