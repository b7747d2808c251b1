/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New VHD images: Virtual Hard Disk Image Format Specification 1.0; the geometry as its appendix "CHS calculation"
 * says. Virtual PC shows its guests what the geometry holds, so a disk is made large enough for all of what was asked;
 * with force_size, and where no geometry is large enough, the size in the footer counts ("qem2" as the creator says
 * so).
 */
#include "backend/block/vpc.h"

#include <stdlib.h>
#include <time.h>

#define EPOCH_S      946684800 /* 2000-01-01 in the host's time */
#define TABLE_OFFSET (VPC_FOOTER_BYTES + VPC_HEADER_BYTES)

const struct block_create_option vpc_create_options[] = {
	{"size", BLOCK_OPTION_SIZE, "Virtual disk size", NULL},
	{"subformat", BLOCK_OPTION_STRING,
	 "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ", NULL},
	{"force_size", BLOCK_OPTION_BOOL,
	 "Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based "
	 "calculation",
	 NULL},
	{NULL},
};

struct geometry {
	uint32_t cylinders, heads, track;
};

static uint64_t sectors_of(const struct geometry *g)
{
	return (uint64_t)g->cylinders * g->heads * g->track;
}

static struct geometry geometry_of(uint64_t sectors)
{
	struct geometry g = {.heads = 16, .track = 255};
	uint64_t tracks;

	sectors = min_u64(sectors, VPC_MAX_GEOMETRY);
	tracks = sectors / g.track;
	if (sectors < 65535ull * 16 * 63) {
		g.track = 17;
		tracks = sectors / g.track;
		g.heads = (uint32_t)max_u64(4, (tracks + 1023) / 1024);
		if (tracks >= g.heads * 1024ull || g.heads > 16) {
			g.track = 31;
			g.heads = 16;
			tracks = sectors / g.track;
		}
		if (tracks >= g.heads * 1024ull) {
			g.track = 63;
			g.heads = 16;
			tracks = sectors / g.track;
		}
	}
	g.cylinders = (uint32_t)(tracks / g.heads);
	return g;
}

/* The smallest geometry that the calculation gives and that holds all sectors, or the largest there is. */
static struct geometry enough_for(uint64_t sectors)
{
	struct geometry g = {0};

	sectors = min_u64(sectors, VPC_MAX_GEOMETRY);
	for (uint64_t more = 0; sectors_of(&g) < sectors; more++)
		g = geometry_of(sectors + more);
	return g;
}

uint32_t vpc_checksum(const uint8_t *bytes, size_t length, size_t at)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i++)
		if (i < at || i >= at + 4)
			sum += bytes[i];
	return ~sum;
}

static void fill_footer(uint8_t *f, const struct geometry *g, uint64_t disk, bool fixed, bool by_size)
{
	memset(f, 0, VPC_FOOTER_BYTES);
	memcpy(f + VPC_AT_COOKIE, VPC_COOKIE, 8);
	store_be32(f + VPC_AT_FEATURES, 2); /* reserved, always set */
	store_be32(f + VPC_AT_VERSION, 0x00010000);
	store_be64(f + VPC_AT_DATA_OFFSET, fixed ? UINT64_MAX : VPC_FOOTER_BYTES);
	store_be32(f + VPC_AT_TIME, (uint32_t)(time(NULL) - EPOCH_S));
	memcpy(f + VPC_AT_CREATOR, by_size ? "qem2" : "qemu", 4);
	store_be32(f + VPC_AT_CREATOR_VERSION, 0x00050003);
	memcpy(f + VPC_AT_CREATOR_OS, "Wi2k", 4);
	store_be64(f + VPC_AT_ORIGINAL_SIZE, disk);
	store_be64(f + VPC_AT_CURRENT_SIZE, disk);
	store_be16(f + VPC_AT_CYLINDERS, (uint16_t)g->cylinders);
	f[VPC_AT_HEADS] = (uint8_t)g->heads;
	f[VPC_AT_TRACK] = (uint8_t)g->track;
	store_be32(f + VPC_AT_TYPE, fixed ? VPC_FIXED : VPC_DYNAMIC);
	image_random_uuid(f + VPC_AT_UUID);
	store_be32(f + VPC_AT_CHECKSUM, vpc_checksum(f, VPC_FOOTER_BYTES, VPC_AT_CHECKSUM));
}

static int write_dynamic(struct block *file, const uint8_t *footer, uint64_t blocks)
{
	const uint64_t table_bytes = align_up(blocks * 4, BLOCK_SECTOR);
	uint8_t header[VPC_HEADER_BYTES] = {0}, *table = malloc(max_u64(table_bytes, 1));
	int result = table ? 0 : -ENOMEM;

	memcpy(header + VPC_AT_DYN_COOKIE, VPC_DYN_COOKIE, 8);
	store_be64(header + VPC_AT_NEXT, UINT64_MAX);
	store_be64(header + VPC_AT_TABLE_OFFSET, TABLE_OFFSET);
	store_be32(header + VPC_AT_DYN_VERSION, 0x00010000);
	store_be32(header + VPC_AT_TABLE_ENTRIES, (uint32_t)blocks);
	store_be32(header + VPC_AT_BLOCK_BYTES, VPC_NEW_BLOCK_BYTES);
	store_be32(header + VPC_AT_DYN_CHECKSUM, vpc_checksum(header, sizeof(header), VPC_AT_DYN_CHECKSUM));
	if (!result)
		result = image_file_write(file, TABLE_OFFSET + table_bytes, footer, VPC_FOOTER_BYTES);
	if (!result && table_bytes) {
		memset(table, 0xff, table_bytes);
		result = image_file_write(file, TABLE_OFFSET, table, table_bytes);
	}
	if (!result)
		result = image_file_write(file, VPC_FOOTER_BYTES, header, sizeof(header));
	if (!result)
		result = image_file_write(file, 0, footer, VPC_FOOTER_BYTES);
	free(table);
	return result;
}

int vpc_create(const struct block_create *create, struct error *err)
{
	static const char *const subformats[] = {"dynamic", "fixed", NULL};
	const struct geometry largest = {VPC_MAX_CYLINDERS, VPC_MAX_HEADS, VPC_MAX_TRACK};
	const bool by_size = block_create_bool(create, "force_size");
	uint8_t footer[VPC_FOOTER_BYTES];
	struct geometry geometry;
	struct block *file;
	uint64_t sectors;
	unsigned fixed = 0;
	int result = block_create_choice(create, "subformat", "subformat", subformats, &fixed, err);

	if (result)
		return result;
	geometry = by_size ? largest : enough_for(create->length / BLOCK_SECTOR);
	sectors = sectors_of(&geometry);
	if (sectors == VPC_MAX_GEOMETRY)
		sectors = create->length / BLOCK_SECTOR;
	if (sectors > VPC_MAX_SECTORS)
		return error_set(err, EFBIG, "Disk size is too large, max size is 2040 GiB");
	file = block_create_file(create, NULL, fixed ? sectors * BLOCK_SECTOR + VPC_FOOTER_BYTES : 0, err);
	if (!file)
		return -EIO;
	fill_footer(footer, &geometry, sectors * BLOCK_SECTOR, fixed, by_size);
	if (fixed)
		result = image_file_write(file, sectors * BLOCK_SECTOR, footer, VPC_FOOTER_BYTES);
	else
		result = write_dynamic(file, footer,
				       sectors / (VPC_NEW_BLOCK_BYTES / BLOCK_SECTOR) +
					       !!(sectors % (VPC_NEW_BLOCK_BYTES / BLOCK_SECTOR)));
	block_unref(file);
	return result ? error_set_errno(err, -result, "Could not write '%s'", create->filename) : 0;
}
