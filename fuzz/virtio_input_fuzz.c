/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver that does anything to a virtio keyboard and a tablet: chains of any kind, questions to the configuration,
 * resets, while keys and movements arrive and state is saved, damaged and loaded. No crash, no access outside of guest
 * memory, and the keyboard works after a reset.
 *
 * Input: byte 0 chooses device and features, then operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/display/input.h"
#include "base/loop.h"
#include "base/util.h"
#include "device/virtio/test_guest.h"
#include "device/virtio/virtio.h"

#include <fcntl.h>

enum { KEYBOARD_DEVFN = 3 << 3, TABLET_DEVFN = 4 << 3, RAM_BYTES = 4 << 20, OPERATIONS_MAX = 2048, DAMAGES_MOST = 3 };

static struct test_machine *machine;
static struct device *devices[2];
static unsigned damages; /* of this input */

static void build(void)
{
	machine = test_machine_new(RAM_BYTES, true);
	machine->log.items = LOG_GUEST_ERRORS;
	machine->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	machine->env.input = input_new(machine->env.clock);
	devices[0] = test_device(machine, &virtio_keyboard_pci, "addr=3,serial=k", NULL);
	devices[1] = test_device(machine, &virtio_tablet_pci, "addr=4", NULL);
	if (!devices[0] || !devices[1])
		abort();
}

/* Costs as much as a hundred other operations, so an input has only a few. */
static void damage_state(struct input *input, struct device *device)
{
	struct state_buffer saved = {0};

	if (damages++ >= DAMAGES_MOST)
		return;
	state_save(device->class->state, device, &saved);
	saved.data[take(input, 2) % saved.length] ^= (uint8_t)take(input, 1);
	state_load(device->class->state, device, saved.data, saved.length, NULL);
	free(saved.data);
}

static void offer(struct guest *guest, struct input *input, unsigned shape)
{
	struct guest_buffer buffers[2];
	unsigned queue = shape & 1, count = 1 + (shape >> 1 & 1);

	for (unsigned i = 0; i < count; i++)
		buffers[i] = (struct guest_buffer){.gpa = take(input, 3),
						   .bytes = (uint32_t)take(input, 1),
						   .device_writes = (shape >> 2 & (i + 1)) != 0};
	if (guest->queues[queue].size)
		guest_offer(guest, queue, buffers, count);
}

static void operation(struct guest *guest, struct device *device, struct input *input)
{
	unsigned choice = (unsigned)take(input, 1), value;

	switch (choice & 7) {
	case 0:
	case 1:
		offer(guest, input, choice >> 3);
		break;
	case 2:
		guest_kick(guest, choice >> 3 & 1);
		loop_poll(machine->env.loop, 0);
		break;
	case 3:
		value = (unsigned)take(input, 2);
		guest_config_write(guest, value & 0xff, value >> 8, 1u << (choice >> 3 & 1));
		guest_config(guest, 8 + (choice & 0x7f), 1);
		break;
	case 4:
		value = (unsigned)take(input, 1);
		input_key(machine->env.input, NULL, value % INPUT_KEYS, choice & 0x80);
		break;
	case 5: {
		const struct input_event events[] = {
			{INPUT_ABSOLUTE, INPUT_X, (int32_t)take(input, 2)},
			{INPUT_BUTTON, (uint16_t)((choice >> 3) % (INPUT_BUTTONS + 2)), choice >> 7},
			{INPUT_RELATIVE, INPUT_Y, (int8_t)choice},
		};

		input_send(machine->env.input, NULL, events, ARRAY_SIZE(events));
		loop_poll(machine->env.loop, 0);
		break;
	}
	case 6:
		if (choice & 8)
			guest_status(guest, (uint8_t)take(input, 1));
		else
			guest_common_write(guest, take(input, 1) & 0x3f, (uint32_t)take(input, 2), 2);
		break;
	case 7:
		if (choice & 8)
			device_reset(device);
		else
			damage_state(input, device);
		break;
	}
}

static void works(struct guest *guest)
{
	uint32_t id, written;

	device_reset(devices[0]);
	guest_open(guest, machine, KEYBOARD_DEVFN, false);
	guest_start(guest, 0, 2);
	guest_offer(guest, 0, &(struct guest_buffer){0x200000, 8, true}, 1);
	input_key(machine->env.input, NULL, INPUT_KEY_A, true);
	if (!guest_wait_used(guest, 0, &id, &written) || written != 8 ||
	    load_le16(guest_memory(guest, 0x200000, 8) + 2) != 30)
		abort();
	device_reset(devices[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct guest guest;
	unsigned choice;

	if (!machine)
		build();
	damages = 0;
	device_reset(devices[0]);
	device_reset(devices[1]);
	choice = (unsigned)take(&input, 1);
	guest_open(&guest, machine, choice & 1 ? TABLET_DEVFN : KEYBOARD_DEVFN, false);
	guest_start(&guest, (uint64_t)(choice >> 1 & 3) << 28 | (choice & 8 ? VIRTIO_BIT(VIRTIO_F_VERSION_1) : 0), 2);
	for (unsigned n = 0; input.size && n < OPERATIONS_MAX; n++)
		operation(&guest, devices[choice & 1], &input);
	loop_poll(machine->env.loop, 0);
	works(&guest);
	return 0;
}
