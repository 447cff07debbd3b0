/*
 * Interrupt anywhere: option anywhere (without it nothing is patched, and nothing costs anything).
 * /proc/jiffy/anywhere takes on and off, and tells what was reached. docs/testing.md
 */
#pragma once

#include "lib/types.h"

/* Boot: the hooks that the command line wants, beside those that are on. */
unsigned anywhere_early_init(unsigned hooks);
/* alloc: TRACE_CHUNK bytes of zeroes. */
void anywhere_init(void *(*alloc)(void));

struct textbuf;
void anywhere_show(struct textbuf *t);
int anywhere_control(const char *word); /* 0, -EINVAL, -ENOTSUP (not booted with it) */
