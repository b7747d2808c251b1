/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers of qcow images. A write to a cluster of its own goes straight there. Clusters that have no place, or are
 * compressed, are put together in memory with what surrounds the data, written behind the end of the file, and then
 * linked; one writer at a time does that, reads see what was there before.
 */
#include "backend/block/cipher_io.h"
#include "backend/block/deflate.h"
#include "backend/block/qcow.h"

#include <stdlib.h>
#include <zlib.h>

#define RUN_BYTES       (1 * MIB) /* given places at once */
#define MAX_DIRTY_BYTES (4 * MIB) /* of tables: then a write flushes */

enum { DEFLATE_WINDOW_BITS = -12 };

static int look_up(struct qcow *q, uint64_t offset, uint64_t length, struct qcow_run *run)
{
	int result;

	pthread_mutex_lock(&q->tables.lock);
	result = qcow_look_up(q, offset, length, false, run);
	pthread_mutex_unlock(&q->tables.lock);
	return result;
}

/* --- reading --- */

static int inflate_cluster(uint8_t *from, uint32_t from_bytes, uint8_t *to, uint64_t to_bytes)
{
	z_stream z = {.next_in = from, .avail_in = from_bytes, .next_out = to, .avail_out = (uInt)to_bytes};
	int code;

	if (inflateInit2(&z, DEFLATE_WINDOW_BITS) != Z_OK)
		return -ENOMEM;
	code = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return (code == Z_STREAM_END || code == Z_BUF_ERROR) && !z.avail_out ? 0 : -EIO;
}

/* The whole cluster. */
static int unpack(struct qcow *q, const struct qcow_run *run, uint8_t *to)
{
	uint8_t *packed = malloc(q->cluster_bytes);
	int result = packed ? image_file_read(q->block->file, run->host, packed, run->packed_bytes) : -ENOMEM;

	if (!result)
		result = inflate_cluster(packed, run->packed_bytes, to, q->cluster_bytes);
	free(packed);
	return result;
}

static int read_packed(struct qcow *q, const struct qcow_run *run, uint64_t within, const struct iovec *iov,
		       int iov_count, uint64_t skip)
{
	uint8_t *cluster = malloc(q->cluster_bytes);
	int result = cluster ? unpack(q, run, cluster) : -ENOMEM;

	if (!result)
		iov_spread(iov, iov_count, skip, cluster + within, run->bytes);
	free(cluster);
	return result;
}

static int read_normal(struct qcow *q, const struct qcow_run *run, uint64_t offset, const struct iovec *iov,
		       int iov_count, uint64_t skip)
{
	if (qcow_is_unaligned(run, offset) || (q->encrypted && !q->cipher))
		return -EIO;
	if (!q->encrypted)
		return image_file_iov(q->block->file, BLOCK_READ, run->host, iov, iov_count, skip, run->bytes);
	return cipher_file_read(q->cipher, q->block->file, run->host, offset / CIPHER_SECTOR, iov, iov_count, skip,
				run->bytes);
}

int qcow_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct qcow *q = block->private_data;
	struct qcow_run run = {0};
	int result = 0;

	for (uint64_t skip = 0; skip < length && !result; skip += run.bytes) {
		result = look_up(q, offset + skip, length - skip, &run);
		if (result)
			break;
		if (run.kind == QCOW_ABSENT)
			result = block_backing_read(block, offset + skip, iov, iov_count, skip, run.bytes);
		else if (run.kind == QCOW_NORMAL)
			result = read_normal(q, &run, offset + skip, iov, iov_count, skip);
		else
			result = read_packed(q, &run, (offset + skip) & (q->cluster_bytes - 1), iov, iov_count, skip);
	}
	return result;
}

/* --- writing --- */

/* Bytes [from, from + length) as the guest sees them now; zeroes behind the end of the disk. */
static int read_old(struct qcow *q, uint64_t from, uint8_t *to, uint64_t length)
{
	const uint64_t there = from < q->block->length ? min_u64(length, q->block->length - from) : 0;
	const struct iovec iov = {.iov_base = to, .iov_len = there};

	memset(to + there, 0, length - there);
	return there ? qcow_pread(q->block, from, &iov, 1, there) : 0;
}

/* Whole clusters around the data: what is before and behind them is what the guest sees there. */
static int assemble(struct qcow *q, uint8_t *buffer, uint64_t start, uint64_t end, uint64_t offset, uint64_t length,
		    const struct iovec *iov, int iov_count, uint64_t skip)
{
	int result = read_old(q, start, buffer, offset - start);

	if (!result)
		result = read_old(q, offset + length, buffer + (offset + length - start), end - (offset + length));
	iov_gather(buffer + (offset - start), iov, iov_count, skip, length);
	if (!result && q->encrypted)
		result = q->cipher ? cipher_encrypt(q->cipher, start / CIPHER_SECTOR, buffer, end - start) : -EIO;
	return result;
}

/* A place behind the end of the file. */
static int take_place(struct qcow *q, uint64_t bytes, uint64_t alignment, uint64_t limit, uint64_t *host)
{
	int result = 0;

	pthread_mutex_lock(&q->tables.lock);
	*host = align_up(q->tables.next, alignment);
	if (*host > limit - bytes)
		result = -EFBIG;
	else
		q->tables.next = *host + bytes;
	pthread_mutex_unlock(&q->tables.lock);
	return result;
}

static int link_clusters(struct qcow *q, uint64_t first, uint64_t count, uint64_t entry, uint64_t step)
{
	int result;

	pthread_mutex_lock(&q->tables.lock);
	result = qcow_link(q, first, count, entry, step);
	pthread_mutex_unlock(&q->tables.lock);
	return result;
}

/* `allocating` is held. Of a run that has no place of its own; *bytes: how much of it was written. */
static int write_new(struct qcow *q, uint64_t offset, uint64_t *bytes, const struct iovec *iov, int iov_count,
		     uint64_t skip)
{
	const uint64_t start = align_down(offset, q->cluster_bytes);
	const uint64_t end = min_u64(align_up(offset + *bytes, q->cluster_bytes), start + RUN_BYTES);
	void *buffer = NULL;
	uint64_t host = 0;
	int result;

	*bytes = min_u64(*bytes, end - offset);
	if (posix_memalign(&buffer, 4096, align_up(end - start, 4096)))
		return -ENOMEM;
	result = assemble(q, buffer, start, end, offset, *bytes, iov, iov_count, skip);
	if (!result)
		result = take_place(q, end - start, q->cluster_bytes, INT64_MAX, &host);
	if (!result)
		result = image_file_write(q->block->file, host, buffer, end - start);
	if (!result)
		result = link_clusters(q, start >> q->cluster_bits, (end - start) >> q->cluster_bits, host,
				       q->cluster_bytes);
	free(buffer);
	return result;
}

static int write_in_place(struct qcow *q, const struct qcow_run *run, uint64_t offset, const struct iovec *iov,
			  int iov_count, uint64_t skip)
{
	bool bad;

	pthread_mutex_lock(&q->tables.lock);
	bad = qcow_is_out_of_place(q, run->host, run->bytes);
	pthread_mutex_unlock(&q->tables.lock);
	if (bad || qcow_is_unaligned(run, offset) || (q->encrypted && !q->cipher))
		return -EIO;
	if (q->encrypted)
		return cipher_file_write(q->cipher, q->block->file, run->host, offset / CIPHER_SECTOR, iov, iov_count,
					 skip, run->bytes);
	return image_file_iov(q->block->file, BLOCK_WRITE, run->host, iov, iov_count, skip, run->bytes);
}

static int write_some(struct qcow *q, uint64_t offset, uint64_t length, const struct iovec *iov, int iov_count,
		      uint64_t skip, uint64_t *done)
{
	struct qcow_run run;
	int result = look_up(q, offset, length, &run);

	*done = run.bytes;
	if (result)
		return result;
	if (run.kind == QCOW_NORMAL)
		return write_in_place(q, &run, offset, iov, iov_count, skip);
	pthread_mutex_lock(&q->allocating);
	result = look_up(q, offset, length, &run);
	*done = run.kind == QCOW_NORMAL ? 0 : run.bytes; /* somebody else has just given it a place */
	if (!result && *done)
		result = write_new(q, offset, done, iov, iov_count, skip);
	pthread_mutex_unlock(&q->allocating);
	return result;
}

int qcow_flush(struct block *block)
{
	struct qcow *q = block->private_data;

	return sparse_flush(&q->tables);
}

static int relieve(struct qcow *q)
{
	bool too_much;

	pthread_mutex_lock(&q->tables.lock);
	too_much = q->tables.dirty * q->tables.table_bytes > MAX_DIRTY_BYTES;
	pthread_mutex_unlock(&q->tables.lock);
	return too_much ? sparse_flush(&q->tables) : 0;
}

static int write_all(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		     uint32_t flags)
{
	struct qcow *q = block->private_data;
	uint64_t done = 0;
	int result = 0;

	for (uint64_t skip = 0; skip < length && !result; skip += done) {
		result = relieve(q);
		if (!result)
			result = write_some(q, offset + skip, length - skip, iov, iov_count, skip, &done);
	}
	if (!result && flags & BLOCK_FUA)
		result = qcow_flush(block);
	return result;
}

int qcow_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		uint32_t flags)
{
	struct qcow *q = block->private_data;

	if (q->cipher)
		return cipher_write_sectors(block, &q->crypt_gate, write_all, offset, iov, iov_count, length, flags);
	return write_all(block, offset, iov, iov_count, length, flags);
}

/* There is no entry that means zeroes: only what is absent and has nothing below it need not be written. */
int qcow_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct qcow *q = block->private_data;
	struct iovec iov = {.iov_len = min_u64(length, RUN_BYTES)};
	int result = 0;

	if (block->backing)
		return -ENOTSUP; /* bytes */
	iov.iov_base = calloc(1, iov.iov_len);
	if (!iov.iov_base)
		return -ENOMEM;
	while (length && !result) {
		struct qcow_run run;

		result = look_up(q, offset, length, &run);
		if (result)
			break;
		if (run.kind != QCOW_ABSENT) {
			run.bytes = min_u64(run.bytes, RUN_BYTES);
			iov.iov_len = run.bytes;
			result = qcow_pwrite(block, offset, &iov, 1, run.bytes, 0);
		}
		offset += run.bytes;
		length -= run.bytes;
	}
	free(iov.iov_base);
	if (!result && flags & BLOCK_FUA)
		result = qcow_flush(block);
	return result;
}

/* --- compressed clusters --- */

/* Room of one thread, kept for the next. */
struct qcow_packer {
	struct qcow_packer *next;
	struct deflater deflater;
	uint8_t whole[1 << 16], packed[1 << 16];
};

void qcow_packers_free(struct qcow *q)
{
	while (q->packers) {
		struct qcow_packer *packer = q->packers;

		q->packers = packer->next;
		free(packer);
	}
}

static struct qcow_packer *packer_get(struct qcow *q)
{
	struct qcow_packer *packer;

	pthread_mutex_lock(&q->tables.lock);
	packer = q->packers;
	if (packer)
		q->packers = packer->next;
	pthread_mutex_unlock(&q->tables.lock);
	return packer ? packer : malloc(sizeof(*packer));
}

static void packer_put(struct qcow *q, struct qcow_packer *packer)
{
	pthread_mutex_lock(&q->tables.lock);
	packer->next = q->packers;
	q->packers = packer;
	pthread_mutex_unlock(&q->tables.lock);
}

/* Into a cluster that is absent; 1: it is not. Entries have room for places below 2^(63 - cluster_bits). */
static int put_packed(struct qcow *q, uint64_t offset, const uint8_t *packed, size_t bytes)
{
	const unsigned size_at = 63 - q->cluster_bits;
	struct qcow_run run;
	uint64_t host = 0;
	int result;

	pthread_mutex_lock(&q->allocating);
	result = look_up(q, offset, 1, &run);
	if (!result && run.kind != QCOW_ABSENT)
		result = 1;
	if (!result)
		result = take_place(q, bytes, 1, 1ull << size_at, &host);
	if (!result)
		result = image_file_write(q->block->file, host, packed, bytes);
	if (!result)
		result = link_clusters(q, offset >> q->cluster_bits, 1, 1ull << 63 | (uint64_t)bytes << size_at | host,
				       0);
	pthread_mutex_unlock(&q->allocating);
	return result;
}

int qcow_write_compressed(struct block *block, uint64_t offset, const void *data, uint64_t length)
{
	struct qcow *q = block->private_data;
	struct qcow_packer *packer;
	size_t bytes;
	int result = relieve(q);

	if (offset & (q->cluster_bytes - 1) || length > q->cluster_bytes ||
	    !range_inside(offset, length, block->length) ||
	    (length < q->cluster_bytes && offset + length != block->length))
		return -EINVAL;
	if (result)
		return result;
	packer = packer_get(q);
	if (!packer)
		return -ENOMEM;
	memcpy(packer->whole, data, length);
	memset(packer->whole + length, 0, q->cluster_bytes - length);
	/* One byte less than a cluster: the size must fit its bits. */
	bytes = deflate_bytes(&packer->deflater, packer->whole, q->cluster_bytes, packer->packed, q->cluster_bytes - 1);
	result = bytes ? put_packed(q, offset, packer->packed, bytes) : 1;
	packer_put(q, packer);
	return result == 1 ? block_pwrite(block, offset, data, length, 0) : result;
}
