/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Command lines of verbs, without getopt's global state. */
#include "img/internal.h"

#include <stdlib.h>

void img_args_start(struct img_args *args, struct img *img, int argc, char **argv, const char *letters,
		    const struct img_long *longs)
{
	*args = (struct img_args){.img = img, .argc = argc, .argv = argv, .letters = letters, .longs = longs, .at = 1};
	args->names = xcalloc((size_t)argc + 1, sizeof(*args->names));
}

void img_args_end(struct img_args *args)
{
	free(args->names);
}

static int missing(struct img_args *args, const char *option)
{
	img_usage(args->img, "missing argument for option '%s'", option);
	return '?';
}

static int next_letter(struct img_args *args)
{
	const char letter = *args->rest++, *known = letter == ':' ? NULL : strchr(args->letters, letter);
	const char option[3] = {'-', letter, 0};

	args->value = NULL;
	if (letter == 'h' && !known)
		return 'h';
	if (!known) {
		img_usage(args->img, "unrecognized option '%s'", option);
		return '?';
	}
	if (known[1] != ':')
		return letter;
	args->value = args->rest;
	args->rest = "";
	if (*args->value)
		return letter;
	if (args->at >= args->argc)
		return missing(args, option);
	args->value = args->argv[args->at++];
	return letter;
}

static const struct img_long common_longs[] = {
	{"help", false, 'h'},
	{"object", true, IMG_OPT_OBJECT},
	{"image-opts", false, IMG_OPT_IMAGE_OPTS},
	{NULL},
};

/* Exact, or an unambiguous beginning; a verb's own go before the common ones. */
static const struct img_long *find_long(const struct img_long *own, const char *word, size_t length)
{
	const struct img_long *found = NULL;
	unsigned count = 0;

	for (unsigned i = 0; i < 2; i++) {
		for (const struct img_long *l = i ? common_longs : own; l && l->name; l++) {
			if (strncmp(l->name, word, length))
				continue;
			if (strlen(l->name) == length)
				return l;
			found = l;
			count++;
		}
	}
	return count == 1 ? found : NULL;
}

/* What all verbs do alike; 0: go on with the next word. */
static int common_option(struct img_args *args, int code)
{
	if (code == IMG_OPT_IMAGE_OPTS)
		args->img->image_opts = true;
	else if (code != IMG_OPT_OBJECT)
		return code;
	else if (img_add_object(args->img, args->value))
		return '?';
	return 0;
}

static int next_long(struct img_args *args, const char *word)
{
	const size_t length = strcspn(word + 2, "=");
	const struct img_long *found = find_long(args->longs, word + 2, length);

	if (!found || found->code == IMG_OPT_UNKNOWN || (!found->has_value && word[2 + length])) {
		img_usage(args->img, "unrecognized option '%s'", word);
		return '?';
	}
	args->value = word[2 + length] ? word + 3 + length : NULL;
	if (found->has_value && !args->value) {
		if (args->at >= args->argc)
			return missing(args, word);
		args->value = args->argv[args->at++];
	}
	return common_option(args, found->code);
}

int img_args_next(struct img_args *args)
{
	if (args->rest && *args->rest)
		return next_letter(args);
	while (args->at < args->argc) {
		char *word = args->argv[args->at++];
		int code;

		if (args->only_names || word[0] != '-' || !word[1]) {
			args->names[args->name_count++] = word;
			continue;
		}
		if (!strcmp(word, "--")) {
			args->only_names = true;
			continue;
		}
		if (word[1] == '-') {
			code = next_long(args, word);
			if (code)
				return code;
			continue;
		}
		args->rest = word + 1;
		return next_letter(args);
	}
	return 0;
}

int img_args_other(struct img_args *args, int code)
{
	switch (code) {
	case 'h':
		return img_help(args->img);
	case '?':
		return 1;
	default:
		return img_fail(args->img, "this option is not supported yet");
	}
}
