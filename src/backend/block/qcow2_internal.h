/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the qcow2 driver share. Format: docs/interop/qcow2.txt of QEMU. docs/design/block.md tells the
 * order of writes that these functions keep.
 *
 * Locks: flush_lock before lock. `lock` guards everything that changes after open, but is not held over transfers of
 * guest data nor over loads of L2 tables.
 */
#ifndef XUNI_BACKEND_BLOCK_QCOW2_INTERNAL_H
#define XUNI_BACKEND_BLOCK_QCOW2_INTERNAL_H

#include "backend/block/internal.h"
#include "backend/block/qcow2.h"

#include <pthread.h>

#define QCOW2_MAGIC            0x514649fbu
#define QCOW2_MAX_L1_BYTES     (32 * MIB)
#define QCOW2_MAX_TABLE_BYTES  (8 * MIB) /* refcount table */
#define QCOW2_MAX_SNAPSHOTS    65536u
#define QCOW2_MAX_CRYPTO_BYTES (64 * MIB)

/* A subcluster is at least a sector. */
#define QCOW2_MIN_EXTENDED_BITS 14

#define QCOW2_COPIED      (1ull << 63)
#define QCOW2_COMPRESSED  (1ull << 62)
#define QCOW2_ZERO        1ull
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull
/* Reserved bits of a standard L2 entry that is not compressed (bit 0 is reserved in version 2). */
#define QCOW2_L2_RESERVED 0x3f000000000001feull
#define QCOW2_L1_RESERVED 0x7f000000000001ffull

enum qcow2_incompatible {
	QCOW2_DIRTY = 1,
	QCOW2_CORRUPT = 2,
	QCOW2_DATA_FILE = 4,
	QCOW2_COMPRESSION = 8,
	QCOW2_EXTENDED_L2 = 16
};
enum { QCOW2_LAZY_REFCOUNTS = 1 };              /* compatible */
enum { QCOW2_BITMAPS = 1, QCOW2_RAW_DATA = 2 }; /* autoclear */

enum qcow2_extension {
	QCOW2_EXT_END = 0,
	QCOW2_EXT_BACKING_FORMAT = 0xe2792aca,
	QCOW2_EXT_FEATURE_NAMES = 0x6803f857,
	QCOW2_EXT_BITMAPS = 0x23852875,
	QCOW2_EXT_CRYPTO = 0x0537be77,
	QCOW2_EXT_DATA_FILE = 0x44415441
};

/* The header in host order; lives in struct qcow2. */
struct qcow2_header {
	uint32_t version;
	uint64_t backing_offset;
	uint32_t backing_length;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_size;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t snapshot_count;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order;
	uint32_t header_length;
	uint8_t compression;
};

/* An L2 table or a refcount block in memory, in the byte order of the file. */
struct qcow2_table {
	uint64_t offset; /* in the file */
	uint8_t *data;   /* a cluster */
	uint32_t dirty_from, dirty_to;
	bool is_new;  /* L2: no L1 entry on disk points here yet: it is written whole before the first barrier */
	bool writing; /* a flush has a copy of it under way: not to be evicted */
	bool used;    /* since the clock's hand went by */
};

struct qcow2_cache {
	struct qcow2_table **tables;
	size_t count, capacity, hand;
	size_t dirty;
	uint64_t evictions;
	/* Open addressing: offset / cluster -> index + 1. */
	uint32_t *slots;
	size_t slot_count;
};

/* Clusters that a write is filling: [first, first + count) of the guest. */
struct qcow2_flight {
	struct qcow2_flight *next;
	uint64_t first, count;
};

/* Clusters that wait for a write, see qcow2_place.c. */
struct qcow2_place {
	struct qcow2_place *next;
	uint64_t first, count; /* of the guest */
	uint64_t host;
	bool fresh; /* reads as zeroes */
};

/* Why clusters are free: it decides whether the host gets their room back, see qcow2_runtime.c. */
enum qcow2_freed {
	QCOW2_FREED_OTHERWISE,
	QCOW2_FREED_BY_REQUEST,
	QCOW2_FREED_BY_SNAPSHOT,
	QCOW2_FREED_ALWAYS,
};

struct qcow2_free {
	uint64_t offset, bytes; /* whole clusters of the file */
	enum qcow2_freed why;
};

struct cipher;
struct luks;

struct qcow2 {
	struct block *block;
	struct qcow2_header header;
	char *backing_name, *backing_format;
	char *data_name;          /* of an external data file, as in the header, or NULL */
	struct block *data;       /* where guest data are: file or data_child; NULL: opened for a description only */
	struct block *data_child; /* an external data file, or NULL */
	struct cipher *cipher;    /* of encrypted guest data, or NULL */
	char *key_secret;         /* id of its secret, or NULL */
	struct luks *luks;        /* its header, or NULL */
	uint64_t crypto_offset, crypto_bytes; /* of that header in the file */
	bool guest_sectors;                   /* sectors are numbered as the guest does, not by their place */
	pthread_rwlock_t crypt_gate;          /* see cipher_write_sectors */
	bool raw_data;                        /* which reads as the disk does */
	uint8_t *extensions;                  /* all but backing format, as in the file, without end mark */
	uint32_t extensions_length;
	uint32_t cluster_bits, cluster_bytes, l2_bits, l2_entries, refcount_bits;
	uint32_t entry_bytes;                                    /* of an L2 entry: 8, extended 16 */
	uint32_t subclusters, subcluster_bits, subcluster_bytes; /* 1 and the cluster's, extended 32 */
	uint32_t block_bits;                                     /* log2 of refcounts per block */

	pthread_mutex_t lock, flush_lock;
	pthread_cond_t landed;
	struct qcow2_flight *flights;
	struct qcow2_place *places;
	uint64_t *l1; /* host order */
	uint32_t l1_dirty_from, l1_dirty_to;
	uint64_t *reftable; /* host order */
	uint32_t reftable_entries;
	struct qcow2_cache l2, refcounts;
	struct qcow2_snapshot *snapshots;

	struct qcow2_bitmap *bitmaps; /* see qcow2_bitmap.h */
	uint32_t bitmap_count;
	uint64_t bitmap_directory, bitmap_directory_bytes; /* in the file */
	uint64_t bitmap_image_bytes;                       /* the length that their bits are for */
	bool bitmaps_changed;                              /* something is not as in the file */
	bool bitmaps_in_use;                               /* the file says so of those that follow writes */
	struct qcow2_removed_bitmap {
		uint64_t offset;
		uint32_t entries;
	} * removed; /* tables to be freed when the directory is written */
	uint32_t removed_count;

	uint64_t cursor;     /* cluster of the file where the search for a free one starts */
	uint64_t freed_from; /* lowest cluster freed since the cursor went by, or UINT64_MAX */
	int64_t reuse_after_ns;
	uint64_t fresh_from;                /* clusters from here on were never written: they read as zeroes */
	uint64_t file_end;                  /* bytes */
	struct qcow2_workspace *workspaces; /* of compression, nobody's now */
	uint64_t compressed_at;             /* where the next compressed cluster may start, or 0 */
	struct qcow2_free *frees;           /* of the next flush */
	bool pass_discard[QCOW2_FREED_ALWAYS + 1];
	size_t free_count, free_room;
	bool flushing;
	bool metadata_written; /* since the last barrier, outside of a flush */
	bool corrupt;
	bool allow_corrupt; /* opened to be repaired */
	bool autoclear_done;
	bool holes_looked_for, has_holes; /* see qcow2_extent.c */
};

static inline bool qcow2_is_external(const struct qcow2 *q)
{
	return q->header.incompatible & QCOW2_DATA_FILE;
}

static inline bool qcow2_is_extended(const struct qcow2 *q)
{
	return q->subclusters > 1;
}

static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes >> q->cluster_bits) + !!(bytes & (q->cluster_bytes - 1));
}

/* --- qcow2_header.c --- */
/* Reads and checks header, extensions and backing names. */
int qcow2_header_read(struct qcow2 *q, struct error *err);
/* Puts the fixed fields back where they are. Not synchronised. */
int qcow2_header_write_fields(struct qcow2 *q);
/* Rewrites the header's first cluster: fields, extensions, backing name; durably. */
int qcow2_header_rewrite(struct qcow2 *q, struct error *err);
void qcow2_header_encode(const struct qcow2_header *header, uint8_t *to);

/* The data of a header extension of at least this length, or NULL. */
const uint8_t *qcow2_extension_find(const struct qcow2 *q, uint32_t type, uint32_t min_length);
/* Puts an extension in the place of the one of this type, in memory; data NULL: takes that away. */
void qcow2_extension_set(struct qcow2 *q, uint32_t type, const void *data, uint32_t length);

/* --- qcow2_check.c --- */
/* Counts anew, into counts of this width. Everything else must have been written. */
int qcow2_change_refcount_bits(struct block *block, unsigned bits, struct error *err);

/* --- qcow2_crypt.c --- */
int qcow2_crypt_open(struct qcow2 *q, struct options *options, const struct block_open *how, struct error *err);
void qcow2_crypt_close(struct qcow2 *q);
struct json_t *qcow2_crypt_describe(const struct qcow2 *q);

/* --- qcow2_io.c: transfers of the file --- */
int qcow2_file_read(struct qcow2 *q, uint64_t offset, void *to, uint64_t length);
int qcow2_file_write(struct qcow2 *q, uint64_t offset, const void *from, uint64_t length);
/* What was written there, and to an external data file, is durable. */
int qcow2_file_sync(struct qcow2 *q);
int qcow2_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length);

/* --- qcow2_data.c: transfers of guest data --- */
/* Opens an external data file where the image has one: by its name, or as the options say. */
int qcow2_data_open(struct qcow2 *q, struct options *options, const struct block_open *how, struct error *err);
void qcow2_data_close(struct qcow2 *q);
/* Between the vector behind skip and a place of the guest's offset `guest`. */
int qcow2_data_read(struct qcow2 *q, uint64_t host, uint64_t guest, const struct iovec *iov, int iov_count,
		    uint64_t skip, uint64_t length);
int qcow2_data_write(struct qcow2 *q, uint64_t host, uint64_t guest, const struct iovec *iov, int iov_count,
		     uint64_t skip, uint64_t length);
/* Guest data in an external file that are discarded, or become zero (`zero`: and keep their place). */
int qcow2_data_clear(struct qcow2 *q, uint64_t offset, uint64_t length, bool zero);

/* --- qcow2_extent.c --- */
int qcow2_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset);

/* --- qcow2_write.c --- */
int qcow2_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		 uint32_t flags);
/* Waits until no write but `mine` (or NULL) fills any of these clusters; true when it had to (look again). Locked. */
bool qcow2_wait_for_flights(struct qcow2 *q, uint64_t first, uint64_t count, const struct qcow2_flight *mine);
/* Begins and ends the time in which a write has these clusters for itself. The flight is the caller's. Locked. */
void qcow2_take_off(struct qcow2 *q, struct qcow2_flight *flight, uint64_t first, uint64_t count);
void qcow2_land(struct qcow2 *q, struct qcow2_flight *flight);

/* --- qcow2_place.c --- */
int qcow2_place(struct block *block, uint64_t offset, uint64_t length);
/* The place that waits for a write from this guest cluster on: cuts *count to it. False: there is none, and *count ends
 * before the next one. Locked. */
bool qcow2_place_take(struct qcow2 *q, uint64_t first, uint64_t *count, uint64_t *host, bool *fresh);
/* Those that are left. Locked. */
void qcow2_places_give_back(struct qcow2 *q);

/* --- qcow2_clear.c --- */
int qcow2_discard(struct block *block, uint64_t offset, uint64_t length);
int qcow2_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags);

/* --- qcow2_cache.c; all locked --- */
void qcow2_cache_init(struct qcow2_cache *cache, size_t capacity);
void qcow2_cache_free(struct qcow2_cache *cache);
struct qcow2_table *qcow2_cache_find(const struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset);
/* A table with this content (taken over; of one cluster), evicting a clean one when full. */
struct qcow2_table *qcow2_cache_insert(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset, uint8_t *data);
/* Found, or read from the file. drop_lock: the lock is let go of meanwhile. */
int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset, bool drop_lock,
		    struct qcow2_table **table);
void qcow2_cache_drop(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset);
/* Forgets everything; what was dirty is lost. */
void qcow2_cache_clear(struct qcow2_cache *cache);
void qcow2_table_dirty(struct qcow2_cache *cache, struct qcow2_table *table, uint32_t from, uint32_t to);
void qcow2_table_clean(struct qcow2_cache *cache, struct qcow2_table *table);

/* --- qcow2_refcount.c; all locked --- */
uint64_t qcow2_refcount_load(const struct qcow2 *q, const uint8_t *block, uint64_t index);
void qcow2_refcount_store(const struct qcow2 *q, uint8_t *block, uint64_t index, uint64_t value);
int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *value);
/* For repairs: the block must be there. */
int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t value);
/* Adds delta (+1 or -1) to each; makes refcount blocks as needed. */
int qcow2_refcount_change(struct qcow2 *q, uint64_t cluster, uint64_t count, int delta);
/* The block for this index of the table; NULL with 0: there is none, all its counts are 0. */
int qcow2_refcount_block(struct qcow2 *q, uint64_t table_index, struct qcow2_table **block);
/* A count in a block in memory, which becomes dirty. */
void qcow2_refcount_put(struct qcow2 *q, struct qcow2_table *block, uint64_t index, uint64_t value);
int qcow2_refcount_make_block(struct qcow2 *q, uint64_t table_index, uint64_t place);
int qcow2_refcount_grow(struct qcow2 *q, uint64_t index_needed);
/* Whether [offset, offset + bytes) touches header, tables or snapshots that never hold guest data. */
bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t bytes);

/* --- qcow2_allocate.c; all locked --- */
/* Up to *count clusters in one piece, with refcount 1; *count is how many. exact: all or nothing. */
int qcow2_allocate(struct qcow2 *q, uint64_t *count, bool exact, uint64_t *offset);
/* Whether these clusters, just allocated, read as zeroes because nothing was ever written there. */
bool qcow2_take_fresh(struct qcow2 *q, uint64_t offset, uint64_t count);
/* Gives back what no table on disk refers to. */
void qcow2_unallocate(struct qcow2 *q, uint64_t offset, uint64_t count);
/* Frees after the next flush has made durable that nothing refers to it. discard: the host may have the space back. */
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum qcow2_freed why);

/* --- qcow2_cluster.c --- */
/* What a subcluster is (without extended L2 entries: a cluster). PACKED: a part of a compressed cluster. UNFILLED: its
 * cluster has a place, but what is there does not count. */
enum qcow2_kind {
	QCOW2_UNALLOCATED,
	QCOW2_UNFILLED,
	QCOW2_ZERO_PLAIN,
	QCOW2_ZERO_ALLOCATED,
	QCOW2_NORMAL,
	QCOW2_PACKED
};

/* An L2 entry. bitmap is that of extended ones: low half "allocated", high half "reads as zeroes"; else 0. */
struct qcow2_entry {
	uint64_t word, bitmap;
};

struct qcow2_mapping {
	enum qcow2_kind kind;
	bool copied;
	struct qcow2_entry entry; /* of the first cluster */
	uint64_t host;            /* of the byte asked for; UNFILLED, ZERO_ALLOCATED and NORMAL */
	uint64_t bytes;           /* how far it holds */
};

struct qcow2_entry qcow2_entry_load(const struct qcow2 *q, const uint8_t *table, uint64_t index);
void qcow2_entry_store(const struct qcow2 *q, uint8_t *table, uint64_t index, struct qcow2_entry entry);
/* Entries [index, index + count) of a table in the cache were changed. */
void qcow2_entries_dirty(struct qcow2 *q, struct qcow2_table *table, uint64_t index, uint64_t count);
/* Bits of the bitmap's low half for the bytes [from, to) of a cluster, in whole subclusters. */
uint32_t qcow2_subcluster_mask(const struct qcow2 *q, uint64_t from, uint64_t to);
/* Whether the entry refers to a cluster that is not compressed. */
bool qcow2_has_place(const struct qcow2 *q, uint64_t word);
enum qcow2_kind qcow2_kind_of(const struct qcow2 *q, struct qcow2_entry entry, unsigned subcluster);
/* Where offset lies and how far that goes, at most length and within one L2 table. Locked; lets go of the lock when it
 * has to read a table, unless cached_only: -EAGAIN. */
int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t length, bool cached_only, struct qcow2_mapping *mapping);
/* The L2 table of a guest offset, ready to be changed: allocated or copied when it must be. Locked; may let go of it.
 */
int qcow2_l2_for_write(struct qcow2 *q, uint64_t offset, struct qcow2_table **table, uint32_t *index);
/* Where the compressed bytes lie. */
void qcow2_packed_place(const struct qcow2 *q, uint64_t word, uint64_t *offset, uint32_t *bytes);
/* Frees what an L2 entry refers to, later. */
void qcow2_free_entry(struct qcow2 *q, uint64_t word, enum qcow2_freed why);
/* The image contradicts itself: says so, marks it and refuses writes from now on. Returns -EIO. */
int qcow2_set_corrupt(struct qcow2 *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- qcow2_flush.c --- */
/* Everything that was done before becomes durable, in the order of docs/design/block.md. */
int qcow2_flush(struct block *block);
/* A flush when too much has gathered. */
int qcow2_relieve(struct qcow2 *q);
bool qcow2_is_dirty(const struct qcow2 *q);
/* Called before a change of an image that was opened for writing: clears autoclear bits, wakes bitmaps. */
int qcow2_begin_writing(struct qcow2 *q);
/* The same before guest data change, which bitmaps note. */
int qcow2_begin_change(struct qcow2 *q, uint64_t offset, uint64_t length);

/* --- qcow2_compress.c --- */
int qcow2_unpack(struct qcow2 *q, uint64_t word, void *to);
void qcow2_workspaces_free(struct qcow2 *q);

/* --- qcow2_runtime.c --- */

extern const char *const qcow2_runtime_options[];
/* Takes the options of an open: makes the caches. */
int qcow2_runtime_open(struct qcow2 *q, struct options *options, struct error *err);

/* --- qcow2_snapshot.c --- */

/* ORs QCOW2_COMPRESSED and QCOW2_ZERO into what the entries of the active tables, of the snapshots' are. */
int qcow2_kinds_seen(struct qcow2 *q, uint64_t *active, uint64_t *snapshots);
/* No snapshot has entries of zeroes any more. Not for encrypted images. What fails halfway leaves snapshots that show
 * what they did, and maybe clusters that nothing refers to. */
int qcow2_snapshots_expand_zeroes(struct qcow2 *q);

/* --- qcow2_snapshot_table.c --- */
int qcow2_snapshots_read(struct qcow2 *q, struct error *err);
void qcow2_snapshots_free(struct qcow2 *q);
void qcow2_snapshot_free(struct qcow2_snapshot *s);
/* The header comes to point to the new list, after everything that it refers to is durable. The old list's clusters are
 * freed with the next flush. The caller owns the arrays. */
int qcow2_snapshots_switch(struct qcow2 *q, struct qcow2_snapshot *list, uint32_t count);

/* --- qcow2_resize.c --- */
int qcow2_truncate(struct block *block, uint64_t length, struct error *err);

#endif
