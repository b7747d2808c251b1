/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes new qcow2 images. Layout: header, refcount table, refcount blocks, L1 table; with preallocation L2 and data.
 */
#include "backend/block/qcow2_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void qcow2_create_defaults(struct qcow2_create *create)
{
	*create = (struct qcow2_create){.version = 3, .cluster_bytes = 64 * KIB, .refcount_bits = 16};
}

/* Where everything goes, in clusters. */
struct layout {
	uint64_t l1_entries, l1_clusters;
	uint64_t table_clusters, blocks; /* of refcounts */
	uint64_t crypto_clusters;        /* of the encryption header, behind the L1 table */
	uint64_t used;                   /* header, tables, L1 and that */
};

static uint64_t divide_up(uint64_t value, uint64_t by)
{
	return value / by + !!(value % by);
}

/* Guest bytes that one L2 table covers. */
static uint64_t l2_span(const struct qcow2_create *create)
{
	const uint64_t cs = create->cluster_bytes;

	return cs * (cs / (create->extended_l2 ? 16 : 8));
}

/* extra: clusters to be counted besides. */
static void plan(const struct qcow2_create *create, uint64_t extra, struct layout *layout)
{
	const uint64_t cs = create->cluster_bytes, per_block = cs * 8 / create->refcount_bits;

	layout->l1_entries = divide_up(create->length, l2_span(create));
	layout->l1_clusters = divide_up(layout->l1_entries * 8, cs);
	layout->crypto_clusters = divide_up(create->crypto_bytes, cs);
	layout->blocks = layout->table_clusters = 1;
	for (;;) {
		uint64_t blocks;

		layout->used =
			1 + layout->table_clusters + layout->blocks + layout->l1_clusters + layout->crypto_clusters;
		blocks = divide_up(layout->used + extra, per_block);
		if (blocks <= layout->blocks && divide_up(layout->blocks * 8, cs) <= layout->table_clusters)
			break;
		layout->blocks = max_u64(blocks, layout->blocks);
		layout->table_clusters = divide_up(layout->blocks * 8, cs);
	}
}

uint64_t qcow2_crypto_offset(const struct qcow2_create *create)
{
	struct layout layout;

	plan(create, 0, &layout);
	return (layout.used - layout.crypto_clusters) * create->cluster_bytes;
}

uint64_t qcow2_measure(const struct qcow2_create *create, uint64_t data_bytes)
{
	const uint64_t cs = create->cluster_bytes, l2 = divide_up(create->length, l2_span(create));
	struct layout layout;

	plan(create, l2 + divide_up(data_bytes, cs), &layout);
	return (layout.used + l2) * cs + align_up(data_bytes, cs);
}

int qcow2_check_create(const struct qcow2_create *create, struct error *err)
{
	const uint64_t cs = create->cluster_bytes;

	if (!is_power_of_two(cs) || cs < 512 || cs > 2 * MIB)
		return error_set(err, EINVAL, "Cluster size must be a power of two between 512 and 2048k");
	if (create->version != 2 && create->version != 3)
		return error_set(err, EINVAL, "Invalid compatibility level");
	if (create->version < 3 && create->lazy_refcounts)
		return error_set(err, EINVAL,
				 "Lazy refcounts only supported with compatibility level 1.1 and above "
				 "(use version=v3 or greater)");
	if (!is_power_of_two(create->refcount_bits) || create->refcount_bits > 64)
		return error_set(err, EINVAL, "Refcount width must be a power of two and may not exceed 64 bits");
	if (create->version < 3 && create->refcount_bits != 16)
		return error_set(err, EINVAL,
				 "Different refcount widths than 16 bits require compatibility level 1.1 or "
				 "above (use version=v3 or greater)");
	if (create->version < 3 && create->compression != QCOW2_ZLIB)
		return error_set(err, EINVAL,
				 "Non-zlib compression type is only supported with compatibility level 1.1 "
				 "and above (use version=v3 or greater)");
	if (create->version < 3 && create->extended_l2)
		return error_set(err, EINVAL,
				 "Extended L2 entries are only supported with compatibility level 1.1 and above "
				 "(use version=v3 or greater)");
	if (create->extended_l2 && cs < 1u << QCOW2_MIN_EXTENDED_BITS)
		return error_set(err, EINVAL,
				 "Extended L2 entries are only supported with cluster sizes of at least %u bytes",
				 1u << QCOW2_MIN_EXTENDED_BITS);
	if (create->backing && create->preallocation != BLOCK_PREALLOC_OFF && !create->extended_l2)
		return error_set(err, EINVAL,
				 "Backing file and preallocation can only be used at the same time if "
				 "extended_l2 is enabled");
	if (create->data_file_raw && !create->data_file)
		return error_set(err, EINVAL, "data-file-raw requires data-file");
	if (create->data_file_raw && create->backing)
		return error_set(err, EINVAL, "Backing file and data-file-raw cannot be used at the same time");
	if (create->data_file && create->version < 3)
		return error_set(err, EINVAL,
				 "External data files are only supported with compatibility level 1.1 and above (use "
				 "version=v3 or greater)");
	if (create->backing && strlen(create->backing) > 1023)
		return error_set(err, EINVAL, "Backing file name is too long");
	if (create->length > INT64_MAX - cs || divide_up(create->length, l2_span(create)) > QCOW2_MAX_L1_BYTES / 8)
		return error_set(err, EFBIG,
				 "The image size is too large for file format 'qcow2' (try using a larger "
				 "cluster size)");
	return 0;
}

/* --- the pieces --- */

static const struct {
	uint8_t type, bit;
	const char *name;
} features[] = {
	{0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
	{0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
	{2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

static uint32_t put_features(uint8_t *to)
{
	store_be32(to, QCOW2_EXT_FEATURE_NAMES);
	store_be32(to + 4, ARRAY_SIZE(features) * 48);
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		uint8_t *row = to + 8 + i * 48;

		row[0] = features[i].type;
		row[1] = features[i].bit;
		strncpy((char *)row + 2, features[i].name, 46);
	}
	return 8 + ARRAY_SIZE(features) * 48;
}

static uint32_t put_text(uint8_t *to, uint32_t type, const char *text)
{
	const uint32_t length = text ? (uint32_t)strlen(text) : 0;

	if (!text)
		return 0;
	store_be32(to, type);
	store_be32(to + 4, length);
	memcpy(to + 8, text, length);
	return 8 + (uint32_t)align_up(length, 8);
}

static size_t text_bytes(const char *text)
{
	return text ? strlen(text) + 16 : 0;
}

static int write_header(struct block *file, const struct qcow2_create *create, const struct layout *layout,
			struct error *err)
{
	const uint64_t cs = create->cluster_bytes;
	struct qcow2_header header = {
		.version = create->version,
		.cluster_bits = (uint32_t)__builtin_ctzll(cs),
		.size = create->length,
		.crypt_method = create->crypt_method,
		.l1_size = (uint32_t)layout->l1_entries,
		.l1_offset = (1 + layout->table_clusters + layout->blocks) * cs,
		.reftable_offset = cs,
		.reftable_clusters = (uint32_t)layout->table_clusters,
		.incompatible = (create->compression != QCOW2_ZLIB ? QCOW2_COMPRESSION : 0) |
				(create->data_file ? QCOW2_DATA_FILE : 0) |
				(create->extended_l2 ? QCOW2_EXTENDED_L2 : 0),
		.compatible = create->lazy_refcounts ? QCOW2_LAZY_REFCOUNTS : 0,
		.autoclear = create->data_file_raw ? QCOW2_RAW_DATA : 0,
		.refcount_order = (uint32_t)__builtin_ctz(create->refcount_bits),
		.header_length = create->version >= 3 ? 112 : 72,
		.compression = (uint8_t)create->compression,
	};
	const size_t name_length = create->backing ? strlen(create->backing) : 0;
	uint8_t *head = xcalloc(1, 4096 + cs + text_bytes(create->data_file) + text_bytes(create->backing_format));
	uint32_t at = header.header_length;
	int result;

	at += put_text(head + at, QCOW2_EXT_BACKING_FORMAT, create->backing_format);
	at += put_text(head + at, QCOW2_EXT_DATA_FILE, create->data_file);
	if (create->crypto_bytes) {
		store_be32(head + at, QCOW2_EXT_CRYPTO);
		store_be32(head + at + 4, 16);
		store_be64(head + at + 8, qcow2_crypto_offset(create));
		store_be64(head + at + 16, create->crypto_bytes);
		at += 24;
	}
	if (create->version >= 3 && at + 8 + ARRAY_SIZE(features) * 48 + 8 + name_length <= cs)
		at += put_features(head + at);
	at += 8; /* the end mark */
	if (at + name_length > cs) {
		free(head);
		return error_set(err, EINVAL, "Backing file name is too long for a cluster of %llu bytes",
				 (unsigned long long)cs);
	}
	if (name_length) {
		header.backing_offset = at;
		header.backing_length = (uint32_t)name_length;
		memcpy(head + at, create->backing, name_length);
	}
	qcow2_header_encode(&header, head);
	result = image_file_write(file, 0, head, cs);
	free(head);
	return result ? error_set_errno(err, -result, "Could not write the header") : 0;
}

static int write_refcounts(struct block *file, const struct qcow2_create *create, const struct layout *layout,
			   struct error *err)
{
	const uint64_t cs = create->cluster_bytes, per_block = cs * 8 / create->refcount_bits;
	const struct qcow2 like = {.refcount_bits = create->refcount_bits};
	uint8_t *table = xcalloc(layout->table_clusters, cs), *block = xcalloc(1, cs);
	int result = 0;

	for (uint64_t b = 0; b < layout->blocks && !result; b++) {
		const uint64_t first = b * per_block, at = (1 + layout->table_clusters + b) * cs;

		memset(block, 0, cs);
		for (uint64_t i = 0; i < per_block && first + i < layout->used; i++)
			qcow2_refcount_store(&like, block, i, 1);
		store_be64(table + b * 8, at);
		result = image_file_write(file, at, block, cs);
	}
	if (!result)
		result = image_file_write(file, cs, table, layout->table_clusters * cs);
	free(table);
	free(block);
	return result ? error_set_errno(err, -result, "Could not write reference counts") : 0;
}

int qcow2_format(struct block *file, const struct qcow2_create *create, struct error *err)
{
	struct layout layout;
	int result = qcow2_check_create(create, err);

	if (result)
		return result;
	plan(create, 0, &layout);
	if ((result = write_header(file, create, &layout, err)) ||
	    (result = write_refcounts(file, create, &layout, err)))
		return result;
	/* The L1 table is a hole: all zeroes. */
	if (file->driver->truncate)
		return block_truncate(file, layout.used * create->cluster_bytes, err);
	result = image_file_clear(file, BLOCK_WRITE_ZEROES,
				  (1 + layout.table_clusters + layout.blocks) * create->cluster_bytes,
				  layout.l1_clusters * create->cluster_bytes, BLOCK_MAY_UNMAP);
	return result ? error_set_errno(err, -result, "Could not write the L1 table") : 0;
}

int qcow2_create_file(const char *filename, const struct qcow2_create *create, struct error *err)
{
	struct block_graph *graph = block_graph_new(NULL);
	const struct block_create file = {.driver = &block_qcow2_driver, .graph = graph, .filename = filename};
	struct block *block;
	int result = qcow2_check_create(create, err);

	if (!result) {
		block = block_create_file(&file, NULL, 0, err);
		result = block ? qcow2_format(block, create, err) : -EIO;
		block_unref(block);
	}
	block_graph_free(graph);
	return result;
}

/* --- snapshot=on --- */

struct block *block_open_temporary(struct block *base, const struct block_open *how, struct error *err)
{
	struct block_open overlay_how = *how;
	const char *folder = getenv("TMPDIR");
	struct options options = {0};
	struct qcow2_create create;
	struct block *block = NULL;
	char *path;
	int fd;

	qcow2_create_defaults(&create);
	create.length = align_up(base->length, BLOCK_SECTOR);
	path = xasprintf("%s/xuni-overlay-XXXXXX", folder ? folder : "/var/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		error_set_errno(err, errno, "Could not create the temporary overlay '%s'", path);
		free(path);
		return NULL;
	}
	close(fd);
	overlay_how.read_only = false;
	overlay_how.no_flush = true; /* nothing of it outlives the process */
	/* An image that is no file of the host may have "native" without no_cache; this file may not. */
	if (how->aio && !strcmp(how->aio, "native"))
		overlay_how.aio = NULL;
	options_add(&options, "driver", "qcow2");
	options_add(&options, "backing", base->node_name);
	if (qcow2_create_file(path, &create, err) == 0)
		block = block_open_image(base->graph, path, &options, &overlay_how, err);
	unlink(path);
	options_free(&options);
	free(path);
	return block;
}
