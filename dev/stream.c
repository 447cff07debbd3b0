/*
 * Byte streams over the serial ports (dev/stream.h says what they are for).
 *
 * Input goes through a ring between the UART's interrupt handler, its only writer, and readers
 * under `lock`. When the ring is full the UART keeps the rest and the host waits; so no byte is
 * lost, however slowly the program reads.
 *
 * Output waits for the host without spinning: what the UART does not take at once is tried again
 * every few milliseconds, and a signal ends the wait.
 */
#include "dev/stream.h"

#include "dev/uart.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "lib/uapi/fcntl.h"
#include "lib/uapi/poll.h"
#include "lib/uio.h"
#include "sched/thread.h"
#include "time/clock.h"

#define STREAM_RING  4096 /* power of two */
#define STREAM_CHUNK 256
#define STREAM_RETRY (2 * NSEC_PER_MSEC)

struct stream {
	const char *name;  /* [I] */
	struct uart *uart; /* [I] */
	spinlock_t lock;
	struct waitq wait;      /* input came */
	u32 head, tail;         /* [lock] written and read so far; free running; read without it */
	bool escape;            /* [lock] the last byte was ff */
	bool ended;             /* [lock] the end of the file has come; read without it */
	char ring[STREAM_RING]; /* [lock] */
};

static struct stream streams[UART_PORTS] = {
	{ .name = "stream0", .lock = SPINLOCK_INIT("stream0", RANK_IRQ) },
	{ .name = "stream1", .lock = SPINLOCK_INIT("stream1", RANK_IRQ) },
};

static size_t stream_room(void *arg)
{
	struct stream *s = arg;

	return STREAM_RING - (READ_ONCE(s->head) - READ_ONCE(s->tail));
}

/* One byte of the host; the caller knows that there is room. */
static void stream_decode(struct stream *s, u8 c)
{
	if (s->ended)
		return;
	if (!s->escape && c == 0xff) {
		s->escape = true;
		return;
	}
	if (s->escape) {
		s->escape = false;
		if (c == 0)
			store_release(&s->ended, true);
		if (c != 0xff)
			return;
	}
	s->ring[s->head % STREAM_RING] = (char)c;
	WRITE_ONCE(s->head, s->head + 1);
}

static void stream_input(void *arg, const char *p, size_t n)
{
	struct stream *s = arg;
	u64 flags = spin_lock_irqsave(&s->lock);

	for (size_t i = 0; i < n; i++)
		stream_decode(s, (u8)p[i]);
	spin_unlock_irqrestore(&s->lock, flags);
	waitq_wake_all(&s->wait);
}

static const struct uart_client stream_client = { .room = stream_room, .input = stream_input };

void stream_init(void)
{
	for (unsigned i = 0; i < UART_PORTS; i++) {
		struct stream *s = &streams[i];
		struct uart *u = &uart_ports[i];
		int err;

		waitq_init(&s->wait);
		if (!u->present)
			continue;
		err = uart_start(u, &stream_client, s);
		if (err)
			log_err("%s: no interrupt for its input (error %d)\n", u->name, -err);
		s->uart = u;
	}
}

struct stream *stream_find(const char *name)
{
	for (unsigned i = 0; i < UART_PORTS; i++) {
		if (strcmp(streams[i].name, name) != 0)
			continue;
		if (!streams[i].uart)
			i = 0;
		return streams[i].uart ? &streams[i] : NULL;
	}
	return NULL;
}

/* Takes up to n bytes out of the ring. */
static size_t stream_take(struct stream *s, char *buf, size_t n)
{
	u64 flags = spin_lock_irqsave(&s->lock);
	u32 tail = s->tail;
	size_t done = MIN(n, (size_t)(s->head - tail));

	for (size_t i = 0; i < done; i++)
		buf[i] = s->ring[tail++ % STREAM_RING];
	WRITE_ONCE(s->tail, tail);
	spin_unlock_irqrestore(&s->lock, flags);
	memory_barrier(); /* against uart_throttle: room first, then a look at `throttled` */
	uart_resume(s->uart);
	return done;
}

size_t stream_available(const struct stream *s)
{
	return READ_ONCE(s->head) - READ_ONCE(s->tail);
}

static bool stream_readable(const struct stream *s)
{
	return stream_available(s) > 0 || READ_ONCE(s->ended);
}

/* What is there. 0: nothing, another reader was here first; -EFAULT. */
static ssize_t stream_move(struct stream *s, struct uio *dst)
{
	char buf[STREAM_CHUNK];
	ssize_t total = 0;

	while (dst->left > 0) {
		size_t n = stream_take(s, buf, MIN(dst->left, sizeof(buf)));
		size_t moved;

		if (n == 0)
			break;
		moved = uio_put(dst, buf, n);
		total += (ssize_t)moved;
		if (moved < n)
			return total > 0 ? total : -EFAULT;
	}
	return total;
}

ssize_t stream_read(struct stream *s, struct uio *dst, int flags)
{
	if (dst->left == 0)
		return 0;
	for (;;) {
		/* Read first: what is empty then stays so. */
		bool ended = load_acquire(&s->ended);
		ssize_t n = stream_move(s, dst);
		int err;

		if (n || ended)
			return n;
		if (flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(&s->wait, stream_readable(s));
		if (err)
			return err;
	}
}

/* Sends n bytes. Returns how many before a signal came. */
static size_t stream_send(struct stream *s, const char *buf, size_t n)
{
	size_t done = 0;

	for (;;) {
		u64 retry;

		done += uart_write(s->uart, buf + done, n - done);
		if (done == n || signal_pending_current())
			return done;
		retry = clock_ns() + STREAM_RETRY;
		(void)wait_event_deadline(&s->wait, false, retry);
	}
}

ssize_t stream_write(struct stream *s, struct uio *src, int flags)
{
	char buf[STREAM_CHUNK];
	ssize_t total = 0;

	while (src->left > 0) {
		size_t n, sent;

		if ((flags & O_NONBLOCK) && !uart_ready(s->uart))
			return total > 0 ? total : -EAGAIN;
		n = uio_get(src, buf, sizeof(buf));
		if (n == 0)
			return total > 0 ? total : -EFAULT;
		sent = stream_send(s, buf, n);
		total += (ssize_t)sent;
		if (sent < n)
			return total > 0 ? total : -ERESTARTSYS;
	}
	return total;
}

unsigned stream_poll(struct stream *s, struct waitq **wq)
{
	*wq = &s->wait;
	return (stream_readable(s) ? POLLIN | POLLRDNORM : 0) | POLLOUT | POLLWRNORM;
}

const char *stream_name(const struct stream *s)
{
	return s->name;
}
