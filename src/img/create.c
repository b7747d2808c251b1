/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create: new images, as the tables of the drivers say; also for convert and dd. */
#include "img/internal.h"

#include <errno.h>
#include <stdlib.h>

int img_add_options(struct img *img, struct options *options, const char *text)
{
	struct options more = {0};
	struct error err = {0};

	if (!*text || *text == ',' || text[strlen(text) - 1] == ',')
		return img_fail(img, "Invalid option list: %s", text);
	if (options_parse(&more, text, NULL, &err) < 0) {
		options_free(&more);
		return img_fail(img, "Invalid options for file format: %s", err.msg);
	}
	options_append(options, &more);
	options_free(&more);
	return 0;
}

/* Takes size, backing_file and backing_fmt out of the options and the command line. */
static int decode(struct img *img, const struct img_create *how, struct block_create *create)
{
	const char *size = options_get(create->options, "size");
	const char *backing = options_get(create->options, "backing_file");
	const char *format = options_get(create->options, "backing_fmt");
	const bool can_back = block_create_find(create->driver, "backing_file");

	if (size && how->size != UINT64_MAX && !how->quiet)
		return img_fail(img, "%sThe image size must be specified only once", how->prefix);
	create->length = how->size;
	if (create->length == UINT64_MAX && size)
		create->length = block_create_number(create, "size", UINT64_MAX);
	if (create->length != UINT64_MAX && create->length > INT64_MAX)
		return img_fail(img, "%sImage size must be less than 8 EiB!", how->prefix);
	if (how->backing && !can_back)
		return img_fail(img, "%sBacking file not supported for file format '%s'", how->prefix, how->format);
	if (how->backing_format && !can_back)
		return img_fail(img, "%sBacking file format not supported for file format '%s'", how->prefix,
				how->format);
	create->backing = how->backing ? how->backing : backing;
	create->backing_format = how->backing_format ? how->backing_format : format;
	if (create->backing && !*create->backing) {
		if (!how->converting && !how->copying)
			return img_fail(img, "%sExpected backing file name, got empty string", how->prefix);
		create->backing = NULL;
	}
	return 0;
}

/* Opens the backing file: to see that it is there, and for the size. */
static int look_at_backing(struct img *img, const struct img_create *how, struct block_create *create)
{
	const struct block_open open = {.read_only = true, .force_share = true, .describe = true};
	char *path = img_backing_path(how->filename, create->backing);
	struct error err = {0};
	struct block *block;
	int status = 0;

	if (!strcmp(how->filename, path)) {
		free(path);
		return img_fail(img, "%sError: Trying to create an image with the same filename as the backing file",
				how->prefix);
	}
	block = block_open_file(img->graph, path, create->backing_format, &open, &err);
	if (!block) {
		status = img_fail(img, "%s%s\nCould not open backing image.", how->prefix, err.msg);
	} else if (!create->backing_format) {
		status = img_fail(img, "%sBacking file specified without backing format\nDetected format of %s.",
				  how->prefix, block->driver->name);
	} else if (create->length == UINT64_MAX) {
		create->length = block->length;
	}
	block_unref(block);
	free(path);
	return status;
}

/* A value as create announces it: numbers as they were understood, commas doubled. NULL when there is none. */
static char *announced(const struct block_create *create, const struct block_create_option *row)
{
	const char *text = block_create_text(create, row->name);
	char *out, *to;

	if (!strcmp(row->name, "size"))
		return xasprintf("%llu", (unsigned long long)create->length);
	if (!strcmp(row->name, "backing_file"))
		text = create->backing;
	if (!strcmp(row->name, "backing_fmt"))
		text = create->backing_format;
	if (!text)
		return NULL;
	if (row->type == BLOCK_OPTION_NUMBER || row->type == BLOCK_OPTION_SIZE)
		return xasprintf("%lld", (long long)block_create_number(create, row->name, 0));
	out = to = xcalloc(2, strlen(text) + 1);
	for (; *text; text++) {
		*to++ = *text;
		if (*text == ',')
			*to++ = ',';
	}
	return out;
}

static void announce_rows(struct img *img, const struct block_create *create, const struct block_create_option *rows,
			  bool file)
{
	for (; rows->name; rows++) {
		char *text;

		if (file && block_create_find(create->driver, rows->name) != rows)
			continue; /* the format's own row has been shown */
		text = announced(create, rows);
		if (text)
			fprintf(img->out, " %s=%s", rows->name, text);
		free(text);
	}
}

static void announce(struct img *img, const struct block_create *create)
{
	fprintf(img->out, "Formatting '%s', fmt=%s", create->filename, create->driver->name);
	announce_rows(img, create, create->driver->create_options, false);
	if (create->driver->create_options != block_create_file_options())
		announce_rows(img, create, block_create_file_options(), true);
	fputc('\n', img->out);
	fflush(img->out);
}

const struct block_driver *img_create_driver(struct img *img, const char *prefix, const char *format)
{
	const struct block_driver *driver = block_driver_find(format);

	if (driver && driver->create)
		return driver;
	if (driver)
		img_fail(img, "%sFormat driver '%s' does not support image creation", prefix, format);
	else
		img_fail(img, "%sUnknown file format '%s'", prefix, format);
	return NULL;
}

int img_create_image(struct img *img, const struct img_create *how, struct options *options)
{
	struct block_create create = {.graph = img->graph, .filename = how->filename, .options = options};
	struct error err = {0};

	create.driver = img_create_driver(img, how->prefix, how->format);
	if (!create.driver)
		return 1;
	if (block_create_check(create.driver, options, &err) < 0)
		return img_fail(img, "%s%s", how->prefix, err.msg);
	if (decode(img, how, &create))
		return 1;
	if (how->converting && create.backing && !create.backing_format)
		return img_fail(img, "Use of backing file requires explicit backing format");
	if (create.backing && !how->unsafe && look_at_backing(img, how, &create))
		return 1;
	if (create.backing && !create.backing_format && !how->converting && !how->copying)
		return img_fail(img, "%sBacking file specified without backing format", how->prefix);
	if (create.length == UINT64_MAX)
		return img_fail(img, "%sImage creation needs a size parameter", how->prefix);
	if (!how->quiet)
		announce(img, &create);
	create.length = align_up(create.length, 512);
	if (block_create_image(&create, &err) == 0)
		return 0;
	if (err.code == EFBIG && !how->converting)
		return img_fail(img, "%s: The image size is too large for file format '%s'%s", how->filename,
				how->format,
				block_create_text(&create, "cluster_size") ? " (try using a larger cluster size)" : "");
	if (how->copying)
		return img_fail(img, "%s: error while creating output image: %s", how->filename, err.msg);
	return img_fail(img, "%s: %s%s%s%s", how->filename, how->converting ? "error while converting " : "",
			how->converting ? how->format : "", how->converting ? ": " : "", err.msg);
}

/* --- -o help --- */

static const char *type_name(enum block_option_type type)
{
	static const char *const names[] = {
		[BLOCK_OPTION_STRING] = "str",
		[BLOCK_OPTION_BOOL] = "bool (on/off)",
		[BLOCK_OPTION_NUMBER] = "num",
		[BLOCK_OPTION_SIZE] = "size",
	};

	return names[type];
}

static int by_name(const void *a, const void *b)
{
	const struct block_create_option *const *left = a, *const *right = b;

	return strcmp((*left)->name, (*right)->name);
}

static void print_rows(struct img *img, const struct block_create_option **rows, size_t count)
{
	qsort(rows, count, sizeof(*rows), by_name);
	for (size_t i = 0; i < count; i++) {
		char text[96];

		snprintf(text, sizeof(text), "%s=<%s>", rows[i]->name, type_name(rows[i]->type));
		fprintf(img->out, "  %-22s - %s\n", text, rows[i]->help);
	}
}

void img_print_options(struct img *img, const struct block_create_option *table)
{
	const struct block_create_option *rows[64];
	size_t count = 0;

	for (; table->name; table++)
		rows[count++] = table;
	print_rows(img, rows, count);
}

/* With a file name also the options of files. */
static void print_options(struct img *img, const struct block_driver *driver, bool with_file)
{
	const struct block_create_option *rows[64];
	size_t count = 0;

	for (const struct block_create_option *row = driver->create_options; row->name; row++)
		rows[count++] = row;
	for (const struct block_create_option *row = block_create_file_options(); with_file && row->name; row++)
		if (block_create_find(driver, row->name) == row)
			rows[count++] = row;
	fprintf(img->out, with_file ? "Supported options:\n" : "Supported %s options:\n", driver->name);
	print_rows(img, rows, count);
	if (!with_file)
		fprintf(img->out, "\nThe protocol level may support further options.\n"
				  "Specify the target filename to include those options.\n");
}

bool img_wants_help(const struct options *options)
{
	for (size_t i = 0; i < options->count; i++)
		if (!strcmp(options->items[i].key, "help") || !strcmp(options->items[i].key, "?"))
			return true;
	return false;
}

int img_create_help(struct img *img, const char *format, bool with_file)
{
	const struct block_driver *driver = img_create_driver(img, "", format);

	if (driver)
		print_options(img, driver, with_file);
	return driver ? 0 : 1;
}

static int create_named(struct img *img, struct img_args *args, struct img_create *how, struct options *options)
{
	char *prefix;
	int status;

	if (img_wants_help(options))
		return img_create_help(img, how->format, args->name_count > 0);
	if (args->name_count < 1)
		return img_usage(img, "Expecting image file name");
	if (args->name_count > 2)
		return img_usage(img, "Unexpected argument: %s", args->names[2]);
	if (args->name_count == 2 && img_size_argument(img, args->names[1], "image size", &how->size))
		return 1;
	how->filename = args->names[0];
	how->prefix = prefix = xasprintf("%s: ", how->filename);
	status = img_create_image(img, how, options);
	free(prefix);
	return status;
}

static const struct img_long longs[] = {{"image-opts", false, IMG_OPT_UNKNOWN}, {NULL}};

int img_verb_create(struct img *img, int argc, char **argv)
{
	struct img_create how = {.format = "raw", .size = UINT64_MAX};
	struct options options = {0};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "F:b:f:ho:qu", longs);
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
