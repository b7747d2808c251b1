/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A parallel NOR flash chip, 8 bits wide, with Intel's command set (Intel 28F128J3 data sheet 290667, chapter 4; JEDEC
 * JESD68.01 for the CFI query): firmware's code and its variables. Sectors of 4 KiB, as qemu's PCs have them.
 *
 * While the array is read the chip is a window of guest memory, as fast as a ROM; the first write of a command closes
 * it until the chip shows the array again. What is programmed or erased is written to the image at once. Programming
 * only clears bits. As in qemu, and other than in the data sheet, clearing the status register clears "ready" too, by
 * which OVMF tells this chip from RAM. Left out: suspending, block lock bits (accepted), protection registers, the
 * write buffer's limit to one 32-byte block.
 */
#include "device/pc/cfi_flash.h"

#include "backend/block/block.h"
#include "base/util.h"
#include "core/bus.h"
#include "core/ram.h"
#include "core/state.h"

#include <pthread.h>
#include <stdio.h>

enum {
	CMD_PROGRAM = 0x10,
	CMD_ERASE = 0x20,
	CMD_PROGRAM_ALTERNATE = 0x40,
	CMD_CLEAR_STATUS = 0x50,
	CMD_LOCK = 0x60,
	CMD_READ_STATUS = 0x70,
	CMD_READ_ID = 0x90,
	CMD_QUERY = 0x98,
	CMD_CONFIRM = 0xd0,
	CMD_WRITE_BUFFER = 0xe8,
	CMD_READ_ARRAY = 0xff,
};
enum { STATUS_PROGRAM_FAILED = 1 << 4, STATUS_ERASE_FAILED = 1 << 5, STATUS_READY = 1 << 7 };
enum { MAKER_INTEL = 0x89, DEVICE_128J3 = 0x18 };
enum { BUFFER_BYTES = 256 };

/* What reads show. */
enum show { SHOW_ARRAY, SHOW_STATUS, SHOW_ID, SHOW_QUERY, SHOWS };

/* What the next write is. */
enum expect {
	EXPECT_COMMAND,
	EXPECT_DATA,
	EXPECT_ERASE,
	EXPECT_LOCK,
	EXPECT_COUNT,
	EXPECT_BUFFER,
	EXPECT_CONFIRM,
	EXPECTS
};

struct cfi_flash {
	struct device device;
	struct block *drive;
	pthread_mutex_t lock; /* all below; outer to the layout's */
	uint64_t base, size;
	struct ram_block *block;
	struct ram_window window;
	struct region region;
	uint8_t show, expect, status;
	uint16_t buffer_left, buffer_used; /* bytes of a buffered write */
	uint32_t buffer_at[BUFFER_BYTES];  /* offsets */
	uint8_t buffer[BUFFER_BYTES];
	struct log_limit limit;
};

/* --- the array --- */

/* False: the chip is read-only, or the image could not be written. */
static bool store(struct cfi_flash *flash, uint64_t offset, uint64_t length)
{
	int rc = flash->drive->read_only ? -EROFS
					 : block_pwrite(flash->drive, offset, flash->block->hva + offset, length, 0);

	ram_block_written(flash->block, offset, length);
	if (rc < 0 && rc != -EROFS)
		log_guest(flash->device.env->log, &flash->limit, "%s: image not written: %s", flash->block->name,
			  strerror(-rc));
	return rc >= 0;
}

static void program(struct cfi_flash *flash, uint64_t offset, uint8_t value)
{
	flash->status |= STATUS_READY;
	if (flash->drive->read_only) {
		flash->status |= STATUS_PROGRAM_FAILED;
		return;
	}
	flash->block->hva[offset] &= value;
	if (!store(flash, offset, 1))
		flash->status |= STATUS_PROGRAM_FAILED;
}

static void erase(struct cfi_flash *flash, uint64_t offset)
{
	flash->status |= STATUS_READY;
	offset = align_down(offset, CFI_FLASH_SECTOR_BYTES);
	if (flash->drive->read_only) {
		flash->status |= STATUS_ERASE_FAILED;
		return;
	}
	memset(flash->block->hva + offset, 0xff, CFI_FLASH_SECTOR_BYTES);
	if (!store(flash, offset, CFI_FLASH_SECTOR_BYTES))
		flash->status |= STATUS_ERASE_FAILED;
}

/* --- what reads show --- */

/* JESD68.01: offset in bytes, as the chip is 8 bits wide. */
static uint8_t query(const struct cfi_flash *flash, uint64_t offset)
{
	const uint32_t sectors = (uint32_t)(flash->size / CFI_FLASH_SECTOR_BYTES) - 1;
	const uint8_t answer[] = {
		'Q',
		'R',
		'Y',
		0x01,
		0x00,
		0x31,
		0x00,
		0x00,
		0x00,
		0x00,
		0x00, /* Intel extended; its table at 0x31 */
		0x45,
		0x55,
		0x00,
		0x00, /* supply 4.5-5.5 V, no VPP */
		0x07,
		0x07,
		0x0a,
		0x00,
		0x04,
		0x04,
		0x04,
		0x00, /* usual and longest times, powers of two */
		(uint8_t)(63 - __builtin_clzll(flash->size | 1)),
		0x00,
		0x00, /* size; 8 bits */
		0x08,
		0x00, /* buffer of 2^8 bytes */
		0x01, /* one region of sectors */
		(uint8_t)sectors,
		(uint8_t)(sectors >> 8),
		CFI_FLASH_SECTOR_BYTES / 256,
		0x00,
		'P',
		'R',
		'I',
		'1',
		'0',
	};

	return offset >= 0x10 && offset - 0x10 < sizeof(answer) ? answer[offset - 0x10] : 0;
}

static uint8_t read_byte(const struct cfi_flash *flash, uint64_t offset)
{
	switch (flash->show) {
	case SHOW_STATUS:
		return flash->status;
	case SHOW_ID:
		return (offset & 0xff) == 0 ? MAKER_INTEL : (offset & 0xff) == 1 ? DEVICE_128J3 : 0;
	case SHOW_QUERY:
		return query(flash, offset & (CFI_FLASH_SECTOR_BYTES - 1));
	default:
		return flash->block->hva[offset];
	}
}

static void show(struct cfi_flash *flash, enum show what)
{
	flash->show = what;
	flash->expect = EXPECT_COMMAND;
	if (what == SHOW_ARRAY)
		ram_window_show(&flash->window, flash->base, true);
	else
		ram_window_hide(&flash->window);
}

static void expect(struct cfi_flash *flash, enum expect what)
{
	show(flash, SHOW_STATUS);
	flash->expect = what;
}

/* --- commands --- */

static void command(struct cfi_flash *flash, uint8_t value)
{
	switch (value) {
	case CMD_PROGRAM:
	case CMD_PROGRAM_ALTERNATE:
		expect(flash, EXPECT_DATA);
		break;
	case CMD_ERASE:
		expect(flash, EXPECT_ERASE);
		break;
	case CMD_LOCK:
		expect(flash, EXPECT_LOCK);
		break;
	case CMD_WRITE_BUFFER:
		flash->status |= STATUS_READY;
		expect(flash, EXPECT_COUNT);
		break;
	case CMD_READ_STATUS:
		show(flash, SHOW_STATUS);
		break;
	case CMD_READ_ID:
		show(flash, SHOW_ID);
		break;
	case CMD_QUERY:
		show(flash, SHOW_QUERY);
		break;
	case CMD_CLEAR_STATUS:
		flash->status = 0;
		show(flash, SHOW_ARRAY);
		break;
	default: /* CMD_READ_ARRAY, and what is unknown */
		show(flash, SHOW_ARRAY);
		break;
	}
}

static void buffer_byte(struct cfi_flash *flash, uint64_t offset, uint8_t value)
{
	flash->buffer_at[flash->buffer_used] = (uint32_t)offset;
	flash->buffer[flash->buffer_used++] = value;
	if (--flash->buffer_left == 0)
		flash->expect = EXPECT_CONFIRM;
}

static void buffer_confirm(struct cfi_flash *flash, uint8_t value)
{
	if (value == CMD_CONFIRM)
		for (unsigned i = 0; i < flash->buffer_used; i++)
			program(flash, flash->buffer_at[i], flash->buffer[i]);
	else
		flash->status |= STATUS_READY | STATUS_PROGRAM_FAILED;
	show(flash, SHOW_STATUS);
}

static void write_byte(struct cfi_flash *flash, uint64_t offset, uint8_t value)
{
	switch ((enum expect)flash->expect) {
	case EXPECT_DATA:
		program(flash, offset, value);
		flash->expect = EXPECT_COMMAND;
		break;
	case EXPECT_ERASE:
		if (value == CMD_CONFIRM)
			erase(flash, offset);
		else
			flash->status |= STATUS_READY | STATUS_ERASE_FAILED | STATUS_PROGRAM_FAILED; /* sequence */
		flash->expect = EXPECT_COMMAND;
		break;
	case EXPECT_LOCK:
		flash->status |= STATUS_READY;
		flash->expect = EXPECT_COMMAND;
		break;
	case EXPECT_COUNT:
		flash->buffer_left = (uint16_t)(value + 1);
		flash->buffer_used = 0;
		flash->expect = EXPECT_BUFFER;
		break;
	case EXPECT_BUFFER:
		buffer_byte(flash, offset, value);
		break;
	case EXPECT_CONFIRM:
		buffer_confirm(flash, value);
		break;
	default:
		command(flash, value);
		break;
	}
}

static uint64_t flash_read(void *opaque, uint64_t offset, unsigned size)
{
	struct cfi_flash *flash = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&flash->lock);
	for (unsigned i = 0; i < size && offset + i < flash->size; i++)
		value |= (uint64_t)read_byte(flash, offset + i) << 8 * i;
	pthread_mutex_unlock(&flash->lock);
	return value;
}

/* A chip of 8 bits: of a wider command only the first byte is one, data are as many as there are. */
static void flash_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct cfi_flash *flash = opaque;

	pthread_mutex_lock(&flash->lock);
	if (flash->expect == EXPECT_BUFFER || flash->expect == EXPECT_DATA) {
		bool buffered = flash->expect == EXPECT_BUFFER;

		for (unsigned i = 0; i < size && offset + i < flash->size; i++) {
			if (buffered && flash->expect != EXPECT_BUFFER)
				break;
			flash->expect = buffered ? EXPECT_BUFFER : EXPECT_DATA;
			write_byte(flash, offset + i, (uint8_t)(value >> 8 * i));
		}
	} else if (offset < flash->size) {
		write_byte(flash, offset, (uint8_t)value);
	}
	pthread_mutex_unlock(&flash->lock);
}

static const struct region_ops ops = {.read = flash_read, .write = flash_write};

/* --- life --- */

void cfi_flash_set_end(struct device *device, uint64_t end_gpa)
{
	((struct cfi_flash *)device)->base = end_gpa;
}

uint64_t cfi_flash_base(const struct device *device)
{
	return ((const struct cfi_flash *)device)->base;
}

struct ram_block *cfi_flash_block(const struct device *device)
{
	return ((const struct cfi_flash *)device)->block;
}

static int init(struct device *device, struct error *err)
{
	struct cfi_flash *flash = (struct cfi_flash *)device;
	char name[64];
	int rc;

	if (!flash->drive)
		return error_set(err, EINVAL, "flash: drive= is missing");
	flash->size = flash->drive->length;
	if (!flash->size || flash->size % CFI_FLASH_SECTOR_BYTES || flash->size > CFI_FLASH_MAX_BYTES ||
	    flash->size > flash->base)
		return error_set(err, EINVAL,
				 "flash '%s': an image of %llu bytes; it must be a multiple of 4096 up to 16 MiB",
				 flash->drive->filename ? flash->drive->filename : "", (unsigned long long)flash->size);
	flash->base -= flash->size;
	snprintf(name, sizeof(name), "%s", device->id ? device->id : "flash");
	flash->block = ram_block_new(device->env->ram, name, flash->size, err);
	if (!flash->block)
		return -ENOMEM;
	rc = block_pread(flash->drive, 0, flash->block->hva, flash->size);
	if (rc < 0)
		error_set_errno(err, -rc, "flash '%s'", flash->drive->filename ? flash->drive->filename : "");
	flash->window = (struct ram_window){.block = flash->block, .size = flash->size};
	flash->region = (struct region){
		.name = flash->block->name, .ops = &ops, .opaque = flash, .base = flash->base, .size = flash->size};
	if (rc == 0)
		rc = bus_add(device->env->memory, &flash->region, err);
	if (rc < 0) {
		ram_block_free(flash->block);
		return rc;
	}
	pthread_mutex_init(&flash->lock, NULL);
	return 0;
}

static void reset(struct device *device)
{
	struct cfi_flash *flash = (struct cfi_flash *)device;

	pthread_mutex_lock(&flash->lock);
	flash->status = STATUS_READY;
	flash->buffer_left = flash->buffer_used = 0;
	show(flash, SHOW_ARRAY);
	pthread_mutex_unlock(&flash->lock);
}

static void fini(struct device *device)
{
	struct cfi_flash *flash = (struct cfi_flash *)device;

	bus_remove(device->env->memory, &flash->region);
	ram_window_hide(&flash->window);
	ram_block_free(flash->block);
	pthread_mutex_destroy(&flash->lock);
}

static int check(const void *staged, struct error *err)
{
	const struct cfi_flash *flash = staged;

	if (flash->show >= SHOWS || flash->expect >= EXPECTS || flash->buffer_left + flash->buffer_used > BUFFER_BYTES)
		return error_set(err, EINVAL, "flash: no such mode");
	if (flash->expect == EXPECT_BUFFER ? !flash->buffer_left
					   : flash->expect != EXPECT_COMMAND && flash->show == SHOW_ARRAY)
		return error_set(err, EINVAL, "flash: no such state");
	for (unsigned i = 0; i < BUFFER_BYTES; i++)
		if (flash->buffer_at[i] >= flash->size)
			return error_set(err, EINVAL, "flash: buffered data outside of the chip");
	return 0;
}

static void after_load(void *object)
{
	struct cfi_flash *flash = object;
	uint8_t expects = flash->expect;

	show(flash, flash->show);
	flash->expect = expects;
}

static const struct state_field fields[] = {
	STATE_FIELD(STATE_U8, struct cfi_flash, show),
	STATE_FIELD(STATE_U8, struct cfi_flash, expect),
	STATE_FIELD(STATE_U8, struct cfi_flash, status),
	STATE_FIELD(STATE_U16, struct cfi_flash, buffer_left),
	STATE_FIELD(STATE_U16, struct cfi_flash, buffer_used),
	STATE_FIELD_N(STATE_U32, struct cfi_flash, buffer_at, BUFFER_BYTES),
	STATE_FIELD_N(STATE_U8, struct cfi_flash, buffer, BUFFER_BYTES),
	STATE_END,
};
static const struct state_table state = {
	.name = "cfi.pflash01",
	.version = 1,
	.size = sizeof(struct cfi_flash),
	.fields = fields,
	.check = check,
	.after_load = after_load,
};

static const struct property properties[] = {
	{.name = "drive", .type = PROPERTY_BLOCK, .offset = offsetof(struct cfi_flash, drive), .help = "the image"},
	{.name = NULL},
};

const struct device_class cfi_flash_class = {
	.name = "cfi.pflash01",
	.help = "flash chip with Intel's command set",
	.bus = DEVICE_SYSTEM,
	.internal = true,
	.size = sizeof(struct cfi_flash),
	.properties = properties,
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};
