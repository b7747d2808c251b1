/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues, the part that does not depend on the ring format: locking, generations, elements, doorbells and the
 * handler's turn (virtio.h has the contract). Elements are kept and used again; a queue never has more of them than
 * ring entries, because a driver that offers more than its ring holds has broken a rule.
 */
#include "device/virtio/virtqueue_internal.h"

#include "base/loop.h"
#include "base/util.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NO_BUDGET UINT32_MAX

/* --- taking the rings into and out of use --- */

int virtqueue_attach_locked(struct virtqueue *queue)
{
	struct virtio_device *device = queue->device;
	int rc;

	queue->ring = virtio_has(device, VIRTIO_F_RING_PACKED) ? &virtq_packed_ops : &virtq_split_ops;
	queue->indirect = virtio_has(device, VIRTIO_F_INDIRECT_DESC);
	queue->event_idx = virtio_has(device, VIRTIO_F_EVENT_IDX);
	queue->size = queue->setup->size;
	queue->filled = 0;
	queue->in_use = 0;
	queue->published = false;
	queue->signalled_valid = false;
	if (queue->size == 0 || queue->size > queue->size_max)
		return -EINVAL;
	rc = queue->ring->attach(queue);
	queue->live = rc == 0;
	return rc;
}

void virtqueue_detach(struct virtqueue *queue)
{
	pthread_mutex_lock(&queue->lock);
	if (queue->live && queue->ring)
		queue->ring->save(queue);
	queue->live = false;
	__atomic_fetch_add(&queue->generation, 1, __ATOMIC_ACQ_REL);
	queue->in_use = 0;
	queue->desc = queue->avail = queue->used = NULL;
	pthread_mutex_unlock(&queue->lock);
}

/* --- doorbells and the handler's turn --- */

void virtqueue_schedule(struct virtqueue *queue)
{
	uint64_t one = 1;

	/* Fails only when the count is at its maximum: then the handler runs anyway. */
	if (write(queue->event_fd, &one, sizeof(one)) < 0)
		return;
}

/* The bound makes a guest that refills the ring as fast as it is emptied share the loop with everybody else. */
static void run_handler(struct virtqueue *queue)
{
	pthread_mutex_lock(&queue->lock);
	if (virtqueue_live(queue)) {
		queue->budget = max_u64(256, queue->size);
		queue->again = false;
		queue->handler(queue->device, queue);
		queue->budget = NO_BUDGET;
		if (queue->again)
			virtqueue_schedule(queue);
	}
	pthread_mutex_unlock(&queue->lock);
}

static void run(struct virtqueue *queue)
{
	struct virtio_device *device = queue->device;

	if (!__atomic_load_n(&device->started, __ATOMIC_ACQUIRE))
		virtio_early_kick(device);
	run_handler(queue);
}

static void on_event(void *opaque, uint32_t events)
{
	struct virtqueue *queue = opaque;
	uint64_t count;

	if (read(queue->event_fd, &count, sizeof(count)) == sizeof(count))
		run(queue);
}

void virtqueue_kicked(struct virtqueue *queue)
{
	/* A deterministic run has its vCPU in the loop's thread and wants the effect at this instruction. */
	if (!queue->device->device.env->eventfds && loop_is_current(queue->loop))
		run(queue);
	else
		virtqueue_schedule(queue);
}

/* --- life --- */

static void watch_add(void *opaque)
{
	struct virtqueue *queue = opaque;

	queue->watch = loop_fd_add(queue->loop, queue->event_fd, EPOLLIN, on_event, queue);
}

static void watch_remove(void *opaque)
{
	struct virtqueue *queue = opaque;

	if (queue->watch)
		loop_fd_remove(queue->watch);
	queue->watch = NULL;
}

static void in_loop(struct virtqueue *queue, void (*fn)(void *opaque))
{
	/* init and fini are called in the main loop's thread, also before that loop runs. */
	if (queue->loop == queue->device->device.env->loop)
		fn(queue);
	else
		loop_call(queue->loop, fn, queue);
}

struct virtqueue *virtio_queue_add(struct virtio_device *device, unsigned size_max, size_t element_size,
                                   struct loop *loop, virtqueue_fn *handler)
{
	struct virtqueue *queue = xcalloc(1, sizeof(*queue));

	assert(device->queue_count < VIRTIO_QUEUES_MAX);
	assert(is_power_of_two(size_max) && size_max <= VIRTIO_QUEUE_SIZE_MAX);
	assert(element_size == 0 || element_size >= sizeof(struct virtq_element));
	queue->device = device;
	queue->index = device->queue_count;
	queue->size_max = size_max;
	queue->element_size = element_size ? element_size : sizeof(struct virtq_element);
	queue->handler = handler;
	queue->loop = loop ? loop : device->device.env->loop;
	queue->setup = &device->setup[queue->index];
	queue->setup->size = (uint16_t)size_max;
	queue->setup->vector = VIRTIO_NO_VECTOR;
	queue->budget = NO_BUDGET;
	pthread_mutex_init(&queue->lock, NULL);
	queue->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	in_loop(queue, watch_add);
	device->queues[device->queue_count++] = queue;
	return queue;
}

void virtqueue_free(struct virtqueue *queue)
{
	in_loop(queue, watch_remove);
	while (queue->free_elements) {
		struct virtq_element *element = queue->free_elements;

		queue->free_elements = element->next;
		virtq_element_free(element);
	}
	close(queue->event_fd);
	pthread_mutex_destroy(&queue->lock);
	free(queue);
}

unsigned virtqueue_index(const struct virtqueue *queue)
{
	return queue->index;
}

struct virtio_device *virtqueue_device(const struct virtqueue *queue)
{
	return queue->device;
}

struct virtqueue_setup *virtqueue_setup(struct virtqueue *queue)
{
	return queue->setup;
}

unsigned virtqueue_size_max(const struct virtqueue *queue)
{
	return queue->size_max;
}

int virtqueue_event_fd(const struct virtqueue *queue)
{
	return queue->event_fd;
}

unsigned virtqueue_in_flight(const struct virtqueue *queue)
{
	return atomic_load(&queue->in_flight);
}

bool virtqueue_resetting(const struct virtqueue *queue)
{
	return !queue->setup->enabled && virtqueue_in_flight(queue);
}

/* --- what models call --- */

bool virtqueue_live(const struct virtqueue *queue)
{
	return queue->live && !virtio_broken(queue->device);
}

bool virtqueue_enter(struct virtqueue *queue)
{
	pthread_mutex_lock(&queue->lock);
	return virtqueue_live(queue);
}

void virtqueue_leave(struct virtqueue *queue)
{
	pthread_mutex_unlock(&queue->lock);
}

bool virtqueue_empty(struct virtqueue *queue)
{
	return !virtqueue_live(queue) || queue->ring->empty(queue);
}

void *virtqueue_pop(struct virtqueue *queue)
{
	struct virtq_element *element;

	if (virtqueue_empty(queue))
		return NULL;
	if (queue->budget == 0) {
		queue->again = true;
		return NULL;
	}
	if (queue->in_use >= queue->size) {
		virtio_fault(queue->device, "queue %u: more chains offered than the ring holds", queue->index);
		return NULL;
	}
	element = virtq_element_take(queue);
	if (queue->ring->pop(queue, element) < 0) {
		virtq_element_give_back(queue, element);
		return NULL;
	}
	if (queue->budget != NO_BUDGET)
		queue->budget--;
	element->generation = queue->generation;
	queue->in_use++;
	atomic_fetch_add(&queue->in_flight, 1);
	return element;
}

/* Out of the model's hands. True when the element belongs to the rings as they are now. */
static bool release(struct virtqueue *queue, struct virtq_element *element)
{
	bool current = element->generation == queue->generation;

	if (current)
		queue->in_use--;
	atomic_fetch_sub(&queue->in_flight, 1);
	virtq_element_give_back(queue, element);
	return current && queue->live;
}

bool virtqueue_current(const void *opaque)
{
	const struct virtq_element *element = opaque;

	return element->generation == __atomic_load_n(&element->queue->generation, __ATOMIC_ACQUIRE);
}

void virtqueue_unpop(void *opaque)
{
	struct virtq_element *element = opaque;
	struct virtqueue *queue = element->queue;

	if (release(queue, element))
		queue->ring->unpop(queue, element);
}

void virtqueue_drop(void *opaque)
{
	struct virtq_element *element = opaque;

	release(element->queue, element);
}

void virtqueue_fill(void *opaque, size_t written)
{
	struct virtq_element *element = opaque;
	struct virtqueue *queue = element->queue;

	written = min_u64(written, element->in_bytes);
	virtq_element_written(queue, element, written);
	if (release(queue, element) && !virtio_broken(queue->device))
		queue->ring->fill(queue, element, (uint32_t)written);
}

void virtqueue_publish(struct virtqueue *queue)
{
	if (!queue->live || !queue->filled)
		return;
	queue->ring->publish(queue);
	queue->filled = 0;
	queue->published = true;
}

void virtqueue_push(void *opaque, size_t written)
{
	struct virtqueue *queue = ((struct virtq_element *)opaque)->queue;

	virtqueue_fill(opaque, written);
	virtqueue_publish(queue);
}

void virtqueue_notify(struct virtqueue *queue)
{
	if (!queue->published || !virtqueue_live(queue))
		return;
	queue->published = false;
	if (queue->ring->wants_interrupt(queue))
		queue->device->transport->notify_queue(queue->device, queue->index);
}

void virtqueue_kicks_off(struct virtqueue *queue)
{
	if (virtqueue_live(queue))
		queue->ring->kicks(queue, false);
}

bool virtqueue_kicks_on(struct virtqueue *queue)
{
	if (!virtqueue_live(queue))
		return false;
	if (queue->again)
		return false;
	queue->ring->kicks(queue, true);
	return !queue->ring->empty(queue);
}

bool virtqueue_has_room(struct virtqueue *queue, size_t in_bytes)
{
	struct virtq_element *last = NULL;
	size_t found = 0;

	while (found < in_bytes) {
		struct virtq_element *element = virtqueue_pop(queue);

		if (!element)
			break;
		element->next = last;
		last = element;
		found += element->in_bytes;
	}
	while (last) {
		struct virtq_element *element = last;

		last = element->next;
		virtqueue_unpop(element);
	}
	return found >= in_bytes || virtio_broken(queue->device);
}
