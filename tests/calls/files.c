/* A dozen descriptors that are opened, copied, read, written, cut and waited for by everybody. */
#include "calls.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <sys/uio.h>

/* Takes a new descriptor into the dozen. */
static void keep(int fd)
{
	if (fd < FIRST_FD)
		return;
	call(SYS_dup2, fd, FIRST_FD + below(FDS));
	if (fd >= FIRST_FD + FDS)
		close(fd);
}

static void open_something(void)
{
	int fd[2];

	switch (below(5)) {
	case 0 ... 1:
		if (call(SYS_pipe2, maybe((u64)fd), one_in(3) ? 0 : O_NONBLOCK) == 0) {
			keep(fd[0]);
			keep(fd[1]);
		}
		return;
	case 2:
		fd[0] = (int)call(SYS_memfd_create, maybe((u64) "calls"), maybe(below(4)));
		if (fd[0] >= 0)
			call(SYS_ftruncate, fd[0], below(1 << 20));
		keep(fd[0]);
		return;
	case 3: keep((int)call(SYS_eventfd2, below(10), EFD_NONBLOCK)); return;
	default: keep((int)call(SYS_epoll_create1, 0));
	}
}

static void read_or_write(int fd)
{
	struct iovec v[8];

	for (unsigned i = 0; i < LENGTH(v); i++)
		v[i] = (struct iovec){ (void *)some_pointer(), maybe(below(9000)) };
	switch (below(6)) {
	case 0: call(SYS_read, fd, some_pointer(), maybe(below(70000))); return;
	case 1: call(SYS_write, fd, some_pointer(), maybe(below(70000))); return;
	case 2: call(SYS_readv, fd, maybe((u64)v), maybe(below(LENGTH(v) + 1))); return;
	case 3: call(SYS_writev, fd, maybe((u64)v), maybe(below(LENGTH(v) + 1))); return;
	case 4: call(SYS_pread64, fd, some_pointer(), below(20000), maybe(below(1 << 20))); return;
	default: call(SYS_pwrite64, fd, some_pointer(), below(20000), below(1 << 20));
	}
}

/* Small sizes: all files are memory. */
static void change_size(int fd)
{
	if (one_in(2))
		call(SYS_ftruncate, fd, maybe(below(1 << 20)) % (16ul << 20));
	else
		call(SYS_fallocate, fd, below(4), maybe(below(1 << 20)),
		     maybe(below(1 << 20)) % (16ul << 20));
}

static void wait_for_some(void)
{
	struct timeval tv = { 0, (long)below(2000) };
	struct epoll_event e = { .events = (u32)pick() };
	struct pollfd p[16];
	u64 set[3][16];

	for (unsigned i = 0; i < LENGTH(p); i++) {
		p[i] = (struct pollfd){ .fd = some_fd(), .events = (short)pick() };
		for (int j = 0; j < 3; j++)
			set[j][i] = pick() & pick() & ((1ul << (FIRST_FD + FDS)) - 8);
	}
	switch (below(4)) {
	case 0:
		call(SYS_ppoll, maybe((u64)p), maybe(below(LENGTH(p))), maybe((u64)short_time()),
		     NULL, 8);
		return;
	case 1:
		call(SYS_select, maybe(16), maybe((u64)set[0]), maybe((u64)set[1]),
		     maybe((u64)set[2]), maybe((u64)&tv));
		return;
	case 2: call(SYS_epoll_ctl, some_fd(), 1 + below(3), some_fd(), maybe((u64)&e)); return;
	default:
		call(SYS_epoll_pwait, some_fd(), some_pointer(), maybe(below(16)), below(3), NULL,
		     8);
	}
}

void call_file(void)
{
	int fd = some_fd();

	switch (below(16)) {
	case 0 ... 4: read_or_write(fd); return;
	case 5: change_size(fd); return;
	case 6 ... 7: open_something(); return;
	case 8 ... 9: wait_for_some(); return;
	case 10:
		call(SYS_dup3, fd, maybe(FIRST_FD + below(FDS)), one_in(2) ? O_CLOEXEC : 0);
		return;
	case 11:
		call(SYS_fcntl, fd, one_in(2) ? below(20) : 1024 + below(12), some_pointer());
		return;
	case 12: call(SYS_flock, fd, below(16) | 4 /* LOCK_NB */); return;
	case 13:
		call(SYS_sendfile, fd, some_fd(), one_in(2) ? 0 : some_pointer(), below(50000));
		return;
	case 14:
		call(SYS_copy_file_range, fd, one_in(2) ? 0 : some_pointer(), some_fd(),
		     one_in(2) ? 0 : some_pointer(), below(50000), 0);
		return;
	default: call(SYS_close, FIRST_FD + below(FDS));
	}
}
