/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A qcow2 image of foreign bytes: opened and read, checked, written to, its snapshots applied and deleted, repaired and
 * resized. The backing file is not opened (its name is the image's to choose).
 */
#include "backend/block/qcow2.h"
#include "fuzz.h"

#include <jansson.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_BYTES = 1 << 20, PART = 70000 };

static uint8_t buffer[PART];

static void read_around(struct block *block)
{
	const uint64_t places[] = {0, 4096, 65536, block->length / 2, block->length > PART ? block->length - PART : 0};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t length = block->length > places[i] ? block->length - places[i] : 0, where;

		block_pread(block, places[i], buffer, length < PART ? length : PART);
		if (length)
			block->driver->extent(block, places[i], &length, &where);
	}
}

static void write_around(struct block *block)
{
	struct error err = {0};
	const uint64_t middle = block->length / 2 & ~511ull;
	size_t count;
	const struct qcow2_snapshot *list = qcow2_snapshots(block, &count);
	char *name = count ? strdup(list[0].name) : NULL;

	memset(buffer, 0x5a, sizeof(buffer));
	block_pwrite(block, 0, buffer, block->length < 5000 ? block->length : 5000, 0);
	block_pwrite(block, middle, buffer, block->length - middle < PART ? block->length - middle : PART, 0);
	block_execute(block, BLOCK_WRITE_ZEROES, 0, block->length < 131072 ? block->length : 131072, NULL, 0,
		      BLOCK_MAY_UNMAP);
	block_execute(block, BLOCK_DISCARD, middle, block->length - middle < 1 << 20 ? block->length - middle : 1 << 20,
		      NULL, 0, 0);
	block_flush(block);
	if (name) {
		qcow2_snapshot_apply(block, name, &err);
		qcow2_snapshot_delete(block, name, &err);
	}
	qcow2_snapshot_create(block, "fuzz", &err);
	block_pwrite(block, 0, buffer, block->length < 5000 ? block->length : 5000, 0);
	if (block->length < 1ull << 30)
		block_truncate(block, block->length + 65536, &err);
	free(name);
}

/* What bitmaps there are is used, one more is made, and all of it stored while it follows writes. */
static void use_bitmaps(struct block *block)
{
	struct error err = {0};
	const char *first = qcow2_bitmap_name(block, 0);
	char *name = first ? strdup(first) : NULL;

	if (block->length < 1ull << 32)
		qcow2_bitmap_add(block, "fuzz", 65536, true, &err);
	if (name) {
		qcow2_bitmap_merge(block, "fuzz", block, name, &err);
		qcow2_bitmap_enable(block, name, true, &err);
		qcow2_bitmap_clear(block, name, &err);
	}
	block_pwrite(block, 0, buffer, block->length < 5000 ? block->length : 5000, 0);
	qcow2_bitmaps_store(block, &err);
	if (name)
		qcow2_bitmap_remove(block, name, &err);
	qcow2_bitmaps_store(block, &err);
	block_pwrite(block, 0, buffer, block->length < 5000 ? block->length : 5000, 0);
	free(name);
}

/* An external data file is not what the image says either. */
static struct block *open_image(struct block_graph *graph, const char *path, const struct block_open *how,
				bool external, struct error *err)
{
	struct options options = {0};
	struct block *block;

	options_add(&options, "driver", "qcow2");
	if (external) {
		options_add(&options, "data-file.driver", "null-co");
		options_add(&options, "data-file.size", "1G");
	}
	block = block_open_image(graph, path, &options, how, err);
	options_free(&options);
	return block;
}

static void use(struct block_graph *graph, const char *path, bool external, bool read_only, bool repair)
{
	const struct block_open how = {
		.read_only = read_only, .no_backing = true, .discard = true, .no_repair = repair};
	struct block_check check = {0};
	struct error err = {0};
	struct block *block = open_image(graph, path, &how, external, &err);

	if (!block) {
		if (!err.code || !err.msg[0])
			abort(); /* a failure without a message */
		return;
	}
	read_around(block);
	qcow2_check(block, &check, repair, repair, &err);
	if (!read_only) {
		write_around(block);
		use_bitmaps(block);
	}
	block_unref(block);
}

/* As info does: no keys, nothing is read. */
static void describe(struct block_graph *graph, const char *path)
{
	const struct block_open how = {.read_only = true, .no_backing = true, .describe = true};
	struct error err = {0};
	struct block *block = open_image(graph, path, &how, false, &err);

	if (!block)
		return;
	json_decref(block->driver->specific_info(block));
	block_pread(block, 0, buffer, block->length < PART ? block->length : PART);
	block_unref(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct block_graph *graph;
	char path[64];
	int fd;

	if (size > MAX_BYTES)
		return 0;
	fd = memfd_create("qcow2", MFD_CLOEXEC);
	if (fd < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	graph = block_graph_new(NULL);
	for (unsigned pass = 0; pass < 3; pass++) {
		if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
			break;
		if (pass == 0)
			describe(graph, path);
		use(graph, path, size >= 80 && data[7] >= 3 && data[79] & 4, pass == 0, pass == 2);
	}
	block_graph_free(graph);
	close(fd);
	return 0;
}
