/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map: which file of the chain holds which part of the disk. */
#include "img/internal.h"

#include <stdlib.h>

struct map {
	struct img *img;
	bool first;
};

static void print_json(struct map *map, const struct block_span *e)
{
	FILE *out = map->img->out;

	fprintf(out,
		"%s{ \"start\": %llu, \"length\": %llu, \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
		map->first ? "" : ",\n", (unsigned long long)e->start, (unsigned long long)e->length, e->depth,
		e->present ? "true" : "false", e->zero ? "true" : "false", e->data ? "true" : "false");
	if (e->has_offset)
		fprintf(out, ", \"offset\": %llu", (unsigned long long)e->offset);
	fputc('}', out);
	map->first = false;
}

static int print_human(struct map *map, const struct block_span *e)
{
	if (e->data && !e->has_offset)
		return img_fail(map->img, "File contains external, encrypted or compressed clusters.");
	if (e->data && !e->zero) {
		char *name = block_name(e->file);

		fprintf(map->img->out, "%#-16llx%#-16llx%#-16llx%s\n", (unsigned long long)e->start,
			(unsigned long long)e->length, (unsigned long long)e->offset, name);
		free(name);
	}
	return 0;
}

static int run_map(struct img *img, struct block *block, bool json, uint64_t start, uint64_t end)
{
	struct map map = {.img = img, .first = true};

	if (json)
		fputc('[', img->out);
	else
		fprintf(img->out, "%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
	while (start < end) {
		struct block_span extent;
		int result = block_span_at(block, start, end - start, &extent);

		if (result)
			return img_fail(img, "Failed to read image metadata: %s", strerror(-result));
		if (json)
			print_json(&map, &extent);
		else if (print_human(&map, &extent))
			return 1;
		start += extent.length;
	}
	/* As qemu-img: of a disk without bytes it says something all the same. */
	if (json && map.first)
		print_json(&map, &(struct block_span){.start = start});
	if (json)
		fprintf(img->out, "]\n");
	return 0;
}

static const struct img_long longs[] = {
	{"output", true, IMG_OPT_OUTPUT},
	{"start-offset", true, 's'},
	{"max-length", true, 'l'},
	{"force-share", false, 'U'},
	{NULL},
};

struct map_args {
	struct img_open how;
	const char *format;
	bool json;
	uint64_t start, length;
};

static int map_option(struct img *img, struct img_args *args, int code, struct map_args *m)
{
	switch (code) {
	case 'f':
		m->format = args->value;
		return -1;
	case 'U':
		m->how.force_share = true;
		return -1;
	case IMG_OPT_OUTPUT:
		return img_output_argument(img, args->value, &m->json) ? 1 : -1;
	case 's':
		return img_size_argument(img, args->value, "start offset", &m->start) ? 1 : -1;
	case 'l':
		return img_size_argument(img, args->value, "max length", &m->length) ? 1 : -1;
	default:
		return img_args_other(args, code);
	}
}

int img_verb_map(struct img *img, int argc, char **argv)
{
	struct map_args m = {.length = UINT64_MAX};
	struct img_args args;
	struct block *block;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "f:s:l:hU", longs);
	while (status < 0 && (code = img_args_next(&args)))
		status = map_option(img, &args, code, &m);
	if (status < 0 && args.name_count != 1)
		status = img_usage(img, "Expecting one image file name");
	if (status < 0) {
		block = img_open(img, args.names[0], m.format, &m.how);
		status = 1;
		if (block) {
			const uint64_t left = block->length - min_u64(m.start, block->length);

			status = run_map(img, block, m.json, m.start, m.start + min_u64(m.length, left));
		}
		block_unref(block);
	}
	img_args_end(&args);
	return status;
}
