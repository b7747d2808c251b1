/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first version of qcow, read and written: a header, an L1 table, L2 tables, clusters of 512 bytes to 64 KiB that
 * are absent (the backing file shows), plain or compressed (raw deflate); optionally encrypted with the legacy AES.
 * QEMU's old qcow-image-format document describes it. Nothing is counted and nothing is ever given back; new clusters
 * and tables go behind the end of the file, so what is referred to is never written over.
 *
 * Left out: changing the size or the backing file, checks (as in qemu).
 */
#include "backend/block/qcow.h"

#include "backend/block/cipher.h"

#include <stdlib.h>

#define MAX_BACKING_NAME 1023u

static int qcow_probe(const uint8_t *head, size_t length, const char *filename)
{
	return length >= QCOW_HEADER_BYTES && load_be32(head) == QCOW_MAGIC && load_be32(head + QCOW_AT_VERSION) == 1
		       ? 100
		       : 0;
}

/* --- tables --- */

static uint64_t span_bits(const struct qcow *q)
{
	return q->cluster_bits + q->l2_bits;
}

/* A page of the L1 table is as large as an L2 table, so that both live in one cache. */
static int l1_entry(struct qcow *q, uint64_t index, bool cached_only, struct sparse_table **page, uint32_t *slot)
{
	const uint64_t per_page = q->tables.table_bytes / 8;

	*slot = (uint32_t)(index % per_page);
	return sparse_table_get(&q->tables, q->l1_offset + index / per_page * q->tables.table_bytes, cached_only, page);
}

/* *table NULL: the L1 entry is 0. */
static int l2_of(struct qcow *q, uint64_t l1_index, bool cached_only, struct sparse_table **table)
{
	struct sparse_table *page;
	uint64_t offset;
	uint32_t slot;
	int result = l1_entry(q, l1_index, cached_only, &page, &slot);

	*table = NULL;
	if (result)
		return result;
	offset = load_be64(page->data + slot * 8ull);
	if (!offset)
		return 0;
	if (!range_inside(offset, q->tables.table_bytes, align_up(q->tables.next, q->cluster_bytes)))
		return -EIO;
	return sparse_table_get(&q->tables, offset, cached_only, table);
}

static struct qcow_run decode(const struct qcow *q, uint64_t entry)
{
	const unsigned size_at = 63 - q->cluster_bits;

	if (entry & 1ull << 63)
		return (struct qcow_run){
			.kind = QCOW_PACKED,
			.host = entry & ((1ull << size_at) - 1),
			.packed_bytes = (uint32_t)(entry >> size_at & (q->cluster_bytes - 1)),
		};
	return (struct qcow_run){.kind = entry ? QCOW_NORMAL : QCOW_ABSENT, .host = entry};
}

int qcow_look_up(struct qcow *q, uint64_t offset, uint64_t length, bool cached_only, struct qcow_run *run)
{
	const uint64_t l1_index = offset >> span_bits(q), within = offset & (q->cluster_bytes - 1);
	const uint64_t entries = 1ull << q->l2_bits;
	uint64_t slot = offset >> q->cluster_bits & (entries - 1);
	struct sparse_table *table;
	int result = l2_of(q, l1_index, cached_only, &table);

	if (result)
		return result;
	*run = table ? decode(q, load_be64(table->data + slot * 8)) : (struct qcow_run){.kind = QCOW_ABSENT};
	run->bytes = q->cluster_bytes - within;
	while (run->kind != QCOW_PACKED && run->bytes < length && ++slot < entries) {
		const struct qcow_run next =
			table ? decode(q, load_be64(table->data + slot * 8)) : (struct qcow_run){.kind = QCOW_ABSENT};

		if (next.kind != run->kind ||
		    (next.kind == QCOW_NORMAL && next.host != run->host + within + run->bytes))
			break;
		run->bytes += q->cluster_bytes;
	}
	run->bytes = min_u64(run->bytes, length);
	if (run->kind == QCOW_NORMAL)
		run->host += within;
	return 0;
}

/* A new L2 table behind the end of the file, where it reads as zeroes; linked in memory. */
static int add_l2(struct qcow *q, uint64_t l1_index, struct sparse_table **table)
{
	const uint64_t offset = align_up(q->tables.next, q->cluster_bytes);
	struct sparse_table *page;
	uint32_t slot;
	int result;

	if (offset > (uint64_t)INT64_MAX - q->tables.table_bytes)
		return -EFBIG;
	q->tables.next = offset + q->tables.table_bytes;
	result = sparse_table_get(&q->tables, offset, false, table);
	if (result)
		return result;
	/* All of it is written, so that the file has it; and a changed table stays in memory. */
	memset((*table)->data, 0, q->tables.table_bytes);
	sparse_table_dirty(&q->tables, *table, 0);
	sparse_table_dirty(&q->tables, *table, (1u << q->l2_bits) - 1);
	result = l1_entry(q, l1_index, false, &page, &slot);
	if (result)
		return result;
	store_be64(page->data + slot * 8ull, offset);
	sparse_table_dirty(&q->tables, page, slot);
	return 0;
}

int qcow_link(struct qcow *q, uint64_t first_cluster, uint64_t count, uint64_t entry, uint64_t step)
{
	const uint64_t l1_index = first_cluster >> q->l2_bits;
	struct sparse_table *table;
	int result = l2_of(q, l1_index, false, &table);

	if (!result && !table)
		result = add_l2(q, l1_index, &table);
	for (uint64_t i = 0; i < count && !result; i++) {
		const uint32_t slot = (uint32_t)((first_cluster + i) & ((1u << q->l2_bits) - 1));

		store_be64(table->data + slot * 8ull, entry + i * step);
		sparse_table_dirty(&q->tables, table, slot);
	}
	return result;
}

bool qcow_is_out_of_place(const struct qcow *q, uint64_t host, uint64_t length)
{
	const uint64_t l1_end = q->l1_offset + q->l1_entries * 8;

	return host < QCOW_HEADER_BYTES || !range_inside(host, length, align_up(q->tables.next, q->cluster_bytes)) ||
	       (host < l1_end && q->l1_offset < host + length);
}

static bool is_l1(const struct qcow *q, const struct sparse_piece *piece)
{
	return piece->offset >= q->l1_offset && piece->offset < q->l1_offset + q->l1_entries * 8;
}

/* L2 tables before what refers to them; the data are durable. */
static int write_tables(struct sparse *s, const struct sparse_piece *pieces, size_t count)
{
	struct qcow *q = s->owner;
	bool have_l1 = false;
	int result = 0;

	for (int l1 = 0; l1 <= 1 && !result; l1++) {
		if (l1 && !have_l1)
			break;
		for (size_t i = 0; i < count && !result; i++) {
			if (is_l1(q, &pieces[i]) == (l1 == 1))
				result = image_file_write(s->file, pieces[i].offset, pieces[i].data, pieces[i].length);
			else
				have_l1 |= !l1;
		}
		if (!result)
			result = block_flush(s->file);
	}
	return result;
}

static const struct sparse_ops qcow_tables = {.write_tables = write_tables};

/* --- opening --- */

static int check_header(const uint8_t *h, struct error *err)
{
	const uint64_t size = load_be64(h + QCOW_AT_SIZE);
	const uint8_t cluster_bits = h[QCOW_AT_CLUSTER_BITS], l2_bits = h[QCOW_AT_L2_BITS];

	if (load_be32(h) != QCOW_MAGIC)
		return error_set(err, EINVAL, "Image not in qcow format");
	if (load_be32(h + QCOW_AT_VERSION) != 1)
		return error_set(err, ENOTSUP, "qcow (v1) does not support qcow version %u%s",
				 load_be32(h + QCOW_AT_VERSION),
				 load_be32(h + QCOW_AT_VERSION) == 2 || load_be32(h + QCOW_AT_VERSION) == 3
					 ? "\nTry the 'qcow2' driver instead."
					 : "");
	if (size <= 1)
		return error_set(err, EINVAL, "Image size is too small (must be at least 2 bytes)");
	if (cluster_bits < 9 || cluster_bits > 16)
		return error_set(err, EINVAL, "Cluster size must be between 512 and 64k");
	if (l2_bits < 6 || l2_bits > 13)
		return error_set(err, EINVAL, "L2 table size must be between 512 and 64k");
	if (load_be32(h + QCOW_AT_CRYPT) > 1)
		return error_set(err, EINVAL, "invalid encryption method in qcow header");
	return 0;
}

static int set_up_tables(struct qcow *q, const uint8_t *h, struct error *err)
{
	const uint64_t size = load_be64(h + QCOW_AT_SIZE), file_bytes = q->block->file->length;

	q->cluster_bits = h[QCOW_AT_CLUSTER_BITS];
	q->l2_bits = h[QCOW_AT_L2_BITS];
	q->cluster_bytes = 1ull << q->cluster_bits;
	if (size > INT64_MAX - (1ull << span_bits(q)))
		return error_set(err, EINVAL, "Image too large");
	q->l1_entries = (size + (1ull << span_bits(q)) - 1) >> span_bits(q);
	if (q->l1_entries > INT32_MAX / 8)
		return error_set(err, EINVAL, "Image too large");
	q->l1_offset = load_be64(h + QCOW_AT_L1_OFFSET);
	if (q->l1_offset < QCOW_HEADER_BYTES || !range_inside(q->l1_offset, q->l1_entries * 8, file_bytes))
		return error_set(err, EINVAL,
				 "the L1 table (%llu bytes at %llu) does not lie inside the file (%llu bytes)",
				 (unsigned long long)q->l1_entries * 8, (unsigned long long)q->l1_offset,
				 (unsigned long long)file_bytes);
	q->tables = (struct sparse){
		.ops = &qcow_tables,
		.owner = q,
		.block = q->block,
		.file = q->block->file,
		.length = size,
		.block_bytes = q->cluster_bytes,
		.table_bytes = 8u << q->l2_bits,
		.entry_bytes = 8,
		.write_unit = 8, /* behind the L1 table may lie something else */
		.next = file_bytes,
	};
	sparse_init(&q->tables);
	q->block->length = align_down(size, BLOCK_SECTOR);
	q->block->optimal_bytes = (uint32_t)q->cluster_bytes;
	return 0;
}

static int open_backing(struct qcow *q, const uint8_t *h, struct options *options, const struct block_open *how,
			struct error *err)
{
	const uint64_t at = load_be64(h + QCOW_AT_BACKING_OFFSET);
	const uint32_t length = load_be32(h + QCOW_AT_BACKING_LENGTH);
	int result;

	if (at && length > MAX_BACKING_NAME)
		return error_set(err, EINVAL, "Backing file name too long");
	if (at && length) {
		if (!range_inside(at, length, q->block->file->length))
			return error_set(err, EINVAL, "the name of the backing file lies outside of the file");
		q->backing_name = xcalloc(1, length + 1);
		result = image_file_read(q->block->file, at, q->backing_name, length);
		if (result)
			return error_set_errno(err, -result, "Could not read the name of the backing file");
	}
	/* The format is not in the image: it is found out. */
	return block_backing_open(q->block, q->backing_name, NULL, options, how, err);
}

static int open_cipher(struct qcow *q, const uint8_t *h, struct options *options, const struct block_open *how,
		       struct error *err)
{
	const char *format = options_get(options, "encrypt.format"),
		   *secret = options_get(options, "encrypt.key-secret");

	q->encrypted = load_be32(h + QCOW_AT_CRYPT);
	if (!q->encrypted)
		return format || secret ? error_set(err, EINVAL,
						    "No encryption in image header, but options specified format '%s'",
						    format ? format : "")
					: 0;
	if (format && strcmp(format, "aes"))
		return error_set(err, EINVAL, "Header reported 'aes' encryption format but options specify '%s'",
				 format);
	if (how->describe && !secret)
		return 0;
	q->cipher = qcow_cipher_new(q->block->graph, secret, err);
	return q->cipher ? 0 : -EINVAL;
}

static void destroy(struct qcow *q)
{
	if (q->tables.ops)
		sparse_free(&q->tables);
	qcow_packers_free(q);
	cipher_free(q->cipher);
	free(q->backing_name);
	pthread_mutex_destroy(&q->allocating);
	pthread_rwlock_destroy(&q->crypt_gate);
}

static int qcow_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct qcow *q = block->private_data;
	uint8_t header[QCOW_HEADER_BYTES];
	int result = image_file_read(block->file, 0, header, sizeof(header));

	if (result)
		return error_set_errno(err, -result, "Could not read the header of '%s'", block->filename);
	q->block = block;
	pthread_mutex_init(&q->allocating, NULL);
	pthread_rwlock_init(&q->crypt_gate, NULL);
	if ((result = check_header(header, err)) || (result = open_cipher(q, header, options, how, err)) ||
	    (result = set_up_tables(q, header, err)) || (result = open_backing(q, header, options, how, err)))
		destroy(q);
	return result;
}

static void qcow_close(struct block *block)
{
	struct qcow *q = block->private_data;

	if (!block->read_only && sparse_is_dirty(&q->tables)) {
		int result = sparse_flush(&q->tables);

		if (result && block_log(block))
			log_warn(block_log(block), "qcow: '%s' could not be written when it was closed: %s",
				 block->filename, strerror(-result));
	}
	destroy(q);
}

/* --- the rest of the driver --- */

static int qcow_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct qcow *q = block->private_data;
	struct qcow_run run;
	int result = -EAGAIN;

	if ((op != BLOCK_READ && op != BLOCK_WRITE && op != BLOCK_FLUSH) || pthread_mutex_trylock(&q->tables.lock))
		return -EAGAIN;
	if (op == BLOCK_FLUSH) {
		result = q->tables.dirty || q->tables.flushing ? -EAGAIN : 0;
	} else if (!q->encrypted && qcow_look_up(q, offset, *length, true, &run) == 0 && run.kind == QCOW_NORMAL &&
		   !qcow_is_unaligned(&run, offset) &&
		   (op == BLOCK_READ || !qcow_is_out_of_place(q, run.host, run.bytes))) {
		*length = run.bytes;
		*child_offset = run.host;
		result = 0;
	}
	pthread_mutex_unlock(&q->tables.lock);
	return result;
}

static int qcow_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct qcow *q = block->private_data;
	struct qcow_run run;
	int result;

	pthread_mutex_lock(&q->tables.lock);
	result = qcow_look_up(q, offset, *length, false, &run);
	pthread_mutex_unlock(&q->tables.lock);
	if (result)
		return result;
	*length = run.bytes;
	*child_offset = run.host;
	if (run.kind == QCOW_ABSENT)
		return block->backing ? 0 : BLOCK_EXTENT_ZERO;
	return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA |
	       (run.kind == QCOW_NORMAL && !q->encrypted ? BLOCK_EXTENT_OFFSET_VALID : 0);
}

static void qcow_info(const struct block *block, struct block_info *info)
{
	const struct qcow *q = block->private_data;

	*info = (struct block_info){
		.cluster_bytes = (uint32_t)q->cluster_bytes, .encrypted = q->encrypted, .backing = q->backing_name};
}

/* Zeroes over the L1 table, durable, before the file ends behind it. */
static int qcow_make_empty(struct block *block, struct error *err)
{
	struct qcow *q = block->private_data;
	const uint64_t l1_end = q->l1_offset + q->l1_entries * 8;
	uint64_t at = q->l1_offset;
	uint8_t *zeroes = calloc(1, MIB);
	int result = zeroes ? sparse_flush(&q->tables) : -ENOMEM;

	for (; at < l1_end && !result; at += MIB)
		result = image_file_write(block->file, at, zeroes, min_u64(MIB, l1_end - at));
	free(zeroes);
	if (!result)
		result = block_flush(block->file);
	sparse_free(&q->tables);
	memset(q->tables.buckets, 0, sizeof(q->tables.buckets));
	q->tables.tables = q->tables.dirty = 0;
	sparse_init(&q->tables);
	if (result)
		return error_set_errno(err, -result, "Could not empty the L1 table");
	result = block_truncate(block->file, l1_end, err);
	if (!result)
		q->tables.next = block->file->length;
	return result == -ENOTSUP ? 0 : result;
}

static const char *const qcow_strong[] = {"encrypt.key-secret", NULL};
static const char *const qcow_options[] = {"backing", "backing.*", "encrypt.format", "encrypt.key-secret", NULL};

const struct block_driver block_qcow_driver = {
	.name = "qcow",
	.size = sizeof(struct qcow),
	.known = qcow_options,
	.strong = qcow_strong,
	.own_metadata = true,
	.probe = qcow_probe,
	.open = qcow_open,
	.close = qcow_close,
	.pread = qcow_pread,
	.pwrite = qcow_pwrite,
	.flush = qcow_flush,
	.write_zeroes = qcow_write_zeroes,
	.extent = qcow_extent,
	.create_options = qcow_create_options,
	.create = qcow_create,
	.info = qcow_info,
	.write_compressed = qcow_write_compressed,
	.make_empty = qcow_make_empty,
	.map = qcow_map,
};
