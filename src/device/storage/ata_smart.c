/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SMART (ATA/ATAPI-6 8.55), of a disk that is always well: status, thresholds, a few attributes, empty logs, self-tests
 * that pass at once.
 */
#include "device/storage/ata.h"

#include "base/util.h"

enum {
	READ_DATA = 0xd0,
	READ_THRESHOLDS = 0xd1,
	AUTOSAVE = 0xd2,
	SELF_TEST = 0xd4,
	READ_LOG = 0xd5,
	ENABLE = 0xd8,
	DISABLE = 0xd9,
	RETURN_STATUS = 0xda
};

/* Number, flags, value now and worst, raw value, threshold. */
static const struct {
	uint8_t number, flags, value, worst, raw, threshold;
} attributes[] = {
	{1, 0x03, 100, 100, 0, 6},    /* raw read error rate */
	{3, 0x03, 100, 100, 16, 0},   /* spin-up time */
	{4, 0x02, 100, 100, 100, 20}, /* start-stop count */
	{5, 0x03, 100, 100, 0, 36},   /* reallocated sectors */
	{9, 0x03, 100, 100, 1, 0},    /* power-on hours */
	{12, 0x03, 100, 100, 0, 0},   /* power cycles */
	{190, 0x03, 69, 69, 31, 50},  /* temperature */
};

static void put_checksum(uint8_t data[512])
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < 511; i++)
		sum = (uint8_t)(sum + data[i]);
	data[511] = (uint8_t)-sum;
}

static void put_attributes(uint8_t data[512], bool thresholds)
{
	data[0] = 1; /* structure revision */
	for (unsigned i = 0; i < ARRAY_SIZE(attributes); i++) {
		uint8_t *at = data + 2 + 12 * i;

		at[0] = attributes[i].number;
		if (thresholds) {
			at[1] = attributes[i].threshold;
			continue;
		}
		at[1] = attributes[i].flags;
		at[3] = attributes[i].value;
		at[4] = attributes[i].worst;
		at[5] = attributes[i].raw;
	}
	if (thresholds)
		return;
	data[362] = 0x02; /* off-line data collection was never started... */
	data[364] = 0x20;
	data[367] = 1 << 4 | 1 << 3 | 1; /* self-test, off-line scan, immediate */
	data[368] = 0x03;                /* saves attributes */
	data[370] = 0x01;                /* error logging */
	data[372] = 0x02;                /* minutes of a short and a long test */
	data[373] = 0x36;
	data[374] = 0x01;
}

static void reply(struct ata_drive *drive)
{
	put_checksum(drive->buffer);
	drive->by_dma = false;
	drive->block_bytes = 512;
	ata_reply(drive, 512);
}

static void read_log(struct ata_drive *drive)
{
	uint8_t log = drive->regs.lba_low & 255;

	if (log > 1 && log != 6) {
		ata_fail(drive, ATA_ABRT);
		return;
	}
	drive->buffer[0] = 1;
	if (log == 0)
		drive->buffer[2 * 1] = drive->buffer[2 * 6] = 1; /* directory: sectors of each log */
	reply(drive);
}

static void run(struct ata_drive *drive)
{
	memset(drive->buffer, 0, 512);
	switch (drive->regs.feature & 255) {
	case READ_DATA:
	case READ_THRESHOLDS:
		put_attributes(drive->buffer, (drive->regs.feature & 255) == READ_THRESHOLDS);
		reply(drive);
		break;
	case READ_LOG:
		read_log(drive);
		break;
	case RETURN_STATUS:
		drive->regs.lba_mid = 0x4f; /* no threshold is exceeded */
		drive->regs.lba_high = 0xc2;
		ata_end(drive);
		break;
	case AUTOSAVE:
	case SELF_TEST:
		ata_end(drive);
		break;
	default:
		ata_fail(drive, ATA_ABRT);
		break;
	}
}

void ata_smart(struct ata_drive *drive)
{
	uint8_t what = drive->regs.feature & 255;

	if ((drive->regs.lba_mid & 255) != 0x4f || (drive->regs.lba_high & 255) != 0xc2) {
		ata_fail(drive, ATA_ABRT);
	} else if (what == ENABLE || what == DISABLE) {
		drive->smart_on = what == ENABLE;
		ata_end(drive);
	} else if (!drive->smart_on) {
		ata_fail(drive, ATA_ABRT);
	} else {
		run(drive);
	}
}
