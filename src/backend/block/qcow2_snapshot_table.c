/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of internal snapshots: reading it with all checks, and switching to a new one. */
#include "backend/block/qcow2_internal.h"

#include <stdlib.h>

enum { ENTRY_HEAD = 40, MAX_EXTRA = 1024, MAX_TABLE = 64 << 20 };

void qcow2_snapshot_free(struct qcow2_snapshot *s)
{
	free(s->id);
	free(s->name);
	free(s->extra);
}

void qcow2_snapshots_free(struct qcow2 *q)
{
	for (uint32_t i = 0; q->snapshots && i < q->header.snapshot_count; i++)
		qcow2_snapshot_free(&q->snapshots[i]);
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

int qcow2_snapshots_switch(struct qcow2 *q, struct qcow2_snapshot *list, uint32_t count)
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
		qcow2_free_later(q, old.snapshots_offset, qcow2_clusters(q, old_bytes) << q->cluster_bits,
				 QCOW2_FREED_ALWAYS);
	pthread_mutex_unlock(&q->lock);
	return 0;
}
