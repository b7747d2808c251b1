/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps as their users see them: made, removed, cleared, switched, merged; and following writes. Changes are in
 * memory until qcow2_bitmaps_save or the end of the node.
 */
#include "backend/block/qcow2_bitmap.h"

#include <stdlib.h>

#define MAX_DEFAULT_GRANULARITY 65536u
#define MIN_DEFAULT_GRANULARITY 4096u

static struct qcow2_bitmap *find(const struct qcow2 *q, const char *name)
{
	for (uint32_t i = 0; i < q->bitmap_count; i++)
		if (!strcmp(q->bitmaps[i].name, name))
			return &q->bitmaps[i];
	return NULL;
}

static void set_bits(uint8_t *bits, uint64_t first, uint64_t last)
{
	for (uint64_t i = first; i <= last;) {
		if (!(i & 7) && last - i >= 7) {
			bits[i / 8] = 0xff;
			i += 8;
		} else {
			bits[i / 8] |= (uint8_t)(1u << (i & 7));
			i++;
		}
	}
}

static int inconsistent(const char *name, struct error *err)
{
	return error_set(err, EINVAL,
			 "Bitmap '%s' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this "
			 "bitmap from disk",
			 name);
}

/* --- following writes --- */

int qcow2_bitmaps_begin(struct qcow2 *q)
{
	bool follows = false;
	int result = 0;

	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		struct qcow2_bitmap *bitmap = &q->bitmaps[i];

		if (!bitmap->enabled || bitmap->inconsistent)
			continue;
		follows = true;
		/* One that cannot follow misses this write. */
		if (bitmap->foreign || (!bitmap->bits && qcow2_bitmap_load(q, bitmap)))
			bitmap->inconsistent = q->bitmaps_changed = true;
	}
	if (follows && !q->bitmaps_in_use)
		result = qcow2_bitmaps_set_in_use(q, false);
	if (!result)
		q->bitmaps_in_use |= follows;
	return result;
}

void qcow2_bitmaps_mark(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	const uint64_t end = min_u64(offset + bytes, q->bitmap_image_bytes);

	if (!q->bitmaps_in_use || offset >= end)
		return;
	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		struct qcow2_bitmap *bitmap = &q->bitmaps[i];

		if (!bitmap->enabled || !bitmap->bits || bitmap->inconsistent)
			continue;
		set_bits(bitmap->bits, offset >> bitmap->granularity_bits, (end - 1) >> bitmap->granularity_bits);
		bitmap->changed = q->bitmaps_changed = true;
	}
}

/* --- for the file's length --- */

static int load_all(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		struct qcow2_bitmap *bitmap = &q->bitmaps[i];
		int result = bitmap->bits || bitmap->inconsistent || bitmap->foreign ? 0 : qcow2_bitmap_load(q, bitmap);

		if (result)
			return result;
	}
	return 0;
}

/* Bits of what is cut off stay in cut until it is known that the length does; what is added is clean, or what was cut.
 */
static int resize_bits(struct qcow2_bitmap *bitmap, uint64_t old_length, uint64_t length)
{
	const uint64_t old_bytes = qcow2_bitmap_bytes(bitmap, old_length), bytes = qcow2_bitmap_bytes(bitmap, length);
	const uint64_t granules =
		(length >> bitmap->granularity_bits) + !!(length & ((1ull << bitmap->granularity_bits) - 1));
	uint8_t *bits = calloc(1, bytes + 1);

	if (!bits)
		return -ENOMEM;
	memcpy(bits, bitmap->bits, min_u64(old_bytes, bytes));
	if (granules & 7)
		bits[granules / 8] &= (uint8_t)((1u << (granules & 7)) - 1);
	if (length < old_length) {
		free(bitmap->cut);
		bitmap->cut = bitmap->bits;
	} else {
		for (uint64_t i = 0; bitmap->cut && i < bytes; i++)
			bits[i] |= bitmap->cut[i];
		free(bitmap->bits);
	}
	bitmap->bits = bits;
	bitmap->changed = true;
	return 0;
}

void qcow2_bitmaps_keep_length(struct qcow2 *q)
{
	pthread_mutex_lock(&q->lock);
	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		free(q->bitmaps[i].cut);
		q->bitmaps[i].cut = NULL;
	}
	pthread_mutex_unlock(&q->lock);
}

int qcow2_bitmaps_fit(struct qcow2 *q, uint64_t length)
{
	int result = 0;

	if (length == q->bitmap_image_bytes)
		return 0;
	pthread_mutex_lock(&q->lock);
	for (uint32_t i = 0; i < q->bitmap_count && !result; i++)
		if (q->bitmaps[i].bits)
			result = resize_bits(&q->bitmaps[i], q->bitmap_image_bytes, length);
	if (!result)
		q->bitmap_image_bytes = length;
	pthread_mutex_unlock(&q->lock);
	return result;
}

int qcow2_bitmaps_resize(struct qcow2 *q, uint64_t length, struct error *err)
{
	int result;

	if (!q->bitmap_count) {
		q->bitmap_image_bytes = length;
		return 0;
	}
	for (uint32_t i = 0; i < q->bitmap_count; i++)
		if (q->bitmaps[i].inconsistent || q->bitmaps[i].foreign)
			return inconsistent(q->bitmaps[i].name, err);
	result = load_all(q);
	if (!result)
		result = qcow2_bitmaps_set_in_use(q, true);
	if (result)
		return error_set_errno(err, -result, "Could not load the bitmaps");
	q->bitmaps_in_use = q->bitmaps_changed = true;
	result = qcow2_bitmaps_fit(q, length);
	return result ? error_set_errno(err, -result, "Could not resize the bitmaps") : 0;
}

/* --- users --- */

const char *qcow2_bitmap_name(const struct block *block, size_t index)
{
	const struct qcow2 *q = block->private_data;

	return index < q->bitmap_count ? q->bitmaps[index].name : NULL;
}

uint64_t qcow2_bitmap_granularity(const struct block *block, size_t index)
{
	const struct qcow2 *q = block->private_data;

	return 1ull << q->bitmaps[index].granularity_bits;
}

bool qcow2_bitmap_is_enabled(const struct block *block, size_t index)
{
	const struct qcow2 *q = block->private_data;

	return q->bitmaps[index].enabled;
}

bool qcow2_bitmap_is_inconsistent(const struct block *block, size_t index)
{
	const struct qcow2 *q = block->private_data;

	return q->bitmaps[index].inconsistent;
}

uint64_t qcow2_bitmaps_measure(const struct block *block, uint64_t cluster_bytes)
{
	const struct qcow2 *q = block->private_data;
	uint64_t total = 0, directory = 0;

	for (uint32_t i = 0; i < q->bitmap_count; i++) {
		const uint64_t bits = align_up(qcow2_bitmap_bytes(&q->bitmaps[i], q->header.size), cluster_bytes);

		total += bits + align_up(bits / cluster_bytes * 8, cluster_bytes);
		directory += align_up(24 + strlen(q->bitmaps[i].name), 8);
	}
	return total + align_up(directory, cluster_bytes);
}

/* A bitmap that can be used, with its bits. */
static struct qcow2_bitmap *find_usable(struct qcow2 *q, const char *name, struct error *err)
{
	struct qcow2_bitmap *bitmap = find(q, name);
	int result;

	if (!bitmap) {
		error_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
		return NULL;
	}
	if (bitmap->inconsistent || bitmap->foreign) {
		inconsistent(name, err);
		return NULL;
	}
	result = bitmap->bits ? 0 : qcow2_bitmap_load(q, bitmap);
	if (result) {
		error_set_errno(err, -result, "Could not load bitmap '%s'", name);
		return NULL;
	}
	return bitmap;
}

static int check_new(const struct qcow2 *q, const char *name, uint64_t granularity, struct error *err)
{
	if (!*name)
		return error_set(err, EINVAL, "Bitmap name cannot be empty");
	if (!is_power_of_two(granularity) || granularity < 512 || granularity > 1u << 31)
		return error_set(err, EINVAL, "Granularity must be power of 2 and at least 512");
	if (find(q, name))
		return error_set(err, EEXIST, "Bitmap already exists: %s", name);
	if (q->header.version < 3)
		return error_set(
			err, ENOTSUP,
			"Can't make bitmap '%s' persistent in '%s': Cannot store dirty bitmaps in qcow2 v2 files", name,
			q->block->node_name);
	if (strlen(name) > QCOW2_MAX_BITMAP_NAME)
		return error_set(
			err, EINVAL,
			"Can't make bitmap '%.200s' persistent in '%s': Name length exceeds maximum (%u characters)",
			name, q->block->node_name, QCOW2_MAX_BITMAP_NAME);
	if (q->bitmap_count >= QCOW2_MAX_BITMAPS)
		return error_set(err, EFBIG, "Maximum number of persistent bitmaps is already reached");
	return 0;
}

int qcow2_bitmap_add(struct block *block, const char *name, uint64_t granularity, bool enabled, struct error *err)
{
	struct qcow2 *q = block->private_data;
	struct qcow2_bitmap bitmap = {.enabled = enabled, .changed = true};
	int result;

	if (!granularity)
		granularity = max_u64(MIN_DEFAULT_GRANULARITY, min_u64(MAX_DEFAULT_GRANULARITY, q->cluster_bytes));
	result = check_new(q, name, granularity, err);
	if (result)
		return result;
	bitmap.granularity_bits = (unsigned)__builtin_ctzll(granularity);
	if (qcow2_bitmap_bytes(&bitmap, q->header.size) > 512 * MIB)
		return error_set(
			err, EFBIG,
			"Can't make bitmap '%s' persistent in '%s': Too much space will be occupied by the bitmap. "
			"Use larger granularity",
			name, block->node_name);
	bitmap.bits = calloc(1, qcow2_bitmap_bytes(&bitmap, q->header.size) + 1);
	if (!bitmap.bits)
		return error_set(err, ENOMEM, "no memory for the bitmap");
	bitmap.name = xstrdup(name);
	bitmap.extra = xcalloc(1, 1);
	pthread_mutex_lock(&q->lock);
	q->bitmaps = xrealloc(q->bitmaps, (q->bitmap_count + 1ull) * sizeof(*q->bitmaps));
	q->bitmaps[q->bitmap_count++] = bitmap;
	q->bitmaps_changed = true;
	q->autoclear_done = false;
	pthread_mutex_unlock(&q->lock);
	return 0;
}

int qcow2_bitmap_remove(struct block *block, const char *name, struct error *err)
{
	struct qcow2 *q = block->private_data;
	struct qcow2_bitmap *bitmap = find(q, name);
	uint32_t index;

	if (!bitmap)
		return error_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
	index = (uint32_t)(bitmap - q->bitmaps);
	q->removed = xrealloc(q->removed, (q->removed_count + 1) * sizeof(*q->removed));
	q->removed[q->removed_count].offset = bitmap->table_offset;
	q->removed[q->removed_count++].entries = bitmap->table_entries;
	pthread_mutex_lock(&q->lock);
	qcow2_bitmap_free(bitmap);
	memmove(bitmap, bitmap + 1, (q->bitmap_count - index - 1) * sizeof(*bitmap));
	q->bitmap_count--;
	q->bitmaps_changed = true;
	pthread_mutex_unlock(&q->lock);
	return 0;
}

static void touched(struct qcow2 *q, struct qcow2_bitmap *bitmap, bool bits)
{
	bitmap->changed |= bits;
	q->bitmaps_changed = true;
	q->autoclear_done = false;
}

int qcow2_bitmap_clear(struct block *block, const char *name, struct error *err)
{
	struct qcow2 *q = block->private_data;
	struct qcow2_bitmap *bitmap = find_usable(q, name, err);

	if (!bitmap)
		return -EINVAL;
	pthread_mutex_lock(&q->lock);
	memset(bitmap->bits, 0, qcow2_bitmap_bytes(bitmap, q->header.size));
	touched(q, bitmap, true);
	pthread_mutex_unlock(&q->lock);
	return 0;
}

int qcow2_bitmap_enable(struct block *block, const char *name, bool enable, struct error *err)
{
	struct qcow2 *q = block->private_data;
	struct qcow2_bitmap *bitmap = find_usable(q, name, err);

	if (!bitmap)
		return -EINVAL;
	pthread_mutex_lock(&q->lock);
	bitmap->enabled = enable;
	touched(q, bitmap, false);
	pthread_mutex_unlock(&q->lock);
	return 0;
}

int qcow2_bitmap_merge(struct block *block, const char *name, struct block *source_block, const char *source_name,
		       struct error *err)
{
	struct qcow2 *q = block->private_data, *source_q = source_block->private_data;
	struct qcow2_bitmap *bitmap = find_usable(q, name, err);
	const struct qcow2_bitmap *source;
	uint64_t granules;

	if (!bitmap)
		return -EINVAL;
	source = find_usable(source_q, source_name, err);
	if (!source)
		return -EINVAL;
	if (q->header.size != source_q->header.size)
		return error_set(err, EINVAL,
				 "Bitmaps are of different sizes (destination size is %llu and source size is %llu) "
				 "and can't be merged",
				 (unsigned long long)q->header.size, (unsigned long long)source_q->header.size);
	granules = qcow2_bitmap_bytes(source, q->header.size) * 8;
	pthread_mutex_lock(&q->lock);
	for (uint64_t i = 0; i < granules; i++) {
		const uint64_t from = i << source->granularity_bits;
		const uint64_t end = min_u64((i + 1) << source->granularity_bits, q->header.size);

		if (source->bits[i / 8] >> (i & 7) & 1 && from < end)
			set_bits(bitmap->bits, from >> bitmap->granularity_bits, (end - 1) >> bitmap->granularity_bits);
	}
	touched(q, bitmap, true);
	pthread_mutex_unlock(&q->lock);
	return 0;
}

int qcow2_bitmaps_store(struct block *block, struct error *err)
{
	struct qcow2 *q = block->private_data;
	int result = q->bitmaps_changed || q->bitmaps_in_use ? qcow2_bitmaps_save(q) : 0;

	return result ? error_set_errno(err, -result, "Could not store the bitmaps of '%s'", block->filename) : 0;
}
