/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backend/display/vt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { COLUMNS = 10, ROWS = 4 };

struct bench {
	struct display *display;
	struct vt *vt;
	struct display_console *console;
	struct display_listener *text, *pixels;
	char typed[64];
};

static void typed(void *opaque, const char *bytes, size_t length)
{
	struct bench *bench = opaque;

	strncat(bench->typed, bytes, length);
}

static const struct display_listener_ops no_ops;

static int setup(void **state)
{
	static struct bench bench;
	uint8_t font[VT_FONT_BYTES] = {0};

	memset(&font['A' * 16], 0xff, 16);
	bench = (struct bench){.display = display_new()};
	bench.vt = vt_new(bench.display, "vc", COLUMNS, ROWS, font, typed, &bench);
	bench.console = display_console_at(bench.display, 0);
	bench.text = display_listen(bench.console, DISPLAY_TEXT, &no_ops, NULL);
	bench.pixels = display_listen(bench.console, DISPLAY_PIXELS, &no_ops, NULL);
	*state = &bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	display_unlisten(bench->text);
	display_unlisten(bench->pixels);
	vt_free(bench->vt);
	display_free(bench->display);
	return 0;
}

static void say(struct bench *bench, const char *text)
{
	vt_write(bench->vt, (const uint8_t *)text, strlen(text));
}

/* The rows with '|' between them, spaces at their ends left out. */
static const char *screen(struct bench *bench)
{
	static char text[(COLUMNS + 1) * ROWS + 1];
	struct display_rect rects[DISPLAY_RECTS_MAX];
	const struct display_text *shown;
	char *at = text;

	display_update(bench->text, rects);
	shown = display_text(bench->console);
	for (uint32_t row = 0; row < ROWS; row++) {
		char *end = at;

		for (uint32_t column = 0; column < COLUMNS; column++) {
			*at++ = (char)shown->cells[row * COLUMNS + column].glyph;
			end = at[-1] == ' ' ? end : at;
		}
		at = end;
		*at++ = '|';
	}
	at[-1] = 0;
	return text;
}

#define SHOWS(bench, said, wanted)                                                                                     \
	do {                                                                                                           \
		say(bench, "\033c");                                                                                   \
		say(bench, said);                                                                                      \
		assert_string_equal(screen(bench), wanted);                                                            \
	} while (0)

static void text_is_laid_out(void **state)
{
	struct bench *bench = *state;

	SHOWS(bench, "ab\r\ncd", "ab|cd||");
	SHOWS(bench, "0123456789", "0123456789|||");
	SHOWS(bench, "0123456789x", "0123456789|x||");
	SHOWS(bench, "0123456789\r\nx", "0123456789|x||");
	SHOWS(bench, "a\tb\tc", "a       bc|||");
	SHOWS(bench, "ab\b\bc\b\b\b\bd", "db|||");
	SHOWS(bench, "1\n\r2\n\r3\n\r4\n\r5", "2|3|4|5");
}

static void sequences_move_and_erase(void **state)
{
	struct bench *bench = *state;

	SHOWS(bench, "\033[2;3Hx\033[Ay\033[2Dz\033[Bw", "  zy|  xw||");
	SHOWS(bench, "\033[99;99Hx\033[Hy\033[99A\033[99Dz", "z|||         x");
	SHOWS(bench, "abcdef\033[4G\033[Kx", "abcx|||");
	SHOWS(bench, "abcdef\033[3G\033[1K", "   def|||");
	SHOWS(bench, "a\r\nb\r\nc\033[2;1H\033[J", "a|||");
	SHOWS(bench, "a\r\nb\r\nc\033[2J", "|||");
	SHOWS(bench, "a\r\nb\r\nc\033[2;1H\033[2L",
	      "a||"
	      "|b");
	SHOWS(bench, "a\r\nb\r\nc\033[1;1H\033[M", "b|c||");
	SHOWS(bench, "abcdef\033[2G\033[2P", "adef|||");
	SHOWS(bench, "abcdef\033[2G\033[2@", "a  bcdef|||");
	SHOWS(bench, "a\0337bc\0338x", "axc|||");
	SHOWS(bench, "\033[999999999999999999999;1;2;3;4;5;6;7;8;9;10Hx",
	      "||"
	      "|x");
	SHOWS(bench, "\033]0;title\007a\033(Bb\033[?7z\033[12\033[1mc", "abc|||");
	SHOWS(bench, "\033[99999M\033[99999L\033[99999P\033[99999@\033[99999Xa", "a|||");
}

static void colours_and_characters(void **state)
{
	struct bench *bench = *state;
	const struct display_cell *cells;

	SHOWS(bench, "\033[1;31;44mA\033[0;7mB\033[0mC\303\244\342\226\210\344\270\255", "ABC\x84\xdb?|||");
	cells = display_text(bench->console)->cells;
	assert_int_equal(cells[0].foreground, 12);
	assert_int_equal(cells[0].background, 1);
	assert_int_equal(cells[1].foreground, 0);
	assert_int_equal(cells[1].background, 7);
	assert_int_equal(cells[2].foreground, 7);
	assert_true(display_text(bench->console)->cursor_on);
	assert_int_equal(display_text(bench->console)->cursor_column, 6);
	SHOWS(bench, "\033[?25l", "|||");
	assert_false(display_text(bench->console)->cursor_on);
}

static void pixels_are_drawn(void **state)
{
	struct bench *bench = *state;
	struct display_rect rects[DISPLAY_RECTS_MAX];
	const struct display_surface *surface;

	display_update(bench->pixels, rects);
	say(bench, "\n A");
	assert_int_equal(display_update(bench->pixels, rects), 1);
	assert_int_equal(rects[0].y, 0); /* where the cursor was */
	assert_int_equal(rects[0].height, 32);
	surface = display_surface(bench->console);
	assert_int_equal(surface->width, COLUMNS * 8);
	assert_int_equal(surface->height, ROWS * 16);
	assert_int_equal(surface->pixels[16 * COLUMNS * 8 + 8], 0xaaaaaa);
	assert_int_equal(surface->pixels[16 * COLUMNS * 8 + 7], 0);
	assert_int_equal(display_update(bench->pixels, rects), 0);
}

static void type(struct bench *bench, uint32_t character, enum input_key key, bool ctrl)
{
	struct display_typed event = {character, key, ctrl};

	display_console_type(bench->console, &event);
}

static void keys_are_bytes(void **state)
{
	struct bench *bench = *state;

	type(bench, 'a', INPUT_KEY_A, false);
	type(bench, 'c', INPUT_KEY_C, true);
	type(bench, 0, INPUT_KEY_RET, false);
	type(bench, 0, INPUT_KEY_UP, false);
	type(bench, 0xe4, INPUT_KEY_UNMAPPED, false);
	type(bench, 0, INPUT_KEY_F1, false);
	assert_string_equal(bench->typed, "a\003\r\033[A\303\244");
}

static void what_scrolled_off_can_be_seen(void **state)
{
	struct bench *bench = *state;
	char text[16];

	for (int i = 0; i < 700; i++) {
		snprintf(text, sizeof(text), "%d\r\n", i);
		say(bench, text);
	}
	assert_string_equal(screen(bench), "697|698|699|");
	type(bench, 0, INPUT_KEY_UP, true);
	assert_string_equal(screen(bench), "696|697|698|699");
	type(bench, 0, INPUT_KEY_PGUP, true);
	assert_string_equal(screen(bench), "686|687|688|689");
	say(bench, "new\r\n"); /* the view stays where it is */
	assert_string_equal(screen(bench), "686|687|688|689");
	for (int i = 0; i < 100; i++)
		type(bench, 0, INPUT_KEY_PGUP, true);
	assert_string_equal(screen(bench), "190|191|192|193");
	type(bench, 'x', INPUT_KEY_X, false);
	assert_string_equal(screen(bench), "698|699|new|");
	assert_string_equal(bench->typed, "x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(text_is_laid_out, setup, teardown),
		cmocka_unit_test_setup_teardown(sequences_move_and_erase, setup, teardown),
		cmocka_unit_test_setup_teardown(colours_and_characters, setup, teardown),
		cmocka_unit_test_setup_teardown(pixels_are_drawn, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_are_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(what_scrolled_off_can_be_seen, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
