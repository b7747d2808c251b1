/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers of the image file, and guest reads. What is behind its end when a table is looked up is an error, data
 * there read as zeroes.
 */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

int qcow2_file_read(struct qcow2 *q, uint64_t offset, void *to, uint64_t length)
{
	return image_file_read(q->block->file, offset, to, length);
}

int qcow2_file_write(struct qcow2 *q, uint64_t offset, const void *from, uint64_t length)
{
	return image_file_write(q->block->file, offset, from, length);
}

int qcow2_file_sync(struct qcow2 *q)
{
	int result = q->data_child ? block_flush(q->data_child) : 0;

	return result ? result : block_flush(q->block->file);
}

/* --- guest reads --- */

static int read_packed(struct qcow2 *q, const struct qcow2_mapping *mapping, uint64_t offset, const struct iovec *iov,
		       int iov_count, uint64_t skip)
{
	uint8_t *cluster = malloc(q->cluster_bytes);
	int result;

	if (!cluster)
		return -ENOMEM;
	result = qcow2_unpack(q, mapping->entry.word, cluster);
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
		case QCOW2_UNFILLED:
			result = block_backing_read(block, offset + skip, iov, iov_count, skip, mapping.bytes);
			break;
		case QCOW2_ZERO_PLAIN:
		case QCOW2_ZERO_ALLOCATED:
			iov_clear(iov, iov_count, skip, mapping.bytes);
			break;
		case QCOW2_NORMAL:
			result = qcow2_data_read(q, mapping.host, offset + skip, iov, iov_count, skip, mapping.bytes);
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
