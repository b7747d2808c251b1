/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers, region table and metadata of VHDX ([MS-VHDX] 2.2, 2.6), and their checksum. */
#include "backend/block/vhdx_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define HEADER_OFFSET(which) (((which) + 1) * 64 * KIB)
#define REGIONS_OFFSET       (192 * KIB) /* a copy follows */
#define CREATOR_BYTES        512

const struct vhdx_guid vhdx_bat_guid = {
	{0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}};
const struct vhdx_guid vhdx_metadata_guid = {
	{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}};
const struct vhdx_guid vhdx_item_guids[VHDX_ITEMS] = {
	[VHDX_FILE_PARAMETERS] = {{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44,
				   0xe7, 0x6b}},
	[VHDX_DISK_SIZE] = {{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4,
			     0xb8}},
	[VHDX_PAGE83] = {{0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7,
			  0x46}},
	[VHDX_SECTOR_SIZE] = {{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab,
			       0x5f}},
	[VHDX_PHYSICAL_SECTOR_SIZE] = {{0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52,
					0x51, 0xc5, 0x56}},
	[VHDX_PARENT_LOCATOR] = {{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34,
				  0xab, 0x0c}},
};

/* --- checksum --- */

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t crc, const uint8_t *data, size_t length)
{
	uint64_t wide = crc;

	for (; length >= 8; data += 8, length -= 8)
		wide = __builtin_ia32_crc32di(wide, load_le64(data));
	for (; length; data++, length--)
		wide = __builtin_ia32_crc32qi((uint32_t)wide, *data);
	return (uint32_t)wide;
}
#endif

uint32_t vhdx_crc32c(uint32_t crc, const uint8_t *data, size_t length)
{
	/* Of the reflected polynomial 0x82f63b78, four bits at a time. */
	static const uint32_t nibbles[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	crc = ~crc;
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc32c_instruction(crc, data, length);
#endif
	for (size_t i = 0; i < length; i++) {
		crc ^= data[i];
		crc = crc >> 4 ^ nibbles[crc & 15];
		crc = crc >> 4 ^ nibbles[crc & 15];
	}
	return ~crc;
}

uint32_t vhdx_checksum(const uint8_t *data, size_t length, size_t field)
{
	static const uint8_t zero[4];
	uint32_t crc = vhdx_crc32c(0, data, field);

	crc = vhdx_crc32c(crc, zero, sizeof(zero));
	return vhdx_crc32c(crc, data + field + 4, length - field - 4);
}

int vhdx_guid_random(struct vhdx_guid *guid)
{
	if (getrandom(guid->bytes, sizeof(guid->bytes), 0) != sizeof(guid->bytes))
		return -EIO;
	guid->bytes[7] = (guid->bytes[7] & 0x0f) | 0x40; /* version 4, in the byte order of the file */
	guid->bytes[8] = (guid->bytes[8] & 0x3f) | 0x80;
	return 0;
}

/* --- headers --- */

void vhdx_header_encode(const struct vhdx_header *header, uint8_t to[VHDX_HEADER_BYTES])
{
	memset(to, 0, VHDX_HEADER_BYTES);
	memcpy(to, "head", 4);
	store_le64(to + 8, header->sequence);
	memcpy(to + 16, header->file_write.bytes, 16);
	memcpy(to + 32, header->data_write.bytes, 16);
	memcpy(to + 48, header->log.bytes, 16);
	store_le16(to + 64, header->log_version);
	store_le16(to + 66, 1);
	store_le32(to + 68, header->log_bytes);
	store_le64(to + 72, header->log_offset);
	store_le32(to + 4, vhdx_checksum(to, VHDX_HEADER_BYTES, 4));
}

static bool decode_header(const uint8_t *from, struct vhdx_header *header)
{
	if (memcmp(from, "head", 4) != 0 || load_le16(from + 66) != 1 ||
	    load_le32(from + 4) != vhdx_checksum(from, VHDX_HEADER_BYTES, 4))
		return false;
	*header = (struct vhdx_header){
		.sequence = load_le64(from + 8),
		.log_version = load_le16(from + 64),
		.log_bytes = load_le32(from + 68),
		.log_offset = load_le64(from + 72),
	};
	memcpy(header->file_write.bytes, from + 16, 16);
	memcpy(header->data_write.bytes, from + 32, 16);
	memcpy(header->log.bytes, from + 48, 16);
	return true;
}

static int read_file(struct vhdx *x, uint64_t offset, void *to, uint64_t length, const char *what, struct error *err)
{
	int result = image_file_read(x->block->file, offset, to, length);

	return result ? error_set_errno(err, -result, "Could not read the %s of '%s'", what, x->block->filename) : 0;
}

static int add_region(struct vhdx *x, uint64_t offset, uint64_t bytes, struct error *err)
{
	if (offset > INT64_MAX - bytes || vhdx_is_region(x, offset, bytes))
		return error_set(err, EINVAL, "the regions of '%s' lie over one another", x->block->filename);
	x->regions = xrealloc(x->regions, (x->region_count + 1) * sizeof(*x->regions));
	x->regions[x->region_count++] = (struct vhdx_region){.offset = offset, .bytes = bytes};
	x->regions_end = max_u64(x->regions_end, offset + bytes);
	return 0;
}

bool vhdx_is_region(const struct vhdx *x, uint64_t offset, uint64_t bytes)
{
	if (offset >= x->regions_end)
		return false;
	for (size_t i = 0; i < x->region_count; i++)
		if (offset < x->regions[i].offset + x->regions[i].bytes && x->regions[i].offset < offset + bytes)
			return true;
	return false;
}

static int check_log(struct vhdx *x, struct error *err)
{
	const struct vhdx_header *h = &x->header;

	if (h->log_version != 0)
		return error_set(err, ENOTSUP, "version %u of the log of '%s' is not supported", h->log_version,
				 x->block->filename);
	if (h->log_offset < MIB || h->log_offset % MIB || h->log_bytes % MIB ||
	    !range_inside(h->log_offset, h->log_bytes, x->block->file->length))
		return error_set(err, EINVAL, "the log of '%s' lies beyond the end of the file or is not whole MiB",
				 x->block->filename);
	return 0;
}

int vhdx_headers_read(struct vhdx *x, struct error *err)
{
	struct vhdx_header headers[2];
	uint8_t raw[VHDX_HEADER_BYTES];
	bool valid[2];
	int result = read_file(x, 0, raw, 8, "identifier", err);

	if (!result && memcmp(raw, "vhdxfile", 8) != 0)
		result = error_set(err, EINVAL, "Image not in VHDX format");
	for (unsigned i = 0; i < 2 && !result; i++) {
		result = read_file(x, HEADER_OFFSET(i), raw, sizeof(raw), "header", err);
		valid[i] = !result && decode_header(raw, &headers[i]);
	}
	if (result)
		return result;
	/* Equal numbers are only good in equal headers, which some tools write. */
	if ((!valid[0] && !valid[1]) || (valid[0] && valid[1] && headers[0].sequence == headers[1].sequence &&
					 memcmp(&headers[0], &headers[1], sizeof(headers[0])) != 0))
		return error_set(err, EINVAL, "No valid VHDX header found");
	x->current = valid[1] && (!valid[0] || headers[1].sequence > headers[0].sequence);
	x->header = headers[x->current];
	if ((result = check_log(x, err)) || (result = add_region(x, 0, MIB, err)))
		return result;
	return add_region(x, x->header.log_offset, x->header.log_bytes, err);
}

int vhdx_header_update(struct vhdx *x)
{
	uint8_t raw[VHDX_HEADER_BYTES];
	struct vhdx_header next = x->header;
	int result;

	next.sequence++;
	vhdx_header_encode(&next, raw);
	result = image_file_write(x->block->file, HEADER_OFFSET(!x->current), raw, sizeof(raw));
	if (!result)
		result = block_flush(x->block->file);
	if (result)
		return result;
	x->header.sequence++;
	x->current = !x->current;
	return 0;
}

/* --- region table --- */

static int add_table_row(struct vhdx *x, const uint8_t *row, struct error *err)
{
	const struct vhdx_region region = {.offset = load_le64(row + 16), .bytes = load_le32(row + 24)};
	struct vhdx_region *known = !memcmp(row, vhdx_bat_guid.bytes, 16)        ? &x->bat
				    : !memcmp(row, vhdx_metadata_guid.bytes, 16) ? &x->metadata
										 : NULL;

	if (!known && load_le32(row + 28) & 1)
		return error_set(err, ENOTSUP, "'%s' has a region that must be understood and is not known",
				 x->block->filename);
	if (region.offset < MIB || region.offset % MIB || region.bytes % MIB || !region.bytes ||
	    !range_inside(region.offset, region.bytes, x->block->file->length))
		return error_set(err, EINVAL, "a region of '%s' lies beyond the end of the file or is not whole MiB",
				 x->block->filename);
	if (known && known->bytes)
		return error_set(err, EINVAL, "'%s' has the same region twice", x->block->filename);
	if (known)
		*known = region;
	return add_region(x, region.offset, region.bytes, err);
}

static bool is_table_valid(const uint8_t *table)
{
	return !memcmp(table, "regi", 4) && load_le32(table + 4) == vhdx_checksum(table, VHDX_TABLE_BYTES, 4) &&
	       load_le32(table + 8) <= VHDX_MAX_REGIONS;
}

static int read_table(struct vhdx *x, uint8_t *table, struct error *err)
{
	int result = 0;

	for (unsigned copy = 0; copy < 2; copy++) {
		result = read_file(x, REGIONS_OFFSET + copy * VHDX_TABLE_BYTES, table, VHDX_TABLE_BYTES, "region table",
				   err);
		if (result || is_table_valid(table))
			break;
	}
	if (!result && !is_table_valid(table))
		result = error_set(err, EINVAL, "No valid VHDX region table found");
	for (uint32_t i = 0; !result && i < load_le32(table + 8); i++)
		result = add_table_row(x, table + 16 + i * 32ull, err);
	if (!result && (!x->bat.bytes || !x->metadata.bytes))
		result =
			error_set(err, EINVAL, "'%s' has no block allocation table or no metadata", x->block->filename);
	return result;
}

/* --- metadata --- */

struct items {
	uint64_t offset[VHDX_ITEMS]; /* in the file; 0: not there */
	uint32_t bytes[VHDX_ITEMS];
};

static int find_items(struct vhdx *x, const uint8_t *table, struct items *items, struct error *err)
{
	const unsigned count = load_le16(table + 10);

	if (memcmp(table, "metadata", 8) != 0 || count > (VHDX_TABLE_BYTES - 32) / 32)
		return error_set(err, EINVAL, "the metadata table of '%s' is not valid", x->block->filename);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *row = table + 32 + i * 32ull;
		const uint32_t offset = load_le32(row + 16), bytes = load_le32(row + 20), flags = load_le32(row + 24);
		unsigned item = 0;

		while (item < VHDX_ITEMS && memcmp(row, vhdx_item_guids[item].bytes, 16) != 0)
			item++;
		if (item == VHDX_ITEMS && flags & 4)
			return error_set(err, ENOTSUP, "'%s' has metadata that must be understood and are not known",
					 x->block->filename);
		if (item == VHDX_ITEMS)
			continue;
		if (items->offset[item] || offset < VHDX_TABLE_BYTES || !range_inside(offset, bytes, x->metadata.bytes))
			return error_set(err, EINVAL, "the metadata of '%s' are not valid", x->block->filename);
		items->offset[item] = x->metadata.offset + offset;
		items->bytes[item] = bytes;
	}
	return 0;
}

static int read_item(struct vhdx *x, const struct items *items, enum vhdx_item item, void *to, uint32_t bytes,
		     struct error *err)
{
	if (!items->offset[item] || items->bytes[item] < bytes)
		return error_set(err, EINVAL, "metadata that every VHDX image has are missing in '%s'",
				 x->block->filename);
	return read_file(x, items->offset[item], to, bytes, "metadata", err);
}

static int check_parameters(struct vhdx *x, struct error *err)
{
	const struct vhdx_parameters *p = &x->parameters;

	if (p->has_parent)
		return error_set(err, ENOTSUP, "'%s' is a differencing disk, which is not supported",
				 x->block->filename);
	if (p->block_bytes < MIB || p->block_bytes > VHDX_MAX_BLOCK_BYTES || !is_power_of_two(p->block_bytes))
		return error_set(err, EINVAL,
				 "the block size of '%s' (%u bytes) is not a power of two between 1 and 256 MiB",
				 x->block->filename, p->block_bytes);
	if (p->sector_bytes != 512 && p->sector_bytes != 4096)
		return error_set(err, EINVAL, "the sector size of '%s' (%u bytes) is neither 512 nor 4096",
				 x->block->filename, p->sector_bytes);
	if (p->disk_bytes > VHDX_MAX_BYTES || p->disk_bytes % p->sector_bytes)
		return error_set(err, EINVAL, "the size of the disk in '%s' (%llu bytes) is not valid",
				 x->block->filename, (unsigned long long)p->disk_bytes);
	return 0;
}

static int read_metadata(struct vhdx *x, uint8_t *table, struct error *err)
{
	struct items items = {0};
	uint8_t file_parameters[8], disk_bytes[8], sector_bytes[4];
	int result;

	if ((result = read_file(x, x->metadata.offset, table, VHDX_TABLE_BYTES, "metadata table", err)) ||
	    (result = find_items(x, table, &items, err)) ||
	    (result = read_item(x, &items, VHDX_FILE_PARAMETERS, file_parameters, 8, err)) ||
	    (result = read_item(x, &items, VHDX_DISK_SIZE, disk_bytes, 8, err)) ||
	    (result = read_item(x, &items, VHDX_SECTOR_SIZE, sector_bytes, 4, err)))
		return result;
	x->parameters = (struct vhdx_parameters){
		.block_bytes = load_le32(file_parameters),
		.has_parent = load_le32(file_parameters + 4) & 2,
		.disk_bytes = load_le64(disk_bytes),
		.sector_bytes = load_le32(sector_bytes),
	};
	return check_parameters(x, err);
}

int vhdx_regions_read(struct vhdx *x, struct error *err)
{
	uint8_t *table = xcalloc(1, VHDX_TABLE_BYTES);
	uint64_t entries;
	int result = read_table(x, table, err);

	if (!result)
		result = read_metadata(x, table, err);
	free(table);
	if (result)
		return result;
	x->blocks = (x->parameters.disk_bytes + x->parameters.block_bytes - 1) / x->parameters.block_bytes;
	x->chunk_ratio = (1ull << 23) * x->parameters.sector_bytes / x->parameters.block_bytes;
	/* Between the entries of two chunks of payload blocks stands one of a bitmap, which only differencing disks
	 * use. */
	entries = x->blocks + (x->blocks ? (x->blocks - 1) / x->chunk_ratio : 0);
	if (entries > x->bat.bytes / 8)
		return error_set(err, EINVAL, "the block allocation table of '%s' is too small for its disk",
				 x->block->filename);
	return 0;
}
