/*
 * What a panic asks of the parts above debug/. Each hook may stay NULL, is set once at init, and is
 * called in any context with any lock held.
 */
#pragma once

#include "lib/kassert.h"
#include "lib/types.h"

/* Writes something like "init, tid 1" about the current thread, cut to n, terminated. */
extern void (*panic_describe_thread)(char *buf, size_t n);

/*
 * May the kernel read the byte at va without a fault? NULL: nothing but the stack in use is read.
 */
extern bool (*debug_readable)(u64 va);

/* Returns when all output has left the machine, or after a bounded wait. */
extern void (*panic_flush)(void);

/* True from the first panic on, on every CPU: waits for locks are bounded then. */
bool panic_in_progress(void);
/* This CPU is the one that panics. */
bool panic_is_mine(void);
