/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any range of bytes on a server that only takes whole blocks: a range that does not fit is carried out on the blocks
 * around it, a write by reading them first, one at a time.
 */
#ifndef XUNI_BACKEND_BLOCK_MODULES_WHOLE_BLOCKS_H
#define XUNI_BACKEND_BLOCK_MODULES_WHOLE_BLOCKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct whole_blocks {
	uint32_t block_bytes; /* a power of two */
	/* On whole blocks. 0 or a negative errno. */
	int (*read)(void *opaque, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length);
	int (*write)(void *opaque, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		     uint32_t flags);
	void *opaque;
	pthread_mutex_t modifying;
};

bool whole_blocks_fit(const struct whole_blocks *blocks, uint64_t offset, uint64_t length);
/* The blocks around a range. */
void whole_blocks_widen(const struct whole_blocks *blocks, uint64_t offset, uint64_t length, uint64_t *start,
			uint64_t *bytes);
/* Any thread, several at once. flags are write's. */
int whole_blocks_read(struct whole_blocks *blocks, uint64_t offset, const struct iovec *iov, int iov_count,
		      uint64_t length);
int whole_blocks_write(struct whole_blocks *blocks, uint64_t offset, const struct iovec *iov, int iov_count,
		       uint64_t length, uint32_t flags);

#endif
