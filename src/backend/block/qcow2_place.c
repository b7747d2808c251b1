/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Room ahead of writes: whoever copies with several threads asks for clusters in the order of the disk, and then writes
 * in any order; the image is laid out as if it had been written from front to back. A place is taken and counted, but
 * nothing refers to it until the write links it, as with any write. One that no write came for is given back when the
 * image is closed.
 */
#include "backend/block/qcow2_internal.h"

#include <errno.h>
#include <stdlib.h>

/* The first place at or behind this guest cluster. */
static struct qcow2_place **place_behind(struct qcow2 *q, uint64_t cluster)
{
	struct qcow2_place **found = NULL;

	for (struct qcow2_place **link = &q->places; *link; link = &(*link)->next)
		if ((*link)->first + (*link)->count > cluster && (!found || (*link)->first < (*found)->first))
			found = link;
	return found;
}

bool qcow2_place_take(struct qcow2 *q, uint64_t first, uint64_t *count, uint64_t *host, bool *fresh)
{
	struct qcow2_place **link = place_behind(q, first), *place = link ? *link : NULL;

	if (!place)
		return false;
	if (place->first > first) {
		*count = min_u64(*count, place->first - first);
		return false;
	}
	if (place->first < first) { /* writes come from front to back: what was passed over stays */
		struct qcow2_place *rest = xcalloc(1, sizeof(*rest));

		*rest = (struct qcow2_place){.next = q->places,
					     .first = place->first,
					     .count = first - place->first,
					     .host = place->host,
					     .fresh = place->fresh};
		q->places = rest;
		place->host += rest->count << q->cluster_bits;
		place->count -= rest->count;
		place->first = first;
		link = place_behind(q, first);
	}
	*count = min_u64(*count, place->count);
	*host = place->host;
	*fresh = place->fresh;
	place->first += *count;
	place->host += *count << q->cluster_bits;
	place->count -= *count;
	if (!place->count) {
		*link = place->next;
		free(place);
	}
	return true;
}

/* Clusters of the range, from its first on, that already have a place or are being filled. */
static uint64_t taken(struct qcow2 *q, uint64_t first, uint64_t *free_count)
{
	struct qcow2_place **link = place_behind(q, first);

	for (const struct qcow2_flight *f = q->flights; f; f = f->next) {
		if (f->first <= first && first < f->first + f->count)
			return f->first + f->count - first;
		if (f->first > first)
			*free_count = min_u64(*free_count, f->first - first);
	}
	if (link && (*link)->first <= first)
		return (*link)->first + (*link)->count - first;
	if (link)
		*free_count = min_u64(*free_count, (*link)->first - first);
	return 0;
}

/* One step. Locked; sets *bytes to what it looked at. */
static int place_some(struct qcow2 *q, uint64_t offset, uint64_t length, uint64_t *bytes)
{
	const uint64_t first = offset >> q->cluster_bits, within = offset & (q->cluster_bytes - 1);
	struct qcow2_mapping mapping;
	struct qcow2_place *place;
	struct qcow2_table *table;
	uint64_t count, have;
	uint32_t index;
	int result = q->corrupt ? -EIO : qcow2_lookup(q, offset, length, false, &mapping);

	if (result)
		return result;
	*bytes = mapping.bytes;
	if (mapping.kind != QCOW2_UNALLOCATED && mapping.kind != QCOW2_ZERO_PLAIN)
		return 0;
	count = qcow2_clusters(q, within + mapping.bytes);
	have = taken(q, first, &count);
	if (!have) {
		if (!(q->l1[first >> q->l2_bits] & QCOW2_COPIED)) {
			*bytes = 0; /* the table first, then look again */
			return qcow2_l2_for_write(q, offset, &table, &index);
		}
		place = xcalloc(1, sizeof(*place));
		result = qcow2_allocate(q, &count, false, &place->host);
		if (result) {
			free(place);
			return result;
		}
		place->first = first;
		place->count = have = count;
		place->fresh = qcow2_take_fresh(q, place->host, count);
		place->next = q->places;
		q->places = place;
	}
	*bytes = min_u64(mapping.bytes, (have << q->cluster_bits) - within);
	return 0;
}

int qcow2_place(struct block *block, uint64_t offset, uint64_t length)
{
	struct qcow2 *q = block->private_data;
	int result;

	if (qcow2_is_external(q) || qcow2_is_extended(q))
		return -ENOTSUP;
	result = qcow2_begin_change(q, offset, length);
	pthread_mutex_lock(&q->lock);
	while (length && !result) {
		uint64_t bytes = 0;

		result = place_some(q, offset, length, &bytes);
		offset += bytes;
		length -= bytes;
	}
	pthread_mutex_unlock(&q->lock);
	return result;
}

void qcow2_places_give_back(struct qcow2 *q)
{
	while (q->places) {
		struct qcow2_place *place = q->places;

		q->places = place->next;
		qcow2_unallocate(q, place->host, place->count);
		free(place);
	}
}
