/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operations of a filter that passes everything on to its child, block->file; each as in struct block_driver. */
#ifndef XUNI_BACKEND_BLOCK_FILTER_H
#define XUNI_BACKEND_BLOCK_FILTER_H

#include "backend/block/internal.h"

int filter_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length);
int filter_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		  uint32_t flags);
int filter_flush(struct block *block);
int filter_discard(struct block *block, uint64_t offset, uint64_t length);
int filter_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags);
int filter_truncate(struct block *block, uint64_t length, struct error *err);
int filter_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset);
int filter_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset);

#endif
