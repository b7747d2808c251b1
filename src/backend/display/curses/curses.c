/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -display curses: text modes in the terminal that the program was started in. Of graphics it says how large they are.
 * Alt with a digit shows another console; everything else goes to the guest, or to the text console that is shown.
 *
 * The terminal is looked after by a timer: 20 times a second while something changes, 4 times while nothing does.
 */
#include "backend/display/cp437.h"
#include "backend/display/curses/curses_keys.h"
#include "backend/display/driver.h"
#include "backend/display/input.h"
#include "base/loop.h"
#include "base/module.h"
#include "base/util.h"

#include <curses.h>
#include <iconv.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define QUICK_NS (50 * NS_PER_MS)
#define SLOW_NS  (250 * NS_PER_MS)

struct curses_ui {
	struct display_ui ui;
	SCREEN *screen;
	struct loop_fd *watch;
	struct loop_timer timer;
	int64_t interval_ns;
	wchar_t characters[256]; /* of the guest's font */
	bool bright_pairs;       /* the terminal has 16 colours */

	struct display_console *console; /* NULL: there is none */
	struct display_listener *listener;
	bool redraw;
	uint32_t left, top;    /* first cell that is shown, where the terminal is too small */
	int at_column, at_row; /* where that is in the terminal, where it is larger */
};

/* --- showing --- */

/* Blue, green, red of the VGA to the terminal's red, green, blue. */
static const uint8_t colour_of[8] = {COLOR_BLACK, COLOR_BLUE,    COLOR_GREEN,  COLOR_CYAN,
				     COLOR_RED,   COLOR_MAGENTA, COLOR_YELLOW, COLOR_WHITE};

static void make_pairs(struct curses_ui *c)
{
	unsigned colours;

	start_color();
	c->bright_pairs = COLORS >= 16 && COLOR_PAIRS > 256;
	colours = c->bright_pairs ? 16 : 8;
	for (unsigned background = 0; background < colours; background++)
		for (unsigned foreground = 0; foreground < colours; foreground++)
			init_pair((short)(1 + background * colours + foreground),
				  (short)(colour_of[foreground & 7] | (foreground & 8)),
				  (short)(colour_of[background & 7] | (background & 8)));
}

static void put_cell(struct curses_ui *c, const struct display_cell *cell, int row, int column)
{
	wchar_t text[2] = {c->characters[cell->glyph & 255], 0};
	attr_t attributes = (cell->blink ? A_BLINK : 0) | (cell->underline ? A_UNDERLINE : 0);
	short pair;
	cchar_t out;

	if (c->bright_pairs) {
		pair = (short)(1 + cell->background * 16 + cell->foreground);
	} else {
		pair = (short)(1 + (cell->background & 7) * 8 + (cell->foreground & 7));
		attributes |= cell->foreground & 8 ? A_BOLD : 0;
	}
	setcchar(&out, text, attributes, pair, NULL);
	mvadd_wch(row, column, &out);
}

/* One dimension: where the guest's `size` cells lie in `room` of the terminal, so that the cursor is among them. */
static void fit(uint32_t size, int room, uint32_t cursor, uint32_t *first, int *at)
{
	uint32_t cells = room > 0 ? (uint32_t)room : 1;

	*at = size < cells ? (int)(cells - size) / 2 : 0;
	if (size <= cells)
		*first = 0;
	else if (cursor < *first || cursor >= *first + cells)
		*first = cursor < cells / 2 ? 0 : (uint32_t)min_u64(cursor - cells / 2, size - cells);
	*first = (uint32_t)min_u64(*first, size > cells ? size - cells : 0);
}

static void place(struct curses_ui *c, const struct display_text *text)
{
	uint32_t left = c->left, top = c->top;
	int at_column = c->at_column, at_row = c->at_row;

	fit(text->columns, COLS, text->cursor_column, &c->left, &c->at_column);
	fit(text->rows, LINES, text->cursor_row, &c->top, &c->at_row);
	c->redraw |= left != c->left || top != c->top || at_column != c->at_column || at_row != c->at_row;
}

static void put_rect(struct curses_ui *c, const struct display_text *text, const struct display_rect *rect)
{
	for (uint32_t row = rect->y; row < rect->y + rect->height && row < text->rows; row++) {
		int y = c->at_row + (int)(row - c->top);

		if (row < c->top || y >= LINES)
			continue;
		for (uint32_t column = rect->x; column < rect->x + rect->width && column < text->columns; column++) {
			int x = c->at_column + (int)(column - c->left);

			if (column >= c->left && x < COLS)
				put_cell(c, &text->cells[row * text->columns + column], y, x);
		}
	}
}

static void put_message(const char *message)
{
	size_t length = strlen(message);

	attrset(A_NORMAL);
	erase();
	curs_set(0);
	mvaddstr(LINES / 2, COLS > (int)length ? (COLS - (int)length) / 2 : 0, message);
}

static void put_no_text(struct curses_ui *c)
{
	uint32_t width = 0, height = 0;
	char message[64];

	if (c->console)
		display_graphics_size(c->console, &width, &height);
	if (!c->console)
		snprintf(message, sizeof(message), "This machine has no display.");
	else if (!width)
		snprintf(message, sizeof(message), "VGA Blank mode");
	else
		snprintf(message, sizeof(message), "%u x %u Graphic mode", width, height);
	put_message(message);
}

static void put_text(struct curses_ui *c, const struct display_text *text, const struct display_rect *rects,
		     size_t count)
{
	const struct display_rect all = {0, 0, text->columns, text->rows};
	int x, y;

	place(c, text);
	if (c->redraw) {
		erase();
		put_rect(c, text, &all);
	} else {
		for (size_t i = 0; i < count; i++)
			put_rect(c, text, &rects[i]);
	}
	x = c->at_column + (int)(text->cursor_column - c->left);
	y = c->at_row + (int)(text->cursor_row - c->top);
	curs_set(text->cursor_on ? 1 : 0);
	if (text->cursor_on && x >= 0 && x < COLS && y >= 0 && y < LINES)
		move(y, x);
}

static void refresh_now(struct curses_ui *c)
{
	struct display_rect rects[DISPLAY_RECTS_MAX];
	size_t count = c->listener ? display_update(c->listener, rects) : 0;
	const struct display_text *text = c->console ? display_text(c->console) : NULL;
	bool changed = count || c->redraw;

	if (text && changed)
		put_text(c, text, rects, count);
	else if (!text && c->redraw)
		put_no_text(c);
	if (changed)
		refresh();
	c->redraw = false;
	c->interval_ns = changed ? QUICK_NS : (int64_t)min_u64((uint64_t)c->interval_ns * 2, SLOW_NS);
	loop_timer_set(&c->timer, host_now_ns() + c->interval_ns);
}

/* --- consoles --- */

static void resized(void *opaque)
{
	((struct curses_ui *)opaque)->redraw = true;
}

static void gone(void *opaque)
{
	struct curses_ui *c = opaque;

	display_unlisten(c->listener);
	c->listener = NULL;
	c->console = NULL;
	c->redraw = true;
}

static const struct display_listener_ops listener_ops = {.resized = resized, .gone = gone};

static void show_console(struct curses_ui *c, unsigned index)
{
	struct display_console *console = display_console_at(c->ui.host->display, index);

	if (index && !console)
		return;
	if (c->listener)
		display_unlisten(c->listener);
	c->console = console;
	c->listener = console ? display_listen(console, DISPLAY_TEXT, &listener_ops, c) : NULL;
	c->redraw = true;
}

/* --- keys --- */

static void send(struct curses_ui *c, struct curses_key key, bool alt)
{
	const struct {
		bool wanted;
		enum input_key key;
	} modifiers[] = {{key.shift, INPUT_KEY_SHIFT}, {key.ctrl, INPUT_KEY_CTRL}, {key.alt || alt, INPUT_KEY_ALT}};
	struct input *input = c->ui.host->input;

	if (key.key == INPUT_KEY_UNMAPPED || !input)
		return;
	/* One after another, at a pace that a pasted text does not fill the keyboard's buffer. */
	for (size_t i = 0; i < ARRAY_SIZE(modifiers); i++)
		if (modifiers[i].wanted)
			input_key_delayed(input, c->console, modifiers[i].key, true, 1);
	input_key_delayed(input, c->console, key.key, true, 1);
	input_key_delayed(input, c->console, key.key, false, 1);
	for (size_t i = ARRAY_SIZE(modifiers); i--;)
		if (modifiers[i].wanted)
			input_key_delayed(input, c->console, modifiers[i].key, false, 1);
}

/* True: it was for the text console that is shown. */
static bool type_at_console(struct curses_ui *c, wint_t code, bool function)
{
	struct curses_key key = curses_key_of(code, function);
	struct display_typed typed = {.key = key.key, .ctrl = key.ctrl};

	if (!c->console || !display_console_is_text(c->console))
		return false;
	/* The terminal's own control characters are what Ctrl makes; Enter, Tab and Backspace are keys. */
	if (!function && code != '\r' && code != '\n' && code != '\t' && code != 127 && code != '\b') {
		typed.character = (uint32_t)code;
		typed.ctrl = false;
	}
	if (typed.character || key.key != INPUT_KEY_UNMAPPED)
		display_console_type(c->console, &typed);
	return true;
}

static void terminal_resized(struct curses_ui *c)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col &&
	    (size.ws_row != LINES || size.ws_col != COLS))
		resizeterm(size.ws_row, size.ws_col);
	clear();
	c->redraw = true;
}

static void send_key(struct curses_ui *c, struct curses_key key, bool alt)
{
	struct display_typed typed = {.key = key.key, .ctrl = key.ctrl};

	if (c->console && display_console_is_text(c->console))
		display_console_type(c->console, &typed);
	else
		send(c, key, alt);
}

/* What follows "ESC [" when terminfo did not know it: sends the key; nothing followed: it was Alt-[. */
static void read_sequence(struct curses_ui *c)
{
	char sequence[16] = "";
	size_t length = 0;
	wint_t code;

	while (length < sizeof(sequence) - 1 && get_wch(&code) == OK && code < 127) {
		sequence[length++] = (char)code;
		if (code >= 0x40)
			break;
	}
	if (length)
		send_key(c, curses_key_of_sequence(sequence), false);
	else
		send_key(c, curses_key_of('[', false), true);
}

/* Escape and a key that comes with it is Alt and that key. */
static void read_keys(struct curses_ui *c)
{
	wint_t code, next;
	int kind;

	while ((kind = get_wch(&code)) != ERR) {
		bool alt = false;

		if (kind == KEY_CODE_YES && code == KEY_RESIZE) {
			terminal_resized(c);
			continue;
		}
		if (kind == OK && code == 27) {
			int next_kind = get_wch(&next);

			alt = next_kind != ERR;
			if (alt) {
				kind = next_kind;
				code = next;
			}
		}
		if (alt && kind == OK && code == '[')
			read_sequence(c);
		else if (alt && kind == OK && code >= '1' && code <= '9')
			show_console(c, code - '1');
		else if (!type_at_console(c, code, kind == KEY_CODE_YES))
			send(c, curses_key_of(code, kind == KEY_CODE_YES), alt);
	}
}

static void readable(void *opaque, uint32_t events)
{
	struct curses_ui *c = opaque;

	read_keys(c);
	if (events & (EPOLLHUP | EPOLLERR)) { /* the terminal is gone */
		loop_fd_remove(c->watch);
		c->watch = NULL;
		c->ui.host->quit(c->ui.host->opaque);
		return;
	}
	c->interval_ns = QUICK_NS;
	loop_timer_set(&c->timer, host_now_ns() + QUICK_NS / 2);
}

static void tick(void *opaque)
{
	struct curses_ui *c = opaque;
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row &&
	    (size.ws_row != LINES || size.ws_col != COLS))
		terminal_resized(c);
	refresh_now(c);
}

/* --- opening --- */

/* The guest's character set, one byte a glyph. Where it has control characters a VGA's font has pictures. */
static int make_characters(struct curses_ui *c, const char *charset, struct error *err)
{
	iconv_t convert;

	for (unsigned i = 0; i < 256; i++)
		c->characters[i] = display_cp437((uint16_t)i);
	c->characters[255] = ' ';
	if (!charset)
		return 0;
	convert = iconv_open("WCHAR_T", charset);
	if (convert == (iconv_t)-1)
		return error_set(err, EINVAL, "charset=%.50s: this system does not know it (iconv -l lists them)",
				 charset);
	for (unsigned i = 32; i < 256; i++) {
		char byte = (char)i, *from = &byte;
		wchar_t character;
		char *to = (char *)&character;
		size_t from_left = 1, to_left = sizeof(character);

		if (i != 127 && iconv(convert, &from, &from_left, &to, &to_left) != (size_t)-1 && !to_left)
			c->characters[i] = character;
		else if (i != 127)
			c->characters[i] = ' ';
		iconv(convert, NULL, NULL, NULL, NULL);
	}
	iconv_close(convert);
	return 0;
}

static int curses_open(struct display_ui *ui, struct options *options, struct error *err)
{
	struct curses_ui *c = container_of(ui, struct curses_ui, ui);

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return error_set(err, ENOTTY, "standard input and output are no terminal; -display vnc=:0 and -display none need none");
	setlocale(LC_CTYPE, "");
	if (make_characters(c, options_get(options, "charset"), err) < 0)
		return -EINVAL;
	set_escdelay(25);
	c->screen = newterm(NULL, stdout, stdin);
	if (!c->screen)
		return error_set(err, ENOTTY, "the terminal '%s' is not known to terminfo (set TERM)",
				 getenv("TERM") ? getenv("TERM") : "");
	if (!tigetstr("cup")) {
		endwin();
		delscreen(c->screen);
		return error_set(err, ENOTTY, "the terminal '%s' cannot place its cursor (set TERM, or use -display vnc=:0)",
				 getenv("TERM") ? getenv("TERM") : "");
	}
	raw();
	noecho();
	nonl();
	intrflush(stdscr, FALSE);
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	make_pairs(c);
	loop_timer_init(&c->timer, ui->host->loop, tick, c);
	c->watch = loop_fd_add(ui->host->loop, STDIN_FILENO, EPOLLIN, readable, c);
	c->interval_ns = QUICK_NS;
	show_console(c, 0);
	loop_timer_set(&c->timer, host_now_ns());
	return 0;
}

static void curses_close(struct display_ui *ui)
{
	struct curses_ui *c = container_of(ui, struct curses_ui, ui);

	loop_timer_cancel(&c->timer);
	if (c->watch)
		loop_fd_remove(c->watch);
	if (c->listener)
		display_unlisten(c->listener);
	endwin();
	delscreen(c->screen);
}

static const struct display_driver curses_driver = {
	.name = "curses",
	.help = "text modes in the terminal",
	.size = sizeof(struct curses_ui),
	.known = (const char *const[]){"charset", NULL},
	.open = curses_open,
	.close = curses_close,
};

static const struct display_driver *const drivers[] = {&curses_driver, NULL};

extern const struct module xuni_module __attribute__((visibility("default")));
const struct module xuni_module = {"display", DISPLAY_MODULE_ABI, drivers};
