/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Turns options and file names into nodes, with qemu's inheritance: a child takes read-only, cache and other settings
 * from its parent where it says nothing itself. -blockdev says everything (`strict`); an image name (path, URI,
 * json:{...}) and -drive leave out what can be found: the protocol from the name, the format from the content. All of
 * it in the control thread.
 */
#include "backend/block/internal.h"

#include <stdlib.h>
#include <sys/stat.h>

/* What one node is opened from. */
struct wanted {
	struct block_graph *graph;
	const char *filename; /* or NULL: the options say it all */
	struct options *options;
	bool strict;   /* every node names its driver */
	bool protocol; /* the bytes are wanted as they are: no format is looked for */
};

static const char *const common_options[] = {
	"driver",        "node-name", "read-only",    "auto-read-only", "force-share",
	"detect-zeroes", "discard",   "cache.direct", "cache.no-flush", NULL,
};

/* --- options of every node --- */

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

static int parse_detect_zeroes(struct options *options, struct block_open *how, bool strict, struct error *err)
{
	static const char *const words[] = {
		[BLOCK_DETECT_OFF] = "off", [BLOCK_DETECT_ON] = "on", [BLOCK_DETECT_UNMAP] = "unmap"};
	const char *text = options_get(options, "detect-zeroes");

	how->detect_zeroes = BLOCK_DETECT_OFF; /* not inherited */
	for (unsigned i = 0; text && i < ARRAY_SIZE(words); i++) {
		if (!strcmp(text, words[i])) {
			how->detect_zeroes = (enum block_detect_zeroes)i;
			text = NULL;
		}
	}
	if (text)
		return error_set(err, EINVAL, "detect-zeroes=%s: expected 'off', 'on' or 'unmap'", text);
	/* As qemu, -drive does not mind: then zeroes are written as such and keep their room. */
	if (how->detect_zeroes == BLOCK_DETECT_UNMAP && !how->discard && strict)
		return error_set(err, EINVAL,
				 "setting detect-zeroes to unmap is not allowed without setting discard operation to "
				 "unmap");
	return 0;
}

static int parse_common(struct options *options, struct block_open *how, bool strict, struct error *err)
{
	const char *aio = options_get(options, "aio");
	int result;

	if ((result = options_bool(options, "read-only", &how->read_only, err)) ||
	    (result = options_bool(options, "auto-read-only", &how->auto_read_only, err)) ||
	    (result = options_bool(options, "force-share", &how->force_share, err)) ||
	    (result = options_bool(options, "cache.direct", &how->no_cache, err)) ||
	    (result = options_bool(options, "cache.no-flush", &how->no_flush, err)) ||
	    (result = parse_discard(options, &how->discard, err)) ||
	    (result = parse_detect_zeroes(options, how, strict, err)))
		return result;
	how->read_only |= how->from_image;
	if (how->force_share && !how->read_only)
		return error_set(err, EINVAL, "force-share=on can only be used with read-only images");
	if (aio && strcmp(aio, "io_uring") && strcmp(aio, "threads") && strcmp(aio, "native"))
		return error_set(err, EINVAL, "aio=%s: expected 'io_uring', 'native' or 'threads'", aio);
	if (aio)
		how->aio = aio;
	return 0;
}

static size_t count_words(const char *const *words)
{
	size_t count = 0;

	while (words && words[count])
		count++;
	return count;
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

/* -EINVAL for an option that neither this driver nor every node has. */
static int check_unknown(struct options *options, const struct block_driver *driver, struct error *err)
{
	const size_t own = count_words(driver->known), common = count_words(common_options);
	const char **known = xcalloc(own + common + 2, sizeof(*known));
	char *context = xasprintf("block driver '%s'", driver->name);
	int result;

	mark_known(options, driver);
	if (own)
		memcpy(known, driver->known, own * sizeof(*known));
	memcpy(known + own, common_options, common * sizeof(*known));
	if (!driver->is_protocol)
		known[own + common] = block_child_name(driver);
	result = options_check_used(options, context, known, err);
	free(context);
	free(known);
	return result;
}

/* --- names of files --- */

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

/* --- children --- */

static struct block *open_wanted(const struct wanted *wanted, const struct block_open *inherited, struct error *err);

/* Moves "file.x" options into a list of their own as "x". Returns whether there were any. */
static bool child_options(struct options *options, const char *prefix, struct options *out)
{
	const size_t length = strlen(prefix);
	bool found = false;

	for (size_t i = 0; i < options->count; i++) {
		struct option *option = &options->items[i];

		if (!strncmp(option->key, prefix, length) && option->key[length] == '.') {
			options_add_as(out, option->key + length + 1, option);
			option->used = true;
			found = true;
		}
	}
	return found;
}

static int open_child(const struct wanted *parent, const char *name, const char *filename, bool protocol,
		      const struct block_open *how, struct block **child, struct error *err)
{
	const char *reference = options_get(parent->options, name);
	struct options options = {0};
	const bool described = child_options(parent->options, name, &options);
	const struct wanted wanted = {.graph = parent->graph,
				      .filename = filename,
				      .options = &options,
				      .strict = parent->strict,
				      .protocol = protocol};

	*child = NULL;
	if (reference && *reference && how->from_image) {
		error_set(err, EPERM, "the name in an image may not refer to node '%s'", reference);
	} else if (reference && described) {
		error_set(err, EINVAL, "both '%s' and '%s.*' are given", name, name);
	} else if (reference && *reference) {
		*child = block_find(parent->graph, reference);
		if (*child)
			block_ref(*child);
		else
			error_set(err, ENODEV, "Cannot find device='%s' nor node-name='%s'", reference, reference);
	} else if (!reference && (described || filename)) {
		*child = open_wanted(&wanted, how, err);
	} else {
		options_free(&options);
		return 0;
	}
	options_free(&options);
	return *child ? 0 : err && err->code ? -err->code : -EINVAL;
}

int block_open_child(struct block_graph *graph, struct options *options, const char *name, const char *filename,
		     bool protocol, const struct block_open *how, struct block **child, struct error *err)
{
	const struct wanted parent = {.graph = graph, .options = options, .strict = how->strict};

	return open_child(&parent, name, filename, protocol, how, child, err);
}

const char *block_child_name(const struct block_driver *driver)
{
	return driver->child_name ? driver->child_name : "file";
}

/* The child that holds the data of a format or filter. */
static struct block *open_main_child(const struct wanted *wanted, const struct block_driver *driver,
				     const struct block_open *how, struct error *err)
{
	const char *name = driver ? block_child_name(driver) : "file";
	const bool filter = driver && driver->is_filter;
	struct block_open child_how = *how;
	struct block *child = NULL;

	if (!filter)
		child_how.discard = true; /* the parent decides; the child does what it is told */
	if (open_child(wanted, name, wanted->filename, filter ? wanted->protocol : true, &child_how, &child, err) < 0)
		return NULL;
	if (!child && !driver)
		error_set(err, EINVAL, "Must specify either driver or file");
	else if (!child)
		error_set(err, EINVAL, "A block device must be specified for \"%s\"", name);
	return child;
}

/* --- drivers --- */

static const struct block_driver *named_driver(const struct wanted *wanted, const char *name, struct error *err)
{
	const struct block_driver *driver = block_driver_find(name);
	struct error why = {0};

	if (driver || wanted->strict)
		return driver ? driver : block_driver_load(name, err);
	driver = block_driver_load(name, &why);
	if (!driver && why.code == EINVAL)
		error_set(err, EINVAL, "Unknown driver '%s'", name);
	else if (!driver)
		error_set(err, why.code, "%s", why.msg);
	return driver;
}

/* The format of an image that was opened without one. Anything unknown is raw, which is dangerous when the guest can
 * choose the first bytes: see raw.c. */
static const struct block_driver *probe(struct block *file, struct error *err)
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

/* --- nodes --- */

static struct block *open_protocol(const struct wanted *wanted, const struct block_driver *driver, const char *filename,
				   const struct block_open *how, struct error *err)
{
	const char *name;

	if (filename)
		options_add(wanted->options, "filename", filename);
	name = options_get(wanted->options, "node-name");
	if (check_unknown(wanted->options, driver, err) < 0)
		return NULL;
	return block_open_node(wanted->graph, driver, name, NULL, wanted->options, how, err);
}

static struct block *open_over_child(const struct wanted *wanted, const struct block_driver *driver,
				     struct block_open *how, struct error *err)
{
	const char *name = options_get(wanted->options, "node-name");
	struct block *child = open_main_child(wanted, driver, how, err), *block = NULL;

	if (!child)
		return NULL;
	if (!driver) {
		driver = probe(child, err);
		how->probed = true;
	}
	if (driver && check_unknown(wanted->options, driver, err) == 0)
		block = block_open_node(wanted->graph, driver, name, child, wanted->options, how, err);
	block_unref(child);
	return block;
}

static struct block *open_described(const struct wanted *wanted, const struct block_open *inherited, struct error *err)
{
	const char *name = options_get(wanted->options, "driver"), *filename = wanted->filename;
	const struct block_driver *driver = NULL;
	struct block_open how = *inherited;

	if (parse_common(wanted->options, &how, wanted->strict, err) < 0)
		return NULL;
	how.log = wanted->graph->log;
	how.strict = wanted->strict;
	if (!name && wanted->strict) {
		error_set(err, EINVAL, "'driver' is missing");
		return NULL;
	}
	if (name)
		driver = named_driver(wanted, name, err);
	else if (wanted->protocol && !filename && !(filename = options_get(wanted->options, "filename")))
		error_set(err, EINVAL, "neither 'driver' nor 'filename' is given");
	else if (wanted->protocol)
		driver = block_protocol_find(&filename, err);
	if (!driver && (name || wanted->protocol))
		return NULL;
	if (driver && driver->is_protocol)
		return open_protocol(wanted, driver, wanted->filename ? filename : NULL, &how, err);
	return open_over_child(wanted, driver, &how, err);
}

/* json:{...}: what it says, and over it the options that were given beside the name. */
static struct block *open_json(const struct wanted *wanted, const struct block_open *inherited, struct error *err)
{
	struct options options;
	struct wanted inner = *wanted;
	struct block *block;

	if (options_parse_json(&options, wanted->filename + strlen("json:"), err) < 0) {
		error_prefix(err, "Could not parse the JSON options");
		return NULL;
	}
	options_append(&options, wanted->options);
	inner.filename = NULL;
	inner.options = &options;
	block = open_described(&inner, inherited, err);
	options_free(&options);
	return block;
}

static struct block *open_wanted(const struct wanted *wanted, const struct block_open *inherited, struct error *err)
{
	if (wanted->filename && !strncmp(wanted->filename, "json:", 5))
		return open_json(wanted, inherited, err);
	return open_described(wanted, inherited, err);
}

/* --- the ways in --- */

struct block *block_open_options(struct block_graph *graph, struct options *options, struct error *err)
{
	const struct wanted wanted = {.graph = graph, .options = options, .strict = true};
	const struct block_open how = {0};

	return open_wanted(&wanted, &how, err);
}

struct block *block_open_protocol(struct block_graph *graph, const char *filename, const struct block_open *how,
				  struct error *err)
{
	struct options options = {0};
	const struct wanted wanted = {.graph = graph, .filename = filename, .options = &options, .protocol = true};
	struct block_open child_how = *how;
	struct block *block;

	child_how.discard = true; /* whoever uses it decides */
	block = open_wanted(&wanted, &child_how, err);
	options_free(&options);
	return block;
}

struct block *block_open_image(struct block_graph *graph, const char *filename, struct options *options,
			       const struct block_open *how, struct error *err)
{
	const struct wanted wanted = {.graph = graph, .filename = filename, .options = options};

	return open_wanted(&wanted, how, err);
}

struct block *block_open_file(struct block_graph *graph, const char *filename, const char *format,
			      const struct block_open *how, struct error *err)
{
	struct options options = {0};
	struct block *block;

	if (format)
		options_add(&options, "driver", format);
	block = block_open_image(graph, filename, &options, how, err);
	options_free(&options);
	return block;
}
