/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that plays with what its firmware stands on: PAM and SMRAM registers, flash chips, a memory BAR that it moves over
 * all of that, and reads and writes everywhere, as CPU and as bus master. What must hold: no crash; a read-only chip and the
 * ROM never change; memory and bus agree about what is where; after a reset the firmware is at its place again.
 *
 * Input: operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/block/block.h"
#include "base/log.h"
#include "base/util.h"
#include "core/bus.h"
#include "core/ram.h"
#include "core/state.h"
#include "device/pc/cfi_flash.h"
#include "device/pci/pci.h"

#include <fcntl.h>
#include <unistd.h>

enum { CODE_BYTES = 128 * 1024, VARIABLES_BYTES = 32 * 1024, VRAM_BYTES = 64 * 1024 };

struct rig {
	struct log log;
	struct device_env env;
	struct block_graph *graph;
	struct block *images[2];
	unsigned image; /* the next that a chip asks for */
	struct device *chips[2], *bridge, *card;
};

struct card {
	struct pci_device pci;
	struct ram_block *memory;
};

static int card_init(struct device *device, struct error *err)
{
	struct card *card = (struct card *)device;

	card->memory = ram_block_new(device->env->ram, "vram", VRAM_BYTES, err);
	return pci_bar_add_memory(&card->pci, 0, PCI_BAR_MEM32, card->memory, err);
}

static void card_fini(struct device *device)
{
	struct card *card = (struct card *)device;

	pci_unmap(&card->pci);
	ram_block_free(card->memory);
}

static const struct pci_class card_pci = {.vendor = 0x1234, .device = 0x1111, .class_code = 0x030000};
static const struct device_class card_class = {.name = "card", .bus = DEVICE_PCI, .size = sizeof(struct card),
                                               .init = card_init, .fini = card_fini, .bus_class = &card_pci};

static void *find(void *opaque, enum property_type type, const char *id, struct device *user, struct error *err)
{
	struct rig *rig = opaque;

	return rig->images[rig->image++];
}

static struct block *image(struct rig *rig, size_t bytes, bool read_only)
{
	struct block_open how = {.read_only = read_only};
	char path[] = "/tmp/xuni-fuzz-XXXXXX";
	int fd = mkstemp(path);
	struct block *block;

	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		abort();
	block = block_open_file(rig->graph, path, "raw", &how, NULL);
	close(fd);
	unlink(path);
	if (!block)
		abort();
	return block;
}

static void reset(struct rig *rig)
{
	device_reset(rig->chips[0]);
	device_reset(rig->chips[1]);
	device_reset(rig->bridge);
	device_reset(rig->card);
	ram_forget_slots(rig->env.ram);
}

static void start(struct rig *rig)
{
	static const struct irq wires[4];
	uint64_t end = 4 * GIB;

	rig->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	rig->env = (struct device_env){.log = &rig->log, .backends = {.find = find, .opaque = rig}};
	rig->env.ram = ram_new(&(struct ram_config){.size = 2 * MIB}, NULL);
	ram_map(rig->env.ram, 0, 0xa0000, 0, false, NULL);
	ram_map(rig->env.ram, MIB, MIB, MIB, false, NULL);
	rig->env.io = bus_new("io", 0x10000);
	rig->env.memory = bus_new("memory", 0);
	rig->env.bus_ops[DEVICE_PCI] = &pci_device_bus_ops;
	rig->env.pci_bus = pci_bus_new(&rig->env, wires);
	rig->graph = block_graph_new(&rig->log);
	rig->images[0] = image(rig, CODE_BYTES, true);
	rig->images[1] = image(rig, VARIABLES_BYTES, false);
	for (unsigned i = 0; i < 2; i++) {
		rig->chips[i] = device_alloc(&cfi_flash_class, &rig->env);
		cfi_flash_set_end(rig->chips[i], end);
		device_set_property(rig->chips[i], "drive", "x", NULL);
		if (device_realize(rig->chips[i], NULL) < 0)
			abort();
		end = cfi_flash_base(rig->chips[i]);
	}
	rig->bridge = device_create(&i440fx_class, &rig->env, NULL, NULL, NULL);
	i440fx_set_firmware(rig->bridge, cfi_flash_block(rig->chips[0]));
	rig->card = device_create(&card_class, &rig->env, NULL, NULL, NULL);
	reset(rig);
}

static void stop(struct rig *rig)
{
	device_destroy(rig->card);
	device_destroy(rig->bridge);
	device_destroy(rig->chips[1]);
	device_destroy(rig->chips[0]);
	block_unref(rig->images[0]);
	block_unref(rig->images[1]);
	block_graph_free(rig->graph);
	pci_bus_free(rig->env.pci_bus);
	bus_free(rig->env.io);
	bus_free(rig->env.memory);
	ram_free(rig->env.ram);
	close(rig->log.fd);
}

/* Mostly where something is. */
static uint64_t place(struct input *input)
{
	uint64_t choice = take(input, 3);

	switch (choice & 7) {
	case 0:
	case 1:
		return 0xa0000 + (choice >> 3) % 0x60000;
	case 2:
	case 3:
		return 4 * GIB - CODE_BYTES - VARIABLES_BYTES + (choice >> 3) % (VARIABLES_BYTES + 16);
	case 4:
		return 4 * GIB - CODE_BYTES + (choice >> 3) % CODE_BYTES;
	case 5:
		return choice >> 3;
	default:
		return 0xe0000000 + (choice >> 3);
	}
}

/* As a CPU writes. */
static void cpu_write(struct rig *rig, uint64_t gpa, uint64_t value, unsigned size)
{
	const struct ram_slot *slot = ram_find(rig->env.ram, gpa);

	if (slot && !slot->read_only && range_inside(gpa - slot->gpa, size, slot->size))
		ram_write(rig->env.ram, gpa, &value, size);
	else
		bus_write(rig->env.memory, gpa, value, size);
}

static void damage_state(struct input *input, struct device *device)
{
	struct state_buffer saved = {0};

	state_save(device->class->state, device, &saved);
	if (saved.length)
		saved.data[take(input, 2) % saved.length] ^= (uint8_t)take(input, 1);
	state_load(device->class->state, device, saved.data, saved.length, NULL);
	free(saved.data);
}

static void operation(struct rig *rig, struct input *input)
{
	static const uint8_t registers[] = {0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x72};
	unsigned choice = (unsigned)take(input, 1), size = 1u << (choice >> 6);
	uint64_t gpa, value;

	switch (choice & 15) {
	case 0:
	case 1:
		pci_config_write((struct pci_device *)rig->bridge, registers[choice >> 4 & 7], (uint32_t)take(input, 1), 1);
		break;
	case 2:
		pci_config_write((struct pci_device *)rig->card, choice & 16 ? 0x10 : 0x04, (uint32_t)(place(input) & ~15u) | 2,
		                 choice & 16 ? 4 : 2);
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		gpa = place(input);
		cpu_write(rig, gpa, take(input, size), size);
		break;
	case 7:
	case 8:
		gpa = place(input);
		if (ram_read(rig->env.ram, gpa, &value, size) < 0)
			bus_read(rig->env.memory, gpa, size);
		break;
	case 9:
		gpa = place(input);
		value = take(input, 8);
		ram_write(rig->env.ram, gpa, &value, 8);
		break;
	case 10:
		damage_state(input, choice & 16 ? rig->bridge : rig->chips[1]);
		break;
	case 11:
		reset(rig);
		break;
	default:
		cpu_write(rig, 4 * GIB - CODE_BYTES - VARIABLES_BYTES + (take(input, 2) & 0x1fff), take(input, 1), 1);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct rig rig = {0};
	struct ram_block *code;

	start(&rig);
	for (unsigned i = 0; input.size && i < 400; i++)
		operation(&rig, &input);
	reset(&rig);
	code = cfi_flash_block(rig.chips[0]);
	for (unsigned i = 0; i < CODE_BYTES; i += 512)
		if (code->hva[i])
			abort();
	if (!ram_find(rig.env.ram, 0xf0000) || ram_find(rig.env.ram, 0xf0000)->block != code ||
	    !ram_find(rig.env.ram, 4 * GIB - 16) || ram_find(rig.env.ram, 4 * GIB - 16)->block != code)
		abort();
	stop(&rig);
	return 0;
}
