/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest writes. A write to clusters of its own goes straight to their place. One that needs new clusters allocates
 * them, fills them together with what surrounds the data (copy on write), and only then links them into the L2 table.
 * While that goes on, the clusters are "in flight" and other writes to them wait; reads see what was there before.
 */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

#define RUN_BYTES (4 * MIB) /* allocated at once */

bool qcow2_wait_for_flights(struct qcow2 *q, uint64_t first, uint64_t count)
{
	bool waited = false;

	for (const struct qcow2_flight *f = q->flights; f;) {
		if (f->first < first + count && first < f->first + f->count) {
			pthread_cond_wait(&q->landed, &q->lock);
			waited = true;
			f = q->flights;
		} else {
			f = f->next;
		}
	}
	return waited;
}

static void land(struct qcow2 *q, struct qcow2_flight *flight)
{
	struct qcow2_flight **link = &q->flights;

	while (*link != flight)
		link = &(*link)->next;
	*link = flight->next;
	pthread_cond_broadcast(&q->landed);
}

/* One allocating write: the clusters, and the bytes of the request that go into them. */
struct fill {
	uint64_t guest;        /* first byte of the request's part */
	uint64_t bytes;        /* of it */
	uint64_t host;         /* place of the first cluster */
	uint64_t first, count; /* guest clusters */
	bool in_place;         /* the clusters were allocated already and read as zeroes */
	bool source;           /* what surrounds the data comes from the image as it is; else it is zeroes */
	bool fresh;            /* the clusters read as zeroes already */
};

/* Writes before and behind the data: [from, from + length) of the guest. */
static int fill_around(struct qcow2 *q, const struct fill *fill, uint64_t from, uint64_t length)
{
	const uint64_t in_image = from < q->block->length ? min_u64(length, q->block->length - from) : 0;
	struct iovec iov = {.iov_len = in_image};
	void *buffer = NULL;
	int result = 0;

	if (!length || (!fill->source && fill->fresh))
		return 0;
	if (posix_memalign(&buffer, 4096, align_up(length, 4096)))
		return -ENOMEM;
	memset(buffer, 0, length);
	iov.iov_base = buffer;
	if (fill->source && in_image)
		result = qcow2_pread(q->block, from, &iov, 1, in_image);
	if (!result)
		result = qcow2_file_write(q, fill->host + (from - (fill->first << q->cluster_bits)), buffer, length);
	free(buffer);
	return result;
}

static int fill_clusters(struct qcow2 *q, const struct fill *fill, const struct iovec *iov, int iov_count,
			 uint64_t skip)
{
	const uint64_t start = fill->first << q->cluster_bits, end = (fill->first + fill->count) << q->cluster_bits;
	const uint64_t data_end = fill->guest + fill->bytes;
	int result = fill_around(q, fill, start, fill->guest - start);

	if (!result)
		result = qcow2_file_iov(q, BLOCK_WRITE, fill->host + (fill->guest - start), iov, iov_count, skip,
					fill->bytes);
	return result ? result : fill_around(q, fill, data_end, end - data_end);
}

/* Locked. All of the clusters are within one L2 table. */
static int link_clusters(struct qcow2 *q, const struct fill *fill)
{
	struct qcow2_table *table;
	uint32_t index;
	int result = qcow2_l2_for_write(q, fill->first << q->cluster_bits, &table, &index);

	if (result)
		return result;
	for (uint64_t i = 0; i < fill->count; i++) {
		uint8_t *entry = table->data + (index + i) * 8;
		const uint64_t old = load_be64(entry);

		store_be64(entry, (fill->host + (i << q->cluster_bits)) | QCOW2_COPIED);
		if (!fill->in_place)
			qcow2_free_entry(q, old, false);
	}
	qcow2_table_dirty(&q->l2, table, index * 8, (index + (uint32_t)fill->count) * 8);
	return 0;
}

/* Locked; decides where the data go. 1: the state changed, look again. */
static int plan_fill(struct qcow2 *q, const struct qcow2_mapping *mapping, uint64_t offset, struct fill *fill)
{
	const uint64_t within = offset & (q->cluster_bytes - 1);
	uint64_t count = qcow2_clusters(q, within + mapping->bytes);
	int result = 0;

	count = min_u64(count, max_u64(1, RUN_BYTES >> q->cluster_bits));
	*fill = (struct fill){.guest = offset, .first = offset >> q->cluster_bits};
	if (qcow2_wait_for_flights(q, fill->first, count))
		return 1;
	/* The table comes before the data, so that those of one write lie together. */
	if (!(q->l1[fill->first >> q->l2_bits] & QCOW2_COPIED)) {
		struct qcow2_table *table;
		uint32_t index;

		result = qcow2_l2_for_write(q, offset, &table, &index);
		return result ? result : 1;
	}
	fill->in_place = mapping->kind == QCOW2_ZERO_ALLOCATED && mapping->copied;
	fill->source = mapping->kind == QCOW2_PACKED || mapping->kind == QCOW2_NORMAL ||
		       (mapping->kind == QCOW2_UNALLOCATED && q->block->backing);
	if (fill->in_place) {
		fill->host = mapping->host - within;
	} else {
		result = qcow2_allocate(q, &count, false, &fill->host);
		if (result)
			return result;
		fill->fresh = qcow2_take_fresh(q, fill->host, count);
	}
	fill->count = count;
	fill->bytes = min_u64(mapping->bytes, (count << q->cluster_bits) - within);
	return 0;
}

/* Locked when called and when it returns; not meanwhile. */
static int run_fill(struct qcow2 *q, const struct fill *fill, const struct iovec *iov, int iov_count, uint64_t skip)
{
	struct qcow2_flight flight = {.next = q->flights, .first = fill->first, .count = fill->count};
	int result;

	q->flights = &flight;
	pthread_mutex_unlock(&q->lock);
	result = fill_clusters(q, fill, iov, iov_count, skip);
	pthread_mutex_lock(&q->lock);
	if (!result)
		result = link_clusters(q, fill);
	if (result && !fill->in_place)
		qcow2_unallocate(q, fill->host, fill->count);
	land(q, &flight);
	return result;
}

/* One step of a write; sets *done to the bytes written. */
static int write_some(struct qcow2 *q, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		      uint64_t length, uint64_t *done)
{
	struct qcow2_mapping mapping;
	struct fill fill;
	int result;

	pthread_mutex_lock(&q->lock);
	do {
		result = q->corrupt ? -EIO : qcow2_lookup(q, offset, length, false, &mapping);
		if (!result && !(mapping.kind == QCOW2_NORMAL && mapping.copied))
			result = plan_fill(q, &mapping, offset, &fill);
		else if (!result && qcow2_is_metadata(q, mapping.host, mapping.bytes))
			result = qcow2_set_corrupt(q, "the data of guest offset %#llx lie over its tables",
						   (unsigned long long)offset);
		else if (!result)
			fill.count = 0;
	} while (result == 1);
	if (!result && fill.count) {
		*done = fill.bytes;
		result = run_fill(q, &fill, iov, iov_count, skip);
		pthread_mutex_unlock(&q->lock);
		return result;
	}
	pthread_mutex_unlock(&q->lock);
	*done = mapping.bytes;
	return result ? result : qcow2_file_iov(q, BLOCK_WRITE, mapping.host, iov, iov_count, skip, mapping.bytes);
}

int qcow2_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		 uint32_t flags)
{
	struct qcow2 *q = block->private_data;
	uint64_t skip = 0, done = 0;
	int result = qcow2_begin_writing(q);

	if (!result)
		result = qcow2_relieve(q);
	for (; skip < length && !result; skip += done)
		result = write_some(q, offset + skip, iov, iov_count, skip, length - skip, &done);
	if (!result && flags & BLOCK_FUA)
		result = qcow2_flush(block);
	return result;
}

/* --- discard and zeroes: whole clusters by their L2 entries --- */

/* The entry that makes a cluster read as zeroes, or `old` where nothing need change. */
static uint64_t zero_entry(const struct qcow2 *q, uint64_t old, bool unmap)
{
	const enum qcow2_kind kind = qcow2_kind_of(q, old);
	const bool reads_zero_without = !q->block->backing;

	if (kind == QCOW2_UNALLOCATED && reads_zero_without)
		return old;
	if (q->header.version < 3)
		return unmap && reads_zero_without ? 0 : old;
	if (!unmap && kind == QCOW2_NORMAL && old & QCOW2_COPIED)
		return old | QCOW2_ZERO;
	if (kind == QCOW2_ZERO_PLAIN || (!unmap && kind == QCOW2_ZERO_ALLOCATED))
		return old;
	return QCOW2_ZERO;
}

/* What a discarded cluster becomes: with a backing file it must not show what lies below. */
static uint64_t discard_entry(const struct qcow2 *q, uint64_t old)
{
	if (!q->block->backing)
		return 0;
	return q->header.version >= 3 ? QCOW2_ZERO : old;
}

enum clearing { DISCARD, ZERO, ZERO_UNMAP };

/* Locked. Clusters [first, first + count), in one L2 table. */
static int clear_clusters(struct qcow2 *q, uint64_t first, uint64_t count, enum clearing how)
{
	struct qcow2_table *table;
	uint32_t index;
	int result;

	/* Both may let go of the lock: the table counts only when nothing was in flight after it was found. */
	do {
		result = qcow2_l2_for_write(q, first << q->cluster_bits, &table, &index);
		if (result)
			return result;
	} while (qcow2_wait_for_flights(q, first, count));
	for (uint64_t i = 0; i < count; i++) {
		uint8_t *at = table->data + (index + i) * 8;
		const uint64_t old = load_be64(at);
		const uint64_t new = how == DISCARD ? discard_entry(q, old) : zero_entry(q, old, how == ZERO_UNMAP);

		if (new == old)
			continue;
		store_be64(at, new);
		qcow2_table_dirty(&q->l2, table, (uint32_t)(index + i) * 8, (uint32_t)(index + i) * 8 + 8);
		if (!(new &QCOW2_OFFSET_MASK))
			qcow2_free_entry(q, old, true);
	}
	return 0;
}

/* Whether clearing these bytes changes nothing. Locked. */
static int nothing_to_clear(struct qcow2 *q, uint64_t offset, uint64_t *bytes, enum clearing how, bool *nothing)
{
	struct qcow2_mapping mapping;
	int result = qcow2_lookup(q, offset, *bytes, false, &mapping);

	if (result)
		return result;
	*nothing = mapping.kind == QCOW2_ZERO_PLAIN || (mapping.kind == QCOW2_UNALLOCATED && !q->block->backing) ||
		   (mapping.kind == QCOW2_ZERO_ALLOCATED && how == ZERO);
	*bytes = mapping.bytes;
	return 0;
}

/* Cluster-aligned ranges (the end of the image counts as aligned). */
static int clear_range(struct qcow2 *q, uint64_t offset, uint64_t length, enum clearing how)
{
	const uint64_t end = offset + length;
	int result = 0;

	while (offset < end && !result) {
		uint64_t bytes = end - offset;
		bool nothing;

		result = qcow2_relieve(q);
		if (result)
			return result;
		pthread_mutex_lock(&q->lock);
		result = q->corrupt ? -EIO : nothing_to_clear(q, offset, &bytes, how, &nothing);
		if (!result && nothing &&
		    qcow2_wait_for_flights(q, offset >> q->cluster_bits, qcow2_clusters(q, bytes)))
			bytes = 0; /* something landed there: look again */
		else if (!result && !nothing)
			result = clear_clusters(q, offset >> q->cluster_bits, qcow2_clusters(q, bytes), how);
		pthread_mutex_unlock(&q->lock);
		offset += bytes;
	}
	return result;
}

int qcow2_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct qcow2 *q = block->private_data;
	const uint64_t start = align_up(offset, q->cluster_bytes);
	uint64_t end = offset + length;
	int result;

	if (end != block->length)
		end = align_down(end, q->cluster_bytes);
	if (start >= end)
		return 0;
	result = qcow2_begin_writing(q);
	return result ? result : clear_range(q, start, end - start, DISCARD);
}

/* Zeroes inside one cluster, as data unless it reads as zeroes anyway. */
static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t bytes = length;
	struct iovec iov = {.iov_len = length};
	bool nothing;
	int result;

	if (!length)
		return 0;
	pthread_mutex_lock(&q->lock);
	result = nothing_to_clear(q, offset, &bytes, ZERO, &nothing);
	pthread_mutex_unlock(&q->lock);
	if (result || nothing)
		return result;
	iov.iov_base = calloc(1, length);
	if (!iov.iov_base)
		return -ENOMEM;
	result = qcow2_pwrite(q->block, offset, &iov, 1, length, 0);
	free(iov.iov_base);
	return result;
}

int qcow2_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct qcow2 *q = block->private_data;
	const uint64_t end = offset + length;
	const uint64_t start = min_u64(end, align_up(offset, q->cluster_bytes));
	const uint64_t stop = max_u64(start, end == block->length ? end : align_down(end, q->cluster_bytes));
	const bool unmap = flags & BLOCK_MAY_UNMAP;
	int result;

	if (q->header.version < 3 && (block->backing || !unmap))
		return -ENOTSUP; /* there is no zero cluster */
	result = qcow2_begin_writing(q);
	if (!result)
		result = zero_part(q, offset, start - offset);
	if (!result)
		result = clear_range(q, start, stop - start, unmap ? ZERO_UNMAP : ZERO);
	if (!result)
		result = zero_part(q, stop, end - stop);
	if (!result && flags & BLOCK_FUA)
		result = qcow2_flush(block);
	return result;
}
