/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a terminal makes of the bytes that it gets: rows of cells, and a cursor. No locks, no pixels. */
#ifndef XUNI_BACKEND_DISPLAY_VT_SCREEN_H
#define XUNI_BACKEND_DISPLAY_VT_SCREEN_H

#include "backend/display/display.h"

enum { VT_PARAMETERS = 8 };

enum vt_state { GROUND, ESCAPE, ESCAPE_SKIP, CONTROL, STRING };

struct vt_place {
	uint32_t column, row;
};

struct vt_screen {
	uint32_t columns, rows;
	struct display_cell *lines; /* a ring */
	uint32_t first;             /* line of the screen's first row */
	uint32_t kept, back;        /* lines above it; how far the view has gone back among them */
	struct vt_place at, saved;
	bool wrap_due; /* the last column has been written: the next character goes to the next line */
	bool cursor_hidden, reverse;
	struct display_cell pen;       /* glyph 0 */
	uint32_t dirty_from, dirty_to; /* rows of the view that have changed; the user sets them back */

	enum vt_state state;
	uint32_t parameters[VT_PARAMETERS], parameter_count;
	bool private_mode;
	uint32_t character; /* of UTF-8, as far as it has come */
	unsigned character_bytes;
};

/* columns, rows: 1..256. */
void vt_screen_init(struct vt_screen *screen, uint32_t columns, uint32_t rows);
void vt_screen_free(struct vt_screen *screen);
void vt_screen_take(struct vt_screen *screen, uint8_t byte);
/* Rows [from, to) are to be shown anew. */
void vt_screen_mark(struct vt_screen *screen, uint32_t from, uint32_t to);
/* The view moves by that many lines, up where it is positive, as far as there are any. */
void vt_screen_look_back(struct vt_screen *screen, int32_t by);
/* A row of the view; screen->columns cells. */
const struct display_cell *vt_screen_row(const struct vt_screen *screen, uint32_t row);

#endif
