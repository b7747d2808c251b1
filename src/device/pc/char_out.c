/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See char_out.h. */
#include "device/pc/char_out.h"

#include "backend/char/chardev.h"
#include "base/util.h"

#include <sys/eventfd.h>
#include <unistd.h>

enum { LINGER_NS = 1000000, RETRY_NS = 20000000 };

/* Copies the oldest bytes, as many as lie in one piece. */
static size_t peek(struct char_out *out, uint8_t *piece)
{
	size_t length;

	pthread_mutex_lock(&out->lock);
	length = min_u64(out->count, CHAR_OUT_BYTES - out->head);
	memcpy(piece, out->bytes + out->head, length);
	pthread_mutex_unlock(&out->lock);
	return length;
}

/* Returns true when somebody waits for the room. */
static bool drop(struct char_out *out, size_t length)
{
	bool waited;

	pthread_mutex_lock(&out->lock);
	out->head = (out->head + (unsigned)length) % CHAR_OUT_BYTES;
	out->count -= (unsigned)length;
	waited = out->full && length > 0;
	if (length > 0)
		out->full = false;
	pthread_mutex_unlock(&out->lock);
	return waited;
}

/* Returns false when the chardev did not take all. Only ever in one thread: the order of bytes depends on it. */
static bool write_out(struct char_out *out)
{
	uint8_t piece[CHAR_OUT_BYTES];
	size_t length, taken;

	while ((length = peek(out, piece)) > 0) {
		taken = chardev_write(out->chardev, piece, length);
		/* Without a loop this is the thread that put the byte, with its locks: it asks char_out_ready. */
		if (drop(out, taken) && out->drained && out->loop)
			out->drained(out->opaque);
		if (taken < length)
			return false;
	}
	return true;
}

void char_out_flush(struct char_out *out)
{
	bool all = write_out(out);

	if (out->loop)
		loop_timer_set(&out->timer, host_now_ns() + (all ? LINGER_NS : RETRY_NS));
}

static void linger(void *opaque)
{
	struct char_out *out = opaque;
	bool idle;

	pthread_mutex_lock(&out->lock);
	idle = out->count == 0;
	if (idle)
		out->awake = false;
	pthread_mutex_unlock(&out->lock);
	if (!idle)
		char_out_flush(out);
}

static void woken(void *opaque, uint32_t events)
{
	struct char_out *out = opaque;
	uint64_t count;

	if (read(out->wake_fd, &count, sizeof(count)) > 0)
		char_out_flush(out);
}

int char_out_init(struct char_out *out, struct chardev *chardev, struct loop *loop, void (*drained)(void *opaque),
		  void *opaque, struct error *err)
{
	out->chardev = chardev;
	out->loop = chardev ? loop : NULL;
	out->drained = drained;
	out->opaque = opaque;
	out->wake_fd = -1;
	pthread_mutex_init(&out->lock, NULL);
	if (!out->loop)
		return 0;
	out->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (out->wake_fd < 0) {
		pthread_mutex_destroy(&out->lock);
		return error_set_errno(err, errno, "creating an eventfd");
	}
	loop_timer_init(&out->timer, loop, linger, out);
	out->watch = loop_fd_add(loop, out->wake_fd, EPOLLIN, woken, out);
	return 0;
}

void char_out_fini(struct char_out *out)
{
	if (out->chardev)
		write_out(out);
	if (out->loop) {
		loop_fd_remove(out->watch);
		loop_timer_cancel(&out->timer);
		close(out->wake_fd);
	}
	pthread_mutex_destroy(&out->lock);
}

bool char_out_put(struct char_out *out, uint8_t byte)
{
	uint64_t one = 1;
	bool fits, wake;

	if (!out->chardev)
		return true;
	pthread_mutex_lock(&out->lock);
	fits = out->count < CHAR_OUT_BYTES;
	if (fits)
		out->bytes[(out->head + out->count++) % CHAR_OUT_BYTES] = byte;
	else
		out->full = true;
	wake = !out->awake && out->loop;
	out->awake = out->awake || wake;
	pthread_mutex_unlock(&out->lock);
	if (wake && write(out->wake_fd, &one, sizeof(one)) < 0)
		return fits; /* only a full counter fails, and then the loop is awake */
	if (!out->loop)
		write_out(out);
	return fits;
}

bool char_out_ready(struct char_out *out)
{
	bool ready;

	pthread_mutex_lock(&out->lock);
	ready = out->count < CHAR_OUT_BYTES;
	if (!ready)
		out->full = true;
	pthread_mutex_unlock(&out->lock);
	return ready;
}
