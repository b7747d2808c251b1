/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The descriptor of a VMDK image (Virtual Disk Format 5.0, "The Descriptor File"): lines of key=value, extent lines,
 * and the disk database, of which nothing is needed to read the disk.
 */
#include "backend/block/vmdk_internal.h"

#include <stdlib.h>
#include <strings.h>

/* --- lines --- */

struct line {
	const char *text;
	size_t length;
};

/* The next line, without its end and the blanks around it; false at the end. */
static bool next_line(const char **at, const char *end, struct line *line)
{
	const char *stop;

	if (*at >= end)
		return false;
	stop = memchr(*at, '\n', (size_t)(end - *at));
	line->text = *at;
	*at = stop ? stop + 1 : end;
	stop = stop ? stop : end;
	while (stop > line->text && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
		stop--;
	while (line->text < stop && (*line->text == ' ' || *line->text == '\t'))
		line->text++;
	line->length = (size_t)(stop - line->text);
	return true;
}

static void skip_blanks(struct line *line)
{
	while (line->length && (*line->text == ' ' || *line->text == '\t')) {
		line->text++;
		line->length--;
	}
}

/* When the line is `key = value`, makes it the value without quotes. */
static bool value_of(struct line *line, const char *key)
{
	const size_t length = strlen(key);
	struct line value;

	if (line->length <= length || strncasecmp(line->text, key, length) != 0)
		return false;
	value = (struct line){.text = line->text + length, .length = line->length - length};
	skip_blanks(&value);
	if (!value.length || *value.text != '=')
		return false;
	value.text++;
	value.length--;
	skip_blanks(&value);
	if (value.length >= 2 && *value.text == '"' && value.text[value.length - 1] == '"') {
		value.text++;
		value.length -= 2;
	}
	*line = value;
	return true;
}

static char *copy_of(const struct line *line)
{
	char *copy = xcalloc(1, line->length + 1);

	memcpy(copy, line->text, line->length);
	return copy;
}

static bool hex_of(const struct line *line, uint32_t *value, uint32_t *digits)
{
	*value = *digits = 0;
	for (; *digits < line->length && *digits < 8; ++*digits) {
		const char c = (char)(line->text[*digits] | 0x20);
		const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (digit < 0)
			break;
		*value = *value << 4 | (uint32_t)digit;
	}
	return *digits && *digits == line->length;
}

/* --- extents: ACCESS SECTORS TYPE "NAME" [OFFSET] --- */

static bool take_word(struct line *line, char *word, size_t size)
{
	size_t length = 0;

	skip_blanks(line);
	while (length < line->length && line->text[length] != ' ' && line->text[length] != '\t')
		length++;
	if (!length || length >= size)
		return false;
	memcpy(word, line->text, length);
	word[length] = '\0';
	line->text += length;
	line->length -= length;
	return true;
}

static bool take_number(struct line *line, uint64_t *value)
{
	char word[24], *end;

	if (!take_word(line, word, sizeof(word)) || word[0] < '0' || word[0] > '9')
		return false;
	errno = 0;
	*value = strtoull(word, &end, 10);
	return !*end && !errno && *value <= INT64_MAX / BLOCK_SECTOR;
}

static bool take_name(struct line *line, char **name)
{
	const char *end;
	struct line inside;

	skip_blanks(line);
	if (line->length < 2 || *line->text != '"')
		return false;
	end = memchr(line->text + 1, '"', line->length - 1);
	if (!end || end == line->text + 1 || end - line->text > 512)
		return false;
	inside = (struct line){.text = line->text + 1, .length = (size_t)(end - line->text - 1)};
	*name = copy_of(&inside);
	line->length -= (size_t)(end + 1 - line->text);
	line->text = end + 1;
	return true;
}

static bool parse_extent(struct line rest, struct vmdk_line *extent)
{
	char access[11];
	bool flat;

	if (!take_word(&rest, access, sizeof(access)) || !take_number(&rest, &extent->sectors) || !extent->sectors ||
	    !take_word(&rest, extent->type, sizeof(extent->type)) || !take_name(&rest, &extent->name))
		return false;
	skip_blanks(&rest);
	flat = !strcmp(extent->type, "FLAT");
	if (flat && !take_number(&rest, &extent->offset))
		return false;
	skip_blanks(&rest);
	return !rest.length;
}

static bool begins_extent(const struct line *line)
{
	static const char *const words[] = {"RW ", "RDONLY ", "NOACCESS "};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (line->length > strlen(words[i]) && !strncmp(line->text, words[i], strlen(words[i])))
			return true;
	return false;
}

static int add_extent(struct vmdk_descriptor *d, const struct line *line, struct error *err)
{
	struct vmdk_line *extent;

	if (strncmp(line->text, "RW ", 3) != 0)
		return error_set(err, ENOTSUP, "extents that are not RW are not supported: %.*s",
				 (int)min_u64(line->length, 200), line->text);
	d->lines = xrealloc(d->lines, (d->line_count + 1) * sizeof(*d->lines));
	extent = &d->lines[d->line_count++];
	*extent = (struct vmdk_line){0};
	if (!parse_extent(*line, extent))
		return error_set(err, EINVAL, "Invalid extent line: %.*s", (int)min_u64(line->length, 400), line->text);
	return 0;
}

/* --- the whole --- */

static int parse_line(struct vmdk_descriptor *d, struct line line, bool with_extents, struct error *err)
{
	uint32_t digits;

	if (begins_extent(&line))
		return with_extents ? add_extent(d, &line, err) : 0;
	if (value_of(&line, "parentCID")) {
		if (!hex_of(&line, &d->parent_cid, &digits))
			return error_set(err, EINVAL, "Invalid parentCID in the VMDK descriptor");
	} else if (value_of(&line, "CID")) {
		if (!hex_of(&line, &d->cid, &d->cid_digits))
			return error_set(err, EINVAL, "Invalid CID in the VMDK descriptor");
		d->cid_at = (uint32_t)(line.text - d->text);
	} else if (!d->create_type && value_of(&line, "createType")) {
		d->create_type = copy_of(&line);
	} else if (!d->parent && value_of(&line, "parentFileNameHint")) {
		d->parent = copy_of(&line);
	}
	return 0;
}

int vmdk_descriptor_parse(struct vmdk_descriptor *d, char *text, uint32_t length, bool with_extents, struct error *err)
{
	const char *nul = memchr(text, '\0', length), *at = text;
	struct line line;
	int result = 0;

	*d = (struct vmdk_descriptor){.text = text, .length = nul ? (uint32_t)(nul - text) : length};
	d->parent_cid = VMDK_NO_PARENT;
	while (!result && next_line(&at, text + d->length, &line))
		if (line.length && *line.text != '#')
			result = parse_line(d, line, with_extents, err);
	if (!result && with_extents && !d->create_type)
		result = error_set(err, EINVAL, "invalid VMDK image descriptor");
	if (!result && !d->cid_digits)
		result = error_set(err, EINVAL, "invalid VMDK image descriptor: it has no CID");
	if (result)
		vmdk_descriptor_free(d);
	return result;
}

void vmdk_descriptor_free(struct vmdk_descriptor *d)
{
	for (size_t i = 0; i < d->line_count; i++)
		free(d->lines[i].name);
	free(d->lines);
	free(d->create_type);
	free(d->parent);
	free(d->text);
	*d = (struct vmdk_descriptor){0};
}

bool vmdk_descriptor_probe(const uint8_t *head, size_t length)
{
	const char *at = (const char *)head;
	struct line line;

	/* Comments and blank lines, then the version: anything else is not a descriptor. */
	while (next_line(&at, (const char *)head + length, &line)) {
		if (!line.length || *line.text == '#')
			continue;
		return line.length == 9 && !memcmp(line.text, "version=", 8) && line.text[8] >= '1' &&
		       line.text[8] <= '3';
	}
	return false;
}
