/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that writes anything to the small PCI functions (watchdog, pvpanic) while time passes and their state is
 * saved, damaged and loaded. What must hold: no crash, no hang, and after a reset the watchdog stands still.
 *
 * Input: operations of one byte and their operands.
 */
#include "fuzz.h"

#include "core/bus.h"
#include "core/clock.h"
#include "core/state.h"
#include "device/pci/test_machine.h"

#include <stdlib.h>

enum { DEVICES = 2, OPERATIONS_MAX = 4096 };

static void damage(struct device *device, struct input *input)
{
	const struct state_table *table = device->class->state;
	struct state_buffer saved = {0};

	state_save(table, device, &saved);
	saved.data[take(input, 2) % saved.length] ^= (uint8_t)take(input, 1);
	state_load(table, device, saved.data, saved.length, NULL);
	free(saved.data);
}

static void operation(struct test_machine *m, struct device **devices, struct input *input)
{
	unsigned choice = (unsigned)take(input, 1), which = choice >> 4 & 1, size = 1u << (choice >> 5 & 3);
	unsigned devfn = (3 + which) << 3;
	uint64_t base = test_config_read(m, devfn, 0x10, 4) & ~15u, place;

	size = size > 4 ? 4 : size;
	switch (choice & 7) {
	case 0:
		place = take(input, 1);
		test_config_write(m, devfn, (unsigned)place, (uint32_t)take(input, 4), size);
		break;
	case 1:
		test_config_read(m, devfn, (unsigned)take(input, 1), size);
		break;
	case 2:
		place = base + (take(input, 1) & 15);
		bus_write(m->env.memory, place, take(input, size), size);
		break;
	case 3:
		bus_read(m->env.memory, base + (take(input, 1) & 15), size);
		break;
	case 4:
		clock_advance(m->env.clock, (int64_t)take(input, 3) << 8);
		break;
	case 5: /* the keys */
		bus_write(m->env.memory, base + 12, 0x80, 2);
		bus_write(m->env.memory, base + 12, 0x86, 2);
		break;
	case 6:
		test_bar_assign(m, devfn, 0);
		test_config_write(m, devfn, 4, 2, 2);
		break;
	default:
		damage(devices[which], input);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct test_machine *m;
	static struct device *devices[DEVICES];
	struct input input = {data, size};

	if (!m) {
		m = test_machine_new(1 << 20, false);
		clock_free(m->env.clock);
		m->env.clock = clock_new(true, 1000000);
		clock_start(m->env.clock);
		devices[0] = test_device(m, &i6300esb_class, "addr=3", NULL);
		devices[1] = test_device(m, &pvpanic_pci_class, "addr=4", NULL);
	}
	for (unsigned i = 0; i < DEVICES; i++)
		device_reset(devices[i]);
	if (clock_next_deadline(m->env.clock) != INT64_MAX)
		abort();
	for (unsigned i = 0; i < OPERATIONS_MAX && input.size; i++)
		operation(m, devices, &input);
	return 0;
}
