/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cirrus Logic GD5446 on PCI (1013:00b8; CL-GD5446 Technical Reference Manual): a VGA with extended registers, linear
 * modes of 8 to 32 bits, two banks at 0xa0000, colour-expanding write modes 4 and 5, a hardware cursor and a blitter.
 * Here: modes, the cursor, what is saved; registers are in cirrus_ports.c, memory and the BARs in cirrus_memory.c, the
 * blitter in cirrus_blit.c. Left out: the video window (overlay), colour keying, DDC, clock synthesis, power management.
 *
 *	BAR 0	32 MiB: video memory; from 16 MiB on data for the blitter
 *	BAR 1	0x000 VGA ports 0x3c0.., 0x100 blitter registers
 *	ROM	vgabios-cirrus.bin
 */
#include "device/display/cirrus.h"

#include "base/util.h"
#include "device/display/display_devices.h"

#define CHIP_ID      0xb8
#define LINEAR_BYTES (32 * MIB)
#define MMIO_BYTES   4096
#define CURSOR_ON    0x01 /* SR12 */
#define CURSOR_LARGE 0x04

/* --- modes and the cursor --- */

static bool decode_mode(struct vga *vga, struct vga_mode *mode)
{
	const uint8_t *crtc = vga->crtc;
	uint32_t counter;

	if (!cirrus_is_extended(vga))
		return false;
	vga_decode_crtc(vga, mode);
	counter = crtc[0x0c] << 8 | crtc[0x0d] | (crtc[0x1b] & 1u) << 16 | (crtc[0x1b] & 0x0cu) << 15 |
		  (crtc[0x1d] & 0x80u) << 12;
	mode->start = (counter * 4) & (vga->bytes - 1);
	mode->stride = (crtc[0x13] | (crtc[0x1b] & 0x10u) << 4) * 8;
	mode->size = vga->bytes;
	mode->interleave_bit[0] = mode->interleave_bit[1] = 0;
	if (crtc[0x1a] & 1) /* interlaced */
		mode->height *= 2;
	switch (vga->sequencer[7] & 0x0e) {
	case 0x00:
		mode->kind = VGA_PACKED8;
		vga_palette256(vga, mode->palette);
		break;
	case 0x04:
		mode->kind = VGA_RGB24;
		break;
	case 0x08:
		mode->kind = VGA_RGB32;
		break;
	default:
		mode->kind = cirrus_of(vga)->hidden_dac & 15 ? VGA_RGB16 : VGA_RGB15;
	}
	return true;
}

static uint32_t cursor_colour(const struct cirrus *cirrus, unsigned entry)
{
	const uint8_t *rgb = cirrus->cursor_colours + 3 * entry;

	return (rgb[0] << 2 | rgb[0] >> 4) << 16 | (rgb[1] << 2 | rgb[1] >> 4) << 8 | (rgb[2] << 2 | rgb[2] >> 4);
}

/* Two bit planes at the end of memory, that of 32x32 one behind the other, those of 64x64 line by line. */
static uint32_t cursor_pattern(const struct vga *vga)
{
	bool large = vga->sequencer[0x12] & CURSOR_LARGE;

	return vga->bytes - 16 * 1024 + (vga->sequencer[0x13] & (large ? 0x3cu : 0x3fu)) * 256;
}

static uint64_t overlay_key(struct vga *vga, uint32_t *first_row, uint32_t *rows)
{
	struct cirrus *cirrus = cirrus_of(vga);
	uint64_t key = 0xcbf29ce484222325ull;

	pthread_mutex_lock(&vga->lock);
	if (!(vga->sequencer[0x12] & CURSOR_ON) || !cirrus_is_extended(vga)) {
		key = 0;
	} else {
		uint32_t pattern = cursor_pattern(vga), bytes = vga->sequencer[0x12] & CURSOR_LARGE ? 1024 : 256;

		*first_row = cirrus->cursor_y;
		*rows = bytes == 1024 ? 64 : 32;
		for (uint32_t i = 0; i < bytes; i++)
			key = (key ^ vga->memory[pattern + i]) * 0x100000001b3ull;
		for (unsigned i = 0; i < sizeof(cirrus->cursor_colours); i++)
			key = (key ^ cirrus->cursor_colours[i]) * 0x100000001b3ull;
		key = (key ^ cirrus->cursor_x ^ (uint64_t)cirrus->cursor_y << 16 ^ (uint64_t)bytes << 32) *
		      0x100000001b3ull;
		key |= 1;
	}
	pthread_mutex_unlock(&vga->lock);
	return key;
}

static void overlay(struct vga *vga, uint32_t y, uint32_t *pixels, uint32_t width)
{
	struct cirrus *cirrus = cirrus_of(vga);
	uint32_t size, row, plane0, plane1;

	pthread_mutex_lock(&vga->lock);
	size = vga->sequencer[0x12] & CURSOR_LARGE ? 64 : 32;
	row = y - cirrus->cursor_y;
	plane0 = cursor_pattern(vga) + (size == 64 ? row * 16 : row * 4);
	plane1 = plane0 + (size == 64 ? 8 : 128);
	for (uint32_t i = 0; row < size && i < size && cirrus->cursor_x + i < width; i++) {
		unsigned shift = 7 - i % 8;
		unsigned bits = (vga->memory[plane0 + i / 8] >> shift & 1) | (vga->memory[plane1 + i / 8] >> shift & 1)
										     << 1;
		uint32_t *pixel = &pixels[cirrus->cursor_x + i];

		if (bits == 1)
			*pixel ^= 0xffffff;
		else if (bits)
			*pixel = cursor_colour(cirrus, bits == 2 ? 0 : 15);
	}
	pthread_mutex_unlock(&vga->lock);
}

static const struct vga_ops ops = {
	.mode = decode_mode,
	.sequencer_write = cirrus_sequencer_write,
	.sequencer_read = cirrus_sequencer_read,
	.graphics_write = cirrus_graphics_write,
	.graphics_read = cirrus_graphics_read,
	.crtc_write = cirrus_crtc_write,
	.crtc_read = cirrus_crtc_read,
	.dac_write = cirrus_dac_write,
	.dac_read = cirrus_dac_read,
	.legacy_own = cirrus_legacy_own,
	.legacy_write = cirrus_legacy_write,
	.legacy_read = cirrus_legacy_read,
	.legacy_direct = cirrus_legacy_direct,
	.overlay_key = overlay_key,
	.overlay = overlay,
};

/* --- life --- */

static void undo_init(struct cirrus *cirrus)
{
	pci_unmap(&cirrus->pci);
	ram_window_hide(&cirrus->pci.bars[0].window);
	vga_fini(&cirrus->vga);
}

static int init(struct device *device, struct error *err)
{
	struct cirrus *cirrus = container_of(device, struct cirrus, pci.device);
	int ret;

	if (cirrus->vgamem_mb != 4 && cirrus->vgamem_mb != 8 && cirrus->vgamem_mb != 16)
		return error_set(err, EINVAL, "vgamem_mb=%u: must be 4, 8 or 16", cirrus->vgamem_mb);
	cirrus->vga.env = device->env;
	cirrus->vga.ops = &ops;
	ret = vga_init(&cirrus->vga, device->id ? device->id : device->class->name, cirrus->vgamem_mb << 20, err);
	if (ret)
		return ret;
	ret = pci_bar_add(&cirrus->pci, 0, PCI_BAR_MEM32 | PCI_BAR_PREFETCH, "cirrus-linear", &cirrus_linear_ops,
			  cirrus, LINEAR_BYTES, err);
	if (!ret) {
		cirrus->pci.bars[0].window = (struct ram_window){.block = cirrus->vga.vram, .size = cirrus->vga.bytes};
		ret = pci_bar_add(&cirrus->pci, 1, PCI_BAR_MEM32, "cirrus-mmio", &cirrus_mmio_ops, cirrus, MMIO_BYTES,
				  err);
	}
	if (ret)
		undo_init(cirrus);
	return ret;
}

static void reset(struct device *device)
{
	struct cirrus *cirrus = container_of(device, struct cirrus, pci.device);
	struct vga *vga = &cirrus->vga;

	cirrus->feed.active = false;
	cirrus->hidden_dac = cirrus->dac_reads = cirrus->colour0 = cirrus->colour1 = 0;
	cirrus->cursor_x = cirrus->cursor_y = 0;
	memset(cirrus->cursor_colours, 0, sizeof(cirrus->cursor_colours));
	vga_reset(vga);
	vga->sequencer[0x06] = 0x0f;
	vga->sequencer[0x0f] = 0x98; /* 64-bit DRAM, two banks */
	vga->sequencer[0x15] = 0x04; /* 4 MiB */
	vga->sequencer[0x17] = 0x20; /* PCI */
	vga->sequencer[0x1f] = 0x2d; /* MCLK */
}

static void fini(struct device *device)
{
	undo_init(container_of(device, struct cirrus, pci.device));
}

static const struct property properties[] = {
	PCI_ROMFILE_PROPERTY(struct cirrus, pci, "vgabios-cirrus.bin"),
	{.name = "vgamem_mb",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct cirrus, vgamem_mb),
	 .fallback = "4",
	 .help = "video memory in MiB: 4, 8 or 16"},
	{.name = NULL},
};

static int check_feed(const void *staged, struct error *err)
{
	const struct cirrus_feed *feed = staged;

	if (feed->active && (!feed->rows_left || feed->rows_left > 2048 || !feed->row_bytes ||
			     feed->row_bytes > sizeof(feed->data) || feed->filled >= feed->row_bytes))
		return error_set(err, EINVAL, "a blit of %u rows of %u bytes with %u there already", feed->rows_left,
				 feed->row_bytes, feed->filled);
	return 0;
}

static const struct state_field feed_fields[] = {
	STATE_FIELD(STATE_BOOL, struct cirrus_feed, active),
	STATE_FIELD(STATE_U32, struct cirrus_feed, row_bytes),
	STATE_FIELD(STATE_U32, struct cirrus_feed, filled),
	STATE_FIELD(STATE_U32, struct cirrus_feed, rows_left),
	STATE_FIELD(STATE_U32, struct cirrus_feed, destination),
	{.name = "data",
	 .type = STATE_BYTES,
	 .offset = offsetof(struct cirrus_feed, data),
	 .count = CIRRUS_ROW_MAX + 4,
	 .stride = 1},
	STATE_END,
};

static const struct state_table feed_state = {
	.name = "feed", .version = 1, .size = sizeof(struct cirrus_feed), .fields = feed_fields, .check = check_feed};

static void after_load(void *object)
{
	struct cirrus *cirrus = object;

	pthread_mutex_lock(&cirrus->vga.lock);
	cirrus_map(cirrus);
	pthread_mutex_unlock(&cirrus->vga.lock);
}

static const struct state_field fields[] = {
	STATE_SUB(pci_device_state, struct cirrus, pci, 1),
	STATE_SUB(vga_state, struct cirrus, vga, 1),
	STATE_FIELD(STATE_U8, struct cirrus, hidden_dac),
	STATE_FIELD(STATE_U8, struct cirrus, dac_reads),
	STATE_FIELD(STATE_U16, struct cirrus, cursor_x),
	STATE_FIELD(STATE_U16, struct cirrus, cursor_y),
	{.name = "cursor_colours",
	 .type = STATE_BYTES,
	 .offset = offsetof(struct cirrus, cursor_colours),
	 .count = 48,
	 .stride = 1},
	STATE_FIELD(STATE_U8, struct cirrus, colour0),
	STATE_FIELD(STATE_U8, struct cirrus, colour1),
	STATE_SUB(feed_state, struct cirrus, feed, 1),
	STATE_END,
};

static const struct state_table state = {
	.name = "cirrus-vga", .version = 1, .size = sizeof(struct cirrus), .fields = fields, .after_load = after_load};

static const struct pci_class pci_class = {
	.vendor = 0x1013, .device = CHIP_ID, .subsystem_vendor = 0x1af4, .subsystem = 0x1100, .class_code = 0x030000};

const struct device_class cirrus_class = {
	.name = "cirrus-vga",
	.help = "Cirrus CLGD 54xx VGA",
	.bus = DEVICE_PCI,
	.size = sizeof(struct cirrus),
	.properties = properties,
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
	.bus_class = &pci_class,
};
