/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Consoles and listeners: who is told what, when, and that nobody is drawn for who does not ask. */
#include "backend/display/display.h"
#include "backend/display/region.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct screen {
	struct display *display;
	struct display_console *console;
	unsigned updates;
	bool watched;
	void (*draw)(struct screen *screen);
	unsigned resized, gone, moved;
};

static void update(void *opaque, enum display_content content)
{
	struct screen *screen = opaque;

	screen->updates++;
	if (screen->draw)
		screen->draw(screen);
}

static void watch(void *opaque, bool on)
{
	((struct screen *)opaque)->watched = on;
}

static void resized(void *opaque)
{
	((struct screen *)opaque)->resized++;
}

static void moved(void *opaque, int32_t x, int32_t y, bool visible)
{
	((struct screen *)opaque)->moved++;
}

static void gone(void *opaque)
{
	((struct screen *)opaque)->gone++;
}

static const struct display_listener_ops ops = {.resized = resized, .cursor_moved = moved, .gone = gone};

static int setup(void **state)
{
	struct screen *screen = xcalloc(1, sizeof(*screen));
	const struct display_source source = {.update = update, .watch = watch, .opaque = screen};

	screen->display = display_new();
	screen->console = display_console_new(screen->display, "vga", &source);
	*state = screen;
	return 0;
}

static int teardown(void **state)
{
	struct screen *screen = *state;

	display_console_free(screen->console);
	display_free(screen->display);
	free(screen);
	return 0;
}

static void show_64x32(struct screen *screen)
{
	bool fresh;

	display_show_own(screen->console, 64, 32, &fresh);
}

static void touch(struct screen *screen)
{
	show_64x32(screen);
	display_dirty(screen->console, 60, 30, 100, 100);
}

static void test_each_listener_is_told_for_itself(void **state)
{
	struct screen *screen = *state;
	struct display_rect rects[DISPLAY_RECTS_MAX];
	struct display_listener *a, *b;

	assert_false(screen->watched);
	screen->draw = show_64x32;
	a = display_listen(screen->console, DISPLAY_PIXELS, &ops, screen);
	assert_true(screen->watched);
	assert_int_equal(screen->updates, 0);
	assert_int_equal(display_update(a, rects), 1);
	assert_int_equal(rects[0].width, 64);
	assert_int_equal(rects[0].height, 32);
	assert_int_equal(screen->resized, 1);
	assert_int_equal(display_update(a, rects), 0);
	assert_int_equal(screen->resized, 1);
	b = display_listen(screen->console, DISPLAY_PIXELS, &ops, screen);
	assert_int_equal(display_update(b, rects), 1);
	screen->draw = touch;
	assert_int_equal(display_update(b, rects), 1);
	assert_int_equal(rects[0].x, 60);
	assert_int_equal(rects[0].width, 4);
	assert_int_equal(rects[0].height, 2);
	screen->draw = show_64x32;
	assert_int_equal(display_update(b, rects), 0);
	assert_int_equal(display_update(a, rects), 1); /* what b had drawn */
	assert_int_equal(rects[0].x, 60);
	display_unlisten(a);
	assert_true(screen->watched);
	display_unlisten(b);
	assert_false(screen->watched);
}

static void test_surface_of_the_devices_own(void **state)
{
	struct screen *screen = *state;
	static const uint32_t pixels[16 * 16];
	struct display_rect rects[DISPLAY_RECTS_MAX];
	struct display_listener *a;
	uint32_t generation;
	bool fresh;

	screen->draw = show_64x32;
	a = display_listen(screen->console, DISPLAY_PIXELS, &ops, screen);
	display_update(a, rects);
	generation = display_surface(screen->console)->generation;
	screen->draw = NULL;
	display_show(screen->console, 16, 16, 64, pixels);
	display_show(screen->console, 16, 16, 64, pixels);
	assert_int_equal(display_surface(screen->console)->generation, generation + 1);
	assert_int_equal(display_update(a, rects), 1);
	assert_int_equal(rects[0].width, 16);
	assert_int_equal(screen->resized, 2);
	assert_ptr_not_equal(display_show_own(screen->console, 16, 16, &fresh), pixels);
	assert_true(fresh);
	display_show_own(screen->console, 16, 16, &fresh);
	assert_false(fresh);
	assert_int_equal(display_update(a, rects), 1);
	display_unlisten(a);
}

static void test_text(void **state)
{
	struct screen *screen = *state;
	struct display_rect rects[DISPLAY_RECTS_MAX];
	struct display_cell *cells;
	struct display_listener *text = display_listen(screen->console, DISPLAY_TEXT, &ops, screen);
	struct display_listener *pixels = display_listen(screen->console, DISPLAY_PIXELS, &ops, screen);

	display_show_text(screen->console, 80, 25, 9, 16, &cells);
	cells[80 * 25 - 1].glyph = 65;
	assert_int_equal(display_update(text, rects), 1);
	assert_int_equal(rects[0].width, 80);
	assert_int_equal(display_text(screen->console)->cells[80 * 25 - 1].glyph, 65);
	display_text_dirty(screen->console, 2, 3, 1, 1);
	assert_int_equal(display_update(pixels, rects), 0);
	assert_int_equal(display_update(text, rects), 1);
	assert_int_equal(rects[0].x, 2);
	display_show_no_text(screen->console, 640, 480);
	screen->resized = 0;
	assert_int_equal(display_update(text, rects), 0);
	assert_int_equal(screen->resized, 1);
	display_graphics_size(screen->console, &rects[0].width, &rects[0].height);
	assert_int_equal(rects[0].width, 640);
	assert_null(display_text(screen->console));
	display_unlisten(text);
	display_unlisten(pixels);
}

static void test_console_goes_first(void **state)
{
	struct screen *screen = *state;
	struct display_rect rects[DISPLAY_RECTS_MAX];
	struct display_listener *a = display_listen(screen->console, DISPLAY_PIXELS, &ops, screen);

	display_move_cursor(screen->console, 1, 2, true);
	display_move_cursor(screen->console, 1, 2, true);
	assert_int_equal(screen->moved, 1);
	assert_ptr_equal(display_console_find(screen->display, "vga"), screen->console);
	display_console_free(screen->console);
	screen->console = NULL;
	assert_int_equal(screen->gone, 1);
	assert_int_equal(display_update(a, rects), 0);
	assert_null(display_console_at(screen->display, 0));
	display_unlisten(a);
}

/* Whatever is added stays covered, with a bounded number of rectangles. */
static void test_region_covers(void **state)
{
	static bool want[64][64];
	struct display_region region = {0};
	uint32_t random = 1;

	(void)state;
	for (unsigned n = 0; n < 2000; n++) {
		struct display_rect rect;

		random = random * 1103515245 + 12345;
		rect = (struct display_rect){random >> 8 & 31, random >> 13 & 31, 1 + (random >> 18 & 15),
					     1 + (random >> 22 & 15)};
		if (n % 100 == 0) {
			region.count = 0;
			memset(want, 0, sizeof(want));
		}
		display_region_add(&region, &rect);
		assert_in_range(region.count, 1, DISPLAY_RECTS_MAX);
		for (uint32_t y = rect.y; y < rect.y + rect.height; y++)
			memset(&want[y][rect.x], 1, rect.width);
		for (unsigned y = 0; y < 64; y++) {
			for (unsigned x = 0; x < 64; x++) {
				bool covered = false;

				for (size_t i = 0; i < region.count; i++)
					covered |= x - region.rects[i].x < region.rects[i].width &&
						   y - region.rects[i].y < region.rects[i].height;
				assert_true(covered || !want[y][x]);
			}
		}
	}
}

static void test_region_joins_rows(void **state)
{
	struct display_region region = {0};

	(void)state;
	for (uint32_t y = 0; y < 200; y++)
		display_region_add(&region, &(struct display_rect){0, y, 80, 1});
	assert_int_equal(region.count, 1);
	assert_int_equal(region.rects[0].height, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_listener_is_told_for_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_surface_of_the_devices_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_console_goes_first, setup, teardown),
		cmocka_unit_test(test_region_covers),
		cmocka_unit_test(test_region_joins_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
