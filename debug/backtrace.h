/*
 * Names for addresses, and the chain of calls. The symbol table is made by the build
 * (tools/gen-symbols.awk) from the first link and stands in the second.
 */
#pragma once

#include "lib/types.h"

/*
 * The function at or before addr: its name, the distance from its start and its size (0 for the
 * last one: unknown). NULL if addr is not in the kernel's code. Any context.
 */
const char *symbol_lookup(u64 addr, u64 *offset, u64 *size);

/* The address of a function by its name, or 0. Slow. */
u64 symbol_address(const char *name);

/* Writes "name+0x12/0x80", or the bare address, cut to n. Returns buf. */
char *symbol_format(char *buf, size_t n, u64 addr);

/*
 * Logs the calls that led to pc, whose frame pointer is fp: one line each, level KLOG_ERR. pc 0:
 * begins with the caller of the frame at fp. Follows only frames that can be read. Any context.
 */
void backtrace_log(u64 pc, u64 fp);

/* Logs what backtrace_collect gave, behind pc (0: none). Any context. */
void backtrace_log_list(u64 pc, const u64 *pcs, unsigned n);

/* Stores up to max return addresses from the frame at fp upwards; returns how many. Any context. */
unsigned backtrace_collect(u64 fp, u64 *pcs, unsigned max);

/* The caller's own backtrace. */
#define backtrace_here() backtrace_log(0, (u64)__builtin_frame_address(0))
