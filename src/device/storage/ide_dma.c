/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bus master of an IDE channel (Programming Interface for Bus Master IDE Controller, Revision 1.0; 82371SB 2.7): a
 * table of physical regions, each up to 64 KiB, between which and the drive the channel moves data. The descriptors are
 * read one after the other while a transfer goes on, once each.
 */
#include "device/storage/ide.h"

#include "base/util.h"
#include "core/ram.h"

enum { BM_START = 1 << 0, BM_TO_MEMORY = 1 << 3 };
enum { BM_ACTIVE = 1 << 0, BM_ERROR = 1 << 1, BM_INTERRUPT = 1 << 2, BM_DRIVES_CAPABLE = 3 << 5 };
enum { DESCRIPTOR_BYTES = 8, END_OF_TABLE = 1u << 31, DESCRIPTORS_MAX = 8192 };

/* The next region of the table; false at its end or where it cannot be read. */
static bool next_region(struct ide_channel *channel)
{
	uint8_t descriptor[DESCRIPTOR_BYTES];

	if (channel->bm_last || channel->bm_next - channel->bm_table >= DESCRIPTORS_MAX * DESCRIPTOR_BYTES ||
	    pci_dma_read(channel->pci, channel->bm_next, descriptor, sizeof(descriptor)) < 0)
		return false;
	channel->bm_next += DESCRIPTOR_BYTES;
	channel->bm_gpa = load_le32(descriptor) & ~1u;
	channel->bm_bytes = load_le32(descriptor + 4) & 0xfffe;
	if (!channel->bm_bytes)
		channel->bm_bytes = 65536;
	channel->bm_last = load_le32(descriptor + 4) & END_OF_TABLE;
	return true;
}

/* One region's part that is contiguous in the host too. */
static uint32_t add_piece(struct ide_channel *channel, bool from_drive, struct ata_memory *memory, size_t bytes)
{
	struct ram *ram = channel->pci->device.env->ram;
	const struct ram_slot *slot = ram_find(ram, channel->bm_gpa);
	uint64_t length = min_u64(bytes, channel->bm_bytes);

	if (!slot || (slot->read_only && from_drive))
		return 0;
	length = min_u64(length, slot->gpa + slot->size - channel->bm_gpa);
	memory->iov[memory->count] = (struct iovec){slot->hva + (channel->bm_gpa - slot->gpa), length};
	memory->gpa[memory->count++] = channel->bm_gpa;
	channel->bm_gpa += (uint32_t)length;
	channel->bm_bytes -= (uint32_t)length;
	return (uint32_t)length;
}

size_t ide_dma_map(struct ide_channel *channel, struct ata_drive *drive, size_t bytes, struct ata_memory *memory)
{
	size_t got = 0;

	memory->count = 0;
	while (got < bytes && memory->count < ATA_SEGMENTS) {
		uint32_t piece;

		if (!channel->bm_bytes && !next_region(channel))
			break;
		piece = add_piece(channel, !drive->writes, memory, bytes - got);
		if (!piece) {
			channel->bm_status |= BM_ERROR;
			break;
		}
		got += piece;
	}
	return got;
}

void ide_dma_wanted(struct ide_channel *channel, struct ata_drive *drive)
{
	if (channel->bm_command & BM_START && channel->bm_status & BM_ACTIVE)
		ata_dma_ready(drive);
}

/* Active goes when the drive has ended the command, unless the table had more. */
void ide_dma_ended(struct ide_channel *channel, const struct ata_drive *drive)
{
	if (!drive->by_dma || !(channel->bm_status & BM_ACTIVE))
		return;
	if ((channel->bm_last && !channel->bm_bytes) || drive->regs.status & ATA_ERR)
		channel->bm_status &= (uint8_t)~BM_ACTIVE;
}

void ide_dma_interrupt(struct ide_channel *channel)
{
	channel->bm_status |= BM_INTERRUPT;
}

static void start(struct ide_channel *channel)
{
	struct ata_drive *drive = channel->port.drives[channel->selected];

	channel->bm_status |= BM_ACTIVE;
	channel->bm_next = channel->bm_table;
	channel->bm_bytes = 0;
	channel->bm_last = false;
	if (drive && drive->by_dma)
		ata_dma_ready(drive);
}

uint64_t ide_dma_read(struct ide_channel *channel, unsigned offset)
{
	uint64_t value = 0xff;

	pthread_mutex_lock(&channel->port.lock);
	if (offset == 0)
		value = channel->bm_command;
	else if (offset == 2)
		value = channel->bm_status;
	else if (offset >= 4)
		value = channel->bm_table >> 8 * (offset - 4) & 255;
	pthread_mutex_unlock(&channel->port.lock);
	return value;
}

void ide_dma_write(struct ide_channel *channel, unsigned offset, uint8_t value)
{
	pthread_mutex_lock(&channel->port.lock);
	if (offset == 0) {
		uint8_t old = channel->bm_command;

		channel->bm_command = value & (BM_START | BM_TO_MEMORY);
		if (value & BM_START & ~old)
			start(channel);
		else if (!(value & BM_START))
			channel->bm_status &= (uint8_t)~BM_ACTIVE;
	} else if (offset == 2) {
		channel->bm_status = (uint8_t)((value & BM_DRIVES_CAPABLE) | (channel->bm_status & BM_ACTIVE) |
					       (channel->bm_status & ~value & (BM_ERROR | BM_INTERRUPT)));
	} else if (offset >= 4) {
		unsigned shift = 8 * (offset - 4);

		channel->bm_table = (channel->bm_table & ~(0xffu << shift)) | (uint32_t)value << shift;
		channel->bm_table &= ~3u;
	}
	pthread_mutex_unlock(&channel->port.lock);
}
