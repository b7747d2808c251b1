/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backend/block/modules/whole_blocks.h"

#include "backend/block/internal.h"

#include <stdlib.h>

bool whole_blocks_fit(const struct whole_blocks *b, uint64_t offset, uint64_t length)
{
	return ((offset | length) & (b->block_bytes - 1)) == 0;
}

void whole_blocks_widen(const struct whole_blocks *b, uint64_t offset, uint64_t length, uint64_t *start,
			uint64_t *bytes)
{
	*start = align_down(offset, b->block_bytes);
	*bytes = align_up(offset + length, b->block_bytes) - *start;
}

int whole_blocks_read(struct whole_blocks *b, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct iovec wide;
	uint64_t start, bytes;
	int result;

	if (whole_blocks_fit(b, offset, length))
		return b->read(b->opaque, offset, iov, iov_count, length);
	whole_blocks_widen(b, offset, length, &start, &bytes);
	wide = (struct iovec){malloc(bytes), bytes};
	if (!wide.iov_base)
		return -ENOMEM;
	result = b->read(b->opaque, start, &wide, 1, bytes);
	if (!result)
		iov_spread(iov, iov_count, 0, (uint8_t *)wide.iov_base + (offset - start), length);
	free(wide.iov_base);
	return result;
}

int whole_blocks_write(struct whole_blocks *b, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	struct iovec wide;
	uint64_t start, bytes;
	int result;

	if (whole_blocks_fit(b, offset, length))
		return b->write(b->opaque, offset, iov, iov_count, length, flags);
	whole_blocks_widen(b, offset, length, &start, &bytes);
	wide = (struct iovec){malloc(bytes), bytes};
	if (!wide.iov_base)
		return -ENOMEM;
	pthread_mutex_lock(&b->modifying);
	result = b->read(b->opaque, start, &wide, 1, bytes);
	if (!result) {
		iov_gather((uint8_t *)wide.iov_base + (offset - start), iov, iov_count, 0, length);
		result = b->write(b->opaque, start, &wide, 1, bytes, flags);
	}
	pthread_mutex_unlock(&b->modifying);
	free(wide.iov_base);
	return result;
}
