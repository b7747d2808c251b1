/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Screen shots (picture.h): Netpbm's PPM, PNG (ISO 15948: IHDR, IDAT, IEND; no filters, no interlace), and text. */
#include "backend/display/picture.h"

#include "backend/display/cp437.h"
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
			uint16_t character = display_cp437(text->cells[row * text->columns + column].glyph);

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

static int check_picture(struct display_console *console, enum picture_format format, struct error *err)
{
	if (format == PICTURE_TEXT && !display_text(console))
		return error_set(err, EINVAL, "the screen shows graphics, not text");
	if (format != PICTURE_TEXT && !display_surface(console)->width)
		return error_set(err, EINVAL, "the screen has no picture yet");
	return 0;
}

static int write_picture(struct display_console *console, enum picture_format format, const char *path,
			 struct error *err)
{
	const struct display_surface *surface = display_surface(console);
	FILE *file = fopen(path, "we");
	int ret;

	if (!file)
		return error_set_errno(err, errno, "failed to open file '%s'", path);
	ret = format == PICTURE_TEXT  ? write_text(file, display_text(console))
	      : format == PICTURE_PNG ? write_png(file, surface)
				      : write_ppm(file, surface);
	if (fclose(file) && !ret)
		ret = -errno;
	return ret ? error_set_errno(err, -ret, "%s: writing", path) : 0;
}

int picture_save(struct display_console *console, enum picture_format format, const char *path, struct error *err)
{
	static const struct display_listener_ops nothing = {0};
	struct display_listener *listener =
		display_listen(console, format == PICTURE_TEXT ? DISPLAY_TEXT : DISPLAY_PIXELS, &nothing, NULL);
	struct display_rect rects[DISPLAY_RECTS_MAX];
	int ret;

	display_update(listener, rects);
	/* A file of before is not lost for nothing. */
	ret = check_picture(console, format, err);
	if (!ret)
		ret = write_picture(console, format, path, err);
	display_unlisten(listener);
	return ret;
}
