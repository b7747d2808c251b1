/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The characters of a terminal of the VT100 family (ECMA-48): cursor movements, erasing, inserting and deleting of
 * lines and characters, colours and bold; lines that have scrolled off are kept.
 *
 * Left out: scrolling regions, tab stops other than each eighth column, character sets (UTF-8 is read, and shown as far
 * as code page 437 has it), reports to the program, keypad modes.
 */
#include "backend/display/vt_screen.h"

#include "backend/display/cp437.h"
#include "base/util.h"

#include <stdlib.h>

enum { LINES = 512, PARAMETER_MAX = 9999, TAB = 8 };
enum { GREY = 7, BRIGHT = 8, UNKNOWN = '?' };

/* --- the lines --- */

/* row: of the screen; above it are the kept ones. */
static struct display_cell *line(const struct vt_screen *screen, int32_t row)
{
	return screen->lines + (size_t)((screen->first + (uint32_t)(row + LINES)) % LINES) * screen->columns;
}

void vt_screen_mark(struct vt_screen *screen, uint32_t from, uint32_t to)
{
	screen->dirty_from = (uint32_t)min_u64(screen->dirty_from, from);
	screen->dirty_to = (uint32_t)max_u64(screen->dirty_to, to);
}

static void mark_all(struct vt_screen *screen)
{
	vt_screen_mark(screen, 0, screen->rows);
}

static struct display_cell blank(const struct vt_screen *screen)
{
	struct display_cell cell = {
		.glyph = ' ', .foreground = screen->pen.foreground, .background = screen->pen.background};

	return cell;
}

/* [from, to) of a row; both may lie beyond it. */
static void clear(struct vt_screen *screen, uint32_t row, uint32_t from, uint32_t to)
{
	struct display_cell *cells = line(screen, (int32_t)row);

	for (uint32_t column = from; column < to && column < screen->columns; column++)
		cells[column] = blank(screen);
	vt_screen_mark(screen, row, row + 1);
}

/* Rows from..rows move by `count` down (or up, where it is negative); what comes in is blank. */
static void shift_rows(struct vt_screen *screen, uint32_t from, int32_t count)
{
	int32_t rows = (int32_t)screen->rows, top = (int32_t)from;
	size_t bytes = screen->columns * sizeof(*screen->lines);

	if (count > rows - top)
		count = rows - top;
	if (count < top - rows)
		count = top - rows;
	for (int32_t row = rows - 1; row >= top + count && count > 0; row--)
		memcpy(line(screen, row), line(screen, row - count), bytes);
	for (int32_t row = top; row < rows + count && count < 0; row++)
		memcpy(line(screen, row), line(screen, row - count), bytes);
	for (int32_t row = count > 0 ? top : rows + count; row < (count > 0 ? top + count : rows); row++)
		clear(screen, (uint32_t)row, 0, screen->columns);
	vt_screen_mark(screen, from, screen->rows);
}

static void line_feed(struct vt_screen *screen)
{
	if (screen->at.row + 1 < screen->rows) {
		screen->at.row++;
		return;
	}
	screen->first = (screen->first + 1) % LINES;
	screen->kept = (uint32_t)min_u64(screen->kept + 1, LINES - screen->rows);
	if (screen->back)
		screen->back = (uint32_t)min_u64(screen->back + 1, screen->kept);
	clear(screen, screen->at.row, 0, screen->columns);
	mark_all(screen);
}

static void move_to(struct vt_screen *screen, int64_t column, int64_t row)
{
	screen->at.column = column < 0 ? 0 : (uint32_t)min_u64((uint64_t)column, screen->columns - 1);
	screen->at.row = row < 0 ? 0 : (uint32_t)min_u64((uint64_t)row, screen->rows - 1);
	screen->wrap_due = false;
}

static uint8_t glyph_of(uint32_t character)
{
	if (character >= ' ' && character < 0x7f)
		return (uint8_t)character;
	for (unsigned glyph = 1; glyph < 256 && character; glyph++)
		if (display_cp437((uint16_t)glyph) == character)
			return (uint8_t)glyph;
	return UNKNOWN;
}

static void put(struct vt_screen *screen, uint32_t character)
{
	struct display_cell cell = screen->pen;

	if (screen->wrap_due) {
		screen->at.column = 0;
		line_feed(screen);
	}
	cell.glyph = glyph_of(character);
	if (screen->reverse) {
		cell.foreground = screen->pen.background;
		cell.background = screen->pen.foreground;
	}
	line(screen, (int32_t)screen->at.row)[screen->at.column] = cell;
	vt_screen_mark(screen, screen->at.row, screen->at.row + 1);
	screen->wrap_due = screen->at.column + 1 == screen->columns;
	if (!screen->wrap_due)
		screen->at.column++;
}

static void reset(struct vt_screen *screen)
{
	screen->pen = (struct display_cell){.foreground = GREY};
	screen->reverse = screen->cursor_hidden = false;
	screen->saved = (struct vt_place){0, 0};
	move_to(screen, 0, 0);
	for (uint32_t row = 0; row < screen->rows; row++)
		clear(screen, row, 0, screen->columns);
}

/* --- control sequences --- */

/* A count or place, which is 1 where it is left out or 0. */
static uint32_t parameter(const struct vt_screen *screen, unsigned index)
{
	return index < screen->parameter_count && screen->parameters[index] ? screen->parameters[index] : 1;
}

/* Red, green, blue of ECMA-48 to the VGA's blue, green, red. */
static uint8_t colour(uint32_t number)
{
	return (uint8_t)((number & 1) << 2 | (number & 2) | (number & 4) >> 2);
}

static void select_rendition(struct vt_screen *screen, uint32_t code)
{
	if (code == 0) {
		screen->pen = (struct display_cell){.foreground = GREY};
		screen->reverse = false;
	} else if (code == 1) {
		screen->pen.foreground |= BRIGHT;
	} else if (code == 22) {
		screen->pen.foreground &= (uint8_t)~BRIGHT;
	} else if (code == 4 || code == 24) {
		screen->pen.underline = code == 4;
	} else if (code == 5 || code == 25) {
		screen->pen.blink = code == 5;
	} else if (code == 7 || code == 27) {
		screen->reverse = code == 7;
	} else if (code >= 30 && code <= 37) {
		screen->pen.foreground = (uint8_t)((screen->pen.foreground & BRIGHT) | colour(code - 30));
	} else if (code == 39) {
		screen->pen.foreground = (uint8_t)((screen->pen.foreground & BRIGHT) | GREY);
	} else if (code >= 40 && code <= 47) {
		screen->pen.background = colour(code - 40);
	} else if (code == 49) {
		screen->pen.background = 0;
	} else if (code >= 90 && code <= 97) {
		screen->pen.foreground = colour(code - 90) | BRIGHT;
	} else if (code >= 100 && code <= 107) {
		screen->pen.background = colour(code - 100) | BRIGHT;
	}
}

/* mode: 0 from the cursor to the end, 1 from the beginning to the cursor, 2 all. */
static void erase_line(struct vt_screen *screen, uint32_t mode)
{
	clear(screen, screen->at.row, mode == 0 ? screen->at.column : 0,
	      mode == 1 ? screen->at.column + 1 : screen->columns);
}

static void erase_screen(struct vt_screen *screen, uint32_t mode)
{
	for (uint32_t row = 0; row < screen->rows; row++)
		if ((mode != 0 && row < screen->at.row) || (mode != 1 && row > screen->at.row))
			clear(screen, row, 0, screen->columns);
	erase_line(screen, mode);
}

/* Characters from the cursor on move by count to the right or, negative, to the left. */
static void shift_characters(struct vt_screen *screen, int32_t count)
{
	struct display_cell *cells = line(screen, (int32_t)screen->at.row) + screen->at.column;
	uint32_t room = screen->columns - screen->at.column, by = (uint32_t)(count < 0 ? -count : count);

	by = (uint32_t)min_u64(by, room);
	if (count > 0)
		memmove(cells + by, cells, (room - by) * sizeof(*cells));
	else
		memmove(cells, cells + by, (room - by) * sizeof(*cells));
	clear(screen, screen->at.row, count > 0 ? screen->at.column : screen->columns - by,
	      count > 0 ? screen->at.column + by : screen->columns);
}

static void control_sequence(struct vt_screen *screen, uint8_t final)
{
	int64_t column = screen->at.column, row = screen->at.row, count = parameter(screen, 0);
	uint32_t mode = screen->parameter_count ? screen->parameters[0] : 0;

	switch (final) {
	case '@':
		shift_characters(screen, (int32_t)count);
		break;
	case 'A':
		move_to(screen, column, row - count);
		break;
	case 'B':
		move_to(screen, column, row + count);
		break;
	case 'C':
		move_to(screen, column + count, row);
		break;
	case 'D':
		move_to(screen, column - count, row);
		break;
	case 'E':
		move_to(screen, 0, row + count);
		break;
	case 'F':
		move_to(screen, 0, row - count);
		break;
	case 'G':
		move_to(screen, count - 1, row);
		break;
	case 'd':
		move_to(screen, column, count - 1);
		break;
	case 'H':
	case 'f':
		move_to(screen, (int64_t)parameter(screen, 1) - 1, count - 1);
		break;
	case 'J':
		erase_screen(screen, mode);
		break;
	case 'K':
		erase_line(screen, mode);
		break;
	case 'L':
		shift_rows(screen, screen->at.row, (int32_t)count);
		break;
	case 'M':
		shift_rows(screen, screen->at.row, -(int32_t)count);
		break;
	case 'P':
		shift_characters(screen, -(int32_t)count);
		break;
	case 'X':
		clear(screen, screen->at.row, screen->at.column, screen->at.column + (uint32_t)count);
		break;
	case 'm':
		for (uint32_t i = 0; i < screen->parameter_count || i == 0; i++)
			select_rendition(screen, i < screen->parameter_count ? screen->parameters[i] : 0);
		break;
	case 's':
		screen->saved = screen->at;
		break;
	case 'u':
		move_to(screen, screen->saved.column, screen->saved.row);
		break;
	case 'h':
	case 'l':
		if (screen->private_mode && mode == 25)
			screen->cursor_hidden = final == 'l';
		break;
	default: /* unknown ones mean nothing */
		break;
	}
}

static void control_byte(struct vt_screen *screen, uint8_t byte)
{
	if (byte >= '0' && byte <= '9') {
		uint32_t *value;

		if (!screen->parameter_count)
			screen->parameter_count = 1;
		value = &screen->parameters[screen->parameter_count - 1];
		*value = (uint32_t)min_u64(*value * 10 + (byte - '0'), PARAMETER_MAX);
	} else if (byte == ';') {
		if (!screen->parameter_count)
			screen->parameter_count = 1;
		if (screen->parameter_count < VT_PARAMETERS)
			screen->parameters[screen->parameter_count++] = 0;
	} else if (byte == '?') {
		screen->private_mode = true;
	} else if (byte >= 0x40 && byte < 0x7f) {
		control_sequence(screen, byte);
		screen->state = GROUND;
	}
}

static void escape_byte(struct vt_screen *screen, uint8_t byte)
{
	screen->state = GROUND;
	switch (byte) {
	case '[':
		memset(screen->parameters, 0, sizeof(screen->parameters));
		screen->parameter_count = 0;
		screen->private_mode = false;
		screen->state = CONTROL;
		break;
	case ']': /* a title and such, up to BEL or ESC */
	case 'P':
		screen->state = STRING;
		break;
	case '(':
	case ')':
	case '#':
		screen->state = ESCAPE_SKIP;
		break;
	case '7':
		screen->saved = screen->at;
		break;
	case '8':
		move_to(screen, screen->saved.column, screen->saved.row);
		break;
	case 'D':
		line_feed(screen);
		break;
	case 'E':
		screen->at.column = 0;
		line_feed(screen);
		break;
	case 'M':
		if (screen->at.row)
			screen->at.row--;
		else
			shift_rows(screen, 0, 1);
		break;
	case 'c':
		reset(screen);
		break;
	default:
		break;
	}
}

/* Control characters work inside of sequences too. */
static bool control_character(struct vt_screen *screen, uint8_t byte)
{
	switch (byte) {
	case '\r':
		move_to(screen, 0, screen->at.row);
		break;
	case '\n':
	case '\v':
	case '\f':
		line_feed(screen);
		screen->wrap_due = false;
		break;
	case '\b':
		move_to(screen, (int64_t)screen->at.column - 1, screen->at.row);
		break;
	case '\t':
		move_to(screen, (int64_t)(screen->at.column / TAB + 1) * TAB, screen->at.row);
		break;
	case 0x18:
	case 0x1a:
		screen->state = GROUND;
		break;
	case 0x1b:
		screen->state = ESCAPE;
		break;
	default:
		return byte < 0x20 || byte == 0x7f;
	}
	return true;
}

/* Malformed UTF-8 is the bytes themselves, in code page 437, as programs of that time write. */
static void text_byte(struct vt_screen *screen, uint8_t byte)
{
	if (screen->character_bytes && (byte & 0xc0) == 0x80) {
		screen->character = screen->character << 6 | (byte & 0x3f);
		if (!--screen->character_bytes)
			put(screen, screen->character);
		return;
	}
	screen->character_bytes = 0;
	if (byte >= 0xc2 && byte < 0xf5) {
		screen->character_bytes = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
		screen->character = byte & (0x3fu >> screen->character_bytes);
		return;
	}
	put(screen, byte < 0x80 ? byte : display_cp437(byte));
}

void vt_screen_take(struct vt_screen *screen, uint8_t byte)
{
	if (screen->state == STRING && byte == 7) {
		screen->state = GROUND;
		return;
	}
	if (control_character(screen, byte))
		return;
	switch (screen->state) {
	case GROUND:
		text_byte(screen, byte);
		break;
	case ESCAPE:
		escape_byte(screen, byte);
		break;
	case CONTROL:
		control_byte(screen, byte);
		break;
	case ESCAPE_SKIP:
		screen->state = GROUND;
		break;
	case STRING:
		break;
	}
}

/* --- the view --- */

const struct display_cell *vt_screen_row(const struct vt_screen *screen, uint32_t row)
{
	return line(screen, (int32_t)row - (int32_t)screen->back);
}

void vt_screen_look_back(struct vt_screen *screen, int32_t by)
{
	int64_t back = (int64_t)screen->back + by;

	back = back < 0 ? 0 : (int64_t)min_u64((uint64_t)back, screen->kept);
	if (back != screen->back)
		mark_all(screen);
	screen->back = (uint32_t)back;
}

void vt_screen_init(struct vt_screen *screen, uint32_t columns, uint32_t rows)
{
	*screen = (struct vt_screen){.columns = columns, .rows = rows, .dirty_from = UINT32_MAX};
	screen->lines = xcalloc((size_t)LINES * columns, sizeof(*screen->lines));
	reset(screen);
}

void vt_screen_free(struct vt_screen *screen)
{
	free(screen->lines);
}
