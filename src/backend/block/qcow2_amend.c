/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of an image's options: version, width of reference counts, lazy refcounts, length, the name of an external
 * data file, key slots. Each is a step of its own that ends with one write of the header.
 */
#include "backend/block/luks_options.h"
#include "backend/block/qcow2_bitmap.h"

#include <stdlib.h>

const struct block_create_option qcow2_amend_options[] = {
	{"encrypt.state", BLOCK_OPTION_STRING, "Select new state of affected keyslots (active/inactive)", NULL},
	{"encrypt.keyslot", BLOCK_OPTION_NUMBER, "Select a single keyslot to modify explicitly", NULL},
	{"encrypt.old-secret", BLOCK_OPTION_STRING, "Select all keyslots that match this password", NULL},
	{"encrypt.new-secret", BLOCK_OPTION_STRING, "New secret to set in the matching keyslots. Empty string to erase",
	 NULL},
	{"encrypt.iter-time", BLOCK_OPTION_NUMBER, "Time to spend in PBKDF in milliseconds", NULL},
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"compat", BLOCK_OPTION_STRING, "Compatibility level (v2 [0.10] or v3 [1.1])", NULL},
	{"backing_file", BLOCK_OPTION_STRING, "File name of a base image", NULL},
	{"backing_fmt", BLOCK_OPTION_STRING, "Image format of the base image", NULL},
	{"data_file", BLOCK_OPTION_STRING, "File name of an external data file", NULL},
	{"data_file_raw", BLOCK_OPTION_BOOL, "The external data file must stay valid as a raw image", NULL},
	{"lazy_refcounts", BLOCK_OPTION_BOOL, "Postpone refcount updates", NULL},
	{"refcount_bits", BLOCK_OPTION_NUMBER, "Width of a reference count entry in bits", NULL},
	{NULL},
};

/* What is asked for, decoded. */
struct wanted {
	unsigned version, refcount_bits;
	bool lazy, has_lazy, encryption, raw, has_raw;
	uint64_t size;
	const char *data_file;
};

static int decode(struct qcow2 *q, struct options *options, struct wanted *w, struct error *err)
{
	const char *compat = options_get(options, "compat"), *raw = options_get(options, "data_file_raw");
	const char *lazy = options_get(options, "lazy_refcounts");
	uint64_t bits = q->refcount_bits;

	*w = (struct wanted){.version = q->header.version, .data_file = options_get(options, "data_file")};
	if (options_get(options, "backing_file") || options_get(options, "backing_fmt"))
		return error_set(err, ENOTSUP, "Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
	if (compat && (!strcmp(compat, "0.10") || !strcmp(compat, "v2")))
		w->version = 2;
	else if (compat && (!strcmp(compat, "1.1") || !strcmp(compat, "v3")))
		w->version = 3;
	else if (compat)
		return error_set(err, EINVAL, "Unknown compatibility level %s", compat);
	for (size_t i = 0; i < options->count; i++)
		w->encryption |= !strncmp(options->items[i].key, "encrypt.", 8);
	options_u64(options, "refcount_bits", &bits, UINT64_MAX, NULL);
	if (!bits || bits > 64 || !is_power_of_two(bits))
		return error_set(err, EINVAL, "Refcount width must be a power of two and may not exceed 64 bits");
	w->refcount_bits = (unsigned)bits;
	w->size = q->header.size;
	if (options_get(options, "size"))
		options_size(options, "size", &w->size, 1, NULL);
	w->has_lazy = lazy;
	w->has_raw = raw;
	options_bool(options, "lazy_refcounts", &w->lazy, NULL);
	options_bool(options, "data_file_raw", &w->raw, NULL);
	return 0;
}

static int check(const struct qcow2 *q, const struct wanted *w, struct error *err)
{
	const bool external = qcow2_is_external(q);

	if (w->encryption && !q->header.crypt_method)
		return error_set(err, EINVAL, "Can't amend encryption options - encryption not present");
	if (w->encryption && !q->luks)
		return error_set(err, ENOTSUP, "Only LUKS encryption options can be amended");
	if (w->data_file && !external)
		return error_set(err, EINVAL, "data-file can only be set for images that use an external data file");
	if (w->raw && !(q->header.autoclear & QCOW2_RAW_DATA))
		return error_set(err, EINVAL, "data-file-raw cannot be set on existing images");
	return 0;
}

/* --- version --- */

/* The fields of version 3 come into being; the header is rewritten as a whole. */
static int upgrade(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header old = q->header;
	int result;

	q->header.version = 3;
	q->header.header_length = 112;
	q->header.incompatible = q->header.compatible = q->header.autoclear = 0;
	q->header.compression = 0;
	result = qcow2_header_rewrite(q, err);
	if (result)
		q->header = old;
	return result;
}

/* Zero clusters without a place, within one L2 table, become unallocated. */
static int forget_zeroes(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	const uint64_t count = qcow2_clusters(q, bytes);
	struct qcow2_table *table;
	uint32_t index;
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_l2_for_write(q, offset, &table, &index);
	for (uint64_t i = 0; i < count && !result; i++)
		qcow2_entry_store(q, table->data, index + i, (struct qcow2_entry){0});
	if (!result)
		qcow2_entries_dirty(q, table, index, count);
	pthread_mutex_unlock(&q->lock);
	return result;
}

/* Version 2 knows no zero clusters: without a backing file they need not be there, else they become data. */
static int expand_zeroes(struct qcow2 *q, struct error *err)
{
	uint8_t *zeroes = xcalloc(1, q->cluster_bytes);
	int result = 0;

	for (uint64_t offset = 0; offset < q->header.size && !result;) {
		struct qcow2_mapping mapping;
		uint64_t bytes = q->header.size - offset, part;

		pthread_mutex_lock(&q->lock);
		result = qcow2_lookup(q, offset, bytes, false, &mapping);
		pthread_mutex_unlock(&q->lock);
		if (result || (mapping.kind != QCOW2_ZERO_PLAIN && mapping.kind != QCOW2_ZERO_ALLOCATED)) {
			offset += result ? 0 : mapping.bytes;
			continue;
		}
		if (!q->backing_name && mapping.kind == QCOW2_ZERO_PLAIN) {
			result = forget_zeroes(q, offset, mapping.bytes);
			offset += mapping.bytes;
			continue;
		}
		for (bytes = mapping.bytes; bytes && !result; bytes -= part, offset += part) {
			part = min_u64(bytes, q->cluster_bytes);
			result = block_pwrite(q->block, offset, zeroes, part, 0);
		}
	}
	free(zeroes);
	return result ? error_set_errno(err, -result, "Failed to turn zero into data clusters") : 0;
}

static int downgrade(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header old = q->header;
	const uint64_t features = old.incompatible & ~(uint64_t)(QCOW2_DIRTY | QCOW2_COMPRESSION);
	uint64_t active = 0, snapshots = 0;
	int result;

	if (q->refcount_bits != 16)
		return error_set(err, ENOTSUP, "compat=0.10 requires refcount_bits=16");
	if (qcow2_is_external(q))
		return error_set(err, ENOTSUP, "Cannot downgrade an image with a data file");
	if (features)
		return error_set(err, ENOTSUP, "Cannot downgrade an image with incompatible features 0x%llx set",
				 (unsigned long long)features);
	if ((result = qcow2_kinds_seen(q, &active, &snapshots)))
		return error_set_errno(err, -result, "Could not read the tables");
	if (q->header.compression != QCOW2_ZLIB && (active | snapshots) & QCOW2_COMPRESSED)
		return error_set(err, ENOTSUP,
				 "Cannot downgrade an image with zstd compression type and existing "
				 "compressed clusters");
	for (uint32_t i = 0; i < q->header.snapshot_count; i++)
		if ((snapshots & QCOW2_ZERO && q->header.crypt_method) || q->snapshots[i].disk_bytes != q->header.size ||
		    q->snapshots[i].vm_state_bytes > UINT32_MAX)
			return error_set(err, ENOTSUP, "Internal snapshots prevent downgrade of image");
	if (q->bitmap_count)
		return error_set(err, ENOTSUP, "Dirty bitmaps prevent downgrade of image");
	result = expand_zeroes(q, err);
	if (!result && snapshots & QCOW2_ZERO && (result = qcow2_snapshots_expand_zeroes(q)))
		error_set_errno(err, -result, "Failed to turn zero into data clusters");
	if (!result && ((result = qcow2_flush(q->block)) || (result = qcow2_flush(q->block))))
		error_set_errno(err, -result, "Could not write the image");
	if (result)
		return result;
	qcow2_extension_set(q, QCOW2_EXT_FEATURE_NAMES, NULL, 0);
	qcow2_extension_set(q, QCOW2_EXT_BITMAPS, NULL, 0);
	q->header.version = 2;
	q->header.header_length = 72;
	q->header.incompatible = q->header.compatible = q->header.autoclear = 0;
	q->header.compression = QCOW2_ZLIB;
	result = qcow2_header_rewrite(q, err);
	if (result)
		q->header = old;
	return result;
}

/* --- the others --- */

static int set_lazy(struct qcow2 *q, bool lazy, struct error *err)
{
	int result;

	if (lazy && q->header.version < 3)
		return error_set(
			err, EINVAL,
			"Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or "
			"greater)");
	if (lazy == !!(q->header.compatible & QCOW2_LAZY_REFCOUNTS))
		return 0;
	q->header.compatible ^= QCOW2_LAZY_REFCOUNTS;
	result = qcow2_header_write_fields(q);
	if (!result)
		result = qcow2_file_sync(q);
	return result ? error_set_errno(err, -result, "Could not write the header") : 0;
}

static int set_data_file(struct qcow2 *q, const struct wanted *w, struct error *err)
{
	if (w->data_file) {
		free(q->data_name);
		q->data_name = *w->data_file ? xstrdup(w->data_file) : NULL;
		qcow2_extension_set(q, QCOW2_EXT_DATA_FILE, q->data_name,
				    q->data_name ? (uint32_t)strlen(q->data_name) : 0);
	}
	if (w->has_raw && !w->raw) {
		q->header.autoclear &= ~(uint64_t)QCOW2_RAW_DATA;
		q->raw_data = false;
	}
	return qcow2_header_rewrite(q, err);
}

static int amend_encryption(struct qcow2 *q, struct options *options, bool force, struct error *err)
{
	struct luks_place place = {.file = q->block->file, .offset = q->crypto_offset, .bytes = q->crypto_bytes};
	const struct luks_store store = luks_store_of(&place);

	return luks_amend(q->luks, &store, q->block->graph, "encrypt.", q->key_secret, options, force, err);
}

int qcow2_amend(struct block *block, struct options *options, bool force, struct error *err)
{
	struct qcow2 *q = block->private_data;
	struct wanted w;
	int result;

	if ((result = decode(q, options, &w, err)) || (result = check(q, &w, err)))
		return result;
	if ((result = qcow2_begin_writing(q)) || (result = qcow2_flush(block)) || (result = qcow2_flush(block)))
		return error_set_errno(err, -result, "Could not write the image");
	/* Upgrade first, so that what follows can be set; downgrade last. */
	if (w.version > q->header.version && (result = upgrade(q, err)))
		return result;
	if (w.encryption && (result = amend_encryption(q, options, force, err)))
		return result;
	if (w.refcount_bits != q->refcount_bits) {
		if (q->header.version < 3)
			return error_set(
				err, EINVAL,
				"Refcount widths other than 16 bits require compatibility level 1.1 or above (use "
				"compat=1.1 or greater)");
		if ((result = qcow2_change_refcount_bits(block, w.refcount_bits, err)))
			return result;
	}
	if ((w.data_file || w.has_raw) && (result = set_data_file(q, &w, err)))
		return result;
	if (w.has_lazy && (result = set_lazy(q, w.lazy, err)))
		return result;
	if (w.size != q->header.size && (result = block_truncate(block, align_up(w.size, BLOCK_SECTOR), err)))
		return result;
	return w.version < q->header.version ? downgrade(q, err) : 0;
}
