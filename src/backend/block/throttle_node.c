/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter "throttle": its child under the limits of a throttle-group. At the top of a disk the queue keeps requests back
 * without holding a thread (queue.c) and comes to the child when their time has come; below a format the plain
 * functions wait.
 */
#include "backend/block/filter.h"
#include "backend/block/throttle.h"

struct throttle_node {
	struct throttle_group *group;
};

struct throttle_group *throttle_node_group(const struct block *block)
{
	const struct throttle_node *node = block->private_data;

	return block->driver == &block_throttle_driver ? node->group : NULL;
}

static int node_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct throttle_node *node = block->private_data;
	const char *name = options_get(options, "throttle-group");

	if (!name)
		return error_set(err, EINVAL, "driver 'throttle' needs 'throttle-group'");
	node->group = throttle_group_find(block->graph, name);
	if (!node->group)
		return error_set(err, ENOENT, "there is no -object throttle-group with id '%s'", name);
	block->length = block->file->length;
	return 0;
}

static int node_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	throttle_wait(throttle_node_group(block), false, length);
	return filter_pread(block, offset, iov, iov_count, length);
}

static int node_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	throttle_wait(throttle_node_group(block), true, length);
	return filter_pwrite(block, offset, iov, iov_count, length, flags);
}

static int node_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	throttle_wait(throttle_node_group(block), true, length);
	return filter_write_zeroes(block, offset, length, flags);
}

/* Transfers may have to wait: not on the fast way. */
static int node_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	*child_offset = offset;
	return throttle_counts(op) ? -EAGAIN : 0;
}

static const char *const node_options[] = {"throttle-group", NULL};

const struct block_driver block_throttle_driver = {
	.name = "throttle",
	.is_filter = true,
	.size = sizeof(struct throttle_node),
	.known = node_options,
	.strong = node_options,
	.open = node_open,
	.pread = node_pread,
	.pwrite = node_pwrite,
	.flush = filter_flush,
	.discard = filter_discard,
	.write_zeroes = node_write_zeroes,
	.truncate = filter_truncate,
	.extent = filter_extent,
	.map = node_map,
};
