/* dev/ansi.c: what each sequence does to the grid, and that no bytes reach outside it. Also the
 * keyboard's map and the font. */
#include "tests/unit/unit.h"

#include <string.h>

#include "dev/ansi.c"
#include "dev/font.c"
#include "dev/keymap.c"

#define COLUMNS 10
#define ROWS    4

static struct ansi a;
static ansi_cell_t *cells;

static int setup(void **state)
{
	cells = malloc(COLUMNS * ROWS * sizeof(*cells)); /* the sanitizer guards its ends */
	ansi_init(&a, cells, COLUMNS, ROWS);
	return 0;
}

static int teardown(void **state)
{
	free(cells);
	return 0;
}

static void put(const char *s)
{
	ansi_write(&a, s, strlen(s));
}

/* The characters of a row without blanks at its end. */
static const char *row_text(u32 row)
{
	static char text[COLUMNS + 1];
	u32 n = 0;

	for (u32 i = 0; i < COLUMNS; i++) {
		text[i] = (char)cells[row * COLUMNS + i];
		if (text[i] != ' ')
			n = i + 1;
	}
	text[n] = 0;
	return text;
}

static void expect_screen(const char *r0, const char *r1, const char *r2, const char *r3)
{
	assert_string_equal(row_text(0), r0);
	assert_string_equal(row_text(1), r1);
	assert_string_equal(row_text(2), r2);
	assert_string_equal(row_text(3), r3);
}

static void expect_cursor(u32 column, u32 row)
{
	assert_int_equal(a.cursor.column, column);
	assert_int_equal(a.cursor.row, row);
}

static void test_text(void **state)
{
	put("ab\r\ncd\tX\bY\n");
	expect_screen("ab", "cd      Y", "", "");
	expect_cursor(9, 2);
	put("\r0123456789");
	expect_cursor(9, 2); /* the wrap waits for the next character */
	put("a");
	expect_screen("ab", "cd      Y", "0123456789", "a");
	put("\r\nscroll");
	expect_screen("cd      Y", "0123456789", "a", "scroll");
}

static void test_utf8(void **state)
{
	put("a\xc3\xa9z\xe2\x82\xac!\xf0\x9f\x98\x80.");
	expect_screen("a\177z\177!\177.", "", "", "");
}

static void test_moves(void **state)
{
	put("\033[3;5Hx\033[Hy\033[2;99Hz");
	expect_screen("y", "         z", "    x", "");
	put("\033[99A\033[99D");
	expect_cursor(0, 0);
	put("\033[2B\033[3C");
	expect_cursor(3, 2);
	put("\033[G");
	expect_cursor(0, 2);
	put("\033[4d\033[6G");
	expect_cursor(5, 3);
	put("\0337\033[H\0338");
	expect_cursor(5, 3);
}

static void test_erase(void **state)
{
	put("aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd\033[2;4H");
	put("\033[K");
	expect_screen("aaaaaaaaaa", "bbb", "cccccccccc", "dddddddddd");
	put("\033[1K");
	expect_screen("aaaaaaaaaa", "", "cccccccccc", "dddddddddd");
	put("\033[3;4H\033[J");
	expect_screen("aaaaaaaaaa", "", "ccc", "");
	put("\033[1;3H\033[2P");
	expect_screen("aaaaaaaa", "", "ccc", "");
	put("\033[2@\033[2X");
	expect_screen("aa  aaaaaa", "", "ccc", "");
	put("\033[4;9Hyz\033[4;10H\033[99X");
	expect_screen("aa  aaaaaa", "", "ccc", "        y");
	put("\033[2J");
	expect_screen("", "", "", "");
}

static void test_lines(void **state)
{
	put("1\r\n2\r\n3\r\n4\033[2;1H\033[L");
	expect_screen("1", "", "2", "3");
	put("\033[M");
	expect_screen("1", "2", "3", "");
	put("\033[2;3r\033[3;1H\n");
	expect_screen("1", "3", "", "");
	put("\033[2;1H\033M");
	expect_screen("1", "", "3", "");
	put("\033[3;3r"); /* a region of one row is none: the last stays */
	assert_int_equal(a.bottom, 2);
	put("\033[r\033[S");
	expect_screen("", "3", "", "");
	expect_cursor(0, 0);
}

static void test_colours(void **state)
{
	put("\033[31mr\033[1mR\033[0m.\033[7mi\033[27m\033[44mb\033[49;92mg\033[38;5;196mx");
	assert_int_equal(cells[0], 'r' | 0x0400);
	assert_int_equal(cells[1], 'R' | 0x0c00);
	assert_int_equal(cells[2], '.' | 0x0700);
	assert_int_equal(cells[3], 'i' | 0x7000);
	assert_int_equal(cells[4], 'b' | 0x1700);
	assert_int_equal(cells[5], 'g' | 0x0a00);
	assert_int_equal(cells[6], 'x' | 0x0c00);
}

static void test_unknown(void **state)
{
	put("\033[?2004h\033]0;title\007a\033(Bb\033]x\033\\c\033[>cd\033[12;34;56ye");
	expect_screen("abcde", "", "", "");
	put("\033[\033[H\033[0c");
	assert_memory_equal(a.reply, "\033[?6c", 5);
	put("\033[2;3H\033[6n");
	assert_int_equal(a.reply_len, 6);
	assert_memory_equal(a.reply, "\033[2;3R", 6);
}

/* Plain bytes of all kinds, and whole sequences with small and absurd parameters. */
static size_t random_piece(char *out)
{
	static const char finals[] = "@ABCDEFGHJKLMPSTX`acdefhlmnrsu";
	static const char escapes[] = "78DEMcZ()#]P^_";
	u64 kind = unit_random(8);
	size_t n = 0;

	if (kind < 4) {
		out[0] = (char)unit_random(kind == 0 ? 256 : kind == 1 ? 32 : 128);
		return 1;
	}
	out[n++] = '\033';
	if (kind == 4) {
		out[n++] = escapes[unit_random(sizeof(escapes) - 1)];
		return n;
	}
	n += (size_t)sprintf(out + n, unit_random(4) ? "[" : "[?");
	for (u64 i = unit_random(4); i > 0; i--)
		n += (size_t)sprintf(out + n, "%u;", (unsigned)unit_random(i % 2 ? 20 : 70000));
	n += (size_t)sprintf(out + n, "%u", (unsigned)unit_random(unit_random(2) ? 10 : 70000));
	out[n++] = finals[unit_random(sizeof(finals) - 1)];
	return n;
}

static void test_random(void **state)
{
	unit_seed();
	for (u64 round = 0; round < unit_rounds(300); round++) {
		u32 columns = 1 + (u32)unit_random(round % 2 ? 5 : ANSI_COLUMNS_MAX);
		u32 rows = 1 + (u32)unit_random(round % 3 ? 4 : ANSI_ROWS_MAX);
		ansi_cell_t *grid = malloc(columns * rows * sizeof(*grid));

		ansi_init(&a, grid, columns, rows);
		for (int i = 0; i < 3000; i++) {
			char piece[64];

			ansi_write(&a, piece, random_piece(piece));
			assert_true(a.cursor.column < columns && a.cursor.row < rows);
			assert_true(a.saved.column < columns && a.saved.row < rows);
			assert_true(a.top <= a.bottom && a.bottom < rows);
			assert_true(a.nr_params <= ANSI_PARAMS);
			assert_true(a.reply_len < sizeof(a.reply));
		}
		free(grid);
	}
}

static void expect_keys(const u8 *codes, size_t n, const char *text, size_t len)
{
	struct keymap k = { 0 };
	char typed[256];
	size_t at = 0;

	for (size_t i = 0; i < n; i++)
		at += keymap_decode(&k, codes[i], typed + at);
	assert_int_equal(at, len);
	assert_memory_equal(typed, text, len);
}

#define KEYS_ARE(text, ...)                                                                        \
	do {                                                                                       \
		static const u8 codes_[] = { __VA_ARGS__ };                                        \
		expect_keys(codes_, sizeof(codes_), text, sizeof(text) - 1);                       \
	} while (0)

static void test_keys(void **state)
{
	KEYS_ARE("ls\r", 0x26, 0xa6, 0x1f, 0x9f, 0x1c, 0x9c);
	KEYS_ARE("A!a", 0x2a, 0x1e, 0x9e, 0x02, 0x82, 0xaa, 0x1e, 0x9e);
	KEYS_ARE("Aa1", 0x3a, 0xba, 0x1e, 0x2a, 0x1e, 0xaa, 0x02);
	KEYS_ARE("\003", 0x1d, 0x2e, 0xae, 0x9d);
	KEYS_ARE("\034\032", 0xe0, 0x1d, 0x2b, 0x2c);
	KEYS_ARE("\033b", 0x38, 0x30, 0xb0, 0xb8);
	KEYS_ARE("\033[A\033[D\033[3~", 0xe0, 0x48, 0xe0, 0xc8, 0xe0, 0x4b, 0xe0, 0x53);
	KEYS_ARE("\033[A", 0xe0, 0x2a, 0xe0, 0x48, 0xe0, 0xc8, 0xe0, 0xaa);
	KEYS_ARE("/\r", 0xe0, 0x35, 0xe0, 0x1c);
	KEYS_ARE("a", 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0x1e);
	KEYS_ARE("\0", 0x1d, 0x39);
	KEYS_ARE("\033[[A\033[24~", 0x3b, 0x58);
}

static void test_keys_random(void **state)
{
	struct keymap k = { 0 };

	for (u64 i = 0; i < unit_rounds(100000); i++) {
		char *typed = malloc(KEYMAP_MAX);

		assert_true(keymap_decode(&k, (u8)unit_random(256), typed) <= KEYMAP_MAX);
		free(typed);
	}
}

/* Every glyph but the blank shows something, and none is another's. */
static void test_font(void **state)
{
	font_init();
	for (int c = 0x21; c < 0x80; c++) {
		for (int d = 0x20; d < c; d++)
			assert_memory_not_equal(font_glyph((u8)c), font_glyph((u8)d), FONT_HEIGHT);
	}
	assert_ptr_equal(font_glyph(0xff), font_glyph(0x7f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_utf8, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_erase, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_colours, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_keys_random),
		cmocka_unit_test(test_font),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
