/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transfers between a format and its file. The file grows by being written, so the length its node was opened with does
 * not bind; what lies behind its end reads as zeroes.
 */
#include "backend/block/internal.h"

#include <sys/random.h>

#define WINDOW 64

/* Past the end of a plain file, also below filters, is where new clusters go; other nodes have a length of their own to
 * keep to. */
static int run(struct block *file, enum block_op op, uint64_t offset, const struct iovec *iov, int iov_count,
	       uint64_t length)
{
	if (block_grows(file))
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

int image_file_allocate(struct block *file, uint64_t offset, uint64_t length, enum block_preallocation mode)
{
	static const uint8_t zeroes[65536];
	int result = -ENOTSUP;

	if (mode == BLOCK_PREALLOC_OFF || mode == BLOCK_PREALLOC_METADATA)
		return 0;
	if (mode == BLOCK_PREALLOC_FALLOC && file->driver->write_zeroes)
		result = file->driver->write_zeroes(file, offset, length, 0);
	if (result != -ENOTSUP)
		return result;
	result = 0;
	for (uint64_t at = 0; at < length && !result; at += sizeof(zeroes))
		result = image_file_write(file, offset + at, zeroes, min_u64(sizeof(zeroes), length - at));
	return result;
}

int image_file_clear(struct block *file, enum block_op op, uint64_t offset, uint64_t length, uint32_t flags)
{
	if (!block_grows(file))
		return block_execute(file, op, offset, length, NULL, 0, flags);
	return file->read_only ? -EPERM : block_run(file, op, offset, length, NULL, 0, flags);
}

int image_file_holes(struct block *file, uint64_t offset, uint64_t *length)
{
	uint64_t where;
	int bits;

	if (!file->driver->extent)
		return 0;
	bits = file->driver->extent(file, offset, length, &where);
	return bits > 0 ? bits & BLOCK_EXTENT_ZERO : 0;
}

void image_random_uuid(uint8_t uuid[16])
{
	if (getrandom(uuid, 16, 0) != 16)
		store_le64(uuid, (uint64_t)host_now_ns()); /* better than none: no early boot here */
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}
