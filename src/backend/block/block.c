/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations on open nodes: checks, the plain form with its fallbacks, counters. Opening is in open.c, the
 * asynchronous form in queue.c.
 */
#include "backend/block/internal.h"

#include <stdlib.h>

#define ZERO_CHUNK (1 * MIB)

struct block *block_data_node(struct block *block, uint64_t offset)
{
	return block->driver->data_node ? block->driver->data_node(block, offset) : block->file;
}

bool block_grows(const struct block *block)
{
	while (block->driver->is_filter)
		block = block->file;
	return block->driver->is_protocol;
}

int block_check(const struct block *block, enum block_op op, uint64_t offset, uint64_t length)
{
	if (op == BLOCK_FLUSH)
		return 0;
	if (!range_inside(offset, length, block->length))
		return -EINVAL;
	return op != BLOCK_READ && block->read_only ? -EPERM : 0;
}

/* Zeroes for drivers and hosts that have no cheaper way. */
static int write_zero_bytes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	const uint64_t chunk = min_u64(length, ZERO_CHUNK);
	void *zeroes = NULL;
	int result = 0;

	if (posix_memalign(&zeroes, 4096, align_up(chunk, 4096)))
		return -ENOMEM;
	memset(zeroes, 0, chunk);
	while (length && !result) {
		struct iovec iov = {.iov_base = zeroes, .iov_len = min_u64(length, chunk)};

		result = block->driver->pwrite(block, offset, &iov, 1, iov.iov_len, flags & BLOCK_FUA);
		offset += iov.iov_len;
		length -= iov.iov_len;
	}
	free(zeroes);
	return result;
}

static int run_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	int result = -ENOTSUP;

	if (!block->discard)
		flags &= ~(uint32_t)BLOCK_MAY_UNMAP;
	if (block->driver->write_zeroes)
		result = block->driver->write_zeroes(block, offset, length, flags);
	if (result != -ENOTSUP || flags & BLOCK_NO_FALLBACK)
		return result;
	return write_zero_bytes(block, offset, length, flags);
}

static int run_discard(struct block *block, uint64_t offset, uint64_t length)
{
	int result;

	if (!block->discard || !block->driver->discard)
		return 0; /* a hint */
	result = block->driver->discard(block, offset, length);
	return result == -ENOTSUP ? 0 : result;
}

bool block_zeroes_found(const struct block *block, const struct iovec *iov, int iov_count)
{
	if (block->detect_zeroes == BLOCK_DETECT_OFF)
		return false;
	for (int i = 0; i < iov_count; i++)
		if (!buffer_is_zero(iov[i].iov_base, iov[i].iov_len))
			return false;
	return true;
}

int block_run(struct block *block, enum block_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
	      int iov_count, uint32_t flags)
{
	if (op != BLOCK_FLUSH && length == 0)
		return 0;
	if (block->no_flush)
		flags &= ~(uint32_t)BLOCK_FUA;
	switch (op) {
	case BLOCK_READ:
		return block->driver->pread(block, offset, iov, iov_count, length);
	case BLOCK_WRITE:
		if (block_zeroes_found(block, iov, iov_count))
			return run_write_zeroes(
				block, offset, length,
				flags | (block->detect_zeroes == BLOCK_DETECT_UNMAP ? BLOCK_MAY_UNMAP : 0));
		return block->driver->pwrite(block, offset, iov, iov_count, length, flags);
	case BLOCK_FLUSH:
		return block->no_flush || !block->driver->flush ? 0 : block->driver->flush(block);
	case BLOCK_DISCARD:
		return run_discard(block, offset, length);
	case BLOCK_WRITE_ZEROES:
		return run_write_zeroes(block, offset, length, flags);
	}
	return -ENOTSUP;
}

int block_execute(struct block *block, enum block_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
		  int iov_count, uint32_t flags)
{
	int result = block_check(block, op, offset, length);

	return result ? result : block_run(block, op, offset, length, iov, iov_count, flags);
}

int block_pread(struct block *block, uint64_t offset, void *to, uint64_t length)
{
	struct iovec iov = {.iov_base = to, .iov_len = length};

	return block_execute(block, BLOCK_READ, offset, length, &iov, 1, 0);
}

int block_pwrite(struct block *block, uint64_t offset, const void *from, uint64_t length, uint32_t flags)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)from, .iov_len = length};

	return block_execute(block, BLOCK_WRITE, offset, length, &iov, 1, flags);
}

int block_flush(struct block *block)
{
	return block_execute(block, BLOCK_FLUSH, 0, 0, NULL, 0, 0);
}

int block_truncate(struct block *block, uint64_t length, struct error *err)
{
	if (block->read_only)
		return error_set(err, EPERM, "'%s' is open read-only", block->node_name);
	if (!block->driver->truncate)
		return block->driver == &block_host_device_driver
			       ? error_set(err, ENOTSUP, "Cannot resize device files")
			       : error_set(err, ENOTSUP, "driver '%s' cannot change the length of an image",
					   block->driver->name);
	return block->driver->truncate(block, length, err);
}

const char *const block_preallocation_names[] = {"off", "metadata", "falloc", "full", NULL};

int block_truncate_preallocated(struct block *block, uint64_t length, enum block_preallocation mode, struct error *err)
{
	const uint64_t old = block->length;
	int result;

	if (mode != BLOCK_PREALLOC_OFF && !block->driver->preallocate)
		return error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'", block_preallocation_names[mode]);
	result = block_truncate(block, length, err);
	if (!result && mode != BLOCK_PREALLOC_OFF && length > old)
		result = block->driver->preallocate(block, old, mode, err);
	if (result && length > old)
		block_truncate(block, old, NULL);
	return result;
}

void block_get_stats(const struct block *block, struct block_stats *stats)
{
	uint64_t values[ARRAY_SIZE(block->counters)];

	_Static_assert(sizeof(values) == sizeof(*stats), "counters are struct block_stats");
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		values[i] = atomic_load_explicit(&block->counters[i], memory_order_relaxed);
	memcpy(stats, values, sizeof(values));
}
