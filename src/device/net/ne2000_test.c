/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NE2000 by its ports. */
#include "base/util.h"
#include "device/net/ne2000.h"
#include "device/net/net_devices.h"
#include "device/net/test_nic.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { CR = 0, DATA = 0x10, RESET = 0x1f, FIRST = 0x46, STOP = 0x80 };

static void set(struct test_nic *nic, unsigned offset, uint32_t value)
{
	test_nic_write(nic, 0, offset, value, 1);
}

static uint8_t get(struct test_nic *nic, unsigned offset)
{
	return (uint8_t)test_nic_read(nic, 0, offset, 1);
}

static void remote(struct test_nic *nic, uint16_t at, uint16_t bytes, uint8_t command)
{
	set(nic, 0x08, at & 0xff);
	set(nic, 0x09, at >> 8);
	set(nic, 0x0a, bytes & 0xff);
	set(nic, 0x0b, bytes >> 8);
	set(nic, CR, command);
}

static void read_memory(struct test_nic *nic, uint16_t at, uint8_t *to, uint16_t bytes)
{
	remote(nic, at, bytes, 0x0a);
	for (unsigned i = 0; i < bytes; i += 2)
		store_le16(to + i, (uint16_t)test_nic_read(nic, 0, DATA, 2));
	assert_true(get(nic, 0x07) & 0x40);
	set(nic, 0x07, 0x40);
}

static struct test_nic *plug(void)
{
	struct test_nic *nic = test_nic_new(&ne2k_pci_class, "", 0);

	get(nic, RESET);
	assert_int_equal(get(nic, 0x07) & 0x80, 0x80);
	set(nic, CR, 0x21);
	set(nic, 0x0e, 0x49);
	set(nic, 0x0c, 0x0c);
	set(nic, 0x0d, 0);
	set(nic, 0x01, FIRST);
	set(nic, 0x02, STOP);
	set(nic, 0x03, STOP - 1);
	set(nic, 0x0f, 0x3f);
	set(nic, CR, 0x61);
	for (unsigned i = 0; i < 6; i++)
		set(nic, 1 + i, "\x52\x54\x00\xaa\xbb\xcc"[i]);
	set(nic, 0x07, FIRST);
	set(nic, CR, 0x22);
	return nic;
}

static void prom_has_the_address_twice(void **state)
{
	struct test_nic *nic = plug();
	uint8_t prom[32];

	read_memory(nic, 0, prom, sizeof(prom));
	assert_memory_equal(prom, "\x52\x52\x54\x54\x00\x00\xaa\xaa\xbb\xbb\xcc\xcc", 12);
	assert_int_equal(prom[28], 0x57);
	assert_int_equal(get(nic, 0x0a), 'P');
	assert_int_equal(get(nic, 0x0b), 'C');
	test_nic_free(nic);
}

static void frames_go_out(void **state)
{
	struct test_nic *nic = plug();
	uint8_t frame[200];

	test_nic_frame(frame, sizeof(frame), 5);
	remote(nic, 0x4000, sizeof(frame), 0x12);
	for (unsigned i = 0; i < sizeof(frame); i += 2)
		test_nic_write(nic, 0, DATA, load_le16(frame + i), 2);
	set(nic, 0x04, 0x40);
	set(nic, 0x05, sizeof(frame));
	set(nic, 0x06, 0);
	set(nic, 0x07, 0xff);
	set(nic, CR, 0x26);
	assert_int_equal(nic->sent_bytes, sizeof(frame));
	assert_memory_equal(nic->sent, frame, sizeof(frame));
	assert_true(test_nic_irq(nic));
	assert_int_equal(get(nic, 0x07), 2);
	assert_int_equal(get(nic, CR) & 4, 0);
	test_nic_free(nic);
}

static void ring_wraps_and_makes_the_back_end_wait(void **state)
{
	struct test_nic *nic = plug();
	uint8_t frame[1400], got[1404 + 4];
	unsigned fit = 0, page = FIRST;

	for (unsigned round = 0; round < 30; round++) {
		test_nic_frame(frame, sizeof(frame), round);
		assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
		if (round == 13)
			test_nic_save_and_load(nic);
		read_memory(nic, (uint16_t)(page * 256), got, sizeof(got));
		assert_int_equal(got[0], 1);
		assert_int_equal(load_le16(got + 2), 1404);
		assert_memory_equal(got + 4, frame, sizeof(frame));
		page = got[1];
		set(nic, 0x03, page == FIRST ? FIRST - 1 : page - 1); /* as Linux does, below the ring too */
	}
	while (fit < 100 && test_nic_deliver(nic, frame, sizeof(frame)))
		fit++;
	assert_int_equal(fit, (STOP - FIRST - 1) / 6);
	assert_true(test_nic_irq(nic));
	nic->resumes = 0;
	set(nic, 0x03, page + 5);
	assert_true(nic->resumes > 0);
	assert_true(test_nic_deliver(nic, frame, sizeof(frame)));
	test_nic_free(nic);
}

static void isa_card_takes_ports_and_interrupt(void **state)
{
	struct test_machine *machine = test_machine_new(1 << 20, true);
	struct error err = {0};
	struct device *card = test_device(machine, &ne2k_isa_class, "iobase=0x320,irq=5,mac=52:54:00:00:00:01", &err);

	assert_non_null(card);
	assert_null(test_device(machine, &ne2k_isa_class, "iobase=0x320,irq=6", &err));
	assert_non_null(strstr(err.msg, "0x320 belongs to ne2000"));
	assert_null(test_device(machine, &ne2k_isa_class, "iobase=0x300,irq=16", &err));
	bus_read(machine->env.io, 0x320 + RESET, 1);
	bus_write(machine->env.io, 0x320 + 0x0f, 0x40, 1);
	bus_write(machine->env.io, 0x320, 0x0a, 1); /* remote read of nothing is complete */
	assert_true(machine->isa_level[5]);
	device_destroy(card);
	test_machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prom_has_the_address_twice),
		cmocka_unit_test(frames_go_out),
		cmocka_unit_test(ring_wraps_and_makes_the_back_end_wait),
		cmocka_unit_test(isa_card_takes_ports_and_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
