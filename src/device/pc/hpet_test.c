/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HPET comparators, routing and legacy replacement under a stepped clock. */
#include "device/pc/hpet.h"

#include "base/util.h"
#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum {
	CAPABILITIES = 0x00,
	CONFIG = 0x10,
	STATUS = 0x20,
	COUNTER = 0xf0,
	T0 = 0x100,
	T1 = 0x120,
	T2 = 0x140,
	COMPARATOR = 8
};
enum { LEGACY0 = 24, LEGACY1 = 25 };
enum { TICK = 10 }; /* ns */

static struct test_pc t;
static struct hpet *hpet;

static int setup(void **state)
{
	struct irq wires[24] = {0}, legacy[2];
	struct error err = {0};

	test_pc_init(&t);
	wires[2] = test_wire(&t, 2);
	wires[21] = test_wire(&t, 21);
	legacy[0] = test_wire(&t, LEGACY0);
	legacy[1] = test_wire(&t, LEGACY1);
	hpet = hpet_new(&t.env, wires, legacy, &err);
	assert_non_null(hpet);
	device_reset((struct device *)hpet);
	return 0;
}

static int teardown(void **state)
{
	device_destroy((struct device *)hpet);
	assert_int_equal(clock_next_deadline(t.env.clock), INT64_MAX);
	test_pc_fini(&t);
	return 0;
}

static uint64_t rd(uint32_t reg)
{
	return bus_read(t.env.memory, HPET_BASE + reg, 8);
}

static void wr(uint32_t reg, uint64_t value)
{
	bus_write(t.env.memory, HPET_BASE + reg, value, 8);
}

static void ticks(uint64_t n)
{
	clock_advance(t.env.clock, (int64_t)n * TICK);
}

static void capabilities(void **unused)
{
	assert_int_equal(rd(CAPABILITIES), 10000000ull << 32 | HPET_BLOCK_ID);
	assert_int_equal(bus_read(t.env.memory, HPET_BASE + 4, 4), 10000000);
	assert_int_equal(rd(CAPABILITIES) >> 8 & 0x1f, 2);
	assert_int_equal(rd(T1) >> 32, 1u << 2 | 1u << 21);
	assert_int_equal(rd(T1) & 0x30, 0x30);
}

static void counter_runs_only_when_enabled(void **unused)
{
	ticks(1000);
	assert_int_equal(rd(COUNTER), 0);
	wr(COUNTER, 0xfffffff0);
	wr(CONFIG, 1);
	ticks(100);
	assert_int_equal(rd(COUNTER), 0x100000054);
	assert_int_equal(bus_read(t.env.memory, HPET_BASE + COUNTER, 4), 0x54);
	wr(COUNTER, 5); /* not while it runs */
	assert_int_equal(rd(COUNTER), 0x100000054);
	wr(CONFIG, 0);
	ticks(100);
	assert_int_equal(rd(COUNTER), 0x100000054);
}

static void one_shot(void **unused)
{
	wr(CONFIG, 1);
	wr(T1, 0x4 | 2 << 9);
	wr(T1 + COMPARATOR, 500);
	ticks(499);
	assert_int_equal(t.wires[2].rises, 0);
	ticks(1);
	assert_int_equal(t.wires[2].rises, 1);
	assert_false(t.wires[2].level); /* edge */
	ticks(100000);
	assert_int_equal(t.wires[2].rises, 1);
	/* 32-bit mode comes round. */
	wr(T1, 0x104 | 2 << 9);
	wr(T1 + COMPARATOR, (uint32_t)rd(COUNTER) + 10);
	ticks(10);
	assert_int_equal(t.wires[2].rises, 2);
	ticks(1ull << 32);
	assert_int_equal(t.wires[2].rises, 3);
	/* Disabled it says nothing. */
	wr(T1, 2 << 9);
	wr(T1 + COMPARATOR, rd(COUNTER) + 10);
	ticks(20);
	assert_int_equal(t.wires[2].rises, 3);
}

static void periodic(void **unused)
{
	wr(CONFIG, 1);
	wr(T0, 0x4c | 2 << 9); /* enable, periodic, set value */
	wr(T0 + COMPARATOR, 10000);
	wr(T0 + COMPARATOR, 5000);
	ticks(9999);
	assert_int_equal(t.wires[2].rises, 0);
	ticks(1);
	assert_int_equal(t.wires[2].rises, 1);
	assert_int_equal(rd(T0 + COMPARATOR), 15000);
	ticks(4999);
	assert_int_equal(t.wires[2].rises, 1);
	ticks(1);
	assert_int_equal(t.wires[2].rises, 2);
	ticks(50000);
	assert_int_equal(t.wires[2].rises, 12);
}

static void level_until_acknowledged(void **unused)
{
	wr(CONFIG, 1);
	wr(T2, 0x6 | 21 << 9);
	wr(T2 + COMPARATOR, 100);
	ticks(100);
	assert_true(t.wires[21].level);
	assert_int_equal(rd(STATUS), 4);
	wr(STATUS, 3);
	assert_true(t.wires[21].level);
	bus_write(t.env.memory, HPET_BASE + STATUS + 4, 4, 4); /* the other half is not status */
	assert_true(t.wires[21].level);
	bus_write(t.env.memory, HPET_BASE + STATUS, 4, 4);
	assert_false(t.wires[21].level);
	assert_int_equal(rd(STATUS), 0);
}

static void routes_that_do_not_exist(void **unused)
{
	wr(T1, 21 << 9);
	wr(T1, 5 << 9);
	assert_int_equal(rd(T1) >> 9 & 0x1f, 21);
	wr(T1, 31 << 9);
	assert_int_equal(rd(T1) >> 9 & 0x1f, 21);
}

static void legacy_replacement(void **unused)
{
	struct irq pit = hpet_legacy_input(hpet, 0), rtc = hpet_legacy_input(hpet, 1);

	irq_set(&pit, true);
	assert_true(t.wires[LEGACY0].level);
	wr(CONFIG, 3);
	assert_false(t.wires[LEGACY0].level);
	irq_set(&pit, false);
	irq_set(&pit, true);
	irq_set(&rtc, true);
	assert_int_equal(t.wires[LEGACY0].rises, 1);
	assert_int_equal(t.wires[LEGACY1].rises, 0);
	wr(T0, 0x4);
	wr(T0 + COMPARATOR, 100);
	wr(T1, 0x4);
	wr(T1 + COMPARATOR, 200);
	ticks(100);
	assert_int_equal(t.wires[LEGACY0].rises, 2);
	ticks(100);
	assert_int_equal(t.wires[LEGACY1].rises, 1);
	wr(CONFIG, 1);
	assert_true(t.wires[LEGACY0].level); /* the PIT's level shows again */
	assert_true(t.wires[LEGACY1].level);
}

static void narrow_and_odd_accesses(void **unused)
{
	bus_write(t.env.memory, HPET_BASE + T0 + COMPARATOR, 0x11111111, 4);
	bus_write(t.env.memory, HPET_BASE + T0 + COMPARATOR + 4, 0x22222222, 4);
	assert_int_equal(rd(T0 + COMPARATOR), 0x2222222211111111);
	bus_write(t.env.memory, HPET_BASE + T0 + COMPARATOR + 1, 0xff, 1);
	assert_int_equal(rd(T0 + COMPARATOR), 0x2222222211111111);
	assert_int_equal(bus_read(t.env.memory, HPET_BASE + T0 + COMPARATOR + 5, 2), 0x2222);
	assert_int_equal(rd(0x160), 0);
	assert_int_equal(rd(0x3f8), 0);
}

static void state_survives(void **unused)
{
	struct error err = {0};

	wr(CONFIG, 1);
	wr(T0, 0x4c | 2 << 9);
	wr(T0 + COMPARATOR, 10000);
	wr(T0 + COMPARATOR, 5000);
	ticks(12000);
	assert_true(test_save_reset_load((struct device *)hpet, &err) > 0);
	assert_int_equal(rd(COUNTER), 12000);
	ticks(3000);
	assert_int_equal(t.wires[2].rises, 2);
	test_hostile_state((struct device *)hpet);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(capabilities),       T(counter_runs_only_when_enabled), T(one_shot),
		T(periodic),           T(level_until_acknowledged),       T(routes_that_do_not_exist),
		T(legacy_replacement), T(narrow_and_odd_accesses),        T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
