/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the vpc driver share: places in footer and header, and the driver's private structure. */
#ifndef XUNI_BACKEND_BLOCK_VPC_H
#define XUNI_BACKEND_BLOCK_VPC_H

#include "backend/block/block_table.h"

#define VPC_FOOTER_BYTES 512u
#define VPC_HEADER_BYTES 1024u /* of a dynamic disk */
#define VPC_COOKIE       "conectix"
#define VPC_DYN_COOKIE   "cxsparse"
/* The geometry that says "more than a geometry can": the size counts instead. */
#define VPC_MAX_CYLINDERS   65535u
#define VPC_MAX_HEADS       16u
#define VPC_MAX_TRACK       255u /* sectors */
#define VPC_MAX_GEOMETRY    ((uint64_t)VPC_MAX_CYLINDERS * VPC_MAX_HEADS * VPC_MAX_TRACK)
#define VPC_MAX_SECTORS     0xff000000u /* 2040 GiB */
#define VPC_NEW_BLOCK_BYTES (2u << 20)

enum { VPC_FIXED = 2, VPC_DYNAMIC = 3, VPC_DIFFERENCING = 4 };

/* Offsets; all numbers are big-endian. */
enum vpc_footer {
	VPC_AT_COOKIE = 0,
	VPC_AT_FEATURES = 8,
	VPC_AT_VERSION = 12,
	VPC_AT_DATA_OFFSET = 16,
	VPC_AT_TIME = 24,
	VPC_AT_CREATOR = 28,
	VPC_AT_CREATOR_VERSION = 32,
	VPC_AT_CREATOR_OS = 36,
	VPC_AT_ORIGINAL_SIZE = 40,
	VPC_AT_CURRENT_SIZE = 48,
	VPC_AT_CYLINDERS = 56,
	VPC_AT_HEADS = 58,
	VPC_AT_TRACK = 59,
	VPC_AT_TYPE = 60,
	VPC_AT_CHECKSUM = 64,
	VPC_AT_UUID = 68,
};

enum vpc_header {
	VPC_AT_DYN_COOKIE = 0,
	VPC_AT_NEXT = 8,
	VPC_AT_TABLE_OFFSET = 16,
	VPC_AT_DYN_VERSION = 24,
	VPC_AT_TABLE_ENTRIES = 28,
	VPC_AT_BLOCK_BYTES = 32,
	VPC_AT_DYN_CHECKSUM = 36,
};

struct vpc {
	struct block_table table; /* first: block_table.h; of a dynamic disk */
	bool fixed;
	uint8_t footer[VPC_FOOTER_BYTES];
	uint64_t header_offset;
	uint32_t bitmap_bytes; /* before each block */
	uint64_t data_end;     /* where the next block goes; the footer stands there. Under the table's lock */
	uint64_t fresh_from;   /* behind it the file reads as zeroes */
	uint8_t *ones;         /* a bitmap that says that all of a block is there */
};

/* --- vpc_create.c --- */
/* One's complement of the sum of the bytes, those of the sum itself (4 at `at`) left out. */
uint32_t vpc_checksum(const uint8_t *bytes, size_t length, size_t at);
extern const struct block_create_option vpc_create_options[];
int vpc_create(const struct block_create *create, struct error *err);

#endif
