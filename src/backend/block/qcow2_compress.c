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

int qcow2_unpack(struct qcow2 *q, uint64_t entry, void *to)
{
	uint64_t offset;
	uint32_t bytes;
	uint8_t *packed;
	int result;

	qcow2_packed_place(q, entry, &offset, &bytes);
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
