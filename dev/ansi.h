/*
 * A terminal emulator on a grid of character cells: the part of ECMA-48 and of Linux's console
 * (console_codes(4)) that programs use with TERM=linux. Pure computation; the caller has its lock.
 */
#pragma once

#include "lib/types.h"

#define ANSI_COLUMNS_MAX 240
#define ANSI_ROWS_MAX    100
#define ANSI_PARAMS      16

/* A cell is a character and a VGA attribute: bits 8-11 foreground, 12-15 background (IRGB). */
typedef u16 ansi_cell_t;

struct ansi_cursor {
	u16 column, row;
	u8 foreground, background; /* VGA numbers 0 ... 15 */
	bool bold, reverse, underline;
};

enum ansi_state {
	ANSI_TEXT,
	ANSI_ESCAPE,
	ANSI_CSI,
	ANSI_SKIP_ONE,
	ANSI_STRING,
	ANSI_STRING_ESCAPE
};

struct ansi {
	ansi_cell_t *cells; /* [I] columns * rows of them, by rows */
	u16 columns, rows;  /* [I] */
	struct ansi_cursor cursor, saved;
	u16 top, bottom; /* the scrolling region: first row, last row */
	bool wrap_next;  /* the last column was written: the next character wraps first */
	bool cursor_hidden, insert, origin, no_wrap;

	enum ansi_state state;
	bool private_mode; /* CSI ? */
	u8 nr_params;
	u16 params[ANSI_PARAMS];
	u8 utf8_left; /* bytes of a character in UTF-8 that still follow */

	/* What the program asked for; the caller passes it on as input. */
	char reply[32];
	u8 reply_len;
};

/* columns and rows: at least 1, at most the limits above. Clears the cells. */
void ansi_init(struct ansi *a, ansi_cell_t *cells, u32 columns, u32 rows);

/* Any bytes are safe. */
void ansi_write(struct ansi *a, const char *s, size_t n);
