/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data commands of the floppy controller (82078 data sheet, chapter 5): the rest of a track side is read from the disk
 * at once and goes to memory by DMA until terminal count or its end, then, with MT, the other side; for writes the
 * other way round. What comes first is the channel being unmasked or the disk being ready.
 */
#include "device/storage/fdc.h"

#include "base/util.h"

enum { ST0_ABNORMAL = 1 << 6, ST0_NOT_READY = 1 << 3 };
enum {
	ST1_MISSING_ADDRESS = 1 << 0,
	ST1_WRITE_PROTECT = 1 << 1,
	ST1_NO_DATA = 1 << 2,
	ST1_DATA_ERROR = 1 << 5,
	ST1_END = 1 << 7
};
enum { ST2_MISSING_DATA = 1 << 0, ST2_DATA_ERROR = 1 << 5 };
enum { CMD_WRITE = 0x05, CMD_WRITE_DELETED = 0x09, CMD_FORMAT = 0x0d, CMD_VERIFY = 0x16 };

static bool is_write(const struct fdc *fdc)
{
	return fdc->transfer == CMD_WRITE || fdc->transfer == CMD_WRITE_DELETED || fdc->transfer == CMD_FORMAT;
}

static uint64_t sector_offset(const struct fdc *fdc, const struct floppy *floppy, unsigned sector)
{
	return (((uint64_t)fdc->cylinder * floppy->heads + fdc->head) * floppy->sectors + sector - 1) *
	       FDC_SECTOR_BYTES;
}

/* --- the disk --- */

static void advance(struct fdc *fdc);

static void disk_done(struct disk_request *request, int result)
{
	struct floppy *floppy = container_of(request, struct floppy, request);
	struct fdc *fdc = floppy->fdc;

	pthread_mutex_lock(&fdc->lock);
	fdc->at_disk = false;
	if (fdc->resetting) {
		fdc->resetting = false;
	} else if (result < 0) {
		fdc_finish(fdc, ST0_ABNORMAL, ST1_DATA_ERROR, ST2_DATA_ERROR);
	} else if (request->io.op == BLOCK_READ) {
		fdc->moving = true;
		fdc->filled = 0;
		advance(fdc);
	} else {
		fdc->bytes = 0;
		fdc->filled = 0;
		advance(fdc);
	}
	pthread_mutex_unlock(&fdc->lock);
}

static void submit(struct fdc *fdc, enum block_op op, uint32_t bytes)
{
	struct floppy *floppy = fdc->drives[fdc->drive];

	floppy->iov = (struct iovec){fdc->buffer, bytes};
	floppy->request.io =
		(struct block_request){.op = op,
				       .offset = sector_offset(fdc, floppy, fdc->sector),
				       .length = bytes,
				       .iov = &floppy->iov,
				       .iov_count = 1,
				       .flags = op == BLOCK_WRITE && floppy->config.write_cache == 0 ? BLOCK_FUA : 0};
	floppy->request.done = disk_done;
	fdc->moving = false;
	fdc->at_disk = true;
	disk_submit(&floppy->disk, &floppy->request);
}

/* --- along the track --- */

/* Bytes to the end of this side that the command may touch. */
static uint32_t side_bytes(const struct fdc *fdc, const struct floppy *floppy)
{
	unsigned last = (unsigned)min_u64(fdc->end_of_track, floppy->sectors);

	return last < fdc->sector ? 0 : (last - fdc->sector + 1u) * FDC_SECTOR_BYTES;
}

/* Past so many sectors; true when the command may go on there. */
static bool step(struct fdc *fdc, const struct floppy *floppy, unsigned sectors)
{
	fdc->sector = (uint8_t)(fdc->sector + sectors);
	if (fdc->sector <= fdc->end_of_track && fdc->sector <= floppy->sectors)
		return true;
	fdc->sector = 1;
	if (fdc->multi_track && !fdc->head && floppy->heads > 1) {
		fdc->head = 1;
		return true;
	}
	if (fdc->multi_track)
		fdc->head = 0;
	fdc->cylinder++;
	return false;
}

static void start_side(struct fdc *fdc)
{
	const struct floppy *floppy = fdc->drives[fdc->drive];

	fdc->bytes = side_bytes(fdc, floppy);
	fdc->filled = 0;
	if (!fdc->bytes) {
		fdc_finish(fdc, ST0_ABNORMAL, ST1_NO_DATA, 0);
	} else if (is_write(fdc)) {
		fdc->moving = true;
		advance(fdc);
	} else {
		submit(fdc, BLOCK_READ, fdc->bytes);
	}
}

/* A side is through, or the count is. */
static void side_done(struct fdc *fdc, uint32_t bytes)
{
	const struct floppy *floppy = fdc->drives[fdc->drive];
	bool more = step(fdc, floppy, (unsigned)((bytes + FDC_SECTOR_BYTES - 1) / FDC_SECTOR_BYTES));

	if (fdc->terminal)
		fdc_finish(fdc, 0, 0, 0);
	else if (more)
		start_side(fdc);
	else
		fdc_finish(fdc, ST0_ABNORMAL, ST1_END, 0);
}

static void move(struct fdc *fdc)
{
	const struct isa_dma *dma = fdc->device.env->isa_dma;

	while (fdc->filled < fdc->bytes && !fdc->terminal) {
		size_t got = dma ? dma->transfer(dma->opaque, fdc->dma_channel, fdc->buffer + fdc->filled,
						 fdc->bytes - fdc->filled, !is_write(fdc), &fdc->terminal)
				 : 0;

		if (!got)
			return; /* the channel is masked: fdc_dma_ready comes */
		fdc->filled += (uint32_t)got;
	}
}

/* Goes as far as DMA and disk allow. */
static void advance(struct fdc *fdc)
{
	uint32_t whole;

	if (!fdc->moving) { /* what was to be written is on the disk */
		side_done(fdc, fdc->moved);
		return;
	}
	if (fdc->transfer == CMD_VERIFY) {
		fdc->filled = fdc->bytes;
		fdc->terminal = !fdc->multi_track || fdc->head;
	} else {
		move(fdc);
	}
	if (fdc->filled < fdc->bytes && !fdc->terminal)
		return;
	whole = (uint32_t)align_up(fdc->filled, FDC_SECTOR_BYTES);
	if (!is_write(fdc)) {
		side_done(fdc, whole);
		return;
	}
	/* A sector that the count cut short is filled up with zeroes. */
	memset(fdc->buffer + fdc->filled, 0, whole - fdc->filled);
	fdc->moved = whole;
	submit(fdc, BLOCK_WRITE, whole);
}

void fdc_dma_ready(void *opaque)
{
	struct fdc *fdc = opaque;

	pthread_mutex_lock(&fdc->lock);
	if (fdc->phase == FDC_EXECUTION && fdc->moving && fdc->drives[fdc->drive & 1])
		advance(fdc);
	pthread_mutex_unlock(&fdc->lock);
}

/* --- commands --- */

/* Drive, medium and rate as they must be; false: the command has failed. */
static bool usable(struct fdc *fdc, bool writes)
{
	const struct floppy *floppy = fdc_drive(fdc, fdc->drive);

	if (!floppy || !floppy->disk.block || !floppy->tracks)
		fdc_finish(fdc, ST0_ABNORMAL | ST0_NOT_READY, ST1_MISSING_ADDRESS, 0);
	else if (fdc->rate != floppy->rate)
		fdc_finish(fdc, ST0_ABNORMAL, ST1_MISSING_ADDRESS, ST2_MISSING_DATA);
	else if (writes && floppy->disk.block->read_only)
		fdc_finish(fdc, ST0_ABNORMAL, ST1_WRITE_PROTECT, 0);
	else if (fdc->cylinder >= floppy->tracks || fdc->head >= floppy->heads)
		fdc_finish(fdc, ST0_ABNORMAL, ST1_NO_DATA, 0);
	else
		return true;
	return false;
}

static void begin(struct fdc *fdc)
{
	fdc->phase = FDC_EXECUTION;
	fdc->transfer = fdc->fifo[0] & 0x1f;
	fdc->drive = fdc->fifo[1] & 3;
	fdc->head = fdc->fifo[1] >> 2 & 1;
	fdc->terminal = fdc->moving = false;
}

void fdc_transfer(struct fdc *fdc)
{
	const struct floppy *floppy;

	begin(fdc);
	fdc->multi_track = fdc->fifo[0] & 0x80;
	fdc->cylinder = fdc->fifo[2];
	fdc->head = fdc->fifo[3] & 1;
	fdc->sector = fdc->fifo[4];
	fdc->end_of_track = fdc->fifo[6];
	if (!usable(fdc, is_write(fdc)))
		return;
	floppy = fdc->drives[fdc->drive];
	if (fdc->fifo[5] != 2 || fdc->at_disk || !fdc->sector || fdc->sector > floppy->sectors ||
	    floppy->track != fdc->cylinder)
		fdc_finish(fdc, ST0_ABNORMAL, ST1_NO_DATA, 0);
	else
		start_side(fdc);
}

void fdc_read_id(struct fdc *fdc)
{
	const struct floppy *floppy;

	begin(fdc);
	floppy = fdc_drive(fdc, fdc->drive);
	fdc->cylinder = floppy ? floppy->track : 0;
	fdc->sector = 1;
	if (usable(fdc, false))
		fdc_finish(fdc, 0, 0, 0);
}

/* The sectors' addresses come by DMA, four bytes each; all of the side is filled with the last parameter. */
void fdc_format(struct fdc *fdc)
{
	const struct floppy *floppy;
	uint8_t sectors = fdc->fifo[3], filler = fdc->fifo[5], size = fdc->fifo[2];

	begin(fdc);
	floppy = fdc_drive(fdc, fdc->drive);
	fdc->cylinder = floppy ? floppy->track : 0;
	fdc->sector = 1;
	fdc->multi_track = false;
	fdc->end_of_track = sectors;
	if (!usable(fdc, true))
		return;
	if (size != 2 || sectors != floppy->sectors || fdc->at_disk) {
		fdc_finish(fdc, ST0_ABNORMAL, ST1_NO_DATA, 0);
		return;
	}
	fdc->terminal = true;
	fdc->moved = sectors * (uint32_t)FDC_SECTOR_BYTES;
	memset(fdc->buffer, filler, fdc->moved);
	submit(fdc, BLOCK_WRITE, fdc->moved);
}
