/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening images by the names of the command line: paths, URIs, json:{...}, and with --image-opts lists of options. */
#include "backend/block/throttle.h"
#include "base/id.h"
#include "img/internal.h"

bool img_cache_is_known(const char *cache)
{
	static const char *const known[] = {"none", "off", "writeback", "writethrough", "directsync", "unsafe"};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(cache, known[i]))
			return true;
	return false;
}

bool img_cache_is_valid(struct img *img, const char *cache, bool source)
{
	if (!cache || img_cache_is_known(cache))
		return true;
	img_fail(img, "Invalid %scache option: %s", source ? "source " : "", cache);
	return false;
}

static int add_throttle_group(struct img *img, const char *id, const struct options *options, struct error *err)
{
	struct options limits = {0};
	int result;

	if (throttle_group_find(img->graph, id))
		return error_set(err, EEXIST,
				 "attempt to add duplicate property '%s' to object (type 'container')", id);
	for (size_t i = 0; i < options->count; i++)
		if (strcmp(options->items[i].key, "qom-type") && strcmp(options->items[i].key, "id"))
			options_add(&limits, options->items[i].key, options->items[i].value);
	result = throttle_group_add(img->graph, id, &limits, err);
	options_free(&limits);
	return result;
}

int img_add_object(struct img *img, const char *text)
{
	struct options options = {0};
	struct error err = {0};
	const char *type, *id;
	int status = 0;

	if (*text == '{' ? options_parse_json(&options, text, &err) : options_parse(&options, text, "qom-type", &err))
		return img_fail(img, "%s", err.msg);
	type = options_get(&options, "qom-type");
	id = options_get(&options, "id");
	if (!type)
		status = img_fail(img, "Parameter 'qom-type' is missing");
	else if (strcmp(type, "secret") && strcmp(type, "throttle-group"))
		status = img_fail(img, "Parameter 'qom-type' does not accept value '%s'", type);
	else if (!id)
		status = img_fail(img, "Parameter 'id' is missing");
	else if (!id_is_valid(id))
		status = img_fail(img, "Parameter 'id' expects an identifier\n"
				       "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.");
	else if ((!strcmp(type, "secret") ? block_secret_add(img->graph, &options, &err)
					  : add_throttle_group(img, id, &options, &err)) < 0)
		status = img_fail(img, "%s", err.msg);
	options_free(&options);
	return status;
}

static void warn_of_probed_raw(struct img *img, const char *filename)
{
	fprintf(img->err,
		"WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
		"         Automatically detecting the format is dangerous for raw images, write operations on "
		"block 0 will be restricted.\n"
		"         Specify the 'raw' format explicitly to remove the restrictions.\n",
		filename);
}

/* The name and what stands beside it as options. 0, or a status with the message printed. */
static int name_to_options(struct img *img, const char *name, bool as_options, const char *format,
			   const struct img_open *how, struct options *options)
{
	struct options given;
	struct error err = {0};

	if (!as_options) {
		if (format && !block_driver_find(format))
			return img_fail(img, "Could not open '%s': Unknown driver '%s'", name, format);
		if (format)
			options_add(options, "driver", format);
		return 0;
	}
	if (format)
		return img_fail(img, "--image-opts and --format are mutually exclusive");
	if (options_parse(&given, name, "file", &err) < 0)
		return img_fail(img, "%s", err.msg);
	options_append(options, &given);
	options_free(&given);
	for (size_t i = 0; i < options->count; i++)
		if (how->force_share && !strcmp(options->items[i].key, "force-share") &&
		    strcmp(options->items[i].value, "on"))
			return img_fail(img, "--force-share/-U conflicts with image options");
	return 0;
}

struct block *img_open(struct img *img, const char *filename, const char *format, const struct img_open *how)
{
	return img_open_as(img, "", filename, filename, format, how);
}

struct block *img_open_as(struct img *img, const char *what, const char *filename, const char *shown,
			  const char *format, const struct img_open *how)
{
	const char *cache = how->cache ? how->cache : "writeback";
	const bool as_options = how->name == IMG_NAME_OPTIONS || (how->name == IMG_NAME_GIVEN && img->image_opts);
	const struct block_open open = {
		.read_only = !how->writable,
		.no_backing = how->no_backing,
		.no_repair = how->no_repair,
		.describe = how->describe,
		.force_share = how->force_share,
		.no_cache = !strcmp(cache, "none") || !strcmp(cache, "off") || !strcmp(cache, "directsync"),
		.no_flush = !strcmp(cache, "unsafe"),
		.aio = how->aio,
		.discard = true,
	};
	struct options options = {0};
	struct error err = {0};
	struct block *block = NULL;

	if (how->force_share && how->writable) {
		img_fail(img, "Could not open '%s': force-share=on can only be used with read-only images", filename);
		return NULL;
	}
	if (how->more)
		options_append(&options, how->more);
	if (!name_to_options(img, filename, as_options, format, how, &options)) {
		block = block_open_image(img->graph, as_options ? NULL : filename, &options, &open, &err);
		if (!block)
			img_fail(img, "Could not open %s'%s': %s", what, shown, err.msg);
		else if (!options_get(&options, "driver") && strncmp(filename, "json:", 5) && how->writable &&
			 !strcmp(block->driver->name, "raw"))
			warn_of_probed_raw(img, block->filename);
	}
	options_free(&options);
	return block;
}

/* --- -l: a snapshot's name or id, or snapshot.id= and snapshot.name= --- */

int img_check_snapshot(struct img *img, const char *text)
{
	struct options options = {0};
	struct error err = {0};
	int status = 0;

	if (strncmp(text, "snapshot.", 9))
		return 0;
	if (options_parse(&options, text, NULL, &err) < 0)
		return img_fail(img, "Failed in parsing snapshot param '%s'", text);
	options_get(&options, "snapshot.id");
	options_get(&options, "snapshot.name");
	for (size_t i = 0; i < options.count && !status; i++) {
		if (options.items[i].used)
			continue;
		img_fail(img, "Invalid parameter '%s'", options.items[i].key);
		status = img_fail(img, "Failed in parsing snapshot param '%s'", text);
	}
	options_free(&options);
	return status;
}

int img_show_snapshot(struct img *img, struct block *block, const char *text)
{
	struct options options = {0};
	struct error err = {0};
	const char *id = text, *name = text;
	int status = 0;

	if (!strncmp(text, "snapshot.", 9)) {
		options_parse(&options, text, NULL, &err);
		id = options_get(&options, "snapshot.id");
		name = options_get(&options, "snapshot.name");
	}
	if (block->driver != &block_qcow2_driver)
		status = img_fail(img,
				  "Failed to load snapshot: Block format '%s' used by device '' does not support "
				  "temporarily loading internal snapshots",
				  block->driver->name);
	else if (qcow2_snapshot_show(block, id, name, &err) < 0)
		status = img_fail(img, "Failed to load snapshot: %s", err.msg);
	options_free(&options);
	return status;
}
