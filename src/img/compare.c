/* SPDX-License-Identifier: GPL-2.0-or-later */
/* compare: whether two images hold the same disk. Exit status 0 alike, 1 different, 2 and more trouble. */
#include "img/internal.h"

#include <stdlib.h>

#define CHUNK         (2 * MIB)
#define PROGRESS_STEP 2.0F
#define STEP          (128 * MIB) /* looked at at once: what lies behind is not walked through again and again */

enum { SAME = 0, DIFFERENT = 1, TROUBLE = 2, NOT_OPENED = 2, NOT_READ = 3 };

struct compare {
	struct img *img;
	struct block *a, *b;
	uint8_t *from_a, *from_b;
	bool strict, quiet;
	struct img_progress progress;
};

static int differ_at(struct compare *c, uint64_t offset)
{
	if (!c->quiet)
		fprintf(c->img->out, "Content mismatch at offset %llu!\n", (unsigned long long)offset);
	return DIFFERENT;
}

static int not_read(struct compare *c, uint64_t offset, const struct block *block, int result)
{
	img_fail(c->img, "Error while reading offset %llu of %s: %s", (unsigned long long)offset, block->filename,
		 strerror(-result));
	return NOT_READ;
}

/* The sector in which they begin to differ, as qemu tells it. */
static uint64_t first_difference(const uint8_t *a, const uint8_t *b, uint64_t length)
{
	uint64_t at = 0;

	while (at < length && !memcmp(a + at, b + at, min_u64(512, length - at)))
		at += 512;
	return at;
}

static int compare_data(struct compare *c, uint64_t offset, uint64_t length)
{
	for (uint64_t end = offset + length; offset < end;) {
		const uint64_t part = min_u64(CHUNK, end - offset);
		int result = block_pread(c->a, offset, c->from_a, part);

		if (result)
			return not_read(c, offset, c->a, result);
		result = block_pread(c->b, offset, c->from_b, part);
		if (result)
			return not_read(c, offset, c->b, result);
		if (memcmp(c->from_a, c->from_b, part))
			return differ_at(c, offset + first_difference(c->from_a, c->from_b, part));
		offset += part;
	}
	return SAME;
}

/* Data that should be zeroes. */
static int compare_zero(struct compare *c, struct block *block, uint64_t offset, uint64_t length)
{
	for (uint64_t end = offset + length; offset < end;) {
		const uint64_t part = min_u64(CHUNK, end - offset);
		int result = block_pread(block, offset, c->from_a, part);

		if (result)
			return not_read(c, offset, block, result);
		if (!buffer_is_zero(c->from_a, part)) {
			memset(c->from_b, 0, part);
			return differ_at(c, offset + first_difference(c->from_a, c->from_b, part));
		}
		offset += part;
	}
	return SAME;
}

static void advance(struct compare *c, uint64_t length)
{
	img_progress_add(&c->progress, (float)length / (float)max_u64(c->a->length, c->b->length) * 100.0F,
			 PROGRESS_STEP);
}

/* -s: the images say the same of this place, also that it is the last of them. */
static bool alike(const struct compare *c, const struct block_span *a, const struct block_span *b)
{
	const bool a_ends = a->start + a->length == c->a->length, b_ends = b->start + b->length == c->b->length;

	return a->present == b->present && a->zero == b->zero && a->data == b->data && a->has_offset == b->has_offset &&
	       a_ends == b_ends;
}

static int compare_common(struct compare *c, uint64_t total)
{
	for (uint64_t offset = 0; offset < total;) {
		struct block_span a, b;
		uint64_t length;
		int result = block_span_at(c->a, offset, min_u64(c->a->length - offset, STEP), &a), status = SAME;

		if (result)
			return not_read(c, offset, c->a, result);
		result = block_span_at(c->b, offset, min_u64(c->b->length - offset, STEP), &b);
		if (result)
			return not_read(c, offset, c->b, result);
		length = min_u64(min_u64(a.length, b.length), total - offset);
		if (!a.zero || !b.zero)
			length = min_u64(length, CHUNK);
		if (c->strict && !alike(c, &a, &b)) {
			if (!c->quiet)
				fprintf(c->img->out, "Strict mode: Offset %llu block status mismatch!\n",
					(unsigned long long)offset);
			return DIFFERENT;
		}
		if (a.zero != b.zero)
			status = compare_zero(c, a.zero ? c->b : c->a, offset, length);
		else if (!a.zero)
			status = compare_data(c, offset, length);
		if (status)
			return status;
		offset += length;
		advance(c, length);
	}
	return SAME;
}

/* What one has more must be zeroes. */
static int compare_rest(struct compare *c, struct block *longer, uint64_t from)
{
	for (uint64_t offset = from; offset < longer->length;) {
		struct block_span extent;
		int result = block_span_at(longer, offset, longer->length - offset, &extent), status;

		if (result)
			return not_read(c, offset, longer, result);
		if (!extent.zero)
			extent.length = min_u64(extent.length, CHUNK);
		status = extent.zero ? SAME : compare_zero(c, longer, offset, extent.length);
		if (status)
			return status;
		offset += extent.length;
		advance(c, extent.length);
	}
	return SAME;
}

static int run_compare(struct compare *c)
{
	const uint64_t common = min_u64(c->a->length, c->b->length);
	struct block *longer = c->a->length > c->b->length ? c->a : c->b;
	int status;

	if (c->a->length != c->b->length && c->strict) {
		if (!c->quiet)
			fprintf(c->img->out, "Strict mode: Image size mismatch!\n");
		return DIFFERENT;
	}
	status = compare_common(c, common);
	if (!status && longer->length > common) {
		if (!c->quiet)
			fprintf(c->img->out, "Warning: Image size mismatch!\n");
		status = compare_rest(c, longer, common);
	}
	if (!status && !c->quiet)
		fprintf(c->img->out, "Images are identical.\n");
	return status;
}

static int open_and_compare(struct compare *c, char **names, const char *const formats[2], const struct img_open *how,
			    bool progress)
{
	int status = NOT_OPENED;

	c->a = img_open(c->img, names[0], formats[0], how);
	c->b = c->a ? img_open(c->img, names[1], formats[1], how) : NULL;
	if (c->b) {
		c->from_a = malloc(CHUNK);
		c->from_b = malloc(CHUNK);
		if (!c->from_a || !c->from_b) {
			img_fail(c->img, "no memory for buffers");
		} else {
			img_progress_start(&c->progress, c->img, progress && !c->quiet);
			status = run_compare(c);
			img_progress_end(&c->progress, false);
		}
		free(c->from_a);
		free(c->from_b);
	}
	block_unref(c->b);
	block_unref(c->a);
	return status;
}

static const struct img_long longs[] = {{"force-share", false, 'U'}, {NULL}};

int img_verb_compare(struct img *img, int argc, char **argv)
{
	struct compare c = {.img = img};
	struct img_open how = {0};
	const char *formats[2] = {NULL, NULL};
	bool progress = false;
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "f:F:T:pqshU", longs);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'f' || code == 'F')
			formats[code == 'F'] = args.value;
		else if (code == 'T')
			how.cache = args.value;
		else if (code == 'p')
			progress = true;
		else if (code == 'q')
			c.quiet = true;
		else if (code == 's')
			c.strict = true;
		else if (code == 'U')
			how.force_share = true;
		else
			status = img_args_other(&args, code);
	}
	if (status < 0 && args.name_count != 2)
		status = img_usage(img, "Expecting two image file names");
	if (status < 0 && !img_cache_is_valid(img, how.cache, true))
		status = TROUBLE;
	if (status < 0)
		status = open_and_compare(&c, args.names, formats, &how, progress);
	img_args_end(&args);
	return status;
}
