/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The -o options of new qcow2 images: their table, and what they mean for struct qcow2_create. */
#include "backend/block/luks_options.h"
#include "backend/block/qcow2_internal.h"

const struct block_create_option qcow2_create_options[] = {
	{"encryption", BLOCK_OPTION_BOOL,
	 "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)", NULL},
	{"encrypt.format", BLOCK_OPTION_STRING, "Encrypt the image, format choices: 'aes', 'luks'", NULL},
	{"encrypt.key-secret", BLOCK_OPTION_STRING, "ID of secret providing qcow AES key or LUKS passphrase", NULL},
	{"encrypt.cipher-alg", BLOCK_OPTION_STRING, "Name of encryption cipher algorithm", NULL},
	{"encrypt.cipher-mode", BLOCK_OPTION_STRING, "Name of encryption cipher mode", NULL},
	{"encrypt.ivgen-alg", BLOCK_OPTION_STRING, "Name of IV generator algorithm", NULL},
	{"encrypt.ivgen-hash-alg", BLOCK_OPTION_STRING, "Name of IV generator hash algorithm", NULL},
	{"encrypt.hash-alg", BLOCK_OPTION_STRING, "Name of encryption hash algorithm", NULL},
	{"encrypt.iter-time", BLOCK_OPTION_NUMBER, "Time to spend in PBKDF in milliseconds", NULL},
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

static int decode_encryption(const struct block_create *create, struct qcow2_create *q, struct luks_options *luks,
			     struct error *err)
{
	static const char *const formats[] = {"none", "aes", "luks", NULL};
	const char *format = block_create_text(create, "encrypt.format"),
		   *old = block_create_text(create, "encryption");
	size_t length;
	int result;

	if (format && old)
		return error_set(err, EINVAL,
				 "'encrypt.format' and its alias 'encryption' can't be used at the same time");
	if (format && (!strcmp(format, "none") ||
		       block_create_choice(create, "encrypt.format", "format", formats, &q->crypt_method, err)))
		return error_set(err, EINVAL, "Parameter 'format' does not accept value '%s'", format);
	if (block_create_bool(create, "encryption"))
		q->crypt_method = 1;
	result = luks_options_decode(create, "encrypt.", luks, err);
	if (result)
		return result;
	if (luks->secret && !q->crypt_method)
		return error_set(err, EINVAL, "Parameter 'encrypt.format' is missing");
	if (q->crypt_method && !luks_passphrase(create->graph, "encrypt.", luks->secret, &length, err))
		return -EINVAL;
	q->crypto_bytes = q->crypt_method == 2 ? luks_header_bytes(&luks->spec) : 0;
	return 0;
}

static int decode(const struct block_create *create, struct qcow2_create *q, struct luks_options *luks,
		  struct error *err)
{
	int result;

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
	result = decode_choices(create, q, err);
	return result ? result : decode_encryption(create, q, luks, err);
}

static int make_encryption(const struct block_create *create, struct block *file, const struct qcow2_create *q,
			   const struct luks_options *options, struct error *err)
{
	struct luks_place place = {.file = file, .offset = qcow2_crypto_offset(q), .bytes = q->crypto_bytes};
	const struct luks_store store = luks_store_of(&place);
	size_t length = 0;
	const char *passphrase = luks_passphrase(create->graph, "encrypt.", options->secret, &length, err);
	struct luks luks;

	if (!passphrase)
		return -EINVAL;
	return luks_create(&luks, &options->spec, options->hash, options->iter_time_ms, &store, passphrase, length,
			   err);
}

/* Header and tables, and an empty data file where one is wanted. */
static int make_files(const struct block_create *create, struct block *file, const struct qcow2_create *q,
		      const struct luks_options *luks, struct error *err)
{
	struct block *data = NULL;
	int result = 0;

	if (q->data_file) {
		data = block_create_file(create, q->data_file, q->length, err);
		result = data ? 0 : -EIO;
	}
	if (!result)
		result = qcow2_format(file, q, err);
	if (!result && q->crypto_bytes)
		result = make_encryption(create, file, q, luks, err);
	block_unref(data);
	return result;
}

/* L2 tables for every cluster, and with falloc and full the data themselves. */
static int preallocate(const struct block_create *create, enum block_preallocation mode, struct error *err)
{
	const struct block_open how = {.no_flush = true};
	const char *secret = block_create_text(create, "encrypt.key-secret");
	struct options options = {0};
	struct block *block;
	int result;

	options_add(&options, "driver", "qcow2");
	if (secret)
		options_add(&options, "encrypt.key-secret", secret);
	block = block_open_image(create->graph, create->filename, &options, &how, err);
	result = block ? qcow2_preallocate(block, 0, mode, err) : -EIO;
	block_unref(block);
	options_free(&options);
	return result;
}

int qcow2_create_image(const struct block_create *create, struct error *err)
{
	struct luks_options luks;
	struct qcow2_create q;
	struct block *file;
	int result = decode(create, &q, &luks, err);

	if (!result && q.backing_format && !q.backing)
		result = error_set(err, EINVAL, "Backing format cannot be used without backing file");
	if (!result)
		result = qcow2_check_create(&q, err);
	if (result)
		return result;
	if (q.data_file_raw && q.preallocation == BLOCK_PREALLOC_OFF)
		q.preallocation =
			BLOCK_PREALLOC_METADATA; /* what the raw file shows has its place from the beginning */
	file = block_create_file(create, NULL, 0, err);
	if (!file)
		return -EIO; /* perhaps somebody uses what is there: it stays */
	result = make_files(create, file, &q, &luks, err);
	block_unref(file);
	if (!result && q.preallocation)
		result = preallocate(create, q.preallocation, err);
	if (result)
		block_create_undo(create->filename);
	return result;
}

int qcow2_measure_image(const struct block_create *create, struct block_measure *measure, struct error *err)
{
	struct luks_options luks;
	struct qcow2_create q;
	uint64_t data = 0, whole;
	int result = decode(create, &q, &luks, err);

	if (!result)
		result = qcow2_check_create(&q, err);
	if (!result && measure->source)
		result = measure->data_bytes(measure, q.cluster_bytes, &data, err);
	if (result)
		return result;
	whole = align_up(q.length, q.cluster_bytes);
	/* Of what the new image's backing file has nothing is known here. */
	if (q.preallocation >= BLOCK_PREALLOC_FALLOC || (measure->source && q.backing))
		data = whole;
	measure->full_bytes = qcow2_measure(&q, q.length);
	/* As qemu-img: with the tables of the whole disk. */
	measure->required_bytes = measure->full_bytes - whole + data;
	if (measure->source && measure->source->driver == &block_qcow2_driver)
		measure->bitmap_bytes = qcow2_bitmaps_measure(measure->source, q.cluster_bytes);
	measure->has_bitmaps = measure->source && measure->source->driver == &block_qcow2_driver && q.version >= 3 &&
			       ((const struct qcow2 *)measure->source->private_data)->header.version >= 3;
	return 0;
}
