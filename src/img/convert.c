/* SPDX-License-Identifier: GPL-2.0-or-later */
/* convert: the command line, source and target; copying is in copy.c. */
#include "img/copy.h"

#include <stdlib.h>

struct convert {
	struct img *img;
	const char *format, *out_format;
	const char *backing, *backing_format;
	const char *cache, *source_cache;
	bool bitmaps, skip_broken;
	bool no_create, progress, force_share, target_image_opts, offload, explicit_sparse;
	const char *snapshot; /* -l */
	struct options options;
	struct options keys; /* those of the options that name secrets: the new image is opened with them */
	struct copy copy;
};

static int open_sources(struct convert *c, char **names, int count)
{
	const struct img_open how = {.force_share = c->force_share, .cache = c->source_cache};

	c->copy.sources = xcalloc((size_t)count, sizeof(*c->copy.sources));
	for (int i = 0; i < count; i++) {
		struct block *block = img_open(c->img, names[i], c->format, &how);

		if (!block)
			return 1;
		c->copy.sources[c->copy.source_count++] = block;
		c->copy.length += block->length;
	}
	return 0;
}

static void gather_keys(struct convert *c)
{
	static const char suffix[] = "key-secret";

	for (size_t i = 0; i < c->options.count; i++) {
		const char *key = c->options.items[i].key;
		const size_t length = strlen(key), end = sizeof(suffix) - 1;

		if (length >= end && !strcmp(key + length - end, suffix) &&
		    (length == end || key[length - end - 1] == '.'))
			options_add(&c->keys, key, c->options.items[i].value);
	}
}

static int make_target(struct convert *c, const char *name)
{
	struct img_create create = {.filename = name,
				    .format = c->out_format,
				    .backing = c->backing,
				    .backing_format = c->backing_format,
				    .prefix = "",
				    .unsafe = true, /* it is opened with the image */
				    .quiet = true,
				    .converting = true,
				    .size = c->copy.length};

	gather_keys(c);
	return img_create_image(c->img, &create, &c->options);
}

static int check_target(struct convert *c)
{
	const char *preallocation = options_get(&c->options, "preallocation");
	struct copy *copy = &c->copy;
	struct block *target = copy->target;
	bool plain_file = target->file && !strcmp(target->file->driver->name, "file");
	struct block_info info;

	if (target->length < copy->length)
		return img_fail(c->img, "output file is smaller than input file");
	block_get_info(target, &info);
	copy->compress |= info.only_compressed;
	if (copy->compress && !target->driver->write_compressed)
		return img_fail(c->img, "Compression not supported for this file format");
	if (copy->compress && !target->optimal_bytes)
		return img_fail(c->img, "invalid cluster size");
	if (strcmp(target->driver->name, "raw"))
		plain_file = true; /* a format's new image reads as zeroes wherever it lies */
	/* What a new image with encryption shows is what chance decrypts to. */
	if (!strcmp(target->driver->name, "luks") || (info.encrypted && preallocation && strcmp(preallocation, "off")))
		plain_file = false;
	copy->over_backing = target->backing && (c->backing || options_get(&c->options, "backing_file"));
	if (copy->target_is_zero && copy->over_backing)
		return img_fail(c->img, "Cannot use --target-is-zero when the destination image has a backing file");
	copy->target_is_zero |= !c->no_create && plain_file && !copy->over_backing;
	copy->backing_length = UINT64_MAX;
	if (!c->no_create && target->backing)
		copy->backing_length = align_up(target->backing->length, max_u64(target->optimal_bytes, 512));
	copy->unit = copy->compress ? target->optimal_bytes : 512;
	return 0;
}

/* --bitmaps: every bitmap of the source must be of use, or be left out. */
static int check_bitmaps(struct convert *c)
{
	const struct block *source = c->copy.sources[0];
	const char *name;

	if (c->copy.source_count > 1)
		return img_fail(c->img, "Copying bitmaps only possible with single source");
	if (source->driver != &block_qcow2_driver)
		return img_fail(c->img, "Source lacks bitmap support");
	for (size_t i = 0; (name = qcow2_bitmap_name(source, i)); i++) {
		if (!qcow2_bitmap_is_inconsistent(source, i) || c->skip_broken)
			continue;
		img_fail(c->img, "Cannot copy inconsistent bitmap '%s'", name);
		fprintf(c->img->err, "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n");
		return 1;
	}
	return 0;
}

static int copy_bitmap(struct convert *c, size_t index, struct error *err)
{
	struct block *source = c->copy.sources[0], *target = c->copy.target;
	const char *name = qcow2_bitmap_name(source, index);
	int result = qcow2_bitmap_add(target, name, qcow2_bitmap_granularity(source, index), false, err);

	if (!result)
		result = qcow2_bitmap_merge(target, name, source, name, err);
	if (!result && qcow2_bitmap_is_enabled(source, index))
		result = qcow2_bitmap_enable(target, name, true, err);
	return result ? error_prefix(err, "Failed to populate bitmap %s", name) : 0;
}

static int copy_bitmaps(struct convert *c)
{
	const struct block *source = c->copy.sources[0];
	struct error err = {0};
	const char *name;

	for (size_t i = 0; (name = qcow2_bitmap_name(source, i)); i++) {
		if (qcow2_bitmap_is_inconsistent(source, i))
			img_warn(c->img, "Skipping inconsistent bitmap '%s'", name);
		else if (copy_bitmap(c, i, &err) < 0)
			return img_fail(c->img, "%s", err.msg);
	}
	return qcow2_bitmaps_store(c->copy.target, &err) < 0 ? img_fail(c->img, "%s", err.msg) : 0;
}

static int run_convert(struct convert *c, char **names, int count)
{
	const struct img_open how = {.name = c->target_image_opts ? IMG_NAME_OPTIONS : IMG_NAME_PLAIN,
				     .writable = true,
				     .cache = c->cache ? c->cache : "unsafe",
				     .more = &c->keys};
	const char *name = names[count - 1], *preallocation = options_get(&c->options, "preallocation");
	struct error err = {0};
	int status = open_sources(c, names, count - 1);

	if (!status && c->bitmaps)
		status = check_bitmaps(c);
	if (!status && c->snapshot && c->copy.source_count > 1)
		status = img_fail(c->img, "No support for concatenating multiple snapshot");
	if (!status && c->snapshot)
		status = img_show_snapshot(c->img, c->copy.sources[0], c->snapshot);
	if (status)
		return status;
	if (c->copy.compress && !c->no_create && !block_driver_find(c->out_format)->write_compressed)
		return img_fail(c->img, "Compression not supported for this file format");
	if (c->copy.compress && !c->no_create &&
	    (options_get(&c->options, "encryption") || options_get(&c->options, "encrypt.format")))
		return img_fail(c->img, "Compression and encryption not supported at the same time");
	if (c->copy.compress && !c->no_create && preallocation && strcmp(preallocation, "off"))
		return img_fail(c->img, "Compression and preallocation not supported at the same time");
	if (!c->no_create && (status = make_target(c, name)))
		return status;
	c->copy.target = img_open(c->img, name, c->out_format, &how);
	if (!c->copy.target || (status = check_target(c)))
		return 1;
	if (c->bitmaps && c->copy.target->driver != &block_qcow2_driver)
		return img_fail(c->img, "Format driver '%s' does not support bitmaps", c->copy.target->driver->name);
	img_progress_start(&c->copy.progress, c->img, c->progress && !c->copy.quiet);
	status = copy_run(&c->copy, &err);
	if (status < 0)
		status = img_fail(c->img, "%s", err.msg);
	if (!status && c->bitmaps)
		status = copy_bitmaps(c);
	img_progress_end(&c->copy.progress, status == 0);
	return status;
}

static void end(struct convert *c)
{
	block_unref(c->copy.target);
	for (size_t i = 0; i < c->copy.source_count; i++)
		block_unref(c->copy.sources[i]);
	free(c->copy.sources);
	options_free(&c->options);
	options_free(&c->keys);
}

static int parse_sparse(struct convert *c, const char *text)
{
	uint64_t value;

	if (img_size_argument(c->img, text, "buffer size for sparse output", &value))
		return 1;
	if (value % 512 || value > 16777216)
		return img_fail(c->img,
				"Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up "
				"to 16777216. Select 0 to disable sparse detection (fully allocates output).");
	c->copy.sparse = value;
	c->explicit_sparse = true;
	return -1;
}

static int parse_workers(struct convert *c, const char *text)
{
	char *stop;
	long value = strtol(text, &stop, 10);

	if (*stop || value < 1 || value > 16)
		return img_fail(c->img,
				"Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
	c->copy.workers = (unsigned)value;
	return -1;
}

static int convert_option(struct convert *c, struct img_args *args, int code)
{
	const char *value = args->value;

	switch (code) {
	case 'f':
		c->format = value;
		return -1;
	case 'O':
		c->out_format = value;
		return -1;
	case 'B':
		c->backing = value;
		return -1;
	case 'F':
		c->backing_format = value;
		return -1;
	case 'o':
		return img_add_options(c->img, &c->options, value) ? 1 : -1;
	case 't':
		c->cache = value;
		return img_cache_is_valid(c->img, value, false) ? -1 : 1;
	case 'T':
		c->source_cache = value;
		return img_cache_is_valid(c->img, value, true) ? -1 : 1;
	case 'S':
		return parse_sparse(c, value);
	case 'm':
		return parse_workers(c, value);
	case 'c':
		c->copy.compress = true;
		return -1;
	case 'n':
		c->no_create = true;
		return -1;
	case 'p':
		c->progress = true;
		return -1;
	case 'q':
		c->copy.quiet = true;
		return -1;
	case 'U':
		c->force_share = true;
		return -1;
	case 'W':
		c->copy.out_of_order = true;
		return -1;
	case 'C':
		c->offload = c->copy.offload = true;
		return -1;
	case 'l':
		c->snapshot = value;
		return img_check_snapshot(c->img, value) ? 1 : -1;
	case 'r':
		return img_size_argument(c->img, value, "rate limit", &c->copy.rate.bytes) ? 1 : -1;
	case IMG_OPT_SALVAGE:
		c->copy.salvage = true;
		return -1;
	case IMG_OPT_TARGET_IMAGE_OPTS:
		c->target_image_opts = true;
		return -1;
	case IMG_OPT_BITMAPS:
		c->bitmaps = true;
		return -1;
	case IMG_OPT_SKIP_BROKEN:
		c->skip_broken = true;
		return -1;
	case IMG_OPT_TARGET_IS_ZERO:
		c->copy.target_is_zero = true;
		return -1;
	default:
		return img_args_other(args, code);
	}
}

static const struct img_long longs[] = {
	{"force-share", false, 'U'},
	{"target-is-zero", false, IMG_OPT_TARGET_IS_ZERO},
	{"target-image-opts", false, IMG_OPT_TARGET_IMAGE_OPTS},
	{"salvage", false, IMG_OPT_SALVAGE},
	{"bitmaps", false, IMG_OPT_BITMAPS},
	{"skip-broken-bitmaps", false, IMG_OPT_SKIP_BROKEN},
	{NULL},
};

static int check_arguments(struct convert *c, const struct img_args *args)
{
	if (!c->out_format && !c->target_image_opts)
		c->out_format = "raw";
	if (c->target_image_opts && !c->no_create)
		return img_fail(c->img, "--target-image-opts requires use of -n flag");
	if (c->offload && c->explicit_sparse)
		return img_fail(c->img, "Cannot enable copy offloading when -S is used");
	if (c->offload && c->copy.compress)
		return img_fail(c->img, "Cannot enable copy offloading when -c is used");
	if (c->skip_broken && !c->bitmaps)
		return img_fail(c->img, "Use of --skip-broken-bitmaps requires --bitmaps");
	if (img_wants_help(&c->options))
		return img_create_help(c->img, c->out_format, args->name_count > 0);
	if (c->copy.target_is_zero && !c->no_create)
		return img_fail(c->img, "--target-is-zero requires use of -n flag");
	if (args->name_count < 2)
		return img_fail(c->img, "Must specify image file name");
	if (c->no_create && c->options.count)
		return img_fail(c->img, "-o has no effect when skipping image creation");
	if (c->backing && args->name_count > 2)
		return img_fail(c->img,
				"Having a backing file for the target makes no sense when concatenating multiple "
				"input images");
	if (!c->no_create && !img_create_driver(c->img, "", c->out_format))
		return 1;
	if (c->no_create && c->out_format && !block_driver_find(c->out_format))
		return img_fail(c->img, "Unknown file format '%s'", c->out_format);
	return -1;
}

int img_verb_convert(struct img *img, int argc, char **argv)
{
	struct convert c = {.img = img, .copy = {.sparse = 4096, .workers = 4}};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:", longs);
	while (status < 0 && (code = img_args_next(&args)))
		status = convert_option(&c, &args, code);
	if (status < 0)
		status = check_arguments(&c, &args);
	if (status < 0)
		status = run_convert(&c, args.names, args.name_count);
	end(&c);
	img_args_end(&args);
	return status;
}
