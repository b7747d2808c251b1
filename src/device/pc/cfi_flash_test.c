/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The flash chip against its data sheet, and what is in the image afterwards. */
#include "device/pc/cfi_flash.h"

#include "backend/block/block.h"
#include "base/util.h"
#include "device/pc/test_pc.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { BYTES = 64 * 1024, SECTOR = CFI_FLASH_SECTOR_BYTES };
#define BASE (4 * GIB - BYTES)

static struct test_pc t;
static struct device *flash;
static struct block_graph *graph;
static struct block *block;
static char path[] = "/tmp/xuni-flash-XXXXXX";

static void *find(void *opaque, enum property_type type, const char *id, struct device *user, struct error *err)
{
	return block;
}

static void open_chip(bool read_only)
{
	struct block_open how = {.read_only = read_only};

	test_pc_init(&t);
	t.env.backends.find = find;
	graph = block_graph_new(&t.log);
	block = block_open_file(graph, path, "raw", &how, NULL);
	assert_non_null(block);
	flash = device_alloc(&cfi_flash_class, &t.env);
	cfi_flash_set_end(flash, 4 * GIB);
	assert_int_equal(device_set_property(flash, "drive", "x", NULL), 0);
	assert_int_equal(device_realize(flash, NULL), 0);
	device_reset(flash);
}

static void close_chip(void)
{
	device_destroy(flash);
	block_unref(block);
	block_graph_free(graph);
	test_pc_fini(&t);
}

static int setup(void **state)
{
	uint8_t image[BYTES];
	int fd;

	strcpy(path, "/tmp/xuni-flash-XXXXXX");
	fd = mkstemp(path);
	for (unsigned i = 0; i < BYTES; i++)
		image[i] = (uint8_t)(i / SECTOR);
	assert_int_equal(write(fd, image, BYTES), BYTES);
	close(fd);
	open_chip(false);
	return 0;
}

static int teardown(void **state)
{
	close_chip();
	unlink(path);
	return 0;
}

static uint8_t rd(uint64_t offset)
{
	uint8_t byte;

	return ram_read(t.env.ram, BASE + offset, &byte, 1) == 0 ? byte
								 : (uint8_t)bus_read(t.env.memory, BASE + offset, 1);
}

static void wr(uint64_t offset, uint8_t value)
{
	assert_true(!ram_find(t.env.ram, BASE + offset) || ram_find(t.env.ram, BASE + offset)->read_only);
	bus_write(t.env.memory, BASE + offset, value, 1);
}

static uint8_t in_image(off_t offset)
{
	int fd = open(path, O_RDONLY);
	uint8_t byte = 0;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	close(fd);
	return byte;
}

static void the_array_is_memory(void **state)
{
	assert_int_equal(cfi_flash_base(flash), BASE);
	assert_non_null(ram_find(t.env.ram, BASE));
	assert_int_equal(rd(3 * SECTOR + 7), 3);
	wr(0, 0x70);
	assert_null(ram_find(t.env.ram, BASE));
	assert_int_equal(rd(3 * SECTOR), 0x80);
	wr(0, 0xff);
	assert_non_null(ram_find(t.env.ram, BASE));
	assert_int_equal(rd(3 * SECTOR), 3);
}

/* How OVMF tells flash from RAM and ROM. */
static void ovmf_recognises_it(void **state)
{
	uint8_t original = rd(SECTOR);

	wr(SECTOR, 0x50);
	assert_int_not_equal(rd(SECTOR), 0x50);
	wr(SECTOR, 0x70);
	assert_int_not_equal(rd(SECTOR), original);
	assert_int_equal(rd(SECTOR), 0);
	wr(SECTOR, 0xff);
	assert_int_equal(rd(SECTOR), original);
}

static void programming_clears_bits_and_erasing_sets_them(void **state)
{
	wr(2 * SECTOR + 5, 0x20);
	wr(2 * SECTOR + 5, 0xd0);
	assert_int_equal(rd(0), 0x80);
	wr(0, 0xff);
	assert_int_equal(rd(2 * SECTOR), 0xff);
	assert_int_equal(rd(3 * SECTOR - 1), 0xff);
	assert_int_equal(rd(3 * SECTOR), 3);
	assert_int_equal(in_image(3 * SECTOR - 1), 0xff);
	for (unsigned i = 0; i < 2; i++) {
		wr(2 * SECTOR + 9, i ? 0x40 : 0x10);
		wr(2 * SECTOR + 9, i ? 0xf0 : 0xbf);
	}
	assert_int_equal(rd(0), 0x80);
	wr(0, 0xff);
	assert_int_equal(rd(2 * SECTOR + 9), 0xb0);
	assert_int_equal(in_image(2 * SECTOR + 9), 0xb0);
	close_chip();
	open_chip(true);
	assert_int_equal(rd(2 * SECTOR + 9), 0xb0);
}

static void a_buffer_is_programmed_when_confirmed(void **state)
{
	wr(SECTOR, 0x20);
	wr(SECTOR, 0xd0);
	wr(SECTOR, 0xe8);
	assert_int_equal(rd(SECTOR) & 0x80, 0x80);
	wr(SECTOR, 3);
	for (unsigned i = 0; i < 4; i++)
		wr(SECTOR + 16 + i, (uint8_t)(0x40 + i));
	assert_int_equal(in_image(SECTOR + 16), 0xff);
	wr(SECTOR, 0xd0);
	wr(SECTOR, 0xff);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(in_image(SECTOR + 16 + i), 0x40 + i);
	wr(SECTOR, 0xe8);
	wr(SECTOR, 0);
	wr(SECTOR + 32, 0);
	wr(SECTOR, 0x00); /* not confirmed */
	assert_int_equal(rd(0) & 0x90, 0x90);
	wr(0, 0xff);
	assert_int_equal(rd(SECTOR + 32), 0xff);
}

static void what_cannot_be_written_says_so(void **state)
{
	close_chip();
	open_chip(true);
	wr(0, 0x10);
	wr(0, 0x00);
	assert_int_equal(rd(0), 0x90);
	wr(0, 0x50);
	wr(0, 0x20);
	wr(0, 0xd0);
	assert_int_equal(rd(0), 0xa0);
	wr(0, 0x20);
	wr(0, 0x12); /* no confirmation */
	assert_int_equal(rd(0) & 0x30, 0x30);
	wr(0, 0xff);
	assert_int_equal(rd(5 * SECTOR), 5);
}

static void it_describes_itself(void **state)
{
	wr(0, 0x90);
	assert_int_equal(rd(0), 0x89);
	assert_int_equal(rd(1), 0x18);
	wr(0x55, 0x98);
	assert_int_equal(rd(0x10), 'Q');
	assert_int_equal(rd(0x12), 'Y');
	assert_int_equal(1u << rd(0x27), BYTES);
	assert_int_equal((rd(0x2d) | rd(0x2e) << 8) + 1, BYTES / SECTOR);
	assert_int_equal((rd(0x2f) | rd(0x30) << 8) * 256, SECTOR);
	assert_int_equal(rd(0x31), 'P');
	wr(0, 0xff);
}

static void state_survives(void **state)
{
	wr(0, 0xe8);
	wr(0, 2);
	wr(100, 0);
	assert_true(test_save_reset_load(flash, NULL) >= 0);
	wr(101, 0);
	wr(102, 0);
	wr(0, 0xd0);
	wr(0, 0xff);
	assert_int_equal(rd(100), 0);
	assert_int_equal(rd(102), 0);
	wr(0, 0x70);
	assert_true(test_save_reset_load(flash, NULL) >= 0);
	assert_int_equal(rd(SECTOR), 0x80);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_array_is_memory),
		T(ovmf_recognises_it),
		T(programming_clears_bits_and_erasing_sets_them),
		T(a_buffer_is_programmed_when_confirmed),
		T(what_cannot_be_written_says_so),
		T(it_describes_itself),
		T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
