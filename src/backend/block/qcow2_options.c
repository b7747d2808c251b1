/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The -o options of new qcow2 images: their table, and what they mean for struct qcow2_create. */
#include "backend/block/qcow2_internal.h"

const struct block_create_option qcow2_create_options[] = {
	{"cluster_size", BLOCK_OPTION_SIZE, "qcow2 cluster size", "65536"},
	{"extended_l2", BLOCK_OPTION_BOOL, "Extended L2 tables", "off"},
	{"preallocation", BLOCK_OPTION_STRING, "Preallocation mode (allowed values: off, metadata, falloc, full)",
	 NULL},
	{"compression_type", BLOCK_OPTION_STRING, "Compression method used for image cluster compression", "zlib"},
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"compat", BLOCK_OPTION_STRING, "Compatibility level (v2 [0.10] or v3 [1.1])", NULL},
	{"backing_file", BLOCK_OPTION_STRING, "File name of a base image", NULL},
	{"backing_fmt", BLOCK_OPTION_STRING, "Image format of the base image", NULL},
	{"data_file", BLOCK_OPTION_STRING, "File name of an external data file", NULL},
	{"data_file_raw", BLOCK_OPTION_BOOL, "The external data file must stay valid as a raw image", NULL},
	{"lazy_refcounts", BLOCK_OPTION_BOOL, "Postpone refcount updates", "off"},
	{"refcount_bits", BLOCK_OPTION_NUMBER, "Width of a reference count entry in bits", "16"},
	{NULL},
};

static int decode_choices(const struct block_create *create, struct qcow2_create *q, struct error *err)
{
	static const char *const levels[] = {"1.1", "v3", "0.10", "v2", NULL};
	static const char *const methods[] = {"zlib", "zstd", NULL};
	unsigned level = 0, method = 0, mode = 0;
	int result;

	if ((result = block_create_choice(create, "compat", "version", levels, &level, err)) ||
	    (result = block_create_choice(create, "compression_type", "compression-type", methods, &method, err)) ||
	    (result = block_create_choice(create, "preallocation", "preallocation", block_preallocation_names, &mode,
					  err)))
		return result;
	q->version = level < 2 ? 3 : 2;
	q->compression = (enum qcow2_compression)method;
	q->preallocation = (enum block_preallocation)mode;
	return 0;
}

static int decode(const struct block_create *create, struct qcow2_create *q, struct error *err)
{
	const uint64_t cluster = block_create_number(create, "cluster_size", 0);
	const uint64_t bits = block_create_number(create, "refcount_bits", 0);

	qcow2_create_defaults(q);
	q->length = create->length;
	q->backing = create->backing;
	q->backing_format = create->backing_format;
	if (create->backing_format && !block_driver_find(create->backing_format))
		return error_set(err, EINVAL, "Parameter 'backing-fmt' does not accept value '%s'",
				 create->backing_format);
	/* What does not fit is no power of two either: the message is the same. */
	q->cluster_bytes = cluster > UINT32_MAX ? 3 : (uint32_t)cluster;
	q->refcount_bits = bits > UINT32_MAX ? 3 : (unsigned)bits;
	q->data_file = block_create_text(create, "data_file");
	q->data_file_raw = block_create_bool(create, "data_file_raw");
	q->extended_l2 = block_create_bool(create, "extended_l2");
	q->lazy_refcounts = block_create_bool(create, "lazy_refcounts");
	return decode_choices(create, q, err);
}

/* Header and tables, and an empty data file where one is wanted. */
static int make_files(const struct block_create *create, const struct qcow2_create *q, struct error *err)
{
	struct block *file = block_create_file(create, NULL, 0, err), *data = NULL;
	int result = file ? 0 : -EIO;

	if (!result && q->data_file) {
		data = block_create_file(create, q->data_file, q->length, err);
		result = data ? 0 : -EIO;
	}
	if (!result)
		result = qcow2_format(file, q, err);
	block_unref(data);
	block_unref(file);
	return result;
}

/* L2 tables for every cluster, and with falloc and full the data themselves. */
static int preallocate(const struct block_create *create, enum block_preallocation mode, struct error *err)
{
	const struct block_open how = {.no_flush = true};
	struct block *block = block_open_file(create->graph, create->filename, "qcow2", &how, err);
	int result = block ? qcow2_preallocate(block, 0, mode, err) : -EIO;

	block_unref(block);
	return result;
}

int qcow2_create_image(const struct block_create *create, struct error *err)
{
	struct qcow2_create q;
	int result = decode(create, &q, err);

	if (!result)
		result = qcow2_check_create(&q, err);
	if (result)
		return result;
	if (q.data_file_raw && q.preallocation == BLOCK_PREALLOC_OFF)
		q.preallocation =
			BLOCK_PREALLOC_METADATA; /* what the raw file shows has its place from the beginning */
	result = make_files(create, &q, err);
	if (!result && q.preallocation)
		result = preallocate(create, q.preallocation, err);
	if (result)
		block_create_undo(create->filename);
	return result;
}

int qcow2_measure_image(const struct block_create *create, struct block_measure *measure, struct error *err)
{
	struct qcow2_create q;
	uint64_t data = 0;
	int result = decode(create, &q, err);

	if (!result)
		result = qcow2_check_create(&q, err);
	if (!result && measure->source)
		result = measure->data_bytes(measure, q.cluster_bytes, &data, err);
	if (result)
		return result;
	measure->full_bytes = qcow2_measure(&q, q.length);
	/* As qemu-img: with the tables of the whole disk. */
	measure->required_bytes = measure->full_bytes - align_up(q.length, q.cluster_bytes) + data;
	measure->has_bitmaps = measure->source && measure->source->driver == &block_qcow2_driver && q.version >= 3 &&
			       ((const struct qcow2 *)measure->source->private_data)->header.version >= 3;
	return 0;
}
