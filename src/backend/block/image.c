/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of new images, by the tables of the drivers; see image.h. */
#include "backend/block/image.h"

#include "backend/block/internal.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the tables --- */

static const struct block_create_option *find_row(const struct block_create_option *rows, const char *name)
{
	for (; rows && rows->name; rows++)
		if (!strcmp(rows->name, name))
			return rows;
	return NULL;
}

const struct block_create_option *block_create_file_options(void)
{
	return block_file_create_options;
}

const struct block_create_option *block_create_find(const struct block_driver *driver, const char *name)
{
	const struct block_create_option *row = find_row(driver->create_options, name);

	return row || driver->is_protocol ? row : find_row(block_file_create_options, name);
}

/* --- values --- */

static int parse_number(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	if (end == text || *end)
		return -EINVAL;
	return errno ? -errno : 0;
}

int block_create_check_value(const struct block_create_option *row, const char *text, struct error *err)
{
	uint64_t number;
	bool truth;
	int result = 0;

	switch (row->type) {
	case BLOCK_OPTION_STRING:
		break;
	case BLOCK_OPTION_BOOL:
		if (parse_bool(text, &truth, NULL) < 0)
			return error_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", row->name);
		break;
	case BLOCK_OPTION_NUMBER:
		result = parse_number(text, &number);
		if (result == -ERANGE)
			return error_set(err, ERANGE, "Value '%.100s' is too large for parameter '%s'", text,
					 row->name);
		if (result)
			return error_set(err, EINVAL, "Parameter '%s' expects a number", row->name);
		break;
	case BLOCK_OPTION_SIZE:
		result = parse_size(text, 1, &number, NULL);
		if (result == -ERANGE)
			return error_set(err, ERANGE, "Value '%.100s' is out of range for parameter '%s'", text,
					 row->name);
		if (result)
			return error_set(err, EINVAL,
					 "Parameter '%s' expects a non-negative number below 2^64\n"
					 "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
					 "and exabytes, respectively.",
					 row->name);
		break;
	}
	return 0;
}

int block_create_check(const struct block_driver *driver, const struct options *options, struct error *err)
{
	for (size_t i = 0; i < options->count; i++) {
		const struct block_create_option *row = block_create_find(driver, options->items[i].key);
		int result;

		if (!row)
			return error_set(err, EINVAL, "Invalid parameter '%.100s'", options->items[i].key);
		result = block_create_check_value(row, options->items[i].value, err);
		if (result)
			return result;
	}
	return 0;
}

const char *block_create_text(const struct block_create *create, const char *name)
{
	const struct block_create_option *row = block_create_find(create->driver, name);
	const char *text = create->options ? options_get(create->options, name) : NULL;

	return text ? text : row ? row->initial : NULL;
}

bool block_create_bool(const struct block_create *create, const char *name)
{
	const char *text = block_create_text(create, name);
	bool truth = false;

	if (text)
		parse_bool(text, &truth, NULL);
	return truth;
}

uint64_t block_create_number(const struct block_create *create, const char *name, uint64_t fallback)
{
	const struct block_create_option *row = block_create_find(create->driver, name);
	const char *text = block_create_text(create, name);
	uint64_t value = fallback;

	if (text && row && row->type == BLOCK_OPTION_SIZE)
		parse_size(text, 1, &value, NULL);
	else if (text)
		parse_number(text, &value);
	return value;
}

int block_create_choice(const struct block_create *create, const char *name, const char *called,
			const char *const *choices, unsigned *choice, struct error *err)
{
	const char *text = block_create_text(create, name);

	for (unsigned i = 0; text && choices[i]; i++) {
		if (!strcmp(text, choices[i])) {
			*choice = i;
			return 0;
		}
	}
	return text ? error_set(err, EINVAL, "Parameter '%s' does not accept value '%.100s'", called, text) : 0;
}

/* --- making --- */

struct block *block_create_file(const struct block_create *create, const char *filename, uint64_t bytes,
				struct error *err)
{
	const struct block_open how = {.no_flush = true};
	struct block_create file = *create;

	if (filename)
		file.filename = filename;
	file.length = bytes;
	if (block_file_create(&file, err) < 0)
		return NULL;
	return block_open_protocol(create->graph, file.filename, &how, err);
}

void block_create_undo(const char *filename)
{
	const struct block_driver *driver = block_protocol_find(&filename, NULL);
	struct stat status;

	if (driver == &block_file_driver && stat(filename, &status) == 0 && S_ISREG(status.st_mode))
		unlink(filename);
}

int block_create_image(const struct block_create *create, struct error *err)
{
	if (!create->driver->create)
		return error_set(err, ENOTSUP, "Format driver '%s' does not support image creation",
				 create->driver->name);
	return create->driver->create(create, err);
}

void block_get_info(const struct block *block, struct block_info *info)
{
	*info = (struct block_info){0};
	if (block->driver->info) {
		block->driver->info(block, info);
	} else if (block_is_window(block)) {
		struct block_info child;

		block_get_info(block->file, &child);
		info->cluster_bytes = child.cluster_bytes;
		info->dirty = child.dirty;
	}
}
