/*
 * The trace: what happened on each CPU, in rings that are read from outside, out of the guest's
 * memory, when it runs or when it has ended (tools/trace/). Option trace=LIST; docs/tracing.md.
 *
 * The layout of everything here is known to tools/trace/ring.py, by TRACE_VERSION.
 */
#pragma once

#include "arch/api/hook.h"
#include "lib/types.h"

#define TRACE_VERSION 1

/* What may be traced: the words of the option, in this order. */
enum trace_class {
	TRACE_SCHED = 1 << 0,   /* switches and wake-ups */
	TRACE_IRQ = 1 << 1,     /* interrupts */
	TRACE_FAULT = 1 << 2,   /* page faults and other exceptions */
	TRACE_SYSCALL = 1 << 3, /* system calls */
	TRACE_TLB = 1 << 4,     /* flushes and CR3 loads */
	TRACE_SAMPLE = 1 << 5,  /* where the CPU is, trace.hz times a second */
};

/* Kinds of events, and what a, b and c are. */
enum trace_kind {
	EV_NONE,
	EV_SWITCH,        /* a: why (enum switch_why) | state << 4; b: next tid; c: caller's pc */
	EV_WAKE,          /* b: tid */
	EV_IRQ_ENTER,     /* b: vector; c: pc */
	EV_IRQ_EXIT,      /* b: vector */
	EV_FAULT_ENTER,   /* a: bits of the error code; b: address; c: pc */
	EV_FAULT_KIND,    /* a: enum trace_fault_kind */
	EV_FAULT_FAILED,  /* b: address; c: what FAULT_* and si_code say */
	EV_FAULT_EXIT,    /* */
	EV_TRAP_ENTER,    /* b: vector; c: pc */
	EV_TRAP_EXIT,     /* b: vector */
	EV_SYSCALL_ENTER, /* b: number; c: first argument */
	EV_SYSCALL_EXIT,  /* b: number; c: result */
	EV_FLUSH,         /* a: enum trace_flush; b: start; c: end */
	EV_CR3,           /* b: what was loaded; c: where */
	EV_SAMPLE,        /* a: from user mode; b: pc; c: ns since boot */
	EV_STACK,         /* a: how many of b, c are return addresses of the sample before */
	EV_STACK_TOP,     /* b: the word on top of its stack: a leaf's return address, perhaps */
};

enum trace_fault_kind {
	FK_zero_page_faults,
	FK_cow_copied,
	FK_cow_reused,
	FK_spurious,
	FK_tables_copied,
	FK_tables_taken_back,
};

enum trace_flush { FLUSH_PAGE, FLUSH_RANGE, FLUSH_SPACE, FLUSH_ALL };

/* Boot. By the command line: which hooks; before the text becomes read-only. */
void trace_early_init(void);
/* This CPU's ring; alloc (given by the first CPU) gives zeroed blocks of TRACE_CHUNK bytes, or NULL. */
#define TRACE_CHUNK (1ul << 20)
void trace_cpu_init(void *(*alloc)(void));

/* Samples a second; 0: none are wanted. */
unsigned trace_sample_hz(void);
/* In the timer's interrupt: what it found, at now_ns since boot. */
void trace_sample(u64 now_ns);
/* Reads a word of the current program's memory, in any context. Set once at init. */
extern bool (*trace_peek_user)(u64 va, u64 *out);

/* Names for ids: a thread's, its process's, its parent's (0: unknown) and its name. */
void trace_name_thread(u32 tid, u32 tgid, u32 parent, const char *name);
/* The running thread is called tid from now on: it became a program's. */
void trace_rename_current(u32 tid);
/* Executable memory of process tgid: [start, end) shows path from offset on. */
void trace_map(u32 tgid, u64 start, u64 end, u64 offset, const char *path);

/* From the hooks. */
void trace_switch(u32 prev, u32 state, u32 next, unsigned why, u64 caller);
void trace_wake(u32 tid);
void trace_fault_kind(enum trace_fault_kind kind);
void trace_flush(enum trace_flush kind, u64 start, u64 end);

/* /proc/jiffy/trace */
struct textbuf;
void trace_show(struct textbuf *t);
