/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What filters have in common: every operation goes to the child as it is. A filter names these in its table where it
 * has nothing to add. */
#include "backend/block/filter.h"

/* What lies below a format grows by being written: then the range is the child's, however long it was. */
static int pass(struct block *child, enum block_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
		int iov_count, uint32_t flags)
{
	if (!block_grows(child))
		return block_execute(child, op, offset, length, iov, iov_count, flags);
	if (op != BLOCK_READ && child->read_only)
		return -EPERM;
	return block_run(child, op, offset, length, iov, iov_count, flags);
}

int filter_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	return pass(block->file, BLOCK_READ, offset, length, iov, iov_count, 0);
}

int filter_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		  uint32_t flags)
{
	return pass(block->file, BLOCK_WRITE, offset, length, iov, iov_count, flags);
}

int filter_flush(struct block *block)
{
	return block_flush(block->file);
}

int filter_discard(struct block *block, uint64_t offset, uint64_t length)
{
	return pass(block->file, BLOCK_DISCARD, offset, length, NULL, 0, 0);
}

int filter_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	return pass(block->file, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, flags);
}

int filter_truncate(struct block *block, uint64_t length, struct error *err)
{
	int result = block_truncate(block->file, length, err);

	if (result == 0)
		block->length = block->file->length;
	return result;
}

int filter_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	if (block->file->driver->extent)
		return block->file->driver->extent(block->file, offset, length, child_offset);
	*child_offset = offset;
	return BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED;
}

int filter_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	*child_offset = offset;
	return 0;
}
