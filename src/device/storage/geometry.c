/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cylinders, heads and sectors of a disk, for BIOSes and old systems: from the end of a partition in the partition
 * table, which shows what the BIOS that made it reckoned with, else from the size; and how the BIOS is to translate
 * them. The rules are QEMU's, so that a disk that booted there boots here.
 */
#include "device/storage/ata.h"

#include "base/util.h"

enum { TRANSLATE_NONE, TRANSLATE_LBA, TRANSLATE_LARGE, TRANSLATE_RECHS };
enum { CYLINDERS_MAX = 16383, HEADS_MAX = 16, SECTORS_MAX = 63 };

static void by_size(struct ata_drive *drive, uint64_t total)
{
	drive->heads = HEADS_MAX;
	drive->sectors = SECTORS_MAX;
	drive->cylinders = (uint32_t)max_u64(2, min_u64(total / (HEADS_MAX * SECTORS_MAX), CYLINDERS_MAX));
}

/* The last sector of a partition is the last of a track on the last head. */
static bool by_partitions(struct ata_drive *drive, uint64_t total)
{
	uint8_t sector[DISK_SECTOR_BYTES];

	if (total < 1 || block_pread(drive->disk.block, 0, sector, sizeof(sector)) < 0 ||
	    load_le16(sector + 510) != 0xaa55)
		return false;
	for (const uint8_t *entry = sector + 446; entry < sector + 510; entry += 16) {
		uint32_t heads = entry[5] + 1u, sectors = entry[6] & 63;
		uint64_t cylinders;

		if (!load_le32(entry + 12) || !entry[5] || !sectors)
			continue;
		cylinders = total / (heads * sectors);
		if (cylinders < 1 || cylinders > CYLINDERS_MAX)
			continue;
		drive->cylinders = (uint32_t)cylinders;
		drive->heads = heads;
		drive->sectors = sectors;
		return true;
	}
	return false;
}

static unsigned by_geometry(const struct ata_drive *drive)
{
	return drive->cylinders <= 1024 ? TRANSLATE_NONE : TRANSLATE_LBA;
}

static unsigned guess(struct ata_drive *drive)
{
	uint64_t total = disk_bytes(&drive->disk) / DISK_SECTOR_BYTES;

	if (!by_partitions(drive, total)) {
		by_size(drive, total);
		return by_geometry(drive);
	}
	if (drive->heads <= HEADS_MAX)
		return TRANSLATE_NONE;
	by_size(drive, total);
	return drive->cylinders * drive->heads <= 131072 ? TRANSLATE_LARGE : TRANSLATE_LBA;
}

void ata_guess_geometry(struct ata_drive *drive)
{
	static const char *const names[] = {"none", "lba", "large", "rechs"};

	drive->translation = drive->cylinders ? by_geometry(drive) : guess(drive);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(drive->translation_name, names[i]))
			drive->translation = i;
}
