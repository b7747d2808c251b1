/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The floppy controller end to end, with the DMA controller: seeks, transfers over both sides, errors, another medium.
 */
#include "device/storage/fdc.h"

#include "base/loop.h"
#include "base/util.h"
#include "core/state.h"
#include "device/pc/i8237.h"
#include "device/storage/storage.h"
#include "device/storage/test_disks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { DOR = 0x3f2, MSR = 0x3f4, FIFO = 0x3f5, DIR = 0x3f7, BUFFER = 0x10000, READ = 0xe6, WRITE = 0xc5 };

struct fixture {
	struct test_disks *t;
	struct device *dma, *controller, *drive;
};

static int set_up(void **state)
{
	static const uint64_t bytes[TEST_DISKS] = {1440 << 10, 720 << 10};
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct i8237 *dma;

	f->t = test_disks_new(bytes);
	dma = i8237_new(&f->t->machine->env, NULL);
	f->dma = f->t->devices[f->t->count++] = (struct device *)dma;
	device_reset(f->dma);
	f->t->machine->env.isa_dma = i8237_channels(dma);
	f->controller = test_disks_add(f->t, &fdc_class, -1, "");
	f->t->machine->env.floppy_controller = f->controller;
	f->drive = test_disks_add(f->t, &floppy_class, 0, "");
	port_out(f->t, DOR, 0x1c, 1); /* motor A, DMA, running */
	port_out(f->t, DIR, FLOPPY_500K, 1);
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

static bool line(struct fixture *f)
{
	return f->t->machine->isa_level[6];
}

static void send(struct fixture *f, const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(port_in(f->t, MSR, 1) & 0xc0, 0x80);
		port_out(f->t, FIFO, bytes[i], 1);
	}
}

static void receive(struct fixture *f, uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(port_in(f->t, MSR, 1) & 0xc0, 0xc0);
		bytes[i] = (uint8_t)port_in(f->t, FIFO, 1);
	}
	assert_int_equal(port_in(f->t, MSR, 1), 0x80);
}

static void seek(struct fixture *f, uint8_t track)
{
	uint8_t status[2];

	send(f, (uint8_t[]){0x0f, 0, track}, 3);
	assert_true(line(f));
	send(f, (uint8_t[]){8}, 1);
	receive(f, status, 2);
	assert_int_equal(status[0], 0x20);
	assert_int_equal(status[1], track);
	assert_false(line(f));
}

static void channel(struct fixture *f, uint8_t mode, uint32_t gpa, unsigned bytes)
{
	port_out(f->t, 0x0a, 6, 1);
	port_out(f->t, 0x0c, 0, 1);
	port_out(f->t, 0x0b, mode | 2, 1);
	port_out(f->t, 0x04, gpa & 255, 1);
	port_out(f->t, 0x04, gpa >> 8 & 255, 1);
	port_out(f->t, 0x05, (bytes - 1) & 255, 1);
	port_out(f->t, 0x05, (bytes - 1) >> 8, 1);
	port_out(f->t, 0x81, gpa >> 16, 1);
	port_out(f->t, 0x0a, 2, 1);
}

static void transfer(struct fixture *f, uint8_t command, uint8_t track, uint8_t head, uint8_t sector, uint8_t result[7])
{
	send(f, (uint8_t[]){command, (uint8_t)(head << 2), track, head, sector, 2, 18, 0x1b, 0xff}, 9);
	for (unsigned i = 0; i < 5000 && !line(f); i++)
		loop_poll(f->t->machine->env.loop, NS_PER_MS);
	assert_true(line(f));
	receive(f, result, 7);
	assert_false(line(f));
}

static void after_reset(void **state)
{
	struct fixture *f = *state;
	uint8_t status[2];

	port_out(f->t, DOR, 0x08, 1);
	assert_int_equal(port_in(f->t, MSR, 1), 0);
	port_out(f->t, DOR, 0x0c, 1);
	assert_true(line(f));
	for (uint8_t i = 0; i < 4; i++) {
		send(f, (uint8_t[]){8}, 1);
		receive(f, status, 2);
		assert_int_equal(status[0], 0xc0 | i);
	}
	send(f, (uint8_t[]){8}, 1);
	receive(f, status, 1);
	assert_int_equal(status[0], 0x80);
	send(f, (uint8_t[]){0x10}, 1);
	receive(f, status, 1);
	assert_int_equal(status[0], 0x90);
}

/* Sectors of both sides of a cylinder, from the middle of the first. */
static void read_cylinder(void **state)
{
	struct fixture *f = *state;
	uint8_t result[7];

	seek(f, 5);
	channel(f, 0x44, BUFFER, 20 * 512);
	transfer(f, READ, 5, 0, 10, result);
	assert_int_equal(result[0] & 0xc0, 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(memory_word(f->t, BUFFER + 512 * i), 5 * 36 + 9 + i);
	/* It stopped in side 1 before sector 12. */
	assert_int_equal(result[3] << 16 | result[4] << 8 | result[5], 5 << 16 | 1 << 8 | 12);
	/* Without a count that ends it, it runs to the end of the cylinder. */
	channel(f, 0x44, BUFFER, 40 * 512);
	transfer(f, READ, 5, 0, 1, result);
	assert_int_equal(result[0] & 0xc0, 0x40);
	assert_int_equal(result[1], 0x80);
}

static void write_sectors(void **state)
{
	struct fixture *f = *state;
	uint8_t result[7], data[1024], in[1536];

	memset(data, 0xa5, sizeof(data));
	memory_put(f->t, BUFFER, data, sizeof(data));
	seek(f, 79);
	/* The channel is unmasked only after the command was given. */
	channel(f, 0x48, BUFFER, sizeof(data));
	port_out(f->t, 0x0a, 6, 1);
	send(f, (uint8_t[]){WRITE, 4, 79, 1, 17, 2, 18, 0x1b, 0xff}, 9);
	test_settle(f->t->machine);
	assert_false(line(f));
	port_out(f->t, 0x0a, 2, 1);
	for (unsigned i = 0; i < 5000 && !line(f); i++)
		loop_poll(f->t->machine->env.loop, NS_PER_MS);
	receive(f, result, 7);
	assert_int_equal(result[0] & 0xc0, 0);
	assert_int_equal(pread(f->t->fds[0], in, 1536, 2877 * 512), 1536);
	assert_int_equal(load_le32(in), 2877);
	assert_memory_equal(in + 512, data, 1024);
	assert_int_equal(port_in(f->t, 0x08, 1) & 4, 4); /* terminal count of channel 2 */
}

static void errors(void **state)
{
	struct fixture *f = *state;
	uint8_t result[7];

	channel(f, 0x44, BUFFER, 512);
	transfer(f, READ, 3, 0, 1, result); /* not where the heads are */
	assert_int_equal(result[1], 4);
	transfer(f, READ, 0, 0, 19, result);
	assert_int_equal(result[1], 4);
	port_out(f->t, DIR, FLOPPY_250K, 1);
	transfer(f, READ, 0, 0, 1, result);
	assert_int_equal(result[0] & 0xc0, 0x40);
	assert_int_equal(result[1], 1);
	port_out(f->t, DIR, FLOPPY_500K, 1);
	f->t->blocks[0]->read_only = true;
	transfer(f, WRITE, 0, 0, 1, result);
	assert_int_equal(result[1], 2);
	f->t->blocks[0]->read_only = false;
	port_out(f->t, FIFO, 0x1f, 1);
	receive(f, result, 1);
	assert_int_equal(result[0], 0x80);
}

static void media(void **state)
{
	struct fixture *f = *state;
	uint8_t result[7];

	assert_int_equal(floppy_type_at(f->controller, 0), FLOPPY_1440K);
	assert_int_equal(port_in(f->t, DIR, 1) & 0x80, 0x80); /* a disk whose heads have not moved yet */
	seek(f, 1);
	assert_int_equal(port_in(f->t, DIR, 1) & 0x80, 0);
	assert_int_equal(floppy_class.medium->set(f->drive, f->t->blocks[1], NULL), 0);
	assert_int_equal(port_in(f->t, DIR, 1) & 0x80, 0x80);
	seek(f, 0);
	port_out(f->t, DIR, FLOPPY_250K, 1);
	channel(f, 0x44, BUFFER, 512);
	transfer(f, READ, 0, 1, 2, result);
	assert_int_equal(result[0] & 0xc0, 0);
	assert_int_equal(memory_word(f->t, BUFFER), 10); /* nine sectors a track */
	assert_int_equal(floppy_class.medium->set(f->drive, NULL, NULL), 0);
	transfer(f, READ, 0, 0, 1, result);
	assert_int_equal(result[0] & 0xc8, 0x48);
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;
	struct state_buffer saved = {0}, dma = {0};
	uint8_t result[7];

	seek(f, 2);
	channel(f, 0x44, BUFFER, 512);
	port_out(f->t, 0x0a, 6, 1);
	send(f, (uint8_t[]){READ, 0, 2, 0, 3, 2, 18, 0x1b, 0xff}, 9);
	state_save(f->controller->class->state, f->controller, &saved);
	state_save(f->dma->class->state, f->dma, &dma);
	device_reset(f->controller);
	device_reset(f->dma);
	assert_true(state_load(f->dma->class->state, f->dma, dma.data, dma.length, NULL) > 0);
	assert_true(state_load(f->controller->class->state, f->controller, saved.data, saved.length, NULL) > 0);
	port_out(f->t, 0x0a, 2, 1);
	for (unsigned i = 0; i < 5000 && !line(f); i++)
		loop_poll(f->t->machine->env.loop, NS_PER_MS);
	receive(f, result, 7);
	assert_int_equal(result[0] & 0xc0, 0);
	assert_int_equal(memory_word(f->t, BUFFER), 2 * 36 + 2);
	free(saved.data);
	free(dma.data);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(after_reset), TEST(read_cylinder), TEST(write_sectors),
		TEST(errors),      TEST(media),         TEST(save_and_load),
	};

	return cmocka_run_group_tests_name("fdc", tests, NULL, NULL);
}
