/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that writes anything anywhere: configuration space of every function, BARs, legacy ports, device registers and
 * RAM of a machine with host bridge, ISA bridge and virtio devices. What must hold: no crash, no hang, and the read-only
 * parts of configuration space do not change.
 *
 * Input: operations of one byte and their operands.
 */
#include "fuzz.h"

#include "base/loop.h"
#include "base/util.h"
#include "core/bus.h"
#include "core/ram.h"
#include "device/pci/test_machine.h"
#include "device/virtio/virtio.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEVICES = 6, RAM_BYTES = 1 << 20 };

static const uint8_t devfns[] = {0, 1 << 3, 3 << 3, 4 << 3, 5 << 3, 6 << 3, 1, 0xff};

/* An address where some BAR is, now or lately. */
static uint64_t bar_place(struct test_machine *machine, uint64_t choice, bool *io)
{
	unsigned devfn = devfns[choice & 7];
	unsigned bar = (choice >> 3 & 7) % 6;
	uint32_t low = test_config_read(machine, devfn, 0x10 + 4 * bar, 4);

	*io = low & 1;
	return (low & 1 ? low & 0xfffc : low & ~15u) + (choice >> 6 & 0x3fff);
}

static void operation(struct test_machine *machine, struct input *input)
{
	unsigned choice = (unsigned)take(input, 1), size = 1u << (choice >> 6), at;
	uint64_t place, value;
	bool io = false;

	switch (choice & 15) {
	case 0:
	case 1:
	case 2:
		at = (unsigned)take(input, 1);
		place = take(input, 1);
		test_config_write(machine, devfns[at & 7], (unsigned)place, (uint32_t)take(input, 4), size & 7 ? size : 4);
		break;
	case 3:
		at = (unsigned)take(input, 1);
		test_config_read(machine, devfns[at & 7], (unsigned)take(input, 1), size & 7 ? size : 4);
		break;
	case 4: /* decode on, a BAR somewhere useful */
		at = devfns[take(input, 1) & 7];
		test_bar_assign(machine, at, (unsigned)take(input, 1) % 6);
		test_config_write(machine, at, 4, 7, 2);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		place = bar_place(machine, take(input, 3), &io);
		bus_write(io ? machine->env.io : machine->env.memory, place, take(input, size), size);
		break;
	case 9:
		place = bar_place(machine, take(input, 3), &io);
		bus_read(io ? machine->env.io : machine->env.memory, place, size);
		break;
	case 10: /* anywhere on the buses */
		place = take(input, 5);
		bus_write(machine->env.memory, place, take(input, 4), size);
		break;
	case 11:
		place = take(input, 2);
		bus_write(machine->env.io, place, take(input, 4), size & 7 ? size : 4);
		break;
	case 12:
		place = take(input, 2) << 4;
		value = take(input, 8);
		ram_write(machine->env.ram, place, &value, 8);
		break;
	case 13:
		loop_poll(machine->env.loop, 0);
		break;
	case 14: /* a small virtio start of the device in slot 3..5, rings at fixed places */
		place = bar_place(machine, 2 | 4 << 3, &io) & ~0x3fffull;
		value = take(input, 1);
		bus_write(machine->env.memory, place + 8, 1, 4);
		bus_write(machine->env.memory, place + 12, 1, 4);
		bus_write(machine->env.memory, place + 20, 11, 1);
		bus_write(machine->env.memory, place + 22, value & 3, 2);
		bus_write(machine->env.memory, place + 32, 0x10000, 8);
		bus_write(machine->env.memory, place + 40, 0x11000, 8);
		bus_write(machine->env.memory, place + 48, 0x12000, 8);
		bus_write(machine->env.memory, place + 28, 1, 2);
		bus_write(machine->env.memory, place + 20, 15, 1);
		break;
	default:
		bus_read(machine->env.io, take(input, 2), size & 7 ? size : 4);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const options[] = {"addr=3", "addr=4,packed=on", "addr=5,page-per-vq=on", "addr=6,vectors=0"};
	static struct test_machine *machine;
	static struct device *devices[DEVICES];
	static uint8_t writable[DEVICES][256];
	struct input input = {data, size};

	if (!machine) {
		machine = test_machine_new(RAM_BYTES, true);
		machine->log.items = LOG_GUEST_ERRORS;
		machine->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		devices[0] = machine->host_bridge;
		devices[1] = machine->isa_bridge;
		devices[2] = test_device(machine, &virtio_rng_pci, options[0], NULL);
		devices[3] = test_device(machine, &virtio_balloon_pci, options[1], NULL);
		devices[4] = test_device(machine, &virtio_rng_pci_non_transitional, options[2], NULL);
		devices[5] = test_device(machine, &virtio_balloon_pci_transitional, options[3], NULL);
	}
	for (unsigned i = 0; i < DEVICES; i++) {
		const struct pci_device *pci = (const struct pci_device *)devices[i];

		device_reset(devices[i]);
		/* As after reset: SMRAM's lock takes its register's bits away later. */
		for (unsigned at = 0; at < 256; at++)
			writable[i][at] = pci->write_mask[at] | pci->clear_mask[at];
	}
	machine->next_mmio = 0xe0000000;
	machine->next_port = 0xc000;
	while (input.size)
		operation(machine, &input);
	loop_poll(machine->env.loop, 0);
	for (unsigned i = 0; i < DEVICES; i++) {
		const struct pci_device *pci = (const struct pci_device *)devices[i];

		for (unsigned at = 0; at < 256; at++)
			if ((pci->config[at] ^ pci->initial[at]) & ~writable[i][at])
				abort();
	}
	return 0;
}
