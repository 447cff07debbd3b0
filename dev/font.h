/* The 8x16 font of the framebuffer: ASCII, and a box for everything else. */
#pragma once

#include "lib/types.h"

#define FONT_WIDTH  8
#define FONT_HEIGHT 16

/* Draws the glyphs. Once, before font_glyph. */
void font_init(void);

/* FONT_HEIGHT bytes, top first; bit 7 is the left pixel. */
const u8 *font_glyph(u8 c);
