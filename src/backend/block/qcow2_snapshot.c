/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots: a table of copies of the L1 table. What several tables refer to has a reference count above one
 * and no COPIED bit; writing to it copies it first.
 */
#include "backend/block/qcow2_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t find_by_name(const struct qcow2 *q, const char *name)
{
	for (uint32_t i = 0; i < q->header.snapshot_count; i++)
		if (!strcmp(q->snapshots[i].name, name))
			return i;
	return -1;
}

static int64_t find_snapshot(const struct qcow2 *q, const char *name)
{
	for (uint32_t i = 0; i < q->header.snapshot_count; i++)
		if (!strcmp(q->snapshots[i].id, name))
			return i;
	return find_by_name(q, name);
}

/* --- reference counts of a whole L1 table --- */

/* Adds delta to everything that one L2 table refers to. Counts that go down do so later, see qcow2_free_later. */
static int change_l2(struct qcow2 *q, const uint8_t *table, int delta)
{
	int result = 0;

	for (uint32_t i = 0; i < q->l2_entries && !result; i++) {
		const uint64_t word = qcow2_entry_load(q, table, i).word;
		uint64_t offset = word & QCOW2_OFFSET_MASK;
		uint32_t bytes = q->cluster_bytes;

		if (!(word & QCOW2_COMPRESSED) && !qcow2_has_place(q, word))
			continue;
		if (delta < 0) {
			qcow2_free_entry(q, word, QCOW2_FREED_BY_SNAPSHOT);
			continue;
		}
		if (word & QCOW2_COMPRESSED)
			qcow2_packed_place(q, word, &offset, &bytes);
		else if (offset & (q->cluster_bytes - 1))
			return qcow2_set_corrupt(q, "data at %#llx are not aligned", (unsigned long long)offset);
		result = qcow2_refcount_change(
			q, offset >> q->cluster_bits,
			((offset + bytes - 1) >> q->cluster_bits) - (offset >> q->cluster_bits) + 1, 1);
	}
	return result;
}

/* Locked. */
static int change_l1(struct qcow2 *q, const uint64_t *l1, uint32_t count, int delta)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t offset = l1[i] & QCOW2_OFFSET_MASK;
		struct qcow2_table *table;
		int result;

		if (!offset)
			continue;
		if (offset & (q->cluster_bytes - 1) ||
		    !range_inside(offset, q->cluster_bytes, align_up(q->file_end, q->cluster_bytes)))
			return qcow2_set_corrupt(q, "an L2 table lies at %#llx, which cannot be",
						 (unsigned long long)offset);
		result = qcow2_cache_get(q, &q->l2, offset, false, &table);
		if (!result)
			result = change_l2(q, table->data, delta);
		if (!result && delta > 0)
			result = qcow2_refcount_change(q, offset >> q->cluster_bits, 1, 1);
		else if (!result)
			qcow2_free_later(q, offset, q->cluster_bytes, QCOW2_FREED_OTHERWISE);
		if (result)
			return result;
	}
	return 0;
}

static int refresh_l2(struct qcow2 *q, uint64_t offset)
{
	struct qcow2_table *table;
	int result = qcow2_cache_get(q, &q->l2, offset, false, &table);

	for (uint32_t i = 0; i < q->l2_entries && !result; i++) {
		struct qcow2_entry entry = qcow2_entry_load(q, table->data, i);
		uint64_t count = 0;

		if (!qcow2_has_place(q, entry.word))
			continue;
		result = qcow2_refcount_get(q, (entry.word & QCOW2_OFFSET_MASK) >> q->cluster_bits, &count);
		if (result || (count == 1) == !!(entry.word & QCOW2_COPIED))
			continue;
		entry.word ^= QCOW2_COPIED;
		qcow2_entry_store(q, table->data, i, entry);
		qcow2_entries_dirty(q, table, i, 1);
	}
	return result;
}

/* COPIED bits of the active tables after counts have changed. The caller flushes. */
static int refresh_copied(struct qcow2 *q)
{
	int result = 0;

	pthread_mutex_lock(&q->lock);
	for (uint32_t i = 0; i < q->header.l1_size && !result; i++) {
		const uint64_t offset = q->l1[i] & QCOW2_OFFSET_MASK;
		uint64_t count = 0;

		if (!offset)
			continue;
		result = qcow2_refcount_get(q, offset >> q->cluster_bits, &count);
		if (!result)
			result = refresh_l2(q, offset);
		q->l1[i] = offset | (count == 1 ? QCOW2_COPIED : 0);
	}
	q->l1_dirty_from = 0;
	q->l1_dirty_to = q->header.l1_size;
	pthread_mutex_unlock(&q->lock);
	return result;
}

/* Everything written and every free applied. */
static int settle(struct qcow2 *q)
{
	int result = qcow2_flush(q->block);

	return result ? result : qcow2_flush(q->block);
}

/* --- create --- */

static char *next_id(const struct qcow2 *q)
{
	unsigned long highest = 0;

	for (uint32_t i = 0; i < q->header.snapshot_count; i++) {
		const unsigned long id = strtoul(q->snapshots[i].id, NULL, 10);

		highest = id > highest ? id : highest;
	}
	return xasprintf("%lu", highest + 1);
}

static void describe(struct qcow2 *q, struct qcow2_snapshot *s, const char *name)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	*s = (struct qcow2_snapshot){.id = next_id(q),
				     .name = xstrdup(name),
				     .date_s = (uint32_t)now.tv_sec,
				     .date_ns = (uint32_t)now.tv_nsec,
				     .disk_bytes = q->header.size,
				     .l1_size = q->header.l1_size,
				     .extra = xcalloc(1, 24),
				     .extra_size = 24};
	store_be64(s->extra + 8, s->disk_bytes);
}

/* A copy of the active L1 table; what it refers to gets one reference more. Everything is a leak until the table of
 * snapshots has it. */
static int copy_l1(struct qcow2 *q, struct qcow2_snapshot *s)
{
	uint64_t clusters = max_u64(1, qcow2_clusters(q, q->header.l1_size * 8ull));
	uint8_t *table = calloc(clusters, q->cluster_bytes);
	int result;

	if (!table)
		return -ENOMEM;
	pthread_mutex_lock(&q->lock);
	result = qcow2_allocate(q, &clusters, true, &s->l1_offset);
	if (!result)
		qcow2_take_fresh(q, s->l1_offset, clusters);
	if (!result)
		result = change_l1(q, q->l1, q->header.l1_size, 1);
	for (uint32_t i = 0; i < q->header.l1_size; i++)
		store_be64(table + i * 8ull, q->l1[i] & ~QCOW2_COPIED);
	pthread_mutex_unlock(&q->lock);
	/* The COPIED bits go first: with a reference more and a COPIED bit, a write would hit the snapshot too. */
	if (!result)
		result = refresh_copied(q);
	if (!result)
		result = qcow2_file_write(q, s->l1_offset, table, clusters << q->cluster_bits);
	free(table);
	return result;
}

int qcow2_snapshot_create(struct block *block, const char *name, struct error *err)
{
	struct qcow2 *q = block->private_data;
	struct qcow2_snapshot *list, *old = q->snapshots;
	const uint32_t count = q->header.snapshot_count;
	int result;

	if (qcow2_is_external(q))
		return error_set(err, ENOTSUP, "Could not create snapshot '%s': -95 (Operation not supported)", name);
	if (count >= QCOW2_MAX_SNAPSHOTS)
		return error_set(err, EFBIG, "the image has too many snapshots");
	if (strlen(name) > 65535)
		return error_set(err, EINVAL, "the name is too long");
	result = qcow2_begin_writing(q);
	list = xcalloc(count + 1u, sizeof(*list));
	if (count)
		memcpy(list, old, count * sizeof(*list));
	describe(q, &list[count], name);
	if (!result)
		result = qcow2_flush(block);
	if (!result)
		result = copy_l1(q, &list[count]);
	if (!result)
		result = qcow2_snapshots_switch(q, list, count + 1);
	if (result) {
		qcow2_snapshot_free(&list[count]);
		free(list);
		return error_set_errno(err, -result, "Could not create snapshot '%s'", name);
	}
	q->snapshots = list;
	free(old);
	result = settle(q);
	return result ? error_set_errno(err, -result, "Could not write the image") : 0;
}

/* --- the tables of a snapshot --- */

static int load_l1(struct qcow2 *q, const struct qcow2_snapshot *s, uint64_t **l1)
{
	int result;

	*l1 = NULL;
	if (s->l1_offset & (q->cluster_bytes - 1) || s->l1_size > QCOW2_MAX_L1_BYTES / 8 ||
	    !range_inside(s->l1_offset, s->l1_size * 8ull, q->file_end))
		return -EINVAL;
	*l1 = calloc(max_u64(1, s->l1_size), 8);
	if (!*l1)
		return -ENOMEM;
	result = qcow2_file_read(q, s->l1_offset, *l1, s->l1_size * 8ull);
	for (uint32_t i = 0; i < s->l1_size; i++)
		(*l1)[i] = load_be64(&(*l1)[i]);
	return result;
}

static int see_l1(struct qcow2 *q, const uint64_t *l1, uint32_t count, uint64_t *seen)
{
	int result = 0;

	pthread_mutex_lock(&q->lock);
	for (uint32_t i = 0; i < count && !result; i++) {
		const uint64_t offset = l1[i] & QCOW2_OFFSET_MASK;
		struct qcow2_table *table;

		if (!offset)
			continue;
		result = offset & (q->cluster_bytes - 1) ? -EIO : qcow2_cache_get(q, &q->l2, offset, false, &table);
		for (uint32_t k = 0; k < q->l2_entries && !result; k++) {
			const uint64_t word = qcow2_entry_load(q, table->data, k).word;

			*seen |= word & QCOW2_COMPRESSED ? QCOW2_COMPRESSED : word & QCOW2_ZERO;
		}
	}
	pthread_mutex_unlock(&q->lock);
	return result;
}

int qcow2_kinds_seen(struct qcow2 *q, uint64_t *active, uint64_t *snapshots)
{
	int result = see_l1(q, q->l1, q->header.l1_size, active);

	for (uint32_t i = 0; i < q->header.snapshot_count && !result; i++) {
		uint64_t *l1;

		result = load_l1(q, &q->snapshots[i], &l1);
		if (!result)
			result = see_l1(q, l1, q->snapshots[i].l1_size, snapshots);
		free(l1);
	}
	return result;
}

/* --- without clusters of zeroes, for version 2 --- */

/* One cluster with this content, that nothing refers to yet. */
static int write_new(struct qcow2 *q, const uint8_t *content, uint64_t *offset)
{
	uint64_t count = 1;
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_allocate(q, &count, true, offset);
	if (!result)
		qcow2_take_fresh(q, *offset, 1);
	pthread_mutex_unlock(&q->lock);
	return result ? result : qcow2_file_write(q, *offset, content, q->cluster_bytes);
}

/* Entries of zeroes become those of clusters with zeroes, or without a backing file none. Whether there were any. */
static int replace_zeroes(struct qcow2 *q, uint8_t *table, const uint8_t *zeroes, bool *changed)
{
	int result = 0;

	for (uint32_t i = 0; i < q->l2_entries && !result; i++) {
		struct qcow2_entry entry = qcow2_entry_load(q, table, i);
		const enum qcow2_kind kind = qcow2_kind_of(q, entry, 0);

		if (kind != QCOW2_ZERO_PLAIN && kind != QCOW2_ZERO_ALLOCATED)
			continue;
		entry.word = 0;
		if (q->backing_name)
			result = write_new(q, zeroes, &entry.word);
		qcow2_entry_store(q, table, i, entry);
		*changed = true;
	}
	return result;
}

/* Frees what the entries of zeroes of a table referred to, and the table itself, for this one of its users. */
static int free_replaced(struct qcow2 *q, uint64_t offset, const uint8_t *table)
{
	pthread_mutex_lock(&q->lock);
	for (uint32_t i = 0; i < q->l2_entries; i++) {
		const struct qcow2_entry entry = qcow2_entry_load(q, table, i);

		if (qcow2_kind_of(q, entry, 0) == QCOW2_ZERO_ALLOCATED)
			qcow2_free_entry(q, entry.word, QCOW2_FREED_BY_SNAPSHOT);
	}
	qcow2_free_later(q, offset, q->cluster_bytes, QCOW2_FREED_OTHERWISE);
	pthread_mutex_unlock(&q->lock);
	return qcow2_flush(q->block);
}

/*
 * The table at `offset`, to which a snapshot's L1 entry at `place` refers. Others may refer to it too: a copy takes its
 * place here. The new clusters are durable before the entry, and the entry before the old ones are freed.
 */
static int expand_table(struct qcow2 *q, uint64_t place, uint64_t offset, uint8_t *old, uint8_t *new,
			const uint8_t *zeroes)
{
	struct qcow2_table *table;
	uint64_t copy;
	bool changed = false;
	uint8_t word[8];
	int result;

	pthread_mutex_lock(&q->lock);
	result = qcow2_cache_get(q, &q->l2, offset, false, &table);
	if (!result)
		memcpy(old, table->data, q->cluster_bytes);
	pthread_mutex_unlock(&q->lock);
	if (result)
		return result;
	memcpy(new, old, q->cluster_bytes);
	result = replace_zeroes(q, new, zeroes, &changed);
	if (result || !changed)
		return result;
	if ((result = write_new(q, new, &copy)) || (result = settle(q)))
		return result;
	store_be64(word, copy);
	if ((result = qcow2_file_write(q, place, word, sizeof(word))) || (result = qcow2_file_sync(q)))
		return result;
	return free_replaced(q, offset, old);
}

int qcow2_snapshots_expand_zeroes(struct qcow2 *q)
{
	uint8_t *buffers = calloc(3, q->cluster_bytes);
	int result = buffers ? settle(q) : -ENOMEM;

	for (uint32_t i = 0; i < q->header.snapshot_count && !result; i++) {
		const struct qcow2_snapshot *s = &q->snapshots[i];
		uint64_t *l1;

		result = load_l1(q, s, &l1);
		for (uint32_t k = 0; k < s->l1_size && !result; k++)
			if (l1[k] & QCOW2_OFFSET_MASK)
				result = expand_table(q, s->l1_offset + k * 8ull, l1[k] & QCOW2_OFFSET_MASK, buffers,
						      buffers + q->cluster_bytes, buffers + 2ull * q->cluster_bytes);
		free(l1);
	}
	free(buffers);
	if (!result)
		result = settle(q);
	if (!result)
		result = refresh_copied(q); /* what a snapshot shared with the disk may be the disk's alone now */
	return result ? result : settle(q);
}

/* --- apply and delete --- */

/* The active table takes over the snapshot's content, in place; the first references of the old content go last. */
static int replace_active(struct qcow2 *q, const struct qcow2_snapshot *s, const uint64_t *l1)
{
	const uint32_t size = q->header.l1_size;
	uint64_t *old = xcalloc(max_u64(1, size), 8);
	int result;

	memcpy(old, q->l1, size * 8ull);
	pthread_mutex_lock(&q->lock);
	result = change_l1(q, l1, (uint32_t)min_u64(s->l1_size, size), 1);
	pthread_mutex_unlock(&q->lock);
	if (!result)
		result = qcow2_flush(q->block); /* the new counts, before the table uses them */
	if (!result) {
		pthread_mutex_lock(&q->lock);
		for (uint32_t i = 0; i < size; i++)
			q->l1[i] = i < s->l1_size ? l1[i] & QCOW2_OFFSET_MASK : 0;
		q->l1_dirty_from = 0;
		q->l1_dirty_to = size;
		result = change_l1(q, old, size, -1);
		pthread_mutex_unlock(&q->lock);
	}
	if (!result)
		result = settle(q);
	if (!result)
		result = refresh_copied(q);
	if (!result)
		result = settle(q);
	free(old);
	return result;
}

int qcow2_snapshot_apply(struct block *block, const char *name, struct error *err)
{
	struct qcow2 *q = block->private_data;
	const int64_t index = find_snapshot(q, name);
	const struct qcow2_snapshot *s;
	uint64_t *l1;
	int result;

	if (index < 0)
		return error_set_errno(err, ENOENT, "Could not apply snapshot '%s': Failed to load snapshot", name);
	if (q->bitmap_count)
		return error_set(err, EBUSY, "Could not apply snapshot '%s': Device has active dirty bitmaps", name);
	s = &q->snapshots[index];
	result = qcow2_begin_writing(q);
	if (!result && s->disk_bytes != q->header.size)
		result = qcow2_truncate(block, s->disk_bytes, err);
	s = &q->snapshots[index];
	if (!result && s->l1_size > q->header.l1_size)
		return error_set(err, ENOTSUP, "Could not apply snapshot '%s': its L1 table is larger than the image's",
				 name);
	if (!result)
		result = settle(q);
	if (!result) {
		result = load_l1(q, s, &l1);
		if (!result)
			result = replace_active(q, s, l1);
		free(l1);
	}
	return result ? error_set_errno(err, -result, "Could not apply snapshot '%s'", name) : 0;
}

int qcow2_snapshot_delete(struct block *block, const char *name, struct error *err)
{
	struct qcow2 *q = block->private_data;
	const int64_t index = find_by_name(q, name);
	struct qcow2_snapshot *list, gone;
	const uint32_t count = q->header.snapshot_count;
	uint64_t *l1;
	int result;

	if (index < 0)
		return error_set(err, ENOENT, "Could not delete snapshot '%s': snapshot not found", name);
	gone = q->snapshots[index];
	result = qcow2_begin_writing(q);
	if (!result)
		result = settle(q);
	if (result)
		return error_set_errno(err, -result, "Could not delete snapshot '%s'", name);
	list = xcalloc(count, sizeof(*list));
	memcpy(list, q->snapshots, (size_t)index * sizeof(*list));
	memcpy(list + index, q->snapshots + index + 1, (count - 1 - (size_t)index) * sizeof(*list));
	result = load_l1(q, &gone, &l1);
	if (!result)
		result = qcow2_snapshots_switch(q, list, count - 1);
	if (result) {
		free(l1);
		free(list);
		return error_set_errno(err, -result, "Could not delete snapshot '%s'", name);
	}
	free(q->snapshots);
	q->snapshots = list;
	pthread_mutex_lock(&q->lock);
	result = change_l1(q, l1, gone.l1_size, -1);
	if (!result)
		qcow2_free_later(q, gone.l1_offset,
				 max_u64(1, qcow2_clusters(q, gone.l1_size * 8ull)) << q->cluster_bits,
				 QCOW2_FREED_BY_SNAPSHOT);
	pthread_mutex_unlock(&q->lock);
	if (!result)
		result = settle(q);
	if (!result)
		result = refresh_copied(q);
	if (!result)
		result = settle(q);
	free(l1);
	qcow2_snapshot_free(&gone);
	return result ? error_set_errno(err, -result, "Could not delete snapshot '%s'", name) : 0;
}

static bool is_meant(const struct qcow2_snapshot *s, const char *id, const char *name)
{
	if (id && name && !strcmp(id, name))
		return !strcmp(s->id, id) || !strcmp(s->name, name);
	return (!id || !strcmp(s->id, id)) && (!name || !strcmp(s->name, name)) && (id || name);
}

int qcow2_snapshot_show(struct block *block, const char *id, const char *name, struct error *err)
{
	struct qcow2 *q = block->private_data;
	const struct qcow2_snapshot *s = NULL;
	uint64_t *l1;
	int result;

	for (uint32_t i = 0; i < q->header.snapshot_count && !s; i++)
		if (is_meant(&q->snapshots[i], id, name))
			s = &q->snapshots[i];
	if (!s)
		return error_set(err, ENOENT, "Can't find snapshot");
	if (!block->read_only)
		return error_set(err, EACCES, "Device is not readonly");
	result = load_l1(q, s, &l1);
	if (result) {
		free(l1);
		return error_set_errno(err, -result, "the L1 table of snapshot '%s' cannot be read", s->name);
	}
	pthread_mutex_lock(&q->lock);
	free(q->l1);
	q->l1 = l1;
	q->header.l1_size = s->l1_size;
	pthread_mutex_unlock(&q->lock);
	return 0;
}
