/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create: new images of format qcow2 and raw. */
#include "img/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct known_option {
	const char *name, *type, *help;
};

static const struct known_option qcow2_known[] = {
	{"backing_file", "str", "File name of a base image"},
	{"backing_fmt", "str", "Image format of the base image"},
	{"cluster_size", "size", "qcow2 cluster size"},
	{"compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])"},
	{"compression_type", "str", "Compression method used for image cluster compression"},
	{"extended_l2", "bool (on/off)", "Extended L2 tables"},
	{"lazy_refcounts", "bool (on/off)", "Postpone refcount updates"},
	{"preallocation", "str", "Preallocation mode (allowed values: off, metadata, falloc, full)"},
	{"refcount_bits", "num", "Width of a reference count entry in bits"},
	{"size", "size", "Virtual disk size"},
	{NULL},
};

static const struct known_option raw_known[] = {
	{"extent_size_hint", "size", "Extent size hint for the image file, 0 to disable"},
	{"nocow", "bool (on/off)", "Turn off copy-on-write (valid only on btrfs)"},
	{"preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)"},
	{"size", "size", "Virtual disk size"},
	{NULL},
};

int img_add_options(struct img *img, struct options *options, const char *text)
{
	struct options more = {0};
	struct error err = {0};

	if (options_parse(&more, text, NULL, &err) < 0) {
		options_free(&more);
		return img_fail(img, "Invalid options for file format: %s", err.msg);
	}
	for (size_t i = 0; i < more.count; i++)
		options_add(options, more.items[i].key, more.items[i].value);
	options_free(&more);
	return 0;
}

static int parse_preallocation(struct img *img, const char *filename, const char *text, enum qcow2_preallocation *mode)
{
	static const char *const modes[] = {"off", "metadata", "falloc", "full"};

	for (size_t i = 0; text && i < ARRAY_SIZE(modes); i++) {
		if (!strcmp(text, modes[i])) {
			*mode = (enum qcow2_preallocation)i;
			return 0;
		}
	}
	return text ? img_fail(img, "%s: Invalid parameter '%s'", filename, text) : 0;
}

/* Everything of -o, decoded. */
struct wanted {
	uint64_t size;
	const char *backing, *backing_format;
	const char *compat; /* as given, or NULL */
	struct qcow2_create qcow2;
};

static int bad_value(struct img *img, const char *filename, const char *what)
{
	return img_fail(img, "%s: %s", filename, what);
}

static int decode_numbers(struct img *img, const char *filename, struct options *options, struct qcow2_create *q)
{
	const char *text = options_get(options, "cluster_size");
	struct error err = {0};
	uint64_t value;

	if (text) {
		if (img_parse_size(text, &value))
			return img_fail(img, "%s: Parameter 'cluster_size' expects a non-negative number below 2^64",
					filename);
		q->cluster_bytes = value > UINT32_MAX ? 3 : (uint32_t)value;
	}
	value = q->refcount_bits;
	if (options_u64(options, "refcount_bits", &value, UINT32_MAX, &err) ||
	    options_bool(options, "lazy_refcounts", &q->lazy_refcounts, &err))
		return bad_value(img, filename, err.msg);
	q->refcount_bits = (unsigned)value;
	return 0;
}

static int decode_qcow2(struct img *img, const char *filename, struct options *options, struct wanted *wanted)
{
	const char *text;
	struct qcow2_create *q = &wanted->qcow2;
	bool extended = false;
	struct error err = {0};

	wanted->compat = text = options_get(options, "compat");
	if (text && (!strcmp(text, "0.10") || !strcmp(text, "v2")))
		q->version = 2;
	else if (text && strcmp(text, "1.1") && strcmp(text, "v3"))
		return img_fail(img, "%s: Invalid parameter '%s'", filename, text);
	text = options_get(options, "compression_type");
	if (text && !strcmp(text, "zstd"))
		q->compression = QCOW2_ZSTD;
	else if (text && strcmp(text, "zlib"))
		return img_fail(img, "%s: Invalid parameter '%s'", filename, text);
	if (options_bool(options, "extended_l2", &extended, &err))
		return bad_value(img, filename, err.msg);
	if (extended)
		return img_fail(img, "%s: extended_l2=on is not supported yet", filename);
	if (options_get(options, "data_file") || options_get(options, "data_file_raw"))
		return img_fail(img, "%s: external data files are not supported yet", filename);
	if (options_get(options, "encryption") || options_get(options, "encrypt.format"))
		return img_fail(img, "%s: encryption is not supported yet", filename);
	return decode_numbers(img, filename, options, q);
}

static int decode(struct img *img, const struct img_create *how, struct options *options, struct wanted *wanted)
{
	const bool qcow2 = !strcmp(how->format, "qcow2");
	const char *size = options_get(options, "size"), *prealloc = options_get(options, "preallocation");

	qcow2_create_defaults(&wanted->qcow2);
	wanted->size = how->size;
	if (size && wanted->size == UINT64_MAX && img_size_argument(img, size, "image size", &wanted->size))
		return 1;
	if (parse_preallocation(img, how->filename, prealloc, &wanted->qcow2.preallocation))
		return 1;
	if (qcow2 && decode_qcow2(img, how->filename, options, wanted))
		return 1;
	if (qcow2) {
		wanted->backing = options_get(options, "backing_file");
		wanted->backing_format = options_get(options, "backing_fmt");
	} else {
		options_get(options, "nocow");
		options_get(options, "extent_size_hint");
		if (wanted->qcow2.preallocation == QCOW2_PREALLOC_METADATA)
			return img_fail(img, "%s: Unsupported preallocation mode 'metadata'", how->filename);
	}
	if (how->backing && wanted->backing)
		return img_fail(img, "%s: Backing file specified twice", how->filename);
	if (how->backing)
		wanted->backing = how->backing;
	if (how->backing_format)
		wanted->backing_format = how->backing_format;
	if (wanted->backing && !qcow2)
		return img_fail(img, "%s: Backing file not supported for file format '%s'", how->filename, how->format);
	for (size_t i = 0; i < options->count; i++)
		if (!options->items[i].used)
			return img_fail(img, "%s: Invalid parameter '%s'", how->filename, options->items[i].key);
	return 0;
}

/* Opens the backing file: to see that it is there, and for the size. */
static int look_at_backing(struct img *img, const struct img_create *how, struct wanted *wanted)
{
	const struct block_open open = {.read_only = true, .force_share = true, .no_backing = false};
	char *path = img_backing_path(how->filename, wanted->backing);
	struct error err = {0};
	struct block *block;
	int status = 0;

	if (!strcmp(how->filename, path)) {
		free(path);
		return img_fail(img, "%s: Error: Trying to create an image with the same filename as the backing file",
				how->filename);
	}
	block = block_open_file(img->graph, path, wanted->backing_format, &open, &err);
	if (!block) {
		status = img_fail(img, "%s: %s\nCould not open backing image.", how->filename, err.msg);
	} else if (!wanted->backing_format) {
		status = img_fail(img, "%s: Backing file specified without backing format\nDetected format of %s.",
				  how->filename, block->driver->name);
	} else if (wanted->size == UINT64_MAX) {
		wanted->size = block->length;
	}
	block_unref(block);
	free(path);
	return status;
}

static void announce(struct img *img, const struct img_create *how, const struct wanted *wanted)
{
	static const char *const prealloc[] = {"off", "metadata", "falloc", "full"};
	const struct qcow2_create *q = &wanted->qcow2;

	if (how->quiet)
		return;
	fprintf(img->out, "Formatting '%s', fmt=%s", how->filename, how->format);
	if (strcmp(how->format, "qcow2")) {
		fprintf(img->out, " size=%llu", (unsigned long long)wanted->size);
		if (q->preallocation)
			fprintf(img->out, " preallocation=%s", prealloc[q->preallocation]);
		fputc('\n', img->out);
		return;
	}
	fprintf(img->out, " cluster_size=%u extended_l2=off", q->cluster_bytes);
	if (q->preallocation)
		fprintf(img->out, " preallocation=%s", prealloc[q->preallocation]);
	fprintf(img->out, " compression_type=%s size=%llu", q->compression ? "zstd" : "zlib",
		(unsigned long long)wanted->size);
	if (wanted->compat)
		fprintf(img->out, " compat=%s", wanted->compat);
	if (wanted->backing)
		fprintf(img->out, " backing_file=%s", wanted->backing);
	if (wanted->backing_format)
		fprintf(img->out, " backing_fmt=%s", wanted->backing_format);
	fprintf(img->out, " lazy_refcounts=%s refcount_bits=%u\n", q->lazy_refcounts ? "on" : "off", q->refcount_bits);
}

/* --- making it --- */

static int preallocate_file(int fd, uint64_t bytes, enum qcow2_preallocation mode)
{
	static const char zeroes[1 << 16];

	if (mode == QCOW2_PREALLOC_FALLOC)
		return posix_fallocate(fd, 0, (off_t)bytes);
	for (uint64_t at = 0; mode == QCOW2_PREALLOC_FULL && at < bytes;) {
		ssize_t put = pwrite(fd, zeroes, min_u64(sizeof(zeroes), bytes - at), (off_t)at);

		if (put <= 0)
			return put < 0 ? errno : ENOSPC;
		at += (uint64_t)put;
	}
	return 0;
}

static int create_raw(struct img *img, const struct img_create *how, const struct wanted *wanted)
{
	int fd = open(how->filename, O_RDWR | O_CREAT | O_CLOEXEC, 0644), code = 0;
	struct stat status;

	if (fd < 0)
		return img_fail(img, "%s: Could not create '%s': %s", how->filename, how->filename, strerror(errno));
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && ftruncate(fd, 0) < 0)
		code = errno;
	if (!code && S_ISREG(status.st_mode) && ftruncate(fd, (off_t)wanted->size) < 0)
		code = errno;
	if (!code && wanted->size)
		code = preallocate_file(fd, wanted->size, wanted->qcow2.preallocation);
	close(fd);
	if (code)
		return img_fail(img, "%s: Could not resize file: %s", how->filename, strerror(code));
	return 0;
}

/* preallocation=: L2 tables for every cluster, and with falloc and full the data themselves. */
static int preallocate_qcow2(struct img *img, const struct img_create *how, const struct wanted *wanted)
{
	const struct img_open open = {.writable = true, .cache = "unsafe"};
	struct block *block = img_open(img, how->filename, "qcow2", &open);
	struct error err = {0};
	int result;

	if (!block)
		return 1;
	result = qcow2_preallocate(block, wanted->qcow2.preallocation, &err);
	block_unref(block);
	return result < 0 ? img_fail(img, "%s: %s", how->filename, err.msg) : 0;
}

int img_create_image(struct img *img, const struct img_create *how, struct options *options)
{
	struct wanted wanted = {.size = UINT64_MAX};
	struct error err = {0};

	if (strcmp(how->format, "qcow2") && strcmp(how->format, "raw"))
		return img_fail(img, "%s: Unknown file format '%s'", how->filename, how->format);
	if (decode(img, how, options, &wanted))
		return 1;
	if (wanted.backing && !*wanted.backing)
		wanted.backing = NULL;
	if (wanted.backing && !how->unsafe && look_at_backing(img, how, &wanted))
		return 1;
	if (wanted.size == UINT64_MAX)
		return img_fail(img, "%s: Image creation needs a size parameter", how->filename);
	announce(img, how, &wanted);
	fflush(img->out);
	wanted.size = align_up(wanted.size, 512);
	if (!strcmp(how->format, "raw"))
		return create_raw(img, how, &wanted);
	wanted.qcow2.length = wanted.size;
	wanted.qcow2.backing = wanted.backing;
	wanted.qcow2.backing_format = wanted.backing_format;
	if (qcow2_create_file(how->filename, &wanted.qcow2, &err) < 0)
		return img_fail(img, "%s: %s", how->filename, err.msg);
	return wanted.qcow2.preallocation ? preallocate_qcow2(img, how, &wanted) : 0;
}

static int print_options(struct img *img, const char *format)
{
	const struct known_option *known = !strcmp(format, "qcow2") ? qcow2_known : raw_known;

	fprintf(img->out, "Supported options:\n");
	for (; known->name; known++) {
		char text[64];

		snprintf(text, sizeof(text), "%s=<%s>", known->name, known->type);
		fprintf(img->out, "  %-23s- %s\n", text, known->help);
	}
	return 0;
}

static int create_named(struct img *img, struct img_args *args, struct img_create *how, struct options *options)
{
	for (size_t i = 0; i < options->count; i++)
		if (!strcmp(options->items[i].key, "help") || !strcmp(options->items[i].key, "?"))
			return print_options(img, how->format);
	if (args->name_count < 1)
		return img_usage(img, "Expecting image file name");
	if (args->name_count > 2)
		return img_usage(img, "Unexpected argument: %s", args->names[2]);
	if (args->name_count == 2 && img_size_argument(img, args->names[1], "image size", &how->size))
		return 1;
	how->filename = args->names[0];
	return img_create_image(img, how, options);
}

int img_verb_create(struct img *img, int argc, char **argv)
{
	struct img_create how = {.format = "raw", .size = UINT64_MAX};
	struct options options = {0};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "F:b:f:ho:qu", NULL);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'f')
			how.format = args.value;
		else if (code == 'b')
			how.backing = args.value;
		else if (code == 'F')
			how.backing_format = args.value;
		else if (code == 'o')
			status = img_add_options(img, &options, args.value) ? 1 : -1;
		else if (code == 'q')
			how.quiet = true;
		else if (code == 'u')
			how.unsafe = true;
		else
			status = img_args_other(&args, code);
	}
	if (status < 0)
		status = create_named(img, &args, &how, &options);
	options_free(&options);
	img_args_end(&args);
	return status;
}
