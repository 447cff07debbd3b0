/*
 * Where the log and panics go, and the drivers behind the ttys (the log itself: lib/klog.h).
 *
 * Options: console=ttyS0|ttyS1|tty0|both (may be repeated: all of them form one terminal, which
 * has the name of the last), log=ttyS0|ttyS1|e9|tty0|none (repeatable), quiet, loglevel=N,
 * stdio=stream (the serial ports are bare streams: dev/stream.h).
 */
#pragma once

#include "lib/klog.h"

/* Port E9 and the first UART by polling: before memory is up, after cmdline_parse. */
void console_early_init(void);

/* UART interrupts, screen, keyboard, ttys: after irq_arch_init, may allocate, may sleep. */
void console_init(void);

/*
 * Returns when all output has left the machine, or after a bounded wait. Any context. Call it
 * before * machine_end.
 */
void console_flush(void);
