/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing the length of an image, its backing file name, and emptying it. */
#include "backend/block/qcow2_bitmap.h"

#include <stdlib.h>

/* A larger L1 table at the end of the file; the header changes to it in one write. */
static int grow_l1(struct qcow2 *q, uint32_t entries)
{
	const uint64_t clusters = qcow2_clusters(q, entries * 8ull);
	const struct qcow2_header old = q->header;
	uint64_t count = clusters, offset;
	uint8_t *table = calloc(clusters, q->cluster_bytes);
	int result;

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < old.l1_size; i++)
		store_be64(table + i * 8ull, q->l1[i]);
	pthread_mutex_lock(&q->lock);
	result = qcow2_allocate(q, &count, true, &offset);
	if (!result)
		qcow2_take_fresh(q, offset, clusters);
	pthread_mutex_unlock(&q->lock);
	if (!result)
		result = qcow2_file_write(q, offset, table, clusters << q->cluster_bits);
	free(table);
	if (!result)
		result = qcow2_flush(q->block); /* refcounts of the new table, and all that the old one refers to */
	if (result)
		return result;
	pthread_mutex_lock(&q->lock);
	q->header.l1_offset = offset;
	q->header.l1_size = entries;
	result = qcow2_header_write_fields(q);
	if (!result)
		result = qcow2_file_sync(q);
	if (result) {
		q->header = old;
	} else {
		q->l1 = xrealloc(q->l1, entries * 8ull);
		memset(q->l1 + old.l1_size, 0, (entries - old.l1_size) * 8ull);
		if (old.l1_size)
			qcow2_free_later(q, old.l1_offset, qcow2_clusters(q, old.l1_size * 8ull) << q->cluster_bits,
					 QCOW2_FREED_ALWAYS);
	}
	pthread_mutex_unlock(&q->lock);
	return result;
}

static int set_size(struct qcow2 *q, uint64_t length)
{
	const uint64_t old = q->header.size;
	int result;

	q->header.size = length;
	result = qcow2_header_write_fields(q);
	if (result)
		q->header.size = old;
	else
		q->block->length = length;
	return result;
}

static int shrink(struct qcow2 *q, uint64_t length)
{
	struct block *block = q->block, *backing = block->backing;
	const uint64_t start = align_up(length, q->cluster_bytes);
	const bool discard = block->discard;
	int result = 0;

	/* Whole clusters that are cut off are given back. */
	block->discard = true;
	block->backing = NULL;
	if (start < block->length)
		result = qcow2_discard(block, start, block->length - start);
	block->backing = backing;
	block->discard = discard;
	if (!result)
		result = qcow2_flush(block);
	return result ? result : set_size(q, length);
}

static int grow(struct qcow2 *q, uint64_t length)
{
	const uint64_t span = (uint64_t)q->l2_entries << q->cluster_bits, old = q->header.size;
	const uint64_t entries = length / span + !!(length % span);
	struct block *backing = q->block->backing;
	int result = 0;

	if (entries > q->header.l1_size)
		result = grow_l1(q, (uint32_t)entries);
	if (!result)
		result = set_size(q, length);
	/* A backing file that is longer than the image was must not show in the new part. */
	if (!result && backing && backing->length > old)
		result = block_execute(q->block, BLOCK_WRITE_ZEROES, old, min_u64(length, backing->length) - old, NULL,
				       0, 0);
	return result ? result : qcow2_flush(q->block);
}

/* After a change to `length` that failed: the old size, as the error says. What would show behind it is the backing file. */
static void keep_size(struct qcow2 *q, uint64_t old, uint64_t length)
{
	if (q->header.size < old || (q->header.size > old && set_size(q, old)))
		return; /* the tail is gone, or the header cannot be written to */
	qcow2_bitmaps_fit(q, old);
	if (length < old) /* of what was to be cut off, any part may be gone */
		qcow2_begin_change(q, length, old - length);
}

int qcow2_truncate(struct block *block, uint64_t length, struct error *err)
{
	struct qcow2 *q = block->private_data;
	const uint64_t span = (uint64_t)q->l2_entries << q->cluster_bits, old = q->header.size;
	int result;

	if (length % BLOCK_SECTOR)
		return error_set(err, EINVAL, "The new size must be a multiple of %u", BLOCK_SECTOR);
	if (length > (uint64_t)INT64_MAX - q->cluster_bytes || length / span + !!(length % span) > QCOW2_MAX_L1_BYTES / 8)
		return error_set(err, EFBIG, "The image size is too large for file format 'qcow2'");
	if (q->header.snapshot_count && q->header.version < 3)
		return error_set(err, ENOTSUP, "Can't resize a v2 image which has snapshots");
	result = length == q->header.size ? 0 : qcow2_bitmaps_resize(q, length, err);
	if (result)
		return result;
	result = qcow2_begin_writing(q);
	if (!result && length < q->header.size)
		result = shrink(q, length);
	else if (!result)
		result = grow(q, length);
	if (result)
		error_set_errno(err, -result, "Could not resize the image");
	else if (q->data_child)
		result = block_truncate(q->data_child, length, err);
	/* What a raw file shows must have its place. */
	if (!result && q->raw_data && length > old)
		result = qcow2_preallocate(block, old, BLOCK_PREALLOC_METADATA, err);
	if (result)
		keep_size(q, old, length);
	qcow2_bitmaps_keep_length(q);
	return result;
}

int qcow2_set_backing(struct block *block, const char *backing, const char *format, struct error *err)
{
	struct qcow2 *q = block->private_data;
	char *old_name = q->backing_name, *old_format = q->backing_format;
	int result = qcow2_flush(block);

	if (result)
		return error_set_errno(err, -result, "Could not write the image");
	q->backing_name = backing && *backing ? xstrdup(backing) : NULL;
	q->backing_format = q->backing_name && format ? xstrdup(format) : NULL;
	result = qcow2_header_rewrite(q, err);
	if (!result && qcow2_file_sync(q))
		result = error_set(err, EIO, "Could not write the qcow2 header");
	if (result) {
		free(q->backing_name);
		free(q->backing_format);
		q->backing_name = old_name;
		q->backing_format = old_format;
		return result;
	}
	free(old_name);
	free(old_format);
	return 0;
}
