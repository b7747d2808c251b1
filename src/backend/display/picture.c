/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Screen shots (picture.h): Netpbm's PPM, PNG (ISO 15948: IHDR, IDAT, IEND; no filters, no interlace), and text. */
#include "backend/display/picture.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

static void put_rgb(uint8_t *to, const uint32_t *from, uint32_t width)
{
	for (uint32_t x = 0; x < width; x++) {
		*to++ = (uint8_t)(from[x] >> 16);
		*to++ = (uint8_t)(from[x] >> 8);
		*to++ = (uint8_t)from[x];
	}
}

static const uint32_t *row_of(const struct display_surface *surface, uint32_t y)
{
	return (const uint32_t *)(const void *)((const uint8_t *)surface->pixels + (size_t)y * surface->stride_bytes);
}

/* --- PPM --- */

static int write_ppm(FILE *file, const struct display_surface *surface)
{
	uint8_t *row = xcalloc(surface->width, 3);
	bool good = fprintf(file, "P6\n%u %u\n255\n", surface->width, surface->height) > 0;

	for (uint32_t y = 0; good && y < surface->height; y++) {
		put_rgb(row, row_of(surface, y), surface->width);
		good = fwrite(row, 3, surface->width, file) == surface->width;
	}
	free(row);
	return good ? 0 : -errno;
}

/* --- PNG --- */

static bool put_chunk(FILE *file, const char type[4], const uint8_t *data, uint32_t length)
{
	uint8_t word[4];
	uLong crc = crc32(crc32(0, (const uint8_t *)type, 4), data, length);

	store_be32(word, length);
	if (fwrite(word, 4, 1, file) != 1 || fwrite(type, 4, 1, file) != 1 ||
	    (length && fwrite(data, length, 1, file) != 1))
		return false;
	store_be32(word, (uint32_t)crc);
	return fwrite(word, 4, 1, file) == 1;
}

static bool put_rows(FILE *file, const struct display_surface *surface, z_stream *stream)
{
	static const size_t buffer_bytes = 64 * KIB;
	uint8_t *row = xcalloc(surface->width + 1, 3), *buffer = xcalloc(1, buffer_bytes);
	bool good = true;

	for (uint32_t y = 0; good && y <= surface->height; y++) {
		bool last = y == surface->height;

		if (!last)
			put_rgb(row + 1, row_of(surface, y), surface->width); /* row[0]: no filter */
		stream->next_in = row;
		stream->avail_in = last ? 0 : 3 * surface->width + 1;
		do {
			stream->next_out = buffer;
			stream->avail_out = (uInt)buffer_bytes;
			deflate(stream, last ? Z_FINISH : Z_NO_FLUSH);
			if (stream->avail_out < buffer_bytes)
				good = put_chunk(file, "IDAT", buffer, (uint32_t)(buffer_bytes - stream->avail_out));
		} while (good && stream->avail_out == 0);
	}
	free(row);
	free(buffer);
	return good;
}

static int write_png(FILE *file, const struct display_surface *surface)
{
	static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
	uint8_t header[13] = {[8] = 8, [9] = 2};
	z_stream stream = {0};
	bool good;

	store_be32(header, surface->width);
	store_be32(header + 4, surface->height);
	if (deflateInit(&stream, Z_DEFAULT_COMPRESSION) != Z_OK)
		return -ENOMEM;
	errno = 0;
	good = fwrite(signature, 8, 1, file) == 1 && put_chunk(file, "IHDR", header, sizeof(header)) &&
	       put_rows(file, surface, &stream) && put_chunk(file, "IEND", NULL, 0);
	deflateEnd(&stream);
	return good ? 0 : errno ? -errno : -EIO;
}

/* --- text --- */

uint16_t picture_cp437(uint16_t glyph)
{
	static const uint16_t low[32] = {
		0x0020, 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
		0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
		0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
	};
	static const uint16_t high[129] = {
		0x2302, 0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
		0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff,
		0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1,
		0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593,
		0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510,
		0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560,
		0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518,
		0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5,
		0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264,
		0x2320, 0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x00a0,
	};
	uint8_t code = (uint8_t)glyph;

	return code < 32 ? low[code] : code < 127 ? code : high[code - 127];
}

static size_t put_utf8(char *to, uint16_t character)
{
	if (character < 0x80) {
		to[0] = (char)character;
		return 1;
	}
	if (character < 0x800) {
		to[0] = (char)(0xc0 | character >> 6);
		to[1] = (char)(0x80 | (character & 0x3f));
		return 2;
	}
	to[0] = (char)(0xe0 | character >> 12);
	to[1] = (char)(0x80 | (character >> 6 & 0x3f));
	to[2] = (char)(0x80 | (character & 0x3f));
	return 3;
}

static int write_text(FILE *file, const struct display_text *text)
{
	char line[3 * 256 + 1];

	for (uint32_t row = 0; row < text->rows; row++) {
		size_t length = 0, kept = 0;

		for (uint32_t column = 0; column < text->columns; column++) {
			uint16_t character = picture_cp437(text->cells[row * text->columns + column].glyph);

			length += put_utf8(line + length, character);
			if (character != ' ' && character != 0xa0)
				kept = length;
		}
		line[kept] = '\n';
		if (fwrite(line, kept + 1, 1, file) != 1)
			return -errno;
	}
	return 0;
}

/* --- the file --- */

static int write_picture(struct display_console *console, enum picture_format format, FILE *file, struct error *err)
{
	const struct display_surface *surface = display_surface(console);
	int ret;

	if (format == PICTURE_TEXT && !display_text(console))
		return error_set(err, EINVAL, "the screen shows graphics, not text");
	if (format != PICTURE_TEXT && !surface->width)
		return error_set(err, EINVAL, "the screen has no picture yet");
	ret = format == PICTURE_TEXT  ? write_text(file, display_text(console))
	      : format == PICTURE_PNG ? write_png(file, surface)
				      : write_ppm(file, surface);
	return ret ? error_set_errno(err, -ret, "writing") : 0;
}

int picture_save(struct display_console *console, enum picture_format format, const char *path, struct error *err)
{
	static const struct display_listener_ops nothing = {0};
	struct display_rect rects[DISPLAY_RECTS_MAX];
	FILE *file = fopen(path, "we");
	struct display_listener *listener;
	int ret;

	if (!file)
		return error_set_errno(err, errno, "failed to open file '%s'", path);
	listener = display_listen(console, format == PICTURE_TEXT ? DISPLAY_TEXT : DISPLAY_PIXELS, &nothing, NULL);
	display_update(listener, rects);
	ret = write_picture(console, format, file, err);
	display_unlisten(listener);
	if (fclose(file) && !ret)
		ret = error_set_errno(err, errno, "writing");
	return ret ? error_prefix(err, "%s", path) : 0;
}
