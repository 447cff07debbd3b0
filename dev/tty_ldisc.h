/*
 * The line discipline: what a terminal does to characters on their way between its device and
 * programs (termios(3)). Pure computation on a struct ldisc; the caller has its lock.
 */
#pragma once

#include "lib/types.h"
#include "lib/uapi/termios.h"

#define LDISC_SIZE 4096 /* of the input, power of two; Linux's too, programs know it as MAX_CANON */

struct ldisc {
	struct termios tio;
	/* Where output and echo go: must not sleep. */
	void (*out)(void *arg, const char *s, size_t n);
	void *arg;

	/*
	 * Input: indices run freely, tail <= line <= head <= tail + LDISC_SIZE. In canonical mode
	 * [tail, line) are whole lines and [line, head) is being edited; `mark` has a bit for each
	 * character that ends a line, and a NUL with a mark is an end of file.
	 */
	u32 tail, line, head;
	u8 buf[LDISC_SIZE];
	u8 mark[LDISC_SIZE / 8];

	u32 signals; /* bit n: signal n is to go to the foreground group; the caller clears it */
	u32 column;  /* of the cursor, for tabs */
	u32 line_column; /* where the line being edited began on the screen */
	bool literal;    /* VLNEXT was typed */
	bool stopped;    /* VSTOP was typed */
};

void ldisc_init(struct ldisc *l, void (*out)(void *arg, const char *s, size_t n), void *arg);

/* One character from the device. May echo, raise bits in l->signals, start and stop output. */
void ldisc_input(struct ldisc *l, u8 c);

/* Output of a program, by c_oflag. */
void ldisc_output(struct ldisc *l, const char *s, size_t n);

/* Does a read have something now: a whole line, or any character in raw mode? */
bool ldisc_readable(const struct ldisc *l);

/*
 * Takes up to n characters; in canonical mode not beyond the line's end. *end: the line (or the
 * file) has ended with them, so that the read ends too; in raw mode always false.
 */
size_t ldisc_read(struct ldisc *l, char *buf, size_t n, bool *end);

/* Characters that reads would get now (FIONREAD). */
size_t ldisc_available(const struct ldisc *l);

void ldisc_flush_input(struct ldisc *l);
void ldisc_set_termios(struct ldisc *l, const struct termios *tio);
