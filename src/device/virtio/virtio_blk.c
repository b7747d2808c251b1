/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio block device (virtio 1.2, 5.2): properties, features, configuration space and life; requests are in
 * virtio_blk_io.c. Queues run in the main loop, in that of iothread=, or in turn in those of iothread-vq-mapping=; every
 * loop has a submission queue of the block layer of its own. Left out: vqs= of a mapping, secure erase, lifetime, zoned devices, SCSI pass-through.
 */
#include "device/virtio/virtio_blk.h"

#include "backend/block/attach.h"
#include "base/util.h"

#include <stdlib.h>

/* 5.2.4: offsets in the configuration space. */
enum {
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

static struct virtio_blk *from_virtio(struct virtio_device *device)
{
	return container_of(device, struct virtio_blk, virtio);
}

/* --- configuration space --- */

static void config_read(struct virtio_device *device, uint8_t *config)
{
	struct virtio_blk *blk = from_virtio(device);
	uint64_t sectors = blk->block->length / BLK_SECTOR_BYTES;
	uint64_t cylinders = min_u64(sectors / (16 * 63), 16383);
	uint32_t align_sectors = blk->logical_block_size / BLK_SECTOR_BYTES;

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
	store_le32(config + CONFIG_DISCARD_SECTORS, BLK_RANGE_SECTORS_MAX);
	store_le32(config + CONFIG_DISCARD_SEG, 1);
	store_le32(config + CONFIG_DISCARD_ALIGN, align_sectors);
	store_le32(config + CONFIG_ZEROES_SECTORS, BLK_RANGE_SECTORS_MAX);
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

/* --- lanes --- */

static void in_lane(struct blk_lane *lane, loop_fn *fn, void *opaque)
{
	if (lane->loop == lane->blk->virtio.device.env->loop)
		fn(opaque);
	else
		loop_call(lane->loop, fn, opaque);
}

static void drain_lane(void *opaque)
{
	block_queue_drain(((struct blk_lane *)opaque)->queue);
}

static void drain(struct virtio_device *device)
{
	struct virtio_blk *blk = from_virtio(device);

	for (unsigned i = 0; i < blk->lane_count; i++)
		in_lane(&blk->lanes[i], drain_lane, &blk->lanes[i]);
}

/* --- what the disk asks --- */

struct stopped_call {
	struct virtio_blk *blk;
	unsigned lane;
	void (*fn)(void *opaque);
	void *opaque;
};

/* In a lane's loop, with those before it waiting for this call. */
static void stop_lane(void *opaque)
{
	struct stopped_call *call = opaque, next = *call;

	block_queue_drain(call->blk->lanes[call->lane].queue);
	if (++next.lane == call->blk->lane_count)
		call->fn(call->opaque);
	else
		in_lane(&call->blk->lanes[next.lane], stop_lane, &next);
}

static void with_io_stopped(void *device, void (*fn)(void *opaque), void *opaque)
{
	struct virtio_blk *blk = device;
	struct stopped_call call = {.blk = blk, .fn = fn, .opaque = opaque};

	in_lane(&blk->lanes[0], stop_lane, &call);
}

static void resized(void *device)
{
	virtio_config_changed(&((struct virtio_blk *)device)->virtio);
}

static const struct block_device_ops block_ops = {.with_io_stopped = with_io_stopped, .resized = resized};

static void reset(struct virtio_device *device)
{
	virtio_blk_drop_stalled(from_virtio(device), NULL);
}

static void queue_reset(struct virtio_device *device, struct virtqueue *queue)
{
	virtio_blk_drop_stalled(from_virtio(device), queue);
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
	if (blk->serial && strlen(blk->serial) > BLK_ID_BYTES)
		return error_set(err, EINVAL, "serial=%s: longer than %u characters", blk->serial, BLK_ID_BYTES);
	return 0;
}

static int check_properties(struct virtio_blk *blk, struct error *err)
{
	int rc;

	if (!blk->block)
		return error_set(err, EINVAL, "it needs drive=ID of a -drive or -blockdev");
	if (blk->iothread && !object_is(blk->iothread, OBJECT_IOTHREAD))
		return error_set(err, EINVAL, "iothread=%s: that object is a %s", blk->iothread->id, blk->iothread->type);
	for (unsigned i = 0; i < BLK_LANES_MAX; i++) {
		const struct object *iothread = blk->mapping[i];

		if (iothread && !object_is(iothread, OBJECT_IOTHREAD))
			return error_set(err, EINVAL, "iothread-vq-mapping: '%s' is a %s", iothread->id, iothread->type);
		if (iothread && (blk->iothread || (i && !blk->mapping[i - 1])))
			return error_set(err, EINVAL,
			                 blk->iothread ? "iothread and iothread-vq-mapping properties cannot be set at the same time"
			                               : "iothread-vq-mapping has a gap before its item %u", i);
		for (unsigned j = 0; iothread && j < i; j++)
			if (blk->mapping[j] == iothread)
				return error_set(err, EINVAL, "iothread-vq-mapping has '%s' twice", iothread->id);
	}
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
	struct blk_lane *lane;
	struct error *err;
};

static void open_lane(void *opaque)
{
	struct open_call *call = opaque;
	struct blk_lane *lane = call->lane;

	loop_timer_init(&lane->retry, lane->loop, virtio_blk_retry, lane);
	pthread_mutex_init(&lane->stalled_lock, NULL);
	lane->queue = block_queue_new(lane->blk->block, lane->loop, NULL, call->err);
}

static void close_lane(void *opaque)
{
	struct blk_lane *lane = opaque;

	loop_timer_cancel(&lane->retry);
	block_queue_free(lane->queue);
	pthread_mutex_destroy(&lane->stalled_lock);
}

static void close_lanes(struct virtio_blk *blk)
{
	while (blk->lane_count) {
		struct blk_lane *lane = &blk->lanes[--blk->lane_count];

		in_lane(lane, close_lane, lane);
	}
}

static struct loop *loop_of(const struct object *iothread)
{
	return loop_thread_loop(((const struct object_iothread *)iothread)->thread);
}

/* One for each loop that is to serve the disk. */
static int open_lanes(struct virtio_blk *blk, struct error *err)
{
	struct open_call call = {.err = err};

	for (unsigned i = 0; i == 0 || (i < BLK_LANES_MAX && blk->mapping[i]); i++) {
		struct object *iothread = blk->mapping[i] ? blk->mapping[i] : blk->iothread;

		call.lane = &blk->lanes[i];
		call.lane->blk = blk;
		call.lane->loop = iothread ? loop_of(iothread) : blk->virtio.device.env->loop;
		blk->lane_count++;
		in_lane(call.lane, open_lane, &call);
		if (!call.lane->queue) {
			close_lanes(blk);
			return err && err->code ? -err->code : -EIO;
		}
	}
	return 0;
}

static int init(struct virtio_device *device, struct error *err)
{
	struct virtio_blk *blk = from_virtio(device);
	int rc = check_properties(blk, err);

	if (rc == 0)
		rc = open_lanes(blk, err);
	if (rc < 0)
		return rc;
	blk->writeback = blk->write_cache != 0;
	device->device.boot_name = "/disk@0,0";
	block_attach_device(blk->block, &block_ops, blk);
	device->offered = offered(blk);
	for (unsigned i = 0; i < blk->num_queues; i++)
		virtio_queue_add(device, blk->queue_size, sizeof(struct blk_request), blk->lanes[i % blk->lane_count].loop,
		                 virtio_blk_handle_queue);
	return 0;
}

static void fini(struct virtio_device *device)
{
	struct virtio_blk *blk = from_virtio(device);

	block_attach_device(blk->block, NULL, NULL);
	close_lanes(blk);
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
        .reset = reset,
        .queue_reset = queue_reset,
        .drain = drain,
};

/* --- class --- */

static void before_save(void *object)
{
	virtio_blk_fail_stalled(object);
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

#define BLK_MAPPING(N)                                                                                       \
	BLK_PROPERTY("iothread-vq-mapping." #N ".iothread", PROPERTY_OBJECT, mapping[N], NULL,                   \
	             "id of an -object iothread that takes its turn of the queues")

static const struct property properties[] = {
        BLK_PROPERTY("drive", PROPERTY_BLOCK, block, NULL, "id of a -drive, or node-name of a -blockdev"),
        DEVICE_BOOTINDEX_PROPERTY,
        BLK_PROPERTY("serial", PROPERTY_STRING, serial, NULL, "what the guest sees in /dev/disk/by-id (20 characters)"),
        BLK_PROPERTY("iothread", PROPERTY_OBJECT, iothread, NULL, "id of an -object iothread that runs the queues"),
        BLK_MAPPING(0), BLK_MAPPING(1), BLK_MAPPING(2), BLK_MAPPING(3),
        BLK_MAPPING(4), BLK_MAPPING(5), BLK_MAPPING(6), BLK_MAPPING(7),
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
