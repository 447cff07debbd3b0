/*
 * Pipes and FIFOs: a random stream beside a model, whole small writes, blocking, ends that close,
 * poll, and opening through another name.
 */
#include "tests/unit/fs_host.h"

#include "lib/uapi/poll.h"

#define CAPACITY (64 * KiB)

static struct file *rd, *wr;

static ssize_t put(const void *p, size_t n)
{
	struct uio u = uio_user((uaddr_t)p, n);
	u64 pos = 0;

	return wr->ops->write(wr, &u, &pos);
}

static ssize_t get(void *p, size_t n)
{
	struct uio u = uio_user((uaddr_t)p, n);
	u64 pos = 0;

	return rd->ops->read(rd, &u, &pos);
}

static unsigned poll_of(struct file *f)
{
	struct waitq *wq;

	return f->ops->poll(f, &wq);
}

static void make_pipe(int flags)
{
	assert_int_equal(pipe_create(flags, &rd, &wr), 0);
}

static void test_stream(void **state)
{
	static u8 in[70000], out[70000];
	u64 written = 0, seen = 0, seed_w = 7, seed_r = 7;
	struct fs_books before = fs_books();
	struct frame_stats frames, after;

	frame_stats(&frames);
	make_pipe(O_NONBLOCK);
	unit_seed();
	for (u64 round = 0; round < unit_rounds(6000); round++) {
		size_t n = unit_random(round % 3 ? 5000 : 70000);
		u64 level = written - seen, room = CAPACITY - level;
		ssize_t ret;

		if (unit_random(2)) {
			u64 s = seed_w;

			for (size_t i = 0; i < n; i++)
				in[i] = (u8)unit_next(&s);
			ret = put(in, n);
			if (n == 0)
				assert_int_equal(ret, 0);
			else if (n <= room)
				assert_int_equal(ret, n);
			else if (n <= LINUX_PIPE_BUF || room < LINUX_PIPE_BUF)
				assert_int_equal(ret, -EAGAIN); /* whole or not at all */
			else
				assert_int_equal(ret, room);
			for (ssize_t i = 0; i < ret; i++)
				unit_next(&seed_w);
			written += ret > 0 ? (u64)ret : 0;
		} else {
			ret = get(out, n);
			if (n == 0)
				assert_int_equal(ret, 0);
			else if (level == 0)
				assert_int_equal(ret, -EAGAIN);
			else
				assert_int_equal(ret, MIN(n, level));
			for (ssize_t i = 0; i < ret; i++)
				assert_int_equal(out[i], (u8)unit_next(&seed_r));
			seen += ret > 0 ? (u64)ret : 0;
		}
		assert_int_equal(pipe_readable_bytes(rd), written - seen);
		assert_int_equal(!!(poll_of(rd) & POLLIN), written != seen);
		assert_int_equal(!!(poll_of(wr) & POLLOUT),
				 CAPACITY - (written - seen) >= LINUX_PIPE_BUF);
	}
	file_put(rd);
	file_put(wr);
	frame_stats(&after);
	assert_int_equal(after.used[FRAME_KERNEL], frames.used[FRAME_KERNEL]);
	/* What stays is the file system of pipes itself: its struct and its name. */
	assert_true(fs_books().objects <= before.objects + 2);
}

static void close_writer(void)
{
	file_put(wr);
	wr = NULL;
}

static void close_reader(void)
{
	file_put(rd);
	rd = NULL;
}

static void write_some(void)
{
	put("late", 4);
}

static void read_page(void)
{
	char buf[PAGE_SIZE];

	get(buf, sizeof(buf));
}

static void interrupt(void)
{
	fs_signal(true);
}

static void test_blocking(void **state)
{
	static char big[100 * 1024];
	char buf[16];

	make_pipe(0);
	fs_on_sleep = write_some;
	assert_int_equal(get(buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "late", 4);
	fs_on_sleep = interrupt;
	assert_int_equal(get(buf, sizeof(buf)), -ERESTARTSYS);
	fs_signal(false);
	fs_on_sleep = read_page; /* a large write goes in pieces, as the reader makes room */
	assert_int_equal(put(big, sizeof(big)), sizeof(big));
	fs_on_sleep = interrupt;
	assert_int_equal(put(big, sizeof(big)), -ERESTARTSYS);
	fs_signal(false);
	read_page();
	read_page();
	fs_on_sleep = interrupt;
	assert_int_equal(put(big, sizeof(big)), 2 * PAGE_SIZE); /* what went in counts */
	fs_signal(false);
	fs_on_sleep = close_reader;
	assert_int_equal(put(big, 10), -EPIPE);
	assert_int_equal(fs_sigpipes, 1);
	assert_true(poll_of(wr) & POLLERR);
	file_put(wr);

	make_pipe(0);
	fs_on_sleep = close_writer;
	assert_int_equal(get(buf, sizeof(buf)), 0);
	assert_int_equal(poll_of(rd), POLLHUP);
	assert_int_equal(get(buf, sizeof(buf)), 0);
	file_put(rd);

	make_pipe(0);
	assert_int_equal(put("rest", 4), 4);
	file_put(wr);
	assert_true(poll_of(rd) & POLLIN);
	assert_int_equal(get(buf, 3), 3);
	assert_int_equal(get(buf, 3), 1);
	assert_int_equal(get(buf, 3), 0);
	file_put(rd);
}

static void test_faults(void **state)
{
	char *p = malloc(200), out[200];

	make_pipe(O_NONBLOCK);
	memset(p, 'x', 200);
	host_user_limit = (uaddr_t)p + 50;
	assert_int_equal(put(p + 50, 10), -EFAULT);
	assert_int_equal(put(p, 100), 50);
	assert_int_equal(get(p + 60, 10), -EFAULT);
	host_user_limit = USER_TOP;
	assert_int_equal(get(out, 200), 50);
	file_put(rd);
	file_put(wr);
	free(p);
}

static int fifo_fd;

static void open_writer(void)
{
	fifo_fd = t_open("/fifo", O_WRONLY | O_NONBLOCK);
}

static void test_fifo(void **state)
{
	struct file *f;
	char buf[8];
	int fd;

	assert_int_equal(vfs_mknodat(AT_FDCWD, "/fifo", S_IFIFO | 0644, 0), 0);
	assert_int_equal(t_open("/fifo", O_WRONLY | O_NONBLOCK), -ENXIO);
	fs_on_sleep = interrupt;
	assert_int_equal(t_open("/fifo", O_RDONLY), -ERESTARTSYS);
	fs_signal(false);
	fd = t_open("/fifo", O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	f = fd_get(fd);
	assert_int_equal(poll_of(f), 0); /* no writer yet is not the end */
	assert_int_equal(t_read_at(fd, buf, 8, 0), 0);
	fs_on_sleep = NULL;
	fifo_fd = t_open("/fifo", O_WRONLY);
	assert_true(fifo_fd >= 0);
	assert_int_equal(t_read_at(fd, buf, 8, 0), -EAGAIN);
	assert_int_equal(t_write_at(fifo_fd, "hello", 5, 0), 5);
	assert_int_equal(t_read_at(fd, buf, 8, 0), 5);
	fd_close(fifo_fd);
	assert_int_equal(poll_of(f), POLLHUP);
	file_put(f);
	fd_close(fd);

	fs_on_sleep = open_writer; /* the other side comes while open waits */
	fd = t_open("/fifo", O_RDONLY);
	assert_true(fd >= 0 && fifo_fd >= 0);
	fd_close(fd);
	assert_int_equal(t_write_at(fifo_fd, "x", 1, 0), -EPIPE);
	fd_close(fifo_fd);
	fd = t_open("/fifo", O_RDWR); /* never waits */
	assert_true(fd >= 0);
	fd_close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stream, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_blocking, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_faults, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_fifo, fs_setup, fs_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
