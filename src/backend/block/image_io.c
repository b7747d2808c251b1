/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers between a format and its file. The file grows by being written, so the length its node was opened with does
 * not bind; what lies behind its end reads as zeroes.
 */
#include "backend/block/internal.h"

#define WINDOW 64

/* Past the end of a plain file is where new clusters go; other nodes have a length of their own to keep to. */
static int run(struct block *file, enum block_op op, uint64_t offset, const struct iovec *iov, int iov_count,
	       uint64_t length)
{
	if (file->driver->is_protocol)
		return op != BLOCK_READ && file->read_only ? -EPERM
							   : block_run(file, op, offset, length, iov, iov_count, 0);
	if (op == BLOCK_READ && !range_inside(offset, length, file->length)) {
		const uint64_t there = offset < file->length ? file->length - offset : 0;

		iov_clear(iov, iov_count, there, length - there);
		return there ? image_file_iov(file, op, offset, iov, iov_count, 0, there) : 0;
	}
	return block_execute(file, op, offset, length, iov, iov_count, 0);
}

int image_file_iov(struct block *file, enum block_op op, uint64_t offset, const struct iovec *iov, int iov_count,
		   uint64_t skip, uint64_t length)
{
	struct iovec window[WINDOW];
	uint64_t covered;

	while (length) {
		int used = iov_window(window, WINDOW, iov, iov_count, skip, length, &covered);
		int result = covered ? run(file, op, offset, window, used, covered) : -EINVAL;

		if (result)
			return result;
		offset += covered;
		skip += covered;
		length -= covered;
	}
	return 0;
}

int image_file_read(struct block *file, uint64_t offset, void *to, uint64_t length)
{
	const struct iovec iov = {.iov_base = to, .iov_len = length};

	return run(file, BLOCK_READ, offset, &iov, 1, length);
}

int image_file_write(struct block *file, uint64_t offset, const void *from, uint64_t length)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)from, .iov_len = length};

	return run(file, BLOCK_WRITE, offset, &iov, 1, length);
}

int image_file_zero(struct block *file, uint64_t offset, uint64_t length)
{
	if (file->driver->is_protocol)
		return file->read_only ? -EPERM
				       : block_run(file, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, BLOCK_MAY_UNMAP);
	return block_execute(file, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, BLOCK_MAY_UNMAP);
}
