/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that does anything to the keyboard controller while keys are pressed, the mouse moves, time passes and state
 * is saved, damaged and loaded. No crash, no hang; and after a reset the keyboard answers and no key is held.
 *
 * Input: operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/display/input.h"
#include "base/util.h"
#include "device/pc/i8042.h"
#include "device/pc/test_pc.h"

enum { OPERATIONS_MAX = 4096, DATA = 0x60, COMMAND = 0x64 };

static struct test_pc t;
static struct device *kbc;

static void damage_state(struct input *input)
{
	struct state_buffer saved = {0};

	state_save(kbc->class->state, kbc, &saved);
	saved.data[take(input, 2) % saved.length] ^= (uint8_t)take(input, 1);
	state_load(kbc->class->state, kbc, saved.data, saved.length, NULL);
	free(saved.data);
}

static void operation(struct input *input)
{
	static const uint16_t ports[] = {DATA, COMMAND, 0x92, DATA};
	unsigned choice = (unsigned)take(input, 1), value;

	switch (choice & 7) {
	case 0:
	case 1:
		bus_write(t.env.io, ports[choice >> 3 & 3], take(input, 1), 1);
		break;
	case 2:
		bus_read(t.env.io, ports[choice >> 3 & 3], 1);
		break;
	case 3: /* to the mouse */
		bus_write(t.env.io, COMMAND, 0xd4, 1);
		bus_write(t.env.io, DATA, take(input, 1), 1);
		break;
	case 4:
		input_key(t.env.input, NULL, (unsigned)take(input, 1) % INPUT_KEYS, choice & 0x10);
		break;
	case 5:
		value = (unsigned)take(input, 1);
		input_move(t.env.input, NULL, (int8_t)value * (choice >> 3), (int8_t)take(input, 1) * (choice >> 3));
		input_button(t.env.input, NULL, (choice >> 3) % (INPUT_BUTTONS + 2), value & 1);
		break;
	case 6:
		clock_advance(t.env.clock, (int64_t)take(input, 1) * 10 * NS_PER_MS);
		break;
	case 7:
		if (choice & 0x80)
			device_reset(kbc);
		else
			damage_state(input);
		break;
	}
}

static unsigned answer(void)
{
	if (!(bus_read(t.env.io, COMMAND, 1) & 1))
		abort();
	return (unsigned)bus_read(t.env.io, DATA, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};

	if (!kbc) {
		test_pc_init(&t);
		t.env.input = input_new(t.env.clock);
		kbc = (struct device *)i8042_new(&t.env, NULL);
	}
	device_reset(kbc);
	for (unsigned n = 0; input.size && n < OPERATIONS_MAX; n++)
		operation(&input);
	device_reset(kbc);
	input_key(t.env.input, NULL, INPUT_KEY_A, true);
	if (answer() != 0x1e || bus_read(t.env.io, COMMAND, 1) & 1)
		abort();
	input_key(t.env.input, NULL, INPUT_KEY_A, false);
	if (answer() != 0x9e)
		abort();
	bus_write(t.env.io, DATA, 0xee, 1);
	if (answer() != 0xee)
		abort();
	return 0;
}
