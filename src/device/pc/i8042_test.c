/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller as kernels probe it, and keys and movements through it. */
#include "device/pc/i8042.h"

#include "base/util.h"
#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { DATA = 0x60, COMMAND = 0x64, KBD = 1, AUX = 12 };

static struct test_pc t;
static struct i8042 *kbc;

static int setup(void **state)
{
	struct error err = {0};

	test_pc_init(&t);
	kbc = i8042_new(&t.env, &err);
	assert_non_null(kbc);
	device_reset((struct device *)kbc);
	assert_int_equal(t.requests, 0);
	return 0;
}

static int teardown(void **state)
{
	device_destroy((struct device *)kbc);
	test_pc_fini(&t);
	return 0;
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

/* Whatever key is pressed, software with translation on sees the scan code of set 1 that went in. */
static void keys_are_translated(void **unused)
{
	for (uint8_t code = 1; code < 0x59; code++) {
		if (code == 0x55)
			continue;
		assert_true(i8042_key(kbc, code, false, true));
		assert_true(t.wires[KBD].level);
		assert_byte(code, false);
		assert_true(i8042_key(kbc, code, false, false));
		assert_byte(code | 0x80, false);
		assert_empty();
	}
	i8042_key(kbc, 0x48, true, true); /* cursor up */
	i8042_key(kbc, 0x48, true, false);
	assert_byte(0xe0, false);
	assert_byte(0x48, false);
	assert_byte(0xe0, false);
	assert_byte(0xc8, false);
	assert_false(t.wires[KBD].level);
	i8042_key(kbc, 0xff, false, true);
	assert_empty();
}

static void untranslated_and_off(void **unused)
{
	set_command_byte(0x01);
	i8042_key(kbc, 0x1e, false, true);
	assert_byte(0x1c, false);
	i8042_key(kbc, 0x1e, false, false);
	assert_byte(0xf0, false);
	assert_byte(0x1c, false);
	out8(&t, COMMAND, 0xad);
	i8042_key(kbc, 0x1e, false, true);
	assert_empty();
	out8(&t, COMMAND, 0xae);
	assert_byte(0x1c, false);
	set_command_byte(0x00); /* no interrupt */
	i8042_key(kbc, 0x1e, false, true);
	assert_false(t.wires[KBD].level);
	assert_byte(0x1c, false);
}

static void full_queue(void **unused)
{
	unsigned taken = 0;

	while (i8042_key(kbc, 0x1e, false, true))
		assert_true(++taken < 100);
	assert_true(taken > 20);
	/* Commands still get their answer after the keys. */
	out8(&t, DATA, 0xee);
	for (unsigned i = 0; i < taken; i++)
		assert_byte(0x1e, false);
	assert_byte(0xee, false);
	assert_empty();
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
	i8042_mouse(kbc, 5, 5, 0, 0);
	assert_empty(); /* not reporting yet */
	to_mouse(0xf4);
	assert_byte(0xfa, true);
	i8042_mouse(kbc, 5, 3, 1, 1);
	assert_true(t.wires[AUX].level);
	assert_byte(0x29, true);
	assert_byte(5, true);
	assert_byte(0xfd, true);
	assert_byte(1, true);
	to_mouse(0xe9);
	assert_byte(0xfa, true);
	assert_byte(0x24, true);
	assert_byte(2, true);
	assert_byte(80, true);
	to_mouse(0x77);
	assert_byte(0xfe, true);
	assert_empty();
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

	i8042_key(kbc, 0x10, false, true);
	i8042_key(kbc, 0x11, false, true);
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
		T(self_tests),          T(command_byte_and_ports), T(aux_loop),   T(keyboard_identifies),
		T(keys_are_translated), T(untranslated_and_off),   T(full_queue), T(mouse_with_wheel),
		T(a20_and_reset),       T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
