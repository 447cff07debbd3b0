/* The screen: VGA text or a linear framebuffer, behind one terminal emulator (dev/ansi.h). */
#pragma once

#include "lib/types.h"

/* Finds the screen and clears it. False: there is none. After memory is up; may sleep. */
bool screen_init(void);

/* Shows text with escape sequences. \n also returns to column 0 (log lines). Any context. */
void screen_log(const char *s, size_t n);

/* As a terminal shows it: \n only goes down. Any context. */
void screen_write(const char *s, size_t n);

/* In characters. */
void screen_size(u32 *columns, u32 *rows);

/* Takes the answer to the last query that was written (cursor position): its length, 0: none. */
size_t screen_take_reply(char *buf, size_t n);
