/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transfers of disk data through a cipher, for formats that encrypt. Plain text never lies in the file, nor cipher text
 * in the caller's memory. */
#ifndef XUNI_BACKEND_BLOCK_CIPHER_IO_H
#define XUNI_BACKEND_BLOCK_CIPHER_IO_H

#include "backend/block/cipher.h"
#include "backend/block/internal.h"

#include <pthread.h>

/* Bytes of the file at file_offset into or from the vector behind skip. sector: the number of the sector that holds
 * file_offset. Reads may begin and end inside of sectors (file_offset and sector then agree on where), writes may not.
 */
int cipher_file_read(struct cipher *cipher, struct block *file, uint64_t file_offset, uint64_t sector,
		     const struct iovec *iov, int iov_count, uint64_t skip, uint64_t length);
int cipher_file_write(struct cipher *cipher, struct block *file, uint64_t file_offset, uint64_t sector,
		      const struct iovec *iov, int iov_count, uint64_t skip, uint64_t length);

/* A write of a node by `aligned`, which takes whole sectors: what begins or ends inside of one is completed with what
 * the node reads there. gate keeps other writes out meanwhile. */
typedef int cipher_aligned_write(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count,
				 uint64_t length, uint32_t flags);
int cipher_write_sectors(struct block *block, pthread_rwlock_t *gate, cipher_aligned_write *aligned, uint64_t offset,
			 const struct iovec *iov, int iov_count, uint64_t length, uint32_t flags);

#endif
