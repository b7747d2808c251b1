/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Look-up in the command tables, and access to the arguments of a call. */
#include "control/monitor/command.h"

#include "base/options.h"
#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>

const struct command *command_next(const struct command *command)
{
	size_t group = 0;

	if (!command)
		return command_groups[0];
	if (command[1].run)
		return command + 1;
	for (; command_groups[group]; group++) {
		const struct command *last = command_groups[group];

		while (last[1].run)
			last++;
		if (last == command)
			return command_groups[group + 1];
	}
	return NULL;
}

const struct command *command_find_qmp(const char *name)
{
	for (const struct command *c = command_next(NULL); c; c = command_next(c))
		if (c->qmp && strcmp(c->qmp, name) == 0)
			return c;
	return NULL;
}

bool command_names_include(const char *names, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = names; length && *at;) {
		size_t one = strcspn(at, "|");

		if (one == length && strncmp(at, name, one) == 0)
			return true;
		at += one + (at[one] == '|');
	}
	return false;
}

/* The names behind "info ", or of a command that is no info; NULL when the row is of the other kind. */
static const char *names_of(const struct command *command, bool info)
{
	bool is_info = command->hmp && strncmp(command->hmp, "info ", 5) == 0;

	if (!command->hmp || is_info != info)
		return NULL;
	return command->hmp + (info ? 5 : 0);
}

const struct command *command_find_hmp(const char *name, bool info)
{
	for (const struct command *c = command_next(NULL); c; c = command_next(c)) {
		const char *names = names_of(c, info);

		if (names && command_names_include(names, name))
			return c;
	}
	return NULL;
}

const char *command_nearest_hmp(const char *name, bool info)
{
	const char *names[256] = {NULL}, *near;
	char copies[256][32];
	size_t count = 0;

	for (const struct command *c = command_next(NULL); c && count < ARRAY_SIZE(names) - 1; c = command_next(c)) {
		const char *these = names_of(c, info);

		if (!these)
			continue;
		snprintf(copies[count], sizeof(copies[0]), "%.*s", (int)strcspn(these, "|"), these);
		names[count] = copies[count];
		count++;
	}
	near = nearest_word(name, names);
	if (!near)
		return NULL;
	/* What is returned must live on: the row's own text, of which the name is the beginning. */
	for (const struct command *c = command_next(NULL); c; c = command_next(c)) {
		const char *these = names_of(c, info);

		if (these && strncmp(these, near, strlen(near)) == 0 && strcspn(these, "|") == strlen(near))
			return these;
	}
	return NULL;
}

const char *argument_string(const struct command_call *call, const char *name)
{
	return json_string_value(json_object_get(call->arguments, name));
}

int64_t argument_int(const struct command_call *call, const char *name, int64_t fallback)
{
	json_t *value = json_object_get(call->arguments, name);

	return value ? json_integer_value(value) : fallback;
}

bool argument_bool(const struct command_call *call, const char *name, bool fallback)
{
	json_t *value = json_object_get(call->arguments, name);

	return value ? json_is_true(value) : fallback;
}

json_t *text_result(struct text *text)
{
	json_t *result = json_pack("{s:s}", "human-readable-text", text->data ? text->data : "");

	text_free(text);
	return result;
}

void show_text_result(struct command_call *call, const json_t *result)
{
	text_printf(call->text, "%s", json_string_value(json_object_get(result, "human-readable-text")));
}
