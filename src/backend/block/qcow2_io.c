/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers of the image file, and guest reads. The file grows by being written; only what is behind its end when a
 * table is looked up is an error, data there read as zeroes.
 */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

#define WINDOW 64

/* Past the end of a plain file is where new clusters go; other nodes have a length of their own to keep to. */
static int run_file(struct qcow2 *q, enum block_op op, uint64_t offset, const struct iovec *iov, int iov_count,
		    uint64_t length)
{
	struct block *file = q->block->file;

	if (file->driver->is_protocol)
		return op != BLOCK_READ && file->read_only ? -EPERM
							   : block_run(file, op, offset, length, iov, iov_count, 0);
	if (op == BLOCK_READ && !range_inside(offset, length, file->length)) {
		const uint64_t there = offset < file->length ? file->length - offset : 0;

		iov_clear(iov, iov_count, there, length - there);
		return there ? qcow2_file_iov(q, op, offset, iov, iov_count, 0, there) : 0;
	}
	return block_execute(file, op, offset, length, iov, iov_count, 0);
}

int qcow2_file_iov(struct qcow2 *q, enum block_op op, uint64_t offset, const struct iovec *iov, int iov_count,
		   uint64_t skip, uint64_t length)
{
	struct iovec window[WINDOW];
	uint64_t covered;

	while (length) {
		int used = iov_window(window, WINDOW, iov, iov_count, skip, length, &covered);
		int result = covered ? run_file(q, op, offset, window, used, covered) : -EINVAL;

		if (result)
			return result;
		offset += covered;
		skip += covered;
		length -= covered;
	}
	return 0;
}

int qcow2_file_read(struct qcow2 *q, uint64_t offset, void *to, uint64_t length)
{
	const struct iovec iov = {.iov_base = to, .iov_len = length};

	return run_file(q, BLOCK_READ, offset, &iov, 1, length);
}

int qcow2_file_write(struct qcow2 *q, uint64_t offset, const void *from, uint64_t length)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)from, .iov_len = length};

	return run_file(q, BLOCK_WRITE, offset, &iov, 1, length);
}

int qcow2_file_sync(struct qcow2 *q)
{
	return block_flush(q->block->file);
}

/* --- guest reads --- */

static int read_backing(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
			uint64_t length)
{
	struct block *backing = q->block->backing;
	const uint64_t there = backing && offset < backing->length ? min_u64(length, backing->length - offset) : 0;
	struct iovec window[WINDOW];
	uint64_t done = 0, covered;

	iov_clear(iov, iov_count, skip + there, length - there);
	while (done < there) {
		int used = iov_window(window, WINDOW, iov, iov_count, skip + done, there - done, &covered);
		int result =
			covered ? block_execute(backing, BLOCK_READ, offset + done, covered, window, used, 0) : -EINVAL;

		if (result)
			return result;
		done += covered;
	}
	return 0;
}

static int read_packed(struct qcow2 *q, const struct qcow2_mapping *mapping, uint64_t offset, const struct iovec *iov,
		       int iov_count, uint64_t skip)
{
	uint8_t *cluster = malloc(q->cluster_bytes);
	int result;

	if (!cluster)
		return -ENOMEM;
	result = qcow2_unpack(q, mapping->entry, cluster);
	if (!result)
		iov_spread(iov, iov_count, skip, cluster + (offset & (q->cluster_bytes - 1)), mapping->bytes);
	free(cluster);
	return result;
}

int qcow2_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct qcow2 *q = block->private_data;
	uint64_t skip = 0;

	while (skip < length) {
		struct qcow2_mapping mapping;
		int result;

		pthread_mutex_lock(&q->lock);
		result = qcow2_lookup(q, offset + skip, length - skip, false, &mapping);
		pthread_mutex_unlock(&q->lock);
		if (result)
			return result;
		switch (mapping.kind) {
		case QCOW2_UNALLOCATED:
			result = read_backing(q, offset + skip, iov, iov_count, skip, mapping.bytes);
			break;
		case QCOW2_ZERO_PLAIN:
		case QCOW2_ZERO_ALLOCATED:
			iov_clear(iov, iov_count, skip, mapping.bytes);
			break;
		case QCOW2_NORMAL:
			result = qcow2_file_iov(q, BLOCK_READ, mapping.host, iov, iov_count, skip, mapping.bytes);
			break;
		case QCOW2_PACKED:
			result = read_packed(q, &mapping, offset + skip, iov, iov_count, skip);
			break;
		}
		if (result)
			return result;
		skip += mapping.bytes;
	}
	return 0;
}
