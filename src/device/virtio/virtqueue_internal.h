/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A queue as virtio.c, virtqueue.c and the two ring formats share it. Models include virtio.h only. */
#ifndef XUNI_DEVICE_VIRTIO_VIRTQUEUE_INTERNAL_H
#define XUNI_DEVICE_VIRTIO_VIRTQUEUE_INTERNAL_H

#include "device/virtio/virtio.h"

/* 2.7.5: a descriptor; the packed format has the same size with other meanings. */
struct virtq_desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};

enum { VIRTQ_DESC_NEXT = 1, VIRTQ_DESC_WRITE = 2, VIRTQ_DESC_INDIRECT = 4 };

/* One ring format. All are called with the queue's lock held. */
struct virtq_ring_ops {
	/* Checks addresses and sizes of queue->setup and takes the rings into use. 0 or -EINVAL (logged). */
	int (*attach)(struct virtqueue *queue);
	bool (*empty)(struct virtqueue *queue);
	/* The next chain into element; the ring is known not to be empty. -EINVAL: the device has been faulted. */
	int (*pop)(struct virtqueue *queue, struct virtq_element *element);
	void (*unpop)(struct virtqueue *queue, struct virtq_element *element);
	void (*fill)(struct virtqueue *queue, const struct virtq_element *element, uint32_t written);
	void (*publish)(struct virtqueue *queue);
	/* Whether the driver wants an interrupt for what was published since this was asked last. */
	bool (*wants_interrupt)(struct virtqueue *queue);
	void (*kicks)(struct virtqueue *queue, bool on);
	/* Ring positions to and from queue->setup. */
	void (*save)(struct virtqueue *queue);
};

struct virtqueue {
	struct virtio_device *device;
	unsigned index;
	unsigned size_max;
	size_t element_size;
	virtqueue_fn *handler;
	struct loop *loop;
	int event_fd;
	struct loop_fd *watch;
	atomic_uint in_flight; /* elements outside, of all generations */

	pthread_mutex_t lock;  /* everything below, and the setup while live */
	struct virtqueue_setup *setup;
	const struct virtq_ring_ops *ring;
	bool live;
	bool indirect, event_idx; /* negotiated */
	uint32_t generation;
	unsigned in_use;       /* elements outside, of this generation */
	unsigned budget;       /* pops left in this call of the handler */
	bool again;            /* the budget ran out */
	bool published;        /* since the last notify */
	struct virtq_element *free_elements;

	/* The rings, by host address. */
	uint16_t size;
	uint8_t *desc, *avail, *used;
	uint16_t avail_next;   /* what pop takes next */
	uint16_t avail_seen;   /* the driver's index as last read (split) */
	uint16_t used_next;    /* what fill writes next */
	uint16_t filled;       /* entries (split) or slots (packed) filled and not yet published */
	uint16_t signalled;    /* used_next when the driver was last interrupted */
	bool signalled_valid;
	/* packed */
	bool avail_wrap, used_wrap;
	uint16_t first_flags, first_slot; /* flags of the first filled descriptor, which are written last */
};

extern const struct virtq_ring_ops virtq_split_ops, virtq_packed_ops;

struct virtq_element *virtq_element_take(struct virtqueue *queue);
void virtq_element_give_back(struct virtqueue *queue, struct virtq_element *element);
void virtq_element_free(struct virtq_element *element);
/* Tells ram of the first `written` bytes of the in part. */
void virtq_element_written(struct virtqueue *queue, const struct virtq_element *element, size_t written);

/* Collects one chain's buffers into an element. */
struct virtq_builder {
	struct virtqueue *queue;
	struct virtq_element *element;
	uint64_t total_bytes;
};

void virtq_build_start(struct virtq_builder *builder, struct virtqueue *queue, struct virtq_element *element);
/* Appends one buffer; -EINVAL after a fault. */
int virtq_build_add(struct virtq_builder *builder, uint64_t gpa, uint32_t bytes, bool device_writes);
void virtq_build_end(struct virtq_builder *builder);

/* Host address of one ring area, or NULL after a logged complaint. */
uint8_t *virtq_ring_area(struct virtqueue *queue, const char *what, uint64_t gpa, uint64_t bytes, uint64_t alignment,
                         bool device_writes);

/* Takes the queue into use; with queue->lock held. */
int virtqueue_attach_locked(struct virtqueue *queue);
/* Off the ring, generation on; takes queue->lock. keep_setup: the rings stay configured (end of a stop). */
void virtqueue_detach(struct virtqueue *queue);
void virtqueue_free(struct virtqueue *queue);
/* A doorbell of a driver that has not set DRIVER_OK; virtio.c. */
void virtio_early_kick(struct virtio_device *device);

static inline bool virtq_need_event(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

#endif
