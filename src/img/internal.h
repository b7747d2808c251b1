/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the verbs of xuni-img share. */
#ifndef XUNI_IMG_INTERNAL_H
#define XUNI_IMG_INTERNAL_H

#include "backend/block/image.h"
#include "backend/block/qcow2.h"
#include "base/util.h"
#include "img/img.h"

/* "program: text" on the error file; returns 1. */
int img_fail(struct img *img, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As above with the line that points to the help; for wrong arguments. */
int img_usage(struct img *img, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints the help; 0. */
int img_help(struct img *img);
void img_warn(struct img *img, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The words of a verb: options first, in any place, as GNU getopt_long takes them; the rest are names. */
struct img_long {
	const char *name;
	bool has_value;
	int code;
};

struct img_args {
	struct img *img;
	int argc;
	char **argv;
	const char *letters;          /* as for getopt: a colon follows those with a value */
	const struct img_long *longs; /* NULL-ended by name */
	int at;
	const char *rest; /* of a word of several letters */
	bool only_names;
	const char *value; /* of the option just returned */
	char **names;
	int name_count;
};
void img_args_start(struct img_args *args, struct img *img, int argc, char **argv, const char *letters,
		    const struct img_long *longs);
/* The next option's letter or code; 0 at the end; '?' for a wrong one, reported. */
int img_args_next(struct img_args *args);
void img_args_end(struct img_args *args);
/* What most verbs do with options that are nothing special: -h, unknown ones. The exit status. */
int img_args_other(struct img_args *args, int code);

/* How the name of an image is written. */
enum img_name {
	IMG_NAME_GIVEN,  /* on the command line: as --image-opts says */
	IMG_NAME_PLAIN,  /* a file name in any case */
	IMG_NAME_OPTIONS /* options in any case */
};

struct img_open {
	enum img_name name;
	bool writable;
	bool no_backing;
	bool force_share;
	bool no_repair;
	bool describe;              /* nothing is read: no keys are needed */
	const char *cache;          /* none, writeback, ... or NULL */
	const char *aio;            /* as in block_open */
	const struct options *more; /* options beside the name, or NULL */
};
/* NULL with the message printed. */
struct block *img_open(struct img *img, const char *filename, const char *format, const struct img_open *how);
/* what: "new backing file " or so, before the name in messages, where it is called `shown`. */
struct block *img_open_as(struct img *img, const char *what, const char *filename, const char *shown,
			  const char *format, const struct img_open *how);
/* --object: makes a secret or a throttle group. Prints what is wrong. */
int img_add_object(struct img *img, const char *text);
bool img_cache_is_known(const char *cache);
/* Looks at the words of -t and -T; prints when it is unknown. */
bool img_cache_is_valid(struct img *img, const char *cache, bool source);

/* -l: whether it can be parsed, and the disk of that snapshot instead of the active one. Print what is wrong. */
int img_check_snapshot(struct img *img, const char *text);
int img_show_snapshot(struct img *img, struct block *block, const char *text);

/* qemu's sizes: decimal fractions, 0x, suffix b k M G T P E. -EINVAL, -ERANGE. */
int img_parse_size(const char *text, uint64_t *bytes);
/* A command line's size: prints what is wrong. */
int img_size_argument(struct img *img, const char *text, const char *name, uint64_t *bytes);
int img_size_in_range(struct img *img, const char *text, const char *name, uint64_t min, uint64_t max, uint64_t *bytes);
/* --output=: true for JSON; prints when it is neither. */
int img_output_argument(struct img *img, const char *text, bool *json);
/* The n-th file name of the chain under block: as given in the header, made absolute or relative as it must be opened.
 */
char *img_backing_path(const char *overlay, const char *backing);

/* --- info.c --- */
void img_print_snapshots(struct img *img, const struct block *block);

/* --- create.c --- */
struct img_create {
	const char *filename, *format;
	const char *prefix; /* of messages about the options: "NAME: " or "" */
	const char *backing, *backing_format;
	bool unsafe; /* do not look at the backing file */
	bool quiet;
	bool converting, copying; /* convert, dd: messages say so */
	uint64_t size;            /* UINT64_MAX: from the backing file */
};
/* Makes an image; options are those of -o, consumed. Prints. Returns an exit status. */
int img_create_image(struct img *img, const struct img_create *how, struct options *options);
/* The driver that makes images of this format; NULL with a message. */
const struct block_driver *img_create_driver(struct img *img, const char *prefix, const char *format);
/* Whether -o asks for help, and that help: of the format, and of files where there is one. Returns an exit status. */
bool img_wants_help(const struct options *options);
int img_create_help(struct img *img, const char *format, bool with_file);
/* Help for the rows of a table, sorted. */
void img_print_options(struct img *img, const struct block_create_option *table);
/* Adds the words of one -o. */
int img_add_options(struct img *img, struct options *options, const char *text);

/* --- progress.c --- */
struct img_progress {
	struct img *img;
	bool on;
	double shown;
	float now; /* per cent */
};
/* From here on SIGUSR1 does not end the process. Before other threads start. */
void img_progress_on_signal(void);
void img_progress_start(struct img_progress *progress, struct img *img, bool on);
void img_progress(struct img_progress *progress, uint64_t done, uint64_t of);
/* So many per cent more, shown when it is more than `step` beyond what stands there. */
void img_progress_add(struct img_progress *progress, float percent, float step);
void img_progress_end(struct img_progress *progress, bool complete);

/* -r: bytes a second; 0: as fast as it goes. */
struct img_rate {
	uint64_t bytes;
	int64_t next_ns; /* when the next may begin */
};
/* Takes that many bytes' time: when they may be written, for img_rate_wait(). One thread at a time. */
int64_t img_rate_take(struct img_rate *rate, uint64_t bytes);
void img_rate_wait(int64_t at_ns);

int img_verb_create(struct img *img, int argc, char **argv);
int img_verb_info(struct img *img, int argc, char **argv);
int img_verb_bitmap(struct img *img, int argc, char **argv);
int img_verb_check(struct img *img, int argc, char **argv);
int img_verb_convert(struct img *img, int argc, char **argv);
int img_verb_resize(struct img *img, int argc, char **argv);
int img_verb_map(struct img *img, int argc, char **argv);
int img_verb_compare(struct img *img, int argc, char **argv);
int img_verb_snapshot(struct img *img, int argc, char **argv);
int img_verb_commit(struct img *img, int argc, char **argv);
int img_verb_rebase(struct img *img, int argc, char **argv);
int img_verb_measure(struct img *img, int argc, char **argv);
int img_verb_dd(struct img *img, int argc, char **argv);
int img_verb_export(struct img *img, int argc, char **argv);
int img_verb_amend(struct img *img, int argc, char **argv);
int img_verb_bench(struct img *img, int argc, char **argv);

/* Long options every verb has, with their values. */
enum {
	IMG_OPT_UNKNOWN = 256, /* a common option that this verb has not */
	IMG_OPT_OUTPUT,
	IMG_OPT_BACKING_CHAIN,
	IMG_OPT_OBJECT,
	IMG_OPT_IMAGE_OPTS,
	IMG_OPT_SHRINK,
	IMG_OPT_PREALLOCATION,
	IMG_OPT_SIZE,
	IMG_OPT_TARGET_IS_ZERO,
	IMG_OPT_TARGET_IMAGE_OPTS,
	IMG_OPT_SALVAGE,
	IMG_OPT_BITMAPS,
	IMG_OPT_SKIP_BROKEN,
	IMG_OPT_FORCE,
	IMG_OPT_FLUSH_INTERVAL,
	IMG_OPT_NO_DRAIN,
	IMG_OPT_PATTERN,
};

#endif
