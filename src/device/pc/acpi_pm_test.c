/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware: timer, events and SCI, sleep, the way into ACPI mode. */
#include "device/pc/acpi_pm.h"

#include "base/util.h"
#include "device/pc/test_pc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { STATUS = 0x600, ENABLE = 0x602, CONTROL = 0x604, TIMER = 0x608, GPE_STATUS = 0x60c, GPE_ENABLE = 0x60e };
enum { SCI = 9 };

static struct test_pc t;
static struct acpi_pm *pm;

static int setup(void **state)
{
	struct error err = {0};

	test_pc_init(&t);
	pm = acpi_pm_new(&t.env, &err);
	assert_non_null(pm);
	device_reset((struct device *)pm);
	return 0;
}

static int teardown(void **state)
{
	device_destroy((struct device *)pm);
	assert_int_equal(clock_next_deadline(t.env.clock), INT64_MAX);
	test_pc_fini(&t);
	return 0;
}

static uint32_t rd(uint16_t port, unsigned size)
{
	return (uint32_t)bus_read(t.env.io, port, size);
}

static void wr(uint16_t port, uint32_t value, unsigned size)
{
	bus_write(t.env.io, port, value, size);
}

static void acpi_mode(void)
{
	out8(&t, acpi_pm_info.smi_command, acpi_pm_info.acpi_enable);
}

static void info_matches_the_ports(void **unused)
{
	assert_int_equal(acpi_pm_info.base + acpi_pm_info.pm1a_event, STATUS);
	assert_int_equal(acpi_pm_info.base + acpi_pm_info.pm1a_control, CONTROL);
	assert_int_equal(acpi_pm_info.base + acpi_pm_info.pm_timer, TIMER);
	assert_int_equal(acpi_pm_info.base + acpi_pm_info.gpe0, GPE_STATUS);
	assert_int_equal(rd(CONTROL, 2) & 1, 0);
	acpi_mode();
	assert_int_equal(rd(CONTROL, 2) & 1, 1);
	wr(CONTROL, 0, 2); /* not how it is left */
	assert_int_equal(rd(CONTROL, 2) & 1, 1);
	out8(&t, acpi_pm_info.smi_command, acpi_pm_info.acpi_disable);
	assert_int_equal(rd(CONTROL, 2) & 1, 0);
	out8(&t, 0xb3, 0x5a);
	assert_int_equal(in8(&t, 0xb3), 0x5a);
}

static void timer_counts(void **unused)
{
	uint32_t first = rd(TIMER, 4);

	clock_advance(t.env.clock, NS_PER_S);
	assert_int_equal(rd(TIMER, 4) - first, 3579545);
	assert_int_equal(rd(TIMER, 2), rd(TIMER, 4) & 0xffff);
	assert_int_equal(rd(TIMER + 2, 2), rd(TIMER, 4) >> 16);
	assert_int_equal(rd(TIMER + 1, 1), rd(TIMER, 4) >> 8 & 0xff);
	wr(TIMER, 0, 4);
	assert_int_equal(rd(TIMER, 4) - first, 3579545);
}

static void timer_carry(void **unused)
{
	int64_t half_ns = clock_ticks_to_ns(1ull << 31, 3579545);

	acpi_mode();
	wr(ENABLE, 1, 2);
	clock_advance(t.env.clock, half_ns - 1);
	assert_false(t.wires[SCI].level);
	clock_advance(t.env.clock, 1);
	assert_true(t.wires[SCI].level);
	assert_int_equal(rd(STATUS, 2), 1);
	wr(STATUS, 1, 2);
	assert_false(t.wires[SCI].level);
	clock_advance(t.env.clock, half_ns);
	assert_true(t.wires[SCI].level);
	/* The status bit comes without the enable too. */
	wr(ENABLE, 0, 2);
	wr(STATUS, 1, 2);
	clock_advance(t.env.clock, half_ns);
	assert_int_equal(rd(STATUS, 2), 1);
	assert_false(t.wires[SCI].level);
}

static void power_button(void **unused)
{
	assert_false(acpi_pm_power_button(pm)); /* nobody listens yet */
	acpi_mode();
	assert_false(t.wires[SCI].level);
	wr(STATUS, 0xffff, 2);
	wr(ENABLE + 1, 0x01, 1); /* byte access to the high half */
	assert_true(acpi_pm_power_button(pm));
	assert_true(t.wires[SCI].level);
	assert_int_equal(rd(STATUS, 4), 0x01000100);
	wr(STATUS, 0x00ff, 2);
	assert_true(t.wires[SCI].level);
	wr(STATUS, 0x0100, 2);
	assert_false(t.wires[SCI].level);
	wr(ENABLE, 0xffff, 2);
	assert_int_equal(rd(ENABLE, 2), 0x0521);
}

static void general_purpose_events(void **unused)
{
	acpi_pm_gpe(pm, ACPI_GPE_PCI_HOTPLUG);
	assert_int_equal(rd(GPE_STATUS, 2), 2);
	assert_false(t.wires[SCI].level);
	wr(GPE_ENABLE, 2, 2);
	assert_true(t.wires[SCI].level);
	wr(GPE_STATUS, 2, 1);
	assert_false(t.wires[SCI].level);
}

static void sleep_types(void **unused)
{
	wr(CONTROL, acpi_pm_info.s5_type << 10, 2); /* without SLP_EN */
	assert_int_equal(t.requests, 0);
	wr(CONTROL, acpi_pm_info.s5_type << 10 | 1 << 13, 2);
	assert_int_equal(t.request, MACHINE_POWER_OFF);
	wr(CONTROL, acpi_pm_info.s3_type << 10 | 1 << 13, 2);
	assert_int_equal(t.request, MACHINE_SUSPEND);
	wr(CONTROL, 7 << 10 | 1 << 13, 2);
	assert_int_equal(t.requests, 2);
	assert_int_equal(rd(CONTROL, 2) & 1 << 13, 0); /* write-only */
	/* As two byte writes. */
	wr(CONTROL, 0, 1);
	wr(CONTROL + 1, 0x20, 1);
	assert_int_equal(t.request, MACHINE_POWER_OFF);
	acpi_pm_wake(pm, false);
	assert_int_equal(rd(STATUS, 2) & 0x8000, 0x8000);
}

static void state_survives(void **unused)
{
	struct error err = {0};

	acpi_mode();
	wr(ENABLE, 0x100, 2);
	acpi_pm_power_button(pm);
	assert_true(test_save_reset_load((struct device *)pm, &err) > 0);
	assert_int_equal(rd(STATUS, 2), 0x100);
	assert_true(t.wires[SCI].level);
	test_hostile_state((struct device *)pm);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(info_matches_the_ports), T(timer_counts), T(timer_carry),    T(power_button),
		T(general_purpose_events), T(sleep_types),  T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
