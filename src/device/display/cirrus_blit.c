/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The GD5446's blitter (Cirrus Logic CL-GD5446 Technical Reference Manual, chapter 9 and appendix D8): copies in both
 * directions, 8x8 patterns, expansion of bitmaps to colours, solid fills, transparency, all 16 raster operations;
 * source in video memory or written by the CPU. Left out: blits from video memory to the CPU, which nothing is known to
 * use.
 *
 * A row at a time: its source pixels are laid out in a buffer, with a mask of those that are drawn, and combined with
 * the destination. Every address is taken modulo the size of video memory, every length is bounded by its register's
 * width, so that a guest can neither reach outside nor keep the adapter busy for longer than 2048 rows of 8 KiB take.
 */
#include "device/display/cirrus.h"

#include "base/util.h"

/* GR30 */
#define BACKWARDS     0x01
#define TO_CPU        0x02
#define FROM_CPU      0x04
#define TRANSPARENT   0x08
#define PATTERN       0x40
#define COLOUR_EXPAND 0x80
/* GR31 */
#define BUSY      0x01
#define START     0x02
#define FIFO_USED 0x10
/* GR33 */
#define DWORD_ROWS 0x01
#define INVERT     0x02
#define SOLID      0x04

struct blit {
	struct cirrus *cirrus;
	uint32_t width, height; /* bytes, rows */
	uint32_t source_pitch, destination_pitch;
	uint32_t source, destination;
	uint32_t pixel; /* bytes */
	uint32_t skip;  /* pixels at the left that are not drawn */
	uint8_t mode, extension;
	/* Truth table: what each combination of source and destination bits gives. */
	uint8_t both, only_source, only_destination, neither;
	uint8_t foreground[4], background[4];
	uint8_t row[CIRRUS_ROW_MAX + 4];
	uint8_t drawn[CIRRUS_ROW_MAX + 4];
};

/* GR32's codes to truth tables: bit 3 for source and destination set, 2 source alone, 1 destination alone, 0 neither.
 */
static int truth_of(uint8_t code)
{
	static const struct {
		uint8_t code, truth;
	} operations[] = {{0x00, 0x0}, {0x05, 0x8}, {0x06, 0xa}, {0x09, 0x4}, {0x0b, 0x5}, {0x0d, 0xc},
			  {0x0e, 0xf}, {0x50, 0x2}, {0x59, 0x6}, {0x6d, 0xe}, {0x90, 0x7}, {0x95, 0x9},
			  {0xad, 0xd}, {0xd0, 0x3}, {0xd6, 0xb}, {0xda, 0x1}};

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (operations[i].code == code)
			return operations[i].truth;
	return 0xa; /* not one: the destination stays */
}

static uint32_t field(const struct cirrus *cirrus, unsigned low, unsigned bytes, uint32_t mask)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint32_t)cirrus->vga.graphics[low + i] << 8 * i;
	return value & mask;
}

static void read_registers(struct blit *blit, struct cirrus *cirrus)
{
	const uint8_t *graphics = cirrus->vga.graphics;
	int truth = truth_of(graphics[0x32]);

	blit->cirrus = cirrus;
	blit->width = field(cirrus, 0x20, 2, 0x1fff) + 1;
	blit->height = field(cirrus, 0x22, 2, 0x7ff) + 1;
	blit->destination_pitch = field(cirrus, 0x24, 2, 0x1fff);
	blit->source_pitch = field(cirrus, 0x26, 2, 0x1fff);
	blit->destination = field(cirrus, 0x28, 3, 0x3fffff);
	blit->source = field(cirrus, 0x2c, 3, 0x3fffff);
	blit->mode = graphics[0x30];
	blit->extension = graphics[0x33];
	blit->pixel = 1 + (blit->mode >> 4 & 3);
	/* In pixels, and with 24 bits in bytes. */
	blit->skip = blit->pixel == 3 ? (graphics[0x2f] & 0x1f) / 3u : graphics[0x2f] & 7;
	blit->both = truth & 8 ? 0xff : 0;
	blit->only_source = truth & 4 ? 0xff : 0;
	blit->only_destination = truth & 2 ? 0xff : 0;
	blit->neither = truth & 1 ? 0xff : 0;
	memcpy(blit->background, (const uint8_t[]){cirrus->colour0, graphics[0x10], graphics[0x12], graphics[0x14]}, 4);
	memcpy(blit->foreground, (const uint8_t[]){cirrus->colour1, graphics[0x11], graphics[0x13], graphics[0x15]}, 4);
}

static uint8_t *memory_at(const struct blit *blit, uint32_t offset)
{
	return &blit->cirrus->vga.memory[offset & (blit->cirrus->vga.bytes - 1)];
}

/* The row does not go round the end of memory. */
static bool is_whole(const struct blit *blit, uint32_t offset)
{
	uint32_t bytes = blit->cirrus->vga.bytes;

	return (offset & (bytes - 1)) + blit->width <= bytes;
}

/* --- the source of one row --- */

static void take_memory(struct blit *blit, uint32_t from)
{
	if (is_whole(blit, from)) {
		memcpy(blit->row, memory_at(blit, from), blit->width);
		return;
	}
	for (uint32_t i = 0; i < blit->width; i++)
		blit->row[i] = *memory_at(blit, from + i);
}

/* bits: one a pixel, the left one in bit 7; period: bytes after which they repeat. */
static void expand(struct blit *blit, const uint8_t *bits, uint32_t period)
{
	uint8_t invert = blit->extension & INVERT ? 0xff : 0;
	/* Inverted transparency draws the background where bits are clear. */
	const uint8_t *one = invert && blit->mode & TRANSPARENT ? blit->background : blit->foreground;

	for (uint32_t x = 0, n = 0; x + blit->pixel <= blit->width; x += blit->pixel, n++) {
		uint8_t byte = bits[n / 8 % period] ^ (blit->mode & TRANSPARENT || !invert ? invert : 0xff);
		bool set = byte >> (7 - n % 8) & 1;

		memcpy(blit->row + x, set ? one : blit->background, blit->pixel);
		memset(blit->drawn + x, set || !(blit->mode & TRANSPARENT) ? 0xff : 0, blit->pixel);
	}
}

/* Eight pixels of a pattern's line, again and again. */
static void repeat(struct blit *blit, const uint8_t *line)
{
	uint32_t period = 8 * blit->pixel;

	for (uint32_t i = 0; i < blit->width; i++)
		blit->row[i] = line[i % period];
}

/* --- to the destination --- */

static uint8_t combine(const struct blit *blit, uint8_t source, uint8_t destination)
{
	return (uint8_t)((source & destination & blit->both) | (source & ~destination & blit->only_source) |
			 (~source & destination & blit->only_destination) | (~source & ~destination & blit->neither));
}

/* Transparent copies leave out pixels whose new value is that of GR34 and GR35. */
static bool is_key(const struct blit *blit, const uint8_t *pixel)
{
	const uint8_t *graphics = blit->cirrus->vga.graphics;

	return pixel[0] == graphics[0x34] && (blit->pixel == 1 || pixel[1] == graphics[0x35]);
}

static void draw_pixels(struct blit *blit, uint32_t to, bool keyed, bool skips)
{
	for (uint32_t x = skips ? blit->skip * blit->pixel : 0; x < blit->width; x += blit->pixel) {
		uint32_t bytes = (uint32_t)min_u64(blit->pixel, blit->width - x);
		uint8_t pixel[4] = {0};

		for (uint32_t i = 0; i < bytes; i++)
			pixel[i] = combine(blit, blit->row[x + i], *memory_at(blit, to + x + i));
		if (!blit->drawn[x] || (keyed && is_key(blit, pixel)))
			continue;
		for (uint32_t i = 0; i < bytes; i++)
			*memory_at(blit, to + x + i) = pixel[i];
	}
}

static void draw_row(struct blit *blit, uint32_t to)
{
	struct vga *vga = &blit->cirrus->vga;
	bool keyed = blit->mode & TRANSPARENT && !(blit->mode & COLOUR_EXPAND);
	bool skips = blit->mode & (PATTERN | COLOUR_EXPAND);

	if (is_whole(blit, to) && !keyed && !(blit->mode & TRANSPARENT) && !(skips && blit->skip)) {
		uint8_t *destination = memory_at(blit, to);

		for (uint32_t i = 0; i < blit->width; i++)
			destination[i] = combine(blit, blit->row[i], destination[i]);
	} else {
		draw_pixels(blit, to, keyed, skips);
	}
	for (uint32_t at = 0; at < blit->width; at += PAGE_SIZE)
		vga_touched(vga, (to + at) & (vga->bytes - 1));
	vga_touched(vga, (to + blit->width - 1) & (vga->bytes - 1));
}

/* --- whole blits --- */

static void blit_copy(struct blit *blit)
{
	bool backwards = blit->mode & BACKWARDS;
	uint32_t source = blit->source, destination = blit->destination;

	if (backwards) { /* the addresses are those of the last byte */
		source -= blit->width - 1;
		destination -= blit->width - 1;
	}
	for (uint32_t row = 0; row < blit->height; row++) {
		take_memory(blit, source);
		draw_row(blit, destination);
		source += backwards ? -blit->source_pitch : blit->source_pitch;
		destination += backwards ? -blit->destination_pitch : blit->destination_pitch;
	}
}

/* pattern: 8 bytes for expansion, else 8 lines of 8 pixels (of 24 bits: 32 bytes a line). */
static void blit_pattern(struct blit *blit, const uint8_t *pattern, uint32_t first_line)
{
	uint32_t line_bytes = blit->pixel == 3 ? 32 : 8 * blit->pixel;

	for (uint32_t row = 0; row < blit->height; row++) {
		uint32_t line = (first_line + row) & 7;

		if (blit->extension & SOLID && blit->mode & COLOUR_EXPAND)
			expand(blit, (const uint8_t[]){blit->extension & INVERT ? 0x00 : 0xff}, 1);
		else if (blit->mode & COLOUR_EXPAND)
			expand(blit, pattern + line, 1);
		else
			repeat(blit, pattern + line * line_bytes);
		draw_row(blit, blit->destination + row * blit->destination_pitch);
	}
}

static void blit_memory_pattern(struct blit *blit)
{
	uint32_t bytes = blit->mode & COLOUR_EXPAND ? 8 : blit->pixel >= 3 ? 256 : 64 * blit->pixel;
	uint8_t pattern[256];

	for (uint32_t i = 0; i < bytes; i++)
		pattern[i] = *memory_at(blit, (blit->source & ~7u) + i);
	blit_pattern(blit, pattern, blit->source & 7);
}

/* Rows of bits follow one another, each from a new byte. */
static void blit_expand(struct blit *blit)
{
	uint32_t row_bytes = (blit->width / blit->pixel + 7) / 8, source = blit->source;
	uint8_t bits[CIRRUS_ROW_MAX / 8 + 1];

	for (uint32_t row = 0; row < blit->height; row++, source += row_bytes) {
		for (uint32_t i = 0; i < row_bytes; i++)
			bits[i] = *memory_at(blit, source + i);
		expand(blit, bits, CIRRUS_ROW_MAX);
		draw_row(blit, blit->destination + row * blit->destination_pitch);
	}
}

static void finish(struct cirrus *cirrus)
{
	cirrus->vga.graphics[0x31] &= (uint8_t) ~(START | BUSY | FIFO_USED);
}

static void start_feed(struct blit *blit)
{
	struct cirrus_feed *feed = &blit->cirrus->feed;
	uint32_t pixels = blit->width / blit->pixel;

	*feed = (struct cirrus_feed){.active = true, .rows_left = blit->height, .destination = blit->destination};
	if (blit->mode & PATTERN) {
		feed->row_bytes = blit->mode & COLOUR_EXPAND ? 8 : blit->pixel >= 3 ? 256 : 64 * blit->pixel;
		feed->rows_left = 1;
	} else if (blit->mode & COLOUR_EXPAND) {
		feed->row_bytes = blit->extension & DWORD_ROWS ? (pixels + 31) / 32 * 4 : (pixels + 7) / 8;
	} else {
		feed->row_bytes = (blit->width + 3) & ~3u;
	}
	blit->cirrus->vga.graphics[0x31] |= BUSY | FIFO_USED;
	if (!feed->row_bytes)
		cirrus_blit_reset(blit->cirrus);
	cirrus_map(blit->cirrus);
}

void cirrus_blit_start(struct cirrus *cirrus)
{
	struct blit blit;

	cirrus_blit_reset(cirrus);
	vga_cells_close(&cirrus->vga);
	read_registers(&blit, cirrus);
	memset(blit.drawn, 0xff, sizeof(blit.drawn));
	if (blit.mode & TO_CPU) {
		log_guest(cirrus->vga.env->log, &cirrus->vga.log_limit,
			  "cirrus-vga: a blit to the CPU is not supported");
		finish(cirrus);
		return;
	}
	if (blit.mode & FROM_CPU) {
		start_feed(&blit);
		return;
	}
	if (blit.mode & PATTERN)
		blit_memory_pattern(&blit);
	else if (blit.mode & COLOUR_EXPAND)
		blit_expand(&blit);
	else
		blit_copy(&blit);
	finish(cirrus);
}

void cirrus_blit_reset(struct cirrus *cirrus)
{
	bool was = cirrus->feed.active;

	cirrus->feed.active = false;
	finish(cirrus);
	if (was)
		cirrus_map(cirrus);
}

/* All data of a row (or of the pattern) is there. */
static void feed_row(struct cirrus *cirrus)
{
	struct cirrus_feed *feed = &cirrus->feed;
	struct blit blit;

	read_registers(&blit, cirrus);
	memset(blit.drawn, 0xff, sizeof(blit.drawn));
	if (blit.mode & PATTERN && feed->row_bytes >= 8 * ((blit.mode & COLOUR_EXPAND) ? 1u : 8 * blit.pixel)) {
		blit_pattern(&blit, feed->data, 0);
	} else if (!(blit.mode & PATTERN)) {
		if (blit.mode & COLOUR_EXPAND)
			expand(&blit, feed->data, CIRRUS_ROW_MAX);
		else
			memcpy(blit.row, feed->data, CIRRUS_ROW_MAX);
		draw_row(&blit, feed->destination);
		feed->destination += blit.destination_pitch;
	}
	feed->filled = 0;
	if (--feed->rows_left == 0)
		cirrus_blit_reset(cirrus);
}

void cirrus_blit_feed(struct cirrus *cirrus, uint8_t value)
{
	struct cirrus_feed *feed = &cirrus->feed;

	feed->data[feed->filled++] = value;
	if (feed->filled == feed->row_bytes)
		feed_row(cirrus);
}
