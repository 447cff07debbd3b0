/*
 * Latencies: how long interrupts, and preemption, stay off, and how long a thread that was woken
 * waits for its CPU. Option latency (without it nothing is measured, at no cost at all);
 * /proc/jiffy/latency shows them, and takes on, off and reset. docs/tracing.md.
 */
#pragma once

#include "lib/types.h"

/* Boot: the hooks that the command line wants (HOOK_*). */
unsigned latency_early_init(void);

/* The time for a wake-up's stamp; 0: nothing is measured. */
u64 latency_now(void);
/* A thread that was woken at woken_at gets this CPU. Interrupts off. */
void latency_wakeup(u64 woken_at, u32 tid, const char *name);

/* /proc/jiffy/latency. A word: on, off, reset. 0, -EINVAL, -ENOTSUP (not booted with it). */
struct textbuf;
void latency_show(struct textbuf *t);
int latency_control(const char *word);
/* Who runs, for the records. Set once at init. */
extern void (*latency_describe)(char *buf, size_t n);
