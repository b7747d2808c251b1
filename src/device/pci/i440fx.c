/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host bridge of the Intel 440FX chip set (82441FX PMC data sheet, 290549): function 00.0. What it does to memory: the
 * PAM registers (4.1.15) say for 13 segments from 0xc0000 to 0xfffff whether reads, and whether writes, go to RAM or to PCI,
 * where the firmware's ROM answers in the last 128 KiB; SMRAM (4.1.22) opens the RAM below video memory.
 *
 * A segment that is read from RAM or from the ROM is a window of guest memory, neighbours of one kind in one; writes that
 * RAM takes while PCI is read go by a region of the bus. Left out: DRAM timing, PCI arbitration, system management mode
 * (RAM at 0xa0000 is seen while D_OPEN says so and the register is not locked).
 */
#include "device/pci/pci_internal.h"

#include "base/util.h"
#include "core/state.h"

enum { PMC_CONFIG = 0x50, PAM0 = 0x59, PAM6 = 0x5f, DRB0 = 0x60, DRB7 = 0x67, SMRAM = 0x72 };
enum { PAM_READ = 1, PAM_WRITE = 2, PAM_BITS = 3 };
enum { SMRAM_OPEN = 1 << 6, SMRAM_LOCKED = 1 << 4, SMRAM_ENABLED = 1 << 3 };
enum { SEGMENTS = 13 };

#define PAM_FIRST  0xc0000ull
#define PAM_BYTES  0x40000ull
#define ROM_FIRST  0xe0000ull
#define VIDEO_GPA  0xa0000ull
#define VIDEO_BYTES 0x20000ull

struct i440fx {
	struct pci_device pci;
	struct ram_block *firmware;
	uint64_t firmware_bytes; /* of it, seen below 1 MiB */
	pthread_mutex_t lock;    /* windows */
	struct ram_window windows[SEGMENTS], video;
	struct region writes; /* 0xc0000-0xfffff where no window takes them */
};

/* Segments 0-11 are the two nibbles of PAM1-6, 16 KiB each up to 0xeffff; 12 is PAM0's high one, 64 KiB. */
static uint64_t segment_gpa(unsigned segment)
{
	return segment < 12 ? PAM_FIRST + 0x4000ull * segment : 0xf0000;
}

static uint64_t segment_end(unsigned segment)
{
	return segment < 12 ? segment_gpa(segment + 1) : PAM_FIRST + PAM_BYTES;
}

static unsigned segment_mode(const struct i440fx *bridge, unsigned segment)
{
	if (segment == 12)
		return bridge->pci.config[PAM0] >> 4 & PAM_BITS;
	return bridge->pci.config[PAM0 + 1 + segment / 2] >> (segment & 1 ? 4 : 0) & PAM_BITS;
}

/* What is read there: a block and the offset of gpa in it; NULL: nothing. */
static struct ram_block *read_from(const struct i440fx *bridge, uint64_t gpa, unsigned mode, uint64_t *offset)
{
	struct ram_block *ram = ram_main(bridge->pci.bus->env->ram);
	uint64_t from_end = PAM_FIRST + PAM_BYTES - gpa;

	if (mode & PAM_READ) {
		*offset = gpa;
		return gpa < ram->size ? ram : NULL;
	}
	if (from_end > bridge->firmware_bytes)
		return NULL;
	*offset = bridge->firmware->size - from_end;
	return bridge->firmware;
}

/* One window for segments [first, last]; the windows of those behind it are closed. */
static void show_run(struct i440fx *bridge, unsigned first, unsigned last)
{
	struct ram_window *window = &bridge->windows[first];
	unsigned mode = segment_mode(bridge, first);
	uint64_t gpa = segment_gpa(first), size = segment_end(last) - gpa, offset = 0;
	struct ram_block *block = read_from(bridge, gpa, mode, &offset);

	for (unsigned i = first + 1; i <= last; i++)
		ram_window_hide(&bridge->windows[i]);
	if (window->block != block || window->offset != offset || window->size != size) {
		ram_window_hide(window);
		*window = (struct ram_window){.block = block, .offset = offset, .size = size};
	}
	if (block)
		ram_window_show(window, gpa, mode != (PAM_READ | PAM_WRITE));
}

static void show_memory(struct i440fx *bridge)
{
	uint8_t smram = bridge->pci.config[SMRAM];
	bool open = smram & SMRAM_OPEN && smram & SMRAM_ENABLED && !(smram & SMRAM_LOCKED);

	pthread_mutex_lock(&bridge->lock);
	for (unsigned first = 0, next; first < SEGMENTS; first = next) {
		bool rom = segment_gpa(first) >= ROM_FIRST;

		for (next = first + 1; next < SEGMENTS; next++)
			if (segment_mode(bridge, next) != segment_mode(bridge, first) ||
			    (segment_gpa(next) >= ROM_FIRST) != rom)
				break;
		show_run(bridge, first, next - 1);
	}
	if (open && bridge->video.block)
		ram_window_show(&bridge->video, VIDEO_GPA, false);
	else
		ram_window_hide(&bridge->video);
	pthread_mutex_unlock(&bridge->lock);
}

static bool touches(unsigned offset, unsigned size, unsigned first, unsigned last)
{
	return offset <= last && offset + size > first;
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	struct i440fx *bridge = (struct i440fx *)pci;

	if (touches(offset, size, SMRAM, SMRAM) && pci->config[SMRAM] & SMRAM_LOCKED)
		pci->write_mask[SMRAM] = 0; /* D_LCK, until reset */
	if (touches(offset, size, PAM0, PAM6) || touches(offset, size, SMRAM, SMRAM))
		show_memory(bridge);
}

/* Nothing answers. */
static uint64_t writes_read(void *opaque, uint64_t offset, unsigned size)
{
	return UINT64_MAX;
}

/* RAM that is written while PCI is read: who copies a ROM to where it lies. */
static void writes_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i440fx *bridge = opaque;
	struct ram_block *ram = ram_main(bridge->pci.bus->env->ram);
	unsigned segment = offset < 0x30000 ? (unsigned)(offset / 0x4000) : 12;

	if (segment_mode(bridge, segment) != PAM_WRITE || !range_inside(PAM_FIRST + offset, size, ram->size))
		return;
	memcpy(ram->hva + PAM_FIRST + offset, &value, size);
	ram_block_written(ram, PAM_FIRST + offset, size);
}

static const struct region_ops writes_ops = {.read = writes_read, .write = writes_write};

void i440fx_set_firmware(struct device *device, struct ram_block *firmware)
{
	struct i440fx *bridge = (struct i440fx *)device;

	bridge->firmware = firmware;
	bridge->firmware_bytes = firmware ? min_u64(firmware->size, PAM_FIRST + PAM_BYTES - ROM_FIRST) : 0;
}

void i440fx_shadow_all(struct device *device)
{
	struct pci_device *pci = (struct pci_device *)device;

	for (unsigned i = PAM0; i <= PAM6; i++)
		pci_config_write(pci, i, 0x33, 1);
}

static int i440fx_init(struct device *device, struct error *err)
{
	struct i440fx *bridge = (struct i440fx *)device;
	struct pci_device *pci = &bridge->pci;
	struct ram_block *ram = ram_main(device->env->ram);

	pci->config[PMC_CONFIG + 1] = 0x01; /* host frequency 66 MHz, no PCI concurrency */
	for (unsigned i = PAM0; i <= PAM6; i++)
		pci->write_mask[i] = i == PAM0 ? 0x30 : 0x33;
	for (unsigned i = DRB0; i <= DRB7; i++)
		pci->write_mask[i] = 0xff;
	pci->config[SMRAM] = 0x02;
	pci->write_mask[SMRAM] = 0x78;
	pthread_mutex_init(&bridge->lock, NULL);
	if (ram->size >= PAM_FIRST)
		bridge->video = (struct ram_window){.block = ram, .offset = VIDEO_GPA, .size = VIDEO_BYTES};
	bridge->writes = (struct region){.name = "pam", .ops = &writes_ops, .opaque = bridge, .base = PAM_FIRST,
	                                 .size = PAM_BYTES, .priority = -2};
	return bus_add(device->env->memory, &bridge->writes, err);
}

static void i440fx_reset(struct device *device)
{
	struct i440fx *bridge = (struct i440fx *)device;

	bridge->pci.write_mask[SMRAM] = 0x78;
	show_memory(bridge);
}

static void i440fx_fini(struct device *device)
{
	struct i440fx *bridge = (struct i440fx *)device;

	bus_remove(device->env->memory, &bridge->writes);
	for (unsigned i = 0; i < SEGMENTS; i++)
		ram_window_hide(&bridge->windows[i]);
	ram_window_hide(&bridge->video);
	pthread_mutex_destroy(&bridge->lock);
}

static void after_load(void *object)
{
	struct i440fx *bridge = object;

	bridge->pci.write_mask[SMRAM] = bridge->pci.config[SMRAM] & SMRAM_LOCKED ? 0 : 0x78;
	show_memory(bridge);
}

static const struct pci_class i440fx_pci = {
        .vendor = 0x8086,
        .device = 0x1237,
        .subsystem_vendor = 0x1af4,
        .subsystem = 0x1100,
        .class_code = 0x060000,
        .revision = 2,
        .config_written = config_written,
};

static const struct state_field fields[] = {STATE_SUB(pci_device_state, struct i440fx, pci, 1), STATE_END};
static const struct state_table state = {
        .name = "i440fx", .version = 1, .size = sizeof(struct i440fx), .fields = fields, .after_load = after_load};

const struct device_class i440fx_class = {
        .name = "i440FX",
        .help = "Intel 440FX host bridge",
        .bus = DEVICE_PCI,
        .internal = true,
        .size = sizeof(struct i440fx),
        .state = &state,
        .init = i440fx_init,
        .reset = i440fx_reset,
        .fini = i440fx_fini,
        .bus_class = &i440fx_pci,
};
