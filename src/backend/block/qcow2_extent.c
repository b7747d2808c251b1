/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What lies where, for those who copy and compare. Of an image whose tables were filled in advance (preallocation=
 * metadata) most clusters are holes of the file: there the file is asked too.
 */
#include "backend/block/qcow2_internal.h"

/* Whether clearly more clusters are in use than the host has given room for. Locked. */
static bool look_for_holes(struct qcow2 *q)
{
	struct block *file = q->block->file;
	uint64_t bytes, clusters, limit, used = 0;

	if (!file->driver->allocated || file->driver->allocated(file, &bytes))
		return false;
	clusters = bytes >> q->cluster_bits;
	limit = max_u64(clusters * 10 / 9, clusters + 2);
	for (uint64_t i = qcow2_clusters(q, file->length); i-- && used < limit;) {
		uint64_t count;

		if (qcow2_refcount_get(q, i, &count))
			return false;
		used += count != 0;
	}
	return used >= limit;
}

/* Bytes at host that are holes of the file, as far as whole clusters are; at most length. */
static uint64_t hole_at(struct block *file, uint64_t host, uint64_t length, uint32_t cluster_bytes)
{
	uint64_t hole = length, where;
	int bits;

	if (host >= file->length)
		return length;
	hole = min_u64(hole, file->length - host);
	bits = file->driver->extent(file, host, &hole, &where);
	if (bits < 0 || !(bits & BLOCK_EXTENT_ZERO))
		return 0;
	if (hole == length || host + hole >= file->length)
		return length;
	return max_u64(align_down(host + hole, cluster_bytes), host) - host;
}

/* Zero where the file has holes; cuts *length to what is alike. */
static int ask_file(struct qcow2 *q, int bits, uint64_t host, uint64_t *length)
{
	struct block *file = q->block->file;
	const uint64_t hole = file->driver->extent ? hole_at(file, host, *length, q->cluster_bytes) : 0;

	*length = min_u64(*length, hole ? hole : q->cluster_bytes - (host & (q->cluster_bytes - 1)));
	return hole ? bits | BLOCK_EXTENT_ZERO : bits;
}

int qcow2_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct qcow2 *q = block->private_data;
	struct qcow2_mapping mapping;
	bool holes = false;
	int result, known;

	pthread_mutex_lock(&q->lock);
	result = qcow2_lookup(q, offset, *length, false, &mapping);
	if (!result && mapping.kind == QCOW2_NORMAL && !qcow2_is_external(q)) {
		if (!q->holes_looked_for)
			q->has_holes = look_for_holes(q);
		q->holes_looked_for = true;
		holes = q->has_holes;
	}
	pthread_mutex_unlock(&q->lock);
	if (result)
		return result;
	*length = mapping.bytes;
	*child_offset = mapping.host;
	known = q->header.crypt_method ? 0 : BLOCK_EXTENT_OFFSET_VALID;
	switch (mapping.kind) {
	case QCOW2_UNALLOCATED:
		return block->backing ? 0 : BLOCK_EXTENT_ZERO;
	case QCOW2_UNFILLED:
		return known | (block->backing ? 0 : BLOCK_EXTENT_ZERO);
	case QCOW2_ZERO_PLAIN:
		return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_ZERO;
	case QCOW2_ZERO_ALLOCATED:
		return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_ZERO | known;
	case QCOW2_PACKED:
		return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA;
	case QCOW2_NORMAL:
		break;
	}
	result = BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA | known;
	return holes && known ? ask_file(q, result, mapping.host, length) : result;
}
