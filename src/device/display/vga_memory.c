/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the CPU sees at 0xa0000..0xbffff (IBM PS/2 Hardware Interface Technical Reference, Video Subsystem: graphics
 * controller): odd/even and chain-4 addressing, planes, latches, write modes 0 to 3, read modes 0 and 1.
 *
 * Where an access does nothing but reach a byte (256-colour modes and VBE banks, without any of the graphics
 * controller's functions), video memory itself is mapped there, so that guests write to it at memory speed. Text is in
 * vga_cells.c.
 */
#include "device/display/vga.h"

#include "base/util.h"

/* The low four bits as four bytes of all ones or zeroes. */
static uint32_t expand_planes(uint8_t planes)
{
	static const uint32_t table[16] = {
		0x00000000, 0x000000ff, 0x0000ff00, 0x0000ffff, 0x00ff0000, 0x00ff00ff, 0x00ffff00, 0x00ffffff,
		0xff000000, 0xff0000ff, 0xff00ff00, 0xff00ffff, 0xffff0000, 0xffff00ff, 0xffffff00, 0xffffffff,
	};

	return table[planes & 15];
}

static uint32_t expand_byte(uint8_t byte)
{
	return byte * 0x01010101u;
}

/* --- where the window lies --- */

static const struct {
	uint32_t first, bytes;
} maps[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};

/* Moves offset from the window to what the memory map shows; false: no answer. */
static bool in_map(const struct vga *vga, uint32_t *offset)
{
	unsigned map = vga->graphics[6] >> 2 & 3;

	if (!(vga->misc & 2) || *offset - maps[map].first >= maps[map].bytes)
		return false;
	*offset -= maps[map].first;
	return true;
}

static uint32_t bank_offset(const struct vga *vga)
{
	return vga_dispi_enabled(vga) ? (uint32_t)vga->dispi.registers[5] << 16 : 0;
}

/* VBE modes of a byte a pixel and more are linear whatever the VGA's registers say. */
static bool linear(const struct vga *vga)
{
	return vga_dispi_enabled(vga) && vga->dispi.registers[3] >= 8;
}

static bool is_own(struct vga *vga)
{
	return vga->ops && vga->ops->legacy_own && vga->ops->legacy_own(vga);
}

/* --- planes --- */

static uint32_t load_word(const struct vga *vga, uint32_t word)
{
	return load_le32(vga->memory + 4ull * word);
}

static uint8_t rotate(uint8_t value, unsigned count)
{
	return (uint8_t)(value >> count | value << (8 - count));
}

static void write_planes(struct vga *vga, uint32_t word, uint8_t value, uint8_t planes)
{
	const uint8_t *graphics = vga->graphics;
	uint8_t mask = graphics[8];
	uint32_t data, bits, written = expand_planes(planes);

	switch (graphics[5] & 3) {
	case 0:
		data = expand_byte(rotate(value, graphics[3] & 7));
		data = (data & ~expand_planes(graphics[1])) | (expand_planes(graphics[0]) & expand_planes(graphics[1]));
		break;
	case 1:
		data = vga->latch;
		break;
	case 2:
		data = expand_planes(value);
		break;
	default:
		mask &= rotate(value, graphics[3] & 7);
		data = expand_planes(graphics[0]);
		break;
	}
	if ((graphics[5] & 3) != 1) {
		switch (graphics[3] >> 3 & 3) {
		case 1:
			data &= vga->latch;
			break;
		case 2:
			data |= vga->latch;
			break;
		case 3:
			data ^= vga->latch;
			break;
		default:
			break;
		}
		bits = expand_byte(mask);
		data = (data & bits) | (vga->latch & ~bits);
	}
	store_le32(vga->memory + 4ull * word, (load_word(vga, word) & ~written) | (data & written));
	vga_touched(vga, 4 * word);
}

static uint8_t read_planes(struct vga *vga, uint32_t word, unsigned plane)
{
	uint32_t differs;

	vga->latch = load_word(vga, word);
	if (!(vga->graphics[5] & 8))
		return (uint8_t)(vga->latch >> 8 * plane);
	differs = (vga->latch ^ expand_planes(vga->graphics[2])) & expand_planes(vga->graphics[7]);
	return (uint8_t) ~(differs | differs >> 8 | differs >> 16 | differs >> 24);
}

/* The word that holds the byte at this offset in the 64 KiB of a plane (VBE's 4-bit modes have more of them). */
static bool plane_word(const struct vga *vga, uint32_t offset, uint32_t *word)
{
	*word = (offset & 0xffff) + bank_offset(vga);
	return *word < vga->bytes / 4;
}

/* --- one byte --- */

static void write_byte(struct vga *vga, uint32_t offset, uint8_t value)
{
	uint8_t planes = vga->sequencer[2] & 15, *cell;
	uint32_t word;

	if (is_own(vga)) {
		vga->ops->legacy_write(vga, offset, value);
		return;
	}
	cell = vga_cells_at(vga, offset);
	if (cell) {
		*cell = value;
		ram_block_written(vga->cells, (uint64_t)(cell - vga->cells->hva), 1);
		return;
	}
	if (!in_map(vga, &offset))
		return;
	if (linear(vga)) {
		offset += bank_offset(vga);
		if (offset < vga->bytes) {
			vga->memory[offset] = value;
			vga_touched(vga, offset);
		}
	} else if (vga->sequencer[4] & 8) {
		write_planes(vga, offset >> 2, value, planes & (uint8_t)(1 << (offset & 3)));
	} else if (!(vga->sequencer[4] & 4)) {
		if (plane_word(vga, offset >> 1, &word))
			write_planes(vga, word, value, planes & (offset & 1 ? 10 : 5));
	} else if (plane_word(vga, offset, &word)) {
		write_planes(vga, word, value, planes);
	}
}

static uint8_t read_byte(struct vga *vga, uint32_t offset)
{
	const uint8_t *cell;
	uint32_t word;

	if (is_own(vga))
		return vga->ops->legacy_read(vga, offset);
	cell = vga_cells_at(vga, offset);
	if (cell)
		return *cell;
	if (!in_map(vga, &offset))
		return 0xff;
	if (linear(vga)) {
		offset += bank_offset(vga);
		return offset < vga->bytes ? vga->memory[offset] : 0xff;
	}
	if (vga->sequencer[4] & 8)
		return read_planes(vga, offset >> 2, offset & 3);
	if (vga->graphics[5] & 0x10)
		return plane_word(vga, offset >> 1, &word)
			       ? read_planes(vga, word, (vga->graphics[4] & 2) | (offset & 1))
			       : 0xff;
	return plane_word(vga, offset, &word) ? read_planes(vga, word, vga->graphics[4] & 3) : 0xff;
}

uint64_t vga_legacy_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&vga->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read_byte(vga, (uint32_t)offset + i) << 8 * i;
	pthread_mutex_unlock(&vga->lock);
	return value;
}

uint8_t vga_legacy_peek(void *opaque, uint64_t offset)
{
	struct vga *vga = opaque;
	uint32_t latch;
	uint8_t value;

	pthread_mutex_lock(&vga->lock);
	latch = vga->latch;
	value = read_byte(vga, (uint32_t)offset);
	vga->latch = latch;
	pthread_mutex_unlock(&vga->lock);
	return value;
}

void vga_legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;

	pthread_mutex_lock(&vga->lock);
	for (unsigned i = 0; i < size; i++)
		write_byte(vga, (uint32_t)offset + i, (uint8_t)(value >> 8 * i));
	pthread_mutex_unlock(&vga->lock);
}

size_t vga_legacy_write_block(void *opaque, uint64_t offset, const void *from, unsigned size, size_t count)
{
	struct vga *vga = opaque;
	const uint8_t *bytes = from;

	pthread_mutex_lock(&vga->lock);
	for (size_t i = 0; i < size * count; i++)
		write_byte(vga, (uint32_t)(offset + i), bytes[i]);
	pthread_mutex_unlock(&vga->lock);
	return count;
}

/* All bytes of an access are read before the first is written, as a CPU does. */
size_t vga_legacy_move_block(void *opaque, uint64_t to, uint64_t from, unsigned size, size_t count)
{
	struct vga *vga = opaque;
	uint8_t bytes[8];

	pthread_mutex_lock(&vga->lock);
	for (size_t at = 0; at < size * count; at += size) {
		for (unsigned i = 0; i < size; i++)
			bytes[i] = read_byte(vga, (uint32_t)(from + at + i));
		for (unsigned i = 0; i < size; i++)
			write_byte(vga, (uint32_t)(to + at + i), bytes[i]);
	}
	pthread_mutex_unlock(&vga->lock);
	return count;
}

/* --- mapped as it is --- */

static bool is_direct(struct vga *vga, uint32_t *first, uint32_t *bytes, uint32_t *offset)
{
	const uint8_t *graphics = vga->graphics;
	unsigned map = graphics[6] >> 2 & 3;

	if (!(vga->misc & 2))
		return false;
	*first = maps[map].first;
	*bytes = maps[map].bytes;
	if (linear(vga)) {
		*offset = bank_offset(vga);
	} else if (vga->sequencer[4] & 8 && (vga->sequencer[2] & 15) == 15 && !(graphics[1] & 15) && !graphics[3] &&
		   !(graphics[5] & 0x0b) && graphics[8] == 0xff) {
		*offset = 0;
	} else {
		return false;
	}
	return range_inside(*offset, *bytes, vga->bytes);
}

void vga_map_legacy(struct vga *vga)
{
	uint32_t first, bytes, offset;
	bool wanted;

	vga_cells_map(vga);
	wanted = is_own(vga) ? vga->ops->legacy_direct(vga, &first, &bytes, &offset)
			     : is_direct(vga, &first, &bytes, &offset);
	if (!wanted || offset != vga->direct.offset || bytes != vga->direct.size)
		ram_window_hide(&vga->direct);
	if (!wanted)
		return;
	vga->direct.offset = offset;
	vga->direct.size = bytes;
	/* Where that fails, the region answers as before. */
	ram_window_show(&vga->direct, VGA_LEGACY_GPA + first, false);
}
