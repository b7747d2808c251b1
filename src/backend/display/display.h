/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Screens between display devices and those who look at them (VNC, curses, screendump).
 *
 * A machine has one struct display, which holds a console for each display device (none for a machine without one). A
 * console shows pixels, and in text modes characters as well. Nothing is drawn unless a listener asks: display_update
 * makes the device bring the console up to date and says what has changed since this listener asked last. Listeners ask
 * at their own pace, and a console that nobody listens to is told so and tracks nothing.
 *
 * Threads: everything here is called in the main loop's thread. Guests change a device's registers in vCPU threads
 * under the device's own lock; the device takes it in its update callback, and nothing here is called with it by a
 * vCPU.
 */
#ifndef XUNI_BACKEND_DISPLAY_DISPLAY_H
#define XUNI_BACKEND_DISPLAY_DISPLAY_H

#include "backend/display/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct display;
struct display_console;
struct display_listener;

enum display_content {
	DISPLAY_PIXELS = 1 << 0,
	DISPLAY_TEXT = 1 << 1,
};

struct display_rect {
	uint32_t x, y, width, height;
};

/* What a listener can be told at once; more is told as fewer and larger ones. */
#define DISPLAY_RECTS_MAX 32
#define DISPLAY_SIDE_MAX  16384u

struct display_surface {
	uint32_t width, height; /* pixels; 0 before the first update */
	uint32_t stride_bytes;
	/* 0x00RRGGBB, the top byte means nothing. May be guest memory: it can change at any time, and a change after
	 * the update is told by the next one. Valid until the next display_update of this console by anybody. */
	const uint32_t *pixels;
	uint32_t generation; /* changes with width, height, stride or pixels */
};

/* Attributes are those of a VGA: colours are indices into the palette. */
struct display_cell {
	uint16_t glyph;                 /* 0..511 */
	uint8_t foreground, background; /* 0..15 */
	bool blink, underline;
};

struct display_text {
	uint32_t columns, rows;
	uint32_t cell_width, cell_height; /* pixels */
	const struct display_cell *cells; /* rows of `columns` */
	bool cursor_on;                   /* shown now or in the other half of its blinking */
	uint32_t cursor_column, cursor_row;
	uint32_t cursor_first, cursor_last; /* scan lines in the cell */
	uint32_t palette[16];               /* 0x00RRGGBB */
	const uint8_t (*font)[32];          /* 512 glyphs, a byte a scan line, the left pixel in bit 7 */
	uint32_t generation;                /* changes with columns, rows and the size of cells */
};

/* A pointer that the device draws beside the surface. */
struct display_cursor {
	uint32_t width, height; /* at most DISPLAY_CURSOR_MAX */
	uint32_t hot_x, hot_y;
	const uint32_t *pixels; /* 0xAARRGGBB, not premultiplied */
};
#define DISPLAY_CURSOR_MAX 512u

/* --- the machine --- */

struct display *display_new(void);
/* All consoles and listeners are gone. */
void display_free(struct display *display);

/* --- the device's side --- */

/* A key as a terminal understands it. */
struct display_typed {
	uint32_t character; /* Unicode; 0: `key` is one that makes none */
	enum input_key key;
	bool ctrl;
};

/* How a console reaches its device. */
struct display_source {
	/* Brings the console up to date: shows surface and text, marks what changed as dirty. `content`: what is asked
	 * for; DISPLAY_TEXT alone need not draw pixels. Without a watch before it, nothing has been tracked: redraws
	 * all. */
	void (*update)(void *opaque, enum display_content content);
	/* The first listener came (on) or the last one went: tracks changes from now on, or no more. */
	void (*watch)(void *opaque, bool on);
	/* A viewer would like this size; may be NULL. */
	void (*prefer)(void *opaque, uint32_t width, uint32_t height);
	/* A text console takes what is typed while it is shown, which does not go to the guest's keyboard then; NULL:
	 * the console of a display device. */
	void (*type)(void *opaque, const struct display_typed *typed);
	void *opaque;
};

/* name: the device's id or model, copied. */
struct display_console *display_console_new(struct display *display, const char *name,
					    const struct display_source *source);
/* Listeners are told `gone`. */
void display_console_free(struct display_console *console);

/* From now on the surface is `pixels`, which stays readable until another one is shown (or the console is freed).
 * Nothing happens when it is the same one; else all of it is dirty. */
void display_show(struct display_console *console, uint32_t width, uint32_t height, uint32_t stride_bytes,
		  const uint32_t *pixels);
/* The same with memory of the console's own, width * 4 bytes a row; returns it. *fresh: it is another one than before,
 * so all of it must be drawn. NULL when there is no memory (the surface is then empty). */
uint32_t *display_show_own(struct display_console *console, uint32_t width, uint32_t height, bool *fresh);
/* Clipped to the surface. */
void display_dirty(struct display_console *console, uint32_t x, uint32_t y, uint32_t width, uint32_t height);
/* The text to be filled in: columns, rows and cell size are set, and cells may be written as struct display_cell *.
 * At most 256 x 256 cells. */
struct display_text *display_show_text(struct display_console *console, uint32_t columns, uint32_t rows,
				       uint32_t cell_width, uint32_t cell_height, struct display_cell **cells);
/* In cells. */
void display_text_dirty(struct display_console *console, uint32_t column, uint32_t row, uint32_t columns,
			uint32_t rows);
/* The screen shows graphics of this size, which is all that listeners of text get; 0: nothing. */
void display_show_no_text(struct display_console *console, uint32_t width, uint32_t height);
/* NULL: there is none. Copied. */
void display_set_cursor(struct display_console *console, const struct display_cursor *cursor);
void display_move_cursor(struct display_console *console, int32_t x, int32_t y, bool visible);

/* --- the listener's side --- */

/* Called inside display_update or when a device moves its cursor. May be NULL each. */
struct display_listener_ops {
	/* Surface (or, for DISPLAY_TEXT, text) with another generation; all of it is dirty. */
	void (*resized)(void *opaque);
	void (*cursor_changed)(void *opaque); /* shape; see display_cursor */
	void (*cursor_moved)(void *opaque, int32_t x, int32_t y, bool visible);
	/* The console is going away: only display_unlisten may be called on it from now on. */
	void (*gone)(void *opaque);
};

/* Those of devices in order of creation, then text consoles likewise; NULL behind the last. */
struct display_console *display_console_at(const struct display *display, unsigned index);
struct display_console *display_console_find(const struct display *display, const char *name);
const char *display_console_name(const struct display_console *console);

/* content: what it wants to be told of, one of the two. A listener of text sees by display_text whether there is any,
 * and by display_graphics_size what there is instead; `resized` tells of changes of both. */
struct display_listener *display_listen(struct display_console *console, enum display_content content,
					const struct display_listener_ops *ops, void *opaque);
void display_unlisten(struct display_listener *listener);

/* Brings the console up to date; returns how many rectangles (pixels, or cells for DISPLAY_TEXT) have changed since
 * this listener asked last: 0 nothing. The first time everything has. */
size_t display_update(struct display_listener *listener, struct display_rect rects[DISPLAY_RECTS_MAX]);
/* As of the last update of anybody. */
const struct display_surface *display_surface(const struct display_console *console);
/* NULL: graphics. */
const struct display_text *display_text(const struct display_console *console);
/* As of the last update of anybody; 0: blank, or text. */
void display_graphics_size(const struct display_console *console, uint32_t *width, uint32_t *height);
/* NULL: none. */
const struct display_cursor *display_cursor(const struct display_console *console);
void display_cursor_place(const struct display_console *console, int32_t *x, int32_t *y, bool *visible);
/* True for a text console, which display_console_type is for. */
bool display_console_is_text(const struct display_console *console);
void display_console_type(struct display_console *console, const struct display_typed *typed);
/* The size that a viewer would like; the guest may or may not follow. */
void display_prefer(struct display_console *console, uint32_t width, uint32_t height);

#endif
