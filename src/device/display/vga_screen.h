/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the main loop knows about a VGA's console: what it has drawn. Shared by vga_screen.c and vga_text.c. */
#ifndef XUNI_DEVICE_DISPLAY_VGA_SCREEN_H
#define XUNI_DEVICE_DISPLAY_VGA_SCREEN_H

#include "backend/display/display.h"
#include "device/display/vga.h"

/* More than registers can ask for: 256 columns, and lines of 4 dots. */
#define VGA_TEXT_COLUMNS 256
#define VGA_TEXT_ROWS    256

struct vga_overlay {
	uint64_t key; /* 0: none */
	uint32_t first, rows;
};

/* Where and how a text cursor was drawn. */
struct vga_cursor_drawn {
	bool on;
	uint32_t column, row, first, last;
};

struct vga_screen {
	struct vga *vga;
	struct display_console *console;
	bool watched;          /* writes to video memory are tracked */
	struct vga_mode drawn; /* what the pixels show; zero: nothing yet */
	uint8_t *dirty;        /* a bit a page, of the update that is going on */
	uint32_t *line;        /* one row, and more where it is drawn in units */
	uint8_t *wrapped;      /* a row that goes round the end of memory */
	struct vga_overlay overlay_now, overlay_shown;

	bool text_valid; /* the following are what the pixels show */
	struct vga_cursor_drawn cursor;
	bool blink_off; /* blinking characters are dark */
	uint32_t columns, rows;
	uint16_t cells[VGA_TEXT_ROWS * VGA_TEXT_COLUMNS]; /* character, attribute */
	uint8_t font[512][32];
};

void vga_text_update(struct vga_screen *screen, const struct vga_mode *mode, const struct vga_text_cursor *cursor,
		     enum display_content content);

#endif
