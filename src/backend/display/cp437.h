/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The characters of a VGA's own font. */
#ifndef XUNI_BACKEND_DISPLAY_CP437_H
#define XUNI_BACKEND_DISPLAY_CP437_H

#include <stdint.h>

/* The Unicode character of a glyph; glyphs from 256 on count from 0 again. */
uint16_t display_cp437(uint16_t glyph);

#endif
