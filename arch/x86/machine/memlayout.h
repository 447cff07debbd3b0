/*
 * The kernel's half of the address space (docs/memory-map.md):
 *
 *	ffff800000000000  all physical memory, once (64 TiB)
 *	ffffc00000000000  mapped on demand: stacks, device memory (1 TiB)
 *	ffffe00000000000  the frame table: 32 bytes a frame
 *	ffffffff80000000  the kernel's image, at 2 GiB below the top
 */
#pragma once

#define DIRECT_MAP      0xffff800000000000ul
#define DIRECT_MAP_END  0xffffc00000000000ul
#define KVA_START       0xffffc00000000000ul
#define KVA_END         0xffffc10000000000ul
#define FRAME_TABLE_VA  0xffffe00000000000ul
#define KERNEL_BASE     0xffffffff80000000ul
#define KERNEL_SPACE    0xffff800000000000ul /* the first kernel address */

#ifndef __ASSEMBLER__
#define FRAME_ARRAY ((struct frame *)FRAME_TABLE_VA)
#endif
