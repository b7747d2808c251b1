/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sparse extents of VMDK (Virtual Disk Format 5.0, "Hosted Sparse Extents", "ESX Server Sparse Extents",
 * "Stream-Optimized Compressed Sparse Extents"): header, grain directory, and what the grain tables' entries mean.
 * Grain tables are not made where a directory has none (ESX); the redundant tables are written, never read.
 */
#include "backend/block/vmdk_internal.h"

#include <stdlib.h>

#define MAX_GRAIN_SECTORS        0x200000u /* 1 GiB */
#define MAX_PACKED_GRAIN_SECTORS 0x8000u   /* 16 MiB: read as a whole */
#define MAX_DIRECTORY_ENTRIES    (32u << 20)
#define GD_AT_END                UINT64_MAX

enum { MARKER_FOOTER = 3 };

/* Either header, in host order. */
struct header {
	uint32_t version, flags, table_entries;
	uint64_t capacity, grain_sectors; /* sectors, as all that follow */
	uint64_t descriptor, descriptor_sectors;
	uint64_t directory, redundant, first_grain;
	bool compressed;
};

static uint64_t directory_entries(const struct header *h)
{
	const uint64_t span = h->table_entries * h->grain_sectors;

	return h->capacity / span + !!(h->capacity % span);
}

static int read_file(struct vmdk_extent *e, uint64_t offset, void *to, uint64_t length, const char *what,
		     struct error *err)
{
	int result = image_file_read(e->file, offset, to, length);

	return result ? error_set_errno(err, -result, "Could not read the %s of '%s'", what, e->file->filename) : 0;
}

/* --- headers --- */

static void decode_hosted(const uint8_t *from, struct header *h)
{
	*h = (struct header){
		.version = load_le32(from + 4),
		.flags = load_le32(from + 8),
		.capacity = load_le64(from + 12),
		.grain_sectors = load_le64(from + 20),
		.descriptor = load_le64(from + 28),
		.descriptor_sectors = load_le64(from + 36),
		.table_entries = load_le32(from + 44),
		.redundant = load_le64(from + 48),
		.directory = load_le64(from + 56),
		.first_grain = load_le64(from + 64),
		.compressed = load_le16(from + 77) == 1,
	};
	if (!(h->flags & VMDK_REDUNDANT))
		h->redundant = 0;
}

static void decode_esx(const uint8_t *from, struct header *h)
{
	*h = (struct header){
		.version = 1,
		.capacity = load_le32(from + 12),
		.grain_sectors = load_le32(from + 16),
		.directory = load_le32(from + 20),
		.table_entries = 4096,
	};
}

uint64_t vmdk_extent_descriptor_only(const uint8_t *header)
{
	struct header h;

	if (memcmp(header, VMDK_MAGIC_HOSTED, 4) != 0)
		return 0;
	decode_hosted(header, &h);
	return h.capacity == 0 && h.descriptor <= INT64_MAX / BLOCK_SECTOR ? h.descriptor * BLOCK_SECTOR : 0;
}

/* A stream that was written without going back has its true header at the end: a marker, the header, the mark of the
 * end. */
static int read_footer(struct vmdk_extent *e, struct header *h, struct error *err)
{
	uint8_t footer[3 * BLOCK_SECTOR];
	int result;

	if (e->file->length < 4 * BLOCK_SECTOR)
		return error_set(err, EINVAL, "Invalid footer");
	result = read_file(e, e->file->length - sizeof(footer), footer, sizeof(footer), "footer", err);
	if (result)
		return result;
	if (load_le32(footer + 8) != 0 || load_le32(footer + 12) != MARKER_FOOTER ||
	    memcmp(footer + 512, VMDK_MAGIC_HOSTED, 4) != 0 || load_le64(footer + 1024) != 0 ||
	    load_le32(footer + 1032) != 0 || load_le32(footer + 1036) != 0)
		return error_set(err, EINVAL, "Invalid footer");
	decode_hosted(footer + 512, h);
	return 0;
}

static int check_header(const struct vmdk_extent *e, const struct header *h, bool read_only, struct error *err)
{
	if (h->version > 3)
		return error_set(err, ENOTSUP, "Unsupported VMDK version %u", h->version);
	/* Version 3 keeps track of changed blocks, which a writer here would not. */
	if (h->version == 3 && !read_only && !h->compressed)
		return error_set(err, EINVAL, "VMDK version 3 must be read only");
	if (h->table_entries > 512 && h->table_entries != 4096)
		return error_set(err, EINVAL, "L2 table size too big");
	if (!h->table_entries || !h->grain_sectors)
		return error_set(err, EINVAL, "L1 entry size is invalid");
	if (!is_power_of_two(h->grain_sectors) || h->grain_sectors > MAX_GRAIN_SECTORS ||
	    (h->compressed && h->grain_sectors > MAX_PACKED_GRAIN_SECTORS))
		return error_set(err, EFBIG, "Invalid granularity, image may be corrupt");
	if (!h->capacity || h->capacity > INT64_MAX / BLOCK_SECTOR)
		return error_set(err, EINVAL, "Invalid capacity of extent '%s', image may be corrupt",
				 e->file->filename);
	if (directory_entries(h) > MAX_DIRECTORY_ENTRIES)
		return error_set(err, EFBIG, "L1 size too big");
	if (h->first_grain > e->file->length / BLOCK_SECTOR)
		return error_set(err, EINVAL, "File truncated, expecting at least %llu bytes",
				 (unsigned long long)h->first_grain * BLOCK_SECTOR);
	return 0;
}

static int read_header(struct vmdk_extent *e, struct header *h, struct error *err)
{
	uint8_t raw[BLOCK_SECTOR];
	int result = read_file(e, 0, raw, sizeof(raw), "header", err);

	if (result)
		return result;
	if (!memcmp(raw, VMDK_MAGIC_COWD, 4)) {
		decode_esx(raw, h);
		return 0;
	}
	if (memcmp(raw, VMDK_MAGIC_HOSTED, 4) != 0)
		return error_set(err, EINVAL, "Image not in VMDK format");
	decode_hosted(raw, h);
	return h->directory == GD_AT_END ? read_footer(e, h, err) : 0;
}

/* --- directories --- */

static int load_directory(struct vmdk_extent *e, uint64_t sector, uint64_t *offset, uint32_t **directory,
			  struct error *err)
{
	const uint64_t bytes = e->directory_entries * 4ull;
	int result;

	if (sector > e->file->length / BLOCK_SECTOR || !range_inside(sector * BLOCK_SECTOR, bytes, e->file->length))
		return error_set(err, EINVAL, "the grain directory of '%s' lies beyond the end of the file",
				 e->file->filename);
	*offset = sector * BLOCK_SECTOR;
	*directory = malloc(max_u64(bytes, 1));
	if (!*directory)
		return error_set(err, ENOMEM, "no memory for the grain directory of '%s'", e->file->filename);
	result = read_file(e, *offset, *directory, bytes, "grain directory", err);
	for (uint32_t i = 0; !result && i < e->directory_entries; i++)
		(*directory)[i] = load_le32(&(*directory)[i]);
	return result;
}

static uint64_t table_bytes(const struct vmdk_extent *e)
{
	return e->table_entries * 4ull;
}

static uint64_t end_of_tables(const struct vmdk_extent *e, const uint32_t *directory)
{
	uint64_t end = 0;

	for (uint32_t i = 0; directory && i < e->directory_entries; i++)
		if (directory[i])
			end = max_u64(end, directory[i] * (uint64_t)BLOCK_SECTOR + table_bytes(e));
	return end;
}

static bool overlaps(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
	return a < b + b_length && b < a + a_length;
}

/* Header, descriptor, directories. */
static bool is_fixed_part(const struct vmdk_extent *e, uint64_t offset, uint64_t length)
{
	const uint64_t bytes = e->directory_entries * 4ull;

	return offset < BLOCK_SECTOR || overlaps(offset, length, e->descriptor_offset, e->descriptor_bytes) ||
	       overlaps(offset, length, e->directory_offset, bytes) ||
	       (e->redundant && overlaps(offset, length, e->redundant_offset, bytes));
}

/* Tables are written in place: they must not lie over anything else, nor behind the end, where grains go. */
static int check_tables(const struct vmdk_extent *e, const uint32_t *directory, struct error *err)
{
	for (uint32_t i = 0; directory && i < e->directory_entries; i++) {
		const uint64_t at = directory[i] * (uint64_t)BLOCK_SECTOR;

		if (directory[i] &&
		    (!range_inside(at, table_bytes(e), e->file->length) || is_fixed_part(e, at, table_bytes(e))))
			return error_set(err, EINVAL,
					 "grain table %u of '%s' lies beyond the end or over other structures", i,
					 e->file->filename);
	}
	return 0;
}

/* --- the operations of struct sparse --- */

static int locate(const struct sparse *s, uint64_t index, uint64_t *table, uint32_t *slot)
{
	const struct vmdk_extent *e = s->owner;
	const uint64_t entry = index / e->table_entries;

	*slot = (uint32_t)(index % e->table_entries);
	if (entry >= e->directory_entries || !e->directory[entry])
		return -ENOENT;
	*table = e->directory[entry] * (uint64_t)BLOCK_SECTOR;
	return 0;
}

static int decode(const struct sparse *s, const uint8_t *table, uint32_t slot, struct sparse_entry *entry)
{
	const uint32_t sector = load_le32(table + slot * 4ull);

	*entry = (struct sparse_entry){.kind = SPARSE_ABSENT};
	if (sector == VMDK_GTE_ZERO && s->has_zero)
		entry->kind = SPARSE_ZERO;
	else if (sector)
		*entry = (struct sparse_entry){.kind = s->packed ? SPARSE_PACKED : SPARSE_DATA,
					       .host = sector * (uint64_t)BLOCK_SECTOR};
	return 0;
}

static void encode(const struct sparse *s, uint8_t *table, uint32_t slot, const struct sparse_entry *entry)
{
	store_le32(table + slot * 4ull,
		   entry->kind == SPARSE_ZERO ? VMDK_GTE_ZERO : (uint32_t)(entry->host / BLOCK_SECTOR));
}

static bool is_metadata(const struct sparse *s, uint64_t host, uint64_t length)
{
	const struct vmdk_extent *e = s->owner;

	if (host >= e->metadata_end)
		return false;
	if (is_fixed_part(e, host, length))
		return true;
	for (uint32_t i = 0; i < e->directory_entries; i++) {
		const uint64_t table = e->directory[i] * (uint64_t)BLOCK_SECTOR;
		const uint64_t second = e->redundant ? e->redundant[i] * (uint64_t)BLOCK_SECTOR : 0;

		if ((table && overlaps(host, length, table, table_bytes(e))) ||
		    (second && overlaps(host, length, second, table_bytes(e))))
			return true;
	}
	return false;
}

/* The directory entry of a table: in all that we write they follow one another. */
static uint32_t entry_of_table(const struct vmdk_extent *e, uint64_t offset)
{
	const uint32_t sector = (uint32_t)(offset / BLOCK_SECTOR);
	const uint64_t guess = sector >= e->directory[0] ? (offset - e->directory[0] * (uint64_t)BLOCK_SECTOR) /
								   align_up(table_bytes(e), BLOCK_SECTOR)
							 : 0;
	uint32_t i = 0;

	if (guess < e->directory_entries && e->directory[guess] == sector)
		return (uint32_t)guess;
	while (i < e->directory_entries && e->directory[i] != sector)
		i++;
	return i;
}

static int write_tables(struct sparse *s, const struct sparse_piece *pieces, size_t count)
{
	struct vmdk_extent *e = s->owner;
	int result = 0;

	for (size_t i = 0; i < count && !result; i++) {
		const struct sparse_piece *piece = &pieces[i];
		const uint32_t entry = e->redundant ? entry_of_table(e, piece->table->offset) : 0;

		if (e->redundant && entry < e->directory_entries && e->redundant[entry])
			result = image_file_write(s->file,
						  e->redundant[entry] * (uint64_t)BLOCK_SECTOR +
							  (piece->offset - piece->table->offset),
						  piece->data, piece->length);
		if (!result)
			result = image_file_write(s->file, piece->offset, piece->data, piece->length);
	}
	return result ? result : block_flush(s->file);
}

static const struct sparse_ops vmdk_sparse_ops = {
	.locate = locate,
	.decode = decode,
	.encode = encode,
	.is_metadata = is_metadata,
	.write_tables = write_tables,
	.unpack = vmdk_grain_unpack,
	.pack = vmdk_grain_pack,
};

/* --- opening --- */

static void set_up_sparse(struct vmdk *v, struct vmdk_extent *e, const struct header *h)
{
	const uint64_t grain = h->grain_sectors * BLOCK_SECTOR;

	e->sparse = (struct sparse){
		.ops = &vmdk_sparse_ops,
		.owner = e,
		.block = v->block,
		.file = e->file,
		.start = e->start,
		.length = e->length,
		.block_bytes = grain,
		.table_bytes = (uint32_t)table_bytes(e),
		.entry_bytes = 4,
		.write_unit = BLOCK_SECTOR,
		.alignment = (uint32_t)(h->compressed ? BLOCK_SECTOR : grain),
		.max_file = (uint64_t)BLOCK_SECTOR << 32,
		.packed = h->compressed,
		.has_zero = h->flags & VMDK_ZERO_GRAIN,
		.next = align_up(e->file->length, BLOCK_SECTOR),
	};
	sparse_init(&e->sparse);
}

int vmdk_extent_open(struct vmdk *v, struct vmdk_extent *e, bool embedded, struct error *err)
{
	struct header h = {0};
	int result;

	if ((result = read_header(e, &h, err)) || (result = check_header(e, &h, v->block->read_only, err)))
		return result;
	e->length = h.capacity * BLOCK_SECTOR;
	e->compressed = h.compressed;
	e->markers = h.flags & VMDK_MARKERS;
	e->table_entries = h.table_entries;
	e->directory_entries = (uint32_t)directory_entries(&h);
	if (embedded) {
		e->descriptor_offset = v->descriptor_offset;
		e->descriptor_bytes = VMDK_DESCRIPTOR_SECTORS * BLOCK_SECTOR;
	}
	if ((result = load_directory(e, h.directory, &e->directory_offset, &e->directory, err)) ||
	    (h.redundant && (result = load_directory(e, h.redundant, &e->redundant_offset, &e->redundant, err))))
		return result;
	if (!v->block->read_only &&
	    ((result = check_tables(e, e->directory, err)) || (result = check_tables(e, e->redundant, err))))
		return result;
	e->metadata_end = max_u64(end_of_tables(e, e->directory), end_of_tables(e, e->redundant));
	e->metadata_end = max_u64(e->metadata_end, e->directory_offset + e->directory_entries * 4ull);
	e->metadata_end = max_u64(e->metadata_end, e->redundant_offset + e->directory_entries * 4ull);
	e->metadata_end = max_u64(e->metadata_end, e->descriptor_offset + e->descriptor_bytes);
	e->metadata_end = max_u64(e->metadata_end, BLOCK_SECTOR);
	set_up_sparse(v, e, &h);
	return 0;
}

void vmdk_extent_close(struct vmdk_extent *e, bool written)
{
	if (e->sparse.ops)
		sparse_free(&e->sparse);
	free(e->directory);
	free(e->redundant);
	if (e->claimed)
		block_release(e->file, written);
	if (e->own_file)
		block_unref(e->file);
	free(e);
}
