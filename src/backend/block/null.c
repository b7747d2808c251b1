/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Protocol "null-co": a disk of zeroes that takes all writes, to measure everything above it. */
#include "backend/block/internal.h"

struct null_block {
	bool read_zeroes;
};

static int null_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct null_block *null = block->private_data;
	const char *name = options_get(options, "filename");
	uint64_t size = GIB;
	int result;

	if (name && strcmp(name, "null-co://"))
		return error_set(err, EINVAL, "The only allowed filename for this driver is 'null-co://'");

	if ((result = options_size(options, "size", &size, 1, err)) ||
	    (result = options_bool(options, "read-zeroes", &null->read_zeroes, err)))
		return result;
	if (size > INT64_MAX)
		return error_set(err, EINVAL, "size=%llu is too large", (unsigned long long)size);
	block->filename = xstrdup("null-co://");
	block->length = align_down(size, BLOCK_SECTOR);
	return 0;
}

static int null_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct null_block *null = block->private_data;

	if (null->read_zeroes)
		iov_clear(iov, iov_count, 0, length);
	return 0;
}

static int null_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	return 0;
}

static int null_range(struct block *block, uint64_t offset, uint64_t length)
{
	return 0;
}

static int null_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	return 0;
}

static int null_submit(struct block *block, struct block_queue *queue, struct block_request *request, uint64_t offset)
{
	if (request->op == BLOCK_READ)
		null_pread(block, offset, request->iov, request->iov_count, request->length);
	block_queue_finish(queue, request, 0);
	return 0;
}

static const char *const null_strong[] = {"size", NULL};
static const char *const null_options[] = {"size", "read-zeroes", "filename", NULL};

const struct block_driver block_null_driver = {
	.name = "null-co",
	.is_protocol = true,
	.size = sizeof(struct null_block),
	.known = null_options,
	.strong = null_strong,
	.open = null_open,
	.pread = null_pread,
	.pwrite = null_pwrite,
	.discard = null_range,
	.write_zeroes = null_write_zeroes,
	.submit = null_submit,
};
