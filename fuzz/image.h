/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image of foreign bytes through all that its driver offers: opened, described, checked, read, mapped, written,
 * discarded, flushed, read back. The backing file is not opened (its name is the image's to choose).
 */
#ifndef XUNI_FUZZ_IMAGE_H
#define XUNI_FUZZ_IMAGE_H

#include "backend/block/image.h"
#include "base/util.h"
#include "fuzz.h"

#include <jansson.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { IMAGE_MAX_BYTES = 1 << 20, IMAGE_PART = 70000 };

static uint8_t image_buffer[IMAGE_PART];

static inline void image_read_around(struct block *block)
{
	const uint64_t places[] = {
		0, 4096, 65536, MIB, block->length / 2, block->length > IMAGE_PART ? block->length - IMAGE_PART : 0};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t length = block->length > places[i] ? block->length - places[i] : 0, where;
		const uint64_t part = min_u64(length, IMAGE_PART);

		block_pread(block, places[i], image_buffer, part);
		if (!length)
			continue;
		if (block->driver->extent(block, places[i], &length, &where) >= 0 && !length)
			abort(); /* the caller would never come to the end */
		length = part;
		if (block->driver->map)
			block->driver->map(block, BLOCK_READ, places[i], &length, &where);
	}
}

/* What was written is what is read, unless the image contradicts itself and the write failed. */
static inline void image_write_at(struct block *block, uint64_t offset, uint64_t length, int pattern)
{
	uint8_t got[5000];

	length = min_u64(length, block->length - offset);
	memset(image_buffer, pattern, length);
	if (block_pwrite(block, offset, image_buffer, length, 0) ||
	    block_pread(block, offset, got, min_u64(length, 5000)))
		return;
	if (memcmp(got, image_buffer, min_u64(length, 5000)))
		abort();
}

static inline void image_write_around(struct block *block)
{
	const uint64_t middle = block->length / 2 & ~511ull, rest = block->length - middle;

	image_write_at(block, 0, 5000, 0x5a);
	image_write_at(block, middle, IMAGE_PART, 0x5b);
	block_execute(block, BLOCK_WRITE_ZEROES, 0, min_u64(block->length, 131072), NULL, 0, BLOCK_MAY_UNMAP);
	block_execute(block, BLOCK_DISCARD, middle, min_u64(rest, MIB), NULL, 0, 0);
	if (block->driver->write_compressed && block->length >= block->optimal_bytes &&
	    block->optimal_bytes <= IMAGE_PART)
		block->driver->write_compressed(block, 0, image_buffer, block->optimal_bytes);
	block_flush(block);
	image_write_at(block, block->length - min_u64(block->length, 512), 512, 0x5c);
}

static inline void image_use(struct block_graph *graph, const char *format, const char *path, bool read_only)
{
	const struct block_open how = {.read_only = read_only, .no_backing = true, .discard = true};
	struct block_check check = {0};
	struct block_info info;
	struct error err = {0};
	struct block *block = block_open_file(graph, path, format, &how, &err);

	if (!block) {
		if (!err.code || !err.msg[0])
			abort(); /* a failure without a message */
		return;
	}
	block_get_info(block, &info);
	if (block->driver->specific_info)
		json_decref(block->driver->specific_info(block));
	image_read_around(block);
	if (block->driver->check)
		block->driver->check(block, &check, false, false, &err);
	if (!read_only)
		image_write_around(block);
	block_unref(block);
}

static inline int image_fuzz(const char *format, const uint8_t *data, size_t size)
{
	struct block_graph *graph;
	char path[64];
	int fd;

	if (size > IMAGE_MAX_BYTES)
		return 0;
	fd = memfd_create(format ? format : "image", MFD_CLOEXEC);
	if (fd < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	graph = block_graph_new(NULL);
	for (unsigned pass = 0; pass < 2; pass++) {
		if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
			break;
		image_use(graph, format, path, pass == 0);
	}
	block_graph_free(graph);
	close(fd);
	return 0;
}

#endif
