/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A text console: a terminal's screen (vt_screen.h) as a console of the display, drawn with 8 x 16 pixels a character,
 * and keys as the bytes that such a terminal sends. Ctrl with PageUp, PageDown, Up and Down looks at what has gone.
 *
 * Threads: vt_write in any, everything else in the main loop's; `lock` guards the screen.
 */
#include "backend/display/vt.h"

#include "backend/display/vt_screen.h"
#include "base/util.h"

#include <pthread.h>
#include <stdlib.h>

enum { CELL_WIDTH = 8, CELL_HEIGHT = 16, PAGE = 10 };

struct vt {
	struct display_console *console;
	uint8_t font[256][CELL_HEIGHT];
	vt_typed_fn *typed;
	void *opaque;

	pthread_mutex_t lock;
	struct vt_screen screen;
	struct vt_place cursor_shown;
};

void vt_write(struct vt *vt, const uint8_t *data, size_t length)
{
	pthread_mutex_lock(&vt->lock);
	for (size_t i = 0; i < length; i++)
		vt_screen_take(&vt->screen, data[i]);
	pthread_mutex_unlock(&vt->lock);
}

/* --- the console --- */

static const uint32_t palette[16] = {0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa,
				     0x555555, 0x5555ff, 0x55ff55, 0x55ffff, 0xff5555, 0xff55ff, 0xffff55, 0xffffff};

static void draw(const struct vt *vt, const struct display_cell *cell, bool cursor, uint32_t *pixels)
{
	uint32_t foreground = palette[cell->foreground & 15], background = palette[cell->background & 15];

	for (uint32_t y = 0; y < CELL_HEIGHT; y++) {
		uint8_t bits = vt->font[cell->glyph & 255][y];

		if ((cell->underline && y == CELL_HEIGHT - 1) || (cursor && y >= CELL_HEIGHT - 3))
			bits = 0xff;
		for (uint32_t x = 0; x < CELL_WIDTH; x++)
			pixels[(size_t)y * vt->screen.columns * CELL_WIDTH + x] =
				bits & 0x80 >> x ? foreground : background;
	}
}

static void draw_rows(struct vt *vt, uint32_t *pixels, uint32_t from, uint32_t to, bool cursor_on)
{
	for (uint32_t row = from; row < to; row++) {
		const struct display_cell *cells = vt_screen_row(&vt->screen, row);
		uint32_t *at = pixels + (size_t)row * CELL_HEIGHT * vt->screen.columns * CELL_WIDTH;

		for (uint32_t column = 0; column < vt->screen.columns; column++)
			draw(vt, &cells[column],
			     cursor_on && row == vt->screen.at.row && column == vt->screen.at.column,
			     at + (size_t)column * CELL_WIDTH);
	}
}

static void update(void *opaque, enum display_content content)
{
	struct vt *vt = opaque;
	bool fresh, cursor_on;
	uint32_t *pixels =
		display_show_own(vt->console, vt->screen.columns * CELL_WIDTH, vt->screen.rows * CELL_HEIGHT, &fresh);
	struct display_cell *cells;
	struct display_text *text =
		display_show_text(vt->console, vt->screen.columns, vt->screen.rows, CELL_WIDTH, CELL_HEIGHT, &cells);

	pthread_mutex_lock(&vt->lock);
	if (fresh)
		vt_screen_mark(&vt->screen, 0, vt->screen.rows);
	if (vt->cursor_shown.row != vt->screen.at.row || vt->cursor_shown.column != vt->screen.at.column) {
		vt_screen_mark(&vt->screen, vt->cursor_shown.row, vt->cursor_shown.row + 1);
		vt_screen_mark(&vt->screen, vt->screen.at.row, vt->screen.at.row + 1);
	}
	vt->cursor_shown = vt->screen.at;
	cursor_on = !vt->screen.cursor_hidden && !vt->screen.back;
	text->cursor_on = cursor_on;
	text->cursor_column = vt->screen.at.column;
	text->cursor_row = vt->screen.at.row;
	text->cursor_first = CELL_HEIGHT - 3;
	text->cursor_last = CELL_HEIGHT - 1;
	memcpy(text->palette, palette, sizeof(text->palette));
	if (vt->screen.dirty_from < vt->screen.dirty_to) {
		for (uint32_t row = vt->screen.dirty_from; row < vt->screen.dirty_to; row++)
			memcpy(cells + (size_t)row * vt->screen.columns, vt_screen_row(&vt->screen, row),
			       vt->screen.columns * sizeof(*cells));
		if (pixels)
			draw_rows(vt, pixels, vt->screen.dirty_from, vt->screen.dirty_to, cursor_on);
		display_text_dirty(vt->console, 0, vt->screen.dirty_from, vt->screen.columns,
				   vt->screen.dirty_to - vt->screen.dirty_from);
		display_dirty(vt->console, 0, vt->screen.dirty_from * CELL_HEIGHT, vt->screen.columns * CELL_WIDTH,
			      (vt->screen.dirty_to - vt->screen.dirty_from) * CELL_HEIGHT);
	}
	vt->screen.dirty_from = UINT32_MAX;
	vt->screen.dirty_to = 0;
	pthread_mutex_unlock(&vt->lock);
}

static void watch(void *opaque, bool on)
{
}

/* --- keys --- */

/* True when the key has moved the view; any other shows the screen again. */
static bool scroll(struct vt *vt, const struct display_typed *typed)
{
	int32_t by = typed->key == INPUT_KEY_PGUP   ? PAGE
		     : typed->key == INPUT_KEY_PGDN ? -PAGE
		     : typed->key == INPUT_KEY_UP   ? 1
		     : typed->key == INPUT_KEY_DOWN ? -1
						    : 0;

	vt_screen_look_back(&vt->screen, typed->ctrl ? by : -(int32_t)vt->screen.back);
	return typed->ctrl && by;
}

static const char *sequence(enum input_key key)
{
	switch (key) {
	case INPUT_KEY_UP:
		return "\033[A";
	case INPUT_KEY_DOWN:
		return "\033[B";
	case INPUT_KEY_RIGHT:
		return "\033[C";
	case INPUT_KEY_LEFT:
		return "\033[D";
	case INPUT_KEY_HOME:
		return "\033[1~";
	case INPUT_KEY_INSERT:
		return "\033[2~";
	case INPUT_KEY_DELETE:
		return "\033[3~";
	case INPUT_KEY_END:
		return "\033[4~";
	case INPUT_KEY_PGUP:
		return "\033[5~";
	case INPUT_KEY_PGDN:
		return "\033[6~";
	case INPUT_KEY_RET:
	case INPUT_KEY_KP_ENTER:
		return "\r";
	case INPUT_KEY_BACKSPACE:
		return "\177";
	case INPUT_KEY_TAB:
		return "\t";
	case INPUT_KEY_ESC:
		return "\033";
	default:
		return "";
	}
}

/* UTF-8, or the control character that Ctrl makes of it. */
static size_t encode(uint32_t character, bool ctrl, char bytes[4])
{
	if (ctrl && ((character >= '@' && character <= '_') || (character >= 'a' && character <= 'z')))
		character &= 0x1f;
	if (character < 0x80) {
		bytes[0] = (char)character;
		return 1;
	}
	if (character < 0x800) {
		bytes[0] = (char)(0xc0 | character >> 6);
		bytes[1] = (char)(0x80 | (character & 0x3f));
		return 2;
	}
	if (character >= 0x10000)
		return 0;
	bytes[0] = (char)(0xe0 | character >> 12);
	bytes[1] = (char)(0x80 | (character >> 6 & 0x3f));
	bytes[2] = (char)(0x80 | (character & 0x3f));
	return 3;
}

static void type(void *opaque, const struct display_typed *typed)
{
	struct vt *vt = opaque;
	char bytes[4];
	bool scrolled;

	pthread_mutex_lock(&vt->lock);
	scrolled = scroll(vt, typed);
	pthread_mutex_unlock(&vt->lock);
	if (scrolled)
		return;
	if (typed->character)
		vt->typed(vt->opaque, bytes, encode(typed->character, typed->ctrl, bytes));
	else
		vt->typed(vt->opaque, sequence(typed->key), strlen(sequence(typed->key)));
}

struct vt *vt_new(struct display *display, const char *name, uint32_t columns, uint32_t rows,
		  const uint8_t font[VT_FONT_BYTES], vt_typed_fn *typed, void *opaque)
{
	struct vt *vt = xcalloc(1, sizeof(*vt));
	struct display_source source = {.update = update, .watch = watch, .type = type, .opaque = vt};

	memcpy(vt->font, font, sizeof(vt->font));
	vt->typed = typed;
	vt->opaque = opaque;
	vt_screen_init(&vt->screen, columns, rows);
	pthread_mutex_init(&vt->lock, NULL);
	vt->console = display_console_new(display, name, &source);
	return vt;
}

void vt_free(struct vt *vt)
{
	display_console_free(vt->console);
	pthread_mutex_destroy(&vt->lock);
	vt_screen_free(&vt->screen);
	free(vt);
}
