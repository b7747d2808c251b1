/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PIIX3 IDE end to end: task file, PIO, bus master, ATAPI, resets, errors, save and restore; a real file behind it. */
#include "base/loop.h"
#include "base/util.h"
#include "core/clock.h"
#include "core/state.h"
#include "device/storage/ata.h"
#include "device/storage/storage.h"
#include "device/storage/test_disks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { DISK_BYTES = 8 << 20, CD_BYTES = 1 << 20, FUNCTION = 1 << 3 | 1, READY = ATA_DRDY | ATA_SEEK };
enum { DATA = 0x1f0, FEATURE, COUNT, LOW, MID, HIGH, DEVICE, COMMAND, CONTROL = 0x3f6 };

struct fixture {
	struct test_disks *t;
	struct device *controller, *disk, *cd;
	uint16_t bm;
};

static struct fixture *make(const char *options)
{
	static const uint64_t bytes[TEST_DISKS] = {DISK_BYTES, CD_BYTES, CD_BYTES / 2};
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->t = test_disks_new(bytes);
	f->controller = test_disks_add(f->t, &piix3_ide_class, -1, "");
	f->disk = test_disks_add(f->t, &ide_hd_class, 0, options);
	f->cd = test_disks_add(f->t, &ide_cd_class, 1, "bus=ide.0,unit=1");
	f->bm = (uint16_t)test_bar_assign(f->t->machine, FUNCTION, 4);
	test_config_write(f->t->machine, FUNCTION, 4, 5, 2);
	return f;
}

static int set_up(void **state)
{
	*state = make("bus=ide.0,unit=0,serial=S1");
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	test_disks_free(f->t);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint8_t command, uint64_t lba, unsigned count, bool lba48)
{
	struct test_disks *t = f->t;

	port_out(t, DEVICE, lba48 ? 0x40 : 0x40 | (lba >> 24 & 15), 1);
	if (lba48) {
		port_out(t, COUNT, count >> 8, 1);
		port_out(t, LOW, lba >> 24 & 255, 1);
		port_out(t, MID, lba >> 32 & 255, 1);
		port_out(t, HIGH, lba >> 40 & 255, 1);
	}
	port_out(t, COUNT, count & 255, 1);
	port_out(t, LOW, lba & 255, 1);
	port_out(t, MID, lba >> 8 & 255, 1);
	port_out(t, HIGH, lba >> 16 & 255, 1);
	port_out(t, COMMAND, command, 1);
}

static void take(struct fixture *f, void *to, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i += 2) {
		uint16_t word = (uint16_t)port_in(f->t, DATA, 2);

		memcpy((uint8_t *)to + i, &word, 2);
	}
}

static void give(struct fixture *f, const uint8_t *from, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i += 4)
		port_out(f->t, DATA, load_le32(from + i), 4);
}

static bool line(struct fixture *f)
{
	return f->t->machine->isa_level[14];
}

static void identify(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512];

	start(f, 0xec, 0, 0, false);
	assert_true(line(f));
	assert_int_equal(port_in(f->t, COMMAND, 1), READY | ATA_DRQ);
	assert_false(line(f));
	take(f, data, 512);
	assert_int_equal(port_in(f->t, COMMAND, 1), READY);
	assert_memory_equal(data + 20, "1S                  ", 20);
	assert_memory_equal(data + 54, "EQUMH RADDSI K", 14);
	assert_int_equal(load_le32(data + 120), DISK_BYTES / 512);
	assert_int_equal(load_le64(data + 200), DISK_BYTES / 512);
	assert_int_equal(load_le16(data + 2), DISK_BYTES / 512 / (16 * 63));
	/* The other drive is one for packets: this command shows its signature. */
	port_out(f->t, DEVICE, 0x50, 1);
	port_out(f->t, COMMAND, 0xec, 1);
	assert_int_equal(port_in(f->t, COMMAND, 1), ATA_DRDY | ATA_ERR);
	assert_int_equal(port_in(f->t, FEATURE, 1), ATA_ABRT);
	assert_int_equal(port_in(f->t, MID, 1) | port_in(f->t, HIGH, 1) << 8, 0xeb14);
}

static void pio(void **state)
{
	struct fixture *f = *state;
	uint8_t out[1024], in[1024];

	start(f, 0x20, 5, 2, false);
	for (unsigned i = 0; i < 2; i++) {
		port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, ATA_DRQ);
		assert_true(line(f));
		port_in(f->t, COMMAND, 1);
		take(f, in, 512);
		assert_int_equal(load_le32(in), 5 + i);
	}
	assert_int_equal(port_in(f->t, CONTROL, 1), READY);
	assert_false(line(f));
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7);
	start(f, 0x34, 0x1234, 2, true);
	assert_false(line(f)); /* the first block needs no interrupt */
	give(f, out, 512);
	assert_true(line(f));
	give(f, out + 512, 512);
	port_wait(f->t, CONTROL, ATA_BSY, 0);
	assert_int_equal(port_in(f->t, COMMAND, 1), READY);
	assert_int_equal(pread(f->t->fds[0], in, sizeof(in), 0x1234 * 512), (int)sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	/* Cylinder 1, head 2, sector 3 of 16 heads and 63 sectors. */
	port_out(f->t, DEVICE, 0x02, 1);
	port_out(f->t, COUNT, 1, 1);
	port_out(f->t, LOW, 3, 1);
	port_out(f->t, MID, 1, 1);
	port_out(f->t, HIGH, 0, 1);
	port_out(f->t, COMMAND, 0x20, 1);
	port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, ATA_DRQ);
	take(f, in, 512);
	assert_int_equal(load_le32(in), (1 * 16 + 2) * 63 + 2);
}

/* What REP INS and OUTS do: never beyond the block that is there. */
static void pio_in_runs(void **state)
{
	struct fixture *f = *state;
	struct bus *io = f->t->machine->env.io;
	uint8_t out[1024], in[1024] = {0};

	assert_int_equal(bus_read_run(io, DATA, in, 2, 256), 0);
	start(f, 0x20, 5, 2, false);
	port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, ATA_DRQ);
	port_in(f->t, COMMAND, 1);
	assert_int_equal(bus_read_run(io, FEATURE, in, 1, 1), 0);
	assert_int_equal(bus_write_run(io, DATA, in, 2, 256), 0); /* it does not want data */
	assert_int_equal(bus_read_run(io, DATA, in, 2, 100), 100);
	assert_int_equal(bus_read_run(io, DATA, in + 200, 4, 256), 78);
	assert_true(line(f));
	assert_int_equal(bus_read_run(io, DATA, in + 512, 4, 256), 128);
	assert_int_equal(bus_read_run(io, DATA, in, 4, 256), 0);
	assert_int_equal(port_in(f->t, COMMAND, 1), READY);
	assert_int_equal(load_le32(in), 5);
	assert_int_equal(load_le32(in + 512), 6);
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7);
	start(f, 0x30, 0x1234, 2, true);
	assert_int_equal(bus_write_run(io, DATA, out, 2, 512), 256);
	assert_true(line(f));
	assert_int_equal(bus_write_run(io, DATA, out + 512, 4, 512), 128);
	assert_int_equal(bus_write_run(io, DATA, out, 4, 512), 0);
	port_wait(f->t, CONTROL, ATA_BSY, 0);
	assert_int_equal(pread(f->t->fds[0], in, sizeof(in), 0x1234 * 512), (int)sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
}

static void multiple(void **state)
{
	struct fixture *f = *state;
	uint8_t in[512];
	unsigned interrupts;

	start(f, 0xc6, 0, 4, false);
	assert_int_equal(port_in(f->t, COMMAND, 1), READY);
	interrupts = f->t->machine->isa_edges[14];
	start(f, 0xc4, 100, 10, false);
	for (unsigned i = 0; i < 10; i++) {
		port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, ATA_DRQ);
		if (i % 4 == 0)
			port_in(f->t, COMMAND, 1);
		take(f, in, 512);
		assert_int_equal(load_le32(in), 100 + i);
	}
	assert_int_equal(f->t->machine->isa_edges[14] - interrupts, 3);
	start(f, 0xc6, 0, 5, false);
	assert_int_equal(port_in(f->t, COMMAND, 1) & ATA_ERR, ATA_ERR);
}

static void out_of_range(void **state)
{
	struct fixture *f = *state;

	start(f, 0x20, DISK_BYTES / 512 - 1, 2, false);
	assert_int_equal(port_in(f->t, COMMAND, 1), ATA_DRDY | ATA_ERR);
	assert_int_equal(port_in(f->t, FEATURE, 1), ATA_ABRT | ATA_IDNF);
	start(f, 0x25, 1ull << 40, 1, true);
	assert_int_equal(port_in(f->t, COMMAND, 1), ATA_DRDY | ATA_ERR);
	start(f, 0xf8, 0, 0, false);
	assert_int_equal(port_in(f->t, LOW, 1) | port_in(f->t, MID, 1) << 8, DISK_BYTES / 512 - 1);
	start(f, 0xff, 0, 0, false);
	assert_int_equal(port_in(f->t, FEATURE, 1), ATA_ABRT);
}

static void table(struct fixture *f, const uint32_t (*regions)[2], unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t entry[2] = {regions[i][0], regions[i][1] | (i + 1 == count ? 1u << 31 : 0)};

		memory_put(f->t, 0x1000 + 8 * i, entry, sizeof(entry));
	}
	port_out(f->t, f->bm + 4, 0x1000, 4);
	port_out(f->t, f->bm + 2, 6, 1);
}

static void dma(void **state)
{
	/* Regions that cut sectors in two. */
	static const uint32_t regions[][2] = {{0x20000, 300}, {0x30000, 212 + 512}, {0x40002, 512 * 6}};
	struct fixture *f = *state;
	uint8_t in[4096];

	table(f, regions, 3);
	start(f, 0xc8, 40, 8, false);
	assert_int_equal(port_in(f->t, CONTROL, 1) & ATA_BSY, 0);
	port_out(f->t, f->bm, 9, 1);
	port_wait(f->t, f->bm + 2, 5, 4);
	assert_true(line(f));
	assert_int_equal(port_in(f->t, COMMAND, 1), READY);
	port_out(f->t, f->bm, 8, 1);
	assert_int_equal(memory_word(f->t, 0x20000), 40);
	assert_int_equal(memory_word(f->t, 0x30000 + 212), 41);
	assert_int_equal(memory_word(f->t, 0x40002 + 5 * 512), 47);
	/* And back to another place, with the bus master started before the command. */
	table(f, regions, 3);
	port_out(f->t, f->bm, 1, 1);
	start(f, 0x35, 1000, 8, true);
	port_wait(f->t, f->bm + 2, 5, 4);
	assert_int_equal(pread(f->t->fds[0], in, sizeof(in), 1000 * 512), (int)sizeof(in));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(load_le32(in + 512 * i), 40 + i);
}

static void dma_goes_wrong(void **state)
{
	static const uint32_t small[][2] = {{0x20000, 512}}, nowhere[][2] = {{0x20000, 512}, {0x90000000, 512}};
	static const uint32_t large[][2] = {{0x20000, 4096}};
	struct fixture *f = *state;

	table(f, small, 1);
	start(f, 0xc8, 0, 2, false);
	port_out(f->t, f->bm, 9, 1);
	port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, 0);
	assert_int_equal(port_in(f->t, COMMAND, 1) & ATA_ERR, ATA_ERR);
	port_out(f->t, f->bm, 0, 1);
	table(f, nowhere, 2);
	start(f, 0xc8, 0, 2, false);
	port_out(f->t, f->bm, 9, 1);
	port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, 0);
	assert_int_equal(port_in(f->t, COMMAND, 1) & ATA_ERR, ATA_ERR);
	assert_int_equal(port_in(f->t, f->bm + 2, 1) & 2, 2);
	port_out(f->t, f->bm, 0, 1);
	/* A table with more than the drive has leaves the channel active. */
	table(f, large, 1);
	start(f, 0xc8, 3, 1, false);
	port_out(f->t, f->bm, 9, 1);
	port_wait(f->t, f->bm + 2, 4, 4);
	assert_int_equal(port_in(f->t, f->bm + 2, 1) & 1, 1);
	port_out(f->t, f->bm, 0, 1);
	assert_int_equal(port_in(f->t, f->bm + 2, 1) & 1, 0);
}

static void resets(void **state)
{
	static const uint32_t region[][2] = {{0x20000, 512}};
	struct fixture *f = *state;

	table(f, region, 1);
	start(f, 0xc8, 0, 1, false);
	port_out(f->t, f->bm, 9, 1);
	/* The disk still has the request: the drive is busy until it is back. */
	port_out(f->t, CONTROL, ATA_SRST, 1);
	assert_int_equal(port_in(f->t, CONTROL, 1) & ATA_BSY, ATA_BSY);
	port_out(f->t, CONTROL, 0, 1);
	port_wait(f->t, CONTROL, 0xff, READY);
	assert_int_equal(port_in(f->t, COUNT, 1), 1);
	assert_int_equal(port_in(f->t, MID, 1), 0);
	port_out(f->t, DEVICE, 0x10, 1);
	assert_int_equal(port_in(f->t, MID, 1), 0x14);
	/* nIEN holds the line. */
	port_out(f->t, DEVICE, 0, 1);
	port_out(f->t, CONTROL, ATA_NIEN, 1);
	start(f, 0xec, 0, 0, false);
	assert_false(line(f));
	port_out(f->t, CONTROL, 0, 1);
	assert_true(line(f));
	device_reset(f->controller);
	assert_false(line(f));
	assert_int_equal(port_in(f->t, CONTROL, 1), READY);
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;
	struct state_buffer drive = {0}, channel = {0};
	struct error err = {0};
	uint8_t in[512];

	start(f, 0x20, 10, 4, false);
	port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, ATA_DRQ);
	take(f, in, 100);
	state_save(f->controller->class->state, f->controller, &channel);
	state_save(f->disk->class->state, f->disk, &drive);
	device_reset(f->controller);
	assert_true(state_load(f->controller->class->state, f->controller, channel.data, channel.length, &err) > 0);
	assert_true(state_load(f->disk->class->state, f->disk, drive.data, drive.length, &err) > 0);
	take(f, in + 100, 412);
	assert_int_equal(load_le32(in), 10);
	port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, ATA_DRQ);
	take(f, in, 512);
	assert_int_equal(load_le32(in), 11);
	/* A stream in which data ends behind the buffer is refused. */
	((struct ata_drive *)f->disk)->data_end = ATA_BUFFER_BYTES + 1;
	drive.length = 0;
	state_save(f->disk->class->state, f->disk, &drive);
	assert_true(state_load(f->disk->class->state, f->disk, drive.data, drive.length, &err) < 0);
	free(drive.data);
	free(channel.data);
}

/* --- packets, to the drive in second place --- */

static uint8_t packet(struct fixture *f, const uint8_t *cdb, unsigned limit)
{
	port_out(f->t, DEVICE, 0x10, 1);
	port_out(f->t, FEATURE, 0, 1);
	port_out(f->t, MID, limit & 255, 1);
	port_out(f->t, HIGH, limit >> 8, 1);
	port_out(f->t, COMMAND, 0xa0, 1);
	assert_int_equal(port_in(f->t, COUNT, 1), ATAPI_COD);
	give(f, cdb, 12);
	port_wait(f->t, CONTROL, ATA_BSY, 0);
	return (uint8_t)port_in(f->t, COMMAND, 1);
}

/* The sense key of the last command, its code in *code. */
static unsigned sense(struct fixture *f, unsigned *code)
{
	static const uint8_t cdb[12] = {0x03, 0, 0, 0, 18};
	uint8_t data[18];

	assert_int_equal(packet(f, cdb, 0xffff) & ATA_DRQ, ATA_DRQ);
	take(f, data, 18);
	*code = load_be16(data + 12);
	return data[2];
}

static void packets(void **state)
{
	static const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36}, ready[12] = {0},
			     read[12] = {0x28, 0, 0, 0, 0, 7, 0, 0, 2};
	static const uint8_t beyond[12] = {0x28, 0, 0, 0, 2, 0, 0, 0, 1}, unknown[12] = {0xfe};
	struct fixture *f = *state;
	uint8_t data[4096];
	unsigned code;

	/* After power-on the first command is told of it. */
	assert_int_equal(packet(f, inquiry, 0xffff) & ATA_DRQ, ATA_DRQ);
	assert_int_equal(port_in(f->t, COUNT, 1), ATAPI_IO);
	assert_int_equal(port_in(f->t, MID, 1) | port_in(f->t, HIGH, 1) << 8, 36);
	take(f, data, 36);
	assert_int_equal(port_in(f->t, COUNT, 1), ATAPI_COD | ATAPI_IO);
	assert_memory_equal(data + 8, "QEMU    QEMU DVD-ROM    2.5+", 28);
	packet(f, ready, 0);
	assert_int_equal(packet(f, ready, 0) & ATA_ERR, 0);
	/* Two blocks of 2048 bytes in pieces of at most 1000. */
	assert_int_equal(packet(f, read, 1000) & ATA_DRQ, ATA_DRQ);
	for (unsigned at = 0; at < 4096;) {
		unsigned piece;

		port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, ATA_DRQ);
		piece = port_in(f->t, MID, 1) | port_in(f->t, HIGH, 1) << 8;
		assert_int_equal(piece, min_u64(1000, 4096 - at));
		take(f, data + at, piece);
		at += piece;
	}
	port_wait(f->t, CONTROL, ATA_BSY | ATA_DRQ, 0);
	assert_int_equal(load_le32(data), 28);
	assert_int_equal(load_le32(data + 2048), 32);
	assert_int_equal(packet(f, beyond, 0xffff) & ATA_ERR, ATA_ERR);
	assert_int_equal(port_in(f->t, FEATURE, 1) >> 4, SCSI_ILLEGAL_REQUEST);
	assert_int_equal(sense(f, &code), SCSI_ILLEGAL_REQUEST);
	assert_int_equal(code, 0x2100);
	packet(f, unknown, 0xffff);
	assert_int_equal(sense(f, &code), SCSI_ILLEGAL_REQUEST);
	assert_int_equal(code, 0x2000);
}

static void media(void **state)
{
	static const uint8_t ready[12] = {0}, prevent[12] = {0x1e, 0, 0, 0, 1}, allow[12] = {0x1e},
			     eject[12] = {0x1b, 0, 0, 0, 2};
	static const uint8_t load[12] = {0x1b, 0, 0, 0, 3}, capacity[12] = {0x25},
			     event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};
	const struct device_medium_ops *ops = ide_cd_class.medium;
	struct fixture *f = *state;
	struct device_medium medium;
	uint8_t data[8];
	unsigned code;

	packet(f, ready, 0);
	packet(f, prevent, 0);
	ops->get(f->cd, &medium);
	assert_true(medium.locked && !medium.tray_open && medium.block == f->t->blocks[1]);
	packet(f, eject, 0);
	sense(f, &code);
	assert_int_equal(code, 0x5302);
	packet(f, allow, 0);
	assert_int_equal(packet(f, eject, 0) & ATA_ERR, 0);
	ops->get(f->cd, &medium);
	assert_true(medium.tray_open);
	assert_true(ops->moved(f->cd));
	assert_false(ops->moved(f->cd));
	assert_int_equal(f->t->machine->requests[MACHINE_TRAY_MOVED], 1);
	packet(f, ready, 0);
	assert_int_equal(sense(f, &code), SCSI_NOT_READY);
	assert_int_equal(code, 0x3a02);
	/* Another disc, and the guest closes the tray: it hears of it, by attention and by event. */
	assert_int_equal(ops->set(f->cd, f->t->blocks[2], NULL), 0);
	assert_int_equal(packet(f, load, 0) & ATA_ERR, 0);
	packet(f, event, 0xffff);
	take(f, data, 8);
	assert_int_equal(data[4], 2); /* new medium */
	assert_int_equal(data[5], 2);
	packet(f, ready, 0);
	assert_int_equal(sense(f, &code), SCSI_UNIT_ATTENTION);
	assert_int_equal(code, 0x2800);
	packet(f, capacity, 0xffff);
	take(f, data, 8);
	assert_int_equal(load_be32(data), CD_BYTES / 2 / 2048 - 1);
	assert_int_equal(ops->set(f->cd, NULL, NULL), 0);
	packet(f, ready, 0);
	packet(f, ready, 0);
	assert_int_equal(sense(f, &code), SCSI_NOT_READY);
	assert_int_equal(code, 0x3a01);
}

/* --- errors of the host --- */

static int fail_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	return -EIO;
}

static int fail_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	return -ENOSPC;
}

static void errors(void **state)
{
	struct fixture *f = *state;
	const struct block_driver *good = f->t->blocks[0]->driver;
	struct block_driver bad = *good;
	uint8_t data[512] = {0x55};

	bad.submit = NULL;
	bad.map = NULL;
	bad.pread = fail_pread;
	bad.pwrite = fail_pwrite;
	f->t->blocks[0]->driver = &bad;
	start(f, 0x20, 77, 1, false);
	port_wait(f->t, CONTROL, ATA_BSY, 0);
	assert_int_equal(port_in(f->t, COMMAND, 1), ATA_DRDY | ATA_ERR);
	assert_int_equal(port_in(f->t, FEATURE, 1), ATA_UNC);
	assert_int_equal(port_in(f->t, LOW, 1), 77);
	/* A full disk stops the machine; the write is tried again when it goes on. */
	start(f, 0x30, 9, 1, false);
	give(f, data, 512);
	for (unsigned i = 0; i < 1000 && !f->t->machine->requests[MACHINE_IO_ERROR]; i++)
		loop_poll(f->t->machine->env.loop, NS_PER_MS);
	assert_int_equal(f->t->machine->requests[MACHINE_IO_ERROR], 1);
	clock_stop(f->t->machine->env.clock);
	for (unsigned i = 0; i < 20; i++)
		loop_poll(f->t->machine->env.loop, 10 * NS_PER_MS);
	assert_int_equal(port_in(f->t, CONTROL, 1) & ATA_BSY, ATA_BSY);
	f->t->blocks[0]->driver = good;
	clock_start(f->t->machine->env.clock);
	port_wait(f->t, CONTROL, 0xff, READY);
	assert_int_equal(pread(f->t->fds[0], data, 512, 9 * 512), 512);
	assert_int_equal(data[0], 0x55);
	/* A reset forgets a request that waits. */
	f->t->blocks[0]->driver = &bad;
	start(f, 0x30, 9, 1, false);
	give(f, data, 512);
	for (unsigned i = 0; i < 1000 && f->t->machine->requests[MACHINE_IO_ERROR] < 2; i++)
		loop_poll(f->t->machine->env.loop, NS_PER_MS);
	port_out(f->t, CONTROL, ATA_SRST, 1);
	port_out(f->t, CONTROL, 0, 1);
	port_wait(f->t, CONTROL, 0xff, READY);
	f->t->blocks[0]->driver = good;
}

static void geometry(void **state)
{
	static const uint64_t bytes[TEST_DISKS] = {64 << 20};
	struct test_disks *t = test_disks_new(bytes);
	uint8_t sector[512] = {0};
	struct ata_geometry found;

	/* A partition that ends at head 7, sector 32: made by a BIOS that saw 8 heads. */
	sector[446 + 5] = 7;
	sector[446 + 6] = 32;
	sector[446 + 12] = 1;
	store_le16(sector + 510, 0xaa55);
	assert_int_equal(pwrite(t->fds[0], sector, 512, 0), 512);
	test_disks_add(t, &piix3_ide_class, -1, "");
	test_disks_add(t, &ide_hd_class, 0, "");
	assert_true(ata_geometry_at(t->machine->env.ata_ports, 0, &found));
	assert_int_equal(found.heads, 8);
	assert_int_equal(found.sectors, 32);
	assert_int_equal(found.cylinders, 512);
	assert_int_equal(found.translation, 0);
	assert_false(ata_geometry_at(t->machine->env.ata_ports, 1, &found));
	test_disks_free(t);
}

static void places(void **state)
{
	static const uint64_t bytes[TEST_DISKS] = {1 << 20};
	static const struct {
		const char *options, *message;
	} lines[] = {
		{"drive=d,bus=ide.9", "Bus 'ide.9' not found"},
		{"drive=d,bus=ide.0,unit=2", "bus supports only 2 units"},
		{"drive=d,bus=ide.0,unit=0", "IDE unit 0 is in use"},
		{"drive=d,serial=123456789012345678901", "longer than 20"},
		{"drive=d,heads=17,cyls=1,secs=1", "heads must be between 1 and 16"},
		{"drive=d,werror=maybe", "not one of report"},
		{"drive=d,bios-chs-trans=x", "not one of auto"},
	};
	struct test_disks *t = test_disks_new(bytes);

	test_disks_add(t, &piix3_ide_class, -1, "");
	test_disks_add(t, &ide_hd_class, 0, "bus=ide.0");
	t->machine->backend = t->blocks[0];
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		struct error err = {0};

		assert_null(test_device(t->machine, &ide_hd_class, lines[i].options, &err));
		assert_non_null(strstr(err.msg, lines[i].message));
	}
	test_disks_free(t);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identify),
		TEST(pio),
		TEST(pio_in_runs),
		TEST(multiple),
		TEST(out_of_range),
		TEST(dma),
		TEST(dma_goes_wrong),
		TEST(resets),
		TEST(packets),
		TEST(media),
		TEST(errors),
		TEST(save_and_load),
		cmocka_unit_test(geometry),
		cmocka_unit_test(places),
	};

	return cmocka_run_group_tests_name("ide", tests, NULL, NULL);
}
