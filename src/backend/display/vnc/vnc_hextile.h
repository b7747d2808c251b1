/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hextile, an encoding of RFB (RFC 6143 7.7.4): tiles of 16x16 pixels, each a background and rectangles on it. */
#ifndef XUNI_BACKEND_DISPLAY_VNC_VNC_HEXTILE_H
#define XUNI_BACKEND_DISPLAY_VNC_VNC_HEXTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEXTILE_SIDE = 16, HEXTILE_TILE_MAX = 1 + HEXTILE_SIDE * HEXTILE_SIDE * 4 };

/* What the client remembers from tile to tile of a rectangle; all zero at its beginning. */
struct hextile_colours {
	uint32_t background, foreground;
	bool background_known, foreground_known;
};

/* Encodes a tile of width x height pixels, each from 1 to 16; pixels that are not in it may have any value. A pixel
 * goes out as its lowest pixel_bytes (1, 2 or 4), the lowest byte first. Returns the bytes put into `to`. */
size_t hextile_encode(struct hextile_colours *colours, const uint32_t pixels[HEXTILE_SIDE][HEXTILE_SIDE],
		      unsigned width, unsigned height, unsigned pixel_bytes, uint8_t to[HEXTILE_TILE_MAX]);

#endif
