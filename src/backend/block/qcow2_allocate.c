/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The allocator of clusters: a cursor goes through the reference counts and comes back to what was freed. Frees are
 * applied only after a flush has made durable that nothing refers to the cluster, and a freed cluster is not handed out
 * again for some seconds: a read or write of the guest that was under way when it discarded the place must not hit what
 * comes there next.
 */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

/* Refcounts say free, but a table lies there: the image lies. */
static bool in_use_all_the_same(struct qcow2 *q, uint64_t cluster)
{
	const uint64_t offset = cluster << q->cluster_bits;

	if (qcow2_is_metadata(q, offset, q->cluster_bytes))
		return true;
	if (qcow2_cache_find(q, &q->l2, offset) || qcow2_cache_find(q, &q->refcounts, offset))
		return true;
	for (uint32_t i = 0; i < q->header.l1_size && q->header.l1_size <= 4096; i++)
		if ((q->l1[i] & QCOW2_OFFSET_MASK) == offset)
			return true;
	return false;
}

/* Free clusters in [from, end of the block's range), at most max. Sets *at to the first; 0 when there are none. */
static uint64_t free_run(struct qcow2 *q, const struct qcow2_table *block, uint64_t from, uint64_t max, uint64_t *at)
{
	const uint64_t per_block = 1ull << q->block_bits, base = align_down(from, per_block);
	uint64_t index = from - base, run = 0;

	while (index < per_block && qcow2_refcount_load(q, block->data, index))
		index++;
	*at = base + index;
	while (index + run < per_block && run < max && !qcow2_refcount_load(q, block->data, index + run))
		run++;
	return run;
}

static int take(struct qcow2 *q, struct qcow2_table *block, uint64_t cluster, uint64_t count, uint64_t *offset)
{
	const bool fresh = cluster >= q->fresh_from;

	for (uint64_t i = 0; i < count && !fresh; i++)
		if (in_use_all_the_same(q, cluster + i))
			return qcow2_set_corrupt(q, "cluster %#llx is in use but has a reference count of 0",
						 (unsigned long long)(cluster + i) << q->cluster_bits);
	for (uint64_t i = 0; i < count; i++)
		qcow2_refcount_put(q, block, (cluster + i) & ((1ull << q->block_bits) - 1), 1);
	*offset = cluster << q->cluster_bits;
	q->cursor = cluster + count;
	q->file_end = max_u64(q->file_end, q->cursor << q->cluster_bits);
	return 0;
}

static void maybe_restart(struct qcow2 *q)
{
	if (q->freed_from >= q->cursor || host_now_ns() < q->reuse_after_ns)
		return;
	q->cursor = q->freed_from;
	q->freed_from = UINT64_MAX;
}

/* Several clusters in one piece: at the end of the file. Blocks that are missing go before the piece. */
static int allocate_long(struct qcow2 *q, uint64_t count, uint64_t *offset)
{
	uint64_t first = max_u64(q->cursor, qcow2_clusters(q, q->file_end));

	for (uint64_t cluster = first; cluster < first + count;) {
		struct qcow2_table *block;
		uint64_t value = 0;
		int result;

		if (cluster >> q->block_bits >= q->reftable_entries) {
			result = qcow2_refcount_grow(q, (first + 2 * count) >> q->block_bits);
			if (result)
				return result;
			first = cluster = max_u64(first, qcow2_clusters(q, q->file_end));
			continue;
		}
		result = qcow2_refcount_block(q, cluster >> q->block_bits, &block);
		if (!result && !block) {
			result = qcow2_refcount_make_block(q, cluster >> q->block_bits, first);
			first++;
			cluster = max_u64(cluster, first);
		} else if (!result) {
			result = qcow2_refcount_get(q, cluster, &value);
			cluster++;
			if (value)
				first = cluster;
		}
		if (result)
			return result;
	}
	*offset = first << q->cluster_bits;
	q->file_end = max_u64(q->file_end, (first + count) << q->cluster_bits);
	return qcow2_refcount_change(q, first, count, 1);
}

int qcow2_allocate(struct qcow2 *q, uint64_t *count, bool exact, uint64_t *offset)
{
	if (q->corrupt)
		return -EIO;
	if (exact && *count > 1)
		return allocate_long(q, *count, offset);
	maybe_restart(q);
	for (;;) {
		const uint64_t table_index = q->cursor >> q->block_bits;
		struct qcow2_table *block;
		uint64_t at, run;
		int result;

		if (q->cursor << q->cluster_bits > QCOW2_OFFSET_MASK)
			return -EFBIG;
		if (table_index >= q->reftable_entries) {
			result = qcow2_refcount_grow(q, table_index);
			if (result)
				return result;
			continue;
		}
		result = qcow2_refcount_block(q, table_index, &block);
		if (result)
			return result;
		if (!block && q->cursor < qcow2_clusters(q, q->file_end)) {
			/* Nothing counts this range, but there may be something: new things go behind the end. */
			q->cursor = qcow2_clusters(q, q->file_end);
			continue;
		}
		if (!block) {
			result = qcow2_refcount_make_block(q, table_index, q->cursor);
			if (result)
				return result;
			continue;
		}
		run = free_run(q, block, q->cursor, *count, &at);
		q->cursor = at;
		if (!run)
			continue; /* at is the next block's first */
		*count = run;
		return take(q, block, at, run, offset);
	}
}

bool qcow2_take_fresh(struct qcow2 *q, uint64_t offset, uint64_t count)
{
	const uint64_t cluster = offset >> q->cluster_bits;
	const bool fresh = cluster >= q->fresh_from;

	q->fresh_from = max_u64(q->fresh_from, cluster + count);
	return fresh;
}

void qcow2_unallocate(struct qcow2 *q, uint64_t offset, uint64_t count)
{
	qcow2_refcount_change(q, offset >> q->cluster_bits, count, -1);
}

void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum qcow2_freed why)
{
	struct qcow2_free *last = q->free_count ? &q->frees[q->free_count - 1] : NULL;

	if (last && last->why == why && last->offset + last->bytes == offset) {
		last->bytes += bytes;
		return;
	}
	if (q->free_count == q->free_room) {
		q->free_room = q->free_room ? 2 * q->free_room : 64;
		q->frees = xrealloc(q->frees, q->free_room * sizeof(*q->frees));
	}
	q->frees[q->free_count++] = (struct qcow2_free){offset, bytes, why};
}
