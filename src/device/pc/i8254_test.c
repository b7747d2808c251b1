/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254's modes as counts and edges at exact moments of a stepped clock. */
#include "device/pc/i8254.h"

#include "base/util.h"
#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { OUT0 = 16 };

static struct test_pc t;
static struct i8254 *pit;

static int setup(void **state)
{
	struct error err = {0};

	test_pc_init(&t);
	pit = i8254_new(&t.env, test_wire(&t, OUT0), &err);
	assert_non_null(pit);
	device_reset((struct device *)pit);
	return 0;
}

static int teardown(void **state)
{
	device_destroy((struct device *)pit);
	assert_int_equal(clock_next_deadline(t.env.clock), INT64_MAX);
	test_pc_fini(&t);
	return 0;
}

/* Moves to the first nanosecond at which `ticks` input cycles have passed since the test's start of counting. */
static int64_t origin;

static void at_tick(uint64_t ticks)
{
	clock_advance(t.env.clock, origin + clock_ticks_to_ns(ticks, I8254_HZ) - clock_now(t.env.clock));
}

static void program(unsigned channel, unsigned mode, uint16_t count)
{
	out8(&t, 0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	out8(&t, 0x40 + channel, (uint8_t)count);
	out8(&t, 0x40 + channel, count >> 8);
	origin = clock_now(t.env.clock);
}

static uint16_t latched(unsigned channel)
{
	uint8_t low;

	out8(&t, 0x43, (uint8_t)(channel << 6));
	low = in8(&t, 0x40 + channel);
	return (uint16_t)(low | in8(&t, 0x40 + channel) << 8);
}

static uint8_t status(unsigned channel)
{
	out8(&t, 0x43, (uint8_t)(0xe0 | 2u << channel));
	return in8(&t, 0x40 + channel);
}

static void mode2_divides(void **unused)
{
	unsigned before;

	program(0, 2, 1000);
	before = t.wires[OUT0].rises;
	assert_int_equal(latched(0), 1000);
	at_tick(1);
	assert_int_equal(latched(0), 999);
	at_tick(999);
	assert_int_equal(latched(0), 1);
	assert_int_equal(status(0) & 0x80, 0); /* OUT is low for one cycle */
	assert_int_equal(t.wires[OUT0].rises, before);
	at_tick(1000);
	assert_int_equal(latched(0), 1000);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
	at_tick(10000);
	assert_int_equal(t.wires[OUT0].rises, before + 10);
}

/* One second of 1000 Hz gives what the divisor says, without drift. */
static void mode2_keeps_time(void **unused)
{
	unsigned before;

	program(0, 2, 1193);
	before = t.wires[OUT0].rises;
	clock_advance(t.env.clock, 100 * NS_PER_S);
	assert_int_equal(t.wires[OUT0].rises - before, 100ull * I8254_HZ / 1193);
}

static void new_count_waits_for_the_period(void **unused)
{
	unsigned before;

	program(0, 2, 1000);
	at_tick(400);
	out8(&t, 0x40, 200);
	out8(&t, 0x40, 0);
	assert_int_equal(status(0) & 0x40, 0x40); /* not in the counting element yet */
	at_tick(999);
	assert_int_equal(latched(0), 1);
	before = t.wires[OUT0].rises;
	at_tick(1000);
	assert_int_equal(latched(0), 200);
	assert_int_equal(status(0) & 0x40, 0);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
	at_tick(1201); /* the second count starts on a whole nanosecond */
	assert_int_equal(t.wires[OUT0].rises, before + 2);
}

static void mode3_is_square(void **unused)
{
	unsigned before;

	program(0, 3, 100);
	before = t.wires[OUT0].rises;
	assert_int_equal(status(0) & 0x80, 0x80);
	at_tick(10);
	assert_int_equal(latched(0), 80); /* by twos */
	at_tick(49);
	assert_int_equal(status(0) & 0x80, 0x80);
	at_tick(50);
	assert_int_equal(status(0) & 0x80, 0);
	assert_int_equal(t.wires[OUT0].rises, before);
	at_tick(100);
	assert_int_equal(status(0) & 0x80, 0x80);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
}

static void mode0_fires_once(void **unused)
{
	unsigned before;

	program(0, 0, 500);
	before = t.wires[OUT0].rises;
	assert_false(t.wires[OUT0].level);
	at_tick(500);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
	at_tick(510);
	assert_int_equal(latched(0), 0xfff6); /* goes on after zero */
	at_tick(200000);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
	/* Half a count lowers OUT and stops. */
	out8(&t, 0x40, 0x10);
	assert_false(t.wires[OUT0].level);
	at_tick(300000);
	assert_false(t.wires[OUT0].level);
	out8(&t, 0x40, 0x00);
	origin = clock_now(t.env.clock);
	at_tick(0x10);
	assert_true(t.wires[OUT0].level);
}

static void mode4_strobes(void **unused)
{
	unsigned before;

	program(0, 4, 50);
	assert_int_equal(status(0) & 0x80, 0x80);
	before = t.wires[OUT0].rises;
	at_tick(50);
	assert_int_equal(status(0) & 0x80, 0);
	at_tick(51);
	assert_int_equal(status(0) & 0x80, 0x80);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
	at_tick(200000);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
}

/* What kernels do to calibrate: mode 0 on channel 2, gate by port 0x61, poll bit 5. */
static void channel2_calibration(void **unused)
{
	out8(&t, 0x61, (uint8_t)((in8(&t, 0x61) & ~0x02) | 0x01));
	program(2, 0, 11932);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0);
	at_tick(11931);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0);
	at_tick(11932);
	assert_int_equal(in8(&t, 0x61) & 0x21, 0x21);
	assert_int_equal(clock_next_deadline(t.env.clock), INT64_MAX); /* no timer for it */
}

static void gate_pauses_mode0(void **unused)
{
	out8(&t, 0x61, 1);
	program(2, 0, 1000);
	at_tick(300);
	out8(&t, 0x61, 0);
	at_tick(900);
	assert_int_equal(latched(2), 700);
	out8(&t, 0x61, 1);
	at_tick(900 + 699);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0);
	at_tick(900 + 701);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0x20);
}

static void gate_triggers_mode1(void **unused)
{
	program(2, 1, 100);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0x20);
	out8(&t, 0x61, 1);
	origin = clock_now(t.env.clock);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0);
	at_tick(50);
	out8(&t, 0x61, 0);
	out8(&t, 0x61, 1); /* retriggers */
	at_tick(149);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0);
	at_tick(151);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0x20);
}

static void gate_stops_and_restarts_mode3(void **unused)
{
	out8(&t, 0x61, 1);
	program(2, 3, 100);
	at_tick(60);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0);
	out8(&t, 0x61, 0);
	assert_int_equal(in8(&t, 0x61) & 0x20, 0x20);
	at_tick(1000);
	out8(&t, 0x61, 1);
	origin = clock_now(t.env.clock);
	at_tick(30);
	assert_int_equal(latched(2), 40);
}

static void bcd(void **unused)
{
	out8(&t, 0x43, 0x35); /* channel 0, mode 2, BCD */
	out8(&t, 0x40, 0x00);
	out8(&t, 0x40, 0x10); /* 1000 */
	origin = clock_now(t.env.clock);
	assert_int_equal(latched(0), 0x1000);
	at_tick(1);
	assert_int_equal(latched(0), 0x0999);
	at_tick(1000);
	assert_int_equal(latched(0), 0x1000);
}

static void zero_is_the_largest_count(void **unused)
{
	unsigned before;

	program(0, 2, 0);
	before = t.wires[OUT0].rises;
	assert_int_equal(latched(0), 0);
	at_tick(1);
	assert_int_equal(latched(0), 0xffff);
	at_tick(0x10000);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
}

static void latches(void **unused)
{
	uint8_t low;

	program(0, 2, 0x1234);
	out8(&t, 0x43, 0xc2); /* read-back: count and status of channel 0 */
	at_tick(5);
	assert_int_equal(in8(&t, 0x40), 0xb4); /* OUT, both bytes, mode 2 */
	assert_int_equal(in8(&t, 0x40), 0x34);
	assert_int_equal(in8(&t, 0x40), 0x12);
	/* A second latch before the first was read changes nothing. */
	out8(&t, 0x43, 0x00);
	at_tick(50);
	out8(&t, 0x43, 0x00);
	low = in8(&t, 0x40);
	assert_int_equal(low | in8(&t, 0x40) << 8, 0x1234 - 5);
	/* Unlatched reads alternate between the bytes. */
	assert_int_equal(in8(&t, 0x40), (0x1234 - 50) & 0xff);
	assert_int_equal(in8(&t, 0x40), (0x1234 - 50) >> 8);
	/* One byte only. */
	out8(&t, 0x43, 0x14);
	out8(&t, 0x40, 0x80);
	assert_int_equal(in8(&t, 0x40), 0x80);
	assert_int_equal(in8(&t, 0x40), 0x80);
}

static void refresh_toggles(void **unused)
{
	uint8_t first = in8(&t, 0x61) & 0x10;

	clock_advance(t.env.clock, 15085);
	assert_int_not_equal(in8(&t, 0x61) & 0x10, first);
}

/* The smallest count must not keep the machine busy with nothing but ticks. */
static void absurd_rates_are_bounded(void **unused)
{
	unsigned before;

	program(0, 2, 1);
	before = t.wires[OUT0].rises;
	clock_advance(t.env.clock, NS_PER_S);
	assert_in_range(t.wires[OUT0].rises - before, 1000, 60000);
}

static void state_survives(void **unused)
{
	struct error err = {0};
	unsigned before;

	program(0, 2, 1000);
	out8(&t, 0x61, 1);
	at_tick(300);
	assert_true(test_save_reset_load((struct device *)pit, &err) > 0);
	assert_int_equal(latched(0), 700);
	assert_int_equal(in8(&t, 0x61) & 1, 1);
	before = t.wires[OUT0].rises;
	at_tick(1000);
	assert_int_equal(t.wires[OUT0].rises, before + 1);
	test_hostile_state((struct device *)pit);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(mode2_divides),
		T(mode2_keeps_time),
		T(new_count_waits_for_the_period),
		T(mode3_is_square),
		T(mode0_fires_once),
		T(mode4_strobes),
		T(channel2_calibration),
		T(gate_pauses_mode0),
		T(gate_triggers_mode1),
		T(gate_stops_and_restarts_mode3),
		T(bcd),
		T(zero_is_the_largest_count),
		T(latches),
		T(refresh_toggles),
		T(absurd_rates_are_bounded),
		T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
