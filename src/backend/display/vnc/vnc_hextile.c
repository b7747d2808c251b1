/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hextile encoder (RFC 6143 7.7.4). What remains of a row to be covered is a word with a bit a pixel, so that a
 * rectangle is found with a few shifts, and the many tiles of two colours never look at a pixel twice.
 */
#include "backend/display/vnc/vnc_hextile.h"

#include "base/util.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { RAW = 1, BACKGROUND = 2, FOREGROUND = 4, RECTANGLES = 8, COLOURED = 16 };

struct tile {
	const uint32_t (*pixels)[HEXTILE_SIDE];
	unsigned width, height, pixel_bytes;
	uint32_t background, foreground;
	bool coloured;               /* there are more than those two */
	uint16_t rest[HEXTILE_SIDE]; /* of each row, bit n for column n: not background, and in no rectangle yet */
};

/* Bit n: pixel n is this one. */
static uint16_t equal(const uint32_t row[HEXTILE_SIDE], uint32_t pixel)
{
#ifdef __SSE2__
	const __m128i *at = (const __m128i *)row;
	__m128i all = _mm_set1_epi32((int)pixel);
	__m128i low = _mm_packs_epi32(_mm_cmpeq_epi32(_mm_loadu_si128(at), all),
				      _mm_cmpeq_epi32(_mm_loadu_si128(at + 1), all));
	__m128i high = _mm_packs_epi32(_mm_cmpeq_epi32(_mm_loadu_si128(at + 2), all),
				       _mm_cmpeq_epi32(_mm_loadu_si128(at + 3), all));

	return (uint16_t)_mm_movemask_epi8(_mm_packs_epi16(low, high));
#else
	unsigned bits = 0;

	for (unsigned x = 0; x < HEXTILE_SIDE; x++)
		bits |= (unsigned)(row[x] == pixel) << x;
	return (uint16_t)bits;
#endif
}

/* Finds the colours: the more frequent of the first two is the background. Returns the pixels that are not. */
static unsigned look(struct tile *tile)
{
	unsigned columns = (1u << tile->width) - 1, ground = 0, others = 0;
	uint32_t first = tile->pixels[0][0], second = first;
	bool found = false;

	tile->coloured = false;
	for (unsigned y = 0; y < tile->height; y++) {
		unsigned rest = columns & ~equal(tile->pixels[y], first);

		tile->rest[y] = (uint16_t)rest;
		ground += (unsigned)__builtin_popcount(columns & ~rest);
		if (!rest)
			continue;
		if (!found)
			second = tile->pixels[y][__builtin_ctz(rest)];
		found = true;
		rest &= equal(tile->pixels[y], second);
		others += (unsigned)__builtin_popcount(rest);
		tile->coloured |= rest != tile->rest[y];
	}
	tile->background = ground >= others ? first : second;
	tile->foreground = ground >= others ? second : first;
	if (ground < others)
		for (unsigned y = 0; y < tile->height; y++)
			tile->rest[y] = (uint16_t)(columns & ~equal(tile->pixels[y], second));
	return tile->width * tile->height - (ground >= others ? ground : others);
}

static uint8_t *put_pixel(const struct tile *tile, uint8_t *at, uint32_t pixel)
{
	/* What is too much is written again; tiles of smaller pixels are far from the buffer's end. */
	store_le32(at, pixel);
	return at + tile->pixel_bytes;
}

/* Takes the rectangle of one colour that begins at the first pixel of what remains of row y. */
static uint8_t *put_rectangle(struct tile *tile, uint8_t *at, unsigned y)
{
	unsigned x = (unsigned)__builtin_ctz(tile->rest[y]), bits = tile->rest[y], width, columns, bottom;
	uint32_t pixel = tile->pixels[y][x];

	if (tile->coloured)
		bits &= equal(tile->pixels[y], pixel);
	width = (unsigned)__builtin_ctz(~(bits >> x));
	columns = ((1u << width) - 1) << x;
	tile->rest[y] &= (uint16_t)~columns;
	for (bottom = y + 1; bottom < tile->height; bottom++) {
		if ((tile->rest[bottom] & columns) != columns ||
		    (tile->coloured && (equal(tile->pixels[bottom], pixel) & columns) != columns))
			break;
		tile->rest[bottom] &= (uint16_t)~columns;
	}
	if (tile->coloured)
		at = put_pixel(tile, at, pixel);
	*at++ = (uint8_t)(x << 4 | y);
	*at++ = (uint8_t)((width - 1) << 4 | (bottom - 1 - y));
	return at;
}

/* All rectangles; NULL: they would need more than `end`. */
static uint8_t *put_rectangles(struct tile *tile, uint8_t *at, const uint8_t *end)
{
	unsigned bytes = 2 + (tile->coloured ? tile->pixel_bytes : 0), count = 0;
	uint8_t *count_at = at++;

	for (unsigned y = 0; y < tile->height; y++) {
		while (tile->rest[y]) {
			if (end - at < bytes)
				return NULL;
			at = put_rectangle(tile, at, y);
			count++;
		}
	}
	/* A raw tile of 256 pixels is shorter than 256 rectangles, whatever a pixel's bytes. */
	*count_at = (uint8_t)count;
	return at;
}

static size_t put_raw(struct hextile_colours *colours, const struct tile *tile, uint8_t *to)
{
	uint8_t *at = to;

	*at++ = RAW;
	for (unsigned y = 0; y < tile->height; y++)
		for (unsigned x = 0; x < tile->width; x++)
			at = put_pixel(tile, at, tile->pixels[y][x]);
	/* Not every client remembers the colours over such a tile. */
	colours->background_known = colours->foreground_known = false;
	return (size_t)(at - to);
}

size_t hextile_encode(struct hextile_colours *colours, const uint32_t pixels[HEXTILE_SIDE][HEXTILE_SIDE],
		      unsigned width, unsigned height, unsigned pixel_bytes, uint8_t to[HEXTILE_TILE_MAX])
{
	struct tile tile = {.pixels = pixels, .width = width, .height = height, .pixel_bytes = pixel_bytes};
	const uint8_t *end = to + 1 + (size_t)width * height * pixel_bytes;
	unsigned rest = look(&tile);
	uint8_t *at = to + 1;

	*to = 0;
	if (!colours->background_known || colours->background != tile.background) {
		*to |= BACKGROUND;
		at = put_pixel(&tile, at, tile.background);
	}
	if (rest && !tile.coloured && (!colours->foreground_known || colours->foreground != tile.foreground)) {
		if (end - at < pixel_bytes)
			return put_raw(colours, &tile, to);
		*to |= FOREGROUND;
		at = put_pixel(&tile, at, tile.foreground);
	}
	if (rest) {
		*to |= (uint8_t)(RECTANGLES | (tile.coloured ? COLOURED : 0));
		at = at < end ? put_rectangles(&tile, at, end) : NULL;
		if (!at)
			return put_raw(colours, &tile, to);
	}
	colours->background = tile.background;
	colours->background_known = true;
	if (rest) {
		colours->foreground = tile.foreground;
		colours->foreground_known = !tile.coloured;
	}
	return (size_t)(at - to);
}
