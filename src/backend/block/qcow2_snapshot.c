/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots: a table of copies of the L1 table. What several tables refer to has a reference count above one
 * and no COPIED bit; writing to it copies it first.
 */
#include "backend/block/qcow2_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ENTRY_HEAD = 40, MAX_EXTRA = 1024, MAX_TABLE = 64 << 20 };

static void free_snapshot(struct qcow2_snapshot *s)
{
	free(s->id);
	free(s->name);
	free(s->extra);
}

void qcow2_snapshots_free(struct qcow2 *q)
{
	for (uint32_t i = 0; q->snapshots && i < q->header.snapshot_count; i++)
		free_snapshot(&q->snapshots[i]);
	free(q->snapshots);
	q->snapshots = NULL;
}

const struct qcow2_snapshot *qcow2_snapshots(const struct block *block, size_t *count)
{
	const struct qcow2 *q = block->private_data;

	*count = q->header.snapshot_count;
	return q->snapshots;
}

/* --- reading --- */

static int read_text(struct qcow2 *q, uint64_t offset, uint16_t length, char **text)
{
	*text = xcalloc(1, length + 1u);
	return length ? qcow2_file_read(q, offset, *text, length) : 0;
}

/* One entry at *offset, which moves to the next. */
static int read_entry(struct qcow2 *q, uint64_t *offset, struct qcow2_snapshot *s, struct error *err)
{
	uint8_t head[ENTRY_HEAD];
	uint16_t id_length, name_length;
	uint64_t at = *offset;
	int result = qcow2_file_read(q, at, head, sizeof(head));

	if (result)
		return error_set_errno(err, -result, "Could not read the snapshot table");
	s->l1_offset = load_be64(head);
	s->l1_size = load_be32(head + 8);
	id_length = load_be16(head + 12);
	name_length = load_be16(head + 14);
	s->date_s = load_be32(head + 16);
	s->date_ns = load_be32(head + 20);
	s->vm_clock_ns = load_be64(head + 24);
	s->vm_state_bytes = load_be32(head + 32);
	s->extra_size = load_be32(head + 36);
	s->disk_bytes = q->header.size;
	s->icount = UINT64_MAX;
	if (s->extra_size > MAX_EXTRA)
		return error_set(err, EINVAL, "Too much extra metadata in snapshot table entry");
	at += ENTRY_HEAD;
	if (!range_inside(at, (uint64_t)s->extra_size + id_length + name_length, q->file_end))
		return error_set(err, EINVAL, "The snapshot table goes beyond the end of the image file");
	s->extra = xcalloc(1, s->extra_size + 1);
	if ((result = qcow2_file_read(q, at, s->extra, s->extra_size)) ||
	    (result = read_text(q, at + s->extra_size, id_length, &s->id)) ||
	    (result = read_text(q, at + s->extra_size + id_length, name_length, &s->name)))
		return error_set_errno(err, -result, "Could not read the snapshot table");
	if (s->extra_size >= 8)
		s->vm_state_bytes = load_be64(s->extra);
	if (s->extra_size >= 16)
		s->disk_bytes = load_be64(s->extra + 8);
	if (s->extra_size >= 24)
		s->icount = load_be64(s->extra + 16);
	*offset = align_up(at + s->extra_size + id_length + name_length, 8);
	return 0;
}

int qcow2_snapshots_read(struct qcow2 *q, struct error *err)
{
	const uint32_t count = q->header.snapshot_count;
	uint64_t offset = q->header.snapshots_offset;

	if (!count)
		return 0;
	q->snapshots = xcalloc(count, sizeof(*q->snapshots)); /* at most QCOW2_MAX_SNAPSHOTS, see the header's checks */
	for (uint32_t i = 0; i < count; i++) {
		int result = read_entry(q, &offset, &q->snapshots[i], err);

		if (result)
			return result;
		if (offset - q->header.snapshots_offset > MAX_TABLE)
			return error_set(err, EFBIG, "Snapshot table is too big");
	}
	return 0;
}

/* --- finding --- */

static int64_t find_snapshot(const struct qcow2 *q, const char *name)
{
	for (uint32_t i = 0; i < q->header.snapshot_count; i++)
		if (!strcmp(q->snapshots[i].id, name))
			return i;
	for (uint32_t i = 0; i < q->header.snapshot_count; i++)
		if (!strcmp(q->snapshots[i].name, name))
			return i;
	return -1;
}

/* --- writing the table --- */

static uint64_t entry_bytes(const struct qcow2_snapshot *s)
{
	return align_up(ENTRY_HEAD + (uint64_t)s->extra_size + strlen(s->id) + strlen(s->name), 8);
}

static void put_entry(uint8_t *to, const struct qcow2_snapshot *s)
{
	const size_t id_length = strlen(s->id), name_length = strlen(s->name);

	store_be64(to, s->l1_offset);
	store_be32(to + 8, s->l1_size);
	store_be16(to + 12, (uint16_t)id_length);
	store_be16(to + 14, (uint16_t)name_length);
	store_be32(to + 16, s->date_s);
	store_be32(to + 20, s->date_ns);
	store_be64(to + 24, s->vm_clock_ns);
	store_be32(to + 32, s->vm_state_bytes <= UINT32_MAX ? (uint32_t)s->vm_state_bytes : 0);
	store_be32(to + 36, s->extra_size);
	memcpy(to + ENTRY_HEAD, s->extra, s->extra_size);
	memcpy(to + ENTRY_HEAD + s->extra_size, s->id, id_length);
	memcpy(to + ENTRY_HEAD + s->extra_size + id_length, s->name, name_length);
}

static uint64_t table_bytes(const struct qcow2_snapshot *list, uint32_t count)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < count; i++)
		bytes += entry_bytes(&list[i]);
	return bytes;
}

/* Clusters for a table of this content, written; 0 clusters for an empty one. */
static int write_table(struct qcow2 *q, const struct qcow2_snapshot *list, uint32_t count, uint64_t *offset)
{
	const uint64_t bytes = table_bytes(list, count);
	uint64_t clusters = qcow2_clusters(q, bytes), at = 0;
	uint8_t *table;
	int result;

	*offset = 0;
	if (!count)
		return 0;
	if (bytes > MAX_TABLE)
		return -EFBIG;
	table = xcalloc(clusters, q->cluster_bytes);
	for (uint32_t i = 0; i < count; i++) {
		put_entry(table + at, &list[i]);
		at += entry_bytes(&list[i]);
	}
	pthread_mutex_lock(&q->lock);
	result = qcow2_allocate(q, &clusters, true, offset);
	if (!result)
		qcow2_take_fresh(q, *offset, clusters);
	pthread_mutex_unlock(&q->lock);
	if (!result)
		result = qcow2_file_write(q, *offset, table, clusters << q->cluster_bits);
	free(table);
	return result;
}

/* The header comes to point to the new list, after everything that it refers to is durable. The old list's clusters are
 * freed with the next flush. The caller owns the arrays. */
static int switch_table(struct qcow2 *q, struct qcow2_snapshot *list, uint32_t count)
{
	const struct qcow2_header old = q->header;
	const uint64_t old_bytes = table_bytes(q->snapshots, old.snapshot_count);
	uint64_t offset;
	int result = write_table(q, list, count, &offset);

	if (!result)
		result = qcow2_flush(q->block);
	if (result)
		return result;
	q->header.snapshots_offset = offset;
	q->header.snapshot_count = count;
	result = qcow2_header_write_fields(q);
	if (!result)
		result = qcow2_file_sync(q);
	if (result) {
		q->header = old;
		return result;
	}
	pthread_mutex_lock(&q->lock);
	if (old.snapshot_count)
		qcow2_free_later(q, old.snapshots_offset, qcow2_clusters(q, old_bytes) << q->cluster_bits, true);
	pthread_mutex_unlock(&q->lock);
	return 0;
}

/* --- reference counts of a whole L1 table --- */

/* Adds delta to everything that one L2 table refers to. Counts that go down do so later, see qcow2_free_later. */
static int change_l2(struct qcow2 *q, const uint8_t *table, int delta)
{
	int result = 0;

	for (uint32_t i = 0; i < q->l2_entries && !result; i++) {
		const uint64_t entry = load_be64(table + i * 8ull);
		uint64_t offset = entry & QCOW2_OFFSET_MASK;
		uint32_t bytes = q->cluster_bytes;
		enum qcow2_kind kind = qcow2_kind_of(q, entry);

		if (kind == QCOW2_UNALLOCATED || kind == QCOW2_ZERO_PLAIN)
			continue;
		if (delta < 0) {
			qcow2_free_entry(q, entry, true);
			continue;
		}
		if (kind == QCOW2_PACKED)
			qcow2_packed_place(q, entry, &offset, &bytes);
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
			qcow2_free_later(q, offset, q->cluster_bytes, false);
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
		const uint64_t entry = load_be64(table->data + i * 8ull);
		const enum qcow2_kind kind = qcow2_kind_of(q, entry);
		uint64_t count = 0;

		if (kind != QCOW2_NORMAL && kind != QCOW2_ZERO_ALLOCATED)
			continue;
		result = qcow2_refcount_get(q, (entry & QCOW2_OFFSET_MASK) >> q->cluster_bits, &count);
		if (result || (count == 1) == !!(entry & QCOW2_COPIED))
			continue;
		store_be64(table->data + i * 8ull, entry ^ QCOW2_COPIED);
		qcow2_table_dirty(&q->l2, table, i * 8, i * 8 + 8);
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
		result = switch_table(q, list, count + 1);
	if (result) {
		free_snapshot(&list[count]);
		free(list);
		return error_set_errno(err, -result, "Could not create snapshot '%s'", name);
	}
	q->snapshots = list;
	free(old);
	result = settle(q);
	return result ? error_set_errno(err, -result, "Could not write the image") : 0;
}

/* --- apply and delete --- */

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
	const int64_t index = find_snapshot(q, name);
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
		result = switch_table(q, list, count - 1);
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
				 max_u64(1, qcow2_clusters(q, gone.l1_size * 8ull)) << q->cluster_bits, true);
	pthread_mutex_unlock(&q->lock);
	if (!result)
		result = settle(q);
	if (!result)
		result = refresh_copied(q);
	if (!result)
		result = settle(q);
	free(l1);
	free_snapshot(&gone);
	return result ? error_set_errno(err, -result, "Could not delete snapshot '%s'", name) : 0;
}
