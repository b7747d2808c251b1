/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pair of 8237A DMA controllers of a PC (Intel 231466) with the page registers of the AT: channels 0 to 3 move
 * bytes, 5 to 7 words, 4 is the cascade. Devices ask for transfers (core/isa_dma.h), which happen at once. Left out:
 * memory to memory, priorities, the 16 MiB and more of EISA's high page registers.
 */
#include "device/pc/i8237.h"

#include "base/util.h"
#include "core/ram.h"
#include "device/pc/isa.h"

#include <pthread.h>

enum { CHANNELS = 8, REGIONS = 3 };
enum {
	REG_STATUS = 8,
	REG_REQUEST = 9,
	REG_MASK = 10,
	REG_MODE = 11,
	REG_CLEAR_FLIPFLOP = 12,
	REG_CLEAR = 13,
	REG_CLEAR_MASK = 14,
	REG_MASKS = 15
};
enum { COMMAND_OFF = 1 << 2 };
enum { MODE_TO_MEMORY = 1 << 2, MODE_FROM_MEMORY = 1 << 3, MODE_AUTO = 1 << 4, MODE_DOWN = 1 << 5 };

struct channel {
	uint16_t base_address, base_count, address, count;
	uint8_t mode, page;
	bool masked;
};

struct chip {
	uint8_t command, status;
	bool high; /* flip-flop: the next byte is the high one */
};

struct i8237 {
	struct device device;
	struct isa_dma dma;
	struct region regions[REGIONS];
	pthread_mutex_t lock;
	struct channel channels[CHANNELS];
	struct chip chips[2];
	uint8_t pages[16];
	void (*ready[CHANNELS])(void *client);
	void *clients[CHANNELS];
};

/* Which channel a page register 0x80 + index belongs to; -1: none, it only holds a byte. */
static const int8_t page_channel[16] = {-1, 2, 3, 1, -1, -1, -1, 0, -1, 6, 7, 5, -1, -1, -1, 4};

/* --- transfers --- */

static uint64_t memory_gpa(const struct channel *channel, bool words)
{
	return words ? (uint64_t)(channel->page & 0xfe) << 16 | (uint64_t)channel->address << 1
		     : (uint64_t)channel->page << 16 | channel->address;
}

static void end_of_count(struct i8237 *dma, unsigned number)
{
	struct channel *channel = &dma->channels[number];

	dma->chips[number / 4].status |= (uint8_t)(1 << number % 4);
	if (channel->mode & MODE_AUTO) {
		channel->address = channel->base_address;
		channel->count = channel->base_count;
	} else {
		channel->masked = true;
	}
}

/* Up to where the address wraps inside its page; one unit at a time where it counts down. */
static size_t move_run(struct i8237 *dma, struct channel *channel, bool words, uint8_t *buffer, size_t units)
{
	const unsigned shift = words;
	struct ram *ram = dma->device.env->ram;
	size_t run = channel->mode & MODE_DOWN ? 1 : min_u64(units, 0x10000 - channel->address);

	if (channel->mode & MODE_TO_MEMORY)
		ram_write(ram, memory_gpa(channel, words), buffer, run << shift);
	else if (channel->mode & MODE_FROM_MEMORY &&
		 ram_read(ram, memory_gpa(channel, words), buffer, run << shift) < 0)
		memset(buffer, 0xff, run << shift);
	channel->address = (uint16_t)(channel->mode & MODE_DOWN ? channel->address - run : channel->address + run);
	return run;
}

static size_t transfer(void *opaque, unsigned number, void *buffer, size_t bytes, bool to_memory, bool *terminal)
{
	struct i8237 *dma = opaque;
	struct channel *channel = &dma->channels[number];
	bool words = number >= 4;
	size_t units, done = 0;

	*terminal = false;
	pthread_mutex_lock(&dma->lock);
	if (channel->masked || dma->chips[number / 4].command & COMMAND_OFF) {
		pthread_mutex_unlock(&dma->lock);
		return 0;
	}
	units = min_u64(bytes >> words, channel->count + 1ull);
	while (done < units)
		done += move_run(dma, channel, words, (uint8_t *)buffer + (done << words), units - done);
	*terminal = done == channel->count + 1ull;
	channel->count = (uint16_t)(channel->count - done);
	if (*terminal)
		end_of_count(dma, number);
	pthread_mutex_unlock(&dma->lock);
	return done << words;
}

static void watch(void *opaque, unsigned number, void (*ready)(void *client), void *client)
{
	struct i8237 *dma = opaque;

	pthread_mutex_lock(&dma->lock);
	dma->ready[number] = ready;
	dma->clients[number] = client;
	pthread_mutex_unlock(&dma->lock);
}

/* --- registers --- */

static uint8_t flip(struct chip *chip, uint16_t value)
{
	bool high = chip->high;

	chip->high = !high;
	return (uint8_t)(high ? value >> 8 : value);
}

static void set_half(bool high, uint16_t *reg, uint8_t value)
{
	*reg = (uint16_t)(high ? (*reg & 0x00ff) | value << 8 : (*reg & 0xff00) | value);
}

static void clear(struct i8237 *dma, unsigned chip)
{
	dma->chips[chip] = (struct chip){0};
	for (unsigned i = 0; i < 4; i++)
		dma->channels[4 * chip + i].masked = true;
}

static uint8_t register_read(struct i8237 *dma, unsigned chip, unsigned reg)
{
	struct chip *c = &dma->chips[chip];
	uint8_t value = 0;

	if (reg < 8) {
		const struct channel *channel = &dma->channels[4 * chip + reg / 2];

		return flip(c, reg & 1 ? channel->count : channel->address);
	}
	if (reg == REG_STATUS) {
		value = c->status;
		c->status &= 0xf0;
	} else if (reg == REG_MASKS) {
		for (unsigned i = 0; i < 4; i++)
			value |= (uint8_t)(dma->channels[4 * chip + i].masked << i);
		value |= 0xf0;
	}
	return value;
}

/* Returns which channels may be ready now, as bits. */
static unsigned register_write(struct i8237 *dma, unsigned chip, unsigned reg, uint8_t value)
{
	struct chip *c = &dma->chips[chip];
	struct channel *group = &dma->channels[4 * chip], *chosen = &group[value & 3];

	if (reg < 8) {
		struct channel *channel = &group[reg / 2];

		set_half(c->high, reg & 1 ? &channel->base_count : &channel->base_address, value);
		set_half(c->high, reg & 1 ? &channel->count : &channel->address, value);
		c->high = !c->high;
		return 0;
	}
	switch (reg) {
	case REG_STATUS:
		c->command = value;
		return value & COMMAND_OFF ? 0 : 15;
	case REG_MASK:
		chosen->masked = value & 4;
		return value & 4 ? 0 : 1u << (value & 3);
	case REG_MODE:
		chosen->mode = value & 0xfc;
		return 1u << (value & 3);
	case REG_CLEAR_FLIPFLOP:
		c->high = false;
		return 0;
	case REG_CLEAR:
		clear(dma, chip);
		return 0;
	case REG_CLEAR_MASK:
	case REG_MASKS:
		for (unsigned i = 0; i < 4; i++)
			group[i].masked = reg == REG_MASKS && value >> i & 1;
		return 15;
	default: /* software requests reach no device here */
		return 0;
	}
}

static void tell_ready(struct i8237 *dma, unsigned first, unsigned channels)
{
	for (unsigned i = 0; i < 4; i++) {
		void (*ready)(void *client);
		void *client;

		if (!(channels >> i & 1))
			continue;
		pthread_mutex_lock(&dma->lock);
		ready = dma->channels[first + i].masked ? NULL : dma->ready[first + i];
		client = dma->clients[first + i];
		pthread_mutex_unlock(&dma->lock);
		if (ready)
			ready(client);
	}
}

static uint64_t chip_read(struct i8237 *dma, unsigned chip, unsigned reg)
{
	uint8_t value;

	pthread_mutex_lock(&dma->lock);
	value = register_read(dma, chip, reg);
	pthread_mutex_unlock(&dma->lock);
	return value;
}

static void chip_write(struct i8237 *dma, unsigned chip, unsigned reg, uint8_t value)
{
	unsigned channels;

	pthread_mutex_lock(&dma->lock);
	channels = register_write(dma, chip, reg, value);
	pthread_mutex_unlock(&dma->lock);
	if (channels)
		tell_ready(dma, 4 * chip, channels);
}

static uint64_t bytes_read(void *opaque, uint64_t offset, unsigned size)
{
	return chip_read(opaque, 0, (unsigned)offset);
}

static void bytes_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	chip_write(opaque, 0, (unsigned)offset, (uint8_t)value);
}

/* The second chip's address lines begin at A1. */
static uint64_t words_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset & 1 ? 0xff : chip_read(opaque, 1, (unsigned)offset >> 1);
}

static void words_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	if (!(offset & 1))
		chip_write(opaque, 1, (unsigned)offset >> 1, (uint8_t)value);
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8237 *dma = opaque;
	uint8_t value;

	pthread_mutex_lock(&dma->lock);
	value = dma->pages[offset + 1];
	pthread_mutex_unlock(&dma->lock);
	return value;
}

static void page_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8237 *dma = opaque;
	int channel = page_channel[offset + 1];

	pthread_mutex_lock(&dma->lock);
	dma->pages[offset + 1] = (uint8_t)value;
	if (channel >= 0)
		dma->channels[channel].page = (uint8_t)value;
	pthread_mutex_unlock(&dma->lock);
}

static const struct region_ops bytes_ops = {.read = bytes_read, .write = bytes_write, .min_width = 1, .max_width = 1};
static const struct region_ops words_ops = {.read = words_read, .write = words_write, .min_width = 1, .max_width = 1};
static const struct region_ops page_ops = {.read = page_read, .write = page_write, .min_width = 1, .max_width = 1};

/* --- life --- */

static int init(struct device *device, struct error *err)
{
	struct i8237 *dma = (struct i8237 *)device;

	pthread_mutex_init(&dma->lock, NULL);
	dma->dma = (struct isa_dma){transfer, watch, dma};
	dma->regions[0] = (struct region){.name = "dma", .ops = &bytes_ops, .opaque = dma, .base = 0, .size = 16};
	dma->regions[1] = (struct region){.name = "dma", .ops = &words_ops, .opaque = dma, .base = 0xc0, .size = 32};
	/* 0x80 is the port where firmware tells how far it is. */
	dma->regions[2] =
		(struct region){.name = "dma-page", .ops = &page_ops, .opaque = dma, .base = 0x81, .size = 15};
	return isa_regions_add(device->env->io, dma->regions, REGIONS, err);
}

static void reset(struct device *device)
{
	struct i8237 *dma = (struct i8237 *)device;

	pthread_mutex_lock(&dma->lock);
	memset(dma->channels, 0, sizeof(dma->channels));
	memset(dma->pages, 0, sizeof(dma->pages));
	clear(dma, 0);
	clear(dma, 1);
	pthread_mutex_unlock(&dma->lock);
}

static void fini(struct device *device)
{
	struct i8237 *dma = (struct i8237 *)device;

	isa_regions_remove(device->env->io, dma->regions, REGIONS);
	pthread_mutex_destroy(&dma->lock);
}

static const struct state_field channel_fields[] = {
	STATE_FIELD(STATE_U16, struct channel, base_address), STATE_FIELD(STATE_U16, struct channel, base_count),
	STATE_FIELD(STATE_U16, struct channel, address),      STATE_FIELD(STATE_U16, struct channel, count),
	STATE_FIELD(STATE_U8, struct channel, mode),          STATE_FIELD(STATE_U8, struct channel, page),
	STATE_FIELD(STATE_BOOL, struct channel, masked),      STATE_END,
};
static const struct state_table channel_state = {
	.name = "channel", .version = 1, .size = sizeof(struct channel), .fields = channel_fields};

static const struct state_field chip_fields[] = {
	STATE_FIELD(STATE_U8, struct chip, command),
	STATE_FIELD(STATE_U8, struct chip, status),
	STATE_FIELD(STATE_BOOL, struct chip, high),
	STATE_END,
};
static const struct state_table chip_state = {
	.name = "chip", .version = 1, .size = sizeof(struct chip), .fields = chip_fields};

static const struct state_field fields[] = {
	STATE_SUB(channel_state, struct i8237, channels, CHANNELS),
	STATE_SUB(chip_state, struct i8237, chips, 2),
	STATE_FIELD_N(STATE_BYTES, struct i8237, pages, 16),
	STATE_END,
};
static const struct state_table state = {.name = "i8237", .version = 1, .size = sizeof(struct i8237), .fields = fields};

const struct device_class i8237_class = {
	.name = "i8257",
	.help = "DMA controllers",
	.bus = DEVICE_ISA,
	.internal = true,
	.size = sizeof(struct i8237),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct i8237 *i8237_new(const struct device_env *env, struct error *err)
{
	struct device *device = device_alloc(&i8237_class, env);

	return device_realize(device, err) < 0 ? NULL : (struct i8237 *)device;
}

const struct isa_dma *i8237_channels(struct i8237 *dma)
{
	return &dma->dma;
}
