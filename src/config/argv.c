/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walks the command line and hands every option to its row of the key table. */
#include "config/argv.h"

#include "base/id.h"
#include "base/util.h"
#include "config/parse.h"

#include <stdio.h>
#include <stdlib.h>

int choose(const char *value, const char *const *words, const char *what, struct error *err)
{
	char known[256] = "";
	const char *near;

	for (int i = 0; words[i]; i++)
		if (strcmp(value, words[i]) == 0)
			return i;
	near = nearest_word(value, words);
	if (near)
		return error_set(err, EINVAL, "unknown %s '%.100s'; did you mean '%s'?", what, value, near);
	for (int i = 0; words[i]; i++) {
		size_t length = strlen(known);

		snprintf(known + length, sizeof(known) - length, "%s%s", i ? ", " : "", words[i]);
	}
	return error_set(err, EINVAL, "unknown %s '%.100s' (known: %s)", what, value, known);
}

bool is_one_of(const char *word, const char *const *words)
{
	for (size_t i = 0; words[i]; i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

void set_string(char **field, const char *value)
{
	free(*field);
	*field = xstrdup(value);
}

void take_string(struct options *options, const char *key, char **field)
{
	const char *value = options_get(options, key);

	if (value)
		set_string(field, value);
}

int take_bool(struct options *options, const char *key, bool *field, struct error *err)
{
	return options_bool(options, key, field, err);
}

bool is_help(const char *word)
{
	return strcmp(word, "help") == 0 || strcmp(word, "?") == 0;
}

int ask(struct config_parse *parse, enum config_ask what, const char *name)
{
	parse->request->ask = what;
	free(parse->request->name);
	parse->request->name = name ? xstrdup(name) : NULL;
	return 0;
}

char *typed_now(const struct config_parse *parse)
{
	return parse->typed[0] ? xstrdup(parse->typed) : NULL;
}

int not_yet(struct error *err, const char *what)
{
	return error_set(err, ENOTSUP, "%s: not supported yet", what);
}

int check_id(const char *id, struct error *err)
{
	if (id_is_valid(id) && strlen(id) < 128)
		return 0;
	return error_set(err, EINVAL,
			 "id '%.100s' must begin with a letter, followed by letters, digits, '-', '.', '_'", id);
}

int add_item(struct config_list *list, const char *what, const char *type, const char *id, struct options *options,
	     struct error *err)
{
	if (id && id[0] != '#' && check_id(id, err) < 0)
		return -EINVAL;
	if (id && config_list_find(list, id))
		return error_set(err, EEXIST, "there is already a %s with id '%s'", what, id);
	config_list_add(list, type, id, options);
	return 0;
}

char *pull(struct options *options, const char *key)
{
	char *value = NULL;
	size_t kept = 0;

	for (size_t i = 0; i < options->count; i++) {
		struct option *item = &options->items[i];

		if (strcmp(item->key, key) == 0) {
			free(value);
			value = item->value;
			free(item->key);
		} else {
			options->items[kept++] = *item;
		}
	}
	options->count = kept;
	return value;
}

int key_apply_list(struct config_parse *parse, const struct key *key, struct options *options, struct error *err)
{
	return key->list(parse, key, options, err);
}

/* "help" or "?" as one of the parts. */
static bool asks_for_help(const char *text)
{
	for (size_t length;; text += length + 1) {
		length = strcspn(text, ",");
		if ((length == 4 && !strncmp(text, "help", 4)) || (length == 1 && *text == '?'))
			return true;
		if (!text[length])
			return false;
	}
}

static int apply_list_text(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	struct options options;
	int ret;

	if (key->describes && asks_for_help(value))
		return ask(parse, ASK_KEY, key->name);
	if (key->json && value[strspn(value, " \t\n")] == '{')
		ret = options_parse_json(&options, value, err);
	else
		ret = options_parse(&options, value, key->implied, err);
	if (ret < 0)
		return ret;
	ret = key_apply_list(parse, key, &options, err);
	options_free(&options);
	return ret;
}

static int apply_key(struct config_parse *parse, const struct key *key, const char *value, struct error *err)
{
	char *base = (char *)parse->config;

	switch (key->kind) {
	case KEY_FLAG:
		*(bool *)(base + key->field) = true;
		return 0;
	case KEY_STRING:
		set_string((char **)(base + key->field), value);
		return 0;
	case KEY_WORD:
		return key->word(parse, key, value, err);
	case KEY_LIST:
		return apply_list_text(parse, key, value, err);
	case KEY_LATER:
		break;
	}
	return error_set(err, ENOTSUP, "not supported yet");
}

static int unknown_option(const char *typed, const char *name, struct error *err)
{
	const char *near = key_nearest(name);

	if (near)
		return error_set(err, EINVAL, "%.100s: unknown option; did you mean '-%s'?", typed, near);
	return error_set(err, EINVAL, "%.100s: unknown option; -help lists them", typed);
}

/* One option or disk image at argv[*i]; moves *i behind it. */
static int apply_argument(struct config_parse *parse, int argc, char *const *argv, int *i, struct error *err)
{
	const char *typed = argv[(*i)++], *value = NULL;
	const struct key *key;

	if (typed[0] != '-') {
		int ret;

		snprintf(parse->typed, sizeof(parse->typed), "%.200s", typed);
		ret = word_hd(parse, key_find("hda"), typed, err);
		return ret < 0 ? error_prefix(err, "%.100s", typed) : ret;
	}
	key = key_find(typed + (typed[1] == '-' ? 2 : 1));
	if (!key)
		return unknown_option(typed, typed + (typed[1] == '-' ? 2 : 1), err);
	if (key->kind == KEY_LATER)
		return error_set(err, ENOTSUP, "%s: not supported yet%s%s", typed, key->help ? "; " : "",
				 key->help ? key->help : "");
	if (key->argument) {
		if (*i >= argc)
			return error_set(err, EINVAL, "%s: needs an argument", typed);
		value = argv[(*i)++];
	}
	snprintf(parse->typed, sizeof(parse->typed), "%.40s%s%.200s", typed, value ? " " : "", value ? value : "");
	if (apply_key(parse, key, value, err) < 0)
		return value ? error_prefix(err, "%s %.200s", typed, value) : error_prefix(err, "%s", typed);
	return 0;
}

static void legacy_net_free(struct legacy_net *nets)
{
	for (size_t i = 0; i < nets->count; i++) {
		options_free(&nets->items[i]);
		free(nets->typed[i]);
	}
	free(nets->items);
	free(nets->typed);
}

int config_from_argv(struct domain_config *config, struct config_request *request, int argc, char *const *argv,
		     struct error *err)
{
	struct config_parse parse = {.config = config, .request = request};
	int ret = 0;

	domain_config_init(config);
	*request = (struct config_request){.ask = ASK_RUN};
	for (int i = 1; i < argc && ret == 0 && request->ask == ASK_RUN;)
		ret = apply_argument(&parse, argc, argv, &i, err);
	parse.typed[0] = 0;
	if (ret == 0 && request->ask == ASK_RUN)
		ret = config_finish(&parse, err);
	legacy_net_free(&parse.nics);
	legacy_net_free(&parse.hosts);
	return ret < 0 ? ret : 0;
}
