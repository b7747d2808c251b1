/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Places for clusters that nobody has written yet: of new images, and of what images grow by. With extended L2 entries
 * they are places that are not filled yet, so that a backing file shows through.
 */
#include "backend/block/qcow2_internal.h"

/* The entry of a cluster that gets this place; what reads as zeroes goes on to do so. */
static struct qcow2_entry placed_entry(struct qcow2_entry old, uint64_t host)
{
	return (struct qcow2_entry){.word = host | QCOW2_COPIED | (old.word & QCOW2_ZERO), .bitmap = old.bitmap};
}

/* One run of clusters from offset on, within one L2 table. Sets *bytes, and *host to 0 when they have their places. */
static int link_run(struct qcow2 *q, uint64_t offset, uint64_t *bytes, uint64_t *host)
{
	struct qcow2_table *table;
	uint64_t count;
	uint32_t index;
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_l2_for_write(q, offset, &table, &index);
	*host = 0;
	count = 1;
	if (!result && qcow2_entry_load(q, table->data, index).word & (QCOW2_OFFSET_MASK | QCOW2_COPIED))
		*bytes = q->cluster_bytes;
	else if (!result) {
		count = min_u64(q->l2_entries - index, qcow2_clusters(q, q->header.size - offset));
		*host = offset;
		if (!qcow2_is_external(q))
			result = qcow2_allocate(q, &count, false, host);
		for (uint64_t i = 0; i < count && !result; i++)
			qcow2_entry_store(q, table->data, index + i,
					  placed_entry(qcow2_entry_load(q, table->data, index + i),
						       *host + (i << q->cluster_bits)));
		if (!result)
			qcow2_entries_dirty(q, table, index, count);
		*bytes = count << q->cluster_bits;
	}
	pthread_mutex_unlock(&q->lock);
	return result;
}

static int link_all(struct qcow2 *q, uint64_t from, enum block_preallocation mode)
{
	uint64_t bytes = 0, host;
	int result = 0;

	for (uint64_t offset = from; offset < q->header.size && !result; offset += bytes) {
		result = qcow2_relieve(q);
		if (!result)
			result = link_run(q, offset, &bytes, &host);
		if (result || q->data_child || !host)
			continue;
		result = image_file_allocate(q->data, host, bytes, mode);
		if (result) /* a full disk needs the room to have the tables go back to what they were */
			image_file_clear(q->data, BLOCK_DISCARD, host, bytes, 0);
	}
	return result;
}

int qcow2_preallocate(struct block *block, uint64_t from, enum block_preallocation mode, struct error *err)
{
	struct qcow2 *q = block->private_data;
	/* The cluster that holds the old end reads as zeroes where it is not allocated, or shows the backing file. */
	const uint64_t start = block->backing ? align_up(from, q->cluster_bytes) : align_down(from, q->cluster_bytes);
	int result = link_all(q, start, mode);

	if (!result && q->data_child)
		result = image_file_allocate(q->data, from, q->header.size - from, mode);
	if (!result)
		result = qcow2_flush(block);
	if (!result && block->file->driver->zero_behind_end && q->file_end > block->file->length)
		return block_truncate(block->file, q->file_end, err);
	return result ? error_set_errno(err, -result, "Could not preallocate the image") : 0;
}
