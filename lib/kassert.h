/*
 * Broken invariants of the kernel's own end here. kassert: cheap preconditions, in every build.
 * dassert: walks over structures, in debug builds (make DEBUG=1). Never for what a program, a
 * file or a device can bring about: those get an errno.
 */
#pragma once

#include "lib/types.h"

/* Prints the message, the registers, a backtrace and ends the machine with status 35 of QEMU. */
__noreturn __cold __printf(1, 2) void panic(const char *fmt, ...);

#define kassert(cond)                                                                              \
	do {                                                                                       \
		if (unlikely(!(cond)))                                                             \
			panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #cond);           \
	} while (0)

/* An assertion with both values in the message. */
#define kassert_eq(a, b)                                                                           \
	do {                                                                                       \
		u64 assert_a_ = (u64)(a), assert_b_ = (u64)(b);                                    \
		if (unlikely(assert_a_ != assert_b_))                                              \
			panic("%s:%d: %s is %#lx, %s is %#lx", __FILE__, __LINE__, #a, assert_a_,  \
			      #b, assert_b_);                                                      \
	} while (0)

#ifdef CONFIG_DEBUG
#define dassert(cond) kassert(cond)
#else
#define dassert(cond) ((void)sizeof(!(cond)))
#endif
