/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backing files: opened by the name in the image or by backing=, and read where an overlay has nothing. */
#include "backend/block/internal.h"

#include <stdlib.h>

enum { MAX_CHAIN = 200, WINDOW = 64 };

/* Relative names are relative to the overlay's folder. */
static char *path_of(const struct block *block, const char *name)
{
	const char *slash = strrchr(block->filename, '/');

	if (!strncmp(name, "file:", 5))
		name += 5;
	else if (name[strcspn(name, ":/")] == ':')
		return xstrdup(name); /* another protocol, json: */
	if (name[0] == '/' || !slash)
		return xstrdup(name);
	return xasprintf("%.*s/%s", (int)(slash - block->filename), block->filename, name);
}

/* more: options for it beside its name; its format there counts more than the image's. */
static int open_named(struct block *block, const char *name, const char *format, struct options *more,
		      const struct block_open *below, struct error *err)
{
	struct block_open how = *below;
	char *path = path_of(block, name);

	how.from_image = true;
	if (format && !options_get(more, "driver"))
		options_add(more, "driver", format);
	block->backing = block_open_image(block->graph, path, more, &how, err);
	free(path);
	if (block->backing)
		return 0;
	if (below->chain_depth == 1)
		error_prefix(err, "Could not open backing file");
	return err && err->code ? -err->code : -EIO;
}

bool block_backing_options(struct options *options, const char *prefix, struct options *more)
{
	const size_t length = strlen(prefix);
	bool described = false;

	for (size_t i = 0; i < options->count; i++) {
		const char *key = options->items[i].key + length;

		if (strncmp(options->items[i].key, prefix, length) || *key++ != '.')
			continue;
		options_add(more, key, options->items[i].value);
		/* Anything that begins the name of a child, or of a file. */
		described |= !strncmp(key, "file", 4) || !strncmp(key, "image", 5) ||
			     (!strcmp(key, "driver") && !strncmp(options->items[i].value, "null-", 5));
	}
	return described;
}

static void mark_used(struct options *options)
{
	for (size_t i = 0; i < options->count; i++)
		if (!strncmp(options->items[i].key, "backing.", 8))
			options->items[i].used = true;
}

int block_backing_open(struct block *block, const char *name, const char *format, struct options *options,
		       const struct block_open *how, struct error *err)
{
	struct block_open below = {
		.read_only = true,
		.no_cache = how->no_cache,
		.force_share = how->force_share,
		.strict = how->strict,
		.aio = how->aio,
		.chain_depth = how->chain_depth + 1,
	};
	const char *reference = options_get(options, "backing");
	struct options more = {0};
	int result = 0;

	if (below.chain_depth > MAX_CHAIN)
		return error_set(err, ELOOP, "the backing chain is longer than %d images (does it loop?)", MAX_CHAIN);
	/* The options may name another node, describe one, say that there is none, or add to what the image names. */
	if (reference || how->strict || !name || block_backing_options(options, "backing", &more))
		result = block_open_child(block->graph, options, "backing", NULL, false, &below, &block->backing, err);
	else
		mark_used(options);
	if (!result && !block->backing && !reference && name && !how->no_backing)
		result = open_named(block, name, format, &more, &below, err);
	options_free(&more);
	return result;
}

int block_backing_read(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		       uint64_t length)
{
	struct block *backing = block->backing;
	const uint64_t there = backing && offset < backing->length ? min_u64(length, backing->length - offset) : 0;
	struct iovec window[WINDOW];
	uint64_t done = 0, covered;

	iov_clear(iov, iov_count, skip + there, length - there);
	while (done < there) {
		int used = iov_window(window, WINDOW, iov, iov_count, skip + done, there - done, &covered);
		int result =
			covered ? block_execute(backing, BLOCK_READ, offset + done, covered, window, used, 0) : -EINVAL;

		if (result)
			return result;
		done += covered;
	}
	return 0;
}
