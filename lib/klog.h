/*
 * The kernel's log. A line has a level, goes into a ring that dmesg reads, and to the sinks that
 * drivers registered. Callable anywhere, also from an NMI and a panic: it takes no lock that it
 * could find held (see debug/klog.c). End each message with \n.
 */
#pragma once

#include "lib/types.h"

enum klog_level { KLOG_ERR = 3, KLOG_WARN = 4, KLOG_INFO = 6, KLOG_DEBUG = 7 };

__printf(2, 3) void klog(enum klog_level level, const char *fmt, ...);

#define log_err(...)   klog(KLOG_ERR, __VA_ARGS__)
#define log_warn(...)  klog(KLOG_WARN, __VA_ARGS__)
#define log_info(...)  klog(KLOG_INFO, __VA_ARGS__)
#define log_debug(...) klog(KLOG_DEBUG, __VA_ARGS__)

/* A place for log lines. write must work in any context with any lock held. */
struct klog_sink {
	const char *name;
	void (*write)(const char *s, size_t n); /* one whole line with its \n, interrupts off */
	enum klog_level max_level;              /* less important lines stay in the ring */
	bool panic_only;                        /* silent until a panic, and then shows that only */
	u64 position;           /* [klog] the next line it gets; 0 at first: the ring is replayed */
	struct klog_sink *next; /* [klog] */
};

/* Adds a sink for good and writes to it what the ring holds. Not from interrupts. */
void klog_add_sink(struct klog_sink *sink);

/*
 * Copies whole lines with their time stamps, as many as fit in n bytes, from *position on (0: the
 * oldest kept), and moves *position behind them; lines lost to the ring's size are passed over.
 * With position NULL the last lines that fit. Returns the bytes copied; 0: nothing new. Any
 * context.
 */
size_t klog_read(char *buf, size_t n, u64 *position);

/* The clock of the time stamps, in ns since boot; NULL: all are 0. Callable in any context. */
extern u64 (*klog_clock)(void);

/*
 * For debug/panic.c: from now on lines go out whoever holds the output, panic_only sinks wake up,
 * and levels are ignored. Gives a running output a bounded time to end. Interrupts off.
 */
void klog_panic_begin(void);
