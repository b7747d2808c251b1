/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio block device (virtio 1.2, 5.2): read, write, flush, discard, write zeroes, device identification, write
 * cache toggle, several queues. All queues run in one loop (the main one or that of iothread=) and share one submission
 * queue of the block layer. Data goes between guest memory and the back end without a copy. Left out: secure erase,
 * lifetime, zoned devices, SCSI pass-through.
 *
 * With werror=stop or rerror=stop a request that failed stays with us while the machine stands still, and is tried again
 * when its clock runs on.
 */
#include "backend/block/block.h"
#include "base/loop.h"
#include "base/util.h"
#include "core/clock.h"
#include "core/object.h"
#include "device/virtio/virtio.h"

#include <stdlib.h>

enum {
	BLK_F_SEG_MAX = 2,
	BLK_F_GEOMETRY = 4,
	BLK_F_RO = 5,
	BLK_F_BLK_SIZE = 6,
	BLK_F_FLUSH = 9,
	BLK_F_TOPOLOGY = 10,
	BLK_F_CONFIG_WCE = 11,
	BLK_F_MQ = 12,
	BLK_F_DISCARD = 13,
	BLK_F_WRITE_ZEROES = 14,
};

enum { BLK_T_IN = 0, BLK_T_OUT = 1, BLK_T_FLUSH = 4, BLK_T_GET_ID = 8, BLK_T_DISCARD = 11, BLK_T_WRITE_ZEROES = 13 };
enum { BLK_S_OK = 0, BLK_S_IOERR = 1, BLK_S_UNSUPP = 2 };

enum {
	SECTOR_BYTES = 512,
	HEADER_BYTES = 16,
	RANGE_BYTES = 16, /* one range of discard and write zeroes */
	RANGE_UNMAP = 1,
	ID_BYTES = 20,
	/* Offsets in the configuration space (5.2.4). */
	CONFIG_CAPACITY = 0,
	CONFIG_SEG_MAX = 12,
	CONFIG_CYLINDERS = 16,
	CONFIG_HEADS = 18,
	CONFIG_SECTORS = 19,
	CONFIG_BLK_SIZE = 20,
	CONFIG_PHYSICAL_EXP = 24,
	CONFIG_MIN_IO = 26,
	CONFIG_OPT_IO = 28,
	CONFIG_WRITEBACK = 32,
	CONFIG_NUM_QUEUES = 34,
	CONFIG_DISCARD_SECTORS = 36,
	CONFIG_DISCARD_SEG = 40,
	CONFIG_DISCARD_ALIGN = 44,
	CONFIG_ZEROES_SECTORS = 48,
	CONFIG_ZEROES_SEG = 52,
	CONFIG_ZEROES_UNMAP = 56,
	CONFIG_BYTES = 60,
};

#define RANGE_SECTORS_MAX  ((1u << 31) / SECTOR_BYTES)
#define RETRY_INTERVAL_NS  (50 * NS_PER_MS)
#define RETRY_PATIENCE_NS  (1 * NS_PER_S) /* for a machine that does not stop when asked */

enum on_error { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_STOP, ON_ERROR_ENOSPC };

struct virtio_blk {
	struct virtio_device virtio;
	/* properties */
	struct block *block;
	struct object *iothread;
	char *serial, *werror, *rerror;
	uint16_t num_queues, queue_size;
	uint32_t logical_block_size, physical_block_size, min_io_size, opt_io_size;
	bool discard, write_zeroes, config_wce, share_rw;
	int write_cache;

	enum on_error on_write_error, on_read_error;
	struct loop *loop;
	struct block_queue *queue;
	bool writeback;            /* atomic: what the configuration space says */
	bool write_through;        /* atomic: what follows from it and the features */
	/* Requests that wait for the machine to go on; only the loop's thread looks at them, or the main loop's with the
	 * machine stopped and nothing in flight. */
	pthread_mutex_t stalled_lock;
	struct blk_request *stalled;
	struct loop_timer retry;
	int64_t stalled_since_ns;
	bool seen_stopped;
};

struct blk_request {
	struct virtq_element element;
	struct block_request io;
	struct virtio_blk *blk;
	uint8_t *status;
	struct blk_request *next_stalled;
};

static struct virtio_blk *from_virtio(struct virtio_device *device)
{
	return container_of(device, struct virtio_blk, virtio);
}

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
	struct virtio_blk *blk = request->blk;
	const struct device_env *env = blk->virtio.device.env;
	bool first = false, keep;

	virtqueue_enter(request->element.queue);
	keep = virtqueue_current(request);
	if (keep) {
		pthread_mutex_lock(&blk->stalled_lock);
		first = !blk->stalled;
		request->next_stalled = blk->stalled;
		blk->stalled = request;
		pthread_mutex_unlock(&blk->stalled_lock);
	}
	virtqueue_leave(request->element.queue);
	if (!first)
		return keep;
	blk->stalled_since_ns = host_now_ns();
	blk->seen_stopped = false;
	loop_timer_set(&blk->retry, blk->stalled_since_ns + RETRY_INTERVAL_NS);
	if (env->request)
		env->request(env->request_opaque, MACHINE_IO_ERROR, 0);
	return true;
}

static void done(struct block_request *io, int result)
{
	struct blk_request *request = container_of(io, struct blk_request, io);
	struct virtqueue *queue = request->element.queue;
	enum on_error what = result < 0 ? policy(request, result) : ON_ERROR_IGNORE;

	if (what == ON_ERROR_STOP && stall(request))
		return;
	virtqueue_enter(queue);
	finish(request, what == ON_ERROR_IGNORE ? BLK_S_OK : BLK_S_IOERR);
	virtqueue_notify(queue);
	virtqueue_leave(queue);
}

static struct blk_request *take_stalled(struct virtio_blk *blk)
{
	struct blk_request *list;

	pthread_mutex_lock(&blk->stalled_lock);
	list = blk->stalled;
	blk->stalled = NULL;
	pthread_mutex_unlock(&blk->stalled_lock);
	return list;
}

static void on_retry(void *opaque)
{
	struct virtio_blk *blk = opaque;
	bool running = clock_running(blk->virtio.device.env->clock);
	struct blk_request *request;

	if (!running)
		blk->seen_stopped = true;
	if (!running || (!blk->seen_stopped && host_now_ns() - blk->stalled_since_ns < RETRY_PATIENCE_NS)) {
		loop_timer_set(&blk->retry, host_now_ns() + RETRY_INTERVAL_NS);
		return;
	}
	request = take_stalled(blk);
	while (request) {
		struct blk_request *next = request->next_stalled;

		block_submit(blk->queue, &request->io);
		request = next;
	}
	block_queue_kick(blk->queue);
}

/* --- requests --- */

static bool range_ok(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes)
{
	return sector <= UINT64_MAX / SECTOR_BYTES && bytes % blk->logical_block_size == 0 &&
	       sector * SECTOR_BYTES % blk->logical_block_size == 0 &&
	       range_inside(sector * SECTOR_BYTES, bytes, blk->block->length);
}

static void submit(struct blk_request *request, enum block_op op, uint64_t sector, uint64_t bytes, uint32_t flags)
{
	request->io.op = op;
	request->io.flags = flags;
	request->io.offset = sector * SECTOR_BYTES;
	request->io.length = bytes;
	request->io.done = done;
	block_submit(request->blk->queue, &request->io);
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
	submit(request, write ? BLOCK_WRITE : BLOCK_READ, sector, bytes,
	       write && __atomic_load_n(&blk->write_through, __ATOMIC_RELAXED) ? BLOCK_FUA : 0);
}

static void identify(struct blk_request *request)
{
	const struct virtio_blk *blk = request->blk;
	char id[ID_BYTES] = {0};

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
	bytes = (uint64_t)sectors * SECTOR_BYTES;
	if ((flags & ~(uint32_t)RANGE_UNMAP) || (!zero && flags)) {
		finish(request, BLK_S_UNSUPP);
		return;
	}
	if (sectors > RANGE_SECTORS_MAX || !range_ok(blk, sector, bytes) || blk->block->read_only) {
		finish(request, BLK_S_IOERR);
		return;
	}
	if (bytes == 0) {
		finish(request, BLK_S_OK);
		return;
	}
	submit(request, zero ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, sector, bytes,
	       zero && (flags & RANGE_UNMAP) ? BLOCK_MAY_UNMAP : 0);
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
static void handle(struct virtio_blk *blk, struct blk_request *request)
{
	struct virtq_element *element = &request->element;
	uint8_t header[HEADER_BYTES];
	struct iovec *last;

	if (element->in_bytes < 1 || element->out_bytes < HEADER_BYTES) {
		virtio_fault(&blk->virtio, "a request without header or status");
		virtqueue_drop(request);
		return;
	}
	request->blk = blk;
	iov_read(element->out, element->out_count, 0, header, sizeof(header));
	iov_skip(&element->out, &element->out_count, sizeof(header));
	last = &element->in[element->in_count - 1];
	request->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	iov_trim(element->in, &element->in_count, 1);
	dispatch(request, load_le32(header), load_le64(header + 8));
}

static void handle_queue(struct virtio_device *device, struct virtqueue *queue)
{
	struct virtio_blk *blk = from_virtio(device);
	struct blk_request *request;

	do {
		virtqueue_kicks_off(queue);
		while ((request = virtqueue_pop(queue)))
			handle(blk, request);
	} while (virtqueue_kicks_on(queue));
	block_queue_kick(blk->queue);
	virtqueue_notify(queue);
}

/* --- configuration space --- */

static void config_read(struct virtio_device *device, uint8_t *config)
{
	struct virtio_blk *blk = from_virtio(device);
	uint64_t sectors = blk->block->length / SECTOR_BYTES;
	uint64_t cylinders = min_u64(sectors / (16 * 63), 16383);
	uint32_t align_sectors = blk->logical_block_size / SECTOR_BYTES;

	store_le64(config + CONFIG_CAPACITY, sectors);
	store_le32(config + CONFIG_SEG_MAX, blk->queue_size - 2u);
	store_le16(config + CONFIG_CYLINDERS, (uint16_t)cylinders);
	config[CONFIG_HEADS] = 16;
	config[CONFIG_SECTORS] = 63;
	store_le32(config + CONFIG_BLK_SIZE, blk->logical_block_size);
	config[CONFIG_PHYSICAL_EXP] = (uint8_t)__builtin_ctz(blk->physical_block_size / blk->logical_block_size);
	store_le16(config + CONFIG_MIN_IO, (uint16_t)(blk->min_io_size / blk->logical_block_size));
	store_le32(config + CONFIG_OPT_IO, blk->opt_io_size / blk->logical_block_size);
	config[CONFIG_WRITEBACK] = __atomic_load_n(&blk->writeback, __ATOMIC_RELAXED);
	store_le16(config + CONFIG_NUM_QUEUES, blk->num_queues);
	store_le32(config + CONFIG_DISCARD_SECTORS, RANGE_SECTORS_MAX);
	store_le32(config + CONFIG_DISCARD_SEG, 1);
	store_le32(config + CONFIG_DISCARD_ALIGN, align_sectors);
	store_le32(config + CONFIG_ZEROES_SECTORS, RANGE_SECTORS_MAX);
	store_le32(config + CONFIG_ZEROES_SEG, 1);
	config[CONFIG_ZEROES_UNMAP] = 1;
}

/* 5.2.5.2: without CONFIG_WCE the cache is what a driver that can flush expects. */
static void cache_update(struct virtio_blk *blk)
{
	bool writeback = virtio_has(&blk->virtio, BLK_F_CONFIG_WCE) ? blk->writeback
	                                                            : virtio_has(&blk->virtio, BLK_F_FLUSH) &&
	                                                                      blk->write_cache != 0;

	__atomic_store_n(&blk->write_through, !writeback, __ATOMIC_RELAXED);
}

static void config_write(struct virtio_device *device, const uint8_t *config, unsigned offset, unsigned size)
{
	struct virtio_blk *blk = from_virtio(device);

	if (!virtio_has(device, BLK_F_CONFIG_WCE) || offset > CONFIG_WRITEBACK || offset + size <= CONFIG_WRITEBACK)
		return;
	__atomic_store_n(&blk->writeback, config[CONFIG_WRITEBACK] != 0, __ATOMIC_RELAXED);
	cache_update(blk);
}

static bool features_set(struct virtio_device *device, uint64_t features)
{
	struct virtio_blk *blk = from_virtio(device);

	if (features == 0)
		blk->writeback = blk->write_cache != 0;
	cache_update(blk);
	return true;
}

/* --- life --- */

static void drain_in_loop(void *opaque)
{
	block_queue_drain(((struct virtio_blk *)opaque)->queue);
}

static void drain(struct virtio_device *device)
{
	struct virtio_blk *blk = from_virtio(device);

	if (blk->loop == device->device.env->loop)
		drain_in_loop(blk);
	else
		loop_call(blk->loop, drain_in_loop, blk);
}

static void drop_stalled(struct virtio_device *device)
{
	struct blk_request *request = take_stalled(from_virtio(device));

	while (request) {
		struct blk_request *next = request->next_stalled;
		struct virtqueue *queue = request->element.queue;

		virtqueue_enter(queue);
		virtqueue_drop(request);
		virtqueue_leave(queue);
		request = next;
	}
}

static void one_queue_reset(struct virtio_device *device, struct virtqueue *queue)
{
	/* The others' stalled requests are tried again a little early. */
	struct virtio_blk *blk = from_virtio(device);
	struct blk_request *request = take_stalled(blk);

	while (request) {
		struct blk_request *next = request->next_stalled;

		if (request->element.queue == queue) {
			virtqueue_enter(queue);
			virtqueue_drop(request);
			virtqueue_leave(queue);
		} else {
			pthread_mutex_lock(&blk->stalled_lock);
			request->next_stalled = blk->stalled;
			blk->stalled = request;
			pthread_mutex_unlock(&blk->stalled_lock);
		}
		request = next;
	}
}

static int parse_policy(const char *name, const char *text, enum on_error fallback, enum on_error *policy_out,
                        struct error *err)
{
	static const char *const names[] = {"report", "ignore", "stop", "enospc"};

	*policy_out = fallback;
	if (!text || !*text || !strcmp(text, "auto"))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(text, names[i])) {
			*policy_out = (enum on_error)i;
			return 0;
		}
	}
	return error_set(err, EINVAL, "%s=%s: not one of report, ignore, stop, enospc, auto", name, text);
}

static int check_sizes(struct virtio_blk *blk, struct error *err)
{
	if (!is_power_of_two(blk->logical_block_size) || blk->logical_block_size < 512 ||
	    blk->logical_block_size > 2 * MIB)
		return error_set(err, EINVAL, "logical_block_size=%u: not a power of two from 512 to 2M",
		                 blk->logical_block_size);
	if (!is_power_of_two(blk->physical_block_size) || blk->physical_block_size < blk->logical_block_size ||
	    blk->physical_block_size > 2 * MIB)
		return error_set(err, EINVAL, "physical_block_size=%u: not a power of two from logical_block_size to 2M",
		                 blk->physical_block_size);
	if (blk->min_io_size % blk->logical_block_size || blk->min_io_size / blk->logical_block_size > UINT16_MAX)
		return error_set(err, EINVAL, "min_io_size=%u: not a multiple of logical_block_size up to 65535 of them",
		                 blk->min_io_size);
	if (blk->opt_io_size % blk->logical_block_size)
		return error_set(err, EINVAL, "opt_io_size=%u: not a multiple of logical_block_size", blk->opt_io_size);
	if (!is_power_of_two(blk->queue_size) || blk->queue_size < 4 || blk->queue_size > VIRTIO_QUEUE_SIZE_MAX)
		return error_set(err, EINVAL, "queue-size=%u: not a power of two from 4 to %u", blk->queue_size,
		                 VIRTIO_QUEUE_SIZE_MAX);
	if (blk->num_queues == 0 || blk->num_queues >= VIRTIO_QUEUES_MAX)
		return error_set(err, EINVAL, "num-queues=%u: not from 1 to %u", blk->num_queues, VIRTIO_QUEUES_MAX - 1);
	if (blk->serial && strlen(blk->serial) > ID_BYTES)
		return error_set(err, EINVAL, "serial=%s: longer than %u characters", blk->serial, ID_BYTES);
	return 0;
}

static int check_properties(struct virtio_blk *blk, struct error *err)
{
	int rc;

	if (!blk->block)
		return error_set(err, EINVAL, "it needs drive=ID of a -drive or -blockdev");
	if (blk->iothread && !object_is(blk->iothread, OBJECT_IOTHREAD))
		return error_set(err, EINVAL, "iothread=%s: that object is a %s", blk->iothread->id, blk->iothread->type);
	rc = parse_policy("werror", blk->werror, ON_ERROR_ENOSPC, &blk->on_write_error, err);
	if (rc == 0)
		rc = parse_policy("rerror", blk->rerror, ON_ERROR_REPORT, &blk->on_read_error, err);
	if (rc == 0 && blk->on_read_error == ON_ERROR_ENOSPC)
		rc = error_set(err, EINVAL, "rerror=enospc: reading needs no space; report, ignore or stop");
	return rc < 0 ? rc : check_sizes(blk, err);
}

static uint64_t offered(const struct virtio_blk *blk)
{
	uint64_t bits = VIRTIO_BIT(BLK_F_SEG_MAX) | VIRTIO_BIT(BLK_F_GEOMETRY) | VIRTIO_BIT(BLK_F_BLK_SIZE) |
	                VIRTIO_BIT(BLK_F_FLUSH) | VIRTIO_BIT(BLK_F_TOPOLOGY);

	if (blk->config_wce)
		bits |= VIRTIO_BIT(BLK_F_CONFIG_WCE);
	if (blk->num_queues > 1)
		bits |= VIRTIO_BIT(BLK_F_MQ);
	if (blk->block->read_only)
		return bits | VIRTIO_BIT(BLK_F_RO);
	if (blk->discard)
		bits |= VIRTIO_BIT(BLK_F_DISCARD);
	if (blk->write_zeroes)
		bits |= VIRTIO_BIT(BLK_F_WRITE_ZEROES);
	return bits;
}

struct open_call {
	struct virtio_blk *blk;
	struct error *err;
};

static void open_in_loop(void *opaque)
{
	struct open_call *call = opaque;
	struct virtio_blk *blk = call->blk;

	loop_timer_init(&blk->retry, blk->loop, on_retry, blk);
	blk->queue = block_queue_new(blk->block, blk->loop, NULL, call->err);
}

static void close_in_loop(void *opaque)
{
	struct virtio_blk *blk = opaque;

	loop_timer_cancel(&blk->retry);
	block_queue_free(blk->queue);
}

static int init(struct virtio_device *device, struct error *err)
{
	struct virtio_blk *blk = from_virtio(device);
	struct loop *main_loop = device->device.env->loop;
	struct open_call call = {.blk = blk, .err = err};
	int rc = check_properties(blk, err);

	if (rc < 0)
		return rc;
	blk->loop = blk->iothread ? loop_thread_loop(((struct object_iothread *)blk->iothread)->thread) : main_loop;
	if (blk->loop == main_loop)
		open_in_loop(&call);
	else
		loop_call(blk->loop, open_in_loop, &call);
	if (!blk->queue)
		return err && err->code ? -err->code : -EIO;
	pthread_mutex_init(&blk->stalled_lock, NULL);
	blk->writeback = blk->write_cache != 0;
	device->offered = offered(blk);
	for (unsigned i = 0; i < blk->num_queues; i++)
		virtio_queue_add(device, blk->queue_size, sizeof(struct blk_request), blk->loop, handle_queue);
	return 0;
}

static void fini(struct virtio_device *device)
{
	struct virtio_blk *blk = from_virtio(device);

	if (blk->loop == device->device.env->loop)
		close_in_loop(blk);
	else
		loop_call(blk->loop, close_in_loop, blk);
	pthread_mutex_destroy(&blk->stalled_lock);
}

static const struct virtio_class model = {
        .name = "virtio-blk",
        .id = VIRTIO_ID_BLOCK,
        .config_size = CONFIG_BYTES,
        .init = init,
        .fini = fini,
        .config_read = config_read,
        .config_write = config_write,
        .features_set = features_set,
        .reset = drop_stalled,
        .queue_reset = one_queue_reset,
        .drain = drain,
};

/* --- class --- */

/* A request that waits for the machine to go on cannot be carried over: the guest sees its error instead. */
static void before_save(void *object)
{
	struct virtio_blk *blk = object;
	struct blk_request *request = take_stalled(blk);

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

static void after_load(void *object)
{
	cache_update(object);
}

static const struct state_field fields[] = {
        STATE_SUB(virtio_device_state, struct virtio_blk, virtio, 1),
        STATE_FIELD(STATE_BOOL, struct virtio_blk, writeback),
        STATE_END,
};

static const struct state_table state = {
        .name = "virtio-blk",
        .version = 1,
        .size = sizeof(struct virtio_blk),
        .fields = fields,
        .before_save = before_save,
        .after_load = after_load,
};

#define BLK_PROPERTY(NAME, KIND, MEMBER, FALLBACK, HELP) \
	{ .name = NAME, .type = KIND, .offset = offsetof(struct virtio_blk, MEMBER), .fallback = FALLBACK, .help = HELP }

static const struct property properties[] = {
        BLK_PROPERTY("drive", PROPERTY_BLOCK, block, NULL, "id of a -drive, or node-name of a -blockdev"),
        BLK_PROPERTY("bootindex", PROPERTY_U64, virtio.proxy.bootindex, NULL, "place in the firmware's boot order"),
        BLK_PROPERTY("serial", PROPERTY_STRING, serial, NULL, "what the guest sees in /dev/disk/by-id (20 characters)"),
        BLK_PROPERTY("iothread", PROPERTY_OBJECT, iothread, NULL, "id of an -object iothread that runs the queues"),
        BLK_PROPERTY("num-queues", PROPERTY_U16, num_queues, "1", "request queues"),
        BLK_PROPERTY("queue-size", PROPERTY_U16, queue_size, "256", "entries of a queue, a power of two"),
        BLK_PROPERTY("logical_block_size", PROPERTY_U32, logical_block_size, "512", "smallest unit of access, bytes"),
        BLK_PROPERTY("physical_block_size", PROPERTY_U32, physical_block_size, "512", "unit of fast access, bytes"),
        BLK_PROPERTY("min_io_size", PROPERTY_U32, min_io_size, "0", "smallest good transfer, bytes"),
        BLK_PROPERTY("opt_io_size", PROPERTY_U32, opt_io_size, "0", "best transfer, bytes"),
        BLK_PROPERTY("discard", PROPERTY_BOOL, discard, "on", "offer discard"),
        BLK_PROPERTY("write-zeroes", PROPERTY_BOOL, write_zeroes, "on", "offer write zeroes"),
        BLK_PROPERTY("config-wce", PROPERTY_BOOL, config_wce, "on", "the guest may switch the write cache"),
        BLK_PROPERTY("write-cache", PROPERTY_ONOFFAUTO, write_cache, "auto", "off: every write is durable when done"),
        BLK_PROPERTY("werror", PROPERTY_STRING, werror, "auto", "failed writes: report, ignore, stop, enospc (default)"),
        BLK_PROPERTY("rerror", PROPERTY_STRING, rerror, "auto", "failed reads: report (default), ignore, stop"),
        BLK_PROPERTY("share-rw", PROPERTY_BOOL, share_rw, "off", "others may write to the image as well"),
        VIRTIO_PCI_PROPERTIES(struct virtio_blk),
        {.name = NULL},
};

VIRTIO_PCI_CLASSES(virtio_blk, "virtio-blk", "virtio disk", struct virtio_blk, properties, &state, &model, 0x010000);
