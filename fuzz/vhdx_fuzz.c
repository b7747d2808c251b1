/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VHDX image with foreign bytes in it. The input changes places of a good image: records of a 32-bit offset, a length
 * byte and so many bytes. Checksums are put right afterwards, of headers, region tables and what may be a log entry at
 * the log's start, so that what lies behind them is reached. The image is opened, read, checked and written to.
 */
#include "backend/block/vhdx_internal.h"
#include "fuzz.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_PLACE = 16 << 20, PART = 70000 };

static uint8_t buffer[PART];

static void change_places(int fd, const uint8_t *data, size_t size)
{
	while (size >= 5) {
		const uint32_t at = load_le32(data) % MAX_PLACE;
		const size_t length = min_u64(data[4], size - 5);

		if (pwrite(fd, data + 5, length, at) < 0)
			return;
		data += 5 + length;
		size -= 5 + length;
	}
}

static void put_right(int fd, off_t at, size_t length)
{
	uint8_t *structure = malloc(length);

	if (pread(fd, structure, length, at) == (ssize_t)length) {
		store_le32(structure + 4, vhdx_checksum(structure, length, 4));
		if (pwrite(fd, structure, length, at) < 0)
			abort();
	}
	free(structure);
}

static void put_checksums_right(int fd)
{
	uint8_t entry[12];

	put_right(fd, 64 << 10, VHDX_HEADER_BYTES);
	put_right(fd, 128 << 10, VHDX_HEADER_BYTES);
	put_right(fd, 192 << 10, VHDX_TABLE_BYTES);
	put_right(fd, 256 << 10, VHDX_TABLE_BYTES);
	if (pread(fd, entry, sizeof(entry), 1 << 20) == sizeof(entry) && !memcmp(entry, "loge", 4)) {
		const uint32_t length = load_le32(entry + 8);

		if (length >= 4096 && length <= 1 << 20)
			put_right(fd, 1 << 20, length);
	}
}

static void use(struct block_graph *graph, const char *path, bool read_only, bool any)
{
	const struct block_open how = {.read_only = read_only, .discard = true, .no_repair = any};
	struct block_check check = {0};
	struct error err = {0};
	struct block *block = block_open_file(graph, path, "vhdx", &how, &err);
	uint64_t middle;

	if (!block) {
		if (!err.code || !err.msg[0])
			abort(); /* a failure without a message */
		return;
	}
	middle = block->length / 2 & ~511ull;
	for (uint64_t at = 0; at < 4; at++) {
		uint64_t offset = at * (block->length / 4), length = block->length - offset, where;

		block_pread(block, offset, buffer, length < PART ? length : PART);
		if (length)
			block->driver->extent(block, offset, &length, &where);
	}
	block->driver->check(block, &check, false, false, &err);
	if (!read_only) {
		memset(buffer, 0x5a, sizeof(buffer));
		block_pwrite(block, 0, buffer, block->length < 5000 ? block->length : 5000, 0);
		block_pwrite(block, middle, buffer, block->length - middle < PART ? block->length - middle : PART, 0);
		block_execute(block, BLOCK_WRITE_ZEROES, 0, block->length < 131072 ? block->length : 131072, NULL, 0,
			      BLOCK_MAY_UNMAP);
		block_execute(block, BLOCK_DISCARD, middle,
			      block->length - middle < PART ? block->length - middle : PART, NULL, 0, 0);
		block_flush(block);
	}
	block_unref(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct block_graph *graph = block_graph_new(NULL);
	struct options options = {0};
	struct block_create create = {
		.driver = &block_vhdx_driver, .graph = graph, .length = 5 << 20, .options = &options};
	struct error err = {0};
	char path[64];
	int fd = memfd_create("vhdx", MFD_CLOEXEC);

	if (fd >= 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		create.filename = path;
		options_add(&options, "block_size", "1M");
		for (unsigned pass = 0; pass < 3; pass++) {
			if (block_create_image(&create, &err) < 0)
				break;
			change_places(fd, data, size);
			put_checksums_right(fd);
			use(graph, path, pass == 0, pass == 2);
		}
		close(fd);
	}
	options_free(&options);
	block_graph_free(graph);
	return 0;
}
