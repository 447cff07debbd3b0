/*
 * Descriptor tables: GDT, TSS and IDT, the stacks for exceptions that need their own, and the MSRs
 * behind SYSCALL.
 */
#pragma once

#include "lib/types.h"

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3, io_map_base;
} __packed;

/* Which IST slot (1 ... 7) serves which exception. */
#define IST_DOUBLE_FAULT  1
#define IST_NMI           2
#define IST_MACHINE_CHECK 3
#define NR_IST            3

/* Boot: tables of this CPU; exceptions are caught from here on (IST stacks are provisional). */
void desc_init_boot(void);
/* The same on a processor that came up later, with its stacks. */
void desc_init_cpu(const u64 ist_top[NR_IST]);
/* After the memory system: guarded IST stacks for this CPU. top[i] belongs to IST slot i+1. */
void desc_set_ist(const u64 top[NR_IST]);
/* EFER.SCE, STAR, LSTAR, SFMASK of this CPU. */
void syscall_init(void);
