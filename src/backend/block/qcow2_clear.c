/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Discards and zero writes. Both change L2 entries only: whole clusters lose or keep their place, and with extended L2
 * entries the bits of single subclusters change. What begins or ends inside of one is written as data.
 */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

#define ALL_ZERO (0xffffffffull << 32)

enum clearing { DISCARD, EMPTY /* back to what lies below, or to nothing */, ZERO, ZERO_UNMAP };

/* The entry that makes a whole cluster read as zeroes, or `old` where nothing need change. */
static struct qcow2_entry zero_entry(const struct qcow2 *q, struct qcow2_entry old, bool unmap)
{
	const struct qcow2_entry nothing = {0};
	const bool placed = qcow2_has_place(q, old.word), packed = old.word & QCOW2_COMPRESSED;
	const bool reads_zero_without = !q->block->backing;

	if (!placed && !packed && !old.bitmap && !(old.word & QCOW2_ZERO) && reads_zero_without)
		return old;
	if (q->header.version < 3)
		return unmap && reads_zero_without ? nothing : old;
	if (qcow2_is_extended(q))
		return (struct qcow2_entry){.word = unmap || packed ? 0 : old.word, .bitmap = ALL_ZERO};
	if (placed && !unmap && old.word & (QCOW2_COPIED | QCOW2_ZERO))
		return (struct qcow2_entry){.word = old.word | QCOW2_ZERO};
	return (struct qcow2_entry){.word = QCOW2_ZERO};
}

/* What a discarded cluster becomes: with a backing file it must not show what lies below. */
static struct qcow2_entry discard_entry(const struct qcow2 *q, struct qcow2_entry old)
{
	if (!q->block->backing)
		return (struct qcow2_entry){0};
	if (qcow2_is_extended(q))
		return (struct qcow2_entry){.bitmap = ALL_ZERO};
	return q->header.version >= 3 ? (struct qcow2_entry){.word = QCOW2_ZERO} : old;
}

/* The entry after the bytes [from, to) of its cluster are cleared. */
static struct qcow2_entry cleared_entry(const struct qcow2 *q, struct qcow2_entry old, uint64_t from, uint64_t to,
					enum clearing how)
{
	uint64_t mask;

	if (how == EMPTY)
		return (struct qcow2_entry){0};
	if (from == 0 && to == q->cluster_bytes)
		return how == DISCARD ? discard_entry(q, old) : zero_entry(q, old, how == ZERO_UNMAP);
	mask = qcow2_subcluster_mask(q, from, to);
	old.bitmap = (old.bitmap & ~mask) | mask << 32;
	return old;
}

/* Locked. Whole subclusters in one L2 table. mine: a flight of the caller over them, or NULL. */
static int clear_entries(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum clearing how,
			 const struct qcow2_flight *mine)
{
	const uint64_t first = offset >> q->cluster_bits;
	const uint64_t count = qcow2_clusters(q, (offset & (q->cluster_bytes - 1)) + bytes);
	struct qcow2_table *table;
	uint32_t index;
	int result;

	/* Both may let go of the lock: the table counts only when nothing was in flight after it was found. */
	do {
		result = qcow2_l2_for_write(q, offset, &table, &index);
		if (result)
			return result;
	} while (qcow2_wait_for_flights(q, first, count, mine));
	for (uint64_t i = 0; i < count; i++) {
		const uint64_t start = (first + i) << q->cluster_bits, end = start + q->cluster_bytes;
		const struct qcow2_entry old = qcow2_entry_load(q, table->data, index + i);
		const struct qcow2_entry new = cleared_entry(q, old, max_u64(offset, start) - start,
							     min_u64(offset + bytes, end) - start, how);

		if (new.word == old.word &&new.bitmap == old.bitmap)
			continue;
		qcow2_entry_store(q, table->data, index + i, new);
		qcow2_entries_dirty(q, table, index + i, 1);
		if (!qcow2_has_place(q, new.word))
			qcow2_free_entry(q, old.word, QCOW2_FREED_BY_REQUEST);
	}
	return 0;
}

/* The same where guest data lie in a file of their own, at places that may be written again at once: nobody else may
 * write while they are cleared there. */
static int clear_external(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum clearing how)
{
	const uint64_t first = offset >> q->cluster_bits;
	const uint64_t count = qcow2_clusters(q, (offset & (q->cluster_bytes - 1)) + bytes);
	struct qcow2_flight flight;
	int result;

	while (qcow2_wait_for_flights(q, first, count, NULL))
		;
	qcow2_take_off(q, &flight, first, count);
	pthread_mutex_unlock(&q->lock);
	result = qcow2_data_clear(q, offset, bytes, how == ZERO);
	pthread_mutex_lock(&q->lock);
	if (!result)
		result = clear_entries(q, offset, bytes, how, &flight);
	qcow2_land(q, &flight);
	return result;
}

/* A part that an entry cannot tell: zeroes as data. */
static int write_zero_data(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	struct iovec iov = {.iov_base = calloc(1, length), .iov_len = length};
	int result = iov.iov_base ? qcow2_pwrite(q->block, offset, &iov, 1, length, 0) : -ENOMEM;

	free(iov.iov_base);
	return result;
}

/* What clearing the bytes at offset needs. */
enum need { NOTHING, ENTRIES, DATA };

/* Cuts *bytes to what is alike. Locked. */
static int find_need(struct qcow2 *q, uint64_t offset, uint64_t *bytes, enum clearing how, enum need *need)
{
	const uint64_t within = offset & (q->cluster_bytes - 1);
	const bool whole = !within && *bytes >= q->cluster_bytes;
	struct qcow2_mapping mapping;
	int result = qcow2_lookup(q, offset, *bytes, false, &mapping);

	if (result)
		return result;
	*need = ENTRIES;
	if (how == EMPTY)
		*need = mapping.kind == QCOW2_UNALLOCATED ? NOTHING : ENTRIES;
	else if (mapping.kind == QCOW2_ZERO_PLAIN || (mapping.kind == QCOW2_UNALLOCATED && !q->block->backing) ||
		 (mapping.kind == QCOW2_UNFILLED && !q->block->backing && how == ZERO) ||
		 (mapping.kind == QCOW2_ZERO_ALLOCATED && how == ZERO))
		*need = NOTHING;
	*bytes = mapping.bytes;
	if (!qcow2_is_extended(q))
		return 0;
	/* Whole clusters may lose their place, whatever their subclusters are; parts keep it. */
	if (whole) {
		*bytes = max_u64(align_down(mapping.bytes, q->cluster_bytes), q->cluster_bytes);
		*need = mapping.bytes < q->cluster_bytes ? ENTRIES : *need;
	} else {
		*bytes = min_u64(mapping.bytes, q->cluster_bytes - within);
		*need = mapping.kind == QCOW2_PACKED ? DATA : *need;
	}
	return 0;
}

/* One step of clear_range; sets *bytes to what it did. */
static int clear_some(struct qcow2 *q, uint64_t offset, uint64_t *bytes, enum clearing how)
{
	enum need need = NOTHING;
	int result;

	pthread_mutex_lock(&q->lock);
	result = q->corrupt ? -EIO : find_need(q, offset, bytes, how, &need);
	if (!result && need == NOTHING) {
		const uint64_t within = offset & (q->cluster_bytes - 1);

		if (qcow2_wait_for_flights(q, offset >> q->cluster_bits, qcow2_clusters(q, within + *bytes), NULL))
			*bytes = 0; /* something landed there: look again */
	} else if (!result && need == ENTRIES) {
		result = qcow2_is_external(q) ? clear_external(q, offset, *bytes, how)
					      : clear_entries(q, offset, *bytes, how, NULL);
	}
	pthread_mutex_unlock(&q->lock);
	return !result && need == DATA ? write_zero_data(q, offset, *bytes) : result;
}

/* Ranges in whole clusters, or subclusters to be zeroed (the end of the image counts as the end of one). */
static int clear_range(struct qcow2 *q, uint64_t offset, uint64_t length, enum clearing how)
{
	const uint64_t end = offset + length;
	int result = 0;

	while (offset < end && !result) {
		uint64_t bytes = end - offset;

		result = qcow2_relieve(q);
		if (!result)
			result = clear_some(q, offset, &bytes, how);
		offset += bytes;
	}
	return result;
}

int qcow2_make_empty(struct block *block, struct error *err)
{
	struct qcow2 *q = block->private_data;
	const uint64_t length = align_up(block->length, q->cluster_bytes);
	/* The backing file has it all: what the disk shows stays, and bitmaps note nothing. */
	int result = qcow2_begin_writing(q);

	if (!result)
		result = clear_range(q, 0, length, EMPTY);
	if (!result)
		result = qcow2_flush(block);
	return result ? error_set_errno(err, -result, "Could not empty the image") : 0;
}

int qcow2_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct qcow2 *q = block->private_data;
	const uint64_t start = align_up(offset, q->cluster_bytes);
	uint64_t end = offset + length;
	int result;

	end = end == block->length ? align_up(end, q->cluster_bytes) : align_down(end, q->cluster_bytes);
	if (start >= end)
		return 0;
	result = qcow2_begin_change(q, start, end - start);
	return result ? result : clear_range(q, start, end - start, DISCARD);
}

/* Zeroes inside one subcluster, as data unless it reads as zeroes anyway. */
static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t bytes = length;
	enum need need;
	int result;

	if (!length)
		return 0;
	pthread_mutex_lock(&q->lock);
	result = find_need(q, offset, &bytes, ZERO, &need);
	pthread_mutex_unlock(&q->lock);
	return result || need == NOTHING ? result : write_zero_data(q, offset, length);
}

int qcow2_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct qcow2 *q = block->private_data;
	const uint64_t end = offset + length;
	const uint64_t start = min_u64(end, align_up(offset, q->subcluster_bytes));
	const uint64_t stop = end == block->length ? align_up(end, q->subcluster_bytes)
						   : max_u64(start, align_down(end, q->subcluster_bytes));
	const bool unmap = flags & BLOCK_MAY_UNMAP;
	int result;

	if (q->header.version < 3 && (block->backing || !unmap))
		return -ENOTSUP; /* there is no zero cluster */
	result = qcow2_begin_change(q, offset, length);
	if (!result)
		result = zero_part(q, offset, start - offset);
	if (!result && start < stop)
		result = clear_range(q, start, stop - start, unmap ? ZERO_UNMAP : ZERO);
	if (!result && stop < end)
		result = zero_part(q, stop, end - stop);
	if (!result && flags & BLOCK_FUA)
		result = qcow2_flush(block);
	return result;
}
