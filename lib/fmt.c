/*
 * Formatted text and numbers read back. One output routine counts everything and stores what
 * fits, so the returned length is right whatever the size.
 */
#include "lib/fmt.h"

#include "lib/err.h"
#include "lib/string.h"

struct out {
	char *buf;
	size_t size; /* 0: only count */
	size_t len;
};

/* One conversion, as parsed. */
struct spec {
	bool left, zero, plus, space, alt;
	int width;
	int precision; /* -1: none */
	int length;    /* bytes of the integer argument */
	char conv;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_many(struct out *o, char c, int n)
{
	while (n-- > 0)
		put(o, c);
}

static void put_text(struct out *o, const struct spec *s, const char *text, size_t n)
{
	int fill = s->width - (int)n;

	if (!s->left)
		put_many(o, ' ', fill);
	for (size_t i = 0; i < n; i++)
		put(o, text[i]);
	if (s->left)
		put_many(o, ' ', fill);
}

static u64 conversion_base(char conv)
{
	switch (conv) {
	case 'o': return 8;
	case 'x':
	case 'X':
	case 'p': return 16;
	default: return 10;
	}
}

static void put_number(struct out *o, const struct spec *s, u64 v, bool negative)
{
	const char *digits = s->conv == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	u64 base = conversion_base(s->conv);
	char text[24]; /* digits, last first: 22 octal ones */
	char prefix[3];
	int n = 0, np = 0;

	if (negative)
		prefix[np++] = '-';
	else if (s->plus)
		prefix[np++] = '+';
	else if (s->space)
		prefix[np++] = ' ';
	if (base == 16 && (s->conv == 'p' || (s->alt && v != 0))) {
		prefix[np++] = '0';
		prefix[np++] = s->conv == 'X' ? 'X' : 'x';
	}
	for (u64 rest = v; rest != 0; rest /= base)
		text[n++] = digits[rest % base];
	if (n == 0 && s->precision != 0)
		text[n++] = '0';
	if (base == 8 && s->alt && (n == 0 || text[n - 1] != '0') && s->precision <= n)
		text[n++] = '0';

	int zeros = s->precision - n;

	if (s->zero && !s->left && s->precision < 0)
		zeros = s->width - np - n;
	zeros = MAX(zeros, 0);
	int fill = s->width - np - zeros - n;

	if (!s->left)
		put_many(o, ' ', fill);
	for (int i = 0; i < np; i++)
		put(o, prefix[i]);
	put_many(o, '0', zeros);
	while (n > 0)
		put(o, text[--n]);
	if (s->left)
		put_many(o, ' ', fill);
}

static bool parse_flag(struct spec *s, char c)
{
	switch (c) {
	case '-': return s->left = true;
	case '0': return s->zero = true;
	case '+': return s->plus = true;
	case ' ': return s->space = true;
	case '#': return s->alt = true;
	default: return false;
	}
}

static int parse_digits(const char **fmt)
{
	int n = 0;

	while (**fmt >= '0' && **fmt <= '9' && n < 100000)
		n = n * 10 + *(*fmt)++ - '0';
	return n;
}

static const char *parse_length(struct spec *s, const char *fmt)
{
	s->length = sizeof(int);
	if (fmt[0] == 'h' && fmt[1] == 'h') {
		s->length = 1;
		return fmt + 2;
	}
	if (fmt[0] == 'h') {
		s->length = 2;
		return fmt + 1;
	}
	while (*fmt == 'l' || *fmt == 'z') {
		s->length = 8;
		fmt++;
	}
	return fmt;
}

static s64 narrow_signed(s64 v, int length)
{
	return length == 1 ? (s8)v : length == 2 ? (s16)v : v;
}

static u64 narrow_unsigned(u64 v, int length)
{
	return length == 1 ? (u8)v : length == 2 ? (u16)v : v;
}

/* A va_list behind a pointer: passing the bare type by value would lose our place in it. */
struct args {
	va_list ap;
};

static void put_conversion(struct out *o, const struct spec *given, struct args *a)
{
	struct spec s = *given;

	switch (s.conv) {
	case 'd':
	case 'i': {
		s64 v = s.length == 8 ? va_arg(a->ap, long) : va_arg(a->ap, int);

		v = narrow_signed(v, s.length);
		put_number(o, &s, v < 0 ? -(u64)v : (u64)v, v < 0);
		break;
	}
	case 'u':
	case 'x':
	case 'X':
	case 'o': {
		u64 v = s.length == 8 ? va_arg(a->ap, unsigned long) : va_arg(a->ap, unsigned);

		s.plus = s.space = false;
		put_number(o, &s, narrow_unsigned(v, s.length), false);
		break;
	}
	case 'p':
		s.plus = s.space = false;
		put_number(o, &s, (u64)va_arg(a->ap, void *), false);
		break;
	case 'c': {
		char c = (char)va_arg(a->ap, int);

		put_text(o, &s, &c, 1);
		break;
	}
	case 's': {
		const char *text = va_arg(a->ap, const char *);

		if (!text)
			text = "(null)";
		put_text(o, &s, text,
			 s.precision < 0 ? strlen(text) : strnlen(text, (size_t)s.precision));
		break;
	}
	default: /* %% and what we do not know: as it stands */
		if (s.conv != '%')
			put(o, '%');
		put(o, s.conv);
	}
}

/* Behind a '%': reads the conversion, puts it out, and returns what follows. */
static const char *convert(struct out *o, const char *fmt, struct args *a)
{
	struct spec s = { .precision = -1 };

	while (parse_flag(&s, *fmt))
		fmt++;
	if (*fmt == '*') {
		fmt++;
		s.width = va_arg(a->ap, int);
		if (s.width < 0) {
			s.left = true;
			s.width = s.width == INT_MIN ? 0 : -s.width;
		}
	} else {
		s.width = parse_digits(&fmt);
	}
	if (*fmt == '.') {
		fmt++;
		if (*fmt == '*') {
			fmt++;
			s.precision = va_arg(a->ap, int);
			s.precision = MAX(s.precision, -1);
		} else {
			s.precision = parse_digits(&fmt);
		}
	}
	fmt = parse_length(&s, fmt);
	s.conv = *fmt;
	if (s.conv == 0)
		return fmt;
	put_conversion(o, &s, a);
	return fmt + 1;
}

int kvsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = { .buf = buf, .size = size };
	struct args a;

	va_copy(a.ap, ap);
	while (*fmt != 0) {
		if (*fmt == '%')
			fmt = convert(&o, fmt + 1, &a);
		else
			put(&o, *fmt++);
	}
	va_end(a.ap);
	if (size != 0)
		buf[MIN(o.len, size - 1)] = 0;
	return (int)o.len;
}

int ksnprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = kvsnprintf(buf, size, fmt, ap);

	va_end(ap);
	return n;
}

void textbuf_printf(struct textbuf *t, const char *fmt, ...)
{
	size_t room = t->len < t->size ? t->size - t->len : 0;
	va_list ap;

	va_start(ap, fmt);
	size_t n = (size_t)kvsnprintf(room != 0 ? t->buf + t->len : NULL, room, fmt, ap);

	va_end(ap);
	if (n < room) {
		t->len += n;
	} else {
		t->len += room != 0 ? room - 1 : 0;
		t->overflow = true;
	}
}

/* ---- numbers from text ------------------------------------------------------------------------- */

static unsigned digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'z')
		return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'Z')
		return (unsigned)(c - 'A') + 10;
	return 255;
}

/* Reads digits at *s and leaves *s behind them. */
static int parse_u64(const char **s, unsigned base, u64 *out)
{
	const char *p = *s;
	u64 v = 0;
	int ret = 0;

	if ((base == 0 || base == 16) && p[0] == '0' && (p[1] == 'x' || p[1] == 'X') &&
	    digit_value(p[2]) < 16) {
		p += 2;
		base = 16;
	} else if (base == 0) {
		base = p[0] == '0' ? 8 : 10;
	}
	if (digit_value(*p) >= base)
		return -EINVAL;
	for (; digit_value(*p) < base; p++)
		if (__builtin_mul_overflow(v, (u64)base, &v) ||
		    __builtin_add_overflow(v, (u64)digit_value(*p), &v))
			ret = -ERANGE;
	*s = p;
	*out = v;
	return ret;
}

static int parse_end(const char *s)
{
	if (*s == '\n')
		s++;
	return *s == 0 ? 0 : -EINVAL;
}

int kstrtou64(const char *s, unsigned base, u64 *out)
{
	u64 v = 0;
	int ret = parse_u64(&s, base, &v);

	if (ret == -EINVAL || parse_end(s) != 0)
		return -EINVAL;
	if (ret == 0)
		*out = v;
	return ret;
}

int kstrtosize(const char *s, u64 *out)
{
	static const char suffixes[] = "KMGT";
	u64 v = 0;
	int ret = parse_u64(&s, 0, &v);

	if (ret == -EINVAL)
		return ret;
	for (unsigned i = 0; suffixes[i] != 0; i++) {
		if (*s != suffixes[i] && *s != suffixes[i] + ('a' - 'A'))
			continue;
		s++;
		if (__builtin_mul_overflow(v, 1ul << 10 * (i + 1), &v))
			ret = -ERANGE;
		break;
	}
	if (parse_end(s) != 0)
		return -EINVAL;
	if (ret == 0)
		*out = v;
	return ret;
}
