/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cirrus Logic GD5446 on PCI (1013:00b8; CL-GD5446 Technical Reference Manual): a VGA with extended registers, linear
 *modes of 8 to 32 bits, two banks at 0xa0000, colour-expanding write modes 4 and 5, a hardware cursor and a blitter
 * (cirrus_blit.c). Left out: the video window (overlay), colour keying, DDC, clock synthesis, power management.
 *
 *	BAR 0	32 MiB: video memory; from 16 MiB on data for the blitter
 *	BAR 1	0x000 VGA ports 0x3c0.., 0x100 blitter registers
 *	ROM	vgabios-cirrus.bin
 */
#include "device/display/cirrus.h"

#include "base/util.h"
#include "device/display/display_devices.h"

#define CHIP_ID        0xb8
#define LINEAR_BYTES   (32 * MIB)
#define BLIT_WINDOW    (16 * MIB)
#define MMIO_BYTES     4096
#define EXTENDED       0x01 /* SR7 */
#define CURSOR_ON      0x01 /* SR12 */
#define CURSOR_COLOURS 0x02
#define CURSOR_LARGE   0x04
/* GRB */
#define DUAL_BANK      0x01
#define BY_8           0x02
#define EXTENDED_WRITE 0x04
#define BY_16          0x10
#define BANKS_16K      0x20

static struct cirrus *cirrus_of(struct vga *vga)
{
	return container_of(vga, struct cirrus, vga);
}

static bool extended(const struct vga *vga)
{
	return vga->sequencer[7] & EXTENDED;
}

/* --- registers --- */

static bool sequencer_write(struct vga *vga, uint8_t index, uint8_t value)
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

static bool sequencer_read(struct vga *vga, uint8_t index, uint8_t *value)
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

static bool graphics_write(struct vga *vga, uint8_t index, uint8_t value)
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

static bool graphics_read(struct vga *vga, uint8_t index, uint8_t *value)
{
	const struct cirrus *cirrus = cirrus_of(vga);

	*value = index == 0 ? cirrus->colour0 : index == 1 ? cirrus->colour1 : index < 0x3a ? vga->graphics[index] : 0;
	return true;
}

static bool crtc_write(struct vga *vga, uint8_t index, uint8_t value)
{
	if (index < 0x19)
		return false;
	if (index <= 0x25 && index != 0x22 && index != 0x24)
		vga->crtc[index] = value;
	return true;
}

static bool crtc_read(struct vga *vga, uint8_t index, uint8_t *value)
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
static bool dac_write(struct vga *vga, uint16_t port, uint8_t value)
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

static bool dac_read(struct vga *vga, uint16_t port, uint8_t *value)
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

/* --- memory --- */

/* Write modes 4 and 5: eight pixels from eight bits; 4 draws ones only. */
static void expand_write(struct vga *vga, uint32_t offset, uint8_t value)
{
	const struct cirrus *cirrus = cirrus_of(vga);
	bool opaque = (vga->graphics[5] & 7) == 5,
	     words = (vga->graphics[0x0b] & (BY_16 | EXTENDED_WRITE)) == (BY_16 | EXTENDED_WRITE);

	for (unsigned i = 0; i < 8; i++) {
		bool one = value >> (7 - i) & 1;
		uint32_t at = (offset + (words ? 2 * i : i)) & (vga->bytes - 1);

		if (!one && !opaque)
			continue;
		vga->memory[at] = one ? cirrus->colour1 : cirrus->colour0;
		if (words)
			vga->memory[(at + 1) & (vga->bytes - 1)] = vga->graphics[one ? 0x11 : 0x10];
		vga_touched(vga, at);
	}
}

/* From where the CPU writes in linear addresses to video memory. */
static uint32_t scale(const struct vga *vga, uint32_t offset)
{
	uint8_t extensions = vga->graphics[0x0b];

	if ((extensions & (BY_16 | EXTENDED_WRITE)) == (BY_16 | EXTENDED_WRITE))
		offset <<= 4;
	else if (extensions & BY_8)
		offset <<= 3;
	return offset & (vga->bytes - 1);
}

static void write_memory(struct vga *vga, uint32_t offset, uint8_t value)
{
	unsigned mode = vga->graphics[5] & 7;

	if (cirrus_of(vga)->feed.active) {
		cirrus_blit_feed(cirrus_of(vga), value);
		return;
	}
	offset = scale(vga, offset);
	if ((mode == 4 || mode == 5) && vga->graphics[0x0b] & EXTENDED_WRITE) {
		expand_write(vga, offset, value);
		return;
	}
	vga->memory[offset] = value;
	vga_touched(vga, offset);
}

static bool addresses_are_plain(const struct vga *vga)
{
	unsigned mode = vga->graphics[5] & 7;

	return !(vga->graphics[0x0b] & (BY_8 | BY_16)) &&
	       !((mode == 4 || mode == 5) && vga->graphics[0x0b] & EXTENDED_WRITE);
}

static uint32_t bank_base(const struct vga *vga, unsigned bank)
{
	bool dual = vga->graphics[0x0b] & DUAL_BANK;
	uint32_t base = (uint32_t)vga->graphics[dual && bank ? 0x0a : 0x09]
			<< (vga->graphics[0x0b] & BANKS_16K ? 14 : 12);

	return base + (bank && !dual ? 0x8000 : 0);
}

/* --- the blitter's registers in memory --- */

/* Offset to graphics controller index; 0xff: nothing. */
static uint8_t blit_register(uint32_t offset)
{
	static const uint8_t map[0x22] = {
		0x00, 0x10, 0x12, 0x14, 0x01, 0x11, 0x13, 0x15, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
		0x29, 0x2a, 0xff, 0x2c, 0x2d, 0x2e, 0x2f, 0x30, 0xff, 0x32, 0x33, 0x34, 0x35, 0xff, 0xff, 0x38, 0x39,
	};

	return offset < sizeof(map) ? map[offset] : offset == 0x40 ? 0x31 : 0xff;
}

static void blit_register_write(struct vga *vga, uint32_t offset, uint8_t value)
{
	uint8_t index = blit_register(offset);

	if (index == 0xff)
		return;
	if (!graphics_write(vga, index, value))
		vga->graphics[index] = value & 15; /* GR0, GR1 */
}

static uint8_t blit_register_read(struct vga *vga, uint32_t offset)
{
	uint8_t index = blit_register(offset), value;

	if (index == 0xff)
		return 0xff;
	graphics_read(vga, index, &value);
	return value;
}

/* --- the window at 0xa0000 --- */

static bool blit_registers_at(const struct vga *vga, uint32_t offset)
{
	return (vga->sequencer[0x17] & 0x44) == 0x04 && offset - 0x18000 < 0x100;
}

static bool legacy_own(struct vga *vga)
{
	return extended(vga);
}

static void legacy_write(struct vga *vga, uint32_t offset, uint8_t value)
{
	if (blit_registers_at(vga, offset))
		blit_register_write(vga, offset & 0xff, value);
	else if (offset < 0x10000)
		write_memory(vga, bank_base(vga, offset >> 15) + (offset & 0x7fff), value);
}

static uint8_t legacy_read(struct vga *vga, uint32_t offset)
{
	if (blit_registers_at(vga, offset))
		return blit_register_read(vga, offset & 0xff);
	return offset < 0x10000 ? vga->memory[scale(vga, bank_base(vga, offset >> 15) + (offset & 0x7fff))] : 0xff;
}

static bool legacy_direct(struct vga *vga, uint32_t *first, uint32_t *bytes, uint32_t *offset)
{
	*first = 0;
	*bytes = 0x10000;
	*offset = bank_base(vga, 0);
	return vga->misc & 2 && addresses_are_plain(vga) && !cirrus_of(vga)->feed.active &&
	       !(vga->graphics[0x0b] & DUAL_BANK) && !(*offset & (PAGE_SIZE - 1)) &&
	       range_inside(*offset, *bytes, vga->bytes);
}

void cirrus_map(struct cirrus *cirrus)
{
	struct pci_bar *bar = &cirrus->pci.bars[0];

	vga_map_legacy(&cirrus->vga);
	if (!addresses_are_plain(&cirrus->vga) || cirrus->feed.active)
		ram_window_hide(&bar->window);
	else if (bar->mapped)
		ram_window_show(&bar->window, bar->region.base, false);
}

/* --- BARs --- */

static uint64_t linear_read(void *opaque, uint64_t offset, unsigned size)
{
	struct cirrus *cirrus = opaque;
	struct vga *vga = &cirrus->vga;
	uint64_t value = 0;

	pthread_mutex_lock(&vga->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)(offset + i < vga->bytes ? vga->memory[scale(vga, (uint32_t)offset + i)] : 0xff)
			 << 8 * i;
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void linear_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct cirrus *cirrus = opaque;
	struct vga *vga = &cirrus->vga;

	pthread_mutex_lock(&vga->lock);
	for (unsigned i = 0; i < size; i++) {
		if (offset + i < vga->bytes)
			write_memory(vga, (uint32_t)offset + i, (uint8_t)(value >> 8 * i));
		else if (offset >= BLIT_WINDOW && cirrus->feed.active)
			cirrus_blit_feed(cirrus, (uint8_t)(value >> 8 * i));
	}
	pthread_mutex_unlock(&vga->lock);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = &((struct cirrus *)opaque)->vga;
	uint64_t value;

	pthread_mutex_lock(&vga->lock);
	if (offset < 0x20)
		value = vga_port_read(vga, (uint16_t)(0x3c0 + offset));
	else
		value = offset - 0x100 < 0x100 ? blit_register_read(vga, (uint32_t)offset - 0x100) : 0xff;
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = &((struct cirrus *)opaque)->vga;

	pthread_mutex_lock(&vga->lock);
	if (offset < 0x20)
		vga_port_write(vga, (uint16_t)(0x3c0 + offset), (uint8_t)value);
	else if (offset - 0x100 < 0x100)
		blit_register_write(vga, (uint32_t)offset - 0x100, (uint8_t)value);
	pthread_mutex_unlock(&vga->lock);
}

static const struct region_ops linear_ops = {
	.read = linear_read, .write = linear_write, .min_width = 1, .max_width = 8};
static const struct region_ops mmio_ops = {.read = mmio_read, .write = mmio_write, .min_width = 1, .max_width = 1};

/* --- modes and the cursor --- */

static bool decode_mode(struct vga *vga, struct vga_mode *mode)
{
	const uint8_t *crtc = vga->crtc;
	uint32_t counter;

	if (!extended(vga))
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
	if (!(vga->sequencer[0x12] & CURSOR_ON) || !extended(vga)) {
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
	.sequencer_write = sequencer_write,
	.sequencer_read = sequencer_read,
	.graphics_write = graphics_write,
	.graphics_read = graphics_read,
	.crtc_write = crtc_write,
	.crtc_read = crtc_read,
	.dac_write = dac_write,
	.dac_read = dac_read,
	.legacy_own = legacy_own,
	.legacy_write = legacy_write,
	.legacy_read = legacy_read,
	.legacy_direct = legacy_direct,
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
	ret = pci_bar_add(&cirrus->pci, 0, PCI_BAR_MEM32 | PCI_BAR_PREFETCH, "cirrus-linear", &linear_ops, cirrus,
			  LINEAR_BYTES, err);
	if (!ret) {
		cirrus->pci.bars[0].window = (struct ram_window){.block = cirrus->vga.vram, .size = cirrus->vga.bytes};
		ret = pci_bar_add(&cirrus->pci, 1, PCI_BAR_MEM32, "cirrus-mmio", &mmio_ops, cirrus, MMIO_BYTES, err);
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
