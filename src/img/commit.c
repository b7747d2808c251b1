/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * commit: what an overlay holds goes down into its backing file, and the overlay is emptied. Both are opened by
 * themselves: the overlay without its chain, the backing file for writing. With -b what all images above that one hold
 * goes down, and the overlay stays as it is; then the chain is opened once more for reading, without locks.
 * Behind a filter the overlay is not emptied either, as in qemu: a filter has no operation for it.
 */
#include "img/internal.h"

#include <stdlib.h>

#define CHUNK (2 * MIB)

struct commit {
	struct img *img;
	const char *name, *format, *cache, *base;
	bool quiet, keep, show_progress;
	struct block *top, *below;
	struct block *chain; /* to read from, maybe through filters, down to */
	struct block *stop;  /* this one, which is below; NULL: all of it */
	struct img_progress progress;
	struct img_rate rate;
};

static int copy_extent(struct commit *c, uint64_t offset, uint64_t length, bool zero, uint8_t *buffer)
{
	if (zero)
		return block_execute(c->below, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, BLOCK_MAY_UNMAP);
	while (length) {
		const uint64_t part = min_u64(length, CHUNK);
		int result;

		img_rate_wait(img_rate_take(&c->rate, part));
		result = block_pread(c->chain, offset, buffer, part);
		if (!result)
			result = block_pwrite(c->below, offset, buffer, part, 0);
		if (result)
			return result;
		offset += part;
		length -= part;
	}
	return 0;
}

/* What the images above the base hold there. One that is shorter than the overlay shows zeroes behind its end. */
static int extent_above(struct commit *c, uint64_t offset, uint64_t *length)
{
	for (struct block *node = block_behind_filters(c->chain); node != c->stop;
	     node = block_behind_filters(node->backing)) {
		uint64_t there = *length, where;
		int bits;

		if (offset >= node->length)
			return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_ZERO;
		there = min_u64(there, node->length - offset);
		bits = node->driver->extent(node, offset, &there, &where);
		*length = there;
		if (bits < 0 || bits & BLOCK_EXTENT_ALLOCATED)
			return bits;
	}
	return 0;
}

static int copy_down(struct commit *c)
{
	uint8_t *buffer = malloc(CHUNK);
	int result = buffer ? 0 : -ENOMEM;

	for (uint64_t offset = 0; offset < c->top->length && !result;) {
		uint64_t length = c->top->length - offset;
		int bits = extent_above(c, offset, &length);

		if (bits < 0)
			result = bits;
		else if (bits & BLOCK_EXTENT_ALLOCATED)
			result = copy_extent(c, offset, length, bits & BLOCK_EXTENT_ZERO, buffer);
		offset += length;
		img_progress(&c->progress, offset, c->top->length);
	}
	free(buffer);
	return result ? result : block_flush(c->below);
}

static int run_commit(struct commit *c)
{
	struct error err = {0};
	int result = 0;

	if (c->below->length < c->top->length && block_truncate(c->below, c->top->length, &err) < 0)
		return img_fail(c->img, "Could not resize the backing file: %s", err.msg);
	result = copy_down(c);
	if (result)
		return img_fail(c->img, "Block job failed: %s", strerror(-result));
	if (!c->keep && c->top->driver->make_empty && c->top->driver->make_empty(c->top, &err) < 0)
		return img_fail(c->img, "Could not empty the image: %s", err.msg);
	return 0;
}

/* Whether the base's name, which may be relative to the image above it as that one's header has it, is this file. */
static bool is_file(const struct commit *c, const struct block *above, const struct block *node)
{
	char *path = img_backing_path(above->filename, c->base);
	char *wanted = realpath(path, NULL), *is = realpath(node->filename, NULL);
	const bool same = wanted && is && !strcmp(wanted, is);

	free(path);
	free(wanted);
	free(is);
	return same;
}

static int not_found(const struct commit *c)
{
	return img_fail(c->img, "Did not find '%s' in the backing chain of '%s'", c->base, c->name);
}

/* Below the overlay: by the name that the image above has for it, or by the file's; sets *above and how deep it is.
 * NULL: said why. */
static struct block *find_base(struct commit *c, struct block **above, unsigned *depth)
{
	struct block *node;

	*depth = 1;
	*above = block_behind_filters(c->chain);
	for (node = block_behind_filters((*above)->backing); node;
	     *above = node, node = block_behind_filters(node->backing), ++*depth) {
		struct block_info info;

		block_get_info(*above, &info);
		if (!strcmp(c->base, node->filename) || (info.backing && !strcmp(c->base, info.backing)) ||
		    is_file(c, *above, node))
			return node;
	}
	not_found(c);
	return NULL;
}

/* "backing", `depth` of them, below the filters on the image. */
static char *below_prefix(const struct block *node, unsigned depth)
{
	char *prefix = xstrdup("");

	while (node->driver->is_filter || depth) {
		const bool filter = node->driver->is_filter;
		char *longer = xasprintf("%s%s%s", prefix, *prefix ? "." : "",
					 filter ? block_child_name(node->driver) : "backing");

		free(prefix);
		prefix = longer;
		if (filter)
			node = node->file;
		else
			depth--;
	}
	return prefix;
}

/* What the overlay's name says of the backing file that lies `depth` images below it, such as its key. 0, or a status
 * with the message printed. */
static int options_below(struct commit *c, unsigned depth, struct options *more)
{
	char *prefix = below_prefix(c->top, depth);
	struct options options = {0};
	struct error err = {0};
	bool described;
	int result = 0;

	if (!strncmp(c->name, "json:", 5))
		result = options_parse_json(&options, c->name + 5, &err);
	else if (c->img->image_opts)
		result = options_parse(&options, c->name, "file", &err);
	described = !result && (block_backing_options(&options, prefix, more) || options_get(&options, prefix));
	options_free(&options);
	free(prefix);
	if (result)
		return img_fail(c->img, "%s", err.msg);
	if (described)
		return img_fail(
			c->img,
			"'%s' describes another backing file than its image names: commit goes to that one only",
			c->name);
	return 0;
}

/* The backing file of an image, as its header names it, for writing. */
static struct block *open_below(struct commit *c, unsigned depth, const struct block *above, const char *format)
{
	struct options more = {0};
	const struct img_open how = {.name = IMG_NAME_PLAIN, .writable = true, .cache = c->cache, .more = &more};
	struct block *block = NULL;
	struct block_info info;
	char *path;

	block_get_info(above, &info);
	path = img_backing_path(above->filename, info.backing);
	if (!options_below(c, depth, &more))
		block = img_open(c->img, path,
				 options_get(&more, "driver") ? NULL
				 : format                     ? format
							      : info.backing_format,
				 &how);
	options_free(&more);
	free(path);
	return block;
}

/* The chain with the base's file, which is opened by itself for writing. */
static int open_base(struct commit *c)
{
	struct img_open how = {.force_share = true, .cache = c->cache};
	struct block *image = block_behind_filters(c->top), *above = NULL;
	char *plain = NULL;
	unsigned depth = 1;

	/* Not with the filter: copy-on-read, for one, cannot be had for reading only. */
	if (image != c->top) {
		plain = block_name(image);
		how.name = IMG_NAME_PLAIN;
	}
	c->chain = img_open(c->img, plain ? plain : c->name, plain ? image->driver->name : c->format, &how);
	free(plain);
	c->stop = c->chain ? find_base(c, &above, &depth) : NULL;
	if (c->stop)
		c->below = open_below(c, depth, above, c->stop->driver->name);
	if (c->below && (strcmp(c->below->filename, c->stop->filename) || c->below->length != c->stop->length))
		return img_fail(c->img,
				"'%s' is not what '%s' names as its backing file: commit without options for it",
				c->stop->filename, above->filename);
	return c->below ? 0 : 1;
}

static int open_and_commit(struct commit *c)
{
	const struct img_open top = {.writable = true, .no_backing = true, .cache = c->cache};
	struct block_info info;

	c->top = img_open(c->img, c->name, c->format, &top);
	if (!c->top)
		return 1;
	img_progress_start(&c->progress, c->img, c->show_progress && !c->quiet);
	block_get_info(block_behind_filters(c->top), &info);
	if (!info.backing && c->base)
		return not_found(c);
	if (!info.backing)
		return img_fail(c->img, "Image does not have a backing file");
	if (c->base)
		return open_base(c) ? 1 : run_commit(c);
	c->below = open_below(c, 1, block_behind_filters(c->top), NULL);
	c->chain = c->top;
	block_ref(c->chain);
	return c->below ? run_commit(c) : 1;
}

int img_verb_commit(struct img *img, int argc, char **argv)
{
	struct commit c = {.img = img};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "f:ht:b:dpqr:", NULL);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'f')
			c.format = args.value;
		else if (code == 't')
			c.cache = args.value;
		else if (code == 'b') {
			c.base = args.value;
			c.keep = true; /* as qemu: only without -b the overlay is known to be what was meant */
		} else if (code == 'd')
			c.keep = true;
		else if (code == 'p')
			c.show_progress = true;
		else if (code == 'q')
			c.quiet = true;
		else if (code == 'r')
			status = img_size_argument(img, args.value, "rate limit", &c.rate.bytes) ? 1 : -1;
		else
			status = img_args_other(&args, code);
	}
	if (status < 0 && args.name_count != 1)
		status = img_usage(img, "Expecting one image file name");
	if (status < 0 && !img_cache_is_valid(img, c.cache, false))
		status = 1;
	if (status < 0) {
		c.name = args.names[0];
		status = open_and_commit(&c);
		img_progress_end(&c.progress, status == 0);
		if (!status && !c.quiet)
			fprintf(img->out, "Image committed.\n");
	}
	block_unref(c.below);
	block_unref(c.chain);
	block_unref(c.top);
	img_args_end(&args);
	return status;
}
