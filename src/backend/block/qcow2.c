/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 driver (docs/interop/qcow2.txt of QEMU), versions 2 and 3: opening, the backing chain, the fast form, and
 * the driver's table.
 */
#include "backend/block/qcow2_bitmap.h"

#include <jansson.h>
#include <stdlib.h>

static int qcow2_probe(const uint8_t *head, size_t length, const char *filename)
{
	if (length >= 8 && load_be32(head) == QCOW2_MAGIC && load_be32(head + 4) >= 2)
		return 100;
	return 0;
}

/* --- tables in memory --- */

static int load_u64_table(struct qcow2 *q, uint64_t offset, uint64_t entries, uint64_t **table, const char *what,
			  struct error *err)
{
	int result;

	/* The sizes were checked against fixed limits. */
	*table = malloc(max_u64(entries, 1) * 8);
	if (!*table)
		return error_set(err, ENOMEM, "no memory for the %s", what);
	result = entries ? qcow2_file_read(q, offset, *table, entries * 8) : 0;
	if (result)
		return error_set_errno(err, -result, "Could not read the %s", what);
	for (uint64_t i = 0; i < entries; i++)
		(*table)[i] = load_be64(&(*table)[i]);
	return 0;
}

static int load_tables(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	int result;

	q->reftable_entries = (uint32_t)(((uint64_t)h->reftable_clusters << q->cluster_bits) / 8);
	if ((result = load_u64_table(q, h->reftable_offset, q->reftable_entries, &q->reftable, "reference count table",
				     err)) ||
	    (result = load_u64_table(q, h->l1_offset, h->l1_size, &q->l1, "L1 table", err)))
		return result;
	return qcow2_snapshots_read(q, err);
}

/* --- open and close --- */

static void destroy(struct qcow2 *q)
{
	qcow2_cache_free(&q->l2);
	qcow2_cache_free(&q->refcounts);
	qcow2_snapshots_free(q);
	qcow2_workspaces_free(q);
	free(q->backing_name);
	free(q->backing_format);
	free(q->data_name);
	qcow2_bitmaps_close(q);
	qcow2_data_close(q);
	qcow2_crypt_close(q);
	free(q->extensions);
	free(q->l1);
	free(q->reftable);
	free(q->frees);
	pthread_mutex_destroy(&q->lock);
	pthread_mutex_destroy(&q->flush_lock);
	pthread_cond_destroy(&q->landed);
}

static int setup(struct qcow2 *q, struct options *options, const struct block_open *how, struct error *err)
{
	int result;

	if ((result = qcow2_header_read(q, err)) || (result = qcow2_runtime_open(q, options, err)) ||
	    (result = load_tables(q, err)) || (result = qcow2_bitmaps_open(q, err)) ||
	    (result = qcow2_data_open(q, options, how, err)) || (result = qcow2_crypt_open(q, options, how, err)) ||
	    (result = block_backing_open(q->block, q->backing_name, q->backing_format, options, how, err)))
		return result;
	q->block->length = q->header.size;
	q->block->optimal_bytes = q->cluster_bytes;
	q->fresh_from = qcow2_clusters(q, q->file_end);
	return 0;
}

static int repair_unclean(struct qcow2 *q, struct error *err)
{
	struct block_check check = {0};
	int result;

	if (!(q->header.incompatible & QCOW2_DIRTY) || q->block->read_only)
		return 0;
	result = qcow2_check(q->block, &check, true, true, err);
	return result ? error_prefix(err, "Could not repair dirty image") : 0;
}

static int qcow2_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct qcow2 *q = block->private_data;
	int result;

	q->block = block;
	q->file_end = block->file->length;
	q->allow_corrupt = how->no_repair;
	/* Only a plain file reads as zeroes where nothing was written. */
	q->freed_from = UINT64_MAX;
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&q->flush_lock, NULL);
	pthread_cond_init(&q->landed, NULL);
	result = setup(q, options, how, err);
	if (!result && !block->file->driver->zero_behind_end)
		q->fresh_from = UINT64_MAX;
	if (!result && !how->no_repair)
		result = repair_unclean(q, err);
	if (result < 0)
		destroy(q);
	return result;
}

static int write_out(struct qcow2 *q)
{
	int result = 0;

	pthread_mutex_lock(&q->lock);
	qcow2_places_give_back(q);
	pthread_mutex_unlock(&q->lock);
	if (q->bitmaps_changed || q->bitmaps_in_use)
		result = qcow2_bitmaps_save(q);
	/* The frees that one flush applies go with a second one. */
	for (unsigned i = 0; i < 2 && !result && qcow2_is_dirty(q); i++)
		result = qcow2_flush(q->block);
	return result;
}

static void qcow2_close(struct block *block)
{
	struct qcow2 *q = block->private_data;
	int result = block->read_only ? 0 : write_out(q);

	if (result && block_log(block))
		log_warn(block_log(block), "qcow2: '%s' could not be written when it was closed: %s", block->filename,
			 strerror(-result));
	destroy(q);
}

/* --- the fast form --- */

static int qcow2_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct qcow2 *q = block->private_data;
	struct qcow2_mapping mapping;
	int result = -EAGAIN;

	if ((op != BLOCK_READ && op != BLOCK_WRITE && op != BLOCK_FLUSH) ||
	    (q->header.crypt_method && op != BLOCK_FLUSH) || pthread_mutex_trylock(&q->lock))
		return -EAGAIN;
	if (op == BLOCK_FLUSH)
		result = q->flushing || qcow2_is_dirty(q) || q->data_child ? -EAGAIN : 0;
	else if (op == BLOCK_READ || (q->autoclear_done && !q->corrupt))
		result = qcow2_lookup(q, offset, *length, true, &mapping);
	if (!result && op != BLOCK_FLUSH) {
		*length = mapping.bytes;
		*child_offset = mapping.host;
		if (mapping.kind != QCOW2_NORMAL)
			result = -EAGAIN;
		else if (op == BLOCK_WRITE &&
			 (!mapping.copied || (!q->data_child && qcow2_is_metadata(q, mapping.host, mapping.bytes))))
			result = -EAGAIN;
		else if (op == BLOCK_WRITE)
			qcow2_bitmaps_mark(q, offset, *length);
	}
	pthread_mutex_unlock(&q->lock);
	return result;
}

static struct block *qcow2_data_node(struct block *block, uint64_t offset)
{
	const struct qcow2 *q = block->private_data;

	return q->data;
}

static void qcow2_describe(const struct block *block, struct block_info *info)
{
	const struct qcow2 *q = block->private_data;

	*info = (struct block_info){
		.cluster_bytes = q->cluster_bytes,
		.dirty = q->header.incompatible & QCOW2_DIRTY,
		.encrypted = q->header.crypt_method,
		.backing = q->backing_name,
		.backing_format = q->backing_format,
		.snapshot_count = q->header.snapshot_count,
	};
}

static json_t *describe_bitmaps(const struct qcow2 *q)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		const struct qcow2_bitmap *bitmap = &q->bitmaps[i];
		json_t *flags = json_array();

		if (bitmap->inconsistent)
			json_array_append_new(flags, json_string("in-use"));
		if (bitmap->enabled)
			json_array_append_new(flags, json_string("auto"));
		json_array_append_new(list, json_pack("{s:o,s:o,s:I}", "flags", flags, "name",
						      json_stringn_nocheck(bitmap->name, strlen(bitmap->name)),
						      "granularity", (json_int_t)1 << bitmap->granularity_bits));
	}
	return list;
}

static json_t *qcow2_specific_info(const struct block *block)
{
	const struct qcow2 *q = block->private_data;
	const bool new = q->header.version >= 3;
	json_t *data = json_object();

	json_object_set_new(data, "compat", json_string(new ? "1.1" : "0.10"));
	json_object_set_new(data, "compression-type", json_string(q->header.compression ? "zstd" : "zlib"));
	if (new)
		json_object_set_new(data, "lazy-refcounts", json_boolean(q->header.compatible & QCOW2_LAZY_REFCOUNTS));
	if (q->bitmap_count)
		json_object_set_new(data, "bitmaps", describe_bitmaps(q));
	json_object_set_new(data, "refcount-bits", json_integer(q->refcount_bits));
	if (q->data_name)
		json_object_set_new(data, "data-file", json_stringn_nocheck(q->data_name, strlen(q->data_name)));
	if (qcow2_is_external(q))
		json_object_set_new(data, "data-file-raw", json_boolean(q->header.autoclear & QCOW2_RAW_DATA));
	if (q->header.crypt_method)
		json_object_set_new(data, "encrypt", qcow2_crypt_describe(q));
	if (new) {
		json_object_set_new(data, "corrupt", json_boolean(q->header.incompatible & QCOW2_CORRUPT));
		json_object_set_new(data, "extended-l2", json_boolean(qcow2_is_extended(q)));
	}
	return data;
}

static const char *const qcow2_strong[] = {"encrypt.key-secret", NULL};

const struct block_driver block_qcow2_driver = {
	.name = "qcow2",
	.size = sizeof(struct qcow2),
	.known = qcow2_runtime_options,
	.strong = qcow2_strong,
	.own_metadata = true,
	.probe = qcow2_probe,
	.open = qcow2_open,
	.close = qcow2_close,
	.pread = qcow2_pread,
	.pwrite = qcow2_pwrite,
	.flush = qcow2_flush,
	.discard = qcow2_discard,
	.write_zeroes = qcow2_write_zeroes,
	.place = qcow2_place,
	.truncate = qcow2_truncate,
	.preallocate = qcow2_preallocate,
	.extent = qcow2_extent,
	.create_options = qcow2_create_options,
	.create = qcow2_create_image,
	.measure = qcow2_measure_image,
	.amend_options = qcow2_amend_options,
	.amend = qcow2_amend,
	.info = qcow2_describe,
	.specific_info = qcow2_specific_info,
	.check = qcow2_check,
	.write_compressed = qcow2_write_compressed,
	.set_backing = qcow2_set_backing,
	.make_empty = qcow2_make_empty,
	.data_node = qcow2_data_node,
	.map = qcow2_map,
};
