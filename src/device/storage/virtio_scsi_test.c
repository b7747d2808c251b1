/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio SCSI adapter end to end: commands of disks and CD-ROM drives, places on the bus, task management, events.
 */
#include "backend/block/attach.h"
#include "base/loop.h"
#include "base/util.h"
#include "device/storage/scsi_bus.h"
#include "device/storage/storage.h"
#include "device/storage/test_disks.h"
#include "device/virtio/test_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEVFN = 4 << 3, DISK_BYTES = 4 << 20, HEAD = 51, RESPONSE = 108, DATA = 0x200000 };

struct fixture {
	struct test_disks *t;
	struct guest guest;
	uint8_t response[RESPONSE];
};

static int set_up(void **state)
{
	static const uint64_t bytes[TEST_DISKS] = {DISK_BYTES, 1 << 20};
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->t = test_disks_new(bytes);
	test_disks_add(f->t, &virtio_scsi_pci, -1, "addr=4,id=hba");
	test_disks_add(f->t, &scsi_hd_class, 0, "bus=hba.0,scsi-id=2,serial=SER1,wwn=0x5000c50015ea71ac");
	test_disks_add(f->t, &scsi_cd_class, 1, "bus=hba.0,scsi-id=2,lun=300");
	guest_open(&f->guest, f->t->machine, DEVFN, false);
	guest_start(&f->guest, UINT64_MAX & ~(1ull << 34), 3);
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

/* Response code << 8 | status; data-in arrives at DATA, data-out is taken from out. */
static unsigned command(struct fixture *f, unsigned target, unsigned lun, const uint8_t cdb[16], uint32_t in,
			const void *out, uint32_t out_bytes)
{
	struct guest_buffer buffers[4];
	unsigned count = 0;
	uint64_t head = guest_alloc(&f->guest, HEAD), response = guest_alloc(&f->guest, RESPONSE);
	uint8_t request[HEAD] = {1, (uint8_t)target, (uint8_t)(lun >> 8 | 0x40), (uint8_t)lun};
	uint32_t id, written;

	memcpy(request + 19, cdb, 16);
	memory_put(f->t, head, request, HEAD);
	buffers[count++] = (struct guest_buffer){head, HEAD, false};
	if (out_bytes) {
		uint64_t gpa = guest_alloc(&f->guest, out_bytes);

		memory_put(f->t, gpa, out, out_bytes);
		buffers[count++] = (struct guest_buffer){gpa, out_bytes, false};
	}
	buffers[count++] = (struct guest_buffer){response, RESPONSE, true};
	if (in)
		buffers[count++] = (struct guest_buffer){DATA, in, true};
	guest_offer(&f->guest, 2, buffers, count);
	guest_kick(&f->guest, 2);
	assert_true(guest_wait_used(&f->guest, 2, &id, &written));
	memory_get(f->t, response, f->response, RESPONSE);
	return (unsigned)f->response[11] << 8 | f->response[10];
}

#define CDB(...) ((const uint8_t[16]){__VA_ARGS__})

static unsigned sense_code(struct fixture *f)
{
	return load_be16(f->response + 12 + 12);
}

static void attention(struct fixture *f)
{
	assert_int_equal(command(f, 2, 0, CDB(0), 0, NULL, 0), SCSI_CHECK_CONDITION);
	assert_int_equal(f->response[12 + 2], SCSI_UNIT_ATTENTION);
	assert_int_equal(sense_code(f), 0x2900);
	assert_int_equal(command(f, 2, 0, CDB(0), 0, NULL, 0), SCSI_GOOD);
}

static void identity(void **state)
{
	struct fixture *f = *state;
	uint8_t data[96];

	assert_int_equal(command(f, 2, 0, CDB(0x12, 0, 0, 0, 36), 96, NULL, 0), 0);
	assert_int_equal(load_le32(f->response + 4), 96 - 36); /* residual */
	memory_get(f->t, DATA, data, 36);
	assert_int_equal(data[0], 0);
	assert_memory_equal(data + 8, "QEMU    QEMU HARDDISK   2.5+", 28);
	assert_int_equal(command(f, 2, 300, CDB(0x12, 0, 0, 0, 36), 36, NULL, 0), 0);
	memory_get(f->t, DATA, data, 36);
	assert_int_equal(data[0], 5);
	assert_int_equal(data[1], 0x80);
	assert_int_equal(command(f, 2, 0, CDB(0x12, 1, 0x80, 0, 96), 96, NULL, 0), 0);
	memory_get(f->t, DATA, data, 8);
	assert_memory_equal(data + 4, "SER1", 4);
	assert_int_equal(command(f, 2, 0, CDB(0x12, 1, 0x83, 0, 96), 96, NULL, 0), 0);
	memory_get(f->t, DATA, data, 24);
	assert_memory_equal(data + 4, "\2\0\0\4SER1\1\3\0\x08\x50\0\xc5\0\x15\xea\x71\xac", 20);
	assert_int_equal(command(f, 2, 0, CDB(0x12, 1, 0x55, 0, 96), 96, NULL, 0), SCSI_CHECK_CONDITION);
	assert_int_equal(sense_code(f), 0x2400);
	/* Units of a target, one that it does not have, and a target that is not there. */
	assert_int_equal(command(f, 2, 0, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64), 64, NULL, 0), 0);
	memory_get(f->t, DATA, data, 24);
	assert_int_equal(load_be32(data), 16);
	assert_int_equal(load_be16(data + 16), 300 | 0x4000);
	assert_int_equal(command(f, 2, 5, CDB(0x12, 0, 0, 0, 36), 36, NULL, 0), 0);
	assert_int_equal(memory_word(f->t, DATA) & 0xff, 0x7f);
	assert_int_equal(command(f, 2, 5, CDB(0), 0, NULL, 0), SCSI_CHECK_CONDITION);
	assert_int_equal(sense_code(f), 0x2500);
	assert_int_equal(command(f, 3, 0, CDB(0), 0, NULL, 0) >> 8, 3);
}

static void transfers(void **state)
{
	struct fixture *f = *state;
	uint8_t out[1024], in[1024];

	attention(f);
	assert_int_equal(command(f, 2, 0, CDB(0x28, 0, 0, 0, 0, 100, 0, 0, 4), 2048, NULL, 0), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(memory_word(f->t, DATA + 512 * i), 100 + i);
	memset(out, 0x3c, sizeof(out));
	assert_int_equal(command(f, 2, 0, CDB(0x8a, 8, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2), 0, out, sizeof(out)), 0);
	assert_int_equal(pread(f->t->fds[0], in, sizeof(in), 256 * 512), 1024);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(command(f, 2, 0, CDB(0x35), 0, NULL, 0), 0);
	/* Fewer bytes than the blocks have; blocks that are not there. */
	assert_int_equal(command(f, 2, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 4), 512, NULL, 0) >> 8, 1);
	assert_int_equal(command(f, 2, 0, CDB(0x28, 0, 0, 0, 0x20, 0, 0, 0, 1), 512, NULL, 0), SCSI_CHECK_CONDITION);
	assert_int_equal(sense_code(f), 0x2100);
	assert_int_equal(command(f, 2, 0, CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 32, NULL, 0), 0);
	memory_get(f->t, DATA, in, 32);
	assert_int_equal(load_be64(in), DISK_BYTES / 512 - 1);
	assert_int_equal(in[14], 0x80);
	f->t->blocks[0]->read_only = true;
	assert_int_equal(command(f, 2, 0, CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 2), 0, out, sizeof(out)),
			 SCSI_CHECK_CONDITION);
	assert_int_equal(f->response[12 + 2], SCSI_DATA_PROTECT);
	f->t->blocks[0]->read_only = false;
}

static void thin(void **state)
{
	struct fixture *f = *state;
	uint8_t list[8 + 2 * 16] = {0}, zeroes[512] = {0}, in[512];

	attention(f);
	store_be16(list, 38);
	store_be16(list + 2, 32);
	store_be64(list + 8, 8);
	store_be32(list + 16, 8);
	store_be64(list + 24, 64);
	store_be32(list + 32, 8);
	assert_int_equal(command(f, 2, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40), 0, list, 40), 0);
	for (unsigned sector = 7; sector < 73; sector++) {
		bool gone = (sector >= 8 && sector < 16) || (sector >= 64 && sector < 72);

		assert_int_equal(pread(f->t->fds[0], in, 4, sector * 512), 4);
		assert_int_equal(load_le32(in), gone ? 0 : sector);
	}
	assert_int_equal(command(f, 2, 0, CDB(0x41, 0, 0, 0, 0, 80, 0, 0, 4), 0, zeroes, 512), 0);
	assert_int_equal(pread(f->t->fds[0], in, 4, 83 * 512), 4);
	assert_int_equal(load_le32(in), 0);
	store_be64(list + 8, DISK_BYTES / 512);
	assert_int_equal(command(f, 2, 0, CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40), 0, list, 40), SCSI_CHECK_CONDITION);
	assert_int_equal(sense_code(f), 0x2100);
	/* The write cache goes off and on by mode page. */
	memset(list, 0, sizeof(list));
	list[8] = 8;
	list[9] = 18;
	assert_int_equal(command(f, 2, 0, CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0, 28), 0, list, 28), 0);
	assert_int_equal(command(f, 2, 0, CDB(0x1a, 8, 8, 0, 24), 24, NULL, 0), 0);
	memory_get(f->t, DATA, in, 24);
	assert_int_equal(in[4] << 8 | in[6], 8 << 8);
}

static int note_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	*(uint32_t *)block->private_data = flags;
	return 0;
}

/* With the write cache off zeroes are durable when they are done, as other writes. */
static void zeroes_are_durable(void **state)
{
	struct fixture *f = *state;
	struct block *block = f->t->blocks[0];
	const struct block_driver *driver = block->driver;
	struct block_driver noting = *driver;
	void *private_data = block->private_data;
	uint8_t page[28] = {[8] = 8, [9] = 18}, zeroes[512] = {0};
	uint32_t with_cache = UINT32_MAX, without = UINT32_MAX;

	noting.write_zeroes = note_zeroes;
	noting.map = NULL; /* private_data is not its own */
	attention(f);
	block->driver = &noting;
	block->private_data = &with_cache;
	assert_int_equal(command(f, 2, 0, CDB(0x41, 0, 0, 0, 0, 80, 0, 0, 4), 0, zeroes, 512), 0);
	block->private_data = &without;
	assert_int_equal(command(f, 2, 0, CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0, 28), 0, page, 28), 0);
	assert_int_equal(command(f, 2, 0, CDB(0x41, 8, 0, 0, 0, 80, 0, 0, 4), 0, zeroes, 512), 0);
	block->driver = driver;
	block->private_data = private_data;
	assert_int_equal(with_cache, 0);
	assert_int_equal(without, BLOCK_FUA | BLOCK_MAY_UNMAP);
}

static void disc(void **state)
{
	struct fixture *f = *state;
	const struct device_medium_ops *ops = scsi_cd_class.medium;
	struct device *cd = f->t->devices[2];
	uint8_t in[16];

	command(f, 2, 300, CDB(0), 0, NULL, 0);
	assert_int_equal(command(f, 2, 300, CDB(0x28, 0, 0, 0, 0, 3, 0, 0, 1), 2048, NULL, 0), 0);
	assert_int_equal(memory_word(f->t, DATA), 12);
	assert_int_equal(command(f, 2, 300, CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 12), 12, NULL, 0), 0);
	memory_get(f->t, DATA, in, 12);
	assert_int_equal(in[5], 0x14);
	assert_int_equal(command(f, 2, 300, CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1), 0, in, 16), SCSI_CHECK_CONDITION);
	ops->move_tray(cd, true);
	assert_int_equal(command(f, 2, 300, CDB(0), 0, NULL, 0), SCSI_CHECK_CONDITION);
	assert_int_equal(sense_code(f), 0x3a02);
	ops->move_tray(cd, false);
	assert_int_equal(command(f, 2, 300, CDB(0), 0, NULL, 0), SCSI_CHECK_CONDITION);
	assert_int_equal(sense_code(f), 0x2800);
}

static void management(void **state)
{
	struct fixture *f = *state;
	uint8_t message[24] = {0, 0, 0, 0, 5, 0, 0, 0, 1, 2, 0x40, 0}, event[16];
	uint64_t gpa = guest_alloc(&f->guest, 64), room = guest_alloc(&f->guest, 16);
	uint32_t id, written;

	attention(f);
	memory_put(f->t, gpa, message, sizeof(message));
	guest_offer(&f->guest, 0, (struct guest_buffer[]){{gpa, 24, false}, {gpa + 32, 1, true}}, 2);
	guest_kick(&f->guest, 0);
	assert_true(guest_wait_used(&f->guest, 0, &id, &written));
	assert_int_equal(*guest_memory(&f->guest, gpa + 32, 1), 0);
	attention(f);
	/* A disk that grows is told as an event, and by attention. */
	guest_offer(&f->guest, 1, (struct guest_buffer[]){{room, 16, true}}, 1);
	assert_int_equal(block_resize(f->t->blocks[0], DISK_BYTES * 2, NULL), 0);
	assert_true(guest_wait_used(&f->guest, 1, &id, &written));
	memory_get(f->t, room, event, 16);
	assert_int_equal(load_le32(event), 3);
	assert_int_equal(event[5], 2);
	assert_int_equal(load_le32(event + 12), 0x92a);
	command(f, 2, 0, CDB(0), 0, NULL, 0);
	assert_int_equal(sense_code(f), 0x2a09);
}

static void places(void **state)
{
	static const uint64_t bytes[TEST_DISKS] = {1 << 20};
	static const struct {
		const char *options, *message;
	} lines[] = {
		{"drive=d,bus=x.0", "Bus 'x.0' not found"},         {"drive=d,scsi-id=0,lun=0", "lun already used"},
		{"drive=d,scsi-id=256", "bad scsi device id: 256"}, {"drive=d,lun=16384", "bad scsi device lun: 16384"},
		{"drive=d,channel=1", "bad scsi channel id: 1"},
	};
	struct test_disks *t = test_disks_new(bytes);

	test_disks_add(t, &virtio_scsi_pci, -1, "addr=4");
	test_disks_add(t, &scsi_hd_class, 0, "bus=scsi.0");
	t->machine->backend = t->blocks[0];
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		struct error err = {0};

		assert_null(test_device(t->machine, &scsi_hd_class, lines[i].options, &err));
		assert_non_null(strstr(err.msg, lines[i].message));
	}
	test_disks_free(t);
}

#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity), TEST(transfers), TEST(thin), TEST(zeroes_are_durable), TEST(disc), TEST(management), cmocka_unit_test(places),
	};

	return cmocka_run_group_tests_name("virtio-scsi", tests, NULL, NULL);
}
