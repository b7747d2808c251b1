/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bochs' display interface (VBE DISPI, http://wiki.osdev.org/Bochs_VBE_Extensions, version 0xb0c5): linear modes of 4
 * to 32 bits a pixel by a few 16-bit registers, at ports 0x1ce (index) and 0x1cf or 0x1d0 (data), and in an adapter's
 * MMIO BAR.
 *
 * While it is enabled, the VGA's own registers are set to what suits the mode, as a BIOS would do, so that memory at
 * 0xa0000 is a bank of the frame buffer and software that looks at them is not misled.
 */
#include "device/display/vga.h"

#include "base/util.h"

enum {
	ID,
	X_SIZE,
	Y_SIZE,
	BITS,
	ENABLE,
	BANK,
	VIRTUAL_WIDTH,
	VIRTUAL_HEIGHT,
	X_OFFSET,
	Y_OFFSET,
	MEMORY_64K,
	REGISTERS,
};

#define ENABLED      0x01
#define GET_LIMITS   0x02 /* size registers read as the largest values */
#define PALETTE_8BIT 0x20
#define LINEAR       0x40
#define KEEP_MEMORY  0x80
#define ID_FIRST     0xb0c0
#define ID_LAST      0xb0c5
#define MAX_X_SIZE   16000
#define MAX_Y_SIZE   12000
#define MAX_BITS     32

/* Bits that a pixel takes in memory. */
static uint32_t memory_bits(const struct vga *vga)
{
	uint16_t bits = vga->dispi.registers[BITS];

	return bits == 15 ? 16 : bits;
}

static uint32_t line_bytes(const struct vga *vga)
{
	return vga->dispi.registers[VIRTUAL_WIDTH] * memory_bits(vga) / 8;
}

/* Brings what a guest wrote to what fits into video memory. */
static void fix(struct vga *vga)
{
	uint16_t *r = vga->dispi.registers;
	uint32_t bits, line, lines;
	uint64_t start;

	switch (r[BITS]) {
	case 4:
	case 8:
	case 15:
	case 16:
	case 24:
	case 32:
		break;
	default:
		r[BITS] = 8;
	}
	bits = memory_bits(vga);
	r[X_SIZE] = (uint16_t)max_u64(min_u64(r[X_SIZE], MAX_X_SIZE) & ~7ull, 8);
	r[VIRTUAL_WIDTH] = (uint16_t)max_u64(min_u64(r[VIRTUAL_WIDTH], MAX_X_SIZE) & ~7ull, r[X_SIZE]);
	r[Y_SIZE] = (uint16_t)max_u64(min_u64(r[Y_SIZE], MAX_Y_SIZE), 1);
	line = line_bytes(vga);
	if (line > vga->bytes) { /* cannot be with 256 KiB and more */
		r[VIRTUAL_WIDTH] = r[X_SIZE] = 8;
		line = line_bytes(vga);
	}
	lines = vga->bytes / line;
	r[Y_SIZE] = (uint16_t)min_u64(r[Y_SIZE], lines);
	r[VIRTUAL_HEIGHT] = (uint16_t)min_u64(lines, UINT16_MAX);
	start = (uint64_t)r[X_OFFSET] * bits / 8 + (uint64_t)r[Y_OFFSET] * line;
	if (start + (uint64_t)r[Y_SIZE] * line > vga->bytes) {
		r[Y_OFFSET] = 0;
		if ((uint64_t)r[X_OFFSET] * bits / 8 + (uint64_t)r[Y_SIZE] * line > vga->bytes)
			r[X_OFFSET] = 0;
	}
}

static void set_vga_registers(struct vga *vga)
{
	const uint16_t *r = vga->dispi.registers;
	uint32_t height = r[Y_SIZE] - 1u;

	vga->misc |= 3;
	vga->graphics[6] = (vga->graphics[6] & ~0x0c) | 0x05;
	vga->crtc[0x17] |= 3;
	vga->crtc[0x13] = (uint8_t)(r[VIRTUAL_WIDTH] >> 3);
	vga->crtc[0x01] = (uint8_t)(r[X_SIZE] / 8 - 1);
	vga->crtc[0x12] = (uint8_t)height;
	vga->crtc[0x07] = (uint8_t)((vga->crtc[7] & ~0x42) | (height >> 7 & 2) | (height >> 3 & 0x40));
	vga->crtc[0x18] = 0xff;
	vga->crtc[0x07] |= 0x10;
	vga->crtc[0x09] = (vga->crtc[9] & ~0x9f) | 0x40;
	vga->crtc[0x0c] = vga->crtc[0x0d] = 0;
	if (r[BITS] == 4) {
		vga->graphics[5] &= ~0x60;
		vga->sequencer[1] &= ~8;
	} else {
		vga->graphics[5] = (vga->graphics[5] & ~0x60) | 0x40;
		vga->sequencer[4] |= 8;
		vga->sequencer[2] |= 15;
	}
}

static void write_enable(struct vga *vga, uint16_t value)
{
	uint16_t *r = vga->dispi.registers;
	bool was = r[ENABLE] & ENABLED;

	vga_cells_close(vga);
	r[ENABLE] = value;
	if (value & ENABLED && !was) {
		r[VIRTUAL_WIDTH] = 0;
		r[X_OFFSET] = r[Y_OFFSET] = 0;
		fix(vga);
		set_vga_registers(vga);
		if (!(value & KEEP_MEMORY)) {
			memset(vga->memory, 0, (size_t)r[Y_SIZE] * line_bytes(vga));
			ram_block_written(vga->vram, 0, (uint64_t)r[Y_SIZE] * line_bytes(vga));
		}
	} else if (!(value & ENABLED)) {
		r[BANK] = 0;
	}
	vga->dac_8bit = value & PALETTE_8BIT;
	vga_map_legacy(vga);
}

void vga_dispi_write(struct vga *vga, uint16_t index, uint16_t value)
{
	uint16_t *r = vga->dispi.registers;

	switch (index) {
	case ID:
		if (value >= ID_FIRST && value <= ID_LAST)
			r[ID] = value;
		break;
	case X_SIZE:
	case Y_SIZE:
	case BITS:
	case VIRTUAL_WIDTH:
	case X_OFFSET:
	case Y_OFFSET:
		r[index] = value;
		if (vga_dispi_enabled(vga)) {
			fix(vga);
			set_vga_registers(vga);
			vga_map_legacy(vga);
		}
		break;
	case BANK:
		/* In 64 KiB of addresses, which in 4-bit modes are 256 KiB of memory. */
		r[BANK] = value & (uint16_t)((vga->bytes >> (r[BITS] == 4 ? 18 : 16)) - 1);
		vga_map_legacy(vga);
		break;
	case ENABLE:
		write_enable(vga, value);
		break;
	default:
		break;
	}
}

uint16_t vga_dispi_read(struct vga *vga, uint16_t index)
{
	const uint16_t *r = vga->dispi.registers;

	if (index == MEMORY_64K)
		return (uint16_t)(vga->bytes >> 16);
	if (index >= REGISTERS)
		return 0;
	if (r[ENABLE] & GET_LIMITS) {
		switch (index) {
		case X_SIZE:
			return MAX_X_SIZE;
		case Y_SIZE:
			return MAX_Y_SIZE;
		case BITS:
			return MAX_BITS;
		default:
			break;
		}
	}
	return r[index];
}

void vga_dispi_reset(struct vga *vga)
{
	vga->dispi = (struct vga_dispi){.registers = {[ID] = ID_LAST}};
}

bool vga_dispi_mode(const struct vga *vga, struct vga_mode *mode)
{
	const uint16_t *r = vga->dispi.registers;

	if (!vga_dispi_enabled(vga))
		return false;
	mode->width = r[X_SIZE];
	mode->height = r[Y_SIZE];
	mode->stride = line_bytes(vga);
	mode->start = r[X_OFFSET] * memory_bits(vga) / 8 + r[Y_OFFSET] * mode->stride;
	mode->size = vga->bytes;
	mode->scan_lines = 1;
	switch (r[BITS]) {
	case 4:
		mode->kind = VGA_PLANAR;
		mode->planes = 15;
		mode->start &= ~3u;
		mode->pan = r[X_OFFSET] & 7;
		vga_palette16(vga, mode->palette);
		break;
	case 15:
		mode->kind = VGA_RGB15;
		break;
	case 16:
		mode->kind = VGA_RGB16;
		break;
	case 24:
		mode->kind = VGA_RGB24;
		break;
	case 32:
		mode->kind = VGA_RGB32;
		break;
	default:
		mode->kind = VGA_PACKED8;
		vga_palette256(vga, mode->palette);
	}
	return true;
}

/* --- ports: 0x1ce index, 0x1cf and 0x1d0 data; words --- */

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	uint64_t value;

	pthread_mutex_lock(&vga->lock);
	value = offset == 0 ? vga->dispi.index : vga_dispi_read(vga, vga->dispi.index);
	pthread_mutex_unlock(&vga->lock);
	return value;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;

	pthread_mutex_lock(&vga->lock);
	if (offset == 0)
		vga->dispi.index = (uint16_t)value;
	else if (offset <= 2)
		vga_dispi_write(vga, vga->dispi.index, (uint16_t)value);
	pthread_mutex_unlock(&vga->lock);
}

const struct region_ops vga_dispi_port_ops = {.read = port_read, .write = port_write, .min_width = 1, .max_width = 2};
