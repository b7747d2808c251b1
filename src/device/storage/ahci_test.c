/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The AHCI adapter end to end: command lists and FISes in memory, queued commands, packets, errors, resets. */
#include "device/storage/ahci.h"

#include "base/loop.h"
#include "base/util.h"
#include "core/bus.h"
#include "core/state.h"
#include "device/storage/storage.h"
#include "device/storage/test_disks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEVFN = 3 << 3, LIST = 0x10000, FISES = 0x12000, TABLES = 0x14000, BUFFER = 0x40000, DISK_BYTES = 4 << 20 };
enum {
	CLB = 0x00,
	FB = 0x08,
	IS = 0x10,
	IE = 0x14,
	CMD = 0x18,
	TFD = 0x20,
	SIG = 0x24,
	SSTS = 0x28,
	SCTL = 0x2c,
	SACT = 0x34,
	CI = 0x38
};

struct fixture {
	struct test_disks *t;
	struct device *adapter;
	uint64_t abar;
	unsigned port;
};

static uint32_t get(struct fixture *f, unsigned offset)
{
	return (uint32_t)bus_read(f->t->machine->env.memory, f->abar + 0x100 + f->port * 0x80 + offset, 4);
}

static void put(struct fixture *f, unsigned offset, uint32_t value)
{
	bus_write(f->t->machine->env.memory, f->abar + 0x100 + f->port * 0x80 + offset, value, 4);
}

static void run_port(struct fixture *f, unsigned port)
{
	f->port = port;
	put(f, CLB, LIST + port * 0x400);
	put(f, FB, FISES + port * 0x100);
	put(f, IE, 0xffffffff);
	put(f, CMD, AHCI_CMD_START | AHCI_CMD_FIS);
}

static int set_up(void **state)
{
	static const uint64_t bytes[TEST_DISKS] = {DISK_BYTES, 1 << 20};
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->t = test_disks_new(bytes);
	f->adapter = test_disks_add(f->t, &ahci_class, -1, "addr=3");
	test_disks_add(f->t, &ide_hd_class, 0, "bus=ide.0");
	test_disks_add(f->t, &ide_cd_class, 1, "bus=ide.1");
	f->abar = test_bar_assign(f->t->machine, DEVFN, 5);
	test_config_write(f->t->machine, DEVFN, 4, 6, 2);
	bus_write(f->t->machine->env.memory, f->abar + 4, 2, 4);
	run_port(f, 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	test_disks_free(f->t);
	free(f);
	return 0;
}

/* A command of `sectors` at lba whose data is in BUFFER + slot * 64 KiB, in two regions. */
static void prepare(struct fixture *f, unsigned slot, uint8_t command, uint64_t lba, unsigned sectors)
{
	uint64_t table = TABLES + slot * 0x100, buffer = BUFFER + slot * 0x10000;
	uint8_t header[32] = {5}, fis[0xa0] = {0x27, 0x80, command};
	bool queued = (command & 0xfe) == 0x60;

	store_le16(header + 2, 2);
	store_le32(header + 8, (uint32_t)table);
	for (unsigned i = 0; i < 3; i++) {
		fis[4 + i] = (uint8_t)(lba >> 8 * i);
		fis[8 + i] = (uint8_t)(lba >> (24 + 8 * i));
	}
	fis[7] = 0x40;
	fis[queued ? 3 : 12] = (uint8_t)sectors;
	fis[queued ? 11 : 13] = (uint8_t)(sectors >> 8);
	if (queued)
		fis[12] = (uint8_t)(slot << 3);
	store_le32(fis + 0x80, (uint32_t)buffer);
	store_le32(fis + 0x8c, 255);
	store_le32(fis + 0x90, (uint32_t)buffer + 256);
	store_le32(fis + 0x9c, 0xffff);
	memory_put(f->t, LIST + f->port * 0x400 + 32 * slot, header, sizeof(header));
	memory_put(f->t, table, fis, sizeof(fis));
}

static void settle(struct fixture *f, uint32_t slots)
{
	for (unsigned i = 0; i < 5000 && ((get(f, CI) | get(f, SACT)) & slots) && !(get(f, IS) & AHCI_IS_TFE); i++)
		loop_poll(f->t->machine->env.loop, NS_PER_MS);
	test_settle(f->t->machine);
}

static void issue(struct fixture *f, uint32_t slots, bool queued)
{
	if (queued)
		put(f, SACT, slots);
	put(f, CI, slots);
	settle(f, slots);
}

static void presence(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bus_read(f->t->machine->env.memory, f->abar, 4) & 31, AHCI_PORTS - 1);
	assert_int_equal(bus_read(f->t->machine->env.memory, f->abar + 12, 4), 0x3f);
	assert_int_equal(get(f, SSTS), 0x113);
	assert_int_equal(get(f, SIG), 0x101);
	assert_int_equal(get(f, TFD) & 0xff, ATA_DRDY | ATA_SEEK);
	f->port = 1;
	assert_int_equal(get(f, SIG), 0xeb140101);
	f->port = 2;
	assert_int_equal(get(f, SSTS), 0);
	assert_int_equal(get(f, SIG), 0xffffffff);
}

static void identify(void **state)
{
	struct fixture *f = *state;

	prepare(f, 4, 0xec, 0, 0);
	issue(f, 1 << 4, false);
	assert_int_equal(get(f, CI), 0);
	assert_int_equal(get(f, IS) & (AHCI_IS_PS | AHCI_IS_DHR), AHCI_IS_PS | AHCI_IS_DHR);
	assert_int_equal(memory_word(f->t, BUFFER + 4 * 0x10000 + 120), DISK_BYTES / 512);
	assert_int_equal(memory_word(f->t, BUFFER + 4 * 0x10000 + 150) & 0xffff, 31); /* queue depth */
	assert_int_equal(memory_word(f->t, LIST + 4 * 32 + 4), 512);                  /* bytes moved */
	assert_int_equal(memory_word(f->t, FISES + 0x20) & 0xff, 0x5f);
	/* The interrupt is there until its cause is cleared. */
	assert_int_equal(bus_read(f->t->machine->env.memory, f->abar + 8, 4), 1);
	put(f, IS, 0xffffffff);
	assert_int_equal(bus_read(f->t->machine->env.memory, f->abar + 8, 4), 0);
}

static void read_and_write(void **state)
{
	struct fixture *f = *state;
	uint32_t number;

	prepare(f, 0, 0x25, 500, 16);
	issue(f, 1, false);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(memory_word(f->t, BUFFER + 512 * i), 500 + i);
	assert_int_equal(memory_word(f->t, FISES + 0x40) & 0xff, 0x34);
	prepare(f, 0, 0x35, 2000, 16);
	issue(f, 1, false);
	assert_int_equal(pread(f->t->fds[0], &number, 4, 2015 * 512), 4);
	assert_int_equal(number, 515);
}

static void queued(void **state)
{
	struct fixture *f = *state;
	uint32_t number;

	for (unsigned slot = 0; slot < 8; slot++)
		prepare(f, slot, 0x60, 100 * slot, 8);
	issue(f, 0xff, true);
	assert_int_equal(get(f, SACT) | get(f, CI), 0);
	assert_int_equal(get(f, IS) & AHCI_IS_SDB, AHCI_IS_SDB);
	for (unsigned slot = 0; slot < 8; slot++)
		assert_int_equal(memory_word(f->t, BUFFER + slot * 0x10000 + 7 * 512), 100 * slot + 7);
	assert_int_equal(memory_word(f->t, FISES + 0x58) & 0xff, 0xa1);
	prepare(f, 3, 0x61, 3000, 8);
	issue(f, 1 << 3, true);
	assert_int_equal(pread(f->t->fds[0], &number, 4, 3007 * 512), 4);
	assert_int_equal(number, 307);
}

static void errors(void **state)
{
	struct fixture *f = *state;

	prepare(f, 0, 0x60, DISK_BYTES / 512 - 1, 8);
	issue(f, 1, true);
	assert_int_equal(get(f, IS) & AHCI_IS_TFE, AHCI_IS_TFE);
	assert_int_equal(get(f, TFD) & 0xff, ATA_DRDY | ATA_ERR);
	assert_int_equal(get(f, SACT), 1);
	/* Nothing goes on before the list is started anew; then the log tells which it was. */
	put(f, IS, 0xffffffff);
	prepare(f, 1, 0x25, 0, 1);
	issue(f, 2, false);
	assert_int_equal(get(f, CI), 2);
	put(f, CMD, AHCI_CMD_FIS);
	assert_int_equal(get(f, CI) | get(f, SACT), 0);
	assert_int_equal(get(f, CMD) & AHCI_CMD_RUNNING, 0);
	put(f, CMD, AHCI_CMD_START | AHCI_CMD_FIS);
	prepare(f, 2, 0x2f, 0x10, 1);
	issue(f, 1 << 2, false);
	assert_int_equal(get(f, CI), 0);
	assert_int_equal(memory_word(f->t, BUFFER + 2 * 0x10000) & 0xff, 0);
	assert_int_equal(memory_word(f->t, BUFFER + 2 * 0x10000) >> 24, ATA_ABRT | ATA_IDNF);
	/* A list that is not in memory. */
	put(f, CMD, AHCI_CMD_FIS);
	put(f, CLB, 0x80000000);
	put(f, CMD, AHCI_CMD_START | AHCI_CMD_FIS);
	put(f, CI, 1);
	assert_int_equal(get(f, IS) & AHCI_IS_HBF, AHCI_IS_HBF);
}

static void packet(struct fixture *f, const uint8_t cdb[12])
{
	prepare(f, 0, 0xa0, 0, 0);
	memory_put(f->t, TABLES + 3, &(uint8_t){1}, 1); /* by DMA */
	memory_put(f->t, TABLES + 0x40, cdb, 12);
	issue(f, 1, false);
}

static void packets(void **state)
{
	static const uint8_t ready[12] = {0}, read[12] = {0x28, 0, 0, 0, 0, 9, 0, 0, 4},
			     inquiry[12] = {0x12, 0, 0, 0, 36};
	struct fixture *f = *state;

	run_port(f, 1);
	packet(f, ready); /* power-on attention */
	put(f, CMD, AHCI_CMD_FIS);
	put(f, IS, 0xffffffff);
	put(f, CMD, AHCI_CMD_START | AHCI_CMD_FIS);
	packet(f, read);
	assert_int_equal(get(f, CI), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(memory_word(f->t, BUFFER + 2048 * i), 36 + 4 * i);
	packet(f, inquiry);
	assert_int_equal(memory_word(f->t, BUFFER + 8), 0x554d4551);
}

static void resets(void **state)
{
	struct fixture *f = *state;
	struct state_buffer saved = {0};

	prepare(f, 0, 0x60, 0, 64);
	put(f, SACT, 1);
	put(f, CI, 1);
	/* The disk still has it: the list runs until it is back, and nothing is told of it. */
	put(f, CMD, AHCI_CMD_FIS);
	assert_int_equal(get(f, CMD) & AHCI_CMD_RUNNING, AHCI_CMD_RUNNING);
	for (unsigned i = 0; i < 5000 && get(f, CMD) & AHCI_CMD_RUNNING; i++)
		loop_poll(f->t->machine->env.loop, NS_PER_MS);
	assert_int_equal(get(f, CMD) & AHCI_CMD_RUNNING, 0);
	assert_int_equal(get(f, IS) & AHCI_IS_SDB, 0);
	put(f, SCTL, 1);
	put(f, SCTL, 0);
	assert_int_equal(get(f, TFD), (ATA_DRDY | ATA_SEEK) | 0x100);
	state_save(f->adapter->class->state, f->adapter, &saved);
	bus_write(f->t->machine->env.memory, f->abar + 4, 1, 4);
	assert_int_equal(get(f, CLB), 0);
	assert_true(state_load(f->adapter->class->state, f->adapter, saved.data, saved.length, NULL) > 0);
	assert_int_equal(get(f, CLB), LIST);
	free(saved.data);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(presence), TEST(identify), TEST(read_and_write), TEST(queued),
		TEST(errors),   TEST(packets),  TEST(resets),
	};

	return cmocka_run_group_tests_name("ahci", tests, NULL, NULL);
}
