/* From the scan codes of a PC keyboard (set 1) to characters. Pure computation. */
#pragma once

#include "lib/types.h"

struct keymap {
	u8 held; /* KEY_* modifiers that are down */
	bool caps, numlock;
	bool extended; /* e0 came */
	u8 skip;       /* bytes of a sequence to ignore (Pause) */
};

#define KEY_SHIFT_LEFT  0x01
#define KEY_SHIFT_RIGHT 0x02
#define KEY_CTRL_LEFT   0x04
#define KEY_CTRL_RIGHT  0x08
#define KEY_ALT_LEFT    0x10
#define KEY_ALT_RIGHT   0x20

#define KEYMAP_MAX 8 /* characters that one code makes */

/*
 * One scan code. Writes what the key types to out (KEYMAP_MAX characters): US layout, and for
 * cursor and function keys the sequences of TERM=linux. Returns how many; 0: nothing yet, or a
 * release.
 */
size_t keymap_decode(struct keymap *k, u8 code, char *out);
