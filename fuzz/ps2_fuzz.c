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

static unsigned take(const uint8_t **data, size_t *size)
{
	if (!*size)
		return 0;
	(*size)--;
	return *(*data)++;
}

static void damage_state(const uint8_t **data, size_t *size)
{
	struct state_buffer saved = {0};

	state_save(kbc->class->state, kbc, &saved);
	saved.data[(take(data, size) | take(data, size) << 8) % saved.length] ^= (uint8_t)take(data, size);
	state_load(kbc->class->state, kbc, saved.data, saved.length, NULL);
	free(saved.data);
}

static void operation(const uint8_t **data, size_t *size)
{
	static const uint16_t ports[] = {DATA, COMMAND, 0x92, DATA};
	unsigned choice = take(data, size), value;

	switch (choice & 7) {
	case 0:
	case 1:
		bus_write(t.env.io, ports[choice >> 3 & 3], take(data, size), 1);
		break;
	case 2:
		bus_read(t.env.io, ports[choice >> 3 & 3], 1);
		break;
	case 3: /* to the mouse */
		bus_write(t.env.io, COMMAND, 0xd4, 1);
		bus_write(t.env.io, DATA, take(data, size), 1);
		break;
	case 4:
		input_key(t.env.input, NULL, take(data, size) % INPUT_KEYS, choice & 0x10);
		break;
	case 5:
		value = take(data, size);
		input_move(t.env.input, NULL, (int8_t)value * (choice >> 3), (int8_t)take(data, size) * (choice >> 3));
		input_button(t.env.input, NULL, (choice >> 3) % (INPUT_BUTTONS + 2), value & 1);
		break;
	case 6:
		clock_advance(t.env.clock, (int64_t)take(data, size) * 10 * NS_PER_MS);
		break;
	case 7:
		if (choice & 0x80)
			device_reset(kbc);
		else
			damage_state(data, size);
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
	if (!kbc) {
		test_pc_init(&t);
		t.env.input = input_new(t.env.clock);
		kbc = (struct device *)i8042_new(&t.env, NULL);
	}
	device_reset(kbc);
	for (unsigned n = 0; size && n < OPERATIONS_MAX; n++)
		operation(&data, &size);
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
