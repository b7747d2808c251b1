/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A text console as a terminal of the VT100 family (ECMA-48): cursor movements, erasing, inserting and deleting of
 * lines and characters, colours and bold, lines that have scrolled off kept for Ctrl with PageUp, PageDown, Up and
 * Down.
 *
 * Left out: scrolling regions, tab stops other than each eighth column, character sets (UTF-8 is read, and shown as far
 * as code page 437 has it), reports to the program, keypad modes.
 *
 * Threads: vt_write in any, everything else in the main loop's; `lock` guards the state.
 */
#include "backend/display/vt.h"

#include "backend/display/cp437.h"
#include "base/util.h"

#include <pthread.h>
#include <stdlib.h>

enum { LINES = 512, CELL_WIDTH = 8, CELL_HEIGHT = 16, PARAMETERS = 8, PARAMETER_MAX = 9999, TAB = 8, PAGE = 10 };
enum { GREY = 7, BRIGHT = 8, UNKNOWN = '?' };

enum vt_state { GROUND, ESCAPE, ESCAPE_SKIP, CONTROL, STRING };

struct vt_place {
	uint32_t column, row;
};

struct vt {
	struct display_console *console;
	uint8_t font[256][CELL_HEIGHT];
	vt_typed_fn *typed;
	void *opaque;

	pthread_mutex_t lock;
	uint32_t columns, rows;
	struct display_cell *lines; /* a ring of LINES */
	uint32_t first;             /* line of the screen's first row */
	uint32_t kept, back;        /* lines above it; how far the view has gone back among them */
	struct vt_place at, saved;
	bool wrap_due; /* the last column has been written: the next character goes to the next line */
	bool cursor_hidden, reverse;
	struct display_cell pen;       /* glyph 0 */
	uint32_t dirty_from, dirty_to; /* rows */
	struct vt_place cursor_shown;

	enum vt_state state;
	uint32_t parameters[PARAMETERS], parameter_count;
	bool private_mode;
	uint32_t character; /* of UTF-8, as far as it has come */
	unsigned character_bytes;
};

/* --- the lines --- */

/* row: of the screen; above it are the kept ones. */
static struct display_cell *line(struct vt *vt, int32_t row)
{
	return vt->lines + (size_t)((vt->first + (uint32_t)(row + LINES)) % LINES) * vt->columns;
}

static void mark(struct vt *vt, uint32_t from, uint32_t to)
{
	vt->dirty_from = (uint32_t)min_u64(vt->dirty_from, from);
	vt->dirty_to = (uint32_t)max_u64(vt->dirty_to, to);
}

static void mark_all(struct vt *vt)
{
	mark(vt, 0, vt->rows);
}

static struct display_cell blank(const struct vt *vt)
{
	struct display_cell cell = {.glyph = ' ', .foreground = vt->pen.foreground, .background = vt->pen.background};

	return cell;
}

/* [from, to) of a row; both may lie beyond it. */
static void clear(struct vt *vt, uint32_t row, uint32_t from, uint32_t to)
{
	struct display_cell *cells = line(vt, (int32_t)row);

	for (uint32_t column = from; column < to && column < vt->columns; column++)
		cells[column] = blank(vt);
	mark(vt, row, row + 1);
}

/* Rows from..rows move by `count` down (or up, where it is negative); what comes in is blank. */
static void shift_rows(struct vt *vt, uint32_t from, int32_t count)
{
	int32_t rows = (int32_t)vt->rows, top = (int32_t)from;
	size_t bytes = vt->columns * sizeof(*vt->lines);

	if (count > rows - top)
		count = rows - top;
	if (count < top - rows)
		count = top - rows;
	for (int32_t row = rows - 1; row >= top + count && count > 0; row--)
		memcpy(line(vt, row), line(vt, row - count), bytes);
	for (int32_t row = top; row < rows + count && count < 0; row++)
		memcpy(line(vt, row), line(vt, row - count), bytes);
	for (int32_t row = count > 0 ? top : rows + count; row < (count > 0 ? top + count : rows); row++)
		clear(vt, (uint32_t)row, 0, vt->columns);
	mark(vt, from, vt->rows);
}

static void line_feed(struct vt *vt)
{
	if (vt->at.row + 1 < vt->rows) {
		vt->at.row++;
		return;
	}
	vt->first = (vt->first + 1) % LINES;
	vt->kept = (uint32_t)min_u64(vt->kept + 1, LINES - vt->rows);
	if (vt->back)
		vt->back = (uint32_t)min_u64(vt->back + 1, vt->kept);
	clear(vt, vt->at.row, 0, vt->columns);
	mark_all(vt);
}

static void move_to(struct vt *vt, int64_t column, int64_t row)
{
	vt->at.column = column < 0 ? 0 : (uint32_t)min_u64((uint64_t)column, vt->columns - 1);
	vt->at.row = row < 0 ? 0 : (uint32_t)min_u64((uint64_t)row, vt->rows - 1);
	vt->wrap_due = false;
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

static void put(struct vt *vt, uint32_t character)
{
	struct display_cell cell = vt->pen;

	if (vt->wrap_due) {
		vt->at.column = 0;
		line_feed(vt);
	}
	cell.glyph = glyph_of(character);
	if (vt->reverse) {
		cell.foreground = vt->pen.background;
		cell.background = vt->pen.foreground;
	}
	line(vt, (int32_t)vt->at.row)[vt->at.column] = cell;
	mark(vt, vt->at.row, vt->at.row + 1);
	vt->wrap_due = vt->at.column + 1 == vt->columns;
	if (!vt->wrap_due)
		vt->at.column++;
}

static void reset(struct vt *vt)
{
	vt->pen = (struct display_cell){.foreground = GREY};
	vt->reverse = vt->cursor_hidden = false;
	vt->saved = (struct vt_place){0, 0};
	move_to(vt, 0, 0);
	for (uint32_t row = 0; row < vt->rows; row++)
		clear(vt, row, 0, vt->columns);
}

/* --- control sequences --- */

/* A count or place, which is 1 where it is left out or 0. */
static uint32_t parameter(const struct vt *vt, unsigned index)
{
	return index < vt->parameter_count && vt->parameters[index] ? vt->parameters[index] : 1;
}

/* Red, green, blue of ECMA-48 to the VGA's blue, green, red. */
static uint8_t colour(uint32_t number)
{
	return (uint8_t)((number & 1) << 2 | (number & 2) | (number & 4) >> 2);
}

static void select_rendition(struct vt *vt, uint32_t code)
{
	if (code == 0) {
		vt->pen = (struct display_cell){.foreground = GREY};
		vt->reverse = false;
	} else if (code == 1) {
		vt->pen.foreground |= BRIGHT;
	} else if (code == 22) {
		vt->pen.foreground &= (uint8_t)~BRIGHT;
	} else if (code == 4 || code == 24) {
		vt->pen.underline = code == 4;
	} else if (code == 5 || code == 25) {
		vt->pen.blink = code == 5;
	} else if (code == 7 || code == 27) {
		vt->reverse = code == 7;
	} else if (code >= 30 && code <= 37) {
		vt->pen.foreground = (uint8_t)((vt->pen.foreground & BRIGHT) | colour(code - 30));
	} else if (code == 39) {
		vt->pen.foreground = (uint8_t)((vt->pen.foreground & BRIGHT) | GREY);
	} else if (code >= 40 && code <= 47) {
		vt->pen.background = colour(code - 40);
	} else if (code == 49) {
		vt->pen.background = 0;
	} else if (code >= 90 && code <= 97) {
		vt->pen.foreground = colour(code - 90) | BRIGHT;
	} else if (code >= 100 && code <= 107) {
		vt->pen.background = colour(code - 100) | BRIGHT;
	}
}

/* mode: 0 from the cursor to the end, 1 from the beginning to the cursor, 2 all. */
static void erase_line(struct vt *vt, uint32_t mode)
{
	clear(vt, vt->at.row, mode == 0 ? vt->at.column : 0, mode == 1 ? vt->at.column + 1 : vt->columns);
}

static void erase_screen(struct vt *vt, uint32_t mode)
{
	for (uint32_t row = 0; row < vt->rows; row++)
		if ((mode != 0 && row < vt->at.row) || (mode != 1 && row > vt->at.row))
			clear(vt, row, 0, vt->columns);
	erase_line(vt, mode);
}

/* Characters from the cursor on move by count to the right or, negative, to the left. */
static void shift_characters(struct vt *vt, int32_t count)
{
	struct display_cell *cells = line(vt, (int32_t)vt->at.row) + vt->at.column;
	uint32_t room = vt->columns - vt->at.column, by = (uint32_t)(count < 0 ? -count : count);

	by = (uint32_t)min_u64(by, room);
	if (count > 0)
		memmove(cells + by, cells, (room - by) * sizeof(*cells));
	else
		memmove(cells, cells + by, (room - by) * sizeof(*cells));
	clear(vt, vt->at.row, count > 0 ? vt->at.column : vt->columns - by,
	      count > 0 ? vt->at.column + by : vt->columns);
}

static void control_sequence(struct vt *vt, uint8_t final)
{
	int64_t column = vt->at.column, row = vt->at.row, count = parameter(vt, 0);
	uint32_t mode = vt->parameter_count ? vt->parameters[0] : 0;

	switch (final) {
	case '@':
		shift_characters(vt, (int32_t)count);
		break;
	case 'A':
		move_to(vt, column, row - count);
		break;
	case 'B':
		move_to(vt, column, row + count);
		break;
	case 'C':
		move_to(vt, column + count, row);
		break;
	case 'D':
		move_to(vt, column - count, row);
		break;
	case 'E':
		move_to(vt, 0, row + count);
		break;
	case 'F':
		move_to(vt, 0, row - count);
		break;
	case 'G':
		move_to(vt, count - 1, row);
		break;
	case 'd':
		move_to(vt, column, count - 1);
		break;
	case 'H':
	case 'f':
		move_to(vt, (int64_t)parameter(vt, 1) - 1, count - 1);
		break;
	case 'J':
		erase_screen(vt, mode);
		break;
	case 'K':
		erase_line(vt, mode);
		break;
	case 'L':
		shift_rows(vt, vt->at.row, (int32_t)count);
		break;
	case 'M':
		shift_rows(vt, vt->at.row, -(int32_t)count);
		break;
	case 'P':
		shift_characters(vt, -(int32_t)count);
		break;
	case 'X':
		clear(vt, vt->at.row, vt->at.column, vt->at.column + (uint32_t)count);
		break;
	case 'm':
		for (uint32_t i = 0; i < vt->parameter_count || i == 0; i++)
			select_rendition(vt, i < vt->parameter_count ? vt->parameters[i] : 0);
		break;
	case 's':
		vt->saved = vt->at;
		break;
	case 'u':
		move_to(vt, vt->saved.column, vt->saved.row);
		break;
	case 'h':
	case 'l':
		if (vt->private_mode && mode == 25)
			vt->cursor_hidden = final == 'l';
		break;
	default: /* unknown ones mean nothing */
		break;
	}
}

static void control_byte(struct vt *vt, uint8_t byte)
{
	if (byte >= '0' && byte <= '9') {
		uint32_t *value;

		if (!vt->parameter_count)
			vt->parameter_count = 1;
		value = &vt->parameters[vt->parameter_count - 1];
		*value = (uint32_t)min_u64(*value * 10 + (byte - '0'), PARAMETER_MAX);
	} else if (byte == ';') {
		if (!vt->parameter_count)
			vt->parameter_count = 1;
		if (vt->parameter_count < PARAMETERS)
			vt->parameters[vt->parameter_count++] = 0;
	} else if (byte == '?') {
		vt->private_mode = true;
	} else if (byte >= 0x40 && byte < 0x7f) {
		control_sequence(vt, byte);
		vt->state = GROUND;
	}
}

static void escape_byte(struct vt *vt, uint8_t byte)
{
	vt->state = GROUND;
	switch (byte) {
	case '[':
		memset(vt->parameters, 0, sizeof(vt->parameters));
		vt->parameter_count = 0;
		vt->private_mode = false;
		vt->state = CONTROL;
		break;
	case ']': /* a title and such, up to BEL or ESC */
	case 'P':
		vt->state = STRING;
		break;
	case '(':
	case ')':
	case '#':
		vt->state = ESCAPE_SKIP;
		break;
	case '7':
		vt->saved = vt->at;
		break;
	case '8':
		move_to(vt, vt->saved.column, vt->saved.row);
		break;
	case 'D':
		line_feed(vt);
		break;
	case 'E':
		vt->at.column = 0;
		line_feed(vt);
		break;
	case 'M':
		if (vt->at.row)
			vt->at.row--;
		else
			shift_rows(vt, 0, 1);
		break;
	case 'c':
		reset(vt);
		break;
	default:
		break;
	}
}

/* Control characters work inside of sequences too. */
static bool control_character(struct vt *vt, uint8_t byte)
{
	switch (byte) {
	case '\r':
		move_to(vt, 0, vt->at.row);
		break;
	case '\n':
	case '\v':
	case '\f':
		line_feed(vt);
		vt->wrap_due = false;
		break;
	case '\b':
		move_to(vt, (int64_t)vt->at.column - 1, vt->at.row);
		break;
	case '\t':
		move_to(vt, (int64_t)(vt->at.column / TAB + 1) * TAB, vt->at.row);
		break;
	case 0x18:
	case 0x1a:
		vt->state = GROUND;
		break;
	case 0x1b:
		vt->state = ESCAPE;
		break;
	default:
		return byte < 0x20 || byte == 0x7f;
	}
	return true;
}

/* Malformed UTF-8 is the bytes themselves, in code page 437, as programs of that time write. */
static void text_byte(struct vt *vt, uint8_t byte)
{
	if (vt->character_bytes && (byte & 0xc0) == 0x80) {
		vt->character = vt->character << 6 | (byte & 0x3f);
		if (!--vt->character_bytes)
			put(vt, vt->character);
		return;
	}
	vt->character_bytes = 0;
	if (byte >= 0xc2 && byte < 0xf5) {
		vt->character_bytes = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
		vt->character = byte & (0x3fu >> vt->character_bytes);
		return;
	}
	put(vt, byte < 0x80 ? byte : display_cp437(byte));
}

static void take(struct vt *vt, uint8_t byte)
{
	if (vt->state == STRING && byte == 7) {
		vt->state = GROUND;
		return;
	}
	if (control_character(vt, byte))
		return;
	switch (vt->state) {
	case GROUND:
		text_byte(vt, byte);
		break;
	case ESCAPE:
		escape_byte(vt, byte);
		break;
	case CONTROL:
		control_byte(vt, byte);
		break;
	case ESCAPE_SKIP:
		vt->state = GROUND;
		break;
	case STRING:
		break;
	}
}

void vt_write(struct vt *vt, const uint8_t *data, size_t length)
{
	pthread_mutex_lock(&vt->lock);
	for (size_t i = 0; i < length; i++)
		take(vt, data[i]);
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
			pixels[(size_t)y * vt->columns * CELL_WIDTH + x] = bits & 0x80 >> x ? foreground : background;
	}
}

static void draw_rows(struct vt *vt, uint32_t *pixels, uint32_t from, uint32_t to, bool cursor_on)
{
	for (uint32_t row = from; row < to; row++) {
		const struct display_cell *cells = line(vt, (int32_t)row - (int32_t)vt->back);
		uint32_t *at = pixels + (size_t)row * CELL_HEIGHT * vt->columns * CELL_WIDTH;

		for (uint32_t column = 0; column < vt->columns; column++)
			draw(vt, &cells[column], cursor_on && row == vt->at.row && column == vt->at.column,
			     at + (size_t)column * CELL_WIDTH);
	}
}

static void update(void *opaque, enum display_content content)
{
	struct vt *vt = opaque;
	bool fresh, cursor_on;
	uint32_t *pixels = display_show_own(vt->console, vt->columns * CELL_WIDTH, vt->rows * CELL_HEIGHT, &fresh);
	struct display_cell *cells;
	struct display_text *text =
		display_show_text(vt->console, vt->columns, vt->rows, CELL_WIDTH, CELL_HEIGHT, &cells);

	pthread_mutex_lock(&vt->lock);
	if (fresh)
		mark_all(vt);
	if (vt->cursor_shown.row != vt->at.row || vt->cursor_shown.column != vt->at.column) {
		mark(vt, vt->cursor_shown.row, vt->cursor_shown.row + 1);
		mark(vt, vt->at.row, vt->at.row + 1);
	}
	vt->cursor_shown = vt->at;
	cursor_on = !vt->cursor_hidden && !vt->back;
	text->cursor_on = cursor_on;
	text->cursor_column = vt->at.column;
	text->cursor_row = vt->at.row;
	text->cursor_first = CELL_HEIGHT - 3;
	text->cursor_last = CELL_HEIGHT - 1;
	memcpy(text->palette, palette, sizeof(text->palette));
	if (vt->dirty_from < vt->dirty_to) {
		for (uint32_t row = vt->dirty_from; row < vt->dirty_to; row++)
			memcpy(cells + (size_t)row * vt->columns, line(vt, (int32_t)row - (int32_t)vt->back),
			       vt->columns * sizeof(*cells));
		if (pixels)
			draw_rows(vt, pixels, vt->dirty_from, vt->dirty_to, cursor_on);
		display_text_dirty(vt->console, 0, vt->dirty_from, vt->columns, vt->dirty_to - vt->dirty_from);
		display_dirty(vt->console, 0, vt->dirty_from * CELL_HEIGHT, vt->columns * CELL_WIDTH,
			      (vt->dirty_to - vt->dirty_from) * CELL_HEIGHT);
	}
	vt->dirty_from = UINT32_MAX;
	vt->dirty_to = 0;
	pthread_mutex_unlock(&vt->lock);
}

static void watch(void *opaque, bool on)
{
}

/* --- keys --- */

/* True when the key has moved the view. */
static bool scroll(struct vt *vt, const struct display_typed *typed)
{
	int32_t by = typed->key == INPUT_KEY_PGUP   ? PAGE
		     : typed->key == INPUT_KEY_PGDN ? -PAGE
		     : typed->key == INPUT_KEY_UP   ? 1
		     : typed->key == INPUT_KEY_DOWN ? -1
						    : 0;
	int32_t back = (int32_t)vt->back + (typed->ctrl ? by : -(int32_t)vt->back);

	back = back < 0 ? 0 : (int32_t)min_u64((uint64_t)back, vt->kept);
	if ((uint32_t)back != vt->back)
		mark_all(vt);
	vt->back = (uint32_t)back;
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
	vt->columns = columns;
	vt->rows = rows;
	vt->lines = xcalloc((size_t)LINES * columns, sizeof(*vt->lines));
	vt->dirty_from = UINT32_MAX;
	pthread_mutex_init(&vt->lock, NULL);
	reset(vt);
	vt->console = display_console_new(display, name, &source);
	return vt;
}

void vt_free(struct vt *vt)
{
	display_console_free(vt->console);
	pthread_mutex_destroy(&vt->lock);
	free(vt->lines);
	free(vt);
}
