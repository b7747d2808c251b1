/* SPDX-License-Identifier: GPL-2.0-or-later */
/* resize: to a size, or by one. */
#include "img/internal.h"

#include <stdlib.h>

struct resize {
	const char *format;
	bool quiet, shrink;
	enum block_preallocation preallocation;
};

static int sign_of(const char *text)
{
	return *text == '+' ? 1 : *text == '-' ? -1 : 0;
}

static int take_value(struct img *img, const char *text, uint64_t *value)
{
	if (!img_parse_size(text + (sign_of(text) != 0), value))
		return -1;
	return img_fail(img, "Parameter 'size' expects a non-negative number below 2^64\n"
			     "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
			     "and exabytes, respectively.");
}

static int new_size(struct img *img, const struct block *block, const char *text, uint64_t *size)
{
	const int sign = sign_of(text);
	uint64_t value;

	if (take_value(img, text, &value) >= 0)
		return 1;
	if (sign < 0 && value >= block->length)
		return img_fail(img, "New image size must be positive");
	*size = sign > 0 ? block->length + value : sign < 0 ? block->length - value : value;
	if (*size > INT64_MAX || (sign > 0 && *size < value))
		return img_fail(img, "New image size must be positive"); /* as qemu-img, whose size is negative then */
	if (!*size)
		return img_fail(img, "New image size must be positive");
	return 0;
}

static int resize_block(struct img *img, struct block *block, const struct resize *r, const char *text)
{
	struct error err = {0};
	uint64_t size = 0;

	if (new_size(img, block, text, &size))
		return 1;
	if (size < block->length && !r->shrink) {
		img_fail(img, "Use the --shrink option to perform a shrink operation.");
		img_warn(img, "Shrinking an image will delete all data beyond the shrunken image's end. Before "
			      "performing such "
			      "an operation, make sure there is no important data there.");
		return 1;
	}
	if (size <= block->length && r->preallocation)
		return img_fail(img, "Preallocation can only be used for growing images");
	if (!block->driver->truncate)
		return img_fail(img, "Image format driver does not support resize");
	if (block_truncate_preallocated(block, size, r->preallocation, &err) < 0)
		return img_fail(img, "%s", err.msg);
	if (!r->quiet)
		fprintf(img->out, "Image resized.\n");
	return 0;
}

static int parse_preallocation(struct img *img, const char *text, enum block_preallocation *mode)
{
	for (unsigned i = 0; block_preallocation_names[i]; i++) {
		if (!strcmp(text, block_preallocation_names[i])) {
			*mode = (enum block_preallocation)i;
			return -1;
		}
	}
	return img_fail(img, "Invalid preallocation mode '%s'", text);
}

static const struct img_long longs[] = {
	{"shrink", false, IMG_OPT_SHRINK},
	{"preallocation", true, IMG_OPT_PREALLOCATION},
	{NULL},
};

/* The size is the last word, also when it begins with '-'. */
static const char *take_size(int *argc, char **argv)
{
	return *argc > 2 ? argv[--*argc] : NULL;
}

int img_verb_resize(struct img *img, int argc, char **argv)
{
	const struct img_open how = {.writable = true};
	struct resize r = {0};
	struct img_args args;
	struct block *block;
	const char *size;
	uint64_t ignored;
	int code, status = -1;

	if (argc == 2 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")))
		return img_help(img);
	size = take_size(&argc, argv);
	if (!size)
		return img_usage(img, "Not enough arguments");
	img_args_start(&args, img, argc, argv, "f:hq", longs);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'f')
			r.format = args.value;
		else if (code == 'q')
			r.quiet = true;
		else if (code == IMG_OPT_SHRINK)
			r.shrink = true;
		else if (code == IMG_OPT_PREALLOCATION)
			status = parse_preallocation(img, args.value, &r.preallocation);
		else
			status = img_args_other(&args, code);
	}
	if (status < 0 && args.name_count != 1)
		status = img_usage(img, "Expecting image file name and size");
	if (status < 0)
		status = take_value(img, size, &ignored);
	if (status < 0) {
		block = img_open(img, args.names[0], r.format, &how);
		status = block ? resize_block(img, block, &r, size) : 1;
		block_unref(block);
	}
	img_args_end(&args);
	return status;
}
