/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between a disk and the device on it, beside requests. */
#ifndef XUNI_BACKEND_BLOCK_ATTACH_H
#define XUNI_BACKEND_BLOCK_ATTACH_H

#include "backend/block/block.h"

/* What a device can be asked; control thread. */
struct block_device_ops {
	/* Runs fn while no request is under way and none starts. */
	void (*with_io_stopped)(void *device, void (*fn)(void *opaque), void *opaque);
	/* The disk has another length now. */
	void (*resized)(void *device);
};

/* ops NULL: the device is gone. Control thread. */
void block_attach_device(struct block *block, const struct block_device_ops *ops, void *device);

/* What became of a request that failed. */
enum block_error_action { BLOCK_ERROR_IGNORE, BLOCK_ERROR_REPORT, BLOCK_ERROR_STOP };

struct block_failure {
	enum block_op op;
	enum block_error_action action;
	int error; /* positive errno */
};

/* From the device, any thread: once for every request that failed. */
void block_io_failed(struct block *block, const struct block_failure *failure);
/* Who hears of that, in the same thread. */
void block_graph_on_error(struct block_graph *graph,
			  void (*fn)(void *opaque, struct block *block, const struct block_failure *failure),
			  void *opaque);

/* Why the machine was stopped; goes back to OK when it goes on. Any thread. */
enum block_io_status { BLOCK_IO_OK, BLOCK_IO_FAILED, BLOCK_IO_NO_SPACE };
enum block_io_status block_get_io_status(const struct block *block);
void block_reset_io_status(struct block_graph *graph);

/* block_truncate for a node that may have a device, above filters or not. Control thread. */
int block_resize(struct block *block, uint64_t length, struct error *err);

#endif
