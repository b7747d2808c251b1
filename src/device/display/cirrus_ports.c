/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers that a CL-GD5446 has beyond those of a VGA (CL-GD5446 Technical Reference Manual, chapters 4 and 9). */
#include "device/display/cirrus.h"

#include "base/util.h"

#define CHIP_ID        0xb8
#define CURSOR_COLOURS 0x02

bool cirrus_sequencer_write(struct vga *vga, uint8_t index, uint8_t value)
{
	struct cirrus *cirrus = cirrus_of(vga);

	if (index < 5)
		return false;
	/* The cursor's place: its low bits are in the index. */
	if ((index & 0x1f) == 0x10 || (index & 0x1f) == 0x11) {
		*((index & 0x1f) == 0x10 ? &cirrus->cursor_x : &cirrus->cursor_y) = (uint16_t)(value << 3 | index >> 5);
		vga->sequencer[index & 0x1f] = value;
		return true;
	}
	switch (index) {
	case 0x06:
		vga->sequencer[6] = (value & 0x17) == 0x12 ? 0x12 : 0x0f;
		break;
	case 0x07:
	case 0x17:
		vga->sequencer[index] = index == 7 ? value : (vga->sequencer[0x17] & 0x38) | (value & 0xc7);
		cirrus_map(cirrus);
		break;
	case 0x0f:
	case 0x15:
		break; /* what memory there is */
	default:
		if (index >= 8 && index < 0x20)
			vga->sequencer[index] = value;
	}
	return true;
}

bool cirrus_sequencer_read(struct vga *vga, uint8_t index, uint8_t *value)
{
	if ((index & 0x1f) == 0x10 || (index & 0x1f) == 0x11)
		index &= 0x1f;
	if (index < 5)
		return false;
	*value = index < 0x20 ? vga->sequencer[index] : 0;
	return true;
}

static void start_register(struct cirrus *cirrus, uint8_t value)
{
	uint8_t old = cirrus->vga.graphics[0x31];

	cirrus->vga.graphics[0x31] = (uint8_t)((old & 0x09) | (value & ~0x09));
	if (old & 4 && !(value & 4))
		cirrus_blit_reset(cirrus);
	else if (!(old & 2) && value & 2)
		cirrus_blit_start(cirrus);
}

bool cirrus_graphics_write(struct vga *vga, uint8_t index, uint8_t value)
{
	/* Bits that GR20..GR2e have. */
	static const uint8_t masks[16] = {0xff, 0x1f, 0xff, 0x07, 0xff, 0x1f, 0xff, 0x1f,
					  0xff, 0xff, 0x3f, 0x00, 0xff, 0xff, 0x3f, 0xff};
	struct cirrus *cirrus = cirrus_of(vga);

	switch (index) {
	case 0x00:
		cirrus->colour0 = value;
		return false;
	case 0x01:
		cirrus->colour1 = value;
		return false;
	case 0x05:
		vga->graphics[5] = value & 0x7f;
		cirrus_map(cirrus);
		return true;
	case 0x09:
	case 0x0a:
	case 0x0b:
		vga->graphics[index] = value;
		cirrus_map(cirrus);
		return true;
	case 0x31:
		start_register(cirrus, value);
		return true;
	default:
		break;
	}
	if (index < 9)
		return false;
	if (index >= 0x3a)
		return true;
	vga->graphics[index] = index - 0x20u < 16 ? value & masks[index - 0x20] : value;
	if (index == 0x2a && vga->graphics[0x31] & 0x80) /* autostart */
		cirrus_blit_start(cirrus);
	return true;
}

bool cirrus_graphics_read(struct vga *vga, uint8_t index, uint8_t *value)
{
	const struct cirrus *cirrus = cirrus_of(vga);

	*value = index == 0 ? cirrus->colour0 : index == 1 ? cirrus->colour1 : index < 0x3a ? vga->graphics[index] : 0;
	return true;
}

bool cirrus_crtc_write(struct vga *vga, uint8_t index, uint8_t value)
{
	if (index < 0x19)
		return false;
	if (index <= 0x25 && index != 0x22 && index != 0x24)
		vga->crtc[index] = value;
	return true;
}

bool cirrus_crtc_read(struct vga *vga, uint8_t index, uint8_t *value)
{
	switch (index) {
	case 0x22:
		*value = (uint8_t)(vga->latch >> 8 * (vga->graphics[4] & 3));
		return true;
	case 0x24:
		*value = vga->attribute_data ? 0x80 : 0;
		return true;
	case 0x26:
		*value = vga->attribute_index & 0x3f;
		return true;
	case 0x27:
		*value = CHIP_ID;
		return true;
	default:
		*value = index >= 0x19 && index <= 0x25 ? vga->crtc[index] : 0;
		return index >= 0x19;
	}
}

/* The register behind the pixel mask, and the cursor's own palette. */
bool cirrus_dac_write(struct vga *vga, uint16_t port, uint8_t value)
{
	struct cirrus *cirrus = cirrus_of(vga);

	if (port == 0x3c6) {
		bool hidden = cirrus->dac_reads == 4;

		cirrus->dac_reads = 0;
		if (hidden)
			cirrus->hidden_dac = value;
		return hidden;
	}
	if (!(vga->sequencer[0x12] & CURSOR_COLOURS))
		return false;
	vga->dac_latch[vga->dac_component] = value & 0x3f;
	if (++vga->dac_component == 3) {
		memcpy(cirrus->cursor_colours + 3 * (vga->dac_write_index & 15), vga->dac_latch, 3);
		vga->dac_component = 0;
		vga->dac_write_index++;
	}
	return true;
}

bool cirrus_dac_read(struct vga *vga, uint16_t port, uint8_t *value)
{
	struct cirrus *cirrus = cirrus_of(vga);

	if (port == 0x3c6) {
		if (cirrus->dac_reads < 4) {
			cirrus->dac_reads++;
			return false;
		}
		cirrus->dac_reads = 0;
		*value = cirrus->hidden_dac;
		return true;
	}
	if (!(vga->sequencer[0x12] & CURSOR_COLOURS))
		return false;
	*value = cirrus->cursor_colours[3 * (vga->dac_read_index & 15) + vga->dac_component];
	if (++vga->dac_component == 3) {
		vga->dac_component = 0;
		vga->dac_read_index++;
	}
	return true;
}
