/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of the virtio block device (virtio 1.2, 5.2.6): read, write, flush, discard, write zeroes, identification. Data
 * goes between guest memory and the back end without a copy.
 *
 * With werror=stop or rerror=stop a request that failed stays with us while the machine stands still, and is tried again
 * when its clock runs on.
 */
#include "device/virtio/virtio_blk.h"

#include "backend/block/attach.h"
#include "base/util.h"
#include "core/clock.h"

enum { BLK_T_IN = 0, BLK_T_OUT = 1, BLK_T_FLUSH = 4, BLK_T_GET_ID = 8, BLK_T_DISCARD = 11, BLK_T_WRITE_ZEROES = 13 };
enum { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };

enum {
	HEADER_BYTES = 16,
	RANGE_BYTES = 16, /* one range of discard and write zeroes */
	RANGE_UNMAP = 1,
};

#define RETRY_INTERVAL_NS (50 * NS_PER_MS)
#define RETRY_PATIENCE_NS (1 * NS_PER_S) /* for a machine that does not stop when asked */

/* --- completion --- */

/* The status is the last byte of what the device writes. With the queue's lock held. */
static void finish(struct blk_request *request, uint8_t status)
{
	*request->status = status;
	virtqueue_push(request, request->element.in_bytes);
}

static enum on_error policy(const struct blk_request *request, int error)
{
	const struct virtio_blk *blk = request->blk;
	enum on_error what = request->io.op == BLOCK_READ ? blk->on_read_error : blk->on_write_error;

	if (what == ON_ERROR_ENOSPC)
		what = error == -ENOSPC ? ON_ERROR_STOP : ON_ERROR_REPORT;
	return what;
}

/* Under the queue's lock, so that a reset either finds the request or has made it an old one. */
static bool stall(struct blk_request *request)
{
	struct blk_lane *lane = request->lane;
	const struct device_env *env = request->blk->virtio.device.env;
	bool first = false, keep;

	virtqueue_enter(request->element.queue);
	keep = virtqueue_current(request);
	if (keep) {
		pthread_mutex_lock(&lane->stalled_lock);
		first = !lane->stalled;
		request->next_stalled = lane->stalled;
		lane->stalled = request;
		pthread_mutex_unlock(&lane->stalled_lock);
	}
	virtqueue_leave(request->element.queue);
	if (!first)
		return keep;
	lane->stalled_since_ns = host_now_ns();
	lane->seen_stopped = false;
	loop_timer_set(&lane->retry, lane->stalled_since_ns + RETRY_INTERVAL_NS);
	if (env->request)
		env->request(env->request_opaque, MACHINE_IO_ERROR, 0);
	return true;
}

/* Everybody who listens hears of it before the machine stops. */
static enum on_error failed(struct blk_request *request, int result)
{
	static const enum block_error_action actions[] = {[ON_ERROR_REPORT] = BLOCK_ERROR_REPORT,
	                                                  [ON_ERROR_IGNORE] = BLOCK_ERROR_IGNORE,
	                                                  [ON_ERROR_STOP] = BLOCK_ERROR_STOP};
	enum on_error what = policy(request, result);
	const struct block_failure failure = {.op = request->io.op, .action = actions[what], .error = -result};

	block_io_failed(request->blk->block, &failure);
	return what;
}

static void done(struct block_request *io, int result)
{
	struct blk_request *request = container_of(io, struct blk_request, io);
	struct virtqueue *queue = request->element.queue;
	enum on_error what = result < 0 ? failed(request, result) : ON_ERROR_IGNORE;

	if (what == ON_ERROR_STOP && stall(request))
		return;
	virtqueue_enter(queue);
	finish(request, what == ON_ERROR_IGNORE ? BLK_S_OK : BLK_S_IOERR);
	virtqueue_notify(queue);
	virtqueue_leave(queue);
}

static struct blk_request *take_stalled(struct blk_lane *lane)
{
	struct blk_request *list;

	pthread_mutex_lock(&lane->stalled_lock);
	list = lane->stalled;
	lane->stalled = NULL;
	pthread_mutex_unlock(&lane->stalled_lock);
	return list;
}

void virtio_blk_retry(void *opaque)
{
	struct blk_lane *lane = opaque;
	bool running = clock_running(lane->blk->virtio.device.env->clock);
	struct blk_request *request;

	if (!running)
		lane->seen_stopped = true;
	if (!running || (!lane->seen_stopped && host_now_ns() - lane->stalled_since_ns < RETRY_PATIENCE_NS)) {
		loop_timer_set(&lane->retry, host_now_ns() + RETRY_INTERVAL_NS);
		return;
	}
	request = take_stalled(lane);
	while (request) {
		struct blk_request *next = request->next_stalled;

		block_submit(lane->queue, &request->io);
		request = next;
	}
	block_queue_kick(lane->queue);
}

/* --- requests --- */

static bool range_ok(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
{
	return sector <= UINT64_MAX / BLK_SECTOR_BYTES && bytes % blk->logical_block_size == 0 &&
	       sector * BLK_SECTOR_BYTES % blk->logical_block_size == 0 &&
	       range_inside(sector * BLK_SECTOR_BYTES, bytes, blk->block->length);
}

static void submit(struct blk_request *request, enum block_op op, uint64_t sector, uint64_t bytes, uint32_t flags)
{
	request->io.op = op;
	request->io.flags = flags;
	request->io.offset = sector * BLK_SECTOR_BYTES;
	request->io.length = bytes;
	request->io.done = done;
	block_submit(request->lane->queue, &request->io);
}

/* Without a write cache what the guest wrote is durable when it is told so, zeroes as well. */
static uint32_t durable(const struct virtio_blk *blk)
{
	return __atomic_load_n(&blk->write_through, __ATOMIC_RELAXED) ? BLOCK_FUA : 0;
}

static void transfer(struct blk_request *request, bool write, uint64_t sector)
{
	struct virtq_element *element = &request->element;
	struct virtio_blk *blk = request->blk;
	struct iovec *iov = write ? element->out : element->in;
	unsigned count = write ? element->out_count : element->in_count;
	uint64_t bytes = iov_bytes(iov, count);

	if (!range_ok(blk, sector, bytes) || (write && blk->block->read_only)) {
		finish(request, BLK_S_IOERR);
		return;
	}
	if (bytes == 0) {
		finish(request, BLK_S_OK);
		return;
	}
	request->io.iov = iov;
	request->io.iov_count = (int)count;
	submit(request, write ? BLOCK_WRITE : BLOCK_READ, sector, bytes, write ? durable(blk) : 0);
}

static void identify(struct blk_request *request)
{
	const struct virtio_blk *blk = request->blk;
	char id[BLK_ID_BYTES] = {0};

	if (blk->serial)
		memcpy(id, blk->serial, min_u64(strlen(blk->serial), sizeof(id)));
	iov_write(request->element.in, request->element.in_count, 0, id, sizeof(id));
	finish(request, BLK_S_OK);
}

/* One range, as max_discard_seg and max_write_zeroes_seg say. */
static void discard_or_zero(struct blk_request *request, bool zero)
{
	const struct virtq_element *element = &request->element;
	struct virtio_blk *blk = request->blk;
	uint8_t range[RANGE_BYTES];
	uint64_t sector, bytes;
	uint32_t sectors, flags;

	if (!virtio_has(&blk->virtio, zero ? BLK_F_WRITE_ZEROES : BLK_F_DISCARD) ||
	    iov_bytes(element->out, element->out_count) != RANGE_BYTES) {
		finish(request, BLK_S_UNSUPP);
		return;
	}
	iov_read(element->out, element->out_count, 0, range, sizeof(range));
	sector = load_le64(range);
	sectors = load_le32(range + 8);
	flags = load_le32(range + 12);
	bytes = (uint64_t)sectors * BLK_SECTOR_BYTES;
	if ((flags & ~(uint32_t)RANGE_UNMAP) || (!zero && flags)) {
		finish(request, BLK_S_UNSUPP);
		return;
	}
	if (sectors > BLK_RANGE_SECTORS_MAX || !range_ok(blk, sector, bytes) || blk->block->read_only) {
		finish(request, BLK_S_IOERR);
		return;
	}
	if (bytes == 0) {
		finish(request, BLK_S_OK);
		return;
	}
	if (zero)
		submit(request, BLOCK_WRITE_ZEROES, sector, bytes,
		       durable(blk) | (flags & RANGE_UNMAP ? BLOCK_MAY_UNMAP : 0));
	else
		submit(request, BLOCK_DISCARD, sector, bytes, 0);
}

static void dispatch(struct blk_request *request, uint32_t type, uint64_t sector)
{
	switch (type) {
	case BLK_T_IN:
		transfer(request, false, sector);
		break;
	case BLK_T_OUT:
		transfer(request, true, sector);
		break;
	case BLK_T_FLUSH:
		submit(request, BLOCK_FLUSH, 0, 0, 0);
		break;
	case BLK_T_GET_ID:
		identify(request);
		break;
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES:
		discard_or_zero(request, type == BLK_T_WRITE_ZEROES);
		break;
	default:
		finish(request, BLK_S_UNSUPP);
		break;
	}
}

/* Header and status may be cut into buffers in any way (VIRTIO_F_ANY_LAYOUT is implied by 1.0). */
static void handle(struct blk_lane *lane, struct blk_request *request)
{
	struct virtio_blk *blk = lane->blk;
	struct virtq_element *element = &request->element;
	uint8_t header[HEADER_BYTES];
	struct iovec *last;

	if (element->in_bytes < 1 || element->out_bytes < HEADER_BYTES) {
		virtio_fault(&blk->virtio, "a request without header or status");
		virtqueue_drop(request);
		return;
	}
	request->blk = blk;
	request->lane = lane;
	iov_read(element->out, element->out_count, 0, header, sizeof(header));
	iov_skip(&element->out, &element->out_count, sizeof(header));
	last = &element->in[element->in_count - 1];
	request->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	iov_trim(element->in, &element->in_count, 1);
	dispatch(request, load_le32(header), load_le64(header + 8));
}

void virtio_blk_handle_queue(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_blk *blk = container_of(device, struct virtio_blk, virtio);
	struct blk_lane *lane = &blk->lanes[virtqueue_index(queue) % blk->lane_count];
	struct blk_request *request;

	do {
		virtqueue_kicks_off(queue);
		while ((request = virtqueue_pop(queue)))
			handle(lane, request);
	} while (virtqueue_kicks_on(queue));
	block_queue_kick(lane->queue);
	virtqueue_notify(queue);
}

/* --- requests that wait for the machine to go on --- */

static void drop_stalled(struct blk_lane *lane, struct virtqueue *only)
{
	struct blk_request *request = take_stalled(lane);

	while (request) {
		struct blk_request *next = request->next_stalled;
		struct virtqueue *queue = request->element.queue;

		if (!only || queue == only) {
			virtqueue_enter(queue);
			virtqueue_drop(request);
			virtqueue_leave(queue);
		} else {
			pthread_mutex_lock(&lane->stalled_lock);
			request->next_stalled = lane->stalled;
			lane->stalled = request;
			pthread_mutex_unlock(&lane->stalled_lock);
		}
		request = next;
	}
}

void virtio_blk_drop_stalled(struct virtio_blk *blk, struct virtqueue *queue)
{
	for (unsigned i = 0; i < blk->lane_count; i++)
		drop_stalled(&blk->lanes[i], queue);
}

static void fail_stalled(struct blk_lane *lane)
{
	struct blk_request *request = take_stalled(lane);

	while (request) {
		struct blk_request *next = request->next_stalled;
		struct virtqueue *queue = request->element.queue;

		virtqueue_enter(queue);
		finish(request, BLK_S_IOERR);
		virtqueue_notify(queue);
		virtqueue_leave(queue);
		request = next;
	}
}

void virtio_blk_fail_stalled(struct virtio_blk *blk)
{
	for (unsigned i = 0; i < blk->lane_count; i++)
		fail_stalled(&blk->lanes[i]);
}
