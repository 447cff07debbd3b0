/* The serial ports of a PC: 16550 and compatible, COM1 and COM2. */
#pragma once

#include "dev/devlock.h"
#include "lib/types.h"
#include "sync/spinlock.h"

/* Who gets a port's input. Both are called from its interrupt handler. */
struct uart_client {
	size_t (*room)(void *arg); /* bytes that input takes now; 0: leave the rest in the device */
	void (*input)(void *arg, const char *s, size_t n);
};

struct uart {
	const char *name; /* [I] "ttyS0" */
	u16 port;         /* [I] */
	u8 irq;           /* [I] legacy line */
	bool present;     /* [I] after uart_probe */
	u8 fifo;          /* [I] bytes that fit into an empty transmitter */
	u8 nr_early;      /* bytes in early, until uart_start hands them over */
	char early[1];    /* received before the FIFO was turned on */
	bool stuck;       /* [tx] it did not get ready in time: later waits are short */
	struct devlock tx;
	spinlock_t lock;
	u8 ier;                           /* [lock] the interrupt-enable register */
	bool throttled;                   /* [a] the client had no room; uart_resume continues */
	const struct uart_client *client; /* [I] after uart_start */
	void *arg;                        /* [I] */
	u64 received, overruns;           /* [o] of the handler */
};

#define UART_PORTS 2
extern struct uart uart_ports[UART_PORTS];

/* Looks for the device and sets it to 115200 8N1, polled. True if it is there. */
bool uart_probe(struct uart *u);

/* Interrupt-driven input for the client. 0, -ENODEV, -ENOMEM. */
int uart_start(struct uart *u, const struct uart_client *client, void *arg);

/* The client has room again. Any context but NMI. */
void uart_resume(struct uart *u);

/*
 * Sends bytes by polling, each FIFO's worth with a bounded wait. Returns how many were sent: fewer
 * than n when the device does not get ready (its other end does not listen). Any context.
 */
size_t uart_write(struct uart *u, const char *s, size_t n);

/* Would uart_write send a byte without waiting? */
bool uart_ready(struct uart *u);

/* Waits (bounded) until the last bit has left. Any context. */
void uart_flush(struct uart *u);
