/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The elements of virtqueues: kept per queue and used again, and built from a chain's buffers by looking each one up in
 * guest RAM. A buffer that crosses from one RAM slot into another becomes two.
 */
#include "device/virtio/virtqueue_internal.h"

#include "base/util.h"

#include <stdlib.h>

/* --- elements --- */

struct virtq_element *virtq_element_take(struct virtqueue *queue)
{
	struct virtq_element *element = queue->free_elements;

	if (element) {
		queue->free_elements = element->next;
	} else {
		element = xcalloc(1, queue->element_size);
		element->queue = queue;
	}
	memset((uint8_t *)element + sizeof(*element), 0, queue->element_size - sizeof(*element));
	element->next = NULL;
	return element;
}

void virtq_element_give_back(struct virtqueue *queue, struct virtq_element *element)
{
	element->next = queue->free_elements;
	queue->free_elements = element;
}

void virtq_element_free(struct virtq_element *element)
{
	free(element->vectors);
	free(element->written);
	free(element);
}

/* --- building an element from a chain --- */

void virtq_build_start(struct virtq_builder *builder, struct virtqueue *queue, struct virtq_element *element)
{
	*builder = (struct virtq_builder){.queue = queue, .element = element};
	element->out_count = element->in_count = element->in_segments = 0;
	element->out_bytes = element->in_bytes = 0;
}

static void element_grow(struct virtq_element *element)
{
	element->capacity = element->capacity ? element->capacity * 2 : 8;
	element->vectors = xrealloc(element->vectors, element->capacity * sizeof(*element->vectors));
	element->written = xrealloc(element->written, element->capacity * sizeof(*element->written));
}

/* One piece that lies in one slot of RAM. */
static void append(struct virtq_element *element, uint64_t gpa, uint8_t *hva, size_t bytes, bool device_writes)
{
	unsigned at = element->out_count + element->in_count;

	if (at == element->capacity)
		element_grow(element);
	element->vectors[at] = (struct iovec){.iov_base = hva, .iov_len = bytes};
	if (device_writes) {
		element->written[element->in_count++] = (struct virtq_range){.gpa = gpa, .bytes = bytes};
		element->in_bytes += bytes;
	} else {
		element->out_count++;
		element->out_bytes += bytes;
	}
}

int virtq_build_add(struct virtq_builder *builder, uint64_t gpa, uint32_t bytes, bool device_writes)
{
	struct virtq_element *element = builder->element;
	struct virtio_device *device = builder->queue->device;
	uint64_t left = bytes;

	if (bytes == 0) {
		virtio_fault(device, "queue %u: a descriptor without length", builder->queue->index);
		return -EINVAL;
	}
	if (!device_writes && element->in_count) {
		virtio_fault(device, "queue %u: a readable buffer after a writable one", builder->queue->index);
		return -EINVAL;
	}
	builder->total_bytes += bytes;
	if (builder->total_bytes > UINT32_MAX) {
		virtio_fault(device, "queue %u: a chain of more than 4 GiB", builder->queue->index);
		return -EINVAL;
	}
	while (left) {
		const struct ram_slot *slot = ram_find(device->device.env->ram, gpa);
		uint64_t piece;

		if (!slot || (device_writes && slot->read_only)) {
			virtio_fault(device, "queue %u: a buffer at 0x%llx, which is not %s", builder->queue->index,
			             (unsigned long long)gpa, slot ? "writable" : "RAM");
			return -EINVAL;
		}
		if (element->out_count + element->in_count == VIRTIO_SEGMENTS_MAX) {
			virtio_fault(device, "queue %u: a chain of more than %u buffers", builder->queue->index,
			             VIRTIO_SEGMENTS_MAX);
			return -EINVAL;
		}
		piece = min_u64(left, slot->size - (gpa - slot->gpa));
		append(element, gpa, slot->hva + (gpa - slot->gpa), piece, device_writes);
		gpa += piece;
		left -= piece;
	}
	return 0;
}

void virtq_build_end(struct virtq_builder *builder)
{
	struct virtq_element *element = builder->element;

	element->out = element->vectors;
	element->in = element->vectors + element->out_count;
	element->in_segments = element->in_count;
}

uint8_t *virtq_ring_area(struct virtqueue *queue, const char *what, uint64_t gpa, uint64_t bytes, uint64_t alignment,
                         bool device_writes)
{
	struct virtio_device *device = queue->device;
	const struct ram_slot *slot = ram_find(device->device.env->ram, gpa);
	uint8_t *hva = ram_hva(device->device.env->ram, gpa, bytes);

	if (hva && !(gpa & (alignment - 1)) && !(device_writes && slot->read_only))
		return hva;
	log_guest(device->device.env->log, &device->log_limit, "%s: queue %u: %s at 0x%llx: %s", device->model->name,
	          queue->index, what, (unsigned long long)gpa, hva ? "misaligned or read-only" : "not in RAM");
	return NULL;
}

void virtq_element_written(struct virtqueue *queue, const struct virtq_element *element, size_t written)
{
	struct ram *ram = queue->device->device.env->ram;

	for (unsigned i = 0; i < element->in_segments && written; i++) {
		size_t piece = min_u64(written, element->written[i].bytes);

		ram_written(ram, element->written[i].gpa, piece);
		written -= piece;
	}
}
