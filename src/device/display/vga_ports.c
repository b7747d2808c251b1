/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA's registers at ports 0x3b0..0x3df (IBM PS/2 Hardware Interface Technical Reference, Video Subsystem):
 * miscellaneous output, sequencer, graphics controller, CRT controller, attribute controller, palette. Left out: light
 * pen, the sense switches, interrupts at vertical retrace (PCI adapters have none), palette registers being out of
 * reach while they are used.
 *
 * Nothing ticks: where the beam is follows from the virtual clock and the CRT controller's totals.
 */
#include "device/display/vga.h"

#include "base/util.h"
#include "core/clock.h"

/* Bits that exist. */
static const uint8_t sequencer_mask[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff};
static const uint8_t graphics_mask[9] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t attribute_mask[21] = {0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
					   0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f};

#define OPS(vga, name) ((vga)->ops && (vga)->ops->name)

/* Miscellaneous output bit 0 puts the CRT controller and input status 1 at 0x3bx or at 0x3dx. */
static bool elsewhere(const struct vga *vga, uint16_t port)
{
	return port < 0x3c0 ? vga->misc & 1 : port >= 0x3d0 && !(vga->misc & 1);
}

/* --- input status 1 --- */

/* Bit 3: vertical retrace; bit 0: no picture is being drawn. */
static uint8_t input_status(const struct vga *vga)
{
	static const uint32_t dot_clock_hz[4] = {25175000, 28322000, 40000000, 40000000};
	const uint8_t *crtc = vga->crtc;
	uint32_t dots = vga->sequencer[1] & 1 ? 8 : 9;
	uint32_t hz = dot_clock_hz[vga->misc >> 2 & 3] >> (vga->sequencer[1] >> 3 & 1);
	uint32_t columns = crtc[0] + 5u, shown = crtc[1] + 1u;
	uint32_t lines = crtc[6] + ((crtc[7] & 1u) << 8) + ((crtc[7] & 0x20u) << 4) + 2;
	uint32_t shown_lines = crtc[0x12] + ((crtc[7] & 2u) << 7) + ((crtc[7] & 0x40u) << 3) + 1;
	uint32_t retrace = crtc[0x10] + ((crtc[7] & 4u) << 6) + ((crtc[7] & 0x80u) << 2);
	uint32_t retrace_lines = (crtc[0x11] - retrace) & 0xf;
	uint64_t frame_ns = (uint64_t)columns * lines * dots * NS_PER_S / hz;
	uint64_t at = (uint64_t)clock_now(vga->env->clock) % frame_ns;
	uint32_t line = (uint32_t)(at * lines / frame_ns);
	uint32_t column = (uint32_t)(at * lines % frame_ns * columns / frame_ns);
	uint8_t status = 0;

	if (line - retrace < (retrace_lines ? retrace_lines : 16))
		status |= 8;
	if (line >= shown_lines || column >= shown)
		status |= 1;
	return status;
}

/* --- reading --- */

static uint8_t controller_read(struct vga *vga, bool (*own)(struct vga *vga, uint8_t index, uint8_t *value),
			       const uint8_t *registers, unsigned count, uint8_t index)
{
	uint8_t value = 0;

	if (own && own(vga, index, &value))
		return value;
	return index < count ? registers[index] : 0;
}

static uint8_t dac_read(struct vga *vga)
{
	uint8_t value = vga->dac[vga->dac_read_index * 3 + vga->dac_component];

	if (++vga->dac_component == 3) {
		vga->dac_component = 0;
		vga->dac_read_index++;
	}
	return value;
}

uint8_t vga_port_read(struct vga *vga, uint16_t port)
{
	uint8_t value;

	if (elsewhere(vga, port))
		return 0xff;
	switch (port) {
	case 0x3c0:
		return vga->attribute_data ? 0 : vga->attribute_index;
	case 0x3c1:
		return vga->attribute[vga->attribute_index & 0x1f];
	case 0x3c2:
		return 0x10; /* a colour monitor's sense line */
	case 0x3c4:
		return vga->sequencer_index;
	case 0x3c5:
		return controller_read(vga, OPS(vga, sequencer_read) ? vga->ops->sequencer_read : NULL, vga->sequencer,
				       8, vga->sequencer_index);
	case 0x3c6:
		return OPS(vga, dac_read) && vga->ops->dac_read(vga, port, &value) ? value : vga->dac_mask;
	case 0x3c7:
		return vga->dac_reading ? 3 : 0;
	case 0x3c8:
		return vga->dac_write_index;
	case 0x3c9:
		return OPS(vga, dac_read) && vga->ops->dac_read(vga, port, &value) ? value : dac_read(vga);
	case 0x3ca:
		return vga->feature;
	case 0x3cc:
		return vga->misc;
	case 0x3ce:
		return vga->graphics_index;
	case 0x3cf:
		return controller_read(vga, OPS(vga, graphics_read) ? vga->ops->graphics_read : NULL, vga->graphics, 9,
				       vga->graphics_index);
	case 0x3b4:
	case 0x3d4:
		return vga->crtc_index;
	case 0x3b5:
	case 0x3d5:
		return controller_read(vga, OPS(vga, crtc_read) ? vga->ops->crtc_read : NULL, vga->crtc, 25,
				       vga->crtc_index);
	case 0x3ba:
	case 0x3da:
		vga->attribute_data = false;
		return input_status(vga);
	default:
		return port >= 0x3c0 && port < 0x3d0 ? 0 : 0xff;
	}
}

/* --- writing --- */

static void attribute_write(struct vga *vga, uint8_t value)
{
	uint8_t index = vga->attribute_index & 0x1f;

	if (!vga->attribute_data)
		vga->attribute_index = value & 0x3f;
	else if (index < ARRAY_SIZE(attribute_mask))
		vga->attribute[index] = value & attribute_mask[index];
	vga->attribute_data = !vga->attribute_data;
}

static void dac_write(struct vga *vga, uint8_t value)
{
	vga->dac_latch[vga->dac_component] = vga->dac_8bit ? value : value & 0x3f;
	if (++vga->dac_component == 3) {
		memcpy(vga->dac + vga->dac_write_index * 3, vga->dac_latch, 3);
		vga->dac_component = 0;
		vga->dac_write_index++;
	}
}

/* Vertical retrace end's bit 7 protects registers 0 to 7, but for the line compare bit in 7. */
static void crtc_write(struct vga *vga, uint8_t value)
{
	uint8_t index = vga->crtc_index;

	if (OPS(vga, crtc_write) && vga->ops->crtc_write(vga, index, value))
		return;
	if (index >= 25)
		return;
	if (index <= 7 && vga->crtc[0x11] & 0x80) {
		if (index == 7)
			vga->crtc[7] = (vga->crtc[7] & ~0x10) | (value & 0x10);
		return;
	}
	vga->crtc[index] = value;
}

static void sequencer_write(struct vga *vga, uint8_t value)
{
	uint8_t index = vga->sequencer_index;

	if (OPS(vga, sequencer_write) && vga->ops->sequencer_write(vga, index, value))
		return;
	if (index < ARRAY_SIZE(sequencer_mask))
		vga->sequencer[index] = value & sequencer_mask[index];
	vga_map_legacy(vga);
}

static void graphics_write(struct vga *vga, uint8_t value)
{
	uint8_t index = vga->graphics_index;

	if (OPS(vga, graphics_write) && vga->ops->graphics_write(vga, index, value))
		return;
	if (index < ARRAY_SIZE(graphics_mask))
		vga->graphics[index] = value & graphics_mask[index];
	vga_map_legacy(vga);
}

void vga_port_write(struct vga *vga, uint16_t port, uint8_t value)
{
	if (elsewhere(vga, port))
		return;
	switch (port) {
	case 0x3c0:
		attribute_write(vga, value);
		break;
	case 0x3c2:
		vga->misc = value & ~0x10;
		vga_map_legacy(vga);
		break;
	case 0x3c4:
		vga->sequencer_index = value;
		break;
	case 0x3c5:
		sequencer_write(vga, value);
		break;
	case 0x3c6:
		if (!OPS(vga, dac_write) || !vga->ops->dac_write(vga, port, value))
			vga->dac_mask = value;
		break;
	case 0x3c7:
		vga->dac_read_index = value;
		vga->dac_component = 0;
		vga->dac_reading = true;
		break;
	case 0x3c8:
		vga->dac_write_index = value;
		vga->dac_component = 0;
		vga->dac_reading = false;
		break;
	case 0x3c9:
		if (!OPS(vga, dac_write) || !vga->ops->dac_write(vga, port, value))
			dac_write(vga, value);
		break;
	case 0x3ce:
		vga->graphics_index = value;
		break;
	case 0x3cf:
		graphics_write(vga, value);
		break;
	case 0x3b4:
	case 0x3d4:
		vga->crtc_index = value;
		break;
	case 0x3b5:
	case 0x3d5:
		crtc_write(vga, value);
		break;
	case 0x3ba:
	case 0x3da:
		vga->feature = value & 0x10;
		break;
	default:
		break;
	}
}
