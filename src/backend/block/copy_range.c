/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying from node to node inside the kernel, which may share the blocks (reflinks) instead: where both ranges lie in
 * plain files as they are. */
#include "backend/block/file.h"

#include <unistd.h>

/* The file under a node and where the range lies in it; *length becomes how far that holds. -ENOTSUP: not in a file. */
static int place_of(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, struct block **file,
		    uint64_t *place)
{
	while (block->driver != &block_file_driver) {
		uint64_t child_offset, known = *length;
		int result;

		/* Tables come into the cache by being looked at. */
		if (block->driver->extent && block->driver->extent(block, offset, &known, &child_offset) < 0)
			return -ENOTSUP;
		if (!block->driver->map || !block->file || block->detect_zeroes)
			return -ENOTSUP;
		result = block->driver->map(block, op, offset, length, &child_offset);
		if (result || *length == 0)
			return -ENOTSUP;
		offset = child_offset;
		block = block->file;
	}
	if (block->detect_zeroes && op == BLOCK_WRITE)
		return -ENOTSUP;
	*file = block;
	*place = offset;
	return 0;
}

static int copy_in_kernel(const struct block *from, uint64_t from_offset, const struct block *to, uint64_t to_offset,
			  uint64_t length)
{
	const struct file_block *source = from->private_data, *target = to->private_data;

	while (length) {
		off64_t in = (off64_t)from_offset, out = (off64_t)to_offset;
		const ssize_t copied = copy_file_range(source->fd, &in, target->fd, &out, length, 0);

		if (copied < 0 && errno == EINTR)
			continue;
		/* EXDEV and the like; or the end of the source, behind which there are zeroes. */
		if (copied < 0 && errno != EIO && errno != ENOSPC && errno != EFBIG && errno != EDQUOT)
			return -ENOTSUP;
		if (copied <= 0)
			return copied ? -errno : -ENOTSUP;
		from_offset += (uint64_t)copied;
		to_offset += (uint64_t)copied;
		length -= (uint64_t)copied;
	}
	return 0;
}

int block_copy_range(struct block *from, uint64_t from_offset, struct block *to, uint64_t to_offset, uint64_t length)
{
	int result = block_check(from, BLOCK_READ, from_offset, length);

	if (!result)
		result = block_check(to, BLOCK_WRITE, to_offset, length);
	while (length && !result) {
		struct block *source, *target;
		uint64_t part = length, in, out;

		result = place_of(from, BLOCK_READ, from_offset, &part, &source, &in);
		if (!result)
			result = place_of(to, BLOCK_WRITE, to_offset, &part, &target, &out);
		if (!result)
			result = copy_in_kernel(source, in, target, out, part);
		from_offset += part;
		to_offset += part;
		length -= part;
	}
	return result;
}
