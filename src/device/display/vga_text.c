/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text modes: cells to listeners of text, and to pixels for the others. A cell is a word of video memory: character,
 * attribute, and a byte of the font that belongs to another place.
 *
 * Cursor and characters blink by the virtual clock: the cursor changes every 16 frames of 70 Hz, characters every 32.
 */
#include "device/display/vga_screen.h"

#include "base/util.h"
#include "core/clock.h"

#define CURSOR_HALF_NS (16 * NS_PER_S / 70)
#define BLINK_HALF_NS  (32 * NS_PER_S / 70)

struct layout {
	uint32_t columns, rows; /* as many as are drawn, in part perhaps */
	uint32_t cell_width, cell_height;
	int32_t left, top; /* of the first cell: panned out to the left and above */
};

static struct layout layout_of(const struct vga_mode *mode)
{
	struct layout layout = {.cell_width = mode->cell_width, .cell_height = mode->scan_lines << mode->double_scan};
	uint32_t above = (mode->first_scan << mode->double_scan) % layout.cell_height;

	layout.left = -(int32_t)mode->pan;
	layout.top = -(int32_t)above;
	layout.columns = (uint32_t)min_u64((mode->width + mode->pan + layout.cell_width - 1) / layout.cell_width,
					   VGA_TEXT_COLUMNS);
	layout.rows =
		(uint32_t)min_u64((mode->height + above + layout.cell_height - 1) / layout.cell_height, VGA_TEXT_ROWS);
	return layout;
}

/* Byte offset of a cell. A split shows the beginning of memory from a row on. */
static uint32_t cell_offset(const struct vga_mode *mode, const struct layout *layout, uint32_t column, uint32_t row)
{
	uint32_t start = mode->start,
		 split_row = mode->split == UINT32_MAX ? UINT32_MAX : mode->split / layout->cell_height;

	if (row >= split_row) {
		start = 0;
		row -= split_row;
	}
	return (start + row * mode->stride + 4 * column) & (mode->size - 4);
}

static uint16_t cell_at(const struct vga_screen *screen, uint32_t offset)
{
	return load_le16(screen->vga->memory + offset);
}

/* --- pixels --- */

/* The bits of a glyph's line, leftmost first, `cell_width` of them. */
static uint32_t glyph_bits(const struct vga_mode *mode, const uint8_t *glyph, uint8_t character, uint32_t line)
{
	uint32_t bits = line < 32 ? glyph[line] : 0;

	if (mode->cell_width == 16) {
		uint32_t wide = 0;

		for (unsigned i = 0; i < 8; i++)
			wide |= (bits >> i & 1) * 3u << 2 * i;
		return wide;
	}
	if (mode->cell_width == 8)
		return bits;
	/* The ninth column is background, or continues lines. */
	return bits << 1 | (mode->line_graphics && (character & 0xe0) == 0xc0 ? bits & 1 : 0);
}

static void draw_cell(const struct vga_screen *screen, const struct vga_mode *mode, const struct layout *layout,
		      uint32_t column, uint32_t row, uint32_t *pixels)
{
	uint16_t cell = screen->cells[row * VGA_TEXT_COLUMNS + column];
	uint8_t character = (uint8_t)cell, attribute = cell >> 8;
	const uint8_t *glyph = screen->font[character + (attribute & 8 ? 256 : 0)];
	uint32_t foreground = mode->palette[attribute & 15],
		 background = mode->palette[attribute >> 4 & (mode->blink ? 7 : 15)];
	const struct vga_cursor_drawn *cursor = &screen->cursor;
	bool dark = mode->blink && attribute & 0x80 && screen->blink_off;
	int32_t x = layout->left + (int32_t)(column * layout->cell_width),
		y = layout->top + (int32_t)(row * layout->cell_height);

	for (uint32_t line = 0; line < layout->cell_height; line++, y++) {
		uint32_t scan = line >> mode->double_scan;
		uint32_t bits = dark ? 0 : glyph_bits(mode, glyph, character, scan),
			 full = (1u << layout->cell_width) - 1;

		if (y < 0 || y >= (int32_t)mode->height)
			continue;
		if (scan == mode->underline && (attribute & 0x77) == 1 && !dark)
			bits = full;
		if (cursor->on && cursor->row == row && cursor->column == column && scan >= cursor->first &&
		    scan <= cursor->last)
			bits = full;
		for (uint32_t i = 0; i < layout->cell_width; i++) {
			int32_t at = x + (int32_t)i;

			if (at >= 0 && at < (int32_t)mode->width)
				pixels[(size_t)y * mode->width + (uint32_t)at] =
					bits >> (layout->cell_width - 1 - i) & 1 ? foreground : background;
		}
	}
}

/* True when the font is another than the one that was drawn. */
static bool read_font(struct vga_screen *screen, const struct vga_mode *mode)
{
	bool changed = false;

	for (unsigned glyph = 0; glyph < 512; glyph++) {
		const uint8_t *from = screen->vga->memory + mode->font[glyph / 256] + 4 * 32 * (glyph & 255) + 2;

		for (unsigned line = 0; line < 32; line++) {
			changed |= screen->font[glyph][line] != from[4 * line];
			screen->font[glyph][line] = from[4 * line];
		}
	}
	return changed;
}

static bool font_dirty(const struct vga_screen *screen, const struct vga_mode *mode)
{
	for (unsigned set = 0; set < 2; set++)
		for (uint32_t page = mode->font[set] >> PAGE_SHIFT; page < (mode->font[set] + 0x8000) >> PAGE_SHIFT;
		     page++)
			if (screen->dirty[page / 8] >> page % 8 & 1)
				return true;
	return false;
}

/* The cursor's cell in the picture; false: it is not in it. */
static bool find_cursor(const struct vga_mode *mode, const struct layout *layout, const struct vga_text_cursor *cursor,
			struct vga_cursor_drawn *place)
{
	uint32_t cell = (cursor->offset - mode->start) & (mode->size - 1);

	*place = (struct vga_cursor_drawn){0};
	if (!cursor->on || !mode->stride || cell / mode->stride >= layout->rows ||
	    cell % mode->stride / 4 >= layout->columns)
		return false;
	*place = (struct vga_cursor_drawn){.on = true,
					   .row = cell / mode->stride,
					   .column = cell % mode->stride / 4,
					   .first = cursor->first,
					   .last = cursor->last};
	return true;
}

static void show_cell(struct vga_screen *screen, const struct vga_mode *mode, const struct layout *layout,
		      uint32_t column, uint32_t row, uint32_t *pixels)
{
	int32_t x = layout->left + (int32_t)(column * layout->cell_width),
		y = layout->top + (int32_t)(row * layout->cell_height);
	uint32_t right = (uint32_t)(x + (int32_t)layout->cell_width),
		 bottom = (uint32_t)(y + (int32_t)layout->cell_height);

	draw_cell(screen, mode, layout, column, row, pixels);
	x = x < 0 ? 0 : x;
	y = y < 0 ? 0 : y;
	display_dirty(screen->console, (uint32_t)x, (uint32_t)y, right - (uint32_t)x, bottom - (uint32_t)y);
}

static void update_pixels(struct vga_screen *screen, const struct vga_mode *mode, const struct layout *layout,
			  const struct vga_text_cursor *cursor)
{
	int64_t now_ns = clock_now(screen->vga->env->clock);
	struct vga_cursor_drawn place, before = screen->cursor;
	bool blink_off = now_ns / BLINK_HALF_NS & 1, blink_changed = blink_off != screen->blink_off, all, fresh;
	uint32_t *pixels = display_show_own(screen->console, mode->width, mode->height, &fresh);

	if (!pixels)
		return;
	all = fresh || !screen->watched || !screen->text_valid || memcmp(mode, &screen->drawn, sizeof(*mode));
	if (screen->watched)
		ram_block_harvest(screen->vga->vram, RAM_DISPLAY, screen->dirty);
	if (all || font_dirty(screen, mode))
		all |= read_font(screen, mode);
	find_cursor(mode, layout, cursor, &place);
	place.on = place.on && !(now_ns / CURSOR_HALF_NS & 1);
	screen->cursor = place;
	screen->blink_off = blink_off;
	for (uint32_t row = 0; row < layout->rows; row++) {
		for (uint32_t column = 0; column < layout->columns; column++) {
			uint16_t cell = cell_at(screen, cell_offset(mode, layout, column, row));
			uint16_t *drawn = &screen->cells[row * VGA_TEXT_COLUMNS + column];
			bool changed = all || cell != *drawn || (blink_changed && mode->blink && cell & 0x8000);

			if (memcmp(&place, &before, sizeof(place)))
				changed |= (place.on && place.row == row && place.column == column) ||
					   (before.on && before.row == row && before.column == column);
			*drawn = cell;
			if (all)
				draw_cell(screen, mode, layout, column, row, pixels);
			else if (changed)
				show_cell(screen, mode, layout, column, row, pixels);
		}
	}
	if (all)
		display_dirty(screen->console, 0, 0, mode->width, mode->height);
	screen->text_valid = true;
	screen->columns = layout->columns;
	screen->rows = layout->rows;
}

/* --- cells --- */

static struct display_cell translate(const struct vga_mode *mode, uint16_t cell)
{
	uint8_t attribute = cell >> 8;
	bool two_fonts = mode->font[0] != mode->font[1];

	return (struct display_cell){
		.glyph = (uint16_t)((cell & 0xff) | (two_fonts && attribute & 8 ? 256 : 0)),
		.foreground = attribute & 15,
		.background = attribute >> 4 & (mode->blink ? 7 : 15),
		.blink = mode->blink && attribute & 0x80,
		.underline = mode->underline < mode->scan_lines && (attribute & 0x77) == 1,
	};
}

static void update_cells(struct vga_screen *screen, const struct vga_mode *mode, const struct layout *layout,
			 const struct vga_text_cursor *cursor)
{
	uint32_t columns = (uint32_t)min_u64(mode->width / layout->cell_width, VGA_TEXT_COLUMNS);
	uint32_t rows = (uint32_t)min_u64(mode->height / layout->cell_height, VGA_TEXT_ROWS);
	struct vga_cursor_drawn place;
	struct display_cell *cells;
	struct display_text *text =
		display_show_text(screen->console, columns, rows, layout->cell_width, layout->cell_height, &cells);

	for (uint32_t row = 0; row < rows; row++) {
		for (uint32_t column = 0; column < columns; column++) {
			struct display_cell cell =
				translate(mode, cell_at(screen, cell_offset(mode, layout, column, row)));
			struct display_cell *old = &cells[row * columns + column];

			if (!memcmp(old, &cell, sizeof(cell)))
				continue;
			*old = cell;
			display_text_dirty(screen->console, column, row, 1, 1);
		}
	}
	find_cursor(mode, layout, cursor, &place);
	if (place.on != text->cursor_on || place.column != text->cursor_column || place.row != text->cursor_row) {
		display_text_dirty(screen->console, text->cursor_column, text->cursor_row, 1, 1);
		display_text_dirty(screen->console, place.column, place.row, 1, 1);
	}
	text->cursor_on = place.on;
	text->cursor_column = place.column;
	text->cursor_row = place.row;
	text->cursor_first = place.first;
	text->cursor_last = place.last;
	memcpy(text->palette, mode->palette, sizeof(text->palette));
	if (read_font(screen, mode))
		screen->text_valid = false; /* the pixels have another one */
	text->font = (const uint8_t(*)[32])screen->font;
}

void vga_text_update(struct vga_screen *screen, const struct vga_mode *mode, const struct vga_text_cursor *cursor,
		     enum display_content content)
{
	struct layout layout = layout_of(mode);

	if (content == DISPLAY_PIXELS)
		update_pixels(screen, mode, &layout, cursor);
	else
		update_cells(screen, mode, &layout, cursor);
}
