/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counts. They change in memory and go to the file with the next flush, before whatever refers to the
 * clusters. Here too is what makes room for more counts: new blocks, and a larger table.
 */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

#define REUSE_AFTER_NS (5 * NS_PER_S)

uint64_t qcow2_refcount_load(const struct qcow2 *q, const uint8_t *block, uint64_t index)
{
	switch (q->refcount_bits) {
	case 64:
		return load_be64(block + index * 8);
	case 32:
		return load_be32(block + index * 4);
	case 16:
		return load_be16(block + index * 2);
	case 8:
		return block[index];
	default: {
		const unsigned per_byte = 8 / q->refcount_bits;

		return block[index / per_byte] >> (index % per_byte * q->refcount_bits) &
		       ((1u << q->refcount_bits) - 1);
	}
	}
}

void qcow2_refcount_store(const struct qcow2 *q, uint8_t *block, uint64_t index, uint64_t value)
{
	switch (q->refcount_bits) {
	case 64:
		store_be64(block + index * 8, value);
		break;
	case 32:
		store_be32(block + index * 4, (uint32_t)value);
		break;
	case 16:
		store_be16(block + index * 2, (uint16_t)value);
		break;
	case 8:
		block[index] = (uint8_t)value;
		break;
	default: {
		const unsigned per_byte = 8 / q->refcount_bits;
		const unsigned shift = (unsigned)(index % per_byte) * q->refcount_bits;
		const unsigned mask = ((1u << q->refcount_bits) - 1) << shift;
		uint8_t *byte = &block[index / per_byte];

		*byte = (uint8_t)((*byte & ~mask) | (unsigned)value << shift);
	}
	}
}

static uint64_t max_refcount(const struct qcow2 *q)
{
	return q->refcount_bits == 64 ? INT64_MAX : (1ull << q->refcount_bits) - 1;
}

bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	const struct qcow2_header *h = &q->header;
	const struct {
		uint64_t at, length;
	} ranges[] = {
		{0, q->cluster_bytes},
		{h->l1_offset, (uint64_t)h->l1_size * 8},
		{h->reftable_offset, (uint64_t)h->reftable_clusters << q->cluster_bits},
		{h->snapshot_count ? h->snapshots_offset : 0, h->snapshot_count ? 1 : 0},
		{q->crypto_offset, q->crypto_bytes},
		{q->bitmap_directory, q->bitmap_directory_bytes},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (ranges[i].length && offset < ranges[i].at + ranges[i].length && ranges[i].at < offset + bytes)
			return true;
	return false;
}

/* --- refcount blocks --- */

int qcow2_refcount_block(struct qcow2 *q, uint64_t table_index, struct qcow2_table **block)
{
	uint64_t offset;

	*block = NULL;
	if (table_index >= q->reftable_entries || !q->reftable[table_index])
		return 0;
	offset = q->reftable[table_index];
	if (offset & (q->cluster_bytes - 1) || offset < q->cluster_bytes ||
	    !range_inside(offset, q->cluster_bytes, align_up(q->file_end, q->cluster_bytes)))
		return qcow2_set_corrupt(q, "refcount block %llu lies at %#llx, which cannot be",
					 (unsigned long long)table_index, (unsigned long long)offset);
	return qcow2_cache_get(q, &q->refcounts, offset, false, block);
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *value)
{
	struct qcow2_table *block;
	int result = qcow2_refcount_block(q, cluster >> q->block_bits, &block);

	*value = !result && block ? qcow2_refcount_load(q, block->data, cluster & ((1ull << q->block_bits) - 1)) : 0;
	return result;
}

static void note_end(struct qcow2 *q, uint64_t end)
{
	q->file_end = max_u64(q->file_end, end);
	q->fresh_from = max_u64(q->fresh_from, end >> q->cluster_bits);
}

/*
 * Moves the refcount table to the end of the file, larger by half at least, together with blocks that count the
 * clusters of both. Everything new is durable before the header points to it; a crash in between leaves leaks beyond
 * the old end.
 */
int qcow2_refcount_grow(struct qcow2 *q, uint64_t index_needed)
{
	const uint64_t per_block = 1ull << q->block_bits;
	const uint64_t start_block =
		max_u64(q->reftable_entries, (qcow2_clusters(q, q->file_end) + per_block - 1) >> q->block_bits);
	const uint64_t start = start_block << q->block_bits;
	uint64_t entries = max_u64(index_needed + 1, start_block + 1), table_clusters, blocks = 1, used;
	struct qcow2_header old = q->header;
	uint8_t *table = NULL, *block = NULL;
	int result = 0;

	entries += entries / 2 + 1;
	for (;;) { /* the blocks count themselves and the table */
		table_clusters = qcow2_clusters(q, max_u64(entries, start_block + blocks) * 8);
		used = table_clusters + blocks;
		if (used <= blocks << q->block_bits)
			break;
		blocks++;
	}
	entries = (table_clusters << q->cluster_bits) / 8;
	if (table_clusters << q->cluster_bits > QCOW2_MAX_TABLE_BYTES)
		return -EFBIG;
	table = calloc(table_clusters, q->cluster_bytes);
	block = malloc(q->cluster_bytes);
	if (!table || !block) {
		free(table);
		free(block);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < q->reftable_entries; i++)
		store_be64(table + i * 8ull, q->reftable[i]);
	for (uint64_t b = 0; b < blocks && !result; b++) {
		const uint64_t first = b << q->block_bits;

		memset(block, 0, q->cluster_bytes);
		for (uint64_t i = 0; i < per_block && first + i < used; i++)
			qcow2_refcount_store(q, block, i, 1);
		store_be64(table + (start_block + b) * 8, (start + table_clusters + b) << q->cluster_bits);
		result = qcow2_file_write(q, (start + table_clusters + b) << q->cluster_bits, block, q->cluster_bytes);
	}
	if (!result)
		result = qcow2_file_write(q, start << q->cluster_bits, table, table_clusters << q->cluster_bits);
	if (!result)
		result = qcow2_file_sync(q);
	if (!result) {
		q->header.reftable_offset = start << q->cluster_bits;
		q->header.reftable_clusters = (uint32_t)table_clusters;
		result = qcow2_header_write_fields(q);
		if (!result)
			result = qcow2_file_sync(q);
		if (result)
			q->header = old;
	}
	if (!result) {
		q->reftable = xrealloc(q->reftable, entries * 8);
		for (uint64_t i = 0; i < entries; i++)
			q->reftable[i] = load_be64(table + i * 8);
		q->reftable_entries = (uint32_t)entries;
		note_end(q, (start + used) << q->cluster_bits);
		qcow2_free_later(q, old.reftable_offset, (uint64_t)old.reftable_clusters << q->cluster_bits,
				 QCOW2_FREED_ALWAYS);
	}
	free(table);
	free(block);
	return result;
}

static int change_one(struct qcow2 *q, uint64_t cluster, int delta);

/*
 * A new block of counts for this index of the table, kept in the cluster `place`: free, and counted either by the new
 * block itself or by one that exists.
 */
int qcow2_refcount_make_block(struct qcow2 *q, uint64_t table_index, uint64_t place)
{
	const uint64_t offset = place << q->cluster_bits;
	const bool counts_itself = place >> q->block_bits == table_index;
	uint8_t entry[8], *data = calloc(1, q->cluster_bytes);
	int result;

	if (!data)
		return -ENOMEM;
	if (counts_itself)
		qcow2_refcount_store(q, data, place & ((1ull << q->block_bits) - 1), 1);
	store_be64(entry, offset);
	result = qcow2_file_write(q, offset, data, q->cluster_bytes);
	if (!result)
		result = qcow2_file_sync(q);
	if (!result)
		result = qcow2_file_write(q, q->header.reftable_offset + table_index * 8, entry, 8);
	if (result) {
		free(data);
		return result;
	}
	/* The entry reaches the disk with the first barrier of the next flush, before anything refers to its clusters.
	 */
	q->metadata_written = true;
	q->reftable[table_index] = offset;
	qcow2_cache_insert(q, &q->refcounts, offset, data);
	note_end(q, offset + q->cluster_bytes);
	return counts_itself ? 0 : change_one(q, place, 1);
}

void qcow2_refcount_put(struct qcow2 *q, struct qcow2_table *block, uint64_t index, uint64_t value)
{
	const uint64_t byte = index * q->refcount_bits / 8;

	qcow2_refcount_store(q, block->data, index, value);
	qcow2_table_dirty(&q->refcounts, block, (uint32_t)byte, (uint32_t)(byte + (q->refcount_bits + 7) / 8));
}

static int change_one(struct qcow2 *q, uint64_t cluster, int delta)
{
	const uint64_t index = cluster & ((1ull << q->block_bits) - 1);
	struct qcow2_table *block;
	uint64_t value;
	int result = qcow2_refcount_block(q, cluster >> q->block_bits, &block);

	if (result)
		return result;
	if (!block)
		return qcow2_set_corrupt(q, "cluster %#llx is in use without a reference count",
					 (unsigned long long)cluster << q->cluster_bits);
	value = qcow2_refcount_load(q, block->data, index);
	if (delta < 0 && value == 0)
		return qcow2_set_corrupt(q, "cluster %#llx is freed but has a reference count of 0",
					 (unsigned long long)cluster << q->cluster_bits);
	if (delta > 0 && value >= max_refcount(q))
		return -EOVERFLOW;
	value += (uint64_t)(int64_t)delta;
	qcow2_refcount_put(q, block, index, value);
	if (!value) {
		q->freed_from = min_u64(q->freed_from, cluster);
		q->reuse_after_ns = host_now_ns() + REUSE_AFTER_NS;
	}
	return 0;
}

int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t value)
{
	struct qcow2_table *block;
	int result = qcow2_refcount_block(q, cluster >> q->block_bits, &block);

	if (result)
		return result;
	if (!block)
		return -EINVAL;
	if (value > max_refcount(q))
		return -EOVERFLOW;
	qcow2_refcount_put(q, block, cluster & ((1ull << q->block_bits) - 1), value);
	return 0;
}

int qcow2_refcount_change(struct qcow2 *q, uint64_t cluster, uint64_t count, int delta)
{
	for (uint64_t i = 0; i < count; i++) {
		int result = change_one(q, cluster + i, delta);

		if (result) {
			if (delta > 0)
				while (i--)
					change_one(q, cluster + i, -1);
			return result;
		}
	}
	return 0;
}
