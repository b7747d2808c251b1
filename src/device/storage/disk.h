/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a storage device does with its disk or medium: requests from any thread, which the main loop hands to the block
 * layer; what becomes of failed ones (werror, rerror); the medium coming and going.
 *
 * A device calls disk_submit with its own lock held. `done` is called in the main loop's thread without any lock, never
 * from inside disk_submit.
 */
#ifndef XUNI_DEVICE_STORAGE_DISK_H
#define XUNI_DEVICE_STORAGE_DISK_H

#include "backend/block/attach.h"
#include "backend/block/block.h"
#include "base/loop.h"
#include "core/device.h"

#include <pthread.h>

enum { DISK_SECTOR_BYTES = 512 };

enum disk_on_error { DISK_ERROR_REPORT, DISK_ERROR_IGNORE, DISK_ERROR_STOP, DISK_ERROR_ENOSPC };

/* Properties of every disk; a device has one as its member and DISK_PROPERTIES in its table. */
struct disk_config {
	struct block *block; /* the medium at first; NULL: an empty drive */
	char *serial, *werror, *rerror;
	uint32_t logical_block_size, physical_block_size, min_io_size, opt_io_size, discard_granularity;
	int write_cache;
	bool share_rw;
};

#define DISK_PROPERTY(TYPE, NAME, KIND, MEMBER, FALLBACK, HELP)                                                        \
	{                                                                                                              \
		.name = NAME, .type = KIND, .offset = offsetof(TYPE, MEMBER), .fallback = FALLBACK, .help = HELP       \
	}

/* DRIVE_KIND: PROPERTY_BLOCK, or PROPERTY_MEDIUM where the drive may be empty. */
#define DISK_PROPERTIES(TYPE, MEMBER, DRIVE_KIND)                                                                      \
	DISK_PROPERTY(TYPE, "drive", DRIVE_KIND, MEMBER.block, NULL, "id of a -drive, or node-name of a -blockdev"),   \
		DEVICE_BOOTINDEX_PROPERTY,                                                                             \
		DISK_PROPERTY(TYPE, "serial", PROPERTY_STRING, MEMBER.serial, NULL,                                    \
			      "serial number that the guest sees"),                                                    \
		DISK_PROPERTY(TYPE, "logical_block_size", PROPERTY_U32, MEMBER.logical_block_size, "0",                \
			      "smallest unit of access, bytes"),                                                       \
		DISK_PROPERTY(TYPE, "physical_block_size", PROPERTY_U32, MEMBER.physical_block_size, "0",              \
			      "unit of fast access, bytes"),                                                           \
		DISK_PROPERTY(TYPE, "min_io_size", PROPERTY_U32, MEMBER.min_io_size, "0",                              \
			      "smallest good transfer, bytes"),                                                        \
		DISK_PROPERTY(TYPE, "opt_io_size", PROPERTY_U32, MEMBER.opt_io_size, "0", "best transfer, bytes"),     \
		DISK_PROPERTY(TYPE, "discard_granularity", PROPERTY_U32, MEMBER.discard_granularity, "4294967295",     \
			      "unit of discarding, bytes; 0: no discarding"),                                          \
		DISK_PROPERTY(TYPE, "write-cache", PROPERTY_ONOFFAUTO, MEMBER.write_cache, "auto",                     \
			      "off: every write is durable when done"),                                                \
		DISK_PROPERTY(TYPE, "werror", PROPERTY_STRING, MEMBER.werror, "auto",                                  \
			      "failed writes: report, ignore, stop, enospc (default)"),                                \
		DISK_PROPERTY(TYPE, "rerror", PROPERTY_STRING, MEMBER.rerror, "auto",                                  \
			      "failed reads: report (default), ignore, stop"),                                         \
		DISK_PROPERTY(TYPE, "share-rw", PROPERTY_BOOL, MEMBER.share_rw, "off", "accepted; has no effect")

struct disk;

struct disk_request {
	struct block_request io; /* op, flags, offset, length, iov, iov_count are the caller's */
	/* result: 0 or -errno, after the policy: an ignored error is 0; -ECANCELED: disk_drain or disk_cancel ended it.
	 */
	void (*done)(struct disk_request *request, int result);
	struct disk *disk; /* the rest is the disk's */
	struct disk_request *next;
	bool canceled;
};

struct disk {
	const struct device_env *env;
	struct block *block; /* NULL: no medium; changed in the main loop under the device's lock */
	enum disk_on_error on_write_error, on_read_error;
	/* The main loop's. */
	struct block_queue *queue;
	struct loop_fd *watch;
	struct loop_timer retry;
	int64_t stalled_since_ns;
	bool seen_stopped;
	int event_fd;
	pthread_mutex_t lock; /* a leaf; the lists */
	struct disk_request *waiting, **waiting_last, *stalled;
	bool draining;
};

/* Checks the sizes and policies, fills in what auto means (block_bytes for a size that was not given), opens the medium
 * if there is one. Main loop. On failure there is nothing to undo. */
int disk_open(struct disk *disk, const struct device_env *env, struct disk_config *config, uint32_t block_bytes,
	      struct error *err);
/* No request is outside any more when it returns; they all have had their done. Main loop. */
void disk_close(struct disk *disk);

/* Any thread; the request is the disk's until done. There must be a medium. */
void disk_submit(struct disk *disk, struct disk_request *request);
/* Main loop: every request ends, the stalled ones with -ECANCELED. Not under a lock that done takes. */
void disk_drain(struct disk *disk);
/* Any thread: those that wait for the machine to go on end soon with -ECANCELED. */
void disk_cancel_stalled(struct disk *disk);

/* Another medium or none: whoever had requests drained them. Main loop, under the device's lock. */
int disk_set_medium(struct disk *disk, struct block *block, struct error *err);

static inline uint64_t disk_bytes(const struct disk *disk)
{
	return disk->block ? disk->block->length : 0;
}

#endif
