/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the vhdx driver share. Format: [MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format". Two headers of
 * which the valid one with the higher sequence number counts, two copies of a region table that names the block
 * allocation table (BAT) and the metadata, and a log by which changes of these become atomic.
 */
#ifndef XUNI_BACKEND_BLOCK_VHDX_INTERNAL_H
#define XUNI_BACKEND_BLOCK_VHDX_INTERNAL_H

#include "backend/block/sparse.h"
#include "backend/block/vhdx.h"

#define VHDX_MAX_BYTES       (64 * TIB)
#define VHDX_MAX_BLOCK_BYTES (256 * MIB)
#define VHDX_HEADER_BYTES    4096u
#define VHDX_TABLE_BYTES     (64 * KIB) /* of regions, of metadata: with their entries */
#define VHDX_LOG_SECTOR      4096u
#define VHDX_MAX_REGIONS     2047u

struct vhdx_guid {
	uint8_t bytes[16]; /* as in the file */
};

enum vhdx_state {
	VHDX_NOT_PRESENT = 0,
	VHDX_UNDEFINED = 1,
	VHDX_ZERO = 2,
	VHDX_UNMAPPED = 3,
	VHDX_UNMAPPED_OLD = 5, /* of drafts of the format */
	VHDX_PRESENT = 6,
	VHDX_PARTIAL = 7 /* differencing disks only */
};
#define VHDX_STATE_MASK  7ull
#define VHDX_OFFSET_MASK 0xfffffffffff00000ull

struct vhdx_header {
	uint64_t sequence;
	struct vhdx_guid file_write, data_write, log;
	uint16_t log_version;
	uint32_t log_bytes;
	uint64_t log_offset;
};

struct vhdx_region {
	uint64_t offset, bytes;
};

struct vhdx_parameters {
	uint32_t block_bytes, sector_bytes;
	uint64_t disk_bytes;
	bool has_parent;
};

struct vhdx {
	struct block *block;
	struct vhdx_header header;
	unsigned current; /* which of the two headers that is */
	struct vhdx_parameters parameters;
	struct vhdx_region bat, metadata;
	struct vhdx_region *regions; /* all of the region table, the log, the headers' first MiB */
	size_t region_count;
	uint64_t regions_end; /* no region reaches behind it */
	uint64_t blocks, chunk_ratio;
	bool replayed; /* the log when the image was opened */
	struct sparse sparse;
	pthread_mutex_t lock; /* of header and current */
	_Atomic bool writing; /* the header tells that the content changes */
	uint64_t log_sequence;
	uint64_t log_budget; /* bytes of entries that a replay may still look at */
};

/* --- vhdx_header.c --- */
/* Identifier and headers; then regions and metadata, which the log must have brought up to date before. */
int vhdx_headers_read(struct vhdx *x, struct error *err);
int vhdx_regions_read(struct vhdx *x, struct error *err);
/* Writes x->header over the other one with the next sequence number, and makes it durable. Under x->lock, or alone. */
int vhdx_header_update(struct vhdx *x);
void vhdx_header_encode(const struct vhdx_header *header, uint8_t to[VHDX_HEADER_BYTES]);
int vhdx_guid_random(struct vhdx_guid *guid);
/* Whether [offset, offset + bytes) touches a region, the log or the headers. */
bool vhdx_is_region(const struct vhdx *x, uint64_t offset, uint64_t bytes);
/* CRC-32C of a structure whose checksum field, four bytes at `field`, counts as zero. */
uint32_t vhdx_checksum(const uint8_t *data, size_t length, size_t field);
uint32_t vhdx_crc32c(uint32_t crc, const uint8_t *data, size_t length);

/* --- vhdx_log.c --- */
/* Replays what the log holds. Read-only images with a log that is not empty are refused. */
int vhdx_log_replay(struct vhdx *x, struct error *err);
/* Pages of the BAT as one change, or as several when they are many: log, then place. */
int vhdx_log_write(struct vhdx *x, const struct sparse_piece *pieces, size_t count);

/* --- vhdx_create.c --- */
extern const struct block_create_option vhdx_create_options[];
extern const struct vhdx_guid vhdx_bat_guid, vhdx_metadata_guid;
enum vhdx_item {
	VHDX_FILE_PARAMETERS,
	VHDX_DISK_SIZE,
	VHDX_PAGE83,
	VHDX_SECTOR_SIZE,
	VHDX_PHYSICAL_SECTOR_SIZE,
	VHDX_PARENT_LOCATOR,
	VHDX_ITEMS
};
extern const struct vhdx_guid vhdx_item_guids[VHDX_ITEMS];
int vhdx_create_image(const struct block_create *create, struct error *err);

#endif
