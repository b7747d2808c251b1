/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks as blocks of one size, each with a 4-byte entry in one flat table of the file: vdi and dynamic vhd. A block is
 * at a place in the file or nowhere, which reads as zeroes; there is no backing file. A new block reads as zeroes in
 * the file too, so its entry may become known at any time after its room is: data need not be written before links.
 *
 * Entries are read a page at a time when first looked at, and written by a flush: (1) what the format wants in the file
 * before its entries (counts, footers), barrier; (2) entries and what belongs to new blocks, barrier.
 *
 * Invariants: `lock` guards pages and what a format's `allocate` changes; it is held across reads of pages, never
 * across data. `flush_lock` is taken before it.
 */
#ifndef XUNI_BACKEND_BLOCK_BLOCK_TABLE_H
#define XUNI_BACKEND_BLOCK_BLOCK_TABLE_H

#include "backend/block/internal.h"

#include <pthread.h>

#define BLOCK_TABLE_NOWHERE UINT64_MAX
#define BLOCK_TABLE_BAD     (UINT64_MAX - 1) /* the entry contradicts the image: requests fail */
#define BLOCK_TABLE_PAGE    1024u            /* entries */

struct block_table;
struct block_table_page;

struct block_table_format {
	/* Where the block of this entry begins in the file, or NOWHERE or BAD. Locked. */
	uint64_t (*place)(const struct block_table *table, const uint8_t *entry);
	/* Makes room for a block that reads as zeroes, sets its entry. Locked. */
	int (*allocate)(struct block_table *table, uint64_t index, uint8_t *entry);
	/* Before a write to an existing block of this session; NULL: nothing. Locked. */
	int (*before_write)(struct block_table *table, uint64_t index, const uint8_t *entry);
	/* Step 1 of a flush. */
	int (*before_entries)(struct block_table *table);
	/* Of each new block in step 2; NULL: nothing. */
	int (*with_entry)(struct block_table *table, const uint8_t *entry);
};

struct block_table {
	const struct block_table_format *format;
	struct block *block;
	uint64_t offset; /* of the table in the file */
	uint64_t count;  /* entries */
	unsigned block_bits;
	pthread_mutex_t lock, flush_lock;
	struct block_table_page **pages;
	uint64_t page_count;
	uint64_t resident, hand;        /* pages in memory; where the next to be dropped is looked for */
	struct block_table_page *dirty; /* pages with entries to be written */
	_Atomic uint64_t new_blocks;    /* allocated since the last flush began */
	_Atomic bool flushing;
};

/* The members up to block_bits are set. The table must lie in the file. */
int block_table_init(struct block_table *table, struct error *err);
void block_table_free(struct block_table *table);
/* Calls fn for the entries in order, without keeping pages; for what must be known before the first write, and checks.
 */
int block_table_scan(struct block_table *table, void (*fn)(void *opaque, uint64_t index, const uint8_t *entry),
		     void *opaque);

/* The driver's operations; block->private_data begins with a struct block_table. */
int block_table_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length);
int block_table_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags);
int block_table_flush(struct block *block);
int block_table_discard(struct block *block, uint64_t offset, uint64_t length);
int block_table_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags);
int block_table_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset);
int block_table_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset);

#endif
