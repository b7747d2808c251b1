/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bitmap: persistent dirty bitmaps of an image, by a list of actions in the order given. */
#include "img/internal.h"

#include <stdlib.h>

enum action { ADD, REMOVE, CLEAR, ENABLE, DISABLE, MERGE };

static const char *const action_names[] = {"add", "remove", "clear", "enable", "disable", "merge"};

struct step {
	enum action action;
	const char *source; /* MERGE */
};

struct bitmap_verb {
	struct img *img;
	const char *format, *source_file, *source_format;
	struct step *steps;
	size_t count;
	uint64_t granularity;
	bool add, merge;
	struct block *block, *source;
};

static void add_step(struct bitmap_verb *b, enum action action, const char *source)
{
	b->steps = xrealloc(b->steps, (b->count + 1) * sizeof(*b->steps));
	b->steps[b->count++] = (struct step){action, source};
	b->add |= action == ADD;
	b->merge |= action == MERGE;
}

static int run_step(struct bitmap_verb *b, const struct step *step, const char *name, struct error *err)
{
	struct block *source = b->source ? b->source : b->block;

	if (b->block->driver != &block_qcow2_driver)
		return step->action == ADD ? error_set_errno(err, ENOTSUP, "Can't store persistent bitmaps to %s",
							     b->block->node_name)
					   : error_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
	switch (step->action) {
	case ADD:
		return qcow2_bitmap_add(b->block, name, b->granularity, true, err);
	case REMOVE:
		return qcow2_bitmap_remove(b->block, name, err);
	case CLEAR:
		return qcow2_bitmap_clear(b->block, name, err);
	case ENABLE:
	case DISABLE:
		return qcow2_bitmap_enable(b->block, name, step->action == ENABLE, err);
	case MERGE:
		if (source->driver != &block_qcow2_driver)
			return error_set(err, ENOENT, "Dirty bitmap '%s' not found", step->source);
		return qcow2_bitmap_merge(b->block, name, source, step->source, err);
	}
	return -EINVAL;
}

static int run_steps(struct bitmap_verb *b, const char *name)
{
	struct error err = {0};
	int status = 0;

	for (size_t i = 0; i < b->count && !status; i++) {
		const struct step *step = &b->steps[i];

		if (run_step(b, step, name, &err) < 0)
			status = img_fail(b->img, "Operation %s on bitmap %s failed: %s", action_names[step->action],
					  name, err.msg);
	}
	/* What was done before a failure stays done. */
	if (b->block->driver == &block_qcow2_driver && qcow2_bitmaps_store(b->block, &err) < 0)
		status = img_fail(b->img, "%s", err.msg);
	return status;
}

static int open_and_run(struct bitmap_verb *b, char **names)
{
	const struct img_open target = {.writable = true}, source = {.name = IMG_NAME_PLAIN};

	b->block = img_open(b->img, names[0], b->format, &target);
	if (!b->block)
		return 1;
	if (b->source_file) {
		b->source = img_open(b->img, b->source_file, b->source_format, &source);
		if (!b->source)
			return 1;
	}
	return run_steps(b, names[1]);
}

static int check_arguments(struct bitmap_verb *b, const struct img_args *args)
{
	if (args->name_count != 2)
		return img_fail(b->img, "Expecting filename and bitmap name");
	if (!b->count)
		return img_fail(b->img,
				"Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
	if (b->granularity && !b->add)
		return img_fail(b->img, "granularity only supported with --add");
	if (b->source_format && !b->source_file)
		return img_fail(b->img, "-F only supported with -b");
	if (b->source_file && !b->merge)
		return img_fail(b->img, "Merge bitmap source file only supported with --merge");
	return -1;
}

enum { OPT_STEP = 1000 };

static const struct img_long longs[] = {
	{"add", false, OPT_STEP + ADD},
	{"remove", false, OPT_STEP + REMOVE},
	{"clear", false, OPT_STEP + CLEAR},
	{"enable", false, OPT_STEP + ENABLE},
	{"disable", false, OPT_STEP + DISABLE},
	{"merge", true, OPT_STEP + MERGE},
	{"source-file", true, 'b'},
	{"source-format", true, 'F'},
	{"granularity", true, 'g'},
	{NULL},
};

static int bitmap_option(struct bitmap_verb *b, struct img_args *args, int code)
{
	if (code >= OPT_STEP) {
		add_step(b, (enum action)(code - OPT_STEP), args->value);
		return -1;
	}
	switch (code) {
	case 'b':
		b->source_file = args->value;
		return -1;
	case 'f':
		b->format = args->value;
		return -1;
	case 'F':
		b->source_format = args->value;
		return -1;
	case 'g':
		return img_size_argument(b->img, args->value, "granularity", &b->granularity) ? 1 : -1;
	default:
		return img_args_other(args, code);
	}
}

int img_verb_bitmap(struct img *img, int argc, char **argv)
{
	struct bitmap_verb b = {.img = img};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "b:f:F:g:h", longs);
	while (status < 0 && (code = img_args_next(&args)))
		status = bitmap_option(&b, &args, code);
	if (status < 0)
		status = check_arguments(&b, &args);
	if (status < 0)
		status = open_and_run(&b, args.names);
	block_unref(b.source);
	block_unref(b.block);
	free(b.steps);
	img_args_end(&args);
	return status;
}
