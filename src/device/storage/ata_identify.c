/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA/ATAPI-6 8.15, 8.16), word for word what QEMU's drives say, so that a
 * guest that comes from there finds the drive it knows.
 */
#include "device/storage/ata.h"

#include "base/util.h"

static void put(uint8_t *data, unsigned word, unsigned value)
{
	store_le16(data + 2 * word, (uint16_t)value);
}

static void put32(uint8_t *data, unsigned word, uint32_t value)
{
	put(data, word, value & 0xffff);
	put(data, word + 1, value >> 16);
}

/* Two characters a word, the first in the high byte, filled up with blanks. */
static void put_text(uint8_t *data, unsigned word, const char *text, unsigned bytes)
{
	size_t length = strlen(text);

	for (unsigned i = 0; i < bytes; i++)
		data[2 * word + (i ^ 1)] = (uint8_t)(i < length ? text[i] : ' ');
}

static void put_wwn(uint8_t *data, uint64_t wwn)
{
	for (unsigned i = 0; i < 4; i++)
		put(data, 108 + i, wwn >> (48 - 16 * i) & 0xffff);
}

/* Word 63 and 88: modes supported, and the one selected in the high byte. */
static void put_dma_modes(const struct ata_drive *drive, uint8_t *data, bool single)
{
	unsigned mode = 1u << (drive->dma_mode & 7), kind = drive->dma_mode >> 3;

	put(data, 62, 0x07 | (kind == 2 && single ? mode << 8 : 0));
	put(data, 63, 0x07 | (kind == 4 ? mode << 8 : 0));
	put(data, 88, 0x3f | (kind == 8 ? mode << 8 : 0));
}

static void identify_disk(const struct ata_drive *drive, uint8_t *data)
{
	uint64_t sectors = disk_bytes(&drive->disk) / DISK_SECTOR_BYTES;
	unsigned wwn = drive->wwn ? 1 << 8 : 0;
	bool trim = drive->config.discard_granularity != 0;
	uint32_t ratio = drive->config.physical_block_size / drive->config.logical_block_size;

	put(data, 0, 0x0040); /* fixed disk */
	put(data, 1, drive->cylinders);
	put(data, 3, drive->heads);
	put(data, 4, 512 * drive->sectors);
	put(data, 5, 512);
	put(data, 6, drive->sectors);
	put(data, 20, 3);
	put(data, 21, 512);
	put(data, 22, 4);
	put(data, 47, 0x8000 | ATA_MULTIPLE_MAX);
	put(data, 48, 1);
	put(data, 49, 1 << 11 | 1 << 9 | 1 << 8); /* IORDY, LBA, DMA */
	put(data, 51, 0x200);
	put(data, 52, 0x200);
	put(data, 53, 7); /* words 54-58, 64-70 and 88 are valid */
	put(data, 54, drive->now_cylinders);
	put(data, 55, drive->now_heads);
	put(data, 56, drive->now_sectors);
	put32(data, 57, drive->now_cylinders * drive->now_heads * drive->now_sectors);
	put(data, 59, drive->multiple ? 0x100u | drive->multiple : 0);
	put32(data, 60, (uint32_t)min_u64(sectors, (1 << 28) - 1));
	put(data, 64, 3);
	for (unsigned word = 65; word <= 68; word++)
		put(data, word, 120);
	put(data, 69, trim ? 1 << 14 : 0);
	put(data, 80, 0xf0); /* ATA-4 to ATA/ATAPI-7 */
	put(data, 81, 0x16);
	put(data, 82, 1 << 14 | 1 << 5 | 1);                  /* NOP, write cache, SMART */
	put(data, 83, 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10); /* FLUSH CACHE (EXT), 48-bit addresses */
	put(data, 84, 1 << 14 | wwn);
	put(data, 85, 1 << 14 | (drive->write_cache ? 1 << 5 : 0) | drive->smart_on);
	put(data, 86, 1 << 13 | 1 << 12 | 1 << 10);
	put(data, 87, 1 << 14 | wwn);
	put(data, 93, 1 | 1 << 14 | 0x2000); /* 80 wires */
	store_le64(data + 2 * 100, sectors);
	put(data, 106, 0x6000 | (unsigned)__builtin_ctz(ratio));
	put(data, 169, trim);
	put(data, 217, drive->rotation_rate);
}

static void identify_cd(const struct ata_drive *drive, uint8_t *data)
{
	put(data, 0, 0x85c0); /* removable CD-ROM, DRQ within 50 us, 12-byte packets */
	put(data, 20, 3);
	put(data, 21, 512);
	put(data, 22, 4);
	put(data, 48, 1);
	put(data, 49, 1 << 9 | 1 << 8);
	put(data, 53, 7);
	put(data, 64, 3);
	put(data, 65, 0xb4);
	put(data, 66, 0xb4);
	put(data, 67, 0x12c);
	put(data, 68, 0xb4);
	put(data, 71, 30);
	put(data, 72, 30);
	put(data, 80, 0x1e); /* to ATA/ATAPI-4 */
	put(data, 84, drive->wwn ? 1 << 8 : 0);
	put(data, 87, drive->wwn ? 1 << 8 : 0);
}

void ata_identify(struct ata_drive *drive, uint8_t data[512])
{
	memset(data, 0, 512);
	if (drive->cd)
		identify_cd(drive, data);
	else
		identify_disk(drive, data);
	put_text(data, 10, drive->serial, 20);
	put_text(data, 23, drive->version, 8);
	put_text(data, 27, drive->model, 40);
	put_dma_modes(drive, data, !drive->cd);
	if (drive->port->ncq) {
		put(data, 75, ATA_TAGS - 1);
		put(data, 76, 1 << 8);
	}
	if (drive->wwn)
		put_wwn(data, drive->wwn);
}
