/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed clusters: raw deflate with a 4 KiB window, or one zstd frame. Compressed data are packed at any byte of
 * the file; every cluster of the file that one touches counts a reference for it.
 */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum { DEFLATE_WINDOW_BITS = -12 };

static int inflate_cluster(const uint8_t *from, uint32_t from_bytes, uint8_t *to, uint32_t to_bytes)
{
	z_stream stream = {
		.next_in = (uint8_t *)(uintptr_t)from, .avail_in = from_bytes, .next_out = to, .avail_out = to_bytes};
	int result;

	if (inflateInit2(&stream, DEFLATE_WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	/* The end of the stream is not always reached: input is cut at sectors, and some writers leave it out. */
	if ((result == Z_STREAM_END || result == Z_BUF_ERROR) && stream.avail_out == 0)
		return 0;
	return -EIO;
}

static int zstd_cluster(const uint8_t *from, uint32_t from_bytes, uint8_t *to, uint32_t to_bytes)
{
	ZSTD_inBuffer in = {.src = from, .size = from_bytes};
	ZSTD_outBuffer out = {.dst = to, .size = to_bytes};
	ZSTD_DCtx *context = ZSTD_createDCtx();
	size_t result = 1;

	if (!context)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 24); /* a cluster needs 21 */
	while (out.pos < out.size) {
		const size_t in_before = in.pos, out_before = out.pos;

		result = ZSTD_decompressStream(context, &out, &in);
		if (ZSTD_isError(result) || (in.pos == in_before && out.pos == out_before))
			break;
	}
	ZSTD_freeDCtx(context);
	return out.pos == out.size && !ZSTD_isError(result) ? 0 : -EIO;
}

int qcow2_unpack(struct qcow2 *q, uint64_t word, void *to)
{
	uint64_t offset;
	uint32_t bytes;
	uint8_t *packed;
	int result;

	qcow2_packed_place(q, word, &offset, &bytes);
	packed = malloc(bytes);
	if (!packed)
		return -ENOMEM;
	result = qcow2_file_read(q, offset, packed, bytes);
	if (!result && q->header.compression == QCOW2_ZSTD)
		result = zstd_cluster(packed, bytes, to, q->cluster_bytes);
	else if (!result)
		result = inflate_cluster(packed, bytes, to, q->cluster_bytes);
	free(packed);
	return result;
}

/* --- writing --- */

/* Bytes used, or 0 when it does not get smaller than a cluster. */
static size_t deflate_cluster(const void *from, uint32_t bytes, void *to)
{
	z_stream stream = {
		.next_in = (uint8_t *)(uintptr_t)from, .avail_in = bytes, .next_out = to, .avail_out = bytes - 1};
	int result;

	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, DEFLATE_WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) !=
	    Z_OK)
		return 0;
	result = deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	return result == Z_STREAM_END ? bytes - 1 - stream.avail_out : 0;
}

static size_t pack(const struct qcow2 *q, const void *from, void *to)
{
	size_t used;

	if (q->header.compression == QCOW2_ZLIB)
		return deflate_cluster(from, q->cluster_bytes, to);
	used = ZSTD_compress(to, q->cluster_bytes - 1, from, q->cluster_bytes, ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(used) ? 0 : used;
}

/* A place for these bytes: behind the last compressed ones where they fit together with what follows, else in new
 * clusters. Every cluster touched gets a reference. Locked. */
static int place_packed(struct qcow2 *q, uint32_t bytes, uint64_t *offset)
{
	const uint64_t used = q->compressed_at & (q->cluster_bytes - 1);
	const uint64_t left = used ? q->cluster_bytes - used : 0;
	uint64_t count = 1, next;
	int result;

	if (left >= bytes) {
		*offset = q->compressed_at;
		result = qcow2_refcount_change(q, *offset >> q->cluster_bits, 1, 1);
		if (!result)
			q->compressed_at += bytes;
		if (result != -EOVERFLOW)
			return result;
	}
	result = qcow2_allocate(q, &count, false, &next);
	if (result)
		return result;
	qcow2_take_fresh(q, next, 1);
	if (left && left < bytes && next == q->compressed_at - used + q->cluster_bytes) {
		result = qcow2_refcount_change(q, q->compressed_at >> q->cluster_bits, 1, 1);
		if (!result) {
			*offset = q->compressed_at;
			q->compressed_at += bytes;
			return 0;
		}
		if (result != -EOVERFLOW) {
			qcow2_unallocate(q, next, 1);
			return result;
		}
	}
	*offset = next;
	q->compressed_at = next + bytes;
	return 0;
}

static void unplace(struct qcow2 *q, uint64_t offset, uint32_t bytes)
{
	const uint64_t first = offset >> q->cluster_bits, last = (offset + bytes - 1) >> q->cluster_bits;

	qcow2_refcount_change(q, first, last - first + 1, -1);
	q->compressed_at = 0;
}

/* Locked. The clusters of the guest are nobody else's: xuni-img writes each once. */
static int link_packed(struct qcow2 *q, uint64_t guest, uint64_t offset, uint32_t bytes)
{
	const unsigned offset_bits = 62 - (q->cluster_bits - 8);
	const uint64_t sectors = ((offset + bytes - 1) >> 9) - (offset >> 9);
	struct qcow2_table *table;
	uint32_t index;
	struct qcow2_entry old;
	int result = qcow2_l2_for_write(q, guest, &table, &index);

	if (result)
		return result;
	old = qcow2_entry_load(q, table->data, index);
	qcow2_entry_store(q, table->data, index,
			  (struct qcow2_entry){.word = QCOW2_COMPRESSED | sectors << offset_bits | offset});
	qcow2_entries_dirty(q, table, index, 1);
	qcow2_free_entry(q, old.word, false);
	return 0;
}

static int write_packed(struct qcow2 *q, uint64_t guest, const void *packed, uint32_t bytes)
{
	uint64_t offset;
	int result;

	pthread_mutex_lock(&q->lock);
	result = place_packed(q, bytes, &offset);
	pthread_mutex_unlock(&q->lock);
	if (result)
		return result;
	result = qcow2_file_write(q, offset, packed, bytes);
	pthread_mutex_lock(&q->lock);
	if (!result)
		result = link_packed(q, guest, offset, bytes);
	if (result)
		unplace(q, offset, bytes);
	pthread_mutex_unlock(&q->lock);
	return result;
}

int qcow2_write_compressed(struct block *block, uint64_t offset, const void *data, uint64_t length)
{
	struct qcow2 *q = block->private_data;
	uint8_t *whole, *packed;
	size_t used;
	int result = qcow2_begin_writing(q);

	if (block->read_only)
		return -EPERM;
	if (qcow2_is_external(q))
		return -ENOTSUP;
	if (offset & (q->cluster_bytes - 1) || length > q->cluster_bytes ||
	    !range_inside(offset, length, block->length) ||
	    (length < q->cluster_bytes && offset + length != block->length))
		return -EINVAL;
	if (result || (result = qcow2_relieve(q)))
		return result;
	whole = calloc(1, q->cluster_bytes);
	packed = malloc(q->cluster_bytes);
	if (!whole || !packed) {
		free(whole);
		free(packed);
		return -ENOMEM;
	}
	memcpy(whole, data, length);
	used = pack(q, whole, packed);
	if (used)
		result = write_packed(q, offset, packed, (uint32_t)used);
	else
		result = block_pwrite(block, offset, data, length, 0);
	free(whole);
	free(packed);
	return result;
}
