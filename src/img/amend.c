/* SPDX-License-Identifier: GPL-2.0-or-later */
/* amend: other options for an image that is there. */
#include "img/internal.h"

struct amend {
	struct img *img;
	const char *format, *cache;
	bool quiet, show_progress, force;
	struct options options;
};

static int print_help(struct img *img, const struct block_driver *driver)
{
	if (!driver->amend)
		return img_fail(img, "Format driver '%s' does not support option amendment", driver->name);
	fprintf(img->out, "Amend options for '%s':\n", driver->name);
	img_print_options(img, driver->amend_options);
	return 0;
}

static const struct block_create_option *find_row(const struct block_create_option *rows, const char *name)
{
	for (; rows && rows->name; rows++)
		if (!strcmp(rows->name, name))
			return rows;
	return NULL;
}

static int check_options(struct amend *a, const struct block_driver *driver)
{
	struct error err = {0};

	for (size_t i = 0; i < a->options.count; i++) {
		const char *key = a->options.items[i].key;
		const struct block_create_option *row = find_row(driver->amend_options, key);

		if (!row)
			return img_fail(a->img, "Invalid parameter '%s'%s", key,
					block_create_find(driver, key)
						? "\nThis option is only supported for image creation"
						: "");
		if (block_create_check_value(row, a->options.items[i].value, &err) < 0)
			return img_fail(a->img, "%s", err.msg);
	}
	return 0;
}

static int run_amend(struct amend *a, const char *name)
{
	const struct img_open how = {.writable = true, .cache = a->cache};
	struct block *block = img_open(a->img, name, a->format, &how);
	struct img_progress progress;
	struct error err = {0};
	int status = 1;

	if (!block)
		return 1;
	if (img_wants_help(&a->options)) {
		status = print_help(a->img, block->driver);
	} else if (!block->driver->amend) {
		status = img_fail(a->img, "Format driver '%s' does not support option amendment", block->driver->name);
	} else if (!check_options(a, block->driver)) {
		img_progress_start(&progress, a->img, a->show_progress && !a->quiet);
		status = block->driver->amend(block, &a->options, a->force, &err) < 0 ? img_fail(a->img, "%s", err.msg)
										      : 0;
		img_progress_end(&progress, true); /* also after a failure, as qemu-img */
	}
	block_unref(block);
	return status;
}

static const struct img_long longs[] = {{"force", false, IMG_OPT_FORCE}, {NULL}};

static int amend_option(struct amend *a, struct img_args *args, int code)
{
	switch (code) {
	case 'f':
		a->format = args->value;
		return -1;
	case 'o':
		return img_add_options(a->img, &a->options, args->value) ? 1 : -1;
	case 't':
		a->cache = args->value;
		return -1;
	case 'p':
		a->show_progress = true;
		return -1;
	case 'q':
		a->quiet = true;
		return -1;
	case IMG_OPT_FORCE:
		a->force = true;
		return -1;
	default:
		return img_args_other(args, code);
	}
}

int img_verb_amend(struct img *img, int argc, char **argv)
{
	struct amend a = {.img = img};
	const struct block_driver *driver;
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "ho:f:t:pq", longs);
	while (status < 0 && (code = img_args_next(&args)))
		status = amend_option(&a, &args, code);
	if (status < 0 && !a.options.count)
		status = img_usage(img, "Must specify options (-o)");
	driver = a.format ? block_driver_find(a.format) : NULL;
	if (status < 0 && driver && img_wants_help(&a.options))
		status = print_help(img, driver);
	if (status < 0 && args.name_count != 1)
		status = img_fail(img, "Expecting one image file name");
	if (status < 0 && !img_cache_is_valid(img, a.cache, false))
		status = 1;
	if (status < 0)
		status = run_amend(&a, args.names[0]);
	options_free(&a.options);
	img_args_end(&args);
	return status;
}
