/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtio block device in two parts: virtio_blk.c (properties, features, configuration, life) and virtio_blk_io.c
 * (requests, from the ring to the block layer and back).
 */
#ifndef XUNI_DEVICE_VIRTIO_VIRTIO_BLK_H
#define XUNI_DEVICE_VIRTIO_VIRTIO_BLK_H

#include "backend/block/block.h"
#include "base/loop.h"
#include "core/object.h"
#include "device/virtio/virtio.h"

/* 5.2.3: feature bits. */
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

enum { BLK_SECTOR_BYTES = 512, BLK_ID_BYTES = 20, BLK_LANES_MAX = 8 };

/* The most that one discard or write zeroes covers. */
#define BLK_RANGE_SECTORS_MAX ((1u << 31) / BLK_SECTOR_BYTES)

enum on_error { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_STOP, ON_ERROR_ENOSPC };

/* What one loop does for the disk: it serves some of the virtqueues, through a queue of the block layer of its own. */
struct blk_lane {
	struct virtio_blk *blk;
	struct loop *loop;
	struct block_queue *queue;
	pthread_mutex_t stalled_lock; /* a leaf */
	struct blk_request *stalled;  /* requests that failed and wait for the machine to go on */
	/* The loop's thread. */
	struct loop_timer retry;
	int64_t stalled_since_ns;
	bool seen_stopped;
};

struct virtio_blk {
	struct virtio_device virtio;
	/* properties */
	struct block *block;
	struct object *iothread;
	struct object *mapping[BLK_LANES_MAX]; /* iothread-vq-mapping.N.iothread */
	char *serial, *werror, *rerror;
	uint16_t num_queues, queue_size;
	uint32_t logical_block_size, physical_block_size, min_io_size, opt_io_size;
	bool discard, write_zeroes, config_wce, share_rw;
	int write_cache;

	enum on_error on_write_error, on_read_error;
	struct blk_lane lanes[BLK_LANES_MAX]; /* virtqueue i has lane i modulo their count */
	unsigned lane_count;
	bool writeback;     /* atomic: what the configuration space says */
	bool write_through; /* atomic: what follows from it and the features */
};

struct blk_request {
	struct virtq_element element;
	struct block_request io;
	struct virtio_blk *blk;
	struct blk_lane *lane;
	uint8_t *status;
	struct blk_request *next_stalled;
};

/* The handler of every request queue. */
void virtio_blk_handle_queue(struct virtio_device *device, struct virtqueue *queue);
/* Timer of a lane: are the stalled requests to be tried again? */
void virtio_blk_retry(void *opaque);
/* Forgets stalled requests: of one queue, or all of them (queue NULL). Takes queue locks. */
void virtio_blk_drop_stalled(struct virtio_blk *blk, struct virtqueue *queue);
/* A save cannot carry stalled requests over: the guest sees their error instead. */
void virtio_blk_fail_stalled(struct virtio_blk *blk);

#endif
