/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qcow2 header: reading with all checks, extensions, writing back. Unknown extensions are kept as they are; unknown
 * incompatible features are refused by the names that the image itself gives them.
 */
#include "backend/block/qcow2_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { V2_HEADER = 72, V3_HEADER = 104, MAX_BACKING_NAME = 1023 };

void qcow2_header_encode(const struct qcow2_header *header, uint8_t *to)
{
	store_be32(to, QCOW2_MAGIC);
	store_be32(to + 4, header->version);
	store_be64(to + 8, header->backing_offset);
	store_be32(to + 16, header->backing_length);
	store_be32(to + 20, header->cluster_bits);
	store_be64(to + 24, header->size);
	store_be32(to + 32, header->crypt_method);
	store_be32(to + 36, header->l1_size);
	store_be64(to + 40, header->l1_offset);
	store_be64(to + 48, header->reftable_offset);
	store_be32(to + 56, header->reftable_clusters);
	store_be32(to + 60, header->snapshot_count);
	store_be64(to + 64, header->snapshots_offset);
	if (header->version < 3)
		return;
	store_be64(to + 72, header->incompatible);
	store_be64(to + 80, header->compatible);
	store_be64(to + 88, header->autoclear);
	store_be32(to + 96, header->refcount_order);
	store_be32(to + 100, header->header_length);
	if (header->header_length > V3_HEADER)
		to[104] = header->compression;
}

static void decode(struct qcow2_header *header, const uint8_t *from)
{
	*header = (struct qcow2_header){
		.version = load_be32(from + 4),
		.backing_offset = load_be64(from + 8),
		.backing_length = load_be32(from + 16),
		.cluster_bits = load_be32(from + 20),
		.size = load_be64(from + 24),
		.crypt_method = load_be32(from + 32),
		.l1_size = load_be32(from + 36),
		.l1_offset = load_be64(from + 40),
		.reftable_offset = load_be64(from + 48),
		.reftable_clusters = load_be32(from + 56),
		.snapshot_count = load_be32(from + 60),
		.snapshots_offset = load_be64(from + 64),
		.refcount_order = 4,
		.header_length = V2_HEADER,
	};
	if (header->version < 3)
		return;
	header->incompatible = load_be64(from + 72);
	header->compatible = load_be64(from + 80);
	header->autoclear = load_be64(from + 88);
	header->refcount_order = load_be32(from + 96);
	header->header_length = load_be32(from + 100);
	if (header->header_length > V3_HEADER)
		header->compression = from[104];
}

/* --- checks --- */

static int check_geometry(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *h = &q->header;

	if (h->version != 2 && h->version != 3)
		return error_set(err, ENOTSUP, "Unsupported qcow2 version %u", h->version);
	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return error_set(err, EINVAL, "Unsupported cluster size: 2^%u", h->cluster_bits);
	if (h->refcount_order > 6)
		return error_set(err, EINVAL, "Reference count entry width too large; may not exceed 64 bits");
	if (h->version == 3 &&
	    (h->header_length < V3_HEADER || h->header_length % 8 || h->header_length > 1u << h->cluster_bits))
		return error_set(err, EINVAL, "qcow2 header length %u is not valid", h->header_length);
	if (h->incompatible & QCOW2_EXTENDED_L2 && h->cluster_bits < QCOW2_MIN_EXTENDED_BITS)
		return error_set(err, EINVAL, "Extended L2 entries need clusters of at least 16 KiB, not 2^%u bytes",
				 h->cluster_bits);
	if (h->size > (uint64_t)INT64_MAX - (1u << h->cluster_bits))
		return error_set(err, EFBIG, "Image size %llu is too large", (unsigned long long)h->size);
	return 0;
}

/* Name of a feature bit from the image's own table, else a number. */
static void feature_name(const uint8_t *names, uint32_t length, unsigned type, unsigned bit, char *to, size_t room)
{
	for (uint32_t at = 0; names && at + 48 <= length; at += 48) {
		if (names[at] == type && names[at + 1] == bit) {
			snprintf(to, room, "%.46s", (const char *)names + at + 2);
			return;
		}
	}
	snprintf(to, room, "Unknown incompatible feature: bit %u", bit);
}

static int check_features(struct qcow2 *q, const uint8_t *names, uint32_t names_length, struct error *err)
{
	const uint64_t known = QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION | QCOW2_EXTENDED_L2 | QCOW2_DATA_FILE;
	uint64_t unknown = q->header.incompatible & ~known;
	char list[256] = "";

	for (unsigned bit = 0; bit < 64; bit++) {
		char name[64];
		size_t used = strlen(list);

		if (!(unknown & 1ull << bit))
			continue;
		feature_name(names, names_length, 0, bit, name, sizeof(name));
		snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", name);
	}
	if (unknown)
		return error_set(err, ENOTSUP, "Unsupported qcow2 feature(s): %s", list);
	if ((q->header.incompatible & QCOW2_COMPRESSION) && q->header.compression == QCOW2_ZLIB)
		return error_set(err, EINVAL, "Compression type incompatible feature bit must not be set");
	if (!(q->header.incompatible & QCOW2_COMPRESSION) && q->header.compression != QCOW2_ZLIB)
		return error_set(err, EINVAL, "Compression type incompatible feature bit must be set");
	if (q->header.compression > QCOW2_ZSTD)
		return error_set(err, ENOTSUP, "Unknown compression type: %u", q->header.compression);
	if (q->header.incompatible & QCOW2_CORRUPT && !q->block->read_only && !q->allow_corrupt)
		return error_set(err, EACCES, "Image is corrupt; cannot be opened read/write");
	return 0;
}

/* Tables that the header names: aligned, not absurd, inside the file, not over the header. */
static int check_table(struct qcow2 *q, const char *what, uint64_t offset, uint64_t entries, uint64_t entry_bytes,
		       uint64_t max_bytes, struct error *err)
{
	if (entries > max_bytes / entry_bytes)
		return error_set(err, EFBIG, "%s too large", what);
	if (entries == 0)
		return 0;
	if (offset & (q->cluster_bytes - 1) || offset > INT64_MAX - max_bytes)
		return error_set(err, EINVAL, "%s offset invalid", what);
	if (offset < q->cluster_bytes || !range_inside(offset, entries * entry_bytes, q->file_end))
		return error_set(err, EINVAL, "%s lies outside of the image file (offset %#llx, %llu entries)", what,
				 (unsigned long long)offset, (unsigned long long)entries);
	return 0;
}

static int check_tables(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header *h = &q->header;
	const uint64_t per_l1 = (uint64_t)q->l2_entries << q->cluster_bits;
	const uint64_t needed = h->size / per_l1 + !!(h->size % per_l1);
	int result;

	if (h->reftable_clusters == 0)
		return error_set(err, EINVAL, "Image does not contain a reference count table");
	if ((result = check_table(q, "Reference count table", h->reftable_offset, h->reftable_clusters,
				  q->cluster_bytes, QCOW2_MAX_TABLE_BYTES, err)) ||
	    (result = check_table(q, "Active L1 table", h->l1_offset, h->l1_size, 8, QCOW2_MAX_L1_BYTES, err)) ||
	    (result = check_table(q, "Snapshot table", h->snapshots_offset, h->snapshot_count, 40,
				  QCOW2_MAX_SNAPSHOTS * 40ull, err)))
		return result;
	if (needed > QCOW2_MAX_L1_BYTES / 8)
		return error_set(err, EFBIG, "Image is too big");
	if (h->l1_size < needed)
		return error_set(err, EINVAL, "L1 table is too small");
	return 0;
}

/* --- extensions --- */

static int read_extension(struct qcow2 *q, uint32_t type, const uint8_t *data, uint32_t length, struct error *err)
{
	if (type == QCOW2_EXT_DATA_FILE) {
		free(q->data_name);
		q->data_name = strndup((const char *)data, length);
	}
	if (type != QCOW2_EXT_BACKING_FORMAT) {
		const uint32_t whole = 8 + (uint32_t)align_up(length, 8);

		q->extensions = xrealloc(q->extensions, q->extensions_length + whole);
		memset(q->extensions + q->extensions_length, 0, whole);
		memcpy(q->extensions + q->extensions_length, data - 8, 8 + (size_t)length);
		q->extensions_length += whole;
		return 0;
	}
	if (length >= 16)
		return error_set(err, EINVAL, "ext_backing_format: len=%u too large (>=16)", length);
	free(q->backing_format);
	q->backing_format = strndup((const char *)data, length);
	return 0;
}

static int read_extensions(struct qcow2 *q, const uint8_t *head, uint32_t from, uint32_t to, const uint8_t **names,
			   uint32_t *names_length, struct error *err)
{
	while (from + 8 <= to) {
		const uint32_t type = load_be32(head + from), length = load_be32(head + from + 4);
		int result;

		from += 8;
		if (type == QCOW2_EXT_END)
			return 0;
		if (length > to - from)
			return error_set(err, EINVAL, "Header extension too large");
		if (type == QCOW2_EXT_FEATURE_NAMES) {
			*names = head + from;
			*names_length = length;
		}
		result = read_extension(q, type, head + from, length, err);
		if (result)
			return result;
		from += (uint32_t)min_u64(align_up(length, 8), to - from);
	}
	return 0;
}

const uint8_t *qcow2_extension_find(const struct qcow2 *q, uint32_t type, uint32_t min_length)
{
	for (uint32_t at = 0; at + 8 <= q->extensions_length;) {
		const uint32_t length = load_be32(q->extensions + at + 4);

		if (load_be32(q->extensions + at) == type && length >= min_length)
			return q->extensions + at + 8;
		at += 8 + (uint32_t)align_up(length, 8);
	}
	return NULL;
}

static int read_backing_name(struct qcow2 *q, const uint8_t *head, struct error *err)
{
	const struct qcow2_header *h = &q->header;

	if (!h->backing_offset)
		return 0;
	if (h->backing_length > MAX_BACKING_NAME ||
	    !range_inside(h->backing_offset, h->backing_length, q->cluster_bytes))
		return error_set(err, EINVAL, "Backing file name too long or outside of the header");
	if (!h->backing_length)
		return 0;
	q->backing_name = strndup((const char *)head + h->backing_offset, h->backing_length);
	return 0;
}

static void derive(struct qcow2 *q)
{
	q->cluster_bits = q->header.cluster_bits;
	q->cluster_bytes = 1u << q->cluster_bits;
	q->subclusters = q->header.incompatible & QCOW2_EXTENDED_L2 ? 32 : 1;
	q->subcluster_bits = q->cluster_bits - (q->subclusters > 1 ? 5 : 0);
	q->subcluster_bytes = 1u << q->subcluster_bits;
	q->entry_bytes = q->subclusters > 1 ? 16 : 8;
	q->l2_bits = q->cluster_bits - (q->subclusters > 1 ? 4 : 3);
	q->l2_entries = 1u << q->l2_bits;
	q->refcount_bits = 1u << q->header.refcount_order;
	q->block_bits = q->cluster_bits + 3 - q->header.refcount_order;
}

static int parse_head(struct qcow2 *q, uint8_t *head, struct error *err)
{
	uint32_t end = q->cluster_bytes, names_length = 0;
	const uint8_t *names = NULL;
	int result = qcow2_file_read(q, 0, head, q->cluster_bytes);

	if (result)
		return error_set_errno(err, -result, "Could not read the qcow2 header");
	if (q->header.backing_offset >= q->header.header_length && q->header.backing_offset < end)
		end = (uint32_t)q->header.backing_offset;
	if ((result = read_extensions(q, head, q->header.header_length, end, &names, &names_length, err)) ||
	    (result = check_features(q, names, names_length, err)) || (result = read_backing_name(q, head, err)))
		return result;
	return check_tables(q, err);
}

int qcow2_header_read(struct qcow2 *q, struct error *err)
{
	uint8_t first[112] = {0}, *head;
	int result = qcow2_file_read(q, 0, first, sizeof(first));

	if (result)
		return error_set_errno(err, -result, "Could not read the qcow2 header");
	if (load_be32(first) != QCOW2_MAGIC)
		return error_set(err, EINVAL, "Image is not in qcow2 format");
	decode(&q->header, first);
	result = check_geometry(q, err);
	if (result)
		return result;
	derive(q);
	head = xcalloc(1, q->cluster_bytes);
	result = parse_head(q, head, err);
	free(head);
	return result;
}

/* --- writing --- */

int qcow2_header_write_fields(struct qcow2 *q)
{
	uint8_t head[112] = {0};
	const uint32_t length = (uint32_t)min_u64(q->header.header_length, 105);

	qcow2_header_encode(&q->header, head);
	return qcow2_file_write(q, 0, head, length);
}

static uint32_t put_extension(uint8_t *to, uint32_t type, const char *text)
{
	store_be32(to, type);
	store_be32(to + 4, (uint32_t)strlen(text));
	memcpy(to + 8, text, strlen(text));
	return 8 + (uint32_t)align_up(strlen(text), 8);
}

void qcow2_extension_set(struct qcow2 *q, uint32_t type, const void *data, uint32_t length)
{
	const uint32_t whole = 8 + (uint32_t)align_up(length, 8);

	for (uint32_t at = 0; at + 8 <= q->extensions_length;) {
		const uint32_t bytes = 8 + (uint32_t)align_up(load_be32(q->extensions + at + 4), 8);

		if (load_be32(q->extensions + at) == type) {
			memmove(q->extensions + at, q->extensions + at + bytes, q->extensions_length - at - bytes);
			q->extensions_length -= bytes;
		} else {
			at += bytes;
		}
	}
	if (!data)
		return;
	q->extensions = xrealloc(q->extensions, q->extensions_length + whole);
	memset(q->extensions + q->extensions_length, 0, whole);
	store_be32(q->extensions + q->extensions_length, type);
	store_be32(q->extensions + q->extensions_length + 4, length);
	memcpy(q->extensions + q->extensions_length + 8, data, length);
	q->extensions_length += whole;
}

/* Composes the first cluster over what is there. Fields of a longer header that we do not know stay. */
static void compose(struct qcow2 *q, uint8_t *head, const uint8_t *was)
{
	const uint32_t name_length = q->backing_name ? (uint32_t)strlen(q->backing_name) : 0;
	const uint32_t old_at = (uint32_t)q->header.backing_offset, old_end = old_at + q->header.backing_length;
	const bool same_name = name_length && old_at && name_length == q->header.backing_length &&
			       !memcmp(was + old_at, q->backing_name, name_length);
	const uint32_t was_length = load_be32(was + 4) < 3 ? (uint32_t)V2_HEADER : load_be32(was + 100);
	uint32_t at = q->header.header_length;

	memcpy(head, was, min_u64(was_length, q->header.header_length));
	if (q->backing_format)
		at += put_extension(head + at, QCOW2_EXT_BACKING_FORMAT, q->backing_format);
	if (q->extensions_length)
		memcpy(head + at, q->extensions, q->extensions_length);
	at += q->extensions_length + 8; /* the end mark is zeroes */
	/* A name that stays the same stays where it is, or goes where it does not cover its old self. */
	if (same_name && old_at >= at)
		at = old_at;
	else if (same_name && old_end > at && old_end + name_length <= q->cluster_bytes)
		at = old_end;
	q->header.backing_offset = name_length ? at : 0;
	q->header.backing_length = name_length;
	if (name_length)
		memcpy(head + at, q->backing_name, name_length);
	qcow2_header_encode(&q->header, head);
}

static int write_synced(struct qcow2 *q, const uint8_t *head, uint32_t from, uint32_t to)
{
	int result = to > from ? qcow2_file_write(q, from, head + from, to - from) : 0;

	return result ? result : qcow2_file_sync(q);
}

/*
 * A sector is written as a whole, a cluster is not. What lies behind the first sector is written before it, and while
 * they do not fit together the header says that there are no bitmaps. A backing file name that has to move is there
 * before anything points to it.
 */
static int write_in_order(struct qcow2 *q, const uint8_t *head, const uint8_t *was)
{
	uint8_t between[BLOCK_SECTOR];
	int result = 0;

	if (memcmp(head + BLOCK_SECTOR, was + BLOCK_SECTOR, q->cluster_bytes - BLOCK_SECTOR)) {
		const uint64_t name = q->header.backing_offset, old_name = load_be64(was + 8);
		const bool moves = name >= BLOCK_SECTOR && name != old_name && old_name &&
				   load_be32(was + 16) == q->header.backing_length;

		memcpy(between, was, sizeof(between));
		if (load_be32(was + 4) >= 3)
			store_be64(between + 88, load_be64(was + 88) & ~(uint64_t)QCOW2_BITMAPS);
		if (moves) {
			result = write_synced(q, head, (uint32_t)name, (uint32_t)name + q->header.backing_length);
			store_be64(between + 8, name);
		}
		if (!result && memcmp(between, was, sizeof(between)))
			result = write_synced(q, between, 0, sizeof(between));
		if (!result)
			result = write_synced(q, head, BLOCK_SECTOR, q->cluster_bytes);
	}
	return result ? result : write_synced(q, head, 0, BLOCK_SECTOR);
}

int qcow2_header_rewrite(struct qcow2 *q, struct error *err)
{
	const struct qcow2_header old = q->header;
	const uint32_t name_length = q->backing_name ? (uint32_t)strlen(q->backing_name) : 0;
	uint32_t needed = q->header.header_length + 24 + q->extensions_length + 8 + name_length;
	uint8_t *head, *was;
	int result;

	if (needed > q->cluster_bytes) { /* the names of features can go first */
		needed -= q->extensions_length;
		qcow2_extension_set(q, QCOW2_EXT_FEATURE_NAMES, NULL, 0);
		needed += q->extensions_length;
	}
	if (name_length > MAX_BACKING_NAME)
		return error_set_errno(err, EINVAL, "the backing file's name has more than %d bytes", MAX_BACKING_NAME);
	if (needed > q->cluster_bytes)
		return error_set(err, ENOSPC, "the header has no room for backing file name and extensions (%u bytes)",
				 needed);
	head = xcalloc(1, q->cluster_bytes);
	was = xcalloc(1, q->cluster_bytes);
	result = qcow2_file_read(q, 0, was, q->cluster_bytes);
	if (!result) {
		compose(q, head, was);
		result = write_in_order(q, head, was);
	}
	if (result) {
		q->header.backing_offset = old.backing_offset;
		q->header.backing_length = old.backing_length;
	}
	free(head);
	free(was);
	return result ? error_set_errno(err, -result, "Could not write the qcow2 header") : 0;
}
