/*
 * Interrupt vectors 32 ... 255. Lines keep fixed vectors, so that a vector names its line without
 * a table that could be wrong. A higher vector has a higher priority at the LAPIC.
 */
#pragma once

#define VEC_LEGACY         0x20 /* 8259: 0x20-0x27 master, 0x28-0x2f slave */
#define VEC_IOAPIC         0x30 /* + GSI */
#define VEC_IOAPIC_END     0xf0 /* exclusive */
#define VEC_IPI_TIMER      0xfb /* in place of a clock event: see arch/api/ipi.h */
#define VEC_IPI_RESCHEDULE 0xfc
#define VEC_IPI_CALL       0xfd
#define VEC_LAPIC_TIMER    0xfe
#define VEC_LAPIC_SPURIOUS 0xff /* low four bits set, as old LAPICs want it */
