/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns -blockdev options or a file name into nodes, with qemu's inheritance: a child takes read-only, cache and
 * discard settings from its parent where it says nothing itself. All of it in the control thread.
 */
#include "backend/block/internal.h"

#include <stdlib.h>
#include <sys/stat.h>

static const char *const common_options[] = {
	"driver",        "node-name",    "read-only",      "auto-read-only", "force-share", "discard",
	"detect-zeroes", "cache.direct", "cache.no-flush", "file",           NULL,
};

static int parse_discard(struct options *options, bool *discard, struct error *err)
{
	const char *text = options_get(options, "discard");

	if (!text)
		return 0;
	if (!strcmp(text, "unmap") || !strcmp(text, "on"))
		*discard = true;
	else if (!strcmp(text, "ignore") || !strcmp(text, "off"))
		*discard = false;
	else
		return error_set(err, EINVAL, "discard=%s: expected 'unmap' or 'ignore'", text);
	return 0;
}

static int parse_detect_zeroes(struct options *options, struct error *err)
{
	const char *text = options_get(options, "detect-zeroes");

	if (!text || !strcmp(text, "off"))
		return 0;
	return error_set(err, ENOTSUP, "detect-zeroes=%s is not supported yet; only 'off' is", text);
}

static int parse_common(struct options *options, struct block_open *how, struct error *err)
{
	const char *aio = options_get(options, "aio");
	int result;

	if ((result = options_bool(options, "read-only", &how->read_only, err)) ||
	    (result = options_bool(options, "auto-read-only", &how->auto_read_only, err)) ||
	    (result = options_bool(options, "force-share", &how->force_share, err)) ||
	    (result = options_bool(options, "cache.direct", &how->no_cache, err)) ||
	    (result = options_bool(options, "cache.no-flush", &how->no_flush, err)) ||
	    (result = parse_discard(options, &how->discard, err)) || (result = parse_detect_zeroes(options, err)))
		return result;
	if (how->force_share && !how->read_only)
		return error_set(err, EINVAL, "force-share=on can only be used with read-only images");
	if (aio && strcmp(aio, "io_uring") && strcmp(aio, "threads") && strcmp(aio, "native"))
		return error_set(err, EINVAL, "aio=%s: expected 'io_uring', 'native' or 'threads'", aio);
	if (aio)
		how->aio = strcmp(aio, "native") ? aio : "io_uring";
	return 0;
}

/* All names that are options of this driver, for the check of unknown ones. */
static const char **known_options(const struct block_driver *driver)
{
	size_t count = ARRAY_SIZE(common_options), extra = 0;
	const char **known;

	while (driver->known && driver->known[extra])
		extra++;
	known = xcalloc(count + extra, sizeof(*known));
	memcpy(known, driver->known, extra * sizeof(*known));
	memcpy(known + extra, common_options, count * sizeof(*known));
	return known;
}

static int check_unknown(struct options *options, const struct block_driver *driver, struct error *err)
{
	const char **known = known_options(driver);
	char *context = xasprintf("block driver '%s'", driver->name);
	int result = options_check_used(options, context, known, err);

	free(context);
	free(known);
	return result;
}

/* Moves "file.x" options into a list of their own as "x". Returns whether there were any. */
static bool child_options(struct options *options, const char *prefix, struct options *out)
{
	const size_t length = strlen(prefix);
	bool found = false;

	for (size_t i = 0; i < options->count; i++) {
		struct option *option = &options->items[i];

		if (!strncmp(option->key, prefix, length)) {
			options_add(out, option->key + length, option->value);
			option->used = true;
			found = true;
		}
	}
	return found;
}

static struct block *open_with(struct block_graph *graph, struct options *options, const struct block_open *inherited,
			       struct error *err);

/* The child named or described by options; NULL with *err unset when there is none. */
static struct block *open_file_child(struct block_graph *graph, struct options *options, const struct block_open *how,
				     struct error *err)
{
	const char *reference = options_get(options, "file");
	struct options child = {0};
	struct block_open child_how = *how;
	struct block *file = NULL;

	child_how.discard = true; /* the parent decides; the child does what it is told */
	if (child_options(options, "file.", &child)) {
		if (reference)
			error_set(err, EINVAL, "both 'file' and 'file.*' are given");
		else
			file = open_with(graph, &child, &child_how, err);
	} else if (reference) {
		file = block_find(graph, reference);
		if (file)
			block_ref(file);
		else
			error_set(err, ENODEV, "no block node is named '%s'", reference);
	} else {
		error_set(err, EINVAL, "a block device must be specified for 'file'");
	}
	options_free(&child);
	return file;
}

static const struct block_driver *named_driver(struct options *options, struct error *err)
{
	const char *name = options_get(options, "driver");

	if (name)
		return block_driver_load(name, err);
	error_set(err, EINVAL, "'driver' is missing");
	return NULL;
}

/* Marks what the driver knows as used; it looks at them when it is opened. */
static void mark_known(struct options *options, const struct block_driver *driver)
{
	for (size_t i = 0; driver->known && driver->known[i]; i++) {
		const size_t length = strcspn(driver->known[i], "*");

		options_get(options, driver->known[i]);
		for (size_t k = 0; driver->known[i][length] && k < options->count; k++)
			if (!strncmp(options->items[k].key, driver->known[i], length))
				options->items[k].used = true;
	}
}

static struct block *open_with(struct block_graph *graph, struct options *options, const struct block_open *inherited,
			       struct error *err)
{
	const struct block_driver *driver = named_driver(options, err);
	const char *name = options_get(options, "node-name");
	struct block_open how = *inherited;
	struct block *file = NULL, *block = NULL;

	if (!driver || parse_common(options, &how, err) < 0)
		return NULL;
	how.log = graph->log;
	if (!driver->is_protocol) {
		file = open_file_child(graph, options, &how, err);
		if (!file)
			return NULL;
	}
	mark_known(options, driver);
	if (check_unknown(options, driver, err) == 0)
		block = block_open_node(graph, driver, name, file, options, &how, err);
	block_unref(file);
	return block;
}

struct block *block_open_options(struct block_graph *graph, struct options *options, struct error *err)
{
	const struct block_open how = {0};

	return open_with(graph, options, &how, err);
}

/* --- file names --- */

const struct block_driver *block_protocol_find(const char **filename, struct error *err)
{
	const size_t word = strcspn(*filename, ":/");
	const char *name;
	struct stat status;

	if ((*filename)[word] == ':' && word && strncmp(*filename, "file:", 5)) {
		name = block_scheme_driver(*filename, word);
		if (name)
			return block_driver_load(name, err);
		error_set(err, ENOTSUP,
			  "Could not open '%s': unknown protocol '%.*s' (a path with a colon is written ./%s)",
			  *filename, (int)word, *filename, *filename);
		return NULL;
	}
	if ((*filename)[word] == ':' && word)
		*filename += word + 1;
	return stat(*filename, &status) == 0 && S_ISBLK(status.st_mode) ? &block_host_device_driver
									: &block_file_driver;
}

struct block *block_open_protocol(struct block_graph *graph, const char *filename, const struct block_open *how,
				  struct error *err)
{
	const struct block_driver *driver = block_protocol_find(&filename, err);
	struct block_open child_how = *how;
	struct options options = {0};
	struct block *block;

	if (!driver)
		return NULL;
	child_how.discard = true;
	options_add(&options, "filename", filename);
	block = block_open_node(graph, driver, NULL, NULL, &options, &child_how, err);
	options_free(&options);
	return block;
}

/* The format of an image that was opened without one. Anything unknown is raw, which is dangerous when the guest can
 * choose the first bytes: see raw.c. */
static const struct block_driver *probe(struct block_graph *graph, struct block *file, struct error *err)
{
	const struct block_driver *best = &block_raw_driver;
	uint8_t head[BLOCK_PROBE_BYTES] = {0};
	uint64_t length = min_u64(sizeof(head), file->length);
	const char *foreign;
	int score = 0, result = block_pread(file, 0, head, length);

	if (result < 0) {
		error_set_errno(err, -result, "Could not read '%s' to find its format", file->filename);
		return NULL;
	}
	for (size_t i = 0; block_drivers[i]; i++) {
		int s = block_drivers[i]->probe ? block_drivers[i]->probe(head, length, file->filename) : 0;

		if (s > score) {
			score = s;
			best = block_drivers[i];
		}
	}
	foreign = block_probe_foreign(head, length);
	if (best == &block_raw_driver && foreign) {
		error_set(err, ENOTSUP,
			  "'%s' is a %s image, which is not supported yet; format=raw would show its bytes as they are",
			  file->filename, foreign);
		return NULL;
	}
	return best;
}

static const struct block_driver *format_driver(const char *format, struct error *err)
{
	const struct block_driver *driver = block_driver_find(format);

	if (!driver || driver->is_protocol) {
		error_set(err, EINVAL, "unknown image format '%s'", format);
		return NULL;
	}
	return driver;
}

struct block *block_open_file(struct block_graph *graph, const char *filename, const char *format,
			      const struct block_open *how, struct error *err)
{
	const struct block_driver *driver = NULL;
	struct block_open format_how = *how;
	struct options options = {0};
	struct block *file, *block = NULL;

	format_how.log = graph->log;
	if (format) {
		driver = format_driver(format, err);
		if (!driver)
			return NULL;
	}
	file = block_open_protocol(graph, filename, &format_how, err);
	if (!file)
		return NULL;
	if (!driver) {
		driver = probe(graph, file, err);
		format_how.probed = true;
	}
	if (driver)
		block = block_open_node(graph, driver, NULL, file, &options, &format_how, err);
	block_unref(file);
	return block;
}
