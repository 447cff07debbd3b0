/* The host's "physical memory" is one mapping, and the frame table an array: arch/host/ram.c. */
#pragma once

#define HOST_USER_SPACE_END 0x0000800000000000ul
#define KVA_START           0xffffc00000000000ul
#define KVA_END             0xffffc10000000000ul
#define KERNEL_SPACE        0xffff800000000000ul

struct frame;
extern struct frame *host_frame_table;
extern unsigned long host_direct_map;

#define FRAME_ARRAY host_frame_table
#define DIRECT_MAP  host_direct_map
