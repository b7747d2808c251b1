/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compressed clusters: raw deflate with a 4 KiB window, or one zstd frame. Compressed data are packed at any byte of
 * the file; every cluster of the file that one touches counts a reference for it.
 */
#include "backend/block/deflate.h"
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum { DEFLATE_WINDOW_BITS = -12 };

/* What one thread needs while it packs or unpacks a cluster; made as it is needed and kept for the next one. */
struct qcow2_workspace {
	struct qcow2_workspace *next;
	struct deflater *deflater;
	z_stream inflater;
	bool has_inflater;
	ZSTD_CCtx *zstd;
	ZSTD_DCtx *unzstd;
	uint8_t *whole;  /* a cluster */
	uint8_t *packed; /* two: what an entry can say */
};

static void workspace_free(struct qcow2_workspace *w)
{
	if (w->has_inflater)
		inflateEnd(&w->inflater);
	ZSTD_freeCCtx(w->zstd);
	ZSTD_freeDCtx(w->unzstd);
	free(w->deflater);
	free(w->whole);
	free(w->packed);
	free(w);
}

void qcow2_workspaces_free(struct qcow2 *q)
{
	while (q->workspaces) {
		struct qcow2_workspace *w = q->workspaces;

		q->workspaces = w->next;
		workspace_free(w);
	}
}

static struct qcow2_workspace *workspace_get(struct qcow2 *q)
{
	struct qcow2_workspace *w;

	pthread_mutex_lock(&q->lock);
	w = q->workspaces;
	if (w)
		q->workspaces = w->next;
	pthread_mutex_unlock(&q->lock);
	if (w)
		return w;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->whole = malloc(q->cluster_bytes);
	w->packed = malloc(2ull * q->cluster_bytes);
	if (w->whole && w->packed)
		return w;
	workspace_free(w);
	return NULL;
}

static void workspace_put(struct qcow2 *q, struct qcow2_workspace *w)
{
	pthread_mutex_lock(&q->lock);
	w->next = q->workspaces;
	q->workspaces = w;
	pthread_mutex_unlock(&q->lock);
}

/* --- reading --- */

static int inflate_cluster(struct qcow2_workspace *w, uint32_t from_bytes, uint8_t *to, uint32_t to_bytes)
{
	z_stream *stream = &w->inflater;
	int result;

	if (!w->has_inflater && inflateInit2(stream, DEFLATE_WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	w->has_inflater = true;
	if (inflateReset(stream) != Z_OK)
		return -EIO;
	stream->next_in = w->packed;
	stream->avail_in = from_bytes;
	stream->next_out = to;
	stream->avail_out = to_bytes;
	result = inflate(stream, Z_FINISH);
	/* The end of the stream is not always reached: input is cut at sectors, and some writers leave it out. */
	if ((result == Z_STREAM_END || result == Z_BUF_ERROR) && stream->avail_out == 0)
		return 0;
	return -EIO;
}

static int unzstd_cluster(struct qcow2_workspace *w, uint32_t from_bytes, uint8_t *to, uint32_t to_bytes)
{
	ZSTD_inBuffer in = {.src = w->packed, .size = from_bytes};
	ZSTD_outBuffer out = {.dst = to, .size = to_bytes};
	size_t result = 1;

	if (!w->unzstd && !(w->unzstd = ZSTD_createDCtx()))
		return -ENOMEM;
	ZSTD_DCtx_reset(w->unzstd, ZSTD_reset_session_only);
	ZSTD_DCtx_setParameter(w->unzstd, ZSTD_d_windowLogMax, 24); /* a cluster needs 21 */
	while (out.pos < out.size) {
		const size_t in_before = in.pos, out_before = out.pos;

		result = ZSTD_decompressStream(w->unzstd, &out, &in);
		if (ZSTD_isError(result) || (in.pos == in_before && out.pos == out_before))
			break;
	}
	return out.pos == out.size && !ZSTD_isError(result) ? 0 : -EIO;
}

int qcow2_unpack(struct qcow2 *q, uint64_t word, void *to)
{
	struct qcow2_workspace *w;
	uint64_t offset;
	uint32_t bytes;
	int result;

	qcow2_packed_place(q, word, &offset, &bytes);
	w = workspace_get(q);
	if (!w)
		return -ENOMEM;
	result = qcow2_file_read(q, offset, w->packed, bytes);
	if (!result && q->header.compression == QCOW2_ZSTD)
		result = unzstd_cluster(w, bytes, to, q->cluster_bytes);
	else if (!result)
		result = inflate_cluster(w, bytes, to, q->cluster_bytes);
	workspace_put(q, w);
	return result;
}

/* --- writing --- */

/* Into w->packed. Bytes used, 0 when it does not get smaller than a cluster, or a negative errno. */
static int64_t pack(const struct qcow2 *q, struct qcow2_workspace *w, const void *from)
{
	size_t used;

	if (q->header.compression == QCOW2_ZLIB) {
		if (!w->deflater && !(w->deflater = malloc(sizeof(*w->deflater))))
			return -ENOMEM;
		return (int64_t)deflate_bytes(w->deflater, from, q->cluster_bytes, w->packed, q->cluster_bytes - 1);
	}
	if (!w->zstd && !(w->zstd = ZSTD_createCCtx()))
		return -ENOMEM;
	used = ZSTD_compressCCtx(w->zstd, w->packed, q->cluster_bytes - 1, from, q->cluster_bytes, ZSTD_CLEVEL_DEFAULT);
	return ZSTD_isError(used) ? 0 : (int64_t)used;
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
	qcow2_free_entry(q, old.word, QCOW2_FREED_OTHERWISE);
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
	struct qcow2_workspace *w;
	int64_t used;
	int result;

	if (block->read_only)
		return -EPERM;
	/* Neither can data be packed in an external file, nor are packed data encrypted. */
	if (qcow2_is_external(q) || q->header.crypt_method)
		return -ENOTSUP;
	if (offset & (q->cluster_bytes - 1) || length > q->cluster_bytes ||
	    !range_inside(offset, length, block->length) ||
	    (length < q->cluster_bytes && offset + length != block->length))
		return -EINVAL;
	if ((result = qcow2_begin_change(q, offset, length)) || (result = qcow2_relieve(q)))
		return result;
	w = workspace_get(q);
	if (!w)
		return -ENOMEM;
	if (length < q->cluster_bytes) {
		memcpy(w->whole, data, length);
		memset(w->whole + length, 0, q->cluster_bytes - length);
	}
	used = pack(q, w, length < q->cluster_bytes ? w->whole : data);
	if (used > 0)
		result = write_packed(q, offset, w->packed, (uint32_t)used);
	else
		result = used ? (int)used : block_pwrite(block, offset, data, length, 0);
	workspace_put(q, w);
	return result;
}
