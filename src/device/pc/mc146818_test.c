/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real-time clock: calendar, formats, interrupts, CMOS. */
#include "device/pc/mc146818.h"

#include "base/util.h"
#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

enum { IRQ = 16 };
enum { A = 10, B = 11, C = 12, D = 13, CENTURY = 0x32 };

/* 2023-12-31 23:59:58 UTC, a Sunday. */
static const int64_t start_s = 1704067198;

static struct test_pc t;
static struct mc146818 *rtc;

static int setup_with(struct mc146818_config config)
{
	struct error err = {0};

	test_pc_init(&t);
	rtc = mc146818_new(&t.env, test_wire(&t, IRQ), &config, &err);
	assert_non_null(rtc);
	device_reset((struct device *)rtc);
	return 0;
}

static int setup(void **state)
{
	return setup_with((struct mc146818_config){.calendar_ns = start_s * NS_PER_S});
}

static int setup_slew(void **state)
{
	return setup_with((struct mc146818_config){.calendar_ns = start_s * NS_PER_S, .slew = true});
}

static int teardown(void **state)
{
	device_destroy((struct device *)rtc);
	assert_int_equal(clock_next_deadline(t.env.clock), INT64_MAX);
	test_pc_fini(&t);
	return 0;
}

static uint8_t rd(uint8_t index)
{
	out8(&t, 0x70, index);
	return in8(&t, 0x71);
}

static void wr(uint8_t index, uint8_t value)
{
	out8(&t, 0x70, index);
	out8(&t, 0x71, value);
}

static void assert_time(unsigned century, unsigned year, unsigned month, unsigned day, unsigned hour, unsigned minute,
			unsigned second)
{
	assert_int_equal(rd(0), second);
	assert_int_equal(rd(2), minute);
	assert_int_equal(rd(4), hour);
	assert_int_equal(rd(7), day);
	assert_int_equal(rd(8), month);
	assert_int_equal(rd(9), year);
	assert_int_equal(rd(CENTURY), century);
}

static void calendar_rolls_over(void **unused)
{
	assert_time(0x20, 0x23, 0x12, 0x31, 0x23, 0x59, 0x58);
	assert_int_equal(rd(6), 1); /* Sunday */
	clock_advance(t.env.clock, 2 * NS_PER_S);
	assert_time(0x20, 0x24, 0x01, 0x01, 0x00, 0x00, 0x00);
	assert_int_equal(rd(6), 2);
	assert_int_equal(rd(D), 0x80);
}

static void formats(void **unused)
{
	wr(B, 0x06); /* binary, 24 hours */
	assert_time(20, 23, 12, 31, 23, 59, 58);
	wr(B, 0x04); /* binary, 12 hours */
	assert_int_equal(rd(4), 0x80 | 11);
	wr(B, 0x00); /* BCD, 12 hours */
	assert_int_equal(rd(4), 0x91);
	clock_advance(t.env.clock, 2 * NS_PER_S);
	assert_int_equal(rd(4), 0x12); /* midnight is 12 AM */
	clock_advance(t.env.clock, 12 * 3600 * NS_PER_S);
	assert_int_equal(rd(4), 0x92);
}

static void software_sets_the_time(void **unused)
{
	wr(B, 0x82);
	wr(0, 0x30);
	wr(2, 0x15);
	wr(4, 0x06);
	wr(7, 0x29);
	wr(8, 0x02);
	wr(9, 0x28);
	wr(CENTURY, 0x20);
	clock_advance(t.env.clock, 10 * NS_PER_S);
	assert_time(0x20, 0x28, 0x02, 0x29, 0x06, 0x15, 0x30); /* frozen */
	wr(B, 0x02);
	clock_advance(t.env.clock, NS_PER_S - 1);
	assert_int_equal(rd(0), 0x30);
	clock_advance(t.env.clock, 1);
	assert_int_equal(rd(0), 0x31);
	clock_advance(t.env.clock, 24 * 3600 * NS_PER_S);
	assert_time(0x20, 0x28, 0x03, 0x01, 0x06, 0x15, 0x31);
	/* One field while running. */
	wr(2, 0x44);
	assert_time(0x20, 0x28, 0x03, 0x01, 0x06, 0x44, 0x31);
}

static void nonsense_becomes_some_date(void **unused)
{
	wr(B, 0x86);
	for (uint8_t i = 0; i < 10; i++)
		wr(i, 0xff);
	wr(CENTURY, 0xff);
	wr(B, 0x06);
	clock_advance(t.env.clock, 3600 * NS_PER_S);
	rd(0);
	wr(B, 0x82);
	for (uint8_t i = 0; i < 10; i++)
		wr(i, 0);
	wr(CENTURY, 0);
	wr(B, 0x02);
	assert_int_equal(rd(9), 0x70); /* the clock begins in 1970 */
}

static void update_in_progress(void **unused)
{
	clock_advance(t.env.clock, NS_PER_S - 244001);
	assert_int_equal(rd(A) & 0x80, 0);
	clock_advance(t.env.clock, 1);
	assert_int_equal(rd(A) & 0x80, 0x80);
	clock_advance(t.env.clock, 244000);
	assert_int_equal(rd(A) & 0x80, 0);
}

static void update_interrupt(void **unused)
{
	wr(B, 0x12);
	clock_advance(t.env.clock, NS_PER_S - 1);
	assert_false(t.wires[IRQ].level);
	clock_advance(t.env.clock, 1);
	assert_true(t.wires[IRQ].level);
	clock_advance(t.env.clock, 5 * NS_PER_S);
	assert_int_equal(t.wires[IRQ].rises, 1); /* until C is read */
	assert_int_equal(rd(C) & 0xd0, 0xd0);
	assert_false(t.wires[IRQ].level);
	assert_int_equal(rd(C) & 0x10, 0);
	clock_advance(t.env.clock, NS_PER_S);
	assert_true(t.wires[IRQ].level);
}

static void periodic_interrupt(void **unused)
{
	unsigned count = 0;

	wr(A, 0x26); /* 1024 Hz */
	wr(B, 0x42);
	rd(C);
	for (unsigned us = 0; us < 1000000; us += 10) {
		clock_advance(t.env.clock, 10000);
		if (t.wires[IRQ].level) {
			assert_int_equal(rd(C) & 0xc0, 0xc0);
			count++;
		}
	}
	assert_in_range(count, 1023, 1025);
	wr(A, 0x20);
	rd(C);
	clock_advance(t.env.clock, NS_PER_S);
	assert_false(t.wires[IRQ].level);
}

/* Ticks seen within ns by a guest that looks every 10 us. */
static unsigned ticks_taken(int64_t ns)
{
	unsigned count = 0;

	for (int64_t at = 0; at < ns; at += 10000) {
		clock_advance(t.env.clock, 10000);
		count += t.wires[IRQ].level && rd(C) & 0x40;
	}
	return count;
}

/* The guest keeps interrupts off for 100 of 1024 ticks a second. */
static void missed_ticks_are_lost(void **unused)
{
	wr(A, 0x26);
	wr(B, 0x42);
	rd(C);
	clock_advance(t.env.clock, 100 * NS_PER_S / 1024 + 1);
	assert_in_range(ticks_taken(100 * NS_PER_S / 1024), 100, 102);
}

static void missed_ticks_are_owed(void **unused)
{
	wr(A, 0x26);
	wr(B, 0x42);
	rd(C);
	clock_advance(t.env.clock, 100 * NS_PER_S / 1024 + 1);
	assert_in_range(ticks_taken(100 * NS_PER_S / 1024), 199, 201);
	assert_in_range(ticks_taken(100 * NS_PER_S / 1024), 99, 101); /* and no more than that */
	/* At most a second's worth, and none of another rate. */
	clock_advance(t.env.clock, 30 * NS_PER_S);
	assert_in_range(ticks_taken(NS_PER_S), 2047, 2049);
	clock_advance(t.env.clock, NS_PER_S);
	wr(A, 0x2a); /* 64 Hz */
	rd(C);
	assert_in_range(ticks_taken(NS_PER_S), 63, 65);
}

static void alarm_matches(void **unused)
{
	wr(1, 0x10);
	wr(3, 0x00);
	wr(5, 0x00);
	rd(C);
	wr(B, 0x22);
	clock_advance(t.env.clock, 12 * NS_PER_S - 1);
	assert_false(t.wires[IRQ].level);
	clock_advance(t.env.clock, 1);
	assert_true(t.wires[IRQ].level);
	assert_int_equal(rd(C) & 0xa0, 0xa0);
	clock_advance(t.env.clock, 3600 * NS_PER_S);
	assert_false(t.wires[IRQ].level);
	/* Wildcards: every minute at second 10. */
	wr(3, 0xc0);
	wr(5, 0xff);
	clock_advance(t.env.clock, 60 * NS_PER_S);
	assert_true(t.wires[IRQ].level);
	rd(C);
	clock_advance(t.env.clock, 60 * NS_PER_S - 1);
	assert_false(t.wires[IRQ].level);
	clock_advance(t.env.clock, 1);
	assert_true(t.wires[IRQ].level);
	/* A time of day that never comes. */
	rd(C);
	wr(5, 0x25);
	clock_advance(t.env.clock, 3 * 86400 * NS_PER_S);
	assert_false(t.wires[IRQ].level);
}

static void flags_show_without_enables(void **unused)
{
	rd(C);
	clock_advance(t.env.clock, NS_PER_S);
	assert_int_equal(rd(C), 0x50); /* PF (rate 6 at power-on) and UF, no interrupt */
	assert_int_equal(t.wires[IRQ].rises, 0);
}

static void cmos_and_reset(void **unused)
{
	mc146818_set_memory(rtc, 3ull << 30, 5ull << 30);
	assert_int_equal(rd(0x15) | rd(0x16) << 8, 640);
	assert_int_equal(rd(0x17) | rd(0x18) << 8, 0xffff);
	assert_int_equal(rd(0x34) | rd(0x35) << 8, ((3u << 30) - (16u << 20)) >> 16);
	assert_int_equal(rd(0x5b) | rd(0x5c) << 8 | rd(0x5d) << 16, (int)((5ull << 30) >> 16));
	wr(0x60, 0xa5);
	wr(B, 0x72);
	device_reset((struct device *)rtc);
	assert_int_equal(rd(0x60), 0xa5);
	assert_int_equal(rd(B), 0x02);
	assert_time(0x20, 0x23, 0x12, 0x31, 0x23, 0x59, 0x58);
	out8(&t, 0x70, 0x80 | 0x60); /* the NMI mask is not part of the index */
	assert_int_equal(in8(&t, 0x71), 0xa5);
	wr(D, 0x00);
	assert_int_equal(rd(D), 0x80);
}

static void follows_the_host(void **unused)
{
	struct mc146818_config config = {.follow_host = true};
	struct error err = {0};
	time_t now = time(NULL);
	struct tm tm;

	device_destroy((struct device *)rtc);
	config.calendar_ns = now * NS_PER_S;
	rtc = mc146818_new(&t.env, test_wire(&t, IRQ), &config, &err);
	assert_non_null(rtc);
	clock_advance(t.env.clock, 3 * 86400 * NS_PER_S); /* the machine's clock does not matter */
	gmtime_r(&now, &tm);
	wr(B, 0x06);
	assert_int_equal(rd(9), tm.tm_year % 100);
	/* The host itself may have turned midnight since. */
	assert_true(rd(7) == tm.tm_mday || rd(4) == 0);
}

static void dates_out_of_range(void **unused)
{
	struct mc146818_config config = {.calendar_ns = -1};
	struct error err = {0};

	device_destroy((struct device *)rtc);
	assert_null(mc146818_new(&t.env, test_wire(&t, IRQ), &config, &err));
	assert_non_null(strstr(err.msg, "1970"));
	config.calendar_ns = 0;
	rtc = mc146818_new(&t.env, test_wire(&t, IRQ), &config, &err);
	assert_non_null(rtc);
}

static void state_survives(void **unused)
{
	struct error err = {0};

	wr(B, 0x12);
	clock_advance(t.env.clock, NS_PER_S / 2);
	assert_true(test_save_reset_load((struct device *)rtc, &err) > 0);
	assert_int_equal(rd(B), 0x12);
	clock_advance(t.env.clock, NS_PER_S / 2 - 1);
	assert_false(t.wires[IRQ].level);
	clock_advance(t.env.clock, 1);
	assert_true(t.wires[IRQ].level);
	test_hostile_state((struct device *)rtc);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(calendar_rolls_over),
		T(formats),
		T(software_sets_the_time),
		T(nonsense_becomes_some_date),
		T(update_in_progress),
		T(update_interrupt),
		T(periodic_interrupt),
		T(missed_ticks_are_lost),
		cmocka_unit_test_setup_teardown(missed_ticks_are_owed, setup_slew, teardown),
		T(alarm_matches),
		T(flags_show_without_enables),
		T(cmos_and_reset),
		T(follows_the_host),
		T(dates_out_of_range),
		T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
