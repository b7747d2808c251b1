/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATA commands (ATA/ATAPI-6 chapter 8, ATA8-ACS for TRIM and WRITE FUA): what each wants of registers, data and disk.
 * Left out: security, host protected area beyond READ NATIVE MAX, CompactFlash, removable media notification,
 * streaming, microcode download, overlapped commands.
 */
#include "device/storage/ata.h"

#include "base/util.h"

/* --- addresses (6.2) --- */

static uint64_t get_lba(const struct ata_drive *drive)
{
	const struct ata_registers *regs = &drive->regs;
	uint64_t low = (regs->lba_low & 255u) | (regs->lba_mid & 255u) << 8 | (regs->lba_high & 255u) << 16;

	if (drive->is_lba48)
		return low | (uint64_t)(regs->lba_low >> 8) << 24 | (uint64_t)(regs->lba_mid >> 8) << 32 |
		       (uint64_t)(regs->lba_high >> 8) << 40;
	if (regs->device & ATA_LBA)
		return low | (uint64_t)(regs->device & 15) << 24;
	/* Cylinder, head, sector; sectors count from 1, and there is none 0. */
	if (!(regs->lba_low & 255) || !drive->now_sectors || !drive->now_heads)
		return UINT64_MAX;
	return ((low >> 8) * drive->now_heads + (regs->device & 15)) * drive->now_sectors + (regs->lba_low & 255u) - 1;
}

void ata_set_lba(struct ata_drive *drive, uint64_t lba)
{
	struct ata_registers *regs = &drive->regs;

	if (drive->cd)
		return;
	if (drive->is_lba48 || regs->device & ATA_LBA) {
		regs->lba_low = (uint16_t)((lba & 255) | (lba >> 24 & 255) << 8);
		regs->lba_mid = (uint16_t)((lba >> 8 & 255) | (lba >> 32 & 255) << 8);
		regs->lba_high = (uint16_t)((lba >> 16 & 255) | (lba >> 40 & 255) << 8);
		if (!drive->is_lba48)
			regs->device = (uint8_t)((regs->device & 0xf0) | (lba >> 24 & 15));
	} else if (drive->now_heads && drive->now_sectors) {
		uint64_t track = lba / drive->now_sectors, cylinder = track / drive->now_heads;

		regs->lba_low = (uint16_t)(lba % drive->now_sectors + 1);
		regs->lba_mid = cylinder & 255;
		regs->lba_high = cylinder >> 8 & 255;
		regs->device = (uint8_t)((regs->device & 0xf0) | (track % drive->now_heads & 15));
	}
}

static uint32_t get_count(const struct ata_drive *drive)
{
	if (drive->is_lba48)
		return drive->regs.count ? drive->regs.count : 65536;
	return drive->regs.count & 255 ? drive->regs.count & 255u : 256;
}

static uint64_t total_sectors(const struct ata_drive *drive)
{
	return disk_bytes(&drive->disk) / DISK_SECTOR_BYTES;
}

/* --- reading and writing --- */

enum {
	LBA48 = 1 << 0,
	WRITES = 1 << 1,
	DMA = 1 << 2,
	MULTIPLE = 1 << 3,
	FUA = 1 << 4,
	ON_CD = 1 << 5,
	NOT_DISK = 1 << 6
};

static bool range_of_command(struct ata_drive *drive)
{
	uint64_t lba = get_lba(drive);
	uint32_t count = get_count(drive);

	if (!range_inside(lba, count, total_sectors(drive))) {
		ata_fail(drive, ATA_ABRT | ATA_IDNF);
		return false;
	}
	drive->offset = lba * DISK_SECTOR_BYTES;
	drive->left = (uint64_t)count * DISK_SECTOR_BYTES;
	return true;
}

static void read_or_write(struct ata_drive *drive, unsigned flags)
{
	if ((flags & MULTIPLE && !drive->multiple) || (flags & WRITES && drive->disk.block->read_only)) {
		ata_fail(drive, ATA_ABRT);
		return;
	}
	if (!range_of_command(drive))
		return;
	drive->writes = flags & WRITES;
	drive->by_dma = flags & DMA;
	drive->fua = flags & FUA;
	drive->on_disk = true;
	drive->block_bytes = flags & MULTIPLE ? drive->multiple * DISK_SECTOR_BYTES : DISK_SECTOR_BYTES;
	ata_transfer(drive);
}

static void verify(struct ata_drive *drive, unsigned flags)
{
	if (range_of_command(drive))
		ata_end(drive);
}

static void flush(struct ata_drive *drive, unsigned flags)
{
	ata_disk_only(drive, BLOCK_FLUSH, 0, 0);
}

static void seek(struct ata_drive *drive, unsigned flags)
{
	if (get_lba(drive) < total_sectors(drive))
		ata_end(drive);
	else
		ata_fail(drive, ATA_ABRT | ATA_IDNF);
}

static void set_multiple(struct ata_drive *drive, unsigned flags)
{
	unsigned sectors = drive->regs.count & 255;

	if (sectors > ATA_MULTIPLE_MAX || (sectors && !is_power_of_two(sectors))) {
		ata_fail(drive, ATA_ABRT);
		return;
	}
	drive->multiple = (uint8_t)sectors;
	ata_end(drive);
}

static void read_native_max(struct ata_drive *drive, unsigned flags)
{
	uint64_t last = total_sectors(drive) - 1;

	if (!drive->is_lba48)
		last = min_u64(last, (1 << 28) - 1);
	if (!total_sectors(drive)) {
		ata_fail(drive, ATA_ABRT);
		return;
	}
	ata_set_lba(drive, last);
	ata_end(drive);
}

/* --- DATA SET MANAGEMENT with TRIM (ACS-2 7.10): ranges of 16 + 48 bits --- */

static void trim_next(struct ata_drive *drive)
{
	while (drive->data_at + 8 <= drive->chunk_end) {
		uint64_t range = load_le64(drive->buffer + drive->data_at);
		uint64_t lba = range & 0xffffffffffff, count = range >> 48;

		drive->data_at += 8;
		if (!count)
			continue;
		if (!range_inside(lba, count, total_sectors(drive))) {
			ata_fail(drive, ATA_ABRT | ATA_IDNF);
			return;
		}
		ata_disk_only(drive, BLOCK_DISCARD, lba * DISK_SECTOR_BYTES, count * DISK_SECTOR_BYTES);
		return;
	}
	ata_end(drive);
}

static void data_set_management(struct ata_drive *drive, unsigned flags)
{
	uint32_t bytes = get_count(drive) * DISK_SECTOR_BYTES;

	if (!(drive->regs.feature & 1) || bytes > ATA_BUFFER_BYTES || drive->disk.block->read_only) {
		ata_fail(drive, ATA_ABRT);
		return;
	}
	drive->by_dma = true;
	drive->chunk_end = bytes;
	ata_take(drive, bytes);
}

/* --- what drives say of themselves --- */

static void identify(struct ata_drive *drive, unsigned flags)
{
	bool packet = drive->regs.command == ATA_CMD_IDENTIFY_PACKET;

	/* A packet device answers IDENTIFY DEVICE with its signature (6.1), and is then asked by the other command. */
	if (packet != drive->cd) {
		if (drive->cd)
			ata_signature(drive);
		ata_fail(drive, ATA_ABRT);
		return;
	}
	ata_identify(drive, drive->buffer);
	drive->by_dma = false;
	drive->block_bytes = 512;
	ata_reply(drive, 512);
}

static void diagnostic(struct ata_drive *drive, unsigned flags)
{
	ata_signature(drive);
	drive->regs.error = 1; /* no error detected */
	drive->port->ops->done(drive->port, drive, true);
}

static void initialize_parameters(struct ata_drive *drive, unsigned flags)
{
	drive->now_sectors = drive->regs.count & 255;
	drive->now_heads = (drive->regs.device & 15) + 1u;
	if (drive->now_sectors)
		drive->now_cylinders =
			(uint32_t)min_u64(total_sectors(drive) / (drive->now_heads * drive->now_sectors), 65535);
	ata_end(drive);
}

static void power(struct ata_drive *drive, unsigned flags)
{
	if (drive->regs.command == 0xe5 || drive->regs.command == 0x98)
		drive->regs.count = drive->power; /* CHECK POWER MODE: active or idle */
	ata_end(drive);
}

static void set_features(struct ata_drive *drive, unsigned flags)
{
	uint8_t value = drive->regs.count & 255;

	switch (drive->regs.feature & 255) {
	case 0x02:
		if (drive->cd)
			break;
		drive->write_cache = true;
		ata_end(drive);
		return;
	case 0x82:
		if (drive->cd)
			break;
		drive->write_cache = false;
		flush(drive, 0);
		return;
	case 0x03: /* transfer mode */
		if ((value >> 3 == 4 && (value & 7) > 2) || (value >> 3 == 8 && (value & 7) > 5) ||
		    (value >> 3 != 0 && value >> 3 != 1 && value >> 3 != 2 && value >> 3 != 4 && value >> 3 != 8))
			break;
		if (value >= 0x10)
			drive->dma_mode = value;
		ata_end(drive);
		return;
	case 0x05: /* advanced power management, look-ahead, reverting to defaults, acoustics */
	case 0x42:
	case 0x55:
	case 0x66:
	case 0x85:
	case 0xaa:
	case 0xc2:
	case 0xcc:
		if (drive->cd)
			break;
		ata_end(drive);
		return;
	default:
		break;
	}
	ata_fail(drive, ATA_ABRT);
}

static void smart(struct ata_drive *drive, unsigned flags)
{
	ata_smart(drive);
}

static void nop(struct ata_drive *drive, unsigned flags)
{
	ata_fail(drive, ATA_ABRT);
}

static void end(struct ata_drive *drive, unsigned flags)
{
	ata_end(drive);
}

static void device_reset_command(struct ata_drive *drive, unsigned flags)
{
	ata_signature(drive);
	drive->regs.status = 0;
}

static void packet(struct ata_drive *drive, unsigned flags)
{
	atapi_packet(drive);
}

/* --- READ LOG EXT (8.29): the page of NCQ errors is the port's; a directory and an error log without entries --- */

static void read_log(struct ata_drive *drive, unsigned flags)
{
	uint8_t page = drive->regs.lba_low & 255;
	uint32_t bytes = get_count(drive) * DISK_SECTOR_BYTES;

	if ((page != 0 && page != 0x10) || bytes > 512 || !drive->queue) {
		ata_fail(drive, ATA_ABRT);
		return;
	}
	memset(drive->buffer, 0, 512);
	if (page == 0) {
		store_le16(drive->buffer, 1);
		store_le16(drive->buffer + 2 * 0x10, 1);
	} else {
		uint8_t sum = 0;

		memcpy(drive->buffer, drive->ncq_error, sizeof(drive->ncq_error));
		for (unsigned i = 0; i < 511; i++)
			sum = (uint8_t)(sum + drive->buffer[i]);
		drive->buffer[511] = (uint8_t)-sum;
		memset(drive->ncq_error, 0, sizeof(drive->ncq_error));
		drive->ncq_error[0] = 0x80;
	}
	drive->by_dma = flags & DMA;
	drive->block_bytes = 512;
	ata_reply(drive, 512);
}

/* --- the table --- */

struct ata_operation {
	uint8_t first, last;
	void (*run)(struct ata_drive *drive, unsigned flags);
	unsigned flags;
};

static const struct ata_operation operations[] = {
	{0x00, 0x00, nop, ON_CD},
	{0x06, 0x06, data_set_management, LBA48 | DMA},
	{0x08, 0x08, device_reset_command, ON_CD | NOT_DISK},
	{0x10, 0x1f, end, 0}, /* RECALIBRATE */
	{0x20, 0x21, read_or_write, 0},
	{0x24, 0x24, read_or_write, LBA48},
	{0x25, 0x25, read_or_write, LBA48 | DMA},
	{0x27, 0x27, read_native_max, LBA48},
	{0x29, 0x29, read_or_write, LBA48 | MULTIPLE},
	{0x2f, 0x2f, read_log, LBA48 | ON_CD},
	{0x30, 0x31, read_or_write, WRITES},
	{0x34, 0x34, read_or_write, LBA48 | WRITES},
	{0x35, 0x35, read_or_write, LBA48 | WRITES | DMA},
	{0x39, 0x39, read_or_write, LBA48 | WRITES | MULTIPLE},
	{0x3c, 0x3c, read_or_write, WRITES}, /* WRITE VERIFY */
	{0x3d, 0x3d, read_or_write, LBA48 | WRITES | DMA | FUA},
	{0x40, 0x41, verify, 0},
	{0x42, 0x42, verify, LBA48},
	{0x47, 0x47, read_log, LBA48 | DMA | ON_CD},
	{0x70, 0x7f, seek, 0},
	{0x90, 0x90, diagnostic, ON_CD},
	{0x91, 0x91, initialize_parameters, 0},
	{0x94, 0x99, power, ON_CD},
	{0xa0, 0xa0, packet, ON_CD | NOT_DISK},
	{0xa1, 0xa1, identify, ON_CD},
	{0xb0, 0xb0, smart, 0},
	{0xc4, 0xc4, read_or_write, MULTIPLE},
	{0xc5, 0xc5, read_or_write, WRITES | MULTIPLE},
	{0xc6, 0xc6, set_multiple, 0},
	{0xc8, 0xc9, read_or_write, DMA},
	{0xca, 0xcb, read_or_write, WRITES | DMA},
	{0xce, 0xce, read_or_write, LBA48 | WRITES | MULTIPLE | FUA},
	{0xe0, 0xe3, power, ON_CD},
	{0xe5, 0xe6, power, ON_CD},
	{0xe7, 0xe7, flush, 0},
	{0xea, 0xea, flush, LBA48},
	{0xec, 0xec, identify, ON_CD},
	{0xef, 0xef, set_features, ON_CD},
	{0xf8, 0xf8, read_native_max, 0},
};

void ata_command(struct ata_drive *drive)
{
	const struct ata_operation *found = NULL;

	drive->regs.error = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(operations) && !found; i++)
		if (drive->regs.command >= operations[i].first && drive->regs.command <= operations[i].last)
			found = &operations[i];
	drive->is_lba48 = found && found->flags & LBA48;
	drive->by_dma = drive->writes = drive->on_disk = drive->fua = false;
	if (!found || (drive->cd ? !(found->flags & ON_CD) : (found->flags & NOT_DISK) != 0))
		ata_fail(drive, ATA_ABRT);
	else
		found->run(drive, found->flags);
}

/* --- what comes back --- */

void ata_disk_done(struct ata_drive *drive, int result)
{
	if (drive->cd)
		atapi_moved(drive, result);
	else if (result < 0)
		ata_fail(drive, ATA_ABRT);
	else if (drive->regs.command == ATA_CMD_TRIM)
		trim_next(drive);
	else
		ata_end(drive);
}

void ata_taken(struct ata_drive *drive)
{
	drive->data_at = 0;
	trim_next(drive);
}

/* After power-on, reset and EXECUTE DEVICE DIAGNOSTIC (9.12): what kind of device this is. */
void ata_signature(struct ata_drive *drive)
{
	struct ata_registers *regs = &drive->regs;

	regs->count = regs->lba_low = 1;
	regs->lba_mid = drive->cd ? 0x14 : 0;
	regs->lba_high = drive->cd ? 0xeb : 0;
	regs->device &= ATA_DEV;
	regs->error = 1;
	regs->status = drive->cd ? 0 : ATA_DRDY | ATA_SEEK;
	drive->phase = ATA_IDLE;
	drive->resetting = false;
	drive->left = 0;
	drive->data_at = drive->data_end = drive->chunk_end = 0;
	drive->multiple = ATA_MULTIPLE_MAX;
}
