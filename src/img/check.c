/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check: consistency, and repair with -r. Exit status: 0 good, 1 not checked, 2 corruptions, 3 leaks only, 63 not a
 * format that can be checked.
 */
#include "img/internal.h"

#include <errno.h>
#include <jansson.h>

enum { GOOD = 0, NOT_CHECKED = 1, CORRUPT = 2, LEAKS = 3, NO_CHECK = 63 };

struct checking {
	struct img *img;
	const char *filename, *format;
	bool json, quiet, fix_leaks, fix_all;
	const char *cache;
	bool force_share;
};

static void report(void *opaque, const char *line)
{
	struct checking *c = opaque;

	fprintf(c->img->err, "%s\n", line);
}

static void print_human(struct img *img, const struct block_check *r)
{
	if (!r->corruptions && !r->leaks && !r->check_errors) {
		fprintf(img->out, "No errors were found on the image.\n");
	} else {
		if (r->corruptions)
			fprintf(img->out,
				"\n%llu errors were found on the image.\n"
				"Data may be corrupted, or further writes to the image may corrupt it.\n",
				(unsigned long long)r->corruptions);
		if (r->leaks)
			fprintf(img->out,
				"\n%llu leaked clusters were found on the image.\n"
				"This means waste of disk space, but no harm to data.\n",
				(unsigned long long)r->leaks);
		if (r->check_errors)
			fprintf(img->out, "\n%llu internal errors have occurred during the check.\n",
				(unsigned long long)r->check_errors);
	}
	if (r->total_clusters && r->allocated_clusters)
		fprintf(img->out, "%llu/%llu = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
			(unsigned long long)r->allocated_clusters, (unsigned long long)r->total_clusters,
			100.0 * (double)r->allocated_clusters / (double)r->total_clusters,
			100.0 * (double)r->fragmented_clusters / (double)r->allocated_clusters,
			100.0 * (double)r->compressed_clusters / (double)r->allocated_clusters);
	if (r->image_end_offset)
		fprintf(img->out, "Image end offset: %llu\n", (unsigned long long)r->image_end_offset);
}

static void set_if(json_t *row, const char *key, uint64_t value)
{
	if (value)
		json_object_set_new(row, key, json_integer((json_int_t)value));
}

static void print_json(struct checking *c, const struct block *block, const struct block_check *r)
{
	json_t *row = json_object();

	/* In the order of qemu-img's. */
	set_if(row, "image-end-offset", r->image_end_offset);
	set_if(row, "compressed-clusters", r->compressed_clusters);
	set_if(row, "total-clusters", r->total_clusters);
	set_if(row, "corruptions", r->corruptions);
	set_if(row, "corruptions-fixed", r->corruptions_fixed);
	json_object_set_new(row, "check-errors", json_integer((json_int_t)r->check_errors));
	set_if(row, "leaks", r->leaks);
	set_if(row, "leaks-fixed", r->leaks_fixed);
	set_if(row, "allocated-clusters", r->allocated_clusters);
	json_object_set_new(row, "filename", json_stringn_nocheck(c->filename, strlen(c->filename)));
	json_object_set_new(row, "format", json_string(block->driver->name));
	set_if(row, "fragmented-clusters", r->fragmented_clusters);
	json_dumpf(row, c->img->out, JSON_INDENT(4));
	fputc('\n', c->img->out);
	json_decref(row);
}

static int check_block(struct checking *c, struct block *block)
{
	struct block_check result = {.report = report, .opaque = c};
	struct error err = {0};
	int status;

	status = block->driver->check ? block->driver->check(block, &result, c->fix_leaks, c->fix_all, &err) : -ENOTSUP;
	if (status == -ENOTSUP) {
		img_fail(c->img, "This image format does not support checks");
		return NO_CHECK;
	}
	if (status < 0) {
		img_fail(c->img, "Check failed: %s", err.msg);
		return NOT_CHECKED;
	}
	if ((result.leaks_fixed || result.corruptions_fixed) && !c->json) {
		struct block_check second = {.report = report, .opaque = c};

		if (!c->quiet)
			fprintf(c->img->out,
				"The following inconsistencies were found and repaired:\n\n"
				"    %llu leaked clusters\n    %llu corruptions\n\nDouble checking the fixed image "
				"now...\n",
				(unsigned long long)result.leaks_fixed, (unsigned long long)result.corruptions_fixed);
		if (block->driver->check(block, &second, false, false, &err) < 0) {
			img_fail(c->img, "Check failed: %s", err.msg);
			return NOT_CHECKED;
		}
		result = second;
	}
	if (c->json && !c->quiet)
		print_json(c, block, &result);
	else if (!c->quiet)
		print_human(c->img, &result);
	if (result.check_errors) {
		img_fail(c->img, "Check failed: I/O error");
		return NOT_CHECKED;
	}
	return result.corruptions ? CORRUPT : result.leaks ? LEAKS : GOOD;
}

static int run_check(struct checking *c)
{
	const struct img_open how = {.writable = c->fix_leaks,
				     .no_repair = true,
				     .no_backing = true,
				     .force_share = c->force_share,
				     .cache = c->cache};
	struct block *block = img_open(c->img, c->filename, c->format, &how);
	int status = block ? check_block(c, block) : NOT_CHECKED;

	block_unref(block);
	return status;
}

static int parse_repair(struct checking *c, const char *what)
{
	c->fix_all = !strcmp(what, "all");
	c->fix_leaks = c->fix_all || !strcmp(what, "leaks");
	return c->fix_leaks ? -1
			    : img_usage(c->img, "Unknown option value for -r (expecting 'leaks' or 'all'): %s", what);
}

static const struct img_long longs[] = {
	{"output", true, IMG_OPT_OUTPUT},
	{"repair", true, 'r'},
	{"force-share", false, 'U'},
	{NULL},
};

int img_verb_check(struct img *img, int argc, char **argv)
{
	struct checking c = {.img = img};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "hf:r:T:qU", longs);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'f')
			c.format = args.value;
		else if (code == 'r')
			status = parse_repair(&c, args.value);
		else if (code == 'T')
			c.cache = args.value;
		else if (code == 'q')
			c.quiet = true;
		else if (code == 'U')
			c.force_share = true;
		else if (code == IMG_OPT_OUTPUT)
			status = img_output_argument(img, args.value, &c.json) ? 1 : -1;
		else
			status = img_args_other(&args, code);
	}
	if (status < 0 && args.name_count != 1)
		status = img_usage(img, "Expecting one image file name");
	if (status < 0 && !img_cache_is_valid(img, c.cache, true))
		status = 1;
	if (status < 0) {
		c.filename = args.names[0];
		status = run_check(&c);
	}
	img_args_end(&args);
	return status;
}
