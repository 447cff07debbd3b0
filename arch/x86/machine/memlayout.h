/*
 * The kernel's half of the address space (docs/memory-map.md):
 *
 *	ffff800000000000  all physical memory, once (64 TiB)
 *	ffffc00000000000  mapped on demand: stacks, device memory (1 TiB)
 *	ffffe00000000000  the frame table: 32 bytes a frame
 *	ffffffff80000000  the kernel's image, at 2 GiB below the top
 */
#pragma once

#ifdef __ASSEMBLER__
#define UL(x) x
#else
#define UL(x) x##ul
#endif

#define DIRECT_MAP     UL(0xffff800000000000)
#define DIRECT_MAP_END UL(0xffffc00000000000)
#define KVA_START      UL(0xffffc00000000000)
#define KVA_END        UL(0xffffc10000000000)
#define FRAME_TABLE_VA UL(0xffffe00000000000)
#define KERNEL_BASE    UL(0xffffffff80000000)
#define KERNEL_SPACE   UL(0xffff800000000000) /* the first kernel address */

#ifndef __ASSEMBLER__
#define FRAME_ARRAY ((struct frame *)FRAME_TABLE_VA)
#endif
