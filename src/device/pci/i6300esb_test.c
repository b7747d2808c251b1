/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 6300ESB's watchdog through its registers, on a stepped clock; pvpanic-pci's byte. */
#include "device/pci/test_machine.h"

#include "core/clock.h"
#include "core/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEVFN = 3 << 3, CONFIG = 0x60, LOCK = 0x68, PRELOAD_1 = 0, PRELOAD_2 = 4, RELOAD = 12 };

static struct test_machine *m;
static struct clock *host_clock;
static struct device *device;
static uint64_t base;

static int make(const struct device_class *class)
{
	struct error err = {0};

	m = test_machine_new(1 << 20, false);
	host_clock = m->env.clock;
	m->env.clock = clock_new(true, 1000000);
	clock_start(m->env.clock);
	device = test_device(m, class, "addr=3", &err);
	assert_non_null(device);
	device_reset(device);
	base = test_bar_assign(m, DEVFN, 0);
	test_config_write(m, DEVFN, 4, 2, 2);
	return base ? 0 : -1;
}

static int setup(void **state)
{
	return make(&i6300esb_class);
}

static int setup_panic(void **state)
{
	return make(&pvpanic_pci_class);
}

static int teardown(void **state)
{
	device_destroy(device);
	clock_free(m->env.clock);
	m->env.clock = host_clock;
	test_machine_free(m);
	return 0;
}

static void unlock(void)
{
	bus_write(m->env.memory, base + RELOAD, 0x80, 2);
	bus_write(m->env.memory, base + RELOAD, 0x86, 2);
}

static void preload(uint32_t first, uint32_t second)
{
	unlock();
	bus_write(m->env.memory, base + PRELOAD_1, first, 4);
	unlock();
	bus_write(m->env.memory, base + PRELOAD_2, second, 4);
}

static void ping(void)
{
	unlock();
	bus_write(m->env.memory, base + RELOAD, 0x100, 2);
}

static unsigned fired(void)
{
	return m->requests[MACHINE_WATCHDOG];
}

/* 2^15 ticks of 33 MHz are 992970 ns. */
#define TICK_NS 992970

static void test_two_stages(void **state)
{
	preload(1000, 500);
	test_config_write(m, DEVFN, LOCK, 2, 1);
	clock_advance(m->env.clock, 1490LL * TICK_NS);
	assert_int_equal(fired(), 0);
	assert_int_equal(bus_read(m->env.memory, base + RELOAD, 2), 0);
	clock_advance(m->env.clock, 20LL * TICK_NS);
	assert_int_equal(fired(), 1);
	/* Linux looks at bit 12, the data sheet says bit 9. */
	assert_int_equal(bus_read(m->env.memory, base + RELOAD, 2), 0x1200);
	/* It is as after power-on: off. */
	assert_int_equal(test_config_read(m, DEVFN, LOCK, 1), 0);
	clock_advance(m->env.clock, 10000LL * TICK_NS);
	assert_int_equal(fired(), 1);
	device_reset(device);
	test_config_write(m, DEVFN, 4, 2, 2);
	base = test_bar_assign(m, DEVFN, 0);
	assert_int_equal(bus_read(m->env.memory, base + RELOAD, 2), 0x1200);
	unlock();
	bus_write(m->env.memory, base + RELOAD, 0x200, 2);
	assert_int_equal(bus_read(m->env.memory, base + RELOAD, 2), 0);
}

static void test_ping(void **state)
{
	preload(100, 100);
	test_config_write(m, DEVFN, LOCK, 2, 1);
	for (unsigned i = 0; i < 20; i++) {
		clock_advance(m->env.clock, 150LL * TICK_NS);
		ping();
	}
	assert_int_equal(fired(), 0);
	/* Without the two keys before it is none. */
	clock_advance(m->env.clock, 150LL * TICK_NS);
	bus_write(m->env.memory, base + RELOAD, 0x100, 2);
	clock_advance(m->env.clock, 60LL * TICK_NS);
	assert_int_equal(fired(), 1);
}

static void test_lock(void **state)
{
	preload(100, 100);
	test_config_write(m, DEVFN, LOCK, 3, 1);
	test_config_write(m, DEVFN, LOCK, 0, 1);
	test_config_write(m, DEVFN, CONFIG, 0x20, 2);
	assert_int_equal(test_config_read(m, DEVFN, LOCK, 1), 3);
	assert_int_equal(test_config_read(m, DEVFN, CONFIG, 2), 0);
	clock_advance(m->env.clock, 210LL * TICK_NS);
	assert_int_equal(fired(), 1);
}

static void test_disable_and_scale(void **state)
{
	preload(100, 100);
	test_config_write(m, DEVFN, LOCK, 2, 1);
	test_config_write(m, DEVFN, LOCK, 0, 1);
	clock_advance(m->env.clock, 1000LL * TICK_NS);
	assert_int_equal(fired(), 0);
	/* 2^5 ticks: 970 ns each. */
	test_config_write(m, DEVFN, CONFIG, 4, 2);
	preload(100000, 100000);
	test_config_write(m, DEVFN, LOCK, 2, 1);
	clock_advance(m->env.clock, 190000000);
	assert_int_equal(fired(), 0);
	clock_advance(m->env.clock, 10000000);
	assert_int_equal(fired(), 1);
}

/* With the output off nothing comes of it; free running, it goes on for ever, and not faster than once a millisecond.
 */
static void test_output_off(void **state)
{
	preload(0, 0);
	test_config_write(m, DEVFN, CONFIG, 0x20, 2);
	test_config_write(m, DEVFN, LOCK, 6, 1);
	clock_advance(m->env.clock, 100LL * TICK_NS);
	assert_int_equal(fired(), 0);
	assert_true(clock_next_deadline(m->env.clock) < INT64_MAX);
	test_config_write(m, DEVFN, LOCK, 2, 1);
	clock_advance(m->env.clock, 100LL * TICK_NS);
	assert_int_equal(clock_next_deadline(m->env.clock), INT64_MAX);
}

static void test_state(void **state)
{
	struct state_buffer saved = {0}, hostile;
	struct error err = {0};

	preload(1000, 500);
	test_config_write(m, DEVFN, LOCK, 3, 1);
	clock_advance(m->env.clock, 1200LL * TICK_NS);
	state_save(i6300esb_class.state, device, &saved);
	device_reset(device);
	assert_int_equal(clock_next_deadline(m->env.clock), INT64_MAX);
	assert_int_equal(state_load(i6300esb_class.state, device, saved.data, saved.length, &err), saved.length);
	assert_int_equal(test_config_read(m, DEVFN, LOCK, 1), 3);
	clock_advance(m->env.clock, 290LL * TICK_NS);
	assert_int_equal(fired(), 0);
	clock_advance(m->env.clock, 20LL * TICK_NS);
	assert_int_equal(fired(), 1);
	hostile = saved;
	for (size_t i = 0; i < saved.length; i++) {
		hostile.data[i] ^= 0xff;
		state_load(i6300esb_class.state, device, hostile.data, hostile.length, &err);
		hostile.data[i] ^= 0xff;
	}
	free(saved.data);
}

static void test_panic(void **state)
{
	assert_int_equal(bus_read(m->env.memory, base, 1), 3);
	bus_write(m->env.memory, base, 4, 1);
	bus_write(m->env.memory, base + 1, 1, 1);
	assert_int_equal(m->requests[MACHINE_PANIC], 0);
	bus_write(m->env.memory, base, 1, 1);
	bus_write(m->env.memory, base, 2, 1);
	assert_int_equal(m->requests[MACHINE_PANIC], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_two_stages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ping, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disable_and_scale, setup, teardown),
		cmocka_unit_test_setup_teardown(test_output_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_panic, setup_panic, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
