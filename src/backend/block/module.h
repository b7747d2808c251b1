/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block drivers in loadable modules (base/module.h, kind "block"): protocols whose libraries a machine without them
 * should not load. A module exports
 *
 *	const struct module xuni_module = {"block", BLOCK_MODULE_ABI, drivers};
 *
 * with the same const tables as a driver that is linked in. What such a driver needs of the block layer it gets from
 * block->host.
 */
#ifndef XUNI_BACKEND_BLOCK_MODULE_H
#define XUNI_BACKEND_BLOCK_MODULE_H

#include "backend/block/block.h"
#include "base/module.h"

/* Raised by hand when the meaning of a member changes; a change of size changes the number by itself. */
#define BLOCK_MODULE_VERSION 1

struct block_host {
	/* As block_queue_finish: completes a request that `submit` took. Any thread. */
	void (*finish)(struct block_queue *queue, struct block_request *request, int result);
	/* The text of a secret (-object secret) of this node's graph, the graph's; NULL with a message. Control thread.
	 */
	const char *(*secret)(const struct block *block, const char *id, struct error *err);
};

#define BLOCK_MODULE_ABI                                                                                               \
	((uint64_t)BLOCK_MODULE_VERSION << 48 ^ (uint64_t)sizeof(struct block_driver) << 36 ^                          \
	 (uint64_t)sizeof(struct block) << 24 ^ (uint64_t)sizeof(struct block_host) << 16 ^                            \
	 (uint64_t)sizeof(struct block_open) << 8 ^ sizeof(struct block_request))

#endif
