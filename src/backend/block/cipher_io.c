/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transfers through a cipher, in pieces that pass through a buffer of ours. */
#include "backend/block/cipher_io.h"

#include <stdlib.h>

#define PIECE_BYTES (1 * MIB)

static uint8_t *new_buffer(uint64_t bytes)
{
	void *buffer;

	return posix_memalign(&buffer, 4096, bytes) ? NULL : buffer;
}

int cipher_file_read(struct cipher *cipher, struct block *file, uint64_t file_offset, uint64_t sector,
		     const struct iovec *iov, int iov_count, uint64_t skip, uint64_t length)
{
	uint64_t within = file_offset & (CIPHER_SECTOR - 1), at = file_offset - within;
	uint8_t *buffer = new_buffer(min_u64(align_up(within + length, CIPHER_SECTOR), PIECE_BYTES));
	int result = buffer ? 0 : -ENOMEM;

	while (length && !result) {
		const uint64_t bytes = min_u64(align_up(within + length, CIPHER_SECTOR), PIECE_BYTES);
		const uint64_t part = min_u64(length, bytes - within);

		result = image_file_read(file, at, buffer, bytes);
		if (!result)
			result = cipher_decrypt(cipher, sector, buffer, bytes);
		if (!result)
			iov_spread(iov, iov_count, skip, buffer + within, part);
		at += bytes;
		sector += bytes / CIPHER_SECTOR;
		skip += part;
		length -= part;
		within = 0;
	}
	free(buffer);
	return result;
}

int cipher_file_write(struct cipher *cipher, struct block *file, uint64_t file_offset, uint64_t sector,
		      const struct iovec *iov, int iov_count, uint64_t skip, uint64_t length)
{
	uint8_t *buffer = new_buffer(min_u64(length, PIECE_BYTES));
	int result = buffer ? 0 : -ENOMEM;

	while (length && !result) {
		const uint64_t part = min_u64(length, PIECE_BYTES);

		iov_gather(buffer, iov, iov_count, skip, part);
		result = cipher_encrypt(cipher, sector, buffer, part);
		if (!result)
			result = image_file_write(file, file_offset, buffer, part);
		file_offset += part;
		sector += part / CIPHER_SECTOR;
		skip += part;
		length -= part;
	}
	free(buffer);
	return result;
}

/* Under the gate, alone. */
static int complete_and_write(struct block *block, cipher_aligned_write *aligned, uint64_t offset,
			      const struct iovec *iov, int iov_count, uint64_t length, uint32_t flags)
{
	const uint64_t start = align_down(offset, CIPHER_SECTOR), end = align_up(offset + length, CIPHER_SECTOR);
	uint8_t *buffer = new_buffer(end - start);
	struct iovec first = {.iov_base = buffer, .iov_len = CIPHER_SECTOR}, last, whole;
	int result;

	if (!buffer)
		return -ENOMEM;
	last = (struct iovec){.iov_base = buffer + (end - start) - CIPHER_SECTOR, .iov_len = CIPHER_SECTOR};
	whole = (struct iovec){.iov_base = buffer, .iov_len = end - start};
	result = block->driver->pread(block, start, &first, 1, CIPHER_SECTOR);
	if (!result && end - start > CIPHER_SECTOR)
		result = block->driver->pread(block, end - CIPHER_SECTOR, &last, 1, CIPHER_SECTOR);
	if (!result) {
		iov_gather(buffer + (offset - start), iov, iov_count, 0, length);
		result = aligned(block, start, &whole, 1, end - start, flags);
	}
	free(buffer);
	return result;
}

int cipher_write_sectors(struct block *block, pthread_rwlock_t *gate, cipher_aligned_write *aligned, uint64_t offset,
			 const struct iovec *iov, int iov_count, uint64_t length, uint32_t flags)
{
	int result;

	if ((offset | length) & (CIPHER_SECTOR - 1)) {
		pthread_rwlock_wrlock(gate);
		result = complete_and_write(block, aligned, offset, iov, iov_count, length, flags);
	} else {
		pthread_rwlock_rdlock(gate);
		result = aligned(block, offset, iov, iov_count, length, flags);
	}
	pthread_rwlock_unlock(gate);
	return result;
}
