/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the registers mean (struct vga_mode). Widths and heights are in the dots and lines that a monitor gets: 320x200
 * in 256 colours is 640x400, every pixel twice.
 */
#include "device/display/vga.h"

#include "base/util.h"

static uint32_t component(const struct vga *vga, uint8_t value)
{
	value = vga->dac_8bit ? value : value & 0x3f;
	return vga->dac_8bit ? value : (uint32_t)value << 2 | (value & 1) << 1 | (value & 1);
}

uint32_t vga_dac_colour(const struct vga *vga, uint8_t index)
{
	const uint8_t *rgb = vga->dac + 3 * (index & vga->dac_mask);

	return component(vga, rgb[0]) << 16 | component(vga, rgb[1]) << 8 | component(vga, rgb[2]);
}

void vga_palette256(const struct vga *vga, uint32_t palette[256])
{
	for (unsigned i = 0; i < 256; i++)
		palette[i] = vga_dac_colour(vga, (uint8_t)i);
}

/* Attribute controller: its palette, and colour select for the bits that its entries do not give. */
void vga_palette16(const struct vga *vga, uint32_t palette[16])
{
	const uint8_t *attribute = vga->attribute;

	for (unsigned i = 0; i < 16; i++) {
		uint8_t index = attribute[i] & 0x3f;

		if (attribute[0x10] & 0x80)
			index = (uint8_t)((index & 15) | (attribute[0x14] & 3) << 4);
		palette[i] = vga_dac_colour(vga, (uint8_t)(index | (attribute[0x14] & 12) << 4));
	}
}

void vga_decode_crtc(const struct vga *vga, struct vga_mode *mode)
{
	const uint8_t *crtc = vga->crtc;
	unsigned word_mode = crtc[0x17] & 0x40 ? 1 : 0;

	mode->width = (crtc[1] + 1u) * 8;
	mode->height = crtc[0x12] + ((crtc[7] & 2u) << 7) + ((crtc[7] & 0x40u) << 3) + 1;
	mode->start = (crtc[0x0c] << 8 | crtc[0x0d]) * 4u + (crtc[8] >> 5 & 3) * 4u;
	mode->stride = crtc[0x13] * 8u;
	mode->size = 0x40000;
	mode->scan_lines = (crtc[9] & 0x1f) + 1u;
	mode->first_scan = crtc[8] & 0x1f;
	mode->double_scan = crtc[9] & 0x80;
	mode->split = crtc[0x18] + ((crtc[7] & 0x10u) << 4) + ((crtc[9] & 0x40u) << 3) + 1;
	if (mode->split >= mode->height)
		mode->split = UINT32_MAX;
	/* Address bits 13 and 14 of a CPU in odd/even (word) or byte addressing. */
	mode->interleave_bit[0] = crtc[0x17] & 1 ? 0 : 1u << (14 + word_mode);
	mode->interleave_bit[1] = crtc[0x17] & 2 ? 0 : 1u << (15 + word_mode);
	mode->pan_above_split_only = vga->attribute[0x10] & 0x20;
}

/* Character map select: four times 16 KiB of plane 2, in two halves. */
static uint32_t font_offset(unsigned which, unsigned half)
{
	return which * 0x10000 + half * 0x8000;
}

static void decode_text(const struct vga *vga, struct vga_mode *mode)
{
	const uint8_t *attribute = vga->attribute, *sequencer = vga->sequencer;
	uint8_t map = sequencer[3], pan = attribute[0x13] & 15;

	mode->kind = VGA_TEXT;
	mode->double_dots = sequencer[1] & 8;
	/* A doubled cell is 16 dots, never 18. */
	mode->cell_width = mode->double_dots ? 16 : sequencer[1] & 1 ? 8 : 9;
	mode->width = mode->width / 8 * mode->cell_width;
	mode->font[0] = font_offset(map & 3, map >> 4 & 1);
	mode->font[1] = font_offset(map >> 2 & 3, map >> 5 & 1);
	mode->blink = attribute[0x10] & 8;
	mode->line_graphics = attribute[0x10] & 4;
	mode->underline = vga->crtc[0x14] & 0x1f;
	if (mode->cell_width == 9)
		mode->pan = pan >= 8 ? 0 : pan + 1u;
	else
		mode->pan = (pan & 7u) * (mode->cell_width / 8);
	vga_palette16(vga, mode->palette);
}

static void decode_graphics(const struct vga *vga, struct vga_mode *mode)
{
	uint32_t pan = vga->attribute[0x13] & 7;

	mode->double_dots = vga->sequencer[1] & 8;
	mode->planes = vga->attribute[0x12] & 15;
	if (mode->double_dots)
		mode->width *= 2;
	switch (vga->graphics[5] >> 5 & 3) {
	case 0:
		mode->kind = VGA_PLANAR;
		break;
	case 1:
		mode->kind = VGA_CGA;
		break;
	default:
		/* A byte is two dots; eight dots are one word of memory. */
		mode->kind = VGA_PACKED8;
		mode->double_dots = true;
		vga_palette256(vga, mode->palette);
		mode->pan = pan;
		return;
	}
	mode->pan = pan * (mode->double_dots ? 2 : 1);
	vga_palette16(vga, mode->palette);
}

static void decode_cursor(const struct vga *vga, struct vga_text_cursor *cursor)
{
	const uint8_t *crtc = vga->crtc;

	cursor->offset = (crtc[0x0e] << 8 | crtc[0x0f]) * 4u;
	cursor->first = crtc[0x0a] & 0x1f;
	cursor->last = crtc[0x0b] & 0x1f;
	cursor->on = !(crtc[0x0a] & 0x20) && cursor->first <= cursor->last;
}

void vga_decode(struct vga *vga, struct vga_mode *mode, struct vga_text_cursor *cursor)
{
	memset(mode, 0, sizeof(*mode));
	memset(cursor, 0, sizeof(*cursor));
	mode->split = UINT32_MAX;
	/* The palette is open to the CPU: nothing is shown. */
	if (!(vga->attribute_index & 0x20))
		return;
	if (vga->has_dispi && vga_dispi_mode(vga, mode))
		return;
	if (vga->ops && vga->ops->mode && vga->ops->mode(vga, mode))
		return;
	/* Screen off. Not for the modes above: SeaBIOS leaves the bit set in those of a Cirrus. */
	if (vga->sequencer[1] & 0x20)
		return;
	vga_decode_crtc(vga, mode);
	if (vga->graphics[6] & 1) {
		decode_graphics(vga, mode);
		return;
	}
	decode_text(vga, mode);
	decode_cursor(vga, cursor);
}
