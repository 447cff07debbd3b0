/*
 * Terminals: the line discipline between a console device and programs. Termios with canonical
 * and raw mode, echo, erase, word and line kill, VINTR VQUIT VSUSP VEOF VMIN VTIME, ONLCR, window
 * size; sessions and foreground process groups.
 *
 * The tty knows processes only through struct tty_proc_ops, which proc/ registers.
 */
#pragma once

#include "arch/api/regs.h"
#include "lib/types.h"
#include "sched/waitq.h"

struct tty;
struct uio;

/* The device below: a UART, the screen with its keyboard. */
struct tty_driver {
	const char *name; /* "ttyS0", "tty0" */
	/*
	 * Writes all of it; may spin on the device (bounded), must not sleep: echo comes from
	 * interrupts.
	 */
	void (*write)(void *dev, const char *s, size_t n);
	/* Would a write be done without waiting? NULL: always. Any context. */
	bool (*ready)(void *dev);
	/*
	 * Takes what the device answers to a query in its output, as if typed; its length. NULL:
	 * never.
	 */
	size_t (*answer)(void *dev, char *buf, size_t n);
	void *dev;
};

/* Boot: a terminal with one device, whose input comes by tty_input. Panics if out of memory. */
struct tty *tty_register(const struct tty_driver *drv, unsigned major, unsigned minor);
struct tty *tty_find(const char *name); /* by the name of any of its devices; NULL */
struct tty *tty_console(void); /* what /dev/console is; NULL: there is none (stdio=stream) */

/* Boot: a further device of the same terminal: output goes to all, input comes from all. */
void tty_attach(struct tty *t, const struct tty_driver *drv);
void tty_set_console(struct tty *t);
/* Boot: the window size, unless the option tty.size=COLSxROWS gave it. */
void tty_set_size(struct tty *t, u32 columns, u32 rows);

/* The terminal number `index` (0 ...), for devfs. NULL: no more. */
struct tty *tty_at(unsigned index);

/* Characters from the device. Interrupt context. */
void tty_input(struct tty *t, const char *s, size_t n);

/* File operations; flags: O_NONBLOCK. Bytes or -errno (-ERESTARTSYS, -EAGAIN, -EIO). */
ssize_t tty_read(struct tty *t, struct uio *dst, int flags);
ssize_t tty_write(struct tty *t, struct uio *src, int flags);
int tty_ioctl(struct tty *t, unsigned cmd, uaddr_t arg);
/* POLL* ready now, and the queue that tells of changes. */
unsigned tty_poll(struct tty *t, struct waitq **wq);
const char *tty_name(const struct tty *t);
u32 tty_device_number(const struct tty *t); /* Linux's dev_t */

/* Each open(2): a session leader without a terminal gets this one, unless O_NOCTTY is in flags. */
void tty_opened(struct tty *t, int flags);
/* The foreground process group, 0: none. For /proc/pid/stat. */
int tty_foreground(const struct tty *t);

/* What the tty asks of processes. */
struct tty_proc_ops {
	int (*current_pgrp)(void);
	int (*current_session)(void);
	bool (*current_is_session_leader)(void);
	struct tty *(*current_tty)(void);       /* the controlling terminal, or NULL */
	void (*set_session_tty)(struct tty *t); /* of the current session */
	int (*pgrp_session)(int pgrp);          /* session of a group, or -ESRCH */
	void (*signal_pgrp)(int pgrp, int sig); /* from a thread, no locks held */
	/* Is sig ignored or blocked in the current thread? (background reads and writes) */
	bool (*current_ignores)(int sig);
	/* Is its group orphaned, so that nobody could continue it after a stop? NULL: never. */
	bool (*current_is_orphaned)(void);
};
void tty_set_proc_ops(const struct tty_proc_ops *ops);
void tty_session_ended(int session); /* its leader exited: forget the session, SIGHUP went out */
