/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Extents of type SESPARSE, ESXi's space-efficient sparse format of snapshots on large volumes, read only. VMware does
 * not publish it; what is known is what qemu reads (versions of 2019): a header that never changes, one that does, a
 * directory of 64-bit entries, tables of 4096 64-bit entries, grains of 4 KiB. Left out: the journal, of which images
 * that were not closed cleanly have something to replay; they are refused.
 */
#include "backend/block/vmdk_internal.h"

#include <stdlib.h>

enum { TABLE_ENTRIES = 4096, TABLE_BYTES = TABLE_ENTRIES * 8, GRAIN_BYTES = 4096 };

#define MAGIC          0x00000000cafebabeull
#define VERSION        0x0000000200000001ull
#define VOLATILE_MAGIC 0x00000000cafecafeull
#define BAD_TABLE      UINT32_MAX
#define MAX_DIRECTORY  (32u << 20) /* entries */

static uint64_t field(const uint8_t *header, unsigned index)
{
	return load_le64(header + index * 8ull);
}

/* Fields in order: magic, version, capacity, grain size, table size, flags, four reserved ones; volatile header,
 * journal header, journal, directory, tables, free bitmap, back map, grains: offset and size each, in sectors. */
enum {
	CAPACITY = 2,
	GRAIN_SIZE,
	TABLE_SIZE,
	FLAGS,
	RESERVED,
	VOLATILE = 10,
	DIRECTORY = 16,
	TABLES = 18,
	GRAINS = 24,
	PADDING = 26
};

static int check_header(const uint8_t *h, struct error *err)
{
	if (field(h, 0) != MAGIC)
		return error_set(err, EINVAL, "Bad const header magic: 0x%016llx", (unsigned long long)field(h, 0));
	if (field(h, 1) != VERSION)
		return error_set(err, ENOTSUP, "Unsupported version: 0x%016llx", (unsigned long long)field(h, 1));
	if (field(h, GRAIN_SIZE) != GRAIN_BYTES / BLOCK_SECTOR)
		return error_set(err, ENOTSUP, "Unsupported grain size: %llu",
				 (unsigned long long)field(h, GRAIN_SIZE));
	if (field(h, TABLE_SIZE) != TABLE_BYTES / BLOCK_SECTOR)
		return error_set(err, ENOTSUP, "Unsupported grain table size: %llu",
				 (unsigned long long)field(h, TABLE_SIZE));
	if (field(h, FLAGS))
		return error_set(err, ENOTSUP, "Unsupported flags: 0x%016llx", (unsigned long long)field(h, FLAGS));
	if (!buffer_is_zero(h + RESERVED * 8, 32))
		return error_set(err, ENOTSUP, "Unsupported reserved bits: 0x%016llx 0x%016llx 0x%016llx 0x%016llx",
				 (unsigned long long)field(h, RESERVED), (unsigned long long)field(h, RESERVED + 1),
				 (unsigned long long)field(h, RESERVED + 2),
				 (unsigned long long)field(h, RESERVED + 3));
	if (!buffer_is_zero(h + PADDING * 8, BLOCK_SECTOR - PADDING * 8))
		return error_set(err, ENOTSUP, "Unsupported non-zero const header padding");
	return 0;
}

static int check_volatile_header(const uint8_t *h, struct error *err)
{
	if (field(h, 0) != VOLATILE_MAGIC)
		return error_set(err, EINVAL, "Bad volatile header magic: 0x%016llx", (unsigned long long)field(h, 0));
	if (field(h, 3))
		return error_set(err, ENOTSUP, "Image is dirty, Replaying journal not supported");
	if (!buffer_is_zero(h + 32, BLOCK_SECTOR - 32))
		return error_set(err, ENOTSUP, "Unsupported non-zero volatile header padding");
	return 0;
}

static int read_file(struct vmdk_extent *e, uint64_t sector, void *to, uint64_t bytes, const char *what,
		     struct error *err)
{
	int result;

	if (sector > e->file->length / BLOCK_SECTOR || !range_inside(sector * BLOCK_SECTOR, bytes, e->file->length))
		return error_set(err, EINVAL, "the %s of '%s' lies beyond the end of the file", what,
				 e->file->filename);
	result = image_file_read(e->file, sector * BLOCK_SECTOR, to, bytes);
	return result ? error_set_errno(err, -result, "Could not read the %s of '%s'", what, e->file->filename) : 0;
}

/* --- the operations of struct sparse --- */

static int locate(const struct sparse *s, uint64_t index, uint64_t *table, uint32_t *slot)
{
	const struct vmdk_extent *e = s->owner;
	const uint64_t entry = index / TABLE_ENTRIES;

	*slot = (uint32_t)(index % TABLE_ENTRIES);
	if (entry >= e->directory_entries || e->directory[entry] == BAD_TABLE)
		return -EIO;
	if (!e->directory[entry])
		return -ENOENT;
	*table = e->tables_offset + (e->directory[entry] - 1) * (uint64_t)TABLE_BYTES;
	return 0;
}

static int decode(const struct sparse *s, const uint8_t *table, uint32_t slot, struct sparse_entry *entry)
{
	const struct vmdk_extent *e = s->owner;
	const uint64_t value = load_le64(table + slot * 8ull);
	uint64_t grain;

	*entry = (struct sparse_entry){.kind = SPARSE_ABSENT};
	switch (value >> 60) {
	case 0:
		return value ? -EIO : 0;
	case 1: /* unmapped */
	case 2:
		entry->kind = SPARSE_ZERO;
		return 0;
	case 3:
		/* The number's low twelve bits stand above the others. */
		grain = (value >> 48 & 0xfff) | (value & 0xffffffffffffull) << 12;
		if (grain > (INT64_MAX - e->grains_offset) / GRAIN_BYTES - 1)
			return -EIO;
		*entry = (struct sparse_entry){.kind = SPARSE_DATA, .host = e->grains_offset + grain * GRAIN_BYTES};
		return 0;
	default:
		return -EIO;
	}
}

/* Nothing is written, so the operations for that are never asked for. */
static bool is_metadata(const struct sparse *s, uint64_t host, uint64_t length)
{
	return true;
}

static const struct sparse_ops sesparse_ops = {.locate = locate, .decode = decode, .is_metadata = is_metadata};

/* --- opening --- */

/* Each entry names a table by number, with 0x1 as its highest digit; stored as number + 1. */
static int load_directory(struct vmdk_extent *e, uint64_t sector, struct error *err)
{
	uint64_t *raw = malloc(max_u64(e->directory_entries * 8ull, 1));
	int result = raw ? 0 : error_set(err, ENOMEM, "no memory for the grain directory of '%s'", e->file->filename);

	if (!result)
		result = read_file(e, sector, raw, e->directory_entries * 8ull, "grain directory", err);
	if (!result)
		e->directory = malloc(max_u64(e->directory_entries * 4ull, 1));
	if (!result && !e->directory)
		result = error_set(err, ENOMEM, "no memory for the grain directory of '%s'", e->file->filename);
	for (uint32_t i = 0; !result && i < e->directory_entries; i++) {
		const uint64_t entry = load_le64(&raw[i]);

		e->directory[i] = !entry                                                         ? 0
				  : entry >> 32 == 0x10000000 && (uint32_t)entry < BAD_TABLE - 1 ? (uint32_t)entry + 1
												 : BAD_TABLE;
	}
	free(raw);
	return result;
}

int vmdk_sesparse_open(struct vmdk *v, struct vmdk_extent *e, struct error *err)
{
	uint8_t header[BLOCK_SECTOR], changing[BLOCK_SECTOR];
	uint64_t entries;
	int result;

	if (!v->block->read_only)
		return error_set(err, EACCES, "No write support for seSparse images available");
	if ((result = read_file(e, 0, header, sizeof(header), "header", err)) || (result = check_header(header, err)) ||
	    (result = read_file(e, field(header, VOLATILE), changing, sizeof(changing), "volatile header", err)) ||
	    (result = check_volatile_header(changing, err)))
		return result;
	if (!field(header, CAPACITY) || field(header, CAPACITY) > INT64_MAX / BLOCK_SECTOR ||
	    field(header, TABLES) > INT64_MAX / 2 / BLOCK_SECTOR ||
	    field(header, GRAINS) > INT64_MAX / 2 / BLOCK_SECTOR)
		return error_set(err, EINVAL, "Invalid capacity or offset of extent '%s', image may be corrupt",
				 e->file->filename);
	entries = field(header, DIRECTORY + 1) > MAX_DIRECTORY ? UINT64_MAX
							       : field(header, DIRECTORY + 1) * BLOCK_SECTOR / 8;
	if (entries > MAX_DIRECTORY)
		return error_set(err, EFBIG, "L1 size too big");
	e->length = field(header, CAPACITY) * BLOCK_SECTOR;
	e->directory_entries = (uint32_t)entries;
	e->tables_offset = field(header, TABLES) * BLOCK_SECTOR;
	e->grains_offset = field(header, GRAINS) * BLOCK_SECTOR;
	result = load_directory(e, field(header, DIRECTORY), err);
	if (result)
		return result;
	e->sparse = (struct sparse){
		.ops = &sesparse_ops,
		.owner = e,
		.block = v->block,
		.file = e->file,
		.start = e->start,
		.length = e->length,
		.block_bytes = GRAIN_BYTES,
		.table_bytes = TABLE_BYTES,
		.entry_bytes = 8,
		.write_unit = BLOCK_SECTOR,
	};
	sparse_init(&e->sparse);
	return 0;
}
