/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How data moves between host and drive (ATA/ATAPI-6 chapter 9): PIO in blocks through the drive's buffer, of which one
 * filling serves several blocks, and DMA between disk and guest memory without a copy. The next part starts when the
 * disk, or the host, has done with the one before.
 */
#include "device/storage/ata.h"

#include "base/util.h"
#include "core/ram.h"

enum { DMA_PART_BYTES = 4 << 20 };

static void submit(struct ata_drive *drive, enum block_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
		   unsigned count);

/* --- ends --- */

static void finish(struct ata_drive *drive, bool interrupt)
{
	drive->phase = ATA_IDLE;
	drive->left = 0;
	drive->port->ops->done(drive->port, drive, interrupt);
}

void ata_end(struct ata_drive *drive)
{
	/* The last block of a PIO read is the end of the command. */
	bool quiet = !drive->by_dma && drive->phase == ATA_DATA_IN && drive->regs.command != ATA_CMD_PACKET;

	drive->regs.status = ATA_DRDY | ATA_SEEK;
	drive->regs.error = 0;
	finish(drive, !quiet);
}

void ata_fail(struct ata_drive *drive, uint8_t error)
{
	drive->regs.status = ATA_DRDY | ATA_ERR;
	drive->regs.error = error;
	finish(drive, true);
}

/* All of it has moved. */
static void moved(struct ata_drive *drive)
{
	if (drive->regs.command == ATA_CMD_PACKET)
		atapi_moved(drive, 0);
	else if (drive->writes && !drive->on_disk)
		ata_taken(drive);
	else
		ata_end(drive);
}

/* The disk said no, or the host has no memory for it. */
static void broken(struct ata_drive *drive, int result)
{
	if (drive->regs.command == ATA_CMD_PACKET) {
		atapi_moved(drive, result);
		return;
	}
	ata_set_lba(drive, drive->offset / DISK_SECTOR_BYTES);
	ata_fail(drive, result == -EFAULT                       ? ATA_ABRT | ATA_ICRC
			: drive->writes || result == -ECANCELED ? ATA_ABRT
								: ATA_UNC);
}

/* --- PIO --- */

static void next_block(struct ata_drive *drive, bool interrupt)
{
	uint32_t bytes = (uint32_t)min_u64(drive->chunk_end - drive->data_at, drive->block_bytes);

	drive->data_end = drive->data_at + bytes;
	drive->phase = drive->writes ? ATA_DATA_OUT : ATA_DATA_IN;
	drive->regs.status = ATA_DRDY | ATA_SEEK | ATA_DRQ;
	drive->port->ops->data(drive->port, drive, interrupt);
}

/* As much as the buffer holds, in whole blocks where more is to come. */
static void next_chunk(struct ata_drive *drive, bool first)
{
	uint64_t bytes = min_u64(drive->left, ATA_BUFFER_BYTES);

	if (!drive->cd && bytes < drive->left)
		bytes -= bytes % drive->block_bytes;
	drive->data_at = 0;
	drive->chunk_end = (uint32_t)bytes;
	if (drive->writes || !drive->on_disk) {
		next_block(drive, !first || !drive->writes || drive->cd);
		return;
	}
	drive->buffer_iov = (struct iovec){drive->buffer, bytes};
	submit(drive, BLOCK_READ, drive->offset, bytes, &drive->buffer_iov, 1);
}

static void chunk_moved(struct ata_drive *drive)
{
	drive->offset += drive->chunk_end;
	drive->left -= drive->chunk_end;
	if (drive->left)
		next_chunk(drive, false);
	else
		moved(drive);
}

void ata_data_done(struct ata_drive *drive)
{
	drive->data_at = drive->data_end;
	if (drive->phase == ATA_PACKET) {
		atapi_command(drive);
	} else if (drive->data_at < drive->chunk_end) {
		next_block(drive, true);
	} else if (drive->writes && drive->on_disk) {
		drive->buffer_iov = (struct iovec){drive->buffer, drive->chunk_end};
		submit(drive, BLOCK_WRITE, drive->offset, drive->chunk_end, &drive->buffer_iov, 1);
	} else {
		chunk_moved(drive);
	}
}

/* --- DMA --- */

static void copy_buffer(struct ata_drive *drive, const struct ata_memory *memory, size_t bytes)
{
	struct ram *ram = drive->device.env->ram;
	uint8_t *at = drive->buffer + drive->data_at;

	for (unsigned i = 0; i < memory->count; i++) {
		if (drive->writes) {
			memcpy(at, memory->iov[i].iov_base, memory->iov[i].iov_len);
		} else {
			memcpy(memory->iov[i].iov_base, at, memory->iov[i].iov_len);
			ram_written(ram, memory->gpa[i], memory->iov[i].iov_len);
		}
		at += memory->iov[i].iov_len;
	}
	drive->data_at += (uint32_t)bytes;
}

/* Replies need not fill whole sectors: here map gives any number of bytes. */
static void dma_buffer(struct ata_drive *drive)
{
	while (drive->left) {
		size_t bytes = drive->port->ops->map(drive->port, drive, -1, drive->left, &drive->memory);

		if (!bytes) {
			broken(drive, -EFAULT);
			return;
		}
		copy_buffer(drive, &drive->memory, bytes);
		drive->left -= bytes;
	}
	moved(drive);
}

static void dma_part(struct ata_drive *drive)
{
	size_t bytes =
		drive->port->ops->map(drive->port, drive, -1, min_u64(drive->left, DMA_PART_BYTES), &drive->memory);

	if (!bytes)
		broken(drive, -EFAULT);
	else
		submit(drive, drive->writes ? BLOCK_WRITE : BLOCK_READ, drive->offset, bytes, drive->memory.iov,
		       drive->memory.count);
}

void ata_dma_ready(struct ata_drive *drive)
{
	if (drive->phase != ATA_DMA_WAIT)
		return;
	if (drive->on_disk)
		dma_part(drive);
	else
		dma_buffer(drive);
}

static void tell_written(struct ata_drive *drive, const struct ata_memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++)
		ram_written(drive->device.env->ram, memory->gpa[i], memory->iov[i].iov_len);
}

static void part_moved(struct ata_drive *drive)
{
	if (!drive->writes)
		tell_written(drive, &drive->memory);
	drive->offset += drive->moving;
	drive->left -= drive->moving;
	if (drive->left)
		dma_part(drive);
	else
		moved(drive);
}

/* --- the disk --- */

static void disk_done(struct disk_request *request, int result)
{
	struct ata_drive *drive = container_of(request, struct ata_drive, request);
	const enum block_op op = request->io.op;

	pthread_mutex_lock(&drive->port->lock);
	drive->outside--;
	if (drive->resetting) {
		if (!drive->outside)
			ata_signature(drive);
	} else if (op != BLOCK_READ && op != BLOCK_WRITE) {
		ata_disk_done(drive, result);
	} else if (result < 0) {
		broken(drive, result);
	} else if (drive->by_dma) {
		part_moved(drive);
	} else if (op == BLOCK_READ) {
		next_block(drive, true);
	} else {
		chunk_moved(drive);
	}
	pthread_mutex_unlock(&drive->port->lock);
}

static void submit(struct ata_drive *drive, enum block_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
		   unsigned count)
{
	drive->phase = ATA_DISK;
	drive->regs.status = ATA_BSY | ATA_DRDY | ATA_SEEK;
	drive->moving = length;
	drive->request.io = (struct block_request){
		.op = op,
		.offset = offset,
		.length = length,
		.iov = iov,
		.iov_count = (int)count,
		.flags = op == BLOCK_WRITE && (drive->fua || !drive->write_cache) ? BLOCK_FUA : 0};
	drive->request.done = disk_done;
	drive->outside++;
	disk_submit(&drive->disk, &drive->request);
}

void ata_disk_only(struct ata_drive *drive, enum block_op op, uint64_t offset, uint64_t length)
{
	submit(drive, op, offset, length, NULL, 0);
}

/* --- starts --- */

void ata_transfer(struct ata_drive *drive)
{
	if (!drive->by_dma) {
		next_chunk(drive, true);
		return;
	}
	drive->data_at = 0;
	drive->phase = ATA_DMA_WAIT;
	/* A device that waits for its DMA shows DRQ. */
	drive->regs.status = ATA_DRDY | ATA_SEEK | ATA_DRQ;
	drive->port->ops->dma(drive->port, drive);
}

void ata_reply(struct ata_drive *drive, uint32_t bytes)
{
	drive->writes = drive->on_disk = false;
	drive->left = bytes;
	ata_transfer(drive);
}

void ata_take(struct ata_drive *drive, uint32_t bytes)
{
	drive->writes = true;
	drive->on_disk = false;
	drive->left = bytes;
	ata_transfer(drive);
}

/* --- the native queue --- */

static bool queued_part(struct ata_queued *queued)
{
	struct ata_drive *drive = queued->drive;
	struct block_request *io = &queued->request.io;
	size_t bytes = drive->port->ops->map(drive->port, drive, (int)(queued - drive->queue),
					     min_u64(queued->left, DMA_PART_BYTES), &queued->memory);

	if (!bytes)
		return false;
	queued->left -= bytes;
	io->length = bytes;
	io->iov = queued->memory.iov;
	io->iov_count = (int)queued->memory.count;
	drive->outside++;
	disk_submit(&drive->disk, &queued->request);
	return true;
}

/* 0, or what the error register says. */
static uint8_t queued_result(struct ata_queued *queued, int result)
{
	struct block_request *io = &queued->request.io;

	if (result < 0)
		return io->op == BLOCK_READ ? ATA_UNC : ATA_ABRT;
	if (io->op == BLOCK_READ)
		tell_written(queued->drive, &queued->memory);
	io->offset += io->length;
	return 0;
}

static void queued_disk_done(struct disk_request *request, int result)
{
	struct ata_queued *queued = container_of(request, struct ata_queued, request);
	struct ata_drive *drive = queued->drive;
	uint8_t error;

	pthread_mutex_lock(&drive->port->lock);
	drive->outside--;
	error = queued_result(queued, result);
	if (drive->resetting) {
		queued->busy = false;
		if (!drive->outside)
			ata_signature(drive);
	} else if (error || !queued->left || !queued_part(queued)) {
		queued->busy = false;
		if (!error && queued->left)
			error = ATA_ABRT;
		drive->port->ops->queued_done(drive->port, drive, (unsigned)(queued - drive->queue), error);
	}
	pthread_mutex_unlock(&drive->port->lock);
}

bool ata_queue(struct ata_drive *drive, unsigned tag, bool write, uint64_t lba, uint32_t sectors, bool fua)
{
	struct ata_queued *queued = &drive->queue[tag];
	uint64_t total = disk_bytes(&drive->disk) / DISK_SECTOR_BYTES;

	if (queued->busy || drive->phase != ATA_IDLE || !range_inside(lba, sectors, total) ||
	    (write && drive->disk.block->read_only))
		return false;
	queued->drive = drive;
	queued->left = (uint64_t)sectors * DISK_SECTOR_BYTES;
	queued->request.io = (struct block_request){.op = write ? BLOCK_WRITE : BLOCK_READ,
						    .offset = lba * DISK_SECTOR_BYTES,
						    .flags = write && (fua || !drive->write_cache) ? BLOCK_FUA : 0};
	queued->request.done = queued_disk_done;
	queued->busy = queued_part(queued);
	return queued->busy;
}

/* --- resets --- */

void ata_reset(struct ata_drive *drive)
{
	if (drive->outside) {
		drive->resetting = true;
		drive->regs.status = ATA_BSY;
		disk_cancel_stalled(&drive->disk);
	} else {
		ata_signature(drive);
	}
}

void ata_drain(struct ata_drive *drive)
{
	disk_drain(&drive->disk);
}

void ata_power_on(struct ata_drive *drive)
{
	pthread_mutex_lock(&drive->port->lock);
	drive->resetting = drive->outside > 0;
	pthread_mutex_unlock(&drive->port->lock);
	disk_drain(&drive->disk);
	pthread_mutex_lock(&drive->port->lock);
	drive->write_cache = drive->config.write_cache != 0;
	drive->multiple = ATA_MULTIPLE_MAX;
	drive->dma_mode = 0x40 | 5;
	drive->power = 0xff;
	drive->smart_on = true;
	drive->now_cylinders = drive->cylinders;
	drive->now_heads = drive->heads;
	drive->now_sectors = drive->sectors;
	ata_signature(drive);
	pthread_mutex_unlock(&drive->port->lock);
}
