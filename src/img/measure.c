/* SPDX-License-Identifier: GPL-2.0-or-later */
/* measure: how large a file of another format would be. */
#include "img/internal.h"

struct measure {
	struct img *img;
	const char *format, *out_format;
	bool json, force_share;
	uint64_t size; /* UINT64_MAX: of the image named */
	struct options options;
};

/* Bytes of the source that are not zeroes, in clusters of the target. */
static int data_bytes(struct img *img, struct block *block, uint64_t cluster, uint64_t *bytes)
{
	uint64_t counted_to = 0;

	for (uint64_t offset = 0; offset < block->length;) {
		struct img_extent extent;
		int result = img_extent(block, offset, block->length - offset, &extent);

		if (result)
			return img_fail(img, "Failed to read image metadata: %s", strerror(-result));
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

static int print(struct measure *m, uint64_t required, uint64_t full, bool bitmaps)
{
	if (m->json) {
		fprintf(m->img->out, "{\n%s    \"required\": %llu,\n    \"fully-allocated\": %llu\n}\n",
			bitmaps ? "    \"bitmaps\": 0,\n" : "", (unsigned long long)required, (unsigned long long)full);
		return 0;
	}
	fprintf(m->img->out, "required size: %llu\nfully allocated size: %llu\n", (unsigned long long)required,
		(unsigned long long)full);
	if (bitmaps)
		fprintf(m->img->out, "bitmaps size: 0\n");
	return 0;
}

static int take_options(struct measure *m, struct qcow2_create *q)
{
	const char *cluster = options_get(&m->options, "cluster_size"), *compat = options_get(&m->options, "compat");
	struct error err = {0};
	uint64_t value = q->refcount_bits;

	if (options_u64(&m->options, "refcount_bits", &value, 64, &err))
		return img_fail(m->img, "%s", err.msg);
	q->refcount_bits = (unsigned)value;
	if (compat && !strcmp(compat, "0.10"))
		q->version = 2;
	value = q->cluster_bytes;
	if (cluster && (img_parse_size(cluster, &value) || value < 512 || value > 2 * MIB || !is_power_of_two(value)))
		return img_fail(m->img, "Cluster size must be a power of two between 512 and 2048k");
	q->cluster_bytes = (uint32_t)value;
	if (!is_power_of_two(q->refcount_bits))
		return img_fail(m->img, "Refcount width must be a power of two and may not exceed 64 bits");
	return 0;
}

static int run_measure(struct measure *m, struct img_args *args)
{
	const struct img_open how = {.force_share = m->force_share};
	struct block *block = NULL;
	struct qcow2_info info = {0};
	struct qcow2_create q;
	uint64_t data = 0, full;
	int status = 0;

	if (args->name_count) {
		block = img_open(m->img, args->names[0], m->format, &how);
		if (!block)
			return 1;
		m->size = block->length;
		if (block->driver == &block_qcow2_driver)
			qcow2_get_info(block, &info);
	}
	qcow2_create_defaults(&q);
	q.length = align_up(m->size, 512);
	if (!strcmp(m->out_format, "raw")) {
		status = print(m, q.length, q.length, false);
	} else if (!(status = take_options(m, &q)) &&
		   (!block || !(status = data_bytes(m->img, block, q.cluster_bytes, &data)))) {
		full = qcow2_measure(&q, q.length);
		/* As qemu-img: with the tables of the whole disk. */
		status = print(m, full - align_up(q.length, q.cluster_bytes) + data, full,
			       info.version >= 3 && q.version >= 3);
	}
	block_unref(block);
	return status;
}

static int check_arguments(struct measure *m, struct img_args *args)
{
	if (args->name_count > 1)
		return img_fail(m->img, "At most one filename argument is allowed.");
	if (args->name_count == 1 && m->size != UINT64_MAX)
		return img_fail(m->img, "--size N cannot be used together with a filename.");
	if (!args->name_count && m->size == UINT64_MAX)
		return img_fail(m->img, "Either --size N or one filename must be specified.");
	if (strcmp(m->out_format, "raw") && strcmp(m->out_format, "qcow2"))
		return img_fail(m->img, "Unknown file format '%s'", m->out_format);
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
		else if (code == 'U')
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
