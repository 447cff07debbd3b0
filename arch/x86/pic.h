/* The two 8259 interrupt controllers of the PC: lines 0 ... 15 on vectors 0x20 ... 0x2f. */
#pragma once

#include "lib/types.h"

/* Moves both to our vectors and masks every line. 0, or -ENODEV when nobody answers. */
int pic_init(void);
bool pic_present(void);

/* Lines 0 ... 15. Any context. */
void pic_mask(unsigned line);
void pic_unmask(unsigned line);

/*
 * Called on the entry of line's vector: true if there is an interrupt, false if it was a spurious
 * one of line 7 or 15, which is then counted and acknowledged as far as it must be.
 */
bool pic_accept(unsigned line);

/* Ends a line's interrupt. */
void pic_eoi(unsigned line);

extern u64 pic_spurious7, pic_spurious15; /* [cpu 0] only it takes the 8259's interrupts */
