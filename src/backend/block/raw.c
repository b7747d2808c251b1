/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Format "raw": the bytes of the child, or a window of them (offset=, size=).
 *
 * When the format was not given but guessed, a guest must not write a first sector that would make the image another
 * format at the next start: a qcow2 header with a backing file would let it read any file of the host. As in qemu such
 * writes fail (EPERM), and a warning at open says how to lift that.
 */
#include "backend/block/internal.h"

struct raw {
	uint64_t offset;
	bool probed;
};

static int raw_probe(const uint8_t *head, size_t length, const char *filename)
{
	return 1;
}

static int raw_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct raw *raw = block->private_data;
	uint64_t size = UINT64_MAX;
	int result;

	if ((result = options_size(options, "offset", &raw->offset, 1, err)) ||
	    (result = options_size(options, "size", &size, 1, err)))
		return result;
	if (raw->offset > block->file->length)
		return error_set(err, EINVAL, "offset=%llu lies beyond the end of '%s' (%llu bytes)",
				 (unsigned long long)raw->offset, block->filename,
				 (unsigned long long)block->file->length);
	block->length = block->file->length - raw->offset;
	if (size != UINT64_MAX) {
		if (size > block->length)
			return error_set(err, EINVAL, "offset plus size=%llu lie beyond the end of '%s' (%llu bytes)",
					 (unsigned long long)size, block->filename,
					 (unsigned long long)block->file->length);
		if (size % BLOCK_SECTOR)
			return error_set(err, EINVAL, "size=%llu is not a multiple of 512", (unsigned long long)size);
		block->length = size;
	}
	raw->probed = how->probed && !block->read_only;
	if (raw->probed && how->log)
		log_warn(how->log,
			 "the format of '%s' was not given and guessed to be raw; writes to its first sector that look "
			 "like "
			 "another format will fail; give format=raw to allow them",
			 block->filename);
	return 0;
}

/* True when the write would leave a first sector that is recognised as a format. */
static int check_first_sector(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count,
			      uint64_t length)
{
	struct raw *raw = block->private_data;
	uint8_t head[BLOCK_PROBE_BYTES] = {0};
	int result;

	if (!raw->probed || offset >= sizeof(head))
		return 0;
	result = block_pread(block->file, raw->offset, head, min_u64(sizeof(head), block->length));
	if (result < 0)
		return result;
	iov_gather(head + offset, iov, iov_count, 0, min_u64(length, sizeof(head) - offset));
	return block_probe_foreign(head, min_u64(sizeof(head), block->length)) ? -EPERM : 0;
}

static int raw_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct raw *raw = block->private_data;

	return block_execute(block->file, BLOCK_READ, raw->offset + offset, length, iov, iov_count, 0);
}

static int raw_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		      uint32_t flags)
{
	struct raw *raw = block->private_data;
	int result = check_first_sector(block, offset, iov, iov_count, length);

	if (result)
		return result;
	return block_execute(block->file, BLOCK_WRITE, raw->offset + offset, length, iov, iov_count, flags);
}

static int raw_flush(struct block *block)
{
	return block_flush(block->file);
}

static int raw_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct raw *raw = block->private_data;

	return block_execute(block->file, BLOCK_DISCARD, raw->offset + offset, length, NULL, 0, 0);
}

static int raw_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct raw *raw = block->private_data;

	return block_execute(block->file, BLOCK_WRITE_ZEROES, raw->offset + offset, length, NULL, 0, flags);
}

static int raw_truncate(struct block *block, uint64_t length, struct error *err)
{
	struct raw *raw = block->private_data;
	int result;

	if (raw->offset || block->length != block->file->length)
		return error_set(err, ENOTSUP, "a raw node with offset= or size= cannot change its length");
	result = block_truncate(block->file, length, err);
	if (result == 0)
		block->length = block->file->length;
	return result;
}

static int raw_preallocate(struct block *block, uint64_t from, enum block_preallocation mode, struct error *err)
{
	if (!block->file->driver->preallocate)
		return error_set(err, ENOTSUP, "Unsupported preallocation mode '%s'", block_preallocation_names[mode]);
	return block->file->driver->preallocate(block->file, from, mode, err);
}

static int raw_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct raw *raw = block->private_data;

	*child_offset = raw->offset + offset;
	if (!block->file->driver->extent)
		return BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_OFFSET_VALID;
	return block->file->driver->extent(block->file, raw->offset + offset, length, child_offset);
}

static int raw_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct raw *raw = block->private_data;

	if (raw->probed && op == BLOCK_WRITE && offset < BLOCK_PROBE_BYTES)
		return -EAGAIN; /* raw_pwrite looks at the data */
	*child_offset = raw->offset + offset;
	return 0;
}

/* Everything but the size is the file's business. */
static const struct block_create_option raw_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{NULL},
};

static int raw_create(const struct block_create *create, struct error *err)
{
	struct block *file = block_create_file(create, NULL, create->length, err);

	block_unref(file);
	return file ? 0 : -EIO;
}

static int raw_measure(const struct block_create *create, struct block_measure *measure, struct error *err)
{
	measure->required_bytes = measure->full_bytes = create->length;
	return 0;
}

static const char *const raw_options[] = {"offset", "size", NULL};

const struct block_driver block_raw_driver = {
	.name = "raw",
	.size = sizeof(struct raw),
	.known = raw_options,
	.strong = raw_options,
	.probe = raw_probe,
	.open = raw_open,
	.pread = raw_pread,
	.pwrite = raw_pwrite,
	.flush = raw_flush,
	.discard = raw_discard,
	.write_zeroes = raw_write_zeroes,
	.truncate = raw_truncate,
	.preallocate = raw_preallocate,
	.extent = raw_extent,
	.create_options = raw_create_options,
	.create = raw_create,
	.measure = raw_measure,
	.map = raw_map,
};
