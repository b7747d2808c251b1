/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PAM and SMRAM registers, memory BARs and expansion ROMs: what a guest and a bus master see at which address. */
#include "device/pci/test_machine.h"

#include "base/util.h"
#include "core/ram.h"
#include "core/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAM0 = 0x59, SMRAM = 0x72, ROM_BYTES = 256 * 1024 };

static struct device_env env;
static struct log quiet = {.fd = STDERR_FILENO};
static struct device *bridge;
static struct ram_block *firmware;

/* As a PC has it: RAM below 640 KiB and above 1 MiB is there for good. */
static int setup(void **state)
{
	static const struct irq wires[4];

	env = (struct device_env){.log = &quiet};
	env.ram = ram_new(&(struct ram_config){.size = 2 * MIB}, NULL);
	assert_int_equal(ram_map(env.ram, 0, 0xa0000, 0, false, NULL), 0);
	assert_int_equal(ram_map(env.ram, MIB, MIB, MIB, false, NULL), 0);
	env.io = bus_new("io", 0x10000);
	env.memory = bus_new("memory", 0);
	env.bus_ops[DEVICE_PCI] = &pci_device_bus_ops;
	env.pci_bus = pci_bus_new(&env, wires);
	firmware = ram_block_new(env.ram, "rom", ROM_BYTES, NULL);
	for (unsigned i = 0; i < ROM_BYTES; i += 4096)
		firmware->hva[i] = (uint8_t)(0x80 | i / 4096);
	for (unsigned i = 0xa0000; i < 0x100000; i += 4096)
		ram_main(env.ram)->hva[i] = 0x11;
	bridge = device_create(&i440fx_class, &env, NULL, NULL, NULL);
	assert_non_null(bridge);
	i440fx_set_firmware(bridge, firmware);
	device_reset(bridge);
	return 0;
}

static int teardown(void **state)
{
	device_destroy(bridge);
	pci_bus_free(env.pci_bus);
	bus_free(env.io);
	bus_free(env.memory);
	ram_free(env.ram);
	return 0;
}

static void set(unsigned offset, uint8_t value)
{
	pci_config_write((struct pci_device *)bridge, offset, value, 1);
}

/* As a CPU does it: memory, else the bus. */
static uint8_t look(uint64_t gpa)
{
	uint8_t byte;

	return ram_read(env.ram, gpa, &byte, 1) == 0 ? byte : (uint8_t)bus_read(env.memory, gpa, 1);
}

static void put(uint64_t gpa, uint8_t byte)
{
	const struct ram_slot *slot = ram_find(env.ram, gpa);

	if (slot && !slot->read_only)
		ram_write(env.ram, gpa, &byte, 1);
	else
		bus_write(env.memory, gpa, byte, 1);
}

static uint8_t rom_at(uint64_t gpa)
{
	return (uint8_t)(0x80 | (gpa - 0x100000 + ROM_BYTES) / 4096);
}

static void the_firmware_is_seen_below_1_mib(void **state)
{
	assert_int_equal(look(0xf0000), rom_at(0xf0000));
	assert_int_equal(look(0xe0000), rom_at(0xe0000));
	assert_int_equal(look(0xff000), rom_at(0xff000));
	assert_int_equal(look(0xc0000), 0xff);
	assert_int_equal(look(0xa0000), 0xff);
	put(0xf0000, 1);
	put(0xc0000, 1);
	assert_int_equal(look(0xf0000), rom_at(0xf0000));
	assert_int_equal(ram_main(env.ram)->hva[0xf0000], 0x11);
	assert_int_equal(ram_main(env.ram)->hva[0xc0000], 0x11);
}

/* What firmware does: copies itself to where it is, then protects the copy. */
static void shadowing(void **state)
{
	set(PAM0, 0x20); /* reads from the ROM, writes to RAM */
	assert_int_equal(look(0xf1000), rom_at(0xf1000));
	put(0xf1000, look(0xf1000));
	assert_int_equal(ram_main(env.ram)->hva[0xf1000], rom_at(0xf1000));
	set(PAM0, 0x30);
	assert_int_equal(look(0xf1000), rom_at(0xf1000));
	assert_int_equal(look(0xf2000), 0x11);
	put(0xf2000, 0x22);
	assert_int_equal(look(0xf2000), 0x22);
	set(PAM0, 0x10);
	put(0xf2000, 0x33);
	assert_int_equal(look(0xf2000), 0x22);
	assert_int_equal(ram_write(env.ram, 0xf2000, "x", 1), 0); /* nor by DMA */
	assert_int_equal(look(0xf2000), 0x22);
	device_reset(bridge);
	assert_int_equal(look(0xf2000), rom_at(0xf2000));
	set(PAM0, 0x30);
	assert_int_equal(look(0xf2000), 0x22);
}

static void each_segment_has_its_nibble(void **state)
{
	for (unsigned segment = 0; segment < 12; segment++) {
		uint64_t gpa = 0xc0000 + 0x4000 * segment;

		for (unsigned i = 1; i <= 6; i++)
			set(PAM0 + i, 0);
		set(PAM0 + 1 + segment / 2, segment & 1 ? 0x30 : 0x03);
		for (uint64_t at = 0xc0000; at < 0xf0000; at += 0x1000) {
			uint8_t other = at < 0xe0000 ? 0xff : rom_at(at);

			assert_int_equal(look(at), at >= gpa && at < gpa + 0x4000 ? 0x11 : other);
		}
	}
	i440fx_shadow_all(bridge);
	for (uint64_t at = 0xc0000; at < 0x100000; at += 0x1000)
		assert_int_equal(look(at), 0x11);
	/* Neighbours of one kind are one slot. */
	assert_true(ram_find(env.ram, 0xc0000)->size >= 0x20000);
}

static void smram_opens_and_locks(void **state)
{
	set(SMRAM, 0x4a);
	assert_int_equal(look(0xa0000), 0x11);
	set(SMRAM, 0x0a);
	assert_int_equal(look(0xa0000), 0xff);
	set(SMRAM, 0x1a); /* D_LCK */
	set(SMRAM, 0x4a);
	assert_int_equal(look(0xa0000), 0xff);
	device_reset(bridge);
	set(SMRAM, 0x4a);
	assert_int_equal(look(0xbf000), 0x11);
}

static void the_layout_is_restored(void **state)
{
	struct state_buffer saved = {0};

	set(PAM0, 0x30);
	set(PAM0 + 6, 0x03);
	state_save(i440fx_class.state, bridge, &saved);
	device_reset(bridge);
	assert_int_equal(look(0xf0000), rom_at(0xf0000));
	assert_int_equal(state_load(i440fx_class.state, bridge, saved.data, saved.length, NULL), (int64_t)saved.length);
	assert_int_equal(look(0xf0000), 0x11);
	assert_int_equal(look(0xe8000), 0x11);
	assert_int_equal(look(0xec000), rom_at(0xec000));
	free(saved.data);
}

/* --- BARs that are memory --- */

struct card {
	struct pci_device pci;
	struct ram_block *memory;
};

static int card_init(struct device *device, struct error *err)
{
	struct card *card = (struct card *)device;

	card->memory = ram_block_new(device->env->ram, "vram", 64 * KIB, err);
	return card->memory ? pci_bar_add_memory(&card->pci, 0, PCI_BAR_MEM32 | PCI_BAR_PREFETCH, card->memory, err)
	                    : -ENOMEM;
}

static void card_fini(struct device *device)
{
	struct card *card = (struct card *)device;

	pci_unmap(&card->pci);
	ram_block_free(card->memory);
}

static const struct pci_class card_pci = {.vendor = 0x1234, .device = 0x5678, .class_code = 0x030000};
static const struct property card_properties[] = {
        DEVICE_BOOTINDEX_PROPERTY, PCI_ROMFILE_PROPERTY(struct card, pci, "no-such.rom"), {.name = NULL}};
static const struct device_class card_class = {.name = "card", .bus = DEVICE_PCI, .size = sizeof(struct card),
                                               .properties = card_properties, .init = card_init, .fini = card_fini,
                                               .bus_class = &card_pci};

static void a_memory_bar_is_memory(void **state)
{
	struct card *card = (struct card *)device_create(&card_class, &env, NULL, NULL, NULL);
	struct pci_device *pci = &card->pci;

	assert_non_null(card);
	device_reset(&pci->device);
	pci_config_write(pci, 0x10, 0xe0000000, 4);
	assert_null(ram_find(env.ram, 0xe0000000));
	pci_config_write(pci, 0x04, 2, 2);
	assert_non_null(ram_find(env.ram, 0xe0000000));
	put(0xe0000010, 0x5a);
	assert_int_equal(card->memory->hva[0x10], 0x5a);
	pci_config_write(pci, 0x10, 0xe0010000, 4);
	assert_null(ram_find(env.ram, 0xe0000000));
	assert_int_equal(look(0xe0010010), 0x5a);
	/* RAM wins; a place that only its region can serve still works. */
	pci_config_write(pci, 0x10, 0x100000, 4);
	put(0x100010, 0x77);
	assert_int_equal(card->memory->hva[0x10], 0x5a);
	assert_int_equal(bus_read(env.memory, 0x100010, 1), 0x5a);
	assert_true(pci_bus_has_vga(env.pci_bus));
	device_destroy(&pci->device);
	assert_false(pci_bus_has_vga(env.pci_bus));
}

static void an_option_rom_belongs_to_its_function(void **state)
{
	char path[] = "/tmp/xuni-rom-XXXXXX";
	uint8_t rom[3000] = {0x55, 0xaa, 6, [0x18] = 0x1c, [0x1c] = 'P', 'C', 'I', 'R', 0xff, 0xff, 0, 0}, sum = 0;
	int fd = mkstemp(path);
	struct options options = {0};
	struct error err = {0};
	struct device *device;

	for (unsigned i = 0; i < sizeof(rom); i++)
		sum += rom[i];
	rom[6] = (uint8_t)-sum;
	assert_int_equal(write(fd, rom, sizeof(rom)), sizeof(rom));
	close(fd);
	options_add(&options, "romfile", path);
	options_add(&options, "bootindex", "7");
	device = device_create(&card_class, &env, &options, NULL, &err);
	options_free(&options);
	assert_non_null(device);
	assert_int_equal(device->bootindex, 7);
	device_reset(device);
	pci_config_write((struct pci_device *)device, 0x30, 0xffffffff, 4);
	assert_int_equal(pci_config_read((struct pci_device *)device, 0x30, 4), 0xfffff001);
	pci_config_write((struct pci_device *)device, 0x30, 0xe0000001, 4);
	pci_config_write((struct pci_device *)device, 0x04, 2, 2);
	sum = 0;
	for (unsigned i = 0; i < sizeof(rom); i++)
		sum += look(0xe0000000 + i);
	assert_int_equal(sum, 0);
	assert_int_equal(look(0xe0000020), 0x34);
	assert_int_equal(look(0xe0000023), 0x56);
	assert_int_equal(look(0xe0000fff), 0xff);
	put(0xe0000000, 0);
	assert_int_equal(look(0xe0000000), 0x55);
	device_destroy(device);
	unlink(path);
	/* What a device has by default may be missing, what was asked for may not. */
	env.firmware = true;
	device = device_create(&card_class, &env, NULL, NULL, &err);
	assert_null(device); /* there is nobody to look for it: the name is the path */
	assert_non_null(strstr(err.msg, "no-such.rom"));
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(the_firmware_is_seen_below_1_mib), T(shadowing),
	        T(each_segment_has_its_nibble),      T(smram_opens_and_locks),
	        T(the_layout_is_restored),           T(a_memory_bar_is_memory),
	        T(an_option_rom_belongs_to_its_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
