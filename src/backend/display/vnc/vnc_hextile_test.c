/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tiles go through the encoder and a decoder that is written after RFC 6143 7.7.4 alone. */
#include "backend/display/vnc/vnc_hextile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SIDE = HEXTILE_SIDE };

struct decoder {
	const uint8_t *at, *end;
	unsigned pixel_bytes;
	uint32_t background, foreground;
	bool background_known, foreground_known;
};

static uint32_t byte(struct decoder *decoder)
{
	assert_true(decoder->at < decoder->end);
	return *decoder->at++;
}

static uint32_t pixel(struct decoder *decoder)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < decoder->pixel_bytes; i++)
		value |= byte(decoder) << 8 * i;
	return value;
}

static void decode_rectangles(struct decoder *decoder, uint32_t flags, uint32_t tile[SIDE][SIDE], unsigned width,
			      unsigned height)
{
	for (uint32_t count = byte(decoder); count; count--) {
		uint32_t colour = flags & 16 ? pixel(decoder) : decoder->foreground;
		uint32_t place = byte(decoder), size = byte(decoder);

		assert_true(flags & 16 || decoder->foreground_known);
		assert_true((place >> 4) + (size >> 4) < width && (place & 15) + (size & 15) < height);
		for (uint32_t y = place & 15; y <= (place & 15) + (size & 15); y++)
			for (uint32_t x = place >> 4; x <= (place >> 4) + (size >> 4); x++)
				tile[y][x] = colour;
	}
}

static void decode(struct decoder *decoder, uint32_t tile[SIDE][SIDE], unsigned width, unsigned height)
{
	uint32_t flags = byte(decoder);

	assert_true(flags < 32 && (flags & 20) != 20);
	if (flags & 1) {
		for (unsigned i = 0; i < width * height; i++)
			tile[i / width][i % width] = pixel(decoder);
		decoder->background_known = decoder->foreground_known = false;
		return;
	}
	if (flags & 2) {
		decoder->background = pixel(decoder);
		decoder->background_known = true;
	}
	assert_true(decoder->background_known);
	for (unsigned i = 0; i < width * height; i++)
		tile[i / width][i % width] = decoder->background;
	if (flags & 4) {
		decoder->foreground = pixel(decoder);
		decoder->foreground_known = true;
	}
	if (flags & 8)
		decode_rectangles(decoder, flags, tile, width, height);
	if (flags & 16)
		decoder->foreground_known = false;
}

/* Random tiles of a rectangle one after the other: of few colours or many, in runs or not, of every size. */
static void tiles_come_back(void **state)
{
	static const unsigned widths[] = {1, 2, 4};

	srandom(1);
	for (unsigned round = 0; round < 3000; round++) {
		struct hextile_colours colours = {0};
		struct decoder decoder = {.pixel_bytes = widths[round % 3]};
		uint32_t mask = decoder.pixel_bytes == 4 ? UINT32_MAX : (1u << 8 * decoder.pixel_bytes) - 1;

		for (unsigned i = 0; i < 8; i++) {
			unsigned width = (unsigned)random() % 3 ? SIDE : 1 + (unsigned)random() % SIDE;
			unsigned height = (unsigned)random() % 3 ? SIDE : 1 + (unsigned)random() % SIDE;
			unsigned kinds = 1 + (unsigned)random() % (random() % 4 ? 3 : 200);
			unsigned run = 1 + (unsigned)random() % 40, left = 0;
			uint32_t tile[SIDE][SIDE], back[SIDE][SIDE], value = 0;
			uint8_t bytes[HEXTILE_TILE_MAX];
			size_t length;

			for (unsigned at = 0; at < SIDE * SIDE; at++, left--) {
				if (!left) {
					left = 1 + (unsigned)random() % run;
					value = (uint32_t)random() % kinds * 0x9e3779b9u & mask;
				}
				tile[at / SIDE][at % SIDE] = value;
			}
			length = hextile_encode(&colours, tile, width, height, decoder.pixel_bytes, bytes);
			assert_true(length <= 1 + width * height * decoder.pixel_bytes);
			decoder.at = bytes;
			decoder.end = bytes + length;
			decode(&decoder, back, width, height);
			assert_ptr_equal(decoder.at, decoder.end);
			for (unsigned y = 0; y < height; y++)
				assert_memory_equal(tile[y], back[y], width * sizeof(**tile));
		}
	}
}

/* A line of text costs what its strokes do: colours are told once. */
static void colours_are_told_once(void **state)
{
	struct hextile_colours colours = {0};
	uint32_t tile[SIDE][SIDE] = {{0}};
	uint8_t bytes[HEXTILE_TILE_MAX];

	for (unsigned y = 2; y < 12; y++)
		tile[y][3] = tile[y][4] = 7;
	assert_int_equal(hextile_encode(&colours, tile, SIDE, SIDE, 4, bytes), 1 + 4 + 4 + 1 + 2);
	assert_int_equal(hextile_encode(&colours, tile, SIDE, SIDE, 4, bytes), 1 + 1 + 2);
	memset(tile, 0, sizeof(tile));
	assert_int_equal(hextile_encode(&colours, tile, SIDE, SIDE, 4, bytes), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(tiles_come_back), cmocka_unit_test(colours_are_told_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
