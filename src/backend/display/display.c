/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Consoles and their listeners (display.h). */
#include "backend/display/display.h"

#include "backend/display/region.h"
#include "base/util.h"

#include <assert.h>
#include <stdlib.h>

struct display {
	struct display_console *consoles; /* in order of creation, text consoles last */
};

struct display_console {
	struct display *display;
	struct display_console *next;
	char *name;
	struct display_source source;
	struct display_listener *listeners;

	struct display_surface surface;
	uint32_t *own; /* pixels of the console's own, or NULL */
	uint64_t own_bytes;

	bool has_text;
	struct display_text text;
	struct display_cell *cells;
	uint32_t graphics_width, graphics_height; /* without text */

	bool has_cursor, cursor_visible;
	int32_t cursor_x, cursor_y;
	struct display_cursor cursor;
};

struct display_listener {
	struct display_console *console; /* NULL: gone */
	struct display_listener *next;
	enum display_content content;
	const struct display_listener_ops *ops;
	void *opaque;
	bool resized; /* to be told */
	struct display_region region;
};

struct display *display_new(void)
{
	return xcalloc(1, sizeof(struct display));
}

void display_free(struct display *display)
{
	free(display);
}

struct display_console *display_console_at(const struct display *display, unsigned index)
{
	struct display_console *console = display ? display->consoles : NULL;

	while (console && index--)
		console = console->next;
	return console;
}

struct display_console *display_console_find(const struct display *display, const char *name)
{
	struct display_console *console = display ? display->consoles : NULL;

	while (console && strcmp(console->name, name))
		console = console->next;
	return console;
}

const char *display_console_name(const struct display_console *console)
{
	return console->name;
}

/* --- the device's side --- */

struct display_console *display_console_new(struct display *display, const char *name,
					    const struct display_source *source)
{
	struct display_console *console = xcalloc(1, sizeof(*console)), **at = &display->consoles;

	console->display = display;
	console->name = xstrdup(name);
	console->source = *source;
	while (*at && (source->type || !(*at)->source.type))
		at = &(*at)->next;
	console->next = *at;
	*at = console;
	return console;
}

void display_console_free(struct display_console *console)
{
	struct display_console **at;

	if (!console)
		return;
	for (at = &console->display->consoles; *at != console; at = &(*at)->next)
		;
	*at = console->next;
	while (console->listeners) {
		struct display_listener *listener = console->listeners;

		console->listeners = listener->next;
		listener->console = NULL;
		if (listener->ops->gone)
			listener->ops->gone(listener->opaque);
	}
	free((void *)console->cursor.pixels);
	free(console->cells);
	free(console->own);
	free(console->name);
	free(console);
}

static uint32_t content_width(const struct display_console *console, enum display_content content)
{
	return content == DISPLAY_TEXT ? console->text.columns : console->surface.width;
}

static uint32_t content_height(const struct display_console *console, enum display_content content)
{
	return content == DISPLAY_TEXT ? console->text.rows : console->surface.height;
}

static void mark(struct display_console *console, enum display_content content, struct display_rect rect)
{
	uint32_t width = content_width(console, content), height = content_height(console, content);

	if (rect.x >= width || rect.y >= height || !rect.width || !rect.height)
		return;
	rect.width = (uint32_t)min_u64(rect.width, width - rect.x);
	rect.height = (uint32_t)min_u64(rect.height, height - rect.y);
	for (struct display_listener *listener = console->listeners; listener; listener = listener->next)
		if (listener->content == content)
			display_region_add(&listener->region, &rect);
}

/* Size or place changed: earlier rectangles mean nothing any more. */
static void renew(struct display_console *console, enum display_content content)
{
	for (struct display_listener *listener = console->listeners; listener; listener = listener->next) {
		if (listener->content != content)
			continue;
		listener->resized = true;
		listener->region.count = 0;
	}
	mark(console, content, (struct display_rect){0, 0, UINT32_MAX, UINT32_MAX});
}

void display_show(struct display_console *console, uint32_t width, uint32_t height, uint32_t stride_bytes,
		  const uint32_t *pixels)
{
	struct display_surface *surface = &console->surface;

	assert(width <= DISPLAY_SIDE_MAX && height <= DISPLAY_SIDE_MAX);
	if (surface->width == width && surface->height == height && surface->stride_bytes == stride_bytes &&
	    surface->pixels == pixels)
		return;
	if (console->own && pixels != console->own) {
		free(console->own);
		console->own = NULL;
		console->own_bytes = 0;
	}
	*surface = (struct display_surface){width, height, stride_bytes, pixels, surface->generation + 1};
	renew(console, DISPLAY_PIXELS);
}

uint32_t *display_show_own(struct display_console *console, uint32_t width, uint32_t height, bool *fresh)
{
	uint64_t bytes = (uint64_t)width * height * 4;

	*fresh = !console->own || console->surface.width != width || console->surface.height != height ||
		 console->surface.pixels != console->own;
	if (!*fresh)
		return console->own;
	if (bytes != console->own_bytes) {
		free(console->own);
		console->own = calloc(1, bytes ? bytes : 4);
		console->own_bytes = console->own ? bytes : 0;
		/* The allocator may give the same place again, which is another surface all the same. */
		console->surface.pixels = NULL;
	}
	if (!console->own)
		width = height = 0;
	display_show(console, width, height, width * 4, console->own);
	return console->own;
}

void display_dirty(struct display_console *console, uint32_t x, uint32_t y, uint32_t width, uint32_t height)
{
	mark(console, DISPLAY_PIXELS, (struct display_rect){x, y, width, height});
}

struct display_text *display_show_text(struct display_console *console, uint32_t columns, uint32_t rows,
				       uint32_t cell_width, uint32_t cell_height, struct display_cell **cells)
{
	struct display_text *text = &console->text;

	assert(columns <= 256 && rows <= 256);
	if (!console->has_text || text->columns != columns || text->rows != rows || text->cell_width != cell_width ||
	    text->cell_height != cell_height) {
		console->cells = xrealloc(console->cells, 256 * 256 * sizeof(*console->cells));
		memset(console->cells, 0, 256 * 256 * sizeof(*console->cells));
		console->has_text = true;
		text->columns = columns;
		text->rows = rows;
		text->cell_width = cell_width;
		text->cell_height = cell_height;
		text->cells = console->cells;
		text->generation++;
		renew(console, DISPLAY_TEXT);
	}
	*cells = console->cells;
	return text;
}

void display_text_dirty(struct display_console *console, uint32_t column, uint32_t row, uint32_t columns, uint32_t rows)
{
	mark(console, DISPLAY_TEXT, (struct display_rect){column, row, columns, rows});
}

void display_show_no_text(struct display_console *console, uint32_t width, uint32_t height)
{
	if (!console->has_text && console->graphics_width == width && console->graphics_height == height)
		return;
	console->graphics_width = width;
	console->graphics_height = height;
	console->has_text = false;
	console->text.columns = console->text.rows = 0;
	console->text.generation++;
	free(console->cells);
	console->cells = NULL;
	console->text.cells = NULL;
	renew(console, DISPLAY_TEXT);
}

void display_set_cursor(struct display_console *console, const struct display_cursor *cursor)
{
	free((void *)console->cursor.pixels);
	console->cursor = (struct display_cursor){0};
	console->has_cursor = cursor && cursor->width <= DISPLAY_CURSOR_MAX && cursor->height <= DISPLAY_CURSOR_MAX;
	if (console->has_cursor) {
		size_t bytes = (size_t)cursor->width * cursor->height * 4;
		uint32_t *pixels = xcalloc(1, bytes + 4);

		memcpy(pixels, cursor->pixels, bytes);
		console->cursor = *cursor;
		console->cursor.pixels = pixels;
	}
	for (struct display_listener *listener = console->listeners; listener; listener = listener->next)
		if (listener->ops->cursor_changed)
			listener->ops->cursor_changed(listener->opaque);
}

void display_move_cursor(struct display_console *console, int32_t x, int32_t y, bool visible)
{
	if (console->cursor_x == x && console->cursor_y == y && console->cursor_visible == visible)
		return;
	console->cursor_x = x;
	console->cursor_y = y;
	console->cursor_visible = visible;
	for (struct display_listener *listener = console->listeners; listener; listener = listener->next)
		if (listener->ops->cursor_moved)
			listener->ops->cursor_moved(listener->opaque, x, y, visible);
}

/* --- the listener's side --- */

struct display_listener *display_listen(struct display_console *console, enum display_content content,
					const struct display_listener_ops *ops, void *opaque)
{
	struct display_listener *listener = xcalloc(1, sizeof(*listener));
	bool first = !console->listeners;

	listener->console = console;
	listener->content = content;
	listener->ops = ops;
	listener->opaque = opaque;
	listener->resized = true;
	listener->next = console->listeners;
	console->listeners = listener;
	if (content_width(console, content) && content_height(console, content))
		display_region_add(&listener->region, &(struct display_rect){0, 0, content_width(console, content),
									     content_height(console, content)});
	if (first)
		console->source.watch(console->source.opaque, true);
	return listener;
}

void display_unlisten(struct display_listener *listener)
{
	struct display_console *console = listener->console;
	struct display_listener **at;

	if (console) {
		for (at = &console->listeners; *at != listener; at = &(*at)->next)
			;
		*at = listener->next;
		if (!console->listeners)
			console->source.watch(console->source.opaque, false);
	}
	free(listener);
}

size_t display_update(struct display_listener *listener, struct display_rect rects[DISPLAY_RECTS_MAX])
{
	struct display_console *console = listener->console;
	size_t count;

	if (!console)
		return 0;
	console->source.update(console->source.opaque, listener->content);
	if (listener->resized) {
		listener->resized = false;
		if (listener->ops->resized)
			listener->ops->resized(listener->opaque);
	}
	count = listener->region.count;
	memcpy(rects, listener->region.rects, count * sizeof(*rects));
	listener->region.count = 0;
	return count;
}

const struct display_surface *display_surface(const struct display_console *console)
{
	return &console->surface;
}

const struct display_text *display_text(const struct display_console *console)
{
	return console->has_text ? &console->text : NULL;
}

void display_graphics_size(const struct display_console *console, uint32_t *width, uint32_t *height)
{
	*width = console->has_text ? 0 : console->graphics_width;
	*height = console->has_text ? 0 : console->graphics_height;
}

const struct display_cursor *display_cursor(const struct display_console *console)
{
	return console->has_cursor ? &console->cursor : NULL;
}

void display_cursor_place(const struct display_console *console, int32_t *x, int32_t *y, bool *visible)
{
	*x = console->cursor_x;
	*y = console->cursor_y;
	*visible = console->cursor_visible;
}

void display_prefer(struct display_console *console, uint32_t width, uint32_t height)
{
	if (console->source.prefer)
		console->source.prefer(console->source.opaque, width, height);
}

bool display_console_is_text(const struct display_console *console)
{
	return console->source.type;
}

void display_console_type(struct display_console *console, const struct display_typed *typed)
{
	if (console->source.type)
		console->source.type(console->source.opaque, typed);
}
