/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio entropy device (virtio 1.2, 5.4): fills the driver's buffers from the host's getrandom, or from the file of
 * an -object rng-random. max-bytes and period bound how much a guest takes; what goes beyond waits for the next period.
 */
#include "base/loop.h"
#include "base/util.h"
#include "core/object.h"
#include "device/virtio/virtio.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum { QUEUE_SIZE = 8, FILL_MAX = 64 * 1024 /* bytes of one buffer that one pass fills: a driver asks again */ };

struct virtio_rng {
	struct virtio_device virtio;
	struct object *rng;
	uint64_t max_bytes;
	uint32_t period_ms;

	int fd; /* -1: getrandom */
	struct virtqueue *queue;
	/* Main loop's thread. */
	uint64_t quota;
	struct loop_timer period;
};

static struct virtio_rng *from_virtio(struct virtio_device *device)
{
	return container_of(device, struct virtio_rng, virtio);
}

static ssize_t draw(const struct virtio_rng *rng, void *to, size_t bytes)
{
	return rng->fd < 0 ? getrandom(to, bytes, GRND_NONBLOCK) : read(rng->fd, to, bytes);
}

/* Bytes filled; 0 when the source has nothing now. */
static size_t fill(const struct virtio_rng *rng, const struct virtq_element *element, size_t limit)
{
	size_t done = 0;

	for (unsigned i = 0; i < element->in_count && done < limit; i++) {
		size_t bytes = min_u64(element->in[i].iov_len, limit - done);
		ssize_t got = draw(rng, element->in[i].iov_base, bytes);

		if (got > 0)
			done += (size_t)got;
		if (got < (ssize_t)bytes)
			break;
	}
	return done;
}

/* The quota fills up again one period after it was first drawn on. */
static void start_period(struct virtio_rng *rng)
{
	if (rng->period.deadline_ns == INT64_MAX)
		loop_timer_set(&rng->period, host_now_ns() + rng->period_ms * NS_PER_MS);
}

static void on_period(void *opaque)
{
	struct virtio_rng *rng = opaque;

	rng->quota = rng->max_bytes;
	virtqueue_schedule(rng->queue);
}

static void handle(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_rng *rng = from_virtio(device);
	struct virtq_element *element;

	do {
		virtqueue_kicks_off(queue);
		while (rng->quota && (element = virtqueue_pop(queue))) {
			size_t done;

			if (element->in_bytes == 0) {
				virtio_fault(device, "a request without a buffer to fill");
				virtqueue_drop(element);
				return;
			}
			done = fill(rng, element, min_u64(rng->quota, FILL_MAX));
			if (rng->max_bytes != UINT64_MAX || done == 0)
				start_period(rng);
			if (done == 0) {
				virtqueue_unpop(element);
				goto out;
			}
			if (rng->max_bytes != UINT64_MAX)
				rng->quota -= done;
			virtqueue_push(element, done);
		}
	} while (rng->quota && virtqueue_kicks_on(queue));
out:
	virtqueue_notify(queue);
}

static int open_source(struct virtio_rng *rng, struct error *err)
{
	const char *filename;

	rng->fd = -1;
	if (!rng->rng || object_is(rng->rng, OBJECT_RNG_BUILTIN))
		return 0;
	if (!object_is(rng->rng, OBJECT_RNG_RANDOM))
		return error_set(err, EINVAL, "rng=%s: that object is a %s, not a %s or %s", rng->rng->id, rng->rng->type,
		                 OBJECT_RNG_RANDOM, OBJECT_RNG_BUILTIN);
	filename = ((struct object_rng *)rng->rng)->filename;
	rng->fd = open(filename ? filename : "/dev/urandom", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (rng->fd < 0)
		return error_set_errno(err, errno, "opening %s", filename ? filename : "/dev/urandom");
	return 0;
}

static int init(struct virtio_device *device, struct error *err)
{
	struct virtio_rng *rng = from_virtio(device);
	int rc;

	if (rng->max_bytes == 0 || rng->period_ms == 0)
		return error_set(err, EINVAL, "%s=0: at least 1 is needed", rng->max_bytes ? "period" : "max-bytes");
	rc = open_source(rng, err);
	if (rc < 0)
		return rc;
	rng->quota = rng->max_bytes;
	loop_timer_init(&rng->period, device->device.env->loop, on_period, rng);
	rng->queue = virtio_queue_add(device, QUEUE_SIZE, 0, NULL, handle);
	return 0;
}

static void fini(struct virtio_device *device)
{
	struct virtio_rng *rng = from_virtio(device);

	loop_timer_cancel(&rng->period);
	if (rng->fd >= 0)
		close(rng->fd);
}

static const struct virtio_class model = {
        .name = "virtio-rng",
        .id = VIRTIO_ID_RNG,
        .init = init,
        .fini = fini,
};

static const struct state_field fields[] = {STATE_SUB(virtio_device_state, struct virtio_rng, virtio, 1), STATE_END};
static const struct state_table state = {
        .name = "virtio-rng", .version = 1, .size = sizeof(struct virtio_rng), .fields = fields};

static const struct property properties[] = {
        {.name = "rng", .type = PROPERTY_OBJECT, .offset = offsetof(struct virtio_rng, rng),
         .help = "id of an -object rng-random or rng-builtin; default: the host's getrandom"},
        {.name = "max-bytes", .type = PROPERTY_U64, .offset = offsetof(struct virtio_rng, max_bytes),
         .fallback = "18446744073709551615", .help = "bytes that the guest may take in a period"},
        {.name = "period", .type = PROPERTY_U32, .offset = offsetof(struct virtio_rng, period_ms), .fallback = "65536",
         .help = "length of a period, ms"},
        VIRTIO_PCI_PROPERTIES(struct virtio_rng),
        {.name = NULL},
};

VIRTIO_PCI_CLASSES(virtio_rng, "virtio-rng", "virtio entropy source", struct virtio_rng, properties, &state, &model,
                   0x00ff00);
