/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the CPU reaches a CL-GD5446's video memory and blitter (CL-GD5446 Technical Reference Manual, chapters 5 and 9):
 * banks at 0xa0000, linear addresses, colour-expanding write modes 4 and 5, registers in memory. What needs none of
 * that is mapped as it is.
 */
#include "device/display/cirrus.h"

#include "base/util.h"

#define BLIT_WINDOW    (16 * MIB)
/* GRB */
#define DUAL_BANK      0x01
#define BY_8           0x02
#define EXTENDED_WRITE 0x04
#define BY_16          0x10
#define BANKS_16K      0x20

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
	if (!cirrus_graphics_write(vga, index, value))
		vga->graphics[index] = value & 15; /* GR0, GR1 */
}

static uint8_t blit_register_read(struct vga *vga, uint32_t offset)
{
	uint8_t index = blit_register(offset), value;

	if (index == 0xff)
		return 0xff;
	cirrus_graphics_read(vga, index, &value);
	return value;
}

/* --- the window at 0xa0000 --- */

static bool blit_registers_at(const struct vga *vga, uint32_t offset)
{
	return (vga->sequencer[0x17] & 0x44) == 0x04 && offset - 0x18000 < 0x100;
}

bool cirrus_legacy_own(struct vga *vga)
{
	return cirrus_is_extended(vga);
}

void cirrus_legacy_write(struct vga *vga, uint32_t offset, uint8_t value)
{
	if (blit_registers_at(vga, offset))
		blit_register_write(vga, offset & 0xff, value);
	else if (offset < 0x10000)
		write_memory(vga, bank_base(vga, offset >> 15) + (offset & 0x7fff), value);
}

uint8_t cirrus_legacy_read(struct vga *vga, uint32_t offset)
{
	if (blit_registers_at(vga, offset))
		return blit_register_read(vga, offset & 0xff);
	return offset < 0x10000 ? vga->memory[scale(vga, bank_base(vga, offset >> 15) + (offset & 0x7fff))] : 0xff;
}

bool cirrus_legacy_direct(struct vga *vga, uint32_t *first, uint32_t *bytes, uint32_t *offset)
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

const struct region_ops cirrus_linear_ops = {
	.read = linear_read, .write = linear_write, .min_width = 1, .max_width = 8};
const struct region_ops cirrus_mmio_ops = {.read = mmio_read, .write = mmio_write, .min_width = 1, .max_width = 1};
