/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of verbs, and what stands before a verb. */
#include "img/internal.h"

const struct img_verb img_verbs[] = {
	{"amend", img_verb_amend,
	 "[--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options filename"},
	{"bench", img_verb_bench,
	 "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] [--no-drain] [-o offset] "
	 "[--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename"},
	{"bitmap", img_verb_bitmap,
	 "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F source_fmt]] [-g "
	 "granularity] [--object objectdef] [--image-opts | -f fmt] filename bitmap"},
	{"check", img_verb_check,
	 "[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] "
	 "filename"},
	{"commit", img_verb_commit,
	 "[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] [-p] filename"},
	{"compare", img_verb_compare,
	 "[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 "
	 "filename2"},
	{"convert", img_verb_convert,
	 "[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps] [-U] [-C] [-c] [-p] "
	 "[-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] "
	 "[-l snapshot_param] [-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] filename "
	 "[filename2 [...]] output_filename"},
	{"create", img_verb_create,
	 "[--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]"},
	{"dd", img_verb_dd,
	 "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] if=input "
	 "of=output"},
	{"export", img_verb_export,
	 "[-f fmt] [-r] [-s] [-o offset] [-n | --cache=cache] [-x name] [-D description] [-e clients] [-t] [-A] "
	 "[--fork] "
	 "[--pid-file=file] [-k socket | [-b address] [-p port]] filename"},
	{"info", img_verb_info,
	 "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename"},
	{"map", img_verb_map,
	 "[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] "
	 "filename"},
	{"measure", img_verb_measure,
	 "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] [--image-opts] [-f fmt] [-l "
	 "snapshot_param] filename]"},
	{"snapshot", img_verb_snapshot,
	 "[--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename"},
	{"rebase", img_verb_rebase,
	 "[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file "
	 "[-F backing_fmt] filename"},
	{"resize", img_verb_resize,
	 "[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename [+ | "
	 "-]size"},
	{NULL},
};

static void print_version(struct img *img)
{
	fprintf(img->out, "%s version 7.2.22 (xuni)\n", img->program);
}

int img_help(struct img *img)
{
	print_version(img);
	fprintf(img->out,
		"usage: %s [standard options] command [command options]\nDisk images, with qemu-img's grammar\n\n"
		"    '-h', '--help'       display this help and exit\n"
		"    '-V', '--version'    output version information and exit\n"
		"    '-T', '--trace'      [[enable=]<pattern>][,events=<file>][,file=<file>]\n"
		"                         accepted; there are no trace events\n\nCommand syntax:\n",
		img->program);
	for (const struct img_verb *verb = img_verbs; verb->name; verb++)
		fprintf(img->out, "  %s %s\n", verb->name, verb->usage);
	fprintf(img->out, "\nSupported formats:");
	for (size_t i = 0; block_drivers[i]; i++)
		fprintf(img->out, " %s", block_drivers[i]->name);
	fputc('\n', img->out);
	return 0;
}

static int unknown_verb(struct img *img, const char *name)
{
	return img_usage(img, "Command not found: %s", name);
}

/* -T and --trace before the verb: how many words they take, 0 for another word. There is nothing to be traced. */
static int trace_words(struct img *img, int argc, char **argv)
{
	const char *events = NULL;
	int words = 0;

	if (!strncmp(argv[1], "--trace=", 8)) {
		events = argv[1] + 8;
		words = 1;
	} else if (argc > 2 && (!strcmp(argv[1], "-T") || !strcmp(argv[1], "--trace"))) {
		events = argv[2];
		words = 2;
	} else if (!strncmp(argv[1], "-T", 2) && argv[1][2]) {
		events = argv[1] + 2;
		words = 1;
	}
	if (!words || !strncmp(events, "events=", 7) || !strncmp(events, "file=", 5))
		return words;
	if (!strncmp(events, "enable=", 7))
		events += 7;
	img_warn(img, "trace event '%.*s' does not exist", (int)strcspn(events, ","), events);
	return words;
}

int img_main(struct img *img, int argc, char **argv)
{
	int words;

	/* The names that a link to the program may have. */
	if (!strcmp(img->program, "xuni-nbd") || !strcmp(img->program, "qemu-nbd"))
		return img_verb_export(img, argc, argv);
	while (argc > 1 && (words = trace_words(img, argc, argv))) {
		argc -= words;
		argv += words;
	}
	if (argc < 2)
		return img_usage(img, "Not enough arguments");
	if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-help"))
		return img_help(img);
	if (!strcmp(argv[1], "-V") || !strcmp(argv[1], "--version")) {
		print_version(img);
		return 0;
	}
	if (argv[1][0] == '-')
		return img_usage(img, "unrecognized option '%s'", argv[1]);
	for (const struct img_verb *verb = img_verbs; verb->name; verb++)
		if (!strcmp(verb->name, argv[1])) {
			if (verb->run != img_verb_export)
				img_progress_on_signal();
			return verb->run(img, argc - 1, argv + 1);
		}
	return unknown_verb(img, argv[1]);
}
