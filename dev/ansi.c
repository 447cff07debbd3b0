/*
 * The emulator is a state machine over bytes: text, ESC, CSI with its parameters, and strings (OSC,
 * DCS, which are skipped). All arithmetic on positions clamps, so no sequence can reach outside the
 * grid; a sequence it does not know is dropped whole.
 *
 * Text is ASCII; a character in UTF-8 beyond it takes one cell and shows as a box, 0x7f.
 */
#include "dev/ansi.h"

#include "lib/fmt.h"
#include "lib/string.h"

#define FOREGROUND_DEFAULT 7
#define BACKGROUND_DEFAULT 0
#define CHAR_UNKNOWN       0x7f

static void pen_reset(struct ansi_cursor *c)
{
	c->foreground = FOREGROUND_DEFAULT;
	c->background = BACKGROUND_DEFAULT;
	c->bold = c->reverse = c->underline = false;
}

static ansi_cell_t cell_make(const struct ansi_cursor *c, u8 character)
{
	u8 fg = c->foreground, bg = c->background;

	if (c->underline && fg == FOREGROUND_DEFAULT)
		fg = 3; /* cyan stands for underlined, as on Linux's colour consoles */
	if (c->bold)
		fg |= 8;
	if (c->reverse) {
		u8 swap = fg;

		fg = bg;
		bg = swap & 7;
	}
	return (ansi_cell_t)(character | fg << 8 | bg << 12);
}

/* Erased cells keep the background only. */
static ansi_cell_t cell_blank(const struct ansi *a)
{
	return (ansi_cell_t)(' ' | FOREGROUND_DEFAULT << 8 | a->cursor.background << 12);
}

static ansi_cell_t *cell_at(struct ansi *a, u32 column, u32 row)
{
	return a->cells + row * a->columns + column;
}

/* [from, to) of a row; both are clamped. */
static void row_blank(struct ansi *a, u32 row, u32 from, u32 to)
{
	ansi_cell_t blank = cell_blank(a);

	to = MIN(to, (u32)a->columns);
	for (u32 i = from; i < to; i++)
		*cell_at(a, i, row) = blank;
}

static void rows_blank(struct ansi *a, u32 from, u32 to)
{
	for (u32 row = from; row < to; row++)
		row_blank(a, row, 0, a->columns);
}

/* Moves the rows [top, a->bottom] up or down by n, which empties n of them. */
static void rows_scroll(struct ansi *a, u32 top, u32 n, bool up)
{
	u32 height = a->bottom + 1u - top, row_size = a->columns * (u32)sizeof(ansi_cell_t);

	n = MIN(n, height);
	if (up) {
		memmove(cell_at(a, 0, top), cell_at(a, 0, top + n), (height - n) * row_size);
		rows_blank(a, a->bottom + 1u - n, a->bottom + 1u);
	} else {
		memmove(cell_at(a, 0, top + n), cell_at(a, 0, top), (height - n) * row_size);
		rows_blank(a, top, top + n);
	}
}

static void screen_reset(struct ansi *a)
{
	memset(&a->cursor, 0, sizeof(a->cursor));
	pen_reset(&a->cursor);
	a->saved = a->cursor;
	a->top = 0;
	a->bottom = (u16)(a->rows - 1);
	a->wrap_next = a->cursor_hidden = a->insert = a->origin = a->no_wrap = false;
	a->state = ANSI_TEXT;
	a->utf8_left = 0;
	rows_blank(a, 0, a->rows);
}

void ansi_init(struct ansi *a, ansi_cell_t *cells, u32 columns, u32 rows)
{
	memset(a, 0, sizeof(*a));
	a->cells = cells;
	a->columns = (u16)columns;
	a->rows = (u16)rows;
	screen_reset(a);
}

/* ---- the cursor ----------------------------------------------------------------------------- */

static void cursor_set(struct ansi *a, s32 column, s32 row)
{
	a->cursor.column = (u16)MAX(0, MIN(column, a->columns - 1));
	a->cursor.row = (u16)MAX(0, MIN(row, a->rows - 1));
	a->wrap_next = false;
}

/* Up and down stop at the scrolling region's edge if they begin inside. */
static void cursor_vertical(struct ansi *a, s32 delta)
{
	s32 row = a->cursor.row, target = row + delta;

	if (delta < 0 && row >= a->top)
		target = MAX(target, (s32)a->top);
	if (delta > 0 && row <= a->bottom)
		target = MIN(target, (s32)a->bottom);
	cursor_set(a, a->cursor.column, target);
}

/* Absolute positions, from 1; within the region in origin mode. */
static void cursor_address(struct ansi *a, s32 column, s32 row)
{
	if (a->origin)
		row = MIN(row + a->top, a->bottom + 1);
	cursor_set(a, column - 1, row - 1);
}

static void line_feed(struct ansi *a)
{
	if (a->cursor.row == a->bottom)
		rows_scroll(a, a->top, 1, true);
	else if (a->cursor.row < a->rows - 1)
		a->cursor.row++;
	a->wrap_next = false;
}

static void reverse_line_feed(struct ansi *a)
{
	if (a->cursor.row == a->top)
		rows_scroll(a, a->top, 1, false);
	else if (a->cursor.row > 0)
		a->cursor.row--;
	a->wrap_next = false;
}

/* ---- text ----------------------------------------------------------------------------------- */

/* Moves the rest of the cursor's row right (n > 0) or left by |n| cells. */
static void row_shift(struct ansi *a, s32 n)
{
	u32 column = a->cursor.column, rest = a->columns - column;
	u32 by = MIN((u32)(n < 0 ? -n : n), rest);
	ansi_cell_t *cell = cell_at(a, column, a->cursor.row);

	if (n > 0) {
		memmove(cell + by, cell, (rest - by) * sizeof(*cell));
		row_blank(a, a->cursor.row, column, column + by);
	} else {
		memmove(cell, cell + by, (rest - by) * sizeof(*cell));
		row_blank(a, a->cursor.row, a->columns - by, a->columns);
	}
}

static void put_character(struct ansi *a, u8 c)
{
	if (a->wrap_next) {
		a->cursor.column = 0;
		line_feed(a);
	}
	if (a->insert)
		row_shift(a, 1);
	*cell_at(a, a->cursor.column, a->cursor.row) = cell_make(&a->cursor, c);
	if (a->cursor.column < a->columns - 1)
		a->cursor.column++;
	else
		a->wrap_next = !a->no_wrap;
}

static void control_character(struct ansi *a, u8 c)
{
	switch (c) {
	case '\b': cursor_set(a, a->cursor.column - 1, a->cursor.row); break;
	case '\t': cursor_set(a, (a->cursor.column / 8 + 1) * 8, a->cursor.row); break;
	case '\n':
	case '\v':
	case '\f': line_feed(a); break;
	case '\r': cursor_set(a, 0, a->cursor.row); break;
	case 0x18: /* CAN and SUB end a sequence */
	case 0x1a: a->state = ANSI_TEXT; break;
	case 0x1b: a->state = ANSI_ESCAPE; break;
	default: break;
	}
}

/* Bytes above ASCII: the first of a character shows, the others are counted off. */
static void text_byte(struct ansi *a, u8 c)
{
	if (c < 0x80) {
		a->utf8_left = 0;
		put_character(a, c);
	} else if ((c & 0xc0) == 0x80) {
		if (a->utf8_left == 0)
			put_character(a, CHAR_UNKNOWN);
		else
			a->utf8_left--;
	} else {
		a->utf8_left = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		put_character(a, CHAR_UNKNOWN);
	}
}

/* ---- CSI sequences -------------------------------------------------------------------------- */

/* Parameter i; 0 and absent mean def. */
static s32 param(const struct ansi *a, u32 i, s32 def)
{
	return i < a->nr_params && a->params[i] != 0 ? a->params[i] : def;
}

/* From ECMA-48's order of colours (red is bit 0) to VGA's (blue is). */
static u8 colour(u32 n)
{
	return (u8)((n & 2) | (n & 1) << 2 | (n >> 2 & 1) | (n & 8));
}

/* The nearest of 16 colours: a part above `half` counts, one above `high` makes it bright. */
static u8 colour_rgb(u32 r, u32 g, u32 b, u32 half, u32 high)
{
	bool bright = r > high || g > high || b > high;

	return colour((u32)(r > half) | (u32)(g > half) << 1 | (u32)(b > half) << 2 |
		      (u32)bright << 3);
}

/* The same for one of xterm's 256. */
static u8 colour_256(u32 n)
{
	u32 level;

	if (n < 16)
		return colour(n);
	if (n < 232) {
		u32 r = (n - 16) / 36, g = (n - 16) / 6 % 6, b = (n - 16) % 6;

		return colour_rgb(r, g, b, 2, 4);
	}
	level = (n - 232) / 6; /* greys */
	return level == 0 ? 0 : level == 1 ? 8 : level == 2 ? 7 : 15;
}

/* 38 and 48: ;5;n or ;2;r;g;b. Returns how many parameters it took. */
static u32 sgr_extended(struct ansi *a, u32 i, u8 *out)
{
	s32 kind = param(a, i + 1, 0);

	if (kind == 5) {
		*out = colour_256((u32)MIN(param(a, i + 2, 0), 255));
		return 3;
	}
	if (kind == 2) {
		u32 r = (u32)param(a, i + 2, 0), g = (u32)param(a, i + 3, 0);
		u32 b = (u32)param(a, i + 4, 0);

		*out = colour_rgb(r, g, b, 96, 192);
		return 5;
	}
	return 1;
}

static u32 sgr_one(struct ansi *a, u32 i)
{
	struct ansi_cursor *c = &a->cursor;
	u32 n = a->params[i];

	switch (n) {
	case 0: pen_reset(c); break;
	case 1: c->bold = true; break;
	case 4: c->underline = true; break;
	case 7: c->reverse = true; break;
	case 21:
	case 22: c->bold = false; break;
	case 24: c->underline = false; break;
	case 27: c->reverse = false; break;
	case 30 ... 37: c->foreground = colour(n - 30); break;
	case 38: return sgr_extended(a, i, &c->foreground);
	case 39: c->foreground = FOREGROUND_DEFAULT; break;
	case 40 ... 47: c->background = colour(n - 40); break;
	case 48: return sgr_extended(a, i, &c->background);
	case 49: c->background = BACKGROUND_DEFAULT; break;
	case 90 ... 97: c->foreground = colour(n - 90 + 8); break;
	case 100 ... 107: c->background = colour(n - 100 + 8); break;
	default: break;
	}
	return 1;
}

static void select_graphics(struct ansi *a)
{
	if (a->nr_params == 0)
		pen_reset(&a->cursor);
	for (u32 i = 0; i < a->nr_params;)
		i += sgr_one(a, i);
}

static void erase_display(struct ansi *a)
{
	u32 row = a->cursor.row;

	switch (param(a, 0, 0)) {
	case 0:
		row_blank(a, row, a->cursor.column, a->columns);
		rows_blank(a, row + 1, a->rows);
		break;
	case 1:
		rows_blank(a, 0, row);
		row_blank(a, row, 0, a->cursor.column + 1u);
		break;
	case 2:
	case 3: rows_blank(a, 0, a->rows); break;
	default: break;
	}
}

static void erase_row(struct ansi *a)
{
	s32 what = param(a, 0, 0);

	if (what > 2)
		return;
	row_blank(a, a->cursor.row, what == 0 ? a->cursor.column : 0,
		  what == 1 ? a->cursor.column + 1u : a->columns);
}

/* Rows are inserted and deleted at the cursor, if it is inside the scrolling region. */
static void shift_rows(struct ansi *a, bool up)
{
	if (a->cursor.row < a->top || a->cursor.row > a->bottom)
		return;
	rows_scroll(a, a->cursor.row, (u32)param(a, 0, 1), up);
	cursor_set(a, 0, a->cursor.row);
}

static void set_region(struct ansi *a)
{
	s32 top = param(a, 0, 1), bottom = MIN(param(a, 1, a->rows), (s32)a->rows);

	if (top >= bottom)
		return;
	a->top = (u16)(top - 1);
	a->bottom = (u16)(bottom - 1);
	cursor_address(a, 1, 1);
}

static void set_mode(struct ansi *a, bool on)
{
	for (u32 i = 0; i < a->nr_params; i++) {
		u32 mode = a->params[i] | (a->private_mode ? 0x10000u : 0);

		switch (mode) {
		case 4: a->insert = on; break;
		case 0x10006:
			a->origin = on;
			cursor_address(a, 1, 1);
			break;
		case 0x10007: a->no_wrap = !on; break;
		case 0x10019: a->cursor_hidden = !on; break;
		default: break;
		}
	}
}

/* Device status: 5 "are you well", 6 "where is the cursor". Device attributes: a VT102. */
static void answer(struct ansi *a, u8 final)
{
	s32 what = param(a, 0, 0);
	int n = 0;

	if (a->private_mode)
		return;
	if (final == 'c' && what == 0)
		n = ksnprintf(a->reply, sizeof(a->reply), "\033[?6c");
	else if (final == 'n' && what == 5)
		n = ksnprintf(a->reply, sizeof(a->reply), "\033[0n");
	else if (final == 'n' && what == 6)
		n = ksnprintf(a->reply, sizeof(a->reply), "\033[%u;%uR", a->cursor.row + 1u,
			      a->cursor.column + 1u);
	else
		return;
	a->reply_len = (u8)n;
}

static void erase_characters(struct ansi *a)
{
	row_blank(a, a->cursor.row, a->cursor.column, a->cursor.column + (u32)param(a, 0, 1));
}

static void csi_move(struct ansi *a, u8 final)
{
	s32 n = param(a, 0, 1), column = a->cursor.column, row = a->cursor.row;

	switch (final) {
	case 'A': cursor_vertical(a, -n); break;
	case 'B':
	case 'e': cursor_vertical(a, n); break;
	case 'C':
	case 'a': cursor_set(a, column + n, row); break;
	case 'D': cursor_set(a, column - n, row); break;
	case 'E':
		cursor_vertical(a, n);
		cursor_set(a, 0, a->cursor.row);
		break;
	case 'F':
		cursor_vertical(a, -n);
		cursor_set(a, 0, a->cursor.row);
		break;
	case 'G':
	case '`': cursor_set(a, n - 1, row); break;
	case 'd': cursor_address(a, column + 1, n); break;
	default: /* H f */ cursor_address(a, param(a, 1, 1), n); break;
	}
}

static void csi_execute(struct ansi *a, u8 final)
{
	if (a->private_mode && final != 'h' && final != 'l' && final != 'J' && final != 'K')
		return;
	switch (final) {
	case 'A' ... 'H':
	case '`':
	case 'a':
	case 'd':
	case 'e':
	case 'f': csi_move(a, final); break;
	case '@': row_shift(a, param(a, 0, 1)); break;
	case 'P': row_shift(a, -param(a, 0, 1)); break;
	case 'X': erase_characters(a); break;
	case 'J': erase_display(a); break;
	case 'K': erase_row(a); break;
	case 'L':
	case 'M': shift_rows(a, final == 'M'); break;
	case 'S':
	case 'T': rows_scroll(a, a->top, (u32)param(a, 0, 1), final == 'S'); break;
	case 'c':
	case 'n': answer(a, final); break;
	case 'h':
	case 'l': set_mode(a, final == 'h'); break;
	case 'm': select_graphics(a); break;
	case 'r': set_region(a); break;
	case 's': a->saved = a->cursor; break;
	case 'u':
		a->cursor = a->saved;
		a->wrap_next = false;
		break;
	default: break;
	}
}

static void csi_byte(struct ansi *a, u8 c)
{
	if (c >= '0' && c <= '9') {
		u16 *p;

		if (a->nr_params == 0)
			a->nr_params = 1;
		p = &a->params[a->nr_params - 1];
		*p = (u16)MIN(*p * 10 + (c - '0'), 9999);
	} else if (c == ';' || c == ':') {
		if (a->nr_params == 0)
			a->nr_params = 1;
		if (a->nr_params < ANSI_PARAMS)
			a->params[a->nr_params++] = 0;
	} else if (c == '?') {
		a->private_mode = true;
	} else if (c >= 0x40 && c <= 0x7e) {
		a->state = ANSI_TEXT;
		csi_execute(a, c);
	} else if (c >= 0x80) {
		a->state = ANSI_TEXT;
	} /* else: intermediates and other private markers change nothing that we do */
}

static void csi_begin(struct ansi *a)
{
	a->state = ANSI_CSI;
	a->private_mode = false;
	a->nr_params = 0;
	memset(a->params, 0, sizeof(a->params));
}

static void escape_byte(struct ansi *a, u8 c)
{
	a->state = ANSI_TEXT;
	switch (c) {
	case '[': csi_begin(a); break;
	case ']': /* OSC, DCS, PM, APC: skipped to their end */
	case 'P':
	case '^':
	case '_': a->state = ANSI_STRING; break;
	case '(':
	case ')':
	case '*':
	case '+':
	case '#':
	case '%': a->state = ANSI_SKIP_ONE; break;
	case '7': a->saved = a->cursor; break;
	case '8':
		a->cursor = a->saved;
		a->wrap_next = false;
		break;
	case 'D': line_feed(a); break;
	case 'E':
		a->cursor.column = 0;
		line_feed(a);
		break;
	case 'M': reverse_line_feed(a); break;
	case 'c': screen_reset(a); break;
	default: break;
	}
}

static void string_byte(struct ansi *a, u8 c)
{
	if (c == 0x07)
		a->state = ANSI_TEXT;
	else if (c == 0x1b)
		a->state = ANSI_STRING_ESCAPE;
}

static void ansi_byte(struct ansi *a, u8 c)
{
	if (a->state == ANSI_STRING) {
		string_byte(a, c);
		return;
	}
	if (a->state == ANSI_STRING_ESCAPE) {
		a->state = ANSI_TEXT;
		if (c != '\\')
			escape_byte(a, c);
		return;
	}
	if (c < 0x20) { /* control characters work inside sequences too */
		control_character(a, c);
		return;
	}
	switch (a->state) {
	case ANSI_ESCAPE: escape_byte(a, c); break;
	case ANSI_CSI: csi_byte(a, c); break;
	case ANSI_SKIP_ONE: a->state = ANSI_TEXT; break;
	default:
		if (c != 0x7f)
			text_byte(a, c);
		break;
	}
}

void ansi_write(struct ansi *a, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ansi_byte(a, (u8)s[i]);
}
