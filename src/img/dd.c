/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dd: a part of one image as a new one. */
#include "img/internal.h"

#include <stdlib.h>

struct dd {
	struct img *img;
	const char *format, *out_format, *from, *to;
	uint64_t block, count, skip;
	bool force_share;
};

static int parse_operand(struct dd *d, char *word)
{
	char *equals = strchr(word, '=');
	uint64_t *number = NULL;

	if (!equals)
		return img_fail(d->img, "unrecognized operand %s", word);
	*equals = 0;
	if (!strcmp(word, "if"))
		d->from = equals + 1;
	else if (!strcmp(word, "of"))
		d->to = equals + 1;
	else if (!strcmp(word, "bs"))
		number = &d->block;
	else if (!strcmp(word, "count"))
		number = &d->count;
	else if (!strcmp(word, "skip"))
		number = &d->skip;
	else
		return img_fail(d->img, "unrecognized operand %s", word);
	if (number == &d->block)
		return img_size_in_range(d->img, equals + 1, word, 1, INT32_MAX, number);
	return number ? img_size_argument(d->img, equals + 1, word, number) : 0;
}

static int copy(struct dd *d, struct block *from, struct block *to, uint64_t start, uint64_t length)
{
	const uint64_t chunk = min_u64(max_u64(d->block, MIB), 64 * MIB);
	uint8_t *buffer = malloc(chunk);
	int status = buffer ? 0 : img_fail(d->img, "no memory for a buffer");

	for (uint64_t at = 0; at < length && !status;) {
		const uint64_t part = min_u64(chunk, length - at);
		int result = block_pread(from, start + at, buffer, part);

		if (result)
			status = img_fail(d->img, "error while reading from input image file: %s", strerror(-result));
		else if (!buffer_is_zero(buffer, part) && (result = block_pwrite(to, at, buffer, part, 0)))
			status = img_fail(d->img, "error while writing to output image file: %s", strerror(-result));
		at += part;
	}
	free(buffer);
	if (!status && block_flush(to))
		status = img_fail(d->img, "error while writing to output image file");
	return status;
}

static int run_dd(struct dd *d)
{
	const struct img_open in = {.force_share = d->force_share}, out = {.name = IMG_NAME_PLAIN, .writable = true};
	struct block *from = img_open(d->img, d->from, d->format, &in), *to = NULL;
	struct img_create create = {
		.filename = d->to, .format = d->out_format, .prefix = "", .quiet = true, .copying = true};
	struct options none = {0};
	uint64_t start, end;
	int status = 1;

	if (!from)
		return 1;
	end = from->length;
	/* As qemu-img: count= counts from the start of the input, skip= is taken off it. */
	if (d->count <= UINT64_MAX / d->block)
		end = min_u64(end, d->count * d->block);
	start = d->skip <= UINT64_MAX / d->block ? d->skip * d->block : UINT64_MAX;
	if (start > end) {
		fprintf(d->img->err, "%s: %s: cannot skip to specified offset\n", d->img->program, d->from);
		start = end;
	}
	create.size = end - start;
	if (!block_driver_find(d->out_format))
		img_fail(d->img, "Unknown file format");
	else if (!img_create_image(d->img, &create, &none))
		to = img_open(d->img, d->to, d->out_format, &out);
	if (to)
		status = copy(d, from, to, start, end - start);
	block_unref(to);
	block_unref(from);
	return status;
}

static const struct img_long longs[] = {{"force-share", false, 'U'}, {NULL}};

int img_verb_dd(struct img *img, int argc, char **argv)
{
	struct dd d = {.img = img, .out_format = "raw", .block = 512, .count = UINT64_MAX};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "hf:O:U", longs);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'f')
			d.format = args.value;
		else if (code == 'O')
			d.out_format = args.value;
		else if (code == 'U')
			d.force_share = true;
		else
			status = img_args_other(&args, code);
	}
	for (int i = 0; i < args.name_count && status < 0; i++)
		status = parse_operand(&d, args.names[i]) ? 1 : -1;
	if (status < 0 && (!d.from || !d.to))
		status = img_fail(img, "Must specify both input and output files");
	if (status < 0)
		status = run_dd(&d);
	img_args_end(&args);
	return status;
}
