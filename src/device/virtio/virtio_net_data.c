/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames between the rings and the back end (virtio 1.2 5.1.6.2 to 5.1.6.4).
 *
 * To the back end a frame goes as the driver's own buffers, without a copy; from it, it is copied once into the
 * driver's buffers. The driver is interrupted once for all frames of a pass of the loop.
 */
#include "device/virtio/virtio_net.h"

#include "backend/net/frame.h"
#include "base/util.h"

#include <limits.h>

/* Buffers one frame may take: 64 KiB in the smallest sensible ones. */
#define MERGE_MAX 256

static size_t guest_header_bytes(const struct virtio_net *net)
{
	/* 5.1.6.1: legacy drivers without mergeable buffers have no num_buffers. */
	return virtio_has(&net->virtio, VIRTIO_F_VERSION_1) || virtio_has(&net->virtio, VIRTIO_NET_F_MRG_RXBUF) ? 12
														: 10;
}

/* ---- To the network ---- */

static void send_element(struct virtio_net *net, unsigned pair, struct virtq_element *element)
{
	size_t header_bytes = guest_header_bytes(net);
	struct iovec vector[VIRTIO_SEGMENTS_MAX + 1];
	struct iovec *out = element->out;
	struct net_header header = {0};
	unsigned count = element->out_count;
	size_t length;

	if (element->out_bytes < header_bytes + FRAME_ETHERNET || element->out_bytes > header_bytes + FRAME_MAX ||
	    count >= IOV_MAX) {
		log_guest(net->virtio.device.env->log, &net->log_limit,
			  "virtio-net: a frame of %zu bytes in %u buffers", element->out_bytes, count);
		return;
	}
	/* Read once; the guest may change its copy meanwhile. */
	iov_read(out, count, 0, &header, header_bytes);
	header.buffers = 0;
	iov_skip(&out, &count, header_bytes);
	length = element->out_bytes - header_bytes;
	if (!net->backend_header) {
		net_send(net->netdev, pair, out, (int)count, length);
		return;
	}
	vector[0] = (struct iovec){&header, sizeof(header)};
	memcpy(vector + 1, out, count * sizeof(*out));
	net_send(net->netdev, pair, vector, (int)count + 1, length + sizeof(header));
}

void virtio_net_transmit(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_net *net = virtio_net_of(device);
	unsigned pair = virtqueue_index(queue) / 2;
	struct virtq_element *element;

	do {
		virtqueue_kicks_off(queue);
		while ((element = virtqueue_pop(queue))) {
			if (net->netdev)
				send_element(net, pair, element);
			virtqueue_push(element, 0);
		}
	} while (virtqueue_kicks_on(queue));
	virtqueue_notify(queue);
}

/* ---- From the network ---- */

void virtio_net_buffers_added(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_net *net = virtio_net_of(device);

	/* The back end delivers into this very queue, whose lock is held now. */
	net->resume = true;
	loop_timer_set(&net->end_of_pass, 0);
}

void virtio_net_end_of_pass(void *opaque)
{
	struct virtio_net *net = opaque;
	uint32_t pending;

	virtio_net_sync(net);
	if (net->resume && net->netdev) {
		net->resume = false;
		net_resume(net->netdev);
	}
	pending = net->notify_pending;
	net->notify_pending = 0;
	for (unsigned pair = 0; pending; pair++, pending >>= 1) {
		struct virtqueue *queue = virtio_queue(&net->virtio, 2 * pair);

		if (!(pending & 1) || !queue)
			continue;
		virtqueue_enter(queue);
		virtqueue_notify(queue);
		virtqueue_leave(queue);
	}
}

/* A frame as the back end hands it over, being copied out. */
struct source {
	const struct iovec *iov;
	int count;
	size_t offset; /* into the first */
};

static void source_skip(struct source *source, size_t bytes)
{
	while (source->count && bytes >= source->iov->iov_len - source->offset) {
		bytes -= source->iov->iov_len - source->offset;
		source->iov++;
		source->count--;
		source->offset = 0;
	}
	source->offset += bytes;
}

/* Appends at most `room` bytes of the source at `at` of an element; returns how many. */
static size_t copy_out(struct source *source, const struct virtq_element *element, size_t at, size_t room)
{
	size_t done = 0;

	while (source->count && done < room) {
		size_t piece = min_u64(source->iov->iov_len - source->offset, room - done);

		iov_write(element->in, element->in_count, at + done, (uint8_t *)source->iov->iov_base + source->offset,
			  piece);
		done += piece;
		source_skip(source, piece);
	}
	return done;
}

static void put_back(struct virtq_element **elements, unsigned count)
{
	while (count)
		virtqueue_unpop(elements[--count]);
}

enum gathered { GATHERED, NO_ROOM, NEVER };

/* Takes buffers for `bytes`. NO_ROOM: the driver will ring when it has added more. NEVER: this frame cannot be placed.
 */
static enum gathered gather(struct virtio_net *net, struct virtqueue *queue, size_t bytes,
			    struct virtq_element **elements, unsigned *count)
{
	unsigned limit = virtio_has(&net->virtio, VIRTIO_NET_F_MRG_RXBUF) ? MERGE_MAX : 1;
	size_t found = 0;

	for (*count = 0; found < bytes && *count < limit; (*count)++) {
		struct virtq_element *element = virtqueue_pop(queue);

		/* Asked for with all that there is taken off the ring: then the doorbell is rung for the very next one.
		 */
		if (!element && virtqueue_kicks_on(queue))
			element = virtqueue_pop(queue);
		if (!element)
			return virtqueue_live(queue) ? NO_ROOM : NEVER;
		elements[*count] = element;
		found += element->in_bytes;
		if (element->in_bytes <= guest_header_bytes(net)) {
			virtio_fault(&net->virtio, "a receive buffer of %zu bytes", element->in_bytes);
			(*count)++;
			return NEVER;
		}
	}
	return found >= bytes ? GATHERED : NEVER;
}

/* Under the queue's lock. False: the back end is to keep the frame. */
static bool place(struct virtio_net *net, struct virtqueue *queue, struct net_header *header, struct source *source,
		  size_t length)
{
	size_t header_bytes = guest_header_bytes(net), left = length;
	struct virtq_element *elements[MERGE_MAX];
	enum gathered gathered;
	unsigned count;

	elements[0] = NULL;
	gathered = gather(net, queue, header_bytes + length, elements, &count);
	if (gathered != GATHERED) {
		put_back(elements, count);
		if (gathered == NEVER)
			log_guest(net->virtio.device.env->log, &net->log_limit,
				  "virtio-net: no receive buffers for a frame of %zu bytes", length);
		return gathered == NEVER;
	}
	header->buffers = (uint16_t)count;
	iov_write(elements[0]->in, elements[0]->in_count, 0, header, header_bytes);
	for (unsigned i = 0; i < count; i++) {
		size_t at = i ? 0 : header_bytes;
		size_t copied = copy_out(source, elements[i], at, min_u64(left, elements[i]->in_bytes - at));

		left -= copied;
		virtqueue_fill(elements[i], at + copied);
	}
	virtqueue_publish(queue);
	virtqueue_kicks_off(queue);
	return true;
}

bool virtio_net_receive(void *opaque, unsigned pair, const struct iovec *iov, int iov_count, size_t length)
{
	struct virtio_net *net = opaque;
	struct virtqueue *queue = virtio_queue(&net->virtio, 2 * pair);
	struct source source = {iov, iov_count, 0};
	struct net_header header = {0};
	uint8_t start[18];
	bool done = true;

	/* Made for what another driver agreed on. */
	if (net->applied_offloads != atomic_load(&net->wanted_offloads) || !queue || pair >= net->applied_pairs)
		return true;
	if (net->backend_header) {
		if (iov_read(iov, (unsigned)iov_count, 0, &header, sizeof(header)) != sizeof(header))
			return true;
		source_skip(&source, sizeof(header));
		length -= sizeof(header);
	}
	if (!(net->applied_offloads & NET_CSUM))
		header.flags = 0;
	if (length > FRAME_MAX ||
	    !virtio_net_filter_accepts(
		    net, start,
		    iov_read(iov, (unsigned)iov_count, net->backend_header ? sizeof(header) : 0, start, sizeof(start))))
		return true;
	if (virtqueue_enter(queue))
		done = place(net, queue, &header, &source, length);
	virtqueue_leave(queue);
	if (done) {
		net->notify_pending |= 1u << pair;
		if (net->end_of_pass.deadline_ns > 0)
			loop_timer_set(&net->end_of_pass, 0);
	}
	return done;
}
