/* SPDX-License-Identifier: GPL-2.0-or-later */
/* info: what an image is, for people and as JSON in qemu's order of keys. */
#include "img/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

/* False where it is not known. */
static bool disk_bytes(const struct block *block, const struct block_info *info, uint64_t *bytes)
{
	struct block *leaf = (struct block *)(uintptr_t)block;

	while (leaf->file)
		leaf = leaf->file;
	if (!leaf->driver->allocated || leaf->driver->allocated(leaf, bytes) < 0)
		return false;
	*bytes += info->further_bytes;
	return true;
}

/* --- snapshots, also for the verb of that name --- */

void img_print_snapshots(struct img *img, const struct block *block)
{
	const struct qcow2_snapshot *s;
	size_t count;

	s = qcow2_snapshots(block, &count);
	if (!count)
		return;
	fprintf(img->out, "Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK",
		"ICOUNT");
	for (size_t i = 0; i < count; i++) {
		char date[32] = "", size[32], clock[64], icount[32] = "";
		const time_t when = (time_t)s[i].date_s;
		const uint64_t seconds = s[i].vm_clock_ns / 1000000000;
		struct tm local;

		localtime_r(&when, &local);
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &local);
		snprintf(clock, sizeof(clock), "%02u:%02u:%02u.%03u", (unsigned)(seconds / 3600),
			 (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60),
			 (unsigned)(s[i].vm_clock_ns / 1000000 % 1000));
		if (s[i].icount != UINT64_MAX)
			snprintf(icount, sizeof(icount), "%llu", (unsigned long long)s[i].icount);
		format_bytes(size, s[i].vm_state_bytes);
		fprintf(img->out, "%-9s %-16s %8s%20s%13s%11s\n", s[i].id, s[i].name, size, date, clock, icount);
	}
}

static json_t *snapshots_json(const struct block *block)
{
	const struct qcow2_snapshot *s;
	json_t *list = json_array();
	size_t count;

	s = qcow2_snapshots(block, &count);
	for (size_t i = 0; i < count; i++) {
		json_t *row = json_object();

		if (s[i].icount != UINT64_MAX)
			json_object_set_new(row, "icount", json_integer((json_int_t)s[i].icount));
		json_object_set_new(row, "vm-clock-nsec", json_integer((json_int_t)(s[i].vm_clock_ns % 1000000000)));
		json_object_set_new(row, "name", json_stringn_nocheck(s[i].name, strlen(s[i].name)));
		json_object_set_new(row, "date-sec", json_integer(s[i].date_s));
		json_object_set_new(row, "date-nsec", json_integer(s[i].date_ns));
		json_object_set_new(row, "vm-clock-sec", json_integer((json_int_t)(s[i].vm_clock_ns / 1000000000)));
		json_object_set_new(row, "id", json_stringn_nocheck(s[i].id, strlen(s[i].id)));
		json_object_set_new(row, "vm-state-size", json_integer((json_int_t)s[i].vm_state_bytes));
		json_array_append_new(list, row);
	}
	return list;
}

/* --- for people --- */

static void print_member(struct img *img, const json_t *value, int depth);

/* A tree of values, four columns a level; keys with blanks for dashes, as qemu-img shows them. */
static void print_tree(struct img *img, const json_t *tree, int depth)
{
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)tree, key, value)
	{
		fprintf(img->out, "%*s", depth * 4, "");
		for (const char *p = key; *p; p++)
			fputc(*p == '-' ? ' ' : *p, img->out);
		fputc(':', img->out);
		print_member(img, value, depth);
	}
	json_array_foreach(tree, i, value)
	{
		fprintf(img->out, "%*s[%zu]:", depth * 4, "", i);
		print_member(img, value, depth);
	}
}

static void print_member(struct img *img, const json_t *value, int depth)
{
	if (json_is_object(value) || json_is_array(value)) {
		fputc('\n', img->out);
		print_tree(img, value, depth + 1);
	} else if (json_is_string(value)) {
		fprintf(img->out, " %s\n", json_string_value(value));
	} else if (json_is_integer(value)) {
		fprintf(img->out, " %lld\n", (long long)json_integer_value(value));
	} else {
		fprintf(img->out, " %s\n", json_is_true(value) ? "true" : "false");
	}
}

static void print_specific(struct img *img, const struct block *block)
{
	json_t *tree = block->driver->specific_info ? block->driver->specific_info(block) : NULL;

	if (!tree)
		return;
	fprintf(img->out, "Format specific information:\n");
	print_tree(img, tree, 1);
	json_decref(tree);
}

static void print_backing(struct img *img, const struct block *block, const struct block_info *info)
{
	char *path = img_backing_path(block->filename, info->backing);

	fprintf(img->out, "backing file: %s", info->backing);
	if (strcmp(path, info->backing))
		fprintf(img->out, " (actual path: %s)", path);
	fputc('\n', img->out);
	if (info->backing_format)
		fprintf(img->out, "backing file format: %s\n", info->backing_format);
	free(path);
}

static void print_human(struct img *img, const struct block *block)
{
	struct block_info info;
	char virtual[32], disk[32] = "unavailable";
	char *name = block_name(block);
	uint64_t bytes;

	block_get_info(block, &info);
	if (disk_bytes(block, &info, &bytes))
		format_bytes(disk, bytes);
	fprintf(img->out, "image: %s\nfile format: %s\nvirtual size: %s (%llu bytes)\ndisk size: %s\n", name,
		block->driver->name, format_bytes(virtual, block->length), (unsigned long long)block->length, disk);
	free(name);
	if (info.encrypted)
		fprintf(img->out, "encrypted: yes\n");
	if (info.cluster_bytes)
		fprintf(img->out, "cluster_size: %u\n", info.cluster_bytes);
	if (info.dirty)
		fprintf(img->out, "cleanly shut down: no\n");
	if (info.backing)
		print_backing(img, block, &info);
	if (info.snapshot_count)
		img_print_snapshots(img, block);
	print_specific(img, block);
}

/* --- JSON --- */

static json_t *image_json(const struct block *block)
{
	json_t *row = json_object();
	struct block_info info;
	json_t *specific = block->driver->specific_info ? block->driver->specific_info(block) : NULL;
	uint64_t bytes;
	bool local;
	char *path, *name = block_name(block);

	block_get_info(block, &info);
	if (info.backing && info.backing_format)
		json_object_set_new(row, "backing-filename-format", json_string(info.backing_format));
	if (info.snapshot_count)
		json_object_set_new(row, "snapshots", snapshots_json(block));
	json_object_set_new(row, "virtual-size", json_integer((json_int_t)block->length));
	json_object_set_new(row, "filename", json_stringn_nocheck(name, strlen(name)));
	free(name);
	if (info.cluster_bytes)
		json_object_set_new(row, "cluster-size", json_integer(info.cluster_bytes));
	json_object_set_new(row, "format", json_string(block->driver->name));
	local = disk_bytes(block, &info, &bytes);
	if (local)
		json_object_set_new(row, "actual-size", json_integer((json_int_t)bytes));
	if (specific)
		json_object_set_new(row, "format-specific",
				    json_pack("{s:s,s:o}", "type", block->driver->name, "data", specific));
	if (info.encrypted)
		json_object_set_new(row, "encrypted", json_true());
	if (info.backing) {
		path = img_backing_path(block->filename, info.backing);
		json_object_set_new(row, "full-backing-filename", json_stringn_nocheck(path, strlen(path)));
		json_object_set_new(row, "backing-filename", json_stringn_nocheck(info.backing, strlen(info.backing)));
		free(path);
	}
	/* qemu says so of every image but bytes that are no file of this host. */
	if (local || block->driver != block_driver_find("raw"))
		json_object_set_new(row, "dirty-flag", json_boolean(info.dirty));
	return row;
}

/* --- the chain --- */

enum { MAX_CHAIN = 200 };

struct walk {
	struct img *img;
	bool json, chain, force_share;
	json_t *rows;
};

static int show(struct walk *w, char *filename, const char *format)
{
	struct img_open how = {.no_backing = true, .describe = true, .force_share = w->force_share};
	char *next = xstrdup(filename), *next_format = format ? xstrdup(format) : NULL;
	dev_t seen_dev[MAX_CHAIN];
	ino_t seen_ino[MAX_CHAIN];
	int status = 0;

	for (unsigned depth = 0; next && !status; depth++) {
		struct block *block = NULL;
		struct block_info info = {0};
		char *path = next;
		struct stat id = {0};

		next = NULL;
		stat(path, &id);
		for (unsigned i = 0; i < depth && i < MAX_CHAIN; i++)
			if (id.st_ino && id.st_ino == seen_ino[i] && id.st_dev == seen_dev[i])
				status = img_fail(w->img, "Backing file '%s' creates an infinite loop.", path);
		if (depth < MAX_CHAIN) {
			seen_dev[depth] = id.st_dev;
			seen_ino[depth] = id.st_ino;
		} else {
			status = img_fail(w->img, "the backing chain is longer than %d images", MAX_CHAIN);
		}
		if (!status)
			block = img_open(w->img, path, next_format, &how);
		how.name = IMG_NAME_PLAIN;
		free(next_format);
		next_format = NULL;
		if (block) {
			if (w->json)
				json_array_append_new(w->rows, image_json(block));
			else
				fputs(depth ? "\n" : "", w->img->out), print_human(w->img, block);
			block_get_info(block, &info);
			if (w->chain && info.backing) {
				next = img_backing_path(block->filename, info.backing);
				next_format = info.backing_format ? xstrdup(info.backing_format) : NULL;
			}
		} else {
			status = 1;
		}
		block_unref(block);
		free(path);
	}
	free(next);
	free(next_format);
	return status;
}

static const struct img_long longs[] = {
	{"output", true, IMG_OPT_OUTPUT},
	{"backing-chain", false, IMG_OPT_BACKING_CHAIN},
	{"force-share", false, 'U'},
	{NULL},
};

static int run_info(struct walk *w, char *filename, const char *format)
{
	int status;

	w->rows = json_array();
	status = show(w, filename, format);
	if (w->json && !status) {
		json_dumpf(w->chain ? w->rows : json_array_get(w->rows, 0), w->img->out, JSON_INDENT(4));
		fputc('\n', w->img->out);
	}
	json_decref(w->rows);
	return status;
}

int img_verb_info(struct img *img, int argc, char **argv)
{
	struct walk w = {.img = img};
	const char *format = NULL;
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "f:hU", longs);
	while (status < 0 && (code = img_args_next(&args))) {
		if (code == 'f')
			format = args.value;
		else if (code == 'U')
			w.force_share = true;
		else if (code == IMG_OPT_OUTPUT)
			status = img_output_argument(img, args.value, &w.json) ? 1 : -1;
		else if (code == IMG_OPT_BACKING_CHAIN)
			w.chain = true;
		else
			status = img_args_other(&args, code);
	}
	if (status < 0 && args.name_count != 1)
		status = img_usage(img, "Expecting one image file name");
	if (status < 0)
		status = run_info(&w, args.names[0], format);
	img_args_end(&args);
	return status;
}
