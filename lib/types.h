/*
 * The scalar types of the kernel. A physical address and a page-table entry are structs of one
 * field, and a user address is an integer that is never a pointer: mixing them does not compile.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/compiler.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef long ssize_t;

typedef struct {
	u64 v;
} paddr_t;

typedef struct {
	u64 v;
} pte_t;

typedef u64 uaddr_t; /* an address in a program's space: reached through arch/api/uaccess.h only */
typedef u64 pfn_t;   /* a physical address divided by PAGE_SIZE */

#define PADDR(x) ((paddr_t){ (x) })

#define PAGE_SHIFT 12
#define PAGE_SIZE  (1ul << PAGE_SHIFT)
#define PAGE_MASK  (~(PAGE_SIZE - 1))
#define KiB        (1ul << 10)
#define MiB        (1ul << 20)
#define GiB        (1ul << 30)
#define TiB        (1ul << 40)

#define NSEC_PER_SEC  1000000000ul
#define NSEC_PER_MSEC 1000000ul
#define NSEC_PER_USEC 1000ul
