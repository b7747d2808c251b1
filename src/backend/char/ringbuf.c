/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The last bytes of output in memory, for the monitor's ringbuf-read; ringbuf-write is input. */
#include "backend/char/drivers.h"

#include "base/util.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE_DEFAULT   (64 * KIB)
#define SIZE_MAX_BYTES (64 * MIB)

struct ringbuf {
	struct chardev chardev;
	pthread_mutex_t lock; /* guards what follows */
	uint8_t *data;
	uint64_t size;               /* a power of two */
	uint64_t produced, consumed; /* bytes since the beginning; produced - consumed <= size */
};

static int ringbuf_open(struct chardev *chardev, struct options *options, struct error *err)
{
	struct ringbuf *ringbuf = (struct ringbuf *)chardev;

	ringbuf->size = SIZE_DEFAULT;
	if (options_size(options, "size", &ringbuf->size, 1, err))
		return -EINVAL;
	if (!is_power_of_two(ringbuf->size) || ringbuf->size > SIZE_MAX_BYTES)
		return error_set(err, EINVAL, "size=%llu: a power of two up to 64M is needed",
				 (unsigned long long)ringbuf->size);
	ringbuf->data = malloc(ringbuf->size);
	if (!ringbuf->data)
		return error_set_errno(err, ENOMEM, "a ring buffer of %llu bytes", (unsigned long long)ringbuf->size);
	pthread_mutex_init(&ringbuf->lock, NULL);
	atomic_store(&chardev->connected, true);
	return 0;
}

static void ringbuf_close(struct chardev *chardev)
{
	struct ringbuf *ringbuf = (struct ringbuf *)chardev;

	pthread_mutex_destroy(&ringbuf->lock);
	free(ringbuf->data);
}

static size_t ringbuf_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	struct ringbuf *ringbuf = (struct ringbuf *)chardev;
	size_t skip = length > ringbuf->size ? length - ringbuf->size : 0;

	pthread_mutex_lock(&ringbuf->lock);
	ringbuf->produced += skip;
	for (size_t i = skip; i < length; i++)
		ringbuf->data[ringbuf->produced++ & (ringbuf->size - 1)] = data[i];
	if (ringbuf->produced - ringbuf->consumed > ringbuf->size)
		ringbuf->consumed = ringbuf->produced - ringbuf->size;
	pthread_mutex_unlock(&ringbuf->lock);
	return length;
}

static struct ringbuf *as_ringbuf(struct chardev *chardev)
{
	return chardev->driver->write == ringbuf_write ? (struct ringbuf *)chardev : NULL;
}

int64_t chardev_ringbuf_read(struct chardev *chardev, uint8_t *data, size_t size)
{
	struct ringbuf *ringbuf = as_ringbuf(chardev);
	size_t done = 0;

	if (!ringbuf)
		return -EINVAL;
	pthread_mutex_lock(&ringbuf->lock);
	while (done < size && ringbuf->consumed < ringbuf->produced)
		data[done++] = ringbuf->data[ringbuf->consumed++ & (ringbuf->size - 1)];
	pthread_mutex_unlock(&ringbuf->lock);
	return (int64_t)done;
}

int64_t chardev_ringbuf_write(struct chardev *chardev, const uint8_t *data, size_t length)
{
	const struct chardev_front *front = &chardev->front;
	size_t done = 0;

	if (!as_ringbuf(chardev))
		return -EINVAL;
	while (done < length && front->can_receive && front->receive) {
		size_t room = front->can_receive(front->opaque);
		size_t run = length - done < room ? length - done : room;

		if (!run)
			break;
		front->receive(front->opaque, data + done, run);
		done += run;
	}
	return (int64_t)done;
}

static void ringbuf_describe(struct chardev *chardev, char *text, size_t size)
{
	snprintf(text, size, "ringbuf,size=%llu", (unsigned long long)((struct ringbuf *)chardev)->size);
}

static const char *const ringbuf_known[] = {"size", NULL};

const struct chardev_driver ringbuf_driver = {
	.name = "ringbuf",
	.help = "keeps the last size= bytes of output in memory",
	.size = sizeof(struct ringbuf),
	.known = ringbuf_known,
	.open = ringbuf_open,
	.close = ringbuf_close,
	.write = ringbuf_write,
	.describe = ringbuf_describe,
};

const struct chardev_driver memory_driver = {
	.name = "memory",
	.help = "ringbuf's old name",
	.size = sizeof(struct ringbuf),
	.known = ringbuf_known,
	.open = ringbuf_open,
	.close = ringbuf_close,
	.write = ringbuf_write,
	.describe = ringbuf_describe,
};
