/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that reads and writes anything of the storage controllers' registers and of the memory they read: PIIX3 IDE
 * and AHCI with a disk and a CD-ROM drive each, the floppy controller with its DMA, the virtio SCSI adapter. Media come
 * and go, state is saved, damaged and loaded. No crash, no hang, no access outside of guest memory; all of them come
 * back to rest after a reset.
 *
 * Input: operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/block/block.h"
#include "base/loop.h"
#include "base/util.h"
#include "core/bus.h"
#include "core/state.h"
#include "device/pc/i8237.h"
#include "device/storage/ahci.h"
#include "device/storage/ata.h"
#include "device/storage/fdc.h"
#include "device/storage/scsi_bus.h"
#include "device/storage/storage.h"
#include "device/virtio/test_guest.h"

#include <fcntl.h>

enum {
	RAM_BYTES = 2 << 20,
	DEVICES_MAX = 16,
	OPERATIONS_MAX = 2048,
	AHCI_DEVFN = 3 << 3,
	SCSI_DEVFN = 4 << 3,
	IDE_DEVFN = 1 << 3 | 1
};

static struct test_machine *machine;
static struct block *blocks[8];
static struct device *devices[DEVICES_MAX], *cd, *floppy;
static unsigned device_count;
static uint64_t bus_master, abar;

static struct block *null_disk(struct block_graph *graph, const char *size)
{
	struct options options = {0};
	struct block *block;

	options_add(&options, "driver", "null-co");
	options_add(&options, "size", size);
	options_add(&options, "read-zeroes", "on");
	block = block_open_options(graph, &options, NULL);
	options_free(&options);
	if (!block)
		abort();
	return block;
}

static struct device *keep(struct device *device)
{
	if (!device)
		abort();
	devices[device_count++] = device;
	return device;
}

static struct device *add(const struct device_class *class, struct block *block, const char *options)
{
	machine->backend = block;
	return keep(test_device(machine, class, options, NULL));
}

static void build(void)
{
	struct block_graph *graph;
	struct device_env *env;
	struct i8237 *dma;

	machine = test_machine_new(RAM_BYTES, true);
	env = &machine->env;
	machine->log.items = LOG_GUEST_ERRORS;
	machine->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	graph = block_graph_new(&machine->log);
	for (unsigned i = 0; i < ARRAY_SIZE(blocks); i++)
		blocks[i] = null_disk(graph, i == 6 ? "1474560" : i == 7 ? "737280" : "8388608");
	env->ata_ports = ata_port_list_new();
	env->scsi_buses = scsi_bus_list_new();
	env->bus_ops[DEVICE_IDE] = &ata_bus_ops;
	env->bus_ops[DEVICE_SCSI] = &scsi_bus_ops;
	env->bus_ops[DEVICE_FLOPPY] = &floppy_bus_ops;
	dma = i8237_new(env, NULL);
	keep((struct device *)dma);
	env->isa_dma = i8237_channels(dma);
	add(&piix3_ide_class, NULL, NULL);
	env->floppy_controller = add(&fdc_class, NULL, NULL);
	add(&ahci_class, NULL, "addr=3,id=sata");
	add(&virtio_scsi_pci, NULL, "addr=4,id=scsi");
	add(&ide_hd_class, blocks[0], "drive=x,bus=ide.0,unit=0");
	cd = add(&ide_cd_class, blocks[1], "drive=x,bus=ide.0,unit=1");
	add(&ide_hd_class, blocks[2], "drive=x,bus=sata.0");
	add(&ide_cd_class, blocks[3], "drive=x,bus=sata.1");
	add(&scsi_hd_class, blocks[4], "drive=x,bus=scsi.0,scsi-id=0,lun=0,serial=s");
	add(&scsi_cd_class, blocks[5], "drive=x,bus=scsi.0,scsi-id=0,lun=1");
	floppy = add(&floppy_class, blocks[6], "drive=x");
}

static void registers(struct input *input, unsigned choice)
{
	static const uint16_t ports[] = {0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7,
					 0x3f6, 0x3f0, 0x3f2, 0x3f4, 0x3f5, 0x3f7, 0x04,  0x05,
					 0x0a,  0x0b,  0x0c,  0x81,  0x08,  0x0f,  0xc4,  0xd6};
	uint64_t place = take(input, 1);
	uint16_t port = ports[place % ARRAY_SIZE(ports)];
	unsigned size = choice & 0x40 ? 2 : choice & 0x80 ? 4 : 1;

	if (choice & 0x20)
		bus_read(machine->env.io, port, size);
	else
		bus_write(machine->env.io, port, take(input, size), size);
}

static void move_data(struct input *input)
{
	unsigned count = (unsigned)take(input, 1) + 1, value = (unsigned)take(input, 1);

	for (unsigned i = 0; i < count * 4; i++) {
		if (value & 1)
			bus_read(machine->env.io, 0x1f0, 4);
		else
			bus_write(machine->env.io, 0x1f0, value * 0x01010101u, 4);
	}
}

/* A whole packet, so that the fuzzer need not put it together byte by byte. */
static void packet(struct input *input)
{
	bus_write(machine->env.io, 0x1f6, 0x10, 1);
	bus_write(machine->env.io, 0x1f1, take(input, 1) & 1, 1);
	bus_write(machine->env.io, 0x1f4, take(input, 1), 1);
	bus_write(machine->env.io, 0x1f5, take(input, 1), 1);
	bus_write(machine->env.io, 0x1f7, 0xa0, 1);
	for (unsigned i = 0; i < 6; i++)
		bus_write(machine->env.io, 0x1f0, take(input, 2), 2);
}

static void adapter(struct input *input)
{
	static const uint16_t offsets[] = {0x04, 0x08, 0x10, 0x14, 0x18, 0x2c, 0x30, 0x34, 0x38, 0x00, 0x20, 0x28};
	unsigned place = (unsigned)take(input, 1);
	uint64_t offset = place & 0x80 ? offsets[place % 12] : 0x100 + (place >> 4 & 1) * 0x80 + offsets[place % 12];

	if (place & 0x40)
		bus_read(machine->env.memory, abar + offset, 4);
	else
		bus_write(machine->env.memory, abar + offset, take(input, 4), 4);
}

/* A command in slot `slot` of a port: header, table with FIS, packet and two regions. */
static void command(struct input *input)
{
	unsigned which = (unsigned)take(input, 1), port = which & 1, slot = which >> 1 & 31;
	uint64_t list = 0x10000 + port * 0x10000, table = list + 0x1000 + slot * 0x100;
	uint8_t header[32] = {5}, fis[0xa0] = {0x27, 0x80};

	header[2] = 2;
	store_le32(header + 8, (uint32_t)table);
	for (unsigned i = 2; i < 16; i++)
		fis[i] = (uint8_t)take(input, 1);
	for (unsigned i = 0; i < 12 && port; i++)
		fis[0x40 + i] = (uint8_t)take(input, 1);
	for (unsigned i = 0; i < 2; i++) {
		store_le32(fis + 0x80 + 16 * i, (uint32_t)take(input, 3));
		store_le32(fis + 0x8c + 16 * i, (uint32_t)take(input, 2) | 1);
	}
	ram_write(machine->env.ram, list + 32 * slot, header, sizeof(header));
	ram_write(machine->env.ram, table, fis, sizeof(fis));
	bus_write(machine->env.memory, abar + 0x100 + port * 0x80, list, 4);
	bus_write(machine->env.memory, abar + 0x108 + port * 0x80, list + 0x8000, 4);
	bus_write(machine->env.memory, abar + 0x118 + port * 0x80, 0x11, 4);
	if ((fis[2] & 0xfe) == 0x60)
		bus_write(machine->env.memory, abar + 0x134 + port * 0x80, 1u << slot, 4);
	bus_write(machine->env.memory, abar + 0x138 + port * 0x80, 1u << slot, 4);
}

static void scsi_command(struct guest *guest, struct input *input)
{
	unsigned shape = (unsigned)take(input, 1), in = (unsigned)take(input, 2), out = (unsigned)take(input, 1),
		 count = 1;
	struct guest_buffer buffers[4] = {{guest_alloc(guest, 64), 51, false}};
	uint8_t *head = guest_memory(guest, buffers[0].gpa, 51);

	memset(head, 0, 51);
	head[0] = 1;
	head[3] = shape & 1;
	for (unsigned i = 0; i < 16; i++)
		head[19 + i] = (uint8_t)take(input, 1);
	if (out) {
		buffers[count] = (struct guest_buffer){guest_alloc(guest, out), out, false};
		for (unsigned i = 0; i < out; i++)
			guest_memory(guest, buffers[count].gpa, out)[i] = (uint8_t)take(input, 1);
		count++;
	}
	buffers[count++] = (struct guest_buffer){guest_alloc(guest, 128), shape & 0x80 ? 100 : 108, true};
	if (in)
		buffers[count++] = (struct guest_buffer){take(input, 3), in, true};
	guest_offer(guest, shape & 0x40 ? 0 : 2, buffers, count);
	guest_kick(guest, shape & 0x40 ? 0 : 2);
	loop_poll(machine->env.loop, 0);
}

static void medium(struct input *input)
{
	unsigned what = (unsigned)take(input, 1);
	struct device *drive = what & 1 ? cd : floppy;
	struct block *block = what & 1 ? blocks[1] : blocks[what & 2 ? 6 : 7];

	if (what & 4)
		drive->class->medium->move_tray(drive, what & 8);
	else
		drive->class->medium->set(drive, what & 8 ? block : NULL, NULL);
}

/* Saves a device, damages one byte, and loads that; what is refused must leave the device as it was. */
static void damage_state(struct input *input)
{
	struct device *device = devices[take(input, 1) % device_count];
	struct state_buffer saved = {0};

	state_save(device->class->state, device, &saved);
	saved.data[(take(input, 2) | 0x10000 * (take(input, 1) & 1)) % saved.length] ^= (uint8_t)take(input, 1);
	state_load(device->class->state, device, saved.data, saved.length, NULL);
	free(saved.data);
}

static void operation(struct guest *guest, struct input *input)
{
	unsigned choice = (unsigned)take(input, 1);
	uint64_t place, value;

	switch (choice & 15) {
	case 0:
	case 1:
	case 2:
		registers(input, choice);
		break;
	case 3:
		place = take(input, 1) & 15;
		if (choice & 0x80)
			bus_read(machine->env.io, bus_master + place, 1);
		else
			bus_write(machine->env.io, bus_master + place, take(input, 1u << (choice >> 4 & 1) * 2),
				  1u << (choice >> 4 & 1) * 2);
		break;
	case 4:
		move_data(input);
		break;
	case 5:
		packet(input);
		break;
	case 6:
		adapter(input);
		break;
	case 7:
	case 8:
		command(input);
		break;
	case 9:
	case 10:
		if (guest->heap < RAM_BYTES - 0x10000)
			scsi_command(guest, input);
		break;
	case 11:
		place = take(input, 3) % (RAM_BYTES - 8);
		value = take(input, 8);
		ram_write(machine->env.ram, place, &value, 8);
		break;
	case 12:
		medium(input);
		break;
	case 13:
		damage_state(input);
		break;
	default:
		loop_poll(machine->env.loop, 0);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct guest guest;

	if (!machine)
		build();
	machine->next_mmio = 0xe0000000;
	machine->next_port = 0xc000;
	memset(ram_hva(machine->env.ram, 0, RAM_BYTES / 2), 0, RAM_BYTES / 2);
	for (unsigned i = 0; i < device_count; i++)
		device_reset(devices[i]);
	cd->class->medium->set(cd, blocks[1], NULL);
	floppy->class->medium->set(floppy, blocks[6], NULL);
	bus_master = test_bar_assign(machine, IDE_DEVFN, 4);
	test_config_write(machine, IDE_DEVFN, 4, 7, 2);
	abar = test_bar_assign(machine, AHCI_DEVFN, 5);
	test_config_write(machine, AHCI_DEVFN, 4, 7, 2);
	guest_open(&guest, machine, SCSI_DEVFN, false);
	guest_start(&guest, 0, 3);
	for (unsigned i = 0; input.size && i < OPERATIONS_MAX; i++)
		operation(&guest, &input);
	loop_poll(machine->env.loop, 0);
	for (unsigned i = 0; i < device_count; i++)
		device_reset(devices[i]);
	/* A drive at rest says so. */
	bus_write(machine->env.io, 0x1f6, 0, 1);
	if (bus_read(machine->env.io, 0x1f7, 1) != (ATA_DRDY | ATA_SEEK))
		abort();
	return 0;
}
