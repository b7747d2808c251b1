/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing metadata back in an order that leaves at worst leaks when it stops anywhere (docs/design/block.md):
 *
 *   1. refcounts, and new L2 tables that nothing refers to yet;   barrier
 *   2. changed L2 entries and L1 entries;                         barrier
 *   3. frees: counts go down in memory, to be written by the next flush.
 *
 * Guest data were written before their L2 entries were changed in memory, so the first barrier covers them.
 */
#include "backend/block/qcow2_bitmap.h"

#include <stdlib.h>

/* Limits of what gathers between flushes, per image. */
enum { MAX_DIRTY_BYTES = 8 << 20, MAX_FREES = 4096 };

struct piece {
	uint64_t offset;
	uint32_t length;
	uint8_t *data;
	struct qcow2_table *table; /* NULL: L1 */
	bool was_new;
};

struct pieces {
	struct piece *items;
	size_t count;
};

static void add_piece(struct pieces *pieces, uint64_t offset, const uint8_t *data, uint32_t length,
		      struct qcow2_table *table)
{
	struct piece *piece;

	pieces->items = xrealloc(pieces->items, (pieces->count + 1) * sizeof(*pieces->items));
	piece = &pieces->items[pieces->count++];
	*piece = (struct piece){.offset = offset, .length = length, .table = table};
	piece->data = xcalloc(1, length);
	memcpy(piece->data, data, length);
}

/* Whole sectors, so that direct I/O has less to read before writing. */
static void add_table(struct qcow2 *q, struct pieces *pieces, struct qcow2_cache *cache, struct qcow2_table *table)
{
	const uint32_t unit = (uint32_t)min_u64(4096, q->cluster_bytes);
	const uint32_t from = (uint32_t)align_down(table->dirty_from, unit);
	const uint32_t to = (uint32_t)align_up(table->dirty_to, unit);

	add_piece(pieces, table->offset + from, table->data + from, to - from, table);
	pieces->items[pieces->count - 1].was_new = table->is_new;
	qcow2_table_clean(cache, table);
	table->is_new = false;
	table->writing = true;
}

static void collect(struct qcow2 *q, struct pieces *first, struct pieces *second)
{
	/* New tables before refcounts: where a full disk has no room for the one, nothing is counted that would leak. */
	for (size_t i = 0; i < q->l2.count && q->l2.dirty; i++)
		if (q->l2.tables[i]->dirty_from < q->l2.tables[i]->dirty_to)
			add_table(q, q->l2.tables[i]->is_new ? first : second, &q->l2, q->l2.tables[i]);
	for (size_t i = 0; i < q->refcounts.count && q->refcounts.dirty; i++)
		if (q->refcounts.tables[i]->dirty_from < q->refcounts.tables[i]->dirty_to)
			add_table(q, first, &q->refcounts, q->refcounts.tables[i]);
	if (q->l1_dirty_from < q->l1_dirty_to) {
		const uint32_t count = q->l1_dirty_to - q->l1_dirty_from;
		uint8_t *entries = xcalloc(count, 8);

		for (uint32_t i = 0; i < count; i++)
			store_be64(entries + i * 8ull, q->l1[q->l1_dirty_from + i]);
		add_piece(second, q->header.l1_offset + q->l1_dirty_from * 8ull, entries, count * 8, NULL);
		free(entries);
		q->l1_dirty_from = q->l1_dirty_to = 0;
	}
}

static int write_pieces(struct qcow2 *q, const struct pieces *pieces)
{
	for (size_t i = 0; i < pieces->count; i++) {
		const struct piece *piece = &pieces->items[i];
		int result = qcow2_file_write(q, piece->offset, piece->data, piece->length);

		if (result)
			return result;
	}
	return 0;
}

/* After a failure everything is dirty again, as if the flush had not begun. */
static void release(struct qcow2 *q, struct pieces *pieces, bool failed)
{
	for (size_t i = 0; i < pieces->count; i++) {
		const struct piece *piece = &pieces->items[i];
		struct qcow2_table *table = piece->table;

		free(piece->data);
		if (table)
			table->writing = false;
		if (!failed)
			continue;
		if (table) {
			const bool is_l2 = qcow2_cache_find(q, &q->l2, table->offset) == table;
			const uint32_t from = (uint32_t)(piece->offset - table->offset);

			table->is_new |= piece->was_new;
			qcow2_table_dirty(is_l2 ? &q->l2 : &q->refcounts, table, from, from + piece->length);
		} else {
			q->l1_dirty_from = 0;
			q->l1_dirty_to = q->header.l1_size;
		}
	}
	free(pieces->items);
}

static void apply_frees(struct qcow2 *q, const struct qcow2_free *frees, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const uint64_t first = frees[i].offset >> q->cluster_bits, n = frees[i].bytes >> q->cluster_bits;

		if (qcow2_refcount_change(q, first, n, -1))
			continue; /* marked corrupt, and said so */
		for (uint64_t c = first; c < first + n; c++) {
			uint64_t left = 1;

			if (qcow2_refcount_get(q, c, &left) || left)
				continue;
			qcow2_cache_drop(q, &q->l2, c << q->cluster_bits);
			qcow2_cache_drop(q, &q->refcounts, c << q->cluster_bits);
			if (q->pass_discard[frees[i].why] && q->block->discard)
				block_run(q->block->file, BLOCK_DISCARD, c << q->cluster_bits, q->cluster_bytes, NULL,
					  0, 0);
		}
	}
}

bool qcow2_is_dirty(const struct qcow2 *q)
{
	return q->l2.dirty || q->refcounts.dirty || q->l1_dirty_from < q->l1_dirty_to || q->free_count ||
	       q->metadata_written;
}

static int flush_locked(struct qcow2 *q)
{
	struct pieces first = {0}, second = {0};
	struct qcow2_free *frees;
	size_t free_count;
	int result;

	pthread_mutex_lock(&q->lock);
	collect(q, &first, &second);
	frees = q->frees;
	free_count = q->free_count;
	q->frees = NULL;
	q->free_count = q->free_room = 0;
	q->metadata_written = false;
	q->flushing = true;
	pthread_mutex_unlock(&q->lock);

	result = write_pieces(q, &first);
	if (!result)
		result = qcow2_file_sync(q);
	if (!result && second.count) {
		result = write_pieces(q, &second);
		if (!result)
			result = qcow2_file_sync(q);
	}
	pthread_mutex_lock(&q->lock);
	release(q, &first, result != 0);
	release(q, &second, result != 0);
	if (result) {
		q->metadata_written = true;
		for (size_t i = 0; i < free_count; i++)
			qcow2_free_later(q, frees[i].offset, frees[i].bytes, frees[i].why);
	} else {
		apply_frees(q, frees, free_count);
	}
	q->flushing = false;
	pthread_mutex_unlock(&q->lock);
	free(frees);
	return result;
}

int qcow2_flush(struct block *block)
{
	struct qcow2 *q = block->private_data;
	int result;

	if (block->read_only)
		return qcow2_file_sync(q);
	pthread_mutex_lock(&q->flush_lock);
	result = flush_locked(q);
	pthread_mutex_unlock(&q->flush_lock);
	return result;
}

int qcow2_relieve(struct qcow2 *q)
{
	bool too_much;

	pthread_mutex_lock(&q->lock);
	too_much = (q->l2.dirty + q->refcounts.dirty) * q->cluster_bytes > MAX_DIRTY_BYTES || q->free_count > MAX_FREES;
	pthread_mutex_unlock(&q->lock);
	return too_much ? qcow2_flush(q->block) : 0;
}

int qcow2_begin_writing(struct qcow2 *q)
{
	const uint64_t known = (q->raw_data ? QCOW2_RAW_DATA : 0) | (q->bitmap_count ? QCOW2_BITMAPS : 0);
	int result = 0;

	pthread_mutex_lock(&q->lock);
	if (!q->autoclear_done && q->header.autoclear & ~known) {
		q->header.autoclear &= known;
		result = qcow2_header_write_fields(q);
		if (!result)
			result = qcow2_file_sync(q);
	}
	if (!result && !q->autoclear_done)
		result = qcow2_bitmaps_begin(q);
	q->autoclear_done = !result;
	pthread_mutex_unlock(&q->lock);
	return result;
}

int qcow2_begin_change(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	int result = qcow2_begin_writing(q);

	if (result || !q->bitmaps_in_use)
		return result;
	pthread_mutex_lock(&q->lock);
	qcow2_bitmaps_mark(q, offset, length);
	pthread_mutex_unlock(&q->lock);
	return 0;
}
