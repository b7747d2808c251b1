/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packed virtqueues (virtio 1.2, 2.8): one ring of descriptors that driver and device overwrite in turn, wrap counters,
 * and an event suppression structure for each side. Indirect tables may stand in place of a whole chain only (2.8.7).
 * Out-of-order completion is supported; in-order is not offered.
 */
#include "device/virtio/virtqueue_internal.h"

#include "base/util.h"

enum {
	DESC_BYTES = 16,
	DESC_ID = 12,
	DESC_FLAGS = 14,
	FLAG_AVAIL = 1 << 7,
	FLAG_USED = 1 << 15,

	EVENT_BYTES = 4,
	EVENT_OFFSET = 0,
	EVENT_FLAGS = 2,
	EVENT_ENABLE = 0,
	EVENT_DISABLE = 1,
	EVENT_DESC = 2,

	/* In virtqueue_setup: counters start at 1, the set-up at 0. */
	WRAP_IS_0 = 1 << 15,
};

static uint16_t load16(const uint8_t *at)
{
	return __atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED);
}

static void store16(uint8_t *at, uint16_t value)
{
	__atomic_store_n((uint16_t *)at, value, __ATOMIC_RELAXED);
}

static uint8_t *slot_at(const struct virtqueue *queue, unsigned slot)
{
	return queue->desc + DESC_BYTES * (size_t)slot;
}

/* Moves a ring position on, or back when steps is negative; toggles its wrap counter at the end of the ring. */
static void step(const struct virtqueue *queue, uint16_t *slot, bool *wrap, int steps)
{
	int at = *slot + steps;

	if (at >= queue->size || at < 0) {
		at += at < 0 ? queue->size : -queue->size;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)at;
}

static int packed_attach(struct virtqueue *queue)
{
	const struct virtqueue_setup *setup = queue->setup;

	queue->desc = virtq_ring_area(queue, "descriptor ring", setup->desc_gpa, DESC_BYTES * queue->size, 16, true);
	queue->avail = virtq_ring_area(queue, "driver area", setup->avail_gpa, EVENT_BYTES, 4, false);
	queue->used = virtq_ring_area(queue, "device area", setup->used_gpa, EVENT_BYTES, 4, true);
	if (!queue->desc || !queue->avail || !queue->used)
		return -EINVAL;
	queue->avail_next = setup->avail_next & ~WRAP_IS_0;
	queue->avail_wrap = !(setup->avail_next & WRAP_IS_0);
	queue->used_next = setup->used_next & ~WRAP_IS_0;
	queue->used_wrap = !(setup->used_next & WRAP_IS_0);
	return queue->avail_next < queue->size && queue->used_next < queue->size ? 0 : -EINVAL;
}

static void packed_save(struct virtqueue *queue)
{
	queue->setup->avail_next = queue->avail_next | (queue->avail_wrap ? 0 : WRAP_IS_0);
	queue->setup->used_next = queue->used_next | (queue->used_wrap ? 0 : WRAP_IS_0);
}

static bool packed_empty(struct virtqueue *queue)
{
	uint16_t flags =
	        __atomic_load_n((const uint16_t *)(slot_at(queue, queue->avail_next) + DESC_FLAGS), __ATOMIC_ACQUIRE);

	return !!(flags & FLAG_AVAIL) != queue->avail_wrap || !!(flags & FLAG_USED) == queue->avail_wrap;
}

/* --- chains --- */

static int fault(struct virtqueue *queue, const char *what)
{
	virtio_fault(queue->device, "queue %u: %s", queue->index, what);
	return -EINVAL;
}

/* The buffer id takes the place of `next`. */
static struct virtq_desc parse(const uint8_t bytes[DESC_BYTES])
{
	return (struct virtq_desc){
	        .gpa = load_le64(bytes),
	        .bytes = load_le32(bytes + 8),
	        .next = load_le16(bytes + DESC_ID),
	        .flags = load_le16(bytes + DESC_FLAGS),
	};
}

/* The table's descriptors are a chain in their order; of their flags only WRITE counts. */
static int walk_indirect(struct virtqueue *queue, const struct virtq_desc *head, struct virtq_builder *builder)
{
	if (!queue->indirect)
		return fault(queue, "an indirect descriptor that was not negotiated");
	if (head->flags & VIRTQ_DESC_NEXT)
		return fault(queue, "an indirect descriptor with a next one");
	if (head->bytes == 0 || head->bytes % DESC_BYTES || head->bytes / DESC_BYTES > VIRTIO_SEGMENTS_MAX)
		return fault(queue, "an indirect table of an impossible length");
	for (uint32_t i = 0; i < head->bytes / DESC_BYTES; i++) {
		uint8_t bytes[DESC_BYTES];
		struct virtq_desc desc;

		if (ram_read(queue->device->device.env->ram, head->gpa + DESC_BYTES * (uint64_t)i, bytes, DESC_BYTES) < 0)
			return fault(queue, "an indirect table outside of RAM");
		desc = parse(bytes);
		if (virtq_build_add(builder, desc.gpa, desc.bytes, desc.flags & VIRTQ_DESC_WRITE) < 0)
			return -EINVAL;
	}
	return 0;
}

static int packed_pop(struct virtqueue *queue, struct virtq_element *element)
{
	struct virtq_builder builder;
	uint16_t slot = queue->avail_next, count = 0;
	bool wrap = queue->avail_wrap;
	struct virtq_desc desc;

	virtq_build_start(&builder, queue, element);
	do {
		uint8_t bytes[DESC_BYTES];

		if (count++ == queue->size)
			return fault(queue, "a chain longer than the ring");
		memcpy(bytes, slot_at(queue, slot), DESC_BYTES);
		desc = parse(bytes);
		step(queue, &slot, &wrap, 1);
		if (desc.flags & VIRTQ_DESC_INDIRECT) {
			if (count > 1)
				return fault(queue, "an indirect descriptor inside a chain");
			if (walk_indirect(queue, &desc, &builder) < 0)
				return -EINVAL;
		} else if (virtq_build_add(&builder, desc.gpa, desc.bytes, desc.flags & VIRTQ_DESC_WRITE) < 0) {
			return -EINVAL;
		}
	} while (desc.flags & VIRTQ_DESC_NEXT);
	virtq_build_end(&builder);
	element->head = desc.next;
	element->descriptors = count;
	queue->avail_next = slot;
	queue->avail_wrap = wrap;
	return 0;
}

static void packed_unpop(struct virtqueue *queue, struct virtq_element *element)
{
	step(queue, &queue->avail_next, &queue->avail_wrap, -element->descriptors);
}

/* --- giving back --- */

/* The first descriptor's flags are written last, by publish: they make all of the batch visible. */
static void packed_fill(struct virtqueue *queue, const struct virtq_element *element, uint32_t written)
{
	uint8_t *at = slot_at(queue, queue->used_next);
	uint16_t flags = (queue->used_wrap ? FLAG_AVAIL | FLAG_USED : 0) | (written ? VIRTQ_DESC_WRITE : 0);
	bool before = queue->used_wrap;

	store_le32(at + 8, written);
	store16(at + DESC_ID, element->head);
	if (queue->filled == 0) {
		queue->first_slot = queue->used_next;
		queue->first_flags = flags;
	} else {
		__atomic_store_n((uint16_t *)(at + DESC_FLAGS), flags, __ATOMIC_RELEASE);
	}
	ram_written(queue->device->device.env->ram, queue->setup->desc_gpa + DESC_BYTES * (uint64_t)queue->used_next,
	            DESC_BYTES);
	queue->filled++;
	step(queue, &queue->used_next, &queue->used_wrap, element->descriptors);
	/* The comparison of positions in wants_interrupt does not reach across the ring's end. */
	if (queue->used_wrap != before)
		queue->signalled_valid = false;
}

static void packed_publish(struct virtqueue *queue)
{
	__atomic_store_n((uint16_t *)(slot_at(queue, queue->first_slot) + DESC_FLAGS), queue->first_flags,
	                 __ATOMIC_RELEASE);
	ram_written(queue->device->device.env->ram, queue->setup->desc_gpa + DESC_BYTES * (uint64_t)queue->first_slot,
	            DESC_BYTES);
}

static bool packed_wants_interrupt(struct virtqueue *queue)
{
	uint16_t before = queue->signalled, flags, event, offset;
	bool valid = queue->signalled_valid;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	queue->signalled = queue->used_next;
	queue->signalled_valid = true;
	flags = __atomic_load_n((const uint16_t *)(queue->avail + EVENT_FLAGS), __ATOMIC_ACQUIRE) & 3;
	if (flags != EVENT_DESC || !queue->event_idx)
		return flags != EVENT_DISABLE;
	if (!valid)
		return true;
	event = load16(queue->avail + EVENT_OFFSET);
	offset = event & 0x7fff;
	if (!!(event >> 15) != queue->used_wrap)
		offset -= queue->size;
	return virtq_need_event(offset, queue->used_next, before);
}

static void packed_kicks(struct virtqueue *queue, bool on)
{
	uint16_t flags = on ? EVENT_ENABLE : EVENT_DISABLE;

	if (on && queue->event_idx) {
		store16(queue->used + EVENT_OFFSET, queue->avail_next | (uint16_t)(queue->avail_wrap << 15));
		flags = EVENT_DESC;
	}
	__atomic_store_n((uint16_t *)(queue->used + EVENT_FLAGS), flags, __ATOMIC_RELEASE);
	ram_written(queue->device->device.env->ram, queue->setup->used_gpa, EVENT_BYTES);
	if (on)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

const struct virtq_ring_ops virtq_packed_ops = {
        .attach = packed_attach,
        .empty = packed_empty,
        .pop = packed_pop,
        .unpop = packed_unpop,
        .fill = packed_fill,
        .publish = packed_publish,
        .wants_interrupt = packed_wants_interrupt,
        .kicks = packed_kicks,
        .save = packed_save,
};
