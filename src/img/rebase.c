/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rebase: another backing file. Unsafe (-u) only changes the name; else what the old chain shows differently from the
 * new one is copied into the image first.
 */
#include "backend/block/image.h"
#include "img/internal.h"

#include <stdlib.h>

#define CHUNK         (2 * MIB)
#define PROGRESS_STEP 1.0F

struct rebase {
	struct img *img;
	const char *format, *cache, *source_cache, *backing, *backing_format;
	bool unsafe, quiet, show_progress, force_share;
	struct block *node; /* as it was opened, maybe with filters on the image, through which it is written */
	struct block *top;  /* the image */
	struct block *old, *new;
	struct block *shared; /* the new backing file, where the old chain has it: then new is it */
	uint8_t *old_data, *new_data;
	struct img_progress progress;
	float percent; /* the progress of one step */
};

/* What a backing file shows at an offset of the overlay: zeroes behind its end. */
static int read_below(struct block *below, uint64_t offset, uint8_t *to, uint64_t length)
{
	const uint64_t there = below && offset < below->length ? min_u64(length, below->length - offset) : 0;

	memset(to + there, 0, length - there);
	return there ? block_pread(below, offset, to, there) : 0;
}

static int write_zeroes(struct rebase *r, uint64_t offset, uint64_t length)
{
	/* Where there was no backing file the rest of the cluster is zero too, and must not come from the new one. */
	if (!r->old) {
		offset = align_down(offset, r->top->optimal_bytes);
		length = min_u64(r->top->optimal_bytes, r->top->length - offset);
	}
	return block_execute(r->node, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, 0);
}

/* Copies the clusters of this range that differ. What the old file was too short to have is zeroes, without data. */
static int keep_range(struct rebase *r, uint64_t offset, uint64_t length)
{
	const bool behind = !r->old || offset >= r->old->length;
	const uint64_t cluster = r->top->optimal_bytes;
	int result = read_below(r->old, offset, r->old_data, length);

	if (!result)
		result = read_below(r->new, offset, r->new_data, length);
	for (uint64_t at = 0; at < length && !result;) {
		const uint64_t part = min_u64(length - at, cluster - ((offset + at) & (cluster - 1)));

		if (!memcmp(r->old_data + at, r->new_data + at, part))
			; /* nothing to keep */
		else if (behind)
			result = write_zeroes(r, offset + at, part);
		else
			result = block_pwrite(r->node, offset + at, r->old_data + at, part, 0);
		at += part;
	}
	return result;
}

/*
 * Whether the images from the top down to the shared one, or to the backing file where none is shared, say nothing
 * about this range: then it stays as it is. Shortens it to what is alike. Negative errno.
 */
static int says_nothing(const struct rebase *r, uint64_t offset, uint64_t *length)
{
	const struct block *stop = r->shared ? r->shared : r->old;

	for (struct block *node = r->top; node && node != stop; node = node->backing) {
		uint64_t there = *length, where;
		int bits;

		if (offset >= node->length)
			return false; /* it shows zeroes */
		there = min_u64(there, node->length - offset);
		bits = node->driver->extent ? node->driver->extent(node, offset, &there, &where)
					    : BLOCK_EXTENT_ALLOCATED;
		*length = there;
		if (bits < 0 || bits & BLOCK_EXTENT_ALLOCATED)
			return bits < 0 ? bits : false;
	}
	return true;
}

/* Not over the end of a backing file. */
static uint64_t within(const struct block *below, uint64_t offset, uint64_t length)
{
	return below && offset < below->length ? min_u64(length, below->length - offset) : length;
}

static int keep_content(struct rebase *r)
{
	int result = 0;

	for (uint64_t offset = 0; offset < r->top->length && !result;) {
		uint64_t length = min_u64(CHUNK, r->top->length - offset), where;
		int bits = r->top->driver->extent(r->top, offset, &length, &where), nothing = 0;

		if (bits >= 0 && !(bits & BLOCK_EXTENT_ALLOCATED) && r->shared)
			nothing = says_nothing(r, offset, &length);
		if (bits < 0 || nothing < 0)
			return bits < 0 ? bits : nothing;
		if (!(bits & BLOCK_EXTENT_ALLOCATED) && !nothing) {
			length = within(r->new, offset, within(r->old, offset, length));
			result = keep_range(r, offset, length);
			img_progress_add(&r->progress, r->percent, PROGRESS_STEP);
		}
		offset += length;
	}
	return result ? result : block_flush(r->node);
}

/* Whether what lies below an image is a file as its name says, and not a part of one, or another that options gave. */
static bool names_file(const struct rebase *r, const char *name, const struct block *above)
{
	struct block_info info;

	block_get_info(above, &info);
	return !r->img->image_opts && strncmp(name, "json:", 5) && info.backing && strncmp(info.backing, "json:", 5);
}

/* Of the new backing file; NULL: said why there is none. */
static char *new_path(struct rebase *r)
{
	char *name = block_name(r->node), *path = NULL;

	if (!strncmp(name, "json:", 5) && r->backing[0] != '/' && r->backing[strcspn(r->backing, ":/")] != ':')
		img_fail(r->img, "Could not resolve backing filename: Cannot use relative backing file names for '%s'",
			 name);
	else
		path = img_backing_path(name, r->backing);
	free(name);
	return path;
}

static int open_new(struct rebase *r, const char *name)
{
	const struct img_open how = {.name = IMG_NAME_PLAIN, .cache = r->source_cache, .force_share = r->force_share};
	char *path;

	if (!*r->backing)
		return 0;
	path = new_path(r);
	if (!path)
		return 1;
	for (struct block *node = r->top->backing, *above = r->top; node && !r->shared && names_file(r, name, above);
	     above = node, node = node->backing)
		if (!strcmp(node->filename, path) && r->backing_format &&
		    !strcmp(node->driver->name, r->backing_format))
			r->shared = node;
	if (r->shared)
		block_ref(r->shared);
	r->new = r->shared ? r->shared
			   : img_open_as(r->img, "new backing file ", path, r->backing, r->backing_format, &how);
	free(path);
	return r->new ? 0 : 1;
}

static int safe_rebase(struct rebase *r)
{
	int result;

	r->old_data = malloc(CHUNK);
	r->new_data = malloc(CHUNK);
	if (!r->old_data || !r->new_data)
		return img_fail(r->img, "no memory for buffers");
	r->percent = 100.0F / (float)((r->top->length + CHUNK - 1) / CHUNK);
	r->old = r->top->backing;
	/* Without a backing file nothing need be done for zeroes: they are needed over the new one. */
	if (!r->old)
		r->top->backing = r->new;
	result = keep_content(r);
	r->top->backing = r->old;
	return result ? img_fail(r->img, "error while copying from the old backing file: %s", strerror(-result)) : 0;
}

/* The name cannot be written: after all progress, as qemu-img says it. */
static int not_changed(struct rebase *r, const char *reason)
{
	img_fail(r->img, "Could not change the backing file to '%s': %s", r->backing, reason);
	img_progress(&r->progress, 1, 1);
	return 1;
}

static int run_rebase(struct rebase *r, const char *name)
{
	const struct img_open how = {.writable = true, .no_backing = r->unsafe, .cache = r->cache};
	struct error err = {0};
	int result;

	if (!r->backing)
		r->backing = ""; /* -u alone: none from now on */
	if (r->backing_format && !block_driver_find(r->backing_format))
		return img_fail(r->img, "Invalid format name: '%s'", r->backing_format);
	r->node = img_open(r->img, name, r->format, &how);
	if (!r->node)
		return 1;
	r->top = block_behind_filters(r->node);
	img_progress_start(&r->progress, r->img, r->show_progress && !r->quiet);
	if (!r->unsafe && open_new(r, name))
		return 1;
	if (*r->backing && !r->backing_format)
		return not_changed(r, "backing format must be specified");
	if (!r->top->driver->set_backing)
		return not_changed(r, "Operation not supported");
	if (!r->unsafe && safe_rebase(r))
		return 1;
	result = r->top->driver->set_backing(r->top, r->backing, r->backing_format, &err);
	if (result < 0)
		return not_changed(r, result == -ENOSPC   ? "No space left in the file header"
				      : result == -EINVAL ? strerror(EINVAL)
							  : err.msg);
	img_progress(&r->progress, 1, 1);
	return 0;
}

static int rebase_option(struct rebase *r, struct img_args *args, int code)
{
	switch (code) {
	case 'f':
		r->format = args->value;
		return -1;
	case 'b':
		r->backing = args->value;
		return -1;
	case 'F':
		r->backing_format = args->value;
		return -1;
	case 't':
		r->cache = args->value;
		return img_cache_is_valid(r->img, args->value, false) ? -1 : 1;
	case 'T':
		r->source_cache = args->value;
		return img_cache_is_valid(r->img, args->value, true) ? -1 : 1;
	case 'u':
		r->unsafe = true;
		return -1;
	case 'p':
		r->show_progress = true;
		return -1;
	case 'q':
		r->quiet = true;
		return -1;
	case 'U':
		r->force_share = true;
		return -1;
	default:
		return img_args_other(args, code);
	}
}

static const struct img_long longs[] = {{"force-share", false, 'U'}, {NULL}};

int img_verb_rebase(struct img *img, int argc, char **argv)
{
	struct rebase r = {.img = img};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "hf:F:b:upt:T:qU", longs);
	while (status < 0 && (code = img_args_next(&args)))
		status = rebase_option(&r, &args, code);
	if (status < 0 && args.name_count != 1)
		status = img_usage(img, "Expecting one image file name");
	if (status < 0 && !r.backing && !r.unsafe)
		status = img_usage(img, "Must specify backing file (-b) or use unsafe mode (-u)");
	if (status < 0)
		status = run_rebase(&r, args.names[0]);
	img_progress_end(&r.progress, false);
	block_unref(r.new);
	block_unref(r.node);
	free(r.old_data);
	free(r.new_data);
	img_args_end(&args);
	return status;
}
