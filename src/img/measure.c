/* SPDX-License-Identifier: GPL-2.0-or-later */
/* measure: how large a file of another format would be. */
#include "img/internal.h"

struct measure {
	struct img *img;
	const char *format, *out_format, *snapshot;
	bool json, force_share;
	uint64_t size; /* UINT64_MAX: of the image named */
	struct options options;
};

static int data_bytes(struct block_measure *measure, uint64_t cluster, uint64_t *bytes, struct error *err)
{
	struct block *block = measure->source;
	uint64_t counted_to = 0;

	*bytes = 0;
	for (uint64_t offset = 0; offset < block->length;) {
		struct block_span extent;
		int result = block_span_at(block, offset, block->length - offset, &extent);

		if (result)
			return error_set_errno(err, -result, "Failed to read image metadata");
		if (!extent.zero) {
			const uint64_t from = max_u64(counted_to, align_down(offset, cluster));
			const uint64_t to = align_up(offset + extent.length, cluster);

			*bytes += to > from ? to - from : 0;
			counted_to = max_u64(counted_to, to);
		}
		offset += extent.length;
	}
	return 0;
}

static int print(struct measure *m, const struct block_measure *r)
{
	const unsigned long long required = r->required_bytes, full = r->full_bytes, bitmaps = r->bitmap_bytes;

	if (m->json) {
		fputs("{\n", m->img->out);
		if (r->has_bitmaps)
			fprintf(m->img->out, "    \"bitmaps\": %llu,\n", bitmaps);
		fprintf(m->img->out, "    \"required\": %llu,\n    \"fully-allocated\": %llu\n}\n", required, full);
		return 0;
	}
	fprintf(m->img->out, "required size: %llu\nfully allocated size: %llu\n", required, full);
	if (r->has_bitmaps)
		fprintf(m->img->out, "bitmaps size: %llu\n", bitmaps);
	return 0;
}

static int measure_as(struct measure *m, struct block *source)
{
	struct block_create create = {.graph = m->img->graph, .filename = "", .options = &m->options};
	struct block_measure measure = {.source = source, .data_bytes = data_bytes};
	struct error err = {0};

	create.driver = img_create_driver(m->img, "", m->out_format);
	if (!create.driver)
		return 1;
	if (block_create_check(create.driver, &m->options, &err) < 0) {
		img_fail(m->img, "%s", err.msg);
		return img_fail(m->img, "Invalid options for file format '%s'", m->out_format);
	}
	if (!create.driver->measure)
		return img_fail(m->img, "Block driver '%s' does not support size measurement", m->out_format);
	create.length = align_up(m->size, 512);
	create.backing = block_create_text(&create, "backing_file");
	create.backing_format = block_create_text(&create, "backing_fmt");
	if (create.driver->measure(&create, &measure, &err) < 0)
		return img_fail(m->img, "%s", err.msg);
	return print(m, &measure);
}

static int run_measure(struct measure *m, struct img_args *args)
{
	const struct img_open how = {.force_share = m->force_share};
	struct block *block = NULL;
	int status;

	if (args->name_count) {
		block = img_open(m->img, args->names[0], m->format, &how);
		if (!block)
			return 1;
		m->size = block->length;
		if (m->snapshot && img_show_snapshot(m->img, block, m->snapshot)) {
			block_unref(block);
			return 1;
		}
	}
	status = measure_as(m, block);
	block_unref(block);
	return status;
}

static int check_arguments(struct measure *m, struct img_args *args)
{
	if (!args->name_count && (m->format || m->snapshot || m->img->image_opts))
		return img_fail(m->img, "--image-opts, -f, and -l require a filename argument.");
	if (args->name_count > 1)
		return img_fail(m->img, "At most one filename argument is allowed.");
	if (args->name_count == 1 && m->size != UINT64_MAX)
		return img_fail(m->img, "--size N cannot be used together with a filename.");
	if (!args->name_count && m->size == UINT64_MAX)
		return img_fail(m->img, "Either --size N or one filename must be specified.");
	return -1;
}

static const struct img_long longs[] = {
	{"output", true, IMG_OPT_OUTPUT},
	{"size", true, IMG_OPT_SIZE},
	{"force-share", false, 'U'},
	{NULL},
};

int img_verb_measure(struct img *img, int argc, char **argv)
{
	struct measure m = {.img = img, .out_format = "raw", .size = UINT64_MAX};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "hf:l:o:O:U", longs);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'f')
			m.format = args.value;
		else if (code == 'O')
			m.out_format = args.value;
		else if (code == 'l') {
			m.snapshot = args.value;
			status = img_check_snapshot(img, args.value) ? 1 : -1;
		} else if (code == 'U')
			m.force_share = true;
		else if (code == 'o')
			status = img_add_options(img, &m.options, args.value) ? 1 : -1;
		else if (code == IMG_OPT_OUTPUT)
			status = img_output_argument(img, args.value, &m.json) ? 1 : -1;
		else if (code == IMG_OPT_SIZE)
			status = img_size_argument(img, args.value, "image size", &m.size) ? 1 : -1;
		else
			status = img_args_other(&args, code);
	}
	if (status < 0)
		status = check_arguments(&m, &args);
	if (status < 0)
		status = run_measure(&m, &args);
	options_free(&m.options);
	img_args_end(&args);
	return status;
}
