/*
 * Scan codes of set 1, which the keyboard controller translates to on every PC: one byte a key,
 * bit 7 set on release, e0 before the keys that the first PC's keyboard did not have, e1 1d 45
 * for Pause. The layout is US; Alt sends ESC first, as terminals do.
 */
#include "dev/keymap.h"

#include "lib/string.h"

#define RELEASED 0x80
#define KEYS     0x3a

static const char plain[KEYS] =
	"\0\0331234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[KEYS] =
	"\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

/* 47 ... 53: the keypad, as cursor keys and with NumLock. */
static const char *const cursor_keys[] = { "\033[1~", "\033[A",  "\033[5~", "-",       "\033[D",
					   "\033[G",  "\033[C",  "+",       "\033[4~", "\033[B",
					   "\033[6~", "\033[2~", "\033[3~" };
static const char keypad_digits[] = "789-456+1230.";

/* 3b ... 44 and 57, 58: F1 ... F12. */
static const char *const function_keys[] = { "\033[[A",  "\033[[B",  "\033[[C",  "\033[[D",
					     "\033[[E",  "\033[17~", "\033[18~", "\033[19~",
					     "\033[20~", "\033[21~", "\033[23~", "\033[24~" };

static size_t text_out(char *out, const char *s)
{
	size_t n = strlen(s);

	memcpy(out, s, n);
	return n;
}

static u8 modifier_of(u8 key, bool extended)
{
	switch (key) {
	case 0x1d: return extended ? KEY_CTRL_RIGHT : KEY_CTRL_LEFT;
	case 0x38: return extended ? KEY_ALT_RIGHT : KEY_ALT_LEFT;
	case 0x2a: /* with e0 it is a shadow of the cursor keys', not a key */
		return extended ? 0 : KEY_SHIFT_LEFT;
	case 0x36: return extended ? 0 : KEY_SHIFT_RIGHT;
	default: return 0;
	}
}

static char character(const struct keymap *k, u8 key)
{
	bool shift = k->held & (KEY_SHIFT_LEFT | KEY_SHIFT_RIGHT);
	char c = plain[key];

	if (k->caps && c >= 'a' && c <= 'z')
		shift = !shift;
	return shift ? shifted[key] : c;
}

/* What Ctrl makes of c. */
static char control(char c)
{
	switch (c) {
	case ' ':
	case '2': return 0;
	case '-':
	case '/': return 0x1f;
	default: break;
	}
	if (c >= '@' && c <= '~')
		return c & 0x1f;
	return c;
}

static size_t type_character(const struct keymap *k, u8 key, char *out)
{
	char c = character(k, key);
	size_t n = 0;

	if (c == 0)
		return 0;
	if (k->held & (KEY_CTRL_LEFT | KEY_CTRL_RIGHT))
		c = control(c);
	if (k->held & (KEY_ALT_LEFT | KEY_ALT_RIGHT))
		out[n++] = '\033';
	out[n++] = c;
	return n;
}

static size_t key_press(struct keymap *k, u8 key, bool extended, char *out)
{
	if (key == 0x3a) {
		k->caps = !k->caps;
		return 0;
	}
	if (key == 0x45) {
		k->numlock = !k->numlock;
		return 0;
	}
	if (key >= 0x3b && key <= 0x44)
		return text_out(out, function_keys[key - 0x3b]);
	if (key == 0x57 || key == 0x58)
		return text_out(out, function_keys[key - 0x57 + 10]);
	if (key >= 0x47 && key <= 0x53) {
		if (!extended && k->numlock) {
			out[0] = keypad_digits[key - 0x47];
			return 1;
		}
		return text_out(out, cursor_keys[key - 0x47]);
	}
	/* Of the others only Enter and / of the keypad have an e0. */
	if (key >= KEYS || (extended && key != 0x1c && key != 0x35))
		return 0;
	if (extended && key == 0x35)
		return text_out(out, "/");
	return type_character(k, key, out);
}

size_t keymap_decode(struct keymap *k, u8 code, char *out)
{
	bool extended = k->extended;
	u8 key = code & (u8)~RELEASED, modifier;

	if (k->skip > 0) {
		k->skip--;
		return 0;
	}
	k->extended = code == 0xe0;
	if (code == 0xe0)
		return 0;
	if (code == 0xe1) {
		k->skip = 2;
		return 0;
	}
	modifier = modifier_of(key, extended);
	if (code & RELEASED) {
		k->held &= (u8)~modifier;
		return 0;
	}
	k->held |= modifier;
	if (modifier != 0 || key == 0x2a || key == 0x36)
		return 0;
	return key_press(k, key, extended, out);
}
