/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VMDK image of foreign bytes. A sparse extent with its descriptor is opened, read, checked and written to; a
 * descriptor by itself is only parsed, for it may name any file of the host. The parent is not opened.
 */
#include "backend/block/vmdk_internal.h"
#include "fuzz.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_BYTES = 1 << 20, PART = 70000 };

static uint8_t buffer[PART];

static void parse_descriptor(const uint8_t *data, size_t size)
{
	struct vmdk_descriptor descriptor;
	struct error err = {0};
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	vmdk_descriptor_probe(data, size);
	if (vmdk_descriptor_parse(&descriptor, text, (uint32_t)size, true, &err) == 0)
		vmdk_descriptor_free(&descriptor);
	else if (!err.code || !err.msg[0])
		abort(); /* a failure without a message */
}

static void use(struct block_graph *graph, const char *path, bool read_only)
{
	const struct block_open how = {.read_only = read_only, .no_backing = true, .discard = true};
	struct block_check check = {0};
	struct error err = {0};
	struct block *block = block_open_file(graph, path, "vmdk", &how, &err);
	uint64_t middle;

	if (!block) {
		if (!err.code || !err.msg[0])
			abort();
		return;
	}
	middle = block->length / 2 & ~511ull;
	for (uint64_t at = 0; at < 4; at++) {
		uint64_t offset = at * (block->length / 4), length = block->length - offset, where;

		block_pread(block, offset, buffer, length < PART ? length : PART);
		block->driver->extent(block, offset, &length, &where);
	}
	if (block->length < 1ull << 30)
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

/* A memory file with these bytes; its name in path. */
static int make_file(char path[64], const void *data, size_t size)
{
	int fd = memfd_create("vmdk", MFD_CLOEXEC);

	if (fd < 0)
		return -1;
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	if (pwrite(fd, data, size, 0) == (ssize_t)size)
		return fd;
	close(fd);
	return -1;
}

/* An extent of a type that only stands beside a descriptor. */
static void use_described(struct block_graph *graph, const char *extent)
{
	char path[64], text[256];
	int fd;

	snprintf(text, sizeof(text),
		 "version=1\nCID=1\nparentCID=ffffffff\ncreateType=\"seSparse\"\nRW 1 SESPARSE \"%s\"\n", extent);
	fd = make_file(path, text, strlen(text));
	if (fd < 0)
		return;
	use(graph, path, true);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t se_sparse[8] = {0xbe, 0xba, 0xfe, 0xca};
	struct block_graph *graph;
	char path[64];
	bool described;
	int fd;

	if (size > MAX_BYTES)
		return 0;
	parse_descriptor(data, size);
	described = size >= BLOCK_SECTOR && !memcmp(data, se_sparse, sizeof(se_sparse));
	if (!described &&
	    (size < BLOCK_SECTOR || (memcmp(data, VMDK_MAGIC_HOSTED, 4) && memcmp(data, VMDK_MAGIC_COWD, 4)) ||
	     vmdk_extent_descriptor_only(data)))
		return 0;
	fd = make_file(path, data, size);
	if (fd < 0)
		return 0;
	graph = block_graph_new(NULL);
	if (described) {
		use_described(graph, path);
	} else {
		use(graph, path, true);
		use(graph, path, false);
	}
	block_graph_free(graph);
	close(fd);
	return 0;
}
