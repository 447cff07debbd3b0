/* The PS/2 keyboard. */
#pragma once

#include "lib/types.h"

/*
 * Starts the keyboard; `input` is called with the characters of each key, from its interrupt. 0,
 * -ENODEV: no controller, -ENOMEM. May be called once.
 */
int keyboard_init(void (*input)(const char *s, size_t n));
