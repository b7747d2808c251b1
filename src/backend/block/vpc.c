/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual PC's and Hyper-V's first disk images (VHD; Virtual Hard Disk Image Format Specification 1.0), fixed and
 * dynamic. A fixed image is the disk and a footer of 512 bytes. A dynamic one begins with a copy of the footer and a
 * header; a table says at which sector each block lies, a bitmap of its sectors before it; the footer stands at the
 * end. Whether the geometry or the size in the footer is the disk's size depends on who made the image, as in qemu.
 *
 * A new block goes where the footer stands, and the footer behind it first. Until its bitmap is written the old footer
 * stays, and the copy at the beginning is never touched.
 *
 * Bitmaps are not looked at when reading, as in qemu: a sector that is not in use is zero. A block that is written gets
 * a bitmap that says that all is there. Left out: differencing images (only info describes them).
 */
#include "backend/block/vpc.h"

#include <stdlib.h>

static int vpc_probe(const uint8_t *head, size_t length, const char *filename)
{
	return length >= 8 && !memcmp(head, VPC_COOKIE, 8) ? 100 : 0;
}

/* --- opening --- */

static bool sums_up(const struct vpc *vpc)
{
	return vpc_checksum(vpc->footer, VPC_FOOTER_BYTES, VPC_AT_CHECKSUM) == load_be32(vpc->footer + VPC_AT_CHECKSUM);
}

/* The copy at the beginning of a dynamic image, else the one at the end of a fixed one. */
static int read_footer(struct vpc *vpc, struct block *file, struct error *err)
{
	int result = image_file_read(file, 0, vpc->footer, VPC_FOOTER_BYTES);

	if (!result && memcmp(vpc->footer, VPC_COOKIE, 8)) {
		if (file->length < VPC_FOOTER_BYTES)
			return error_set(err, EINVAL, "File too small for a VHD header");
		result = image_file_read(file, file->length - VPC_FOOTER_BYTES, vpc->footer, VPC_FOOTER_BYTES);
		if (!result &&
		    (memcmp(vpc->footer, VPC_COOKIE, 8) || load_be32(vpc->footer + VPC_AT_TYPE) != VPC_FIXED))
			return error_set(err, EINVAL, "invalid VPC image");
		vpc->fixed = true;
	}
	if (result)
		return error_set_errno(err, -result, "Could not read the footer of '%s'", file->filename);
	if (!sums_up(vpc))
		return error_set(err, EINVAL, "Incorrect header checksum");
	return 0;
}

static bool made_by_size(const uint8_t *creator)
{
	static const char *const by_size[] = {"win ", "qem2", "d2v ", "CTXS"};

	for (size_t i = 0; i < ARRAY_SIZE(by_size); i++)
		if (!memcmp(creator, by_size[i], 4))
			return true;
	return !memcmp(creator, "tap", 4);
}

static int find_size(struct vpc *vpc, struct options *options, uint64_t *disk, struct error *err)
{
	const char *how = options_get(options, "force_size_calc");
	const uint8_t *f = vpc->footer;
	uint64_t sectors = (uint64_t)load_be16(f + VPC_AT_CYLINDERS) * f[VPC_AT_HEADS] * f[VPC_AT_TRACK];
	bool by_size = made_by_size(f + VPC_AT_CREATOR);

	if (how && !strcmp(how, "chs"))
		by_size = false;
	else if (how && !strcmp(how, "current_size"))
		by_size = true;
	else if (how && strcmp(how, "auto"))
		return error_set(err, EINVAL, "Invalid size calculation algorithm");
	if (by_size || sectors == VPC_MAX_GEOMETRY)
		sectors = load_be64(f + VPC_AT_CURRENT_SIZE) / BLOCK_SECTOR;
	if (sectors > VPC_MAX_SECTORS)
		return error_set_errno(err, EFBIG, "the disk has %llu sectors, more than 2040 GiB",
				       (unsigned long long)sectors);
	*disk = sectors * BLOCK_SECTOR;
	return 0;
}

static int check_header(const uint8_t *h, uint64_t disk, struct error *err)
{
	const uint32_t block = load_be32(h + VPC_AT_BLOCK_BYTES), entries = load_be32(h + VPC_AT_TABLE_ENTRIES);

	if (memcmp(h, VPC_DYN_COOKIE, 8))
		return error_set(err, EINVAL, "Invalid header magic");
	if (!is_power_of_two(block) || block < BLOCK_SECTOR)
		return error_set(err, EINVAL, "Invalid block size %u", block);
	if ((uint64_t)entries * block < disk)
		return error_set(err, EINVAL, "Page table too small");
	if (entries > INT32_MAX / 4)
		return error_set(err, EINVAL, "Max Table Entries too large (%d)", (int32_t)entries);
	return 0;
}

struct ends {
	const struct vpc *vpc;
	uint64_t last;
};

static void see_end(void *opaque, uint64_t index, const uint8_t *entry)
{
	const uint32_t sector = load_be32(entry);
	struct ends *ends = opaque;

	if (sector != UINT32_MAX)
		ends->last = max_u64(ends->last, (uint64_t)sector * BLOCK_SECTOR + ends->vpc->bitmap_bytes +
							 (1ull << ends->vpc->table.block_bits));
}

static int find_data_end(struct vpc *vpc, struct error *err)
{
	struct ends ends = {.vpc = vpc, .last = align_up(vpc->table.offset + vpc->table.count * 4, BLOCK_SECTOR)};
	int result = block_table_scan(&vpc->table, see_end, &ends);

	if (result)
		return error_set_errno(err, -result, "Could not read the block table");
	vpc->data_end = ends.last;
	if (ends.last > vpc->table.block->file->length)
		return error_set(err, EINVAL,
				 "block-vpc: free_data_block_offset points after the end of file. The image has been "
				 "truncated.");
	return 0;
}

static const struct block_table_format vpc_table;

static int open_dynamic(struct block *block, uint64_t disk, bool describe, struct error *err)
{
	struct vpc *vpc = block->private_data;
	uint8_t header[VPC_HEADER_BYTES];
	int result;

	vpc->header_offset = load_be64(vpc->footer + VPC_AT_DATA_OFFSET);
	/* It can be described; what it does not hold lies in its parent. */
	if (load_be32(vpc->footer + VPC_AT_TYPE) == VPC_DIFFERENCING && !describe)
		return error_set(err, ENOTSUP,
				 "differencing VHD images are not supported: merge it with its parent first");
	if (!range_inside(vpc->header_offset, sizeof(header), block->file->length))
		return error_set(err, EINVAL, "Invalid header magic");
	result = image_file_read(block->file, vpc->header_offset, header, sizeof(header));
	if (result)
		return error_set_errno(err, -result, "Could not read the header of '%s'", block->filename);
	result = check_header(header, disk, err);
	if (result)
		return result;
	vpc->table.format = &vpc_table;
	vpc->table.block = block;
	vpc->table.offset = load_be64(header + VPC_AT_TABLE_OFFSET);
	vpc->table.count = load_be32(header + VPC_AT_TABLE_ENTRIES);
	vpc->table.block_bits = (unsigned)__builtin_ctz(load_be32(header + VPC_AT_BLOCK_BYTES));
	vpc->bitmap_bytes = (uint32_t)align_up((1ull << vpc->table.block_bits) / (8 * BLOCK_SECTOR), BLOCK_SECTOR);
	if (!range_inside(vpc->table.offset, vpc->table.count * 4, block->file->length))
		return error_set(err, EINVAL,
				 "the block table (%llu bytes at %llu) does not lie inside the file (%llu bytes)",
				 (unsigned long long)vpc->table.count * 4, (unsigned long long)vpc->table.offset,
				 (unsigned long long)block->file->length);
	result = find_data_end(vpc, err);
	if (result)
		return result;
	vpc->ones = malloc(vpc->bitmap_bytes);
	if (!vpc->ones)
		return error_set(err, ENOMEM, "no memory for a bitmap of %u bytes", vpc->bitmap_bytes);
	memset(vpc->ones, 0xff, vpc->bitmap_bytes);
	vpc->fresh_from = block->file->driver->zero_behind_end ? block->file->length : UINT64_MAX;
	block->optimal_bytes = 1u << vpc->table.block_bits;
	return block_table_init(&vpc->table, err);
}

static int vpc_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct vpc *vpc = block->private_data;
	uint64_t disk = 0;
	int result;

	if ((result = read_footer(vpc, block->file, err)) || (result = find_size(vpc, options, &disk, err)))
		return result;
	if (vpc->fixed && disk > block->file->length - VPC_FOOTER_BYTES)
		return error_set(err, EINVAL,
				 "the file (%llu bytes) is too short for its disk (%llu bytes) and the footer",
				 (unsigned long long)block->file->length, (unsigned long long)disk);
	result = vpc->fixed ? 0 : open_dynamic(block, disk, how->describe, err);
	if (result)
		free(vpc->ones);
	block->length = disk;
	return result;
}

static void vpc_close(struct block *block)
{
	struct vpc *vpc = block->private_data;

	if (!vpc->fixed)
		block_table_free(&vpc->table);
	free(vpc->ones);
}

/* --- the block table --- */

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static uint64_t place(const struct block_table *table, const uint8_t *entry)
{
	const struct vpc *vpc = table->block->private_data;
	const uint64_t at = (uint64_t)load_be32(entry) * BLOCK_SECTOR;
	const uint64_t bytes = vpc->bitmap_bytes + (1ull << table->block_bits);

	if (load_be32(entry) == UINT32_MAX)
		return BLOCK_TABLE_NOWHERE;
	if (overlap(at, bytes, 0, VPC_FOOTER_BYTES) || overlap(at, bytes, vpc->header_offset, VPC_HEADER_BYTES) ||
	    overlap(at, bytes, table->offset, table->count * 4))
		return BLOCK_TABLE_BAD;
	return at + vpc->bitmap_bytes;
}

static int allocate(struct block_table *table, uint64_t index, uint8_t *entry)
{
	struct vpc *vpc = table->block->private_data;
	struct block *file = table->block->file;
	const uint64_t data = vpc->data_end + vpc->bitmap_bytes, end = data + (1ull << table->block_bits);
	int result;

	if (end / BLOCK_SECTOR >= UINT32_MAX)
		return -ENOSPC;
	result = image_file_write(file, end, vpc->footer, VPC_FOOTER_BYTES);
	if (!result && data < vpc->fresh_from)
		result = image_file_clear(file, BLOCK_WRITE_ZEROES, data, min_u64(end, vpc->fresh_from) - data,
					  BLOCK_MAY_UNMAP);
	if (result)
		return result;
	store_be32(entry, (uint32_t)(vpc->data_end / BLOCK_SECTOR));
	vpc->data_end = end;
	return 0;
}

/* Images of others say sector by sector what is there. */
static int before_write(struct block_table *table, uint64_t index, const uint8_t *entry)
{
	struct vpc *vpc = table->block->private_data;

	return image_file_write(table->block->file, (uint64_t)load_be32(entry) * BLOCK_SECTOR, vpc->ones,
				vpc->bitmap_bytes);
}

/* Footers are written with the allocation, the barrier that follows is for them. */
static int before_entries(struct block_table *table)
{
	return 0;
}

static int with_entry(struct block_table *table, const uint8_t *entry)
{
	return before_write(table, 0, entry);
}

static const struct block_table_format vpc_table = {
	.place = place,
	.allocate = allocate,
	.before_write = before_write,
	.before_entries = before_entries,
	.with_entry = with_entry,
};

/* --- operations: a fixed disk is its file but for the end --- */

static bool is_fixed(const struct block *block)
{
	return ((const struct vpc *)block->private_data)->fixed;
}

static int vpc_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	if (is_fixed(block))
		return block_execute(block->file, BLOCK_READ, offset, length, iov, iov_count, 0);
	return block_table_pread(block, offset, iov, iov_count, length);
}

static int vpc_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		      uint32_t flags)
{
	if (is_fixed(block))
		return block_execute(block->file, BLOCK_WRITE, offset, length, iov, iov_count, flags);
	return block_table_pwrite(block, offset, iov, iov_count, length, flags);
}

static int vpc_flush(struct block *block)
{
	return is_fixed(block) ? block_flush(block->file) : block_table_flush(block);
}

static int vpc_discard(struct block *block, uint64_t offset, uint64_t length)
{
	if (is_fixed(block))
		return block_execute(block->file, BLOCK_DISCARD, offset, length, NULL, 0, 0);
	return block_table_discard(block, offset, length);
}

static int vpc_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	if (is_fixed(block))
		return block_execute(block->file, BLOCK_WRITE_ZEROES, offset, length, NULL, 0, flags);
	return block_table_write_zeroes(block, offset, length, flags);
}

static int vpc_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	if (!is_fixed(block))
		return block_table_extent(block, offset, length, child_offset);
	*child_offset = offset;
	return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA | BLOCK_EXTENT_OFFSET_VALID |
	       image_file_holes(block->file, offset, length);
}

static int vpc_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	if (!is_fixed(block))
		return block_table_map(block, op, offset, length, child_offset);
	*child_offset = offset;
	return 0;
}

static void vpc_info(const struct block *block, struct block_info *info)
{
	info->cluster_bytes = is_fixed(block) ? 0 : block->optimal_bytes;
}

static const char *const vpc_options[] = {"force_size_calc", NULL};

const struct block_driver block_vpc_driver = {
	.name = "vpc",
	.size = sizeof(struct vpc),
	.known = vpc_options,
	.own_metadata = true,
	.probe = vpc_probe,
	.open = vpc_open,
	.close = vpc_close,
	.pread = vpc_pread,
	.pwrite = vpc_pwrite,
	.flush = vpc_flush,
	.discard = vpc_discard,
	.write_zeroes = vpc_write_zeroes,
	.extent = vpc_extent,
	.create_options = vpc_create_options,
	.create = vpc_create,
	.info = vpc_info,
	.map = vpc_map,
};
