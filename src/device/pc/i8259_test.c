/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8259 pair as software of the PC uses it, and its corners. */
#include "device/pc/i8259.h"

#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { INT = 16 }; /* the test wire that is the CPU's INTR */

static struct test_pc t;
static struct i8259 *pic;

static void initialise(uint8_t icw4)
{
	out8(&t, 0x20, 0x11);
	out8(&t, 0x21, 0x20);
	out8(&t, 0x21, 0x04);
	out8(&t, 0x21, icw4);
	out8(&t, 0xa0, 0x11);
	out8(&t, 0xa1, 0x28);
	out8(&t, 0xa1, 0x02);
	out8(&t, 0xa1, icw4);
	out8(&t, 0x21, 0x00);
	out8(&t, 0xa1, 0x00);
}

static int setup(void **state)
{
	struct error err = {0};

	test_pc_init(&t);
	pic = i8259_new(&t.env, test_wire(&t, INT), &err);
	assert_non_null(pic);
	device_reset((struct device *)pic);
	initialise(0x01);
	return 0;
}

static int teardown(void **state)
{
	device_destroy((struct device *)pic);
	test_pc_fini(&t);
	return 0;
}

static void line(unsigned n, bool level)
{
	struct irq irq = i8259_input(pic, n);

	irq_set(&irq, level);
}

static void edge_is_taken_once(void **unused)
{
	uint64_t counts[16];

	line(3, true);
	assert_true(t.wires[INT].level);
	assert_int_equal(i8259_ack(pic), 0x23);
	assert_false(t.wires[INT].level);
	out8(&t, 0x20, 0x20);
	assert_false(t.wires[INT].level); /* still high, no new edge */
	line(3, false);
	line(3, true);
	assert_int_equal(i8259_ack(pic), 0x23);
	line(3, true);
	i8259_count(pic, counts);
	assert_int_equal(counts[3], 2);
	assert_int_equal(counts[2] + counts[4], 0);
}

static void pulse_stays_latched(void **unused)
{
	struct irq irq = i8259_input(pic, 0);

	irq_pulse(&irq);
	assert_true(t.wires[INT].level);
	assert_int_equal(i8259_ack(pic), 0x20);
}

static void priority_and_nesting(void **unused)
{
	line(5, true);
	line(1, true);
	assert_int_equal(i8259_ack(pic), 0x21);
	assert_false(t.wires[INT].level); /* 5 waits for 1 */
	line(0, true);
	assert_true(t.wires[INT].level); /* 0 interrupts 1 */
	assert_int_equal(i8259_ack(pic), 0x20);
	out8(&t, 0x20, 0x20);
	assert_false(t.wires[INT].level);
	out8(&t, 0x20, 0x61); /* specific EOI of 1 */
	assert_int_equal(i8259_ack(pic), 0x25);
}

static void cascade(void **unused)
{
	line(12, true);
	assert_int_equal(i8259_ack(pic), 0x2c);
	/* Both are in service: a lower slave request waits. */
	line(13, true);
	assert_false(t.wires[INT].level);
	out8(&t, 0x20, 0x0b);
	assert_int_equal(in8(&t, 0x20), 0x04);
	out8(&t, 0xa0, 0x0b);
	assert_int_equal(in8(&t, 0xa0), 0x10);
	out8(&t, 0xa0, 0x20);
	out8(&t, 0x20, 0x20);
	assert_int_equal(i8259_ack(pic), 0x2d);
}

static void masked_waits(void **unused)
{
	out8(&t, 0x21, 0x08);
	line(3, true);
	assert_false(t.wires[INT].level);
	assert_int_equal(in8(&t, 0x20) & 8, 8);
	assert_int_equal(in8(&t, 0x21), 0x08);
	out8(&t, 0x21, 0x00);
	assert_int_equal(i8259_ack(pic), 0x23);
}

static void level_requests_while_high(void **unused)
{
	out8(&t, 0x4d1, 0x0f); /* lines 9-11; 8 cannot be set */
	assert_int_equal(in8(&t, 0x4d1), 0x0e);
	out8(&t, 0x4d0, 0xff);
	assert_int_equal(in8(&t, 0x4d0), 0xf8);
	line(10, true);
	assert_int_equal(i8259_ack(pic), 0x2a);
	out8(&t, 0xa0, 0x20);
	out8(&t, 0x20, 0x20);
	assert_true(t.wires[INT].level);
	assert_int_equal(i8259_ack(pic), 0x2a);
	line(10, false);
	out8(&t, 0xa0, 0x20);
	out8(&t, 0x20, 0x20);
	assert_false(t.wires[INT].level);
}

static void spurious(void **unused)
{
	out8(&t, 0x4d0, 0x08);
	line(3, true);
	line(3, false);
	assert_int_equal(i8259_ack(pic), 0x27); /* nothing is there any more */
	out8(&t, 0x20, 0x0b);
	assert_int_equal(in8(&t, 0x20), 0); /* and nothing is in service */
}

static void automatic_eoi(void **unused)
{
	initialise(0x03);
	line(4, true);
	line(6, true);
	assert_int_equal(i8259_ack(pic), 0x24);
	assert_true(t.wires[INT].level);
	assert_int_equal(i8259_ack(pic), 0x26);
	assert_false(t.wires[INT].level);
}

static void special_mask(void **unused)
{
	line(1, true);
	assert_int_equal(i8259_ack(pic), 0x21);
	line(6, true);
	assert_false(t.wires[INT].level);
	out8(&t, 0x20, 0x68); /* special mask mode */
	out8(&t, 0x21, 0x02); /* 1 does not hold back the others any more */
	assert_true(t.wires[INT].level);
	assert_int_equal(i8259_ack(pic), 0x26);
}

static void rotation(void **unused)
{
	out8(&t, 0x20, 0xc4); /* 4 is lowest, so 5 is highest */
	line(3, true);
	line(5, true);
	assert_int_equal(i8259_ack(pic), 0x25);
	out8(&t, 0x20, 0xa0); /* rotate on non-specific EOI: 5 becomes lowest, 6 highest */
	line(7, true);
	assert_int_equal(i8259_ack(pic), 0x27);
}

static void polling(void **unused)
{
	out8(&t, 0x20, 0x0c);
	assert_int_equal(in8(&t, 0x20), 0x00);
	line(6, true);
	out8(&t, 0x20, 0x0c);
	assert_int_equal(in8(&t, 0x20), 0x86);
	assert_false(t.wires[INT].level); /* the poll was the acknowledge */
	out8(&t, 0x20, 0x20);
}

static void initialisation_clears(void **unused)
{
	line(3, true);
	assert_int_equal(i8259_ack(pic), 0x23);
	out8(&t, 0x21, 0xff);
	initialise(0x01);
	assert_int_equal(in8(&t, 0x21), 0x00);
	out8(&t, 0x20, 0x0b);
	assert_int_equal(in8(&t, 0x20), 0x00);
}

static void state_survives(void **unused)
{
	struct error err = {0};

	line(1, true);
	assert_int_equal(i8259_ack(pic), 0x21);
	line(4, true);
	line(12, true);
	assert_true(test_save_reset_load((struct device *)pic, &err) > 0);
	out8(&t, 0x20, 0x20);
	assert_true(t.wires[INT].level);
	assert_int_equal(i8259_ack(pic), 0x2c);
	test_hostile_state((struct device *)pic);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(edge_is_taken_once),
		T(pulse_stays_latched),
		T(priority_and_nesting),
		T(cascade),
		T(masked_waits),
		T(level_requests_while_high),
		T(spurious),
		T(automatic_eoi),
		T(special_mask),
		T(rotation),
		T(polling),
		T(initialisation_clears),
		T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
