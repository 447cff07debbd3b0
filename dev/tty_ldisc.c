/*
 * The line discipline, after termios(3) and POSIX.1-2017 chapter 11 (General Terminal Interface);
 * where they leave a choice, what Linux does, because programs expect that.
 *
 * Not done: parity and break (PARMRK, BRKINT: the device reports none), output delays, ECHOPRT
 * (works as ECHOE), IXOFF (the devices hold back by themselves), echo while output is stopped
 * goes out at once.
 */
#include "dev/tty_ldisc.h"

#include "lib/string.h"
#include "lib/uapi/signal.h"

#define CTRL(c) ((c)&0x1f)

static const struct termios termios_initial = {
	.c_iflag = ICRNL | IXON,
	.c_oflag = OPOST | ONLCR,
	.c_cflag = B38400 | CS8 | CREAD | HUPCL,
	.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
	.c_cc = {
		[VINTR] = CTRL('C'), [VQUIT] = CTRL('\\'), [VERASE] = 0x7f, [VKILL] = CTRL('U'),
		[VEOF] = CTRL('D'), [VTIME] = 0, [VMIN] = 1, [VSTART] = CTRL('Q'),
		[VSTOP] = CTRL('S'), [VSUSP] = CTRL('Z'), [VREPRINT] = CTRL('R'),
		[VDISCARD] = CTRL('O'), [VWERASE] = CTRL('W'), [VLNEXT] = CTRL('V'),
	},
};

void ldisc_init(struct ldisc *l, void (*out)(void *arg, const char *s, size_t n), void *arg)
{
	memset(l, 0, sizeof(*l));
	l->tio = termios_initial;
	l->out = out;
	l->arg = arg;
}

static bool iflag(const struct ldisc *l, u32 flag)
{
	return l->tio.c_iflag & flag;
}

static bool oflag(const struct ldisc *l, u32 flag)
{
	return l->tio.c_oflag & flag;
}

static bool lflag(const struct ldisc *l, u32 flag)
{
	return l->tio.c_lflag & flag;
}

/* Is c the special character `which`? 0 disables it. */
static bool is_cc(const struct ldisc *l, u8 c, unsigned which)
{
	return c != 0 && c == l->tio.c_cc[which];
}

static bool is_control(u8 c)
{
	return c < 0x20 || c == 0x7f;
}

/* ---- output --------------------------------------------------------------------------------- */

static void out_tab(struct ldisc *l)
{
	static const char spaces[8] = "        ";
	u32 n = 8 - l->column % 8;

	l->column += n;
	if (oflag(l, OPOST) && (l->tio.c_oflag & TABDLY) == XTABS)
		l->out(l->arg, spaces, n);
	else
		l->out(l->arg, "\t", 1);
}

static void out_newline(struct ldisc *l)
{
	if (oflag(l, OPOST) && oflag(l, ONLCR)) {
		l->column = 0;
		l->out(l->arg, "\r\n", 2);
		return;
	}
	if (oflag(l, ONLRET))
		l->column = 0;
	l->out(l->arg, "\n", 1);
}

static void out_return(struct ldisc *l)
{
	bool post = oflag(l, OPOST);

	if (post && oflag(l, ONOCR) && l->column == 0)
		return;
	if (post && oflag(l, OCRNL)) {
		if (oflag(l, ONLRET))
			l->column = 0;
		l->out(l->arg, "\n", 1);
		return;
	}
	l->column = 0;
	l->out(l->arg, "\r", 1);
}

/* One character that is not plain text. */
static void out_special(struct ldisc *l, u8 c)
{
	char upper;

	switch (c) {
	case '\t': out_tab(l); return;
	case '\n': out_newline(l); return;
	case '\r': out_return(l); return;
	case '\b':
		if (l->column > 0)
			l->column--;
		break;
	default:
		if (oflag(l, OPOST) && oflag(l, OLCUC) && c >= 'a' && c <= 'z')
			c = (u8)(c - 'a' + 'A');
		/* Of a character in UTF-8 only the first byte takes a column. */
		if (!is_control(c) && (c & 0xc0) != 0x80)
			l->column++;
	}
	upper = (char)c;
	l->out(l->arg, &upper, 1);
}

void ldisc_output(struct ldisc *l, const char *s, size_t n)
{
	bool upper = oflag(l, OPOST) && oflag(l, OLCUC);

	while (n > 0) {
		size_t run = 0;

		while (!upper && run < n && (u8)s[run] >= 0x20 && (u8)s[run] < 0x7f)
			run++;
		if (run > 0) {
			l->out(l->arg, s, run);
			l->column += (u32)run;
		} else {
			out_special(l, (u8)s[0]);
			run = 1;
		}
		s += run;
		n -= run;
	}
}

/* ---- echo ----------------------------------------------------------------------------------- */

/* Control characters show as ^X, except tab and newline. */
static bool shows_caret(const struct ldisc *l, u8 c)
{
	return lflag(l, ECHOCTL) && is_control(c) && c != '\t' && c != '\n';
}

static void echo(struct ldisc *l, u8 c)
{
	char pair[2] = { '^', (char)(c ^ 0x40) };

	if (shows_caret(l, c))
		ldisc_output(l, pair, 2);
	else
		out_special(l, c);
}

/* How far c, echoed at this column, moves the cursor. */
static u32 echo_width(const struct ldisc *l, u8 c, u32 column)
{
	if (c == '\t')
		return 8 - column % 8;
	if (shows_caret(l, c))
		return 2;
	if (is_control(c) || (iflag(l, IUTF8) && (c & 0xc0) == 0x80))
		return 0;
	return 1;
}

static void echo_back(struct ldisc *l, u32 columns, bool blank)
{
	for (u32 i = 0; i < columns; i++)
		ldisc_output(l, blank ? "\b \b" : "\b", blank ? 3 : 1);
}

/* ---- editing -------------------------------------------------------------------------------- */

static u8 *char_at(struct ldisc *l, u32 index)
{
	return &l->buf[index % LDISC_SIZE];
}

static bool mark_get(const struct ldisc *l, u32 index)
{
	return l->mark[index % LDISC_SIZE / 8] >> (index % 8) & 1;
}

static void mark_set(struct ldisc *l, u32 index, bool on)
{
	u8 bit = (u8)(1u << (index % 8));

	if (on)
		l->mark[index % LDISC_SIZE / 8] |= bit;
	else
		l->mark[index % LDISC_SIZE / 8] &= (u8)~bit;
}

/* Puts c into the buffer. One place stays free for the end of a line. */
static bool insert(struct ldisc *l, u8 c, bool mark)
{
	if (LDISC_SIZE - (l->head - l->tail) <= (mark ? 0u : 1u)) {
		if (iflag(l, IMAXBEL))
			l->out(l->arg, "\a", 1);
		return false;
	}
	*char_at(l, l->head) = c;
	mark_set(l, l->head, mark);
	l->head++;
	return true;
}

/* The column at which the character `index` of the line being edited was echoed. */
static u32 column_of(struct ldisc *l, u32 index)
{
	u32 column = l->line_column;

	for (u32 i = l->line; i != index; i++)
		column += echo_width(l, *char_at(l, i), column);
	return column;
}

/* Takes back the last character of the line being edited, of all its bytes in UTF-8. */
static void erase_one(struct ldisc *l)
{
	u32 column;
	u8 c;

	do {
		l->head--;
		c = *char_at(l, l->head);
	} while (iflag(l, IUTF8) && (c & 0xc0) == 0x80 && l->head != l->line);
	if (!lflag(l, ECHO) || !lflag(l, ECHOE))
		return;
	column = column_of(l, l->head);
	echo_back(l, echo_width(l, c, column), c != '\t');
}

static bool is_word(u8 c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_' || c >= 0x80;
}

static void erase_char(struct ldisc *l, u8 c)
{
	if (l->head == l->line)
		return;
	erase_one(l);
	if (lflag(l, ECHO) && !lflag(l, ECHOE))
		echo(l, c);
}

static void erase_word(struct ldisc *l)
{
	bool seen = false;

	while (l->head != l->line) {
		bool word = is_word(*char_at(l, l->head - 1));

		if (seen && !word)
			break;
		seen |= word;
		erase_one(l);
	}
}

static void erase_line(struct ldisc *l, u8 c)
{
	bool visibly = lflag(l, ECHO) && lflag(l, ECHOE) && lflag(l, ECHOKE) && lflag(l, ECHOK);

	while (visibly && l->head != l->line)
		erase_one(l);
	l->head = l->line;
	if (visibly || !lflag(l, ECHO))
		return;
	echo(l, c);
	if (lflag(l, ECHOK))
		out_special(l, '\n');
}

static void reprint(struct ldisc *l, u8 c)
{
	echo(l, c);
	out_special(l, '\n');
	l->line_column = l->column;
	for (u32 i = l->line; i != l->head; i++)
		echo(l, *char_at(l, i));
}

static void line_end(struct ldisc *l, u8 c)
{
	if (insert(l, c, true))
		l->line = l->head;
}

/* ---- input ---------------------------------------------------------------------------------- */

static void insert_echo(struct ldisc *l, u8 c)
{
	if (l->head == l->line)
		l->line_column = l->column;
	if (insert(l, c, false) && lflag(l, ECHO))
		echo(l, c);
}

static bool input_flow(struct ldisc *l, u8 c)
{
	if (!iflag(l, IXON))
		return false;
	if (is_cc(l, c, VSTART)) {
		l->stopped = false;
		return true;
	}
	if (is_cc(l, c, VSTOP)) {
		l->stopped = true;
		return true;
	}
	return false;
}

static bool input_signal(struct ldisc *l, u8 c)
{
	int sig = is_cc(l, c, VINTR) ? SIGINT :
		  is_cc(l, c, VQUIT) ? SIGQUIT :
		  is_cc(l, c, VSUSP) ? SIGTSTP :
				       0;

	if (!lflag(l, ISIG) || sig == 0)
		return false;
	l->signals |= 1u << sig;
	l->stopped = false;
	if (!lflag(l, NOFLSH))
		ldisc_flush_input(l);
	if (lflag(l, ECHO))
		echo(l, c);
	return true;
}

/* Editing and ends of lines. True if c was one of those. */
static bool input_edit(struct ldisc *l, u8 c)
{
	bool extended = lflag(l, IEXTEN);

	if (is_cc(l, c, VERASE)) {
		erase_char(l, c);
	} else if (is_cc(l, c, VKILL)) {
		erase_line(l, c);
	} else if (extended && is_cc(l, c, VWERASE)) {
		erase_word(l);
	} else if (extended && is_cc(l, c, VLNEXT)) {
		l->literal = true;
		if (lflag(l, ECHO) && lflag(l, ECHOCTL))
			ldisc_output(l, "^\b", 2);
	} else if (extended && lflag(l, ECHO) && is_cc(l, c, VREPRINT)) {
		reprint(l, c);
	} else if (c == '\n') {
		if (lflag(l, ECHO) || lflag(l, ECHONL))
			out_special(l, '\n');
		line_end(l, c);
	} else if (is_cc(l, c, VEOF)) {
		line_end(l, 0);
	} else if (is_cc(l, c, VEOL) || (extended && is_cc(l, c, VEOL2))) {
		if (lflag(l, ECHO))
			echo(l, c);
		line_end(l, c);
	} else {
		return false;
	}
	return true;
}

void ldisc_input(struct ldisc *l, u8 c)
{
	if (iflag(l, ISTRIP))
		c &= 0x7f;
	if (iflag(l, IUCLC) && lflag(l, IEXTEN) && c >= 'A' && c <= 'Z')
		c = (u8)(c - 'A' + 'a');
	if (l->literal) {
		l->literal = false;
		insert_echo(l, c);
		return;
	}
	if (input_flow(l, c) || input_signal(l, c))
		return;
	if (l->stopped && iflag(l, IXON) && iflag(l, IXANY))
		l->stopped = false;
	if (c == '\r') {
		if (iflag(l, IGNCR))
			return;
		if (iflag(l, ICRNL))
			c = '\n';
	} else if (c == '\n' && iflag(l, INLCR)) {
		c = '\r';
	}
	if (lflag(l, ICANON) && input_edit(l, c))
		return;
	insert_echo(l, c);
}

/* ---- reading -------------------------------------------------------------------------------- */

bool ldisc_readable(const struct ldisc *l)
{
	u32 end = lflag(l, ICANON) ? READ_ONCE(l->line) : READ_ONCE(l->head);

	return end != READ_ONCE(l->tail);
}

size_t ldisc_read(struct ldisc *l, char *buf, size_t n, bool *end)
{
	bool canonical = lflag(l, ICANON);
	u32 limit = canonical ? l->line : l->head;
	size_t done = 0;

	*end = false;
	while (l->tail != limit && !*end) {
		u8 c = *char_at(l, l->tail);
		bool mark = mark_get(l, l->tail);
		bool eof = canonical && mark && c == 0;

		/* An end of file right behind the last byte asked for belongs to this read. */
		if (done == n && !(eof && n > 0))
			break;
		mark_set(l, l->tail, false);
		l->tail++;
		*end = canonical && mark;
		if (!eof)
			buf[done++] = (char)c;
	}
	/* In raw mode nothing is being edited. */
	if ((s32)(l->line - l->tail) < 0)
		l->line = l->tail;
	return done;
}

size_t ldisc_available(const struct ldisc *l)
{
	u32 limit = lflag(l, ICANON) ? l->line : l->head;
	size_t n = 0;

	for (u32 i = l->tail; i != limit; i++) {
		if (!lflag(l, ICANON) || !mark_get(l, i) || l->buf[i % LDISC_SIZE] != 0)
			n++;
	}
	return n;
}

void ldisc_flush_input(struct ldisc *l)
{
	l->tail = l->line = l->head;
	l->literal = false;
	memset(l->mark, 0, sizeof(l->mark));
}

/*
 * What was typed ahead survives a change of mode: raw mode may read a line half edited; and what
 * raw mode left is one line for canonical mode.
 */
void ldisc_set_termios(struct ldisc *l, const struct termios *tio)
{
	bool was = lflag(l, ICANON);

	l->tio = *tio;
	if (!iflag(l, IXON))
		l->stopped = false;
	if (was == lflag(l, ICANON))
		return;
	l->literal = false;
	if (!was && l->head != l->tail)
		mark_set(l, l->head - 1, true);
	l->line = l->head;
	l->line_column = l->column;
}
