/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The JSON form of -device, -blockdev, -netdev and -object (qemu's manual: "the same as the QMP command's arguments"),
 * and of image names (json:{...}), turned into the dotted form that key=value parameters have.
 */
#include "base/options.h"
#include "base/util.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { JSON_MAX_DEPTH = 16 };

static int flatten(struct options *out, const char *path, const json_t *value, unsigned depth, struct error *err);

static int flatten_object(struct options *out, const char *path, json_t *object, unsigned depth, struct error *err)
{
	const char *name;
	json_t *value;
	int ret = 0;

	json_object_foreach(object, name, value)
	{
		char *inner;

		if (!*name || strpbrk(name, "=,"))
			return error_set(err, EINVAL, "'%.100s' is not a parameter name", name);
		inner = *path ? xasprintf("%s.%s", path, name) : xstrdup(name);
		ret = flatten(out, inner, value, depth, err);
		free(inner);
		if (ret < 0)
			break;
	}
	return ret;
}

static int flatten_array(struct options *out, const char *path, json_t *array, unsigned depth, struct error *err)
{
	json_t *value;
	size_t index;
	int ret = 0;

	json_array_foreach(array, index, value)
	{
		json_t *text = json_object_get(value, "str");
		char *inner;

		/* QMP's type String: { "str": ... }; the key=value form repeats the key instead. */
		if (text && json_object_size(value) == 1) {
			ret = flatten(out, path, text, depth, err);
		} else {
			inner = xasprintf("%s.%zu", path, index);
			ret = flatten(out, inner, value, depth, err);
			free(inner);
		}
		if (ret < 0)
			break;
	}
	return ret;
}

static int flatten(struct options *out, const char *path, const json_t *value, unsigned depth, struct error *err)
{
	char number[64];

	if (depth > JSON_MAX_DEPTH)
		return error_set(err, EINVAL, "JSON nested deeper than %d", JSON_MAX_DEPTH);
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return flatten_object(out, path, (json_t *)value, depth + 1, err);
	case JSON_ARRAY:
		return flatten_array(out, path, (json_t *)value, depth + 1, err);
	case JSON_STRING:
		options_add(out, path, json_string_value(value));
		return 0;
	case JSON_INTEGER:
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		options_add(out, path, number);
		out->items[out->count - 1].number = true;
		return 0;
	case JSON_TRUE:
	case JSON_FALSE:
		options_add(out, path, json_is_true(value) ? "on" : "off");
		return 0;
	case JSON_NULL: /* "backing": null: none, as the empty value says it */
		options_add(out, path, "");
		return 0;
	case JSON_REAL:
		break;
	}
	return error_set(err, EINVAL, "%.100s: expected a string, an integer, true or false", path);
}

int options_parse_json(struct options *out, const char *text, struct error *err)
{
	json_error_t where;
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &where);
	int ret;

	*out = (struct options){0};
	if (!root)
		return error_set(err, EINVAL, "JSON, character %d: %.200s", where.position, where.text);
	ret = json_is_object(root) ? flatten(out, "", root, 0, err) : error_set(err, EINVAL, "expected a JSON object");
	json_decref(root);
	if (ret < 0)
		options_free(out);
	return ret;
}
