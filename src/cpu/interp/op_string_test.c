/* SPDX-License-Identifier: GPL-2.0-or-later */
/* String instructions in segments that are not flat: they go page by page too, but end where the segment does, wrap
 * where the address size does, and take from a device as much as it gives in one go. */
#include "cpu/interp/test_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/util.h"

enum { SEGMENT = 0x20004, HANDLER = GUEST_CODE + 0x1000 };

static const uint8_t halt = 0xf4;

static uint64_t *start(struct guest *guest, enum x86_code_mode mode, const void *code, size_t length)
{
	guest_init(guest, 1, NULL, false);
	guest_mode(guest, 0, mode);
	guest_code(guest, GUEST_CODE, code, length);
	guest_code(guest, HANDLER, &halt, 1);
	for (unsigned i = 0; i < 0x20000; i++)
		*guest_ram(guest, SEGMENT + i) = (uint8_t)(i * 7 + (i >> 8));
	return guest->cpu[0]->s.gpr;
}

static void set_segment(struct guest *guest, unsigned number, uint32_t attr, uint32_t limit)
{
	struct x86_segment *segment = &guest->cpu[0]->s.seg[number];

	segment->base = SEGMENT;
	segment->limit = limit;
	segment->attr = attr;
	x86_mode_update(guest->cpu[0]);
}

static void run_to_halt(struct guest *guest)
{
	enum vcpu_exit exit = VCPU_FAILED;

	for (unsigned i = 0; i < 100 && exit != VCPU_HALTED; i++)
		guest_run(guest, 0, 10000, &exit);
	assert_int_equal(exit, VCPU_HALTED);
}

static void test_ends_at_the_limit(void **unused)
{
	static const uint8_t code[] = {0xf3, 0xab, 0xf4}; /* rep stosw */
	static const uint16_t gate[] = {HANDLER - GUEST_CODE, GUEST_CODE >> 4};
	struct guest guest;
	uint64_t *gpr = start(&guest, X86_CODE16, code, sizeof(code));

	guest_code(&guest, 4 * X86_GP, gate, sizeof(gate));
	set_segment(&guest, X86_ES, 0x93, 0x2fe);
	gpr[X86_RAX] = 0xa5a5;
	gpr[X86_RDI] = 0x100;
	gpr[X86_RCX] = 0x1000;
	run_to_halt(&guest);
	assert_int_equal(guest.cpu[0]->s.rip, HANDLER - GUEST_CODE + 1);
	assert_int_equal(gpr[X86_RDI], 0x2fe);
	assert_int_equal(gpr[X86_RCX], 0x1000 - (0x2fe - 0x100) / 2);
	assert_int_equal(*guest_ram(&guest, SEGMENT + 0x2fd), 0xa5);
	assert_int_not_equal(*guest_ram(&guest, SEGMENT + 0x2fe), 0xa5);
	guest_fini(&guest);
}

static void test_ends_where_it_expands_from(void **unused)
{
	static const uint8_t code[] = {0xf3, 0xaa, 0xf4}; /* rep stosb, 32-bit addresses */
	const uint64_t gate = 0x8e00ull << 32 | 24ull << 16 | (HANDLER & 0xffff) | (uint64_t)HANDLER >> 16 << 48;
	struct guest guest;
	uint64_t *gpr = start(&guest, X86_CODE32, code, sizeof(code));

	guest_code(&guest, 0x7000 + 8 * X86_GP, &gate, sizeof(gate));
	set_segment(&guest, X86_ES, 0x97, 0xfff); /* expand-down: 0x1000..0xffff */
	gpr[X86_RDI] = 0xf800;
	gpr[X86_RCX] = 0x4000;
	run_to_halt(&guest);
	assert_int_equal(guest.cpu[0]->s.rip, HANDLER + 1);
	assert_int_equal(gpr[X86_RDI], 0x10000);
	assert_int_equal(gpr[X86_RCX], 0x4000 - 0x800);
	guest_fini(&guest);
}

static void test_wraps_at_64_kib(void **unused)
{
	static const uint8_t code[] = {0xf3, 0xa4, 0xf4}; /* rep movsb */
	struct guest guest;
	uint64_t *gpr = start(&guest, X86_CODE16, code, sizeof(code));
	uint8_t expected[0x30];

	set_segment(&guest, X86_DS, 0x93, 0xffff);
	set_segment(&guest, X86_ES, 0x93, 0xffff);
	memcpy(expected, guest_ram(&guest, SEGMENT + 0xfff0), 0x10);
	memcpy(expected + 0x10, guest_ram(&guest, SEGMENT), 0x20);
	gpr[X86_RSI] = 0x1234fff0;
	gpr[X86_RDI] = 0x56788ff4; /* the page's end is 8 bytes behind */
	gpr[X86_RCX] = 0x9abc0030;
	run_to_halt(&guest);
	assert_int_equal(gpr[X86_RSI], 0x12340020);
	assert_int_equal(gpr[X86_RDI], 0x56789024);
	assert_int_equal(gpr[X86_RCX], 0x9abc0000);
	assert_memory_equal(guest_ram(&guest, SEGMENT + 0x8ff4), expected, sizeof(expected));
	guest_fini(&guest);
}

struct port {
	unsigned runs, singles;
	uint16_t next;
};

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
	struct port *port = opaque;

	port->singles++;
	return port->next++;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

static size_t port_read_run(void *opaque, uint64_t offset, void *to, unsigned size, size_t count)
{
	struct port *port = opaque;

	port->runs++;
	for (size_t i = 0; i < count; i++, port->next++)
		memcpy((uint8_t *)to + 2 * i, &port->next, 2);
	return count;
}

static void test_a_device_gives_runs(void **unused)
{
	static const uint8_t code[] = {0xf3, 0x6d, 0xf4}; /* rep insw */
	static const struct region_ops ops = {.read = port_read, .write = port_write, .read_run = port_read_run};
	struct port port = {0};
	struct region region = {.name = "port", .ops = &ops, .opaque = &port, .base = 0x1f0, .size = 8};
	struct guest guest;
	uint64_t *gpr = start(&guest, X86_CODE16, code, sizeof(code));

	assert_int_equal(bus_add(guest.io, &region, NULL), 0);
	set_segment(&guest, X86_ES, 0x93, 0xffff);
	gpr[X86_RDX] = 0x1f0;
	gpr[X86_RDI] = 0x0400;
	gpr[X86_RCX] = 1024;
	run_to_halt(&guest);
	assert_int_equal(gpr[X86_RDI], 0x0400 + 2048);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(load_le16(guest_ram(&guest, SEGMENT + 0x400 + 2 * i)), i);
	assert_int_equal(port.runs + port.singles, 2); /* the first one finds the page */
	bus_remove(guest.io, &region);
	guest_fini(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends_at_the_limit),
		cmocka_unit_test(test_ends_where_it_expands_from),
		cmocka_unit_test(test_wraps_at_64_kib),
		cmocka_unit_test(test_a_device_gives_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
