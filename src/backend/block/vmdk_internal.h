/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the vmdk driver share. Format: VMware "Virtual Disk Format 5.0". An image is a descriptor (text)
 * and extents one behind the other: flat ones are bytes of a file, sparse ones find their grains by a directory of
 * tables. Descriptor and one sparse extent may be one file.
 */
#ifndef XUNI_BACKEND_BLOCK_VMDK_INTERNAL_H
#define XUNI_BACKEND_BLOCK_VMDK_INTERNAL_H

#include "backend/block/sparse.h"
#include "backend/block/vmdk.h"

#define VMDK_MAGIC_COWD           "COWD"
#define VMDK_MAGIC_HOSTED         "KDMV"
#define VMDK_NO_PARENT            0xffffffffu
#define VMDK_MAX_DESCRIPTOR_BYTES ((1u << 20) - 1)
#define VMDK_DESCRIPTOR_SECTORS   20 /* of one inside an extent */
#define VMDK_MAX_EXTENTS          8192u
#define VMDK_GTE_ZERO             1u

enum vmdk_flags {
	VMDK_REDUNDANT = 1 << 1,
	VMDK_ZERO_GRAIN = 1 << 2,
	VMDK_COMPRESSED = 1 << 16,
	VMDK_MARKERS = 1 << 17
};

/* One extent line of a descriptor. */
struct vmdk_line {
	uint64_t sectors;
	char type[11];
	char *name;
	uint64_t offset; /* sectors, of a flat extent in its file */
};

struct vmdk_descriptor {
	char *text; /* as in the file */
	uint32_t length;
	uint32_t cid, parent_cid;
	uint32_t cid_at, cid_digits; /* of the CID in the text */
	char *create_type;           /* or NULL */
	char *parent;                /* parentFileNameHint, or NULL */
	struct vmdk_line *lines;
	size_t line_count;
};

struct vmdk_extent {
	struct block *file;
	bool own_file;        /* not the image's own: closed with it */
	bool claimed;         /* own_file: this extent was the first to open it */
	_Atomic bool touched; /* written since the last flush; only kept when there are many extents */
	char type[11];        /* as in the descriptor; empty when the extent holds the descriptor */
	bool flat;
	uint64_t start; /* of the disk, bytes */
	uint64_t length;
	uint64_t flat_offset; /* in the file, bytes */

	/* Sparse ones. */
	struct sparse sparse;
	bool compressed, markers;
	uint32_t table_entries; /* per grain table */
	uint32_t directory_entries;
	uint64_t directory_offset, redundant_offset; /* in the file, bytes; redundant 0: none */
	uint32_t *directory, *redundant;             /* sectors, host order */
	uint64_t descriptor_offset, descriptor_bytes;
	uint64_t tables_offset, grains_offset; /* seSparse, in the file */
	uint64_t metadata_end;                 /* no structure of the image lies behind */
};

struct vmdk {
	struct block *block;
	struct vmdk_extent **extents;
	size_t extent_count;
	struct vmdk_descriptor descriptor; /* without text */
	uint64_t descriptor_offset;        /* in the image's own file */
	bool parent_matches;
	pthread_mutex_t lock; /* of changing the CID; of flushing many extents */
	_Atomic bool cid_written, told_once;
};

/* --- vmdk_descriptor.c --- */
/* Reads what a descriptor says. Takes text over (malloc'ed, need not end with a zero); frees it when it fails.
 * with_extents: else it lies in the only extent, and its lines about extents say nothing. */
int vmdk_descriptor_parse(struct vmdk_descriptor *d, char *text, uint32_t length, bool with_extents, struct error *err);
void vmdk_descriptor_free(struct vmdk_descriptor *d);
/* Whether these first bytes of a file are a descriptor. */
bool vmdk_descriptor_probe(const uint8_t *head, size_t length);

/* --- vmdk_extent.c --- */
/* Header and directory of a sparse extent in e->file. embedded: it lies in the image's own file. */
int vmdk_extent_open(struct vmdk *v, struct vmdk_extent *e, bool embedded, struct error *err);
/* written: whether the image was open for writing. */
void vmdk_extent_close(struct vmdk_extent *e, bool written);
/* The header of a file that holds nothing but a descriptor (capacity 0): where that lies; else 0. */
uint64_t vmdk_extent_descriptor_only(const uint8_t *header);

/* --- vmdk_packed.c: unpack and pack of struct sparse_ops --- */
int vmdk_grain_unpack(struct sparse *s, uint64_t host, uint8_t *block);
int vmdk_grain_pack(struct sparse *s, uint64_t index, const uint8_t *block, uint8_t **packed, uint32_t *length);

/* --- vmdk_sesparse.c --- */
/* As vmdk_extent_open, for an extent of type SESPARSE. */
int vmdk_sesparse_open(struct vmdk *v, struct vmdk_extent *e, struct error *err);

/* --- vmdk_io.c --- */
/* With more extents than this, a flush leaves out the files that were not written, and writes all go through here. */
#define VMDK_FEW_EXTENTS 4
struct vmdk_extent *vmdk_extent_at(const struct vmdk *v, uint64_t offset);
int vmdk_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length);
int vmdk_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		uint32_t flags);
int vmdk_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags);
int vmdk_discard(struct block *block, uint64_t offset, uint64_t length);
int vmdk_flush(struct block *block);
int vmdk_write_compressed(struct block *block, uint64_t offset, const void *data, uint64_t length);
struct block *vmdk_data_node(struct block *block, uint64_t offset);
int vmdk_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset);
int vmdk_extent_status(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset);

/* --- vmdk_create.c --- */
extern const struct block_create_option vmdk_create_options[];
int vmdk_create_image(const struct block_create *create, struct error *err);

/* --- vmdk_info.c --- */
/* The grain of all extents; 0 when they have none or not the same. */
uint32_t vmdk_grain_bytes(const struct vmdk *v);
void vmdk_info(const struct block *block, struct block_info *info);
struct json_t *vmdk_specific_info(const struct block *block);
int vmdk_check(struct block *block, struct block_check *check, bool repair_leaks, bool repair_all, struct error *err);

#endif
