/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk of equal blocks, each of them absent, zero, or at a place of a file that grows at its end: what sparse VMDK
 * extents and VHDX have in common. The format says where the entry of a block lies and what it means; this keeps the
 * tables in memory and the order of writes (docs/design/block.md):
 *
 *  - the file is made longer, then data and what surrounds them are written, then the entry is changed in memory;
 *  - a flush makes the data durable before it writes the changed tables, and then the tables.
 *
 * Places are never given back, so nothing that is referred to is ever written over.
 *
 * Locks: flush_lock before lock. `lock` guards tables and places; it is not held over transfers of guest data nor over
 * loads of tables.
 */
#ifndef XUNI_BACKEND_BLOCK_SPARSE_H
#define XUNI_BACKEND_BLOCK_SPARSE_H

#include "backend/block/internal.h"

#include <pthread.h>

enum sparse_kind {
	SPARSE_ABSENT, /* reads from the backing image, or as zeroes */
	SPARSE_ZERO,
	SPARSE_DATA,
	SPARSE_PACKED, /* compressed: read and written whole */
};

struct sparse_entry {
	enum sparse_kind kind;
	uint64_t host; /* DATA, PACKED: place of the block in the file */
};

struct sparse;

/* A part of a table that a flush writes. */
struct sparse_piece {
	struct sparse_table *table;
	uint64_t offset; /* in the file */
	uint32_t length;
	uint8_t *data; /* a copy, in the byte order of the file */
};

struct sparse_ops {
	/* The table in the file and the entry in it for a block. -ENOENT: there is none; the block is absent for ever.
	 */
	int (*locate)(const struct sparse *s, uint64_t index, uint64_t *table, uint32_t *slot);
	/* -EIO for an entry that cannot be. */
	int (*decode)(const struct sparse *s, const uint8_t *table, uint32_t slot, struct sparse_entry *entry);
	void (*encode)(const struct sparse *s, uint8_t *table, uint32_t slot, const struct sparse_entry *entry);
	/* Whether a write of guest data there would hit the image's own structures. */
	bool (*is_metadata)(const struct sparse *s, uint64_t host, uint64_t length);
	/* Pieces of one flush, the data they refer to being durable; they must be when this returns. No lock is held.
	 */
	int (*write_tables)(struct sparse *s, const struct sparse_piece *pieces, size_t count);
	/* PACKED: reads a block; makes one (malloc'ed, padded to whole sectors) of a block's bytes. NULL: no such
	 * blocks. */
	int (*unpack)(struct sparse *s, uint64_t host, uint8_t *block);
	int (*pack)(struct sparse *s, uint64_t index, const uint8_t *block, uint8_t **packed, uint32_t *length);
};

/* A table in memory, in the byte order of the file. */
struct sparse_table {
	struct sparse_table *next; /* of the bucket */
	uint64_t offset;           /* in the file */
	uint8_t *data;
	uint32_t dirty_from, dirty_to; /* bytes */
	bool writing;                  /* a flush has a copy of it under way: not to be evicted */
	bool used;                     /* since the clock's hand went by */
};

/* Blocks that a write is filling. */
struct sparse_flight {
	struct sparse_flight *next;
	uint64_t first, count;
};

struct sparse {
	/* Set by the format before sparse_init. */
	const struct sparse_ops *ops;
	void *owner;
	struct block *block; /* the node of the format, whose backing file this reads */
	struct block *file;
	int backing_error; /* of all that the backing image would be read for, or 0 */
	uint64_t start;    /* of this disk in the node's */
	uint64_t length;   /* bytes */
	uint64_t block_bytes;
	uint32_t table_bytes;
	uint32_t entry_bytes;
	uint32_t write_unit; /* tables are written in pieces of this many bytes */
	uint32_t alignment;  /* of places; divides block_bytes unless the blocks are packed */
	uint64_t max_file;   /* places end here at the latest */
	bool packed;         /* new blocks are compressed */
	bool has_zero;       /* there is an entry that means zeroes */

	pthread_mutex_t lock, flush_lock;
	pthread_cond_t landed;
	struct sparse_flight *flights;
	uint64_t next; /* place of the next new block */
	bool flushing;
	uint64_t flush_end; /* length of the file that the running flush makes durable */
	struct sparse_table *buckets[512];
	size_t hand, tables, dirty; /* hand: the bucket that eviction looks at next */
	uint64_t evictions;
};

struct sparse_run {
	struct sparse_entry entry; /* of the first byte: host includes the offset in the block, but for PACKED */
	uint64_t bytes;            /* how far it holds */
};

void sparse_init(struct sparse *s);
void sparse_free(struct sparse *s);

/* Offsets count from the start of this disk; iov is used from byte skip on. 0 or a negative errno. Any thread. */
int sparse_pread(struct sparse *s, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		 uint64_t length);
int sparse_pwrite(struct sparse *s, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		  uint64_t length);
/* -ENOTSUP: write them as data. */
int sparse_write_zeroes(struct sparse *s, uint64_t offset, uint64_t length, uint32_t flags);
int sparse_discard(struct sparse *s, uint64_t offset, uint64_t length);
/* Everything that was done before becomes durable. */
int sparse_flush(struct sparse *s);
bool sparse_is_dirty(struct sparse *s);
/* For `map`, with the place in the file: 0 or -EAGAIN, without blocking. */
int sparse_map(struct sparse *s, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *host);
/* What lies at offset and how far, at most length. */
int sparse_look_up(struct sparse *s, uint64_t offset, uint64_t length, struct sparse_run *run);

/* --- sparse.c, for sparse_write.c --- */
/* As sparse_look_up, locked. May let go of the lock, unless cached_only: -EAGAIN. */
int sparse_look_up_locked(struct sparse *s, uint64_t offset, uint64_t length, bool cached_only, struct sparse_run *run);
/* What absent blocks hold: the backing image's bytes, or zeroes. */
int sparse_read_absent(struct sparse *s, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t skip,
		       uint64_t length);

/* --- sparse_table.c; locked --- */
/* The table at this offset: found or read. The lock is let go of meanwhile, unless cached_only: -EAGAIN. */
int sparse_table_get(struct sparse *s, uint64_t offset, bool cached_only, struct sparse_table **table);
void sparse_table_dirty(struct sparse *s, struct sparse_table *table, uint32_t slot);

#endif
