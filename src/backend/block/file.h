/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The private structure of the "file" and "host_device" protocols: file.c opens, file_io.c transfers. */
#ifndef XUNI_BACKEND_BLOCK_FILE_H
#define XUNI_BACKEND_BLOCK_FILE_H

#include "backend/block/internal.h"

#include <pthread.h>

struct file_block {
	int fd;
	bool direct; /* O_DIRECT */
	bool is_device;
	uint32_t memory_alignment;
	_Atomic bool no_zero_range, no_punch_hole, no_discard; /* found out at run time: not offered by this host */
	/*
	 * errno of a flush through the page cache that failed, or 0. The host says so once and forgets what it could not
	 * write: a later flush that succeeded would be a lie, so there is none.
	 */
	_Atomic int lost;
	/*
	 * A write that is not aligned to what O_DIRECT asks for is a read-modify-write of whole units and must not
	 * overlap in time with other writes to the same unit: aligned writes share the gate, it takes it alone.
	 */
	pthread_mutex_t gate_lock;
	pthread_cond_t gate_free;
	unsigned gate_writers;
	bool gate_exclusive;
};

int file_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length);
int file_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		uint32_t flags);
int file_flush(struct block *block);
int file_discard(struct block *block, uint64_t offset, uint64_t length);
int file_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags);
int file_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset);
int file_submit(struct block *block, struct block_queue *queue, struct block_request *request, uint64_t offset);

#endif
