/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VirtualBox disk images (VDI), version 1.1, dynamic and static: a header, a block map of 4-byte indices, and blocks of
 * 1 MiB in the order in which they were first written. Described at the head of VirtualBox's VDICore.h.
 *
 * The header says how many blocks the file has; programs put the next block there. So the count goes into the file
 * before the entries, and never falls below the highest index in use. Blocks that an interruption has left without an
 * entry are used before the file grows.
 *
 * Left out: differencing and undo images, block sizes other than 1 MiB, "extra" data before blocks: refused.
 */
#include "backend/block/block_table.h"

#include <stdio.h>
#include <stdlib.h>

#define SIGNATURE      0xbeda107fu
#define VERSION        0x00010001u
#define HEADER_BYTES   512u
#define BLOCK_BITS     20u
#define BLOCK_BYTES    (1u << BLOCK_BITS)
#define MAX_BLOCKS     ((uint32_t)((INT32_MAX + 1u - BLOCK_SECTOR) / 4))
#define MAX_DISK_BYTES ((uint64_t)MAX_BLOCKS << BLOCK_BITS)
#define NO_BLOCK       0xfffffffeu /* from here on: 0xffffffff never written, 0xfffffffe discarded */

/* Offsets into the header; all numbers are little-endian. */
enum {
	AT_TEXT = 0,
	AT_SIGNATURE = 0x40,
	AT_VERSION = 0x44,
	AT_HEADER_BYTES = 0x48, /* of what follows the signature and version */
	AT_TYPE = 0x4c,
	AT_MAP_OFFSET = 0x154,
	AT_DATA_OFFSET = 0x158,
	AT_SECTOR_BYTES = 0x168,
	AT_DISK_BYTES = 0x170,
	AT_BLOCK_BYTES = 0x178,
	AT_BLOCK_EXTRA = 0x17c,
	AT_BLOCKS = 0x180,
	AT_BLOCKS_ALLOCATED = 0x184,
	AT_UUID_IMAGE = 0x188,
	AT_UUID_SNAPSHOT = 0x198,
	AT_UUID_LINK = 0x1a8,
	AT_UUID_PARENT = 0x1b8,
};

enum { TYPE_DYNAMIC = 1, TYPE_STATIC = 2 };

struct vdi {
	struct block_table table; /* first: block_table.h */
	uint8_t header[HEADER_BYTES];
	uint64_t data_offset;
	uint64_t file_end, fresh_from; /* bytes; behind fresh_from the file reads as zeroes */
	/* Under the table's lock, known once the first block is to be allocated: */
	bool surveyed;
	uint32_t used_to; /* the highest index in use, plus one */
	uint8_t *used;    /* a bit an index below used_to, when some are not in use; else NULL */
	uint32_t unused_from;
};

static int vdi_probe(const uint8_t *head, size_t length, const char *filename)
{
	return length >= AT_SIGNATURE + 4 && load_le32(head + AT_SIGNATURE) == SIGNATURE ? 100 : 0;
}

/* --- opening --- */

static bool uuid_is_zero(const uint8_t *uuid)
{
	static const uint8_t zero[16];

	return !memcmp(uuid, zero, 16);
}

static int check_layout(const uint8_t *h, uint64_t disk, struct error *err)
{
	const uint32_t version = load_le32(h + AT_VERSION), map = load_le32(h + AT_MAP_OFFSET);
	const uint32_t data = load_le32(h + AT_DATA_OFFSET), sector = load_le32(h + AT_SECTOR_BYTES);
	const uint32_t block = load_le32(h + AT_BLOCK_BYTES);

	if (disk > MAX_DISK_BYTES)
		return error_set(err, ENOTSUP, "Unsupported VDI image size (size is 0x%llx, max supported is 0x%llx)",
				 (unsigned long long)disk, (unsigned long long)MAX_DISK_BYTES);
	if (load_le32(h + AT_SIGNATURE) != SIGNATURE)
		return error_set(err, EINVAL, "Image not in VDI format (bad signature %08x)",
				 load_le32(h + AT_SIGNATURE));
	if (version != VERSION)
		return error_set(err, ENOTSUP, "unsupported VDI image (version %u.%u)", version >> 16,
				 version & 0xffff);
	if (map % BLOCK_SECTOR)
		return error_set(err, ENOTSUP, "unsupported VDI image (unaligned block map offset 0x%x)", map);
	if (data % BLOCK_SECTOR)
		return error_set(err, ENOTSUP, "unsupported VDI image (unaligned data offset 0x%x)", data);
	if (sector != BLOCK_SECTOR)
		return error_set(err, ENOTSUP, "unsupported VDI image (sector size %u is not 512)", sector);
	if (block != BLOCK_BYTES)
		return error_set(err, ENOTSUP, "unsupported VDI image (block size %u is not %u)", block, BLOCK_BYTES);
	return 0;
}

static int check_size(const uint8_t *h, uint64_t disk, struct error *err)
{
	const uint32_t blocks = load_le32(h + AT_BLOCKS);

	if (disk > (uint64_t)blocks << BLOCK_BITS)
		return error_set(err, ENOTSUP, "unsupported VDI image (disk size %llu, image bitmap has room for %llu)",
				 (unsigned long long)disk, (unsigned long long)blocks << BLOCK_BITS);
	if (!uuid_is_zero(h + AT_UUID_LINK))
		return error_set(err, ENOTSUP, "unsupported VDI image (non-NULL link UUID)");
	if (!uuid_is_zero(h + AT_UUID_PARENT))
		return error_set(err, ENOTSUP, "unsupported VDI image (non-NULL parent UUID)");
	if (blocks > MAX_BLOCKS)
		return error_set(err, ENOTSUP, "unsupported VDI image (too many blocks %u, max is %u)", blocks,
				 MAX_BLOCKS);
	return 0;
}

/* What qemu does not look at: the map lies in the file, and no data over it. */
static int check_places(const struct vdi *vdi, uint64_t file_bytes, struct error *err)
{
	const uint64_t map = load_le32(vdi->header + AT_MAP_OFFSET);
	const uint64_t map_bytes = (uint64_t)load_le32(vdi->header + AT_BLOCKS) * 4;

	if (load_le32(vdi->header + AT_BLOCK_EXTRA))
		return error_set(err, ENOTSUP, "unsupported VDI image (%u bytes before each block)",
				 load_le32(vdi->header + AT_BLOCK_EXTRA));
	if (map < HEADER_BYTES || !range_inside(map, map_bytes, file_bytes))
		return error_set(
			err, EINVAL, "the block map (%llu bytes at %llu) does not lie inside the file (%llu bytes)",
			(unsigned long long)map_bytes, (unsigned long long)map, (unsigned long long)file_bytes);
	if (vdi->data_offset < HEADER_BYTES || (vdi->data_offset < map + map_bytes && map_bytes))
		return error_set(err, EINVAL, "the blocks (from %llu on) lie over the block map (up to %llu)",
				 (unsigned long long)vdi->data_offset, (unsigned long long)(map + map_bytes));
	return 0;
}

static const struct block_table_format vdi_table;

static int vdi_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct vdi *vdi = block->private_data;
	uint64_t disk;
	int result = image_file_read(block->file, 0, vdi->header, HEADER_BYTES);

	if (result)
		return error_set_errno(err, -result, "Could not read the header of '%s'", block->filename);
	disk = load_le64(vdi->header + AT_DISK_BYTES);
	vdi->data_offset = load_le32(vdi->header + AT_DATA_OFFSET);
	if ((result = check_layout(vdi->header, disk, err)) ||
	    (result = check_size(vdi->header, align_up(disk, BLOCK_SECTOR), err)) ||
	    (result = check_places(vdi, block->file->length, err)))
		return result;
	vdi->file_end = block->file->length;
	vdi->fresh_from = block->file->driver->zero_behind_end ? vdi->file_end : UINT64_MAX;
	vdi->table.format = &vdi_table;
	vdi->table.block = block;
	vdi->table.offset = load_le32(vdi->header + AT_MAP_OFFSET);
	vdi->table.count = load_le32(vdi->header + AT_BLOCKS);
	vdi->table.block_bits = BLOCK_BITS;
	block->length = align_up(disk, BLOCK_SECTOR);
	block->optimal_bytes = BLOCK_BYTES;
	return block_table_init(&vdi->table, err);
}

static void vdi_close(struct block *block)
{
	struct vdi *vdi = block->private_data;

	block_table_free(&vdi->table);
	free(vdi->used);
}

/* --- the block map --- */

static uint64_t place(const struct block_table *table, const uint8_t *entry)
{
	const struct vdi *vdi = table->block->private_data;
	const uint32_t index = load_le32(entry);

	if (index >= NO_BLOCK)
		return BLOCK_TABLE_NOWHERE;
	return index < table->count ? vdi->data_offset + ((uint64_t)index << BLOCK_BITS) : BLOCK_TABLE_BAD;
}

struct survey {
	uint64_t allocated;
	uint32_t used_to, blocks;
	uint8_t *used; /* filled when there */
};

static void survey_entry(void *opaque, uint64_t index, const uint8_t *entry)
{
	const uint32_t value = load_le32(entry);
	struct survey *survey = opaque;

	if (value >= survey->blocks)
		return;
	survey->allocated++;
	survey->used_to = (uint32_t)max_u64(survey->used_to, (uint64_t)value + 1);
	if (survey->used)
		survey->used[value / 8] |= (uint8_t)(1u << value % 8);
}

/* Which indices are in use. No entry has been changed in memory yet. */
static int survey(struct vdi *vdi)
{
	struct survey found = {.blocks = (uint32_t)vdi->table.count};
	int result = block_table_scan(&vdi->table, survey_entry, &found);

	if (result)
		return result;
	vdi->used_to = found.used_to;
	if (found.allocated != found.used_to) {
		found.used = calloc(1, found.used_to / 8 + 1);
		result = found.used ? block_table_scan(&vdi->table, survey_entry, &found) : -ENOMEM;
		if (result) {
			free(found.used);
			return result;
		}
		vdi->used = found.used;
	}
	vdi->surveyed = true;
	return 0;
}

static uint32_t next_index(struct vdi *vdi)
{
	for (; vdi->used && vdi->unused_from < vdi->used_to; vdi->unused_from++)
		if (!(vdi->used[vdi->unused_from / 8] & (1u << vdi->unused_from % 8)))
			return vdi->unused_from;
	return vdi->used_to;
}

static int allocate(struct block_table *table, uint64_t block_index, uint8_t *entry)
{
	struct vdi *vdi = table->block->private_data;
	uint32_t index;
	uint64_t at;
	int result = vdi->surveyed ? 0 : survey(vdi);

	if (result)
		return result;
	index = next_index(vdi);
	if (index >= table->count)
		return -EIO; /* as many blocks as the disk has, and this one is not among them: entries are twice */
	at = vdi->data_offset + ((uint64_t)index << BLOCK_BITS);
	if (at < vdi->fresh_from)
		result = image_file_clear(table->block->file, BLOCK_WRITE_ZEROES, at, BLOCK_BYTES, BLOCK_MAY_UNMAP);
	if (result)
		return result;
	if (index == vdi->used_to)
		vdi->used_to++;
	else
		vdi->unused_from++;
	store_le32(entry, index);
	return 0;
}

/* Locked: once another block had been given out, what is written to it would be cut off. */
static int lengthen(struct vdi *vdi, struct block *file)
{
	const uint64_t end = vdi->data_offset + ((uint64_t)vdi->used_to << BLOCK_BITS);
	int result;

	if (end <= vdi->file_end || !file->driver->truncate)
		return 0;
	result = file->driver->truncate(file, end, NULL);
	if (!result)
		vdi->file_end = end;
	return result;
}

/* The count, and a file that has all of its last block. */
static int before_entries(struct block_table *table)
{
	struct vdi *vdi = table->block->private_data;
	struct block *file = table->block->file;
	int result;

	pthread_mutex_lock(&table->lock);
	store_le32(vdi->header + AT_BLOCKS_ALLOCATED, vdi->used_to);
	result = lengthen(vdi, file);
	pthread_mutex_unlock(&table->lock);
	return result ? result : image_file_write(file, 0, vdi->header, HEADER_BYTES);
}

static const struct block_table_format vdi_table = {
	.place = place,
	.allocate = allocate,
	.before_entries = before_entries,
};

/* --- check --- */

struct checking {
	struct block_check *check;
	uint64_t blocks, allocated;
	uint8_t *used;
};

static void finding(const struct block_check *check, const char *text, uint32_t a, uint32_t b)
{
	char line[128];

	snprintf(line, sizeof(line), text, a, b);
	if (check->report)
		check->report(check->opaque, line);
}

static void check_entry(void *opaque, uint64_t index, const uint8_t *entry)
{
	const uint32_t value = load_le32(entry);
	struct checking *c = opaque;

	if (value >= NO_BLOCK)
		return;
	if (value >= c->blocks) {
		finding(c->check, "ERROR: block index %u out of range, is %u", (uint32_t)index, value);
		c->check->corruptions++;
		return;
	}
	c->allocated++;
	if (c->used[value / 8] & (1u << value % 8)) {
		finding(c->check, "ERROR: block index %u also used by %u", value, value);
		c->check->corruptions++;
	}
	c->used[value / 8] |= (uint8_t)(1u << value % 8);
}

static int vdi_check(struct block *block, struct block_check *check, bool repair_leaks, bool repair_all,
		     struct error *err)
{
	struct vdi *vdi = block->private_data;
	const uint32_t said = load_le32(vdi->header + AT_BLOCKS_ALLOCATED);
	struct checking c = {.check = check, .blocks = vdi->table.count};
	int result;

	if (repair_leaks || repair_all)
		return -ENOTSUP;
	c.used = calloc(1, c.blocks / 8 + 1);
	result = c.used ? block_table_scan(&vdi->table, check_entry, &c) : -ENOMEM;
	free(c.used);
	if (result)
		return error_set_errno(err, -result, "Could not read the block map");
	if (c.allocated == said)
		return 0;
	finding(check, "ERROR: allocated blocks mismatch, is %u, should be %u", (uint32_t)c.allocated, said);
	/* Too many is what an interruption leaves and costs only room; with too few a block would be given out twice.
	 */
	if (c.allocated < said)
		check->leaks += said - c.allocated;
	else
		check->corruptions++;
	return 0;
}

static void vdi_info(const struct block *block, struct block_info *info)
{
	info->cluster_bytes = BLOCK_BYTES;
}

static int vdi_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	const struct vdi *vdi = block->private_data;
	int bits = block_table_extent(block, offset, length, child_offset);

	/* A static image is sparse where its file is. */
	if (bits > 0 && bits & BLOCK_EXTENT_OFFSET_VALID && load_le32(vdi->header + AT_TYPE) == TYPE_STATIC)
		bits |= image_file_holes(block->file, *child_offset, length);
	return bits;
}

/* --- new images --- */

static const struct block_create_option vdi_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"static", BLOCK_OPTION_BOOL, "VDI static (pre-allocated) image", "off"},
	{NULL},
};

static void fill_header(uint8_t *h, uint64_t disk, uint32_t blocks, uint64_t data_offset, bool is_static)
{
	memset(h, 0, HEADER_BYTES);
	strcpy((char *)h + AT_TEXT, "<<< xuni VM Virtual Disk Image >>>\n");
	store_le32(h + AT_SIGNATURE, SIGNATURE);
	store_le32(h + AT_VERSION, VERSION);
	store_le32(h + AT_HEADER_BYTES, 0x180);
	store_le32(h + AT_TYPE, is_static ? TYPE_STATIC : TYPE_DYNAMIC);
	store_le32(h + AT_MAP_OFFSET, HEADER_BYTES);
	store_le32(h + AT_DATA_OFFSET, (uint32_t)data_offset);
	store_le32(h + AT_SECTOR_BYTES, BLOCK_SECTOR);
	store_le64(h + AT_DISK_BYTES, disk);
	store_le32(h + AT_BLOCK_BYTES, BLOCK_BYTES);
	store_le32(h + AT_BLOCKS, blocks);
	store_le32(h + AT_BLOCKS_ALLOCATED, is_static ? blocks : 0);
	image_random_uuid(h + AT_UUID_IMAGE);
	image_random_uuid(h + AT_UUID_SNAPSHOT);
}

static int write_map(struct block *file, uint32_t blocks, bool is_static)
{
	enum { STEP = 65536 };
	uint8_t *entries = malloc(STEP * 4);
	int result = entries ? 0 : -ENOMEM;

	for (uint32_t at = 0; at < blocks && !result; at += STEP) {
		const uint32_t part = (uint32_t)min_u64(STEP, blocks - at);

		for (uint32_t i = 0; i < part; i++)
			store_le32(entries + (size_t)i * 4, is_static ? at + i : UINT32_MAX);
		memset(entries + (size_t)part * 4, 0, (STEP - part) * 4);
		/* Whole sectors: what follows the last entry is zero. */
		result = image_file_write(file, HEADER_BYTES + (uint64_t)at * 4, entries,
					  align_up((uint64_t)part * 4, BLOCK_SECTOR));
	}
	free(entries);
	return result;
}

static int vdi_create(const struct block_create *create, struct error *err)
{
	const uint32_t blocks = (uint32_t)((create->length >> BLOCK_BITS) + !!(create->length & (BLOCK_BYTES - 1)));
	const uint64_t data_offset = HEADER_BYTES + align_up((uint64_t)blocks * 4, BLOCK_SECTOR);
	const bool is_static = block_create_bool(create, "static");
	uint8_t header[HEADER_BYTES];
	struct block *file;
	int result;

	if (create->length > MAX_DISK_BYTES)
		return error_set(err, ENOTSUP, "Unsupported VDI image size (size is 0x%llx, max supported is 0x%llx)",
				 (unsigned long long)create->length, (unsigned long long)MAX_DISK_BYTES);
	file = block_create_file(create, NULL, data_offset + (is_static ? (uint64_t)blocks << BLOCK_BITS : 0), err);
	if (!file)
		return -EIO;
	fill_header(header, create->length, blocks, data_offset, is_static);
	result = write_map(file, blocks, is_static);
	if (!result)
		result = image_file_write(file, 0, header, HEADER_BYTES);
	block_unref(file);
	return result ? error_set_errno(err, -result, "Could not write '%s'", create->filename) : 0;
}

const struct block_driver block_vdi_driver = {
	.name = "vdi",
	.size = sizeof(struct vdi),
	.own_metadata = true,
	.probe = vdi_probe,
	.open = vdi_open,
	.close = vdi_close,
	.pread = block_table_pread,
	.pwrite = block_table_pwrite,
	.flush = block_table_flush,
	.discard = block_table_discard,
	.write_zeroes = block_table_write_zeroes,
	.extent = vdi_extent,
	.create_options = vdi_create_options,
	.create = vdi_create,
	.info = vdi_info,
	.check = vdi_check,
	.map = block_table_map,
};
