/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio network card: a driver in this process on one side, a recording back end (or the user network) on the
 * other. */
#include "base/util.h"
#include "device/virtio/test_guest.h"
#include "device/virtio/virtio_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEVFN = 4 << 3, RX = 0, TX = 1, CONTROL = 2, BUFFER = 2048 };

#define BIT(n)     (1ull << (n))
#define INDIRECT   BIT(28)
#define EVENT_IDX  BIT(29)
#define PACKED     BIT(34)
#define GUEST_BITS (BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4))

/* Records what the card sends. */
struct recorder {
	struct net_backend backend;
	uint32_t can;
	uint32_t offloads;
	unsigned header_bytes, queues_used;
	uint8_t data[70000];
	size_t length;
	unsigned frames, resumes, queue;
};

struct fixture {
	struct test_machine *machine;
	struct recorder recorder;
	struct net_backend *backend;
	struct device *device;
	struct guest guest;
	uint64_t rx[64]; /* buffers by descriptor index */
	size_t rx_bytes;
};

static void recorder_send_queue(struct net_backend *backend, unsigned queue, const struct iovec *iov, int iov_count,
				size_t length)
{
	struct recorder *recorder = (struct recorder *)backend;

	assert_int_equal(iov_bytes(iov, (unsigned)iov_count), length);
	recorder->length = iov_read(iov, (unsigned)iov_count, 0, recorder->data, sizeof(recorder->data));
	recorder->frames++;
	recorder->queue = queue;
}

static void recorder_send(struct net_backend *backend, const struct iovec *iov, int iov_count, size_t length)
{
	recorder_send_queue(backend, 0, iov, iov_count, length);
}

static void recorder_resume(struct net_backend *backend)
{
	((struct recorder *)backend)->resumes++;
}

static uint32_t recorder_offloads(struct net_backend *backend)
{
	return ((struct recorder *)backend)->can;
}

static void recorder_set_offloads(struct net_backend *backend, uint32_t offloads, unsigned header_bytes)
{
	((struct recorder *)backend)->offloads = offloads;
	((struct recorder *)backend)->header_bytes = header_bytes;
}

static void recorder_set_queues(struct net_backend *backend, unsigned queues)
{
	((struct recorder *)backend)->queues_used = queues;
}

static const struct net_driver recorder_driver = {
	.name = "recorder",
	.send = recorder_send,
	.send_queue = recorder_send_queue,
	.resume = recorder_resume,
	.offloads = recorder_offloads,
	.set_offloads = recorder_set_offloads,
	.set_queues = recorder_set_queues,
};

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->machine = test_machine_new(16 * MIB, true);
	f->recorder.backend = (struct net_backend){.driver = &recorder_driver,
						   .id = (char *)"n0",
						   .loop = f->machine->env.loop,
						   .log = &f->machine->log,
						   .link_up = true,
						   .queues = 1};
	f->recorder.can = NET_VNET_HDR | NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
	f->backend = &f->recorder.backend;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	device_destroy(f->device);
	if (f->backend != &f->recorder.backend)
		net_close(f->backend);
	test_machine_free(f->machine);
	free(f);
	return 0;
}

static void plug(struct fixture *f, const char *options, bool legacy)
{
	char *all = xasprintf("netdev=n0,mac=52:54:00:aa:bb:cc,addr=4%s%s", *options ? "," : "", options);
	struct error err = {0};

	f->machine->backend = f->backend;
	f->device = test_device(f->machine, &virtio_net_pci, all, &err);
	free(all);
	if (!f->device)
		fail_msg("%s", err.msg);
	guest_open(&f->guest, f->machine, DEVFN, legacy);
}

static void give_buffers(struct fixture *f, unsigned queue, unsigned count, uint32_t bytes)
{
	for (unsigned i = 0; i < count; i++) {
		struct guest_buffer buffer = {
			.gpa = guest_alloc(&f->guest, bytes), .bytes = bytes, .device_writes = true};

		f->rx[f->guest.queues[queue].free_next % 64] = buffer.gpa;
		f->guest.queues[queue].chain = 1;
		guest_offer(&f->guest, queue, &buffer, 1);
	}
	guest_kick(&f->guest, queue);
	test_settle(f->machine);
}

static void start(struct fixture *f, uint64_t features, unsigned queues)
{
	guest_start(&f->guest, features, queues);
	test_settle(f->machine);
}

static void pattern(uint8_t *to, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)(i * 13 + seed + i / 200);
}

/* header 10 or 12 bytes, then `length` bytes of frame, in pieces of `piece`. */
static void send(struct fixture *f, unsigned queue, const void *header, uint32_t header_bytes, const uint8_t *frame,
		 uint32_t length, uint32_t piece)
{
	struct guest_buffer buffers[64];
	unsigned count = 0;
	uint32_t id, written;

	buffers[count++] = (struct guest_buffer){.gpa = guest_alloc(&f->guest, header_bytes), .bytes = header_bytes};
	memcpy(guest_memory(&f->guest, buffers[0].gpa, header_bytes), header, header_bytes);
	for (uint32_t done = 0; done < length; done += piece, count++) {
		uint32_t bytes = length - done < piece ? length - done : piece;

		buffers[count] = (struct guest_buffer){.gpa = guest_alloc(&f->guest, bytes), .bytes = bytes};
		memcpy(guest_memory(&f->guest, buffers[count].gpa, bytes), frame + done, bytes);
	}
	f->guest.queues[queue].chain = (uint16_t)count;
	guest_offer(&f->guest, queue, buffers, count);
	guest_kick(&f->guest, queue);
	assert_true(guest_wait_used(&f->guest, queue, &id, &written));
	assert_int_equal(written, 0);
}

/* From the back end; with a header when the card asked for one. */
static bool deliver(struct fixture *f, unsigned queue, const struct net_header *header, const uint8_t *frame,
		    size_t length)
{
	static const struct net_header none;
	struct iovec iov[3] = {{(void *)(header ? header : &none), sizeof(none)},
			       {(void *)frame, length / 3},
			       {(void *)(frame + length / 3), length - length / 3}};

	if (f->recorder.header_bytes)
		return net_deliver(f->backend, queue, iov, 3, length + sizeof(none));
	return net_deliver(f->backend, queue, iov + 1, 2, length);
}

/* Collects a received frame over as many buffers as its header says. */
static size_t collect(struct fixture *f, unsigned queue, struct net_header *header, size_t header_bytes, uint8_t *frame)
{
	size_t length = 0;
	unsigned buffers = 1;

	for (unsigned i = 0; i < buffers; i++) {
		size_t skip = i ? 0 : header_bytes;
		uint32_t id, written;
		uint8_t *data;

		assert_true(guest_wait_used(&f->guest, queue, &id, &written));
		data = guest_memory(&f->guest, f->rx[id % 64], written);
		if (i == 0) {
			memset(header, 0, sizeof(*header));
			memcpy(header, data, header_bytes);
			if (header_bytes == 12)
				buffers = header->buffers;
		}
		memcpy(frame + length, data + skip, written - skip);
		length += written - skip;
	}
	return length;
}

static void exchange_with(struct fixture *f, const char *options, bool legacy, uint64_t features)
{
	uint32_t header_bytes = legacy && !(features & BIT(VIRTIO_NET_F_MRG_RXBUF)) ? 10 : 12;
	uint8_t frame[1514], got[2000];
	struct net_header header = {.flags = 1, .csum_start = 34, .csum_offset = 16}, back;

	plug(f, options, legacy);
	start(f, features, 2);
	f->guest.queues[TX].indirect = f->guest.features & INDIRECT;
	give_buffers(f, RX, 40, BUFFER);
	for (unsigned round = 0; round < 300; round++) {
		size_t length = 60 + round * 4;

		pattern(frame, length, round);
		send(f, TX, &header, header_bytes, frame, (uint32_t)length, 700);
		assert_int_equal(f->recorder.frames, round + 1);
		assert_int_equal(f->recorder.length, 12 + length);
		assert_memory_equal(f->recorder.data, &header, 10);
		assert_memory_equal(f->recorder.data + 12, frame, length);
		assert_true(deliver(f, 0, NULL, frame, length));
		assert_int_equal(collect(f, RX, &back, header_bytes, got), length);
		assert_memory_equal(got, frame, length);
		give_buffers(f, RX, 1, BUFFER);
		if (round % 16 == 0)
			f->guest.heap = 0x800000; /* buffers of old rounds are free */
	}
	/* The queue interrupt of the interrupt status register. */
	if (!legacy)
		assert_int_equal(bus_read(f->machine->env.memory, f->guest.isr, 1) & 1, 1);
}

static void frames_go_both_ways_modern(void **state)
{
	exchange_with(*state, "", false, INDIRECT | EVENT_IDX | BIT(VIRTIO_NET_F_MRG_RXBUF));
}

static void frames_go_both_ways_plain(void **state)
{
	exchange_with(*state, "", false, 0);
}

static void frames_go_both_ways_packed(void **state)
{
	exchange_with(*state, "packed=on", false, PACKED | INDIRECT | EVENT_IDX | BIT(VIRTIO_NET_F_MRG_RXBUF));
}

static void frames_go_both_ways_legacy(void **state)
{
	exchange_with(*state, "", true, INDIRECT);
}

static void large_frames_fill_several_buffers(void **state)
{
	struct fixture *f = *state;
	uint8_t *frame = xcalloc(1, 70000), *got = xcalloc(1, 70000);
	struct net_header header = {.flags = 1, .gso_type = 1, .gso_size = 1460, .csum_start = 34, .csum_offset = 16},
			  back;

	plug(f, "", false);
	start(f, BIT(VIRTIO_NET_F_MRG_RXBUF) | GUEST_BITS, 2);
	give_buffers(f, RX, 40, BUFFER);
	assert_int_equal(f->recorder.offloads, NET_CSUM | NET_TSO4);
	pattern(frame, 60000, 5);
	assert_true(deliver(f, 0, &header, frame, 60000));
	assert_int_equal(collect(f, RX, &back, 12, got), 60000);
	assert_memory_equal(got, frame, 60000);
	assert_int_equal(back.buffers, (60000 + 12 + BUFFER - 1) / BUFFER);
	assert_memory_equal(&back, &header, 10);
	send(f, TX, &header, 12, frame, 60000, 4000);
	assert_int_equal(f->recorder.length, 60012);
	assert_memory_equal(f->recorder.data + 12, frame, 60000);
	free(frame);
	free(got);
}

/* The ring runs short in the middle of a frame: nothing is lost, the doorbell is armed for the very next buffer. */
static void full_ring_makes_the_back_end_wait(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[9000], got[9000];
	struct net_header back;
	struct guest_queue *queue;
	unsigned resumes;

	plug(f, "", false);
	start(f, EVENT_IDX | BIT(VIRTIO_NET_F_MRG_RXBUF), 2);
	queue = &f->guest.queues[RX];
	give_buffers(f, RX, 2, BUFFER);
	pattern(frame, sizeof(frame), 1);
	assert_false(deliver(f, 0, NULL, frame, 6000));
	assert_int_equal(load_le16(guest_memory(&f->guest, queue->used + 4 + 8ull * queue->size, 2)), 2);
	assert_false(deliver(f, 0, NULL, frame, 6000));
	resumes = f->recorder.resumes;
	give_buffers(f, RX, 1, BUFFER);
	assert_true(f->recorder.resumes > resumes);
	assert_true(deliver(f, 0, NULL, frame, 6000));
	assert_int_equal(collect(f, RX, &back, 12, got), 6000);
	assert_memory_equal(got, frame, 6000);
	assert_int_equal(back.buffers, 3);
	assert_false(deliver(f, 0, NULL, frame, 60));
}

static void frames_for_nobody_are_dropped(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[9000] = {0};

	plug(f, "mrg_rxbuf=off", false);
	assert_true(deliver(f, 0, NULL, frame, 60)); /* not started */
	start(f, 0, 2);
	give_buffers(f, RX, 2, BUFFER);
	assert_true(deliver(f, 0, NULL, frame, 9000)); /* larger than any buffer: must not block those behind it */
	assert_true(deliver(f, 0, NULL, frame, 5));    /* no Ethernet header */
	assert_true(deliver(f, 0, NULL, frame, 60));
	assert_true(deliver(f, 0, NULL, frame, 60));
	assert_false(deliver(f, 0, NULL, frame, 60));
	/* A tiny frame or none at all from the guest. */
	send(f, TX, &(struct net_header){0}, 12, frame, 13, 13);
	send(f, TX, &(struct net_header){0}, 4, frame, 0, 1);
	assert_int_equal(f->recorder.frames, 0);
	guest_status(&f->guest, 0);
	assert_true(deliver(f, 0, NULL, frame, 60));
}

static uint8_t control(struct fixture *f, uint8_t class, uint8_t command, const void *data, uint32_t bytes)
{
	uint64_t gpa = guest_alloc(&f->guest, 8192);
	struct guest_buffer buffers[] = {
		{.gpa = gpa, .bytes = 2},
		{.gpa = gpa + 16, .bytes = bytes},
		{.gpa = gpa + 8000, .bytes = 1, .device_writes = true},
	};
	uint8_t *memory = guest_memory(&f->guest, gpa, 8192);
	uint32_t id, written;
	unsigned queue = f->guest.features & BIT(VIRTIO_NET_F_MQ) ? 4 : CONTROL;

	memory[0] = class;
	memory[1] = command;
	memcpy(memory + 16, data, bytes);
	memory[8000] = 0xee;
	if (!bytes)
		buffers[1] = buffers[2];
	guest_offer(&f->guest, queue, buffers, bytes ? 3 : 2);
	guest_kick(&f->guest, queue);
	assert_true(guest_wait_used(&f->guest, queue, &id, &written));
	assert_int_equal(written, 1);
	test_settle(f->machine);
	return memory[8000];
}

/* Whether a frame for that address reaches the driver. */
static bool reaches(struct fixture *f, const char *mac, int vlan)
{
	uint8_t frame[64] = {0};
	uint32_t id, written;

	memcpy(frame, mac, 6);
	if (vlan >= 0)
		memcpy(frame + 12, (uint8_t[]){0x81, 0, (uint8_t)(0xe0 | vlan >> 8), (uint8_t)vlan}, 4);
	assert_true(deliver(f, 0, NULL, frame, sizeof(frame)));
	test_settle(f->machine);
	return guest_take_used(&f->guest, RX, &id, &written);
}

#define OTHER     "\x52\x54\x00\x11\x22\x33"
#define MINE      "\x52\x54\x00\xaa\xbb\xcc"
#define BROADCAST "\xff\xff\xff\xff\xff\xff"
#define GROUP     "\x01\x00\x5e\x00\x00\x01"

static void control_queue_sets_the_filter(void **state)
{
	struct fixture *f = *state;
	uint8_t table[4 + 6 + 4 + 6] = {1, 0, 0, 0, 0x52, 0x54, 0, 0x11, 0x22, 0x33, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1};
	uint8_t many[4 + 100 * 6 + 4] = {100};

	plug(f, "", false);
	start(f,
	      BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
		      BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR),
	      3);
	give_buffers(f, RX, 60, BUFFER);
	assert_true(reaches(f, OTHER, -1)); /* promiscuous until told otherwise */
	assert_int_equal(control(f, 0, 0, "\0", 1), 0);
	assert_false(reaches(f, OTHER, -1));
	assert_true(reaches(f, MINE, -1));
	assert_true(reaches(f, BROADCAST, -1));
	assert_false(reaches(f, GROUP, -1));
	assert_int_equal(control(f, 1, 0, table, sizeof(table)), 0);
	assert_true(reaches(f, OTHER, -1));
	assert_true(reaches(f, GROUP, -1));
	assert_int_equal(control(f, 1, 0, table, sizeof(table) - 1), 1); /* cut short: the old one stays */
	assert_true(reaches(f, GROUP, -1));
	assert_int_equal(control(f, 1, 0, many, sizeof(many)), 0); /* too many for the table: all unicast */
	assert_true(reaches(f, "\x02\x00\x00\x00\x00\x09", -1));
	assert_false(reaches(f, GROUP, -1));
	assert_int_equal(control(f, 1, 0, "\xff\xff\xff\xff\0\0\0\0", 8), 1);
	assert_int_equal(control(f, 0, 5, "\1", 1), 0);
	assert_false(reaches(f, BROADCAST, -1));
	assert_false(reaches(f, MINE, 100));
	assert_int_equal(control(f, 2, 0, "\x64\x00", 2), 0);
	assert_true(reaches(f, MINE, 100));
	assert_int_equal(control(f, 2, 1, "\x64\x00", 2), 0);
	assert_false(reaches(f, MINE, 100));
	assert_int_equal(control(f, 2, 0, "\x00\x10", 2), 1);
	assert_int_equal(control(f, 1, 1, "\x02\x01\x02\x03\x04\x05", 6), 0);
	assert_int_equal(guest_config(&f->guest, 0, 4), 0x03020102);
	assert_int_equal(control(f, 77, 0, "", 0), 1);
	assert_int_equal(control(f, 0, 9, "\1", 1), 1);
	assert_int_equal(control(f, 4, 0, "\2\0", 2), 1); /* not negotiated */
	/* A reset brings all back. */
	guest_status(&f->guest, 0);
	assert_int_equal(guest_config(&f->guest, 0, 4), 0xaa005452);
	start(f, 0, 2);
	f->guest.heap = 0x800000;
	give_buffers(f, RX, 2, BUFFER);
	assert_true(reaches(f, OTHER, 7));
}

static void guest_offloads_can_be_switched(void **state)
{
	struct fixture *f = *state;
	uint8_t bits[8] = {1 << VIRTIO_NET_F_GUEST_CSUM};

	plug(f, "", false);
	start(f, BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | GUEST_BITS, 3);
	assert_int_equal(f->recorder.offloads, NET_CSUM | NET_TSO4);
	assert_int_equal(control(f, 5, 0, bits, 8), 0);
	assert_int_equal(f->recorder.offloads, NET_CSUM);
	bits[1] = 1; /* TSO6 was not negotiated */
	assert_int_equal(control(f, 5, 0, bits, 8), 1);
	assert_int_equal(f->recorder.offloads, NET_CSUM);
	guest_status(&f->guest, 0);
	start(f, 0, 3);
	assert_int_equal(f->recorder.offloads, 0);
}

static void link_changes_reach_the_driver(void **state)
{
	struct fixture *f = *state;
	unsigned messages;

	plug(f, "host_mtu=9000,speed=10000,duplex=full", false);
	start(f, BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MTU), 2);
	assert_true(f->guest.features & BIT(VIRTIO_NET_F_MTU));
	assert_int_equal(guest_config(&f->guest, 6, 2), 1);
	assert_int_equal(guest_config(&f->guest, 10, 2), 9000);
	assert_int_equal(guest_config(&f->guest, 12, 4), 10000);
	assert_int_equal(guest_config(&f->guest, 16, 1), 1);
	messages = (unsigned)guest_common_read(&f->guest, 21, 1);
	net_set_link(f->backend, false);
	test_settle(f->machine);
	assert_int_equal(guest_config(&f->guest, 6, 2), 0);
	assert_int_not_equal(guest_common_read(&f->guest, 21, 1), messages);
	net_set_link(f->backend, true);
	assert_int_equal(guest_config(&f->guest, 6, 2), 1);
}

static void queue_pairs_are_used_as_the_driver_says(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[64] = {0}, got[64];
	struct net_header back;

	f->recorder.backend.queues = 2;
	plug(f, "mq=on", false);
	start(f, BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MQ), 5);
	assert_int_equal(guest_config(&f->guest, 8, 2), 2);
	assert_int_equal(control(f, 4, 0, "\3\0", 2), 1);
	assert_int_equal(control(f, 4, 0, "\0\0", 2), 1);
	assert_int_equal(control(f, 4, 0, "\2\0", 2), 0);
	assert_int_equal(f->recorder.queues_used, 2);
	send(f, 3, &(struct net_header){0}, 12, frame, 64, 64);
	assert_int_equal(f->recorder.queue, 1);
	give_buffers(f, 2, 1, BUFFER);
	assert_true(deliver(f, 1, NULL, frame, 64));
	assert_int_equal(collect(f, 2, &back, 12, got), 64);
	/* Without MQ the control queue is the third. */
	guest_status(&f->guest, 0);
	start(f, BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX), 3);
	test_settle(f->machine);
	assert_int_equal(f->recorder.queues_used, 1);
	assert_int_equal(control(f, 0, 0, "\0", 1), 0);
}

static void nothing_is_offered_that_the_back_end_cannot_take(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[64] = {1, 2, 3};
	uint64_t offered;

	f->recorder.can = 0;
	plug(f, "", false);
	offered = guest_offered(&f->guest);
	assert_int_equal(offered & (BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | GUEST_BITS), 0);
	start(f, 0, 2);
	send(f, TX, &(struct net_header){0}, 12, frame, 64, 64);
	assert_int_equal(f->recorder.length, 64); /* no header */
	assert_memory_equal(f->recorder.data, frame, 64);
}

static void unusable_properties_are_refused(void **state)
{
	static const struct {
		const char *options, *message;
	} rows[] = {
		{"rx_queue_size=100", "a power of two"}, {"tx_queue_size=2048", "a power of two"},
		{"host_mtu=10", "at least 68"},          {"duplex=both", "'full' or 'half'"},
		{"mac=01:00:5e:00:00:01", "multicast"},
	};
	struct fixture *f = *state;

	f->machine->backend = f->backend;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *all = xasprintf("netdev=n0,addr=4,%s", rows[i].options);
		struct error err = {0};

		assert_null(test_device(f->machine, &virtio_net_pci, all, &err));
		assert_non_null(strstr(err.msg, rows[i].message));
		free(all);
	}
}

static void hostile_rings_do_no_harm(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 11;
	uint8_t frame[2000] = {0};

	plug(f, "", false);
	for (int round = 0; round < 300; round++) {
		start(f, (uint64_t)rand_r(&seed) << 1 | INDIRECT | EVENT_IDX | BIT(VIRTIO_NET_F_CTRL_VQ), 3);
		for (int i = 0; i < 20; i++) {
			struct guest_buffer buffers[4];
			unsigned count = 1 + (unsigned)rand_r(&seed) % 4, queue = (unsigned)rand_r(&seed) % 3;

			for (unsigned k = 0; k < count; k++)
				buffers[k] = (struct guest_buffer){
					.gpa = (uint64_t)rand_r(&seed) % (20 * MIB),
					.bytes = (uint32_t)(rand_r(&seed) % (rand_r(&seed) % 3 ? 100 : 200000)),
					.device_writes =
						queue == RX ? rand_r(&seed) % 8 : queue == CONTROL && k + 1 == count};
			guest_offer(&f->guest, queue, buffers, count);
			guest_kick(&f->guest, queue);
			deliver(f, 0, NULL, frame, (size_t)rand_r(&seed) % sizeof(frame));
			loop_poll(f->machine->env.loop, 0);
		}
		f->guest.heap = 0x100000;
		memset(guest_memory(&f->guest, 0x100000, MIB), rand_r(&seed), MIB);
	}
}

static void state_survives_a_save(void **state)
{
	struct fixture *f = *state;
	struct state_buffer saved = {0};
	uint8_t frame[64] = {0}, got[64];
	struct net_header back;
	struct error err = {0};

	plug(f, "", false);
	start(f,
	      BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |
		      BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | GUEST_BITS,
	      3);
	give_buffers(f, RX, 4, BUFFER);
	assert_int_equal(control(f, 0, 0, "\0", 1), 0);
	assert_int_equal(control(f, 1, 1, OTHER, 6), 0);
	state_save(virtio_net_pci.state, f->device, &saved);
	guest_status(&f->guest, 0);
	test_settle(f->machine);
	assert_true(state_load(virtio_net_pci.state, f->device, saved.data, saved.length, &err) > 0);
	test_settle(f->machine);
	assert_int_equal(f->recorder.offloads, NET_CSUM | NET_TSO4);
	assert_int_equal(guest_config(&f->guest, 6, 2), 3); /* up, and please announce yourself */
	assert_int_equal(control(f, 3, 0, "", 0), 0);
	assert_int_equal(guest_config(&f->guest, 6, 2), 1);
	memcpy(frame, OTHER, 6);
	assert_true(deliver(f, 0, NULL, frame, 64));
	assert_int_equal(collect(f, RX, &back, 12, got), 64);
	assert_false(reaches(f, MINE, -1));
	free(saved.data);
}

/* The whole way: the driver asks libslirp for the gateway's address. */
static void user_network_answers_through_the_card(void **state)
{
	static const uint8_t question[42] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc, 8, 6, 0, 1, 8, 0,  6, 4, 0,
		1,    0x52, 0x54, 0,    0xaa, 0xbb, 0xcc, 10,   0, 2,    15,   0,    0, 0, 0, 0, 0, 10, 0, 2, 2};
	struct fixture *f = *state;
	struct options options = {0};
	struct net_header back;
	uint8_t got[2048];
	bool answered = false;

	f->backend = net_open("user", "n0", &options, f->machine->env.loop, &f->machine->log, NULL);
	assert_non_null(f->backend);
	plug(f, "", false);
	start(f, BIT(VIRTIO_NET_F_MRG_RXBUF) | EVENT_IDX | GUEST_BITS, 2);
	give_buffers(f, RX, 8, BUFFER);
	send(f, TX, &(struct net_header){0}, 12, question, sizeof(question), 20);
	for (int i = 0; i < 4 && !answered; i++) {
		collect(f, RX, &back, 12, got);
		answered = got[12] == 8 && got[13] == 6 && got[21] == 2 && !memcmp(got + 28, "\x0a\x00\x02\x02", 4);
	}
	assert_true(answered);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(frames_go_both_ways_modern),
		TEST(frames_go_both_ways_plain),
		TEST(frames_go_both_ways_packed),
		TEST(frames_go_both_ways_legacy),
		TEST(large_frames_fill_several_buffers),
		TEST(full_ring_makes_the_back_end_wait),
		TEST(frames_for_nobody_are_dropped),
		TEST(control_queue_sets_the_filter),
		TEST(guest_offloads_can_be_switched),
		TEST(link_changes_reach_the_driver),
		TEST(queue_pairs_are_used_as_the_driver_says),
		TEST(nothing_is_offered_that_the_back_end_cannot_take),
		TEST(unusable_properties_are_refused),
		TEST(hostile_rings_do_no_harm),
		TEST(state_survives_a_save),
		TEST(user_network_answers_through_the_card),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
