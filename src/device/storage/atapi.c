/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PACKET (ATA/ATAPI-6 8.23, SFF-8020i): a SCSI command of 12 bytes, whose data moves by PIO in blocks of at most the
 * byte count that the host put into the cylinder registers, or by DMA. The interrupt reason tells the host the phase.
 */
#include "device/storage/ata.h"

#include "base/util.h"

enum { PACKET_BYTES = 12, BY_DMA = 1 << 0 };

void atapi_packet(struct ata_drive *drive)
{
	uint32_t limit = (drive->regs.lba_mid & 255u) | (drive->regs.lba_high & 255u) << 8;

	/* Odd limits leave a byte over at the end of each block: only the last block may be odd. */
	if (limit == 0 || limit == 0xffff)
		limit = 0xfffe;
	drive->byte_limit = (uint16_t)(limit > 1 ? limit & ~1u : 2);
	drive->by_dma = drive->regs.feature & BY_DMA;
	drive->writes = true;
	drive->on_disk = false;
	drive->phase = ATA_PACKET;
	drive->regs.count = ATAPI_COD;
	drive->regs.status = ATA_DRDY | ATA_SEEK | ATA_DRQ;
	drive->data_at = 0;
	drive->data_end = drive->chunk_end = PACKET_BYTES;
	drive->port->ops->data(drive->port, drive, false);
}

static void complete(struct ata_drive *drive)
{
	drive->writes = false;
	drive->regs.count = ATAPI_COD | ATAPI_IO;
	if (drive->packet.status == SCSI_GOOD)
		ata_end(drive);
	else
		ata_fail(drive, (uint8_t)(drive->packet.sense.key << 4 |
					  (drive->packet.sense.key == SCSI_ILLEGAL_REQUEST ? ATA_ABRT : 0)));
}

static void transfer(struct ata_drive *drive, bool writes)
{
	drive->writes = writes;
	drive->regs.count = writes ? 0 : ATAPI_IO;
	drive->block_bytes = drive->byte_limit;
	ata_transfer(drive);
}

static void step(struct ata_drive *drive)
{
	struct scsi_request *packet = &drive->packet;

	drive->on_disk = packet->step == SCSI_MEDIUM_IN || packet->step == SCSI_MEDIUM_OUT;
	switch ((enum scsi_step)packet->step) {
	case SCSI_DONE:
		complete(drive);
		break;
	case SCSI_DATA_IN:
		memcpy(drive->buffer, packet->data, packet->length);
		drive->left = packet->length;
		transfer(drive, false);
		break;
	case SCSI_DATA_OUT:
		drive->left = packet->length;
		transfer(drive, true);
		break;
	case SCSI_MEDIUM_IN:
	case SCSI_MEDIUM_OUT:
		drive->offset = packet->offset;
		drive->left = packet->bytes;
		transfer(drive, packet->step == SCSI_MEDIUM_OUT);
		break;
	case SCSI_DISK:
		ata_disk_only(drive, (enum block_op)packet->op, packet->offset, packet->bytes);
		break;
	}
}

void atapi_command(struct ata_drive *drive)
{
	struct scsi_request *packet = &drive->packet;

	memset(packet->cdb, 0, sizeof(packet->cdb));
	memcpy(packet->cdb, drive->buffer, PACKET_BYTES);
	packet->unit = &drive->scsi;
	scsi_start(packet);
	step(drive);
}

void atapi_moved(struct ata_drive *drive, int result)
{
	struct scsi_request *packet = &drive->packet;

	if (packet->step == SCSI_DATA_IN && result == 0) {
		scsi_good(packet);
	} else if (packet->step == SCSI_DATA_OUT && result == 0) {
		memcpy(packet->data, drive->buffer, min_u64(packet->length, sizeof(packet->data)));
		scsi_continue(packet);
	} else {
		scsi_io_done(packet, result);
	}
	step(drive);
}
