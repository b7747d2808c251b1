/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio entropy source and balloon, driven through their registers. */
#include "base/loop.h"
#include "base/util.h"
#include "core/object.h"
#include "device/virtio/test_guest.h"
#include "device/virtio/virtio.h"
#include "device/virtio/virtio_balloon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEVFN = 5 << 3, BUFFER = 0x200000 };

struct fixture {
	struct test_machine *machine;
	struct device *device;
	struct guest guest;
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->machine = test_machine_new(16 * MIB, true);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	device_destroy(f->device);
	test_machine_free(f->machine);
	free(f);
	return 0;
}

static void plug(struct fixture *f, const struct device_class *class, const char *options)
{
	char *all = xasprintf("addr=5%s%s", *options ? "," : "", options);
	struct error err = {0};

	f->device = test_device(f->machine, class, all, &err);
	free(all);
	if (!f->device)
		fail_msg("%s", err.msg);
	guest_open(&f->guest, f->machine, DEVFN, false);
}

static bool one(struct fixture *f, unsigned queue, struct guest_buffer buffer, uint32_t *written)
{
	uint32_t id;

	guest_offer(&f->guest, queue, &buffer, 1);
	guest_kick(&f->guest, queue);
	return guest_wait_used(&f->guest, queue, &id, written);
}

/* --- entropy --- */

static void random_bytes(void **state)
{
	struct fixture *f = *state;
	uint32_t written, zeroes = 0;
	uint8_t *at;

	plug(f, &virtio_rng_pci, "");
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x10051af4);
	guest_start(&f->guest, 0, 1);
	at = guest_memory(&f->guest, BUFFER, 4096);
	for (unsigned i = 0; i < 20; i++) {
		memset(at, 0, 4096);
		assert_true(one(f, 0, (struct guest_buffer){BUFFER, 4096, true}, &written));
		assert_int_equal(written, 4096);
		for (unsigned b = 0; b < 4096; b++)
			zeroes += at[b] == 0;
	}
	/* 80 KiB of noise have about 320 zero bytes. */
	assert_in_range(zeroes, 100, 1000);
	/* A buffer that only can be read is a driver's fault. */
	guest_offer(&f->guest, 0, &(struct guest_buffer){BUFFER, 16, false}, 1);
	guest_kick(&f->guest, 0);
	test_settle(f->machine);
	assert_int_equal(guest_read_status(&f->guest), 15 | 64);
}

static void random_from_file(void **state)
{
	struct fixture *f = *state;
	char path[] = "/tmp/xuni-rng-XXXXXX";
	int fd = mkstemp(path);
	struct object_rng object = {.object = {.type = OBJECT_RNG_RANDOM, .id = (char *)"r0"}, .filename = path};
	struct object_iothread wrong = {.object = {.type = OBJECT_IOTHREAD, .id = (char *)"r0"}};
	struct error err = {0};
	uint32_t written;

	assert_int_equal(write(fd, "not random", 10), 10);
	f->machine->backend = &wrong;
	assert_null(test_device(f->machine, &virtio_rng_pci, "rng=r0", &err));
	assert_non_null(strstr(err.msg, "iothread"));
	f->machine->backend = &object;
	plug(f, &virtio_rng_pci, "rng=r0");
	guest_start(&f->guest, 0, 1);
	assert_true(one(f, 0, (struct guest_buffer){BUFFER, 64, true}, &written));
	assert_int_equal(written, 10);
	assert_memory_equal(guest_memory(&f->guest, BUFFER, 10), "not random", 10);
	unlink(path);
	close(fd);
}

static void random_of_the_host_by_name(void **state)
{
	struct fixture *f = *state;
	struct object object = {.type = OBJECT_RNG_BUILTIN, .id = (char *)"r0"};
	uint32_t written;

	f->machine->backend = &object;
	plug(f, &virtio_rng_pci, "rng=r0");
	guest_start(&f->guest, 0, 1);
	assert_true(one(f, 0, (struct guest_buffer){BUFFER, 64, true}, &written));
	assert_int_equal(written, 64);
}

static void random_is_limited(void **state)
{
	struct fixture *f = *state;
	uint32_t id, written;
	int64_t start_ns = host_now_ns();

	plug(f, &virtio_rng_pci, "max-bytes=1000,period=200");
	guest_start(&f->guest, 0, 1);
	assert_true(one(f, 0, (struct guest_buffer){BUFFER, 4096, true}, &written));
	assert_int_equal(written, 1000);
	guest_offer(&f->guest, 0, &(struct guest_buffer){BUFFER, 4096, true}, 1);
	guest_kick(&f->guest, 0);
	test_settle(f->machine);
	assert_false(guest_take_used(&f->guest, 0, &id, &written));
	assert_true(guest_wait_used(&f->guest, 0, &id, &written));
	assert_int_equal(written, 1000);
	assert_true(host_now_ns() - start_ns >= 200 * NS_PER_MS);
}

/* --- balloon --- */

static bool is_resident(struct fixture *f, uint64_t gpa)
{
	unsigned char flags = 0;

	assert_int_equal(mincore(guest_memory(&f->guest, gpa, 4096), 4096, &flags), 0);
	return flags & 1;
}

static void inflate_and_deflate(void **state)
{
	struct fixture *f = *state;
	struct virtio_balloon *balloon;
	uint32_t written;
	uint8_t *list;

	plug(f, &virtio_balloon_pci, "");
	balloon = virtio_balloon_of(f->device);
	assert_non_null(balloon);
	assert_null(virtio_balloon_of(f->machine->host_bridge));
	guest_start(&f->guest, 1 << 1 | 1 << 2 | 1 << 5, 4);
	assert_int_equal(f->guest.features & 0x3f, 1 << 1 | 1 << 2 | 1 << 5);
	assert_int_equal(guest_config(&f->guest, 0, 4), 0);
	virtio_balloon_set_target(balloon, 12 * MIB);
	assert_int_equal(guest_config(&f->guest, 0, 4), 4 * MIB >> 12);
	/* Three pages in a row, one alone, and some that do not exist. */
	list = guest_memory(&f->guest, BUFFER, 4096);
	memset(guest_memory(&f->guest, 0x800000, 0x10000), 0xab, 0x10000);
	for (unsigned i = 0; i < 3; i++)
		store_le32(list + 4 * i, 0x800 + i);
	store_le32(list + 12, 0x808);
	store_le32(list + 16, 0xffffffff);
	store_le32(list + 20, 0x1000);
	assert_true(is_resident(f, 0x801000));
	assert_true(one(f, 0, (struct guest_buffer){BUFFER, 24, false}, &written));
	assert_false(is_resident(f, 0x800000));
	assert_false(is_resident(f, 0x801000));
	assert_false(is_resident(f, 0x802000));
	assert_true(is_resident(f, 0x803000));
	assert_false(is_resident(f, 0x808000));
	assert_int_equal(*guest_memory(&f->guest, 0x801000, 1), 0);
	assert_int_equal(*guest_memory(&f->guest, 0x803000, 1), 0xab);
	guest_config_write(&f->guest, 4, 4, 4);
	assert_int_equal(f->machine->requests[MACHINE_BALLOON_CHANGED], 1);
	assert_int_equal(virtio_balloon_actual(balloon), 16 * MIB - 4 * 4096);
	guest_config_write(&f->guest, 4, 0xffffffff, 4);
	assert_int_equal(virtio_balloon_actual(balloon), 0);
	assert_true(one(f, 1, (struct guest_buffer){BUFFER, 12, false}, &written));
	guest_status(&f->guest, 0);
	assert_int_equal(virtio_balloon_actual(balloon), 16 * MIB);
}

static void reports_free_pages(void **state)
{
	struct fixture *f = *state;
	uint32_t written;

	plug(f, &virtio_balloon_pci, "");
	guest_start(&f->guest, 1 << 1 | 1 << 5, 4);
	memset(guest_memory(&f->guest, 0x800000, 0x10000), 0xab, 0x10000);
	/* Half pages at the ends stay. */
	assert_true(one(f, 3, (struct guest_buffer){0x800800, 0x3000, true}, &written));
	assert_int_equal(written, 0);
	assert_true(is_resident(f, 0x800000));
	assert_false(is_resident(f, 0x801000));
	assert_false(is_resident(f, 0x802000));
	assert_true(is_resident(f, 0x803000));
	device_destroy(f->device);
	plug(f, &virtio_balloon_pci, "free-page-reporting=off,deflate-on-oom=off");
	assert_int_equal(guest_offered(&f->guest) & 0x3f, 1 << 1);
	assert_int_equal(guest_common_read(&f->guest, 18, 2), 3);
}

static void statistics(void **state)
{
	struct fixture *f = *state;
	struct virtio_balloon *balloon;
	struct balloon_stats stats;
	struct error err = {0};
	uint32_t id, written;
	uint8_t *at;

	plug(f, &virtio_balloon_pci, "");
	balloon = virtio_balloon_of(f->device);
	assert_int_equal(virtio_balloon_set_polling(balloon, 1, &err), -ENOTSUP);
	guest_start(&f->guest, 1 << 1, 3);
	at = guest_memory(&f->guest, BUFFER, 30);
	store_le16(at, 4);
	store_le64(at + 2, 123456);
	store_le16(at + 10, 5);
	store_le64(at + 12, 999999);
	store_le16(at + 20, 500); /* unknown tags are skipped */
	guest_offer(&f->guest, 2, &(struct guest_buffer){BUFFER, 30, false}, 1);
	guest_kick(&f->guest, 2);
	test_settle(f->machine);
	/* The device keeps the buffer until it wants news. */
	assert_false(guest_take_used(&f->guest, 2, &id, &written));
	virtio_balloon_stats(balloon, &stats);
	assert_int_equal(stats.value[4], 123456);
	assert_int_equal(stats.value[5], 999999);
	assert_int_equal(stats.value[0], UINT64_MAX);
	assert_string_equal(balloon_stat_name(4), "stat-free-memory");
	assert_int_equal(virtio_balloon_set_polling(balloon, 1, &err), 0);
	assert_true(guest_wait_used(&f->guest, 2, &id, &written));
	/* A reset takes the held buffer away from the device. */
	guest_offer(&f->guest, 2, &(struct guest_buffer){BUFFER, 30, false}, 1);
	guest_kick(&f->guest, 2);
	test_settle(f->machine);
	guest_status(&f->guest, 0);
	assert_int_equal(guest_read_status(&f->guest), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(random_bytes),        TEST(random_from_file),   TEST(random_is_limited),
	        TEST(random_bytes),        TEST(random_of_the_host_by_name),   TEST(random_is_limited),
	        TEST(inflate_and_deflate), TEST(reports_free_pages), TEST(statistics),
	};

	return cmocka_run_group_tests_name("virtio-misc", tests, NULL, NULL);
}
