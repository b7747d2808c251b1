/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest writes. A write to clusters of its own goes straight to their place. One that needs new clusters allocates
 * them, fills them together with what surrounds the data (copy on write), and only then links them into the L2 table.
 * While that goes on, the clusters are "in flight" and other writes to them wait; reads see what was there before.
 */
#include "backend/block/cipher_io.h"
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

#define RUN_BYTES (4 * MIB) /* allocated at once */

bool qcow2_wait_for_flights(struct qcow2 *q, uint64_t first, uint64_t count, const struct qcow2_flight *mine)
{
	bool waited = false;

	for (const struct qcow2_flight *f = q->flights; f;) {
		if (f != mine && f->first < first + count && first < f->first + f->count) {
			pthread_cond_wait(&q->landed, &q->lock);
			waited = true;
			f = q->flights;
		} else {
			f = f->next;
		}
	}
	return waited;
}

void qcow2_take_off(struct qcow2 *q, struct qcow2_flight *flight, uint64_t first, uint64_t count)
{
	*flight = (struct qcow2_flight){.next = q->flights, .first = first, .count = count};
	q->flights = flight;
}

void qcow2_land(struct qcow2 *q, struct qcow2_flight *flight)
{
	struct qcow2_flight **link = &q->flights;

	while (*link != flight)
		link = &(*link)->next;
	*link = flight->next;
	pthread_cond_broadcast(&q->landed);
}

/* One allocating write: the clusters, and the bytes of the request that go into them. */
struct fill {
	uint64_t guest, bytes; /* the request's part */
	uint64_t from, to;     /* what gets filled: the part and what surrounds it, in whole subclusters */
	uint64_t host;         /* place of the first cluster */
	uint64_t first, count; /* guest clusters */
	bool in_place;         /* the clusters have a place already, and what is there does not count */
	bool source;           /* what surrounds the data comes from the image as it is; else it is zeroes */
	bool fresh;            /* the clusters read as zeroes already */
};

/* Writes before or behind the data: [from, from + length) of the guest. */
static int fill_around(struct qcow2 *q, const struct fill *fill, uint64_t from, uint64_t length)
{
	const uint64_t in_image = from < q->block->length ? min_u64(length, q->block->length - from) : 0;
	struct iovec iov = {.iov_len = in_image}, whole = {.iov_len = length};
	void *buffer = NULL;
	int result = 0;

	if (!length || (!fill->source && fill->fresh))
		return 0;
	if (posix_memalign(&buffer, 4096, align_up(length, 4096)))
		return -ENOMEM;
	memset(buffer, 0, length);
	iov.iov_base = whole.iov_base = buffer;
	if (fill->source && in_image)
		result = qcow2_pread(q->block, from, &iov, 1, in_image);
	if (!result)
		result = qcow2_data_write(q, fill->host + (from - (fill->first << q->cluster_bits)), from, &whole, 1, 0,
					  length);
	free(buffer);
	return result;
}

static int fill_clusters(struct qcow2 *q, const struct fill *fill, const struct iovec *iov, int iov_count,
			 uint64_t skip)
{
	const uint64_t start = fill->first << q->cluster_bits, data_end = fill->guest + fill->bytes;
	int result = fill_around(q, fill, fill->from, fill->guest - fill->from);

	if (!result)
		result = qcow2_data_write(q, fill->host + (fill->guest - start), fill->guest, iov, iov_count, skip,
					  fill->bytes);
	return result ? result : fill_around(q, fill, data_end, fill->to - data_end);
}

/* The entry of the fill's n-th cluster when its data are there. */
static struct qcow2_entry filled_entry(const struct qcow2 *q, const struct fill *fill, uint64_t n,
				       struct qcow2_entry old)
{
	const uint64_t start = (fill->first + n) << q->cluster_bits, end = start + q->cluster_bytes;
	const uint64_t mask =
		qcow2_subcluster_mask(q, max_u64(fill->from, start) - start, min_u64(fill->to, end) - start);

	return (struct qcow2_entry){.word = (fill->host + (n << q->cluster_bits)) | QCOW2_COPIED,
				    .bitmap = (old.bitmap & ~(mask << 32)) | mask};
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
		const struct qcow2_entry old = qcow2_entry_load(q, table->data, index + i);

		qcow2_entry_store(q, table->data, index + i, filled_entry(q, fill, i, old));
		if (!fill->in_place)
			qcow2_free_entry(q, old.word, QCOW2_FREED_OTHERWISE);
	}
	qcow2_entries_dirty(q, table, index, fill->count);
	return 0;
}

/* A cluster that gets another place takes along everything that it holds. */
static void widen_fill(const struct qcow2 *q, const struct qcow2_mapping *mapping, struct fill *fill)
{
	const uint64_t start = fill->first << q->cluster_bits;
	const uint32_t held = mapping->kind == QCOW2_PACKED ? UINT32_MAX : (uint32_t)mapping->entry.bitmap;

	if (!held)
		return;
	fill->from = min_u64(fill->from, start + ((uint64_t)__builtin_ctz(held) << q->subcluster_bits));
	fill->to = max_u64(fill->to, start + ((32ull - (unsigned)__builtin_clz(held)) << q->subcluster_bits));
	fill->source = true;
}

/* Where the data go. */
static int place_fill(struct qcow2 *q, const struct qcow2_mapping *mapping, uint64_t *count, struct fill *fill)
{
	bool fresh;
	int result;

	if (qcow2_is_external(q)) {
		fill->host = fill->first << q->cluster_bits;
		return 0;
	}
	if (fill->in_place) {
		fill->host = align_down(mapping->host, q->cluster_bytes);
		if (qcow2_is_metadata(q, fill->host, *count << q->cluster_bits))
			return qcow2_set_corrupt(q, "the data of guest offset %#llx lie over its tables",
						 (unsigned long long)fill->guest);
		return 0;
	}
	if (q->places && qcow2_place_take(q, fill->first, count, &fill->host, &fresh)) {
		fill->fresh = fresh && !q->cipher;
		return 0;
	}
	result = qcow2_allocate(q, count, false, &fill->host);
	if (!result)
		fill->fresh = qcow2_take_fresh(q, fill->host, *count) && !q->cipher;
	return result;
}

/* Locked; decides where the data go. 1: the state changed, look again. */
static int plan_fill(struct qcow2 *q, const struct qcow2_mapping *mapping, uint64_t offset, struct fill *fill)
{
	const uint64_t within = offset & (q->cluster_bytes - 1);
	uint64_t count = qcow2_clusters(q, within + mapping->bytes);
	bool moves;
	int result;

	*fill = (struct fill){.guest = offset, .first = offset >> q->cluster_bits};
	fill->in_place =
		qcow2_is_external(q) ||
		((mapping->kind == QCOW2_ZERO_ALLOCATED || mapping->kind == QCOW2_UNFILLED) && mapping->copied);
	moves = !fill->in_place && (mapping->host || mapping->kind == QCOW2_PACKED) && qcow2_is_extended(q);
	count = moves ? 1 : min_u64(count, max_u64(1, RUN_BYTES >> q->cluster_bits));
	if (qcow2_wait_for_flights(q, fill->first, count, NULL))
		return 1;
	/* The table comes before the data, so that those of one write lie together. */
	if (!(q->l1[fill->first >> q->l2_bits] & QCOW2_COPIED)) {
		struct qcow2_table *table;
		uint32_t index;

		result = qcow2_l2_for_write(q, offset, &table, &index);
		return result ? result : 1;
	}
	result = place_fill(q, mapping, &count, fill);
	if (result)
		return result;
	fill->source = mapping->kind == QCOW2_PACKED || mapping->kind == QCOW2_NORMAL ||
		       ((mapping->kind == QCOW2_UNALLOCATED || mapping->kind == QCOW2_UNFILLED) && q->block->backing);
	fill->count = count;
	fill->bytes = min_u64(mapping->bytes, (count << q->cluster_bits) - within);
	fill->from = align_down(offset, q->subcluster_bytes);
	fill->to = align_up(offset + fill->bytes, q->subcluster_bytes);
	if (moves)
		widen_fill(q, mapping, fill);
	return 0;
}

/* Locked when called and when it returns; not meanwhile. */
static int run_fill(struct qcow2 *q, const struct fill *fill, const struct iovec *iov, int iov_count, uint64_t skip)
{
	struct qcow2_flight flight;
	int result;

	qcow2_take_off(q, &flight, fill->first, fill->count);
	pthread_mutex_unlock(&q->lock);
	result = fill_clusters(q, fill, iov, iov_count, skip);
	pthread_mutex_lock(&q->lock);
	if (!result)
		result = link_clusters(q, fill);
	if (result && !fill->in_place)
		qcow2_unallocate(q, fill->host, fill->count);
	qcow2_land(q, &flight);
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
		else if (!result && !qcow2_is_external(q) && qcow2_is_metadata(q, mapping.host, mapping.bytes))
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
	return result ? result : qcow2_data_write(q, mapping.host, offset, iov, iov_count, skip, mapping.bytes);
}

static int write_all(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		     uint32_t flags)
{
	struct qcow2 *q = block->private_data;
	uint64_t skip = 0, done = 0;
	int result = qcow2_begin_change(q, offset, length);

	if (!result)
		result = qcow2_relieve(q);
	for (; skip < length && !result; skip += done)
		result = write_some(q, offset + skip, iov, iov_count, skip, length - skip, &done);
	if (!result && flags & BLOCK_FUA)
		result = qcow2_flush(block);
	return result;
}

int qcow2_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		 uint32_t flags)
{
	struct qcow2 *q = block->private_data;

	if (q->cipher)
		return cipher_write_sectors(block, &q->crypt_gate, write_all, offset, iov, iov_count, length, flags);
	return write_all(block, offset, iov, iov_count, length, flags);
}
