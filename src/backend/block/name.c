/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a node is called for people and programs: its file's name where that alone opens the same node again, else
 * json:{...} with the options that make the difference. Left out: children other than the one with the data.
 */
#include "backend/block/internal.h"

#include <jansson.h>
#include <stdlib.h>

/* In the order in which qemu shows them, which is that of its hash table. */
static const char *const key_order[] = {"offset",   "image", "throttle-group", "encrypt.key-secret", "driver",
					"filename", "size",  "file",           "key-secret"};

void block_name_keep(struct block *block, const struct options *options)
{
	for (const char *const *key = block->driver->strong; key && *key; key++)
		for (size_t i = 0; i < options->count; i++)
			if (!strcmp(options->items[i].key, *key))
				options_add_as(&block->strong, *key, &options->items[i]);
}

/* Whether the name of the file alone stands for the node. A filter has to be asked for. */
static bool is_plain(const struct block *block)
{
	if (block->implicit)
		return is_plain(block->file);
	if (block->strong.count || block->driver->is_filter)
		return false;
	return block->driver->is_protocol || (block->file->driver->is_protocol && is_plain(block->file));
}

static json_t *describe(const struct block *block);

static json_t *value_of(const struct block *block, const char *key)
{
	const char *text =
		block->driver->is_protocol && !block->strong.count && !strcmp(key, "filename") ? block->filename : NULL;
	bool number = false;

	if (!strcmp(key, "driver"))
		return json_string(block->driver->name);
	if (block->file && !strcmp(key, block_child_name(block->driver)))
		return describe(block->file);
	for (size_t i = 0; i < block->strong.count; i++) {
		if (strcmp(block->strong.items[i].key, key))
			continue;
		text = block->strong.items[i].value;
		number = block->strong.items[i].number;
	}
	if (number)
		return json_integer(strtoll(text, NULL, 10));
	return text ? json_stringn_nocheck(text, strlen(text)) : NULL;
}

static json_t *describe(const struct block *block)
{
	json_t *object = json_object();

	while (block->implicit)
		block = block->file;
	for (size_t i = 0; i < ARRAY_SIZE(key_order); i++) {
		json_t *value = value_of(block, key_order[i]);

		if (value)
			json_object_set_new(object, key_order[i], value);
	}
	return object;
}

char *block_name(const struct block *block)
{
	json_t *object;
	char *text, *name;

	if (is_plain(block))
		return xstrdup(block->filename ? block->filename : "");
	object = describe(block);
	text = json_dumps(object, JSON_ENSURE_ASCII);
	/* None where a file's name is not text. */
	name = text ? xasprintf("json:%s", text) : xstrdup(block->filename ? block->filename : "");
	free(text);
	json_decref(object);
	return name;
}
