/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller as kernels probe it, and keys and movements through it. */
#include "device/pc/i8042.h"

#include "backend/display/input.h"
#include "base/util.h"
#include "device/pc/ps2.h"
#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { DATA = 0x60, COMMAND = 0x64, KBD = 1, AUX = 12 };

static struct test_pc t;
static struct i8042 *kbc;

static void key(enum input_key which, bool down)
{
	input_key(t.env.input, NULL, which, down);
}

static void mouse(int dx, int dy, int wheel, bool left)
{
	struct input_event events[4] = {{INPUT_RELATIVE, INPUT_X, dx},
					{INPUT_RELATIVE, INPUT_Y, dy},
					{INPUT_BUTTON, INPUT_LEFT, left},
					{INPUT_BUTTON, wheel > 0 ? INPUT_WHEEL_DOWN : INPUT_WHEEL_UP, 1}};

	input_send(t.env.input, NULL, events, wheel ? 4 : 3);
}

static int setup(void **state)
{
	struct error err = {0};

	test_pc_init(&t);
	t.env.input = input_new(t.env.clock);
	kbc = i8042_new(&t.env, &err);
	assert_non_null(kbc);
	device_reset((struct device *)kbc);
	assert_int_equal(t.requests, 0);
	return 0;
}

static int teardown(void **state)
{
	device_destroy((struct device *)kbc);
	input_free(t.env.input);
	test_pc_fini(&t);
	return 0;
}

static void assert_byte(uint8_t value, bool aux);
static void assert_empty(void);

static void assert_bytes(const char *hex, bool aux)
{
	for (unsigned value, at; sscanf(hex, "%x%n", &value, &at) == 1; hex += at)
		assert_byte((uint8_t)value, aux);
	assert_empty();
}

static void assert_byte(uint8_t value, bool aux)
{
	uint8_t status = in8(&t, COMMAND);

	assert_int_equal(status & 1, 1);
	assert_int_equal(status >> 5 & 1, aux);
	assert_int_equal(in8(&t, DATA), value);
}

static void assert_empty(void)
{
	assert_int_equal(in8(&t, COMMAND) & 0x21, 0);
}

static uint8_t command_byte(void)
{
	out8(&t, COMMAND, 0x20);
	return in8(&t, DATA);
}

static void set_command_byte(uint8_t value)
{
	out8(&t, COMMAND, 0x60);
	out8(&t, DATA, value);
}

static void self_tests(void **unused)
{
	out8(&t, COMMAND, 0xaa);
	assert_byte(0x55, false);
	out8(&t, COMMAND, 0xab);
	assert_byte(0x00, false);
	out8(&t, COMMAND, 0xa9);
	assert_byte(0x00, false);
	assert_empty();
	assert_int_equal(in8(&t, COMMAND) & 0x14, 0x14);
}

static void command_byte_and_ports(void **unused)
{
	set_command_byte(0x47);
	assert_int_equal(command_byte(), 0x47);
	out8(&t, COMMAND, 0xa7);
	assert_int_equal(command_byte(), 0x67);
	out8(&t, COMMAND, 0xad);
	assert_int_equal(command_byte(), 0x77);
	out8(&t, COMMAND, 0xa8);
	out8(&t, COMMAND, 0xae);
	assert_int_equal(command_byte(), 0x47);
}

static void aux_loop(void **unused)
{
	out8(&t, COMMAND, 0xd3);
	out8(&t, DATA, 0x5a);
	assert_true(t.wires[AUX].level);
	assert_byte(0x5a, true);
	assert_false(t.wires[AUX].level);
	out8(&t, COMMAND, 0xd2);
	out8(&t, DATA, 0xa5);
	assert_true(t.wires[KBD].level);
	assert_byte(0xa5, false);
}

static void keyboard_identifies(void **unused)
{
	set_command_byte(0x01); /* no translation: set 2 shows */
	out8(&t, DATA, 0xff);
	assert_byte(0xfa, false);
	assert_byte(0xaa, false);
	out8(&t, DATA, 0xf2);
	assert_byte(0xfa, false);
	assert_byte(0xab, false);
	assert_byte(0x83, false);
	out8(&t, DATA, 0xed);
	assert_byte(0xfa, false);
	out8(&t, DATA, 0x07);
	assert_byte(0xfa, false);
	out8(&t, DATA, 0xf0);
	assert_byte(0xfa, false);
	out8(&t, DATA, 0x00);
	assert_byte(0xfa, false);
	assert_byte(0x02, false);
	out8(&t, DATA, 0xee);
	assert_byte(0xee, false);
	out8(&t, DATA, 0xfe);
	assert_byte(0xee, false);
	out8(&t, DATA, 0x11);
	assert_byte(0xfe, false);
	assert_empty();
}

/* Whatever key is pressed, software with translation on sees its number as the scan code of set 1. */
static void keys_are_translated(void **unused)
{
	for (unsigned k = 1; k < INPUT_KEYS; k++) {
		uint8_t number = input_key_rows[k].number;

		if (k == INPUT_KEY_PRINT || k == INPUT_KEY_PAUSE || k == INPUT_KEY_LANG1 || k == INPUT_KEY_LANG2)
			continue;
		key(k, true);
		assert_true(t.wires[KBD].level);
		if (number & 0x80)
			assert_byte(0xe0, false);
		assert_byte(number & 0x7f, false);
		key(k, false);
		if (number & 0x80)
			assert_byte(0xe0, false);
		assert_byte(number | 0x80, false);
		assert_empty();
	}
	assert_false(t.wires[KBD].level);
	key(INPUT_KEY_UNMAPPED, true);
	key(INPUT_KEY_A, false); /* was not pressed */
	assert_empty();
}

static void set_of(uint8_t set)
{
	out8(&t, DATA, 0xf0);
	assert_byte(0xfa, false);
	out8(&t, DATA, set);
	assert_byte(0xfa, false);
}

static void press_and_release(enum input_key which, const char *expected)
{
	key(which, true);
	key(which, false);
	assert_bytes(expected, false);
}

static void pause_and_print(void **unused)
{
	press_and_release(INPUT_KEY_PAUSE, "e1 1d 45 e1 9d c5");
	press_and_release(INPUT_KEY_PRINT, "e0 2a e0 37 e0 b7 e0 aa");
	press_and_release(INPUT_KEY_LANG1, "f2");
	key(INPUT_KEY_CTRL_R, true);
	assert_bytes("e0 1d", false);
	press_and_release(INPUT_KEY_PAUSE, "e0 46 e0 c6");
	press_and_release(INPUT_KEY_PRINT, "e0 37 e0 b7");
	key(INPUT_KEY_CTRL_R, false);
	assert_bytes("e0 9d", false);
	key(INPUT_KEY_ALT, true);
	key(INPUT_KEY_PRINT, true);
	key(INPUT_KEY_ALT, false);
	key(INPUT_KEY_PRINT, false); /* ends as it began */
	assert_bytes("38 54 b8 d4", false);
	set_command_byte(0x01);
	press_and_release(INPUT_KEY_PAUSE, "e1 14 77 e1 f0 14 f0 77");
	press_and_release(INPUT_KEY_PRINT, "e0 12 e0 7c e0 f0 7c e0 f0 12");
	press_and_release(INPUT_KEY_META_L, "e0 1f e0 f0 1f");
	set_of(1);
	press_and_release(INPUT_KEY_PAUSE, "e1 1d 45 e1 9d c5");
	press_and_release(INPUT_KEY_PRINT, "e0 2a e0 37 e0 b7 e0 aa");
	press_and_release(INPUT_KEY_F7, "41 c1");
}

static void set_three(void **unused)
{
	set_command_byte(0x01);
	set_of(3);
	press_and_release(INPUT_KEY_A, "1c");           /* repeats, tells no release */
	press_and_release(INPUT_KEY_SHIFT, "12 f0 12"); /* shifts */
	press_and_release(INPUT_KEY_UP, "63");
	press_and_release(INPUT_KEY_PAUSE, "62");
	press_and_release(INPUT_KEY_VOLUMEUP, ""); /* not on such a keyboard */
	key(INPUT_KEY_F1, true);
	clock_advance(t.env.clock, 2 * NS_PER_S);
	assert_bytes("07", false); /* press only: no repeat */
	key(INPUT_KEY_F1, false);
	out8(&t, DATA, 0xfc); /* these keys tell their release */
	assert_byte(0xfa, false);
	out8(&t, DATA, 0x1c);
	assert_byte(0xfa, false);
	out8(&t, DATA, 0x84);
	assert_byte(0xfa, false);
	out8(&t, DATA, 0xf4);
	assert_byte(0xfa, false);
	press_and_release(INPUT_KEY_A, "1c f0 1c");
	press_and_release(INPUT_KEY_KP_SUBTRACT, "84 f0 84");
	press_and_release(INPUT_KEY_S, "1b");
	out8(&t, DATA, 0xfa); /* all keys everything */
	assert_byte(0xfa, false);
	press_and_release(INPUT_KEY_S, "1b f0 1b");
	out8(&t, DATA, 0xf6);
	assert_byte(0xfa, false);
	press_and_release(INPUT_KEY_S, "1b f0 1b"); /* set 2 again */
}

static void held_keys_repeat(void **unused)
{
	out8(&t, DATA, 0xf3);
	assert_byte(0xfa, false);
	out8(&t, DATA, 0x00); /* after 250 ms, then every 33.4 ms */
	assert_byte(0xfa, false);
	key(INPUT_KEY_A, true);
	clock_advance(t.env.clock, 249 * NS_PER_MS);
	assert_bytes("1e", false);
	clock_advance(t.env.clock, 1 * NS_PER_MS);
	assert_bytes("1e", false);
	clock_advance(t.env.clock, 33 * NS_PER_MS);
	assert_empty();
	clock_advance(t.env.clock, 1 * NS_PER_MS);
	assert_bytes("1e", false);
	clock_advance(t.env.clock, NS_PER_S); /* what is not read does not pile up */
	key(INPUT_KEY_B, true);               /* the last key repeats, and no longer this one */
	assert_bytes("1e 1e 30", false);
	key(INPUT_KEY_A, false);
	assert_bytes("9e", false);
	key(INPUT_KEY_B, false);
	assert_bytes("b0", false);
	clock_advance(t.env.clock, 2 * NS_PER_S);
	assert_empty();
	/* A source that repeats by itself. */
	key(INPUT_KEY_A, true);
	key(INPUT_KEY_A, true);
	assert_bytes("1e 1e", false);
	clock_advance(t.env.clock, 2 * NS_PER_S);
	assert_empty();
	key(INPUT_KEY_A, false);
	assert_bytes("9e", false);
}

static unsigned leds;

static void note_leds(void *opaque, unsigned value)
{
	leds = value;
}

static void the_guest_sets_leds(void **unused)
{
	struct input_listener listener = {.leds = note_leds};

	input_listen(t.env.input, &listener);
	out8(&t, DATA, 0xed);
	assert_byte(0xfa, false);
	out8(&t, DATA, 0x04);
	assert_byte(0xfa, false);
	assert_int_equal(leds, INPUT_LED_CAPS);
	device_reset((struct device *)kbc);
	assert_int_equal(leds, 0);
	input_unlisten(t.env.input, &listener);
}

static void untranslated_and_off(void **unused)
{
	set_command_byte(0x01);
	press_and_release(INPUT_KEY_A, "1c f0 1c");
	out8(&t, COMMAND, 0xad);
	key(INPUT_KEY_A, true);
	assert_empty();
	out8(&t, COMMAND, 0xae);
	assert_byte(0x1c, false);
	set_command_byte(0x00); /* no interrupt */
	key(INPUT_KEY_B, true);
	assert_false(t.wires[KBD].level);
	assert_byte(0x32, false);
	out8(&t, DATA, 0xf5); /* does not scan */
	assert_byte(0xfa, false);
	key(INPUT_KEY_C, true);
	assert_empty();
}

/* Presses are lost where nobody reads, releases are not: no key hangs. */
static void full_queue(void **unused)
{
	unsigned pressed[256] = {0}, status;

	for (unsigned round = 0; round < 40; round++) {
		for (unsigned k = INPUT_KEY_Q; k <= INPUT_KEY_P; k++)
			key(k, true);
		for (unsigned k = INPUT_KEY_Q; k <= INPUT_KEY_P; k++)
			key(k, false);
	}
	/* Commands are answered before the keys. */
	out8(&t, DATA, 0xee);
	assert_byte(0x10, false); /* was in the output buffer already */
	assert_byte(0xee, false);
	pressed[0x10]++;
	while ((status = in8(&t, COMMAND)) & 1) {
		uint8_t code = in8(&t, DATA);

		pressed[code & 0x7f] += code & 0x80 ? -1u : 1u;
	}
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(pressed[i], 0);
	press_and_release(INPUT_KEY_Q, "10 90");
}

/* The controller's answer does not overwrite what is in the output buffer. */
static void nothing_is_overwritten(void **unused)
{
	key(INPUT_KEY_A, true);
	out8(&t, COMMAND, 0x20);
	assert_bytes("1e 47", false);
	out8(&t, COMMAND, 0x6a);
	out8(&t, DATA, 0x77);
	out8(&t, COMMAND, 0x2a);
	assert_bytes("77", false);
	out8(&t, COMMAND, 0xa4);
	assert_bytes("f1", false);
}

static void to_mouse(uint8_t value)
{
	out8(&t, COMMAND, 0xd4);
	out8(&t, DATA, value);
}

static void mouse_with_wheel(void **unused)
{
	static const uint8_t knock[] = {0xf3, 200, 0xf3, 100, 0xf3, 80};

	to_mouse(0xff);
	assert_byte(0xfa, true);
	assert_byte(0xaa, true);
	assert_byte(0x00, true);
	for (unsigned i = 0; i < ARRAY_SIZE(knock); i++) {
		to_mouse(knock[i]);
		assert_byte(0xfa, true);
	}
	to_mouse(0xf2);
	assert_byte(0xfa, true);
	assert_byte(0x03, true);
	mouse(5, 5, 0, false);
	assert_empty(); /* not reporting yet */
	to_mouse(0xf4);
	assert_byte(0xfa, true);
	assert_empty();
	mouse(5, 3, 1, true);
	assert_true(t.wires[AUX].level);
	assert_bytes("29 05 fd 01", true);
	to_mouse(0xe9);
	assert_bytes("fa 24 02 50", true);
	to_mouse(0x77);
	assert_byte(0xfe, true);
	assert_empty();
}

static void mouse_modes(void **unused)
{
	static const uint8_t knock[] = {0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf3, 200, 0xf3, 200, 0xf3, 80};

	for (unsigned i = 0; i < ARRAY_SIZE(knock); i++) {
		to_mouse(knock[i]);
		assert_byte(0xfa, true);
	}
	to_mouse(0xf2);
	assert_bytes("fa 04", true);
	to_mouse(0xf4);
	assert_byte(0xfa, true);
	/* Movements add up while the guest reads the packet before; clicks do not. */
	mouse(1, 0, 0, false);
	mouse(300, 0, 0, false);
	mouse(10, -700, 0, false);
	assert_bytes("08 01 00 00 08 ff ff 00 08 37 ff 00 08 00 be 00", true);
	input_button(t.env.input, NULL, INPUT_SIDE, true);
	input_button(t.env.input, NULL, INPUT_SIDE, false);
	input_button(t.env.input, NULL, INPUT_WHEEL_RIGHT, true);
	assert_bytes("08 00 00 10 08 00 00 00 08 00 00 41", true);
	to_mouse(0xe7); /* 2:1 */
	assert_byte(0xfa, true);
	mouse(5, -1, 0, false);
	assert_bytes("08 09 01 00", true);
	mouse(-100, 3, 0, false);
	assert_bytes("38 38 fd 00", true);
	to_mouse(0xf0); /* remote: only when asked, and not scaled */
	assert_byte(0xfa, true);
	mouse(5, 0, 0, true);
	assert_empty();
	to_mouse(0xeb);
	assert_bytes("fa 09 05 00 00", true);
	to_mouse(0xea);
	assert_byte(0xfa, true);
	/* A command ends a packet half read. */
	mouse(1, 1, 0, true);
	assert_byte(0x29, true);
	assert_byte(0x01, true);
	to_mouse(0xe8);
	assert_byte(0xff, true); /* was in the output buffer already */
	assert_bytes("fa", true);
	to_mouse(3);
	assert_bytes("fa", true);
	to_mouse(0xee); /* wrap */
	assert_bytes("fa", true);
	to_mouse(0x12);
	assert_bytes("12", true);
	mouse(1, 1, 0, false);
	assert_empty();
	to_mouse(0xec);
	assert_bytes("fa 28 01 ff 00", true); /* moved meanwhile */
	to_mouse(0xf6);
	assert_byte(0xfa, true);
	to_mouse(0xe9);
	assert_bytes("fa 00 02 64", true);
}

static void a20_and_reset(void **unused)
{
	assert_int_equal(in8(&t, 0x92) & 2, 2);
	out8(&t, COMMAND, 0xdd);
	assert_int_equal(t.request, MACHINE_A20);
	assert_int_equal(t.argument, 0);
	assert_int_equal(in8(&t, 0x92) & 2, 0);
	out8(&t, COMMAND, 0xd0);
	assert_int_equal(in8(&t, DATA) & 3, 1);
	out8(&t, 0x92, 0x02);
	assert_int_equal(t.argument, 1);
	assert_int_equal(t.requests, 2);
	out8(&t, 0x92, 0x02); /* no change, no request */
	assert_int_equal(t.requests, 2);
	out8(&t, COMMAND, 0xd1);
	out8(&t, DATA, 0xdd);
	assert_int_equal(t.argument, 0);
	out8(&t, COMMAND, 0xd1);
	out8(&t, DATA, 0xdf);
	assert_int_equal(t.argument, 1);
	out8(&t, COMMAND, 0xff); /* pulses nothing */
	assert_int_equal(t.request, MACHINE_A20);
	out8(&t, COMMAND, 0xfe);
	assert_int_equal(t.request, MACHINE_RESET);
	t.request = -1;
	out8(&t, 0x92, 0x03);
	assert_int_equal(t.request, MACHINE_RESET);
	t.request = -1;
	out8(&t, COMMAND, 0xd1);
	out8(&t, DATA, 0xfe);
	assert_int_equal(t.request, MACHINE_RESET);
}

static void state_survives(void **unused)
{
	struct error err = {0};

	key(INPUT_KEY_Q, true);
	key(INPUT_KEY_W, true);
	assert_true(test_save_reset_load((struct device *)kbc, &err) > 0);
	assert_byte(0x10, false);
	assert_byte(0x11, false);
	assert_empty();
	test_hostile_state((struct device *)kbc);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(self_tests),
		T(command_byte_and_ports),
		T(aux_loop),
		T(keyboard_identifies),
		T(keys_are_translated),
		T(pause_and_print),
		T(set_three),
		T(held_keys_repeat),
		T(the_guest_sets_leds),
		T(untranslated_and_off),
		T(full_queue),
		T(nothing_is_overwritten),
		T(mouse_with_wheel),
		T(mouse_modes),
		T(a20_and_reset),
		T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
