/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of the floppy disk controller (82078, chapter 5): the command phase that gathers one in the FIFO, the result
 * phase, and all commands that move no data.
 */
#include "device/storage/fdc.h"

#include "base/util.h"

enum {
	ST0_SEEK_END = 1 << 5,
	ST0_EQUIPMENT = 1 << 4,
	ST0_ABNORMAL = 1 << 6,
	ST0_INVALID = 1 << 7,
	ST0_POLLED = 3 << 6
};

/* --- phases --- */

void fdc_to_command(struct fdc *fdc)
{
	fdc->phase = FDC_COMMAND;
	fdc->fifo_at = fdc->fifo_bytes = 0;
}

static void to_result(struct fdc *fdc, unsigned bytes)
{
	fdc->phase = FDC_RESULT;
	fdc->fifo_at = 0;
	fdc->fifo_bytes = (uint8_t)bytes;
}

static void one_result(struct fdc *fdc, uint8_t value)
{
	fdc->fifo[0] = value;
	to_result(fdc, 1);
}

void fdc_finish(struct fdc *fdc, uint8_t st0, uint8_t st1, uint8_t st2)
{
	fdc->moving = false;
	fdc->st0 = (uint8_t)(st0 | fdc->head << 2 | fdc->drive);
	fdc->fifo[0] = fdc->st0;
	fdc->fifo[1] = st1;
	fdc->fifo[2] = st2;
	fdc->fifo[3] = fdc->cylinder;
	fdc->fifo[4] = fdc->head;
	fdc->fifo[5] = fdc->sector;
	fdc->fifo[6] = 2;
	to_result(fdc, 7);
	fdc_raise(fdc);
}

/* --- commands without data --- */

static void seek_to(struct fdc *fdc, unsigned unit, unsigned track)
{
	struct floppy *floppy = fdc_drive(fdc, unit);

	fdc->st0 = (uint8_t)(ST0_SEEK_END | unit);
	if (floppy) {
		floppy->track = (uint8_t)(floppy->tracks && track >= floppy->tracks ? floppy->tracks - 1u : track);
		/* A step with a disk in the drive clears its change line. */
		if (floppy->disk.block)
			floppy->changed = false;
	} else {
		fdc->st0 |= ST0_ABNORMAL | ST0_EQUIPMENT;
	}
	fdc_to_command(fdc);
	fdc_raise(fdc);
}

static void recalibrate(struct fdc *fdc)
{
	seek_to(fdc, fdc->fifo[1] & 3, 0);
}

static void seek(struct fdc *fdc)
{
	fdc->head = fdc->fifo[1] >> 2 & 1;
	seek_to(fdc, fdc->fifo[1] & 3, fdc->fifo[2]);
}

static void relative_seek(struct fdc *fdc)
{
	const struct floppy *floppy = fdc_drive(fdc, fdc->fifo[1] & 3);
	unsigned from = floppy ? floppy->track : 0, by = fdc->fifo[2];

	seek_to(fdc, fdc->fifo[1] & 3, fdc->fifo[0] & 0x40 ? from + by : by > from ? 0 : from - by);
}

static void sense_interrupt(struct fdc *fdc)
{
	const struct floppy *floppy;

	if (fdc->polled) {
		fdc->st0 = (uint8_t)(ST0_POLLED | (4 - fdc->polled--));
	} else if (!fdc->interrupt) {
		one_result(fdc, ST0_INVALID);
		return;
	}
	floppy = fdc_drive(fdc, fdc->st0 & 3);
	fdc->fifo[0] = fdc->st0;
	fdc->fifo[1] = floppy ? floppy->track : 0;
	fdc_lower(fdc);
	to_result(fdc, 2);
}

static void sense_drive_status(struct fdc *fdc)
{
	unsigned unit = fdc->fifo[1] & 3;
	const struct floppy *floppy = fdc_drive(fdc, unit);
	bool locked = floppy && floppy->disk.block && floppy->disk.block->read_only;

	one_result(fdc, (uint8_t)(0x28 | (locked ? 0x40 : 0) | (!floppy || floppy->track == 0 ? 0x10 : 0) |
				  (fdc->fifo[1] & 4) | unit));
}

static void specify(struct fdc *fdc)
{
	fdc->specify[0] = fdc->fifo[1];
	fdc->specify[1] = fdc->fifo[2];
	fdc_to_command(fdc);
}

static void configure(struct fdc *fdc)
{
	fdc->config = fdc->fifo[2];
	fdc->pretrack = fdc->fifo[3];
	fdc_to_command(fdc);
}

static void lock(struct fdc *fdc)
{
	fdc->lock_config = fdc->fifo[0] & 0x80;
	one_result(fdc, fdc->lock_config ? 0x10 : 0);
}

static void perpendicular(struct fdc *fdc)
{
	if (fdc->fifo[1] & 0x80)
		fdc->perpendicular = fdc->fifo[1] & 0x7f;
	fdc_to_command(fdc);
}

static void dump_registers(struct fdc *fdc)
{
	for (unsigned i = 0; i < 4; i++)
		fdc->fifo[i] = fdc_drive(fdc, i) ? fdc_drive(fdc, i)->track : 0;
	fdc->fifo[4] = fdc->specify[0];
	fdc->fifo[5] = fdc->specify[1];
	fdc->fifo[6] = fdc->end_of_track;
	fdc->fifo[7] = (uint8_t)(fdc->lock_config << 7 | fdc->perpendicular << 2);
	fdc->fifo[8] = fdc->config;
	fdc->fifo[9] = fdc->pretrack;
	to_result(fdc, 10);
}

static void version(struct fdc *fdc)
{
	one_result(fdc, 0x90); /* an enhanced controller */
}

static void part_id(struct fdc *fdc)
{
	one_result(fdc, 0x41);
}

static void power_down(struct fdc *fdc)
{
	one_result(fdc, fdc->fifo[1]);
}

static void nothing(struct fdc *fdc)
{
	fdc_to_command(fdc);
}

/* mask: bits of the first byte that count. bytes: of the whole command. */
static const struct fdc_operation {
	uint8_t code, mask, bytes;
	void (*run)(struct fdc *fdc);
} operations[] = {
	{0x03, 0xff, 3, specify},        {0x04, 0xff, 2, sense_drive_status},
	{0x05, 0x3f, 9, fdc_transfer},   {0x06, 0x1f, 9, fdc_transfer},
	{0x07, 0xff, 2, recalibrate},    {0x08, 0xff, 1, sense_interrupt},
	{0x09, 0x3f, 9, fdc_transfer},   {0x0a, 0xbf, 2, fdc_read_id},
	{0x0c, 0x1f, 9, fdc_transfer},   {0x0d, 0xbf, 6, fdc_format},
	{0x0e, 0xff, 1, dump_registers}, {0x0f, 0xff, 3, seek},
	{0x10, 0xff, 1, version},        {0x12, 0xff, 2, perpendicular},
	{0x13, 0xff, 4, configure},      {0x14, 0x7f, 1, lock},
	{0x16, 0x1f, 9, fdc_transfer},   {0x17, 0xff, 2, power_down},
	{0x18, 0xff, 1, part_id},        {0x33, 0xff, 2, nothing},
	{0x8f, 0xbf, 3, relative_seek},
};

static const struct fdc_operation *find_operation(uint8_t first)
{
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++)
		if ((first & operations[i].mask) == operations[i].code)
			return &operations[i];
	return NULL;
}

void fdc_command_byte(struct fdc *fdc, uint8_t value)
{
	const struct fdc_operation *operation;

	if (fdc->phase != FDC_COMMAND)
		return;
	fdc->fifo[fdc->fifo_at++] = value;
	operation = find_operation(fdc->fifo[0]);
	if (!operation)
		one_result(fdc, ST0_INVALID);
	else if (fdc->fifo_at >= operation->bytes)
		operation->run(fdc);
}

uint8_t fdc_result_byte(struct fdc *fdc)
{
	uint8_t value;

	if (fdc->phase != FDC_RESULT)
		return 0;
	value = fdc->fifo[fdc->fifo_at++];
	if (fdc->fifo_at >= fdc->fifo_bytes)
		fdc_to_command(fdc);
	/* The result of a data command is read: its interrupt is served. */
	fdc_lower(fdc);
	return value;
}

bool fdc_command_is_open(const struct fdc *fdc)
{
	const struct fdc_operation *operation = find_operation(fdc->fifo[0]);

	return operation && fdc->fifo_at < operation->bytes;
}
