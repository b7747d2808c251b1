/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bitmaps in the file (qcow2.txt, "Bitmaps"): a directory, a table for each bitmap, and clusters of bits. What changed
 * is written to new clusters; then the header's extension names a new directory, and the old clusters are freed. An
 * interruption leaves the old directory, in which bitmaps that follow writes are marked in use, or none: then the
 * autoclear bit is off and all bitmaps are gone.
 */
#include "backend/block/qcow2_bitmap.h"

#include <stdlib.h>

enum { ENTRY_HEAD = 24, TYPE_DIRTY = 1, MIN_GRANULARITY = 9, MAX_GRANULARITY = 31, ALL_ONES = 1 };

#define MAX_DIRECTORY_BYTES (64 * MIB)
#define MAX_BITS_BYTES      (512 * MIB)
#define TABLE_RESERVED      0xff000000000001feull

void qcow2_bitmap_free(struct qcow2_bitmap *bitmap)
{
	free(bitmap->name);
	free(bitmap->extra);
	free(bitmap->bits);
	free(bitmap->cut);
}

void qcow2_bitmaps_close(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->bitmap_count; i++)
		qcow2_bitmap_free(&q->bitmaps[i]);
	free(q->bitmaps);
	free(q->removed);
	q->bitmaps = NULL;
	q->bitmap_count = 0;
}

uint64_t qcow2_bitmap_bytes(const struct qcow2_bitmap *bitmap, uint64_t image_bytes)
{
	const uint64_t granules =
		(image_bytes >> bitmap->granularity_bits) + !!(image_bytes & ((1ull << bitmap->granularity_bits) - 1));

	return (granules + 7) / 8;
}

/* --- reading the directory --- */

static uint64_t entry_bytes(const struct qcow2_bitmap *bitmap)
{
	return align_up(ENTRY_HEAD + bitmap->extra_bytes + strlen(bitmap->name), 8);
}

static int bad_directory(struct error *err, const char *what)
{
	return error_set(err, EINVAL, "Broken bitmap directory: %s", what);
}

/* One entry at *at, which moves to the next. */
static int read_entry(struct qcow2 *q, const uint8_t *directory, uint64_t bytes, uint64_t *at, struct error *err)
{
	const uint8_t *from = directory + *at;
	struct qcow2_bitmap *bitmap = &q->bitmaps[q->bitmap_count];
	uint32_t flags, name_bytes;

	if (bytes - *at < ENTRY_HEAD)
		return bad_directory(err, "an entry goes beyond its end");
	flags = load_be32(from + 12);
	name_bytes = load_be16(from + 18);
	*bitmap = (struct qcow2_bitmap){.entry_offset = q->bitmap_directory + *at,
					.table_offset = load_be64(from),
					.table_entries = load_be32(from + 8),
					.granularity_bits = from[17],
					.extra_bytes = load_be32(from + 20),
					.enabled = flags & QCOW2_BITMAP_AUTO,
					.inconsistent = flags & QCOW2_BITMAP_IN_USE};
	if (!range_inside(*at + ENTRY_HEAD, (uint64_t)bitmap->extra_bytes + name_bytes, bytes))
		return bad_directory(err, "an entry goes beyond its end");
	if (from[16] != TYPE_DIRTY || !name_bytes || name_bytes > QCOW2_MAX_BITMAP_NAME ||
	    bitmap->granularity_bits < MIN_GRANULARITY || bitmap->granularity_bits > MAX_GRANULARITY ||
	    flags & ~(uint32_t)(QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA_COMPATIBLE))
		return bad_directory(err, "an entry has values that cannot be");
	bitmap->foreign = bitmap->extra_bytes && !(flags & QCOW2_BITMAP_EXTRA_COMPATIBLE);
	bitmap->extra = xcalloc(1, bitmap->extra_bytes + 1u);
	memcpy(bitmap->extra, from + ENTRY_HEAD, bitmap->extra_bytes);
	bitmap->name = strndup((const char *)from + ENTRY_HEAD + bitmap->extra_bytes, name_bytes);
	q->bitmap_count++;
	for (uint32_t i = 0; i + 1 < q->bitmap_count; i++)
		if (!strcmp(q->bitmaps[i].name, bitmap->name))
			return bad_directory(err, "two bitmaps have one name");
	*at += align_up(ENTRY_HEAD + (uint64_t)bitmap->extra_bytes + name_bytes, 8);
	return 0;
}

/* A table that lies outside of the file, or is not of this image's size, is of no use. */
static void look_at_table(const struct qcow2 *q, struct qcow2_bitmap *bitmap)
{
	const uint64_t bytes = qcow2_bitmap_bytes(bitmap, q->header.size);

	if (bytes > MAX_BITS_BYTES || bitmap->table_entries != qcow2_clusters(q, bytes) ||
	    bitmap->table_offset & (q->cluster_bytes - 1) ||
	    !range_inside(bitmap->table_offset, bitmap->table_entries * 8ull, align_up(q->file_end, q->cluster_bytes)))
		bitmap->inconsistent = true;
}

static int read_directory(struct qcow2 *q, uint64_t offset, uint64_t bytes, uint32_t count, struct error *err)
{
	uint8_t *directory = malloc(bytes);
	uint64_t at = 0;
	int result = directory ? qcow2_file_read(q, offset, directory, bytes) : -ENOMEM;

	if (result)
		error_set_errno(err, -result, "Could not read the bitmap directory");
	q->bitmaps = xcalloc(count, sizeof(*q->bitmaps));
	while (!result && q->bitmap_count < count) {
		result = read_entry(q, directory, bytes, &at, err);
		if (!result)
			look_at_table(q, &q->bitmaps[q->bitmap_count - 1]);
	}
	if (!result && at != bytes)
		result = bad_directory(err, "it is longer than its entries");
	free(directory);
	return result;
}

int qcow2_bitmaps_open(struct qcow2 *q, struct error *err)
{
	const uint8_t *extension = qcow2_extension_find(q, QCOW2_EXT_BITMAPS, 24);
	uint64_t offset, bytes;
	uint32_t count;

	q->bitmap_image_bytes = q->header.size;
	if (!extension || !(q->header.autoclear & QCOW2_BITMAPS))
		return 0;
	count = load_be32(extension);
	bytes = load_be64(extension + 8);
	offset = load_be64(extension + 16);
	if (!count || count > QCOW2_MAX_BITMAPS)
		return error_set(err, EINVAL, "bitmaps_ext: %u bitmaps: not between 1 and %u", count,
				 QCOW2_MAX_BITMAPS);
	if (offset & (q->cluster_bytes - 1) || !offset)
		return error_set(err, EINVAL, "bitmaps_ext: invalid bitmap directory offset");
	if (bytes > MAX_DIRECTORY_BYTES || bytes < (uint64_t)count * ENTRY_HEAD ||
	    !range_inside(offset, bytes, align_up(q->file_end, q->cluster_bytes)))
		return error_set(err, EINVAL,
				 "bitmaps_ext: bitmap directory of %llu bytes: too large, too small or outside "
				 "of the image file",
				 (unsigned long long)bytes);
	q->bitmap_directory = offset;
	q->bitmap_directory_bytes = bytes;
	return read_directory(q, offset, bytes, count, err);
}

/* --- bits --- */

int qcow2_bitmap_load(struct qcow2 *q, struct qcow2_bitmap *bitmap)
{
	const uint64_t bytes = qcow2_bitmap_bytes(bitmap, q->header.size);
	uint8_t *table = malloc(max_u64(1, bitmap->table_entries * 8ull)), *bits = calloc(1, bytes + 1);
	int result =
		table && bits ? qcow2_file_read(q, bitmap->table_offset, table, bitmap->table_entries * 8ull) : -ENOMEM;

	for (uint64_t i = 0; i < bitmap->table_entries && !result; i++) {
		const uint64_t entry = load_be64(table + i * 8), at = i << q->cluster_bits;
		const uint64_t offset = entry & QCOW2_OFFSET_MASK, part = min_u64(q->cluster_bytes, bytes - at);

		if (entry & TABLE_RESERVED || (offset && entry & ALL_ONES) || offset & (q->cluster_bytes - 1))
			result = -EINVAL;
		else if (offset)
			result = qcow2_file_read(q, offset, bits + at, part);
		else if (entry & ALL_ONES)
			memset(bits + at, 0xff, part);
	}
	free(table);
	if (result) {
		free(bits);
		return result;
	}
	free(bitmap->bits);
	bitmap->bits = bits;
	return 0;
}

int qcow2_bitmaps_set_in_use(struct qcow2 *q, bool all)
{
	bool wrote = false;
	int result = 0;

	for (uint32_t i = 0; i < q->bitmap_count && !result; i++) {
		const struct qcow2_bitmap *bitmap = &q->bitmaps[i];
		uint8_t flags[4];

		store_be32(flags,
			   QCOW2_BITMAP_IN_USE | (bitmap->enabled ? QCOW2_BITMAP_AUTO : 0) |
				   (bitmap->extra_bytes && !bitmap->foreign ? QCOW2_BITMAP_EXTRA_COMPATIBLE : 0));
		if (!bitmap->entry_offset || !(all || bitmap->enabled))
			continue;
		result = qcow2_file_write(q, bitmap->entry_offset + 12, flags, sizeof(flags));
		wrote = true;
	}
	return !result && wrote ? qcow2_file_sync(q) : result;
}

/* --- writing --- */

/* New clusters in one piece with this content. */
static int write_new(struct qcow2 *q, const uint8_t *data, uint64_t bytes, uint64_t *offset)
{
	uint64_t count = qcow2_clusters(q, bytes);
	uint8_t *padding;
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_allocate(q, &count, true, offset);
	if (!result)
		qcow2_take_fresh(q, *offset, count);
	pthread_mutex_unlock(&q->lock);
	if (!result)
		result = qcow2_file_write(q, *offset, data, bytes);
	if (result || bytes == count << q->cluster_bits)
		return result;
	padding = xcalloc(1, (count << q->cluster_bits) - bytes);
	result = qcow2_file_write(q, *offset + bytes, padding, (count << q->cluster_bits) - bytes);
	free(padding);
	return result;
}

static void free_clusters(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	if (bytes)
		qcow2_free_later(q, offset, align_up(bytes, q->cluster_bytes), QCOW2_FREED_ALWAYS);
}

/* Frees a table and what it refers to. Of a table that lies only what can be freed. */
static void free_table(struct qcow2 *q, uint64_t table_offset, uint32_t entries)
{
	uint8_t *table = entries <= MAX_BITS_BYTES / 512 ? malloc(max_u64(1, entries * 8ull)) : NULL;

	if (table && table_offset && !(table_offset & (q->cluster_bytes - 1)) &&
	    !qcow2_file_read(q, table_offset, table, entries * 8ull)) {
		pthread_mutex_lock(&q->lock);
		for (uint32_t i = 0; i < entries; i++) {
			const uint64_t offset = load_be64(table + i * 8ull) & QCOW2_OFFSET_MASK;

			if (offset && !(offset & (q->cluster_bytes - 1)))
				free_clusters(q, offset, q->cluster_bytes);
		}
		free_clusters(q, table_offset, entries * 8ull);
		pthread_mutex_unlock(&q->lock);
	}
	free(table);
}

static bool is_zero(const uint8_t *bytes, uint64_t count)
{
	return !count || (!bytes[0] && !memcmp(bytes, bytes + 1, count - 1));
}

/* The bitmap's bits in new clusters, with a new table. */
static int write_bitmap(struct qcow2 *q, struct qcow2_bitmap *bitmap)
{
	const uint64_t bytes = qcow2_bitmap_bytes(bitmap, q->header.size);
	const uint32_t entries = (uint32_t)qcow2_clusters(q, bytes);
	uint8_t *table = xcalloc(max_u64(1, entries), 8);
	uint64_t offset = 0;
	int result = 0;

	for (uint32_t i = 0; i < entries && !result; i++) {
		const uint64_t at = (uint64_t)i << q->cluster_bits, part = min_u64(q->cluster_bytes, bytes - at);

		if (is_zero(bitmap->bits + at, part))
			continue;
		result = write_new(q, bitmap->bits + at, part, &offset);
		store_be64(table + i * 8ull, offset);
	}
	if (!result && entries)
		result = write_new(q, table, entries * 8ull, &offset);
	free(table);
	if (result)
		return result;
	bitmap->table_offset = entries ? offset : 0;
	bitmap->table_entries = entries;
	bitmap->changed = false;
	return 0;
}

static void put_entry(uint8_t *to, const struct qcow2_bitmap *bitmap)
{
	const size_t name_bytes = strlen(bitmap->name);

	store_be64(to, bitmap->table_offset);
	store_be32(to + 8, bitmap->table_entries);
	store_be32(to + 12, (bitmap->inconsistent ? QCOW2_BITMAP_IN_USE : 0) |
				    (bitmap->enabled ? QCOW2_BITMAP_AUTO : 0) |
				    (bitmap->extra_bytes && !bitmap->foreign ? QCOW2_BITMAP_EXTRA_COMPATIBLE : 0));
	to[16] = TYPE_DIRTY;
	to[17] = (uint8_t)bitmap->granularity_bits;
	store_be16(to + 18, (uint16_t)name_bytes);
	store_be32(to + 20, bitmap->extra_bytes);
	memcpy(to + ENTRY_HEAD, bitmap->extra, bitmap->extra_bytes);
	memcpy(to + ENTRY_HEAD + bitmap->extra_bytes, bitmap->name, name_bytes);
}

/* A new directory of all bitmaps; 0 bytes when there are none. */
static int write_directory(struct qcow2 *q, uint64_t *offset, uint64_t *bytes)
{
	uint8_t *directory;
	uint64_t at = 0;
	int result;

	*bytes = *offset = 0;
	for (uint32_t i = 0; i < q->bitmap_count; i++)
		*bytes += entry_bytes(&q->bitmaps[i]);
	if (!*bytes)
		return 0;
	if (*bytes > MAX_DIRECTORY_BYTES)
		return -EFBIG;
	directory = xcalloc(1, *bytes);
	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		put_entry(directory + at, &q->bitmaps[i]);
		at += entry_bytes(&q->bitmaps[i]);
	}
	result = write_new(q, directory, *bytes, offset);
	free(directory);
	return result;
}

/* The header comes to name this directory, after all that it refers to is durable. */
static int switch_directory(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	const uint64_t old_offset = q->bitmap_directory, old_bytes = q->bitmap_directory_bytes;
	uint8_t extension[24] = {0};
	int result = qcow2_flush(q->block);

	if (result)
		return result;
	store_be32(extension, q->bitmap_count);
	store_be64(extension + 8, bytes);
	store_be64(extension + 16, offset);
	qcow2_extension_set(q, QCOW2_EXT_BITMAPS, q->bitmap_count ? extension : NULL, sizeof(extension));
	q->header.autoclear &= ~(uint64_t)QCOW2_BITMAPS;
	q->header.autoclear |= q->bitmap_count ? QCOW2_BITMAPS : 0;
	result = qcow2_header_rewrite(q, NULL);
	if (result)
		return result;
	q->bitmap_directory = offset;
	q->bitmap_directory_bytes = bytes;
	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		q->bitmaps[i].entry_offset = offset;
		offset += entry_bytes(&q->bitmaps[i]);
	}
	pthread_mutex_lock(&q->lock);
	free_clusters(q, old_offset, old_bytes);
	pthread_mutex_unlock(&q->lock);
	return 0;
}

int qcow2_bitmaps_save(struct qcow2 *q)
{
	const uint32_t count = q->bitmap_count;
	struct {
		uint64_t offset;
		uint32_t entries;
	} *old = xcalloc(max_u64(1, count), sizeof(*old));
	uint64_t offset, bytes;
	int result = qcow2_bitmaps_fit(q, q->header.size); /* the length may not have changed after all */

	for (uint32_t i = 0; i < count && !result; i++) {
		if (!q->bitmaps[i].changed)
			continue;
		old[i].offset = q->bitmaps[i].table_offset;
		old[i].entries = q->bitmaps[i].table_entries;
		result = write_bitmap(q, &q->bitmaps[i]);
	}
	if (!result)
		result = write_directory(q, &offset, &bytes);
	if (!result)
		result = switch_directory(q, offset, bytes);
	for (uint32_t i = 0; i < count && !result; i++)
		if (old[i].offset)
			free_table(q, old[i].offset, old[i].entries);
	while (!result && q->removed_count) {
		q->removed_count--;
		free_table(q, q->removed[q->removed_count].offset, q->removed[q->removed_count].entries);
	}
	free(old);
	if (result)
		return result;
	q->bitmaps_changed = q->bitmaps_in_use = false;
	pthread_mutex_lock(&q->lock);
	q->autoclear_done = false; /* the next write marks them again */
	pthread_mutex_unlock(&q->lock);
	result = qcow2_flush(q->block);
	return result ? result : qcow2_flush(q->block);
}
