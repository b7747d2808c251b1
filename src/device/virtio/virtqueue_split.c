/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Split virtqueues (virtio 1.2, 2.7): descriptor table, available ring and used ring, with indirect descriptors
 * (2.7.5.3) and the event index (2.7.7, 2.7.10). Every word of guest memory is read once. A queue that broke a rule is
 * not looked at again before the driver resets the device.
 */
#include "device/virtio/virtqueue_internal.h"

#include "base/util.h"

enum {
	AVAIL_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,
	RING_FLAGS = 0,   /* of both rings */
	RING_INDEX = 2,
	RING_ENTRIES = 4,
	DESC_BYTES = 16,
	USED_ENTRY_BYTES = 8,
};

static uint16_t load16(const uint8_t *at)
{
	return __atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED);
}

static void store16(uint8_t *at, uint16_t value)
{
	__atomic_store_n((uint16_t *)at, value, __ATOMIC_RELAXED);
}

static uint64_t used_bytes(const struct virtqueue *queue)
{
	return RING_ENTRIES + USED_ENTRY_BYTES * (uint64_t)queue->size + 2;
}

static int split_attach(struct virtqueue *queue)
{
	const struct virtqueue_setup *setup = queue->setup;

	if (!is_power_of_two(queue->size))
		return -EINVAL;
	queue->desc = virtq_ring_area(queue, "descriptor table", setup->desc_gpa, DESC_BYTES * queue->size, 16, false);
	queue->avail =
	        virtq_ring_area(queue, "available ring", setup->avail_gpa, RING_ENTRIES + 2 * queue->size + 2, 2, false);
	queue->used = virtq_ring_area(queue, "used ring", setup->used_gpa, used_bytes(queue), 4, true);
	if (!queue->desc || !queue->avail || !queue->used)
		return -EINVAL;
	queue->avail_next = queue->avail_seen = setup->avail_next;
	queue->used_next = setup->used_next;
	return 0;
}

static void split_save(struct virtqueue *queue)
{
	queue->setup->avail_next = queue->avail_next;
	queue->setup->used_next = queue->used_next;
}

static bool split_empty(struct virtqueue *queue)
{
	if (queue->avail_next == queue->avail_seen)
		queue->avail_seen =
		        __atomic_load_n((const uint16_t *)(queue->avail + RING_INDEX), __ATOMIC_ACQUIRE);
	return queue->avail_next == queue->avail_seen;
}

/* --- walking a chain --- */

struct table {
	const uint8_t *hva; /* NULL: read by gpa */
	uint64_t gpa;
	uint32_t entries;
	bool indirect;
};

static int read_desc(struct virtqueue *queue, const struct table *table, uint32_t index, struct virtq_desc *desc)
{
	uint8_t bytes[DESC_BYTES];

	if (table->hva)
		memcpy(bytes, table->hva + DESC_BYTES * (size_t)index, DESC_BYTES);
	else if (ram_read(queue->device->device.env->ram, table->gpa + DESC_BYTES * (uint64_t)index, bytes, DESC_BYTES) < 0)
		return -EFAULT;
	*desc = (struct virtq_desc){
	        .gpa = load_le64(bytes),
	        .bytes = load_le32(bytes + 8),
	        .flags = load_le16(bytes + 12),
	        .next = load_le16(bytes + 14),
	};
	return 0;
}

static int fault(struct virtqueue *queue, const char *what)
{
	virtio_fault(queue->device, "queue %u: %s", queue->index, what);
	return -EINVAL;
}

static int open_indirect(struct virtqueue *queue, const struct virtq_desc *desc, struct table *table)
{
	if (!queue->indirect)
		return fault(queue, "an indirect descriptor that was not negotiated");
	if (table->indirect)
		return fault(queue, "an indirect descriptor in an indirect table");
	if (desc->flags & VIRTQ_DESC_NEXT)
		return fault(queue, "an indirect descriptor with a next one");
	if (desc->bytes == 0 || desc->bytes % DESC_BYTES)
		return fault(queue, "an indirect table that is not a number of descriptors long");
	table->indirect = true;
	table->gpa = desc->gpa;
	table->entries = desc->bytes / DESC_BYTES;
	table->hva = ram_hva(queue->device->device.env->ram, desc->gpa, desc->bytes);
	return 0;
}

/* Follows next from `index` to the chain's end. No chain is longer than its table, so that a loop ends. */
static int walk(struct virtqueue *queue, uint32_t index, struct virtq_builder *builder)
{
	struct table table = {.hva = queue->desc, .entries = queue->size};
	struct virtq_desc desc;
	uint32_t visited = 0;

	for (;;) {
		if (index >= table.entries)
			return fault(queue, "a descriptor index beyond the table");
		if (visited++ >= table.entries)
			return fault(queue, "a chain that is a loop");
		if (read_desc(queue, &table, index, &desc) < 0)
			return fault(queue, "an indirect table outside of RAM");
		if (desc.flags & VIRTQ_DESC_INDIRECT) {
			if (open_indirect(queue, &desc, &table) < 0)
				return -EINVAL;
			index = 0;
			visited = 0;
			continue;
		}
		if (virtq_build_add(builder, desc.gpa, desc.bytes, desc.flags & VIRTQ_DESC_WRITE) < 0)
			return -EINVAL;
		if (!(desc.flags & VIRTQ_DESC_NEXT))
			return 0;
		index = desc.next;
	}
}

static int split_pop(struct virtqueue *queue, struct virtq_element *element)
{
	struct virtq_builder builder;
	uint16_t head;

	if ((uint16_t)(queue->avail_seen - queue->avail_next) > queue->size)
		return fault(queue, "an available index that is ahead by more than the ring");
	head = load16(queue->avail + RING_ENTRIES + 2 * (size_t)(queue->avail_next & (queue->size - 1)));
	virtq_build_start(&builder, queue, element);
	if (walk(queue, head, &builder) < 0)
		return -EINVAL;
	virtq_build_end(&builder);
	element->head = head;
	queue->avail_next++;
	return 0;
}

static void split_unpop(struct virtqueue *queue, struct virtq_element *element)
{
	queue->avail_next--;
}

/* --- giving back --- */

static void split_fill(struct virtqueue *queue, const struct virtq_element *element, uint32_t written)
{
	uint16_t slot = (uint16_t)(queue->used_next + queue->filled) & (queue->size - 1);
	uint64_t offset = RING_ENTRIES + USED_ENTRY_BYTES * (uint64_t)slot;

	store_le32(queue->used + offset, element->head);
	store_le32(queue->used + offset + 4, written);
	ram_written(queue->device->device.env->ram, queue->setup->used_gpa + offset, USED_ENTRY_BYTES);
	queue->filled++;
}

static void split_publish(struct virtqueue *queue)
{
	queue->used_next += queue->filled;
	__atomic_store_n((uint16_t *)(queue->used + RING_INDEX), queue->used_next, __ATOMIC_RELEASE);
	ram_written(queue->device->device.env->ram, queue->setup->used_gpa, RING_ENTRIES);
}

static bool split_wants_interrupt(struct virtqueue *queue)
{
	uint16_t before = queue->signalled, event;
	bool valid = queue->signalled_valid;

	/* The driver enables interrupts and then looks at the index again; we do it the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!queue->event_idx)
		return !(load16(queue->avail + RING_FLAGS) & AVAIL_NO_INTERRUPT);
	event = load16(queue->avail + RING_ENTRIES + 2 * (size_t)queue->size);
	queue->signalled = queue->used_next;
	queue->signalled_valid = true;
	return !valid || virtq_need_event(event, queue->used_next, before);
}

static void split_kicks(struct virtqueue *queue, bool on)
{
	if (queue->event_idx) {
		/* A doorbell is rung when the driver's index passes the event: it stays behind while kicks are off. */
		if (on)
			store16(queue->used + RING_ENTRIES + USED_ENTRY_BYTES * (size_t)queue->size, queue->avail_next);
	} else {
		store16(queue->used + RING_FLAGS, on ? 0 : USED_NO_NOTIFY);
	}
	ram_written(queue->device->device.env->ram, queue->setup->used_gpa, used_bytes(queue));
	if (on)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

const struct virtq_ring_ops virtq_split_ops = {
        .attach = split_attach,
        .empty = split_empty,
        .pop = split_pop,
        .unpop = split_unpop,
        .fill = split_fill,
        .publish = split_publish,
        .wants_interrupt = split_wants_interrupt,
        .kicks = split_kicks,
        .save = split_save,
};
