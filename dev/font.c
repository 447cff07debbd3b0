/*
 * A font made of strokes. Each glyph is a text of lines, which font_init draws with a pen two
 * pixels wide and one high: so stems are bold and the whole table is as small as its description.
 *
 * A line is a chain of points, two digits each: x (0 ... 5, from the left) and y (hexadecimal,
 * from the top: capitals stand from 2 to b, small letters from 5, tails end at e). Blanks
 * separate lines; a line that begins with - has a pen one pixel wide. One point alone is a dot.
 */
#include "dev/font.h"

#define FIRST  0x20
#define GLYPHS 96

static const char *const strokes[GLYPHS] = {
	/* clang-format off */
	[' ' - FIRST] = "",
	['!' - FIRST] = "2228 2a2b",
	['"' - FIRST] = "1214 4244",
	['#' - FIRST] = "131b 434b 0555 0959",
	['$' - FIRST] = "4433130405163647493a1a09 -2122 -2b2c -3132 -3b3c",
	['%' - FIRST] = "-0323250503 -520b -38585a3a38",
	['&' - FIRST] = "5b151322324344070a1b3b58",
	['\'' - FIRST] = "2224",
	['(' - FIRST] = "3214193b",
	[')' - FIRST] = "1234391b",
	['*' - FIRST] = "-1458 -1854 -0656",
	['+' - FIRST] = "242a 0747",
	[',' - FIRST] = "2a2b1d",
	['-' - FIRST] = "0747",
	['.' - FIRST] = "2a2b",
	['/' - FIRST] = "420b",
	['0' - FIRST] = "2204092b494422",
	['1' - FIRST] = "04222b 0b4b",
	['2' - FIRST] = "03123243450a0b4b",
	['3' - FIRST] = "0312324345361636474a3b1b0a",
	['4' - FIRST] = "320848 323b",
	['5' - FIRST] = "42020636474a3b1b0a",
	['6' - FIRST] = "433212030a1b3b4a47361607",
	['7' - FIRST] = "024243181b",
	['8' - FIRST] = "123243453616050312 16070a1b3b4a4736",
	['9' - FIRST] = "0a1b3b4a4332120306173746",
	[':' - FIRST] = "2526 2a2b",
	[';' - FIRST] = "2526 2a2b1d",
	['<' - FIRST] = "43074b",
	['=' - FIRST] = "0646 0949",
	['>' - FIRST] = "03470b",
	['?' - FIRST] = "03123243452728 2a2b",
	['@' - FIRST] = "4b1b0a0312425358 -58383555",
	['A' - FIRST] = "0b0422444b 0848",
	['B' - FIRST] = "0b02324345360636474a3b0b",
	['C' - FIRST] = "433212030a1b3b4a",
	['D' - FIRST] = "022244492b0b02",
	['E' - FIRST] = "42020b4b 0636",
	['F' - FIRST] = "42020b 0636",
	['G' - FIRST] = "433212030a1b3b4a4727",
	['H' - FIRST] = "020b 424b 0646",
	['I' - FIRST] = "1232 222b 1b3b",
	['J' - FIRST] = "424a3b1b0a09",
	['K' - FIRST] = "020b 42064b",
	['L' - FIRST] = "020b4b",
	['M' - FIRST] = "020b 525b -133653",
	['N' - FIRST] = "020b 525b -135a",
	['O' - FIRST] = "1232434a3b1b0a0312",
	['P' - FIRST] = "0b023243463707",
	['Q' - FIRST] = "1232434a3b1b0a0312 284c",
	['R' - FIRST] = "0b023243463707 174b",
	['S' - FIRST] = "43321203051636474a3b1b0a",
	['T' - FIRST] = "0242 222b",
	['U' - FIRST] = "020a1b3b4a42",
	['V' - FIRST] = "02072b4742",
	['W' - FIRST] = "020b 525b -1a375a",
	['X' - FIRST] = "02034a4b 42430a0b",
	['Y' - FIRST] = "0204264442 262b",
	['Z' - FIRST] = "0242430a0b4b",
	['[' - FIRST] = "32121b3b",
	['\\' - FIRST] = "024b",
	[']' - FIRST] = "12323b1b",
	['^' - FIRST] = "042244",
	['_' - FIRST] = "0d5d",
	['`' - FIRST] = "1224",
	['a' - FIRST] = "1535464b 4818090a1b3b4a",
	['b' - FIRST] = "020b 061535464a3b1b0a",
	['c' - FIRST] = "463515060a1b3b4a",
	['d' - FIRST] = "424b 463515060a1b3b4a",
	['e' - FIRST] = "0848463515060a1b3b4a",
	['f' - FIRST] = "433222131b 0636",
	['g' - FIRST] = "46351506091a3a49 454d3e1e0d",
	['h' - FIRST] = "020b 061535464b",
	['i' - FIRST] = "2223 15252b 1b3b",
	['j' - FIRST] = "3233 25353d2e1e0d",
	['k' - FIRST] = "020b 45084b",
	['l' - FIRST] = "12222b 1b3b",
	['m' - FIRST] = "050b 0545565b -353b",
	['n' - FIRST] = "050b 061535464b",
	['o' - FIRST] = "1535464a3b1b0a0615",
	['p' - FIRST] = "050e 061535464a3b1b0a",
	['q' - FIRST] = "454e 463515060a1b3b4a",
	['r' - FIRST] = "050b 07253546",
	['s' - FIRST] = "46351506071838494a3b1b0a",
	['t' - FIRST] = "121a2b3b4a 0535",
	['u' - FIRST] = "050a1b3b4a 454b",
	['v' - FIRST] = "05072b4745",
	['w' - FIRST] = "050b 555b -1a385a",
	['x' - FIRST] = "054b 450b",
	['y' - FIRST] = "05091a3a49 454d3e1e0d",
	['z' - FIRST] = "05450b4b",
	['{' - FIRST] = "32232617282a3b",
	['|' - FIRST] = "222d",
	['}' - FIRST] = "12232637282a1b",
	['~' - FIRST] = "0716263746",
	[0x7f - FIRST] = "02525b0b02",
	/* clang-format on */
};

static u8 glyphs[GLYPHS][FONT_HEIGHT]; /* [I] after font_init */

static int digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void dot(u8 *glyph, int x, int y, bool thin)
{
	/* A column stays free at the left, and one at the right of all but the widest. */
	glyph[y] |= (u8)((thin ? 0x40 : 0x60) >> x);
}

/* A straight line by the midpoint method, both ends included. */
static void line(u8 *glyph, int x0, int y0, int x1, int y1, bool thin)
{
	int dx = x1 > x0 ? x1 - x0 : x0 - x1, dy = y1 > y0 ? y1 - y0 : y0 - y1;
	int sx = x1 > x0 ? 1 : -1, sy = y1 > y0 ? 1 : -1;
	int err = dx - dy;

	for (;;) {
		int twice = 2 * err;

		dot(glyph, x0, y0, thin);
		if (x0 == x1 && y0 == y1)
			return;
		if (twice > -dy) {
			err -= dy;
			x0 += sx;
		}
		if (twice < dx) {
			err += dx;
			y0 += sy;
		}
	}
}

static void glyph_draw(u8 *glyph, const char *s)
{
	while (*s) {
		bool thin = *s == '-';
		int x, y;

		s += thin || *s == ' ';
		if (*s == '-' || *s == ' ')
			continue;
		if (!*s)
			return;
		x = digit(s[0]);
		y = digit(s[1]);
		dot(glyph, x, y, thin);
		for (s += 2; *s && *s != ' '; s += 2) {
			line(glyph, x, y, digit(s[0]), digit(s[1]), thin);
			x = digit(s[0]);
			y = digit(s[1]);
		}
	}
}

void font_init(void)
{
	for (int i = 0; i < GLYPHS; i++)
		glyph_draw(glyphs[i], strokes[i]);
}

const u8 *font_glyph(u8 c)
{
	return glyphs[c >= FIRST && c < FIRST + GLYPHS ? c - FIRST : 0x7f - FIRST];
}
