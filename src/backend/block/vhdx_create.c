/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New VHDX images: identifier, two headers, two region tables in the first MiB; then log, block allocation table,
 * metadata, and from a MiB border on the blocks, which a fixed disk all has from the start.
 */
#include "backend/block/vhdx_internal.h"

#include <stdlib.h>

const struct block_create_option vhdx_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size; max of 64TB.", NULL},
	{"log_size", BLOCK_OPTION_SIZE, "Log size; min 1MB.", "1048576"},
	{"block_size", BLOCK_OPTION_SIZE, "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.",
	 "0"},
	{"subformat", BLOCK_OPTION_STRING,
	 "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'.", NULL},
	{"block_state_zero", BLOCK_OPTION_BOOL,
	 "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using "
	 "'qemu-img convert' with subformat=dynamic.",
	 NULL},
	{NULL},
};

#define SECTOR_BYTES  512
#define DATA_GAP      (5 * MIB) /* behind the table, with the metadata in it: room for what may come */
#define METADATA_PART (64 * KIB)

struct wanted {
	const struct block_create *create;
	uint64_t disk_bytes, log_bytes, block_bytes;
	bool fixed, zero_state;
	/* layout */
	uint64_t blocks, chunk_ratio, bat_offset, bat_bytes, metadata_offset, data_offset, file_bytes;
};

static uint64_t automatic_block(uint64_t disk_bytes)
{
	return disk_bytes > 32 * TIB    ? 64 * MIB
	       : disk_bytes > 100 * GIB ? 32 * MIB
	       : disk_bytes > GIB       ? 16 * MIB
					: 8 * MIB;
}

static int decode(const struct block_create *create, struct wanted *w, struct error *err)
{
	static const char *const subformats[] = {"dynamic", "fixed", NULL};
	const uint64_t log = block_create_number(create, "log_size", 0);
	const uint64_t block = block_create_number(create, "block_size", 0);
	const bool zero_given = block_create_text(create, "block_state_zero");
	unsigned subformat = 0;
	int result = block_create_choice(create, "subformat", "subformat", subformats, &subformat, err);

	if (result)
		return result;
	*w = (struct wanted){.create = create, .disk_bytes = create->length, .fixed = subformat == 1};
	if (w->disk_bytes > VHDX_MAX_BYTES)
		return error_set(err, EINVAL, "Image size too large; max of 64TB");
	if (log > UINT32_MAX || align_up(log, MIB) > UINT32_MAX)
		return error_set(err, EINVAL, "Log size must be smaller than 4 GB");
	if (!log)
		return error_set(err, EINVAL, "Log size must be a multiple of 1 MB");
	w->log_bytes = align_up(log, MIB);
	w->block_bytes = block > VHDX_MAX_BLOCK_BYTES ? VHDX_MAX_BLOCK_BYTES : align_up(block, MIB);
	if (!block)
		w->block_bytes = automatic_block(w->disk_bytes);
	if (!is_power_of_two(w->block_bytes))
		return error_set(err, EINVAL, "Block size must be a power of two");
	/* A fixed disk has its blocks, unless they are asked to be zero without having a place. */
	w->zero_state = zero_given ? block_create_bool(create, "block_state_zero") : !w->fixed;
	return 0;
}

static void plan(struct wanted *w)
{
	uint64_t entries;

	w->blocks = (w->disk_bytes + w->block_bytes - 1) / w->block_bytes;
	w->chunk_ratio = (1ull << 23) * SECTOR_BYTES / w->block_bytes;
	entries = w->blocks + (w->blocks ? (w->blocks - 1) / w->chunk_ratio : 0);
	w->bat_offset = MIB + w->log_bytes;
	w->bat_bytes = max_u64(align_up(entries * 8, MIB), MIB);
	w->metadata_offset = w->bat_offset + w->bat_bytes;
	w->data_offset = w->metadata_offset + DATA_GAP;
	w->file_bytes = w->data_offset + (w->fixed && !w->zero_state ? w->blocks * w->block_bytes : 0);
}

/* --- the pieces --- */

static int write_identifier(struct block *file)
{
	static const char creator[] = "xuni";
	uint8_t identifier[8 + 2 * sizeof(creator)] = {0};

	memcpy(identifier, "vhdxfile", 8);
	for (size_t i = 0; i < sizeof(creator); i++)
		identifier[8 + 2 * i] = (uint8_t)creator[i];
	return image_file_write(file, 0, identifier, sizeof(identifier));
}

static int write_headers(struct block *file, const struct wanted *w)
{
	struct vhdx_header header = {.sequence = 1, .log_bytes = (uint32_t)w->log_bytes, .log_offset = MIB};
	uint8_t raw[VHDX_HEADER_BYTES];
	int result;

	if ((result = vhdx_guid_random(&header.file_write)) || (result = vhdx_guid_random(&header.data_write)))
		return result;
	for (unsigned i = 0; i < 2 && !result; i++, header.sequence++) {
		vhdx_header_encode(&header, raw);
		result = image_file_write(file, (i + 1) * 64 * KIB, raw, sizeof(raw));
	}
	return result;
}

static void put_region(uint8_t *row, const struct vhdx_guid *guid, uint64_t offset, uint64_t bytes)
{
	memcpy(row, guid->bytes, 16);
	store_le64(row + 16, offset);
	store_le32(row + 24, (uint32_t)bytes);
}

static int write_regions(struct block *file, const struct wanted *w, uint8_t *table)
{
	int result;

	memset(table, 0, VHDX_TABLE_BYTES);
	memcpy(table, "regi", 4);
	store_le32(table + 8, 2);
	put_region(table + 16, &vhdx_bat_guid, w->bat_offset, w->bat_bytes);
	put_region(table + 48, &vhdx_metadata_guid, w->metadata_offset, MIB);
	store_le32(table + 16 + 28, 1);
	store_le32(table + 48 + 28, 1);
	store_le32(table + 4, vhdx_checksum(table, VHDX_TABLE_BYTES, 4));
	result = image_file_write(file, 192 * KIB, table, VHDX_TABLE_BYTES);
	return result ? result : image_file_write(file, 256 * KIB, table, VHDX_TABLE_BYTES);
}

static int write_metadata(struct block *file, const struct wanted *w, uint8_t *table)
{
	enum { REQUIRED = 4, OF_DISK = 2 };
	static const struct {
		enum vhdx_item item;
		uint32_t offset, bytes, flags;
	} rows[] = {
		{VHDX_FILE_PARAMETERS, 0, 8, REQUIRED},
		{VHDX_DISK_SIZE, 8, 8, REQUIRED | OF_DISK},
		{VHDX_PAGE83, 16, 16, REQUIRED | OF_DISK},
		{VHDX_SECTOR_SIZE, 32, 4, REQUIRED | OF_DISK},
		{VHDX_PHYSICAL_SECTOR_SIZE, 36, 4, REQUIRED | OF_DISK},
	};
	uint8_t items[40] = {0};
	struct vhdx_guid page83;
	int result = vhdx_guid_random(&page83);

	if (result)
		return result;
	memset(table, 0, VHDX_TABLE_BYTES);
	memcpy(table, "metadata", 8);
	store_le16(table + 10, ARRAY_SIZE(rows));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t *row = table + 32 + i * 32;

		memcpy(row, vhdx_item_guids[rows[i].item].bytes, 16);
		store_le32(row + 16, (uint32_t)METADATA_PART + rows[i].offset);
		store_le32(row + 20, rows[i].bytes);
		store_le32(row + 24, rows[i].flags);
	}
	store_le32(items, (uint32_t)w->block_bytes);
	store_le32(items + 4, w->fixed); /* leave blocks allocated */
	store_le64(items + 8, w->disk_bytes);
	memcpy(items + 16, page83.bytes, 16);
	store_le32(items + 32, SECTOR_BYTES);
	store_le32(items + 36, SECTOR_BYTES);
	result = image_file_write(file, w->metadata_offset, table, VHDX_TABLE_BYTES);
	return result ? result : image_file_write(file, w->metadata_offset + METADATA_PART, items, sizeof(items));
}

static uint64_t entry_of(const struct wanted *w, uint64_t block)
{
	if (w->zero_state)
		return VHDX_ZERO;
	return w->fixed ? (w->data_offset + block * w->block_bytes) | VHDX_PRESENT : VHDX_NOT_PRESENT;
}

/* Piece by piece: the table of a large disk of small blocks has half a GiB. */
static int write_table(struct block *file, const struct wanted *w, uint8_t *piece)
{
	uint64_t at = 0, from = 0; /* entries; of the piece's first */
	int result = 0;

	if (!w->zero_state && !w->fixed)
		return 0; /* a hole */
	memset(piece, 0, VHDX_TABLE_BYTES);
	for (uint64_t block = 0; block < w->blocks && !result; block++, at++) {
		if (block && block % w->chunk_ratio == 0)
			at++; /* a bitmap's */
		if ((at - from) * 8 >= VHDX_TABLE_BYTES) {
			result = image_file_write(file, w->bat_offset + from * 8, piece, VHDX_TABLE_BYTES);
			memset(piece, 0, VHDX_TABLE_BYTES);
			from += VHDX_TABLE_BYTES / 8;
		}
		store_le64(piece + (at - from) * 8, entry_of(w, block));
	}
	return result ? result
		      : image_file_write(file, w->bat_offset + from * 8, piece, align_up((at - from) * 8, 512));
}

int vhdx_create_image(const struct block_create *create, struct error *err)
{
	uint8_t *buffer;
	struct block *file;
	struct wanted w;
	int result = decode(create, &w, err);

	if (result)
		return result;
	plan(&w);
	file = block_create_file(create, NULL, w.file_bytes, err);
	if (!file)
		return -EIO;
	buffer = xcalloc(1, VHDX_TABLE_BYTES);
	if ((result = write_identifier(file)) || (result = write_headers(file, &w)) ||
	    (result = write_regions(file, &w, buffer)) || (result = write_table(file, &w, buffer)) ||
	    (result = write_metadata(file, &w, buffer)))
		error_set_errno(err, -result, "Could not write '%s'", create->filename);
	free(buffer);
	block_unref(file);
	return result;
}
