/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver of test_guest.h, after virtio 1.2 chapters 2, 3 and 4.1. */
#include "device/virtio/test_guest.h"

#include "base/loop.h"
#include "base/util.h"

#include <assert.h>

enum { HEAP_START = 0x100000, DESC_BYTES = 16, FEATURES_OK = 8, DRIVER_OK = 4 };

#define BIT_INDIRECT  (1ull << 28)
#define BIT_EVENT_IDX (1ull << 29)
#define BIT_VERSION_1 (1ull << 32)
#define BIT_PACKED    (1ull << 34)

static struct bus *memory(struct guest *guest)
{
	return guest->machine->env.memory;
}

static struct bus *ports(struct guest *guest)
{
	return guest->machine->env.io;
}

uint8_t *guest_memory(struct guest *guest, uint64_t gpa, uint64_t bytes)
{
	uint8_t *hva = ram_hva(guest->machine->env.ram, gpa, bytes);

	assert(hva);
	return hva;
}

uint64_t guest_alloc(struct guest *guest, uint64_t bytes)
{
	uint64_t gpa = guest->heap;

	guest->heap += align_up(bytes, 4096);
	memset(guest_memory(guest, gpa, bytes), 0, bytes);
	return gpa;
}

static void find_capabilities(struct guest *guest)
{
	unsigned at = 0;

	while ((at = test_capability(guest->machine, guest->devfn, 9, at))) {
		unsigned type = test_config_read(guest->machine, guest->devfn, at + 3, 1);
		unsigned bar = test_config_read(guest->machine, guest->devfn, at + 4, 1);
		uint64_t gpa = test_bar_address(guest->machine, guest->devfn, bar) +
		               test_config_read(guest->machine, guest->devfn, at + 8, 4);

		if (type == 1)
			guest->common = gpa;
		else if (type == 2)
			guest->notify = gpa;
		else if (type == 3)
			guest->isr = gpa;
		else if (type == 4)
			guest->device = gpa;
		if (type == 2)
			guest->notify_stride = test_config_read(guest->machine, guest->devfn, at + 16, 4);
	}
}

void guest_open(struct guest *guest, struct test_machine *machine, unsigned devfn, bool legacy)
{
	*guest = (struct guest){.machine = machine, .devfn = devfn, .legacy = legacy, .heap = HEAP_START};
	for (unsigned bar = 0; bar < 6; bar++)
		if (bar != 5)
			test_bar_assign(machine, devfn, bar);
	test_config_write(machine, devfn, 4, 7, 2);
	find_capabilities(guest);
	guest->port = test_bar_address(machine, devfn, 0);
}

uint64_t guest_common_read(struct guest *guest, unsigned offset, unsigned size)
{
	return bus_read(memory(guest), guest->common + offset, size);
}

void guest_common_write(struct guest *guest, unsigned offset, uint64_t value, unsigned size)
{
	bus_write(memory(guest), guest->common + offset, value, size);
}

void guest_status(struct guest *guest, uint8_t status)
{
	if (guest->legacy)
		bus_write(ports(guest), guest->port + 18, status, 1);
	else
		guest_common_write(guest, 20, status, 1);
}

uint8_t guest_read_status(struct guest *guest)
{
	return (uint8_t)(guest->legacy ? bus_read(ports(guest), guest->port + 18, 1) : guest_common_read(guest, 20, 1));
}

uint64_t guest_offered(struct guest *guest)
{
	uint64_t low;

	if (guest->legacy)
		return bus_read(ports(guest), guest->port, 4);
	guest_common_write(guest, 0, 0, 4);
	low = guest_common_read(guest, 4, 4);
	guest_common_write(guest, 0, 1, 4);
	return low | guest_common_read(guest, 4, 4) << 32;
}

bool guest_negotiate(struct guest *guest, uint64_t features)
{
	guest_status(guest, 0);
	while (guest_read_status(guest))
		loop_poll(guest->machine->env.loop, NS_PER_MS);
	guest_status(guest, 1);
	guest_status(guest, 3);
	guest->features = features & guest_offered(guest);
	if (guest->legacy) {
		bus_write(ports(guest), guest->port + 4, (uint32_t)guest->features, 4);
		return true;
	}
	guest_common_write(guest, 8, 0, 4);
	guest_common_write(guest, 12, (uint32_t)guest->features, 4);
	guest_common_write(guest, 8, 1, 4);
	guest_common_write(guest, 12, guest->features >> 32, 4);
	guest_status(guest, 3 | FEATURES_OK);
	return guest_read_status(guest) & FEATURES_OK;
}

static void place_legacy(struct guest *guest, unsigned index, struct guest_queue *queue)
{
	bus_write(ports(guest), guest->port + 14, index, 2);
	queue->size = (uint16_t)bus_read(ports(guest), guest->port + 12, 2);
	queue->desc = guest_alloc(guest, DESC_BYTES * queue->size + 6 + 2 * queue->size + 4096 + 6 + 8 * queue->size);
	queue->avail = queue->desc + DESC_BYTES * queue->size;
	queue->used = align_up(queue->avail + 6 + 2 * queue->size, 4096);
	bus_write(ports(guest), guest->port + 8, queue->desc >> 12, 4);
}

static void place_modern(struct guest *guest, unsigned index, struct guest_queue *queue, uint16_t size)
{
	guest_common_write(guest, 22, index, 2);
	if (size)
		guest_common_write(guest, 24, size, 2);
	queue->size = (uint16_t)guest_common_read(guest, 24, 2);
	queue->desc = guest_alloc(guest, DESC_BYTES * queue->size);
	queue->avail = guest_alloc(guest, 6 + 2 * queue->size);
	queue->used = guest_alloc(guest, 6 + 8 * queue->size);
	guest_common_write(guest, 32, queue->desc, 8);
	guest_common_write(guest, 40, queue->avail, 8);
	guest_common_write(guest, 48, queue->used, 8);
	guest_common_write(guest, 26, index + 1, 2);
	guest_common_write(guest, 28, 1, 2);
}

void guest_queue_setup(struct guest *guest, unsigned index, uint16_t size)
{
	struct guest_queue *queue = &guest->queues[index];

	*queue = (struct guest_queue){
	        .packed = guest->features & BIT_PACKED,
	        .event_idx = guest->features & BIT_EVENT_IDX,
	        .avail_wrap = true,
	        .used_wrap = true,
	};
	if (guest->legacy)
		place_legacy(guest, index, queue);
	else
		place_modern(guest, index, queue, size);
}

void guest_start(struct guest *guest, uint64_t features, unsigned queues)
{
	bool agreed = guest_negotiate(guest, features | (guest->legacy ? 0 : BIT_VERSION_1));

	assert(agreed);
	(void)agreed;
	for (unsigned i = 0; i < queues; i++)
		guest_queue_setup(guest, i, 0);
	guest_status(guest, guest->legacy ? 3 | DRIVER_OK : 3 | FEATURES_OK | DRIVER_OK);
}

uint64_t guest_config(struct guest *guest, unsigned offset, unsigned size)
{
	return guest->legacy ? bus_read(ports(guest), guest->port + 20 + offset, size)
	                     : bus_read(memory(guest), guest->device + offset, size);
}

void guest_config_write(struct guest *guest, unsigned offset, uint64_t value, unsigned size)
{
	if (guest->legacy)
		bus_write(ports(guest), guest->port + 20 + offset, value, size);
	else
		bus_write(memory(guest), guest->device + offset, value, size);
}

/* --- rings --- */

static void write_desc(uint8_t *at, const struct guest_buffer *buffer, uint16_t flags, uint16_t last)
{
	store_le64(at, buffer->gpa);
	store_le32(at + 8, buffer->bytes);
	store_le16(at + 12, flags);
	store_le16(at + 14, last);
}

static uint16_t flags_of(const struct guest_buffer *buffer)
{
	return buffer->device_writes ? 2 : 0;
}

static void offer_split(struct guest *guest, struct guest_queue *queue, const struct guest_buffer *buffers,
                        unsigned count, bool indirect)
{
	uint8_t *desc = guest_memory(guest, queue->desc, DESC_BYTES * queue->size);
	uint8_t *avail = guest_memory(guest, queue->avail, 6 + 2 * queue->size);
	uint16_t head = queue->free_next;

	for (unsigned i = 0; i < count; i++) {
		uint16_t at = queue->free_next, next = (uint16_t)(at + 1) % queue->size;
		bool more = i + 1 < count;

		write_desc(desc + DESC_BYTES * at, &buffers[i],
		           flags_of(&buffers[i]) | (more ? 1 : 0) | (indirect ? 4 : 0), more ? next : 0);
		queue->free_next = next;
	}
	store_le16(avail + 4 + 2 * (queue->avail_index % queue->size), head);
	__atomic_store_n((uint16_t *)(avail + 2), ++queue->avail_index, __ATOMIC_RELEASE);
}

static void offer_packed(struct guest *guest, struct guest_queue *queue, const struct guest_buffer *buffers,
                         unsigned count, bool indirect)
{
	uint8_t *ring = guest_memory(guest, queue->desc, DESC_BYTES * queue->size);
	uint16_t id = queue->free_next++, first = queue->avail_index, first_flags = 0;

	for (unsigned i = 0; i < count; i++) {
		uint8_t *at = ring + DESC_BYTES * queue->avail_index;
		uint16_t flags = flags_of(&buffers[i]) | (i + 1 < count ? 1 : 0) | (indirect ? 4 : 0) |
		                 (queue->avail_wrap ? 1 << 7 : 1 << 15);

		write_desc(at, &buffers[i], id, i ? flags : load_le16(at + 14));
		if (i == 0)
			first_flags = flags;
		if (++queue->avail_index == queue->size) {
			queue->avail_index = 0;
			queue->avail_wrap = !queue->avail_wrap;
		}
	}
	__atomic_store_n((uint16_t *)(ring + DESC_BYTES * first + 14), first_flags, __ATOMIC_RELEASE);
}

void guest_offer(struct guest *guest, unsigned index, const struct guest_buffer *buffers, unsigned count)
{
	struct guest_queue *queue = &guest->queues[index];
	struct guest_buffer table = {.bytes = DESC_BYTES * count};
	bool indirect = queue->indirect;

	if (indirect) {
		uint8_t *at;

		table.gpa = guest_alloc(guest, table.bytes);
		at = guest_memory(guest, table.gpa, table.bytes);
		for (unsigned i = 0; i < count; i++) {
			bool more = i + 1 < count && !queue->packed;

			if (queue->packed)
				write_desc(at + DESC_BYTES * i, &buffers[i], 0, flags_of(&buffers[i]));
			else
				write_desc(at + DESC_BYTES * i, &buffers[i], flags_of(&buffers[i]) | (more ? 1 : 0),
				           more ? (uint16_t)(i + 1) : 0);
		}
		buffers = &table;
		count = 1;
	}
	if (queue->packed)
		offer_packed(guest, queue, buffers, count, indirect);
	else
		offer_split(guest, queue, buffers, count, indirect);
}

void guest_kick(struct guest *guest, unsigned index)
{
	if (guest->legacy)
		bus_write(ports(guest), guest->port + 16, index, 2);
	else
		bus_write(memory(guest), guest->notify + (uint64_t)index * guest->notify_stride, index, 2);
}

static bool take_split(struct guest *guest, struct guest_queue *queue, uint32_t *id, uint32_t *written)
{
	uint8_t *used = guest_memory(guest, queue->used, 6 + 8 * queue->size);
	const uint8_t *entry = used + 4 + 8 * (queue->used_index % queue->size);

	if (__atomic_load_n((uint16_t *)(used + 2), __ATOMIC_ACQUIRE) == queue->used_index)
		return false;
	*id = load_le32(entry);
	*written = load_le32(entry + 4);
	queue->used_index++;
	return true;
}

/* Chains of these tests are told apart by id; the ring moves on by what the chain took, which only they know. */
static bool take_packed(struct guest *guest, struct guest_queue *queue, uint32_t *id, uint32_t *written)
{
	const uint8_t *entry = guest_memory(guest, queue->desc, DESC_BYTES * queue->size) + DESC_BYTES * queue->used_index;
	uint16_t flags = __atomic_load_n((uint16_t *)(entry + 14), __ATOMIC_ACQUIRE);

	if (!!(flags & 1 << 7) != queue->used_wrap || !!(flags & 1 << 15) != queue->used_wrap)
		return false;
	*id = load_le16(entry + 12);
	*written = load_le32(entry + 8);
	queue->used_index += queue->indirect ? 1 : queue->chain;
	if (queue->used_index >= queue->size) {
		queue->used_index -= queue->size;
		queue->used_wrap = !queue->used_wrap;
	}
	return true;
}

bool guest_take_used(struct guest *guest, unsigned index, uint32_t *id, uint32_t *written)
{
	struct guest_queue *queue = &guest->queues[index];

	return queue->packed ? take_packed(guest, queue, id, written) : take_split(guest, queue, id, written);
}

bool guest_wait_used(struct guest *guest, unsigned index, uint32_t *id, uint32_t *written)
{
	int64_t end_ns = host_now_ns() + 5 * NS_PER_S;

	while (!guest_take_used(guest, index, id, written)) {
		if (host_now_ns() > end_ns)
			return false;
		loop_poll(guest->machine->env.loop, NS_PER_MS);
	}
	return true;
}
