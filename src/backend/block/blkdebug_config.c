/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkdebug's config=: a file of rules in sections [inject-error] and [set-state], a line `key = "value"` for each
 * option of a rule (qemu, docs/devel/blkdebug.rst), as the options that -blockdev takes: inject-error.0.event and so
 * on.
 */
#include "backend/block/blkdebug.h"
#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 1024, LINES_MAX = 4096 };

struct sections {
	const char *kind; /* of the section that the line is in, or NULL */
	unsigned number;
	unsigned injected, set; /* sections of each kind so far */
};

/* [KIND] or [KIND "id"] */
static int take_section(struct sections *s, const char *text)
{
	char kind[32], id[64];
	int end = 0;

	sscanf(text, "[%31[^] ]]%n", kind, &end);
	if (!end)
		sscanf(text, "[%31[^] ] \"%63[^\"]\"]%n", kind, id, &end);
	if (!end || text[end])
		return -EINVAL;
	if (!strcmp(kind, "inject-error")) {
		s->kind = "inject-error";
		s->number = s->injected++;
	} else if (!strcmp(kind, "set-state")) {
		s->kind = "set-state";
		s->number = s->set++;
	} else {
		return -EINVAL;
	}
	return 0;
}

static int take_option(const struct sections *s, const char *text, struct options *rules)
{
	char key[64], value[256], *name;
	int end = 0;

	sscanf(text, "%63[a-z_] = \"%255[^\"]\"%n", key, value, &end);
	if (!s->kind || !end || text[end])
		return -EINVAL;
	name = xasprintf("%s.%u.%s", s->kind, s->number, key);
	options_add(rules, name, value);
	free(name);
	return 0;
}

int blkdebug_read_config(const char *path, struct options *rules, struct error *err)
{
	FILE *file = fopen(path, "re");
	char line[LINE_MAX_BYTES];
	struct sections sections = {0};
	int result = 0;

	if (!file)
		return error_set_errno(err, errno, "Could not open blkdebug config file '%s'", path);
	for (unsigned number = 1; !result && fgets(line, sizeof(line), file); number++) {
		size_t length = strlen(line);
		const char *text = line + strspn(line, " \t");

		while (length && strchr(" \t\r\n", line[length - 1]))
			line[--length] = 0;
		if (!*text || *text == '#')
			continue;
		if (number > LINES_MAX ||
		    (*text == '[' ? take_section(&sections, text) : take_option(&sections, text, rules)))
			result = error_set(err, EINVAL,
					   "%s:%u: '%.40s' is neither [inject-error], [set-state] nor key = \"value\"",
					   path, number, text);
	}
	fclose(file);
	return result;
}
