/*
 * 16550 UARTs (National Semiconductor PC16550D data sheet): input by interrupts, output by polling.
 *
 * Output is polled because it must work in a panic, and because an emulated UART is ready at once.
 * Every wait is bounded: a port whose other end does not listen costs one long wait, then only
 * short ones until it moves again (`stuck`).
 *
 * Input is never dropped here: when the client has no room, the handler leaves the bytes in the
 * FIFO and turns the receive interrupt off (`throttled`); the FIFO fills, and the sender holds back
 * (QEMU does; RTS would say it on a cable). The client calls uart_resume when it has room. Handler
 * and client each store first, then look (throttled, room): with a full barrier between, one of
 * them sees the other. Only the handler reads the receive buffer, so the order of bytes is kept.
 */
#include "dev/uart.h"

#include "arch/api/io.h"
#include "dev/irq.h"
#include "lib/err.h"

/* Registers, as offsets from the port. */
#define UART_DATA 0 /* receive buffer, transmit holding; divisor low with DLAB */
#define UART_IER  1 /* interrupt enable; divisor high with DLAB */
#define UART_IIR  2 /* read: interrupt identification */
#define UART_FCR  2 /* write: FIFO control */
#define UART_LCR  3
#define UART_MCR  4
#define UART_LSR  5
#define UART_MSR  6
#define UART_SCR  7

#define IER_RECEIVE  0x01
#define IIR_NONE     0x01
#define IIR_FIFOS    0xc0
#define FCR_ENABLE   0x01
#define FCR_CLEAR    0x06
#define FCR_LEVEL_8  0x80 /* interrupt at 8 bytes, or after four silent characters */
#define LCR_8N1      0x03
#define LCR_DLAB     0x80
#define MCR_READY    0x0b /* DTR, RTS, and OUT2, which gates the interrupt on a PC */
#define MCR_LOOPBACK 0x10
#define LSR_DATA     0x01
#define LSR_OVERRUN  0x02
#define LSR_THRE     0x20 /* the transmit FIFO is empty */
#define LSR_IDLE     0x40

#define DIVISOR_115200 1

/* Reads of a port take about 1 us on a real bus: 0.2 s, more than a full FIFO at 1200 baud. */
#define WAIT_READS       200000
#define WAIT_READS_STUCK 50
#define RECEIVE_ROUNDS   64 /* of one call of the handler */

struct uart uart_ports[UART_PORTS] = {
	{ .name = "ttyS0", .port = 0x3f8, .irq = 4, .lock = SPINLOCK_INIT("ttyS0", RANK_IRQ) },
	{ .name = "ttyS1", .port = 0x2f8, .irq = 3, .lock = SPINLOCK_INIT("ttyS1", RANK_IRQ) },
};

static u8 uart_read_reg(const struct uart *u, unsigned reg)
{
	return inb((u16)(u->port + reg));
}

static void uart_write_reg(const struct uart *u, unsigned reg, u8 v)
{
	outb((u16)(u->port + reg), v);
}

bool uart_probe(struct uart *u)
{
	/* An empty bus reads as ones; the scratch register holds what was written. */
	uart_write_reg(u, UART_SCR, 0x5a);
	if (uart_read_reg(u, UART_SCR) != 0x5a || uart_read_reg(u, UART_LSR) == 0xff)
		return false;
	uart_write_reg(u, UART_SCR, 0xa5);
	if (uart_read_reg(u, UART_SCR) != 0xa5)
		return false;

	uart_write_reg(u, UART_IER, 0);
	uart_write_reg(u, UART_LCR, LCR_DLAB);
	uart_write_reg(u, UART_DATA, DIVISOR_115200);
	uart_write_reg(u, UART_IER, 0);
	uart_write_reg(u, UART_LCR, LCR_8N1);
	/*
	 * What was typed or piped in during boot counts, but turning the FIFO on empties it. So the
	 * one byte that can wait without a FIFO is saved, with the receiver cut off by loopback.
	 */
	uart_write_reg(u, UART_MCR, MCR_READY | MCR_LOOPBACK);
	if (uart_read_reg(u, UART_LSR) & LSR_DATA)
		u->early[u->nr_early++] = (char)uart_read_reg(u, UART_DATA);
	uart_write_reg(u, UART_FCR, FCR_ENABLE | FCR_LEVEL_8);
	uart_write_reg(u, UART_MCR, MCR_READY);
	u->fifo = (uart_read_reg(u, UART_IIR) & IIR_FIFOS) == IIR_FIFOS ? 16 : 1;
	u->present = true;
	return true;
}

bool uart_ready(struct uart *u)
{
	return uart_read_reg(u, UART_LSR) & LSR_THRE;
}

static bool uart_wait(struct uart *u, u8 bit)
{
	u32 reads = u->stuck ? WAIT_READS_STUCK : WAIT_READS;

	while (reads-- > 0) {
		if (uart_read_reg(u, UART_LSR) & bit) {
			u->stuck = false;
			return true;
		}
		cpu_relax();
	}
	u->stuck = true;
	return false;
}

size_t uart_write(struct uart *u, const char *s, size_t n)
{
	size_t done = 0;
	u64 flags;
	bool taken;

	if (!u->present)
		return n;
	taken = devlock_acquire(&u->tx, &flags);
	while (done < n && uart_wait(u, LSR_THRE)) {
		size_t burst = MIN(n - done, (size_t)u->fifo);

		outsb((u16)(u->port + UART_DATA), s + done, burst);
		done += burst;
	}
	devlock_release(&u->tx, taken, flags);
	return done;
}

void uart_flush(struct uart *u)
{
	if (u->present)
		uart_wait(u, LSR_IDLE);
}

static void uart_set_receive(struct uart *u, bool on)
{
	u64 flags = spin_lock_irqsave(&u->lock);

	u->ier = on ? IER_RECEIVE : 0;
	uart_write_reg(u, UART_IER, u->ier);
	spin_unlock_irqrestore(&u->lock, flags);
}

/* Moves what is in the FIFO to the client. False: the client had no room. */
static bool uart_receive(struct uart *u)
{
	char buf[64];

	for (;;) {
		size_t room = u->client->room(u->arg), n = 0;
		u8 lsr = 0;

		if (room == 0)
			return false;
		room = MIN(room, sizeof(buf));
		while (n < room && ((lsr = uart_read_reg(u, UART_LSR)) & LSR_DATA) && lsr != 0xff) {
			if (lsr & LSR_OVERRUN)
				u->overruns++;
			buf[n++] = (char)uart_read_reg(u, UART_DATA);
		}
		u->received += n;
		if (n > 0)
			u->client->input(u->arg, buf, n);
		if (n < room)
			return true;
	}
}

static void uart_throttle(struct uart *u)
{
	uart_set_receive(u, false);
	WRITE_ONCE(u->throttled, true);
	memory_barrier();
	if (u->client->room(u->arg) > 0)
		uart_resume(u);
}

/*
 * The ISA line is edge triggered: leaving while the UART still asserts it would lose every
 * further interrupt. So the handler ends when the UART has no cause left, or by lowering the line.
 */
static enum irq_result uart_interrupt(void *arg)
{
	struct uart *u = arg;
	enum irq_result result = IRQ_NONE;

	for (int i = 0; i < RECEIVE_ROUNDS; i++) {
		if (uart_read_reg(u, UART_IIR) & IIR_NONE)
			return result;
		result = IRQ_HANDLED;
		if (!uart_receive(u)) {
			uart_throttle(u);
			return result;
		}
	}
	/* An endless stream: let others run. Off and on makes a new edge for the rest. */
	uart_set_receive(u, false);
	uart_set_receive(u, true);
	return result;
}

void uart_resume(struct uart *u)
{
	if (!READ_ONCE(u->throttled))
		return;
	WRITE_ONCE(u->throttled, false);
	uart_set_receive(u, true);
}

int uart_start(struct uart *u, const struct uart_client *client, void *arg)
{
	int err;

	if (!u->present)
		return -ENODEV;
	u->client = client;
	u->arg = arg;
	err = irq_register(u->irq, u->name, uart_interrupt, u);
	if (err)
		return err;
	if (u->nr_early > 0)
		client->input(arg, u->early, u->nr_early);
	u->nr_early = 0;
	uart_set_receive(u, true);
	return 0;
}
