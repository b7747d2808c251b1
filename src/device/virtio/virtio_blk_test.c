/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio disk end to end: a driver in this process, registers through ports and memory, a real file behind it. */
#include "backend/block/attach.h"
#include "backend/block/block.h"
#include "base/loop.h"
#include "base/util.h"
#include "core/clock.h"
#include "core/object.h"
#include "device/virtio/test_guest.h"
#include "device/virtio/virtio.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { DISK_BYTES = 1 << 20, DEVFN = 4 << 3, IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };
enum { F_FLUSH = 9, F_WCE = 11, F_MQ = 12, F_DISCARD = 13, F_ZEROES = 14 };

#define INDIRECT  (1ull << 28)
#define EVENT_IDX (1ull << 29)
#define PACKED    (1ull << 34)
#define RESET_ONE (1ull << 40)
#define DISK_BITS (1ull << F_FLUSH | 1ull << F_DISCARD | 1ull << F_ZEROES)

struct fixture {
	struct test_machine *machine;
	struct block_graph *graph;
	struct block *block;
	struct device *device;
	struct guest guest;
	char path[64];
	int fd;
};

static struct fixture *fixture_new(bool eventfds)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct block_open how = {.discard = true};

	f->machine = test_machine_new(16 * MIB, eventfds);
	strcpy(f->path, "/tmp/xuni-virtio-XXXXXX");
	f->fd = mkstemp(f->path);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, DISK_BYTES), 0);
	how.log = &f->machine->log;
	f->graph = block_graph_new(&f->machine->log);
	f->block = block_open_file(f->graph, f->path, "raw", &how, NULL);
	assert_non_null(f->block);
	f->machine->backend = f->block;
	return f;
}

static int set_up(void **state)
{
	*state = fixture_new(true);
	return 0;
}

static int set_up_without_eventfds(void **state)
{
	*state = fixture_new(false);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	device_destroy(f->device);
	block_unref(f->block);
	block_graph_free(f->graph);
	test_machine_free(f->machine);
	unlink(f->path);
	close(f->fd);
	free(f);
	return 0;
}

static void plug(struct fixture *f, const char *options, bool legacy)
{
	char *all = xasprintf("drive=d,addr=4%s%s", *options ? "," : "", options);
	struct error err = {0};

	f->device = test_device(f->machine, &virtio_blk_pci, all, &err);
	free(all);
	if (!f->device)
		fail_msg("%s", err.msg);
	guest_open(&f->guest, f->machine, DEVFN, legacy);
}

/* One request at fixed places in guest memory; returns the status byte. */
enum { HEADER = 0x8000, STATUS = 0x8100, DATA = 0x9000 };

static void offer(struct fixture *f, unsigned queue, uint32_t type, uint64_t sector, uint32_t bytes)
{
	uint8_t *header = guest_memory(&f->guest, HEADER, 16);
	struct guest_buffer buffers[] = {
	        {.gpa = HEADER, .bytes = 16},
	        {.gpa = DATA, .bytes = bytes, .device_writes = type == IN || type == GET_ID},
	        {.gpa = STATUS, .bytes = 1, .device_writes = true},
	};

	store_le32(header, type);
	store_le32(header + 4, 0);
	store_le64(header + 8, sector);
	*guest_memory(&f->guest, STATUS, 1) = 0xee;
	if (bytes == 0)
		buffers[1] = buffers[2];
	f->guest.queues[queue].chain = bytes ? 3 : 2;
	guest_offer(&f->guest, queue, buffers, bytes ? 3 : 2);
}

static unsigned request(struct fixture *f, unsigned queue, uint32_t type, uint64_t sector, uint32_t bytes)
{
	uint32_t id, written;

	offer(f, queue, type, sector, bytes);
	guest_kick(&f->guest, queue);
	assert_true(guest_wait_used(&f->guest, queue, &id, &written));
	assert_int_equal(written, type == IN || type == GET_ID ? bytes + 1 : 1);
	return *guest_memory(&f->guest, STATUS, 1);
}

static uint8_t *data(struct fixture *f)
{
	return guest_memory(&f->guest, DATA, 64 * KIB);
}

static void pattern(uint8_t *to, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)(i * 7 + seed * 31 + i / 256);
}

static unsigned range_request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	store_le64(data(f), sector);
	store_le32(data(f) + 8, sectors);
	store_le32(data(f) + 12, flags);
	return request(f, 0, type, 0, 16);
}

/* Everything a driver does with a disk, many times round the ring. */
static void use_disk(struct fixture *f, unsigned queue)
{
	uint8_t want[8192], got[8192];

	for (unsigned i = 0; i < 300; i++) {
		uint64_t sector = (i * 37) % (DISK_BYTES / 512 - 16);

		pattern(want, sizeof(want), i);
		memcpy(data(f), want, sizeof(want));
		assert_int_equal(request(f, queue, OUT, sector, sizeof(want)), 0);
		assert_int_equal(pread(f->fd, got, sizeof(got), (off_t)sector * 512), sizeof(got));
		assert_memory_equal(got, want, sizeof(want));
		memset(data(f), 0, sizeof(want));
		assert_int_equal(request(f, queue, IN, sector, sizeof(want)), 0);
		assert_memory_equal(data(f), want, sizeof(want));
	}
	assert_int_equal(request(f, queue, FLUSH, 0, 0), 0);
	assert_int_equal(request(f, queue, GET_ID, 0, 20), 0);
	assert_memory_equal(data(f), "disk-1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
}

static const struct mode {
	const char *name, *options;
	bool legacy, indirect;
	uint64_t features;
} modes[] = {
        {"legacy", "serial=disk-1", true, false, DISK_BITS},
        {"legacy, event index", "serial=disk-1", true, true, DISK_BITS | EVENT_IDX | INDIRECT},
        {"split", "serial=disk-1", false, false, DISK_BITS},
        {"split, indirect, event index", "serial=disk-1", false, true, DISK_BITS | EVENT_IDX | INDIRECT},
        {"small ring", "serial=disk-1,queue-size=4", false, false, DISK_BITS | EVENT_IDX},
        {"packed", "serial=disk-1,packed=on,queue-size=16", false, false, DISK_BITS | PACKED},
        {"packed, indirect, event index", "serial=disk-1,packed=on", false, true,
         DISK_BITS | PACKED | EVENT_IDX | INDIRECT},
        {"page per queue", "serial=disk-1,page-per-vq=on", false, false, DISK_BITS},
        {"no eventfd", "serial=disk-1,ioeventfd=off", false, false, DISK_BITS},
};

static void all_modes(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		plug(f, modes[i].options, modes[i].legacy);
		guest_start(&f->guest, modes[i].features, 1);
		assert_int_equal(f->guest.features & modes[i].features, modes[i].features);
		f->guest.queues[0].indirect = modes[i].indirect;
		/* 600 indirect tables of a page each. */
		use_disk(f, 0);
		assert_int_equal(guest_read_status(&f->guest) & 0xc0, 0);
		device_destroy(f->device);
		f->device = NULL;
	}
}

static void registers(void **state)
{
	struct fixture *f = *state;
	struct guest *g = &f->guest;

	plug(f, "num-queues=3,logical_block_size=512,physical_block_size=4096,min_io_size=4096,opt_io_size=65536", false);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x10011af4);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0x2c, 4), 0x00021af4);
	assert_int_equal(guest_common_read(g, 18, 2), 3);
	assert_int_equal(guest_config(g, 0, 4), DISK_BYTES / 512);
	assert_int_equal(guest_config(g, 12, 4), 254);
	assert_int_equal(guest_config(g, 20, 4), 512);
	assert_int_equal(guest_config(g, 24, 1), 3);
	assert_int_equal(guest_config(g, 26, 2), 8);
	assert_int_equal(guest_config(g, 28, 4), 128);
	assert_int_equal(guest_config(g, 34, 2), 3);
	/* Beyond the configuration, and beyond what is there. */
	assert_int_equal(guest_config(g, 60, 4), 0);
	assert_int_equal(guest_config(g, 0xffc, 4), 0);
	guest_common_write(g, 22, 77, 2);
	assert_int_equal(guest_common_read(g, 24, 2), 0);
	guest_common_write(g, 28, 1, 2);
	/* Features that were not offered, or without VERSION_1, are refused. */
	assert_false(guest_negotiate(g, 1ull << F_FLUSH));
	assert_true(guest_negotiate(g, 1ull << F_FLUSH | 1ull << 32));
	guest_common_write(g, 8, 1, 4);
	guest_common_write(g, 12, 0x80000001, 4); /* too late to change */
	assert_int_equal(guest_common_read(g, 12, 4), 1);
	guest_status(g, 0);
	guest_status(g, 3);
	guest_common_write(g, 12, 0x80000001, 4);
	guest_status(g, 11);
	assert_int_equal(guest_read_status(g), 3);
	/* Vectors out of range are refused by reading back none. */
	guest_common_write(g, 16, 4, 2);
	assert_int_equal(guest_common_read(g, 16, 2), 0xffff);
	guest_common_write(g, 16, 3, 2);
	assert_int_equal(guest_common_read(g, 16, 2), 3);
}

static void variants(void **state)
{
	struct fixture *f = *state;
	struct error err = {0};
	static const char *const bad[] = {"iommu_platform=on", "disable-legacy=on,disable-modern=on", "werror=maybe",
	                                  "queue-size=100", "num-queues=0", "logical_block_size=1000", "serials=x",
	                                  "rerror=enospc", "serial=a-name-that-is-too-long-for-it", "packed=on,disable-modern=on"};

	f->device = test_device(f->machine, &virtio_blk_pci_non_transitional, "drive=d,addr=4", NULL);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x10421af4);
	assert_int_equal(test_config_read(f->machine, DEVFN, 8, 1), 1);
	assert_int_equal(test_bar_assign(f->machine, DEVFN, 0), 0);
	device_destroy(f->device);
	f->device = test_device(f->machine, &virtio_blk_pci, "drive=d,addr=4,disable-modern=on,vectors=0", NULL);
	assert_int_equal(test_config_read(f->machine, DEVFN, 0, 4), 0x10011af4);
	assert_int_equal(test_config_read(f->machine, DEVFN, 6, 1) & 0x10, 0);
	device_destroy(f->device);
	f->device = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		char *options = xasprintf("drive=d,%s", bad[i]);

		err = (struct error){0};
		assert_null(test_device(f->machine, &virtio_blk_pci, options, &err));
		assert_non_null(strchr(err.msg, bad[i][0]));
		free(options);
	}
	assert_null(test_device(f->machine, &virtio_blk_pci, NULL, &err));
	assert_non_null(strstr(err.msg, "drive="));
	assert_null(test_device(f->machine, &virtio_blk_pci_transitional, "drive=d,disable-legacy=on", &err));
	assert_null(test_device(f->machine, &virtio_blk_pci_non_transitional, "drive=d,disable-modern=on", &err));
}

static void bad_requests(void **state)
{
	struct fixture *f = *state;
	const uint64_t sectors = DISK_BYTES / 512;

	plug(f, "", false);
	guest_start(&f->guest, DISK_BITS, 1);
	assert_int_equal(request(f, 0, IN, sectors, 512), 1);
	assert_int_equal(request(f, 0, IN, sectors - 1, 1024), 1);
	assert_int_equal(request(f, 0, OUT, UINT64_MAX, 512), 1);
	assert_int_equal(request(f, 0, OUT, UINT64_MAX / 512 + 1, 512), 1);
	assert_int_equal(request(f, 0, IN, 0, 513), 1);
	assert_int_equal(request(f, 0, 77, 0, 0), 2);
	assert_int_equal(request(f, 0, 2 /* SCSI */, 0, 512), 2);
	assert_int_equal(request(f, 0, IN, 0, 0), 0);
	/* Ranges. */
	assert_int_equal(range_request(f, DISCARD, sectors - 1, 2, 0), 1);
	assert_int_equal(range_request(f, DISCARD, UINT64_MAX, 1, 0), 1);
	assert_int_equal(range_request(f, DISCARD, 0, UINT32_MAX, 0), 1);
	assert_int_equal(range_request(f, DISCARD, 0, 1, 1), 2);
	assert_int_equal(range_request(f, ZEROES, 0, 1, 2), 2);
	assert_int_equal(request(f, 0, DISCARD, 0, 8), 2);
	assert_int_equal(guest_read_status(&f->guest), 15);
}

static void zeroes_and_discard(void **state)
{
	struct fixture *f = *state;
	uint8_t got[3 * 4096], zero[4096] = {0};

	plug(f, "", false);
	guest_start(&f->guest, DISK_BITS, 1);
	memset(data(f), 0xaa, sizeof(got));
	assert_int_equal(request(f, 0, OUT, 0, sizeof(got)), 0);
	assert_int_equal(range_request(f, ZEROES, 8, 8, 0), 0);
	assert_int_equal(range_request(f, ZEROES, 16, 8, 1), 0);
	assert_int_equal(pread(f->fd, got, sizeof(got), 0), sizeof(got));
	assert_int_equal(got[4095], 0xaa);
	assert_memory_equal(got + 4096, zero, 4096);
	assert_memory_equal(got + 8192, zero, 4096);
	assert_int_equal(range_request(f, DISCARD, 0, 8, 0), 0);
}

/* The header and the status may be cut anywhere, also inside one buffer with the data. */
static void any_layout(void **state)
{
	struct fixture *f = *state;
	uint8_t *at;
	uint32_t id, written;

	plug(f, "", false);
	guest_start(&f->guest, DISK_BITS, 1);
	at = guest_memory(&f->guest, DATA, 4096);
	store_le32(at, OUT);
	store_le64(at + 8, 4);
	pattern(at + 16, 512, 9);
	guest_offer(&f->guest, 0,
	            (struct guest_buffer[]){{DATA, 5, false}, {DATA + 5, 20, false}, {DATA + 25, 503, false}, {STATUS, 1, true}},
	            4);
	guest_kick(&f->guest, 0);
	assert_true(guest_wait_used(&f->guest, 0, &id, &written));
	store_le32(at, IN);
	guest_offer(&f->guest, 0, (struct guest_buffer[]){{DATA, 16, false}, {DATA + 1024, 513, true}}, 2);
	guest_kick(&f->guest, 0);
	assert_true(guest_wait_used(&f->guest, 0, &id, &written));
	assert_int_equal(written, 513);
	assert_int_equal(at[1024 + 512], 0);
	assert_memory_equal(at + 1024, at + 16, 512);
}

static void many_at_once(void **state)
{
	struct fixture *f = *state;
	uint8_t *memory;
	unsigned seen = 0;
	uint32_t id, written;

	plug(f, "num-queues=2", false);
	guest_start(&f->guest, DISK_BITS | EVENT_IDX, 2);
	memory = guest_memory(&f->guest, 0x10000, 0x20000);
	for (unsigned i = 0; i < 64; i++) {
		uint8_t *slot = memory + i * 2048;

		store_le32(slot, OUT);
		store_le64(slot + 8, i * 2);
		pattern(slot + 32, 1024, i);
		guest_offer(&f->guest, i % 2,
		            (struct guest_buffer[]){{0x10000 + i * 2048, 16, false},
		                                    {0x10000 + i * 2048 + 32, 1024, false},
		                                    {0x10000 + i * 2048 + 16, 1, true}},
		            3);
	}
	guest_kick(&f->guest, 0);
	guest_kick(&f->guest, 1);
	while (seen < 64) {
		assert_true(guest_wait_used(&f->guest, seen % 2, &id, &written));
		seen++;
	}
	for (unsigned i = 0; i < 64; i++) {
		uint8_t got[1024];

		assert_int_equal(memory[i * 2048 + 16], 0);
		assert_int_equal(pread(f->fd, got, sizeof(got), i * 1024), 1024);
		assert_memory_equal(got, memory + i * 2048 + 32, 1024);
	}
}

static void interrupts_msix(void **state)
{
	struct fixture *f = *state;
	uint64_t table;

	plug(f, "", false);
	table = test_bar_address(f->machine, DEVFN, 1);
	for (unsigned i = 0; i < 2; i++) {
		bus_write(f->machine->env.memory, table + 16 * i, 0xfee00000, 4);
		bus_write(f->machine->env.memory, table + 16 * i + 8, 0x50 + i, 4);
		bus_write(f->machine->env.memory, table + 16 * i + 12, 0, 4);
	}
	test_config_write(f->machine, DEVFN, test_capability(f->machine, DEVFN, 0x11, 0) + 2, 0x8000, 2);
	guest_start(&f->guest, DISK_BITS, 1);
	request(f, 0, FLUSH, 0, 0);
	test_settle(f->machine);
	assert_int_equal(f->machine->message_count, 1);
	assert_int_equal(f->machine->messages[0].data, 0x51);
	/* The driver does not want to hear. */
	store_le16(guest_memory(&f->guest, f->guest.queues[0].avail, 2), 1);
	request(f, 0, FLUSH, 0, 0);
	test_settle(f->machine);
	assert_int_equal(f->machine->message_count, 1);
}

static void interrupts_intx(void **state)
{
	struct fixture *f = *state;
	unsigned wire = pci_intx_wire(DEVFN >> 3, 1);

	plug(f, "", true);
	test_config_write(f->machine, 1 << 3, 0x60 + wire, 11, 1);
	guest_start(&f->guest, DISK_BITS, 1);
	request(f, 0, FLUSH, 0, 0);
	test_settle(f->machine);
	assert_true(f->machine->isa_level[11]);
	assert_int_equal(bus_read(f->machine->env.io, f->guest.port + 19, 1), 1);
	assert_false(f->machine->isa_level[11]);
	assert_int_equal(bus_read(f->machine->env.io, f->guest.port + 19, 1), 0);
	request(f, 0, FLUSH, 0, 0);
	test_settle(f->machine);
	guest_status(&f->guest, 0);
	assert_false(f->machine->isa_level[11]);
}

/* With the event index the driver is interrupted once the index it named has passed, and not before. */
static void event_index(void **state)
{
	struct fixture *f = *state;
	unsigned wire = pci_intx_wire(DEVFN >> 3, 1), before;
	struct guest_queue *queue = &f->guest.queues[0];

	plug(f, "", false);
	test_config_write(f->machine, 1 << 3, 0x60 + wire, 11, 1);
	guest_start(&f->guest, DISK_BITS | EVENT_IDX, 1);
	request(f, 0, FLUSH, 0, 0); /* the first is always told */
	test_settle(f->machine);
	bus_read(f->machine->env.memory, f->guest.isr, 1);
	store_le16(guest_memory(&f->guest, queue->avail + 4 + 2 * queue->size, 2), 3);
	before = f->machine->isa_edges[11];
	request(f, 0, FLUSH, 0, 0);
	request(f, 0, FLUSH, 0, 0);
	test_settle(f->machine);
	assert_int_equal(f->machine->isa_edges[11], before);
	request(f, 0, FLUSH, 0, 0); /* used index 3 -> 4 */
	test_settle(f->machine);
	assert_int_equal(f->machine->isa_edges[11], before + 1);
	/* And the device told how far it has looked. */
	assert_int_equal(load_le16(guest_memory(&f->guest, queue->used + 4 + 8 * queue->size, 2)), queue->avail_index);
}

static void event_index_packed(void **state)
{
	struct fixture *f = *state;
	unsigned wire = pci_intx_wire(DEVFN >> 3, 1), before;
	uint8_t *events;

	plug(f, "packed=on,queue-size=8", false);
	test_config_write(f->machine, 1 << 3, 0x60 + wire, 11, 1);
	guest_start(&f->guest, PACKED | EVENT_IDX | INDIRECT | DISK_BITS, 1);
	f->guest.queues[0].indirect = true;
	events = guest_memory(&f->guest, f->guest.queues[0].avail, 4);
	store_le16(events, 3 | 1 << 15);
	store_le16(events + 2, 2);
	request(f, 0, FLUSH, 0, 0); /* the first is always told */
	test_settle(f->machine);
	bus_read(f->machine->env.memory, f->guest.isr, 1);
	before = f->machine->isa_edges[11];
	request(f, 0, FLUSH, 0, 0);
	request(f, 0, FLUSH, 0, 0);
	test_settle(f->machine);
	assert_int_equal(f->machine->isa_edges[11], before);
	request(f, 0, FLUSH, 0, 0); /* slot 3 */
	test_settle(f->machine);
	assert_int_equal(f->machine->isa_edges[11], before + 1);
	bus_read(f->machine->env.memory, f->guest.isr, 1);
	/* Disabled, also over the ring's end; enabled: every one. */
	store_le16(events + 2, 1);
	for (unsigned i = 0; i < 10; i++)
		request(f, 0, FLUSH, 0, 0);
	test_settle(f->machine);
	assert_int_equal(f->machine->isa_edges[11], before + 1);
	store_le16(events + 2, 0);
	for (unsigned i = 0; i < 10; i++) {
		request(f, 0, FLUSH, 0, 0);
		test_settle(f->machine);
		bus_read(f->machine->env.memory, f->guest.isr, 1);
	}
	assert_int_equal(f->machine->isa_edges[11], before + 11);
}

static bool is_dirty(const uint8_t *bitmap, uint64_t gpa)
{
	return bitmap[gpa / PAGE_SIZE / 8] >> gpa / PAGE_SIZE % 8 & 1;
}

/* All that the device writes is told to whoever migrates the machine, and nothing else. */
static void dirty_pages(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		static uint8_t bitmap[16 * MIB / PAGE_SIZE / 8];
		struct ram *ram = f->machine->env.ram;
		const struct ram_slot *slots;
		struct guest_queue *queue = &f->guest.queues[0];

		plug(f, modes[i].options, modes[i].legacy);
		guest_start(&f->guest, modes[i].features, 1);
		request(f, 0, FLUSH, 0, 0);
		test_settle(f->machine);
		slots = ram_slot_at(ram, 0);
		ram_track(ram, RAM_MIGRATE, true);
		request(f, 0, IN, 0, 3 * 4096);
		test_settle(f->machine);
		ram_harvest(ram, RAM_MIGRATE, slots, bitmap);
		for (unsigned page = 0; page < 3; page++)
			assert_true(is_dirty(bitmap, DATA + page * 4096));
		assert_true(is_dirty(bitmap, STATUS));
		assert_true(is_dirty(bitmap, queue->packed ? queue->desc : queue->used));
		assert_false(is_dirty(bitmap, DATA + 3 * 4096));
		if (!queue->packed && !modes[i].legacy)
			assert_false(is_dirty(bitmap, queue->desc));
		/* A write request writes its status only. */
		request(f, 0, OUT, 0, 3 * 4096);
		test_settle(f->machine);
		ram_harvest(ram, RAM_MIGRATE, slots, bitmap);
		assert_false(is_dirty(bitmap, DATA));
		assert_true(is_dirty(bitmap, STATUS));
		ram_track(ram, RAM_MIGRATE, false);
		device_destroy(f->device);
		f->device = NULL;
	}
}

/* --- a driver that breaks the rules --- */

static void raw_desc(struct fixture *f, unsigned index, uint64_t gpa, uint32_t bytes, uint16_t flags, uint16_t next)
{
	uint8_t *at = guest_memory(&f->guest, f->guest.queues[0].desc + 16 * index, 16);

	store_le64(at, gpa);
	store_le32(at + 8, bytes);
	store_le16(at + 12, flags);
	store_le16(at + 14, next);
}

static void raw_avail(struct fixture *f, uint16_t head, uint16_t index)
{
	uint8_t *avail = guest_memory(&f->guest, f->guest.queues[0].avail, 6);

	store_le16(avail + 4, head);
	store_le16(avail + 2, index);
}

static void table_desc(struct fixture *f, uint64_t table, unsigned index, uint64_t gpa, uint32_t bytes, uint16_t flags,
                       uint16_t next)
{
	uint8_t *at = guest_memory(&f->guest, table + 16 * index, 16);

	store_le64(at, gpa);
	store_le32(at + 8, bytes);
	store_le16(at + 12, flags);
	store_le16(at + 14, next);
}

static void hostile(struct fixture *f, unsigned which)
{
	enum { TABLE = 0x20000 };

	switch (which) {
	case 0: /* head out of range */
		raw_avail(f, 999, 1);
		break;
	case 1: /* loop of one */
		raw_desc(f, 0, DATA, 16, 1, 0);
		raw_avail(f, 0, 1);
		break;
	case 2: /* loop of two, writable */
		raw_desc(f, 0, DATA, 16, 3, 1);
		raw_desc(f, 1, DATA, 16, 3, 0);
		raw_avail(f, 0, 1);
		break;
	case 3: /* next out of range */
		raw_desc(f, 0, DATA, 16, 1, 500);
		raw_avail(f, 0, 1);
		break;
	case 4: /* not RAM */
		raw_desc(f, 0, 1ull << 40, 16, 0, 0);
		raw_avail(f, 0, 1);
		break;
	case 5: /* runs out of RAM */
		raw_desc(f, 0, 16 * MIB - 8, 16, 0, 0);
		raw_avail(f, 0, 1);
		break;
	case 6: /* wraps around */
		raw_desc(f, 0, UINT64_MAX - 7, 16, 0, 0);
		raw_avail(f, 0, 1);
		break;
	case 7: /* no length */
		raw_desc(f, 0, DATA, 0, 0, 0);
		raw_avail(f, 0, 1);
		break;
	case 8: /* readable after writable */
		raw_desc(f, 0, STATUS, 1, 3, 1);
		raw_desc(f, 1, HEADER, 16, 0, 0);
		raw_avail(f, 0, 1);
		break;
	case 9: /* index ahead by more than the ring */
		raw_desc(f, 0, DATA, 16, 0, 0);
		raw_avail(f, 0, 5000);
		break;
	case 10: /* indirect with next */
		raw_desc(f, 0, TABLE, 32, 5, 1);
		raw_avail(f, 0, 1);
		break;
	case 11: /* indirect of an odd length */
		raw_desc(f, 0, TABLE, 17, 4, 0);
		raw_avail(f, 0, 1);
		break;
	case 12: /* empty indirect */
		raw_desc(f, 0, TABLE, 0, 4, 0);
		raw_avail(f, 0, 1);
		break;
	case 13: /* indirect in indirect */
		table_desc(f, TABLE, 0, TABLE, 16, 4, 0);
		raw_desc(f, 0, TABLE, 16, 4, 0);
		raw_avail(f, 0, 1);
		break;
	case 14: /* loop in indirect */
		table_desc(f, TABLE, 0, HEADER, 16, 1, 1);
		table_desc(f, TABLE, 1, HEADER, 16, 1, 0);
		raw_desc(f, 0, TABLE, 32, 4, 0);
		raw_avail(f, 0, 1);
		break;
	case 15: /* indirect table that is not RAM */
		raw_desc(f, 0, 1ull << 50, 32, 4, 0);
		raw_avail(f, 0, 1);
		break;
	case 16: /* indirect table as long as all of memory, every entry a chain */
		for (unsigned i = 0; i < 2000; i++)
			table_desc(f, TABLE, i, HEADER, 1, 1, (uint16_t)(i + 1));
		raw_desc(f, 0, TABLE, 0xfffff0, 4, 0);
		raw_avail(f, 0, 1);
		break;
	case 17: /* more than 4 GiB */
		for (unsigned i = 0; i < 250; i++)
			raw_desc(f, i, 0, 0xfffffff0, 1, (uint16_t)(i + 1));
		raw_avail(f, 0, 1);
		break;
	case 18: /* no header */
		raw_desc(f, 0, STATUS, 1, 2, 0);
		raw_avail(f, 0, 1);
		break;
	case 19: /* no status */
		raw_desc(f, 0, HEADER, 16, 0, 0);
		raw_avail(f, 0, 1);
		break;
	default:
		fail();
	}
}

static void hostile_chains(void **state)
{
	struct fixture *f = *state;
	uint32_t id, written;

	plug(f, "", false);
	for (unsigned i = 0; i < 20; i++) {
		f->guest.heap = 0x100000;
		guest_start(&f->guest, DISK_BITS | INDIRECT, 1);
		hostile(f, i);
		guest_kick(&f->guest, 0);
		test_settle(f->machine);
		if (guest_read_status(&f->guest) != (15 | 64))
			fail_msg("case %u: status 0x%x", i, guest_read_status(&f->guest));
		assert_false(guest_take_used(&f->guest, 0, &id, &written));
		/* Nothing more happens until a reset, then all is well. */
		guest_kick(&f->guest, 0);
		test_settle(f->machine);
		guest_start(&f->guest, DISK_BITS, 1);
		assert_int_equal(request(f, 0, IN, 0, 512), 0);
	}
}

static void hostile_rings(void **state)
{
	struct fixture *f = *state;
	struct guest *g = &f->guest;
	static const struct {
		uint64_t desc, avail, used;
		uint16_t size;
	} rows[] = {
	        {0x10008, 0x20000, 0x30000, 64},
	        {0x10000, 0x20001, 0x30000, 64},
	        {0x10000, 0x20000, 0x30002, 64},
	        {1ull << 60, 0x20000, 0x30000, 64},
	        {0x10000, 16 * MIB - 4, 0x30000, 64},
	        {0x10000, 0x20000, UINT64_MAX - 3, 64},
	        {0x10000, 0x20000, 0x30000, 63},
	};

	plug(f, "", false);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_true(guest_negotiate(g, 1ull << 32));
		guest_common_write(g, 22, 0, 2);
		guest_common_write(g, 24, rows[i].size, 2);
		guest_common_write(g, 32, rows[i].desc, 8);
		guest_common_write(g, 40, rows[i].avail, 8);
		guest_common_write(g, 48, rows[i].used, 8);
		guest_common_write(g, 28, 1, 2);
		guest_status(g, 15);
		assert_int_equal(guest_read_status(g), 15 | 64);
		guest_kick(g, 0);
		test_settle(f->machine);
	}
	/* More entries than the device has are not taken. */
	guest_negotiate(g, 1ull << 32);
	guest_common_write(g, 24, 32768, 2);
	assert_int_equal(guest_common_read(g, 24, 2), 256);
	guest_start(g, DISK_BITS, 1);
	assert_int_equal(request(f, 0, IN, 0, 512), 0);
}

static void hostile_packed(void **state)
{
	struct fixture *f = *state;

	plug(f, "packed=on,queue-size=8", false);
	for (unsigned i = 0; i < 4; i++) {
		f->guest.heap = 0x100000;
		guest_start(&f->guest, PACKED | INDIRECT, 1);
		for (unsigned d = 0; d < 8; d++) /* a chain that goes round for ever */
			raw_desc(f, d, i == 3 ? 1ull << 50 : DATA, i == 0 ? 0 : 16, 0, 1 << 7 | (i == 2 ? 5 : 1));
		/* A packed descriptor has id before flags. */
		for (unsigned d = 0; d < 8; d++) {
			uint8_t *at = guest_memory(&f->guest, f->guest.queues[0].desc + 16 * d, 16);

			store_le16(at + 14, 1 << 7 | (i == 2 ? 5 : 1));
		}
		guest_kick(&f->guest, 0);
		test_settle(f->machine);
		assert_int_equal(guest_read_status(&f->guest), 15 | 64);
	}
}

/* --- resets --- */

static void reset_in_flight(void **state)
{
	struct fixture *f = *state;

	for (unsigned legacy = 0; legacy < 2; legacy++) {
		plug(f, "", legacy);
		for (unsigned round = 0; round < 20; round++) {
			f->guest.heap = 0x100000;
			guest_start(&f->guest, DISK_BITS, 1);
			for (unsigned i = 0; i < 20; i++)
				offer(f, 0, IN, i, 4096);
			guest_kick(&f->guest, 0);
			loop_poll(f->machine->env.loop, 0); /* the handler submits */
			guest_status(&f->guest, 0);
			if (legacy) { /* completions come by the loop, which this thread would have to run */
				test_settle(f->machine);
				usleep(1000);
				test_settle(f->machine);
			} else {
				while (guest_read_status(&f->guest))
					loop_poll(f->machine->env.loop, NS_PER_MS);
			}
			/* What is done may be used again: nothing lands in it any more. */
			memset(data(f), 0x77, 4096);
			test_settle(f->machine);
			for (unsigned i = 0; i < 4096; i++)
				assert_int_equal(data(f)[i], 0x77);
		}
		guest_start(&f->guest, DISK_BITS, 1);
		assert_int_equal(request(f, 0, IN, 0, 512), 0);
		/* The machine's reset does not leave anything either. */
		offer(f, 0, IN, 0, 4096);
		guest_kick(&f->guest, 0);
		loop_poll(f->machine->env.loop, 0);
		device_reset(f->device);
		assert_int_equal(guest_read_status(&f->guest) & 0x7f, legacy ? 0x7f : 0x7f); /* BARs are off: all ones */
		device_destroy(f->device);
		f->device = NULL;
	}
}

static void reset_of_one_queue(void **state)
{
	struct fixture *f = *state;
	struct guest *g = &f->guest;

	plug(f, "num-queues=2", false);
	guest_start(g, DISK_BITS | RESET_ONE, 2);
	assert_int_equal(request(f, 0, FLUSH, 0, 0), 0);
	guest_common_write(g, 22, 1, 2);
	guest_common_write(g, 58, 1, 2);
	assert_int_equal(guest_common_read(g, 58, 2), 0);
	assert_int_equal(guest_common_read(g, 28, 2), 0);
	assert_int_equal(request(f, 0, FLUSH, 0, 0), 0);
	guest_queue_setup(g, 1, 32);
	assert_int_equal(guest_common_read(g, 24, 2), 32);
	assert_int_equal(request(f, 1, FLUSH, 0, 0), 0);
}

static void bus_master_off_stops(void **state)
{
	struct fixture *f = *state;
	uint32_t id, written;

	plug(f, "", false);
	guest_start(&f->guest, DISK_BITS, 1);
	test_config_write(f->machine, DEVFN, 4, 3, 2);
	offer(f, 0, FLUSH, 0, 0);
	guest_kick(&f->guest, 0);
	test_settle(f->machine);
	assert_false(guest_take_used(&f->guest, 0, &id, &written));
	assert_int_equal(guest_read_status(&f->guest) & 4, 0);
}

/* Drivers before 2014 read the partition table before they say DRIVER_OK. */
static void legacy_early_kick(void **state)
{
	struct fixture *f = *state;

	plug(f, "", true);
	guest_negotiate(&f->guest, DISK_BITS);
	guest_queue_setup(&f->guest, 0, 0);
	assert_int_equal(request(f, 0, IN, 0, 512), 0);
	guest_status(&f->guest, 7);
	assert_int_equal(request(f, 0, IN, 0, 512), 0);
}

/* --- the rest --- */

static void window(void **state)
{
	struct fixture *f = *state;
	unsigned at = 0;

	plug(f, "", false);
	while ((at = test_capability(f->machine, DEVFN, 9, at)) && test_config_read(f->machine, DEVFN, at + 3, 1) != 5)
		;
	assert_int_not_equal(at, 0);
	/* The number of queues, then the status register. */
	test_config_write(f->machine, DEVFN, at + 4, 4, 1);
	test_config_write(f->machine, DEVFN, at + 8, 18, 4);
	test_config_write(f->machine, DEVFN, at + 12, 2, 4);
	assert_int_equal(test_config_read(f->machine, DEVFN, at + 16, 4), 1);
	test_config_write(f->machine, DEVFN, at + 8, 20, 4);
	test_config_write(f->machine, DEVFN, at + 12, 1, 4);
	test_config_write(f->machine, DEVFN, at + 16, 3, 1);
	assert_int_equal(guest_read_status(&f->guest), 3);
	/* Nowhere, misaligned, too wide, and far outside. */
	for (unsigned i = 0; i < 256; i++) {
		test_config_write(f->machine, DEVFN, at + 4, i, 1);
		test_config_write(f->machine, DEVFN, at + 8, i * 0x1234567, 4);
		test_config_write(f->machine, DEVFN, at + 12, i % 9, 4);
		test_config_write(f->machine, DEVFN, at + 16, 0, 4);
		test_config_read(f->machine, DEVFN, at + 16, 4);
	}
}

static void write_cache(void **state)
{
	struct fixture *f = *state;

	plug(f, "", false);
	guest_start(&f->guest, DISK_BITS | 1ull << F_WCE, 1);
	assert_int_equal(guest_config(&f->guest, 32, 1), 1);
	guest_config_write(&f->guest, 32, 0, 1);
	assert_int_equal(guest_config(&f->guest, 32, 1), 0);
	guest_config_write(&f->guest, 0, 0, 4); /* the capacity is not the driver's to change */
	assert_int_equal(guest_config(&f->guest, 0, 4), DISK_BYTES / 512);
	assert_int_equal(request(f, 0, OUT, 0, 512), 0);
	guest_negotiate(&f->guest, 1ull << 32);
	assert_int_equal(guest_config(&f->guest, 32, 1), 1);
}

static int note_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	*(uint32_t *)block->private_data = flags;
	return 0;
}

/* A guest without a write cache sends no flushes: zeroes are durable when they are done, as other writes. */
static void zeroes_are_durable(void **state)
{
	struct fixture *f = *state;
	const struct block_driver *driver = f->block->driver;
	struct block_driver noting = *driver;
	void *private_data = f->block->private_data;
	uint32_t with_cache = UINT32_MAX, without = UINT32_MAX;

	noting.write_zeroes = note_zeroes;
	noting.map = NULL; /* private_data is not its own */
	plug(f, "", false);
	guest_start(&f->guest, DISK_BITS | 1ull << F_WCE, 1);
	f->block->driver = &noting;
	f->block->private_data = &with_cache;
	assert_int_equal(range_request(f, ZEROES, 8, 8, 0), 0);
	guest_config_write(&f->guest, 32, 0, 1);
	f->block->private_data = &without;
	assert_int_equal(range_request(f, ZEROES, 8, 8, 1), 0);
	f->block->driver = driver;
	f->block->private_data = private_data;
	assert_int_equal(with_cache, 0);
	assert_int_equal(without, BLOCK_FUA | BLOCK_MAY_UNMAP);
}

static void in_iothread(void **state)
{
	struct fixture *f = *state;
	struct object_iothread io = {.object = {.type = OBJECT_IOTHREAD, .id = (char *)"io0"}};
	struct error err = {0};
	struct virtio_device *device;

	io.thread = loop_thread_start("io0", NULL);
	f->device = device_alloc(&virtio_blk_pci, &f->machine->env);
	assert_int_equal(device_set_property(f->device, "drive", "d", &err), 0);
	assert_int_equal(device_set_property(f->device, "addr", "4", &err), 0);
	assert_int_equal(device_set_property(f->device, "serial", "disk-1", &err), 0);
	f->machine->backend = &io;
	assert_int_equal(device_set_property(f->device, "iothread", "io0", &err), 0);
	assert_int_equal(device_realize(f->device, &err), 0);
	device_reset(f->device);
	guest_open(&f->guest, f->machine, DEVFN, false);
	guest_start(&f->guest, DISK_BITS | EVENT_IDX, 1);
	use_disk(f, 0);
	device = (struct virtio_device *)f->device;
	assert_int_equal(virtqueue_in_flight(virtio_queue(device, 0)), 0);
	for (unsigned i = 0; i < 50; i++) {
		f->guest.heap = 0x100000;
		guest_start(&f->guest, DISK_BITS, 1);
		offer(f, 0, IN, 0, 4096);
		guest_kick(&f->guest, 0);
		if (i % 2)
			device_reset(f->device), guest_open(&f->guest, f->machine, DEVFN, false);
	}
	device_destroy(f->device);
	f->device = NULL;
	loop_thread_stop(io.thread);
}

static void note_stopped(void *opaque)
{
	const struct virtio_device *device = opaque;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtqueue_in_flight(virtio_queue((struct virtio_device *)device, i)), 0);
}

/* Three queues on two threads: each works, resets and resizes find all of them at rest. */
static void in_two_iothreads(void **state)
{
	struct fixture *f = *state;
	struct object_iothread io[2] = {{.object = {.type = OBJECT_IOTHREAD, .id = (char *)"io0"}},
	                                {.object = {.type = OBJECT_IOTHREAD, .id = (char *)"io1"}}};
	static const char *const names[] = {"iothread-vq-mapping.0.iothread", "iothread-vq-mapping.1.iothread"};
	struct error err = {0};

	f->device = device_alloc(&virtio_blk_pci, &f->machine->env);
	assert_int_equal(device_set_property(f->device, "drive", "d", &err), 0);
	assert_int_equal(device_set_property(f->device, "addr", "4", &err), 0);
	assert_int_equal(device_set_property(f->device, "num-queues", "3", &err), 0);
	for (unsigned i = 0; i < 2; i++) {
		io[i].thread = loop_thread_start(io[i].object.id, NULL);
		f->machine->backend = &io[i];
		assert_int_equal(device_set_property(f->device, names[i], io[i].object.id, &err), 0);
	}
	assert_int_equal(device_realize(f->device, &err), 0);
	device_reset(f->device);
	guest_open(&f->guest, f->machine, DEVFN, false);
	guest_start(&f->guest, DISK_BITS | 1ull << F_MQ, 3);
	for (unsigned queue = 0; queue < 3; queue++) {
		pattern(data(f), 4096, queue + 1);
		assert_int_equal(request(f, queue, OUT, 8 * queue, 4096), 0);
	}
	for (unsigned queue = 0; queue < 3; queue++) {
		uint8_t want[4096];

		pattern(want, sizeof(want), (queue + 1) % 3 + 1);
		assert_int_equal(request(f, queue, IN, 8 * ((queue + 1) % 3), 4096), 0);
		assert_memory_equal(data(f), want, sizeof(want));
	}
	for (unsigned i = 0; i < 50; i++) {
		f->guest.heap = 0x100000;
		guest_start(&f->guest, DISK_BITS | 1ull << F_MQ, 3);
		offer(f, i % 3, IN, 0, 4096);
		guest_kick(&f->guest, i % 3);
		if (i % 2)
			device_reset(f->device), guest_open(&f->guest, f->machine, DEVFN, false);
		f->block->device_ops->with_io_stopped(f->block->device, note_stopped, f->device);
	}
	assert_int_equal(block_resize(f->block, 2 * DISK_BYTES, &err), 0);
	assert_int_equal(guest_config(&f->guest, 0, 4), 2 * DISK_BYTES / 512);
	device_destroy(f->device);
	f->device = NULL;
	loop_thread_stop(io[0].thread);
	loop_thread_stop(io[1].thread);
}

static int fail_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	return -EIO;
}

static int fail_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
                       uint32_t flags)
{
	return -ENOSPC;
}

static void errors_of_the_host(void **state)
{
	struct fixture *f = *state;
	const struct block_driver *good = f->block->driver;
	struct block_driver bad = *good;
	uint32_t id, written;

	bad.submit = NULL;
	bad.map = NULL;
	bad.pread = fail_pread;
	bad.pwrite = fail_pwrite;
	/* Default: a read error is told; a full disk stops the machine, and the write is tried again after it runs on. */
	plug(f, "", false);
	guest_start(&f->guest, DISK_BITS, 1);
	f->block->driver = &bad;
	assert_int_equal(request(f, 0, IN, 0, 512), 1);
	pattern(data(f), 512, 1);
	offer(f, 0, OUT, 3, 512);
	guest_kick(&f->guest, 0);
	for (unsigned i = 0; i < 1000 && !f->machine->requests[MACHINE_IO_ERROR]; i++)
		loop_poll(f->machine->env.loop, NS_PER_MS);
	assert_int_equal(f->machine->requests[MACHINE_IO_ERROR], 1);
	clock_stop(f->machine->env.clock);
	for (unsigned i = 0; i < 20; i++)
		loop_poll(f->machine->env.loop, 10 * NS_PER_MS);
	assert_false(guest_take_used(&f->guest, 0, &id, &written));
	f->block->driver = good;
	clock_start(f->machine->env.clock);
	assert_true(guest_wait_used(&f->guest, 0, &id, &written));
	assert_int_equal(*guest_memory(&f->guest, STATUS, 1), 0);
	/* A reset forgets a request that waits. */
	f->block->driver = &bad;
	offer(f, 0, OUT, 3, 512);
	guest_kick(&f->guest, 0);
	for (unsigned i = 0; i < 1000 && f->machine->requests[MACHINE_IO_ERROR] < 2; i++)
		loop_poll(f->machine->env.loop, NS_PER_MS);
	guest_status(&f->guest, 0);
	assert_int_equal(guest_read_status(&f->guest), 0);
	device_destroy(f->device);
	plug(f, "werror=report,rerror=ignore", false);
	guest_start(&f->guest, DISK_BITS, 1);
	assert_int_equal(request(f, 0, IN, 0, 512), 0);
	assert_int_equal(request(f, 0, OUT, 0, 512), 1);
	f->block->driver = good;
}

static void read_only(void **state)
{
	struct fixture *f = *state;

	f->block->read_only = true;
	plug(f, "", false);
	assert_int_equal(guest_offered(&f->guest) >> 5 & 1, 1);
	guest_start(&f->guest, UINT64_MAX & ~(PACKED), 1);
	assert_int_equal(request(f, 0, OUT, 0, 512), 1);
	assert_int_equal(request(f, 0, IN, 0, 512), 0);
	f->block->read_only = false;
}

static void save_and_load(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		struct state_buffer saved = {0};
		struct error err = {0};

		plug(f, modes[i].options, modes[i].legacy);
		guest_start(&f->guest, modes[i].features, 1);
		request(f, 0, OUT, 1, 512);
		state_save(virtio_blk_pci.state, f->device, &saved);
		device_destroy(f->device);
		f->device = test_device(f->machine, &virtio_blk_pci, "drive=d,addr=4,serial=disk-1,packed=on", NULL);
		if (strstr(modes[i].options, "queue-size") || strstr(modes[i].options, "page-per")) {
			/* A device made in another way does not take it. */
			if (strstr(modes[i].options, "=4"))
				assert_true(state_load(virtio_blk_pci.state, f->device, saved.data, saved.length, &err) != 0);
		} else {
			int64_t rc = state_load(virtio_blk_pci.state, f->device, saved.data, saved.length, &err);

			if (rc < 0)
				fail_msg("%s: %s", modes[i].name, err.msg);
			assert_int_equal(request(f, 0, IN, 1, 512), 0);
			use_disk(f, 0);
		}
		device_destroy(f->device);
		f->device = NULL;
		free(saved.data);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(all_modes),
	        cmocka_unit_test_setup_teardown(all_modes, set_up_without_eventfds, tear_down),
	        TEST(registers),
	        TEST(variants),
	        TEST(bad_requests),
	        TEST(zeroes_and_discard),
	        TEST(any_layout),
	        TEST(many_at_once),
	        TEST(interrupts_msix),
	        TEST(interrupts_intx),
	        TEST(event_index),
	        TEST(event_index_packed),
	        TEST(dirty_pages),
	        TEST(hostile_chains),
	        TEST(hostile_rings),
	        TEST(hostile_packed),
	        TEST(reset_in_flight),
	        TEST(reset_of_one_queue),
	        TEST(bus_master_off_stops),
	        TEST(legacy_early_kick),
	        TEST(window),
	        TEST(write_cache),
	        TEST(zeroes_are_durable),
	        TEST(in_iothread),
        TEST(in_two_iothreads),
	        TEST(errors_of_the_host),
	        TEST(read_only),
	        TEST(save_and_load),
	};

	return cmocka_run_group_tests_name("virtio-blk", tests, NULL, NULL);
}
