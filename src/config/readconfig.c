/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -readconfig: sections [group] or [group "id"] of lines key = "value", '#' begins a comment (qemu's docs/config). A
 * section is the option of that group.
 */
#include "base/util.h"
#include "config/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_LINE = 4096, MAX_LINES = 100000 };

struct reader {
	struct config_parse *parse;
	const char *path;
	const struct key *key; /* of the open section, or NULL */
	struct options options;
};

static const struct key *find_group(const char *group, struct error *err)
{
	const char *groups[128] = {NULL}, *near;
	size_t count = 0;

	for (const struct key *key = config_keys; key->name; key++) {
		if (!key->group)
			continue;
		if (strcmp(key->group, group) == 0)
			return key;
		if (count < ARRAY_SIZE(groups) - 1)
			groups[count++] = key->group;
	}
	near = nearest_word(group, groups);
	if (near)
		error_set(err, EINVAL, "unknown section [%.100s]; did you mean [%s]?", group, near);
	else
		error_set(err, EINVAL, "unknown or not yet supported section [%.100s]", group);
	return NULL;
}

static int end_section(struct reader *reader, struct error *err)
{
	int ret = 0;

	if (reader->key) {
		snprintf(reader->parse->typed, sizeof(reader->parse->typed), "-readconfig %.150s: [%s]", reader->path,
			 reader->key->group);
		ret = key_apply_list(reader->parse, reader->key, &reader->options, err);
	}
	if (ret < 0)
		error_prefix(err, "[%s]", reader->key->group);
	options_free(&reader->options);
	reader->key = NULL;
	return ret;
}

static int begin_section(struct reader *reader, char *line, struct error *err)
{
	char group[64], id[128];
	int fields, end = 0;

	fields = sscanf(line, "[%63[^] \t\"] \"%127[^\"]\" ]%n", group, id, &end);
	if (fields != 2 || !end) {
		fields = sscanf(line, "[%63[^] \t\"] ]%n", group, &end);
		if (fields != 1 || !end)
			return error_set(err, EINVAL, "expected [section] or [section \"id\"]");
	}
	if (line[end])
		return error_set(err, EINVAL, "unexpected text behind ]");
	reader->key = find_group(group, err);
	if (!reader->key)
		return -EINVAL;
	if (fields == 2) {
		if (!reader->key->group_id)
			return error_set(err, EINVAL, "section [%s] takes no id", group);
		options_add(&reader->options, reader->key->group_id, id);
	}
	return 0;
}

/* key = "value" or key = value */
static int add_line(struct reader *reader, char *line, struct error *err)
{
	char *equals = strchr(line, '='), *value, *end;

	if (!reader->key)
		return error_set(err, EINVAL, "a parameter outside a section");
	if (!equals || equals == line)
		return error_set(err, EINVAL, "expected key = \"value\"");
	value = equals + 1;
	while (isspace((unsigned char)*value))
		value++;
	*equals-- = 0;
	while (equals > line && isspace((unsigned char)*equals))
		*equals-- = 0;
	if (*value == '"') {
		end = strchr(++value, '"');
		if (!end || end[1])
			return error_set(err, EINVAL, "the value's quotes do not close at the end of the line");
		*end = 0;
	}
	options_add(&reader->options, line, value);
	return 0;
}

static int read_line(struct reader *reader, char *line, struct error *err)
{
	char *end;

	while (isspace((unsigned char)*line))
		line++;
	end = line + strlen(line);
	while (end > line && isspace((unsigned char)end[-1]))
		*--end = 0;
	if (!*line || *line == '#')
		return 0;
	if (*line != '[')
		return add_line(reader, line, err);
	if (end_section(reader, err) < 0)
		return -EINVAL;
	return begin_section(reader, line, err);
}

static int read_lines(struct reader *reader, FILE *from, struct error *err)
{
	char line[MAX_LINE];
	unsigned number = 0;

	while (fgets(line, sizeof(line), from)) {
		number++;
		if (!strchr(line, '\n') && !feof(from))
			return error_set(err, EINVAL, "line %u: longer than %d bytes", number, MAX_LINE - 2);
		if (number > MAX_LINES)
			return error_set(err, EINVAL, "more than %d lines", MAX_LINES);
		if (read_line(reader, line, err) < 0)
			return error_prefix(err, "line %u", number);
	}
	if (ferror(from))
		return error_set_errno(err, EIO, "reading");
	return end_section(reader, err);
}

int word_readconfig(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	struct reader reader = {.parse = parse, .path = value};
	FILE *from = fopen(value, "re");
	int ret;

	if (!from)
		return error_set_errno(err, errno, "cannot open");
	ret = read_lines(&reader, from, err);
	options_free(&reader.options);
	fclose(from);
	return ret;
}
