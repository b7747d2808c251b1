/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What qcow2 offers beyond a block driver: making images, looking into them, check and repair, internal snapshots,
 * backing file changes, compressed writes. Everything here blocks and needs exclusive use of the node unless it says
 * otherwise. `block` is a node with driver "qcow2".
 */
#ifndef XUNI_BACKEND_BLOCK_QCOW2_H
#define XUNI_BACKEND_BLOCK_QCOW2_H

#include "backend/block/image.h"

extern const struct block_driver block_qcow2_driver;

enum qcow2_compression { QCOW2_ZLIB = 0, QCOW2_ZSTD = 1 };

struct qcow2_create {
	uint64_t length;            /* bytes, a multiple of 512 */
	unsigned version;           /* 2 or 3 */
	uint32_t cluster_bytes;     /* 512..2 MiB, power of two */
	unsigned refcount_bits;     /* 1..64, power of two */
	bool lazy_refcounts;        /* sets the bit; refcounts are kept exact all the same */
	bool extended_l2;           /* subclusters: 32 to a cluster */
	const char *backing;        /* or NULL */
	const char *backing_format; /* or NULL */
	enum qcow2_compression compression;
	enum block_preallocation preallocation;
	const char *data_file; /* name of an external data file, which the caller makes; or NULL */
	bool data_file_raw;
	unsigned crypt_method; /* 0: none, 1: AES, 2: LUKS */
	uint64_t crypto_bytes; /* LUKS: of its header, which the caller makes */
};

/* length 0, version 3, 64 KiB, 16 bits, zlib. */
void qcow2_create_defaults(struct qcow2_create *create);
/* Writes an empty image into an empty file. The backing file is not looked at. */
int qcow2_format(struct block *file, const struct qcow2_create *create, struct error *err);
/* Where that leaves room for the encryption header. */
uint64_t qcow2_crypto_offset(const struct qcow2_create *create);
/* The same into a plain file, created or emptied. */
int qcow2_create_file(const char *filename, const struct qcow2_create *create, struct error *err);
/* Whether these parameters make an image. */
int qcow2_check_create(const struct qcow2_create *create, struct error *err);
/* Bytes of file that an image of these parameters with data_bytes of allocated guest clusters needs. */
uint64_t qcow2_measure(const struct qcow2_create *create, uint64_t data_bytes);

extern const struct block_create_option qcow2_amend_options[];
int qcow2_amend(struct block *block, struct options *options, bool force, struct error *err);

/* The -o options of new images, and the operations of the driver that read them. */
extern const struct block_create_option qcow2_create_options[];
int qcow2_create_image(const struct block_create *create, struct error *err);
int qcow2_measure_image(const struct block_create *create, struct block_measure *measure, struct error *err);

struct qcow2_snapshot {
	char *id, *name;
	uint32_t date_s, date_ns;
	uint64_t vm_clock_ns, vm_state_bytes, disk_bytes;
	uint64_t icount;    /* UINT64_MAX: none */
	uint64_t l1_offset; /* in the file */
	uint32_t l1_size;
	uint8_t *extra; /* as in the file, kept */
	uint32_t extra_size;
};
/* The node's own table. */
const struct qcow2_snapshot *qcow2_snapshots(const struct block *block, size_t *count);
int qcow2_snapshot_create(struct block *block, const char *name, struct error *err);
/* By id, else by name. */
int qcow2_snapshot_apply(struct block *block, const char *name, struct error *err);
/* By name alone, as in QEMU: a name of digits must never mean another snapshot's id. */
int qcow2_snapshot_delete(struct block *block, const char *name, struct error *err);
/* A node opened for reading shows the disk of a snapshot from now on. id or name may be NULL; the same text as both:
 * either of them. */
int qcow2_snapshot_show(struct block *block, const char *id, const char *name, struct error *err);

/* Changes the name in the header only; NULL: none. */
int qcow2_set_backing(struct block *block, const char *backing, const char *format, struct error *err);
/* One whole cluster (the last may be shorter) that is not allocated yet, compressed where that saves space. Any thread.
 */
int qcow2_write_compressed(struct block *block, uint64_t offset, const void *data, uint64_t length);
/* Gives every cluster from this offset on a place; nothing may be allocated there. */
int qcow2_preallocate(struct block *block, uint64_t from, enum block_preallocation mode, struct error *err);
/* Makes every cluster of the image unallocated again (commit). */
int qcow2_make_empty(struct block *block, struct error *err);

/* Counts references to every cluster and compares; repairs leaks and corruptions where asked. */
int qcow2_check(struct block *block, struct block_check *check, bool repair_leaks, bool repair_all, struct error *err);

/* Dirty bitmaps, by name. Changes are in memory until qcow2_bitmaps_store or the node's end. */
const char *qcow2_bitmap_name(const struct block *block, size_t index); /* NULL behind the last */
uint64_t qcow2_bitmap_granularity(const struct block *block, size_t index);
/* Follows writes; is of no use because it was not stored. */
bool qcow2_bitmap_is_enabled(const struct block *block, size_t index);
bool qcow2_bitmap_is_inconsistent(const struct block *block, size_t index);
/* granularity 0: by the cluster size. */
int qcow2_bitmap_add(struct block *block, const char *name, uint64_t granularity, bool enabled, struct error *err);
int qcow2_bitmap_remove(struct block *block, const char *name, struct error *err);
int qcow2_bitmap_clear(struct block *block, const char *name, struct error *err);
int qcow2_bitmap_enable(struct block *block, const char *name, bool enable, struct error *err);
/* Adds the bits of a bitmap of this or another image of the same length. */
int qcow2_bitmap_merge(struct block *block, const char *name, struct block *source, const char *source_name,
		       struct error *err);
int qcow2_bitmaps_store(struct block *block, struct error *err);
/* Bytes of file that the bitmaps of an image would take in one of this cluster size. */
uint64_t qcow2_bitmaps_measure(const struct block *block, uint64_t cluster_bytes);

/* A temporary overlay over a node opened for reading (snapshot=on), gone when it is closed. */
struct block *block_open_temporary(struct block *base, const struct block_open *how, struct error *err);

#endif
