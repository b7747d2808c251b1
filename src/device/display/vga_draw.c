/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a row of video memory to pixels, for each kind of graphics mode. */
#include "device/display/vga.h"

#include "base/util.h"

/* Each entry: the bits 7..0 of a byte as the low bits of eight nibbles, the leftmost pixel in the highest nibble. */
static uint32_t spread(uint8_t bits)
{
	uint32_t out = 0;

	for (unsigned i = 0; i < 8; i++)
		out |= (bits >> i & 1u) << 4 * i;
	return out;
}

static void draw_planar(const struct vga_mode *mode, const uint8_t *from, uint32_t *to, uint32_t width)
{
	uint32_t spreads[256], step = mode->double_dots ? 16 : 8;

	for (unsigned i = 0; i < 256; i++)
		spreads[i] = spread((uint8_t)i);
	for (uint32_t x = 0; x < width; x += step, from += 4) {
		uint32_t pixels = 0;

		for (unsigned plane = 0; plane < 4; plane++)
			if (mode->planes >> plane & 1)
				pixels |= spreads[from[plane]] << plane;
		for (unsigned i = 0; i < 8; i++) {
			uint32_t colour = mode->palette[pixels >> (28 - 4 * i) & 15];

			*to++ = colour;
			if (mode->double_dots)
				*to++ = colour;
		}
	}
}

/* Two bits a pixel: four pixels in the byte of plane 0, then four in plane 1; planes 2 and 3 give the bits above. */
static void draw_cga(const struct vga_mode *mode, const uint8_t *from, uint32_t *to, uint32_t width)
{
	uint32_t step = mode->double_dots ? 16 : 8;

	for (uint32_t x = 0; x < width; x += step, from += 4) {
		for (unsigned i = 0; i < 8; i++) {
			unsigned shift = 6 - 2 * (i & 3), byte = i >> 2;
			unsigned pixel = (from[byte] >> shift & 3) | (from[2 + byte] >> shift & 3) << 2;
			uint32_t colour = mode->palette[pixel & mode->planes];

			*to++ = colour;
			if (mode->double_dots)
				*to++ = colour;
		}
	}
}

static void draw_packed8(const struct vga_mode *mode, const uint8_t *from, uint32_t *to, uint32_t width)
{
	if (!mode->double_dots) {
		for (uint32_t x = 0; x < width; x++)
			to[x] = mode->palette[from[x]];
		return;
	}
	for (uint32_t x = 0; x < width; x += 2)
		to[x] = to[x + 1] = mode->palette[*from++];
}

static void draw_rgb15(const uint8_t *from, uint32_t *to, uint32_t width)
{
	for (uint32_t x = 0; x < width; x++) {
		uint32_t pixel = load_le16(from + 2 * x);

		to[x] = (pixel & 0x7c00) << 9 | (pixel & 0x3e0) << 6 | (pixel & 0x1f) << 3;
	}
}

static void draw_rgb16(const uint8_t *from, uint32_t *to, uint32_t width)
{
	for (uint32_t x = 0; x < width; x++) {
		uint32_t pixel = load_le16(from + 2 * x);

		to[x] = (pixel & 0xf800) << 8 | (pixel & 0xe000) << 3 | (pixel & 0x7e0) << 5 | (pixel & 0x600) >> 1 |
			(pixel & 0x1f) << 3 | (pixel & 0x1c) >> 2;
	}
}

static void draw_rgb24(const uint8_t *from, uint32_t *to, uint32_t width)
{
	for (uint32_t x = 0; x < width; x++, from += 3)
		to[x] = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16;
}

static void draw_rgb32(const uint8_t *from, uint32_t *to, uint32_t width)
{
	for (uint32_t x = 0; x < width; x++)
		to[x] = load_le32(from + 4 * x) & 0xffffff;
}

void vga_draw_row(const struct vga_mode *mode, const uint8_t *from, uint32_t *to, uint32_t width)
{
	switch (mode->kind) {
	case VGA_PLANAR:
		draw_planar(mode, from, to, width);
		break;
	case VGA_CGA:
		draw_cga(mode, from, to, width);
		break;
	case VGA_PACKED8:
		draw_packed8(mode, from, to, width);
		break;
	case VGA_RGB15:
		draw_rgb15(from, to, width);
		break;
	case VGA_RGB16:
		draw_rgb16(from, to, width);
		break;
	case VGA_RGB24:
		draw_rgb24(from, to, width);
		break;
	case VGA_RGB32:
		draw_rgb32(from, to, width);
		break;
	case VGA_BLANK:
	case VGA_TEXT:
		break;
	}
}

uint32_t vga_row_bytes(const struct vga_mode *mode, uint32_t width)
{
	switch (mode->kind) {
	case VGA_PLANAR:
	case VGA_CGA:
		return (width + 7) / (mode->double_dots ? 16 : 8) * 4 + 4;
	case VGA_PACKED8:
		return mode->double_dots ? (width + 1) / 2 : width;
	case VGA_RGB15:
	case VGA_RGB16:
		return width * 2;
	case VGA_RGB24:
		return width * 3;
	case VGA_RGB32:
		return width * 4;
	default:
		return 0;
	}
}
