/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The console of a VGA (backend/display/display.h): looks at the registers, and draws what has changed since the last
 * look.
 *
 * Graphics: rows whose pages of video memory were written. A mode that is already what listeners want (32 bits, linear)
 * is shown as it lies in memory and nothing is copied. Text: cells that differ from those drawn last; vga_text.c. All
 * here runs in the main loop; nothing runs while nobody listens.
 */
#include "device/display/vga_screen.h"

#include "base/util.h"

#include <stdlib.h>

/* --- one row of graphics --- */

/* Where scan line y of the picture begins, and whether it is below the split. */
static uint32_t row_offset(const struct vga_mode *mode, uint32_t y, bool *below_split)
{
	uint32_t line = y, offset = mode->start, first = mode->first_scan;
	uint32_t scans = mode->scan_lines << mode->double_scan, row, scan;

	*below_split = y >= mode->split;
	if (*below_split) {
		line = y - mode->split;
		offset = first = 0;
	}
	line += first << mode->double_scan;
	row = line / scans;
	scan = line % scans >> mode->double_scan;
	offset += row * mode->stride;
	for (unsigned i = 0; i < 2; i++)
		if (mode->interleave_bit[i])
			offset = (offset & ~mode->interleave_bit[i]) | (scan >> i & 1 ? mode->interleave_bit[i] : 0);
	return offset & (mode->size - 1);
}

static bool page_dirty(const struct vga_screen *screen, uint32_t offset)
{
	uint32_t page = offset >> PAGE_SHIFT;

	return screen->dirty[page / 8] >> page % 8 & 1;
}

static bool bytes_dirty(const struct vga_screen *screen, const struct vga_mode *mode, uint32_t offset, uint32_t length)
{
	for (uint32_t at = 0; at < length; at += PAGE_SIZE)
		if (page_dirty(screen, (offset + at) & (mode->size - 1)))
			return true;
	return length && page_dirty(screen, (offset + length - 1) & (mode->size - 1));
}

static void draw_line(struct vga_screen *screen, const struct vga_mode *mode, uint32_t offset, uint32_t pan,
		      uint32_t *to)
{
	uint32_t length = vga_row_bytes(mode, mode->width + pan);
	const uint8_t *from = screen->vga->memory + offset;

	if (offset + length > mode->size) {
		for (uint32_t i = 0; i < length; i++)
			screen->wrapped[i] = screen->vga->memory[(offset + i) & (mode->size - 1)];
		from = screen->wrapped;
	}
	/* Rows are drawn in units of up to 16 dots, which need not end with the row. */
	vga_draw_row(mode, from, screen->line, mode->width + pan);
	memcpy(to, screen->line + pan, mode->width * sizeof(*to));
}

/* --- graphics --- */

static void overlay(struct vga_screen *screen, uint32_t y, uint32_t *row, uint32_t width)
{
	if (screen->overlay_now.key && y - screen->overlay_now.first < screen->overlay_now.rows)
		screen->vga->ops->overlay(screen->vga, y, row, width);
}

static bool overlay_changed_at(const struct vga_screen *screen, uint32_t y)
{
	return screen->overlay_now.key != screen->overlay_shown.key &&
	       (y - screen->overlay_now.first < screen->overlay_now.rows ||
		y - screen->overlay_shown.first < screen->overlay_shown.rows);
}

static void update_graphics(struct vga_screen *screen, const struct vga_mode *mode, bool all)
{
	uint32_t first_dirty = UINT32_MAX, *pixels;
	bool fresh;

	pixels = display_show_own(screen->console, mode->width, mode->height, &fresh);
	if (!pixels)
		return;
	all |= fresh;
	for (uint32_t y = 0; y <= mode->height; y++) {
		bool changed = false, below;

		if (y < mode->height) {
			uint32_t offset = row_offset(mode, y, &below);
			uint32_t pan = below && mode->pan_above_split_only ? 0 : mode->pan;

			changed = all || overlay_changed_at(screen, y) ||
				  bytes_dirty(screen, mode, offset, vga_row_bytes(mode, mode->width + pan));
			if (changed) {
				draw_line(screen, mode, offset, pan, pixels + (size_t)y * mode->width);
				overlay(screen, y, pixels + (size_t)y * mode->width, mode->width);
			}
		}
		if (changed && first_dirty == UINT32_MAX)
			first_dirty = y;
		if (!changed && first_dirty != UINT32_MAX) {
			display_dirty(screen->console, 0, first_dirty, mode->width, y - first_dirty);
			first_dirty = UINT32_MAX;
		}
	}
}

/* Memory that can be shown as it is. */
static bool is_direct(const struct vga_screen *screen, const struct vga_mode *mode)
{
	uint64_t end = mode->start + (uint64_t)mode->stride * mode->height;

	return mode->kind == VGA_RGB32 && !screen->overlay_now.key && !mode->pan && !mode->double_scan &&
	       mode->scan_lines == 1 && mode->split == UINT32_MAX && !((mode->start | mode->stride) & 3) &&
	       mode->stride >= 4 * mode->width && !mode->interleave_bit[0] && !mode->interleave_bit[1] &&
	       end <= screen->vga->bytes;
}

static void update_direct(struct vga_screen *screen, const struct vga_mode *mode)
{
	uint32_t pages = (uint32_t)(screen->vga->bytes >> PAGE_SHIFT);
	uint32_t first = mode->start >> PAGE_SHIFT;
	uint64_t end = mode->start + (uint64_t)mode->stride * mode->height;

	display_show(screen->console, mode->width, mode->height, mode->stride,
		     (const uint32_t *)(const void *)(screen->vga->memory + mode->start));
	for (uint32_t page = first; page < pages && (uint64_t)page << PAGE_SHIFT < end; page++) {
		uint32_t run = page;
		uint64_t from, to;

		while (run < pages && screen->dirty[run / 8] >> run % 8 & 1)
			run++;
		if (run == page)
			continue;
		from = max_u64((uint64_t)page << PAGE_SHIFT, mode->start) - mode->start;
		to = min_u64((uint64_t)run << PAGE_SHIFT, end) - mode->start;
		display_dirty(screen->console, 0, (uint32_t)(from / mode->stride), mode->width,
			      (uint32_t)((to - 1) / mode->stride - from / mode->stride) + 1);
		page = run;
	}
}

static void update_blank(struct vga_screen *screen, bool all)
{
	const struct display_surface *surface = display_surface(screen->console);
	uint32_t width = surface->width ? surface->width : 720, height = surface->height ? surface->height : 400,
		 *pixels;
	bool fresh;

	pixels = display_show_own(screen->console, width, height, &fresh);
	if (!pixels || !(fresh || all))
		return;
	memset(pixels, 0, (size_t)width * height * 4);
	display_dirty(screen->console, 0, 0, width, height);
}

/* --- the console's callbacks --- */

/* Pages of video memory that were written since the last look; all of them when nobody has kept account. */
static void harvest(struct vga_screen *screen)
{
	if (screen->watched)
		ram_block_harvest(screen->vga->vram, RAM_DISPLAY, screen->dirty);
	else
		memset(screen->dirty, 0xff, screen->vga->bytes >> PAGE_SHIFT >> 3);
}

/* A mode that no monitor would take is shown as nothing: row buffers and surfaces have bounds. */
static void bound(struct vga_mode *mode)
{
	if (mode->width == 0 || mode->height == 0 || mode->width > DISPLAY_SIDE_MAX || mode->height > DISPLAY_SIDE_MAX)
		mode->kind = VGA_BLANK;
}

static void update(void *opaque, enum display_content content)
{
	struct vga_screen *screen = opaque;
	struct vga *vga = screen->vga;
	struct vga_text_cursor cursor;
	struct vga_mode mode;
	bool changed;

	pthread_mutex_lock(&vga->lock);
	vga_cells_sync(vga);
	vga_decode(vga, &mode, &cursor);
	pthread_mutex_unlock(&vga->lock);
	bound(&mode);
	if (mode.kind == VGA_TEXT) {
		vga_text_update(screen, &mode, &cursor, content);
		if (content == DISPLAY_PIXELS)
			memcpy(&screen->drawn, &mode, sizeof(mode));
		return;
	}
	display_show_no_text(screen->console, mode.kind == VGA_BLANK ? 0 : mode.width,
			     mode.kind == VGA_BLANK ? 0 : mode.height);
	if (content != DISPLAY_PIXELS)
		return;
	changed = !screen->watched || memcmp(&mode, &screen->drawn, sizeof(mode));
	memcpy(&screen->drawn, &mode, sizeof(mode)); /* padding too */
	harvest(screen);
	screen->overlay_now = (struct vga_overlay){0};
	if (mode.kind != VGA_BLANK && vga->ops && vga->ops->overlay_key)
		screen->overlay_now.key =
			vga->ops->overlay_key(vga, &screen->overlay_now.first, &screen->overlay_now.rows);
	if (mode.kind == VGA_BLANK)
		update_blank(screen, changed);
	else if (is_direct(screen, &mode))
		update_direct(screen, &mode);
	else
		update_graphics(screen, &mode, changed);
	screen->overlay_shown = screen->overlay_now;
}

static void watch(void *opaque, bool on)
{
	struct vga_screen *screen = opaque;

	ram_block_track(screen->vga->vram, RAM_DISPLAY, on);
	screen->watched = on;
	/* What happened before is not known. */
	memset(&screen->drawn, 0, sizeof(screen->drawn));
	screen->text_valid = false;
}

int vga_screen_new(struct vga *vga, const char *name, struct error *err)
{
	struct vga_screen *screen = calloc(1, sizeof(*screen));
	const struct display_source source = {.update = update, .watch = watch, .opaque = screen};

	if (!screen || !vga->env->display) {
		free(screen);
		return error_set(err, ENOMEM, "no memory for a screen");
	}
	screen->vga = vga;
	screen->dirty = xcalloc(1, (vga->bytes >> PAGE_SHIFT >> 3) + 1);
	screen->line = xcalloc(DISPLAY_SIDE_MAX + 64, sizeof(*screen->line));
	screen->wrapped = xcalloc(1, 4 * (DISPLAY_SIDE_MAX + 64));
	screen->console = display_console_new(vga->env->display, name, &source);
	vga->screen = screen;
	return 0;
}

void vga_screen_free(struct vga *vga)
{
	struct vga_screen *screen = vga->screen;

	if (!screen)
		return;
	display_console_free(screen->console);
	free(screen->dirty);
	free(screen->line);
	free(screen->wrapped);
	free(screen);
	vga->screen = NULL;
}
